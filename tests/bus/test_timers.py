"""Messages that the server stores later."""

from __future__ import annotations

import pytest

from holdfast.bus.ports import Bus, Item, Publication, Timer
from holdfast.errors import BusError
from holdfast.wire.subjects import Stream
from worlds import World


async def test_a_timer_stores_its_data_on_its_target_and_is_gone(world: World, bus: Bus) -> None:
    timer, target = bus.subjects.timer("r", "retry"), bus.subjects.ready("r", "q", 5)
    due = world.now() + 0.6
    seq = await bus.publish_at(timer, b"item", due=due, target=target)
    assert (await bus.last(Stream.JOURNAL, timer)).seq == seq
    assert await bus.last(Stream.JOURNAL, target) is None
    await world.elapse(0.6)
    fired = await bus.last(Stream.JOURNAL, target)
    assert fired.data == b"item"
    assert fired.time >= due
    assert await bus.last(Stream.JOURNAL, timer) is None


async def test_a_later_timer_replaces_an_earlier_one(world: World, bus: Bus) -> None:
    timer, target = bus.subjects.timer("r", "t"), bus.subjects.inbox("r")
    await bus.publish_at(timer, b"early", due=world.now() + 0.5, target=target)
    await bus.publish_at(timer, b"late", due=world.now() + 0.9, target=target)
    await world.elapse(1.0)
    assert [m.data for m in await bus.read(Stream.JOURNAL, target)] == [b"late"]
    assert await bus.read(Stream.JOURNAL, timer) == []


async def test_a_timer_of_the_past_fires_at_once(world: World, bus: Bus) -> None:
    target = bus.subjects.inbox("r")
    await bus.publish_at(bus.subjects.timer("r", "t"), b"x", due=world.now() - 100, target=target)
    await world.elapse(0.0)
    assert (await bus.last(Stream.JOURNAL, target)).data == b"x"


async def test_a_purged_timer_never_fires(world: World, bus: Bus) -> None:
    target = bus.subjects.inbox("r")
    await bus.publish_at(bus.subjects.timer("r", "a"), b"x", due=world.now() + 0.4, target=target)
    seq = await bus.publish_at(bus.subjects.timer("r", "b"), b"x", due=world.now() + 0.4, target=target)
    assert await bus.purge(Stream.JOURNAL, bus.subjects.timer("r", "a")) == 1
    assert await bus.delete(Stream.JOURNAL, seq)
    await world.elapse(0.4)
    assert await bus.last(Stream.JOURNAL, target) is None


async def test_what_a_timer_stores_is_pulled_followed_and_live(world: World, bus: Bus) -> None:
    heard: list[tuple[str, bytes]] = []
    items: list[Item] = []
    await bus.listen(bus.subjects.live("*", ">"), lambda subject, data: heard.append((subject, data)))
    pull = await bus.pull(await bus.ensure_consumer("q", 5), items.append)
    pull.want(1)
    due = world.now() + 0.3
    await bus.publish_at(bus.subjects.timer("r", "a"), b"item", due=due, target=bus.subjects.ready("r", "q", 5))
    await bus.publish_at(bus.subjects.timer("r", "b"), b"told", due=due, target=bus.subjects.inbox("r"))
    await world.elapse(0.3)
    await world.until(lambda: bool(items and heard))
    assert [(item.subject, item.data, item.deliveries) for item in items] == [
        (bus.subjects.ready("r", "q", 5), b"item", 1)
    ]
    assert heard == [(bus.subjects.live("r", "in"), b"told")]
    following = bus.follow(Stream.JOURNAL, bus.subjects.journal, first=1)
    assert {m.data for m in await anext(following)} == {b"item", b"told"}
    await following.aclose()


async def test_a_target_in_another_stream_is_refused(world: World, bus: Bus) -> None:
    with pytest.raises(BusError):
        await bus.publish_at(
            bus.subjects.timer("r", "t"), b"", due=world.now() + 1, target=bus.subjects.event("elsewhere")
        )


@pytest.mark.parametrize("years", [1000.0, float("inf")])
async def test_a_timer_may_be_due_when_nobody_waits_any_more(world: World, bus: Bus, years: float) -> None:
    timer = bus.subjects.timer("r", "t")
    await bus.publish_at(timer, b"", due=world.now() + years * 365 * 86400, target=bus.subjects.inbox("r"))
    await world.elapse(0.0)
    assert await bus.last(Stream.JOURNAL, timer) is not None


async def test_timers_of_a_batch_are_those_of_one_by_one(world: World, bus: Bus) -> None:
    ready, due = bus.subjects.ready, world.now() + 0.6
    batch = [
        Publication(bus.subjects.timer(run, "t"), run.encode(), timer=Timer(due, ready(run, "q", 5)))
        for run in ("a", "b", "a")
    ]
    batch.insert(1, Publication(bus.subjects.timer("c", "t"), b"c", timer=Timer(due, "elsewhere")))
    batch.insert(2, Publication(bus.subjects.log("d"), b"d", 0))
    outcomes = await bus.publish_many(batch)
    assert [type(outcome).__name__ for outcome in outcomes] == ["int", "BusError", "int", "int", "int"]
    assert outcomes[0] < outcomes[2] < outcomes[3] < outcomes[4]
    assert len(await bus.read(Stream.JOURNAL, bus.subjects.timer("*", "t"))) == 2
    await world.elapse(0.6)
    fired = await bus.read(Stream.JOURNAL, ready("*", "q", 5))
    assert sorted(message.data for message in fired) == [b"a", b"b"]
    assert all(message.time >= due for message in fired)
