"""Turns events into runs: one run for each event and task that wants it, however often the event is looked at.

The id of the run is derived from the event's place in its stream and the task, and creation is create-only; so a daemon
that died between creating runs and noting how far it had come creates nothing twice.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import anyio
import msgspec
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from holdfast.bus.journal import Journal
from holdfast.bus.ports import Message
from holdfast.client import card_settings
from holdfast.core.entries import RunCreated
from holdfast.core.routing import matches
from holdfast.errors import TooLarge
from holdfast.triggering import of_event
from holdfast.wire import api
from holdfast.wire.subjects import Stream

log = logging.getLogger("holdfast.router")

_CURSOR = ("cursor", "router")


class Router:
    """Follows the project's events."""

    def __init__(self, journal: Journal) -> None:
        self.routed = 0
        """Runs created from events."""
        self.unwanted = 0
        """Events that no task wants; they stay in the event stream for its retention."""
        self.refused = 0
        """Runs that the server takes no more, being too large; their events stay likewise."""
        self._journal = journal
        self._bus = journal.bus
        self._cards: dict[str, api.TaskCard] = {}

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Route until cancelled, from where the last daemon came to."""
        cursor = min(await self._cursor(), await self._bus.last_seq(Stream.EVENTS))  # it may be another stream by now
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._follow_cards)
            task_status.started()
            async for events in self._bus.follow(Stream.EVENTS, ">", first=cursor + 1):
                if events:
                    await self._route(events)

    async def _cursor(self) -> int:
        kept = await self._bus.last(Stream.CONTROL, self._bus.subjects.control(*_CURSOR))
        return 0 if kept is None else int(kept.data)

    async def _follow_cards(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Know which task wants which events."""
        ready = False
        wanted = self._bus.subjects.control("task", "*")
        async for messages in self._bus.follow(Stream.CONTROL, wanted, first=1):
            for message in messages:
                try:
                    card = api.decode(message.data, api.TaskCard)
                except msgspec.DecodeError as error:
                    log.warning("unreadable task card on %s: %s", message.subject, error)
                else:
                    self._cards[card.id] = card
            if not messages and not ready:
                ready = True
                task_status.started()

    async def _route(self, events: list[Message]) -> None:
        runs = [run for event in events for run in self._runs_of(event)]
        await self._create(runs)
        await self._journal.insist(lambda: self._bus.put(*_CURSOR, str(events[-1].seq).encode()))

    async def _create(self, runs: list[RunCreated]) -> None:
        """Create them all; those whose outcome is unknown are created again, which does nothing twice."""
        while runs:
            again = []
            for run, outcome in zip(runs, await self._journal.create_many(runs), strict=True):
                if isinstance(outcome, TooLarge):
                    self.refused += 1
                    log.error("no run of %s for the %s, which is passed over: %s", run.task, run.source, outcome)
                elif isinstance(outcome, Exception):
                    again.append((run, outcome))
                else:
                    self.routed += 1
            if again:
                log.warning("%d of %d runs are created again: %s", len(again), len(runs), again[0][1])
                await anyio.sleep(0.2)
            runs = [run for run, _ in again]

    def _runs_of(self, event: Message) -> Iterable[RunCreated]:
        name = event.subject.removeprefix(self._bus.subjects.event(""))
        cards = [card for card in self._cards.values() if any(matches(pattern, name) for pattern in card.on)]
        self.unwanted += not cards
        for card in cards:
            yield of_event(event, name, card.id, card_settings(card))
