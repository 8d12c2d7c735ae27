"""Runs that wait for events: each gets the earliest that counts, once, whatever comes first and whoever dies."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import pytest

from holdfast.bus.journal import Journal
from holdfast.bus.ports import Bus
from holdfast.core.entries import AttemptStarted, EventArrived, RunCompleted, RunRetried, Suspended, WaitStarted
from holdfast.core.model import ErrorInfo
from holdfast.errors import Unanswered
from holdfast.wire.events import encoded
from holdfast.wire.subjects import Stream
from holdfast.wire.values import decode_value, encode_value
from holdfast_daemon import matchmaker as matching
from holdfast_daemon.conductor import Conductor
from holdfast_daemon.ledger import Ledger
from holdfast_daemon.matchmaker import Matchmaker
from stage import Stage
from virtual import Daemon, Project, turns
from worlds import eventually

ERROR = ErrorInfo("ValueError", "down")


@pytest.fixture
def project() -> Project:
    return Project()


def waits(
    at: float, subject: str = "paid", match: dict[str, Any] | None = None, *, since: float, wait: str = "/event#1"
) -> WaitStarted:
    data = msgspec.msgpack.encode(match) if match else b""
    return WaitStarted(wait, at, wait, "event", subject=subject, match=data, since=since)


async def waiter(project: Project, subject: str = "paid", match: dict[str, Any] | None = None, **options: Any) -> str:
    """A run that is suspended on an event."""
    run = await project.create()
    since = options.pop("since", project.now)
    await project.start(run, waits(project.now, subject, match, since=since), Suspended(project.now, ("/event#1",)))
    return run


async def publish(project: Project, name: str = "paid", **data: Any) -> int:
    return await project.bus.publish(f"hf.shop.evt.{name}", msgspec.json.encode(data))


async def arrived(project: Project, run: str) -> list[EventArrived]:
    """The events that a run was told of."""
    messages = await project.journal.messages(run)
    return [entry for _, record in messages for entry in record.entries if isinstance(entry, EventArrived)]


async def values(project: Project, run: str) -> list[Any]:
    return [decode_value(entry.value) for entry in await arrived(project, run)]


# --- what a wait gets


async def test_an_event_that_comes_later_resumes_the_run_with_its_data(project: Project) -> None:
    async with project.daemon() as daemon:
        run = await waiter(project)
        await project.elapse(30)
        at = project.now
        seq = await publish(project, order=7)
        await turns()
        assert await arrived(project, run) == [
            EventArrived("/event#1", at, seq, "paid", encode_value({"order": 7})),
        ]
        assert (await project.load(run)).state == "queued"
        assert daemon.matchmaker.told == 1


async def test_an_event_that_came_before_within_the_lookback_counts_and_the_earliest_one_does(project: Project) -> None:
    await publish(project, n=1)
    await project.elapse(30)
    await publish(project, n=2)
    await project.elapse(20)
    await publish(project, n=3)
    await project.elapse(10)
    async with project.daemon():
        run = await waiter(project, since=project.now - 45)
        await publish(project, n=4)
        await project.elapse(1)
        assert await values(project, run) == [{"n": 2}]


async def test_an_event_before_the_lookback_does_not_count(project: Project) -> None:
    await publish(project, n=1)
    await project.elapse(100)
    async with project.daemon():
        run = await waiter(project, since=project.now - 60)
        await project.elapse(5)
        assert await arrived(project, run) == []


async def test_an_event_in_the_very_instant_of_since_counts(project: Project) -> None:
    since = project.now
    await publish(project, n=1)
    await project.elapse(10)
    async with project.daemon():
        run = await waiter(project, since=since)
        await project.elapse(1)
        assert await values(project, run) == [{"n": 1}]


async def test_subject_and_fields_decide(project: Project) -> None:
    async with project.daemon():
        run = await waiter(project, "orders.*.paid", {"order.id": 7, "ok": True})
        for name, data in (
            ("orders.eu.sent", {"order": {"id": 7}, "ok": True}),
            ("orders.eu.paid", {"order": {"id": 8}, "ok": True}),
            ("orders.eu.paid", {"order": {"id": 7}, "ok": 1}),
            ("orders.eu.paid", {"order": {"id": 7}, "ok": True, "right": 1}),
            ("orders.eu.paid", {"order": {"id": 7}, "ok": True, "right": 2}),
        ):
            await publish(project, name, **data)
        await project.elapse(1)
        (event,) = await arrived(project, run)
        assert (event.subject, decode_value(event.value)["right"]) == ("orders.eu.paid", 1)


async def test_one_event_satisfies_every_waiter_that_it_is_for_each_once(project: Project) -> None:
    async with project.daemon():
        runs = [await waiter(project, match={"n": 1}) for _ in range(50)]
        other = await waiter(project, match={"n": 2})
        await turns()
        await publish(project, n=1)
        await publish(project, n=1)
        await project.elapse(1)
        assert [await values(project, run) for run in runs] == [[{"n": 1}]] * 50
        assert await arrived(project, other) == []


async def test_two_waits_of_one_run_are_each_told(project: Project) -> None:
    async with project.daemon():
        run = await project.create()
        one = waits(project.now, since=project.now, wait="/gather#1/event#1")
        two = waits(project.now, since=project.now, wait="/gather#1/event#2")
        await project.start(run, one, two, Suspended(project.now, (one.wait, two.wait)))
        await publish(project, n=1)
        await project.elapse(1)
        assert sorted(event.wait for event in await arrived(project, run)) == [one.wait, two.wait]


async def test_a_run_that_still_runs_is_told_too(project: Project) -> None:
    async with project.daemon():
        await project.beat()
        run = await project.create()
        await project.start(run, waits(project.now, since=project.now))
        await publish(project, n=1)
        await project.elapse(1)
        assert await values(project, run) == [{"n": 1}]


async def test_a_wait_that_was_given_up_gets_nothing(project: Project) -> None:
    async with project.daemon() as daemon:
        run = await waiter(project)
        await turns()
        await project.write(run, RunRetried(project.now))  # illegal: changes nothing
        await project.journal.cancel(run, by="op")
        await turns()
        await publish(project, n=1)
        await project.elapse(1)
        assert await arrived(project, run) == []
        assert daemon.matchmaker.told == 0


async def test_a_run_that_is_retried_from_the_start_may_get_the_same_event_again(project: Project) -> None:
    async with project.daemon():
        await publish(project, n=1)
        run = await waiter(project)
        await project.elapse(1)
        since = project.now - 1.5
        for attempt in (2, 3):
            await project.journal.kill(run, by="op")
            await project.journal.retry(run, by="op", from_start=True)
            begun = AttemptStarted(project.now, attempt, "w9", "n9")
            await project.write(run, begun, waits(project.now, since=since))
            await project.elapse(0.1)
        assert await values(project, run) == [{"n": 1}] * 3


async def test_events_that_keep_their_own_name_are_found_too(project: Project) -> None:
    project.server.project("shop").filters[Stream.EVENTS].append("factory.>")
    await project.bus.publish("factory.line.stopped", b'{"line": 3}')
    await project.elapse(1)
    async with project.daemon():
        before = await waiter(project, "factory.line.*", {"line": 3}, since=project.now - 60)
        after = await waiter(project, "factory.line.*", {"line": 4})
        await project.bus.publish("factory.line.stopped", b'{"line": 4}')
        await project.elapse(1)
        assert [event.subject for event in await arrived(project, before)] == ["factory.line.stopped"]
        assert await values(project, after) == [{"line": 4}]


@pytest.mark.parametrize(
    ("data", "value"),
    [(b"", None), (b"17", 17), (b"no json {", "no json {"), (b"[" * 5000 + b"]" * 5000, "[" * 5000 + "]" * 5000)],
)
def test_what_is_no_object_arrives_as_what_it_is(data: bytes, value: object) -> None:
    assert decode_value(encoded(data)) == value


# --- whatever comes first


async def test_more_events_than_a_page_or_the_memory_hold_are_searched(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "PAGE", 7)
    monkeypatch.setattr(matching, "RECENT", 10)
    since = project.now
    for number in range(200):
        await publish(project, n=number)
        project.clock.advance(0.01)
    async with project.daemon():
        runs = {number: await waiter(project, match={"n": number}, since=since) for number in range(0, 200, 11)}
        await project.elapse(1)
        assert {number: await values(project, run) for number, run in runs.items()} == {n: [{"n": n}] for n in runs}


@pytest.mark.parametrize("seed", range(12))
async def test_each_wait_gets_the_earliest_event_whatever_the_order_of_things(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "RECENT", 5)
    chance, project = random.Random(seed), Project()
    events: list[tuple[float, int, int]] = []
    waiting: dict[str, tuple[int, float]] = {}
    daemon: Any = None

    async def some_event() -> None:
        number = chance.randrange(4)
        at = project.now
        events.append((at, await publish(project, n=number), number))

    async def some_wait() -> None:
        number, since = chance.randrange(4), project.now - chance.choice([0, 1, 30])
        waiting[await waiter(project, match={"n": number}, since=since)] = (number, since)

    async def some_restart() -> None:
        nonlocal daemon
        if daemon is not None:
            with suppress(StopAsyncIteration):
                await anext(daemon)
        daemon = life(project)
        await anext(daemon)

    async def some_time() -> None:
        project.clock.advance(chance.choice([0.001, 0.5, 5]))

    async def some_turns() -> None:
        await turns(chance.randrange(30))

    deeds: list[Callable[[], Awaitable[None]]] = [some_event] * 6 + [some_wait] * 4 + [some_time] * 3
    deeds += [some_turns] * 4 + [some_restart]
    await some_restart()
    for _ in range(150):
        await chance.choice(deeds)()
    await some_restart()
    await project.elapse(30, steps=60)
    for run, (number, since) in waiting.items():
        matching_events = [seq for at, seq, what in events if what == number and at >= since]
        told = [event.event for event in await arrived(project, run)]
        assert told == matching_events[:1], (run, number, since)
    with suppress(StopAsyncIteration):
        await anext(daemon)


async def life(project: Project) -> AsyncIterator[None]:
    """A daemon that lives until the next step, and is then killed."""
    services = [asyncio.create_task(service) for service in Daemon(project).services()]  # type: ignore[arg-type]
    try:
        yield
    finally:
        for service in services:
            service.cancel()
        await asyncio.gather(*services, return_exceptions=True)


async def test_two_daemons_tell_a_run_once(project: Project) -> None:
    await publish(project, n=1)
    async with project.daemon(), project.daemon():
        since = project.now - 10
        runs = [await waiter(project, since=since) for _ in range(10)]
        later = [await waiter(project, match={"n": 2}) for _ in range(10)]
        await turns()
        await publish(project, n=2)
        await project.elapse(2)
        assert [await values(project, run) for run in runs] == [[{"n": 1}]] * 10
        assert [await values(project, run) for run in later] == [[{"n": 2}]] * 10


async def test_an_event_that_came_while_no_daemon_ran_is_found_by_the_next(project: Project) -> None:
    async with project.daemon():
        run = await waiter(project)
        await turns()
    await publish(project, n=1)
    await project.elapse(7200)
    async with project.daemon():
        await project.elapse(1)
        assert await values(project, run) == [{"n": 1}]


async def test_when_the_journal_is_followed_anew_nothing_is_missed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "RECENT", 1)
    async with project.daemon() as daemon:
        run, other = await waiter(project), await waiter(project, match={"n": 2})
        await turns()
        daemon.matchmaker.restart([], [])
        daemon.matchmaker._caught_up = lambda: False
        await project.elapse(1)
        assert daemon.matchmaker._position is None
        for number in (1, 3, 4, 5):
            await publish(project, n=number)
        await project.elapse(1)
        assert await values(project, run) == []
        daemon.matchmaker._caught_up = lambda: True
        await project.elapse(1)
        assert await values(project, run) == [{"n": 1}]
        await publish(project, n=2)
        await turns()
        assert await values(project, other) == [{"n": 2}]


async def test_a_telling_whose_outcome_is_unknown_is_repeated_and_counts_once(project: Project) -> None:
    async with project.daemon() as daemon:
        publish_on = daemon.bus.publish
        failures = 2

        async def flaky(subject: str, data: bytes, **options: Any) -> int:
            nonlocal failures
            seq = await publish_on(subject, data, **options)
            if subject.endswith(".in") and failures:
                failures -= 1
                raise Unanswered("no answer")
            return seq

        daemon.bus.publish = flaky  # type: ignore[method-assign]
        run = await waiter(project)
        await publish(project, n=1)
        await turns()
        await eventually(lambda: daemon.matchmaker.told == 1)
        assert failures == 0
        assert await values(project, run) == [{"n": 1}]


# --- what it costs


async def test_of_large_events_few_are_kept_in_memory_and_none_is_missed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "RECENT_BYTES", 5000)
    since = project.now
    async with project.daemon() as daemon:
        await waiter(project, "another")
        await turns()
        for number in range(30):
            project.clock.advance(0.01)
            await publish(project, n=number, more="x" * 1000)
        await turns()
        assert sum(len(event.data) for event in daemon.matchmaker._recent) == daemon.matchmaker._recent_bytes <= 5000
        runs = [await waiter(project, match={"n": number}, since=since) for number in (0, 29)]
        await project.elapse(1)
        assert [(await values(project, run))[0]["n"] for run in runs] == [0, 29]


async def test_a_wait_that_takes_the_place_of_another_is_given_nothing_of_that(project: Project) -> None:
    await publish(project, n=1)
    await publish(project, n=2)
    async with project.daemon():
        run = await project.create()
        one = waits(project.now, match={"n": 1}, since=project.now - 60)
        other = waits(project.now, match={"n": 2}, since=project.now - 60)
        await project.start(run, one)
        await project.journal.kill(run, by="op")
        await project.journal.retry(run, by="op", from_start=True)
        await project.write(run, AttemptStarted(project.now, 2, "w9", "n9"), other)
        await project.elapse(1)
        assert (await values(project, run))[-1] == {"n": 2}


async def test_while_nobody_waits_events_are_not_even_followed(project: Project) -> None:
    async with project.daemon() as daemon:
        followed = list[str]()
        follow = daemon.bus.follow

        def noted(stream: Stream, *args: Any, **options: Any) -> Any:
            followed.append(stream)
            return follow(stream, *args, **options)

        daemon.bus.follow = noted  # type: ignore[method-assign]
        for number in range(100):
            await publish(project, n=number)
        await project.elapse(30)
        assert followed == []
        run = await waiter(project)
        await publish(project, n=1)
        await project.elapse(1)
        assert await values(project, run) == [{"n": 1}]
        await project.elapse(60, steps=300)
        assert followed == [Stream.EVENTS]
        assert daemon.matchmaker._position is None


async def test_the_past_is_searched_once_for_all_waits_of_a_pattern(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "RECENT", 1)
    for number in range(5):
        await publish(project, n=number)
    await project.elapse(60)
    runs = [await waiter(project, since=project.now - 100) for _ in range(200)]
    reads = Reads(project)
    async with project.daemon():
        assert [await values(project, run) for run in runs] == [[{"n": 0}]] * 200
        assert reads.filters == ["hf.shop.evt.paid", "paid"]


class Reads:
    """Which events are read from the stream, beside following it."""

    def __init__(self, project: Project) -> None:
        self._filters: list[str] = []
        stream = project.server.project("shop").streams[Stream.EVENTS]
        matching_messages = stream.matching

        def noted(filter: str, first: int = 1) -> Any:
            self._filters.append(filter)
            return matching_messages(filter, first)

        stream.matching = noted  # type: ignore[method-assign]

    @property
    def filters(self) -> list[str]:
        return sorted(filter for filter in self._filters if filter != ">")


# --- over both buses, in real time


@asynccontextmanager
async def matched(stage: Stage) -> AsyncIterator[Matchmaker]:
    """A matchmaker and a conductor at work for the time of the block."""
    bus: Bus = stage.client.bus
    ledger = Ledger(bus, 0, lambda run: 1)
    conductor = Conductor(Journal(bus), lambda: ledger.live, lambda: ledger.caught_up)
    matchmaker = Matchmaker(Journal(bus), lambda: ledger.live, lambda: ledger.caught_up)

    async def follow() -> None:
        async for changes in ledger.changes():
            conductor.take(changes)
            matchmaker.take(changes)

    services = [asyncio.create_task(one) for one in (follow(), conductor.run(), matchmaker.run())]
    try:
        yield matchmaker
        assert not any(service.done() for service in services), [one for one in services if one.done()]
    finally:
        for service in services:
            service.cancel()
        await asyncio.gather(*services, return_exceptions=True)


async def test_waits_and_events_that_come_at_once_all_find_each_other(stage: Stage) -> None:
    bus, journal, count = stage.client.bus, stage.journal, 100
    runs: list[str] = []

    async def wait_for(number: int) -> None:
        created = stage.client.new_run("ship", encode_value({}))
        await journal.create(created)
        begun = AttemptStarted(created.at, 1, "w9", "n9")
        wait = waits(created.at, match={"n": number}, since=created.at - 60)
        await journal.append(created.run, 0, "n9", (begun, wait, Suspended(created.at, ("/event#1",))))
        runs.append(created.run)

    async def emit(number: int) -> None:
        for _ in range(2):
            await bus.publish(bus.subjects.event("paid"), msgspec.json.encode({"n": number}))

    async with matched(stage) as matchmaker:
        await asyncio.gather(*(deed(number) for number in range(count) for deed in (wait_for, emit)))
        await eventually(lambda: matchmaker.told == count, 20)
    events = await bus.read(Stream.EVENTS, ">")
    earliest: dict[int, int] = {}
    for event in events:
        earliest.setdefault(msgspec.json.decode(event.data)["n"], event.seq)
    told = [
        entry
        for run in runs
        for _, record in await journal.messages(run)
        for entry in record.entries
        if isinstance(entry, EventArrived)
    ]
    assert sorted(entry.event for entry in told) == sorted(earliest.values())


async def test_a_run_that_ended_is_waited_for_no_more(project: Project) -> None:
    async with project.daemon() as daemon:
        run = await project.create()
        await project.start(run, waits(project.now, since=project.now))
        await turns()
        assert len(daemon.matchmaker._open) == 1
        await project.write(run, RunCompleted(project.now, b"\x01"))
        await turns()
        assert len(daemon.matchmaker._open) == 0
