"""Every message of a stream from a sequence on, once and in order.

A short-lived consumer that needs no acknowledgements is pulled from; it lives in the server's memory and is never
trusted: its deliveries are numbered without gaps, so a missing one shows, and then, as after every reconnect, another
consumer begins behind the last message that was received. What the reader has not taken yet is bounded, since no more
is pulled than fits.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import AsyncGenerator

import msgspec

from holdfast.bus.api import Absent, Api, ConsumerInfo
from holdfast.bus.asking import Asker
from holdfast.bus.ports import Message
from holdfast.bus.replies import delivery, description, status, whole
from holdfast.core.model import Seconds
from holdfast.errors import BusError, ConnectError, Unanswered

EXPIRES = 30.0
HEARTBEAT = 5.0
MOST_BYTES = 32 << 20
"""Under way at once; more than any single message has."""
INACTIVE = 90.0
"""Seconds without a pull after which the server drops the consumer, and a slow reader gets another one."""

_ENDINGS = frozenset({404, 408, 409})
_BEAT = 100

_log = logging.getLogger("holdfast.bus")
_encode = msgspec.json.encode


class _Feed:
    """One consumer and what came from it."""

    def __init__(self, asker: Asker, stream: str, window: int) -> None:
        self.name = f"follow-{secrets.token_hex(8)}"
        self.broken = False
        """Nothing more comes; another feed must go on behind the last message."""
        self.taken = 0
        self.pending = 1
        """Matching messages behind the last one that came."""
        self.messages: deque[Message] = deque()
        self._link = asker.link
        self._loop = asyncio.get_running_loop()
        self._stream = stream
        self._window = window
        self._number = 0
        self._owed = 0
        self._alive = self._loop.time()
        self._arrived: asyncio.Future[bool] | None = None
        self._inbox = asker.fresh()
        self._sid = self._link.hear(self._inbox, self._hear)
        self._link.downs.append(self._break)

    def ask(self) -> None:
        """Pull as much as fits, if that is worth a request."""
        room = self._window - self._owed - len(self.messages)
        if self._owed == 0:
            self._alive = self._loop.time()
        if room >= self._window // 4 and not self.broken:
            body = {
                "batch": room,
                "max_bytes": MOST_BYTES,
                "expires": int(EXPIRES * 1e9),
                "idle_heartbeat": int(HEARTBEAT * 1e9),
            }
            if self._link.emit(
                f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self.name}", _encode(body), reply=self._inbox
            ):
                self._owed += room

    def take(self, most: int) -> list[Message]:
        """What has come, at most so much."""
        if len(self.messages) <= most:
            taken = list(self.messages)
            self.messages.clear()
        else:
            taken = [self.messages.popleft() for _ in range(most)]
        self.taken += len(taken)
        self.ask()
        return taken

    async def wait(self, longest: Seconds) -> bool:
        """Whether something came, or the feed broke, before so many seconds were over."""
        if self.messages or self.broken:
            return True
        if self._owed and self._loop.time() - self._alive > 2.5 * HEARTBEAT:
            self._break()
            return True
        self._arrived = self._loop.create_future()
        timer = self._loop.call_later(longest, self._wake, False)
        try:
            return await self._arrived
        finally:
            timer.cancel()
            self._arrived = None

    def close(self) -> None:
        """Drop the consumer."""
        self.broken = True
        self._link.downs.remove(self._break)
        self._link.unhear(self._sid)
        self._link.emit(f"$JS.API.CONSUMER.DELETE.{self._stream}.{self.name}")

    def _hear(self, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self._alive = self._loop.time()
        if not reply.startswith(b"$JS.ACK."):
            self._status(headers)
            return
        if self.broken:
            return
        said = delivery(reply.decode())
        self._number += 1
        if said.number != self._number:
            _log.warning("bus.gap stream=%s expected=%d found=%d", self._stream, self._number, said.number)
            self._break()
            return
        self._owed -= 1
        self.pending = said.pending
        self.messages.append(Message(subject.decode(), data, said.seq, said.time, headers or b""))
        if self._arrived is not None:
            self._wake(True)

    def _status(self, headers: bytes | None) -> None:
        code = status(headers)
        if code == _BEAT:
            return
        left = whole(headers, b"Nats-Pending-Messages") if code in _ENDINGS else None
        if left is None:
            _log.warning("bus.follow_ended stream=%s reason=%s", self._stream, description(headers or b""))
            self._break()
        else:
            self._owed = max(self._owed - left, 0)
            self.ask()

    def _break(self) -> None:
        self.broken = True
        self._wake(True)

    def _wake(self, arrived: bool) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(arrived)


class Follower:
    """Follows streams over one connection."""

    def __init__(self, asker: Asker, api: Api) -> None:
        self._asker = asker
        self._link = asker.link
        self._api = api

    async def follow(
        self, stream: str, filter: str, *, first: int, idle: Seconds, most: int, lossy: bool = False
    ) -> AsyncGenerator[list[Message], None]:
        """See `Bus.follow`.

        Args:
            lossy: whether the stream may go backwards; then the following goes on behind what it holds now.
        """
        last = max(first, 1) - 1
        begun = caught = False
        while True:
            try:
                await self._link.restored(idle if caught else self._asker.within)
                if begun:
                    last = await self._still_there(stream, last, lossy=lossy)
                feed, waiting = await self._open(stream, filter, last, window=2 * most)
            except (ConnectError, Unanswered, Absent):
                if self._link.ended:
                    raise
                if caught:
                    yield []
                await asyncio.sleep(0.05)
                continue
            try:
                while not feed.broken or feed.messages:
                    if feed.messages:
                        batch = feed.take(most)
                        last, begun = batch[-1].seq, True
                        yield batch
                    if not caught and (feed.taken >= waiting or (feed.pending == 0 and not feed.messages)):
                        caught = True
                        yield []
                    if not await feed.wait(idle):
                        if not caught:
                            waiting = min(waiting, feed.taken + await self._pending(stream, feed.name))
                        else:
                            yield []
            finally:
                feed.close()

    async def _still_there(self, stream: str, last: int, *, lossy: bool) -> int:
        """Where to go on after a message that was read.

        Raises:
            BusError: the stream is gone, or went backwards.
        """
        stands = (await self._api.stream(stream)).state.last_seq
        if stands >= last or lossy:
            return min(stands, last)
        raise BusError(
            f"{stream}: its last sequence is {stands}, message {last} was read before: the server lost "
            "acknowledged messages, or the stream was made anew"
        )

    async def _open(self, stream: str, filter: str, last: int, *, window: int) -> tuple[_Feed, int]:
        """A feed behind a sequence, and how many messages wait for it."""
        feed = _Feed(self._asker, stream, window)
        try:
            config = {
                "name": feed.name,
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": last + 1,
                "ack_policy": "none",
                "filter_subject": filter,
                "inactive_threshold": int(INACTIVE * 1e9),
                "mem_storage": True,
                "num_replicas": 1,
            }
            info: ConsumerInfo = await self._api.call(
                f"CONSUMER.CREATE.{stream}.{feed.name}", {"stream_name": stream, "config": config}, answer=ConsumerInfo
            )
        except BaseException:
            feed.close()
            raise
        feed.ask()
        return feed, info.num_pending

    async def _pending(self, stream: str, name: str) -> int:
        """How many messages wait for a feed that has gone quiet before it caught up; some may have been deleted."""
        try:
            info = await self._api.consumer(stream, name)
        except (ConnectError, Unanswered):
            return 1 << 62
        return info.num_pending if info is not None else 1 << 62
