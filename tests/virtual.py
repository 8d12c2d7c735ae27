"""A project in memory with a clock that is moved: its daemon's services over one ledger, and runs written by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from holdfast.bus.clock import VirtualClock
from holdfast.bus.journal import Journal
from holdfast.bus.memory import MemoryBus, MemoryServer
from holdfast.bus.ports import Item
from holdfast.core import ids
from holdfast.core.entries import AttemptStarted, Entry, RunCreated
from holdfast.core.model import Run
from holdfast.wire.subjects import Lane
from holdfast.wire.values import encode_value
from holdfast_daemon.conductor import Conductor
from holdfast_daemon.ledger import Ledger
from holdfast_daemon.matchmaker import Matchmaker
from holdfast_daemon.repairs import Repairs
from holdfast_daemon.sweeper import Sweeper


class Project:
    """A journal, and a hand that writes what clients and workers would."""

    def __init__(self, clock: VirtualClock | None = None, server: MemoryServer | None = None) -> None:
        self.clock = clock or VirtualClock()
        self.server = server or MemoryServer(self.clock)
        self.bus = MemoryBus("shop", self.server)
        self.journal = Journal(self.bus, self.clock)
        self._made = 0
        self._last: dict[str, int] = {}

    @property
    def now(self) -> float:
        return self.clock.now()

    async def create(self, task: str = "ship", **options: object) -> str:
        """A run's id."""
        self._made += 1
        run = ids.make(self.now, self._made.to_bytes(10, "big"))
        made = RunCreated(run=run, at=self.now, task=task, payload=encode_value({}), **options)  # type: ignore[arg-type]
        await self.journal.create(made)
        return run

    async def items(self, most: int = 1, queue: str = "default") -> list[Item]:
        """The work items that a worker gets just now."""
        came: list[Item] = []
        for lane in (Lane.GO, Lane.AGAIN, Lane.READY):
            puller = await self.bus.pull(await self.bus.ensure_consumer(queue, 5, lane=lane), came.append)
            puller.want(most - len(came))
            await turns()
            await puller.stop()
        return came

    async def start(self, run: str, *entries: Entry, item: str = "", nonce: str = "n9", **options: object) -> None:
        """Begin the first attempt and write these entries of it."""
        begun = AttemptStarted(self.now, 1, "w9", nonce, item, **options)  # type: ignore[arg-type]
        await self.write(run, begun, *entries, nonce=nonce)

    async def write(self, run: str, *entries: Entry, nonce: str = "n9") -> None:
        """Append to the run's log, as whoever has it."""
        self._last[run] = await self.journal.append(run, (await self.journal.load(run)).last, nonce, entries)

    async def load(self, run: str) -> Run:
        return await self.journal.load(run)

    async def names(self, run: str) -> list[str]:
        """Of all entries of a run, in order; a timer's as `~Name`."""
        return [
            f"{'~' if record.kind == 'timer' else ''}{type(entry).__name__}"
            for _, record in await self.journal.messages(run)
            for entry in record.entries
        ]

    async def beat(self, worker: str = "w9", ttl: float = 3600) -> None:
        """Say that a worker lives."""
        await self.bus.put("worker", worker, b"", ttl=ttl)

    async def elapse(self, seconds: float, steps: int = 20) -> None:
        """Let time go by, in steps between which everybody does what there is to do."""
        await turns()
        for _ in range(steps):
            self.clock.advance(seconds / steps)
            await turns()

    @asynccontextmanager
    async def daemon(self) -> AsyncIterator[Daemon]:
        """The project's services at work for the time of the block, then gone as by a kill."""
        daemon = Daemon(self)
        services = [asyncio.create_task(service) for service in daemon.services()]
        try:
            await self.elapse(0.5)
            yield daemon
            await turns()
            assert not any(service.done() for service in services), [one for one in services if one.done()]
        finally:
            for service in services:
                service.cancel()
            await asyncio.gather(*services, return_exceptions=True)


class Daemon:
    """The services that move runs, over a connection of their own."""

    def __init__(self, project: Project) -> None:
        self.bus = MemoryBus("shop", project.server)
        journal = Journal(self.bus, project.clock)
        self.ledger = Ledger(self.bus, 0, lambda run: 1)
        self.repairs = Repairs()
        view = (lambda: self.ledger.live), (lambda: self.ledger.caught_up)
        self.conductor = Conductor(journal, *view, repairs=self.repairs)
        self.matchmaker = Matchmaker(journal, *view)
        self.sweeper = Sweeper(journal, *view, self.repairs)

    def services(self) -> Sequence[object]:
        return [self._follow(), self.conductor.run(), self.matchmaker.run(), self.sweeper.run()]

    async def _follow(self) -> None:
        async for changes in self.ledger.changes():
            for listener in (self.conductor, self.matchmaker):
                listener.take(changes)

    @property
    def repaired(self) -> dict[str, int]:
        return {kind.value: count for kind, count in self.repairs.by_kind.items()}


async def turns(count: int = 60) -> None:
    """Let everybody do what there is to do without time going by."""
    for _ in range(count):
        await asyncio.sleep(0)
