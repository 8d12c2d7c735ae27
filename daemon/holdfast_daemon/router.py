"""Turns events into runs: one run for each event and route that wants it, however often the event is looked at.

One reader follows the event stream for all routes, and notes behind each batch of events how far it has come; a daemon
that died before it noted that creates nothing twice, since the ids of runs are derived from their events. A task whose
filter or map is a function has a reader and a note of its own: its workers are asked, and while there are none, its
events wait and nobody else's do. It keeps that reader when it asks no more, so that what waited is not lost.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import aclosing
from typing import NamedTuple

import anyio
import anyio.lowlevel
import msgspec
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskGroup, TaskStatus

from holdfast.bus.clock import sleep
from holdfast.bus.journal import Journal
from holdfast.bus.ports import Message
from holdfast.core.model import Seconds
from holdfast.errors import DaemonUnavailable, Refused, Unanswered
from holdfast.wire import api
from holdfast.wire.subjects import Stream
from holdfast_daemon.inquiry import inquired, questions
from holdfast_daemon.registrar import Draft, Drafter, Registrar
from holdfast_daemon.routebook import Route, Routebook, Sighted

log = logging.getLogger("holdfast.router")

_CURSOR = "cursor"
_SHARED = "router"
"""Name of the cursor of the shared reader; those of tasks are `router-<task>`."""

AGAIN: Seconds = 0.5
"""Between two questions to workers of which none answered."""

SLICE: Seconds = 0.02
"""For how long events are looked at until the event loop has its turn."""

NOTED_EVERY = 5000
"""Events of others that a reader passes over until it notes how far it has come."""


class Counts(NamedTuple):
    """What has become of events since the start."""

    routed: int = 0
    """Runs created from events."""
    unwanted: int = 0
    """Events that no route wants; they stay in the event stream for its retention."""
    refused: int = 0
    """Runs that the server takes no more, being too large; their events stay likewise."""
    unmapped: int = 0
    """Runs created dead, as no arguments could be made of their events."""


class Router:
    """Follows the project's events."""

    def __init__(
        self,
        journal: Journal,
        book: Routebook | None = None,
        registrar: Registrar | None = None,
        *,
        ttl: Seconds | None = None,
    ) -> None:
        """
        Args:
            book: the routes; default: those of tasks only.
            ttl: the project's default, of runs whose route and task name none.
        """
        self._unwanted = 0
        self._journal = journal
        self._bus = journal.bus
        self._book = book or Routebook()
        self._registrar = registrar or Registrar(journal)
        self._drafter = Drafter(ttl)
        self._position = 0
        """Up to where the shared reader has come."""
        self._readers: set[str] = set()
        """Tasks with a reader of their own; a task's own route is identified by the task."""
        self._tasks: TaskGroup

    @property
    def counts(self) -> Counts:
        """What has become of events so far."""
        made = self._registrar
        return Counts(made.routed, self._unwanted, made.refused, made.unmapped)

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Route until cancelled, from where the last one came to; may be run again after that."""
        self._readers.clear()
        self._position = await self._cursor(_SHARED) or 0
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            await tasks.start(self._follow_cards)
            for route in self._book.undeclared():
                log.warning("no worker has declared %s: the runs of route %s wait for one", route.task, route.identity)
            task_status.started()
            async for events in self._events(self._position):
                await self._route(events)

    async def _cursor(self, name: str) -> int | None:
        """How far a reader had come; None: there was none of this name."""
        kept = await self._bus.last(Stream.CONTROL, self._bus.subjects.control(_CURSOR, name))
        if kept is None:
            return None
        return min(int(kept.data), await self._bus.last_seq(Stream.EVENTS))  # it may be another stream by now

    async def _note(self, name: str, seq: int) -> None:
        await self._journal.insist(lambda: self._bus.put(_CURSOR, name, str(seq).encode()))

    async def _events(self, behind: int) -> AsyncIterator[list[Message]]:
        async with aclosing(self._bus.follow(Stream.EVENTS, ">", first=behind + 1)) as feed:
            async for events in feed:
                if events:
                    yield events

    # --- what workers declare ---------------------------------------------------------------------------------------

    async def _follow_cards(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Know which task wants which events."""
        kept = await self._bus.latest(Stream.CONTROL, self._bus.subjects.control(_CURSOR, "*"))
        readers = {message.subject.rpartition(".")[2].removeprefix(f"{_SHARED}-") for message in kept}
        ready = False
        wanted = self._bus.subjects.control("task", "*")
        async for messages in self._bus.follow(Stream.CONTROL, wanted, first=1):
            cards = list(_cards(messages))
            self._book.declare(cards)
            for card in cards:
                if (card.asks or card.id in readers) and card.id not in self._readers:
                    self._readers.add(card.id)
                    await self._tasks.start(self._read_for, card.id)
            if not messages and not ready:
                ready = True
                task_status.started()

    # --- the shared reader ------------------------------------------------------------------------------------------

    async def _route(self, events: Sequence[Message]) -> None:
        drafts: list[Draft] = []
        turn = time.monotonic() + SLICE
        for message in events:
            event = Sighted.of(self._bus.subjects, message)
            routes = self._book.of(event)
            shared = [route for route in routes if route.identity not in self._readers]
            found = list(self._drafter.drafts(event, shared))
            self._unwanted += not found and len(shared) == len(routes)
            drafts += found
            if time.monotonic() > turn:
                await anyio.lowlevel.checkpoint()
                turn = time.monotonic() + SLICE
        await self._registrar.create(drafts)
        await self._note(_SHARED, events[-1].seq)
        self._position = events[-1].seq

    # --- readers of tasks that are asked ----------------------------------------------------------------------------

    async def _read_for(self, task: str, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Route the events that a task asks for, as far as it says what it takes in."""
        cursor = f"{_SHARED}-{task}"
        noted = await self._cursor(cursor)
        if noted is None:
            noted = self._position
            await self._note(cursor, noted)
        task_status.started()
        async for events in self._events(noted):
            sighted = [Sighted.of(self._bus.subjects, message) for message in events]
            wanted = [event for event in sighted if self._route_to(task, event) is not None]
            for portion in questions(wanted):
                await self._inquire(task, portion)
            if wanted or events[-1].seq - noted > NOTED_EVERY:
                noted = events[-1].seq
                await self._note(cursor, noted)

    def _route_to(self, task: str, event: Sighted) -> Route | None:
        """The route by which the task itself asks for an event."""
        return next((route for route in self._book.of(event) if route.identity == task), None)

    async def _inquire(self, task: str, events: Sequence[Sighted]) -> None:
        """Create what the task makes of events, as soon as a worker is there to say it."""
        told = False
        while True:
            try:
                await self._registrar.create(await self._asked(task, events))
                return
            except (DaemonUnavailable, Unanswered, Refused) as error:
                if not told:
                    log.warning("%d events wait for a worker that takes them in for %s: %s", len(events), task, error)
                    told = True
                if isinstance(error, Unanswered) and len(events) > 1:  # it may take its time: fewer at once
                    half = len(events) // 2
                    await self._inquire(task, events[:half])
                    await self._inquire(task, events[half:])
                    return
                await sleep(self._journal.time, AGAIN)

    async def _asked(self, task: str, events: Sequence[Sighted]) -> list[Draft]:
        """The drafts of events by the route of the task as it is declared now; it may ask no more."""
        routes = [route for event in events if (route := self._route_to(task, event)) is not None]
        if any(route.asks for route in routes):
            return await inquired(self._bus, self._drafter, routes[0], events)
        return [draft for event in events for draft in self._drafter.drafts(event, routes[:1])]


def _cards(messages: Iterable[Message]) -> Iterator[api.TaskCard]:
    for message in messages:
        try:
            yield api.decode(message.data, api.TaskCard)
        except msgspec.DecodeError as error:
            log.warning("unreadable task card on %s: %s", message.subject, error)
