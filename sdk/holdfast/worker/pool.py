"""Many attempts in one process: takes work items as slots are free, hears what runs are told, drains when asked to."""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from holdfast import __version__, context
from holdfast.bus.blobs import Blobs
from holdfast.bus.clock import Clock
from holdfast.bus.journal import Journal
from holdfast.bus.ports import Bus, Item, Message, Puller, consumer_name
from holdfast.client import Client
from holdfast.core.deadlines import GRACE
from holdfast.core.lifecycle import Kind
from holdfast.core.model import DEFAULT_PRIORITY, FIRST_PRIORITY, Instant, Run, Seconds
from holdfast.errors import BusError, ConnectError, PayloadError
from holdfast.sealing import SecretKey
from holdfast.task import Task
from holdfast.vault import Vault
from holdfast.wire import codec
from holdfast.wire.api import (
    CHECK,
    CHECK_ALL,
    ROUTE,
    AllChecked,
    Checked,
    Duty,
    Payloads,
    Presence,
    TaskCard,
    decode,
)
from holdfast.wire.subjects import Lane, Stream
from holdfast.worker.attempt import Attempt, Why
from holdfast.worker.capture import Capture
from holdfast.worker.checkpoints import SHOWN_AFTER
from holdfast.worker.duties import orders
from holdfast.worker.intakes import answering, text_of
from holdfast.worker.presence import Heart
from holdfast.worker.stored import Stored
from holdfast.worker.vitals import Vitals

log = logging.getLogger("holdfast.worker")

DRAIN: Seconds = 10.0
"""How long a worker that stops politely lets its runs end."""

LOOK_EVERY: Seconds = 1.0
"""Between two looks for queues and priorities that a task's runs are in for the first time."""

PATIENCE: Seconds = 1.0
"""How long a work item waits here for a slot before it is left to a worker that has one free."""

IDLE: Seconds = 5.0
"""Between two signs that nothing was told."""

WARM = 100
"""Suspended runs whose code stays in memory: taken up again here, they need not go over their checkpoints."""

WARM_FOR: Seconds = 60.0
"""How long it stays there at most."""

DEFAULT_QUEUE = "default"
"""Served by every worker: where a run waits that was triggered by the name of a task nobody had declared."""


class Worker:
    """Runs tasks; many at a time, in one event loop."""

    def __init__(
        self,
        bus: Bus,
        tasks: Mapping[str, Task[..., Any]],
        *,
        name: str,
        concurrency: int = 100,
        drain: Seconds = DRAIN,
        connect: Callable[[], Awaitable[Bus]] | None = None,
        clock: Clock | None = None,
        key: SecretKey | None = None,
        url: str = "",
        grace: Seconds = GRACE,
        warm: int = WARM,
        ttl: Seconds | None = None,
        background: bool = True,
    ) -> None:
        """
        Args:
            name: unique among the project's workers.
            concurrency: runs at a time.
            connect: a second connection, for the heartbeat's thread; None: no heartbeat (a test's worker).
            clock: default: the wall's.
            key: of the project's secrets; None: they are known by name only.
            url: under which the daemon takes HTTP requests, for tokens.
            grace: how long a task may take to end when it is told to.
            ttl: the project's, of runs that tasks trigger.
            warm: of how many suspended runs the code stays in memory.
            background: look now and then, in real time, after new queues and slow steps, and gather what runs print;
                else whoever has the worker calls `look` (a test's harness).
        """
        self._bus = bus
        self._tasks = tasks
        self._name = name
        self._concurrency = concurrency
        self._drain = drain
        self._connect = connect
        self._journal = Journal(bus, clock)
        self._clock = self._journal.time
        self._key = key
        self._vault = Vault()
        self._stored = Stored(Blobs(bus), self._vault)
        self._capture = Capture(bus, name, self._stored.redact)
        self._url = url
        self._grace = grace
        self._warm = warm
        self._ttl = ttl
        self._background = background
        self._group: asyncio.TaskGroup | None = None
        self._parked: dict[str, tuple[Attempt, Instant]] = {}
        """Suspended runs whose code is still here, since when; oldest first."""
        self._seconds: dict[str, tuple[Item, _Lane]] = {}
        """Items that came while an earlier one of the same run was looked at."""
        self._attempts: dict[str, Attempt] = {}
        self._items: set[str] = set()
        self._waiting: list[_Waiting] = []
        """Items for which there is no slot yet, the first to begin first."""
        self._lanes: dict[str, _Lane] = {}
        """By consumer."""
        self._governed: frozenset[str] = frozenset()
        """Queues of which only runs with a slot are begun."""
        self._stirred = asyncio.Event()
        """Set when there may be new lanes."""
        self._draining = False
        """Whether nothing is taken up: told so, or stopping."""
        self._vitals = Vitals()
        self._started_at = time.time()
        self._ended = asyncio.Event()

    async def run(self, stop: asyncio.Event, *, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop` is set; then let runs end for the drain time, and give the rest back."""
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(self._concurrency + 4, thread_name_prefix="holdfast"))
        client = Client(self._bus, name="worker", clock=self._clock, ttl=self._ttl)
        client.via = ""  # what tasks do is no part of the audit
        token = context.enter(client)
        try:
            await self._vault.load(self._bus, self._key)
            told = await self._bus.last_seq(Stream.CONTROL) + 1  # an order from before is for another of this name
            async with asyncio.TaskGroup() as tasks:
                self._group = tasks
                background = [tasks.create_task(self._vault.follow())]
                if self._background:
                    background += [tasks.create_task(self._capture.run()), tasks.create_task(self._show_slow())]
                with self._captured(), self._heart():
                    background.append(tasks.create_task(self._hear(await self._bus.last_seq(Stream.JOURNAL) + 1)))
                    await self._declare()
                    for queue in sorted({DEFAULT_QUEUE, *(task.queue for task in self._tasks.values())}):
                        await self._open(queue, DEFAULT_PRIORITY, tasks)
                    await self._open_announced(tasks)
                    if self._background:
                        background.append(tasks.create_task(self._watch_lanes()))
                        background.append(tasks.create_task(self._obey(told, stop, tasks)))
                    ready()
                    await stop.wait()
                    await self._stop_politely()
                for task in background:
                    task.cancel()
        finally:
            context.leave(client, token)

    async def _declare(self) -> None:
        """Publish the catalogue cards of the tasks."""
        for task in self._tasks.values():
            doc = (task.fn.__doc__ or "").strip().partition("\n")[0]
            card = TaskCard(
                id=task.id,
                queue=task.queue,
                on=task.on,
                doc=doc,
                parameters=str(task.signature),
                module=getattr(task.fn, "__module__", ""),
                code=task.code,
                priority=task.settings.priority,
                timeouts=task.settings.timeouts,
                ttl=task.settings.ttl,
                hooks=task.settings.hooks,
                limits=task.settings.limits,
                schema=task.signature.schema(),
                schedules=task.schedules,
                takes_tick=task.signature.has("tick"),
                filter=text_of(task.intake.filter),
                map=text_of(task.intake.map),
                asks=task.intake.asks,
            )
            if task.intake.asks:
                await self._bus.serve(self._bus.subjects.api(f"{ROUTE}.{task.id}"), answering(task))
            await self._bus.put("task", task.id, codec.encode(card))
            await self._bus.serve(self._bus.subjects.api(f"{CHECK}.{task.id}"), _checker(task))
            await self._bus.serve(self._bus.subjects.api(f"{CHECK_ALL}.{task.id}"), _all_checker(task))

    async def _watch_lanes(self) -> None:
        """Serve queues and priorities as the first run of a task comes to them."""
        news = [self._bus.subjects.control(what, ">") for what in ("lane", "governed")]
        stops = [await self._bus.listen(subject, lambda *_: self._stirred.set()) for subject in news]
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY):
                        await self._stirred.wait()
                self._stirred.clear()
                try:
                    await self.look()
                except (BusError, ConnectError) as error:
                    log.warning("new queues are looked for again: %s", error)
        finally:
            for stop in stops:
                await stop()

    async def look(self) -> None:
        """Let go of code that is parked for long; serve the queues and priorities that were announced since; leave what
        waits for a slot to others that have one."""
        assert self._group is not None, "run it first"
        await self._evict(self._warm)
        if not self._draining:
            await self._open_announced(self._group)
        await self._share()

    @property
    def stepping(self) -> bool:
        """Whether a step of a run is under way here."""
        executions = (attempt.execution for attempt in self._attempts.values() if attempt.holds)
        return any(execution is not None and execution.open for execution in executions)

    def rest(self) -> None:
        """Suspend what only waits, at once: whoever has this worker knows that nothing comes of itself."""
        for attempt in list(self._attempts.values()):
            if attempt.execution is not None and attempt.holds:
                attempt.execution.waits.rest()

    async def _open_announced(self, tasks: asyncio.TaskGroup) -> None:
        pattern = self._bus.subjects.control("lane", ">")
        for message in await self._bus.latest(Stream.CONTROL, pattern):
            queue, priority, task = message.subject.split(".")[-3:]
            if task in self._tasks:
                await self._open(queue, int(priority), tasks)
        await self._open_governed(tasks)

    async def _open_governed(self, tasks: asyncio.TaskGroup) -> None:
        """Of queues that are governed by now, take what is admitted, and give back what was not begun."""
        self._governed = await self._bus.governed()
        for queue in self._governed & self._queues:
            await self._open_lane(queue, 0, Lane.GO, tasks)
        self._leave([waiting for waiting in self._waiting if self._is_void(waiting.lane)])

    def _is_void(self, lane: _Lane) -> bool:
        """Whether nothing is begun from this lane any more."""
        return lane.kind is not Lane.GO and lane.queue in self._governed

    def _give_back(self, item: Item, lane: _Lane) -> None:
        self._bus.release(item.token)
        self._items.discard(item.token)
        lane.free(1)

    def _may_begin(self, item: Item, run: Run) -> bool:
        """Whether a run may begin with this item: where there are limits, only with a slot."""
        if self._bus.subjects.parse(item.subject).kind is Kind.GO:
            return run.admitted
        return run.queue not in self._governed and not self._tasks[run.task].settings.limits

    async def _open(self, queue: str, priority: int, tasks: asyncio.TaskGroup) -> None:
        for lane in (Lane.AGAIN, Lane.READY):
            await self._open_lane(queue, priority, lane, tasks)

    async def _open_lane(self, queue: str, priority: int, kind: Lane, tasks: asyncio.TaskGroup) -> None:
        """Take items of a lane; nothing, where that is done already."""
        name = consumer_name(queue, priority, kind)
        if name in self._lanes:
            return
        lane = _Lane(queue, priority, kind)
        await self._bus.ensure_consumer(queue, priority, lane=kind)
        if await self._pull(lane, tasks):
            self._lanes[name] = lane

    async def _pull(self, lane: _Lane, tasks: asyncio.TaskGroup) -> bool:
        """Ask for a lane's items; False where the worker began to drain meanwhile, and nothing was asked for."""
        consumer = consumer_name(lane.queue, lane.priority, lane.kind)
        puller = await self._bus.pull(consumer, lambda item: self._take(item, lane, tasks))
        if self._draining:
            await puller.stop()
            return False
        lane.begin(puller, self._concurrency)
        return True

    @property
    def _queues(self) -> set[str]:
        return {lane.queue for lane in list(self._lanes.values())}

    # --- items ------------------------------------------------------------------------------------------------------

    def _take(self, item: Item, lane: _Lane, tasks: asyncio.TaskGroup) -> None:
        lane.came()
        self._items.add(item.token)
        if self._draining or self._is_void(lane):
            self._give_back(item, lane)
        elif len(self._attempts) >= self._concurrency:
            bisect.insort(self._waiting, _Waiting(item, lane, self._clock.now()), key=_turn)
        else:
            self._begin(item, lane, tasks)

    def _begin(self, item: Item, lane: _Lane, tasks: asyncio.TaskGroup) -> None:
        run_id = self._bus.subjects.parse(item.subject).run
        if run_id in self._attempts:
            tasks.create_task(self._contest(self._attempts[run_id], item, lane, tasks))
            return
        attempt, _ = self._parked.pop(run_id, (None, 0.0))
        if attempt is None:
            attempt = Attempt(
                item,
                journal=self._journal,
                tasks=self._tasks,
                worker=self._name,
                output=self._capture.output,
                held=self._held_elsewhere,
                may_begin=self._may_begin,
                stored=self._stored,
                url=self._url,
                grace=self._grace,
            )
        attempt.item = item
        self._attempts[run_id] = attempt
        tasks.create_task(self._process(attempt, lane, tasks))

    async def _contest(self, holder: Attempt, item: Item, lane: _Lane, tasks: asyncio.TaskGroup) -> None:
        """A second item of a run that is here: a repetition, or the run was taken from us while we were not looking."""
        if holder.looks and holder.run_id not in self._seconds:
            self._seconds[holder.run_id] = item, lane  # what it reads may be from before this item
            return
        if not holder.leaves and await holder.still_held():
            self._items.discard(item.token)  # whoever holds the run acknowledges its item
            lane.free(1)
            return
        if not holder.leaves:  # else the item may be of what follows from the end that it is just recording
            holder.stop(Why.LOST)
        while self._attempts.get(holder.run_id) is holder:
            self._ended.clear()
            await self._ended.wait()
        self._begin(item, lane, tasks)

    def _begin_second(self, attempt: Attempt, tasks: asyncio.TaskGroup) -> None:
        """Take up the item that came while the journal was being read, where nothing was found to be done by then."""
        item, lane = self._seconds.pop(attempt.run_id, (None, None))
        if item is None or lane is None:
            return
        if attempt.looks and not self._draining:
            self._begin(item, lane, tasks)
            return
        if self._draining:
            self._bus.release(item.token)
        self._items.discard(item.token)  # else it was a repetition
        lane.free(1)

    async def _share(self) -> None:
        """Leave items that have waited here to workers that do the same and have slots free: each lane asks for as many
        as there are slots, so of several lanes together more may come than fit."""
        if not self._patient():
            return
        pulse = self._bus.subjects.control("worker", "*")
        others = [decode(beat.data, Presence) for beat in await self._bus.latest(Stream.CONTROL, pulse)]
        room = sum(max(0, other.concurrency - other.running) for other in others if self._is_alike(other))
        self._leave(self._patient()[:room])

    def _leave(self, given_up: list[_Waiting]) -> None:
        """Give items back that have not begun."""
        for waiting in given_up:
            self._waiting.remove(waiting)
            self._give_back(waiting.item, waiting.lane)

    def _patient(self) -> list[_Waiting]:
        """The items that have waited long."""
        now = self._clock.now()
        return [waiting for waiting in self._waiting if now - waiting.since >= PATIENCE]

    def _is_alike(self, other: Presence) -> bool:
        return other.worker != self._name and not other.draining and self._tasks.keys() <= set(other.tasks)

    def _held_elsewhere(self, attempt: Attempt) -> bool:
        """Whether another attempt of this worker has the run."""
        return self._attempts.get(attempt.run_id, attempt) is not attempt

    async def _process(self, attempt: Attempt, lane: _Lane, tasks: asyncio.TaskGroup) -> None:
        try:
            await attempt.process()
        except Exception:
            log.exception("run %s: its work item is left to come again", attempt.run_id)
        finally:
            del self._attempts[attempt.run_id]
            if attempt.ended:
                self._vitals.ended()
            if attempt.parked:
                self._parked[attempt.run_id] = attempt, self._clock.now()
            self._items.discard(attempt.item.token)
            self._ended.set()
        # Not where the worker itself is cancelled: nothing begins any more.
        self._begin_second(attempt, tasks)
        if self._waiting and not self._draining:
            waiting = self._waiting.pop(0)
            self._begin(waiting.item, waiting.lane, tasks)
        lane.free(1)
        await self._evict(self._warm if not self._draining else 0)

    async def _evict(self, keep: int) -> None:
        """Let go of the parked code that is oldest."""
        while self._parked:
            run_id, (attempt, since) = next(iter(self._parked.items()))
            if len(self._parked) <= keep and self._clock.now() - since < WARM_FOR:
                return
            del self._parked[run_id]  # before anything is awaited: it may be taken up again meanwhile
            await attempt.evict()

    async def _hear(self, first: int) -> None:
        """Pass on what runs are told: from the journal, in its order, for what comes first counts."""
        told = self._bus.subjects.inbox("*")
        while True:
            try:
                async with contextlib.aclosing(self._bus.follow(Stream.JOURNAL, told, first=first, idle=IDLE)) as news:
                    async for messages in news:
                        for message in messages:
                            first = message.seq + 1
                            self._heard(message)
            except (BusError, ConnectError) as error:
                log.warning("what runs are told is heard again: %s", error)
                await asyncio.sleep(LOOK_EVERY)

    def _heard(self, message: Message) -> None:
        attempt = self._attempts.get(message.subject.split(".")[3])
        if attempt is not None:
            try:
                attempt.hear(codec.decode_entry(message.data), message.seq)
            except ValueError as error:
                log.warning("unreadable message on %s: %s", message.subject, error)

    async def _show_slow(self) -> None:
        while True:
            await asyncio.sleep(SHOWN_AFTER)
            now = self._clock.now()
            for attempt in list(self._attempts.values()):
                if attempt.execution is not None and attempt.holds:
                    attempt.execution.show_slow(now)

    # --- presence and the end ---------------------------------------------------------------------------------------

    def _captured(self) -> contextlib.AbstractContextManager[None]:
        return self._capture.installed() if self._background else contextlib.nullcontext()

    def _heart(self) -> contextlib.AbstractContextManager[None]:
        if self._connect is None:
            return contextlib.nullcontext()
        return Heart(self._connect, self._presence, lambda: list(self._items)).beating()

    def _presence(self) -> Presence:
        runs = [attempt.run_id for attempt in list(self._attempts.values())]
        vital = self._vitals.now()
        return Presence(
            worker=self._name,
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=self._started_at,
            at=time.time(),
            tasks=tuple(sorted(self._tasks)),
            queues=tuple(sorted(self._queues)),
            concurrency=self._concurrency,
            running=len(runs),
            runs=tuple(runs[:100]),
            draining=self._draining,
            version=__version__,
            cpu=vital.cpu,
            rss=vital.rss,
            done_rate=vital.done_rate,
        )

    async def _obey(self, first: int, stop: asyncio.Event, tasks: asyncio.TaskGroup) -> None:
        """Do what operators order, from this sequence of the control stream on."""
        async for order in orders(self._bus, self._name, first=first):
            log.info("told to %s by %s", order.duty, order.by or "somebody")
            match order.duty:
                case Duty.DRAIN:
                    await self._take_nothing()
                    await self._evict(0)
                case Duty.RESUME if not stop.is_set():
                    await self._take_again(tasks)
                case Duty.STOP:
                    stop.set()

    async def _take_nothing(self) -> None:
        """Take up nothing more, and give back what has not begun; what runs goes on."""
        self._draining = True
        for lane in list(self._lanes.values()):
            await lane.puller.stop()
        self._leave(list(self._waiting))

    async def _take_again(self, tasks: asyncio.TaskGroup) -> None:
        if not self._draining:
            return
        self._draining = False
        for lane in list(self._lanes.values()):
            await self._pull(lane, tasks)
        self._stirred.set()  # there may be others since

    async def _stop_politely(self) -> None:
        log.info("draining: %d runs have %g s to end", len(self._attempts), self._drain)
        await self._take_nothing()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._drain):
                await self._until_empty()
        for attempt in list(self._attempts.values()):
            attempt.stop(Why.DRAINED)
        await self._until_empty()
        await self._evict(0)

    async def _until_empty(self) -> None:
        while self._attempts:
            self._ended.clear()
            await self._ended.wait()


_FIRST = {Lane.GO: 0, Lane.AGAIN: 1, Lane.READY: 2}


def _turn(waiting: _Waiting) -> tuple[int, int, int]:
    """When a waiting item begins: what was admitted, then by priority, then whose run came about first."""
    item, lane = waiting.item, waiting.lane
    priority = FIRST_PRIORITY - 1 if lane.kind is Lane.GO else lane.priority
    return priority, _FIRST[lane.kind], codec.first_of(item.data) or item.seq


def _checker(task: Task[..., Any]) -> Callable[[bytes], Awaitable[bytes]]:
    """Answers whether a payload fits the task, for whoever triggers it without importing it."""

    async def check(payload: bytes) -> bytes:
        return codec.encode(Checked(_misfit(task, payload)))

    return check


def _all_checker(task: Task[..., Any]) -> Callable[[bytes], Awaitable[bytes]]:
    """The same of several."""

    async def check(question: bytes) -> bytes:
        payloads = decode(question, Payloads).payloads
        return codec.encode(AllChecked(tuple(_misfit(task, payload) for payload in payloads)))

    return check


def _misfit(task: Task[..., Any], payload: bytes) -> str:
    """Why a payload does not fit the task; empty where it does."""
    try:
        task.signature.decode(payload)
    except PayloadError as error:
        return str(error)
    return ""


class _Waiting(NamedTuple):
    """An item for which there is no slot yet."""

    item: Item
    lane: _Lane
    since: Instant


class _Lane:
    """The demand for one consumer's items: asks for freed slots in batches, a request being dearer than an item."""

    puller: Puller

    def __init__(self, queue: str, priority: int, kind: Lane) -> None:
        self.queue = queue
        self.priority = priority
        self.kind = kind
        self._asked = 0
        self._freed = 0
        self._held = 0
        """Items that came and whose slots are not free again."""

    def begin(self, puller: Puller, slots: int) -> None:
        """Ask a new puller for as many items as there are slots that this lane's runs do not have."""
        self.puller, self._asked, self._freed = puller, 0, 0
        self.ask(max(slots - self._held, 0))

    def ask(self, count: int) -> None:
        self._asked += count
        self.puller.want(count)

    def came(self) -> None:
        self._asked -= 1
        self._held += 1

    def free(self, count: int) -> None:
        """A slot is free again; asks for it at once where few are asked for."""
        self._freed += count
        self._held -= count
        if self._freed >= self._asked:
            self.ask(self._freed)
            self._freed = 0
