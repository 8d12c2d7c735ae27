"""What events became, as far as it was asked: whom to ask about next, and how it is said in a few words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from holdfast.core.model import FINAL, Instant, Seconds, State
from holdfast.wire.api import EventRun
from holdfast_tui.format import STATES, Cell

AGAIN: Seconds = 5.0
"""After so long it is asked again what became of an event whose runs have not ended, or which has none yet."""

SETTLED: Seconds = 60.0
"""An event that is so old and has no run gets none by itself."""

KEPT = 5000
"""Events of which it is remembered."""


class Became(NamedTuple):
    """What an event became."""

    runs: tuple[EventRun, ...]
    at: Instant
    """When that was asked."""


class Becoming:
    """What events became, by sequence."""

    def __init__(self) -> None:
        self.known: dict[int, Became] = {}

    def take(self, seq: int, runs: tuple[EventRun, ...], now: Instant) -> None:
        self.known.pop(seq, None)
        self.known[seq] = Became(runs, now)
        while len(self.known) > KEPT:
            del self.known[next(iter(self.known))]

    def forget(self, seqs: Iterable[int]) -> None:
        """Ask again about these."""
        for seq in seqs:
            self.known.pop(seq, None)

    def due(self, events: Iterable[tuple[int, Instant]], now: Instant) -> list[int]:
        """Which of these (sequence, when stored) are to be asked about."""
        return [seq for seq, stored in events if self._is_due(seq, stored, now)]

    def _is_due(self, seq: int, stored: Instant, now: Instant) -> bool:
        found = self.known.get(seq)
        if found is None:
            return True
        if found.runs:
            settled = all(run.state in FINAL for run in found.runs)
        else:
            settled = found.at - stored >= SETTLED
        return not settled and now - found.at >= AGAIN

    def told(self, seq: int) -> Cell:
        """In a few words."""
        found = self.known.get(seq)
        if found is None:
            return "..", "dim"
        return told(found.runs)


def told(runs: Sequence[EventRun]) -> Cell:
    """What an event became, in a few words."""
    if not runs:
        return "unwanted", "dim"
    if unmapped := [run for run in runs if run.unmapped]:
        rest = f" +{len(runs) - len(unmapped)}" if len(runs) > len(unmapped) else ""
        return f"UNMAPPED {unmapped[0].task}{rest}", "fail"
    if len(runs) == 1:
        word, role = STATES[runs[0].state]
        return f"{word} {runs[0].task}", role
    words = Counter(STATES[run.state][0] for run in runs)
    bad = next((run.state for run in runs if run.state in (State.DEAD, State.FAILED, State.TIMED_OUT)), None)
    parts = " ".join(f"{number} {word}" for word, number in words.items())
    return f"{len(runs)} runs: {parts}", "" if bad is None else "fail"
