"""What each entry changes in a run, what a stored message may do to it, and when an interruption is poison."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from holdfast.core.effects import effects
from holdfast.core.entries import (
    AttemptFailed,
    AttemptInterrupted,
    AttemptResumed,
    AttemptStarted,
    CancelRequested,
    ChildEnded,
    ChildTriggered,
    Diverged,
    Entry,
    EventArrived,
    Heartbeat,
    LetterDropped,
    MetadataChanged,
    Offered,
    Progressed,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunDead,
    RunRetried,
    SecretPinned,
    StepCompleted,
    StepFailed,
    StepRetried,
    StepStarted,
    StepVolatile,
    Suspended,
    TokenCompleted,
    WaitStarted,
)
from holdfast.core.lifecycle import IllegalEntry, Kind, Record, advance, apply, fold, interruption, story, taken
from holdfast.core.model import ErrorInfo, Holder, Parent, Retry, Run, State

ERROR = ErrorInfo(type="payments.CardDeclined", message="no")
CREATED = RunCreated(run="R", at=1.0, task="pay", payload=b"p", queue="orders", priority=3)


def run_of(*entries: Entry) -> Run:
    """The run after these entries, each legal."""
    run = advance(None, CREATED)
    for entry in entries:
        run = advance(run, entry)
    return run


def started(attempt: int = 1, *, nonce: str = "n1", item: str = "i1", at: float = 2.0) -> AttemptStarted:
    return AttemptStarted(at=at, attempt=attempt, worker="w1", nonce=nonce, item=item)


def resumed(attempt: int = 1, *, nonce: str = "n2", item: str = "i2") -> AttemptResumed:
    return AttemptResumed(at=3.0, attempt=attempt, worker="w2", nonce=nonce, item=item)


def failed(*, due: float = 60.0, spent: bool = True) -> AttemptFailed:
    return AttemptFailed(at=4.0, error=ERROR, due=due, spent=spent)


OFFERED = Offered(run="R", first=1)
CRASH = AttemptInterrupted(at=5.0, reason="worker died")
DRAIN = AttemptInterrupted(at=5.0, reason="worker drained", polite=True)
DEAD = RunDead(at=6.0, error=ERROR, reason="attempts used up")


# --- creation ---------------------------------------------------------------------------------------------------------


def test_a_created_run_is_queued_with_everything_the_trigger_said() -> None:
    retry, parent = Retry(max_attempts=7), Parent(run="P", key="/pay#1")
    assert advance(None, replace(CREATED, retry=retry, parent=parent, source="cli", tags=("eu",))) == Run(
        id="R",
        task="pay",
        queue="orders",
        priority=3,
        state=State.QUEUED,
        created_at=1.0,
        payload=b"p",
        retry=retry,
        parent=parent,
        source="cli",
        tags=("eu",),
        scheduled_at=1.0,
    )


def test_a_run_created_with_a_due_time_is_delayed_until_then() -> None:
    run = advance(None, replace(CREATED, due=50.0))
    assert (run.state, run.due, run.offered, run.armed) == (State.DELAYED, 50.0, False, False)


def test_a_run_cancelled_before_its_first_attempt_is_known_by_that_entry_alone() -> None:
    entry = RunCancelled(at=6.0, reason="by ann", created=replace(CREATED, due=50.0))
    run = advance(None, entry)
    assert (run.id, run.task, run.created_at, run.payload) == ("R", "pay", 1.0, b"p")
    assert (run.state, run.reason, run.finished_at, run.due) == (State.CANCELLED, "by ann", 6.0, None)
    assert run == advance(advance(None, replace(CREATED, due=50.0)), entry)


def test_a_run_is_created_once() -> None:
    with pytest.raises(IllegalEntry):
        advance(run_of(), CREATED)


# --- offers -----------------------------------------------------------------------------------------------------------


def test_an_offer_gives_a_queued_run_its_work_item() -> None:
    assert run_of(OFFERED) == replace(run_of(), offered=True)


def test_an_offer_ends_the_delay() -> None:
    run = advance(replace(advance(None, replace(CREATED, due=50.0)), armed=True), OFFERED)
    assert (run.state, run.offered, run.armed, run.due) == (State.QUEUED, True, False, None)


def test_an_offer_ends_the_backoff_and_a_new_attempt_comes_next() -> None:
    run = advance(replace(run_of(started(), failed()), armed=True), OFFERED)
    assert (run.state, run.offered, run.armed, run.due, run.fresh) == (State.QUEUED, True, False, None, True)


def test_an_offer_does_not_wake_a_run_for_which_nothing_has_arrived() -> None:
    run = run_of(started(), Suspended(at=3.0, waits=("A",)))
    assert advance(run, OFFERED) == run


def test_an_offer_wakes_a_run_for_which_one_of_its_waits_has_arrived() -> None:
    run = run_of(
        started(),
        Suspended(at=3.0, waits=("A", "B")),
        ChildEnded(key="/b#1", at=4.0, child="B", state="completed"),
        OFFERED,
    )
    assert (run.state, run.offered, run.waits) == (State.QUEUED, True, frozenset())


@pytest.mark.parametrize("key", ["/z#1", "/a#1"], ids=["of another await", "of the same await, before"])
def test_the_end_of_another_child_does_not_make_a_run_resumable(key: str) -> None:
    run = run_of(
        started(),
        ChildTriggered(key="/a#1", at=2.0, child="A", task="t"),
        Suspended(at=3.0, waits=("A",)),
        ChildEnded(key=key, at=4.0, child="Z", state="completed"),
    )
    assert not run.resumable
    assert advance(run, OFFERED).state is State.WAITING


def test_a_duplicate_offer_changes_nothing_while_a_worker_holds_the_run() -> None:
    run = run_of(OFFERED, started())
    assert advance(run, OFFERED) == run


@pytest.mark.parametrize(
    "before", [(), (started(), failed()), (started(item=""), CRASH)], ids=["new", "failed", "interrupted"]
)
def test_an_offer_of_before_the_runs_last_move_changes_nothing(before: tuple[Entry, ...]) -> None:
    run = replace(run_of(*before), last=12, moved=9)
    assert advance(run, replace(OFFERED, cause=8)) == run
    assert advance(run, replace(OFFERED, cause=1)) == run
    assert advance(run, replace(OFFERED, cause=9)) == advance(run, OFFERED) != run


def test_an_offer_of_before_the_run_suspended_does_not_wake_it() -> None:
    suspended = run_of(
        started(), ChildEnded(key="/a#1", at=3.0, child="C", state="completed"), Suspended(at=4.0, waits=("C",))
    )
    run = replace(suspended, last=12, moved=9)
    assert advance(run, replace(OFFERED, cause=8)) == run
    assert advance(run, replace(OFFERED, cause=9)).state is State.QUEUED


@pytest.mark.parametrize("end", [RunCompleted(at=6.0, result=b"r"), DEAD, RunCancelled(at=6.0)])
def test_a_late_offer_changes_nothing_in_a_run_that_has_ended(end: Entry) -> None:
    run = run_of(started(), end)
    assert advance(run, OFFERED) == run


# --- claims -----------------------------------------------------------------------------------------------------------


def test_the_first_attempt_is_number_one_and_its_worker_holds_the_run() -> None:
    run = run_of(OFFERED, started())
    assert (run.state, run.attempt, run.fresh, run.started_at) == (State.RUNNING, 1, False, 2.0)
    assert run.holder == Holder(worker="w1", nonce="n1", item="i1")


@pytest.mark.parametrize("number", [-1, 0, 2, 3])
def test_the_first_attempt_has_no_other_number_than_one(number: int) -> None:
    with pytest.raises(IllegalEntry, match=f"expected a new attempt 1, found attempt {number}"):
        advance(run_of(), started(number))


def test_the_second_attempt_keeps_when_the_first_one_started() -> None:
    run = run_of(started(), failed(), OFFERED, started(2, at=70.0))
    assert (run.attempt, run.started_at) == (2, 2.0)


@pytest.mark.parametrize("number", [1, 3])
def test_a_failed_attempt_is_followed_by_the_next_number_only(number: int) -> None:
    with pytest.raises(IllegalEntry, match="expected a new attempt 2"):
        advance(run_of(started(), failed(), OFFERED), started(number))


def test_a_retry_that_waited_in_the_worker_starts_without_a_work_item() -> None:
    run = run_of(started(), failed(), started(2, nonce="n2", item=""))
    assert (run.state, run.attempt, run.due, run.offered) == (State.RUNNING, 2, None, False)


def test_an_interrupted_attempt_is_resumed_under_its_own_number() -> None:
    run = run_of(started(), CRASH, resumed())
    assert (run.state, run.attempt) == (State.RUNNING, 1)
    assert run.holder == Holder(worker="w2", nonce="n2", item="i2")


def test_an_interrupted_attempt_is_not_started_anew() -> None:
    with pytest.raises(IllegalEntry, match="expected attempt 1 resumed, found attempt 2"):
        advance(run_of(started(), CRASH), started(2))


def test_a_failed_attempt_is_not_resumed() -> None:
    with pytest.raises(IllegalEntry, match="expected a new attempt 2"):
        advance(run_of(started(), failed(), OFFERED), resumed(1))


def test_an_interrupted_attempt_is_not_resumed_under_another_number() -> None:
    with pytest.raises(IllegalEntry, match="expected attempt 1 resumed, found attempt 2"):
        advance(run_of(started(), CRASH), resumed(2))


def test_a_claim_with_a_work_item_says_that_one_is_live() -> None:
    assert run_of(started(item="i1")).offered is True
    assert run_of(started(item="")).offered is False


def test_the_attempt_says_how_many_interruptions_it_bears() -> None:
    assert run_of(replace(started(), max_interruptions=2)).max_interruptions == 2


# --- outcomes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "outcome",
    [
        StepCompleted(key="/a#1", at=3.0, took=1.0, value=b"v"),
        StepFailed(key="/a#1", at=3.0, took=1.0, error=ERROR),
        StepVolatile(key="/a#1", at=3.0, took=1.0, reason="a socket"),
    ],
)
def test_each_recorded_outcome_counts_as_a_step_and_is_the_last_checkpoint(outcome: Entry) -> None:
    run = run_of(started())
    assert advance(run, outcome) == replace(run, steps=1, last_key="/a#1")
    assert advance(advance(run, outcome), outcome).steps == 2


@pytest.mark.parametrize(
    "note",
    [
        StepStarted(key="/a#1", at=3.0),
        StepRetried(key="/a#1", at=3.0, took=1.0, error=ERROR, number=1, due=4.0),
        ChildTriggered(key="/a#1", at=3.0, child="C", task="t", detached=True),
        WaitStarted(key="/sleep#1", at=3.0, wait="", kind="sleep", due=60.0),
        WaitStarted(key="/token#1", at=3.0, wait="T", kind="token"),
        Heartbeat(at=3.0, details=b"v"),
        Diverged(key="/b#1", at=3.0, missing=("/a#1",)),
    ],
)
def test_what_is_not_an_outcome_does_not_change_the_run(note: Entry) -> None:
    run = run_of(started())
    assert advance(run, note) == run


# --- the end of an attempt --------------------------------------------------------------------------------------------


def test_a_suspended_run_holds_no_slot_and_has_no_work_item() -> None:
    run = run_of(OFFERED, started(), Suspended(at=3.0, waits=("A", "B")))
    assert (run.state, run.holder, run.offered) == (State.WAITING, None, False)
    assert (run.waits, run.fresh) == ({"A", "B"}, False)


def test_a_run_does_not_suspend_for_nothing() -> None:
    run = run_of(started())
    with pytest.raises(IllegalEntry, match="expected something to wait for"):
        advance(run, Suspended(at=3.0, waits=()))
    assert run == run_of(started())


def test_a_child_that_ended_before_the_parent_suspended_is_remembered() -> None:
    ended = ChildEnded(key="/a#1", at=3.0, child="C", state="completed")
    assert run_of(started(), ended, Suspended(at=4.0, waits=("C",))).resumable


def test_a_failed_attempt_waits_for_the_next_one_and_is_spent() -> None:
    run = run_of(OFFERED, started(), failed(due=60.0))
    assert (run.state, run.due, run.armed, run.offered) == (State.RETRYING, 60.0, False, False)
    assert (run.holder, run.fresh, run.spent, run.error) == (None, True, 1, ERROR)


def test_a_snooze_is_not_spent_but_the_next_attempt_has_the_next_number() -> None:
    run = run_of(started(), failed(spent=False), OFFERED, started(2))
    assert (run.spent, run.attempt) == (0, 2)


def test_spent_attempts_add_up() -> None:
    run = run_of(started(), failed(), started(2), failed(spent=False), started(3), failed())
    assert (run.attempt, run.spent) == (3, 2)


def test_an_impolite_interruption_spends_no_attempt_but_is_counted() -> None:
    run = run_of(started(), CRASH)
    assert (run.state, run.holder, run.fresh, run.attempt) == (State.QUEUED, None, False, 1)
    assert (run.spent, run.interruptions) == (0, 1)


def test_a_polite_interruption_is_not_counted() -> None:
    run = run_of(started(), DRAIN, resumed(), CRASH, resumed(), DRAIN)
    assert run.interruptions == 1


def test_an_interruption_keeps_the_work_item_that_the_worker_never_acknowledged() -> None:
    assert run_of(OFFERED, started(), CRASH).offered is True


def test_interruptions_are_forgotten_when_the_attempt_ends_by_itself() -> None:
    assert run_of(started(), CRASH, resumed(), failed()).interruptions == 0
    assert run_of(started(), CRASH, resumed(), Suspended(at=4.0, waits=("A",))).interruptions == 0


# --- the end of a run -------------------------------------------------------------------------------------------------


def test_a_completed_run_keeps_its_result_and_drops_its_last_error() -> None:
    run = run_of(OFFERED, started(), failed(), OFFERED, started(2), RunCompleted(at=80.0, result=b"r"))
    assert (run.state, run.result, run.error, run.finished_at) == (State.COMPLETED, b"r", None, 80.0)
    assert (run.holder, run.offered, run.armed, run.due) == (None, False, False, None)


def test_a_cancel_that_comes_during_the_last_step_wins() -> None:
    run = run_of(started(), CancelRequested(at=5.0), RunCompleted(at=6.0, result=b"r"))
    assert (run.state, run.result, run.finished_at) == (State.CANCELLED, None, 6.0)
    assert run.reason == "cancelled during its last step"


@pytest.mark.parametrize("reason", ["attempts used up", "aborted", "poison"])
def test_a_run_that_dies_after_its_cancel_was_asked_for_is_cancelled_and_has_no_letter(reason: str) -> None:
    run = run_of(started(), CancelRequested(at=5.0), replace(DEAD, reason=reason))
    assert (run.state, run.reason, run.finished_at, run.lettered) == (State.CANCELLED, "cancelled", 6.0, False)
    assert (run.error, run.holder) == (ERROR, None)


def test_a_queued_run_whose_cancel_was_asked_for_is_cancelled_whatever_its_payload() -> None:
    run = run_of(OFFERED, CancelRequested(at=5.0), replace(DEAD, reason="payload"))
    assert (run.state, run.lettered) == (State.CANCELLED, False)


def test_once_dead_a_run_is_known_to_have_a_letter_whatever_becomes_of_it() -> None:
    assert run_of(started(), failed()).lettered is False
    dead = run_of(started(), DEAD)
    assert dead.lettered
    assert advance(dead, LetterDropped(at=7.0)).lettered
    retried = advance(dead, RunRetried(at=7.0))
    assert retried.lettered
    assert advance(retried, RunCancelled(at=8.0)).lettered
    assert advance(advance(retried, started(2)), RunCompleted(at=9.0, result=b"r")).lettered


def test_a_dead_run_keeps_its_error_and_the_reason() -> None:
    run = run_of(OFFERED, started(), DEAD)
    assert (run.state, run.error, run.reason, run.finished_at) == (State.DEAD, ERROR, "attempts used up", 6.0)
    assert (run.holder, run.offered) == (None, False)


def test_a_payload_that_does_not_validate_ends_a_run_that_never_started() -> None:
    run = run_of(OFFERED, replace(DEAD, reason="payload"))
    assert (run.state, run.attempt, run.started_at, run.offered) == (State.DEAD, 0, None, False)


def test_a_cancelled_backoff_leaves_no_timer_behind_and_keeps_the_error_for_the_reader() -> None:
    run = advance(replace(run_of(started(), failed()), armed=True), RunCancelled(at=6.0, reason="by ann"))
    assert (run.state, run.armed, run.due, run.reason) == (State.CANCELLED, False, None, "by ann")
    assert run.error == ERROR


def test_a_cancelled_wait_waits_for_nothing() -> None:
    run = run_of(started(), Suspended(at=3.0, waits=("A",)), RunCancelled(at=6.0))
    assert (run.waits, run.resumable, run.finished_at) == (frozenset(), False, 6.0)


def test_a_request_to_cancel_is_only_remembered() -> None:
    run = run_of(started())
    assert advance(run, CancelRequested(at=5.0)) == replace(run, cancel_requested=True, cancel_at=5.0)


def test_a_request_to_cancel_comes_too_late_for_a_run_that_has_ended() -> None:
    run = run_of(started(), DEAD)
    assert advance(run, CancelRequested(at=7.0)) == run


def test_a_dropped_letter_makes_a_dead_run_failed_and_keeps_when_and_why_it_died() -> None:
    dead = run_of(started(), DEAD)
    assert advance(dead, LetterDropped(at=9.0, by="ann")) == replace(dead, state=State.FAILED)


# --- an operator's retry ----------------------------------------------------------------------------------------------


STEP = StepCompleted(key="/a#1", at=3.0, took=1.0, value=b"v")
CHILD = ChildEnded(key="/c#1", at=3.0, child="C", state="completed")
TOKEN = TokenCompleted(token="T", at=3.0, value=b"v")
EVENT = EventArrived(wait="E", at=3.0, event=7, subject="orders.paid", value=b"v")


def test_a_retried_run_goes_on_behind_its_last_checkpoint_and_counts_its_attempts_on() -> None:
    run = run_of(started(), STEP, CHILD, failed(), started(2), DEAD, RunRetried(at=9.0))
    assert (run.state, run.offered, run.fresh) == (State.QUEUED, False, True)
    assert (run.steps, run.last_key, run.arrived, run.payload) == (1, "/a#1", {"C"}, b"p")
    assert (run.error, run.reason, run.finished_at, run.spent, run.interruptions) == (None, "", None, 0, 0)
    assert advance(run, started(3, at=10.0)).attempt == 3


def test_a_retry_from_the_start_forgets_the_outcomes_but_not_the_attempts() -> None:
    run = run_of(started(), STEP, CHILD, DEAD, RunRetried(at=9.0, from_start=True))
    assert (run.steps, run.last_key, run.arrived, run.attempt) == (0, "", frozenset(), 1)


def test_a_retry_takes_the_corrected_payload_even_an_empty_one() -> None:
    dead = run_of(started(), DEAD)
    assert advance(dead, RunRetried(at=9.0, payload=b"better")).payload == b"better"
    assert advance(dead, RunRetried(at=9.0, payload=b"")).payload == b""


def test_a_retried_cancelled_run_is_no_longer_asked_to_end() -> None:
    run = run_of(started(), CancelRequested(at=5.0), RunCompleted(at=6.0, result=b"r"), RunRetried(at=9.0))
    assert (run.state, run.cancel_requested) == (State.QUEUED, False)
    assert advance(advance(run, started(2)), RunCompleted(at=11.0, result=b"r")).state is State.COMPLETED


def test_a_run_that_died_interrupted_gets_a_new_attempt_when_retried() -> None:
    run = run_of(started(), CRASH, resumed(), replace(DEAD, reason="poison"), RunRetried(at=9.0))
    assert (run.interruptions, advance(run, started(2)).attempt) == (0, 2)


def test_the_same_letter_retried_twice_at_once_runs_once() -> None:
    once = run_of(started(), DEAD, RunRetried(at=9.0))
    with pytest.raises(IllegalEntry, match="RunRetried is not accepted while queued"):
        advance(once, RunRetried(at=9.0))


# --- interruption -----------------------------------------------------------------------------------------------------


def crashes(count: int, *, limit: int = 5) -> Run:
    """A running first attempt that was interrupted so often."""
    run = run_of(replace(started(), max_interruptions=limit))
    for number in range(count):
        run = advance(advance(run, CRASH), resumed(nonce=f"n{number}"))
    return run


@pytest.mark.parametrize("before", [0, 1, 4])
def test_up_to_five_interruptions_give_the_run_back_to_the_queue(before: int) -> None:
    entry = interruption(crashes(before), 9.0, "worker w2 died")
    assert entry == AttemptInterrupted(at=9.0, reason="worker w2 died", polite=False)


def test_the_sixth_interruption_is_poison_and_says_so() -> None:
    entry = interruption(crashes(5), 9.0, "worker w2 died")
    assert isinstance(entry, RunDead)
    assert (entry.at, entry.reason) == (9.0, "poison")
    assert entry.error.message == "interrupted 6 times in attempt 1, the last time: worker w2 died"
    assert advance(crashes(5), entry).state is State.DEAD


def test_a_limit_of_zero_makes_the_first_interruption_poison() -> None:
    entry = interruption(crashes(0, limit=0), 9.0, "worker w2 died")
    assert isinstance(entry, RunDead)
    assert entry.error.message.startswith("interrupted 1 times")


def test_a_draining_worker_never_makes_poison() -> None:
    entry = interruption(crashes(5), 9.0, "drained", polite=True)
    assert entry == AttemptInterrupted(at=9.0, reason="drained", polite=True)


# --- stored messages --------------------------------------------------------------------------------------------------


def ready(seq: int, entry: Entry = OFFERED) -> Record:
    return Record(seq, Kind.READY, "", (entry,))


def log(seq: int, *entries: Entry, writer: str = "") -> Record:
    return Record(seq, Kind.LOG, writer, entries)


def told(seq: int, entry: Entry) -> Record:
    return Record(seq, Kind.IN, "", (entry,))


def timer(seq: int, entry: Entry) -> Record:
    return Record(seq, Kind.TIMER, "", (entry,))


def folded(*records: Record) -> Run:
    run = fold(records)
    assert run is not None
    return run


def test_the_first_message_of_a_triggered_run_is_its_work_item_too() -> None:
    run = folded(ready(17, CREATED))
    assert (run.state, run.offered, run.first, run.last) == (State.QUEUED, True, 17, 0)


def test_a_run_created_on_its_log_has_no_work_item_yet() -> None:
    run = folded(log(17, CREATED))
    assert (run.state, run.offered, run.first, run.last) == (State.QUEUED, False, 17, 17)
    assert folded(log(17, CREATED), ready(18)).offered is True


def test_a_delayed_run_created_as_a_timer_is_armed() -> None:
    run = folded(timer(17, replace(CREATED, due=50.0)))
    assert (run.state, run.armed, run.due, run.first) == (State.DELAYED, True, 50.0, 17)


def test_a_delayed_run_created_on_its_log_waits_for_its_timer_to_be_armed() -> None:
    later = replace(CREATED, due=50.0)
    run = folded(log(17, later))
    assert (run.state, run.armed, run.due, run.last) == (State.DELAYED, False, 50.0, 17)
    assert folded(log(17, later), timer(18, CREATED)) == replace(run, armed=True)
    fired = folded(log(17, later), timer(18, CREATED), ready(30, CREATED))
    assert (fired.state, fired.offered, fired.armed, fired.due, fired.item) == (State.QUEUED, True, False, None, 30)


def test_a_fired_delay_reads_the_same_whether_or_not_its_timer_is_still_in_the_stream() -> None:
    later = replace(CREATED, due=50.0)
    both = folded(timer(17, later), ready(30, later))
    only = folded(ready(30, later))
    assert (only.state, only.offered, only.armed, only.due) == (State.QUEUED, True, False, None)
    assert both == replace(only, first=17)


def test_a_backoffs_timer_in_the_stream_means_that_nobody_has_to_arm_it() -> None:
    records = [ready(1, CREATED), log(2, started(), failed(), writer="n1"), timer(3, replace(OFFERED, cause=2))]
    assert folded(*records[:2]).armed is False
    assert folded(*records) == replace(folded(*records[:2]), armed=True)
    assert (folded(*records).state, folded(*records).due) == (State.RETRYING, 60.0)


def test_a_backoffs_timer_counts_when_it_fires() -> None:
    waits = folded(ready(1, CREATED), log(2, started(), failed(), writer="n1"), timer(3, replace(OFFERED, cause=2)))
    fired = apply(waits, ready(4, replace(OFFERED, cause=2)))
    assert fired == replace(waits, state=State.QUEUED, offered=True, armed=False, due=None)


def test_a_timer_left_from_an_earlier_backoff_does_not_cut_the_next_one_short() -> None:
    run = folded(
        ready(1, CREATED),
        log(2, started(), failed(), writer="n1"),
        log(3, started(2, nonce="n2", item=""), failed(due=600.0), writer="n2"),
    )
    assert apply(run, ready(4, replace(OFFERED, cause=2))) == run
    assert apply(run, ready(4, replace(OFFERED, cause=3))).state is State.QUEUED  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "entry",
    [
        CancelRequested(at=9.0),
        ChildEnded(key="/c#1", at=9.0, child="C", state="completed"),
        RunCancelled(at=9.0),
        DEAD,
        started(2, nonce=""),
    ],
    ids=lambda entry: type(entry).__name__,
)
def test_what_a_timer_carries_does_not_happen_when_it_is_set(entry: Entry) -> None:
    queued = folded(ready(1, CREATED))
    assert apply(queued, timer(3, entry)) == queued
    backoff = folded(ready(1, CREATED), log(2, started(), failed(), writer="n1"))
    assert apply(backoff, timer(3, entry)) == backoff


def test_the_timer_of_a_delay_that_is_over_takes_the_place_of_the_backoffs_which_is_set_again() -> None:
    """Else the run would back off for ever: a creation makes only a delayed run ready."""
    backoff = folded(ready(1, CREATED), log(2, started(), failed(), writer="n1"), timer(3, replace(OFFERED, cause=2)))
    late = apply(backoff, timer(4, replace(CREATED, due=50.0)))
    assert backoff.armed
    assert late == replace(backoff, armed=False)
    assert apply(late, timer(5, replace(OFFERED, cause=2))) == backoff


@pytest.mark.parametrize("history", [(OFFERED,), (started(),), (started(), DEAD)])
def test_a_timer_of_a_run_that_waits_for_no_time_arms_nothing(history: tuple[Entry, ...]) -> None:
    run = run_of(*history)
    assert apply(run, timer(9, OFFERED)) == run
    assert apply(run, timer(9, CREATED)) == run


@pytest.mark.parametrize(
    ("history", "item"),
    [
        ([ready(17, CREATED)], 17),
        ([log(17, CREATED)], 0),
        ([log(17, CREATED), ready(18, replace(OFFERED, cause=17))], 0),
        ([timer(17, replace(CREATED, due=50.0))], 0),
        ([timer(17, replace(CREATED, due=50.0)), ready(30, replace(CREATED, due=50.0))], 30),
        ([ready(17, CREATED), ready(18, replace(OFFERED, cause=17)), ready(19, CREATED)], 17),
        ([ready(17, CREATED), told(18, CancelRequested(at=3.0))], 17),
        ([log(17, CREATED), ready(18, DEAD)], 0),
        ([log(17, CREATED), log(18, DEAD), log(19, RunRetried(at=9.0)), ready(20, replace(OFFERED, cause=17))], 0),
        ([ready(17, CREATED), log(18, started(), writer="n1")], 0),
        ([ready(17, CREATED), log(18, started(), CRASH, writer="n1"), ready(20, replace(OFFERED, cause=18))], 0),
        ([ready(17, CREATED), log(18, started(), failed(), writer="n1"), ready(20, replace(OFFERED, cause=18))], 0),
    ],
    ids=[
        "triggered", "created on its log", "offered", "delayed", "its delay passed", "offered more than once",
        "told something",
        "no work item at all", "a stale offer",
        "started", "offered after a crash", "offered after a failure",
    ],
)  # fmt: skip
def test_the_work_item_that_a_run_was_created_as_is_known_until_its_first_attempt(
    history: list[Record], item: int
) -> None:
    assert folded(*history).item == item


def test_messages_to_a_run_that_was_never_created_make_none() -> None:
    assert fold([ready(1), log(2, started(), writer="n1"), told(3, CancelRequested(at=1.0))]) is None


def test_only_messages_on_the_log_move_what_the_next_append_expects() -> None:
    run = folded(ready(1, CREATED), log(5, started(), writer="n1"), told(8, CancelRequested(at=3.0)), ready(9))
    assert run.last == 5


def test_the_entries_of_one_message_take_effect_in_their_order() -> None:
    run = folded(ready(1, CREATED), log(2, started(), STEP, RunCompleted(at=4.0, result=b"r"), writer="n1"))
    assert (run.state, run.steps, run.result) == (State.COMPLETED, 1, b"r")


def test_a_claim_counts_only_in_a_message_that_carries_its_own_nonce() -> None:
    run = folded(ready(1, CREATED), log(2, started(nonce="n1"), writer="n9"))
    assert (run.state, run.holder, run.last) == (State.QUEUED, None, 2)


ZOMBIE = [
    StepStarted(key="/a#1", at=9.0),
    STEP,
    StepFailed(key="/a#1", at=9.0, took=1.0, error=ERROR),
    StepRetried(key="/a#1", at=9.0, took=1.0, error=ERROR, number=1, due=10.0),
    StepVolatile(key="/a#1", at=9.0, took=1.0, reason="a socket"),
    ChildTriggered(key="/a#1", at=9.0, child="C", task="t"),
    Suspended(at=9.0, waits=("C",)),
    failed(),
    RunCompleted(at=9.0, result=b"r"),
    WaitStarted(key="/event#1", at=9.0, wait="E", kind="event", subject="orders.paid"),
    WaitStarted(key="/sleep#1", at=9.0, wait="", kind="sleep", due=60.0),
    Heartbeat(at=9.0, details=b"v"),
    Progressed(at=9.0, done=1.0),
    MetadataChanged(at=9.0, changes={"eta": b"v"}),
    SecretPinned(name="STRIPE_KEY", version=3),
    Diverged(key="/b#1", at=9.0, missing=("/a#1",)),
]
MOVES_NOTHING = (StepStarted, StepRetried, Heartbeat, Diverged)
"""What a holder writes that changes nothing in its run."""


@pytest.mark.parametrize("writer", ["n1", "n3", ""])
@pytest.mark.parametrize("entry", ZOMBIE, ids=lambda entry: type(entry).__name__)
def test_a_worker_that_lost_the_run_changes_nothing_in_it(entry: Entry, writer: str) -> None:
    held = folded(ready(1, CREATED), log(2, started(), writer="n1"), log(3, CRASH), log(4, resumed(), writer="n2"))
    assert held.holder is not None
    assert held.holder.nonce == "n2"
    assert held.moved == 4
    assert apply(held, log(5, entry, writer=writer)) == replace(held, last=5)
    sleeps = isinstance(entry, WaitStarted) and entry.kind == "sleep"
    moved = 4 if sleeps or isinstance(entry, MOVES_NOTHING) else 5
    assert apply(held, log(5, entry, writer="n2")) == replace(advance(held, entry), last=5, moved=moved)


def test_a_zombies_whole_batch_is_skipped_and_the_next_append_expects_it() -> None:
    held = folded(ready(1, CREATED), log(2, started(), writer="n1"), log(3, CRASH), log(4, resumed(), writer="n2"))
    batch = log(7, STEP, STEP, RunCompleted(at=9.0, result=b"wrong"), writer="n1")
    after = apply(held, batch)
    assert after == replace(held, last=7)


def test_nothing_of_a_worker_counts_while_nobody_holds_the_run() -> None:
    run = folded(ready(1, CREATED), log(2, started(), writer="n1"), log(3, CRASH))
    assert apply(run, log(4, STEP, RunCompleted(at=9.0, result=b"wrong"), writer="n1")) == replace(run, last=4)


AWAY_FROM_THE_LOG = [
    *ZOMBIE,
    started(2, nonce=""),
    resumed(nonce=""),
    CRASH,
    DEAD,
    RunCancelled(at=9.0),
    RunCancelled(at=9.0, created=CREATED),
    RunRetried(at=9.0),
    LetterDropped(at=9.0),
]
"""What only the log may say."""

STANDING = {
    "queued": folded(ready(1, CREATED)),
    "running": folded(ready(1, CREATED), log(2, started(), writer="n1")),
    "waiting": folded(ready(1, CREATED), log(2, started(), Suspended(at=3.0, waits=("A",)), writer="n1")),
    "retrying": folded(ready(1, CREATED), log(2, started(), failed(), writer="n1")),
    "interrupted": folded(ready(1, CREATED), log(2, started(), CRASH, writer="n1")),
    "dead": folded(ready(1, CREATED), log(2, started(), DEAD, writer="n1")),
    "cancelled": folded(ready(1, CREATED), log(2, started(), RunCancelled(at=6.0), writer="n1")),
}


@pytest.mark.parametrize("run", STANDING.values(), ids=STANDING)
@pytest.mark.parametrize("entry", AWAY_FROM_THE_LOG, ids=lambda entry: type(entry).__name__)
def test_what_belongs_on_the_log_changes_nothing_anywhere_else(entry: Entry, run: Run) -> None:
    assert apply(run, told(9, entry)) == run
    assert apply(run, ready(9, entry)) == run


@pytest.mark.parametrize("run", STANDING.values(), ids=STANDING)
def test_what_others_tell_a_run_counts_only_where_they_tell_it_or_on_its_log(run: Run) -> None:
    for entry in (CancelRequested(at=9.0), CHILD, TOKEN, EVENT):
        assert apply(run, timer(9, entry)) in (run, replace(run, armed=True))
        assert apply(run, told(9, entry)) == advance(run, entry)
        unmoved = run.final and isinstance(entry, CancelRequested)
        assert apply(run, log(9, entry)) == replace(advance(run, entry), last=9, moved=run.moved if unmoved else 9)


@pytest.mark.parametrize("run", STANDING.values(), ids=STANDING)
def test_an_offer_counts_only_as_a_work_item(run: Run) -> None:
    assert apply(run, told(9, OFFERED)) == run
    assert apply(run, log(9, OFFERED)) == replace(run, last=9)


@pytest.mark.parametrize("kind", [Kind.READY, Kind.IN, Kind.TIMER])
def test_a_cancelled_runs_copy_of_its_creation_makes_a_run_on_its_log_only(kind: Kind) -> None:
    gone = RunCancelled(at=9.0, created=CREATED)
    assert fold([Record(9, kind, "", (gone,))]) is None
    assert folded(log(9, gone)).state is State.CANCELLED


def test_a_run_is_not_created_where_it_is_told_things() -> None:
    assert fold([told(9, CREATED)]) is None


def test_what_nobody_has_to_hold_the_run_for_may_be_written_without_a_nonce() -> None:
    run = folded(ready(1, CREATED), log(2, started(), writer="n1"), log(3, CRASH), log(4, RunCancelled(at=9.0)))
    assert run.state is State.CANCELLED


def test_an_illegal_entry_in_a_message_is_skipped_and_the_others_count() -> None:
    run = folded(ready(1, CREATED), log(2, started(), LetterDropped(at=3.0), STEP, started(5, nonce="n1"), writer="n1"))
    assert (run.state, run.attempt, run.steps) == (State.RUNNING, 1, 1)


def test_a_second_creation_is_no_offer_but_for_a_run_that_is_delayed() -> None:
    again = ready(9, replace(CREATED, task="other", payload=b"other"))
    created = folded(log(1, CREATED))
    assert apply(created, again) == replace(created, item=9)
    assert apply(STANDING["waiting"], again) == STANDING["waiting"]
    assert apply(STANDING["retrying"], again) == STANDING["retrying"]
    assert apply(STANDING["interrupted"], again) == STANDING["interrupted"]
    delayed = folded(timer(1, replace(CREATED, due=50.0)))
    due = replace(delayed, state=State.QUEUED, offered=True, armed=False, due=None, item=9)
    assert apply(delayed, again) == due


def test_a_second_creation_does_not_cut_a_backoff_short() -> None:
    later = replace(CREATED, due=50.0)
    run = folded(timer(1, later), ready(4, later), log(5, started(), failed(due=600.0), writer="n1"), ready(6, later))
    assert (run.state, run.due) == (State.RETRYING, 600.0)


def test_a_message_on_the_log_that_changes_nothing_does_not_make_the_backoffs_timer_stale() -> None:
    run = folded(
        ready(1, CREATED),
        log(2, started(), failed(), writer="n1"),
        timer(3, replace(OFFERED, cause=2)),
        log(4, LetterDropped(at=5.0)),
        log(5, STEP, writer="n1"),
        ready(6, replace(OFFERED, cause=2)),
    )
    assert (run.state, run.offered, run.last) == (State.QUEUED, True, 5)


def test_a_message_to_a_run_that_has_ended_is_skipped() -> None:
    run = folded(ready(1, CREATED), log(2, started(), RunCompleted(at=4.0, result=b"r"), writer="n1"))
    assert (run.state, fold([ready(3), told(4, CancelRequested(at=5.0))], run)) == (State.COMPLETED, run)


@pytest.mark.parametrize(
    "end", [RunCompleted(at=4.0, result=b"r"), DEAD, RunCancelled(at=4.0)], ids=lambda entry: type(entry).__name__
)
def test_a_child_that_ends_after_its_parent_is_only_remembered(end: Entry) -> None:
    run = folded(ready(1, CREATED), log(2, started(), end, writer="n1"))
    assert apply(run, told(3, CHILD)) == replace(run, arrived=frozenset({"C"}))


def test_a_retried_run_resumes_at_once_where_its_child_ended_while_it_was_cancelled() -> None:
    asked = ChildTriggered(key="/c#1", at=2.0, child="C", task="t")
    run = folded(
        ready(1, CREATED),
        log(2, started(), asked, Suspended(at=3.0, waits=("C",)), writer="n1"),
        log(3, RunCancelled(at=4.0)),
        told(4, CHILD),
        log(5, RunRetried(at=6.0)),
        ready(6, replace(OFFERED, cause=5)),
        log(7, started(2, nonce="n2"), Suspended(at=7.0, waits=("C",)), writer="n2"),
    )
    assert run.resumable


# --- children of an earlier attempt -----------------------------------------------------------------------------------


def asked_for(child: str, *, at: float) -> ChildTriggered:
    return ChildTriggered(key="/c#1", at=at, child=child, task="t")


@pytest.mark.parametrize(
    "ending",
    [
        (AttemptFailed(at=6.0, error=ERROR, due=7.0, fatal=("/c#1",)),),
        (RunDead(at=6.0, error=ERROR, reason="aborted", fatal=("/c#1",)), RunRetried(at=7.0)),
    ],
    ids=["failed", "dead and retried"],
)
def test_the_child_that_failed_an_attempt_does_not_wake_the_next_one(ending: tuple[Entry, ...]) -> None:
    """Else the run would be suspended, offered and resumed over and over until its new child ends."""
    suspended = folded(
        ready(1, CREATED),
        log(2, started(), asked_for("C1", at=2.0), Suspended(at=3.0, waits=("C1",)), writer="n1"),
        told(3, ChildEnded(key="/c#1", at=4.0, child="C1", state="dead", error=ERROR)),
        ready(4, replace(OFFERED, cause=2)),
        log(5, resumed(), *ending, writer="n2"),
        ready(6, replace(OFFERED, cause=5)),
        log(7, started(2, nonce="n3"), asked_for("C2", at=8.0), Suspended(at=9.0, waits=("C2",)), writer="n3"),
    )
    assert (suspended.state, suspended.resumable, effects(suspended)) == (State.WAITING, False, ())
    told_of = apply(suspended, told(8, ChildEnded(key="/c#1", at=10.0, child="C2", state="completed")))
    assert told_of is not None
    assert told_of.resumable


def test_a_child_of_before_a_retry_from_the_start_does_not_wake_who_awaits_another_one() -> None:
    run = folded(
        ready(1, CREATED),
        log(2, started(), asked_for("C1", at=2.0), Suspended(at=3.0, waits=("C1",)), writer="n1"),
        log(3, RunCancelled(at=4.0)),
        log(4, RunRetried(at=5.0, from_start=True)),
        ready(5, replace(OFFERED, cause=4)),
        log(6, started(2, nonce="n2"), asked_for("C2", at=6.0), Suspended(at=7.0, waits=("C2",)), writer="n2"),
        told(7, ChildEnded(key="/c#1", at=8.0, child="C1", state="cancelled")),
    )
    assert (run.state, run.resumable) == (State.WAITING, False)


# --- what counts ------------------------------------------------------------------------------------------------------


def test_the_entries_that_count_come_each_with_the_run_after_it() -> None:
    queued = folded(ready(1, CREATED))
    record = log(2, started(), LetterDropped(at=3.0), STEP, CHILD, writer="n1")
    found = list(taken(queued, record))
    assert [entry for entry, _ in found] == [started(), STEP, CHILD]
    assert [(run.state, run.steps, run.arrived) for _, run in found] == [
        (State.RUNNING, 0, frozenset()),
        (State.RUNNING, 1, frozenset()),
        (State.RUNNING, 1, {"C"}),
    ]


@pytest.mark.parametrize(
    "late",
    [
        log(3, STEP, writer="zombie"),
        log(3, STEP),
        told(3, STEP),
        ready(3, STEP),
        timer(3, STEP),
        log(3, resumed(), writer="n2"),
        log(3, CREATED),
    ],
    ids=["a zombie's", "nobody's", "told", "a work item", "a timer", "an illegal claim", "a second creation"],
)
def test_what_the_fold_skips_is_no_part_of_the_story(late: Record) -> None:
    begun, end = log(2, started(), writer="n1"), log(4, RunCompleted(at=9.0, result=b"r"), writer="n1")
    told_story = list(story([ready(1, CREATED), begun, late, end]))
    assert told_story == [CREATED, started(), RunCompleted(at=9.0, result=b"r")]


def test_a_run_that_was_never_created_has_no_story() -> None:
    assert list(story([ready(1), log(2, started(), STEP, writer="n1"), told(3, CHILD)])) == []
