"""Reading what a stream holds, by direct get (ADR-31): one question, many answers, no consumer.

Answers are served by any replica. On a single server (the embedded one) a read sees every acknowledged write.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

import msgspec

from holdfast.bus.asking import Asker
from holdfast.bus.ports import Message
from holdfast.bus.replies import NO_RESPONDERS, description, status, stored, whole
from holdfast.errors import BusError, Unanswered

_NOTHING, _TOO_MANY, _END = 404, 413, 204

_encode = msgspec.json.encode

MOST = 1 << 30
"""A batch without a limit of its own; the server ends it when it has sent some 64 MB."""


class TooMany(BusError):
    """More subjects match than the server answers for at once (1024)."""


class _Batch:
    """The answers to one question, as they come."""

    def __init__(self, asker: Asker, stream: str, body: dict[str, Any]) -> None:
        self._link = asker.link
        self._within = asker.within
        self._loop = asyncio.get_running_loop()
        self.messages: list[Message] = []
        self.left = 0
        """Matching messages behind the last one, when the server ended the batch early."""
        self.why = ""
        self._end: asyncio.Future[int | None] = self._loop.create_future()
        self._heard = self._loop.time()
        inbox = asker.fresh()
        self._sid = self._link.hear(inbox, self._hear)
        self._link.downs.append(self._drop)
        self._link.emit(f"$JS.API.DIRECT.GET.{stream}", _encode(body), reply=inbox)

    async def end(self) -> int | None:
        """The status that ended it; None when the connection was lost or nothing came for too long."""
        self._watch = self._loop.call_later(self._within, self._look)
        try:
            return await self._end
        finally:
            self._watch.cancel()
            self._link.downs.remove(self._drop)
            self._link.unhear(self._sid)

    def _hear(self, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self._heard = self._loop.time()
        code = status(headers)
        if code == 0 and headers is not None:
            self.messages.append(stored(data, headers))
        elif not self._end.done():
            self.left = whole(headers, b"Nats-Num-Pending") or 0
            self.why = description(headers or b"")
            self._end.set_result(code)

    def _look(self) -> None:
        if self._loop.time() - self._heard >= self._within:
            self._drop()
        else:
            self._watch = self._loop.call_later(self._within, self._look)

    def _drop(self) -> None:
        if not self._end.done():
            self._end.set_result(None)


class Fetcher:
    """Reads streams."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._loop = asyncio.get_running_loop()

    async def last(self, stream: str, subject: str) -> Message | None:
        """The last message on a subject, or None."""
        reply = await self._asker.get(f"$JS.API.DIRECT.GET.{stream}.{subject}", b"", repeat=True)
        match status(reply.headers):
            case 0 if reply.headers is not None:
                return stored(reply.data, reply.headers)
            case code if code == _NOTHING:
                return None
            case code:
                raise _refused(stream, code, description(reply.headers or b""))

    async def latest(self, stream: str, filter: str) -> list[Message]:
        """The last message of each matching subject, by sequence."""
        try:
            found = await self._batch(stream, {"multi_last": [filter]})
        except TooMany:
            latest = {message.subject: message for message in await self.read(stream, filter, first=1, limit=None)}
            return sorted(latest.values(), key=lambda message: message.seq)
        return sorted(found.messages, key=lambda message: message.seq)

    async def read(self, stream: str, filter: str, *, first: int, limit: int | None) -> list[Message]:
        """Matching messages from a sequence on, in order."""
        messages: list[Message] = []
        wanted = math.inf if limit is None else limit
        while len(messages) < wanted:
            most = MOST if limit is None else limit - len(messages)
            found = await self._batch(stream, {"next_by_subj": filter, "seq": max(first, 1), "batch": most})
            messages += found.messages
            if not found.left or not found.messages:
                break
            first = messages[-1].seq + 1
        return messages

    async def first_since(self, stream: str, when: str) -> Message | None:
        """The first message from a time (RFC 3339) on, or None."""
        found = await self._batch(stream, {"next_by_subj": ">", "start_time": when, "batch": 1})
        return found.messages[0] if found.messages else None

    async def _batch(self, stream: str, body: dict[str, Any]) -> _Batch:
        until = self._loop.time() + 2 * self._asker.within
        while True:
            await self._asker.link.restored(self._asker.within)
            batch = _Batch(self._asker, stream, body)
            match await batch.end():
                case None if self._loop.time() > until:
                    raise Unanswered(f"{stream}: no answer to a read in {2 * self._asker.within:g} s")
                case None:
                    continue
                case code if code in (_END, _NOTHING):
                    return batch
                case code if code == _TOO_MANY:
                    raise TooMany(f"{stream}: {batch.why}")
                case code:
                    raise _refused(stream, code or 0, batch.why)


def _refused(stream: str, code: int, why: str) -> BusError:
    if code == NO_RESPONDERS:
        return BusError(
            f"expected a stream {stream}, found none: start the project's daemon (`holdfast up`), which makes it"
        )
    return BusError(f"{stream}: a read was refused: {why} ({code})")
