"""When a run's time is over and what then ends it: by hand from BEHAVIOURS "Timeouts", "Cancel" and ttl."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from holdfast.core.deadlines import next_look, overdue
from holdfast.core.entries import (
    AttemptFailed,
    AttemptInterrupted,
    AttemptResumed,
    AttemptStarted,
    CancelRequested,
    Entry,
    Inherited,
    Offered,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunDead,
    RunExpired,
    RunRetried,
    RunTimedOut,
    StepCompleted,
    Suspended,
)
from holdfast.core.lifecycle import advance, recreated
from holdfast.core.model import ErrorInfo, Parent, Run, State, Timeouts

ERROR = ErrorInfo(type="payments.CardDeclined", message="no")
CREATED = RunCreated(run="R", at=100.0, task="pay", payload=b"p")
LATER = replace(CREATED, due=500.0)
OFFERED = Offered(run="R", first=1)
STARTED = AttemptStarted(at=110.0, attempt=1, worker="w1", nonce="n1", item="i1")
SECOND = replace(STARTED, at=410.0, attempt=2)
CRASH = AttemptInterrupted(at=120.0, reason="worker died")
RESUMED = AttemptResumed(at=130.0, attempt=1, worker="w2", nonce="n2", item="i2")
FAILED = AttemptFailed(at=150.0, error=ERROR, due=400.0)
SUSPENDED = Suspended(at=140.0, waits=("T",))
DEAD = RunDead(at=160.0, error=ERROR, reason="aborted")
CANCEL = CancelRequested(at=200.0)
CHARGED = StepCompleted(key="/charge#1", at=115.0, took=1.0, value=b"v", undo=b"u")


def run_of(*entries: Entry, created: RunCreated = CREATED) -> Run:
    run = advance(None, created)
    for entry in entries:
        run = advance(run, entry)
    return run


def ends(run: Run, now: float) -> str:
    """What ends the run now: the entry's name and, of a time-out, its reason; `-`: nothing does."""
    entry = overdue(run, now)
    if isinstance(entry, RunTimedOut):
        return f"RunTimedOut {entry.reason}"
    return "-" if entry is None else type(entry).__name__


def limited(**limits: float) -> RunCreated:
    return replace(CREATED, timeouts=Timeouts(**limits))


# --- none -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "history",
    [(), (STARTED,), (STARTED, FAILED), (STARTED, SUSPENDED), (CANCEL,), (STARTED, CRASH)],
    ids=["queued", "running", "retrying", "waiting", "queued, to be cancelled", "interrupted"],
)
def test_a_run_without_limits_has_all_the_time_there_is(history: tuple[Entry, ...]) -> None:
    run = run_of(*history)
    assert (overdue(run, 1e12), next_look(run)) == (None, math.inf)


# --- ttl --------------------------------------------------------------------------------------------------------------

TTL = replace(CREATED, expires=130.0)


def test_a_run_that_did_not_start_in_its_time_to_live_expires_at_that_instant_and_not_before() -> None:
    run = run_of(OFFERED, created=TTL)
    assert next_look(run) == 130.0
    assert [ends(run, now) for now in (129.999, 130.0, 1e9)] == ["-", "RunExpired", "RunExpired"]


def test_an_expired_run_says_why_and_outlives_its_work_item() -> None:
    run = run_of(created=TTL)
    entry = overdue(run, 131.0)
    assert entry == RunExpired(131.0, "it had to start by 1970-01-01 00:02:10 UTC", TTL)
    assert entry is not None
    known = advance(None, entry)
    assert (known.id, known.state, known.payload, known.finished_at) == ("R", State.EXPIRED, b"p", 131.0)
    assert known.reason == "it had to start by 1970-01-01 00:02:10 UTC"


@pytest.mark.parametrize(
    "history",
    [(STARTED,), (STARTED, FAILED), (STARTED, FAILED, OFFERED), (STARTED, CRASH), (STARTED, SUSPENDED)],
    ids=["running", "retrying", "queued again", "interrupted", "waiting"],
)
def test_a_run_that_has_started_never_expires(history: tuple[Entry, ...]) -> None:
    run = run_of(*history, created=TTL)
    assert (overdue(run, 1e12), next_look(run)) == (None, math.inf)


def test_a_delayed_run_does_not_expire_before_its_delay_is_over() -> None:
    delayed = replace(LATER, expires=530.0)
    assert ends(run_of(created=delayed), 499.0) == "-"
    assert ends(run_of(OFFERED, created=delayed), 529.0) == "-"
    assert ends(run_of(OFFERED, created=delayed), 530.0) == "RunExpired"


@pytest.mark.parametrize(
    "end",
    [replace(DEAD, at=120.0, reason="payload"), RunCancelled(at=120.0)],
    ids=["its payload did not fit", "cancelled"],
)
def test_a_run_that_an_operator_retries_before_it_ever_started_has_its_time_to_live_again(end: Entry) -> None:
    run = run_of(end, RunRetried(at=1000.0), OFFERED, created=TTL)
    assert [ends(run, now) for now in (1029.9, 1030.0)] == ["-", "RunExpired"]


def test_a_run_to_be_cancelled_that_expires_is_cancelled() -> None:
    run = run_of(CANCEL, RunExpired(at=201.0), created=TTL)
    assert (run.state, run.reason, run.finished_at) == (State.CANCELLED, "cancelled", 201.0)


# --- schedule_to_start ------------------------------------------------------------------------------------------------


def test_an_attempt_that_does_not_start_in_time_ends_the_run_at_that_instant_and_not_before() -> None:
    run = run_of(created=limited(schedule_to_start=30.0))
    assert next_look(run) == 130.0
    assert [ends(run, now) for now in (129.9, 130.0)] == ["-", "RunTimedOut schedule_to_start"]


def test_the_time_to_start_counts_from_when_a_delay_was_over() -> None:
    delayed = replace(LATER, timeouts=Timeouts(schedule_to_start=30.0))
    assert ends(run_of(created=delayed), 499.0) == "-"
    assert [ends(run_of(OFFERED, created=delayed), now) for now in (529.9, 530.0)] == [
        "-",
        "RunTimedOut schedule_to_start",
    ]


def test_each_attempt_has_its_own_time_to_start_after_its_backoff() -> None:
    created = limited(schedule_to_start=30.0)
    backing_off = run_of(STARTED, FAILED, created=created)
    assert overdue(backing_off, 1e9) is None
    queued = advance(backing_off, OFFERED)
    assert [ends(queued, now) for now in (429.9, 430.0)] == ["-", "RunTimedOut schedule_to_start"]
    entry = overdue(queued, 430.0)
    assert isinstance(entry, RunTimedOut)
    assert (entry.error.type, entry.error.message, entry.created) == (
        "holdfast.errors.TimedOut",
        "attempt 2 did not start within 30 s",
        None,
    )


def test_the_tasks_own_limit_holds_from_its_first_start_on() -> None:
    own = replace(STARTED, timeouts=Timeouts(schedule_to_start=30.0))
    assert overdue(run_of(), 1e9) is None
    assert ends(run_of(own, FAILED, OFFERED), 430.0) == "RunTimedOut schedule_to_start"


def test_the_triggers_limits_take_the_place_of_the_tasks_own() -> None:
    own = replace(STARTED, timeouts=Timeouts(schedule_to_start=30.0, schedule_to_close=50.0))
    run = run_of(own, FAILED, OFFERED, created=limited(schedule_to_start=100.0))
    assert (run.timeouts, run.deadline) == (Timeouts(schedule_to_start=100.0), None)
    assert [ends(run, now) for now in (499.9, 500.0)] == ["-", "RunTimedOut schedule_to_start"]


@pytest.mark.parametrize(
    "history",
    [(STARTED,), (STARTED, CRASH, OFFERED), (STARTED, SUSPENDED)],
    ids=["running", "interrupted", "waiting"],
)
def test_an_attempt_that_has_started_has_no_time_to_start_any_more(history: tuple[Entry, ...]) -> None:
    assert overdue(run_of(*history, created=limited(schedule_to_start=30.0)), 1e9) is None


def test_an_operators_retry_schedules_anew() -> None:
    run = run_of(STARTED, DEAD, RunRetried(at=1000.0), created=limited(schedule_to_start=30.0))
    assert [ends(run, now) for now in (1029.9, 1030.0)] == ["-", "RunTimedOut schedule_to_start"]


# --- schedule_to_close ------------------------------------------------------------------------------------------------

CLOSE = limited(schedule_to_close=60.0)


@pytest.mark.parametrize(
    "history",
    [(), (STARTED, FAILED), (STARTED, FAILED, OFFERED), (STARTED, SUSPENDED), (STARTED, CRASH)],
    ids=["queued", "in its backoff", "queued again", "waiting", "interrupted"],
)
def test_a_run_that_nobody_holds_is_timed_out_at_its_deadline_and_not_before(history: tuple[Entry, ...]) -> None:
    run = run_of(*history, created=CLOSE)
    assert (run.deadline, next_look(run)) == (160.0, 160.0)
    assert [ends(run, now) for now in (159.9, 160.0)] == ["-", "RunTimedOut schedule_to_close"]


def test_the_holder_of_a_run_has_the_first_say_about_its_deadline() -> None:
    run = run_of(STARTED, created=CLOSE)
    assert next_look(run) == 160.0 + 30.0 + 5.0
    assert [ends(run, now) for now in (160.0, 194.9, 195.0)] == ["-", "-", "RunTimedOut schedule_to_close"]


def test_the_deadline_counts_from_when_a_delay_was_over_and_over_all_attempts() -> None:
    run = run_of(created=replace(LATER, timeouts=Timeouts(schedule_to_close=60.0)))
    assert run.deadline == 560.0
    again = run_of(STARTED, FAILED, OFFERED, SECOND, created=limited(schedule_to_close=1000.0))
    assert again.deadline == 1100.0


def test_the_tasks_own_deadline_counts_from_the_first_scheduling_not_from_the_start() -> None:
    own = replace(STARTED, timeouts=Timeouts(schedule_to_close=60.0))
    assert run_of(own).deadline == 160.0
    assert run_of(OFFERED, own, created=LATER).deadline == 560.0
    assert run_of(own, FAILED, OFFERED, replace(SECOND, timeouts=Timeouts(schedule_to_close=60.0))).deadline == 160.0


def test_a_run_that_is_retried_by_an_operator_has_its_whole_time_again() -> None:
    run = run_of(STARTED, DEAD, RunRetried(at=1000.0), created=CLOSE)
    assert run.deadline == 1060.0
    assert [ends(run, now) for now in (1059.9, 1060.0)] == ["-", "RunTimedOut schedule_to_close"]


def test_a_run_whose_backoff_passes_its_deadline_says_that_it_is_its_own() -> None:
    run = run_of(STARTED, FAILED, created=CLOSE)
    entry = overdue(run, 160.0)
    assert isinstance(entry, RunTimedOut)
    assert entry.error.message == "the run did not end within 60 s of its first scheduling"


def test_a_timed_out_run_keeps_the_error_that_says_so_and_may_be_retried() -> None:
    entry = overdue(run_of(STARTED, SUSPENDED, created=CLOSE), 170.0)
    assert entry is not None
    run = run_of(STARTED, SUSPENDED, entry, created=CLOSE)
    assert (run.state, run.reason, run.finished_at) == (State.TIMED_OUT, "schedule_to_close", 170.0)
    assert run.error == ErrorInfo("holdfast.errors.TimedOut", "the run did not end within 60 s of its first scheduling")
    assert advance(run, RunRetried(at=200.0)).state is State.QUEUED


def test_a_run_that_timed_out_before_its_first_attempt_is_known_by_that_entry_alone() -> None:
    entry = overdue(run_of(created=CLOSE), 160.0)
    assert isinstance(entry, RunTimedOut)
    assert entry.created == replace(CLOSE, deadline=160.0)
    known = advance(None, entry)
    assert (known.id, known.state, known.payload) == ("R", State.TIMED_OUT, b"p")


def test_a_run_to_be_cancelled_that_times_out_is_cancelled_and_keeps_the_error() -> None:
    entry = RunTimedOut(at=201.0, error=ERROR, reason="schedule_to_close")
    run = run_of(STARTED, CANCEL, entry, created=CLOSE)
    assert (run.state, run.error, run.finished_at) == (State.CANCELLED, ERROR, 201.0)


# --- a parent's deadline ----------------------------------------------------------------------------------------------


def child(*, deadline: float, limit: float | None = None) -> RunCreated:
    timeouts = None if limit is None else Timeouts(schedule_to_close=limit)
    return replace(CREATED, parent=Parent("P", "/pay#1"), deadline=deadline, timeouts=timeouts)


@pytest.mark.parametrize(
    ("created", "deadline"),
    [
        (child(deadline=140.0), 140.0),
        (child(deadline=140.0, limit=60.0), 140.0),
        (child(deadline=900.0, limit=60.0), 160.0),
    ],
    ids=["it has none", "its own is later", "its own is sooner"],
)  # fmt: skip
def test_a_child_has_its_parents_deadline_if_that_is_sooner(created: RunCreated, deadline: float) -> None:
    assert run_of(created=created).deadline == deadline


@pytest.mark.parametrize(("inherits", "deadline"), [(140.0, 140.0), (900.0, 160.0)], ids=["parent's", "own"])
def test_the_tasks_own_deadline_is_held_against_the_parents_at_the_first_start(
    inherits: float, deadline: float
) -> None:
    own = replace(STARTED, timeouts=Timeouts(schedule_to_close=60.0))
    assert run_of(own, created=child(deadline=inherits)).deadline == deadline


@pytest.mark.parametrize("limit", [None, 60.0])
@pytest.mark.parametrize("history", [(), (STARTED, FAILED)], ids=["queued", "in its backoff"])
def test_a_child_that_ran_out_of_its_parents_time_says_so(history: tuple[Entry, ...], limit: float | None) -> None:
    entry = overdue(run_of(*history, created=child(deadline=140.0, limit=limit)), 140.0)
    assert isinstance(entry, RunTimedOut)
    assert entry.error.message == "the run did not end by its parent's deadline"


def test_a_delayed_child_may_run_out_of_its_parents_time_before_it_is_due() -> None:
    run = run_of(created=replace(child(deadline=140.0), due=500.0))
    assert (run.state, ends(run, 140.0)) == (State.DELAYED, "RunTimedOut schedule_to_close")


def test_a_child_that_an_operator_retries_is_no_longer_bound_by_its_parents_deadline() -> None:
    assert run_of(STARTED, DEAD, RunRetried(at=1000.0), created=child(deadline=140.0)).deadline is None


# --- a cancel that is not heeded --------------------------------------------------------------------------------------


def test_a_task_that_does_not_end_after_its_cancel_loses_the_run_when_its_grace_is_over() -> None:
    run = run_of(STARTED, CANCEL)
    assert next_look(run) == 200.0 + 30.0 + 5.0
    assert [ends(run, now) for now in (200.0, 234.9, 235.0)] == ["-", "-", "RunCancelled"]
    assert overdue(run, 240.0) == RunCancelled(240.0, "its task did not end within 30 s of being cancelled")


def test_a_cancel_that_is_asked_for_again_gives_no_more_grace() -> None:
    assert ends(run_of(STARTED, CANCEL, replace(CANCEL, at=230.0)), 235.0) == "RunCancelled"


def test_a_run_whose_task_overslept_both_its_cancel_and_its_deadline_is_cancelled() -> None:
    early = run_of(STARTED, replace(CANCEL, at=120.0), created=CLOSE)
    late = run_of(STARTED, CANCEL, created=CLOSE)
    assert (ends(early, 1e9), ends(late, 1e9)) == ("RunCancelled", "RunTimedOut schedule_to_close")
    for run in (early, late):
        entry = overdue(run, 1e9)
        assert entry is not None
        assert advance(run, entry).state is State.CANCELLED


def test_a_retried_run_has_forgotten_its_cancel() -> None:
    run = run_of(STARTED, CANCEL, RunCancelled(at=201.0), RunRetried(at=300.0), replace(SECOND, at=301.0))
    assert (run.cancel_at, overdue(run, 1e9)) == (None, None)


# --- no limit any more ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end",
    [(RunCompleted(at=150.0, result=b"r"),), (DEAD,), (CANCEL, RunCancelled(at=201.0))],
    ids=["completed", "dead", "cancelled"],
)
def test_a_run_that_has_ended_has_no_deadline_to_miss(end: tuple[Entry, ...]) -> None:
    run = run_of(STARTED, *end, created=CLOSE)
    assert (overdue(run, 1e9), next_look(run)) == (None, math.inf)


def test_undos_have_all_the_time_they_need() -> None:
    run = run_of(STARTED, CHARGED, DEAD, created=CLOSE)
    assert (run.state, overdue(run, 1e9), next_look(run)) == (State.COMPENSATING, None, math.inf)
    held = advance(run, replace(RESUMED, at=200.0))
    assert (overdue(held, 1e9), next_look(held)) == (None, math.inf)


def test_of_several_limits_the_one_that_passed_first_counts() -> None:
    both = replace(CREATED, expires=130.0, timeouts=Timeouts(schedule_to_start=20.0, schedule_to_close=60.0))
    run = run_of(created=both)
    assert next_look(run) == 120.0
    assert ends(run, 1e9) == "RunTimedOut schedule_to_start"
    assert ends(run_of(created=replace(both, expires=110.0)), 1e9) == "RunExpired"


# --- the time that an attempt used ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("history", "used"),
    [
        ((STARTED,), 0.0),
        ((STARTED, CRASH), 10.0),
        ((STARTED, CRASH, RESUMED), 10.0),
        ((STARTED, SUSPENDED), 30.0),
        ((STARTED, SUSPENDED, CANCEL), 30.0),
        ((STARTED, CRASH, RESUMED, replace(SUSPENDED, at=145.0)), 25.0),
        ((STARTED, FAILED), 40.0),
        ((STARTED, FAILED, OFFERED, SECOND), 0.0),
        ((STARTED, CRASH, replace(RESUMED, at=5000.0), replace(CRASH, at=5001.0, polite=True)), 11.0),
        ((STARTED, replace(CRASH, at=90.0)), 0.0),
    ],
    ids=[
        "running", "interrupted", "resumed", "suspended", "waiting", "suspended once more", "failed", "the next one",
        "resumed much later", "by a worker whose clock is slow",
    ],
)  # fmt: skip
def test_an_attempt_has_used_the_time_that_it_was_held_and_not_its_waits(
    history: tuple[Entry, ...], used: float
) -> None:
    assert run_of(*history).used == used


def test_a_held_run_says_since_when() -> None:
    assert run_of(STARTED).held_since == 110.0
    assert run_of(STARTED, CRASH).held_since is None
    assert run_of(STARTED, CRASH, RESUMED).held_since == 130.0
    assert run_of(STARTED, RunCompleted(at=150.0, result=b"r")).held_since is None


# --- the first fact again ---------------------------------------------------------------------------------------------


def test_the_first_fact_is_told_again_with_all_that_the_trigger_said() -> None:
    told = replace(
        CREATED, queue="orders", priority=3, parent=Parent("P", "/pay#1"), source="child", tags=("eu",), expires=130.0,
        deadline=900.0, metadata={"eta": b"v"},
    )  # fmt: skip
    assert recreated(run_of(created=told)) == told
    assert recreated(run_of(Inherited(key="/a#1", at=101.0, took=0.0, value=b"v"), created=told)) == told
