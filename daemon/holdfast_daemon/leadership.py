"""Which of several daemons conducts a project: one at a time, by a record in the journal's stream.

The record names the daemon; its sequence is the term. What must not be done by two (admissions, that is: everything
else is compare-and-set on a run, or has an id of its own) is published with that sequence as a fence, so that one who
was stopped and comes back is refused by the server, whatever it believes.

Who conducts says so every `BEAT`, unstored. After `SILENCE` without hearing it another one takes over, by
compare-and-set on the record. A record of a daemon that is known to be gone (an earlier life of the same data
directory, or one that left politely) is taken over at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import anyio
import msgspec
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from holdfast.bus.clock import sleep
from holdfast.bus.journal import Journal
from holdfast.bus.ports import Fence, Message
from holdfast.core.model import Instant, Seconds
from holdfast.errors import BusError, ConnectError, Fenced
from holdfast.wire import api, codec
from holdfast.wire.subjects import Stream

log = logging.getLogger("holdfast.leadership")

BEAT: Seconds = 0.25
"""Between two signs of life of who conducts."""

SILENCE: Seconds = 1.5
"""Without one for so long another daemon takes over."""

NEWS = "lead"
"""Where they are told (`Subjects.news`)."""


class Reign(msgspec.Struct, frozen=True):
    """The record: who conducts, or did."""

    daemon: str
    vacant: bool = False
    """Whether it has left."""


class Leadership:
    """Whether this daemon conducts a project."""

    def __init__(self, journal: Journal, daemon: str, *, station: str, position: Callable[[], int]) -> None:
        """
        Args:
            daemon: a name that no other daemon, and no other life of this one, has.
            station: what the names of all lives of this one begin with.
            position: up to where the journal is folded here.
        """
        self._journal = journal
        self._bus = journal.bus
        self._daemon = daemon
        self._station = station
        self._position = position
        self._term = 0
        """Sequence of our record; 0: we do not conduct."""
        self._heard_at: Instant = -float("inf")
        self._changed = anyio.Event()

    @property
    def leads(self) -> bool:
        """Whether this daemon conducts, and knows all that was done before it began to."""
        return bool(self._term) and self._position() >= self._term

    @property
    def fence(self) -> Fence:
        """What only the one who conducts can publish with. Only while `leads`."""
        assert self._term
        return Fence(self._bus.subjects.lead, self._term)

    async def gained(self) -> None:
        """Wait until this daemon conducts."""
        while not self.leads:
            changed = self._changed
            with anyio.move_on_after(0.05 if self._term else None):
                await changed.wait()

    async def lost(self) -> None:
        """Wait until it does no more."""
        while self._term:
            await self._changed.wait()

    def depose(self) -> None:
        """Another daemon conducts: something was refused to us."""
        if self._term:
            log.warning("another daemon conducts project %s now", self._bus.subjects.project)
            self._set(0)

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Conduct when nobody else does, until cancelled."""
        stop = await self._bus.listen(self._bus.subjects.news(NEWS), self._hear)
        self._heard_at = self._journal.clock()
        try:
            await self._step(first=True)
            task_status.started()
            while True:
                await sleep(self._journal.time, BEAT)
                await self._step()
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(1.0):
                await stop()
                await self._leave()

    def _hear(self, subject: str, data: bytes) -> None:
        if data.decode(errors="replace") != self._daemon:
            self._heard_at = self._journal.clock()

    async def _step(self, *, first: bool = False) -> None:
        try:
            record = await self._bus.last(Stream.JOURNAL, self._bus.subjects.lead)
            if self._term:
                self._hold_on(record)
            elif self._is_free(record, first):
                await self._take_over(record)
        except (BusError, ConnectError) as error:
            self._heard_at = self._journal.clock()  # it is us who hear nothing
            log.info("who conducts is not known just now: %s", error)

    def _hold_on(self, record: Message | None) -> None:
        if record is None or record.seq != self._term:
            self.depose()
        else:
            self._bus.send(self._bus.subjects.news(NEWS), self._daemon.encode())

    def _is_free(self, record: Message | None, first: bool) -> bool:
        """Whether nobody conducts, as far as can be told."""
        if record is None:
            return True
        reign = api.decode(record.data, Reign)
        if reign.vacant or reign.daemon.startswith(f"{self._station}-"):
            return True
        return not first and self._journal.clock() - self._heard_at >= SILENCE

    async def _take_over(self, record: Message | None) -> None:
        seq = 0 if record is None else record.seq
        try:
            term = await self._bus.publish(self._bus.subjects.lead, codec.encode(Reign(self._daemon)), expect=seq)
        except Fenced:
            self._heard_at = self._journal.clock()  # somebody was first
            return
        log.info("this daemon conducts project %s from %d on", self._bus.subjects.project, term)
        self._set(term)

    async def _leave(self) -> None:
        """Tell the others that they need not wait for our silence."""
        if not self._term:
            return
        term, self._term = self._term, 0
        try:
            vacant = codec.encode(Reign(self._daemon, vacant=True))
            await self._bus.publish(self._bus.subjects.lead, vacant, expect=term)
        except (BusError, ConnectError):
            return  # they hear nothing of us any more

    def _set(self, term: int) -> None:
        self._term = term
        self._changed.set()
        self._changed = anyio.Event()


class Service(Protocol):
    """Something that runs until it is cancelled."""

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None: ...


class Led:
    """A service that runs only while this daemon conducts. The service may be cancelled, and run again, at any time."""

    def __init__(self, leadership: Leadership, service: Service) -> None:
        self._leadership = leadership
        self._service = service

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run it whenever this daemon conducts, until cancelled."""
        task_status.started()
        while True:
            await self._leadership.gained()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._service.run)
                await self._leadership.lost()
                tasks.cancel_scope.cancel()
