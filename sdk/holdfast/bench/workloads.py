"""The workloads: what is done to a deployment, and what is measured of it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import anyio

from holdfast.bench import memory, tasks
from holdfast.bench.deployment import Deploy, Deployed
from holdfast.bench.desk import desk
from holdfast.bench.figures import Measure, rate, spread
from holdfast.blocking import BlockingClient
from holdfast.bus.ports import Bus, Publication, consumer_name
from holdfast.client import Client, RunHandle
from holdfast.config import FILE, load
from holdfast.core.admission import QueueLimits
from holdfast.core.entries import Entry, RunCompleted, Suspended
from holdfast.core.model import DEFAULT_PRIORITY, Run
from holdfast.credentials import resolve
from holdfast.dial import dial
from holdfast.errors import HoldfastError
from holdfast.portal import Portal
from holdfast.task import Options
from holdfast.wire import codec
from holdfast.wire.subjects import Stream

QUEUE = "default"
EVENT_QUEUE = "bench-events"

AT_ONCE = 50
"""Runs that make steps at once."""

THREADS = 20
"""Threads that trigger at once."""

JOINS = 5
"""How often the fan-out is repeated."""

RESULT_WITHIN = 120.0


class Workload(NamedTuple):
    """Something to measure."""

    help: str
    runs: int
    """How many runs, steps, children or kills it takes, where nothing else is said."""
    measure: Callable[[Deploy, int], Awaitable[list[Measure]]]


async def latency(deploy: Deploy, count: int) -> list[Measure]:
    """One run after the other: from calling `trigger` until it returns, to user code, to the result in hand."""
    triggered, started, ended = [], [], []
    async with deploy():
        for number in range(-_warm(count), count):
            begun = time.time()
            handle = await tasks.first_line.trigger()
            durable = time.time()
            first = await handle.result(RESULT_WITHIN)
            if number >= 0:
                triggered.append(durable - begun)
                started.append(first - begun)
                ended.append(time.time() - begun)
    return [
        *spread("trigger returns", triggered),
        *spread("trigger to first line", started),
        *spread("trigger to result", ended),
    ]


async def steps(deploy: Deploy, count: int) -> list[Measure]:
    """Steps that do nothing: `count` in one run, then as many in each of 50 runs at once, up to 10,000 in all."""
    each = max(1, min(count, 10_000 // AT_ONCE))
    async with deploy():
        await (await tasks.steps.trigger(_warm(count))).result(RESULT_WITHIN)
        moments = await (await tasks.steps.trigger(count)).result(RESULT_WITHIN)
        handles = await _triggered([{"count": each}] * AT_ONCE)
        many = [await handle.result(RESULT_WITHIN) for handle in handles]
    took = [after - before for before, after in pairwise(moments)]
    seconds = max(run[-1] for run in many) - min(run[0] for run in many)
    return [
        *spread("step", took),
        rate("steps, one run", len(took), moments[-1] - moments[0]),
        rate(f"steps, {AT_ONCE} runs at once", AT_ONCE * each, seconds),
    ]


async def throughput(deploy: Deploy, count: int) -> list[Measure]:
    """No-op runs through one worker process: triggered while it serves, then a backlog that waits for it."""
    async with deploy() as deployed:
        client = deployed.client
        await _through(client, _warm(count))
        begun = time.perf_counter()
        seconds = await _through(client, count)
        live = time.perf_counter() - begun
        await client.pause(QUEUE)
        mark = await client.bus.last_seq(Stream.JOURNAL)
        begun = time.perf_counter()
        await tasks.noop.batch_trigger([{}] * count)
        stored = time.perf_counter() - begun
        begun = time.perf_counter()
        await client.pause(QUEUE, paused=False)
        await _settled(client)
        drained = time.perf_counter() - begun
        await _check(client, mark, count)
    return [
        rate("triggers, nobody serves", count, stored),
        rate("triggers, a worker serves", count, seconds),
        rate("runs, trigger to end of all", count, live),
        rate("runs, draining a backlog", count, drained),
    ]


async def events(deploy: Deploy, count: int) -> list[Measure]:
    """Events published plainly until each has a run in the journal; nobody runs it. Then a backlog of them."""
    measures = []
    async with deploy() as deployed:
        bus = deployed.client.bus
        await deployed.client.pause(EVENT_QUEUE)
        for kind in ("plain", "mapped", "asked"):
            cursor = "router" if kind != "asked" else f"router-{tasks.on_asked_event.id}"
            mark = await bus.last_seq(Stream.JOURNAL) + 1
            while not await _created(bus, mark):  # the daemon may not know the task yet
                await _until_routed(bus, cursor, await _published(bus, kind, _warm(count)))
            mark = await bus.last_seq(Stream.JOURNAL) + 1
            begun = time.perf_counter()
            last = await _published(bus, kind, count)
            published = time.perf_counter() - begun
            await _until_routed(bus, cursor, last)
            live = time.perf_counter() - begun
            os.kill(deployed.pid, signal.SIGSTOP)
            try:
                last = await _published(bus, kind, count)
            finally:
                os.kill(deployed.pid, signal.SIGCONT)
            begun = time.perf_counter()
            await _until_routed(bus, cursor, last)
            drained = time.perf_counter() - begun
            if kind == "plain":
                measures.append(rate("events, published", count, published))
            measures.append(rate(f"events, {kind}, published and routed", count, live))
            measures.append(rate(f"events, {kind}, routing a backlog", count, drained))
            if (found := await _created(bus, mark)) != 2 * count:
                raise HoldfastError(f"expected {2 * count} runs of events in the journal, found {found}")
    return measures


async def _published(bus: Bus, kind: str, count: int) -> int:
    """Publish so many events as any client would; the sequence of the last one."""
    subject = bus.subjects.event(f"bench.{kind}")
    outcomes = await bus.publish_many(
        [Publication(subject, b'{"n": %d, "shop": "north", "items": [1, 2, 3]}' % n) for n in range(count)]
    )
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
    return await bus.last_seq(Stream.EVENTS)


async def _until_routed(bus: Bus, cursor: str, upto: int) -> None:
    """Wait until the router has noted that it came so far."""
    with anyio.fail_after(RESULT_WITHIN):
        while True:
            kept = await bus.last(Stream.CONTROL, bus.subjects.control("cursor", cursor))
            if kept is not None and int(kept.data) >= upto:
                return
            await anyio.sleep(0.005)


async def _created(bus: Bus, first: int) -> int:
    """How many runs of events the journal holds from a sequence on."""
    return len(await bus.read(Stream.JOURNAL, bus.subjects.items(EVENT_QUEUE, DEFAULT_PRIORITY), first=first))


async def triggers(deploy: Deploy, count: int) -> list[Measure]:
    """Triggering alone, as one program does it, while the queue is paused."""
    few, noop = max(1, count // 10), tasks.noop
    async with deploy() as deployed:
        await deployed.client.pause(QUEUE)
        await noop.batch_trigger([{}] * _warm(count))
        single = await _timed(_one_by_one(noop.options(), few))
        taken = await _timed(_one_by_one(noop.options(idempotency_key="0"), few))
        put_off = await _timed(_one_by_one(noop.options(debounce=("0", 3600.0)), few))
        threads = await _timed(asyncio.to_thread(_from_threads, deployed.data.parent / FILE, few))
        flight = await _timed(_in_flight(noop.options(), count // 2 or 1))
        batch = await _timed(noop.batch_trigger([{}] * count))
        fresh = await _timed(noop.batch_trigger(({}, {"idempotency_key": f"new {n}"}) for n in range(count)))
    return [
        rate("triggers, one after the other", few, single),
        rate(f"triggers, {AT_ONCE} in flight", count // 2 or 1, flight),
        rate(f"triggers, {THREADS} threads that block", few, threads),
        rate(f"triggers, batch of {count:,}", count, batch),
        rate(f"triggers, batch of {count:,} with keys", count, fresh),
        rate("triggers, key taken, one after the other", few, taken),
        rate("triggers, debounced, one after the other", few, put_off),
    ]


async def fanout(deploy: Deploy, count: int) -> list[Measure]:
    """A run that starts `count` child runs at once and joins them."""
    async with deploy():
        await (await tasks.fan_out.trigger(_warm(count))).result(RESULT_WITHIN)
        took = [await (await tasks.fan_out.trigger(count)).result(RESULT_WITHIN) for _ in range(JOINS)]
        await (await tasks.batched.trigger(_warm(count))).result(RESULT_WITHIN)
        batches = [await (await tasks.batched.trigger(count)).result(RESULT_WITHIN) for _ in range(JOINS)]
    return [
        *spread(f"fan-out of {count} and join", took, (50,)),
        *spread(f"batch of {count} and join", batches, (50,)),
    ]


async def recovery(deploy: Deploy, count: int) -> list[Measure]:
    """kill -9 of the worker that holds a run, until another one runs its next step; two workers, default settings."""
    async with deploy(workers=2) as deployed:
        took = [await _killed(deployed) for _ in range(count)]
    return spread("kill -9 to next step", took, (50, 99))


async def footprint(deploy: Deploy, count: int) -> list[Measure]:
    """Memory of everything while nothing is to be done, and what a run of 100 steps adds to the journal's files."""
    async with deploy() as deployed:
        await (await tasks.steps.trigger(100)).result(RESULT_WITHIN)
        await anyio.sleep(2.0)
        idle = memory.resident(deployed.pid)
        before = _journal_bytes(deployed)
        for _ in range(count):
            await (await tasks.steps.trigger(100)).result(RESULT_WITHIN)
        written = _journal_bytes(deployed) - before
    return [
        *(Measure(f"idle memory, {name}", "MiB", size / 2**20, 1) for name, size in idle.items()),
        Measure("idle memory, all", "MiB", sum(idle.values()) / 2**20, 1),
        Measure("journal of a 100-step run", "KiB", written / count / 1024, count),
    ]


async def waiting(deploy: Deploy, count: int) -> list[Measure]:
    """Runs that wait for a day: memory before and after, and how quickly they came to wait."""
    async with deploy() as deployed:
        client = deployed.client
        await (await tasks.steps.trigger(100)).result(RESULT_WITHIN)
        await anyio.sleep(2.0)
        before = memory.resident(deployed.pid)
        mark = await client.bus.last_seq(Stream.JOURNAL)
        begun = time.perf_counter()
        await tasks.patient.batch_trigger([{}] * count)
        await _settled(client)
        seconds = time.perf_counter() - begun
        await _check(client, mark, count, Suspended)
        await anyio.sleep(2.0)
        after = memory.resident(deployed.pid)
    return [
        rate("runs, trigger to waiting", count, seconds),
        *(
            Measure(f"memory of {name}, {count:,} runs waiting", "MiB", after[name] / 2**20, 1)
            for name in sorted(after)
        ),
        *(
            Measure(f"more than before, {name}", "MiB", (after[name] - before.get(name, 0)) / 2**20, 1)
            for name in sorted(after)
        ),
    ]


async def queues(deploy: Deploy, count: int) -> list[Measure]:
    """Runs queued in a paused queue with a limit: memory, and how a run of another queue starts meanwhile; then how
    quickly they go through that limit."""
    few, queue = min(count, 2000), tasks.limited.queue
    async with deploy() as deployed:
        client = deployed.client
        await client.limit(queue, QueueLimits(concurrency=AT_ONCE))
        await client.pause(queue)
        alone = [await _started() for _ in range(_warm(few) + 200)][_warm(few) :]
        await anyio.sleep(2.0)
        before = memory.resident(deployed.pid)
        begun = time.perf_counter()
        for at in range(0, count, 10_000):
            await tasks.limited.batch_trigger([{}] * min(10_000, count - at))
        stored = time.perf_counter() - begun
        await _projected(client)
        after = memory.resident(deployed.pid)
        ahead = [await _started() for _ in range(300)]
        mark = await client.bus.last_seq(Stream.JOURNAL) + 1
        begun = time.perf_counter()
        await client.pause(queue, paused=False)
        await _ended(client, mark, few)
        drained = time.perf_counter() - begun
    return [
        rate("triggers into the queue", count, stored),
        *spread("trigger to first line, nothing queued", alone),
        *spread(f"trigger to first line, {count:,} queued in another queue", ahead),
        *(Measure(f"memory of {name}, nothing queued", "MiB", before[name] / 2**20, 1) for name in sorted(before)),
        *(Measure(f"memory of {name}, {count:,} queued", "MiB", after[name] / 2**20, 1) for name in sorted(after)),
        rate(f"runs through a limit of {AT_ONCE}", few, drained),
    ]


async def _started() -> float:
    """Seconds from calling `trigger` to the run's first line."""
    begun = time.time()
    return float(await (await tasks.first_line.trigger()).result(RESULT_WITHIN)) - begun


async def _projected(client: Client) -> None:
    """Wait until the daemon has taken in all that the journal holds."""
    last = await client.bus.last_seq(Stream.JOURNAL)
    with anyio.fail_after(RESULT_WITHIN):
        while (await client.health()).projected < last:  # noqa: ASYNC110 - nobody tells
            await anyio.sleep(0.05)


async def _ended(client: Client, first: int, count: int) -> None:
    """Wait until so many runs have completed, by what is stored from a sequence on."""
    ended = 0
    with anyio.fail_after(RESULT_WITHIN):
        async for messages in client.bus.follow(Stream.JOURNAL, client.bus.subjects.log("*"), first=first):
            batches = (codec.decode_batch(message.data) for message in messages)
            ended += sum(isinstance(entry, RunCompleted) for batch in batches for entry in batch.entries)
            if ended >= count:
                return


async def start(deploy: Deploy, count: int) -> list[Measure]:
    """`holdfast up` in an empty directory until the first run has ended."""
    took = []
    for _ in range(count):
        async with deploy() as deployed:
            await (await tasks.noop.trigger()).result(RESULT_WITHIN)
            took.append(time.time() - deployed.begun)
    return spread("empty directory to first result", took, (50,))


WORKLOADS = {
    "latency": Workload("Trigger to first line of user code, and to the result.", 500, latency),
    "steps": Workload("Durable steps, in one run and in 50 at once.", 1000, steps),
    "throughput": Workload("No-op runs a second with one worker process.", 5000, throughput),
    "events": Workload("Events a second that become runs, as they are and filtered and mapped.", 10_000, events),
    "triggers": Workload("Triggers a second: alone, in flight, from threads, in a batch, with keys.", 10_000, triggers),
    "fanout": Workload("Child runs and their join.", 500, fanout),
    "recovery": Workload("kill -9 of a worker until its run goes on elsewhere.", 5, recovery),
    "footprint": Workload("Idle memory, and journal bytes of a run.", 20, footprint),
    "waiting": Workload("Memory while runs wait for a day.", 10_000, waiting),
    "queues": Workload("Many runs queued: memory, starts beside them, and runs through a limit.", 100_000, queues),
    "tui": Workload("The operator's desk: start, keys, bytes, at rest and live.", 1_000_000, desk),
    "start": Workload("From an empty directory to the first result.", 3, start),
}


def _warm(count: int) -> int:
    """How much is done before anything is measured."""
    return max(5, min(count // 5, 200))


async def _timed(work: Awaitable[object]) -> float:
    """How long it takes, in seconds."""
    begun = time.perf_counter()
    await work
    return time.perf_counter() - begun


async def _one_by_one(task: Options[[], None], count: int) -> None:
    for _ in range(count):
        await task.trigger()


async def _in_flight(task: Options[[], None], count: int) -> None:
    left = iter(range(count))

    async def caller() -> None:
        for _ in left:
            await task.trigger()

    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))


def _from_threads(config: Path, count: int) -> None:
    async def connected() -> Client:
        return Client(await dial(resolve(load(config, env={})), name="holdfast-bench"), name="bench")

    with BlockingClient(Portal(connected)) as hf, ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(lambda _: hf.trigger(tasks.noop), range(count)))


async def _triggered(payloads: list[dict[str, int]]) -> list[RunHandle]:
    handles = []
    for outcome in await tasks.steps.batch_trigger(payloads):
        if isinstance(outcome, Exception):
            raise outcome
        handles.append(outcome)
    return handles


async def _through(client: Client, count: int) -> float:
    """Trigger so many no-ops and wait until all have ended; the seconds that triggering took."""
    mark = await client.bus.last_seq(Stream.JOURNAL)
    begun = time.perf_counter()
    await tasks.noop.batch_trigger([{}] * count)
    seconds = time.perf_counter() - begun
    await _settled(client)
    await _check(client, mark, count)
    return seconds


async def _settled(client: Client) -> None:
    """Wait until no work item is left: a worker settles one when the end of its run is durable."""
    while await _busy(client):  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)


async def _busy(client: Client) -> bool:
    """Whether work is left. Before a worker has opened the queue's lane of new runs, all of it is."""
    states, lane = await client.bus.consumers(), consumer_name(QUEUE, DEFAULT_PRIORITY)
    return lane not in {state.name for state in states} or any(state.pending or state.delivered for state in states)


async def _check(client: Client, mark: int, count: int, end: type[Entry] = RunCompleted) -> None:
    """Raises: HoldfastError: not so many runs have come to such an end in the journal since."""
    logs = client.bus.subjects.log("*")
    ends = [
        entry
        for message in await client.bus.read(Stream.JOURNAL, logs, first=mark + 1)
        for entry in codec.decode_batch(message.data).entries
        if isinstance(entry, end)
    ]
    if len(ends) != count:
        raise HoldfastError(f"expected {count} times {end.__name__} in the journal, found {len(ends)}")


async def _killed(deployed: Deployed) -> float:
    """Kill the worker of a run in the middle of it; the seconds until the run's next step ran elsewhere."""
    pids = await deployed.workers(2)
    handle = await tasks.outlive.trigger()
    holder = (await _under_way(deployed.client, handle)).holder
    if holder is None or holder.worker not in pids:
        raise HoldfastError(f"expected a holder of run {handle.id} among {', '.join(pids)}, found {holder}")
    killed = time.time()
    os.kill(pids[holder.worker], signal.SIGKILL)
    return float(await handle.result(RESULT_WITHIN)) - killed


async def _under_way(client: Client, handle: RunHandle) -> Run:
    """The run, once it has made some steps."""
    with anyio.fail_after(RESULT_WITHIN):
        while (run := await handle.status()).steps < 10:  # noqa: ASYNC110 - hearing each step would disturb
            await anyio.sleep(0.01)
    return run


def _journal_bytes(deployed: Deployed) -> int:
    """Bytes of the journal's messages on disk."""
    stream = Stream.JOURNAL.of(deployed.client.bus.subjects.project)
    return sum(file.stat().st_size for file in deployed.data.rglob(f"{stream}/msgs/*.blk"))
