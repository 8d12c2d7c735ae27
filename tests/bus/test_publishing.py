"""Storing messages: sequences, compare-and-set, deduplication."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from holdfast.bus.ports import DUPLICATE_WINDOW, EVENTS_DUPLICATE_WINDOW, Bus, Publication
from holdfast.errors import BusError, Fenced, TooLarge
from holdfast.wire import headers
from holdfast.wire.subjects import Stream
from worlds import MemoryWorld, World


async def test_sequences_rise_by_one_from_one(bus: Bus) -> None:
    stored = [await bus.publish(bus.subjects.log(f"r{n}"), b"x") for n in range(5)]
    assert stored == [1, 2, 3, 4, 5]


async def test_streams_count_by_themselves(bus: Bus) -> None:
    assert await bus.publish(bus.subjects.log("r"), b"x") == 1
    assert await bus.publish(bus.subjects.event("paid"), b"x") == 1
    assert await bus.publish(bus.subjects.output("t", "r"), b"x") == 1
    assert await bus.publish(bus.subjects.letter("q", "r"), b"x") == 2


@pytest.mark.parametrize("data", [b"", b"\x00\xff\r\n.\r\n", "ünïcode".encode(), b"x" * 1_500_000])
async def test_bytes_come_back_as_they_were(bus: Bus, data: bytes) -> None:
    subject = bus.subjects.log("r")
    await bus.publish(subject, data)
    assert (await bus.last(Stream.JOURNAL, subject)).data == data
    assert [m.data for m in await bus.read(Stream.JOURNAL, subject)] == [data]


async def test_create_only_succeeds_once(bus: Bus) -> None:
    subject = bus.subjects.log("r")
    seq = await bus.publish(subject, b"mine", expect=0)
    with pytest.raises(Fenced) as refused:
        await bus.publish(subject, b"theirs", expect=0)
    assert (refused.value.subject, refused.value.expected, refused.value.found) == (subject, 0, seq)
    assert [m.data for m in await bus.read(Stream.JOURNAL, subject)] == [b"mine"]


async def test_only_the_subjects_own_last_sequence_is_compared(bus: Bus) -> None:
    mine = await bus.publish(bus.subjects.log("r"), b"1", expect=0)
    await bus.publish(bus.subjects.inbox("r"), b"other subject")
    assert await bus.publish(bus.subjects.log("r"), b"2", expect=mine) == mine + 2


async def test_a_stale_writer_is_fenced_and_told_what_stands(bus: Bus) -> None:
    subject = bus.subjects.log("r")
    first = await bus.publish(subject, b"1", expect=0)
    second = await bus.publish(subject, b"2", expect=first)
    with pytest.raises(Fenced) as refused:
        await bus.publish(subject, b"zombie", expect=first)
    assert refused.value.found == second
    assert await bus.publish(subject, b"3", expect=second) == second + 1


async def test_of_many_writers_with_one_expectation_one_wins(world: World) -> None:
    buses = [await world.bus() for _ in range(3)]
    subject = buses[0].subjects.log("r")
    outcomes = await asyncio.gather(
        *(bus.publish(subject, b"x", expect=0) for bus in buses for _ in range(10)), return_exceptions=True
    )
    assert sum(isinstance(outcome, int) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Fenced) for outcome in outcomes) == 29


async def test_after_deletion_create_only_succeeds_again(bus: Bus) -> None:
    subject = bus.subjects.log("r")
    seq = await bus.publish(subject, b"1", expect=0)
    await bus.delete(Stream.JOURNAL, seq)
    assert await bus.publish(subject, b"2", expect=0) == seq + 1


async def test_a_repeated_id_is_stored_once(bus: Bus) -> None:
    subject = bus.subjects.inbox("r")
    first = await bus.publish(subject, b"told", dedupe="a")
    assert await bus.publish(subject, b"told again", dedupe="a") == first
    assert await bus.publish(subject, b"told", dedupe="b") == first + 1
    assert [m.data for m in await bus.read(Stream.JOURNAL, subject)] == [b"told", b"told"]


async def test_a_stream_knows_repetitions_for_its_window() -> None:
    world = MemoryWorld()
    bus = await world.bus()
    subjects = (bus.subjects.inbox("r"), bus.subjects.event("orders.created"))

    async def tell() -> list[int]:
        return [await bus.publish(subject, b"x", dedupe="a") for subject in subjects]

    assert await tell() == [1, 1]
    await world.elapse(DUPLICATE_WINDOW - 1)
    assert await tell() == [1, 1]
    await world.elapse(2)
    assert await tell() == [2, 1]
    await world.elapse(EVENTS_DUPLICATE_WINDOW - DUPLICATE_WINDOW)
    assert await tell() == [3, 2]


@pytest.mark.parametrize("dedupe", ["", "a\r\nNats-Rollup: all", " a"])
async def test_an_id_that_would_break_a_header_is_refused(bus: Bus, dedupe: str) -> None:
    with pytest.raises(BusError, match="dedupe"):
        await bus.publish(bus.subjects.inbox("r"), b"", dedupe=dedupe)


@pytest.mark.parametrize("tail", ["", "a b", "a\r\nPUB x 0", "*.log", ">", "a..log", ".log", "a."])
async def test_a_subject_that_is_none_is_refused(bus: Bus, tail: str) -> None:
    with pytest.raises(BusError, match="expected a subject"):
        await bus.publish(f"{bus.subjects.root}.j.{tail}", b"")


async def test_a_subject_without_a_stream_is_refused(bus: Bus) -> None:
    with pytest.raises(BusError, match="no stream takes"):
        await bus.publish(f"{bus.subjects.root}.nowhere", b"")


async def test_too_much_is_refused_before_it_is_sent(bus: Bus) -> None:
    with pytest.raises(BusError, match="the server takes"):
        await bus.publish(bus.subjects.log("r"), bytes((8 << 20) + 1))
    assert await bus.publish(bus.subjects.log("r"), b"small") == 1


async def test_many_are_answered_in_order_each_for_itself(bus: Bus) -> None:
    taken = await bus.publish(bus.subjects.log("taken"), b"x")
    outcomes = await bus.publish_many(
        [
            Publication(bus.subjects.log("a"), b"1", 0),
            Publication(bus.subjects.log("taken"), b"2", 0),
            Publication(bus.subjects.log("a"), b"3"),
            Publication(bus.subjects.log("taken"), b"4", taken),
        ]
    )
    assert isinstance(outcomes[1], Fenced)
    assert [outcomes[0], *outcomes[2:]] == [taken + 1, taken + 2, taken + 3]
    assert [m.data for m in await bus.read(Stream.JOURNAL, bus.subjects.journal)] == [b"x", b"1", b"3", b"4"]


async def test_thousands_are_stored_in_order(bus: Bus) -> None:
    outcomes = await bus.publish_many([Publication(bus.subjects.log(f"r{n}"), b"%d" % n) for n in range(3000)])
    assert outcomes == list(range(1, 3001))
    assert [m.data for m in await bus.read(Stream.JOURNAL, bus.subjects.journal)] == [b"%d" % n for n in range(3000)]


async def test_none_are_none(bus: Bus) -> None:
    assert await bus.publish_many([]) == []


async def test_one_of_many_that_cannot_be_sent_harms_no_other(bus: Bus) -> None:
    outcomes = await bus.publish_many(
        [
            Publication(bus.subjects.log("a"), b"1"),
            Publication("no subject", b""),
            Publication(bus.subjects.log("b"), bytes((8 << 20) + 1)),
            Publication(f"{bus.subjects.root}.nowhere", b""),
            Publication(bus.subjects.log("c"), b"2"),
        ]
    )
    assert [type(outcome) for outcome in outcomes] == [int, BusError, TooLarge, BusError, int]


# --- headers


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("dedupe", [None, "order-1"])
async def test_headers_come_back_however_the_message_is_read(bus: Bus, dedupe: str | None) -> None:
    subject, given = bus.subjects.event("paid"), {"traceparent": TRACE, "X-Shop": "ü, and: more"}
    seq = await bus.publish(subject, b"x", headers=given, dedupe=dedupe)
    expected = given if dedupe is None else {"Nats-Msg-Id": dedupe, **given}
    last = await bus.last(Stream.EVENTS, subject)
    (read,) = await bus.read(Stream.EVENTS, ">")
    async with aclosing(bus.follow(Stream.EVENTS, ">", first=seq)) as news:
        (followed,) = await anext(news)
    for found in (last, read, followed):
        assert found is not None
        assert headers.parse(found.headers) == expected
        assert found.data == b"x"


async def test_a_message_without_headers_has_none(bus: Bus) -> None:
    subject = bus.subjects.event("paid")
    await bus.publish(subject, b"x")
    (read,) = await bus.read(Stream.EVENTS, ">")
    last = await bus.last(Stream.EVENTS, subject)
    assert last is not None
    assert headers.parse(read.headers) == headers.parse(last.headers) == {}


async def test_headers_go_with_what_is_expected(bus: Bus) -> None:
    subject = bus.subjects.event("paid")
    await bus.publish(subject, b"x", expect=0, headers={"X-Shop": "eu"})
    with pytest.raises(Fenced):
        await bus.publish(subject, b"x", expect=0, headers={"X-Shop": "eu"})
    (read,) = await bus.read(Stream.EVENTS, ">")
    assert headers.parse(read.headers)["X-Shop"] == "eu"


async def test_each_of_many_has_its_own_headers(bus: Bus) -> None:
    await bus.publish_many(
        [Publication(bus.subjects.event(f"e{n}"), b"", headers={"X-Number": str(n)} if n else None) for n in range(3)]
    )
    found = [headers.parse(message.headers).get("X-Number") for message in await bus.read(Stream.EVENTS, ">")]
    assert found == [None, "1", "2"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Nats-Rollup", "all"),
        ("nats-msg-id", "1"),
        ("X-Shop", "eu\r\nNats-Rollup: all"),
        ("X-Shop", " eu"),
        ("X Shop", "eu"),
        ("X-Shop:", "eu"),
        ("", "eu"),
    ],
)
async def test_a_header_that_is_the_servers_or_none_is_refused(bus: Bus, name: str, value: str) -> None:
    with pytest.raises(BusError, match="header"):
        await bus.publish(bus.subjects.event("paid"), b"", headers={name: value})
    assert await bus.last_seq(Stream.EVENTS) == 0
