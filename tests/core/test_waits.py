"""Sleeps, tokens, events, signals and questions to an operator: by hand from BEHAVIOURS "Waits and messages"."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from holdfast.core.effects import Arm, Offer, effects
from holdfast.core.entries import (
    AttemptFailed,
    AttemptInterrupted,
    AttemptResumed,
    AttemptStarted,
    ChildEnded,
    ChildTriggered,
    Entry,
    EventArrived,
    Inherited,
    Offered,
    Resolved,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunDead,
    RunRetried,
    Signalled,
    StepCompleted,
    StepFailed,
    StepStarted,
    Suspended,
    TokenCompleted,
    WaitStarted,
)
from holdfast.core.lifecycle import IllegalEntry, Kind, Record, advance, apply
from holdfast.core.model import ErrorInfo, Expected, Run, State
from holdfast.core.recall import Recall
from records import folded, log, ready, recalled, timer, told

ERROR = ErrorInfo(type="payments.CardDeclined", message="no")
TIMEOUT = ErrorInfo(type="holdfast.errors.WaitTimeout", message="nobody answered within 60 s")
CREATED = RunCreated(run="R", at=1.0, task="pay", payload=b"p")
STARTED = AttemptStarted(at=2.0, attempt=1, worker="w1", nonce="n1", item="i1")
RESUMED = AttemptResumed(at=50.0, attempt=1, worker="w2", nonce="n2", item="i2")
SECOND = AttemptStarted(at=99.0, attempt=2, worker="w3", nonce="n3", item="i3")
CRASH = AttemptInterrupted(at=40.0, reason="worker died")
FAILED = AttemptFailed(at=5.0, error=ERROR, due=98.0)
SLEEP = WaitStarted(key="/for_#1", at=3.0, wait="", kind="sleep", due=60.0)
TOKEN = WaitStarted(key="/token#1", at=3.0, wait="T", kind="token")
DONE = TokenCompleted(token="T", at=20.0, by="ann", value=b"yes")
PAID = WaitStarted(key="/event#1", at=3.0, wait="E", kind="event", subject="orders.*", match=b"m", since=2.5)
CAME = EventArrived(wait="E", at=20.0, event=7, subject="orders.paid", value=b"v")
BEGUN = [ready(CREATED), log(STARTED)]
"""Two messages: the next one is the third."""


def until(*waits: str, due: float | None = None) -> Suspended:
    return Suspended(at=4.0, waits=waits, due=due)


def offered(cause: int) -> Record:
    return ready(Offered(run="R", first=1, cause=cause))


def run_of(*entries: Entry) -> Run:
    run = advance(None, CREATED)
    for entry in entries:
        run = advance(run, entry)
    return run


def recall_of(*entries: Entry) -> Recall:
    recall = Recall()
    for entry in entries:
        recall.add(entry)
    return recall


# --- sleeps -----------------------------------------------------------------------------------------------------------


def test_a_sleeping_run_holds_no_slot_and_asks_for_its_timer() -> None:
    run = folded(*BEGUN, log(SLEEP, until(due=60.0), writer="n1"))
    assert (run.state, run.holder, run.waits, run.due) == (State.WAITING, None, frozenset(), 60.0)
    assert effects(run) == (Arm("R", "default", 5, 1, 60.0, 3),)


def test_a_run_whose_timer_stands_waits_for_it_and_nothing_else_follows() -> None:
    run = folded(*BEGUN, log(SLEEP, until(due=60.0), writer="n1"), timer(Offered("R", 1, 3)))
    assert (run.state, run.armed, effects(run)) == (State.WAITING, True, ())


def test_the_timer_of_a_sleep_makes_the_run_ready_to_go_on() -> None:
    run = folded(*BEGUN, log(SLEEP, until(due=60.0), writer="n1"), timer(Offered("R", 1, 3)), offered(3))
    assert (run.state, run.fresh, run.offered, run.armed, run.due) == (State.QUEUED, False, True, False, None)
    assert advance(run, RESUMED).state is State.RUNNING


def test_the_timer_of_an_earlier_sleep_does_not_end_the_next_one() -> None:
    again = [
        *BEGUN,
        log(SLEEP, until("T", due=60.0), writer="n1"),
        timer(Offered("R", 1, 3)),
        told(DONE),
        offered(3),
        log(RESUMED, until(due=600.0)),
    ]
    run = folded(*again)
    assert folded(*again, offered(3)) == run
    assert folded(*again, offered(7)).state is State.QUEUED


def test_a_timer_that_was_set_too_late_for_its_sleep_is_set_again_for_the_next_one() -> None:
    run = folded(*BEGUN, log(until(due=60.0), writer="n1"), offered(3), log(RESUMED, until(due=600.0)))
    late = apply(replace(run, armed=True), Record(6, Kind.TIMER, "", (Offered("R", 1, 3),)))
    assert late is not None
    assert effects(late) == (Arm("R", "default", 5, 1, 600.0, 5),)


def test_a_timer_that_the_log_made_stale_is_set_again() -> None:
    """Else it would fire in vain, and the run would sleep for ever."""
    armed = [*BEGUN, log(until("T", due=60.0), writer="n1"), timer(Offered("R", 1, 3))]
    run = folded(*armed, log(ChildEnded(key="/c#1", at=5.0, child="C", state="completed")))
    assert effects(run) == (Arm("R", "default", 5, 1, 60.0, 5),)


def test_a_run_that_waits_for_no_time_has_no_timer_whatever_is_set() -> None:
    run = folded(*BEGUN, log(TOKEN, until("T"), writer="n1"), timer(Offered("R", 1, 3)))
    assert (run.state, run.armed) == (State.WAITING, False)


def test_what_comes_before_the_time_is_over_wakes_the_run_at_once_and_its_timer_later_changes_nothing() -> None:
    waiting = [*BEGUN, log(TOKEN, until("T", due=60.0), writer="n1"), timer(Offered("R", 1, 3))]
    woken = [*waiting, told(DONE), offered(3), log(RESUMED)]
    assert effects(folded(*waiting, told(DONE))) == (Offer("R", "default", 5, 1, 3),)
    assert folded(*woken).state is State.RUNNING
    assert folded(*woken, offered(3)) == folded(*woken)


def test_a_sleep_is_measured_from_its_first_start_whoever_resumes_it() -> None:
    recall = recall_of(STARTED, SLEEP, CRASH, RESUMED)
    found = recall.wait("/for_#1")
    assert found is not None
    assert (found.at, found.due, recall.take("/for_#1")) == (3.0, 60.0, None)


def test_a_sleep_that_is_over_is_an_outcome_like_any_other() -> None:
    over = StepCompleted(key="/for_#1", at=60.1, took=57.1, value=b"\xc0")
    assert recall_of(STARTED, SLEEP, RESUMED, over).take("/for_#1") == over


def test_a_retry_from_the_start_sleeps_anew() -> None:
    recall = recall_of(STARTED, SLEEP, RunDead(at=5.0, error=ERROR, reason="aborted"), RunRetried(9.0, from_start=True))
    assert recall.wait("/for_#1") is None


def test_a_run_does_not_suspend_for_nothing_but_for_a_time_alone() -> None:
    with pytest.raises(IllegalEntry, match="expected something to wait for"):
        run_of(STARTED, until())
    assert run_of(STARTED, until(due=0.0)).state is State.WAITING


# --- several waits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arrival",
    [
        ChildEnded(key="/c#1", at=5.0, child="C", state="cancelled"),
        DONE,
        CAME,
        Signalled(id="s1", at=5.0, name="approve", value=b"v"),
        Resolved(key="/a#1", at=5.0, action="run"),
    ],
    ids=lambda entry: type(entry).__name__,
)
def test_of_several_waits_any_one_wakes_the_run(arrival: Entry) -> None:
    waits = ("C", "T", "E", "signal:approve#1", "pause:/a#1")
    waiting = [*BEGUN, log(until(*waits), writer="n1")]
    assert effects(folded(*waiting)) == ()
    assert effects(folded(*waiting, told(arrival))) == (Offer("R", "default", 5, 1, 3),)
    assert folded(*waiting, told(arrival), offered(3)).state is State.QUEUED


@pytest.mark.parametrize(
    "arrival",
    [
        replace(DONE, token="U"),
        replace(CAME, wait="F"),
        Signalled(id="s1", at=5.0, name="reject", value=b"v"),
        Resolved(key="/b#1", at=5.0, action="run"),
    ],
    ids=lambda entry: type(entry).__name__,
)
def test_what_the_run_does_not_wait_for_leaves_it_asleep(arrival: Entry) -> None:
    waits = ("C", "T", "E", "signal:approve#1", "pause:/a#1")
    run = folded(*BEGUN, log(until(*waits), writer="n1"), told(arrival), offered(3))
    assert (run.state, effects(run)) == (State.WAITING, ())


def test_what_came_while_the_run_was_held_wakes_it_as_soon_as_it_suspends() -> None:
    run = folded(*BEGUN, log(TOKEN, writer="n1"), told(DONE), log(until("T", "C"), writer="n1"))
    assert effects(run) == (Offer("R", "default", 5, 1, 5),)


def test_after_a_resume_what_has_come_is_known_and_what_has_not_is_waited_for_still() -> None:
    asked = ChildTriggered(key="/c#1", at=3.0, child="C", task="t")
    recall = recall_of(STARTED, TOKEN, asked, SLEEP, until("T", "C", due=60.0), DONE, RESUMED)
    assert (recall.take("/token#1"), recall.take("/c#1"), recall.child("/c#1")) == (DONE, None, "C")
    assert recall.wait("/for_#1") == SLEEP


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_only_the_first_completion_of_a_token_counts() -> None:
    second = TokenCompleted(token="T", at=21.0, by="bob", error=ERROR)
    recall = recall_of(STARTED, TOKEN, DONE, second)
    assert recall.take("/token#1") == recall.take("/token#1") == DONE
    assert recall.arrival("T") == DONE
    assert run_of(STARTED, TOKEN, DONE, second) == run_of(STARTED, TOKEN, DONE)


def test_a_token_completed_before_anybody_waits_is_remembered() -> None:
    recall = recall_of(DONE, STARTED)
    assert (recall.arrival("T"), recall.take("/token#1")) == (DONE, None)
    recall.add(TOKEN)
    assert recall.take("/token#1") == DONE
    assert run_of(DONE, STARTED, TOKEN, until("T")).resumable


def test_many_may_wait_for_one_token() -> None:
    recall = recall_of(STARTED, TOKEN, replace(TOKEN, key="/gather#1/token#1"))
    assert recall.waiting("T") == {"/token#1", "/gather#1/token#1"}
    recall.add(DONE)
    assert recall.take("/token#1") == recall.take("/gather#1/token#1") == DONE


def test_a_token_that_was_given_up_stays_given_up_though_it_is_completed_later() -> None:
    given_up = StepFailed(key="/token#1", at=60.0, took=57.0, error=TIMEOUT)
    recall = recall_of(STARTED, TOKEN, given_up, DONE)
    assert recall.take("/token#1") == given_up
    assert recall.arrival("T") == DONE


def test_a_token_completed_with_an_error_is_an_outcome_too() -> None:
    refused = TokenCompleted(token="T", at=20.0, by="ann", error=ERROR)
    recall = recall_of(STARTED, TOKEN, refused)
    assert recall.take("/token#1") == refused


def test_a_completed_token_is_still_completed_after_the_run_was_retried() -> None:
    recall = recall_of(STARTED, TOKEN, DONE, RunDead(at=30.0, error=ERROR, reason="aborted"), RunRetried(at=40.0))
    assert recall.take("/token#1") == DONE


def test_a_token_of_an_ended_run_may_be_completed_and_changes_nothing_but_that() -> None:
    run = run_of(STARTED, RunDead(at=5.0, error=ERROR, reason="aborted"))
    assert advance(run, DONE) == replace(run, arrived=frozenset({"T"}))


# --- events -----------------------------------------------------------------------------------------------------------


def test_the_events_that_a_run_waits_for_are_known_while_it_does() -> None:
    expected = Expected(wait="E", subject="orders.*", match=b"m", since=2.5, key="/event#1")
    assert run_of(STARTED, PAID).expected == (expected,)
    assert run_of(STARTED, PAID, until("E")).expected == (expected,)
    assert run_of(STARTED, PAID, CRASH, RESUMED).expected == (expected,)
    assert run_of(STARTED, TOKEN, SLEEP).expected == ()


def test_an_event_that_came_is_expected_no_more_and_the_others_still_are() -> None:
    other = replace(PAID, key="/event#2", wait="F")
    run = run_of(STARTED, PAID, other, until("E", "F"), CAME)
    assert [each.wait for each in run.expected] == ["F"]
    assert (run.arrived, run.resumable) == ({"E"}, True)


def test_an_event_that_came_before_the_entry_that_asks_for_it_is_not_expected() -> None:
    run = run_of(STARTED, CAME, PAID)
    assert run.expected == ()
    assert recall_of(STARTED, CAME, PAID).take("/event#1") == CAME


def test_an_event_is_expected_once_however_often_it_is_asked_for() -> None:
    later = replace(PAID, at=9.0, since=8.0)
    assert run_of(STARTED, PAID, later).expected == (Expected("E", "orders.*", b"m", 2.5, "/event#1"),)


@pytest.mark.parametrize(
    "outcome",
    [
        StepFailed(key="/event#1", at=60.0, took=57.0, error=TIMEOUT),
        StepCompleted(key="/event#1", at=60.0, took=57.0, value=b"\xc0"),
    ],
    ids=["timed out", "settled otherwise"],
)
def test_an_event_that_was_given_up_is_expected_no_more(outcome: Entry) -> None:
    other = replace(PAID, key="/event#2", wait="F")
    run = run_of(STARTED, PAID, other, outcome)
    assert [each.wait for each in run.expected] == ["F"]


@pytest.mark.parametrize(
    "end",
    [
        RunCompleted(at=9.0, result=b"r"),
        RunDead(at=9.0, error=ERROR, reason="aborted"),
        RunCancelled(at=9.0),
        RunCancelled(at=9.0, killed=True),
    ],
    ids=["completed", "dead", "cancelled", "killed"],
)
def test_a_run_that_has_ended_expects_no_event(end: Entry) -> None:
    assert run_of(STARTED, PAID, end).expected == ()


def test_one_wait_is_resolved_by_the_first_event_that_came_for_it() -> None:
    second = replace(CAME, event=8, value=b"w")
    assert recall_of(STARTED, PAID, CAME, second).take("/event#1") == CAME


def test_a_wait_that_was_forgotten_does_not_take_the_event_of_the_one_that_follows() -> None:
    given_up = StepFailed(key="/event#1", at=60.0, took=57.0, error=TIMEOUT)
    recall = recall_of(STARTED, PAID, given_up, replace(FAILED, fatal=("/event#1",)), SECOND)
    assert (recall.wait("/event#1"), recall.take("/event#1")) == (None, None)
    recall.add(replace(PAID, wait="E2"))
    recall.add(CAME)
    assert recall.take("/event#1") is None
    recall.add(replace(CAME, wait="E2", event=9))
    assert recall.take("/event#1") == replace(CAME, wait="E2", event=9)


# --- signals ----------------------------------------------------------------------------------------------------------


def signal(number: int, name: str = "approve") -> Signalled:
    return Signalled(id=f"s{number}", at=10.0 + number, name=name, value=b"%d" % number)


def took(number: int, name: str = "approve") -> StepCompleted:
    """The outcome that says that a signal was taken."""
    return StepCompleted(key=f"/signal:{name}#{number}", at=30.0, took=0.0, value=b"v")


def test_signals_are_taken_in_their_order_and_each_once() -> None:
    recall = recall_of(STARTED, signal(1), signal(2))
    assert [recall.take_signal("approve") for _ in range(3)] == [signal(1), signal(2), None]


def test_signals_of_another_name_are_not_taken() -> None:
    recall = recall_of(STARTED, signal(1, "reject"), signal(2))
    assert (recall.take_signal("approve"), recall.take_signal("approve")) == (signal(2), None)
    assert recall.take_signal("reject") == signal(1, "reject")


def test_a_signal_that_was_sent_twice_with_one_id_is_one() -> None:
    again = replace(signal(1), at=99.0, value=b"other")
    recall = recall_of(STARTED, signal(1), again)
    assert (recall.take_signal("approve"), recall.take_signal("approve")) == (signal(1), None)
    assert run_of(STARTED, signal(1), again) == run_of(STARTED, signal(1))


def test_a_run_waits_for_the_signal_that_comes_next_and_an_old_one_does_not_wake_it() -> None:
    recall = recall_of(STARTED, signal(1), took(1))
    assert recall.next_signal("approve") == "signal:approve#2"
    waiting = [STARTED, signal(1), took(1), until("signal:approve#2")]
    assert not run_of(*waiting).resumable
    assert not run_of(*waiting, signal(1)).resumable
    assert not run_of(*waiting, signal(2, "reject")).resumable
    assert run_of(*waiting, signal(2)).resumable


def test_a_signal_that_was_taken_is_not_taken_again_after_a_resume_and_one_that_was_not_is() -> None:
    recall = recall_of(STARTED, signal(1), signal(2), took(1), CRASH, RESUMED)
    assert (recall.take_signal("approve"), recall.take_signal("approve")) == (signal(2), None)


def test_a_signal_whose_outcome_is_recorded_twice_was_taken_once() -> None:
    recall = recall_of(STARTED, signal(1), signal(2), took(1), took(1))
    assert recall.take_signal("approve") == signal(2)


def test_how_many_signals_were_taken_survives_a_failed_attempt_and_an_operators_retry() -> None:
    history = [STARTED, signal(1), took(1), signal(2), FAILED, SECOND]
    assert recall_of(*history).next_signal("approve") == "signal:approve#2"
    dead = RunDead(at=100.0, error=ERROR, reason="aborted")
    retried = recall_of(*history, dead, RunRetried(at=200.0))
    assert (retried.take_signal("approve"), retried.take_signal("approve")) == (signal(2), None)


FROM_START = [
    ready(CREATED),
    log(STARTED),
    told(signal(1)),
    log(took(1), RunDead(at=40.0, error=ERROR, reason="aborted"), writer="n1"),
    log(RunRetried(at=50.0, from_start=True)),
]


def test_a_retry_from_the_start_is_given_all_signals_again() -> None:
    recall = recalled(*FROM_START)
    assert recall.next_signal("approve") == "signal:approve#1"
    assert (recall.take_signal("approve"), recall.take_signal("approve")) == (signal(1), None)


def test_the_next_signal_after_a_retry_from_the_start_wakes_who_waits_for_it() -> None:
    """The run and its recall count the signals alike, or it would wait for ever."""
    waits = [*FROM_START, log(SECOND, took(1), until("signal:approve#2"))]
    assert recalled(*FROM_START, log(SECOND, took(1))).next_signal("approve") == "signal:approve#2"
    assert not folded(*waits).resumable
    assert not folded(*waits, told(signal(1))).resumable  # sent twice
    assert folded(*waits, told(signal(2))).resumable


def test_waiting_in_vain_takes_no_signal() -> None:
    gave_up = StepFailed(key="/signal:approve#1", at=30.0, took=20.0, error=TIMEOUT)
    recall = recall_of(STARTED, gave_up, CRASH, RESUMED)
    assert recall.next_signal("approve") == "signal:approve#1"
    recall.add(signal(1))
    assert recall.take_signal("approve") == signal(1)


def test_a_fork_counts_its_own_signals() -> None:
    """What its origin took was never sent to the fork."""
    inherited = Inherited(key="/signal:approve#1", at=2.0, took=0.0, value=b"v")
    recall = recall_of(inherited, STARTED)
    assert recall.take("/signal:approve#1") is not None
    assert recall.next_signal("approve") == "signal:approve#1"
    assert run_of(inherited, STARTED, until("signal:approve#1"), signal(1)).resumable


def test_a_signal_to_a_run_that_has_ended_is_refused() -> None:
    for end in (RunCompleted(at=9.0, result=b"r"), RunCancelled(at=9.0)):
        with pytest.raises(IllegalEntry, match="Signalled is not accepted while c"):
            run_of(STARTED, end, signal(1))


# --- questions to an operator -----------------------------------------------------------------------------------------

BEGAN = StepStarted(key="/charge#1", at=3.0, once=True)
QUESTION = Suspended(at=45.0, waits=("pause:/charge#1",), paused="charge may have happened")
ANSWER = Resolved(key="/charge#1", at=60.0, action="run", by="ann")


def test_a_paused_run_waits_for_an_operator_and_says_why() -> None:
    run = run_of(STARTED, BEGAN, CRASH, RESUMED, QUESTION)
    assert (run.state, run.paused, run.holder) == (State.WAITING, "charge may have happened", None)
    assert (run.resumable, effects(run)) == (False, ())


def test_an_answered_run_goes_on_and_is_paused_no_more() -> None:
    paused = [ready(CREATED), log(STARTED, BEGAN), log(CRASH), log(RESUMED, QUESTION), told(ANSWER)]
    assert effects(folded(*paused)) == (Offer("R", "default", 5, 1, 4),)
    run = folded(*paused, offered(4))
    assert (run.state, run.paused, run.fresh) == (State.QUEUED, "", False)


def test_the_answer_is_known_to_whoever_resumes_the_run() -> None:
    recall = recall_of(STARTED, BEGAN, CRASH, RESUMED, QUESTION, ANSWER, replace(RESUMED, nonce="n4"))
    assert (recall.answer("/charge#1"), recall.answer("/other#1")) == (ANSWER, None)


def test_an_old_answer_does_not_answer_a_new_question() -> None:
    again = [STARTED, BEGAN, CRASH, RESUMED, QUESTION, ANSWER, replace(RESUMED, nonce="n4"), replace(QUESTION, at=70.0)]
    run = run_of(STARTED, CRASH, RESUMED, QUESTION, ANSWER, Offered("R", 1), replace(RESUMED, nonce="n4"), QUESTION)
    assert (run.state, run.resumable, effects(run)) == (State.WAITING, False, ())
    assert recall_of(*again).answer("/charge#1") is None
    assert advance(run, replace(ANSWER, at=80.0)).resumable
    assert recall_of(*again, replace(ANSWER, at=80.0)).answer("/charge#1") == replace(ANSWER, at=80.0)


def test_the_answer_to_one_question_is_none_to_another() -> None:
    run = run_of(STARTED, replace(QUESTION, waits=("pause:/charge#1", "pause:/ship#1")), ANSWER)
    assert run.arrived == {"pause:/charge#1"}
    later = run_of(STARTED, QUESTION, ANSWER, Offered("R", 1), RESUMED, until("pause:/ship#1"))
    assert not later.resumable


def test_a_second_answer_takes_the_place_of_the_first_until_the_run_goes_on() -> None:
    other = replace(ANSWER, action="done", value=b"v")
    assert recall_of(STARTED, QUESTION, ANSWER, other).answer("/charge#1") == other


def test_an_answer_is_used_up_when_what_it_allowed_has_begun() -> None:
    """Else a worker that dies in the step would let the next one run it once more, and nobody be asked."""
    begun_again = replace(BEGAN, at=62.0)
    history = [STARTED, BEGAN, CRASH, RESUMED, QUESTION, ANSWER, replace(RESUMED, nonce="n4"), begun_again, CRASH]
    recall = recall_of(*history, replace(RESUMED, nonce="n5"))
    assert (recall.began("/charge#1"), recall.answer("/charge#1")) == (True, None)


def test_an_answer_to_try_again_is_used_up_when_that_fails_too() -> None:
    failed = StepFailed(key="/a#1/undo", at=29.0, took=1.0, error=ERROR)
    question = Suspended(at=45.0, waits=("pause:/a#1/undo",), paused="the undo failed")
    answer = Resolved(key="/a#1/undo", at=60.0, action="run")
    recall = recall_of(STARTED, failed, question, answer, RESUMED)
    assert recall.answer("/a#1/undo") == answer
    recall.add(failed)
    assert recall.answer("/a#1/undo") is None


def test_an_operators_retry_asks_again() -> None:
    dead = RunDead(at=80.0, error=ERROR, reason="not retried")
    recall = recall_of(STARTED, BEGAN, CRASH, RESUMED, QUESTION, ANSWER, dead, RunRetried(at=90.0))
    assert (recall.answer("/charge#1"), recall.began("/charge#1")) == (None, True)


# --- at most once -----------------------------------------------------------------------------------------------------


def test_a_step_that_must_run_at_most_once_is_known_to_have_begun_when_its_worker_died() -> None:
    recall = recall_of(STARTED, BEGAN, CRASH, RESUMED)
    assert (recall.began("/charge#1"), recall.take("/charge#1")) == (True, None)
    assert recall.caught_up


def test_other_steps_that_began_simply_run_again() -> None:
    assert not recall_of(STARTED, replace(BEGAN, once=False), CRASH, RESUMED).began("/charge#1")


@pytest.mark.parametrize(
    "outcome",
    [
        StepCompleted(key="/charge#1", at=4.0, took=1.0, value=b"v"),
        StepFailed(key="/charge#1", at=4.0, took=1.0, error=ERROR),
    ],
    ids=["a value", "an exception"],
)
def test_once_its_outcome_is_known_nothing_is_in_doubt(outcome: StepCompleted | StepFailed) -> None:
    recall = recall_of(STARTED, BEGAN, outcome, CRASH, RESUMED)
    assert (recall.began("/charge#1"), recall.take("/charge#1")) == (False, outcome)


def test_it_is_not_repeated_on_its_own_in_the_attempt_after_the_one_that_its_exception_ended() -> None:
    raised = StepFailed(key="/charge#1", at=4.0, took=1.0, error=ERROR)
    recall = recall_of(STARTED, BEGAN, raised, replace(FAILED, fatal=("/charge#1",)), SECOND)
    assert (recall.take("/charge#1"), recall.began("/charge#1")) == (None, True)


def test_it_stays_in_doubt_over_attempts_and_an_operators_retry_but_not_from_the_start() -> None:
    dead = RunDead(at=80.0, error=ERROR, reason="attempts used up")
    history = [STARTED, BEGAN, FAILED, SECOND, dead]
    assert recall_of(*history, RunRetried(at=90.0)).began("/charge#1")
    assert not recall_of(*history, RunRetried(at=90.0, from_start=True)).began("/charge#1")
