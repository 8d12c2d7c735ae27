"""What each entry writes into the tables; every expectation is written by hand."""

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from histories import ERROR, T0, run_id
from holdfast.core.entries import (
    AttemptFailed,
    AttemptResumed,
    AttemptStarted,
    ChildEnded,
    ChildTriggered,
    Compensated,
    Diverged,
    Entry,
    EventArrived,
    HookTriggered,
    Inherited,
    MetadataChanged,
    Offered,
    Progressed,
    Resolved,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunDead,
    RunExpired,
    RunRetried,
    RunTimedOut,
    StepCompleted,
    StepFailed,
    StepRetried,
    StepStarted,
    StepVolatile,
    Suspended,
    TokenCompleted,
    WaitStarted,
)
from holdfast.core.lifecycle import Kind, Record, apply
from holdfast.core.model import ErrorInfo, Hook, Origin, Parent, Run
from holdfast.wire.api import LogBatch, LogLine
from holdfast.wire.values import encode_value
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
        took=None,
        due=None,
        moved_at=datetime(2023, 11, 14, 22, 15),
        ready_at=None,
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
        pattern="",
        place="",
        reason="",
        last_key="",
        payload=b"P",
        result=None,
        first=1,
        paused="",
        waits="",
        done=None,
        total=None,
        doing="",
        deadline=None,
        expires=None,
        origin="",
        origin_how="",
        origin_key="",
        code="",
        ending="",
        metadata="",
        hook="",
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


def test_a_run_that_has_ended_says_how_long_it_took_as_the_difference_of_its_columns() -> None:
    tale = Tale().created().started().say(RunCompleted(T0 + 4.1234567, b""))
    (row,) = journal_rows(tale.changes).created
    assert row.started_at is not None
    assert row.finished_at is not None
    assert row.took == (row.finished_at - row.started_at) / timedelta(microseconds=1) == 3_123_457
    (row,) = journal_rows(Tale().created().say(RunCancelled(T0 + 4)).changes).created
    assert row.took is None


def test_an_error_is_kept_with_its_pattern_and_place() -> None:
    error = ErrorInfo("shop.Gone", "HTTP 410 from host-7\nmore", 'x\n  File "/srv/pay.py", line 88, in pay\nshop.Gone')
    tale = Tale().created().started().say(AttemptFailed(T0 + 2, error, T0 + 9))
    (row,) = journal_rows(tale.changes).created
    assert (row.state, row.pattern, row.place) == ("retrying", "HTTP * from host-*", "pay.py:88")
    (row,) = journal_rows(Tale().created().say(RunCancelled(T0 + 4, "by ana")).changes).created
    assert (row.pattern, row.place) == ("", "")


def test_a_delayed_run_is_known_by_when_it_was_ready_first_also_when_it_is_retried() -> None:
    tale = Tale()
    tale.say(replace(CREATED, due=T0 + 60), kind=Kind.TIMER, writer="")
    tale.say(Offered(A, 1), kind=Kind.READY, writer="")
    tale.say(AttemptStarted(T0 + 61, 1, "w1", "n1"), RunDead(T0 + 62, ERROR, "attempts used up"))
    tale.say(RunRetried(T0 + 900))
    (row,) = journal_rows(tale.changes).created
    assert row.ready_at == datetime(2023, 11, 14, 22, 14, 20)
    (row,) = journal_rows(tale.changes[-1:]).changed
    assert row.ready_at is None
    (row,) = journal_rows(Tale().created().started().changes).created
    assert row.ready_at is None


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
        WaitStarted("/a#1", T0, "T1", "token"),
        Diverged("/a#1", T0, ("/b#1",)),
    ],
)
def test_what_a_worker_writes_that_no_longer_has_the_run_leaves_no_trace(entry: Entry) -> None:
    tale = Tale().created().started().say(entry, writer="stranger")
    rows = journal_rows(tale.changes[-1:])
    assert (rows.attempts, rows.checkpoints) == ([], [])
    assert rows.changed[0].worker == "w1"


def test_what_a_run_waits_for_and_asks_is_in_its_row_until_it_goes_on() -> None:
    tale = Tale().created().started().say(WaitStarted("/await#1", T0 + 2, "T1", "token", T0 + 90))
    tale.say(Suspended(T0 + 3, ("T1", "pause:/pay#1"), T0 + 90, "its outcome is not known"))
    (row,) = journal_rows(tale.changes).created
    assert (row.waits, row.paused) == ("token T1, pause /pay#1", "its outcome is not known")
    assert row.due == datetime(2023, 11, 14, 22, 14, 50)
    tale.say(TokenCompleted("T1", T0 + 5, value=b"v"), kind=Kind.IN, writer="")
    tale.say(Offered(A, 1, 4), kind=Kind.READY, writer="")
    (row,) = journal_rows(tale.changes[-2:]).changed
    assert (row.state, row.waits, row.paused) == ("queued", "", "")


def test_progress_is_in_the_row_and_gone_with_the_next_attempt() -> None:
    tale = Tale().created().started().say(Progressed(T0 + 2, 3, 10, "resizing"))
    (row,) = journal_rows(tale.changes).created
    assert (row.done, row.total, row.doing) == (3, 10, "resizing")
    tale.say(AttemptFailed(T0 + 3, ERROR, T0 + 4)).say(Offered(A, 1), kind=Kind.READY, writer="")
    tale.say(AttemptStarted(T0 + 5, 2, "w1", "n1"))
    (row,) = journal_rows(tale.changes[-3:]).changed
    assert (row.done, row.total, row.doing) == (None, None, "")


def test_metadata_is_in_the_row_as_json() -> None:
    tale = Tale().say(replace(CREATED, metadata={"who": encode_value("Änn"), "n": encode_value([1])}), kind=Kind.READY)
    assert journal_rows(tale.changes).created[0].metadata == '{\n  "who": "Änn",\n  "n": [\n    1\n  ]\n}'
    tale.started().say(MetadataChanged(T0 + 2, {"who": None, "n": encode_value(2)}))
    assert journal_rows(tale.changes[-1:]).changed[0].metadata == '{\n  "n": 2\n}'


def test_metadata_of_any_depth_is_no_reason_to_stop() -> None:
    deep = b"\x91" * 5000 + b"\xc0"
    tale = Tale().say(replace(CREATED, metadata={"deep": deep}), kind=Kind.READY)
    assert "unreadable" in journal_rows(tale.changes).created[0].metadata


def test_a_fork_names_its_origin_and_what_it_has_from_it() -> None:
    tale = Tale().say(replace(CREATED, origin=Origin(B, "fork", "/c#1")), kind=Kind.READY, writer="")
    tale.say(Inherited("/a#1", T0 - 5, 1.0, b"V"), Inherited("/b#1", T0 - 4, 1.0, None, ERROR, True), writer="")
    rows = journal_rows(tale.changes)
    assert (rows.created[0].origin, rows.created[0].origin_how, rows.created[0].origin_key) == (B, "fork", "/c#1")
    assert [(row.key, row.state, row.value, row.error_type, row.note) for row in rows.checkpoints] == [
        ("/a#1", "ok", b"V", "", "inherited"),
        ("/b#1", "fail", None, ERROR.type, "inherited, edited"),
    ]


def test_deadline_expiry_and_code_are_in_the_row() -> None:
    tale = Tale().say(replace(CREATED, deadline=T0 + 60, expires=T0 + 30), kind=Kind.READY, writer="")
    tale.say(AttemptStarted(T0 + 1, 1, "w1", "n1", code="c1"))
    (row,) = journal_rows(tale.changes).created
    assert (row.deadline, row.expires) == (datetime(2023, 11, 14, 22, 14, 20), datetime(2023, 11, 14, 22, 13, 50))
    assert row.code == "c1"


def test_a_run_that_compensates_says_how_it_will_end_and_which_steps_are_undone() -> None:
    tale = Tale().created().started().say(StepCompleted("/a#1", T0 + 2, 1.0, b"V", b"U"))
    tale.say(RunTimedOut(T0 + 3, ERROR, "schedule_to_close"))
    (row,) = journal_rows(tale.changes).created
    assert (row.state, row.ending) == ("compensating", "timed_out")
    tale.say(AttemptResumed(T0 + 4, 1, "w2", "n2"), writer="n2")
    tale.say(StepCompleted("/a#1/undo", T0 + 5, 1.0, b""), Compensated(T0 + 6), writer="n2")
    rows = journal_rows(tale.changes[-2:])
    assert (rows.changed[0].state, rows.changed[0].ending) == ("timed_out", "")
    assert [(row.key, row.state) for row in rows.checkpoints] == [("/a#1/undo", "ok"), ("/a#1", "undone")]
    assert [row.what for row in rows.attempts] == ["compensating", "compensated"]


@pytest.mark.parametrize(
    ("end", "what"),
    [
        (RunCancelled(T0 + 3, "now", killed=True), "killed"),
        (RunTimedOut(T0 + 3, ERROR, "schedule_to_start"), "timed_out"),
    ],
)
def test_an_end_from_outside_is_told_as_what_it_was(end: Entry, what: str) -> None:
    tale = Tale().created().started().say(end, writer="")
    assert [row.what for row in journal_rows(tale.changes).attempts] == ["started", what]


def test_a_run_that_expired_never_started() -> None:
    tale = Tale().created().say(RunExpired(T0 + 3, "not started within 30 s"), writer="")
    rows = journal_rows(tale.changes)
    assert (rows.created[0].state, rows.created[0].reason) == ("expired", "not started within 30 s")
    assert [row.what for row in rows.attempts] == ["expired"]


def test_the_run_that_follows_an_ending_up_is_named_until_the_next_one() -> None:
    tale = Tale().say(replace(CREATED, hooks=(Hook("failure", "alarm"),)), kind=Kind.READY, writer="").started()
    tale.say(RunDead(T0 + 3, ERROR, "aborted"))
    tale.say(HookTriggered("failure", T0 + 4, B), kind=Kind.IN, writer="")
    assert journal_rows(tale.changes).created[0].hook == B
    assert journal_rows(tale.changes[-1:]).changed[0].hook == B
    tale.say(RunRetried(T0 + 5), writer="op")
    assert journal_rows(tale.changes[-1:]).changed[0].hook == ""
    assert journal_rows(tale.started("n9").changes[-1:]).changed[0].hook is None


def test_waits_answers_and_divergences_are_checkpoints() -> None:
    tale = Tale().created().started().say(StepCompleted("/old#1", T0 + 2, 1.0, b"V"))
    tale.say(WaitStarted("/for_#1", T0 + 3, "", "sleep", T0 + 9))
    tale.say(WaitStarted("/event#1", T0 + 3, "E1", "event", None, "orders.*"))
    tale.say(EventArrived("E1", T0 + 4, 7, "orders.paid", b"D"), kind=Kind.IN, writer="")
    tale.say(EventArrived("E1", T0 + 4, 7, "orders.paid", b"D"), kind=Kind.IN, writer="")
    tale.say(TokenCompleted("T1", T0 + 5, error=ERROR), kind=Kind.IN, writer="")
    tale.say(Diverged("/new#1", T0 + 6, ("/old#1",)))
    tale.say(Suspended(T0 + 7, ("pause:/new#1",), None, "another way"))
    tale.say(Resolved("/new#1", T0 + 8, "accept", "ann"), kind=Kind.IN, writer="")
    rows = journal_rows(tale.changes)
    assert [(row.key, row.state, row.value, row.error_type, row.note) for row in rows.checkpoints] == [
        ("/old#1", "ok", b"V", "", ""),
        ("/for_#1", "wait", None, "", "sleep"),
        ("/event#1", "wait", None, "", "event orders.*"),
        ("", "ok", b"D", "", "event orders.paid"),
        ("", "fail", None, ERROR.type, "token T1"),
        ("/old#1", "orphaned", None, "", "diverged at /new#1"),
        ("/new#1", "paused", None, "", "answered: accept by ann"),
    ]
    assert [(row.what, row.reason) for row in rows.attempts] == [("started", ""), ("paused", "another way")]


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
