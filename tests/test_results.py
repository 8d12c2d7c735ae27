"""Awaiting a run's result: what is heard of the run is a hint, and only what may end it is worth a read."""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast.bus.memory import MemoryBus, MemoryServer
from holdfast.client import Client
from holdfast.core.entries import AttemptStarted, Entry, RunCompleted, StepCompleted
from holdfast.wire.subjects import Stream
from holdfast.wire.values import encode_value


class Counting(MemoryBus):
    """Counts reads."""

    reads = 0

    async def read(self, stream: Stream, filter: str, **given: Any) -> Any:
        self.reads += 1
        return await super().read(stream, filter, **given)


async def test_a_run_of_many_steps_is_not_read_again_for_each_of_them() -> None:
    client = Client(Counting("shop", MemoryServer()))
    handle = await client.start(client.new_run("charge", encode_value({})))
    waiting = asyncio.create_task(handle.result())
    await asyncio.sleep(0)
    last = 0
    entries: list[Entry] = [AttemptStarted(1.0, 1, "w", "n")]
    entries += [StepCompleted(f"/pay#{number}", 1.0, 0.0, encode_value(None)) for number in range(50)]
    for entry in [*entries, RunCompleted(2.0, encode_value("paid"))]:
        last = await client.journal.append(handle.id, last, "n", [entry])
        await asyncio.sleep(0)
    assert await waiting == "paid"
    assert client.bus.reads == 2  # type: ignore[attr-defined]
    await client.close()
