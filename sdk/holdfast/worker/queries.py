"""Answers the questions that a run's code lets be asked (`run.expose`), for as long as the code is in memory here."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from holdfast.bus.ports import Bus
from holdfast.errors import Refused
from holdfast.wire import api, codec
from holdfast.wire.values import decode_value
from holdfast.worker.stored import Stored


class Questions:
    """What one run answers; served from its first `expose` on."""

    def __init__(self, bus: Bus, run: str, stored: Stored, current: Callable[[], Awaitable[bool]]) -> None:
        """
        Args:
            current: whether this code is where the run stands: parked code stays when another worker goes on.
        """
        self._current = current
        self._bus = bus
        self._run = run
        self._stored = stored
        self._answers: dict[str, Callable[..., Any]] = {}
        self._serving: asyncio.Task[Callable[[], Awaitable[None]]] | None = None
        self._closing: asyncio.Task[None] | None = None

    def expose(self, name: str, answer: Callable[..., Any]) -> None:
        """Answer queries of a name from now on."""
        self._answers[name] = answer
        if self._serving is None:
            subject = self._bus.subjects.api(f"{api.QUERY}.{self._run}")
            self._serving = asyncio.ensure_future(self._bus.serve(subject, self._answered))

    async def close(self) -> None:
        """Answer no more."""
        if self._serving is not None:
            stop = await self._serving
            await stop()
            self._serving = None

    async def _answered(self, data: bytes) -> bytes:
        if not await self._current():
            self._closing = asyncio.ensure_future(self.close())  # a task of its own: it waits for this answer
            raise Refused(f"run {self._run} goes on in another worker", code=api.MOVED)
        question = api.decode(data, api.Query)
        answer = self._answers.get(question.name)
        if answer is None:
            known = ", ".join(sorted(self._answers))
            return codec.encode(api.Answer(error=f"run {self._run} exposes no {question.name!r}; it exposes: {known}"))
        try:
            value = answer(*decode_value(question.args))
            if inspect.isawaitable(value):
                value = await value
            return codec.encode(api.Answer(self._stored.encode_small(value)))
        except Exception as error:  # the user's function
            told = self._stored.redact(f"{question.name} raised {error!r}")
            return codec.encode(api.Answer(error=told[:500]))
