"""Answers questions over the bus: those of `wire.api` that the daemon is asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Generic, TypeAlias, TypeVar

import anyio
import msgspec
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from holdfast.bus.ports import Bus
from holdfast.errors import BusError, Refused
from holdfast.wire import api, codec

Q = TypeVar("Q")

Errors: TypeAlias = tuple[type[Exception], ...]


class Question(Generic[Q]):
    """A service by its name, the type of what it is asked, and who answers."""

    def __init__(self, name: str, kind: type[Q], answer: Callable[[Q], Awaitable[object]]) -> None:
        self.name = name
        self._kind = kind
        self._answer = answer

    async def reply(self, data: bytes, *, wrong: Errors, away: Errors) -> bytes:
        """The answer as it goes back. Raises: Refused."""
        try:
            asked = api.decode(data, self._kind)
        except msgspec.DecodeError as error:
            raise Refused(f"{self.name}: expected a {self._kind.__name__}: {error}", code="bad_request") from error
        try:
            return codec.encode(await self._answer(asked))
        except wrong as error:
            raise Refused(f"{self.name}: {error}", code="bad_request") from error
        except away as error:
            raise Refused(f"{self.name}: can't be answered just now: {error}", code="unavailable") from error


async def answering(
    bus: Bus,
    *questions: Question[Any],
    wrong: Errors = (),
    away: Errors = (BusError,),
    task_status: TaskStatus[None] = TASK_STATUS_IGNORED,
) -> None:
    """Answer until cancelled. Started once all of them can be asked.

    Args:
        wrong: what an answer raises where the question can't be answered as it is.
        away: what it raises where it could be later.
    """
    async with AsyncExitStack() as served:
        for question in questions:
            stop = await bus.serve(bus.subjects.api(question.name), _responder(question, wrong, away))
            served.push_async_callback(_within_a_second, stop)
        task_status.started()
        await anyio.sleep_forever()


def _responder(question: Question[Any], wrong: Errors, away: Errors) -> Callable[[bytes], Awaitable[bytes]]:
    async def respond(data: bytes) -> bytes:
        return await question.reply(data, wrong=wrong, away=away)

    return respond


async def _within_a_second(stop: Callable[[], Awaitable[None]]) -> None:
    with anyio.CancelScope(shield=True), anyio.move_on_after(1.0):
        await stop()
