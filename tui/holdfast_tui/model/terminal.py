"""How the operator's terminal keeps up: each frame ends with a question, and the answers pace the frames.

What lies between (sshd, TCP, a multiplexer) takes far more than it can carry, so that a full queue is never seen here;
only an answer says that a frame has arrived. Terminals answer in order. One that never answers gets few frames; answers
that come late are believed.
"""

from __future__ import annotations

from collections import deque

from holdfast.core.model import Instant, Seconds
from holdfast_tui.format import Cell

UNANSWERED = 2
"""Frames that may be under way."""
FIRST: Seconds = 1.0
"""Without any answer for so long a terminal counts as one that gives none."""
LOST: Seconds = 10.0
"""What is not answered for so long, in spite of earlier answers, never will be."""
SILENT_PACE: Seconds = 0.5
"""Between frames to a terminal that does not answer."""
SLOW: Seconds = 0.5
"""A round trip longer than this is called slow, until one is shorter than half of it."""
HINT = "the way to this terminal is slow: over ssh, `ssh -C` makes it carry less"


class Terminal:
    """The state of the terminal; the clock, which only goes forward, is a parameter."""

    def __init__(self) -> None:
        self.trip: Seconds | None = None
        """The last round trip; None before the first."""
        self.answers = 0
        """Questions answered."""
        self.silent = False
        """Whether it counts as a terminal that does not answer."""
        self.slow = False
        self.hinted = False
        """Whether the operator was told what helps."""
        self._asked: deque[Instant] = deque()
        self._sent_at: Instant | None = None

    def wait(self, now: Instant) -> Seconds | None:
        """How long until a frame may be sent: 0.0 now; None: not before an answer, but ask again after `LOST`."""
        self._judge(now)
        if self.silent:
            return 0.0 if self._sent_at is None else max(0.0, self._sent_at + SILENT_PACE - now)
        if len(self._asked) < UNANSWERED:
            return 0.0
        if self.answers:
            return None
        return self._asked[0] + FIRST - now

    def sent(self, now: Instant) -> bool:
        """A frame goes out; returns whether to put the question behind it."""
        self._judge(now)
        self._sent_at = now
        if len(self._asked) >= UNANSWERED:
            return False
        self._asked.append(now)
        return True

    def answered(self, now: Instant) -> None:
        """An answer came; it is that to the oldest question."""
        self.silent = False
        self.answers += 1
        if self._asked:
            self.trip = now - self._asked.popleft()
            self.slow = self.trip > (SLOW / 2 if self.slow else SLOW)

    def forget(self) -> None:
        """What is under way will not be answered: another program had the terminal."""
        self._asked.clear()
        self._sent_at = None

    def _judge(self, now: Instant) -> None:
        if not self._asked:
            return
        waited = now - self._asked[0]
        if not self.answers and waited >= FIRST:
            self.silent = True
        if waited >= LOST:
            self.silent = True
            self._asked.clear()

    def cells(self) -> list[Cell]:
        """For row 1: nothing while it keeps up."""
        return [(f"SLOW terminal {self.trip:.1f}s", "warn"), ("  ", "")] if self.slow and self.trip is not None else []

    def hint(self) -> str:
        """What helps a slow one, said once; else empty."""
        if not self.slow or self.hinted:
            return ""
        self.hinted = True
        return HINT
