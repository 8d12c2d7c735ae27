"""What a resumed attempt knows, and the keys of its awaits: by hand from DESIGN 4 and BEHAVIOURS "Retry", "Fork"."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from holdfast.core.entries import (
    AttemptFailed,
    AttemptInterrupted,
    AttemptResumed,
    AttemptStarted,
    CancelRequested,
    ChildEnded,
    ChildTriggered,
    Entry,
    LetterDropped,
    Offered,
    RunCancelled,
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
from holdfast.core.model import ErrorInfo
from holdfast.core.recall import Recall, Tried

ERROR = ErrorInfo(type="payments.CardDeclined", message="no")


def recall_of(*entries: Entry) -> Recall:
    recall = Recall()
    for entry in entries:
        recall.add(entry)
    return recall


def done(key: str, value: bytes = b"v", *, at: float = 3.0) -> StepCompleted:
    return StepCompleted(key=key, at=at, took=1.0, value=value)


def raised(key: str, *, at: float = 3.0) -> StepFailed:
    return StepFailed(key=key, at=at, took=1.0, error=ERROR)


def tried(key: str, number: int, due: float) -> StepRetried:
    return StepRetried(key=key, at=due - 1, took=0.5, error=ERROR, number=number, due=due)


def asked(key: str, child: str = "C1") -> ChildTriggered:
    return ChildTriggered(key=key, at=3.0, child=child, task="t")


def ended(key: str, child: str = "C1", state: str = "completed") -> ChildEnded:
    return ChildEnded(key=key, at=4.0, child=child, state=state, value=b"c" if state == "completed" else None)


def failed(*fatal: str) -> AttemptFailed:
    return AttemptFailed(at=5.0, error=ERROR, due=60.0, fatal=fatal)


def dead(*fatal: str) -> RunDead:
    return RunDead(at=5.0, error=ERROR, reason="attempts used up", fatal=fatal)


STARTED = AttemptStarted(at=2.0, attempt=1, worker="w1", nonce="n1", item="i1")
RESUMED = AttemptResumed(at=6.0, attempt=1, worker="w2", nonce="n2", item="i2")
RETRIED = RunRetried(at=9.0)
FROM_START = RunRetried(at=9.0, from_start=True)


# --- outcomes ---------------------------------------------------------------------------------------------------------


def test_a_first_attempt_knows_nothing() -> None:
    recall = Recall()
    assert recall.take("/a#1") is None
    assert recall.child("/a#1") is None
    assert recall.tried("/a#1") == Tried(failed=0, due=0.0)
    assert (recall.unseen, recall.caught_up) == (frozenset(), True)


@pytest.mark.parametrize("outcome", [done("/a#1"), raised("/a#1")], ids=["a value", "an exception"])
def test_a_recorded_outcome_is_known_to_the_next_worker(outcome: StepCompleted | StepFailed) -> None:
    recall = recall_of(STARTED, outcome, AttemptInterrupted(at=5.0, reason="worker died"), RESUMED)
    assert recall.take("/a#1") == outcome


def test_an_outcome_stays_known_however_often_it_is_asked_for() -> None:
    recall = recall_of(done("/a#1"))
    assert recall.take("/a#1") == recall.take("/a#1") == done("/a#1")


def test_what_is_recorded_of_one_key_says_nothing_of_another() -> None:
    recall = recall_of(done("/a#1"))
    for other in ("/a#2", "/a#11", "/a", "a#1", "/b/a#1", "/a#1/a#1", ""):
        assert recall.take(other) is None


def test_the_first_outcome_of_a_key_is_the_outcome() -> None:
    recall = recall_of(done("/a#1", b"first"), done("/a#1", b"second"), raised("/a#1"))
    assert recall.take("/a#1") == done("/a#1", b"first")


@pytest.mark.parametrize(
    "entry",
    [
        RunCreated(run="R", at=1.0, task="t", payload=b""),
        Offered(run="R", first=1),
        STARTED,
        RESUMED,
        StepStarted(key="/a#1", at=3.0),
        StepVolatile(key="/a#1", at=3.0, took=1.0, reason="a socket"),
        tried("/a#1", 1, 9.0),
        asked("/a#1"),
        Suspended(at=3.0, waits=("C1",)),
        ended("/a#1"),
        failed(),
        AttemptInterrupted(at=3.0, reason="worker died"),
        RunCompleted(at=3.0, result=b"r"),
        dead(),
        RunCancelled(at=3.0),
        RETRIED,
        LetterDropped(at=3.0),
        CancelRequested(at=3.0),
    ],
    ids=lambda entry: type(entry).__name__,
)
def test_nothing_but_an_outcome_is_one(entry: Entry) -> None:
    recall = recall_of(entry)
    assert (recall.take("/a#1"), recall.unseen, recall.caught_up) == (None, frozenset(), True)
    known = recall_of(done("/b#1"), entry)
    assert known.take("/b#1") == done("/b#1")


def test_a_volatile_step_runs_again_on_resume() -> None:
    recall = recall_of(StepVolatile(key="/a#1", at=3.0, took=1.0, reason="a socket"), RESUMED)
    assert recall.take("/a#1") is None


# --- what the next attempt runs again ---------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [failed, dead], ids=["failed", "dead"])
def test_the_exception_that_ended_the_attempt_is_forgotten_and_nothing_before_it(end: type) -> None:
    before, caught = done("/charge#1"), raised("/notify#1")
    recall = recall_of(before, caught, raised("/ship#1"), end("/ship#1"))
    assert recall.take("/ship#1") is None
    assert recall.take("/charge#1") == before
    assert recall.take("/notify#1") == caught


def test_a_caught_exception_is_raised_again_in_the_next_attempt() -> None:
    recall = recall_of(raised("/a#1"), failed(), replace(STARTED, attempt=2))
    assert recall.take("/a#1") == raised("/a#1")


def test_every_checkpoint_that_passed_the_exception_on_is_forgotten() -> None:
    recall = recall_of(
        done("/gather#1/ship#1"),
        raised("/gather#1/ship#2"),
        raised("/gather#1"),
        failed("/gather#1/ship#2", "/gather#1"),
    )
    assert recall.take("/gather#1") is None
    assert recall.take("/gather#1/ship#2") is None
    assert recall.take("/gather#1/ship#1") == done("/gather#1/ship#1")


def test_what_a_failed_step_had_recorded_below_itself_stays_known() -> None:
    recall = recall_of(done("/order#1/charge#1"), raised("/order#1"), failed("/order#1"))
    assert recall.take("/order#1") is None
    assert recall.take("/order#1/charge#1") == done("/order#1/charge#1")


def test_a_forgotten_checkpoint_gets_its_new_outcome() -> None:
    recall = recall_of(raised("/a#1"), failed("/a#1"), replace(STARTED, attempt=2), done("/a#1", b"now"))
    assert recall.take("/a#1") == done("/a#1", b"now")


def test_an_exception_may_be_fatal_in_one_attempt_after_another() -> None:
    recall = recall_of(raised("/a#1"), failed("/a#1"), raised("/a#1", at=70.0), failed("/a#1"))
    assert recall.take("/a#1") is None


def test_a_fatal_key_that_is_not_known_is_passed_over() -> None:
    recall = recall_of(done("/a#1"), failed("/never#1", ""))
    assert recall.take("/a#1") == done("/a#1")


def test_what_was_forgotten_is_not_missed() -> None:
    recall = recall_of(done("/a#1"), raised("/b#1"), failed("/b#1"))
    assert recall.unseen == {"/a#1"}
    recall.take("/a#1")
    assert recall.caught_up


def test_an_interruption_forgets_nothing() -> None:
    recall = recall_of(
        done("/a#1"), raised("/b#1"), tried("/c#1", 2, 9.0), asked("/d#1"), AttemptInterrupted(at=5.0, reason="died")
    )
    assert recall.take("/a#1") == done("/a#1")
    assert recall.take("/b#1") == raised("/b#1")
    assert (recall.tried("/c#1"), recall.child("/d#1")) == (Tried(2, 9.0, since=7.5), "C1")


# --- an operator's retry ----------------------------------------------------------------------------------------------


def test_a_retry_goes_on_behind_the_last_checkpoint() -> None:
    recall = recall_of(done("/a#1"), asked("/c#1"), ended("/c#1"), raised("/b#1"), dead("/b#1"), RETRIED)
    assert recall.take("/a#1") == done("/a#1")
    assert recall.take("/c#1") == ended("/c#1")
    assert recall.child("/c#1") == "C1"
    assert recall.take("/b#1") is None


def test_a_retried_run_that_was_cancelled_during_its_last_step_has_nothing_left_to_run() -> None:
    recall = recall_of(done("/a#1"), CancelRequested(at=4.0), done("/b#1"), RunCompleted(at=6.0, result=b"r"), RETRIED)
    assert (recall.take("/a#1"), recall.take("/b#1")) == (done("/a#1"), done("/b#1"))
    assert recall.caught_up


def test_a_retry_from_the_start_forgets_values_exceptions_children_and_tries() -> None:
    recall = recall_of(
        done("/a#1"),
        raised("/b#1"),
        asked("/c#1"),
        ended("/c#1"),
        asked("/d#1", "C2"),
        tried("/e#1", 2, 9.0),
        dead(),
        FROM_START,
    )
    for key in ("/a#1", "/b#1", "/c#1", "/d#1", "/e#1"):
        assert (recall.take(key), recall.child(key), recall.tried(key)) == (None, None, Tried())
    assert (recall.unseen, recall.caught_up) == (frozenset(), True)


def test_what_is_recorded_after_a_retry_from_the_start_is_known() -> None:
    recall = recall_of(
        done("/a#1", b"old"), asked("/c#1"), dead(), FROM_START, done("/a#1", b"new"), asked("/c#1", "C2")
    )
    assert recall.take("/a#1") == done("/a#1", b"new")
    assert recall.child("/c#1") == "C2"


# --- children ---------------------------------------------------------------------------------------------------------


def test_a_child_that_was_triggered_is_not_triggered_again() -> None:
    recall = recall_of(asked("/c#1"), Suspended(at=4.0, waits=("C1",)), RESUMED)
    assert (recall.child("/c#1"), recall.take("/c#1")) == ("C1", None)


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled", "expired", "dead", "timed_out"])
def test_however_a_child_ended_its_parent_learns_it(state: str) -> None:
    recall = recall_of(asked("/c#1"), ended("/c#1", state=state))
    assert recall.take("/c#1") == ended("/c#1", state=state)


def test_a_child_that_was_told_of_twice_ended_once() -> None:
    recall = recall_of(asked("/c#1"), ended("/c#1"), replace(ended("/c#1"), at=99.0))
    assert recall.take("/c#1") == ended("/c#1")


def test_a_child_whose_end_comes_before_the_entry_that_names_it_has_ended_too() -> None:
    recall = recall_of(ended("/c#1"), asked("/c#1"))
    assert (recall.take("/c#1"), recall.child("/c#1")) == (ended("/c#1"), "C1")


def test_a_child_whose_failure_ended_the_attempt_is_triggered_anew_in_the_next_one() -> None:
    recall = recall_of(asked("/c#1"), ended("/c#1", state="dead"), failed("/c#1"))
    assert (recall.child("/c#1"), recall.take("/c#1")) == (None, None)
    recall.add(asked("/c#1", "C2"))
    recall.add(ended("/c#1", "C2"))
    assert (recall.child("/c#1"), recall.take("/c#1")) == ("C2", ended("/c#1", "C2"))


@pytest.mark.parametrize(
    "forgotten",
    [[ended("/c#1", state="dead"), failed("/c#1")], [FROM_START]],
    ids=["its failure ended the attempt", "retried from the start"],
)
def test_the_end_of_a_child_of_before_is_not_the_new_ones(forgotten: list[Entry]) -> None:
    recall = recall_of(asked("/c#1"), *forgotten, ended("/c#1", state="dead"))
    assert (recall.take("/c#1"), recall.caught_up) == (None, True)
    recall.add(asked("/c#1", "C2"))
    recall.add(ended("/c#1", state="dead"))
    assert (recall.take("/c#1"), recall.caught_up) == (None, True)
    recall.add(ended("/c#1", "C2"))
    assert recall.take("/c#1") == ended("/c#1", "C2")


def test_a_child_of_another_await_outlives_the_failed_attempt() -> None:
    recall = recall_of(asked("/c#1"), raised("/a#1"), failed("/a#1"))
    assert recall.child("/c#1") == "C1"


# --- a step's own retries ---------------------------------------------------------------------------------------------


def test_an_interrupted_step_goes_on_with_the_try_it_had_come_to() -> None:
    recall = recall_of(tried("/a#1", 1, 5.0), tried("/a#1", 2, 9.0), AttemptInterrupted(at=6.0, reason="died"), RESUMED)
    assert recall.tried("/a#1") == Tried(failed=2, due=9.0, since=3.5)
    assert recall.tried("/a#2") == Tried(failed=0, due=0.0)


def test_a_step_that_gave_up_has_all_its_tries_again_in_the_next_attempt() -> None:
    recall = recall_of(tried("/a#1", 1, 5.0), tried("/a#1", 2, 9.0), raised("/a#1"), failed("/a#1"))
    assert recall.tried("/a#1") == Tried(failed=0, due=0.0)
    recall.add(tried("/a#1", 1, 80.0))
    assert recall.tried("/a#1") == Tried(failed=1, due=80.0, since=78.5)


def test_an_operators_retry_gives_every_step_all_its_tries() -> None:
    recall = recall_of(tried("/a#1", 2, 9.0), tried("/b#1", 1, 9.0), dead(), RETRIED)
    assert (recall.tried("/a#1"), recall.tried("/b#1")) == (Tried(), Tried())


def test_tries_are_no_outcome() -> None:
    recall = recall_of(tried("/a#1", 1, 5.0))
    assert recall.take("/a#1") is None
    assert recall.caught_up


# --- keys -------------------------------------------------------------------------------------------------------------


def test_an_awaitable_is_numbered_by_its_occurrence_among_those_of_its_name() -> None:
    recall = Recall()
    names = ["charge", "ship", "charge", "charge", "ship"]
    assert [recall.key("", name) for name in names] == ["/charge#1", "/ship#1", "/charge#2", "/charge#3", "/ship#2"]


def test_each_scope_counts_for_itself() -> None:
    recall = Recall()
    assert recall.key("", "gather") == "/gather#1"
    assert recall.key("/gather#1", "ship") == "/gather#1/ship#1"
    assert recall.key("", "ship") == "/ship#1"
    assert recall.key("/gather#1", "ship") == "/gather#1/ship#2"
    assert recall.key("", "gather") == "/gather#2"
    assert recall.key("/gather#2", "ship") == "/gather#2/ship#1"
    assert recall.key("/gather#1/ship#1", "ship") == "/gather#1/ship#1/ship#1"
    assert recall.key("", "ship") == "/ship#2"


def test_a_key_does_not_depend_on_when_its_branch_comes_to_run() -> None:
    """Two branches of a fan-out whose awaits are created in either order."""
    one, two = Recall(), Recall()
    for recall in (one, two):
        assert recall.key("/gather#1", "ship") == "/gather#1/ship#1"
        assert recall.key("/gather#1", "ship") == "/gather#1/ship#2"
    ship_1, ship_2 = "/gather#1/ship#1", "/gather#1/ship#2"
    forwards = [one.key(scope, "pack") for scope in (ship_1, ship_1, ship_2)]
    backwards = [two.key(scope, "pack") for scope in (ship_2, ship_1, ship_1)]
    assert sorted(forwards) == sorted(backwards) == [f"{ship_1}/pack#1", f"{ship_1}/pack#2", f"{ship_2}/pack#1"]


def test_an_await_inserted_by_todays_code_moves_no_key_of_another_name() -> None:
    recall = recall_of(done("/charge#1", b"c"), done("/ship#1", b"s"))
    found = [recall.take(recall.key("", name)) for name in ("charge", "audit", "ship")]
    assert found == [done("/charge#1", b"c"), None, done("/ship#1", b"s")]


def test_what_the_journal_knows_does_not_change_the_keys() -> None:
    fresh, resumed = Recall(), recall_of(done("/a#1"), done("/a#2"), raised("/b#1"), failed("/b#1"), FROM_START)
    names = ["a", "b", "a"]
    assert [fresh.key("", name) for name in names] == [resumed.key("", name) for name in names]
    assert fresh.key("", "a") == "/a#3"


def test_asking_does_not_count() -> None:
    recall = recall_of(done("/a#1"))
    recall.take("/a#1")
    recall.child("/a#1")
    recall.tried("/a#1")
    assert recall.key("", "a") == "/a#1"


@settings(max_examples=50, derandomize=True, database=None, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["", "/a#1", "/a#1/b#1"]), st.sampled_from(["a", "b"])), max_size=30))
def test_no_key_is_given_twice(created: list[tuple[str, str]]) -> None:
    recall = Recall()
    keys = [recall.key(scope, name) for scope, name in created]
    assert len(set(keys)) == len(keys)


# --- how far the code has come ----------------------------------------------------------------------------------------


def test_the_code_has_caught_up_once_it_came_to_every_outcome() -> None:
    recall = recall_of(done("/a#1"), raised("/b#1"), asked("/c#1"), ended("/c#1"))
    assert recall.unseen == {"/a#1", "/b#1", "/c#1"}
    seen = []
    for key in ("/b#1", "/a#1", "/c#1"):
        seen.append(recall.caught_up)
        recall.take(key)
    assert seen == [False, False, False]
    assert (recall.unseen, recall.caught_up) == (frozenset(), True)


def test_coming_to_an_await_that_is_not_known_does_not_catch_up_with_the_others() -> None:
    recall = recall_of(done("/a#1"))
    assert recall.take("/new#1") is None
    assert recall.unseen == {"/a#1"}


def test_an_outcome_that_the_code_has_seen_is_not_unseen_again_when_it_is_told_once_more() -> None:
    recall = recall_of(asked("/c#1"), ended("/c#1"))
    recall.take("/c#1")
    recall.add(ended("/c#1"))
    assert recall.caught_up


def test_what_happened_within_a_recalled_await_is_not_waited_for() -> None:
    recall = recall_of(
        done("/pay#1/charge#1"), done("/pay#1/ship#1/pack#1"), asked("/pay#1/c#1"), ended("/pay#1/c#1"),
        done("/pay#1"), done("/pay#11"), done("/pay#1x/charge#1"),
    )  # fmt: skip
    recall.take("/pay#1")
    assert recall.unseen == {"/pay#11", "/pay#1x/charge#1"}


def test_what_comes_of_an_await_that_the_code_has_come_to_and_given_up_is_not_waited_for() -> None:
    recall = recall_of(asked("/c#1"))
    recall.take("/c#1")
    recall.add(ended("/c#1"))
    assert recall.caught_up


def test_what_comes_of_an_await_within_a_recalled_one_is_not_waited_for() -> None:
    recall = recall_of(asked("/gather#1/c#1"), raised("/gather#1"))
    recall.take("/gather#1")
    recall.add(ended("/gather#1/c#1"))
    assert recall.caught_up


def test_what_happened_within_an_await_that_runs_again_is_still_to_be_come_to() -> None:
    recall = recall_of(done("/pay#1/charge#1"), raised("/pay#1"), failed("/pay#1"))
    assert recall.take("/pay#1") is None
    assert recall.unseen == {"/pay#1/charge#1"}


def test_checkpoints_orphaned_by_todays_code_are_named() -> None:
    recall = recall_of(done("/charge_card#1"), done("/ship#1"))
    for name in ("charge", "ship"):
        recall.take(recall.key("", name))
    assert recall.unseen == {"/charge_card#1"}


def test_what_was_unseen_is_a_picture_of_its_moment() -> None:
    recall = recall_of(done("/a#1"))
    before = recall.unseen
    recall.take("/a#1")
    assert before == {"/a#1"}


def test_a_failed_await_names_the_awaits_within_it_whose_exception_it_passed_on() -> None:
    down, other = ErrorInfo("ConnectionError", "down"), ErrorInfo("ValueError", "other")
    known = recall_of(
        StepFailed("/gather#1/a#1", 3.0, 0.1, down),
        StepFailed("/gather#1/b#1", 3.0, 0.1, other),
        done("/gather#1/c#1"),
        StepFailed("/gather#1", 3.0, 0.1, down),
        StepFailed("/elsewhere#1", 3.0, 0.1, down),
    )
    assert known.came_from("/gather#1") == ("/gather#1/a#1",)
    assert known.came_from("/gather#1/a#1") == ()
    assert known.came_from("/gather#1/c#1") == ()


def test_a_child_whose_failure_was_passed_on_is_named_too() -> None:
    known = recall_of(
        ChildTriggered("/gather#1/ship#1", 2.0, "R1", "ship"),
        ChildTriggered("/gather#1/ship#2", 2.0, "R2", "ship"),
        ChildEnded("/gather#1/ship#1", 3.0, "R1", "dead", None, ERROR),
        ChildEnded("/gather#1/ship#2", 3.0, "R2", "dead", None, ERROR),
        StepFailed("/gather#1", 3.0, 0.1, ErrorInfo("holdfast.errors.ChildFailed", "child run R2 ended dead: no")),
    )
    assert known.came_from("/gather#1") == ("/gather#1/ship#2",)
