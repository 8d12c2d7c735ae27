"""Options of the long tests, the registry of tasks, and `stage`: on the memory bus and over a real nats-server."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import suppress
from uuid import uuid4

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

from holdfast.bus.jetstream import connect
from holdfast.bus.memory import MemoryBus, MemoryServer
from holdfast.bus.ports import Bus
from holdfast.task import TASKS
from servers import NatsServer
from stage import Stage
from stage import stage as staged

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else every process of every test compiles all that it imports
sys.dont_write_bytecode = False

HANGS_AFTER = 900.0
"""Seconds; what takes a hundred on one machine may take several times as long on another."""

LONG = {"--minutes": 0.0, "--events": 1000.0}
"""Options that let tests take long, with what they usually are."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--minutes", default="0", help="how long the chaos test goes on; default: 20 s")
    parser.addoption("--events", default="1000", help="how many events are published while the daemon is killed")
    parser.addoption("--seed", default="0", help="of the chaos test; default: a new one, printed")


WAITING = ("e2e", "cli", "daemon")
"""Directories whose tests wait for other processes most of their time."""

DONE_WITH_WAITING = 0.75
"""The part of all files that are begun by when none of those is left."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let files of tests that wait take turns with files of tests that compute: no core is to have nothing to do."""
    files = dict.fromkeys(item.path for item in items)
    waiting = sorted(
        (path for path in files if path.parent.name in WAITING), key=lambda path: WAITING.index(path.parent.name)
    )
    others = [path for path in files if path.parent.name not in WAITING]
    turn = {path: at / len(waiting) * DONE_WITH_WAITING for at, path in enumerate(waiting)}
    turn |= {path: at / len(others) for at, path in enumerate(others)}
    items.sort(key=lambda item: turn[item.path])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test that hangs fails and says where; where that does not stop it, its process ends."""
    if _is_long(item):
        return (yield)
    stderr = item.config.stash[fault_handler_stderr_fd_key]

    def fail(*_: object) -> None:
        with os.fdopen(os.dup(stderr), "w") as out:
            print(f"\n{item.nodeid} hangs:", file=out)
            with suppress(RuntimeError):  # it has no loop
                for task in asyncio.all_tasks():
                    task.print_stack(file=out)
        pytest.fail(f"it took longer than {HANGS_AFTER:g} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, HANGS_AFTER)
    faulthandler.dump_traceback_later(HANGS_AFTER * 1.2, exit=True, file=stderr)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    if not _is_long(item):  # pytest takes its failure as a reason to wait for ever
        faulthandler.dump_traceback_later(HANGS_AFTER, exit=True, file=item.config.stash[fault_handler_stderr_fd_key])
    return (yield)


def pytest_sessionfinish(session: pytest.Session) -> None:
    processes = session.config.pluginmanager.get_plugin("dsession")
    if processes is not None and processes.sched is not None and processes.sched.has_pending:
        session.exitstatus = pytest.ExitCode.INTERRUPTED  # too many processes crashed: not every test ran


def _is_long(item: pytest.Item) -> bool:
    asked = any(float(item.config.getoption(name)) > usual for name, usual in LONG.items())
    return asked or bool(item.config.getoption("usepdb"))


@pytest.fixture(autouse=True)
def own_tasks() -> Iterator[None]:
    """What a test declares is forgotten with it: two tests may use one id."""
    declared = dict(TASKS)
    TASKS.clear()
    yield
    TASKS.clear()
    TASKS.update(declared)


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(params=["memory", "jetstream"])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """A client and workers on a project of their own, in real time."""
    buses: list[Bus] = []
    memory = MemoryServer()
    project = f"p{uuid4().hex[:10]}"

    async def make() -> Bus:
        if request.param == "memory":
            buses.append(MemoryBus(project, memory))
        else:
            bus = await connect(request.getfixturevalue("nats").url, project=project)
            if not buses:
                await bus.ensure_streams()
            buses.append(bus)
        return buses[-1]

    async with staged(make) as here:
        yield here
    if request.param == "jetstream":
        await buses[0].remove_streams()  # type: ignore[attr-defined]
    for bus in buses:
        await bus.close()
