"""Storing messages: headers, the judgement of answers, and what to do when none comes.

A publish without an answer was stored, or was not. With `expect` the server itself refuses the second of two, and with
`dedupe` it forgets it, so such a publish is sent again, by the bus, after a reconnect or a silence. If that repeat
is refused by the fence, the first one or a stranger may stand there: `Unanswered`, and the caller reads. A publish with
neither is never repeated.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TypeAlias

from holdfast.bus.api import BUSY, WRONG_LAST
from holdfast.bus.asking import Asker, Silence
from holdfast.bus.ports import Fence, Publication, Timer, check_dedupe, check_subject
from holdfast.bus.replies import NO_RESPONDERS, Reply, decode_ack, status
from holdfast.core.model import Instant
from holdfast.errors import BusError, ConnectError, Fenced, Unanswered
from holdfast.wire import headers as blocks

PATIENCE = 2
"""How often the time that an answer may take has to pass until a publish that may be repeated is given up."""

AT_ONCE = 512
"""Publishes of one `publish_many` that are under way together."""

LAST_INSTANT: Instant = 9_000_000_000.0
"""The year 2255: what is due later is due then."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_FOUND = re.compile(r"\d+\Z")


class Again(Enum):
    """Nothing was stored, for a reason that may pass."""

    BUSY = "the server has a write in flight or no leader"
    HOMELESS = "no stream takes this subject"


Verdict: TypeAlias = int | Exception | Again | Silence


def headers(**fields: str | int | None) -> bytes:
    """A header block; `_` in a name stands for `-`, None for a header that is not sent."""
    lines = [f"Nats-{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items() if value is not None]
    return f"NATS/1.0\r\n{''.join(lines)}\r\n".encode() if lines else b""


def head_of(
    expect: int | None, dedupe: str | None, fence: Fence | None = None, own: Mapping[str, str] | None = None
) -> bytes:
    """The headers of a publish: what it asks of the server, then its own."""
    if own:
        blocks.check(own)
        return blocks.joined(head_of(expect, dedupe, fence), blocks.render(own))
    if dedupe is not None:
        check_dedupe(dedupe)
    if fence is not None:
        return headers(
            Expected_Last_Subject_Sequence=fence.seq,
            Expected_Last_Subject_Sequence_Subject=fence.subject,
            Msg_Id=dedupe,
        )
    if dedupe is not None:
        return headers(Expected_Last_Subject_Sequence=expect, Msg_Id=dedupe)
    if expect is None:
        return b""
    return b"NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: %d\r\n\r\n" % expect


def judge(subject: str, expect: int | None, answer: Reply | Silence) -> Verdict:
    """What an answer says: the sequence, why nothing was stored, or that it is unknown."""
    if isinstance(answer, Silence):
        return answer if answer is not Silence.DENIED else BusError(f"{subject}: {answer}")
    if status(answer.headers) == NO_RESPONDERS:
        return Again.HOMELESS
    ack = decode_ack(answer.data)
    if ack.error is None:
        return ack.seq
    if ack.error.err_code == WRONG_LAST:
        found = _FOUND.search(ack.error.description)
        return Fenced(subject, expected=expect or 0, found=int(found[0]) if found else None)
    if ack.error.err_code in BUSY:
        return Again.BUSY
    return BusError(f"{subject}: {ack.error.description} (code {ack.error.err_code}); nothing was stored")


def timer_head(timer: Timer) -> bytes:
    """The headers of a timer. Raises: BusError: nothing can be stored on its target."""
    check_subject(timer.target)
    return headers(Schedule=f"@at {rfc3339(timer.due)}", Schedule_Target=timer.target)


def rfc3339(due: Instant) -> str:
    """An instant as the server reads it; rounded up to the microsecond, so that nothing fires early.

    Beyond 2262 the server's clock of 64-bit nanoseconds overflows, and it would fire at once.
    """
    when = _EPOCH + timedelta(microseconds=math.ceil(min(max(due, 0.0), LAST_INSTANT) * 1e6))
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _head(message: Publication) -> bytes:
    if message.timer is not None:
        return timer_head(message.timer)
    return head_of(message.expect, message.dedupe, message.fence, message.headers)


def _expected(expect: int | None, fence: Fence | None) -> int | None:
    """What a refusal is about, for messages."""
    return expect if fence is None else fence.seq


class Publisher:
    """Stores messages over a link."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._link = asker.link
        self._loop = asyncio.get_running_loop()

    async def store(
        self, subject: str, data: bytes, *, head: bytes = b"", expect: int | None = None, safe: bool = False
    ) -> int:
        """Store one message and return its sequence.

        Args:
            head: its header block.
            expect: what the header block expects, for messages.
            safe: whether it may be sent twice.

        Raises:
            ConnectError: there was no connection all the time: nothing was stored.
            Fenced, Unanswered, BusError: as `Bus.publish`.
        """
        check_subject(subject)
        if not self._link.up:
            await self._link.restored(self._asker.within)
        verdict = judge(subject, expect, await self._asker.ask(subject, data, headers=head))
        if type(verdict) is int:
            return verdict
        until = self._loop.time() + PATIENCE * self._asker.within
        return await self._insist(subject, data, head, expect, safe, verdict, until)

    async def store_many(self, messages: list[Publication]) -> list[int | Exception]:
        """Store several, pipelined; for each the sequence or the reason."""
        outcomes: list[int | Exception] = []
        for at in range(0, len(messages), AT_ONCE):
            outcomes += await self._store_some(messages[at : at + AT_ONCE])
        return outcomes

    async def _store_some(self, messages: list[Publication]) -> list[int | Exception]:
        if not self._link.up:
            try:
                await self._link.restored(self._asker.within)
            except ConnectError as error:
                return [error] * len(messages)
        asked = [self._ask(message) for message in messages]
        until = self._loop.time() + PATIENCE * self._asker.within  # of all together: each may need the same reconnect
        return [await self._outcome(message, answer, until) for message, answer in zip(messages, asked, strict=True)]

    def _ask(self, message: Publication) -> asyncio.Future[Reply | Silence] | BusError:
        try:
            check_subject(message.subject)
            return self._asker.ask(message.subject, message.data, headers=_head(message))
        except BusError as error:
            return error

    async def _outcome(
        self, message: Publication, answer: asyncio.Future[Reply | Silence] | BusError, until: float
    ) -> int | Exception:
        if isinstance(answer, BusError):
            return answer
        subject, data, expect = message.subject, message.data, _expected(message.expect, message.fence)
        verdict = judge(subject, expect, await answer)
        if isinstance(verdict, int | Exception):
            return verdict
        safe = message.expect is not None or message.dedupe is not None
        try:
            return await self._insist(subject, data, _head(message), expect, safe, verdict, until)
        except (BusError, ConnectError) as error:
            return error

    async def _insist(
        self, subject: str, data: bytes, head: bytes, expect: int | None, safe: bool, verdict: Verdict, until: float
    ) -> int:
        """Go on after a first verdict that was no sequence."""
        doubt: Silence | None = None
        pause = 0.005
        while True:
            match verdict:
                case int():
                    return verdict
                case Fenced() if doubt is not None:
                    raise Unanswered(
                        f"{subject}: {doubt}; the repeat found sequence {verdict.found} where {expect} was expected: "
                        "read whether that is ours"
                    ) from verdict
                case Exception():
                    raise verdict
                case Again():
                    if self._loop.time() > until or (verdict is Again.HOMELESS and pause > 0.2):
                        raise BusError(f"{subject}: {verdict.value}; nothing was stored") from None
                    await asyncio.sleep(pause)
                    pause *= 2
                case Silence():
                    doubt = verdict
                    if not safe or self._loop.time() > until:
                        raise Unanswered(f"{subject}: {doubt}; whether it is stored is unknown until it is read")
            try:
                await self._link.restored(max(until - self._loop.time(), 0.01))
            except ConnectError as error:
                if doubt is None:
                    raise
                raise Unanswered(f"{subject}: {doubt}; whether it is stored is unknown until it is read") from error
            verdict = judge(subject, expect, await self._asker.ask(subject, data, headers=head))
