"""Reading what a stream holds, deleting from it, and control values."""

from __future__ import annotations

import pytest

from holdfast.bus.ports import Bus, Publication
from holdfast.errors import BusError
from holdfast.wire.subjects import Stream
from worlds import World


async def test_a_run_is_read_whole_and_in_order(world: World, bus: Bus) -> None:
    subjects = bus.subjects
    before = world.now()
    await bus.publish(subjects.log("other"), b"no")
    first = await bus.publish(subjects.ready("r", "q", 5), b"1")
    await bus.publish(subjects.log("other"), b"no")
    await bus.publish(subjects.log("r"), b"2")
    await bus.publish(subjects.inbox("r"), b"3")
    found = await bus.read(Stream.JOURNAL, subjects.of_run("r"), first=first)
    assert [(m.subject, m.data, m.seq) for m in found] == [
        (subjects.ready("r", "q", 5), b"1", 2),
        (subjects.log("r"), b"2", 4),
        (subjects.inbox("r"), b"3", 5),
    ]
    assert before - 1 < found[0].time <= found[-1].time < world.now() + 1


async def test_reading_begins_and_ends_where_it_is_told(bus: Bus) -> None:
    await bus.publish_many([Publication(bus.subjects.log(f"r{n}"), b"") for n in range(10)])
    read = [m.seq for m in await bus.read(Stream.JOURNAL, bus.subjects.journal, first=4, limit=3)]
    assert read == [4, 5, 6]
    assert await bus.read(Stream.JOURNAL, bus.subjects.journal, first=11) == []
    assert await bus.read(Stream.JOURNAL, bus.subjects.journal, first=1000) == []
    assert len(await bus.read(Stream.JOURNAL, bus.subjects.journal, first=0)) == 10
    assert await bus.read(Stream.JOURNAL, bus.subjects.journal, limit=0) == []


async def test_an_empty_stream_holds_nothing(bus: Bus) -> None:
    assert await bus.read(Stream.EVENTS, bus.subjects.events) == []
    assert await bus.latest(Stream.EVENTS, bus.subjects.events) == []
    assert await bus.last(Stream.EVENTS, bus.subjects.event("x")) is None
    assert await bus.last_seq(Stream.EVENTS) == 0


async def test_last_is_the_last(bus: Bus) -> None:
    subject = bus.subjects.log("r")
    await bus.publish(subject, b"1")
    seq = await bus.publish(subject, b"2")
    last = await bus.last(Stream.JOURNAL, subject)
    assert (last.subject, last.data, last.seq) == (subject, b"2", seq)
    assert last == (await bus.read(Stream.JOURNAL, subject))[-1]
    assert await bus.last(Stream.JOURNAL, bus.subjects.log("nobody")) is None


async def test_last_takes_no_wildcard(bus: Bus) -> None:
    with pytest.raises(BusError, match="expected a subject"):
        await bus.last(Stream.JOURNAL, bus.subjects.journal)


async def test_latest_has_one_of_each_subject_by_sequence(bus: Bus) -> None:
    for run, data in (("a", b"1"), ("b", b"2"), ("a", b"3"), ("c", b"4")):
        await bus.publish(bus.subjects.log(run), data)
    assert [m.data for m in await bus.latest(Stream.JOURNAL, f"{bus.subjects.root}.j.*.log")] == [b"2", b"3", b"4"]


async def test_latest_of_more_subjects_than_the_server_answers_for_at_once(bus: Bus) -> None:
    await bus.publish_many([Publication(bus.subjects.log(f"r{n}"), b"old") for n in range(1100)])
    await bus.publish_many([Publication(bus.subjects.log(f"r{n}"), b"new") for n in range(1100)])
    latest = await bus.latest(Stream.JOURNAL, bus.subjects.journal)
    assert [m.seq for m in latest] == list(range(1101, 2201))


async def test_a_read_is_as_long_as_the_stream(bus: Bus) -> None:
    subject = bus.subjects.log("r")
    await bus.publish_many([Publication(subject, b"x" * 40_000) for _ in range(2500)])  # 100 MB: more than one answer
    assert [m.seq for m in await bus.read(Stream.JOURNAL, subject)] == list(range(1, 2501))


async def test_sequences_are_never_given_out_again(bus: Bus) -> None:
    subject = bus.subjects.log("r")
    for _ in range(3):
        seq = await bus.publish(subject, b"")
    assert await bus.last_seq(Stream.JOURNAL) == 3
    assert await bus.delete(Stream.JOURNAL, seq)
    assert await bus.last_seq(Stream.JOURNAL) == 3
    assert await bus.publish(subject, b"") == 4


async def test_a_time_names_the_first_message_from_then_on(world: World, bus: Bus) -> None:
    for n in range(3):
        await bus.publish(bus.subjects.event(f"e{n}"), b"")
        await world.elapse(1)
    first, second, third = await bus.read(Stream.EVENTS, ">")
    for found in (first, second, third):
        assert await bus.first_since(Stream.EVENTS, found.time) == found.seq, "its own time counts"
    assert await bus.first_since(Stream.EVENTS, first.time + 0.5) == second.seq
    assert await bus.first_since(Stream.EVENTS, second.time - 0.5) == second.seq
    assert await bus.first_since(Stream.EVENTS, first.time - 3600) == first.seq
    assert await bus.first_since(Stream.EVENTS, 0.0) == first.seq


async def test_a_time_after_the_last_message_names_the_one_to_come(world: World, bus: Bus) -> None:
    assert await bus.first_since(Stream.EVENTS, world.now()) == 1
    await bus.publish(bus.subjects.event("e"), b"")
    assert await bus.first_since(Stream.EVENTS, world.now() + 3600) == 2


async def test_a_time_whose_messages_are_gone_names_what_came_behind_them(world: World, bus: Bus) -> None:
    await bus.publish(bus.subjects.log("r"), b"")
    await world.elapse(1)
    gone = await bus.publish(bus.subjects.log("r"), b"")
    (_, then) = await bus.read(Stream.JOURNAL, bus.subjects.journal)
    await world.elapse(1)
    await bus.publish(bus.subjects.log("r"), b"")
    await bus.delete(Stream.JOURNAL, gone)
    assert await bus.first_since(Stream.JOURNAL, then.time) == 3


async def test_deleting_says_whether_it_was_there(bus: Bus) -> None:
    await bus.publish(bus.subjects.log("r"), b"1")
    await bus.publish(bus.subjects.log("r"), b"2")
    assert await bus.delete(Stream.JOURNAL, 1) is True
    assert await bus.delete(Stream.JOURNAL, 1) is False
    assert await bus.delete(Stream.JOURNAL, 99) is False
    assert [m.data for m in await bus.read(Stream.JOURNAL, bus.subjects.journal)] == [b"2"]


async def test_purging_removes_what_matches_and_counts_it(bus: Bus) -> None:
    for run in ("a", "b", "a"):
        await bus.publish(bus.subjects.log(run), b"")
    assert await bus.purge(Stream.JOURNAL, bus.subjects.of_run("a")) == 2
    assert await bus.purge(Stream.JOURNAL, bus.subjects.of_run("a")) == 0
    assert [m.seq for m in await bus.read(Stream.JOURNAL, bus.subjects.journal)] == [2]


async def test_a_control_value_is_the_only_one_on_its_subject(bus: Bus) -> None:
    await bus.put("queue", "mail", b"1")
    seq = await bus.put("queue", "mail", b"2")
    await bus.put("queue", "other", b"3")
    kept = await bus.read(Stream.CONTROL, bus.subjects.control("queue", "mail"))
    assert [(m.data, m.seq) for m in kept] == [(b"2", seq)]
    assert [m.data for m in await bus.latest(Stream.CONTROL, bus.subjects.control("queue", "*"))] == [b"2", b"3"]


async def test_a_control_value_ends_with_its_time_and_may_be_created_anew(world: World, bus: Bus) -> None:
    subject = bus.subjects.control("worker", "w1")
    await bus.put("worker", "w1", b"here", ttl=1.0)
    await bus.put("worker", "w2", b"here", ttl=60.0)
    await bus.put("worker", "w3", b"here")
    await world.elapse(1.2)
    assert [
        m.subject.rpartition(".")[2] for m in await bus.latest(Stream.CONTROL, bus.subjects.control("worker", "*"))
    ] == [
        "w2",
        "w3",
    ]
    await bus.publish(subject, b"back", expect=0)


async def test_a_renewed_control_value_stays(world: World, bus: Bus) -> None:
    await bus.put("worker", "w1", b"1", ttl=1.0)
    await world.elapse(0.4)
    await bus.put("worker", "w1", b"2", ttl=2.0)
    await world.elapse(0.8)
    assert (await bus.last(Stream.CONTROL, bus.subjects.control("worker", "w1"))).data == b"2"


async def test_a_time_to_live_below_a_second_is_refused(bus: Bus) -> None:
    with pytest.raises(BusError, match="at least 1 s"):
        await bus.put("worker", "w1", b"", ttl=0.5)
