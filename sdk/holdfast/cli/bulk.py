"""Many runs answered one after the other at a bounded rate; can be stopped at any moment and begun again.

Each run is answered by one append to its own journal, so a run that somebody else answered meanwhile is refused and
counted, and what is done stays done when the rest is not.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Sequence

import anyio

from holdfast.cli.output import Output
from holdfast.cli.text import count, visible
from holdfast.errors import HoldfastError, RunStateError, UnknownRun

AT_ONCE = 16
"""How many are under way at the same time."""

REDRAW = 0.1
"""Seconds between two drawings of the progress line."""


class Answers:
    """How far a selection of runs has been answered."""

    def __init__(self, total: int, verb: str, out: Output) -> None:
        self.total = total
        self.verb = verb
        self.done = 0
        self.refused: list[tuple[str, str]] = []
        self._out = out
        self._live = sys.stderr.isatty() and not out.json
        self._drawn = 0.0

    def __str__(self) -> str:
        return f"{self.total:,}: {self.done:,} {self.verb}, {len(self.refused):,} refused"

    def took(self, run: str) -> None:
        """A run was answered."""
        self.done += 1
        if self._out.json:
            self._out.record({"run": run, "outcome": self.verb, "message": ""})
        self._draw()

    def refuse(self, run: str, message: str) -> None:
        """A run could not be answered; the others go on."""
        self.refused.append((run, message))
        if self._out.json:
            self._out.record({"run": run, "outcome": "refused", "message": message})
        self._draw()

    def _draw(self) -> None:
        now = time.monotonic()
        if self._live and now - self._drawn >= REDRAW:
            self._drawn = now
            print(f"\r{self}\x1b[K", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Print the refusals and how far it got."""
        if self._live and self._drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        if self._out.json:
            return
        for run, message in self.refused:
            self._out.line(f"refused {run}  {visible(message)}")
        left = self.total - self.done - len(self.refused)
        self._out.line(f"{self}; {count(left, 'letter')} left, the same command goes on there" if left else str(self))


async def answer(
    runs: Sequence[str], act: Callable[[str], Awaitable[object]], answers: Answers, *, per_second: float | None = None
) -> None:
    """Do something to each run, in order of start, at most so many per second.

    Raises:
        HoldfastError: what stops all of them, like a lost connection; those that were done stay done.
    """
    fatal: list[Exception] = []
    slots = anyio.Semaphore(AT_ONCE)

    async def one(run: str) -> None:
        try:
            await act(run)
            answers.took(run)
        except (RunStateError, UnknownRun) as error:
            answers.refuse(run, str(error))
        except (HoldfastError, BrokenPipeError) as error:
            fatal.append(error)
            tasks.cancel_scope.cancel()
        finally:
            slots.release()

    begin = anyio.current_time()
    try:
        async with anyio.create_task_group() as tasks:
            for number, run in enumerate(runs):
                if per_second is not None:
                    await anyio.sleep_until(begin + number / per_second)
                await slots.acquire()
                tasks.start_soon(one, run)
    finally:
        answers.close()
    if fatal:
        raise fatal[0]
