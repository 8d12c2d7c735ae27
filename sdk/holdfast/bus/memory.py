"""The bus in one process, for tests: what `jetstream` promises, without a server and with a clock that can be moved.

    clock = VirtualClock()
    server = MemoryServer(clock)
    first, second = MemoryBus("shop", server), MemoryBus("shop", server)    # two workers
    clock.advance(60)                                                       # timers fire, acks expire

Nothing outlives the process, and nothing is ever unanswered.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import NamedTuple, Self

from holdfast.bus.clock import Clock, VirtualClock, WallClock
from holdfast.bus.layout import Layout
from holdfast.bus.memory_consumer import TOKEN, MemoryConsumer, MemoryPull
from holdfast.bus.memory_server import Desk, Ear, MemoryServer, Project
from holdfast.bus.memory_stream import MemoryStream, matches
from holdfast.bus.ports import (
    ACK_WAIT,
    MAX_PAYLOAD,
    ConsumerState,
    Fence,
    Handler,
    Listener,
    Message,
    Publication,
    Puller,
    Responder,
    Source,
    check_dedupe,
    check_subject,
    consumer_name,
    source,
    stands_still,
)
from holdfast.core.model import Instant, Seconds
from holdfast.errors import (
    BusError,
    ConnectError,
    DaemonUnavailable,
    Fenced,
    HoldfastError,
    Refused,
    TooLarge,
    Unanswered,
)
from holdfast.wire import headers
from holdfast.wire.subjects import Lane, Stream, Subjects

__all__ = ["MemoryBus", "MemoryServer", "VirtualClock", "WallClock"]

_PAUSED, _GOVERNED = "paused", "governed"
_SET = b"1"
"""A flag that is not set is empty, not gone: those who follow it see that it was taken back."""


class MemoryBus:
    """A project's messages in memory; used as `ports.Bus`."""

    def __init__(
        self,
        project: str,
        server: MemoryServer | None = None,
        *,
        clock: Clock | None = None,
        ack_wait: Seconds = ACK_WAIT,
    ) -> None:
        self.subjects = Subjects(project)
        self.server = server or MemoryServer(clock)
        self._clock = self.server.clock
        self._ack_wait = ack_wait
        self._closed = False
        self._stops: list[Callable[[], Awaitable[None]]] = []
        self._stirs: set[_Stir] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def ensure_streams(self, layout: Layout | None = None) -> None:
        """Streams need no making; what else the layout stores as events is stored from now on."""
        if layout is not None:
            self._project.filters[Stream.EVENTS] = [self.subjects.events, *layout.events_subjects]

    async def remove_streams(self) -> None:
        """Delete the project with all its messages."""
        self.server.remove(self.subjects.project)

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
        await self._turn()
        return self._store(Publication(subject, data, expect, dedupe, fence, headers))

    async def publish_many(self, messages: list[Publication]) -> list[int | Exception]:
        await self._turn()
        outcomes: list[int | Exception] = []
        for message in messages:
            try:
                outcomes.append(self._store(message))
            except HoldfastError as error:
                outcomes.append(error)
        return outcomes

    def _store(self, message: Publication) -> int:
        subject, data, expect, dedupe, fence, own = message
        if dedupe is not None:
            check_dedupe(dedupe)
        block = _block(own, dedupe)
        stream = self._taker(subject, data)
        if fence is not None and (last := stream.last_of(fence.subject)) != fence.seq:
            raise Fenced(fence.subject, expected=fence.seq, found=last)
        return stream.store(subject, data, expect=expect, dedupe=dedupe, headers=block)

    async def publish_at(self, subject: str, data: bytes, *, due: Instant, target: str) -> int:
        await self._turn()
        stream = self._taker(subject, data)
        if self._taker(target, b"") is not stream or stream is not self._stream(Stream.JOURNAL) or target == subject:
            raise BusError(f"{subject}: expected a target of the same stream to fire at, found {target}")
        return stream.store_timer(subject, data, due=due, target=target)

    async def last(self, stream: Stream, subject: str) -> Message | None:
        await self._turn()
        check_subject(subject)
        return self._stream(stream).last(subject)

    async def latest(self, stream: Stream, filter: str) -> list[Message]:
        await self._turn()
        return self._stream(stream).latest(filter)

    async def read(self, stream: Stream, filter: str, *, first: int = 1, limit: int | None = None) -> list[Message]:
        await self._turn()
        return list(self._stream(stream).matching(filter, first))[:limit]

    async def last_seq(self, stream: Stream) -> int:
        await self._turn()
        return self._stream(stream).last_seq

    async def first_since(self, stream: Stream, when: Instant) -> int:
        await self._turn()
        return self._stream(stream).first_since(when)

    async def delete(self, stream: Stream, seq: int) -> bool:
        await self._turn()
        return self._stream(stream).delete(seq)

    async def purge(self, stream: Stream, filter: str) -> int:
        await self._turn()
        kept = self._stream(stream)
        return sum(kept.delete(message.seq) for message in list(kept.matching(filter)))

    async def follow(
        self, stream: Stream, filter: str, *, first: int, idle: Seconds = 0.2, most: int = 2000
    ) -> AsyncGenerator[list[Message], None]:
        kept = self._stream(stream)
        stir = _Stir(self._clock)
        kept.stored.append(stir.stored)
        self._stirs.add(stir)
        try:
            held, caught, last = kept.last_seq, False, max(first, 1) - 1
            while True:
                await self._turn()
                batch = list(itertools.islice(kept.matching(filter, last + 1), most))
                if batch:
                    last = batch[-1].seq
                    yield batch
                else:
                    last = max(last, kept.last_seq)
                if not caught and (last >= held or not batch):
                    caught = True
                    yield []
                elif not batch and not await stir.wait(idle):
                    yield []
        finally:
            kept.stored.remove(stir.stored)
            self._stirs.discard(stir)

    async def ensure_consumer(self, queue: str, priority: int = 0, *, lane: Lane = Lane.READY) -> str:
        await self._turn()
        name = consumer_name(queue, priority, lane)
        consumers = self._project.consumers
        if name not in consumers:
            filter = self.subjects.items(queue, priority, lane)
            consumers[name] = MemoryConsumer(
                self._stream(Stream.JOURNAL), self._clock, name, filter, self._ack_wait, self.server.context
            )
            consumers[name].paused = self._stands_still(Source(lane, queue))
        return name

    async def pull(self, consumer: str, handler: Handler) -> Puller:
        await self._turn()
        found = self._project.consumers.get(consumer)
        if found is None:
            raise BusError(f"expected the consumer {consumer} to exist: ensure it first")
        pull = MemoryPull(found, handler)
        self._stops.append(pull.stop)
        return pull

    def settle(self, token: str) -> None:
        if found := self._delivered(token):
            found.consumer.settle(found.seq)

    def release(self, token: str, *, after: Seconds = 0.0) -> None:
        if found := self._delivered(token):
            if after > 0:
                found.consumer.extend(found.seq, after)
            else:
                found.consumer.release(found.seq)

    def extend(self, token: str) -> None:
        if found := self._delivered(token):
            found.consumer.extend(found.seq)

    async def pause(self, queue: str, *, paused: bool) -> None:
        await self.put(_PAUSED, queue, _SET if paused else b"")
        self._still(queue)

    async def paused(self) -> frozenset[str]:
        await self._turn()
        return self._flagged(_PAUSED)

    async def govern(self, queue: str) -> None:
        await self.put(_GOVERNED, queue, _SET)
        self._still(queue)

    async def governed(self) -> frozenset[str]:
        await self._turn()
        return self._flagged(_GOVERNED)

    async def consumers(self) -> list[ConsumerState]:
        await self._turn()
        return [consumer.state for _, consumer in sorted(self._project.consumers.items())]

    async def put(self, what: str, name: str, data: bytes, *, ttl: Seconds | None = None) -> int:
        await self._turn()
        if ttl is not None and ttl < 1:
            raise BusError(f"{what}.{name}: expected a time to live of at least 1 s, found {ttl:g}")
        subject = self.subjects.control(what, name)
        return self._taker(subject, data).store(subject, data, ttl=ttl)

    def send(self, subject: str, data: bytes) -> None:
        check_subject(subject)
        if not self._closed:
            self.server.hear(subject, data)

    async def listen(self, subject: str, listener: Listener) -> Callable[[], Awaitable[None]]:
        await self._turn()
        ear = Ear(subject, listener)
        self.server.ears.append(ear)

        async def stop() -> None:
            if ear in self.server.ears:
                self.server.ears.remove(ear)

        self._stops.append(stop)
        return stop

    async def request(self, subject: str, data: bytes, *, timeout: Seconds = 5.0) -> bytes:
        await self._turn()
        check_subject(subject)
        self.server.hear(subject, data)
        desk = self.server.next_desk(subject)
        if desk is None:
            raise DaemonUnavailable(f"nobody answers {subject}: is the daemon running (`holdfast up`)?")
        answer: asyncio.Future[bytes | Refused] = asyncio.get_running_loop().create_future()
        desk.take(data, answer)
        late = Refused("", code="")
        cancel = self._clock.call_at(self._clock.now() + timeout, lambda: _resolve(answer, late))
        try:
            found = await answer
        finally:
            cancel()
        if found is late:
            raise Unanswered(f"{subject}: no answer in time ({timeout:g} s); whether it was done is unknown")
        if isinstance(found, Refused):
            raise found
        return found

    async def serve(self, subject: str, responder: Responder) -> Callable[[], Awaitable[None]]:
        await self._turn()
        desk = Desk(subject, responder, self.server.context)
        self.server.desks.append(desk)

        async def stop() -> None:
            if desk in self.server.desks:
                self.server.desks.remove(desk)
            await desk.finish()

        self._stops.append(stop)
        return stop

    def on_reconnect(self, call: Callable[[], None]) -> None:
        """Never happens."""

    @property
    def connected(self) -> bool:
        return not self._closed

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            for stir in list(self._stirs):
                stir.wake()
            for stop in self._stops:
                await stop()

    @property
    def _project(self) -> Project:
        return self.server.project(self.subjects.project)

    async def _turn(self) -> None:
        """Let others run, as every question to a server does."""
        await asyncio.sleep(0)
        if self._closed:
            raise ConnectError("this bus was closed")

    def _stream(self, stream: Stream) -> MemoryStream:
        return self._project.streams[stream]

    def _taker(self, subject: str, data: bytes) -> MemoryStream:
        check_subject(subject)
        if len(data) > MAX_PAYLOAD:
            raise TooLarge(f"{subject}: {len(data)} bytes, the server takes {MAX_PAYLOAD}: store it elsewhere")
        project = self._project
        for stream, filters in project.filters.items():
            if any(matches(filter, subject) for filter in filters):
                return project.streams[stream]
        raise BusError(f"{subject}: no stream takes this subject; nothing was stored")

    def _flagged(self, what: str) -> frozenset[str]:
        flags = self._stream(Stream.CONTROL).latest(self.subjects.control(what, "*"))
        return frozenset(flag.subject.rpartition(".")[2] for flag in flags if flag.data)

    def _stands_still(self, source: Source) -> bool:
        paused, governed = source.queue in self._flagged(_PAUSED), source.queue in self._flagged(_GOVERNED)
        return stands_still(source, paused=paused, governed=governed)

    def _still(self, queue: str) -> None:
        """Pause or resume the consumers of a queue, as its flags say."""
        for name, consumer in self._project.consumers.items():
            origin = source(name)
            if origin is not None and origin.queue == queue:
                consumer.paused = self._stands_still(origin)
                consumer.wake()

    def _delivered(self, token: str) -> _Delivered | None:
        name, _, seq = token.removeprefix(TOKEN).rpartition(".")
        consumer = self._project.consumers.get(name)
        return None if consumer is None or self._closed else _Delivered(consumer, int(seq))


class _Delivered(NamedTuple):
    consumer: MemoryConsumer
    seq: int


class _Stir:
    """Wakes a follower."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiter: asyncio.Future[bool] | None = None

    async def wait(self, longest: Seconds) -> bool:
        """Whether something was stored before so many seconds were over."""
        self._waiter = asyncio.get_running_loop().create_future()
        cancel = self._clock.call_at(self._clock.now() + longest, lambda: self.wake(stored=False))
        try:
            return await self._waiter
        finally:
            cancel()
            self._waiter = None

    def stored(self, message: Message, fired: bool) -> None:
        self.wake()

    def wake(self, *, stored: bool = True) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(stored)


def _block(own: Mapping[str, str] | None, dedupe: str | None) -> bytes:
    """The headers that a message is kept with."""
    headers.check(own or {})
    marked = {headers.ID: dedupe} if dedupe is not None else {}
    return headers.render({**marked, **(own or {})})


def _resolve(answer: asyncio.Future[bytes | Refused], found: bytes | Refused) -> None:
    if not answer.done():
        answer.set_result(found)
