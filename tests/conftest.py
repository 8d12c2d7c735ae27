"""Every test that asks for a `stage` runs on the memory bus and over a real nats-server, both in real time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from holdfast.bus.jetstream import connect
from holdfast.bus.memory import MemoryBus, MemoryServer
from holdfast.bus.ports import Bus
from servers import NatsServer
from stage import Stage
from stage import stage as staged


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(params=["memory", "jetstream"])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
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
