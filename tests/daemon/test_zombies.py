"""Workers that fall silent without dying: stopped for longer than they count as alive, or with a blocked event loop."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from deployment import Deployment, until
from holdfast.client import Client
from holdfast.config import load
from holdfast.core.entries import AttemptInterrupted
from holdfast.credentials import resolve
from holdfast.dial import dial

TASKS = """
import asyncio, os, time
from holdfast import task

async def effect(what: str) -> None:
    file = os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{what} {os.getpid()}\\n".encode())
    os.close(file)

async def pause() -> None:
    await asyncio.sleep(0.05)

@task
async def long(steps: int) -> int:
    for n in range(steps):
        await effect(f"step-{n}")
        await pause()
    return steps

@task
async def quick(n: int) -> int:
    await effect(f"quick-{n}")
    return n

async def block(seconds: float) -> None:
    time.sleep(seconds)

@task
async def blocking(seconds: float) -> str:
    await effect("before")
    await block(seconds)
    await effect("after")
    return "done"
"""


@pytest.fixture
def there(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path / "home", TASKS, workers=2)


class Effects:
    """What ran, and in which process."""

    def __init__(self, there: Deployment) -> None:
        self._there = there

    def pids(self, what: str) -> list[int]:
        return [int(line.split()[1]) for line in self._there.lines() if line.startswith(what)]

    def counts(self, what: str) -> Counter[str]:
        return Counter(line.split()[0] for line in self._there.lines() if line.startswith(what))


@asynccontextmanager
async def client_of(there: Deployment) -> AsyncIterator[Client]:
    config = load(there.home / "holdfast.toml", env={})
    async with await dial(resolve(config, None), name="test") as bus:
        yield Client(bus, name="test")


async def test_a_worker_that_was_stopped_loses_its_run_and_is_of_use_again_when_it_goes_on(there: Deployment) -> None:
    effects = Effects(there)
    with there:
        run = there.trigger("long", {"steps": 200})
        until(lambda: len(effects.pids("step-")) >= 10, there.log)
        zombie = effects.pids("step-")[-1]
        os.kill(zombie, signal.SIGSTOP)
        try:
            quick = [there.trigger("quick", {"n": n}) for n in range(5)]
            until(lambda: effects.pids("step-")[-1] != zombie, there.log, within=25)
            until(lambda: len(effects.counts("quick-")) == len(quick), there.log, within=25)
            seen = len(effects.pids("step-"))
        finally:
            os.kill(zombie, signal.SIGCONT)

        log = there.home / ".holdfast" / "workers.log"
        until(lambda: f"run {run} is somebody else's now, its code is cancelled here" in log.read_text(), there.log)
        there.run("runs", "watch", run)
        assert zombie not in effects.pids("step-")[seen + 1 :], "a step of it may have been under way"
        repeated = {step: count for step, count in effects.counts("step-").items() if count > 1}
        assert len(effects.counts("step-")) == 200
        assert list(repeated.values()) in ([], [2])

        async with client_of(there) as client:
            records = [record for _, record in await client.journal.messages(run)]
        lost = next(n for n, each in enumerate(records) if isinstance(each.entries[0], AttemptInterrupted))
        first = next(each.writer for each in records if each.writer)
        assert first not in {each.writer for each in records[lost:]}, "nothing of the old holder was accepted"
        assert all(effects.counts("quick-")[f"quick-{n}"] == 1 for n in range(5))

        async with client_of(there) as client:
            for number in range(100, 200):
                await (await client.trigger("quick", {"n": number})).result(10)
        assert zombie in effects.pids("quick-1"), "it gets new runs"


async def test_a_worker_whose_loop_is_blocked_is_disconnected_and_keeps_its_run(there: Deployment) -> None:
    with there:
        run = there.trigger("blocking", {"seconds": 9})
        there.run("runs", "watch", run)
        assert [line.split()[0] for line in there.lines()] == ["before", "after"]
        async with client_of(there) as client:
            ended = await client.journal.load(run)
        assert (ended.state, ended.attempt, ended.interruptions, ended.used) == ("completed", 1, 0, 0.0)
        log = (there.home / ".holdfast" / "workers.log").read_text()
        assert "bus.disconnected" in log, "this is what the test is about"
        there.run("runs", "watch", there.trigger("quick", {"n": 1}))
