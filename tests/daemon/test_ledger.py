"""The ledger: every message once, with the run before and after it, across restarts."""

import logging

import pytest
from msgspec.structs import replace

from histories import ERROR, T0, Stored, Teller, random_history, records, run_id, store
from holdfast.bus.clock import VirtualClock
from holdfast.bus.memory import MemoryBus, MemoryServer
from holdfast.core.entries import (
    AttemptStarted,
    CancelRequested,
    LetterDropped,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunDead,
    RunRetried,
    StepCompleted,
)
from holdfast.core.lifecycle import fold
from holdfast.core.model import Run, State, Tick
from holdfast.wire.codec import decode_entry, encode
from holdfast.wire.subjects import Stream
from holdfast_daemon.ledger import Change, Ledger

TELL = Teller()
A, B = run_id(1), run_id(2)


def from_the_start(bus: MemoryBus) -> Ledger:
    return Ledger(bus, 0, lambda run: 1)


async def all_of(ledger: Ledger) -> list[Change]:
    """Until the ledger has caught up."""
    changes: list[Change] = []
    feed = ledger.changes()
    async for found in feed:
        if not found:
            break
        changes += found
    await feed.aclose()  # type: ignore[attr-defined]
    return changes


def started(run: str, nonce: str = "n1", attempt: int = 1) -> Stored:
    return TELL.log(run, nonce, AttemptStarted(T0 + 5, attempt, "w1", nonce))


async def test_each_message_is_a_change_with_the_run_before_and_after_it() -> None:
    bus = MemoryBus("shop")
    await store(bus, TELL.created(A), started(A), TELL.log(A, "n1", RunCompleted(T0 + 6, b"R")))
    first, second, third = await all_of(from_the_start(bus))
    assert (first.before, first.after.state, first.after.payload) == (None, State.QUEUED, b"\x81\xa1a\x01")
    assert second.before is not None
    assert (second.before.state, second.before.payload, second.after.state) == (State.QUEUED, b"", State.RUNNING)
    assert (third.after.state, third.after.result) == (State.COMPLETED, b"R")
    assert [change.record.seq for change in (first, second, third)] == [1, 2, 3]


async def test_only_live_runs_are_kept_and_without_their_payloads() -> None:
    bus = MemoryBus("shop")
    await store(bus, TELL.created(A), TELL.created(B), started(A), TELL.log(A, "n1", RunCompleted(T0 + 6, b"R")))
    ledger = from_the_start(bus)
    await all_of(ledger)
    assert list(ledger.live) == [B]
    assert ledger.live[B].payload == b""


async def test_a_final_run_that_is_retried_is_read_back_from_the_journal() -> None:
    bus = MemoryBus("shop")
    await store(bus, TELL.created(A), started(A), TELL.log(A, "n1", StepCompleted("/a#1", T0, 1, b"V")))
    await store(bus, TELL.log(A, "n1", RunDead(T0 + 6, ERROR, "aborted")), TELL.log(A, "op", RunRetried(T0 + 9)))
    ledger = from_the_start(bus)
    change = (await all_of(ledger))[-1]
    assert change.before is not None
    assert (change.before.state, change.before.steps, change.after.state) == (State.DEAD, 1, State.QUEUED)
    assert change.after.payload == b"\x81\xa1a\x01"
    assert ledger.live[A].payload == b""


async def test_after_a_restart_runs_go_on_from_what_was_folded() -> None:
    bus = MemoryBus("shop")
    last = await store(bus, TELL.created(A), started(A))
    before = from_the_start(bus)
    await all_of(before)
    await store(bus, TELL.log(A, "n1", RunDead(T0 + 6, ERROR, "aborted")))
    given = await all_of(Ledger(bus, last, lambda run: 1, dict(before.live)))
    read_back = await all_of(Ledger(bus, last, lambda run: 1))
    assert [change.after for change in given] == [light(change.after) for change in read_back]


def light(run: Run) -> Run:
    return replace(run, payload=b"")


async def test_reading_back_begins_at_the_first_sequence_that_is_known() -> None:
    bus = MemoryBus("shop")
    await store(bus, TELL.created(B))
    last = await store(bus, TELL.created(A), started(A), TELL.log(A, "n1", RunDead(T0 + 6, ERROR, "aborted")))
    asked: list[str] = []

    def first_of(run: str) -> int:
        asked.append(run)
        return 2

    await store(bus, TELL.log(A, "op", LetterDropped(T0 + 9)))
    (change,) = await all_of(Ledger(bus, last, first_of))
    assert change.after.state is State.FAILED
    assert asked == [A]


async def test_a_timer_that_fires_while_nobody_follows_makes_the_delayed_run_ready() -> None:
    bus = MemoryBus("shop")
    timer = TELL.delayed(A, T0 + 60)
    ready = TELL.created(A, due=T0 + 60)
    last = await store(bus, timer)
    before = from_the_start(bus)
    await all_of(before)
    assert before.live[A].state is State.DELAYED
    await bus.delete(Stream.JOURNAL, last)
    await store(bus, ready)
    (change,) = await all_of(Ledger(bus, last, lambda run: 1, dict(before.live)))
    assert change.before is not None
    assert (change.before.state, change.after.state, change.after.first) == (State.DELAYED, State.QUEUED, 1)


async def test_a_timer_that_fires_in_the_moment_of_the_cancel_creates_nothing() -> None:
    bus = MemoryBus("shop")
    ledger = from_the_start(bus)
    created = TELL.created(A, due=T0 + 60)
    last = await store(bus, TELL.delayed(A, T0 + 60))
    copy = decode_entry(created.data)
    assert isinstance(copy, RunCreated)
    await store(bus, TELL.log(A, "op", RunCancelled(T0 + 30, created=copy)))
    await bus.delete(Stream.JOURNAL, last)
    await store(bus, created)
    *_, fired = await all_of(ledger)
    assert fired.after.state is State.CANCELLED
    assert not ledger.live


async def test_unreadable_messages_are_counted_and_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    bus = MemoryBus("shop")
    await store(bus, Stored("hf.shop.j.x.log", b"\xc1"), Stored("hf.shop.j.x.what", b""), TELL.created(A))
    ledger = from_the_start(bus)
    with caplog.at_level(logging.WARNING):
        changes = await all_of(ledger)
    assert [change.run_id for change in changes] == [A]
    assert (ledger.unreadable, ledger.position) == (2, 3)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


async def test_dead_letters_move_the_position_and_change_nothing() -> None:
    bus = MemoryBus("shop")
    await store(bus, TELL.created(A), Stored("hf.shop.dlq.default.x", b"whatever"))
    ledger = from_the_start(bus)
    assert len(await all_of(ledger)) == 1
    assert (ledger.position, ledger.unreadable, ledger.caught_up) == (2, 0, True)


async def test_a_message_to_an_unknown_run_changes_nothing() -> None:
    bus = MemoryBus("shop")
    await store(bus, TELL.inbox(A, CancelRequested(T0)))
    assert await all_of(from_the_start(bus)) == []


@pytest.mark.parametrize("seed", range(5))
async def test_the_ledger_folds_as_the_core_does_wherever_it_was_restarted(seed: int) -> None:
    bus = MemoryBus("shop")
    messages = list(random_history(seed, 6, TELL))
    await store(bus, *messages)
    expected: dict[str, Run | None] = {}
    for run, record in records(messages, TELL.subjects):
        expected[run] = fold([record], expected.get(run))
    for cursor in range(0, len(messages), 7):
        changes = await all_of(Ledger(bus, cursor, lambda run: 1))
        found = {change.run_id: light(change.after) for change in changes}
        assert found == {run: light(expected[run]) for run in found}  # type: ignore[arg-type]


async def test_a_tick_that_is_parked_is_no_run_and_one_that_fires_again_is_the_run_that_has_ended() -> None:
    clock = VirtualClock(T0)
    bus = MemoryBus("shop", MemoryServer(clock))
    ready = bus.subjects.ready(A, "default", 5)
    created = RunCreated(A, T0 + 60, "t", b"p", due=T0 + 60, tick=Tick("nightly", T0 + 60))
    await bus.publish_at(bus.subjects.timer(A, "ready"), encode(created), due=T0 + 60, target=ready)
    assert await all_of(from_the_start(bus)) == []
    clock.advance(60)
    await store(bus, started(A), TELL.log(A, "n1", RunCompleted(T0 + 66, b"R")))
    ledger = from_the_start(bus)
    await all_of(ledger)
    clock.advance(5)
    await bus.publish_at(bus.subjects.timer(A, "ready"), encode(created), due=T0, target=ready)
    clock.advance(0)
    (change,) = [change for change in await all_of(ledger) if change.record.kind == "ready"]
    assert change.before is not None
    assert (change.before.state, change.after.state) == (State.COMPLETED, State.COMPLETED)
    assert ledger.live == {}
