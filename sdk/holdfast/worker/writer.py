"""How a held run's entries reach its journal: one append in flight, everything that came meanwhile in the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from holdfast.bus.journal import Journal
from holdfast.core.entries import Entry
from holdfast.core.lifecycle import Kind, Record, apply
from holdfast.core.model import Run
from holdfast.errors import Fenced, HoldfastError
from holdfast.wire import codec

MOST = 900_000
"""Bytes of entries that share an append, so that a server takes the message which takes 1 MiB, unless a single call
has more."""


class LostRun(BaseException):
    """The run is somebody else's now: whoever holds it goes on with it.

    User code must not swallow it, so it is no Exception.
    """


class _Append:
    """Entries that commit as one message, and who waits for it."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.size = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.done.add_done_callback(_looked_at)


class Writer:
    """Appends the entries of one claim, in order, and folds them into `run`."""

    def __init__(self, journal: Journal, run: Run, claimed: tuple[Entry, ...], nonce: str) -> None:
        self.run = run
        """The run as far as this claim knows it."""
        self.on_lost: Callable[[str], None] = lambda why: None
        """Called once when an append is refused: the run is somebody else's."""
        self.awaited = 0
        """How many wait until something is durable: code that goes on then."""
        self.on_durable: Callable[[], None] = lambda: None
        """Called when one of them goes on."""
        self._unclaimed = claimed
        self._journal = journal
        self.nonce = nonce
        self._claim: asyncio.Future[None] | None = None
        self._pending: deque[_Append] = deque()
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

        Those of one call, and of all calls until the append leaves, commit as one, as far as a message holds them. The
        future fails where the run is not ours any more; `durable` makes that `LostRun`.

        Raises:
            CancelledError: the claim was given up.
        """
        if self.closed:
            self.refused = True
            raise asyncio.CancelledError
        entries = (*self._unclaimed, *entries)
        append = self._append_for(sum(len(codec.encode(entry)) for entry in entries))
        append.entries += entries
        if self._unclaimed:
            self._claim = append.done
        self._unclaimed = ()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._flush())
        return append.done

    def _append_for(self, size: int) -> _Append:
        """The append that so many bytes go with: the last one that has not left, or a new one where that is full."""
        last = self._pending[-1] if self._pending else None
        if last is None or (last.entries and last.size + size > MOST):
            last = _Append()
            self._pending.append(last)
        last.size += size
        return last

    def close(self) -> None:
        """The claim is given up with what was written last."""
        self.closed = True

    async def _flush(self) -> None:
        try:
            while self._pending and self._pending[0].entries:
                leaving = self._pending.popleft()
                try:
                    await self._append(tuple(leaving.entries))
                except LostRun as lost:
                    leaving.done.set_exception(_Lost(str(lost)))
                else:
                    leaving.done.set_result(None)
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

    async def until(self, done: asyncio.Future[None]) -> None:
        """Wait until what `write` was given is durable. Raises: LostRun."""
        self.awaited += 1
        try:
            await asyncio.shield(done)
        except _Lost as lost:
            raise LostRun(str(lost)) from None
        finally:
            self.awaited -= 1
            self.on_durable()

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
