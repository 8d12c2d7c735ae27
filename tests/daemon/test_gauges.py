"""The counters of the queues; time is a parameter."""

import msgspec
import pytest

from histories import ERROR, T0, run_id
from holdfast.core.admission import Cause, Hold, QueueLimits
from holdfast.core.entries import (
    AttemptFailed,
    AttemptResumed,
    AttemptStarted,
    Entry,
    Offered,
    Resolved,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunDead,
    RunRetried,
    StepCompleted,
    Suspended,
)
from holdfast.core.lifecycle import Kind, Record, apply
from holdfast.core.model import Rate, Run, State
from holdfast.wire.api import Presence, QueueRow, ReadyRun
from holdfast_daemon.gauges import Gauges, Rule
from holdfast_daemon.ledger import Change
from holdfast_daemon.projection.rows import Ready, Standing


class Journal:
    """Tells gauges what happens, at given times."""

    def __init__(self) -> None:
        self.gauges = Gauges()
        self.runs: dict[str, Run] = {}
        self.seq = 0

    def say(self, run: str, at: float, *entries: Entry, kind: Kind = Kind.LOG, writer: str = "n1") -> None:
        self.seq += 1
        record = Record(self.seq, kind, writer, entries)
        before = self.runs.get(run)
        after = apply(before, record)
        assert after is not None
        self.runs[run] = after
        self.gauges.take([Change(run, record, at, before, after)])

    def create(self, run: str, at: float, queue: str = "default") -> None:
        self.say(run, at, RunCreated(run, at, "ship", b"", queue), kind=Kind.READY, writer="")

    def start(self, run: str, at: float) -> None:
        self.say(run, at, AttemptStarted(at, self.runs[run].attempt + 1, "w1", "n1"))

    def row(self, now: float, name: str = "default") -> QueueRow:
        return next(row for row in self.gauges.queues(now).queues if row.name == name)


def test_a_run_is_counted_in_the_state_it_is_in() -> None:
    journal = Journal()
    for number in range(4):
        journal.create(run_id(number), T0)
    for number in range(3):
        journal.start(run_id(number), T0 + 1)
    journal.say(run_id(0), T0 + 2, RunCompleted(T0 + 2, b""))
    journal.say(run_id(1), T0 + 2, RunDead(T0 + 2, ERROR, "aborted"))
    journal.say(run_id(2), T0 + 2, AttemptFailed(T0 + 2, ERROR, T0 + 5))
    row = journal.row(T0 + 3)
    assert (row.depth, row.running, row.retrying, row.dead, row.waiting, row.delayed) == (1, 0, 1, 1, 0, 0)


def test_a_dead_run_that_is_retried_is_dead_no_longer() -> None:
    journal = Journal()
    journal.create(run_id(1), T0)
    journal.start(run_id(1), T0)
    journal.say(run_id(1), T0, RunDead(T0, ERROR, "aborted"))
    journal.say(run_id(1), T0, RunRetried(T0), writer="")
    assert (journal.row(T0).dead, journal.row(T0).depth) == (0, 1)


def test_the_oldest_ready_run_is_the_one_that_became_ready_first() -> None:
    journal = Journal()
    for number in range(3):
        journal.create(run_id(number), T0 + number)
    journal.start(run_id(0), T0 + 5)
    assert journal.row(T0 + 6).oldest == T0 + 1
    for number in (1, 2):
        journal.start(run_id(number), T0 + 5)
    assert journal.row(T0 + 6).oldest is None


def test_rates_go_over_the_last_ten_full_seconds() -> None:
    journal = Journal()
    for number in range(30):
        journal.create(run_id(number), T0 + 0.5)
    assert journal.row(T0 + 1).in_rate == 3.0
    assert journal.row(T0 + 10).in_rate == 3.0
    assert journal.row(T0 + 11).in_rate == 0.0
    assert journal.gauges.queues(T0 + 5).events == 3.0


def test_ends_are_counted_in_steps_of_five_seconds_oldest_first() -> None:
    journal = Journal()
    for number, end in enumerate((1.0, 2.0, 6.0, 58.0)):
        journal.create(run_id(number), T0)
        journal.start(run_id(number), T0)
        journal.say(run_id(number), T0 + end, RunCompleted(T0 + end, b""))
    assert journal.row(T0 + 60).ended == (2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)
    assert journal.row(T0 + 120).ended == (0,) * 12
    assert journal.row(T0 + 10_000).ended == (0,) * 12


def test_percentiles_are_of_the_last_five_minutes() -> None:
    journal = Journal()
    for number in range(100):
        journal.create(run_id(number), T0)
        journal.start(run_id(number), T0)
        journal.say(run_id(number), T0 + 1 + number, RunCompleted(T0 + 1 + number, b""))
    row = journal.row(T0 + 100)
    assert (row.p50, row.p95, row.p99) == (50.0, 95.0, 99.0)
    assert journal.row(T0 + 300 + 91).p95 == 100.0
    assert journal.row(T0 + 1000).p95 is None


def test_the_three_runs_that_wait_longest_are_named() -> None:
    journal = Journal()
    for number in range(5):
        journal.create(run_id(number), T0 + number)
    journal.start(run_id(1), T0 + 9)
    assert journal.row(T0 + 9).oldest_runs == tuple(
        ReadyRun(run_id(number), "ship", T0 + number) for number in (0, 2, 3)
    )


def test_catching_up_does_not_look_like_a_rush() -> None:
    journal = Journal()
    for number in range(100):
        journal.create(run_id(number), T0 - 1000 + number)
    assert journal.row(T0).in_rate == 0.0


def test_what_the_history_held_is_where_counting_begins() -> None:
    journal = Journal()
    journal.create(run_id(9), T0)
    journal.gauges.restart(
        [Standing("default", State.QUEUED, 2), Standing("default", State.DEAD, 5), Standing("mail", State.RUNNING, 1)],
        [Ready(run_id(1), "default", T0 - 9, "ship"), Ready(run_id(2), "default", T0 - 8, "pack")],
    )
    row = journal.row(T0)
    assert row.oldest_runs == (ReadyRun(run_id(1), "ship", T0 - 9), ReadyRun(run_id(2), "pack", T0 - 8))
    assert (row.depth, row.dead, row.oldest, row.in_rate) == (2, 5, T0 - 9, 0.0)
    assert journal.row(T0, "mail").running == 1


def test_what_is_set_of_a_queue_and_what_holds_it_back_is_told() -> None:
    journal = Journal()
    journal.create(run_id(1), T0, "bulk-mail")
    rules = {
        "bulk-mail": Rule(hold=Hold(Cause.PAUSED)),
        "few": Rule(QueueLimits(concurrency=7, key_concurrency=1, rate=Rate(50)), Hold(Cause.RATE, 50, 1.0, T0 + 0.5)),
    }
    bulk, few = journal.gauges.queues(T0, rules=rules).queues
    assert (bulk.name, bulk.depth, bulk.paused, bulk.limited_by) == ("bulk-mail", 1, True, "paused")
    assert (few.limit, few.key_limit, few.rate, few.paused) == (7, 1, Rate(50), False)
    assert (few.limited_by, few.until) == ("queue rate", T0 + 0.5)


def test_a_queue_with_runs_that_nobody_serves_says_so() -> None:
    journal = Journal()
    journal.create(run_id(1), T0)
    assert journal.row(T0).limited_by == "no worker"


def test_a_drained_worker_serves_no_queue_and_keeps_it_known() -> None:
    beat = Presence(
        worker="w1",
        host="h",
        pid=1,
        started_at=T0,
        at=T0,
        tasks=("ship",),
        queues=("orders",),
        concurrency=1,
        running=0,
    )
    drained = msgspec.structs.replace(beat, worker="w2", draining=True)
    counted = [row.workers for row in Gauges().queues(T0, [beat, drained]).queues]
    assert counted == [1]
    (row,) = Gauges().queues(T0, [drained]).queues
    assert (row.name, row.workers) == ("orders", 0)


def test_workers_and_limits_make_a_queue_known() -> None:
    worker = Presence(
        worker="w1",
        host="h",
        pid=1,
        started_at=T0,
        at=T0,
        tasks=(),
        queues=("default", "mail"),
        concurrency=1,
        running=0,
    )
    default, mail, slow = (
        Gauges().queues(T0, workers=[worker, worker], rules={"slow": Rule(QueueLimits(concurrency=3))}).queues
    )
    assert (default.workers, mail.workers, slow.workers, slow.limit) == (2, 2, 0, 3)


@pytest.mark.parametrize("at", [T0, T0 + 3600])
def test_late_messages_of_long_ago_do_not_disturb_what_is_counted_now(at: float) -> None:
    journal = Journal()
    journal.create(run_id(1), at)
    journal.create(run_id(2), at - 64)
    assert journal.row(at + 1).in_rate == 0.1


def test_runs_that_compensate_or_wait_for_an_operator_are_counted() -> None:
    journal, run = Journal(), run_id(1)
    journal.create(run, T0)
    journal.start(run, T0)
    journal.say(run, T0, Suspended(T0, ("pause:/pay#1",), None, "its outcome is not known"))
    assert (journal.row(T0).waiting, journal.row(T0).paused_runs, journal.row(T0).paused) == (1, 1, False)
    journal.say(run, T0, Resolved("/pay#1", T0, "done"), kind=Kind.IN, writer="")
    journal.say(run, T0, Offered(run, 1), kind=Kind.READY, writer="")
    assert (journal.row(T0).depth, journal.row(T0).paused_runs) == (1, 0)
    journal.say(run, T0, AttemptResumed(T0, 1, "w1", "n1"))
    journal.say(run, T0, StepCompleted("/pay#1", T0, 0.1, b"", b"undo"), RunDead(T0, ERROR, "aborted"))
    assert (journal.row(T0).compensating, journal.row(T0).dead) == (1, 0)
    journal.say(run, T0, AttemptResumed(T0, 1, "w1", "n1"))
    journal.say(run, T0, Suspended(T0, ("pause:/pay#1/undo",), None, "its undo failed"))
    assert (journal.row(T0).compensating, journal.row(T0).paused_runs) == (1, 1)
    journal.say(run, T0, RunCancelled(T0, killed=True), writer="")
    assert (journal.row(T0).compensating, journal.row(T0).paused_runs) == (0, 0)


def test_paused_runs_are_counted_on_from_what_the_history_holds() -> None:
    gauges = Gauges()
    gauges.restart([Standing("default", State.WAITING, 5, 2), Standing("default", State.COMPENSATING, 3, 1)], [])
    (row,) = gauges.queues(T0).queues
    assert (row.waiting, row.compensating, row.paused_runs) == (5, 3, 3)
