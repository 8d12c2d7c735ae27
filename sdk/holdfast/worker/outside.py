"""What a run waits for outside of itself: time, tokens, events, signals; its child runs are in `children`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from holdfast.bus.ports import Message
from holdfast.core.entries import (
    Signalled,
    StepCompleted,
    WaitStarted,
)
from holdfast.core.model import Instant
from holdfast.errors import (
    WaitTimeout,
)
from holdfast.wire import codec
from holdfast.wire.subjects import Stream
from holdfast.worker.children import Children


class Outside(Children):
    """The waits of a run in one worker, each a checkpoint."""

    unread = False
    """Whether the run was begun without reading what it had been told by then."""
    _reading: asyncio.Future[list[Message]] | None = None

    async def _sleep(self, key: str, due: Callable[[Instant], Instant]) -> None:
        outcome = await self.known(key)
        if outcome is not None:
            await self.recalled(key, outcome)
            return
        await self.ready(key)
        started = self._wait_started(key, "sleep", "", due(self.now()))
        with self.cuttable(key, started.at):
            await self.waits.arrival(key, lambda: None, due=started.due)
        await self.completed(key, started.at, None)

    async def _outside(
        self,
        key: str,
        wait: str,
        kind: str,
        what: str,
        *,
        due: Instant | None,
        began: Instant | None = None,
        **more: Any,
    ) -> Any:
        """Wait for a token or an event.

        Args:
            began: when its time began; None: with the wait.
        """
        outcome = await self.known(key)
        if outcome is None:
            await self.ready(key)
            started = self._wait_started(key, kind, wait, due, **more)
            with self.cuttable(key, started.at):
                outcome = await self.waits.arrival(
                    key, lambda: self.recall.take(key), wait=lambda: started.wait, due=started.due
                )
            if outcome is None:
                allowed = (started.due or 0.0) - (started.at if began is None else began)
                error = WaitTimeout(f"{what} did not come within {round(allowed, 3)} s")
                await self.failed(key, started.at, error)
                raise error
        return await self.recalled(key, outcome)

    def _wait_started(self, key: str, kind: str, wait: str, due: Instant | None, **more: Any) -> WaitStarted:
        """How the wait began: recorded before, or now."""
        started = self.recall.wait(key)
        if started is None:
            started = WaitStarted(key, self.now(), wait, kind, due, **more)
            self.recall.add(started)
        elif kind != "event" or any(expected.wait == started.wait for expected in self.writer.run.expected):
            return started
        self.writer.write(*self.passed_over(), started)
        return started

    async def _signal(self, key: str, name: str) -> Any:
        outcome = await self.known(key)
        if outcome is not None:
            return await self.recalled(key, outcome)
        await self.ready(key)
        if self.unread:
            await self._read_inbox()
        started = self._wait_started(key, "signal", "", None, subject=name)
        with self.cuttable(key, started.at):
            signal = await self.waits.arrival(
                key, lambda: self.recall.take_signal(name), wait=lambda: self.recall.next_signal(name)
            )
        assert signal is not None
        now = self.now()
        await self.record(StepCompleted(key, now, now - started.at, signal.value))
        return await self.stored.decode(signal.value)

    async def _read_inbox(self) -> None:
        """Take in the signals that were sent before this worker had the run: it began with it unread."""
        if self._reading is None:
            inbox, run = self._journal.bus.subjects.inbox(self.id), self.writer.run
            first = run.first if run.scheduled_at == run.created_at else 1  # a delayed one was there before it fired
            read = lambda: self._journal.bus.read(Stream.JOURNAL, inbox, first=first)  # noqa: E731
            self._reading = asyncio.ensure_future(self._journal.insist(read))
        told = [codec.decode_entry(message.data) for message in await asyncio.shield(self._reading)]
        if self.unread:
            self.unread = False
            self.recall.came_before(entry for entry in told if isinstance(entry, Signalled))
