"""A real server that is killed with SIGKILL and started again, while everything is under way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from holdfast.bus.jetstream import JetStreamBus, connect
from holdfast.bus.ports import Item, Publication
from holdfast.bus.pulling import HEARTBEAT
from holdfast.errors import BusError, ConnectError, Unanswered
from holdfast.wire.subjects import Lane, Stream
from servers import NatsServer
from worlds import eventually

CRASHES = 2


@pytest.fixture
async def bus(own_server: NatsServer) -> AsyncIterator[JetStreamBus]:
    async with await connect(own_server.url, project="shop", ack_wait=1.0) as bus:
        await bus.ensure_streams()
        yield bus


async def crash_again_and_again(server: NatsServer) -> None:
    for _ in range(CRASHES):
        await asyncio.sleep(0.3)
        await server.crash(away=0.1)
    await asyncio.sleep(0.2)


async def append(bus: JetStreamBus, subject: str, data: bytes, last: int) -> int:
    """As a worker does: after an unknown outcome the last message says whose it is."""
    try:
        return await bus.publish(subject, data, expect=last)
    except Unanswered:
        stands = await bus.last(Stream.JOURNAL, subject)
        if stands is not None and stands.data == data:
            return stands.seq
        return await append(bus, subject, data, last)


async def test_fenced_appends_are_neither_lost_nor_doubled(bus: JetStreamBus, own_server: NatsServer) -> None:
    stop = asyncio.Event()
    counts = dict.fromkeys(range(8), 0)

    async def write(run: int) -> None:
        last = 0
        while not stop.is_set():
            last = await append(bus, bus.subjects.log(f"r{run}"), b"%d" % counts[run], last)
            counts[run] += 1

    async with asyncio.TaskGroup() as tasks:
        for run in counts:
            tasks.create_task(write(run))
        await crash_again_and_again(own_server)
        stop.set()
    for run, count in counts.items():
        stored = await bus.read(Stream.JOURNAL, bus.subjects.log(f"r{run}"))
        assert [m.data for m in stored] == [b"%d" % n for n in range(count)]
    assert sum(counts.values()) > 100


async def test_fenced_batches_are_neither_lost_nor_doubled(bus: JetStreamBus, own_server: NatsServer) -> None:
    stop = asyncio.Event()
    stored: set[str] = set()
    doubtful: set[str] = set()

    async def write() -> None:
        number = 0
        while not stop.is_set():
            batch = [Publication(bus.subjects.log(f"r{number + n}"), b"x", 0) for n in range(100)]
            number += 100
            for message, outcome in zip(batch, await bus.publish_many(batch), strict=True):
                assert isinstance(outcome, int | Unanswered)
                (stored if isinstance(outcome, int) else doubtful).add(message.subject)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        await crash_again_and_again(own_server)
        stop.set()
    found = [m.subject for m in await bus.read(Stream.JOURNAL, bus.subjects.journal)]
    assert len(found) == len(set(found))
    assert stored <= set(found) <= stored | doubtful


async def test_pulling_goes_on_and_misses_nothing(bus: JetStreamBus, own_server: NatsServer) -> None:
    stop = asyncio.Event()
    offered = 0
    seen: set[bytes] = set()
    under_way = most = 0

    def handler(item: Item) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        seen.add(item.data)
        asyncio.get_running_loop().call_later(0.002, finish, item)

    def finish(item: Item) -> None:
        nonlocal under_way
        under_way -= 1
        bus.settle(item.token)
        pull.want(1)

    pull = await bus.pull(await bus.ensure_consumer("q", 5), handler)
    pull.want(20)

    async def offer() -> None:
        nonlocal offered
        while not stop.is_set():
            await append(bus, bus.subjects.ready(f"r{offered}", "q", 5), b"%d" % offered, 0)
            offered += 1

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(offer())
        await crash_again_and_again(own_server)
        stop.set()
    await eventually(lambda: len(seen) == offered, patience=10)
    assert most <= 20
    assert offered > 100
    await pull.stop()


async def test_following_has_no_gap_and_nothing_twice(bus: JetStreamBus, own_server: NatsServer) -> None:
    stop = asyncio.Event()
    seqs: list[int] = []

    async def write() -> None:
        number = 0
        while not stop.is_set():
            await bus.publish_many([Publication(bus.subjects.log(f"r{number + n}"), b"x" * 1000, 0) for n in range(50)])
            number += 50

    async def follow() -> None:
        following = bus.follow(Stream.JOURNAL, bus.subjects.journal, first=1, idle=0.5)
        async for batch in following:
            seqs.extend(message.seq for message in batch)
            if not batch and stop.is_set():
                break
        await following.aclose()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        following = tasks.create_task(follow())
        await crash_again_and_again(own_server)
        stop.set()
        await following
    assert seqs == list(range(1, await bus.last_seq(Stream.JOURNAL) + 1))
    assert len(seqs) > 500


async def test_an_idle_follower_still_says_so_while_the_server_is_away(
    bus: JetStreamBus, own_server: NatsServer
) -> None:
    following = bus.follow(Stream.JOURNAL, bus.subjects.journal, first=1, idle=0.05)
    assert await anext(following) == []
    own_server.kill()
    async with asyncio.timeout(2):
        for _ in range(5):
            assert await anext(following) == []
    await asyncio.to_thread(own_server.start)
    await bus.publish(bus.subjects.log("r"), b"x")
    async with asyncio.timeout(5):
        async for batch in following:
            if batch:
                break
    assert [m.data for m in batch] == [b"x"]
    await following.aclose()


async def test_a_stream_that_went_backwards_is_reported(bus: JetStreamBus) -> None:
    await bus.publish_many([Publication(bus.subjects.log("r"), b"") for _ in range(5)])
    following = bus.follow(Stream.JOURNAL, bus.subjects.journal, first=1, idle=0.1)
    assert len(await anext(following)) == 5
    await bus.remove_streams()
    await bus.ensure_streams()
    with pytest.raises(BusError, match="message 5 was read before"):
        async for _ in following:
            pass


async def test_logs_that_went_backwards_are_followed_on(bus: JetStreamBus) -> None:
    subject = bus.subjects.output("t", "r")
    await bus.publish_many([Publication(subject, b"old") for _ in range(5)])
    following = bus.follow(Stream.LOGS, bus.subjects.output("*", "*"), first=1, idle=0.1)
    assert len(await anext(following)) == 5
    await bus.remove_streams()
    await bus.ensure_streams()
    for _ in range(2):  # it has caught up; it has found the stream anew
        assert await anext(following) == []
    await bus.publish(subject, b"new")
    async with asyncio.timeout(5):
        while not (batch := await anext(following)):
            pass
    assert [m.data for m in batch] == [b"new"]
    await following.aclose()


async def test_listeners_and_servers_are_restored_before_it_is_told(bus: JetStreamBus, own_server: NatsServer) -> None:
    heard: list[bytes] = []
    again = asyncio.Event()

    async def echo(data: bytes) -> bytes:
        return data

    await bus.listen(bus.subjects.live("*", "log"), lambda subject, data: heard.append(data))
    await bus.serve(bus.subjects.api("echo"), echo)
    bus.on_reconnect(again.set)
    await own_server.crash()
    async with asyncio.timeout(5):
        await again.wait()
    assert bus.connected
    await bus.publish(bus.subjects.log("r"), b"x")
    assert await bus.request(bus.subjects.api("echo"), b"y") == b"y"
    await eventually(lambda: bool(heard))
    assert heard == [b"x"]


async def test_what_is_published_while_the_server_is_away_waits_for_it(
    bus: JetStreamBus, own_server: NatsServer
) -> None:
    own_server.kill()
    await eventually(lambda: not bus.connected)
    waiting = [
        asyncio.ensure_future(bus.publish(bus.subjects.log("r"), b"x")),
        asyncio.ensure_future(bus.publish_many([Publication(bus.subjects.log("s"), b"x")])),
        asyncio.ensure_future(bus.read(Stream.JOURNAL, bus.subjects.journal)),
        asyncio.ensure_future(bus.last_seq(Stream.JOURNAL)),
    ]
    await asyncio.sleep(0.1)
    await asyncio.to_thread(own_server.start)
    await asyncio.gather(*waiting)
    assert len(await bus.read(Stream.JOURNAL, bus.subjects.journal)) == 2


async def test_what_was_given_up_is_never_stored_later(bus: JetStreamBus, own_server: NatsServer) -> None:
    async with await connect(own_server.url, project="shop", answer_within=0.2) as hasty:
        own_server.kill()
        await eventually(lambda: not hasty.connected)
        hasty.send(hasty.subjects.event("e"), b"x")
        hasty.settle("hf.shop.evt.x")
        with pytest.raises(ConnectError, match="is it up"):
            await hasty.publish(hasty.subjects.log("r"), b"x")
        await asyncio.to_thread(own_server.start)
        await bus.publish(bus.subjects.log("s"), b"x")
        await asyncio.sleep(0.3)
    assert [m.subject for m in await bus.read(Stream.JOURNAL, bus.subjects.journal)] == [bus.subjects.log("s")]
    assert await bus.last_seq(Stream.EVENTS) == 0


async def test_timers_pauses_and_governance_survive(bus: JetStreamBus, own_server: NatsServer) -> None:
    for queue in ("p", "q"):
        await bus.ensure_consumer(queue, 5)
        await bus.ensure_consumer(queue, lane=Lane.GO)
    await bus.pause("q", paused=True)
    await bus.govern("p")
    due = time.time() + 0.3
    await bus.publish_at(bus.subjects.timer("r", "t"), b"x", due=due, target=bus.subjects.inbox("r"))
    await own_server.crash(away=0.4)
    following = bus.follow(Stream.JOURNAL, bus.subjects.inbox("r"), first=1)
    async with asyncio.timeout(5):
        while not await anext(following):
            pass
    await following.aclose()
    still = {state.name: state.paused for state in await bus.consumers()}
    assert still == {"go-p": False, "go-q": True, "ready-p-5": True, "ready-q-5": True}
    assert (await bus.paused(), await bus.governed()) == ({"q"}, {"p"})


async def test_a_consumer_that_is_deleted_and_made_again_is_pulled_again(bus: JetStreamBus) -> None:
    items: list[Item] = []
    name = await bus.ensure_consumer("q", 5)
    pull = await bus.pull(name, items.append)
    pull.want(3)
    await bus._api.call(f"CONSUMER.DELETE.HF_shop.{name}")
    await asyncio.sleep(0.3)
    await bus.ensure_consumer("q", 5)
    await bus.publish(bus.subjects.ready("r", "q", 5), b"x")
    # A request that meets the deletion may be neither kept nor refused: then its silence says so, some heartbeats on.
    await eventually(lambda: bool(items), 5 * HEARTBEAT)


async def test_a_request_under_way_when_the_server_dies_is_unanswered(
    bus: JetStreamBus, own_server: NatsServer
) -> None:
    begun = asyncio.Event()

    async def slow(data: bytes) -> bytes:
        begun.set()
        await asyncio.sleep(0.3)
        return b""

    await bus.serve(bus.subjects.api("x"), slow)
    asked = asyncio.ensure_future(bus.request(bus.subjects.api("x"), b""))
    await begun.wait()
    await own_server.crash()
    with pytest.raises(Unanswered):
        await asked


async def test_many_that_find_no_server_are_given_up_together(bus: JetStreamBus, own_server: NatsServer) -> None:
    async with await connect(own_server.url, project="shop", answer_within=0.2) as hasty:
        batch = [Publication(hasty.subjects.log(f"r{n}"), b"x", 0) for n in range(1000)]
        under_way = asyncio.ensure_future(hasty.publish_many(batch))
        await asyncio.sleep(0)
        own_server.kill()
        async with asyncio.timeout(15):
            outcomes = await under_way
            given_up = await hasty.publish_many(batch)
        assert len(outcomes) == 1000
        assert {type(outcome) for outcome in outcomes} <= {int, Unanswered, ConnectError}
        assert {type(outcome) for outcome in given_up} == {ConnectError}
