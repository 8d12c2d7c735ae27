"""Reading a run by its subjects, one by one: the same messages in the same order as reading it by all at once."""

from __future__ import annotations

import asyncio
import random

import pytest

from holdfast.bus.journal import Journal
from holdfast.bus.ports import Bus
from holdfast.core.entries import Batch, CancelRequested, Heartbeat, Offered
from holdfast.wire import codec
from worlds import World


async def store(bus: Bus, run: str, number: int, chance: random.Random) -> None:
    """A message of a run, on any of its subjects."""
    subjects = bus.subjects
    offered = codec.encode(Offered(run, 1, number))
    match chance.randrange(5):
        case 0:
            await bus.publish(subjects.inbox(run), codec.encode(CancelRequested(number)))
        case 1:
            await bus.publish(subjects.again(run, "q", 5), offered)
        case 2:
            await bus.publish_at(subjects.timer(run, "t"), offered, due=9e9, target=subjects.again(run, "q", 5))
        case _:
            await bus.publish(subjects.log(run), codec.encode(Batch("n", (Heartbeat(number),))))


@pytest.mark.parametrize("seed", range(5))
async def test_the_messages_of_a_run_come_in_their_order_from_wherever(world: World, bus: Bus, seed: int) -> None:
    chance, journal = random.Random(seed), Journal(bus)
    for number in range(60):
        await store(bus, chance.choice(["a", "b", "c"]), number, chance)
    await bus.publish(bus.subjects.log("a"), b"unreadable")
    for run in ("a", "b", "c", "nobody", "*", "x.y"):
        for first in (1, 20, 61, 999):
            assert await journal.scattered(run, first) == await journal.messages(run, first), (run, first)


async def test_what_comes_meanwhile_leaves_no_gap(world: World, bus: Bus) -> None:
    """Whoever reads a message has read all of the run's before it."""
    writer, chance, journal = await world.bus(), random.Random(7), Journal(bus)
    for number in range(5):
        await store(writer, "a", number, chance)

    async def write() -> None:
        for number in range(300):
            await store(writer, "a", number, chance)

    writing = asyncio.create_task(write())
    read = []
    while not writing.done():
        read.append([record.seq for _, record in await journal.scattered("a")])
    await writing
    assert len(read) > 3
    everything = [record.seq for _, record in await journal.messages("a")]
    timers = {record.seq for _, record in await journal.messages("a") if record.kind == "timer"}
    for seqs in read:
        assert [seq for seq in everything if seq <= seqs[-1] and seq not in timers] == [
            seq for seq in seqs if seq in set(everything) - timers
        ]
