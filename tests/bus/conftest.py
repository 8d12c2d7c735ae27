"""Every test that asks for a `world` or a `bus` runs in memory and over a real nats-server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from holdfast.bus.jetstream import connect
from holdfast.bus.ports import Bus
from servers import NatsServer
from worlds import JetStreamWorld, MemoryWorld, World


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(params=["memory", "jetstream"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        memory = MemoryWorld()
        yield memory
        for bus in memory.buses:
            await bus.close()
        return
    real = JetStreamWorld(request.getfixturevalue("nats").url)
    yield real
    async with await connect(real.url, project=real.project) as cleaner:
        await cleaner.remove_streams()
    for used in real.buses:
        await used.close()


@pytest.fixture
async def bus(world: World) -> Bus:
    return await world.bus()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A server that a test may kill."""
    with NatsServer(tmp_path / "nats") as server:
        yield server
