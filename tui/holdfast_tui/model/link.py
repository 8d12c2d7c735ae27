"""How the desk stands to the server: when it last answered, how long that took, and what went wrong since."""

from __future__ import annotations

from math import ceil

from holdfast.core.model import Instant, Seconds
from holdfast_tui.format import Cell, age

STALE: Seconds = 5.0
"""Data older than this is called stale, and changes are refused."""
SLOW: Seconds = 1.0
"""A round trip longer than this is called slow."""
DOWN: Seconds = 60.0
"""Data older than this counts for nothing: the link is called down."""
BACKOFF = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Pauses between attempts to connect, the last one for ever."""


class Link:
    """The state of the link; the clock is a parameter."""

    def __init__(self) -> None:
        self.answered_at: Instant | None = None
        self.trip: Seconds = 0.0
        """The last round trip."""
        self.why = ""
        """What went wrong since the last answer, in one line."""
        self.attempts = 0
        """To connect or to get an answer, since there was one."""
        self.next_at: Instant | None = None
        """When the next one is made."""

    def answered(self, now: Instant, trip: Seconds) -> None:
        self.answered_at, self.trip, self.why = now, trip, ""
        self.attempts, self.next_at = 0, None

    def failed(self, why: str) -> None:
        self.why = (why.splitlines() or [""])[0] or "no answer"

    def waits(self, now: Instant) -> Seconds:
        """Count one more attempt to connect; returns the pause before the next."""
        pause = BACKOFF[min(self.attempts, len(BACKOFF) - 1)]
        self.attempts += 1
        self.next_at = now + pause
        return pause

    def due(self, now: Instant) -> bool:
        """Whether to ask, or to wait still for the next attempt."""
        return self.next_at is None or now >= self.next_at

    def live(self, now: Instant) -> bool:
        return self.answered_at is not None and not self.why and now - self.answered_at <= STALE

    def refusal(self, now: Instant) -> str:
        """Why nothing can be changed now; empty where it can."""
        if self.live(now):
            return ""
        return f"no link to the server: {self.why or 'no answer yet'}"

    def cells(self, now: Instant) -> list[Cell]:
        """For row 1."""
        if self.live(now):
            if self.trip > SLOW:
                return [(f"SLOW {self.trip:.1f}s", "warn")]
            return [("LIVE", "")]
        if self.answered_at is None and not self.why:
            return [("CONNECTING", "warn")]
        old = None if self.answered_at is None else now - self.answered_at
        word = "DOWN" if old is None or old > DOWN else "STALE"
        text = word if old is None else f"{word} {age(old)}"
        if self.next_at is not None:
            wait = ceil(self.next_at - now)
            return [(text, "dead"), (f"  reconnect {self.attempts}, {f'in {age(wait)}' if wait > 0 else 'now'}", "")]
        return [(text, "dead")]
