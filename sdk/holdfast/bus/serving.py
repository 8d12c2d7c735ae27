"""Requests and who answers them.

A refusal travels as two headers, `Nats-Service-Error` (words) and `Nats-Service-Error-Code` (a stable word), as ADR-32
has it for NATS services, so that `nats request` shows it too.
"""

from __future__ import annotations

import asyncio
import logging

from holdfast.bus.asking import Asker
from holdfast.bus.link import Link
from holdfast.bus.ports import Responder
from holdfast.bus.replies import NO_RESPONDERS, field, status
from holdfast.core.model import Seconds
from holdfast.errors import DaemonUnavailable, Refused

QUEUE_GROUP = "q"
INTERNAL = "internal"

_GRACE = 2.0
"""Seconds that requests under way may take when the serving ends."""

_log = logging.getLogger("holdfast.bus")


async def ask_service(asker: Asker, subject: str, data: bytes, *, within: Seconds) -> bytes:
    """See `Bus.request`."""
    reply = await asker.get(subject, data, within=within)
    if reply.headers is None:
        return reply.data
    if status(reply.headers) == NO_RESPONDERS:
        raise DaemonUnavailable(f"nobody answers {subject}: is the daemon running (`holdfast up`)?")
    code = field(reply.headers, b"Nats-Service-Error-Code")
    if code is not None:
        raise Refused(field(reply.headers, b"Nats-Service-Error") or "refused", code=code)
    return reply.data


class Server:
    """Answers the requests on one subject, each in a task."""

    def __init__(self, link: Link, subject: str, responder: Responder) -> None:
        self._link = link
        self._subject = subject
        self._responder = responder
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._sid = link.hear(subject, self._hear, queue=QUEUE_GROUP)

    async def stop(self) -> None:
        """Take no more requests and finish those under way. Idempotent."""
        if not self._stopped:
            self._stopped = True
            self._link.unhear(self._sid, late=self._hear)
            await self._link.settled()
            self._link.forget(self._sid)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_GRACE)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    def _hear(self, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(reply.decode(), data))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, reply: str, data: bytes) -> None:
        try:
            answer, head = await self._responder(data), b""
            if not isinstance(answer, bytes):
                raise TypeError(f"{self._subject}: expected bytes from its responder, found {type(answer).__name__}")
        except Refused as refused:
            answer, head = b"", _refusal(str(refused), refused.code)
        except Exception as error:
            _log.exception("bus.responder_failed subject=%s", self._subject)
            answer, head = b"", _refusal(f"{type(error).__name__}: {error}", INTERNAL)
        if not reply:
            return
        try:
            self._link.emit(reply, answer, headers=head)
        except Exception as error:
            _log.exception("bus.answer_failed subject=%s", self._subject)
            self._link.emit(reply, headers=_refusal(str(error), INTERNAL))


def _refusal(message: str, code: str) -> bytes:
    words = " ".join(message.split())[:2000]
    return f"NATS/1.0\r\nNats-Service-Error: {words}\r\nNats-Service-Error-Code: {code}\r\n\r\n".encode()
