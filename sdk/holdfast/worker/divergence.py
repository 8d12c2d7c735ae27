"""Whether a run's code takes another way than its journal: it comes to new awaits, and some that are recorded are lost.

A recorded await that the code has not come to is no sign by itself: its branch may be slower than others, held up by
what is no checkpoint (a connection that is opened, a semaphore). It is *lost* where nobody is left to come to it: it
was not made yet, and whoever would make it, the code of the await that it lies within, stands at a new await itself.
"""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakValueDictionary

from holdfast.bus.clock import Clock, sleep
from holdfast.core.model import Instant, Seconds
from holdfast.core.recall import Recall

TURNS = 25
"""Of the event loop, in which nothing is recalled: then code that others wait for has come as far as it can at once."""

LOOK: Seconds = 0.02
"""Between two looks at what others have come to."""

DOUBT: Seconds = 0.2
"""How long new awaits of a resumed run wait for others, all together; after that they go on, and no verdict is given
without proof: those that they wait for may wait for them."""


class Ways:
    """Where the code of a run has come to, as far as it matters for what it can come to yet."""

    def __init__(self, recall: Recall, clock: Clock) -> None:
        self._owners: WeakValueDictionary[str, asyncio.Task[Any]] = WeakValueDictionary()
        """By await that is under way, "" for the task's own body: who runs its code. Weak, or code that is let go would
        be a cycle to collect."""
        self.fans: set[str] = set()
        """Fan-outs: all that lies in one was made with it."""
        self._recall = recall
        self._clock = clock
        self._standing: set[asyncio.Task[Any] | None] = set()
        """Who has come to a new await and does not go on yet."""
        self._until: Instant | None = None

    def begin(self, key: str) -> None:
        """The current asyncio task runs the code of an await, from now on."""
        task = asyncio.current_task()
        assert task is not None
        self._owners[key] = task

    def end(self, key: str) -> None:
        """And no more."""
        self._owners.pop(key, None)

    async def lost(self) -> tuple[str, ...]:
        """At a new await: the recorded ones that are lost; empty: none, or none that is known to be."""
        task = asyncio.current_task()
        self._standing.add(task)
        try:
            await self._turns()
            if self._until is None:
                self._until = self._clock.now() + DOUBT
            while not (lost := self._judged()) and not self._recall.caught_up and self._clock.now() < self._until:
                await sleep(self._clock, LOOK)
            return lost
        finally:
            self._standing.discard(task)

    async def _turns(self) -> None:
        """Let other branches come to what is recorded."""
        left, turns = len(self._recall.unseen), 0
        while turns < TURNS and not self._recall.caught_up:
            await asyncio.sleep(0)
            turns = turns + 1 if len(self._recall.unseen) == left else 0
            left = len(self._recall.unseen)

    def _judged(self) -> tuple[str, ...]:
        return tuple(sorted(key for key in self._recall.unseen if self._is_lost(key)))

    def _is_lost(self, key: str) -> bool:
        within = key
        while within and not self._recall.made(within):
            within = within.rpartition("/")[0]
        if within == key:
            return False  # made, and its turn comes
        owner = self._owners.get(within)
        return within in self.fans or (owner is not None and owner in self._standing)
