"""Options of the long tests, the registry of tasks, and `stage`: on the memory bus and over a real nats-server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from holdfast.bus.jetstream import connect
from holdfast.bus.memory import MemoryBus, MemoryServer
from holdfast.bus.ports import Bus
from holdfast.task import TASKS
from servers import NatsServer
from stage import Stage
from stage import stage as staged


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--minutes", default="0", help="how long the chaos test goes on; default: 15 s")
    parser.addoption("--events", default="1000", help="how many events are published while the daemon is killed")
    parser.addoption("--seed", default="0", help="of the chaos test; default: a new one, printed")


WAITING = ("e2e", "cli", "daemon")
"""Directories whose tests wait for other processes most of their time: they begin first, beside those that compute."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(WAITING)}
    items.sort(key=lambda item: places.get(item.path.parent.name, len(places)))


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
