"""Undoing what a run did that ended badly: by hand from API "undo" and DESIGN 1.2."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from holdfast.core.effects import Arm, CancelChild, DropLetter, Offer, PutLetter, Tell, TriggerHook, Withdraw, effects
from holdfast.core.entries import (
    AttemptFailed,
    AttemptInterrupted,
    AttemptResumed,
    AttemptStarted,
    CancelRequested,
    ChildTriggered,
    Compensated,
    Entry,
    EventArrived,
    Inherited,
    Offered,
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
    StepVolatile,
    Suspended,
    WaitStarted,
)
from holdfast.core.lifecycle import COMPENSATION, PAUSE, IllegalEntry, advance, interruption
from holdfast.core.model import ErrorInfo, Hook, Parent, Run, State
from records import folded, log, ready, recalled, timer, told

ERROR = ErrorInfo(type="payments.CardDeclined", message="no")
CREATED = RunCreated(run="R", at=1.0, task="pay", payload=b"p")
STARTED = AttemptStarted(at=2.0, attempt=1, worker="w1", nonce="n1", item="i1")
RESUMED = AttemptResumed(at=20.0, attempt=1, worker="w2", nonce="n2", item="i2")
SECOND = replace(STARTED, at=60.0, attempt=2, nonce="n3")
CRASH = AttemptInterrupted(at=25.0, reason="worker died")
FAILED = AttemptFailed(at=9.0, error=ERROR, due=50.0)
SUSPENDED = Suspended(at=9.0, waits=("T",))
COMPLETED = RunCompleted(at=10.0, result=b"r")
DEAD = RunDead(at=10.0, error=ERROR, reason="aborted")
CANCELLED = RunCancelled(at=10.0, reason="by ann")
TIMED_OUT = RunTimedOut(at=10.0, error=ERROR, reason="schedule_to_close")
CANCEL = CancelRequested(at=8.0)
KILL = RunCancelled(at=30.0, reason="killed by ann", killed=True)
UNDONE = Compensated(at=40.0)
RETRIED = RunRetried(at=50.0)
OFFERED = Offered(run="R", first=1)


def done(key: str, *, undo: bytes | None = b"u") -> StepCompleted:
    return StepCompleted(key=key, at=3.0, took=1.0, value=b"v", undo=undo)


def undone(key: str) -> StepCompleted:
    return StepCompleted(key=f"{key}/undo", at=21.0, took=1.0, value=b"\xc0")


def run_of(*entries: Entry, created: RunCreated = CREATED) -> Run:
    run = advance(None, created)
    for entry in entries:
        run = advance(run, entry)
    return run


# --- what is to be undone ---------------------------------------------------------------------------------------------


def test_completed_steps_are_to_be_undone_in_the_order_of_their_completion() -> None:
    run = run_of(STARTED, done("/b#1"), done("/plain#1", undo=None), done("/gather#1/c#2"), done("/a#1"))
    assert run.undos == ("/b#1", "/gather#1/c#2", "/a#1")


@pytest.mark.parametrize(
    "outcome",
    [
        done("/a#1", undo=None),
        StepFailed(key="/a#1", at=3.0, took=1.0, error=ERROR),
        StepVolatile(key="/a#1", at=3.0, took=1.0, reason="a socket"),
    ],
    ids=["without an undo", "raised", "volatile"],
)
def test_a_step_that_has_no_undo_or_did_not_complete_leaves_nothing_to_undo(outcome: Entry) -> None:
    assert run_of(STARTED, outcome).undos == ()


def test_a_step_that_is_recorded_twice_is_undone_once() -> None:
    assert run_of(STARTED, done("/a#1"), done("/b#1"), done("/a#1")).undos == ("/a#1", "/b#1")


def test_an_undo_whose_step_has_an_empty_description_is_an_undo_all_the_same() -> None:
    assert run_of(STARTED, done("/a#1", undo=b"")).undos == ("/a#1",)


def test_what_is_to_be_undone_survives_interruptions_suspensions_and_failed_attempts() -> None:
    run = run_of(STARTED, done("/a#1"), CRASH, RESUMED, SUSPENDED)
    assert run.undos == ("/a#1",)
    assert run_of(STARTED, done("/a#1"), FAILED, SECOND, done("/b#1")).undos == ("/a#1", "/b#1")


def test_what_a_fork_inherits_is_its_origins_to_undo() -> None:
    inherited = Inherited(key="/a#1", at=1.0, took=1.0, value=b"v")
    run = run_of(inherited, STARTED, done("/b#1"))
    assert (run.steps, run.undos) == (2, ("/b#1",))
    assert run_of(inherited, STARTED, DEAD).state is State.DEAD


# --- how it begins ----------------------------------------------------------------------------------------------------

BAD_ENDS: list[tuple[str, list[Entry], State, str]] = [
    ("dead", [DEAD], State.DEAD, "aborted"),
    ("cancelled while it ran", [CANCEL, CANCELLED], State.CANCELLED, "by ann"),
    ("cancelled during its last step", [CANCEL, COMPLETED], State.CANCELLED, "cancelled during its last step"),
    ("dead after its cancel was asked for", [CANCEL, DEAD], State.CANCELLED, "cancelled"),
    ("cancelled in its backoff", [FAILED, CANCELLED], State.CANCELLED, "by ann"),
    ("cancelled while it waited", [SUSPENDED, CANCELLED], State.CANCELLED, "by ann"),
    ("cancelled while it was queued", [CRASH, CANCELLED], State.CANCELLED, "by ann"),
    ("dead of poison, queued", [CRASH, replace(DEAD, reason="poison")], State.DEAD, "poison"),
    ("timed out while it ran", [TIMED_OUT], State.TIMED_OUT, "schedule_to_close"),
    ("timed out in its backoff", [FAILED, TIMED_OUT], State.TIMED_OUT, "schedule_to_close"),
    ("timed out while it waited", [SUSPENDED, TIMED_OUT], State.TIMED_OUT, "schedule_to_close"),
]


@pytest.mark.parametrize(
    ("history", "ending", "reason"), [case[1:] for case in BAD_ENDS], ids=[case[0] for case in BAD_ENDS]
)
def test_a_run_that_ends_badly_first_undoes_what_it_did(history: list[Entry], ending: State, reason: str) -> None:
    run = run_of(STARTED, done("/a#1"), *history)
    assert (run.state, run.ending, run.reason, run.final) == (State.COMPENSATING, ending, reason, False)
    assert (run.holder, run.held_since, run.offered, run.due, run.waits) == (None, None, False, None, frozenset())
    assert (run.finished_at, run.result, run.lettered) == (None, None, False)


@pytest.mark.parametrize(
    ("history", "ending", "reason"), [case[1:] for case in BAD_ENDS], ids=[case[0] for case in BAD_ENDS]
)
def test_when_all_is_undone_the_run_has_the_end_that_it_was_to_have(
    history: list[Entry], ending: State, reason: str
) -> None:
    run = run_of(STARTED, done("/a#1"), *history, RESUMED, undone("/a#1"), UNDONE)
    assert (run.state, run.ending, run.reason, run.undos) == (ending, None, reason, ())
    assert (run.finished_at, run.holder, run.lettered) == (40.0, None, ending is State.DEAD)
    assert run.error == (None if history[-1] in (CANCELLED, COMPLETED) and FAILED not in history else ERROR)


@pytest.mark.parametrize(
    ("history", "state"),
    [([COMPLETED], State.COMPLETED), ([KILL], State.CANCELLED), ([CANCEL, KILL], State.CANCELLED)],
    ids=["completed", "killed", "killed after its cancel was asked for"],
)
def test_a_run_that_completes_or_is_killed_undoes_nothing(history: list[Entry], state: State) -> None:
    assert run_of(STARTED, done("/a#1"), *history).state is state


def test_a_run_with_nothing_to_undo_ends_at_once() -> None:
    for end, state in ((DEAD, State.DEAD), (CANCELLED, State.CANCELLED), (TIMED_OUT, State.TIMED_OUT)):
        assert run_of(STARTED, done("/a#1", undo=None), end).state is state


def test_an_expired_run_had_nothing_to_undo() -> None:
    assert run_of(RunExpired(at=10.0, reason="too late")).state is State.EXPIRED


def test_a_failed_attempt_undoes_nothing_while_there_will_be_another() -> None:
    assert run_of(STARTED, done("/a#1"), FAILED).state is State.RETRYING


# --- how it is carried out --------------------------------------------------------------------------------------------

ENDED_BADLY = [ready(CREATED), log(STARTED, done("/a#1"), done("/b#1"), DEAD)]
OFFER = Offer("R", "default", 5, 1, 2)


def test_a_run_to_be_undone_is_offered_to_the_workers_once() -> None:
    assert effects(folded(*ENDED_BADLY)) == (OFFER,)
    offered = folded(*ENDED_BADLY, ready(Offered("R", 1, 2)))
    assert (offered.state, offered.offered, effects(offered)) == (State.COMPENSATING, True, ())


def test_undos_are_run_under_the_number_of_the_attempt_that_ended() -> None:
    run = run_of(STARTED, done("/a#1"), DEAD, RESUMED)
    assert (run.state, run.attempt, run.holder is not None) == (State.COMPENSATING, 1, True)
    with pytest.raises(IllegalEntry, match="expected attempt 1 resumed, found attempt 2"):
        run_of(STARTED, done("/a#1"), DEAD, replace(RESUMED, attempt=2))
    with pytest.raises(IllegalEntry, match="AttemptStarted is not accepted while compensating"):
        run_of(STARTED, done("/a#1"), DEAD, SECOND)


def test_a_second_worker_does_not_take_the_undos_from_the_first() -> None:
    with pytest.raises(IllegalEntry, match="while w2 holds it"):
        run_of(STARTED, done("/a#1"), DEAD, RESUMED, replace(RESUMED, worker="w9", nonce="n9"))


def test_each_undo_settles_its_own_step_and_the_last_completed_is_the_next() -> None:
    run = run_of(STARTED, done("/a#1"), done("/b#1"), DEAD, RESUMED)
    assert run.undos[-1] == "/b#1"
    run = advance(run, undone("/b#1"))
    assert (run.undos, run.last_key) == (("/a#1",), "/b#1/undo")
    assert advance(run, undone("/b#1")).undos == ("/a#1",)


def test_an_undo_that_fails_has_settled_nothing() -> None:
    failed = StepFailed(key="/a#1/undo", at=21.0, took=1.0, error=ERROR)
    tried = StepRetried(key="/a#1/undo", at=21.0, took=1.0, error=ERROR, number=1, due=22.0)
    assert run_of(STARTED, done("/a#1"), DEAD, RESUMED, tried, failed).undos == ("/a#1",)


def test_undos_that_were_interrupted_go_on_in_the_middle() -> None:
    half = [*ENDED_BADLY, log(RESUMED, undone("/b#1")), log(CRASH)]
    run = folded(*half)
    assert (run.state, run.undos, run.holder, run.offered) == (State.COMPENSATING, ("/a#1",), None, True)
    again = recalled(*half, log(replace(RESUMED, nonce="n5")))
    assert (again.take("/b#1/undo"), again.take("/a#1/undo")) == (undone("/b#1"), None)


def test_a_worker_that_lost_the_undos_without_a_work_item_leaves_them_to_be_offered() -> None:
    run = folded(*ENDED_BADLY, log(replace(RESUMED, item="")), log(CRASH))
    assert effects(run) == (replace(OFFER, cause=4),)


def test_an_undo_may_wait_for_its_next_try_without_a_worker() -> None:
    waiting = [*ENDED_BADLY, log(RESUMED, Suspended(at=30.0, waits=(), due=600.0))]
    assert effects(folded(*waiting)) == (Arm("R", "default", 5, 1, 600.0, 3),)
    armed = [*waiting, timer(Offered("R", 1, 3))]
    assert effects(folded(*armed)) == ()
    run = folded(*armed, ready(Offered("R", 1, 3)))
    assert (run.state, run.offered, run.armed, run.due) == (State.COMPENSATING, True, False, None)


def test_what_the_undone_run_waited_for_is_waited_for_no_more() -> None:
    asked = WaitStarted(key="/event#1", at=3.0, wait="E", kind="event", subject="orders.paid")
    run = run_of(STARTED, done("/a#1"), asked, Suspended(at=9.0, waits=("E",)), CANCELLED)
    assert (run.expected, run.waits, run.resumable) == ((), frozenset(), False)
    late = EventArrived(wait="E", at=11.0, event=1, subject="orders.paid", value=b"v")
    assert effects(advance(run, late)) == (replace(OFFER, first=0, cause=0),)


# --- cancel and kill --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [(), (RESUMED,)], ids=["nobody holds it", "held"])
def test_a_cancel_does_not_stop_the_undos(held: tuple[Entry, ...]) -> None:
    run = run_of(STARTED, done("/a#1"), DEAD, *held)
    assert advance(run, CANCEL) == run
    with pytest.raises(IllegalEntry, match="it can only be killed"):
        advance(run, CANCELLED)
    assert run_of(STARTED, done("/a#1"), DEAD, CANCEL, RESUMED, undone("/a#1"), UNDONE).state is State.DEAD


@pytest.mark.parametrize("held", [(), (RESUMED,), (RESUMED, undone("/b#1"))], ids=["waiting", "held", "half undone"])
def test_a_kill_ends_the_undos_at_once(held: tuple[Entry, ...]) -> None:
    run = run_of(STARTED, done("/a#1"), done("/b#1"), DEAD, *held, KILL)
    assert (run.state, run.reason, run.finished_at, run.ending) == (State.CANCELLED, "killed by ann", 30.0, None)
    assert (run.holder, run.offered, run.lettered) == (None, False, False)


def test_a_kill_without_a_reason_says_that_it_is_one() -> None:
    assert run_of(STARTED, done("/a#1"), replace(KILL, reason="")).reason == "killed"


@pytest.mark.parametrize("entry", [TIMED_OUT, DEAD, COMPLETED, FAILED], ids=lambda entry: type(entry).__name__)
def test_a_run_that_compensates_does_not_end_in_another_way(entry: Entry) -> None:
    with pytest.raises(IllegalEntry, match="is not accepted while compensating"):
        run_of(STARTED, done("/a#1"), CANCELLED, RESUMED, entry)


def test_only_who_runs_the_undos_says_that_all_have_run() -> None:
    with pytest.raises(IllegalEntry, match="Compensated is not accepted while nobody holds it"):
        run_of(STARTED, done("/a#1"), DEAD, UNDONE)
    stranger = folded(*ENDED_BADLY, log(RESUMED), log(undone("/b#1"), undone("/a#1"), UNDONE, writer="n1"))
    assert (stranger.state, stranger.undos) == (State.COMPENSATING, ("/a#1", "/b#1"))


# --- an operator's say ------------------------------------------------------------------------------------------------

ASKS = Suspended(at=30.0, waits=("pause:/a#1/undo",), paused="the undo of /a#1 raised CardDeclined")


def test_an_undo_that_finally_fails_pauses_the_run_for_an_operator() -> None:
    run = run_of(STARTED, done("/a#1"), DEAD, RESUMED, ASKS)
    assert (run.state, run.holder, run.paused) == (State.COMPENSATING, None, "the undo of /a#1 raised CardDeclined")
    assert (run.ending, run.undos, effects(run)) == (State.DEAD, ("/a#1",), ())
    assert effects(advance(run, OFFERED)) == ()


@pytest.mark.parametrize("action", ["run", "skip", "done"])
def test_the_operators_answer_lets_the_undos_go_on(action: str) -> None:
    answer = Resolved(key="/a#1/undo", at=70.0, action=action, by="ann")
    paused = [*ENDED_BADLY, log(RESUMED, undone("/b#1"), ASKS), told(answer)]
    assert effects(folded(*paused)) == (replace(OFFER, cause=3),)
    run = folded(*paused, ready(Offered("R", 1, 3)))
    assert (run.state, run.offered, run.paused, run.waits) == (State.COMPENSATING, True, "", frozenset())
    assert recalled(*paused).answer("/a#1/undo") == answer


def test_an_undo_that_failed_counts_as_run_once_it_succeeds_after_all() -> None:
    failed = StepFailed(key="/a#1/undo", at=29.0, took=1.0, error=ERROR)
    history = [ready(CREATED), log(STARTED, done("/a#1"), DEAD), log(RESUMED, failed, ASKS)]
    again = [
        *history,
        told(Resolved(key="/a#1/undo", at=70.0, action="run")),
        ready(Offered("R", 1, 3)),
        log(replace(RESUMED, nonce="n5"), undone("/a#1"), UNDONE),
    ]
    assert recalled(*history).take("/a#1/undo") == failed
    assert recalled(*again).take("/a#1/undo") == undone("/a#1")
    assert recalled(*again, log(RETRIED)).take("/a#1") is None
    assert (folded(*again).state, folded(*again).undos) == (State.DEAD, ())


def crashed(times: int, *, limit: int = 2) -> Run:
    """A run whose undos took down so many workers."""
    run = run_of(replace(STARTED, max_interruptions=limit), done("/a#1"), DEAD)
    for _ in range(times):
        run = advance(advance(run, RESUMED), CRASH)
    return run


def test_undos_that_take_down_too_many_workers_pause_the_run_and_say_so() -> None:
    bearable, poison = crashed(2), crashed(3)
    assert (bearable.paused, bearable.waits, bearable.offered) == ("", frozenset(), True)
    assert poison.state is State.COMPENSATING
    assert poison.paused == "its undos were interrupted 3 times, the last time: worker died"
    assert (poison.waits, effects(poison)) == ({PAUSE + COMPENSATION}, ())
    assert poison.undos == ("/a#1",)


def test_a_paused_poisonous_undo_goes_on_when_an_operator_says_so_and_pauses_again() -> None:
    answered = advance(crashed(3), Resolved(key="compensation", at=90.0, action="run"))
    assert effects(answered) == (replace(OFFER, first=0, cause=0),)
    run = advance(answered, OFFERED)
    for _ in range(3):
        assert run.paused == ""
        run = advance(advance(run, RESUMED), CRASH)
    assert (run.paused != "", run.resumable, effects(run)) == (True, False, ())


def test_workers_that_drain_do_not_make_undos_poison() -> None:
    run = run_of(replace(STARTED, max_interruptions=0), done("/a#1"), DEAD)
    for _ in range(3):
        run = advance(advance(run, RESUMED), replace(CRASH, polite=True))
    assert (run.paused, run.interruptions) == ("", 0)


def test_a_run_whose_attempt_took_down_workers_begins_its_undos_with_a_clean_slate() -> None:
    run = run_of(STARTED, done("/a#1"), *[CRASH, RESUMED] * 5, replace(DEAD, reason="poison"))
    assert (run.state, run.interruptions) == (State.COMPENSATING, 0)


def test_an_interrupted_undo_never_makes_a_dead_run() -> None:
    run = advance(crashed(2), RESUMED)
    assert interruption(run, 90.0, "worker w2 fell silent") == AttemptInterrupted(90.0, "worker w2 fell silent")


def test_what_nobody_holds_can_not_be_interrupted() -> None:
    with pytest.raises(IllegalEntry, match="nobody holds it"):
        run_of(STARTED, done("/a#1"), DEAD, CRASH)


# --- what follows -----------------------------------------------------------------------------------------------------


def test_nobody_hears_of_the_end_before_all_is_undone() -> None:
    created = replace(CREATED, parent=Parent("P", "/pay#1"), hooks=(Hook("failure", "page-ann"),))
    history = [ready(created), log(STARTED, done("/a#1"), DEAD)]
    assert effects(folded(*history)) == (OFFER,)
    assert effects(folded(*history, log(RESUMED, undone("/a#1"), UNDONE))) == (
        Tell("P", "/pay#1"),
        PutLetter("R", "default"),
        TriggerHook("R", "failure", "page-ann", "default", 3),
    )


@pytest.mark.parametrize(
    ("end", "reason"), [(CANCELLED, "its parent R was cancelled"), (TIMED_OUT, "its parent R was timed out")]
)
def test_the_children_of_a_cancelled_run_are_cancelled_before_its_undos_have_run(end: Entry, reason: str) -> None:
    asked = ChildTriggered(key="/c#1", at=3.0, child="C", task="t")
    ended = [ready(CREATED), log(STARTED, asked, done("/a#1")), log(end)]
    assert effects(folded(*ended)) == (CancelChild("C", reason), replace(OFFER, cause=3))
    assert effects(folded(*ended, log(RESUMED, undone("/a#1"), UNDONE))) == (
        Withdraw("R", None),
        CancelChild("C", reason),
    )


def test_a_dead_runs_children_go_on() -> None:
    asked = ChildTriggered(key="/c#1", at=3.0, child="C", task="t")
    assert effects(folded(ready(CREATED), log(STARTED, asked, done("/a#1"), DEAD))) == (OFFER,)


# --- an operator's retry ----------------------------------------------------------------------------------------------

SHIPPED = done("/ship#1", undo=None)


def test_a_retry_runs_again_what_was_undone_and_nothing_else() -> None:
    ended = [
        ready(CREATED),
        log(STARTED, done("/a#1"), SHIPPED, done("/b#1"), DEAD),
        log(RESUMED, undone("/b#1"), undone("/a#1"), UNDONE),
        log(RETRIED),
    ]
    recall = recalled(*ended)
    assert (recall.take("/a#1"), recall.take("/b#1"), recall.take("/ship#1")) == (None, None, SHIPPED)
    assert recall.caught_up
    run = folded(*ended)
    assert (run.state, run.undos, run.fresh, run.ending) == (State.QUEUED, (), True, None)


def test_a_step_that_ran_again_is_undone_again() -> None:
    twice = [
        ready(CREATED),
        log(STARTED, done("/a#1"), DEAD),
        log(RESUMED, undone("/a#1"), UNDONE),
        log(RETRIED),
        log(SECOND, done("/a#1"), DEAD),
    ]
    run = folded(*twice)
    assert (run.state, run.undos) == (State.COMPENSATING, ("/a#1",))
    assert recalled(*twice).take("/a#1/undo") is None
    settled = folded(*twice, log(replace(RESUMED, attempt=2), undone("/a#1"), UNDONE))
    assert (settled.state, settled.undos) == (State.DEAD, ())


def test_a_retry_after_a_kill_in_the_middle_runs_again_only_what_was_undone() -> None:
    killed = [
        ready(CREATED),
        log(STARTED, done("/a#1"), done("/b#1"), DEAD),
        log(RESUMED, undone("/b#1")),
        log(KILL),
        log(RETRIED),
    ]
    recall = recalled(*killed)
    assert (recall.take("/a#1"), recall.take("/b#1")) == (done("/a#1"), None)
    assert folded(*killed).undos == ("/a#1",)
    assert folded(*killed, log(SECOND, done("/b#1"), DEAD)).undos == ("/a#1", "/b#1")


def test_what_was_recorded_around_an_undone_step_does_not_hide_it_after_a_retry() -> None:
    """Else the run would go on as if it had been paid."""
    around = [
        ready(CREATED),
        log(STARTED, done("/order#1/charge#1"), done("/order#1/note#1", undo=None), done("/order#1", undo=None), DEAD),
        log(RESUMED, undone("/order#1/charge#1"), UNDONE),
        log(RETRIED),
    ]
    recall = recalled(*around)
    assert (recall.take("/order#1"), recall.take("/order#1/charge#1")) == (None, None)
    assert recall.take("/order#1/note#1") == done("/order#1/note#1", undo=None)


def test_a_retry_from_the_start_has_nothing_to_undo_any_more() -> None:
    run = run_of(STARTED, done("/a#1"), KILL, replace(RETRIED, from_start=True))
    assert run.undos == ()


def test_a_run_that_was_dead_is_cancelled_over_its_undos_and_drops_its_letter() -> None:
    dead_twice = [
        ready(CREATED),
        log(STARTED, done("/a#1"), DEAD),
        log(RESUMED, undone("/a#1"), UNDONE),
        log(RETRIED),
        log(SECOND, done("/a#1"), replace(CANCELLED, at=70.0)),
        log(replace(RESUMED, attempt=2), undone("/a#1"), UNDONE),
    ]
    assert effects(folded(*dead_twice)) == (Withdraw("R", None), DropLetter("R", "default"))
