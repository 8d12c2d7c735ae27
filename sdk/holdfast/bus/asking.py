"""Questions and their answers over one inbox subscription.

One subscription, a dictionary of futures and one timer that sweeps: a fraction of the cost of `Client.request`, which
makes a task and a timer for each. A future never gets an exception, so that nobody must fetch it.
"""

from __future__ import annotations

import asyncio
import secrets
from enum import StrEnum
from typing import NamedTuple

from holdfast.bus.link import Link
from holdfast.bus.replies import Reply
from holdfast.core.model import Seconds
from holdfast.errors import BusError, Unanswered

ANSWER_WITHIN: Seconds = 5.0
"""How long an answer may take."""

_SWEEP_EVERY = 0.25


class Silence(StrEnum):
    """Why no answer came."""

    DROPPED = "the connection was lost"
    """After the question was sent."""
    LATE = "no answer in time"
    DENIED = "this user may not publish there"
    """The server said so; the question went nowhere."""


class _Question(NamedTuple):
    answer: asyncio.Future[Reply | Silence]
    subject: str
    until: float


class Asker:
    """Asks over a link; every question ends in a reply or in the reason for silence."""

    def __init__(self, link: Link, within: Seconds = ANSWER_WITHIN) -> None:
        self.link = link
        self.within = within
        """Seconds that an answer may take, where nothing else is said."""
        self._loop = asyncio.get_running_loop()
        self.inbox = f"_INBOX.{secrets.token_hex(8)}"
        """A prefix that is this asker's own."""
        self._skip = len(self.inbox) + 3
        self._open: dict[bytes, _Question] = {}
        self._number = 0
        self._sweeping: asyncio.TimerHandle | None = None
        link.hear(f"{self.inbox}.a.*", self._hear)
        link.downs.append(self._drop)
        link.denials.append(self._deny)

    def fresh(self) -> str:
        """An inbox that was never used, below `inbox`."""
        self._number += 1
        return f"{self.inbox}.s{self._number}"

    def ask(
        self, subject: str, data: bytes, *, headers: bytes = b"", within: Seconds | None = None
    ) -> asyncio.Future[Reply | Silence]:
        """Send a question now.

        Raises:
            BusError: the subject or the size can't be sent.
        """
        self._number += 1
        token = str(self._number)
        answer: asyncio.Future[Reply | Silence] = self._loop.create_future()
        if self.link.emit(subject, data, reply=f"{self.inbox}.a.{token}", headers=headers):
            self._open[token.encode()] = _Question(answer, subject, self._loop.time() + (within or self.within))
            if self._sweeping is None:
                self._sweeping = self._loop.call_later(_SWEEP_EVERY, self._sweep)
        else:
            answer.set_result(Silence.DROPPED)
        return answer

    async def get(self, subject: str, data: bytes, *, within: Seconds | None = None, repeat: bool = False) -> Reply:
        """Ask, once there is a connection.

        Args:
            repeat: whether the question may be asked again after the connection was lost.

        Raises:
            ConnectError: there was no connection for `within` seconds: nothing was asked.
            Unanswered: it was asked, and whether it was heard is unknown.
            BusError: this user may not ask.
        """
        within = within or self.within
        until = self._loop.time() + within
        while True:
            await self.link.restored(max(until - self._loop.time(), 0.01))
            match await self.ask(subject, data, within=within):
                case Reply() as reply:
                    return reply
                case Silence.DROPPED if repeat and self._loop.time() < until:
                    continue
                case Silence.DENIED:
                    raise BusError(f"{subject}: {Silence.DENIED}: its permissions are in the server's configuration")
                case silence:
                    raise Unanswered(f"{subject}: {silence} ({within:g} s); whether it was done is unknown")

    def close(self) -> None:
        """End all questions."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        self._drop()

    def _hear(self, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        question = self._open.pop(subject[self._skip :], None)
        if question is not None and not question.answer.done():
            question.answer.set_result(Reply(data, headers))

    def _drop(self) -> None:
        dropped, self._open = self._open, {}
        for question in dropped.values():
            if not question.answer.done():
                question.answer.set_result(Silence.DROPPED)

    def _deny(self, subject: str) -> None:
        for token, question in list(self._open.items()):
            if question.subject.lower() == subject:  # the client reports errors in lower case
                del self._open[token]
                if not question.answer.done():
                    question.answer.set_result(Silence.DENIED)

    def _sweep(self) -> None:
        now = self._loop.time()
        for token, question in list(self._open.items()):
            if question.until <= now or question.answer.done():
                del self._open[token]
                if not question.answer.done():
                    question.answer.set_result(Silence.LATE)
        self._sweeping = self._loop.call_later(_SWEEP_EVERY, self._sweep) if self._open else None
