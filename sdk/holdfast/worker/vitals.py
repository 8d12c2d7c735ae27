"""How a worker process fares: the processor time and memory that it uses, and how many runs it ends.

May be asked from any thread; nothing is asked of the system but the clock of the process and one small file.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from holdfast.core.model import Seconds

RATE_OVER: Seconds = 10.0
"""Over which the rate is taken."""

SETTLED: Seconds = 0.5
"""The share of the processor is taken over at least so long: asked sooner, the one before is told again."""

_STATM = Path("/proc/self/statm")


class Vital(NamedTuple):
    """How a process fares at a moment; as `wire.api.Presence` says it."""

    cpu: float
    rss: int
    done_rate: float


class Vitals:
    """Of this process."""

    def __init__(
        self, clock: Callable[[], Seconds] = time.monotonic, spent: Callable[[], Seconds] = time.process_time
    ) -> None:
        """
        Args:
            clock: any that only goes forward.
            spent: the processor time of all threads of the process.
        """
        self._clock = clock
        self._spent = spent
        self._lock = threading.Lock()
        self._begun = self._at = clock()
        self._spent_at = spent()
        self._cpu = 0.0
        self._ends: deque[Seconds] = deque()
        """When the newest runs ended."""

    def ended(self) -> None:
        """A run has ended here."""
        now = self._clock()
        with self._lock:
            self._ends.append(now)
            self._forget(now)

    def now(self) -> Vital:
        """How it fares."""
        now = self._clock()
        with self._lock:
            self._forget(now)
            if (passed := now - self._at) >= SETTLED:
                spent = self._spent()
                self._cpu = max(0.0, spent - self._spent_at) / passed
                self._at, self._spent_at = now, spent
            over = min(RATE_OVER, max(now - self._begun, 1.0))
            return Vital(round(self._cpu, 4), resident(), round(len(self._ends) / over, 3))

    def _forget(self, now: Seconds) -> None:
        while self._ends and self._ends[0] <= now - RATE_OVER:
            self._ends.popleft()


def resident() -> int:
    """Bytes of memory that the process has; where the system tells only the most that it had, that; else 0."""
    try:
        return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return _most()


def _most() -> int:
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # bytes there, kilobytes elsewhere
