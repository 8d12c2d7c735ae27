"""What each entry writes into the tables; every expectation is written by hand."""

from datetime import datetime

import pytest
from msgspec.structs import replace

from histories import ERROR, T0, run_id
from holdfast.core.entries import (
    AttemptFailed,
    AttemptResumed,
    AttemptStarted,
    ChildEnded,
    ChildTriggered,
    Entry,
    Offered,
    RunCompleted,
    RunCreated,
    RunDead,
    RunRetried,
    StepCompleted,
    StepFailed,
    StepRetried,
    StepStarted,
    StepVolatile,
    Suspended,
)
from holdfast.core.lifecycle import Kind, Record, apply
from holdfast.core.model import Parent, Run
from holdfast.wire.api import LogBatch, LogLine
from holdfast_daemon.ledger import Change
from holdfast_daemon.projection.rows import (
    FIXED,
    KEPT,
    LogMessage,
    RunRow,
    instant,
    journal_rows,
    log_rows,
    pack,
    unpack,
    utc,
)

A, B = run_id(1), run_id(2)
CREATED = RunCreated(A, T0, "ship", b"P", "mail", 3, parent=Parent(B, "/ship#1"), source="cli", tags=("eu", "vip"))
CREATED_AT = datetime(2023, 11, 14, 22, 13, 20)


class Tale:
    """The changes of one run."""

    def __init__(self) -> None:
        self.run: Run | None = None
        self.seq = 0
        self.changes: list[Change] = []

    def say(self, *entries: Entry, kind: Kind = Kind.LOG, writer: str = "n1") -> "Tale":
        self.seq += 1
        record = Record(self.seq, kind, writer, entries)
        after = apply(self.run, record)
        assert after is not None
        self.changes.append(Change(after.id, record, T0 + 100 * self.seq, self.run, after))
        self.run = after
        return self

    def created(self) -> "Tale":
        return self.say(CREATED, kind=Kind.READY, writer="")

    def started(self, writer: str = "n1") -> "Tale":
        return self.say(AttemptStarted(T0 + 1, 1, "w1", writer), writer=writer)


def test_a_created_run_is_one_new_row_with_everything_its_trigger_said() -> None:
    rows = journal_rows(Tale().created().changes)
    (row,) = rows.created
    assert row._replace(fold=None) == RunRow(
        id=A,
        task="ship",
        queue="mail",
        priority=3,
        state="queued",
        created_at=CREATED_AT,
        started_at=None,
        finished_at=None,
        due=None,
        moved_at=datetime(2023, 11, 14, 22, 15),
        attempt=0,
        steps=0,
        worker=None,
        parent=B,
        parent_key="/ship#1",
        source="cli",
        tags=("eu", "vip"),
        error_type="",
        error="",
        traceback="",
        error_value=None,
        reason="",
        last_key="",
        payload=b"P",
        result=None,
        first=1,
        fold=None,
    )
    assert (rows.changed, rows.attempts, rows.checkpoints) == ([], [], [])


def test_a_run_that_begins_and_ends_in_one_batch_is_one_row() -> None:
    tale = Tale().created().started().say(StepCompleted("/pay#1", T0 + 3, 2.0, b"V"), RunCompleted(T0 + 4, b"R"))
    rows = journal_rows(tale.changes)
    (row,) = rows.created
    assert (row.state, row.worker, row.attempt, row.steps, row.last_key) == ("completed", "w1", 1, 1, "/pay#1")
    assert (row.result, row.payload, row.fold) == (b"R", b"P", None)
    assert row.finished_at == datetime(2023, 11, 14, 22, 13, 24)
    assert rows.changed == []


def test_a_run_that_existed_before_the_batch_is_a_changed_row_whose_kept_columns_say_nothing() -> None:
    tale = Tale().created().started()
    rows = journal_rows(tale.say(StepCompleted("/pay#1", T0 + 3, 2.0, b"V")).changes[-1:])
    assert rows.created == []
    (row,) = rows.changed
    assert (row.moved_at, row.worker, row.steps) == (None, "w1", 1)


def test_a_change_without_the_payload_leaves_it_as_it_was() -> None:
    tale = Tale().created()
    last = tale.started().changes[-1]
    light = last._replace(after=apply_light(last.after))
    (row,) = journal_rows([light]).changed
    assert row.payload is None


def apply_light(run: Run) -> Run:
    return replace(run, payload=b"")


def test_a_dead_run_that_is_retried_from_the_start_is_queued_again_with_nothing_left_of_its_end() -> None:
    tale = Tale().created().started().say(StepCompleted("/pay#1", T0 + 3, 2.0, b"V"))
    tale.say(RunDead(T0 + 5, ERROR, "attempts used up"))
    (dead,) = journal_rows(tale.changes[-1:]).changed
    assert (dead.state, dead.error_type, dead.error, dead.reason) == (
        "dead",
        ERROR.type,
        ERROR.message,
        "attempts used up",
    )
    assert (dead.traceback, dead.error_value) == ("Traceback ...", b"\x01")
    tale.say(RunRetried(T0 + 9, from_start=True, payload=b"Q"), writer="op")
    (row,) = journal_rows(tale.changes[-1:]).changed
    assert (row.state, row.finished_at, row.error_type, row.error, row.reason) == ("queued", None, "", "", "")
    assert (row.payload, row.result, row.steps, row.last_key) == (b"Q", None, 0, "")
    assert row.moved_at == datetime(2023, 11, 14, 22, 21, 40)


def test_each_stretch_of_a_worker_has_a_beginning_and_an_end() -> None:
    tale = Tale().created().started().say(ChildTriggered("/c#1", T0 + 2, B, "pack"))
    tale.say(Suspended(T0 + 3, (B,)))
    tale.say(ChildEnded("/c#1", T0 + 4, B, "completed", b"C"), kind=Kind.IN, writer="")
    tale.say(Offered(A, 1, 4), kind=Kind.READY, writer="")
    tale.say(AttemptResumed(T0 + 5, 1, "w2", "n2"), AttemptFailed(T0 + 6, ERROR, T0 + 9), writer="n2")
    rows = journal_rows(tale.changes)
    assert [(row.seq, row.what, row.attempt, row.worker, row.error_type) for row in rows.attempts] == [
        (2, "started", 1, "w1", ""),
        (4, "suspended", 1, "", ""),
        (7, "resumed", 1, "w2", ""),
        (7, "failed", 1, "", ERROR.type),
    ]
    assert rows.created[0].worker == "w2"
    assert rows.created[0].state == "retrying"


def test_each_recorded_outcome_is_a_checkpoint() -> None:
    tale = Tale().created().started()
    tale.say(StepStarted("/a#1", T0 + 2))
    tale.say(StepRetried("/a#1", T0 + 3, 1.0, ERROR, 1, T0 + 4))
    tale.say(StepCompleted("/a#1", T0 + 5, 1.0, b"V"))
    tale.say(StepFailed("/b#1", T0 + 6, 1.0, ERROR))
    tale.say(StepVolatile("/c#1", T0 + 7, 1.0, "a socket"))
    tale.say(ChildTriggered("/d#1", T0 + 8, B, "pack"))
    tale.say(ChildEnded("/d#1", T0 + 9, B, "dead", None, ERROR), kind=Kind.IN, writer="")
    found = [
        (row.key, row.state, row.value, row.error_type, row.note) for row in journal_rows(tale.changes).checkpoints
    ]
    assert found == [
        ("/a#1", "retry", None, ERROR.type, "try 1"),
        ("/a#1", "ok", b"V", "", ""),
        ("/b#1", "fail", None, ERROR.type, ""),
        ("/c#1", "volatile", None, "", "a socket"),
        ("/d#1", "wait", None, "", f"child {B}"),
        ("/d#1", "fail", None, ERROR.type, f"child {B}"),
    ]
    begun, ended = journal_rows(tale.changes).checkpoints[1][5:7]
    assert (begun, ended) == (datetime(2023, 11, 14, 22, 13, 24), datetime(2023, 11, 14, 22, 13, 25))


@pytest.mark.parametrize(
    "entry",
    [
        StepCompleted("/a#1", T0, 1.0, b"V"),
        StepRetried("/a#1", T0, 1.0, ERROR, 1, T0),
        ChildTriggered("/a#1", T0, B, "pack"),
        AttemptFailed(T0, ERROR, T0),
        AttemptStarted(T0, 2, "w9", "stranger"),
    ],
)
def test_what_a_worker_writes_that_no_longer_has_the_run_leaves_no_trace(entry: Entry) -> None:
    tale = Tale().created().started().say(entry, writer="stranger")
    rows = journal_rows(tale.changes[-1:])
    assert (rows.attempts, rows.checkpoints) == ([], [])
    assert rows.changed[0].worker == "w1"


def test_a_child_that_ends_twice_is_one_checkpoint() -> None:
    tale = Tale().created()
    for _ in range(2):
        tale.say(ChildEnded("/d#1", T0 + 9, B, "completed", b"C"), kind=Kind.IN, writer="")
    assert len(journal_rows(tale.changes).checkpoints) == 1


def test_each_child_that_one_await_has_had_ends_in_a_checkpoint() -> None:
    tale = Tale().created().started()
    for child in (A, B):
        tale.say(ChildTriggered("/d#1", T0 + 8, child, "pack"))
        tale.say(ChildEnded("/d#1", T0 + 9, child, "dead", None, ERROR), kind=Kind.IN, writer="")
    found = [(row.state, row.note) for row in journal_rows(tale.changes).checkpoints]
    assert found == [("wait", f"child {A}"), ("fail", f"child {A}"), ("wait", f"child {B}"), ("fail", f"child {B}")]


def test_an_attempt_that_begins_and_ends_in_one_message_names_its_worker() -> None:
    tale = Tale().created()
    tale.say(AttemptStarted(T0 + 1, 1, "w7", "n1"), RunCompleted(T0 + 2, b"R"))
    rows = journal_rows(tale.changes)
    assert rows.created[0].worker == "w7"
    assert [row.what for row in rows.attempts] == ["started", "completed"]


def test_a_live_fold_comes_back_without_what_other_columns_hold() -> None:
    run = Tale().created().started().say(AttemptFailed(T0 + 6, ERROR, T0 + 9)).run
    assert run is not None
    back = unpack(pack(run), tags=["eu", "vip"], error=ERROR)
    assert back == apply_light(run)


def test_log_lines_keep_message_and_place() -> None:
    lines = (LogLine(T0, 20, "stdout", "one"), LogLine(T0 + 1, 40, "shop", "two", "/pay#1"))
    found = log_rows([LogMessage(7, T0, LogBatch(A, "ship", 2, "w1", lines))]).logs
    assert found == [
        (A, "ship", 2, 7, 0, CREATED_AT, 20, "stdout", "one", ""),
        (A, "ship", 2, 7, 1, datetime(2023, 11, 14, 22, 13, 21), 40, "shop", "two", "/pay#1"),
    ]


@pytest.mark.parametrize("at", [0.0, T0, 1700000000.123457, 1795416595.089304, 253402300000.0])
def test_times_come_back_to_the_microsecond(at: float) -> None:
    assert instant(utc(at)) == at
    assert utc(instant(utc(at))) == utc(at)


@pytest.mark.parametrize(
    ("at", "expected"),
    [(float("nan"), datetime(1970, 1, 1)), (float("inf"), datetime(9999, 12, 31)), (-1e300, datetime(1970, 1, 1))],
)
def test_times_beyond_the_calendar_are_clamped(at: float, expected: datetime) -> None:
    assert utc(at) == expected


def test_every_column_of_a_run_is_fixed_or_kept_or_set_anew() -> None:
    assert set(RunRow._fields) > FIXED | KEPT
    assert not FIXED & KEPT
