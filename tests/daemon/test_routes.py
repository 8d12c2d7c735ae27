"""What becomes of events: filters, maps, routes of the configuration, foreign subjects, dead letters of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from holdfast import task
from holdfast.bus.journal import Journal
from holdfast.bus.layout import Layout
from holdfast.bus.ports import Bus
from holdfast.config import Route
from holdfast.core.entries import RunCreated, RunDead
from holdfast.core.lifecycle import Record, fold
from holdfast.core.model import Run, State
from holdfast.errors import DaemonUnavailable, TooLarge, Unanswered
from holdfast.events import Event
from holdfast.wire import api, codec
from holdfast.wire.subjects import Stream
from holdfast.wire.values import decode_value
from holdfast_daemon.registrar import Registrar
from holdfast_daemon.routebook import Routebook
from holdfast_daemon.router import Router
from stage import Stage

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def declare(stage: Stage, *on: str, task_id: str = "ship", **card: Any) -> None:
    """Say that a worker has a task that wants these events."""
    await stage.client.bus.put("task", task_id, codec.encode(api.TaskCard(id=task_id, queue="default", on=on, **card)))


@asynccontextmanager
async def routing(stage: Stage, *routes: Route, bus: Bus | None = None, **options: Any) -> AsyncIterator[Router]:
    """A router at work for the time of the block, then gone as by a kill."""
    journal = Journal(bus or stage.client.bus)
    router = Router(journal, Routebook(routes), Registrar(journal), **options)
    service = asyncio.create_task(router.run())
    try:
        yield router
        assert not service.done(), service
    finally:
        service.cancel()
        await asyncio.gather(service, return_exceptions=True)


async def routed(stage: Stage, upto: int, cursor: str = "router") -> list[Run]:
    """The runs in order of their creation, once a reader has come so far."""
    bus = stage.client.bus
    async with asyncio.timeout(10):
        while True:
            kept = await bus.last(Stream.CONTROL, bus.subjects.control("cursor", cursor))
            if kept is not None and int(kept.data) >= upto:
                return await runs(stage)
            await asyncio.sleep(0.01)


async def runs(stage: Stage) -> list[Run]:
    bus = stage.client.bus
    records: dict[str, list[Record]] = {}
    for message in await bus.read(Stream.JOURNAL, bus.subjects.journal):
        run, record = codec.record(bus.subjects, message.subject, message.seq, message.data)
        records.setdefault(run, []).append(record)
    found = [run for each in records.values() if (run := fold(each)) is not None]
    return sorted(found, key=lambda run: run.first)


def payloads(found: list[Run]) -> list[Any]:
    return [decode_value(run.payload) for run in found]


# --- filter and map of a task


async def test_a_filter_lets_events_through_for_which_it_is_true(stage: Stage) -> None:
    await declare(stage, "orders.*", filter="event.amount > 10 && tokens[1] == 'created'")
    async with routing(stage) as router:
        await stage.client.emit("orders.created", {"amount": 11})
        await stage.client.emit("orders.created", {"amount": 10})
        last = await stage.client.emit("orders.paid", {"amount": 11})
        assert payloads(await routed(stage, last)) == [{"amount": 11}]
        assert router.counts == (1, 2, 0, 0)


async def test_a_map_makes_the_arguments(stage: Stage) -> None:
    await declare(stage, "orders.*", map="{'id': event.id, 'what': tokens[1], 'seq': seq, 'shop': headers['X-Shop']}")
    async with routing(stage):
        last = await stage.client.emit("orders.created", {"id": "A1", "more": 1}, headers={"X-Shop": "north"})
        assert payloads(await routed(stage, last)) == [{"id": "A1", "what": "created", "seq": last, "shop": "north"}]


async def test_a_task_with_functions_is_asked_and_runs(stage: Stage) -> None:
    got: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    seen: list[Event] = []

    def large(event: Event) -> bool:
        seen.append(event)
        return bool(event.data["amount"] > 10)

    @task(on="orders.*", filter=large, map=lambda event: {"order": event.data["id"], "of": event.subject})
    async def ship(order: str, of: str) -> None:
        got.put_nowait({"order": order, "of": of})

    async with stage.worker(ship), routing(stage) as router:
        await stage.client.emit("orders.created", {"id": "A1", "amount": 5})
        last = await stage.client.emit("orders.created", {"id": "A2", "amount": 50}, headers={"X-Shop": "north"})
        async with asyncio.timeout(10):
            assert await got.get() == {"order": "A2", "of": "orders.created"}
        await routed(stage, last, "router-ship")
        assert router.counts.routed == 1
    assert [(event.seq, event.headers.get("X-Shop")) for event in seen] == [(last - 1, None), (last, "north")]
    assert seen[1].raw == b'{"id":"A2","amount":50}'
    assert seen[1].time.tzinfo is not None


async def test_events_wait_for_a_worker_that_says_what_they_are_and_others_go_on(stage: Stage) -> None:
    @task(on="orders.*", filter=lambda event: event.data["n"] != 2)
    async def picky(n: int) -> None: ...

    await declare(stage, "orders.*", task_id="picky", asks=True)
    await declare(stage, "orders.*", task_id="plain")
    async with routing(stage):
        last = [await stage.client.emit("orders.created", {"n": n}) for n in range(4)][-1]
        found = await routed(stage, last)
        assert {run.task for run in found} == {"plain"}
        assert len(found) == 4
        async with stage.worker(picky):
            found = await routed(stage, last, "router-picky")
    assert sorted(decode_value(run.payload)["n"] for run in found if run.task == "picky") == [0, 1, 3]


async def test_a_router_that_is_started_again_asks_behind_what_it_noted(stage: Stage) -> None:
    asked: list[int] = []

    def note(event: Event) -> bool:
        asked.append(event.seq)
        return True

    @task(on=">", filter=note)
    async def every() -> None: ...

    async with stage.worker(every):
        async with routing(stage):
            first = await stage.client.emit("a", {})
            await routed(stage, first, "router-every")
        last = await stage.client.emit("b", {})
        async with routing(stage):
            found = await routed(stage, last, "router-every")
    assert len(found) == 2
    assert asked == [first, last]


async def test_a_router_may_be_run_again_when_another_daemon_had_its_turn(stage: Stage) -> None:
    @task(on=">", filter=lambda event: True)
    async def asked() -> None: ...

    await declare(stage, ">")
    router = Router(Journal(stage.client.bus))
    async with stage.worker(asked):
        for turn in (1, 2):
            service = asyncio.create_task(router.run())
            last = await stage.client.emit("mine", {})
            await routed(stage, last, "router-asked")
            await routed(stage, last)
            service.cancel()
            await asyncio.gather(service, return_exceptions=True)
            async with routing(stage):
                last = await stage.client.emit("theirs", {})
                await routed(stage, last, "router-asked")
                assert len(await routed(stage, last)) == 4 * turn


async def test_a_task_that_asks_no_more_loses_nothing_that_waited(stage: Stage) -> None:
    await declare(stage, "orders.*", asks=True)
    async with routing(stage):
        waiting = await stage.client.emit("orders.created", {"n": 1})
        await routed(stage, waiting)
    await declare(stage, "orders.*", filter="event.n > 0")
    async with routing(stage):
        last = await stage.client.emit("orders.created", {"n": 2})
        assert payloads(await routed(stage, last, "router-ship")) == [{"n": 1}, {"n": 2}]


async def test_a_task_that_begins_to_ask_gets_each_event_once(stage: Stage) -> None:
    @task(on="orders.*", filter=lambda event: True)
    async def ship(n: int) -> None: ...

    await declare(stage, "orders.*")
    async with routing(stage):
        await routed(stage, await stage.client.emit("orders.created", {"n": 1}))
        async with stage.worker(ship):
            last = [await stage.client.emit("orders.created", {"n": n}) for n in (2, 3)][-1]
            found = await routed(stage, last, "router-ship")
            await routed(stage, last)
    assert sorted(decode_value(run.payload)["n"] for run in await runs(stage)) == [1, 2, 3]
    assert len(found) == 3


class LosesTheFirst:
    """A bus on which the first answer of a worker is lost: it died in between."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    async def request(self, subject: str, data: bytes, *, timeout: float = 5.0) -> bytes:
        answer = await self._bus.request(subject, data, timeout=timeout)
        self.asked += 1
        if self.asked == 1:
            raise DaemonUnavailable("it died")
        return answer


async def test_a_worker_that_dies_before_it_answered_is_followed_by_another(stage: Stage) -> None:
    @task(on="orders.*", map=lambda event: {"n": event.data["n"]})
    async def ship(n: int) -> None: ...

    bus = LosesTheFirst(stage.client.bus)
    async with stage.worker(ship), routing(stage, bus=bus):  # type: ignore[arg-type]
        last = await stage.client.emit("orders.created", {"n": 1})
        assert payloads(await routed(stage, last, "router-ship")) == [{"n": 1}]
    assert bus.asked == 2


class Slow(LosesTheFirst):
    """A bus on which no answer about more than two events comes in time."""

    async def request(self, subject: str, data: bytes, *, timeout: float = 5.0) -> bytes:
        self.asked += 1
        if len(api.decode(data, api.EventsAsked).events) > 2:
            raise Unanswered("too slow")
        return await self._bus.request(subject, data, timeout=timeout)


async def test_a_function_that_takes_its_time_is_asked_about_fewer_events(stage: Stage) -> None:
    @task(on="e", map=lambda event: {"n": event.data["n"]})
    async def count(n: int) -> None: ...

    last = [await stage.client.emit("e", {"n": n}) for n in range(11)][-1]
    bus = Slow(stage.client.bus)
    async with stage.worker(count), routing(stage, bus=bus):  # type: ignore[arg-type]
        found = await routed(stage, last, "router-count")
    assert [decode_value(run.payload)["n"] for run in found] == list(range(11))


async def test_an_event_that_no_question_can_hold_is_a_dead_letter(stage: Stage) -> None:
    @task(on="e", filter=lambda event: True)
    async def count(n: int) -> None: ...

    class Small(LosesTheFirst):
        async def request(self, subject: str, data: bytes, *, timeout: float = 5.0) -> bytes:
            if len(data) > 1000:
                raise TooLarge("the server takes 1000 bytes")
            return await self._bus.request(subject, data, timeout=timeout)

    await stage.client.emit("e", {"n": 1})
    last = await stage.client.emit("e", {"n": "x" * 1000})
    async with stage.worker(count), routing(stage, bus=Small(stage.client.bus)):  # type: ignore[arg-type]
        found = await routed(stage, last, "router-count")
    assert sum(run.state is State.DEAD for run in found) == 1
    assert len(found) == 2


async def test_hundreds_of_events_are_asked_about_together(stage: Stage) -> None:
    @task(on="e", map=lambda event: {"n": event.data["n"]})
    async def count(n: int) -> None: ...

    bus = LosesTheFirst(stage.client.bus)
    bus.asked = 1
    last = [await stage.client.emit("e", {"n": n}) for n in range(450)][-1]
    async with stage.worker(count), routing(stage, bus=bus):  # type: ignore[arg-type]
        found = await routed(stage, last, "router-count")
    assert sorted(decode_value(run.payload)["n"] for run in found) == list(range(450))
    assert bus.asked - 1 <= 8


# --- routes of the configuration


async def test_a_route_starts_a_task_beside_what_the_task_asks_for(stage: Stage) -> None:
    await declare(stage, "orders.created")
    big = Route(subject="orders.>", task="ship", filter="event.amount > 10", map="{'amount': event.amount * 2}")
    async with routing(stage, big):
        await stage.client.emit("orders.created", {"amount": 1})
        last = await stage.client.emit("orders.created", {"amount": 11})
        found = await routed(stage, last)
    assert sorted(run["amount"] for run in payloads(found)) == [1, 11, 22]


async def test_a_route_says_how_its_runs_are_triggered(stage: Stage) -> None:
    await declare(stage, priority=7)
    route = Route(
        subject="orders.*", task="ship", queue="mail", priority=2, delay=3600.0, ttl=60.0, concurrency_key="acme"
    )
    async with routing(stage, route, Route(subject="orders.*", task="ship", name="plain"), ttl=30.0):
        last = await stage.client.emit("orders.created", {})
        mail, plain = sorted(await routed(stage, last), key=lambda run: run.queue, reverse=True)
    assert (mail.queue, mail.priority, mail.concurrency_key, mail.state) == ("mail", 2, "acme", State.DELAYED)
    assert mail.due is not None
    assert mail.expires is not None
    assert mail.expires - mail.due == pytest.approx(60)
    assert (plain.queue, plain.priority, plain.due) == ("default", 7, None)
    assert plain.expires is not None
    assert plain.expires - plain.created_at == pytest.approx(30), "the project's"


async def test_a_route_to_a_task_that_nobody_declared_waits_for_a_worker(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    done = asyncio.Event()

    @task
    async def later(n: int) -> None:
        done.set()

    async with routing(stage, Route(subject="orders.*", task="later")):
        (run,) = await routed(stage, await stage.client.emit("orders.created", {"n": 1}))
        assert (run.task, run.state) == ("later", State.QUEUED)
        async with stage.worker(later), asyncio.timeout(10):
            await done.wait()
    assert caplog.text.count("no worker has declared later") == 1


async def test_foreign_subjects_keep_their_names(stage: Stage) -> None:
    bus: Any = stage.client.bus
    await bus.ensure_streams(Layout(events_subjects=("shop.orders.>",)))
    await declare(stage, "shop.orders.*", task_id="asks")
    await declare(stage, "orders.*", task_id="other")
    async with routing(
        stage, Route(source="shop.orders.*", task="told"), Route(subject="shop.orders.paid", task="named")
    ):
        last = await bus.publish("shop.orders.paid", b'{"n": 1}')
        found = await routed(stage, last)
    assert {(run.task, run.source) for run in found} == {
        (name, "event shop.orders.paid") for name in ("asks", "told", "named")
    }


async def test_a_source_is_not_the_event_of_the_same_name(stage: Stage) -> None:
    async with routing(stage, Route(source="orders.*", task="told"), Route(subject="orders.*", task="named")):
        found = await routed(stage, await stage.client.emit("orders.paid", {}))
    assert [run.task for run in found] == ["named"]


async def test_a_subject_that_is_bound_no_more_keeps_what_was_stored(stage: Stage) -> None:
    bus: Any = stage.client.bus
    await bus.ensure_streams(Layout(events_subjects=("shop.>",)))
    await bus.publish("shop.a", b"1")
    await bus.ensure_streams(Layout())
    assert [message.subject for message in await bus.read(Stream.EVENTS, ">")] == ["shop.a"]
    with pytest.raises(Exception, match="no stream takes"):
        await bus.publish("shop.a", b"2")


# --- what the publisher says


async def test_an_event_published_twice_under_one_id_starts_one_run(stage: Stage) -> None:
    await declare(stage, "orders.*")
    async with routing(stage):
        first = await stage.client.emit("orders.created", {"n": 1}, id="order-1")
        assert await stage.client.emit("orders.created", {"n": 1}, id="order-1") == first
        last = await stage.client.emit("orders.created", {"n": 2}, id="order-2")
        assert payloads(await routed(stage, last)) == [{"n": 1}, {"n": 2}]


async def test_the_trace_of_an_event_is_its_runs(stage: Stage) -> None:
    await declare(stage, "orders.*")
    async with routing(stage):
        await stage.client.emit("orders.created", {}, headers={"traceparent": TRACE})
        last = await stage.client.emit("orders.created", {}, headers={"traceparent": "rubbish"})
        assert [run.trace for run in await routed(stage, last)] == [TRACE, ""]


# --- events that can't be read


async def test_an_event_that_no_map_can_read_is_a_dead_letter_with_its_bytes(stage: Stage) -> None:
    await declare(stage, "orders.*", map="{'id': event.id}")
    async with routing(stage) as router:
        await stage.client.bus.publish(stage.client.bus.subjects.event("orders.created"), b"\xff no json")
        last = await stage.client.emit("orders.created", {"id": "A1"})
        dead, fine = sorted(await routed(stage, last), key=lambda run: run.state)
        assert router.counts == (1, 0, 0, 1)
    assert (dead.state, dead.reason, fine.state) == (State.DEAD, "event", State.QUEUED)
    assert decode_value(dead.payload) == {"event": b"\xff no json"}
    assert dead.error is not None
    assert dead.error.type == "holdfast.errors.EventError"
    subject = stage.client.bus.subjects.event("orders.created")
    assert dead.error.message.startswith(f"event 1 on {subject}, 9 bytes: map {{'id': event.id}}: ")
    letter = await stage.client.bus.last(Stream.JOURNAL, stage.client.bus.subjects.letter("default", dead.id))
    assert letter is not None
    kept = api.decode(letter.data, api.Letter)
    assert (kept.run, kept.task, kept.reason, kept.attempts, kept.payload) == (
        dead.id, "ship", "event", 0, dead.payload,
    )  # fmt: skip


async def test_a_function_that_raises_makes_a_dead_letter_of_its_task_only(stage: Stage) -> None:
    def wrong(event: Event) -> bool:
        return bool(1 / event.data["n"])

    @task(on="orders.*", filter=wrong)
    async def picky(n: int) -> None: ...

    async with stage.worker(picky), routing(stage) as router:
        last = await stage.client.emit("orders.created", {"n": 0})
        (dead,) = await routed(stage, last, "router-picky")
        assert router.counts.unmapped == 1
    assert dead.error is not None
    assert "filter " in dead.error.message
    assert "wrong: ZeroDivisionError: division by zero" in dead.error.message


async def test_a_dead_event_runs_with_a_payload_that_an_operator_gives(stage: Stage) -> None:
    got: asyncio.Queue[str] = asyncio.Queue()

    @task(on="orders.*", map="{'id': event.id}")
    async def ship(id: str) -> None:
        got.put_nowait(id)

    async with stage.worker(ship), routing(stage):
        last = await stage.client.emit("orders.created", "no object")
        (dead,) = await routed(stage, last)
        assert dead.state is State.DEAD
        await stage.client.retry(dead.id, payload={"id": "A1"})
        async with asyncio.timeout(10):
            assert await got.get() == "A1"
        run = await stage.until(stage.client.run(dead.id), "completed")
    assert run.attempt == 1
    bus = stage.client.bus
    assert await bus.last(Stream.JOURNAL, bus.subjects.letter("default", dead.id)) is None


async def test_an_event_that_died_dies_once_however_often_it_is_looked_at(stage: Stage) -> None:
    await declare(stage, "orders.*", filter="event.amount > 1")
    last = await stage.client.emit("orders.created", {})
    for _ in range(2):
        async with routing(stage):
            (dead,) = await routed(stage, last)
        await stage.client.bus.purge(Stream.CONTROL, stage.client.bus.subjects.control("cursor", "router"))
    assert dead.state is State.DEAD
    entries = [entry for _, record in await stage.journal.messages(dead.id) for entry in record.entries]
    assert [type(entry) for entry in entries] == [RunCreated, RunDead]


async def test_a_run_that_waits_does_not_die_of_a_filter_that_was_changed_since(stage: Stage) -> None:
    await declare(stage, "orders.*")
    last = await stage.client.emit("orders.created", {})
    async with routing(stage):
        (run,) = await routed(stage, last)
    await stage.client.bus.purge(Stream.CONTROL, stage.client.bus.subjects.control("cursor", "router"))
    await declare(stage, "orders.*", filter="event.amount > 1")
    async with routing(stage) as router:
        (again,) = await routed(stage, last)
        assert router.counts.unmapped == 0
    assert (again.id, again.state) == (run.id, State.QUEUED)


async def test_a_dead_event_without_its_letter_gets_it_when_it_is_looked_at_again(stage: Stage) -> None:
    await declare(stage, "orders.*", filter="event.amount > 1")
    last = await stage.client.emit("orders.created", {})
    async with routing(stage):
        (dead,) = await routed(stage, last)
    bus = stage.client.bus
    await bus.purge(Stream.JOURNAL, bus.subjects.letter("default", dead.id))  # the daemon died before it was put
    await bus.purge(Stream.CONTROL, bus.subjects.control("cursor", "router"))
    async with routing(stage):
        await routed(stage, last)
    assert await bus.last(Stream.JOURNAL, bus.subjects.letter("default", dead.id)) is not None


async def test_a_card_whose_filter_cannot_be_read_here_makes_dead_letters(stage: Stage) -> None:
    await declare(stage, "orders.*", filter="event.amount >>> 1")
    async with routing(stage):
        (dead,) = await routed(stage, await stage.client.emit("orders.created", {}))
    assert dead.error is not None
    assert "expected an expression that can be read" in dead.error.message


async def test_a_big_event_is_kept_apart_from_the_journal(stage: Stage) -> None:
    got: asyncio.Queue[int] = asyncio.Queue()

    @task(on="big")
    async def measure(text: str) -> None:
        got.put_nowait(len(text))

    async with stage.worker(measure), routing(stage):
        last = await stage.client.emit("big", {"text": "x" * 1_000_000})
        (run,) = await routed(stage, last)
        assert len(run.payload) < 1000
        async with asyncio.timeout(10):
            assert await got.get() == 1_000_000
