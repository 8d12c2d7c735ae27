"""What was done for somebody who did not do it: each is a death in the wrong moment, or a bug; counted and logged.

Conductor and sweeper mend alike: they read the run from the journal, and what follows from where it stands and shows no
trace there is carried out. `effects` says what that is.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum

from holdfast.bus.journal import Journal
from holdfast.core.effects import Arm, Cancel, CancelChild, Effect, Offer, TriggerHook, effects
from holdfast.core.entries import Offered
from holdfast.core.lifecycle import recreated
from holdfast.core.model import Instant, Run, Seconds, State
from holdfast.errors import Fenced
from holdfast.wire import codec

log = logging.getLogger("holdfast.repairs")

LATE: Seconds = 5.0
"""After its time a timer counts as one that does not fire; the server fires a quarter of a second late at most."""


class Kind(StrEnum):
    """What was missing."""

    OFFER = "offer"
    """The work item of a run that is ready."""
    ITEM = "item"
    """The work item of a run that had one: it was acknowledged, or is gone."""
    TIMER = "timer"
    """The timer of a run that sleeps, is delayed, or is tried again later."""
    LATE = "late timer"
    """What the timer was to do."""
    CANCEL = "cancel"
    """The end of a run whose end was asked for, and that nobody holds."""
    CHILD = "child"
    """The cancellation of a child whose parent was cancelled or timed out."""
    PARENT = "parent"
    """The word to a parent that its child has ended."""
    HOOK = "hook"
    """The run of a hook."""


_KINDS: dict[type[Effect], Kind] = {
    Offer: Kind.OFFER,
    Arm: Kind.TIMER,
    Cancel: Kind.CANCEL,
    CancelChild: Kind.CHILD,
    TriggerHook: Kind.HOOK,
}
"""Effects that leave a trace in the journal, so that they can be missed."""


class Repairs:
    """How much was mended since the start, by kind."""

    def __init__(self) -> None:
        self.by_kind: Counter[Kind] = Counter()

    @property
    def total(self) -> int:
        return self.by_kind.total()

    def note(self, kind: Kind, run: Run) -> None:
        """Count one, and say so."""
        self.by_kind[kind] += 1
        log.warning("repaired: %s of run %s (%s, attempt %d)", kind, run.id, run.state, run.attempt)


def missing(run: Run, live: Mapping[str, Run]) -> list[Effect]:
    """What follows from where the run stands and shows no trace yet.

    Args:
        live: the runs that have not ended: a child that is none of them, or was told already, is done with.
    """
    return [effect for effect in effects(run) if type(effect) in _KINDS and not _is_told(effect, live)]


def _is_told(effect: Effect, live: Mapping[str, Run]) -> bool:
    if not isinstance(effect, CancelChild):
        return False
    child = live.get(effect.child)
    return child is None or child.cancel_requested or child.state is State.COMPENSATING


def fires_at(run: Run) -> Instant | None:
    """When the run's timer has fired at the latest; None where it has none."""
    return None if run.due is None or run.final else run.due + LATE


async def mend(journal: Journal, run: Run, live: Mapping[str, Run], repairs: Repairs) -> bool:
    """Do what is missing of a run that was just read; whether there was anything.

    A run that something has arrived for is offered here in the ordinary course: that counts as no repair.

    Raises:
        Fenced: somebody moved the run meanwhile.
    """
    todo = missing(run, live)
    if todo:
        await journal.act(run)
        for effect in todo:
            if not (run.resumable and isinstance(effect, Offer)):
                repairs.note(_KINDS[type(effect)], run)
        return True
    at = fires_at(run)
    if at is None or at > journal.clock():
        return False
    await _fire(journal, run)
    repairs.note(Kind.LATE, run)
    return True


async def _fire(journal: Journal, run: Run) -> None:
    """Do what the run's timer should have done. Should it fire yet, that is one work item too many: no harm."""
    subjects = journal.bus.subjects
    if run.state is State.DELAYED and not run.last:
        ready = subjects.ready(run.id, run.queue, run.priority)
        with suppress(Fenced):  # it has fired just now
            await journal.bus.publish(ready, codec.encode(recreated(run)), expect=0)
    else:
        again = subjects.again(run.id, run.queue, run.priority)
        offered = codec.encode(Offered(run.id, run.first, run.last))
        await journal.bus.publish(again, offered, dedupe=f"{run.id}-late-{run.last}-{run.due}")
