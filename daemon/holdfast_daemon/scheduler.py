"""Attends to the project's schedules: parks the next tick of each, when one has fired and when a schedule changes.

What there is to do, and that it may be done twice, by several, and left half done, is the timetable's; this knows when.
A tick that is parked needs no daemon to fire, so one that is away misses those behind it only, and catches up.
"""

from __future__ import annotations

import logging
from functools import partial

import anyio
import anyio.lowlevel
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from holdfast.abreast import abreast
from holdfast.bus.clock import sleep, until
from holdfast.bus.journal import Journal
from holdfast.catalogue import WHAT, Catalogue, Planned
from holdfast.core.model import Instant, Seconds
from holdfast.errors import BusError, ConnectError, HoldfastError
from holdfast.timetable import Timetable
from holdfast.wire.subjects import Stream
from holdfast_daemon.agenda import Agenda

log = logging.getLogger("holdfast.scheduler")

AGAIN: Seconds = 1.0
"""After so long what could not be done is tried again."""

LONGEST: Seconds = 30.0
"""Between two looks at the clock: it may be set, and timers stand still while a machine sleeps."""

IDLE: Seconds = 60.0
"""Between two signs that nothing about schedules was said; nobody listens for them."""

AT_ONCE = 32
"""Schedules that are attended to at a time."""


class Scheduler:
    """Keeps the timetable of one project. May be cancelled, and run again, at any time."""

    def __init__(self, journal: Journal, timetable: Timetable) -> None:
        self._journal = journal
        self._timetable = timetable
        self._forget()

    def _forget(self) -> None:
        self._catalogue = Catalogue()
        self._planned: dict[str, Planned] = {}
        self._gone: set[str] = set()
        """Schedules that are no more, and of which a tick may still be parked."""
        self._agenda = Agenda()
        self._heard: set[str] = set()
        """Of which control values all that there were have come."""
        self._stirred = anyio.Event()

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Attend until cancelled."""
        self._forget()
        async with anyio.create_task_group() as tasks:
            for what in WHAT:
                tasks.start_soon(self._follow, what)
            task_status.started()
            while len(self._heard) < len(WHAT):
                await self._stirred.wait()
                self._stirred = anyio.Event()
            self._gone |= set(await self._journal.insist(self._timetable.names)) - self._planned.keys()
            while True:
                self._stirred = anyio.Event()
                await self._attend_due()
                await self._rest()

    # --- what is told -----------------------------------------------------------------------------------------------

    async def _follow(self, what: str) -> None:
        """Take in the control values of a kind, as they are set."""
        wanted = self._journal.bus.subjects.control(what, "*")
        while True:
            try:
                async for messages in self._journal.bus.follow(Stream.CONTROL, wanted, first=1, idle=IDLE):
                    for message in messages:
                        self._catalogue.take(message)
                    if messages or what not in self._heard:
                        self._heard |= set() if messages else {what}
                        self._plan()
            except (BusError, ConnectError) as error:
                log.warning("schedules are followed again: %s", error)
                await sleep(self._journal.time, AGAIN)

    def _plan(self) -> None:
        """Have looked at what is new, changed, or gone."""
        if len(self._heard) == len(WHAT):  # else some of it may be told yet
            before, self._planned = self._planned, self._catalogue.schedules
            self._gone = (self._gone | before.keys()) - self._planned.keys()
            for name in self._gone:
                self._agenda.drop(name)
            for name, task in self._catalogue.hidden.items():
                log.error("schedule %s of an operator does not tick: task %s declares one of that name", name, task)
            for name, planned in self._planned.items():
                if before.get(name) != planned:
                    self._agenda.set(name, self._journal.clock(), 0)
        self._stirred.set()

    # --- what is done -----------------------------------------------------------------------------------------------

    async def _attend_due(self) -> None:
        withdrawals = [partial(self._withdraw, name) for name in sorted(self._gone)]
        looks = [partial(self._attend, name) for name, _ in self._agenda.due(self._journal.clock())]
        await abreast((*withdrawals, *looks), AT_ONCE)

    async def _attend(self, name: str) -> None:
        planned = self._planned.get(name)
        if planned is None:
            return  # gone meanwhile
        try:
            at = await self._timetable.attend(planned)
        except HoldfastError as error:
            log.warning("schedule %s is attended to again: %s", name, error)
            at = self._journal.clock() + AGAIN
        if self._planned.get(name) is planned:  # else it was changed meanwhile, and is noted
            self._agenda.hasten(name, at, 0)

    async def _withdraw(self, name: str) -> None:
        try:
            await self._timetable.forget(name)
        except HoldfastError as error:
            log.warning("the timer of schedule %s, which is gone, is removed later: %s", name, error)
            return
        if name not in self._planned:
            self._gone.discard(name)
            log.info("schedule %s is gone", name)

    async def _rest(self) -> None:
        """Wait for the next tick, or for news."""
        now = self._journal.clock()
        due: Instant = min(self._agenda.next, now + (AGAIN if self._gone else LONGEST))
        if due <= now:
            await anyio.lowlevel.checkpoint()
            return
        await until(self._journal.time, due, self._stirred)
