"""The bus over a NATS server.

One connection (`link`), one inbox for all answers (`asking`), and a file for each protocol that runs over them:
`publishing` (compare-and-set and what to do when no answer comes), `pulling` (work items), `following` (a stream in
order), `fetching` (reads), `serving` (requests). What JetStream does with each is in ADR-8, 13, 31, 43 and 51 of
nats-architecture-and-design.

After a lost connection everything goes on by itself: subscriptions, demands for items and followers are restored
before `on_reconnect` is told. What was under way ends: publishes as `publishing` says, reads are repeated, settlements
are dropped (the items come again).
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self

from holdfast.bus import topology
from holdfast.bus.api import DELETE_FAILED, Api, ApiError, ConsumerInfo, Purged
from holdfast.bus.asking import ANSWER_WITHIN, Asker
from holdfast.bus.fetching import Fetcher
from holdfast.bus.following import Follower
from holdfast.bus.layout import Layout
from holdfast.bus.link import Link
from holdfast.bus.ports import (
    ACK_WAIT,
    ConsumerState,
    Fence,
    Handler,
    Listener,
    Message,
    Publication,
    Puller,
    Responder,
    Source,
    Timer,
    check_subject,
    consumer_name,
    source,
    stands_still,
)
from holdfast.bus.publishing import Publisher, head_of, headers, rfc3339, timer_head
from holdfast.bus.pulling import EXTEND, SETTLE, Pull, release_after
from holdfast.bus.serving import Server, ask_service
from holdfast.core.model import Instant, Seconds
from holdfast.errors import BusError
from holdfast.wire.subjects import Lane, Stream, Subjects

MAX_WAITING = 10_000
"""Requests for items that a consumer keeps; a worker has as many as it has slots."""

_NOT_THERE = ("no message found", "stream store EOF", "message deleted")
_FOREVER = "2200-01-01T00:00:00Z"
_PAUSED, _GOVERNED = "paused", "governed"
_SET = b"1"
"""A flag that is not set is empty, not gone: those who follow it see that it was taken back."""


async def connect(
    url: str,
    *,
    project: str,
    name: str = "holdfast",
    user: str | None = None,
    password: str | None = None,
    creds: str | None = None,
    tls: ssl.SSLContext | None = None,
    ack_wait: Seconds = ACK_WAIT,
    answer_within: Seconds = ANSWER_WITHIN,
) -> JetStreamBus:
    """Connect to a server (or, comma-separated, to one of a cluster) as a project.

    Args:
        name: how the server calls this connection in its monitoring.
        creds: path of a NATS credentials file, instead of user and password.
        ack_wait: for consumers that this bus makes.
        answer_within: how long the server may take to answer, and a connection to come back.

    Raises:
        ConnectError: no server answers there, or it refused the credentials.
    """
    link = Link(url)
    await link.begin(
        [one.strip() for one in url.split(",")], name=name, user=user, password=password, creds=creds, tls=tls
    )
    return JetStreamBus(link, project, ack_wait, answer_within)


class JetStreamBus:
    """A project's messages on a NATS server; made by `connect`, used as `ports.Bus`."""

    def __init__(self, link: Link, project: str, ack_wait: Seconds, answer_within: Seconds) -> None:
        self.subjects = Subjects(project)
        self._link = link
        self._ack_wait = ack_wait
        self._asker = Asker(link, answer_within)
        self._api = Api(self._asker)
        self._publisher = Publisher(self._asker)
        self._fetcher = Fetcher(self._asker)
        self._follower = Follower(self._asker, self._api)
        self._stops: list[Callable[[], Awaitable[None]]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def ensure_streams(self, layout: Layout | None = None) -> None:
        """Create the project's streams, or change them to this layout; see `topology.ensure`."""
        await topology.ensure(self._api, self.subjects, layout or Layout(), version=self._link.server_version)

    async def remove_streams(self) -> None:
        """Delete the project with all its messages."""
        await topology.remove(self._api, self.subjects)

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
        safe = expect is not None or dedupe is not None
        head, stands = head_of(expect, dedupe, fence, headers), expect if fence is None else fence.seq
        return await self._publisher.store(subject, data, head=head, expect=stands, safe=safe)

    async def publish_many(self, messages: list[Publication]) -> list[int | Exception]:
        return await self._publisher.store_many(messages)

    async def publish_at(self, subject: str, data: bytes, *, due: Instant, target: str) -> int:
        return await self._publisher.store(subject, data, head=timer_head(Timer(due, target)))

    async def last(self, stream: Stream, subject: str) -> Message | None:
        check_subject(subject)
        return await self._fetcher.last(self._name(stream), subject)

    async def latest(self, stream: Stream, filter: str) -> list[Message]:
        return await self._fetcher.latest(self._name(stream), filter)

    async def read(self, stream: Stream, filter: str, *, first: int = 1, limit: int | None = None) -> list[Message]:
        return await self._fetcher.read(self._name(stream), filter, first=first, limit=limit)

    async def last_seq(self, stream: Stream) -> int:
        return (await self._api.stream(self._name(stream))).state.last_seq

    async def first_since(self, stream: Stream, when: Instant) -> int:
        behind = await self.last_seq(stream) + 1  # asked first: what is stored meanwhile lies from there on
        found = await self._fetcher.first_since(self._name(stream), rfc3339(when - 1e-6))  # which rounds up
        return behind if found is None else found.seq

    async def delete(self, stream: Stream, seq: int) -> bool:
        try:
            await self._api.call(
                f"STREAM.MSG.DELETE.{self._name(stream)}", {"seq": seq, "no_erase": True}, repeat=False
            )
        except ApiError as error:
            if error.err_code == DELETE_FAILED and error.description in _NOT_THERE:
                return False
            raise
        return True

    async def purge(self, stream: Stream, filter: str) -> int:
        verb = f"STREAM.PURGE.{self._name(stream)}"
        purged: Purged = await self._api.call(verb, {"filter": filter}, answer=Purged, repeat=False)
        return purged.purged

    def follow(
        self, stream: Stream, filter: str, *, first: int, idle: Seconds = 0.2, most: int = 2000
    ) -> AsyncGenerator[list[Message], None]:
        lossy = stream is Stream.LOGS
        return self._follower.follow(self._name(stream), filter, first=first, idle=idle, most=most, lossy=lossy)

    async def ensure_consumer(self, queue: str, priority: int = 0, *, lane: Lane = Lane.READY) -> str:
        name = consumer_name(queue, priority, lane)
        found = await self._api.consumer(self._name(Stream.JOURNAL), name)
        still = await self._stands_still(Source(lane, queue))
        config = self._consumer_config(name, self.subjects.items(queue, priority, lane))
        if still:
            config["pause_until"] = _FOREVER
        if found is None or any(found.config.get(key) != value for key, value in config.items()):
            await self._create_consumer(name, config)
            if still is not (stands := await self._stands_still(Source(lane, queue))):  # changed in between
                await self._pause_consumer(name, paused=stands)
        return name

    async def pull(self, consumer: str, handler: Handler) -> Puller:
        if await self._api.consumer(self._name(Stream.JOURNAL), consumer) is None:
            raise BusError(f"expected the consumer {consumer} to exist: ensure it first")
        pull = Pull(self._asker, self._name(Stream.JOURNAL), consumer, handler)
        self._stops.append(pull.stop)
        return pull

    def settle(self, token: str) -> None:
        self._link.emit(token, SETTLE)

    def release(self, token: str, *, after: Seconds = 0.0) -> None:
        # Only a release with a delay is kept over a restart of the server; else the item's ack wait would begin anew.
        self._link.emit(token, release_after(max(after, 0.001)))

    def extend(self, token: str) -> None:
        self._link.emit(token, EXTEND)

    async def pause(self, queue: str, *, paused: bool) -> None:
        await self.put(_PAUSED, queue, _SET if paused else b"")
        await self._still(queue)

    async def paused(self) -> frozenset[str]:
        return await self._flagged(_PAUSED)

    async def govern(self, queue: str) -> None:
        await self.put(_GOVERNED, queue, _SET)
        await self._still(queue)

    async def governed(self) -> frozenset[str]:
        return await self._flagged(_GOVERNED)

    async def consumers(self) -> list[ConsumerState]:
        return [
            ConsumerState(info.name, info.num_pending, info.num_ack_pending, info.paused)
            for info, _ in await self._work_consumers()
        ]

    async def put(self, what: str, name: str, data: bytes, *, ttl: Seconds | None = None) -> int:
        if ttl is not None and ttl < 1:
            raise BusError(f"{what}.{name}: expected a time to live of at least 1 s, found {ttl:g}")
        head = headers(TTL=None if ttl is None else math.ceil(ttl))
        return await self._publisher.store(self.subjects.control(what, name), data, head=head)

    def send(self, subject: str, data: bytes) -> None:
        check_subject(subject)
        self._link.emit(subject, data)

    async def listen(self, subject: str, listener: Listener) -> Callable[[], Awaitable[None]]:
        def hear(heard: bytes, reply: bytes, data: bytes, head: bytes | None) -> None:
            listener(heard.decode(), data)

        sid = self._link.hear(subject, hear)
        await self._link.settled()  # what is sent from now on is heard

        async def stop() -> None:
            self._link.unhear(sid)

        return stop

    async def request(self, subject: str, data: bytes, *, timeout: Seconds = 5.0) -> bytes:
        check_subject(subject)
        return await ask_service(self._asker, subject, data, within=timeout)

    async def serve(self, subject: str, responder: Responder) -> Callable[[], Awaitable[None]]:
        server = Server(self._link, subject, responder)
        self._stops.append(server.stop)
        await self._link.settled()
        return server.stop

    def on_reconnect(self, call: Callable[[], None]) -> None:
        self._link.ups.append(call)

    @property
    def connected(self) -> bool:
        return self._link.up

    async def close(self) -> None:
        if self._link.ended:
            return
        await asyncio.gather(*(stop() for stop in self._stops))
        await self._link.end()
        self._asker.close()

    def _name(self, stream: Stream) -> str:
        return stream.of(self.subjects.project)

    async def _flagged(self, what: str) -> frozenset[str]:
        flags = await self.latest(Stream.CONTROL, self.subjects.control(what, "*"))
        return frozenset(flag.subject.rpartition(".")[2] for flag in flags if flag.data)

    async def _is(self, what: str, queue: str) -> bool:
        flag = await self.last(Stream.CONTROL, self.subjects.control(what, queue))
        return flag is not None and bool(flag.data)

    async def _stands_still(self, source: Source) -> bool:
        paused, governed = await self._is(_PAUSED, source.queue), await self._is(_GOVERNED, source.queue)
        return stands_still(source, paused=paused, governed=governed)

    async def _still(self, queue: str) -> None:
        """Pause or resume the consumers of a queue, as its flags say."""
        for info, origin in await self._work_consumers():
            if origin.queue == queue and (still := await self._stands_still(origin)) is not info.paused:
                await self._pause_consumer(info.name, paused=still)

    def _consumer_config(self, name: str, filter: str) -> dict[str, Any]:
        return {
            "durable_name": name,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": int(self._ack_wait * 1e9),
            "max_deliver": -1,
            "max_ack_pending": -1,
            "max_waiting": MAX_WAITING,
            "filter_subject": filter,
        }

    async def _create_consumer(self, name: str, config: dict[str, Any]) -> None:
        stream = self._name(Stream.JOURNAL)
        await self._api.call(
            f"CONSUMER.CREATE.{stream}.{name}", {"stream_name": stream, "config": config}, answer=ConsumerInfo
        )

    async def _pause_consumer(self, name: str, *, paused: bool) -> None:
        """Pause or resume one consumer.

        The server looks at its waiting requests again with the next message or heartbeat, not when it is resumed: a
        request that expires at once, to an inbox that nobody hears, makes it look and takes nothing.
        """
        stream = self._name(Stream.JOURNAL)
        await self._api.call(f"CONSUMER.PAUSE.{stream}.{name}", {"pause_until": _FOREVER} if paused else {})
        if not paused:
            nudge = b'{"batch":1,"expires":1}'
            self._link.emit(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}", nudge, reply=self._asker.fresh())

    async def _work_consumers(self) -> list[tuple[ConsumerInfo, Source]]:
        found = await self._api.consumers(self._name(Stream.JOURNAL))
        return sorted(
            ((info, origin) for info in found if (origin := source(info.name)) is not None),
            key=lambda pair: pair[0].name,
        )
