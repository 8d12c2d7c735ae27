"""A worker's connection to the bus in memory, cut with its life; it can be cut at any of its writes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from enum import StrEnum
from typing import NoReturn, Protocol, TypeVar

from holdfast.bus.memory import MemoryBus, MemoryServer
from holdfast.bus.ports import Fence, Handler, Item, Listener, Message, Publication, Puller, Responder
from holdfast.core.model import Instant, Seconds
from holdfast.errors import DaemonUnavailable
from holdfast.testing.life import Life
from holdfast.wire.subjects import Stream

T = TypeVar("T")


class Moment(StrEnum):
    """When a worker dies, as seen from a message that it stores."""

    BEFORE = "before"
    """It is not stored."""
    AFTER = "after"
    """It is stored, and nobody in the worker learns of that."""


class Fate(Protocol):
    """Decides at which of its writes a worker dies."""

    def writes(self, subject: str, data: bytes) -> Moment | None:
        """A worker is about to store this message in the journal; None: it lives on."""


class Immortal:
    """The fate of a worker that does not die by its writes."""

    def writes(self, subject: str, data: bytes) -> Moment | None:
        return None


class Line(MemoryBus):
    """One worker's bus."""

    def __init__(self, project: str, server: MemoryServer, life: Life, fate: Fate) -> None:
        super().__init__(project, server, ack_wait=math.inf)  # nobody falls silent here without our knowing
        self.items: set[str] = set()
        """The work items that were delivered and not settled."""
        self._life = life
        self._fate = fate

    async def publish(
        self,
        subject: str,
        data: bytes,
        *,
        expect: int | None = None,
        dedupe: str | None = None,
        fence: Fence | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> int:
        return await self._write(subject, data, lambda: super(Line, self).publish(
            subject, data, expect=expect, dedupe=dedupe, fence=fence, headers=headers
        ))  # fmt: skip

    async def publish_many(self, messages: list[Publication]) -> list[int | Exception]:
        outcomes: list[int | Exception] = []
        for message in messages:  # not atomic, so a death may come between any two
            outcomes += await self._write(
                message.subject,
                message.data,
                lambda message=message: super(Line, self).publish_many([message]),  # type: ignore[misc]
            )
        return outcomes

    async def publish_at(self, subject: str, data: bytes, *, due: Instant, target: str) -> int:
        return await self._write(subject, data, lambda: super(Line, self).publish_at(
            subject, data, due=due, target=target
        ))  # fmt: skip

    async def _write(self, subject: str, data: bytes, store: Callable[[], Awaitable[T]]) -> T:
        if not subject.startswith((self.subjects.journal[:-1], self.subjects.letters[:-1])):
            return await store()
        dies = self._fate.writes(subject, data)
        if dies is Moment.BEFORE:
            await self._die()
        stored = await store()
        if dies is Moment.AFTER:
            await self._die()
        return stored

    async def _die(self) -> NoReturn:
        self._life.end()
        await asyncio.get_running_loop().create_future()
        raise AssertionError("the dead do not go on")

    async def follow(
        self, stream: Stream, filter: str, *, first: int, idle: Seconds = 0.2, most: int = 2000
    ) -> AsyncGenerator[list[Message], None]:
        async with aclosing(super().follow(stream, filter, first=first, idle=math.inf, most=most)) as news:
            async for messages in news:
                yield messages

    async def pull(self, consumer: str, handler: Handler) -> Puller:
        def deliver(item: Item) -> None:
            self.items.add(item.token)
            self._life.call(handler, item)

        return await super().pull(consumer, deliver)

    def settle(self, token: str) -> None:
        self.items.discard(token)
        super().settle(token)

    def release(self, token: str, *, after: Seconds = 0.0) -> None:
        if after == 0.0:  # later means: for a worker that has the task, and there is none but this one
            super().release(token)

    async def listen(self, subject: str, listener: Listener) -> Callable[[], Awaitable[None]]:
        return await super().listen(subject, lambda told, data: self._life.call(listener, told, data))

    async def serve(self, subject: str, responder: Responder) -> Callable[[], Awaitable[None]]:
        async def answer(data: bytes) -> bytes:
            if self._life.ended:
                raise DaemonUnavailable("the worker that answered this was killed")
            task: asyncio.Task[bytes] = asyncio.get_running_loop().create_task(
                _awaited(responder(data)), context=self._life.context.copy()
            )
            return await task

        return await super().serve(subject, answer)


async def _awaited(answer: Awaitable[bytes]) -> bytes:
    return await answer
