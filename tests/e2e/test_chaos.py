"""Real processes killed at random under load: every run ends with the right result, and nothing recorded runs again.

`python -m pytest tests/e2e/test_chaos.py --minutes 30` goes on for longer. The seed is printed; `--seed` repeats it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from deployment import Deployment, alive, until
from holdfast.bus.jetstream import JetStreamBus
from holdfast.client import Client
from holdfast.core.entries import AttemptInterrupted, Entry, StepCompleted
from holdfast.core.lifecycle import fold, story
from holdfast.core.model import Run
from holdfast.credentials import file_of, read
from holdfast.dial import dial
from holdfast.wire.values import decode_value

TASKS = """
import asyncio, os, random, time
from holdfast import Retry, run, step, task

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

@task(retry=Retry(max_attempts=5, min_timeout=0.05, max_timeout=0.3), max_interruptions=1000)
async def leaf(n: int) -> int:
    return await work(n) + await flaky(n)

@task(retry=Retry(max_attempts=5, min_timeout=0.05, max_timeout=0.3), max_interruptions=1000)
async def mixed(n: int) -> list:
    first = await asyncio.gather(*[work(i) for i in range(3)])
    total = 0
    for i in range(4):
        total += await work(i)
    child = await leaf.trigger_and_wait(n=n)
    kids = await asyncio.gather(*[leaf.trigger_and_wait(n=i) for i in range(2)])
    try:
        async with asyncio.timeout(0.02):
            await forever()
    except TimeoutError:
        total += 1
    return [first, total, child, kids, await flaky(n)]

async def forever() -> None:
    await asyncio.sleep(3600)

@task(retry=Retry(max_attempts=5, min_timeout=0.05), max_interruptions=1000)
def threaded(n: int) -> int:
    time.sleep(0.05)
    effect("threaded")
    return n
"""


def leaf(n: int) -> int:
    return n * n + n + 1


def expected(task: str, n: int) -> object:
    """What a run returns, undisturbed; worked out here, not by the code under test."""
    if task == "mixed":
        return [[0, 1, 4], 0 + 1 + 4 + 9 + 1, leaf(n), [leaf(0), leaf(1)], n + 1]
    return leaf(n) if task == "leaf" else n


async def test_whatever_is_killed_every_run_ends_right_and_nothing_recorded_runs_again(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    seconds = float(request.config.getoption("--minutes")) * 60 or 15
    seed = int(request.config.getoption("--seed")) or random.randrange(1 << 30)
    print(f"chaos: seed {seed}, {seconds:g} s")
    chance = random.Random(seed)
    with Deployment(tmp_path / "home", TASKS, workers=4) as there:
        started = await killed_at_random(there, chance, seconds)
        runs = await ended(there)
        by_id = {run.id: (run, entries) for run, entries in runs}
        for id, (task, n) in started.items():
            run, _ = by_id[id]
            assert run.state == "completed", f"{task} {id}: {run.state} {run.reason} {run.error}"
            assert run.result is not None
            assert decode_value(run.result) == expected(task, n)
        assert all(run.state == "completed" for run, _ in runs)
        assert repeated(there, runs) == []
        interruptions = sum(isinstance(entry, AttemptInterrupted) for _, entries in runs for entry in entries)
        print(f"chaos: {len(runs)} runs, {interruptions} interruptions")
    until(lambda: not there.children(), lambda: f"left behind: {there.children()}", within=5)


async def killed_at_random(there: Deployment, chance: random.Random, seconds: float) -> dict[str, tuple[str, int]]:
    """Trigger runs for so long while processes are killed; the runs by id."""
    started: dict[str, tuple[str, int]] = {}
    end = time.monotonic() + seconds
    next_kill = time.monotonic() + 1.0
    killed: dict[str, int] = defaultdict(int)
    client = await connected(there)
    try:
        while time.monotonic() < end:
            task = chance.choice(("mixed", "leaf", "leaf", "threaded"))
            n = chance.randrange(100)
            handle = await client.trigger(task, {"n": n})
            started[handle.id] = (task, n)
            if time.monotonic() >= next_kill:
                killed[kill_something(there, chance)] += 1
                next_kill = time.monotonic() + chance.uniform(0.4, 1.5)
    finally:
        await client.close()
    print(f"chaos: killed {dict(killed)}")
    return started


def kill_something(there: Deployment, chance: random.Random) -> str:
    """SIGKILL one process; its kind."""
    kinds: dict[str, list[int]] = defaultdict(list)
    for pid in there.children():
        command = Path(f"/proc/{pid}/cmdline").read_bytes() if alive(pid) else b""
        kind = "server" if b"nats-server" in command else "worker" if b"holdfast.worker" in command else ""
        kinds[kind].append(pid)
    what = chance.choices(("worker", "server", "daemon"), (8, 2, 1))[0]
    if what == "daemon":
        there.kill()
        there.start()
    elif kinds[what]:
        os.kill(chance.choice(kinds[what]), signal.SIGKILL)
    return what


async def connected(there: Deployment) -> Client:
    credentials = read(file_of(there.home / ".holdfast", "default"))
    assert credentials is not None
    bus: JetStreamBus = await dial(credentials, name="chaos")
    return Client(bus, name="chaos")


async def ended(there: Deployment) -> list[tuple[Run, list[Entry]]]:
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
            found.append((run, list(story(records))))
        return found
    finally:
        await client.close()


def live(there: Deployment) -> int:
    rows = there.json("queues", "list")
    return sum(row[kind] for row in rows for kind in ("depth", "running", "waiting", "retrying", "delayed"))


async def every_run(there: Deployment) -> list[dict[str, Any]]:
    done = there.run("runs", "list", "--limit", "100000", "--json")
    return [json.loads(line) for line in done.stdout.splitlines()]


def repeated(there: Deployment, runs: list[tuple[Run, list[Entry]]]) -> list[str]:
    """Effects that happened after their step's outcome was recorded."""
    recorded = {
        f"{run.id}:{entry.key}": entry.at
        for run, entries in runs
        for entry in entries
        if isinstance(entry, StepCompleted)
    }
    lines = [line.split() for line in there.lines()]
    return [" ".join(line) for line in lines if line[0] in recorded and float(line[1]) > recorded[line[0]]]
