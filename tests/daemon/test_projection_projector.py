"""The projector over a bus: rebuilt, restarted, refused, and another journal under it."""

import logging
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import anyio
import pytest

from histories import ERROR, T0, Stored, Teller, random_history, run_id, store
from holdfast.bus import jetstream
from holdfast.bus.memory import MemoryBus
from holdfast.bus.ports import Bus
from holdfast.core.entries import AttemptStarted, RunDead, StepCompleted
from holdfast.wire import codec
from holdfast.wire.api import AuditEntry, LogBatch, LogLine
from holdfast.wire.subjects import Stream
from holdfast_daemon.ledger import Change
from holdfast_daemon.projection.projector import Projector
from holdfast_daemon.projection.rows import Ready, Standing
from holdfast_daemon.projection.store import Store, Unavailable
from servers import NatsServer

TELL = Teller()
A, B = run_id(1), run_id(2)


@asynccontextmanager
async def projecting(bus: Bus, path: Path, *listeners: "Heard") -> AsyncIterator[tuple[Projector, Store]]:
    opened = Store.open(path)
    projector = Projector(bus, opened, listeners)
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(projector.run)
            yield projector, opened
            tasks.cancel_scope.cancel()
    finally:
        opened.close()


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.begun: list[tuple[list[Standing], list[Ready]]] = []

    def restart(self, standings: Sequence[Standing], ready: Sequence[Ready]) -> None:
        self.begun.append((list(standings), list(ready)))

    def take(self, changes: Sequence[Change]) -> None:
        self.changes += changes


def rows(opened: Store, columns: str = "id, state", table: str = "runs") -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = opened._con.execute(f"SELECT {columns} FROM {table} ORDER BY ALL").fetchall()
    return found


def output(run: str, *texts: str) -> Stored:
    lines = tuple(LogLine(T0, 20, "stdout", text) for text in texts)
    return Stored(TELL.subjects.output("ship", run), codec.encode(LogBatch(run, "ship", 1, "w1", lines)))


async def test_what_is_stored_is_in_the_history_within_the_second(tmp_path: Path) -> None:
    bus = MemoryBus("shop")
    async with projecting(bus, tmp_path / "h.duckdb") as (projector, opened):
        last = await store(bus, TELL.created(A), TELL.created(B))
        assert await projector.reach(last)
        assert rows(opened) == [(A, "queued"), (B, "queued")]
        assert projector.projected == last


async def test_a_restarted_projector_goes_on_where_it_was(tmp_path: Path) -> None:
    bus = MemoryBus("shop")
    messages = list(random_history(5, 10, TELL))
    heard = Heard()
    for end in (0, 50, 51, len(messages)):
        async with projecting(bus, tmp_path / "h.duckdb", heard) as (projector, _):
            last = await store(bus, *messages[(await bus.last_seq(Stream.JOURNAL)) : end])
            assert await projector.reach(last)
    assert [change.record.seq for change in heard.changes] == sorted({c.record.seq for c in heard.changes})
    async with projecting(MemoryBus("shop", bus.server), tmp_path / "again.duckdb") as (projector, whole):
        assert await projector.reach(len(messages), within=5)
        expected = rows(whole, "* EXCLUDE (fold)")
    async with projecting(bus, tmp_path / "h.duckdb") as (_, opened):
        assert rows(opened, "* EXCLUDE (fold)") == expected


async def test_listeners_begin_with_what_the_history_holds(tmp_path: Path) -> None:
    bus = MemoryBus("shop")
    async with projecting(bus, tmp_path / "h.duckdb") as (projector, _):
        await projector.reach(await store(bus, TELL.created(A)))
    heard = Heard()
    async with projecting(bus, tmp_path / "h.duckdb", heard) as (projector, _):
        assert await projector.reach(await bus.last_seq(Stream.JOURNAL))
        assert [standing.runs for standing in heard.begun[0][0]] == [1]
        assert [ready.run for ready in heard.begun[0][1]] == [A]
        assert heard.changes == []
        assert list(projector.ledger.live) == [A]


async def test_log_lines_are_projected_with_a_cursor_of_their_own(tmp_path: Path) -> None:
    bus = MemoryBus("shop")
    for text in ("one", "two"):
        async with projecting(bus, tmp_path / "h.duckdb") as (projector, opened):
            await bus.publish(*output(A, text, text.upper()))
            await bus.publish(TELL.subjects.output("ship", A), b"\xc1")
            assert await projector.reach(await bus.last_seq(Stream.LOGS), stream=Stream.LOGS)
            found = rows(opened, "seq, line, text", "logs")
    assert found == [(1, 0, "one"), (1, 1, "ONE"), (3, 0, "two"), (3, 1, "TWO")]


async def test_a_journal_that_went_backwards_is_reported_and_projected_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bus = MemoryBus("shop")
    async with projecting(bus, tmp_path / "h.duckdb") as (projector, _):
        await projector.reach(await store(bus, TELL.created(A), TELL.created(B)))
    other = MemoryBus("shop")
    await store(other, TELL.created(run_id(3)))
    with caplog.at_level(logging.ERROR):
        async with projecting(other, tmp_path / "h.duckdb") as (projector, opened):
            assert await projector.reach(1)
            assert rows(opened) == [(run_id(3), "queued")]
    assert "the journal went backwards or is another one" in caplog.text
    assert len([name for name in os.listdir(tmp_path) if name.startswith("h.duckdb.bad-")]) == 1


async def test_another_journal_that_is_longer_is_known_by_the_time_of_a_message(tmp_path: Path) -> None:
    bus = MemoryBus("shop")
    async with projecting(bus, tmp_path / "h.duckdb") as (projector, _):
        await projector.reach(await store(bus, TELL.created(A)))
    await anyio.sleep(0.01)  # so that the other journal's first message has another time
    other = MemoryBus("shop")
    await store(other, TELL.created(B), TELL.created(run_id(3)))
    async with projecting(other, tmp_path / "h.duckdb") as (projector, opened):
        assert await projector.reach(2)
        assert rows(opened, "id") == [(B,), (run_id(3),)]


async def test_a_log_stream_that_was_lost_is_followed_from_its_beginning(tmp_path: Path) -> None:
    bus = MemoryBus("shop")
    async with projecting(bus, tmp_path / "h.duckdb") as (projector, _):
        await store(bus, output(A, "one"), output(A, "two"))
        assert await projector.reach(2, stream=Stream.LOGS)
    other = MemoryBus("shop")
    async with projecting(other, tmp_path / "h.duckdb") as (projector, opened):
        await store(other, output(A, "three"))
        assert await projector.reach(1, stream=Stream.LOGS)
        assert rows(opened, "text", "logs") == [("one",), ("three",), ("two",)]


@pytest.mark.parametrize("where", ["memory", "jetstream"])
async def test_the_history_lets_go_of_what_its_streams_hold_no_more(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr("holdfast_daemon.projection.projector.SLACK", 0.1)
    bus: Bus = MemoryBus("shop")
    if where == "jetstream":
        bus = await jetstream.connect(request.getfixturevalue("nats").url, project=f"p{uuid4().hex[:10]}")
        await bus.ensure_streams()

    def said(run: str, text: str) -> Stored:
        batch = LogBatch(run, "ship", 1, "w1", (LogLine(time.time(), 20, "stdout", text),))
        return Stored(bus.subjects.output("ship", run), codec.encode(batch))

    async def did(action: str) -> int:
        entry = AuditEntry(at=time.time(), action=action, kind="queue", targets=("q",))
        return await bus.publish(bus.subjects.audit, codec.encode(entry))

    async def kept(table: str, column: str) -> list[tuple[object, ...]]:
        async with projecting(bus, tmp_path / "h.duckdb") as (projector, opened):
            for stream in (Stream.LOGS, Stream.AUDIT):
                assert await projector.reach(await bus.last_seq(stream), stream=stream)
            await anyio.sleep(0.1)  # it forgets as it begins
            return rows(opened, column, table)

    await store(bus, said(A, "one"), said(A, "two"))
    await did("pause")
    await anyio.sleep(0.2)
    await store(bus, said(B, "three"))
    assert await kept("logs", "text") == [("one",), ("three",), ("two",)]
    await did("resume")
    await bus.purge(Stream.LOGS, bus.subjects.output("ship", A))  # as their age does
    await bus.delete(Stream.AUDIT, 1)
    assert await kept("logs", "text") == [("three",)]
    assert await kept("audit", "action") == [("resume",)]
    await bus.purge(Stream.LOGS, bus.subjects.output("*", "*"))
    assert await kept("logs", "text") == []
    if where == "jetstream":
        await bus.remove_streams()
        await bus.close()


async def test_a_message_whose_values_are_refused_is_passed_over_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bus = MemoryBus("shop")
    poison = TELL.log(A, "n1", AttemptStarted(T0, 1, "w1", "n1"), StepCompleted("/a#1", T0, 1.0, b""))
    messages = [TELL.created(run_id(number)) for number in range(3, 30)]
    bad = TELL.created(B)._replace(data=TELL.created(B, priority=1 << 63).data)  # no BIGINT
    await store(bus, TELL.created(A), *messages[:9], bad, *messages[9:], poison)
    async with projecting(bus, tmp_path / "h.duckdb") as (projector, opened):
        assert await projector.reach(await bus.last_seq(Stream.JOURNAL), within=10)
        assert len(rows(opened)) == 28
        assert rows(opened)[0] == (A, "running")
        assert projector.skipped == 1
    assert "message 11 of the journal is missing in the history" in caplog.text


async def test_a_history_that_can_not_be_written_is_caught_up_with_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("holdfast_daemon.projection.projector._FIRST_PAUSE", 0.0)
    bus = MemoryBus("shop")
    async with projecting(bus, tmp_path / "h.duckdb") as (projector, opened):
        write, failures = opened._write, [OSError("full")] * 3

        def failing(*given: object) -> None:
            if failures:
                failures.pop()
                raise Unavailable("the disk is full")
            write(*given)  # type: ignore[arg-type]

        opened._write = failing  # type: ignore[method-assign,assignment]
        await store(bus, TELL.created(A))
        assert await projector.reach(1, within=5)
        assert rows(opened) == [(A, "queued")]
    assert caplog.text.count("the history can't be written") == 3


async def test_a_history_that_is_lost_under_way_is_projected_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast_daemon.projection.projector._FIRST_PAUSE", 0.0)
    bus, heard = MemoryBus("shop"), Heard()
    async with projecting(bus, tmp_path / "h.duckdb", heard) as (projector, opened):
        assert await projector.reach(await store(bus, TELL.created(A)))
        opened.set_aside("a test")
        last = await store(bus, TELL.created(B))
        with anyio.fail_after(10):
            while not (len(heard.begun) == 2 and await projector.reach(last, within=0.05)):
                await bus.last_seq(Stream.JOURNAL)
        assert rows(opened, "id") == [(A,), (B,)]


async def test_messages_that_are_deleted_at_the_end_do_not_hold_up_an_answer(tmp_path: Path) -> None:
    bus = MemoryBus("shop")
    async with projecting(bus, tmp_path / "h.duckdb") as (projector, _):
        last = await store(bus, TELL.created(A), TELL.delayed(B, T0))
        await bus.delete(Stream.JOURNAL, last)
        assert await projector.reach(last)
        with anyio.fail_after(0.05):
            assert await projector.reach(last)


async def test_dead_letters_at_the_end_do_not_hold_up_an_answer(tmp_path: Path) -> None:
    bus = MemoryBus("shop")
    async with projecting(bus, tmp_path / "h.duckdb") as (projector, opened):
        dead = TELL.log(A, "n1", AttemptStarted(T0, 1, "w1", "n1"), RunDead(T0, ERROR, "aborted"))
        last = await store(bus, TELL.created(A), dead, Stored("hf.shop.dlq.default.x", b"x"))
        assert await projector.reach(last)
        assert rows(opened) == [(A, "dead")]


async def test_with_a_real_server_that_is_killed_under_way_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    messages = list(random_history(2, 20, TELL))
    with NatsServer(tmp_path / "nats") as nats:
        async with await jetstream.connect(nats.url, project="shop") as bus:
            await bus.ensure_streams()
            async with projecting(bus, tmp_path / "h.duckdb") as (projector, opened):
                assert await projector.reach(await store(bus, *messages[:200]), within=10)
                await nats.crash()
                last = await store(bus, *messages[200:])
                assert await projector.reach(last, within=20)
                found = rows(opened, "* EXCLUDE (fold)")
            async with projecting(bus, tmp_path / "new.duckdb") as (projector, opened):
                assert await projector.reach(last, within=20)
                assert rows(opened, "* EXCLUDE (fold)") == found
