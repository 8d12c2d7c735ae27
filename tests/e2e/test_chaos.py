"""Real processes killed and stopped at random under load: every run ends right, and nothing recorded runs again.

`python -m pytest -n 0 -s tests/e2e/test_chaos.py --minutes 30` goes on for longer, and prints what was killed, what the
sweeper had to repair, and the seed, which `--seed` repeats.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from deployment import Deployment, alive, until
from holdfast.bus.jetstream import JetStreamBus
from holdfast.client import Client
from holdfast.core.entries import AttemptInterrupted, Entry, StepCompleted
from holdfast.core.lifecycle import UNDO, fold, story
from holdfast.core.model import Run
from holdfast.credentials import file_of, read
from holdfast.dial import dial
from holdfast.errors import HoldfastError
from holdfast.wire.values import decode_value

TASKS = """
import asyncio, os, random, time
from holdfast import Abort, Done, NotDone, Retry, run, step, task, wait

AGAIN = Retry(max_attempts=5, min_timeout=0.05, max_timeout=0.3)

def effect(what):
    file = os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{run.idempotency_key} {time.time():.6f} {what}\\n".encode())
    os.close(file)

async def work(n: int) -> int:
    await asyncio.sleep(random.uniform(0.005, 0.05))
    effect("work")
    return n * n

@step(retry=Retry(max_attempts=8, min_timeout=0.02, max_timeout=0.1))
async def flaky(n: int) -> int:
    await asyncio.sleep(0.01)
    if random.random() < 0.3:
        raise ConnectionError("flaky")
    effect("flaky")
    return n + 1

@task(retry=AGAIN, max_interruptions=1000)
async def leaf(n: int) -> int:
    return await work(n) + await flaky(n)

@task(retry=AGAIN, max_interruptions=1000)
async def mixed(n: int) -> list:
    first = await asyncio.gather(*[work(i) for i in range(3)])
    total = 0
    for i in range(4):
        total += await work(i)
    child = await leaf.trigger_and_wait(n=n)
    kids = await leaf.batch_trigger_and_wait([{"n": i} for i in range(2)])
    try:
        async with asyncio.timeout(0.02):
            await forever()
    except TimeoutError:
        total += 1
    return [first, total, child, kids, await flaky(n)]

async def forever() -> None:
    await asyncio.sleep(3600)

@task(retry=AGAIN, max_interruptions=1000)
def threaded(n: int) -> int:
    time.sleep(0.05)
    effect("threaded")
    return n

async def snooze(n: int) -> int:
    await wait.for_(0.2 + n / 100)
    return await work(n)

@task(retry=AGAIN, max_interruptions=1000)
async def sleeper(n: int) -> list:
    slept = await asyncio.gather(wait.for_(0.9), snooze(n), work(n))
    try:
        await asyncio.wait_for(wait.for_(3600), 0.8)
    except TimeoutError:
        slept.append(await work(1))
    return slept

@task(retry=AGAIN, max_interruptions=1000)
async def told(n: int) -> list:
    heard = []
    async for value in run.signals("go"):
        if value not in heard:
            heard.append(await work(value))
        if len(heard) == 2:
            return heard

async def release(n: int, result: int) -> None:
    await asyncio.sleep(0.01)
    effect(f"release {result}")

@step(undo=release)
async def reserve(n: int) -> int:
    await asyncio.sleep(0.01)
    effect(f"reserve {n}")
    return n

@task(retry=Retry(max_attempts=2, min_timeout=0.05, max_timeout=0.1), max_interruptions=1000)
async def saga(n: int) -> list:
    held = await asyncio.gather(reserve(n), reserve(n + 1))
    held.append(await reserve(n + 2))
    await work(n)
    if n % 2:
        raise ValueError("no room")
    return held

async def paid(n: int):
    key = run.idempotency_key
    with open(os.environ["EFFECTS"]) as file:
        return Done(n) if any(line.startswith(key + " ") for line in file) else NotDone()

@step(at_most_once=True, verify=paid)
async def pay(n: int) -> int:
    await asyncio.sleep(0.02)
    effect(f"pay {n}")
    return n

@task(retry=AGAIN, max_interruptions=1000)
async def payment(n: int) -> int:
    await work(n)
    return await pay(n)

async def dice() -> float:
    await asyncio.sleep(0.01)
    return random.random()

async def note(value: float) -> None:
    effect(f"note {value!r}")

@task(retry=AGAIN, max_interruptions=1000)
async def gamble(n: int) -> float:
    value = await dice()
    await note(value)
    if run.attempt == 1:
        raise ValueError("once more")
    return value
"""

KINDS = ("mixed", "leaf", "leaf", "threaded", "sleeper", "told", "saga", "payment", "gamble")


def leaf(n: int) -> int:
    return n * n + n + 1


def expected(task: str, n: int) -> object:
    """What a run returns, undisturbed; worked out here, not by the code under test."""
    match task:
        case "mixed":
            return [[0, 1, 4], 0 + 1 + 4 + 9 + 1, leaf(n), [leaf(0), leaf(1)], n + 1]
        case "leaf":
            return leaf(n)
        case "sleeper":
            return [None, n * n, n * n, 1]
        case "told":
            return [4, 9]
        case "saga":
            return [n, n + 1, n + 2]
    return n


class Told(NamedTuple):
    """A run, at the end."""

    run: Run
    entries: list[Entry]


async def test_whatever_is_killed_or_stopped_every_run_ends_right_and_nothing_recorded_runs_again(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    seconds = float(request.config.getoption("--minutes")) * 60 or 20
    seed = int(request.config.getoption("--seed")) or random.randrange(1 << 30)
    print(f"chaos: seed {seed}, {seconds:g} s")
    chance = random.Random(seed)
    with Deployment(tmp_path / "home", TASKS, workers=4) as there:
        disorder = Disorder(there, chance)
        started = await disorder.lasting(seconds)
        runs = {each.run.id: each for each in await ended(there)}
        client = await connected(there)
        await disorder.count_repairs(client)
        await client.close()
        for id, (task, n) in started.items():
            assert_right(runs[id], task, n)
        assert all(each.run.state in ("completed", "dead") for each in runs.values())
        assert repeated(there, runs.values()) == []
        assert_delivered_as_recorded(there, runs, started)
        assert_undone_once(there, runs, started)
        interruptions = sum(isinstance(e, AttemptInterrupted) for each in runs.values() for e in each.entries)
        print(f"chaos: {len(runs)} runs, {interruptions} interruptions, repairs {dict(disorder.repairs)}")
    until(lambda: not there.children(), lambda: f"left behind: {there.children()}", within=5)


def assert_right(told: Told, task: str, n: int) -> None:
    """The run ended as it would have undisturbed."""
    run = told.run
    story_of_it = "\n".join(str(entry)[:200] for entry in told.entries)
    wrong = f"{task} {run.id}: {run.state} {run.reason} {run.error}\n{story_of_it}"
    if task == "saga" and n % 2:
        assert (run.state, run.error and run.error.message) == ("dead", "no room"), wrong
        return
    assert run.state == "completed", wrong
    assert run.result is not None
    if task != "gamble":
        assert decode_value(run.result) == expected(task, n), wrong


class Disorder:
    """Triggers runs and disturbs whoever works on them."""

    def __init__(self, there: Deployment, chance: random.Random) -> None:
        self.repairs: Counter[str] = Counter()
        self._there = there
        self._chance = chance
        self._stopped: list[tuple[threading.Timer, int]] = []
        self._done: Counter[str] = Counter()

    async def lasting(self, seconds: float) -> dict[str, tuple[str, int]]:
        """Trigger runs for so long while processes are killed and stopped; the runs by id."""
        started: dict[str, tuple[str, int]] = {}
        end = time.monotonic() + seconds
        next_one = time.monotonic() + 1.0
        client = await connected(self._there)
        waiting: list[str] = []
        try:
            while time.monotonic() < end:
                task, n = self._chance.choice(KINDS), self._chance.randrange(100)
                handle = await client.trigger(task, {"n": n})
                started[handle.id] = (task, n)
                if task == "told":
                    waiting.append(handle.id)
                if time.monotonic() >= next_one:
                    await self._disturb(client)
                    next_one = time.monotonic() + self._chance.uniform(0.4, 1.5)
                if len(waiting) > 5:
                    await signalled(client, waiting.pop(0))
            self._continue()
            for id in waiting:
                await signalled(client, id)
        finally:
            self._continue()
            await client.close()
        print(f"chaos: {dict(self._done)}")
        return started

    async def _disturb(self, client: Client) -> None:
        """Kill or stop one process."""
        what = self._chance.choices(("worker", "server", "daemon"), (8, 2, 1))[0]
        how = self._chance.choices((signal.SIGKILL, signal.SIGSTOP), (3, 1))[0]
        if what == "daemon" and how == signal.SIGKILL:
            await self.count_repairs(client)
            self._there.kill()
            self._there.start()
        else:
            pids = [self._there.pid] if what == "daemon" else self._pids(what)
            if not pids:
                return
            pid = self._chance.choice(pids)
            if how == signal.SIGSTOP:
                self._stop(pid, self._chance.uniform(0.5, 8.0 if what == "worker" else 2.0))
            else:
                os.kill(pid, how)
        self._done[f"{what} {how.name}"] += 1

    def _pids(self, what: str) -> list[int]:
        mark = {"server": b"nats-server", "worker": b"holdfast.worker"}[what]
        pids = [pid for pid in self._there.children() if alive(pid)]
        return [pid for pid in pids if mark in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def _stop(self, pid: int, seconds: float) -> None:
        """Stop a process for a while; a thread lets it go on, whatever this one waits for."""
        os.kill(pid, signal.SIGSTOP)
        timer = threading.Timer(seconds, go_on, (pid,))
        timer.start()
        self._stopped.append((timer, pid))

    def _continue(self) -> None:
        """Let all go on."""
        for timer, pid in self._stopped:
            timer.cancel()
            go_on(pid)

    async def count_repairs(self, client: Client) -> None:
        """Add what the daemon, which may go now, has repaired."""
        with suppress(HoldfastError):
            self.repairs.update((await client.health()).repaired)


def go_on(pid: int) -> None:
    """Continue a process that was stopped, if it is there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


async def signalled(client: Client, run: str) -> None:
    """Send what the run waits for; sent twice where it is not known whether it was."""
    for value in (2, 3):
        while True:
            try:
                await client.signal(run, "go", value)
            except HoldfastError:
                continue
            break


def assert_delivered_as_recorded(there: Deployment, runs: dict[str, Told], started: dict[str, tuple[str, int]]) -> None:
    """A recorded outcome is what the code got, each time that it ran."""
    notes: defaultdict[str, set[str]] = defaultdict(set)
    for line in there.lines():
        key, _, what = line.split(" ", 2)
        if what.startswith("note "):
            notes[key.partition(":")[0]].add(what.removeprefix("note "))
    for id, (task, _) in started.items():
        if task == "gamble":
            run, entries = runs[id]
            assert run.result is not None
            thrown = [e.value for e in entries if isinstance(e, StepCompleted) and e.key == "/dice#1"]
            assert [decode_value(value) for value in thrown] == [decode_value(run.result)]
            assert notes[id] == {repr(decode_value(run.result))}


def assert_undone_once(there: Deployment, runs: dict[str, Told], started: dict[str, tuple[str, int]]) -> None:
    """What failed was undone, last first, each recorded once; what did not fail was not undone."""
    released = Counter(line.split(" ", 1)[0] for line in there.lines() if " release " in line)
    for id, (task, n) in started.items():
        if task != "saga":
            continue
        entries = runs[id].entries
        steps = [e.key for e in entries if isinstance(e, StepCompleted) and e.undo is not None]
        undone = [e.key for e in entries if isinstance(e, StepCompleted) and e.key.endswith(UNDO)]
        assert len(steps) == len(set(steps)) == 3
        assert undone == ([f"{key}{UNDO}" for key in reversed(steps)] if n % 2 else [])
        assert {key for key in released if key.startswith(f"{id}:")} == {f"{id}:{key}" for key in undone}


async def connected(there: Deployment) -> Client:
    credentials = read(file_of(there.home / ".holdfast", "default"))
    assert credentials is not None
    bus: JetStreamBus = await dial(credentials, name="chaos")
    return Client(bus, name="chaos")


async def ended(there: Deployment) -> list[Told]:
    """Wait until no run is live; all runs, from the journal."""
    until(lambda: live(there) == 0, lambda: f"{live(there)} runs are live\n{there.log()}", within=90)
    client = await connected(there)
    try:
        found = []
        for row in await every_run(there):
            messages = await client.journal.messages(row["id"])
            records = [record for _, record in messages]
            run = fold(records)
            assert run is not None
            found.append(Told(run, list(story(records))))
        return found
    finally:
        await client.close()


def live(there: Deployment) -> int:
    rows = there.json("queues", "list")
    return sum(row[kind] for row in rows for kind in ("depth", "running", "waiting", "retrying", "delayed"))


async def every_run(there: Deployment) -> list[dict[str, Any]]:
    done = there.run("runs", "list", "--limit", "100000", "--json")
    return [json.loads(line) for line in done.stdout.splitlines()]


def repeated(there: Deployment, runs: Iterable[Told]) -> list[str]:
    """Effects that happened after their step's outcome was recorded."""
    recorded = {
        f"{run.id}:{entry.key}": entry.at
        for run, entries in runs
        for entry in entries
        if isinstance(entry, StepCompleted)
    }
    lines = [line.split() for line in there.lines()]
    return [" ".join(line) for line in lines if line[0] in recorded and float(line[1]) > recorded[line[0]]]
