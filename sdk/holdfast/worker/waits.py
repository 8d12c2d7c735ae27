"""What a run waits for, and when it does nothing but wait, so that its slot can be given away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from holdfast.core.entries import ChildEnded, Entry
from holdfast.core.recall import Outcome, Recall

LINGER = 0.1
"""Seconds for which a run that only waits stays with its worker: what comes quickly needs no resume."""


class Waits:
    """The waits of one claim of a run."""

    def __init__(self, recall: Recall, under_way: Mapping[str, float]) -> None:
        """
        Args:
            under_way: the steps that run, by key.
        """
        self.on_quiet: Callable[[], None] = lambda: None
        """Called when nothing is under way but waits, for a while."""
        self._recall = recall
        self._under_way = under_way
        self._pending: dict[str, asyncio.Future[None]] = {}
        self._moves = 0

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of what is waited for: child runs."""
        return tuple(child for key in self._pending if (child := self._recall.child(key)) is not None)

    async def arrival(self, key: str) -> Outcome:
        """Wait until the outcome of an await has come in."""
        while (arrived := self._recall.take(key)) is None:
            self._pending[key] = asyncio.get_running_loop().create_future()
            self.stir()
            try:
                await self._pending[key]
            finally:
                del self._pending[key]
                self.stir()
        return arrived

    def hear(self, entry: Entry) -> None:
        """Take in what somebody told the run."""
        self._recall.add(entry)
        if isinstance(entry, ChildEnded) and (waiting := self._pending.get(entry.key)) and not waiting.done():
            waiting.set_result(None)

    def stir(self) -> None:
        """Something began or ended: only when nothing does so for a while is the run quiet."""
        self._moves += 1
        if self._pending:
            asyncio.get_running_loop().call_later(LINGER, self._check, self._moves)

    def _check(self, moves: int) -> None:
        if moves == self._moves and self._pending and all(self._blocked(key) for key in self._under_way):
            self.on_quiet()

    def _blocked(self, key: str) -> bool:
        """Whether a step that is under way does nothing but wait, in an await below it."""
        return any(wait.startswith(f"{key}/") for wait in self._pending)
