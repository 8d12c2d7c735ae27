"""Worker processes, real ones: they serve, are replaced when they die, say why they can't begin, and outlive nobody."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from deployment import alive, environment, processes, until
from holdfast.bus.jetstream import connect
from holdfast.client import Client
from holdfast.errors import WorkerError
from holdfast_daemon.app import running
from holdfast_daemon.pool import LONGEST_PAUSE, WorkerPool, pause_after
from servers import NatsServer
from worlds import eventually

TASKS = """
import asyncio, os, pathlib
from holdfast import task

if pathlib.Path("broken").exists():
    if pathlib.Path("deadly").exists():
        os.kill(os.getpid(), 11)
    raise RuntimeError("out of order")

@task
async def pid() -> int:
    return os.getpid()

@task
async def short() -> str:
    await asyncio.sleep(0.5)
    return "done"
"""


class House:
    """A directory with tasks, a pool that serves them, and what it said."""

    def __init__(self, home: Path, nats: NatsServer) -> None:
        self.home = home
        self.gone: dict[str, tuple[str, float]] = {}
        self.told: list[str] = []
        self.faults: list[tuple[str, ...]] = []
        self._nats = nats
        (home / "jobs.py").write_text(TASKS)
        (home / "holdfast.toml").write_text(f'[nats]\nurl = "{nats.url}"\n[projects.default]\ndrain = 5\n')

    def pool(self, *modules: str, size: int = 1) -> WorkerPool:
        return WorkerPool(
            size=size,
            modules=modules or ("jobs",),
            station="here-",
            cwd=self.home,
            env={"HOLDFAST_CONFIG": str(self.home / "holdfast.toml"), "HOLDFAST_PROJECT": "default"},
            output=self.home / "workers.log",
            drain=5,
            gone=self._note,
            tell=self.told.append,
            on_faults=lambda texts: self.faults.append(tuple(texts)),
        )

    def _note(self, worker: str, how: str) -> None:
        self.gone[worker] = (how, time.monotonic())

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        async with await connect(self._nats.url, project="default") as bus:
            yield Client(bus)

    async def refused(self, *modules: str, size: int = 1) -> str:
        """What the pool says that can't begin."""
        with pytest.raises(ExceptionGroup) as caught:
            async with running(self.pool(*modules, size=size)):
                pass
        error: BaseException = caught.value
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        assert isinstance(error, WorkerError)
        return str(error)


@pytest.fixture(scope="module")
def own_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    async def prepare(url: str) -> None:
        async with await connect(url, project="default") as bus:
            await bus.ensure_streams()

    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        asyncio.run(prepare(server.url))
        yield server


@pytest.fixture
def house(tmp_path: Path, own_nats: NatsServer) -> House:
    return House(tmp_path, own_nats)


async def test_so_many_workers_serve_and_a_killed_one_is_reported_and_replaced_at_once(house: House) -> None:
    pool = house.pool(size=2)
    async with running(pool), house.client() as client:
        before = dict(pool.pids)
        assert list(before) == ["here-1", "here-2"]
        assert len(set(before.values())) == 2
        assert await (await client.trigger("pid")).result(10) in before.values()

        killed = time.monotonic()
        os.kill(before["here-1"], signal.SIGKILL)
        await eventually(lambda: "here-1" in house.gone)
        how, when = house.gone["here-1"]
        assert how == "killed by signal 9"
        assert when - killed < 0.3
        await eventually(lambda: set(pool.pids) == {"here-2", "here-3"})
        assert time.monotonic() - killed < 0.5
        assert pool.pids["here-2"] == before["here-2"]

        os.kill(before["here-2"], signal.SIGKILL)
        await eventually(lambda: set(pool.pids) == {"here-3", "here-4"})
        assert await (await client.trigger("pid")).result(15) in pool.pids.values()
    assert set(house.gone) == {"here-1", "here-2", "here-3", "here-4"}
    assert not pool.pids


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import nothing_like_it\n", "jobs.py:1: ModuleNotFoundError: No module named 'nothing_like_it'"),
        ("x = 1\nassert x == 2, 'so'\n", "jobs.py:2: AssertionError: so"),
        ("def f(:\n", "jobs.py:1: SyntaxError: invalid syntax"),
        ("x = 1\n", "no task is declared in jobs"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n", "killed by signal 11"),
        ("import os\nos._exit(0)\n", "before it served anything (exit code 0)"),
    ],
)
async def test_workers_that_never_served_are_an_error_with_the_place(house: House, source: str, reason: str) -> None:
    (house.home / "jobs.py").write_text(source)
    said = await house.refused(size=2)
    assert reason in said
    assert "\n" not in said
    assert "Traceback" not in said
    assert not said.startswith("holdfast worker")


async def test_a_module_that_is_not_there_is_said_with_where_it_was_looked_for(house: House) -> None:
    assert await house.refused("nowhere") == (
        f"no module 'nowhere': expected nowhere.py below {house.home}, or an installed package"
    )


async def test_a_worker_that_fails_later_is_told_once_and_started_again_ever_more_slowly(house: House) -> None:
    pool = house.pool()
    async with running(pool), house.client() as client:
        (house.home / "broken").touch()
        os.kill(pool.pids["here-1"], signal.SIGKILL)
        await eventually(lambda: "here-4" in house.gone, patience=15)
        times = [house.gone[f"here-{number}"][1] for number in (1, 2, 3, 4)]
        _, second, third = (later - earlier for earlier, later in pairwise(times))
        assert second > 0.2
        assert third > 0.4
        (told,) = house.told
        assert told.startswith("module jobs failed to import at ")
        assert told.endswith("jobs.py:8: RuntimeError: out of order; tried again until it is mended")
        assert house.faults[-1] == (told.removesuffix("; tried again until it is mended"),)
        (house.home / "broken").unlink()
        assert await (await client.trigger("pid")).result(15) in pool.pids.values()
        await eventually(lambda: house.faults[-1] == ())


async def test_a_module_that_kills_its_worker_is_told_of_too(house: House) -> None:
    pool = house.pool()
    async with running(pool):
        (house.home / "broken").touch()
        (house.home / "deadly").touch()
        os.kill(pool.pids["here-1"], signal.SIGKILL)
        await eventually(lambda: "here-4" in house.gone, patience=15)
        (told,) = house.told
        assert told == (
            "a worker ended before it served anything (killed by signal 11): "
            f"see {house.home / 'workers.log'}; tried again until it is mended"
        )


def test_the_pause_grows_from_nothing_to_a_bound() -> None:
    assert [pause_after(failures) for failures in range(6)] == [0.0, 0.0, 0.2, 0.4, 0.8, 1.6]
    assert pause_after(9) == pause_after(100_000) == LONGEST_PAUSE


async def test_cancelled_it_lets_runs_under_way_end(house: House) -> None:
    pool = house.pool()
    async with house.client() as client:
        async with running(pool):
            handle = await client.trigger("short")
            async for entry in handle.events():
                if type(entry).__name__ == "AttemptStarted":
                    break
        run = await handle.status()
    assert (run.state, run.attempt, run.interruptions) == ("completed", 1, 0)
    assert house.gone["here-1"][0] == "told to stop"
    assert "Traceback" not in (house.home / "workers.log").read_text()


PARENT = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = ["sdk", "daemon"]
from holdfast_daemon.app import running
from holdfast_daemon.pool import WorkerPool

async def main():
    home = Path(sys.argv[1])
    pool = WorkerPool(
        size=2, modules=("jobs",), station="orphan-", cwd=home, env={"HOLDFAST_CONFIG": str(home / "holdfast.toml")},
        output=home / "workers.log", drain=5, gone=lambda worker, how: None,
    )
    async with running(pool):
        print(*pool.pids.values(), flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills the children of a killed process")
def test_no_worker_outlives_a_killed_daemon(house: House) -> None:
    command = [sys.executable, "-c", PARENT, str(house.home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(alive(pid) for pid in pids)
        parent.kill()
    until(lambda: not any(alive(pid) for pid in pids), within=5)
    until(lambda: not [pid for pid in processes() if str(house.home) in environment(pid)], within=5)


async def test_a_drained_worker_is_kept_as_it_is_and_one_that_is_stopped_is_followed_by_a_fresh_one(
    house: House,
) -> None:
    pool = house.pool()
    async with running(pool), house.client() as client:
        pid = pool.pids["here-1"]
        assert await (await client.trigger("pid")).result(10) == pid
        (before,) = [worker for worker in await client.workers() if worker.pid == pid]
        assert before.rss > 1 << 20
        await client.drain_worker("here-1")
        await _shown(client, pid, draining=True)
        waiting = await client.trigger("pid")
        await _shown(client, pid, draining=True)
        assert (await waiting.status()).state == "queued"
        assert pool.pids == {"here-1": pid}

        await client.stop_worker("here-1")
        fresh = await waiting.result(20)
        assert fresh != pid
        assert pool.pids == {"here-2": fresh}
        assert house.gone["here-1"][0] == "exit code 0"
        assert house.told == []
        await _shown(client, fresh, draining=False)


async def _shown(client: Client, pid: int, *, draining: bool) -> None:
    """Wait for a heartbeat of this process that is of later, and says so."""
    begin = time.time()
    async with asyncio.timeout(10):
        while True:
            beats = [beat for beat in await client.workers() if beat.pid == pid and beat.at > begin]
            if any(beat.draining is draining for beat in beats):
                return
            await asyncio.sleep(0.05)
