"""What is sent, listened to, asked and answered; and the end of a bus."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.bus.ports import Bus
from holdfast.errors import BusError, ConnectError, DaemonUnavailable, Refused, Unanswered
from holdfast.wire.subjects import Stream
from worlds import World


async def test_what_is_sent_is_heard_in_order_and_not_stored(world: World, bus: Bus) -> None:
    heard: list[tuple[str, bytes]] = []
    other = await world.bus()
    await other.listen(bus.subjects.live("*", ">"), lambda subject, data: heard.append((subject, data)))
    for n in range(3):
        bus.send(bus.subjects.live("tick", "x"), b"%d" % n)
    await world.until(lambda: len(heard) == 3)
    assert heard == [(bus.subjects.live("tick", "x"), b"%d" % n) for n in range(3)]
    assert await bus.last_seq(Stream.JOURNAL) == 0


async def test_log_and_in_are_heard_again_when_they_are_stored_and_nothing_else(world: World, bus: Bus) -> None:
    heard: list[tuple[str, bytes]] = []
    await bus.listen(f"{bus.subjects.root}.live.>", lambda subject, data: heard.append((subject, data)))
    await bus.publish(bus.subjects.ready("r", "q", 5), b"no")
    await bus.publish(bus.subjects.letter("q", "r"), b"no")
    await bus.publish_at(bus.subjects.timer("r", "t"), b"no", due=world.now() + 60, target=bus.subjects.inbox("r"))
    await bus.publish(bus.subjects.log("r"), b"1")
    await bus.publish(bus.subjects.inbox("r"), b"2")
    await world.until(lambda: len(heard) == 2)
    await world.quiet()
    assert heard == [(bus.subjects.live("r", "log"), b"1"), (bus.subjects.live("r", "in"), b"2")]


async def test_a_listener_hears_what_is_published(world: World, bus: Bus) -> None:
    heard: list[bytes] = []
    await bus.listen(bus.subjects.events, lambda subject, data: heard.append(data))
    await bus.publish(bus.subjects.event("paid.eu"), b"x")
    await world.until(lambda: heard == [b"x"])


async def test_who_stopped_listening_hears_nothing(world: World, bus: Bus) -> None:
    heard: list[bytes] = []
    stop = await bus.listen(bus.subjects.events, lambda subject, data: heard.append(data))
    await stop()
    await stop()
    bus.send(bus.subjects.event("x"), b"")
    await world.quiet()
    assert heard == []


async def test_a_listener_that_raises_hears_on(world: World, bus: Bus) -> None:
    heard: list[bytes] = []

    def listener(subject: str, data: bytes) -> None:
        heard.append(data)
        raise RuntimeError("a bug")

    await bus.listen("x.y", listener)
    bus.send("x.y", b"1")
    bus.send("x.y", b"2")
    await world.until(lambda: heard == [b"1", b"2"])


async def test_a_request_is_answered(world: World, bus: Bus) -> None:
    async def double(data: bytes) -> bytes:
        return data * 2

    other = await world.bus()
    await other.serve(bus.subjects.api("double"), double)
    assert await bus.request(bus.subjects.api("double"), b"ab") == b"abab"
    assert await bus.request(bus.subjects.api("double"), b"") == b""


async def test_answers_may_be_large(bus: Bus) -> None:
    async def large(data: bytes) -> bytes:
        return data * 4

    await bus.serve(bus.subjects.api("large"), large)
    assert await bus.request(bus.subjects.api("large"), bytes(1_900_000)) == bytes(7_600_000)


async def test_requests_are_answered_side_by_side(bus: Bus) -> None:
    everybody = asyncio.Barrier(5)

    async def meet(data: bytes) -> bytes:
        await everybody.wait()
        return data

    await bus.serve(bus.subjects.api("meet"), meet)
    answers = await asyncio.gather(*(bus.request(bus.subjects.api("meet"), b"%d" % n) for n in range(5)))
    assert answers == [b"%d" % n for n in range(5)]


async def test_of_several_that_serve_one_answers(world: World) -> None:
    asked: list[int] = []
    buses = [await world.bus() for _ in range(3)]
    for number, bus in enumerate(buses):

        async def count(data: bytes, number: int = number) -> bytes:
            asked.append(number)
            return b""

        await bus.serve(bus.subjects.api("count"), count)
    for _ in range(30):
        await buses[0].request(buses[0].subjects.api("count"), b"")
    await world.quiet()
    assert len(asked) == 30
    assert len(set(asked)) > 1


async def test_a_refusal_arrives_with_its_code(bus: Bus) -> None:
    async def refuse(data: bytes) -> bytes:
        raise Refused("no run 7: check the id\nwith `holdfast runs list`", code="not_found")

    await bus.serve(bus.subjects.api("x"), refuse)
    with pytest.raises(Refused, match="no run 7: check the id with") as refused:
        await bus.request(bus.subjects.api("x"), b"")
    assert refused.value.code == "not_found"


async def test_a_failing_responder_is_an_internal_error_and_goes_on_serving(bus: Bus) -> None:
    async def fail(data: bytes) -> bytes:
        if data:
            return data
        raise ValueError("ünïcode\r\n")

    await bus.serve(bus.subjects.api("x"), fail)
    with pytest.raises(Refused, match="ValueError: ünïcode") as refused:
        await bus.request(bus.subjects.api("x"), b"")
    assert refused.value.code == "internal"
    assert await bus.request(bus.subjects.api("x"), b"ok") == b"ok"


async def test_where_nobody_serves_the_daemon_is_unavailable(bus: Bus) -> None:
    with pytest.raises(DaemonUnavailable, match="holdfast up"):
        await bus.request(bus.subjects.api("x"), b"")


async def test_who_stopped_serving_is_not_asked_any_more(bus: Bus) -> None:
    async def answer(data: bytes) -> bytes:
        return b""

    stop = await bus.serve(bus.subjects.api("x"), answer)
    await stop()
    await stop()
    with pytest.raises(DaemonUnavailable):
        await bus.request(bus.subjects.api("x"), b"")


async def test_an_answer_that_takes_too_long_is_not_waited_for(world: World, bus: Bus) -> None:
    at_last = asyncio.Event()

    async def never(data: bytes) -> bytes:
        await at_last.wait()
        return b""

    await bus.serve(bus.subjects.api("x"), never)
    asked = asyncio.ensure_future(bus.request(bus.subjects.api("x"), b"", timeout=0.2))
    await world.elapse(0.2)
    with pytest.raises(Unanswered):
        await asked
    at_last.set()


async def test_requests_under_way_are_finished_before_the_serving_stops(world: World, bus: Bus) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(data: bytes) -> bytes:
        begun.set()
        await go_on.wait()
        return b"done"

    stop = await bus.serve(bus.subjects.api("x"), slow)
    asked = asyncio.ensure_future((await world.bus()).request(bus.subjects.api("x"), b""))
    await begun.wait()
    stopping = asyncio.ensure_future(stop())
    go_on.set()
    assert await asked == b"done"
    await stopping


async def test_what_cannot_be_a_subject_is_not_sent(bus: Bus) -> None:
    with pytest.raises(BusError):
        bus.send("a b", b"")
    with pytest.raises(BusError):
        await bus.request("a.*", b"")


async def test_what_was_sent_before_closing_arrives(world: World, bus: Bus) -> None:
    heard: list[bytes] = []
    await bus.listen("x.y", lambda subject, data: heard.append(data))
    other = await world.bus()
    for n in range(100):
        other.send("x.y", b"%d" % n)
    await other.close()
    await world.until(lambda: len(heard) == 100)


async def test_a_closed_bus_says_so(world: World) -> None:
    bus = await world.bus()
    assert bus.connected
    pull = await bus.pull(await bus.ensure_consumer("q", 5), lambda item: None)
    pull.want(5)
    await bus.close()
    await bus.close()
    assert not bus.connected
    for call in (
        bus.publish(bus.subjects.log("r"), b""),
        bus.read(Stream.JOURNAL, bus.subjects.journal),
        bus.last(Stream.JOURNAL, bus.subjects.log("r")),
        bus.request(bus.subjects.api("x"), b""),
        bus.consumers(),
    ):
        with pytest.raises(ConnectError, match="closed"):
            await call
    bus.settle("$JS.ACK.x")
    bus.send("x.y", b"")
    pull.want(1)


async def test_closing_releases_nobody_elses_work(world: World) -> None:
    first, second = await world.bus(), await world.bus()
    heard: list[bytes] = []
    await second.listen("x.y", lambda subject, data: heard.append(data))
    await first.close()
    second.send("x.y", b"1")
    await world.until(lambda: heard == [b"1"])
