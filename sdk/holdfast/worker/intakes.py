"""Answers what a task makes of events, where its filter or map is a function: user code runs in workers only."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from holdfast.errors import EventError
from holdfast.events import Event
from holdfast.expressions import Expression, Facts
from holdfast.intake import Intake
from holdfast.task import Task
from holdfast.wire import api, codec


def text_of(part: object) -> str:
    """A filter or map as its task's card has it; empty where it is a function, or there is none."""
    return part.text if isinstance(part, Expression) else ""


def answering(task: Task[..., Any]) -> Callable[[bytes], Awaitable[bytes]]:
    """Answers for a task, in a thread: a filter that takes its time holds up no run."""

    async def answer(request: bytes) -> bytes:
        asked = api.decode(request, api.EventsAsked)
        return codec.encode(await asyncio.to_thread(_answers, task.intake, asked))

    return answer


def _answers(intake: Intake, asked: api.EventsAsked) -> api.EventsAnswered:
    return api.EventsAnswered(tuple(_answer(intake, event) for event in asked.events))


def _answer(intake: Intake, event: api.AskedEvent) -> api.EventAnswer:
    facts = Facts(Event.of(event.subject, event.data, event.headers, event.time, event.seq))
    try:
        return api.EventAnswer(intake.payload(facts))
    except EventError as error:
        return api.EventAnswer(error=str(error))
