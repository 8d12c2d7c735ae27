"""A project in one process: server, journal, client, steward and a worker, on a clock that stands still until moved."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from holdfast import context
from holdfast.bus.clock import VirtualClock
from holdfast.bus.journal import Journal
from holdfast.bus.memory import MemoryBus, MemoryServer
from holdfast.client import Client
from holdfast.context import Observer
from holdfast.core import ids
from holdfast.core.admission import QueueLimits
from holdfast.core.entries import RunCreated
from holdfast.core.lifecycle import story
from holdfast.core.model import Instant, Run, Seconds
from holdfast.core.pending import pending
from holdfast.core.tree import Tree
from holdfast.errors import RunStuck
from holdfast.handle import RunHandle
from holdfast.safe import Safe
from holdfast.sealing import SecretKey
from holdfast.task import Task
from holdfast.testing.life import Life, lived_in, quiet, sockets
from holdfast.testing.line import Fate, Immortal, Line
from holdfast.testing.steward import Steward
from holdfast.testing.stuck import why_stuck
from holdfast.worker.pool import WARM, Worker

PROJECT = "test"

START: Instant = 1_800_000_000.0
"""2027-01-15 08:00 UTC."""

LONGEST: Seconds = 10 * 365 * 86400.0
"""Virtual seconds that are waited for the end of a run."""

MOST_MOVES = 200_000
"""Moves of the clock after which a run that goes on and on is given up."""

MOST_TICKS = 1_000
"""The same where nothing moves it any more but ticks of schedules."""


class Settings:
    """What a harness was told, for as many worlds as it makes."""

    def __init__(
        self,
        tasks: Mapping[str, Task[..., Any]],
        *,
        start: Instant = START,
        concurrency: int = 100,
        limits: Mapping[str, int] | None = None,
        grace: Seconds = 30.0,
        warm: int = WARM,
        patience: Seconds = 1.0,
        secrets: Mapping[str, str] | None = None,
        ticking: bool = True,
    ) -> None:
        self.secrets = secrets or {}
        self.ticking = ticking
        """Whether the tasks' schedules run them."""
        self.tasks = tasks
        self.start = start
        self.concurrency = concurrency
        self.limits = limits
        self.grace = grace
        self.warm = warm
        self.patience = patience


class World:
    """The project. Everything that is awaited here takes no time but what the clock is moved by."""

    def __init__(
        self, settings: Settings, *, fate: Fate | None = None, observer: Observer | None = None, start: Instant = 0.0
    ) -> None:
        self.settings = settings
        self.clock = VirtualClock(start or settings.start)
        self.server = MemoryServer(self.clock)
        self.bus = MemoryBus(PROJECT, self.server, ack_wait=math.inf)
        self.journal = Journal(self.bus, self.clock)
        limits = {queue: QueueLimits(concurrency=most) for queue, most in (settings.limits or {}).items()}
        self.steward = Steward(self.journal, self.server, settings.tasks, limits, ticking=settings.ticking)
        self.client = WorldClient(self)
        self._fate = fate or Immortal()
        self._observer = observer
        self._workers: list[_Employed] = []
        self._stack = ExitStack()
        self._key = SecretKey.random()
        self._sockets = 0
        """That the loop listened to before: none of ours."""

    async def open(self) -> None:
        """Start the worker."""
        self._stack.enter_context(lived_in())
        self._sockets = sockets()
        safe = Safe(self.bus, self._key, by="test", clock=self.clock.now)
        for name, value in self.settings.secrets.items():
            await safe.put(name, value)
        await self._employ()

    async def close(self) -> None:
        """End everything; what the code of runs does on its way out is of no consequence."""
        for employed in self._workers:
            employed.life.end()
            await employed.line.close()
        for employed in self._workers:
            await employed.life.bury()
        await self.bus.close()
        self._stack.close()

    @property
    def worker(self) -> _Employed:
        """The one that lives, or the last one."""
        return self._workers[-1]

    async def _employ(self) -> None:
        life = Life(self.clock)
        if self._observer is not None:
            life.context.run(context.observer.set, self._observer)
        life.context.run(context.execution.set, None)
        employed = _Employed(f"w{len(self._workers) + 1}", life, self.settings, self.server, self._fate, self._key)
        self._workers.append(employed)
        await self._quiet()
        employed.check()

    # --- time -------------------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Wait until nothing is left to do at this instant."""
        while True:
            await self._quiet()
            self.worker.check()
            if self.worker.life.ended:
                await self._replace()
                continue
            before = self.steward.length
            attended = await self.steward.attend()
            await self.worker.look()
            await self._quiet()
            if not attended and self.steward.length == before and not self.worker.life.ended:
                return

    async def _quiet(self) -> None:
        """Wait until what can go on has; a step that talks to the world outside has `patience` for each answer."""
        while True:
            await quiet(self._threads, self.settings.patience)
            if sockets() <= self._sockets or not await self._wakes():
                return

    async def _wakes(self) -> bool:
        """Wait in real time for the outside to wake a step that is under way; whether that came about."""
        return bool(self._workers) and self.worker.stepping and await self.worker.life.stirs(self.settings.patience)

    def _threads(self) -> set[asyncio.Future[Any]]:
        return {call for one in self._workers if not one.life.ended for call in one.life.threads}

    async def _replace(self) -> None:
        """A worker was killed: take its runs, and start another."""
        dead = self.worker
        await dead.line.close()
        self.steward.lose(dead.name)
        while await self.steward.attend():
            pass
        for token in sorted(dead.line.items):
            self.bus.release(token)
        await self._employ()

    async def advance(self, seconds: Seconds) -> None:
        """Let time go by, from one thing that is due to the next."""
        until = self.clock.now() + seconds
        await self.settle()
        while (due := self._due) <= until:
            self.clock.advance(max(0.0, due - self.clock.now()))
            await self.settle()
        self.clock.advance(until - self.clock.now())
        await self.settle()

    @property
    def _due(self) -> Instant:
        due = self.clock.next_due
        return math.inf if due is None else due

    async def until(self, holds: Callable[[], bool], run: str) -> None:
        """Go on until something holds.

        Raises:
            RunStuck: nothing is due any more, and it does not hold.
        """
        last, moves, ticks = self.clock.now() + LONGEST, 0, 0
        await self.settle()
        while not holds():
            if self._due > last and await self._wakes():
                await self.settle()
                continue
            if self._due > last or moves > MOST_MOVES or ticks > MOST_TICKS:
                raise self._stuck(run)
            moves += 1
            ticks = ticks + 1 if self.steward.only_ticks else 0
            self.clock.advance(max(0.0, self._due - self.clock.now()))
            await self.settle()

    async def until_ended(self, run: str) -> Run:
        """Go on until a run has ended. Raises: RunStuck."""
        await self.until(lambda: run in self.steward.runs and self.steward.runs[run].final, run)
        return self.steward.runs[run]

    def _stuck(self, id: str) -> RunStuck:
        run = self.steward.runs.get(id)
        if run is None:
            return RunStuck(f"run {id} is not there: it was never created in this harness")
        tree = Tree.of(story(self.steward.records[id]))
        return RunStuck(why_stuck(run, pending(run, tree), self.settings.tasks, self.clock.now()))


class _Employed:
    """A worker with its life and its line."""

    def __init__(
        self, name: str, life: Life, settings: Settings, server: MemoryServer, fate: Fate, key: SecretKey
    ) -> None:
        self.name = name
        self.life = life
        self.line = Line(PROJECT, server, life, fate)
        self._worker = Worker(
            self.line,
            settings.tasks,
            name=name,
            concurrency=settings.concurrency,
            clock=life.time,
            key=key,
            grace=settings.grace,
            warm=settings.warm,
            background=False,
        )
        self._task = asyncio.get_running_loop().create_task(self._worker.run(asyncio.Event()), context=life.context)

    @property
    def stepping(self) -> bool:
        """Whether a step is under way."""
        return not self.life.ended and self._worker.stepping

    def check(self) -> None:
        """Raises: what the worker fell over."""
        if self._task.done() and not self.life.ended:
            self._task.result()

    async def look(self) -> None:
        """Have it serve the queues that were announced since, and suspend what only waits."""
        if not self.life.ended and not self._task.done():
            await self._worker.look()
            self.life.call(self._worker.rest)


class WorldClient(Client):
    """The client of the world: ids follow from the order of triggers, and awaiting a result moves the clock."""

    def __init__(self, world: World) -> None:
        super().__init__(world.bus, name="test", clock=world.clock)
        self._world = world
        self._made = 0

    def _new_id(self, now: float) -> str:  # type: ignore[override]
        self._made += 1
        return ids.derive(now, "test", str(self._made))

    async def start(self, created: RunCreated) -> RunHandle:
        return self._driven(await super().start(created))

    async def start_many(self, created: Any) -> list[RunHandle | Exception]:
        started = await super().start_many(created)
        return [self._driven(one) if isinstance(one, RunHandle) else one for one in started]

    def run(self, id: str) -> RunHandle:
        return self._driven(super().run(id))

    def _driven(self, handle: RunHandle) -> RunHandle:
        driven = Driven.of(self, handle.id, handle.first)
        driven.__dict__["_world"] = self._world
        return driven


class Driven(RunHandle, dict=True):
    """A handle whose result comes as soon as time can bring it."""

    async def result(self, timeout: float | None = None) -> Any:
        world: World = self.__dict__["_world"]
        await world.until_ended(self.id)
        return await super().result(timeout)
