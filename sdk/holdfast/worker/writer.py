"""How a held run's entries reach its journal: one append in flight, everything that came meanwhile in the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from holdfast.bus.journal import Journal
from holdfast.core.entries import Entry
from holdfast.core.lifecycle import Kind, Record, apply
from holdfast.core.model import Run
from holdfast.errors import Fenced, HoldfastError


class LostRun(BaseException):
    """The run is somebody else's now: whoever holds it goes on with it.

    User code must not swallow it, so it is no Exception.
    """


class Writer:
    """Appends the entries of one claim, in order, and folds them into `run`."""

    def __init__(self, journal: Journal, run: Run, claimed: tuple[Entry, ...], nonce: str) -> None:
        self.run = run
        """The run as far as this claim knows it."""
        self.on_lost: Callable[[str], None] = lambda why: None
        """Called once when an append is refused: the run is somebody else's."""
        self._unclaimed = claimed
        self._journal = journal
        self.nonce = nonce
        self._claim: asyncio.Future[None] | None = None
        self._pending: list[Entry] = []
        self._next: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._lost: Exception | None = None
        self.closed = False
        """Whether the claim was given up."""
        self.refused = False
        """Whether somebody wanted to write after the claim was given up."""

    @property
    def holds(self) -> bool:
        """Whether the claim is durable."""
        return self.run.holder is not None and self.run.holder.nonce == self.nonce

    def write(self, *entries: Entry) -> asyncio.Future[None]:
        """Append entries, the first time behind those that claim the run; the future is done when they are durable.

        Those of one call, and of all calls until the append leaves, commit as one. The future fails where the run is
        not ours any more; `durable` makes that `LostRun`.

        Raises:
            CancelledError: the claim was given up.
        """
        if self.closed:
            self.refused = True
            raise asyncio.CancelledError
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            self._next.add_done_callback(_looked_at)
        if self._unclaimed:
            self._claim = self._next
        self._pending += (*self._unclaimed, *entries)
        self._unclaimed = ()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._flush())
        return self._next

    def close(self) -> None:
        """The claim is given up with what was written last."""
        self.closed = True

    async def _flush(self) -> None:
        try:
            while self._pending:
                entries, self._pending = tuple(self._pending), []
                done, self._next = self._next, None
                assert done is not None
                try:
                    await self._append(entries)
                except LostRun as lost:
                    done.set_exception(_Lost(str(lost)))
                else:
                    done.set_result(None)
        finally:
            self._task = None

    async def _append(self, entries: tuple[Entry, ...]) -> None:
        if self._lost is not None:
            raise LostRun(str(self._lost))
        try:
            seq = await self._journal.append(self.run.id, self.run.last, self.nonce, entries)
        except (Fenced, HoldfastError) as error:
            self._lost = error
            self.on_lost(str(error))
            raise LostRun(str(error)) from None
        moved = apply(self.run, Record(seq, Kind.LOG, self.nonce, entries))
        assert moved is not None
        self.run = moved

    async def claimed(self) -> None:
        """Wait until the claim is durable; sends it where it has not left. Raises: LostRun."""
        if self._claim is None:
            self.write()
        assert self._claim is not None
        if not self._claim.done() or self._claim.exception() is not None:
            await self.until(self._claim)

    async def durable(self, *entries: Entry) -> None:
        """Append entries and wait until they are durable. Raises: LostRun."""
        await self.until(self.write(*entries))

    @staticmethod
    async def until(done: asyncio.Future[None]) -> None:
        """Wait until what `write` was given is durable. Raises: LostRun."""
        try:
            await asyncio.shield(done)
        except _Lost as lost:
            raise LostRun(str(lost)) from None

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        while self._task is not None:
            await asyncio.wait([self._task])


class _Lost(Exception):
    """`LostRun` on its way through a future, which carries no BaseException well."""


def _looked_at(future: asyncio.Future[None]) -> None:
    """Nobody need await an append for its failure to be known: the next one fails too."""
    if not future.cancelled():
        future.exception()
