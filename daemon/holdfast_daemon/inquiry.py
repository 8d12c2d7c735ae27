"""Asks a task's workers what they make of events: its filter or map is a function, and the daemon runs no user code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from holdfast.bus.ports import Bus
from holdfast.core.model import Seconds
from holdfast.errors import EventError, Refused, TooLarge
from holdfast.portions import portions
from holdfast.wire import api, codec
from holdfast_daemon.registrar import Draft, Drafter
from holdfast_daemon.routebook import Route, Sighted

AT_ONCE = 200
"""Events of one question."""

BYTES_AT_ONCE = 512 * 1024
"""Bytes of one question, where a single event is not larger: a server of somebody else may take 1 MiB at most."""

WITHIN: Seconds = 15.0
"""How long an answer may take: a batch is asked about again after that."""


def questions(events: Sequence[Sighted]) -> Iterator[list[Sighted]]:
    """Events in portions that one question holds."""
    return portions(events, _size, most=AT_ONCE, most_bytes=BYTES_AT_ONCE)


def _size(event: Sighted) -> int:
    return len(event.message.data) + len(event.message.headers)


async def inquired(bus: Bus, drafter: Drafter, route: Route, events: Sequence[Sighted]) -> list[Draft]:
    """The runs that a portion of events starts by a route whose task is asked.

    Raises:
        DaemonUnavailable: no worker serves the task.
        Unanswered: none answered in time.
        Refused: the worker failed.
    """
    found = await _asked(bus, route.task, events)
    return [
        drafter.draft(event, route, payload)
        for event, payload in zip(events, found, strict=True)
        if payload is not None
    ]


async def _asked(bus: Bus, task: str, events: Sequence[Sighted]) -> list[bytes | EventError | None]:
    """For each event the payload of the run that it starts, None where it starts none, or why the task can't say."""
    question = api.EventsAsked(
        tuple(
            api.AskedEvent(event.name, message.data, message.headers, message.time, message.seq)
            for event in events
            for message in (event.message,)
        )
    )
    subject = bus.subjects.api(f"{api.ROUTE}.{task}")
    try:
        reply = await bus.request(subject, codec.encode(question), timeout=WITHIN)
    except TooLarge as error:
        if len(events) == 1:
            return [EventError(f"no worker can be asked about it: {error}")]
        return [answer for event in events for answer in await _asked(bus, task, [event])]
    answers = api.decode(reply, api.EventsAnswered).answers
    if len(answers) != len(events):
        raise Refused(
            f"{subject}: expected {len(events)} answers, found {len(answers)}: is its worker of this version?",
            code="internal",
        )
    return [EventError(answer.error) if answer.error else answer.payload for answer in answers]
