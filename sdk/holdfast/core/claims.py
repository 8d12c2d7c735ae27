"""What to do with a delivered work item, given the run it names. A ready message is a hint; the fold decides."""

from __future__ import annotations

from enum import StrEnum

from holdfast.core.model import Run, State


class Claim(StrEnum):
    """What the worker that got the item does."""

    START = "start"
    """Begin a new attempt."""
    RESUME = "resume"
    """Go on with the current attempt behind its last checkpoint."""
    TAKE_OVER = "take over"
    """Interrupt the holder, who is gone, and go on."""
    LEAVE = "leave"
    """Its holder lives: neither settle nor touch it; it comes again should the holder fall silent."""
    SETTLE = "settle"
    """Nothing to run: do what follows from where it stands, and acknowledge."""


def claim(run: Run, *, holder_alive: bool) -> Claim:
    """What to do. `holder_alive` matters only where somebody holds the run."""
    match run.state:
        case State.QUEUED if not run.cancel_requested:
            return Claim.START if run.fresh else Claim.RESUME
        case State.RUNNING:
            return Claim.LEAVE if holder_alive else Claim.TAKE_OVER
        case State.COMPENSATING if run.holder is not None:
            return Claim.LEAVE if holder_alive else Claim.TAKE_OVER
        case State.COMPENSATING if not run.suspended:
            return Claim.RESUME
        case _:
            return Claim.SETTLE
