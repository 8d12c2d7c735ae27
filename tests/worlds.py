"""Worlds for the bus: memory with a clock that is moved, and a real nats-server in real time.

A world makes buses of one project of its own, lets time go by and waits for what must come.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol
from uuid import uuid4

from holdfast.bus.clock import VirtualClock
from holdfast.bus.jetstream import JetStreamBus, connect
from holdfast.bus.memory import MemoryBus, MemoryServer
from holdfast.bus.ports import Bus

ACK_WAIT = 1.0
"""Of the consumers in these tests, in seconds."""


async def eventually(holds: Callable[[], bool], patience: float = 5.0) -> None:
    """Wait in real time for what must come; fails after so many seconds."""
    async with asyncio.timeout(patience):
        while not holds():  # noqa: ASYNC110  # what is waited for knows no events
            await asyncio.sleep(0.002)


class World(Protocol):
    """Where a bus lives."""

    async def bus(self) -> Bus:
        """Another bus of the same project."""

    def now(self) -> float: ...

    async def elapse(self, seconds: float) -> None:
        """Let time go by."""

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for what must come without time going by; fails after a while."""

    async def quiet(self) -> None:
        """Wait as long as something that must not come would need to come."""


class MemoryWorld:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.server = MemoryServer(self.clock)
        self.buses: list[MemoryBus] = []

    async def bus(self) -> Bus:
        self.buses.append(MemoryBus("shop", self.server, ack_wait=ACK_WAIT))
        return self.buses[-1]

    def now(self) -> float:
        return self.clock.now()

    async def elapse(self, seconds: float) -> None:
        await self.quiet()
        self.clock.advance(seconds)
        await self.quiet()

    async def until(self, holds: Callable[[], bool]) -> None:
        for _ in range(1000):
            if holds():
                return
            await asyncio.sleep(0)
        raise AssertionError("it did not come about")

    async def quiet(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)


class JetStreamWorld:
    def __init__(self, url: str) -> None:
        self.url = url
        self.project = f"p{uuid4().hex[:10]}"
        self.buses: list[JetStreamBus] = []

    async def bus(self) -> Bus:
        bus = await connect(self.url, project=self.project, ack_wait=ACK_WAIT)
        if not self.buses:
            await bus.ensure_streams()
        self.buses.append(bus)
        return bus

    def now(self) -> float:
        return time.time()

    async def elapse(self, seconds: float) -> None:
        await asyncio.sleep(seconds + 0.3)  # the server's timers are up to a quarter of a second late

    async def until(self, holds: Callable[[], bool]) -> None:
        await eventually(holds)

    async def quiet(self) -> None:
        await asyncio.sleep(0.05)
