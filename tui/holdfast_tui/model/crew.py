"""The workers that are there, and those that were a moment ago: one that falls silent is lost, with what it held."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from holdfast.core.model import Instant, Seconds
from holdfast.wire.api import Presence

SHOWN: Seconds = 600.0
"""How long a worker that was lost is shown."""

BEATS = 60
"""Figures that are kept of each worker."""


class Mate(NamedTuple):
    """A worker."""

    seen: Presence
    """What it said last."""
    lost_at: Instant | None = None
    """Since when nothing is heard of it."""
    cpu: tuple[float, ...] = ()
    """Shares of a core, oldest first."""
    rss: tuple[int, ...] = ()

    @property
    def state(self) -> str:
        """`ok`, `DRAIN` or `LOST`."""
        return "LOST" if self.lost_at is not None else "DRAIN" if self.seen.draining else "ok"


class Crew:
    """Takes in who is there, look by look."""

    def __init__(self) -> None:
        self.mates: dict[str, Mate] = {}
        """By name."""
        self._cpu: dict[str, deque[float]] = {}
        self._rss: dict[str, deque[int]] = {}

    def take(self, presences: Iterable[Presence], now: Instant) -> None:
        """Take in a look. Who drained, held nothing and went has left; whoever else is not there any more is lost."""
        here = {presence.worker: presence for presence in presences}
        for name, mate in list(self.mates.items()):
            if name in here:
                continue
            left = mate.seen.draining and not mate.seen.running
            lost_at = now if mate.lost_at is None else mate.lost_at
            if left or now - lost_at > SHOWN:
                self._forget(name)
            else:
                self.mates[name] = mate._replace(lost_at=lost_at)
        for presence in here.values():
            self._see(presence)

    def _see(self, presence: Presence) -> None:
        name = presence.worker
        before = self.mates.get(name)
        cpu = self._cpu.setdefault(name, deque(maxlen=BEATS))
        rss = self._rss.setdefault(name, deque(maxlen=BEATS))
        if before is None or before.seen.at != presence.at:
            cpu.append(presence.cpu)
            rss.append(presence.rss)
        self.mates[name] = Mate(presence, None, tuple(cpu), tuple(rss))

    def _forget(self, name: str) -> None:
        for kept in (self.mates, self._cpu, self._rss):
            kept.pop(name, None)
