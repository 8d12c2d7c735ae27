"""The connection to a real server: who gets in, what is refused, and what stands there."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop

from holdfast.bus import topology
from holdfast.bus.api import Api
from holdfast.bus.jetstream import JetStreamBus, connect
from holdfast.bus.layout import Layout
from holdfast.bus.link import Link
from holdfast.bus.ports import DUPLICATE_WINDOW, EVENTS_DUPLICATE_WINDOW, Item
from holdfast.errors import BusError, ConnectError, ServerError, Unanswered
from holdfast.wire.subjects import Stream, Subjects
from servers import NatsServer, free_port
from worlds import eventually


async def test_nobody_there_is_said_with_the_url(caplog: pytest.LogCaptureFixture) -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    with pytest.raises(ConnectError, match=f"no NATS server answers at {url}"):
        await connect(url, project="shop")


async def test_a_wrong_password_is_refused_and_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with NatsServer(tmp_path, user="app", password="right") as server:
        with pytest.raises(ConnectError, match="refused the credentials") as refused:
            await connect(server.url, project="shop", user="app", password="wr0ng")
        with_userinfo = server.url.replace("nats://", "nats://app:wr0ng@")
        with pytest.raises(ConnectError, match="refused the credentials") as also:
            await connect(with_userinfo, project="shop")
        async with await connect(server.url, project="shop", user="app", password="right") as bus:
            assert bus.connected
    assert "wr0ng" not in f"{refused.value} {also.value} {caplog.text}"


async def test_credentials_that_are_no_file_are_said(nats: NatsServer, tmp_path: Path) -> None:
    with pytest.raises(ConnectError, match="expected a NATS credentials file"):
        await connect(nats.url, project="shop", creds=str(tmp_path / "none.creds"))


async def test_without_jetstream_the_server_is_unfit(tmp_path: Path) -> None:
    with NatsServer(tmp_path, jetstream=False) as server:
        async with await connect(server.url, project="shop") as bus:
            with pytest.raises(ServerError, match="JetStream is not enabled"):
                await bus.ensure_streams()


@pytest.mark.parametrize("version", ["2.11.9", "2.9.0", "1.4.1", "", "0.x"])
def test_an_older_server_is_unfit(version: str) -> None:
    with pytest.raises(ServerError, match=r"expected nats-server 2\.12 or newer"):
        topology.check_version(version)


@pytest.mark.parametrize("version", ["2.12.0", "2.15.1", "2.16.0-dev", "3.0.0"])
def test_a_newer_server_is_fit(version: str) -> None:
    topology.check_version(version)


async def stands(bus: JetStreamBus, stream: Stream) -> dict[str, object]:
    api: Api = bus._api
    return (await api.stream(stream.of(bus.subjects.project))).config


async def test_streams_are_made_once_and_changed_when_the_layout_does(nats: NatsServer) -> None:
    async with await connect(nats.url, project="layout") as bus:
        await bus.ensure_streams()
        await bus.publish(bus.subjects.log("r"), b"kept")
        await bus.ensure_streams()
        before = await stands(bus, Stream.LOGS)
        await bus.ensure_streams(Layout(logs_bytes=1 << 20, events_subjects=("orders.>",)))
        assert (await stands(bus, Stream.LOGS))["max_bytes"] == 1 << 20 != before["max_bytes"]
        await bus.publish("orders.eu.new", b"x")
        assert (await bus.last(Stream.EVENTS, "orders.eu.new")).data == b"x"
        assert (await bus.last(Stream.JOURNAL, bus.subjects.log("r"))).data == b"kept"
        await bus.remove_streams()
        await bus.remove_streams()


async def test_the_journal_can_do_what_the_design_asks_of_it(nats: NatsServer) -> None:
    async with await connect(nats.url, project="design") as bus:
        await bus.ensure_streams()
        config = await stands(bus, Stream.JOURNAL)
        await bus.remove_streams()
    assert config["allow_msg_schedules"]
    assert config["allow_msg_ttl"]
    assert config["allow_direct"]
    assert config["retention"] == "limits"
    assert config["max_age"] == 0
    assert config["max_bytes"] == config["max_msgs"] == -1


async def test_events_are_known_as_repeated_for_longer_than_anything_else_and_never_longer_than_they_are_kept(
    nats: NatsServer,
) -> None:
    async with await connect(nats.url, project="windows") as bus:
        await bus.ensure_streams()
        windows = {stream: (await stands(bus, stream))["duplicate_window"] for stream in Stream}
        assert windows.pop(Stream.EVENTS) == EVENTS_DUPLICATE_WINDOW * 1e9
        assert set(windows.values()) == {DUPLICATE_WINDOW * 1e9}
        await bus.ensure_streams(Layout(events_age=300))
        assert (await stands(bus, Stream.EVENTS))["duplicate_window"] == 300e9
        await bus.remove_streams()


async def test_logs_that_stand_with_another_persistence_keep_it(nats: NatsServer) -> None:
    async with await connect(nats.url, project="old") as bus:
        name = Stream.LOGS.of("old")
        await bus._api.call(f"STREAM.CREATE.{name}", {"name": name, "subjects": ["hf.old.log.>"]})
        await bus.ensure_streams()
        assert "persist_mode" not in await stands(bus, Stream.LOGS)
        await bus.remove_streams()


async def test_a_stream_that_cannot_be_changed_is_said(nats: NatsServer) -> None:
    async with await connect(nats.url, project="three") as bus:
        with pytest.raises(ServerError, match="HF_three"):
            await bus.ensure_streams(Layout(replicas=3))


async def test_projects_do_not_see_each_other(nats: NatsServer) -> None:
    async with await connect(nats.url, project="one") as one, await connect(nats.url, project="two") as two:
        await one.ensure_streams()
        await two.ensure_streams()
        await one.publish(one.subjects.log("r"), b"x")
        assert await two.last_seq(Stream.JOURNAL) == 0
        await one.remove_streams()
        await two.remove_streams()


async def test_what_a_user_may_not_publish_is_refused_at_once(tmp_path: Path) -> None:
    users = """authorization { users: [
        { user: all, password: pw },
        { user: reader, password: pw, permissions: { publish: { deny: ["hf.shop.j.*.log"] } } } ] }"""
    with NatsServer(tmp_path, extra=users) as server:
        async with (
            await connect(server.url, project="shop", user="all", password="pw") as owner,
            await connect(server.url, project="shop", user="reader", password="pw") as reader,
        ):
            await owner.ensure_streams()
            async with asyncio.timeout(2):
                with pytest.raises(BusError, match="may not publish"):
                    await reader.publish(reader.subjects.log("R1"), b"x", expect=0)
            await reader.publish(reader.subjects.inbox("R1"), b"x")


async def test_a_server_that_hangs_leaves_a_publish_unanswered_and_a_fenced_one_single(own_server: NatsServer) -> None:
    async with await connect(own_server.url, project="shop", answer_within=0.5) as bus:
        await bus.ensure_streams()
        os.kill(own_server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(Unanswered, match="unknown until it is read"):
                await bus.publish(bus.subjects.log("plain"), b"x")
            fenced = asyncio.ensure_future(bus.publish(bus.subjects.log("fenced"), b"x", expect=0))
            with pytest.raises(Unanswered):
                await bus.read(Stream.JOURNAL, bus.subjects.journal)
            with pytest.raises(Unanswered):
                await fenced
            repeated = asyncio.ensure_future(bus.publish(bus.subjects.log("repeated"), b"x", expect=0))
            await asyncio.sleep(0.75)  # it is sent again after half a second
        finally:
            os.kill(own_server.pid, signal.SIGCONT)
        with pytest.raises(Unanswered):  # as the repeat was refused, or else as the machine stalled for its time
            await repeated
        await bus.publish(bus.subjects.log("later"), b"x")  # by then the server has gone over what came before
        for fenced_one in ("fenced", "repeated"):
            assert [m.data for m in await bus.read(Stream.JOURNAL, bus.subjects.log(fenced_one))] == [b"x"]
        assert len(await bus.read(Stream.JOURNAL, bus.subjects.log("plain"))) == 1


async def test_who_is_cancelled_in_the_moment_of_an_answer_ends(nats: NatsServer) -> None:
    async with await connect(nats.url, project="shop") as bus:

        async def listens() -> None:
            await bus.listen("some.subject", lambda *_: None)
            await asyncio.Event().wait()

        listening = asyncio.create_task(listens())
        while not bus._link._settling:  # noqa: ASYNC110  # seen within the turn in which it is asked
            await asyncio.sleep(0)
        (pong,) = bus._link._settling
        pong.add_done_callback(lambda _: listening.cancel())
        await asyncio.wait([listening], timeout=10)
        assert listening.cancelled()


async def test_who_is_cancelled_while_it_connects_ends_even_if_the_client_does_not_hear_of_it(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, real = asyncio.Event(), Link.connect

    async def deaf(self: Link, *args: Any, **options: Any) -> None:
        await real(self, *args, **options)
        begun.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    monkeypatch.setattr(Link, "connect", deaf)
    connecting = asyncio.create_task(connect(nats.url, project="shop"))
    await begun.wait()
    connecting.cancel()
    await asyncio.wait([connecting], timeout=10)
    assert connecting.cancelled()


async def test_closing_is_quick_where_the_server_is_gone(own_server: NatsServer) -> None:
    bus = await connect(own_server.url, project="shop")
    await bus.ensure_streams()
    pull = await bus.pull(await bus.ensure_consumer("q", 5), lambda item: None)
    pull.want(1)
    own_server.kill()
    async with asyncio.timeout(2):
        await bus.close()


def test_under_uvloop_everything_works_as_well(own_server: NatsServer) -> None:
    async def main() -> None:
        async with await connect(own_server.url, project="shop") as bus:
            await bus.ensure_streams()
            items: list[Item] = []
            pull = await bus.pull(await bus.ensure_consumer("q", 5), items.append)
            pull.want(5)  # after the crash the server may deliver what it had delivered before
            following = bus.follow(Stream.JOURNAL, bus.subjects.journal, first=1)
            assert await anext(following) == []
            await bus.publish(bus.subjects.ready("a", "q", 5), b"1", expect=0)
            assert [m.data for m in await anext(following)] == [b"1"]
            await own_server.crash()
            await bus.publish(bus.subjects.ready("b", "q", 5), b"2", expect=0)
            async for batch in following:
                if batch:
                    assert [m.data for m in batch] == [b"2"]
                    break
            await eventually(lambda: {item.data for item in items} == {b"1", b"2"})
            await following.aclose()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_the_streams_of_a_project_take_all_its_subjects() -> None:
    subjects = Subjects("shop")
    patterns = [pattern for config in topology.streams(subjects, Layout()).values() for pattern in config["subjects"]]
    assert sorted(patterns) == [
        "hf.shop.audit",
        "hf.shop.blob.>",
        "hf.shop.ctl.>",
        "hf.shop.dlq.>",
        "hf.shop.evt.>",
        "hf.shop.j.>",
        "hf.shop.lead",
        "hf.shop.log.>",
        "hf.shop.secret.>",
    ]


async def test_a_foreign_subject_that_another_stream_stores_is_refused_with_its_name(nats: NatsServer) -> None:
    async with await connect(nats.url, project="p1") as theirs, await connect(nats.url, project="p2") as ours:
        await theirs.ensure_streams(Layout(events_subjects=("taken.>",)))
        with pytest.raises(
            ServerError, match=r"expected the subject taken\.x to be stored by no stream but HF_p2_EVENTS"
        ):
            await ours.ensure_streams(Layout(events_subjects=("free.x", "taken.x")))
        await ours.ensure_streams(Layout(events_subjects=("free.x",)))
        await ours.remove_streams()
        await theirs.remove_streams()
