"""Following a stream: everything once, in order, and when all of it has come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from holdfast.bus.ports import Bus, Message, Publication
from holdfast.errors import ConnectError
from holdfast.wire.subjects import Stream
from worlds import World

FOR_EVER = 1000.0


async def caught_up(following: AsyncGenerator[list[Message], None]) -> list[Message]:
    """All that comes until the follower says that it has caught up."""
    found: list[Message] = []
    async with asyncio.timeout(20):
        async for batch in following:
            if not batch:
                break
            found += batch
    return found


async def test_an_empty_stream_is_caught_up_at_once(bus: Bus) -> None:
    following = bus.follow(Stream.JOURNAL, bus.subjects.journal, first=1, idle=FOR_EVER)
    assert await caught_up(following) == []
    await following.aclose()


async def test_a_stream_without_a_match_is_caught_up_at_once(bus: Bus) -> None:
    await bus.publish(bus.subjects.log("r"), b"")
    following = bus.follow(Stream.JOURNAL, bus.subjects.of_run("other"), first=1, idle=FOR_EVER)
    assert await caught_up(following) == []
    await following.aclose()


@pytest.mark.parametrize("first", [-1, 0, 1, 7, 10, 11, 50])
async def test_what_stands_comes_first_from_where_it_is_told(bus: Bus, first: int) -> None:
    await bus.publish_many([Publication(bus.subjects.log("r"), b"%d" % n) for n in range(1, 11)])
    following = bus.follow(Stream.JOURNAL, bus.subjects.journal, first=first, idle=FOR_EVER)
    found = await caught_up(following)
    assert [m.seq for m in found] == list(range(max(first, 1), 11))
    assert found == await bus.read(Stream.JOURNAL, bus.subjects.journal, first=first)
    await following.aclose()


async def test_what_is_stored_afterwards_comes_as_it_is_stored(bus: Bus) -> None:
    following = bus.follow(Stream.JOURNAL, bus.subjects.journal, first=1, idle=FOR_EVER)
    assert await caught_up(following) == []
    for n in range(5):
        seq = await bus.publish(bus.subjects.log("r"), b"%d" % n)
        assert [(m.seq, m.data) for m in await anext(following)] == [(seq, b"%d" % n)]
    await following.aclose()


async def test_catching_up_is_said_once_and_idleness_again_and_again(world: World, bus: Bus) -> None:
    await bus.publish(bus.subjects.log("r"), b"")
    following = bus.follow(Stream.JOURNAL, bus.subjects.journal, first=1, idle=0.2)
    assert len(await caught_up(following)) == 1
    for _ in range(2):
        idle = asyncio.ensure_future(anext(following))
        await world.elapse(0.25)
        await world.until(idle.done)
        assert idle.result() == []
    await following.aclose()


async def test_only_what_matches_comes(bus: Bus) -> None:
    for run in ("a", "b", "a"):
        await bus.publish(bus.subjects.log(run), run.encode())
    following = bus.follow(Stream.JOURNAL, bus.subjects.of_run("a"), first=1, idle=FOR_EVER)
    assert [m.seq for m in await caught_up(following)] == [1, 3]
    await following.aclose()


async def test_lists_are_no_longer_than_asked(bus: Bus) -> None:
    await bus.publish_many([Publication(bus.subjects.log("r"), b"") for _ in range(250)])
    following = bus.follow(Stream.JOURNAL, bus.subjects.journal, first=1, idle=FOR_EVER, most=100)
    sizes = []
    async for batch in following:
        if not batch:
            break
        sizes.append(len(batch))
    assert sum(sizes) == 250
    assert max(sizes) <= 100
    await following.aclose()


async def test_thousands_come_once_and_in_order_while_more_are_stored(bus: Bus) -> None:
    await bus.publish_many([Publication(bus.subjects.log("r"), b"") for _ in range(5000)])
    following = bus.follow(Stream.JOURNAL, bus.subjects.journal, first=1, idle=FOR_EVER, most=300)
    seqs: list[int] = []

    async def store_more() -> None:
        for _ in range(10):
            await bus.publish_many([Publication(bus.subjects.log("r"), b"") for _ in range(200)])

    async with asyncio.TaskGroup() as tasks, asyncio.timeout(20):
        tasks.create_task(store_more())
        async for batch in following:
            seqs += [message.seq for message in batch]
            if len(seqs) == 7000:
                break
    assert seqs == list(range(1, 7001))
    await following.aclose()


async def test_a_slow_reader_misses_nothing(bus: Bus) -> None:
    following = bus.follow(Stream.JOURNAL, bus.subjects.journal, first=1, idle=FOR_EVER, most=10)
    assert await caught_up(following) == []
    await bus.publish_many([Publication(bus.subjects.log("r"), b"") for _ in range(500)])
    seqs: list[int] = []
    while len(seqs) < 500:
        seqs += [message.seq for message in await anext(following)]
    assert seqs == list(range(1, 501))
    await following.aclose()


async def test_large_messages_come_whole(bus: Bus) -> None:
    await bus.publish_many([Publication(bus.subjects.log("r"), bytes([n]) * 4_000_000) for n in range(12)])
    following = bus.follow(Stream.JOURNAL, bus.subjects.journal, first=1, idle=FOR_EVER)
    assert [(m.data[0], len(m.data)) for m in await caught_up(following)] == [(n, 4_000_000) for n in range(12)]
    await following.aclose()


async def test_what_was_deleted_does_not_come_and_is_not_waited_for(world: World, bus: Bus) -> None:
    await bus.publish_many([Publication(bus.subjects.log("r"), b"") for _ in range(10)])
    following = bus.follow(Stream.JOURNAL, bus.subjects.journal, first=1, idle=0.2, most=2)
    found = await anext(following)
    await bus.purge(Stream.JOURNAL, bus.subjects.journal)
    pending = asyncio.ensure_future(caught_up(following))
    for _ in range(3):
        if not pending.done():
            await world.elapse(0.2)
    await world.until(pending.done)
    seqs = [m.seq for m in [*found, *pending.result()]]
    assert seqs == list(range(1, len(seqs) + 1))  # what had been sent before the purge may still come
    await following.aclose()


async def test_two_followers_each_get_everything(world: World) -> None:
    first, second = await world.bus(), await world.bus()
    follows = [
        bus.follow(Stream.JOURNAL, bus.subjects.journal, first=1, idle=FOR_EVER) for bus in (first, second, second)
    ]
    for following in follows:
        assert await caught_up(following) == []
    await first.publish(first.subjects.log("r"), b"x")
    for following in follows:
        assert [m.data for m in await anext(following)] == [b"x"]
        await following.aclose()


async def test_closing_the_bus_ends_the_following(world: World) -> None:
    bus = await world.bus()
    following = bus.follow(Stream.JOURNAL, bus.subjects.journal, first=1, idle=FOR_EVER)
    assert await caught_up(following) == []
    waiting = asyncio.ensure_future(anext(following))
    await world.quiet()
    await bus.close()
    with pytest.raises(ConnectError, match="closed"):
        await waiting


async def test_a_cancelled_reader_may_leave(world: World, bus: Bus) -> None:
    following = bus.follow(Stream.JOURNAL, bus.subjects.journal, first=1, idle=FOR_EVER)
    assert await caught_up(following) == []
    waiting = asyncio.ensure_future(anext(following))
    await world.quiet()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
