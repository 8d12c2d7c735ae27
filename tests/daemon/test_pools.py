"""Pools of real workers under a real daemon: as many as runs wait for, new ones for new code, and no run twice."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from deployment import alive
from holdfast.bus.jetstream import connect
from holdfast.client import Client, RunHandle
from holdfast.config import load
from holdfast.core.model import State
from holdfast.wire.api import Presence
from holdfast_daemon.app import Up, daemon
from servers import NatsServer, free_port
from worlds import eventually

TASKS = """
import asyncio, os
from holdfast import task

VERSION = 1

def effect(text):
    file = os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{text}\\n".encode())
    os.close(file)

async def leg(name, n, lasts):
    await asyncio.sleep(lasts)
    effect(f"{name} {n}")
    return n

async def gate(name):
    effect(f"{name} waits")
    while not os.path.exists(f"open-{name}"):
        await asyncio.sleep(0.02)

@task(queue="trips")
async def trip(name: str, lasts: float = 0.01) -> int:
    await leg(name, 1, lasts)
    await leg(name, 2, lasts)
    return VERSION

@task(queue="trips")
async def long(name: str) -> int:
    await leg(name, 1, 0)
    await gate(name)
    await leg(name, 2, 0)
    return VERSION
"""


T = TypeVar("T")


async def asked(ask: Callable[[], Awaitable[T]], holds: Callable[[T], object]) -> T:
    """What is asked for, once it is like this."""
    async with asyncio.timeout(15):
        while not holds(found := await ask()):  # noqa: ASYNC110  # what is asked for knows no events
            await asyncio.sleep(0.02)
        return found


class House:
    """A directory with tasks, and a daemon that serves them from time to time."""

    def __init__(self, home: Path, nats: NatsServer) -> None:
        self.home = home
        self.told: list[str] = []
        self.up: Up
        self.client: Client
        self._url = nats.url
        self._project = f"p{os.urandom(5).hex()}"
        (home / "jobs.py").write_text(TASKS)

    @asynccontextmanager
    async def serving(
        self, workers: str, *, modules: str = "jobs", drain: float = 5, dev: bool = False
    ) -> AsyncIterator[None]:
        """A daemon for the time of the block, with these lines for its workers."""
        (self.home / "holdfast.toml").write_text(
            f'[nats]\nurl = "{self._url}"\n[daemon]\nhttp = "127.0.0.1:{free_port()}"\n'
            f"[projects.{self._project}]\nmodules = {modules.split()}\ndrain = {drain}\n"
            f'[projects.{self._project}.env]\nEFFECTS = "{self.home}/effects.txt"\n'
            f"[projects.{self._project}.workers]\n{workers}\n"
        )
        config = load(self.home / "holdfast.toml", env={"HOLDFAST_PROJECT": self._project})
        async with (
            daemon(config, dev=dev, tell=self.told.append) as self.up,
            await connect(self._url, project=self._project) as bus,
        ):
            self.client = Client(bus)
            yield

    def write(self, **changes: str) -> None:
        """The tasks with these values, as an editor saves them: another file in the place of the one before."""
        text = TASKS
        for name, value in changes.items():
            text = text.replace(f"{name} = 1", f"{name} = {value}")
        (self.home / "jobs.tmp").write_text(text)
        (self.home / "jobs.tmp").replace(self.home / "jobs.py")

    async def trigger(self, task: str, name: str, **other: object) -> RunHandle:
        return await self.client.trigger(task, {"name": name, **other})

    @property
    def pids(self) -> list[int]:
        return list(self.up.worker_pids().values())

    async def workers(self, holds: Callable[[list[Presence]], bool]) -> list[Presence]:
        """The workers once they are like this."""
        return await asked(self._not_draining, holds)

    async def _not_draining(self) -> list[Presence]:
        return [worker for worker in await self.client.workers() if not worker.draining]

    async def until(self, *lines: str, count: int = 1) -> None:
        """Wait for these effects."""
        await eventually(lambda: all(self.effects()[line] >= count for line in lines), patience=15)

    def effects(self) -> Counter[str]:
        path = self.home / "effects.txt"
        return Counter(path.read_text().splitlines() if path.exists() else [])

    async def reloads(self, count: int) -> None:
        await eventually(lambda: sum(text.startswith("reloaded ") for text in self.told) >= count, patience=20)


@pytest.fixture
def house(tmp_path: Path, nats: NatsServer) -> House:
    return House(tmp_path, nats)


async def test_as_many_workers_as_runs_wait_for_and_one_when_they_are_done(house: House) -> None:
    async with house.serving("min = 1\nmax = 3\nconcurrency = 4\nscale_up_after = 0.3\nidle_after = 1"):
        assert len(house.pids) == 1
        (first,) = house.pids
        handles = [await house.trigger("trip", f"t{number}", lasts=0.2) for number in range(80)]
        await eventually(lambda: len(house.pids) == 3, patience=15)
        assert await asyncio.gather(*[handle.result(30) for handle in handles]) == [1] * 80
        await eventually(lambda: house.pids == [first], patience=15)
        runs = [await handle.status() for handle in handles]
    assert {(run.state, run.attempt, run.interruptions) for run in runs} == {(State.COMPLETED, 1, 0)}
    assert house.effects() == {f"t{number} {leg}": 1 for number in range(80) for leg in (1, 2)}
    assert house.told == []


async def test_a_worker_that_is_let_go_gives_its_run_back_at_its_checkpoint(house: House) -> None:
    names = [f"l{number}" for number in range(6)]
    async with house.serving("min = 1\nmax = 2\nconcurrency = 3\nscale_up_after = 0.3\nidle_after = 1", drain=0.3):
        handles = {name: await house.trigger("long", name) for name in names}
        await house.until(*[f"{name} waits" for name in names])
        held = await house.workers(lambda all: [len(worker.runs) for worker in all] == [3, 3])
        left = {worker.runs[0] for worker in held}  # one run of each worker goes on
        for name, handle in handles.items():
            if handle.id not in left:
                (house.home / f"open-{name}").touch()
        await eventually(lambda: len(house.pids) == 1, patience=15)
        (last,) = await house.workers(lambda all: len(all) == 1 and set(all[0].runs) == left)
        assert last.worker == min(held, key=lambda worker: worker.started_at).worker  # of two alike the newest goes
        for name in names:
            (house.home / f"open-{name}").touch()
        assert [await handle.result(10) for handle in handles.values()] == [1] * 6
        runs = [await handle.status() for handle in handles.values()]
    assert {(run.state, run.attempt, run.interruptions) for run in runs} == {(State.COMPLETED, 1, 0)}
    effects = house.effects()
    assert sorted(effects.pop(f"{name} waits") for name in names) == [1, 1, 1, 1, 1, 2]
    assert effects == {f"{name} {leg}": 1 for name in names for leg in (1, 2)}


async def test_stopped_while_it_grows_it_leaves_no_process(house: House) -> None:
    async with house.serving("min = 1\nmax = 4\nconcurrency = 2\nscale_up_after = 0.1", drain=0.1):
        handles = [await house.trigger("long", f"g{number}") for number in range(12)]
        await eventually(lambda: len(house.pids) > 1, patience=15)  # the second one is being started
        left = house.pids
    assert not [pid for pid in left if alive(pid)]
    async with house.serving("min = 1\nmax = 4\nconcurrency = 12"):
        for number in range(12):
            (house.home / f"open-g{number}").touch()
        assert [await house.client.run(handle.id).result(15) for handle in handles] == [1] * 12
    assert {count for line, count in house.effects().items() if "waits" not in line} == {1}


async def test_none_runs_while_there_is_nothing_to_do_and_the_first_run_starts_one(house: House) -> None:
    async with house.serving("min = 0\nmax = 2\nconcurrency = 4\nidle_after = 0.5"):
        assert len(house.pids) == 1  # it says what it can do, and goes
        await eventually(lambda: not house.pids, patience=15)
        await house.client.pause("trips")
        handle = await house.client.trigger("trip", {"name": "a"}, priority=2)  # a queue and priority nobody opened
        await asked(house.client.queues, lambda found: [row for row in found.queues if row.paused and row.depth])
        assert not house.pids
        await house.client.pause("trips", paused=False)
        assert await handle.result(15) == 1
        await eventually(lambda: not house.pids, patience=15)
    assert house.effects() == {"a 1": 1, "a 2": 1}


async def test_a_module_that_breaks_while_up_keeps_nobody_else_from_serving(house: House) -> None:
    (house.home / "other.py").write_text(
        "from holdfast import task\n\n@task\nasync def other() -> str:\n    return 'o'\n"
    )
    async with house.serving("min = 2\nconcurrency = 4", modules="jobs other"):
        first, second = house.pids
        (house.home / "other.py").write_text("x = 1\nx.nothing\n")
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: len(house.told) == 1, patience=15)
        place = f"{house.home}/other.py:2"
        why = f"module other failed to import at {place}: AttributeError: 'int' object has no attribute 'nothing'"
        assert house.told[0].startswith(f"{why}; left out")
        await asked(house.client.faults, lambda found: [fault.errors for fault in found] == [(why,)])
        assert await (await house.client.trigger("other", {})).result(15) == "o"  # the second one has it from before
        os.kill(second, signal.SIGKILL)
        await eventually(lambda: len(set(house.pids) - {first, second}) == 2, patience=15)
        assert await (await house.trigger("trip", "a")).result(15) == 1
        waits = await house.client.trigger("other", {})

        (house.home / "other.py").write_text(
            "from holdfast import task\n\n@task\nasync def other() -> str:\n    return 'new'\n"
        )
        for pid in house.pids:
            os.kill(pid, signal.SIGKILL)
        assert await waits.result(20) == "new"
        await asked(house.client.faults, lambda found: not found)
        assert len(house.told) == 1


async def test_reloads_under_load_neither_lose_nor_repeat_a_run(house: House) -> None:
    handles: list[RunHandle] = []
    over = False

    async def produce(producer: int) -> None:
        number = 0
        while not over:
            number += 1
            handle = await house.trigger("trip", f"{producer}-{number}")
            handles.append(handle)
            await handle.result(30)

    async with house.serving("min = 2\nconcurrency = 10", dev=True):
        await house.trigger("long", "through")
        producers = [asyncio.ensure_future(produce(number)) for number in range(8)]
        for version in (2, 3, 4, 5):
            await eventually(lambda version=version: len(handles) > 50 * (version - 1), patience=20)
            house.write(VERSION=str(version))
            await house.reloads(version - 1)
        over = True
        await asyncio.gather(*producers)
        assert await (await house.trigger("trip", "last")).result(15) == 5
        (house.home / "open-through").touch()
        runs = [await handle.status() for handle in handles]
    assert len(runs) > 200
    assert {(run.state, run.attempt, run.interruptions) for run in runs} == {(State.COMPLETED, 1, 0)}
    effects = house.effects()
    assert {effects[line] for line in effects if "waits" not in line} == {1}
    assert sum(effects.values()) - effects["through waits"] == 2 * (len(runs) + 1) + 2
    assert all(text.startswith("reloaded jobs.py in ") and text.endswith(" s: 2 workers") for text in house.told)


async def test_a_run_under_way_goes_on_in_the_new_code_behind_its_checkpoint(house: House) -> None:
    async with house.serving("min = 1\nconcurrency = 4", drain=0.2, dev=True):
        handle = await house.trigger("long", "a")
        await house.until("a waits")
        house.write(VERSION="2")
        await house.until("a waits", count=2)
        (house.home / "open-a").touch()
        assert await handle.result(15) == 2
        assert (await handle.status()).attempt == 1
    assert house.effects() == {"a 1": 1, "a waits": 2, "a 2": 1}


async def test_a_broken_edit_is_said_once_and_the_code_before_goes_on_until_it_is_mended(house: House) -> None:
    async with house.serving("min = 1\nconcurrency = 4", dev=True):
        (before,) = house.pids
        house.write(VERSION="=")
        await eventually(lambda: len(house.told) == 1, patience=15)
        assert house.told[0] == (
            f"module jobs failed to import at {house.home}/jobs.py:5: SyntaxError: invalid syntax (jobs.py, line 5); "
            "the code before is served until it is mended"
        )
        assert await (await house.trigger("trip", "a")).result(15) == 1
        (house.home / "notes.py").write_text("x = 1\n")  # it is tried again, and says the same
        await house.workers(lambda all: house.pids == [before])
        house.write(VERSION="2")
        await house.reloads(1)
        assert await (await house.trigger("trip", "b")).result(15) == 2
        await eventually(lambda: not alive(before), patience=15)
    assert len(house.told) == 2
    assert house.told[1].startswith("reloaded jobs.py")


async def test_what_is_written_while_a_generation_begins_is_what_it_begins_with(house: House) -> None:
    """The import of the first edit never ends; the second edit takes its place."""
    async with house.serving("min = 1\nconcurrency = 4", dev=True):
        (before,) = house.pids
        house.write(VERSION="2; import time; time.sleep(600)")
        await eventually(lambda: len(house.pids) == 2, patience=15)
        (hangs,) = set(house.pids) - {before}
        house.write(VERSION="3")
        await house.reloads(1)
        assert await (await house.trigger("trip", "a")).result(15) == 3
        await eventually(lambda: not alive(hangs) and not alive(before), patience=15)
