"""Work items: who gets them, how many, and when again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest

from holdfast.bus.ports import Bus, ConsumerState, Item, Publication
from holdfast.errors import BusError
from holdfast.wire.subjects import Lane, Stream
from worlds import ACK_WAIT, World

Offer: TypeAlias = Callable[..., Awaitable[int]]


async def offer(bus: Bus, count: int, queue: str = "q", priority: int = 5, name: str = "r") -> None:
    outcomes = await bus.publish_many(
        [Publication(bus.subjects.ready(f"{name}{n}", queue, priority), b"%d" % n) for n in range(count)]
    )
    assert all(isinstance(outcome, int) for outcome in outcomes)


async def test_nothing_comes_before_it_is_wanted(world: World, bus: Bus) -> None:
    await offer(bus, 3)
    items: list[Item] = []
    await bus.pull(await bus.ensure_consumer("q", 5), items.append)
    await world.quiet()
    assert items == []


async def test_an_item_carries_what_was_stored(world: World, bus: Bus) -> None:
    items: list[Item] = []
    pull = await bus.pull(await bus.ensure_consumer("q", 5), items.append)
    pull.want(1)
    seq = await bus.publish(bus.subjects.ready("r", "q", 5), b"payload")
    await world.until(lambda: len(items) == 1)
    item = items[0]
    stored = await bus.last(Stream.JOURNAL, item.subject)
    assert stored is not None
    assert (item.subject, item.data, item.seq, item.time) == stored[:4]
    assert (item.seq, item.deliveries) == (seq, 1)
    assert item.token


async def test_never_more_come_than_are_wanted(world: World, bus: Bus) -> None:
    await offer(bus, 20)
    items: list[Item] = []
    pull = await bus.pull(await bus.ensure_consumer("q", 5), items.append)
    wanted = 0
    for count in (1, 3, 2, 5):
        pull.want(count)
        wanted += count
        await world.until(lambda: len(items) >= wanted)  # noqa: B023
        await world.quiet()
        assert len(items) == wanted
    assert [item.data for item in items] == [b"%d" % n for n in range(11)]


async def test_what_is_wanted_comes_when_it_is_there(world: World, bus: Bus) -> None:
    items: list[Item] = []
    pull = await bus.pull(await bus.ensure_consumer("q", 5), items.append)
    pull.want(2)
    pull.want(2)
    await offer(bus, 3)
    await world.until(lambda: len(items) == 3)
    await offer(bus, 3)
    await world.until(lambda: len(items) == 4)
    await world.quiet()
    assert len(items) == 4


async def test_only_items_of_its_queue_and_priority_come(world: World, bus: Bus) -> None:
    items: list[Item] = []
    pull = await bus.pull(await bus.ensure_consumer("q", 5), items.append)
    pull.want(100)
    await offer(bus, 1, "other", 5)
    await offer(bus, 1, "q", 9)
    await bus.publish(bus.subjects.log("r"), b"")
    await offer(bus, 1, "q", 5)
    await world.until(lambda: len(items) == 1)
    await world.quiet()
    assert [item.subject for item in items] == [bus.subjects.ready("r0", "q", 5)]


async def test_a_consumer_made_late_has_what_stood_before(world: World, bus: Bus) -> None:
    await offer(bus, 2)
    items: list[Item] = []
    (await bus.pull(await bus.ensure_consumer("q", 5), items.append)).want(5)
    await world.until(lambda: len(items) == 2)


async def test_a_settled_item_never_comes_again(world: World, bus: Bus) -> None:
    items: list[Item] = []
    pull = await bus.pull(await bus.ensure_consumer("q", 5), items.append)
    pull.want(5)
    await offer(bus, 1)
    await world.until(lambda: len(items) == 1)
    bus.settle(items[0].token)
    await world.elapse(ACK_WAIT + 0.2)
    assert len(items) == 1
    assert await bus.consumers() == [ConsumerState("ready-q-5", 0, 0, False)]


async def test_an_item_released_for_later_comes_then_and_not_before(world: World, bus: Bus) -> None:
    items: list[Item] = []
    pull = await bus.pull(await bus.ensure_consumer("q", 5), items.append)
    pull.want(5)
    await offer(bus, 1)
    await world.until(lambda: len(items) == 1)
    bus.release(items[0].token, after=0.4)
    await world.quiet()
    assert len(items) == 1
    await world.elapse(0.4)
    await world.until(lambda: len(items) == 2)
    assert items[1].deliveries == 2


async def test_a_released_item_comes_again_at_once_and_counts(world: World, bus: Bus) -> None:
    items: list[Item] = []
    pull = await bus.pull(await bus.ensure_consumer("q", 5), items.append)
    pull.want(5)
    await offer(bus, 1)
    await world.until(lambda: len(items) == 1)
    bus.release(items[0].token)
    await world.until(lambda: len(items) == 2)
    assert [(item.seq, item.deliveries) for item in items] == [(1, 1), (1, 2)]


async def test_an_item_left_alone_comes_again_after_the_ack_wait(world: World, bus: Bus) -> None:
    items: list[Item] = []
    pull = await bus.pull(await bus.ensure_consumer("q", 5), items.append)
    pull.want(5)
    await offer(bus, 1)
    await world.until(lambda: len(items) == 1)
    await world.elapse(ACK_WAIT)
    await world.until(lambda: len(items) == 2)
    assert items[1].deliveries == 2


async def test_an_extended_item_does_not_come_again(world: World, bus: Bus) -> None:
    items: list[Item] = []
    pull = await bus.pull(await bus.ensure_consumer("q", 5), items.append)
    pull.want(5)
    await offer(bus, 1)
    await world.until(lambda: len(items) == 1)
    for _ in range(2):
        await world.elapse(ACK_WAIT * 0.4)
        bus.extend(items[0].token)
    assert len(items) == 1


async def test_any_client_may_settle(world: World, bus: Bus) -> None:
    items: list[Item] = []
    (await bus.pull(await bus.ensure_consumer("q", 5), items.append)).want(5)
    await offer(bus, 1)
    await world.until(lambda: len(items) == 1)
    other = await world.bus()
    other.settle(items[0].token)
    await world.quiet()
    assert (await bus.consumers())[0].delivered == 0


async def test_a_stale_token_settles_the_item_of_whoever_has_it_now(world: World, bus: Bus) -> None:
    """Acknowledgements do not fence: only the journal does."""
    items: list[Item] = []
    (await bus.pull(await bus.ensure_consumer("q", 5), items.append)).want(5)
    await offer(bus, 1)
    await world.until(lambda: len(items) == 1)
    bus.release(items[0].token)
    await world.until(lambda: len(items) == 2)
    bus.settle(items[0].token)
    await world.quiet()
    assert (await bus.consumers())[0].delivered == 0
    bus.settle(items[1].token)
    bus.release(items[1].token)
    await world.quiet()
    assert len(items) == 2


async def test_tokens_that_mean_nothing_do_nothing(world: World, bus: Bus) -> None:
    items: list[Item] = []
    name = await bus.ensure_consumer("q", 5)
    (await bus.pull(name, items.append)).want(5)
    await offer(bus, 1)
    await world.until(lambda: len(items) == 1)
    head, seq = items[0].token, str(items[0].seq)
    for token in (head.replace(name, "ready-gone-1"), head.replace(seq, "999")):
        bus.settle(token)
        bus.release(token)
        bus.extend(token)
    await world.quiet()
    assert await bus.consumers() == [ConsumerState(name, 0, 1, False)]


async def test_two_pullers_share_the_items(world: World) -> None:
    first, second = await world.bus(), await world.bus()
    name = await first.ensure_consumer("q", 5)
    mine: list[Item] = []
    theirs: list[Item] = []
    (await first.pull(name, mine.append)).want(10)
    (await second.pull(name, theirs.append)).want(10)
    await world.quiet()
    await offer(first, 20)
    await world.until(lambda: len(mine) + len(theirs) == 20)
    assert len(mine) == len(theirs) == 10
    assert len({item.seq for item in mine + theirs}) == 20


async def test_a_stopped_puller_gets_nothing_more(world: World, bus: Bus) -> None:
    stopped: list[Item] = []
    items: list[Item] = []
    name = await bus.ensure_consumer("q", 5)
    pull = await bus.pull(name, stopped.append)
    pull.want(5)
    await pull.stop()
    await pull.stop()
    pull.want(5)
    await offer(bus, 2)
    (await bus.pull(name, items.append)).want(2)
    await world.until(lambda: len(items) == 2)
    assert stopped == []


async def test_stopping_loses_no_item(world: World, bus: Bus) -> None:
    await offer(bus, 400)
    name = await bus.ensure_consumer("q", 5)
    items: list[Item] = []
    pull = await bus.pull(name, items.append)
    pull.want(400)
    await world.until(lambda: len(items) > 0)
    await pull.stop()
    had = len(items)
    rest: list[Item] = []
    (await bus.pull(name, rest.append)).want(400)
    await world.until(lambda: had + len(rest) == 400)
    assert len(items) == had
    assert {item.seq for item in items + rest} == set(range(1, 401))


async def test_a_handler_that_raises_loses_no_item(world: World, bus: Bus) -> None:
    items: list[Item] = []

    def handler(item: Item) -> None:
        items.append(item)
        if len(items) == 1:
            raise RuntimeError("a bug")

    (await bus.pull(await bus.ensure_consumer("q", 5), handler)).want(3)
    await offer(bus, 1)
    await world.until(lambda: len(items) == 2)
    assert items[1].deliveries == 2


async def test_a_deleted_item_does_not_come(world: World, bus: Bus) -> None:
    await offer(bus, 3)
    items: list[Item] = []
    name = await bus.ensure_consumer("q", 5)
    await bus.delete(Stream.JOURNAL, 2)
    (await bus.pull(name, items.append)).want(3)
    await world.until(lambda: len(items) == 2)
    await world.quiet()
    assert [item.seq for item in items] == [1, 3]


async def test_an_item_that_is_deleted_after_its_delivery_comes_no_more(world: World, bus: Bus) -> None:
    items: list[Item] = []
    (await bus.pull(await bus.ensure_consumer("q", 5), items.append)).want(9)
    await offer(bus, 1)
    await world.until(lambda: len(items) == 1)
    await bus.delete(Stream.JOURNAL, items[0].seq)
    bus.release(items[0].token)
    await offer(bus, 1, name="s")
    await world.until(lambda: len(items) == 2)
    assert [item.seq for item in items] == [1, 2]
    assert await bus.consumers() == [ConsumerState("ready-q-5", 0, 1, False)]


@pytest.mark.parametrize(
    ("lane", "name", "tail"),
    [
        (Lane.READY, "ready-q-5", "r.ready.q.5"),
        (Lane.AGAIN, "again-q-5", "r.again.q.5"),
        (Lane.GO, "go-q", "r.go.q"),
    ],
)
async def test_each_lane_of_a_queue_is_a_consumer_of_its_own(
    world: World, bus: Bus, lane: Lane, name: str, tail: str
) -> None:
    items: list[Item] = []
    assert await bus.ensure_consumer("q", 5, lane=lane) == name
    (await bus.pull(name, items.append)).want(9)
    for each in (bus.subjects.ready("r", "q", 5), bus.subjects.again("r", "q", 5), bus.subjects.go("r", "q")):
        await bus.publish(each, b"x")
    await world.until(lambda: len(items) == 1)
    await world.quiet()
    assert [item.subject for item in items] == [f"{bus.subjects.root}.j.{tail}"]


async def test_a_governed_queue_delivers_only_what_was_admitted(world: World, bus: Bus) -> None:
    items: list[Item] = []
    for lane in (Lane.READY, Lane.GO):
        (await bus.pull(await bus.ensure_consumer("q", 5, lane=lane), items.append)).want(9)
    await bus.govern("q")
    await bus.govern("q")
    (await bus.pull(await bus.ensure_consumer("q", 5, lane=Lane.AGAIN), items.append)).want(9)  # made later
    for subject in (bus.subjects.ready("r", "q", 5), bus.subjects.again("r", "q", 5), bus.subjects.ready("r", "p", 5)):
        await bus.publish(subject, b"x")
    admitted = await bus.publish(bus.subjects.go("r", "q"), b"x")
    await world.until(lambda: len(items) == 1)
    await world.quiet()
    assert [item.seq for item in items] == [admitted]
    assert await bus.governed() == {"q"}


async def test_a_governed_queue_that_was_paused_is_resumed_as_a_governed_one(world: World, bus: Bus) -> None:
    items: list[Item] = []
    for lane in (Lane.READY, Lane.GO):
        (await bus.pull(await bus.ensure_consumer("q", 5, lane=lane), items.append)).want(9)
    await bus.govern("q")
    await bus.pause("q", paused=True)
    assert await bus.paused() == {"q"}
    await bus.publish(bus.subjects.ready("r", "q", 5), b"x")
    admitted = await bus.publish(bus.subjects.go("r", "q"), b"x")
    await world.quiet()
    assert items == []
    await bus.pause("q", paused=False)
    assert await bus.paused() == frozenset()
    await world.until(lambda: len(items) == 1)
    await world.quiet()
    assert [item.seq for item in items] == [admitted]


async def test_ensuring_again_changes_nothing(world: World, bus: Bus) -> None:
    await offer(bus, 2)
    items: list[Item] = []
    (await bus.pull(await bus.ensure_consumer("q", 5), items.append)).want(1)
    await world.until(lambda: len(items) == 1)
    assert await bus.ensure_consumer("q", 5) == "ready-q-5"
    assert await bus.consumers() == [ConsumerState("ready-q-5", 1, 1, False)]


async def test_a_paused_queue_delivers_nothing_until_it_is_resumed(world: World, bus: Bus) -> None:
    items: list[Item] = []
    pulls = [await bus.pull(await bus.ensure_consumer("q", priority), items.append) for priority in (5, 9)]
    for pull in pulls:
        pull.want(10)
    await bus.pause("q", paused=True)
    await bus.pause("q", paused=True)
    await offer(bus, 1, "q", 5)
    await offer(bus, 1, "q", 9)
    await world.quiet()
    assert items == []
    assert [state.paused for state in await bus.consumers()] == [True, True]
    await bus.ensure_consumer("q", 5)
    await world.quiet()
    assert items == []
    await bus.pause("q", paused=False)
    await bus.pause("q", paused=False)
    await world.until(lambda: len(items) == 2)
    assert [item.deliveries for item in items] == [1, 1]
    assert [state.paused for state in await bus.consumers()] == [False, False]


async def test_a_pause_holds_for_consumers_made_later_and_for_no_other_queue(world: World, bus: Bus) -> None:
    await bus.pause("q", paused=True)
    items: list[Item] = []
    for queue in ("q", "q-2", "other"):
        await offer(bus, 1, queue)
        (await bus.pull(await bus.ensure_consumer(queue, 5), items.append)).want(1)
    await world.until(lambda: len(items) == 2)
    await world.quiet()
    assert {item.subject.split(".")[-2] for item in items} == {"q-2", "other"}
    await bus.pause("q", paused=False)
    await world.until(lambda: len(items) == 3)


async def test_an_item_of_a_paused_queue_may_be_settled(world: World, bus: Bus) -> None:
    items: list[Item] = []
    (await bus.pull(await bus.ensure_consumer("q", 5), items.append)).want(10)
    await offer(bus, 1)
    await world.until(lambda: len(items) == 1)
    await bus.pause("q", paused=True)
    bus.settle(items[0].token)
    await world.quiet()
    assert (await bus.consumers())[0].delivered == 0


async def test_thousands_of_items_come_once_each(world: World, bus: Bus) -> None:
    await offer(bus, 3000)
    seqs: list[int] = []

    def handler(item: Item) -> None:
        seqs.append(item.seq)
        bus.settle(item.token)
        pull.want(1)

    pull = await bus.pull(await bus.ensure_consumer("q", 5), handler)
    pull.want(50)
    await world.until(lambda: len(seqs) >= 3000)
    await world.quiet()
    assert seqs == list(range(1, 3001))


async def test_no_consumers_are_none(bus: Bus) -> None:
    assert await bus.consumers() == []


async def test_a_consumer_must_be_made_before_it_is_pulled(bus: Bus) -> None:
    with pytest.raises(BusError, match="ensure it first"):
        await bus.pull("ready-nobody-5", lambda item: None)
