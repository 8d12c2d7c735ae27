"""Events read back from the stream: newest first, by name and time, page by page, on both buses."""

from __future__ import annotations

import pytest

from holdfast.errors import Refused
from holdfast.wire.events import EventsQuery
from stage import Stage


async def publish(stage: Stage, *names: str) -> list[int]:
    bus = stage.client.bus
    return [await bus.publish(bus.subjects.event(name), b'{"n": %d}' % at) for at, name in enumerate(names)]


async def test_pages_follow_each_other_newest_first_and_the_last_one_says_so(stage: Stage) -> None:
    seqs = await publish(stage, *["orders.paid", "orders.sent", "users.new"] * 4)
    query, found = EventsQuery(subject="orders.*", limit=3), list[int]()
    while True:
        page = await stage.client.events(query)
        assert len(page.events) <= 3
        found += [event.seq for event in page.events]
        if not page.more:
            break
        query = EventsQuery(subject="orders.*", limit=3, before=page.before)
    assert found == [seq for at, seq in enumerate(seqs) if at % 3 != 2][::-1]


async def test_an_event_is_told_with_its_headers_and_as_much_of_its_data_as_is_asked_for(stage: Stage) -> None:
    bus = stage.client.bus
    seq = await bus.publish(bus.subjects.event("orders.paid"), b"x" * 100, headers={"Sent-By": "till 7"})
    (event,) = (await stage.client.events(EventsQuery(most=10))).events
    assert (event.seq, event.name, event.size, event.data) == (seq, "orders.paid", 100, b"x" * 10)
    assert event.headers["Sent-By"] == "till 7"
    whole = await stage.client.event(seq)
    assert whole is not None
    assert whole.data == b"x" * 100
    assert await stage.client.event(seq + 1) is None


async def test_times_part_what_was_before_from_what_came_after(stage: Stage) -> None:
    await publish(stage, "a", "b")
    (newest, _) = (await stage.client.events()).events
    assert [event.name for event in (await stage.client.events(EventsQuery(until=newest.at))).events] == ["a"]
    since = await stage.client.events(EventsQuery(since=newest.at))
    assert "b" in [event.name for event in since.events]
    assert (await stage.client.events(EventsQuery(since=newest.at + 60))).events == ()


async def test_where_there_is_nothing_the_page_is_empty_and_the_last(stage: Stage) -> None:
    page = await stage.client.events()
    assert (page.events, page.more) == ((), False)


@pytest.mark.parametrize("query", [EventsQuery(subject="a b"), EventsQuery(limit=0), EventsQuery(limit=1001)])
async def test_what_makes_no_sense_is_refused(stage: Stage, query: EventsQuery) -> None:
    with pytest.raises(Refused, match="expected"):
        await stage.client.events(query)
