"""What a run says of itself, what it inherits, and what follows its end: children, hooks, a kill."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from holdfast.core.effects import CancelChild, TriggerHook, Withdraw, effects
from holdfast.core.entries import (
    AttemptFailed,
    AttemptInterrupted,
    AttemptResumed,
    AttemptStarted,
    CancelRequested,
    ChildEnded,
    ChildTriggered,
    Entry,
    Heartbeat,
    HookTriggered,
    Inherited,
    LetterDropped,
    MetadataChanged,
    Offered,
    Progressed,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunDead,
    RunExpired,
    RunRetried,
    RunTimedOut,
    StepCompleted,
    StepFailed,
    Suspended,
    TokenCompleted,
)
from holdfast.core.lifecycle import IllegalEntry, advance
from holdfast.core.model import ErrorInfo, Hook, Origin, Progress, Run, State
from holdfast.core.recall import Recall
from records import folded, log, ready, recalled, told

ERROR = ErrorInfo(type="payments.CardDeclined", message="no")
CREATED = RunCreated(run="R", at=1.0, task="pay", payload=b"p")
STARTED = AttemptStarted(at=2.0, attempt=1, worker="w1", nonce="n1", item="i1")
RESUMED = AttemptResumed(at=20.0, attempt=1, worker="w2", nonce="n2", item="i2")
SECOND = replace(STARTED, at=60.0, attempt=2, nonce="n3")
CRASH = AttemptInterrupted(at=9.0, reason="worker died")
FAILED = AttemptFailed(at=9.0, error=ERROR, due=50.0)
SUSPENDED = Suspended(at=9.0, waits=("T",))
COMPLETED = RunCompleted(at=10.0, result=b"r")
DEAD = RunDead(at=10.0, error=ERROR, reason="aborted")
CANCELLED = RunCancelled(at=10.0)
EXPIRED = RunExpired(at=10.0)
TIMED_OUT = RunTimedOut(at=10.0, error=ERROR, reason="schedule_to_close")
RETRIED = RunRetried(at=50.0)
OFFERED = Offered(run="R", first=1)


def run_of(*entries: Entry, created: RunCreated = CREATED) -> Run:
    run = advance(None, created)
    for entry in entries:
        run = advance(run, entry)
    return run


def recall_of(*entries: Entry) -> Recall:
    recall = Recall()
    for entry in entries:
        recall.add(entry)
    return recall


# --- children ---------------------------------------------------------------------------------------------------------


def asked(child: str, *, detached: bool = False) -> ChildTriggered:
    return ChildTriggered(key=f"/{child}#1", at=3.0, child=child, task="t", detached=detached)


def ended(child: str) -> ChildEnded:
    return ChildEnded(key=f"/{child}#1", at=5.0, child=child, state="completed")


def cancelled_children(*history: Entry) -> list[str]:
    return [effect.child for effect in effects(run_of(*history)) if isinstance(effect, CancelChild)]


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (CANCELLED, "its parent R was cancelled"),
        (replace(CANCELLED, killed=True), "its parent R was cancelled"),
        (TIMED_OUT, "its parent R was timed out"),
    ],
    ids=["cancelled", "killed", "timed out"],
)
def test_the_children_of_a_run_that_is_cancelled_or_timed_out_are_cancelled(end: Entry, reason: str) -> None:
    assert effects(run_of(STARTED, asked("D"), asked("C"), end)) == (
        Withdraw("R", None),
        CancelChild("C", reason),
        CancelChild("D", reason),
    )


def test_a_child_that_has_ended_or_is_detached_is_left_alone() -> None:
    history = [STARTED, asked("C"), asked("D", detached=True), asked("E")]
    assert run_of(*history).children == {"C", "E"}
    assert run_of(*history, ended("C")).children == {"E"}
    assert cancelled_children(*history, ended("C"), CANCELLED) == ["E"]


def test_a_child_whose_end_came_before_the_entry_that_names_it_is_left_alone() -> None:
    assert cancelled_children(STARTED, ended("C"), asked("C"), CANCELLED) == []


@pytest.mark.parametrize("end", [COMPLETED, DEAD], ids=["completed", "dead"])
def test_the_children_of_a_run_that_ends_by_itself_go_on(end: Entry) -> None:
    assert cancelled_children(STARTED, asked("C"), end) == []


def test_a_child_that_has_followed_is_asked_no_more() -> None:
    assert cancelled_children(STARTED, asked("C"), CANCELLED, ended("C")) == []


def test_children_of_every_attempt_follow_and_so_do_those_of_before_a_retry() -> None:
    assert cancelled_children(STARTED, asked("C"), FAILED, SECOND, asked("D"), CANCELLED) == ["C", "D"]
    assert cancelled_children(STARTED, asked("C"), DEAD, RETRIED, CANCELLED) == ["C"]


# --- hooks ------------------------------------------------------------------------------------------------------------

HOOKS = (Hook("success", "thank"), Hook("failure", "page-ann", "urgent"), Hook("cancel", "refund"))
HOOKED = replace(CREATED, hooks=HOOKS)


def hooks_of(run: Run) -> list[str]:
    return [effect.task for effect in effects(run) if isinstance(effect, TriggerHook)]


@pytest.mark.parametrize(
    ("history", "task"),
    [
        ([STARTED, COMPLETED], "thank"),
        ([STARTED, DEAD], "page-ann"),
        ([DEAD], "page-ann"),
        ([EXPIRED], "page-ann"),
        ([TIMED_OUT], "page-ann"),
        ([STARTED, SUSPENDED, TIMED_OUT], "page-ann"),
        ([CANCELLED], "refund"),
        ([STARTED, CancelRequested(at=4.0), COMPLETED], "refund"),
        ([STARTED, replace(CANCELLED, killed=True)], "refund"),
    ],
    ids=[
        "completed", "dead", "dead of its payload", "expired", "timed out", "timed out waiting",
        "cancelled", "cancelled during its last step", "killed",
    ],
)  # fmt: skip
def test_each_way_to_end_triggers_its_own_hook(history: list[Entry], task: str) -> None:
    run = run_of(*history, created=HOOKED)
    assert hooks_of(run) == [task]
    assert hooks_of(run_of(*history)) == []


def test_a_hook_names_its_task_its_queue_and_the_message_that_ended_the_run() -> None:
    run = folded(ready(HOOKED), log(STARTED), log(DEAD), log(CRASH))
    assert effects(run)[-1] == TriggerHook("R", "failure", "page-ann", "urgent", 3)


@pytest.mark.parametrize(
    "history", [(), (STARTED,), (STARTED, FAILED), (STARTED, SUSPENDED), (STARTED, CRASH)], ids=len
)
def test_a_run_that_goes_on_triggers_no_hook(history: tuple[Entry, ...]) -> None:
    assert hooks_of(run_of(*history, created=HOOKED)) == []


def test_an_ending_without_a_hook_of_its_kind_triggers_none() -> None:
    only = replace(CREATED, hooks=(Hook("cancel", "refund"),))
    assert hooks_of(run_of(STARTED, COMPLETED, created=only)) == []
    assert hooks_of(run_of(STARTED, DEAD, created=only)) == []


@pytest.mark.parametrize(
    ("end", "on"), [(COMPLETED, "success"), (DEAD, "failure"), (TIMED_OUT, "failure"), (CANCELLED, "cancel")]
)
def test_an_ending_triggers_its_hook_once(end: Entry, on: str) -> None:
    once = run_of(STARTED, end, HookTriggered(on=on, at=11.0, run="H"), created=HOOKED)
    assert (once.followed, hooks_of(once)) == (True, [])
    assert advance(once, HookTriggered(on=on, at=12.0, run="H")) == once


def test_a_retried_run_triggers_its_hook_again_when_it_ends_again() -> None:
    history = [STARTED, DEAD, HookTriggered(on="failure", at=11.0, run="H"), RETRIED, SECOND]
    assert hooks_of(run_of(*history, replace(DEAD, at=70.0), created=HOOKED)) == ["page-ann"]
    assert hooks_of(run_of(*history, replace(COMPLETED, at=70.0), created=HOOKED)) == ["thank"]


def test_word_of_the_hook_of_an_earlier_ending_does_not_stand_for_the_last_one() -> None:
    late = HookTriggered(on="failure", at=71.0, run="H")
    with pytest.raises(IllegalEntry, match="HookTriggered is not accepted while queued"):
        run_of(STARTED, DEAD, RETRIED, late, created=HOOKED)
    assert hooks_of(run_of(STARTED, DEAD, RETRIED, SECOND, COMPLETED, late, created=HOOKED)) == ["thank"]


def test_two_endings_trigger_two_hooks_by_two_causes() -> None:
    first = [ready(HOOKED), log(STARTED, DEAD)]
    second = [*first, log(RETRIED), log(SECOND, replace(DEAD, at=70.0))]
    causes = [effects(folded(*history))[-1] for history in (first, second)]
    assert causes == [
        TriggerHook("R", "failure", "page-ann", "urgent", 2),
        TriggerHook("R", "failure", "page-ann", "urgent", 4),
    ]


def test_what_is_told_to_a_run_that_has_ended_does_not_change_the_cause_of_its_hook() -> None:
    late = told(TokenCompleted(token="T", at=11.0))
    assert effects(folded(ready(HOOKED), log(STARTED, DEAD), late))[-1] == TriggerHook(
        "R", "failure", "page-ann", "urgent", 2
    )


def test_a_dropped_letter_triggers_no_hook_again() -> None:
    noted = HookTriggered(on="failure", at=11.0, run="H")
    assert hooks_of(run_of(STARTED, DEAD, noted, LetterDropped(at=12.0), created=HOOKED)) == []


def test_the_tasks_own_hooks_are_known_from_its_first_start_on() -> None:
    own = replace(STARTED, hooks=(Hook("success", "thank-you"),))
    assert hooks_of(run_of(own, COMPLETED)) == ["thank-you"]
    assert hooks_of(run_of(STARTED, FAILED, replace(SECOND, hooks=own.hooks), COMPLETED)) == ["thank-you"]


# --- a kill -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "history",
    [(), (STARTED,), (STARTED, FAILED), (STARTED, SUSPENDED), (STARTED, CRASH), (STARTED, CancelRequested(at=4.0))],
    ids=["queued", "running", "retrying", "waiting", "interrupted", "to be cancelled"],
)
def test_a_killed_run_is_cancelled_at_once_wherever_it_stood(history: tuple[Entry, ...]) -> None:
    run = run_of(*history, RunCancelled(at=10.0, reason="killed by ann", killed=True))
    assert (run.state, run.reason, run.holder, run.finished_at) == (State.CANCELLED, "killed by ann", None, 10.0)


def test_a_killed_run_may_be_retried_and_goes_on_behind_its_last_checkpoint() -> None:
    step = StepCompleted(key="/a#1", at=3.0, took=1.0, value=b"v", undo=b"u")
    run = run_of(STARTED, step, RunCancelled(at=10.0, killed=True), RETRIED)
    assert (run.state, run.steps, run.undos) == (State.QUEUED, 1, ("/a#1",))


# --- what a fork begins with ------------------------------------------------------------------------------------------

KEPT = Inherited(key="/a#1", at=1.0, took=4.0, value=b"v")
EDITED = Inherited(key="/b#1", at=1.0, took=4.0, value=b"w", edited=True)
RAISED = Inherited(key="/c#1", at=1.0, took=4.0, error=ERROR)


def test_a_fork_knows_the_outcomes_that_it_inherits_from_its_first_attempt_on() -> None:
    fork = [log(CREATED, KEPT, EDITED, RAISED), log(STARTED)]
    recall = recalled(*fork)
    assert recall.unseen == {"/a#1", "/b#1", "/c#1"}
    assert recall.take("/a#1") == StepCompleted("/a#1", 1.0, 4.0, b"v")
    assert recall.take("/b#1") == StepCompleted("/b#1", 1.0, 4.0, b"w")
    assert recall.take("/c#1") == StepFailed("/c#1", 1.0, 4.0, ERROR)
    assert (folded(*fork).steps, folded(*fork).last_key) == (3, "/c#1")


def test_an_inherited_outcome_without_a_value_is_none() -> None:
    assert recall_of(replace(KEPT, value=None)).take("/a#1") == StepCompleted("/a#1", 1.0, 4.0, b"\xc0")


def test_what_a_fork_does_itself_does_not_replace_what_it_inherited() -> None:
    recall = recall_of(KEPT, STARTED, StepCompleted("/a#1", 9.0, 1.0, b"other"))
    assert recall.take("/a#1") == StepCompleted("/a#1", 1.0, 4.0, b"v")


def test_a_fork_that_is_retried_from_the_start_inherits_nothing() -> None:
    recall = recall_of(KEPT, STARTED, DEAD, replace(RETRIED, from_start=True))
    assert (recall.take("/a#1"), recall.caught_up) == (None, True)


def test_a_run_says_what_it_was_made_from() -> None:
    origin = Origin("O", "fork", "/b#1")
    assert run_of(created=replace(CREATED, origin=origin, source="fork")).origin == origin


# --- what a run says of itself ----------------------------------------------------------------------------------------


def test_metadata_is_merged_by_name_and_none_removes() -> None:
    created = replace(CREATED, metadata={"customer": b"acme", "eta": b"1"})
    run = run_of(STARTED, MetadataChanged(at=3.0, changes={"eta": b"2", "cart": b"3"}), created=created)
    assert run.metadata == {"customer": b"acme", "eta": b"2", "cart": b"3"}
    run = advance(run, MetadataChanged(at=4.0, changes={"cart": None, "never": None}))
    assert run.metadata == {"customer": b"acme", "eta": b"2"}
    assert created.metadata == {"customer": b"acme", "eta": b"1"}


def test_metadata_stays_with_the_run_over_attempts_retries_and_its_end() -> None:
    changed = MetadataChanged(at=3.0, changes={"eta": b"2"})
    for history in ([FAILED, SECOND], [DEAD, replace(RETRIED, from_start=True)], [COMPLETED]):
        assert run_of(STARTED, changed, *history).metadata == {"eta": b"2"}


def test_the_last_progress_counts_and_a_new_attempt_begins_without() -> None:
    run = run_of(STARTED, Progressed(at=3.0, done=1.0), Progressed(at=4.0, done=3.0, total=10.0, text="resizing"))
    assert run.progress == Progress(3.0, 10.0, "resizing")
    assert advance(advance(run, CRASH), RESUMED).progress == Progress(3.0, 10.0, "resizing")
    assert advance(run, COMPLETED).progress == Progress(3.0, 10.0, "resizing")
    assert advance(advance(run, FAILED), SECOND).progress is None


def test_the_last_heartbeats_details_are_there_for_the_next_attempt_but_not_from_the_start() -> None:
    beats = [STARTED, Heartbeat(at=3.0, details=b"10"), Heartbeat(at=4.0, details=b"20")]
    assert recall_of(STARTED).heartbeat is None
    assert recall_of(*beats, CRASH, RESUMED).heartbeat == b"20"
    assert recall_of(*beats, FAILED, SECOND).heartbeat == b"20"
    assert recall_of(*beats, DEAD, RETRIED).heartbeat == b"20"
    assert recall_of(*beats, DEAD, replace(RETRIED, from_start=True)).heartbeat is None


def test_a_run_says_which_code_ran_last() -> None:
    assert run_of(replace(STARTED, code="c1")).code == "c1"
    assert run_of(replace(STARTED, code="c1"), CRASH, replace(RESUMED, code="c2")).code == "c2"
    assert run_of(replace(STARTED, code="c1"), CRASH, RESUMED).code == "c1"


def test_a_stranger_says_nothing_of_a_run() -> None:
    held = [ready(CREATED), log(STARTED)]
    strange = log(
        Progressed(at=3.0, done=1.0), MetadataChanged(at=3.0, changes={"eta": b"2"}), asked("C"), writer="zombie"
    )
    assert folded(*held, strange) == replace(folded(*held), last=3)
