"""Keys by which triggers find a run again: what a key's run is called, how long it is taken, what puts it off.

The runs of a key are numbered by *generation*: when a key is free again the next one is created. A run's id follows
from its task, key and generation alone, so whoever triggers knows where to look, and creating it create-only decides
a race.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec.structs import replace

from holdfast.core import ids
from holdfast.core.entries import Postponed, RunCreated
from holdfast.core.model import Instant, Key, Run, Seconds, State, seconds

KEPT: Seconds = 30 * 86_400.0
"""How long an idempotency key is taken by a run that completed or was cancelled, from its creation on, where nothing
else is said."""

MOST = 256
"""Characters of a key, as users give it."""

_FREES = frozenset({State.FAILED, State.DEAD, State.TIMED_OUT, State.EXPIRED})
"""The ends after which a trigger with the same idempotency key is a new attempt at it."""


class Debounce(msgspec.Struct, frozen=True):
    """Triggers of one key become one run, so long after the last of them."""

    key: str
    delay: Seconds
    """From each trigger on; in seconds or as timedelta."""
    max_delay: Seconds | None = None
    """From the first trigger on: however many follow, it starts by then. None: they may put it off for ever."""
    mode: Literal["trailing", "leading"] = "trailing"
    """Whose payload it gets: the last trigger's, or the first one's."""

    def __post_init__(self) -> None:
        check_text("debounce: key", self.key)
        delay = seconds(self.delay, "debounce: delay")
        most = None if self.max_delay is None else seconds(self.max_delay, "debounce: max_delay")
        if delay == 0:
            raise ValueError("debounce: delay: expected more than 0 seconds, found 0: it would put nothing off")
        if most is not None and most < delay:
            raise ValueError(f"debounce: max_delay: expected {delay:g} s, its delay, or more, found {most:g} s")
        if self.mode not in ("trailing", "leading"):
            raise ValueError(f"debounce: mode is 'trailing' or 'leading', found {self.mode!r}")
        msgspec.structs.force_setattr(self, "delay", delay)
        msgspec.structs.force_setattr(self, "max_delay", most)


def check_text(what: str, text: object) -> None:
    """Raises: ValueError: no key can be called so."""
    if not isinstance(text, str) or not text.strip() or len(text) > MOST:
        raise ValueError(f"{what}: expected a text of 1 to {MOST} characters, found {text!r:.300}")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError(f"{what}: expected a text that can be written as UTF-8, found {text!r:.300}")


def run_id(task: str, key: Key) -> str:
    """The id of the run of a key in its generation. Its time is 0: it says nothing of when the run was created."""
    return ids.derive(0.0, "key", task, key.kind, key.text, str(key.generation))


def in_generation(created: RunCreated, generation: int) -> RunCreated:
    """The first fact of the same run in another generation of its key."""
    assert created.key is not None
    key = replace(created.key, generation=generation)
    return replace(created, run=run_id(created.task, key), key=key)


def holds(run: Run, now: Instant) -> bool:
    """Whether a run still has its idempotency key, so that a trigger with the same one gets this run."""
    if run.state in _FREES:
        return False
    until = run.key.until if run.key is not None else None
    return not run.final or until is None or now < until


def postponed(run: Run, again: RunCreated) -> Postponed | None:
    """How another trigger with its debounce key puts a run off.

    None: its window is over, and the trigger begins the next one. That is so once the run is ready, and when the time
    is up by which it had to be, though its timer has not fired yet.
    """
    assert run.key is not None
    assert again.key is not None
    assert again.due is not None
    latest = run.key.until
    if run.state is not State.DELAYED or run.cancel_requested or (latest is not None and again.at >= latest):
        return None
    due = max(again.due if latest is None else min(again.due, latest), run.due or 0.0)
    return Postponed(again.at, due, None if again.key.leading else again.payload)
