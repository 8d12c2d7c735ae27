"""What a fork and a replay begin with: by hand from BEHAVIOURS "Fork, replay, retry"."""

from __future__ import annotations

import pytest

from holdfast.core.entries import (
    AttemptFailed,
    AttemptResumed,
    AttemptStarted,
    ChildEnded,
    ChildTriggered,
    Entry,
    EventArrived,
    Inherited,
    MetadataChanged,
    RunCancelled,
    RunCreated,
    RunDead,
    RunRetried,
    StepCompleted,
    StepFailed,
    StepStarted,
    StepVolatile,
    TokenCompleted,
    WaitStarted,
)
from holdfast.core.forking import Target, edited, fork, has_outcome, replay, target
from holdfast.core.lifecycle import IllegalEntry, Kind, Record, advance, fold
from holdfast.core.model import ErrorInfo, Hook, Origin, Parent, Retry, State, Tick, Timeouts
from holdfast.core.recall import Recall
from holdfast.errors import EditError, UnknownKey

ERROR = ErrorInfo("payments.CardDeclined", "no")
CREATED = RunCreated("R", 1.0, "order", b"\x81\xa1a\x01")
STARTED = AttemptStarted(2.0, 1, "w", "n")


def records(*entries: Entry, created: RunCreated = CREATED) -> list[Record]:
    """A run with these entries on its log, all by one holder."""
    told = [Record(1, Kind.READY, "", (created,))]
    for seq, entry in enumerate(entries, 2):
        inbox = isinstance(entry, ChildEnded | TokenCompleted | EventArrived)
        told.append(Record(seq, Kind.IN if inbox else Kind.LOG, "" if inbox else "n", (entry,)))
    return told


def done(key: str, value: bytes = b"\x01", at: float = 3.0) -> StepCompleted:
    return StepCompleted(key, at, 0.5, value)


def failed(key: str) -> StepFailed:
    return StepFailed(key, 3.0, 0.5, ERROR)


def kept(key: str, *entries: Entry, created: RunCreated = CREATED) -> list[str]:
    made = fork(records(*entries, created=created), key, run="F", at=9.0, child_error=_child_error)
    return [one.key for one in made.inherited]


def _child_error(ended: ChildEnded) -> ErrorInfo:
    assert ended.error is not None
    return ErrorInfo(ended.error.type, ended.error.message, value=b"child")


def test_a_fork_keeps_what_was_recorded_before_the_checkpoint_in_journal_order() -> None:
    story = (STARTED, done("/b#1"), done("/a#1"), done("/k#1"), done("/c#1"))
    assert kept("/k#1", *story) == ["/b#1", "/a#1"]
    assert kept("/b#1", *story) == []


def behind(key: str, *entries: Entry) -> list[Inherited]:
    made = fork(records(*entries), key, run="F", at=9.0, child_error=_child_error, behind=True)
    assert made.created.origin == Origin("R", "fork", key, behind=True)
    return list(made.inherited)


def test_a_fork_behind_a_checkpoint_keeps_its_outcome_and_nothing_that_came_later() -> None:
    story = (STARTED, done("/a#1"), done("/k#1", b"\x2a"), done("/c#1"))
    assert [(one.key, one.value) for one in behind("/k#1", *story)] == [("/a#1", b"\x01"), ("/k#1", b"\x2a")]


def test_a_fork_behind_a_failure_that_ended_the_run_has_it_to_be_replaced() -> None:
    dead = RunDead(4.0, ERROR, "attempts used up", ("/k#1",))
    kept = behind("/k#1", STARTED, done("/a#1"), failed("/k#1"), dead)
    assert [(one.key, one.error) for one in kept] == [("/a#1", None), ("/k#1", ERROR)]


@pytest.mark.parametrize("entry", [StepStarted("/k#1", 3.0), StepVolatile("/k#1", 3.0, 0.5, "a socket")])
def test_a_fork_behind_what_has_no_kept_outcome_begins_with_none_until_it_is_given_one(entry: Entry) -> None:
    assert [(one.key, one.value) for one in behind("/k#1", STARTED, entry)] == [("/k#1", b"\xc0")]
    assert not has_outcome(records(STARTED, entry), "/k#1")
    assert has_outcome(records(STARTED, done("/k#1")), "/k#1")


@pytest.mark.parametrize(("key", "says"), [("/gather#1", "its awaits have"), ("/a#1/undo", "an undo")])
def test_there_is_nothing_behind_a_fan_out_or_an_undo(key: str, says: str) -> None:
    with pytest.raises(EditError, match=says):
        behind(key, STARTED, done("/a#1"), done("/gather#1/b#1"), done("/a#1/undo"))


def test_an_inherited_outcome_keeps_its_value_time_and_duration() -> None:
    made = fork(
        records(STARTED, done("/a#1", b"\x2a", at=4.0), failed("/b#1"), done("/k#1")),
        "/k#1",
        run="F",
        at=9.0,
        child_error=_child_error,
    )
    assert made.inherited == (
        Inherited("/a#1", 4.0, 0.5, b"\x2a"),
        Inherited("/b#1", 3.0, 0.5, None, ERROR),
    )


def test_nothing_at_below_or_around_the_checkpoint_is_kept() -> None:
    story = (
        STARTED,
        done("/sub#1/a#1"),
        done("/sub#1/k#1/x#1"),
        done("/sub#1/k#10"),
        done("/sub#1/k#1"),
        done("/sub#1"),
    )
    assert kept("/sub#1/k#1", *story) == ["/sub#1/a#1", "/sub#1/k#10"]
    assert kept("/sub#1", *story) == []


def test_a_group_that_failed_before_one_of_its_branches_ended_is_not_kept_for_that_branch() -> None:
    story = (STARTED, failed("/gather#1/a#1"), failed("/gather#1"), done("/gather#1/k#1"), done("/next#1"))
    assert kept("/gather#1/k#1", *story) == ["/gather#1/a#1"]


def test_a_fan_out_without_an_entry_of_its_own_stands_where_its_last_branch_ended() -> None:
    story = (STARTED, done("/a#1"), done("/gather#1/x#1"), done("/b#1"), done("/gather#1/y#1"), done("/c#1"))
    assert kept("/gather#1", *story) == ["/a#1", "/b#1"]


def test_a_step_that_ended_the_run_can_be_forked_from() -> None:
    story = (STARTED, done("/a#1"), failed("/k#1"), RunDead(5.0, ERROR, "attempts used up", ("/k#1",)))
    assert kept("/k#1", *story) == ["/a#1"]


def test_a_checkpoint_that_is_under_way_has_everything_recorded_before_it() -> None:
    assert kept("/k#1", STARTED, StepStarted("/k#1", 2.5), done("/a#1")) == ["/a#1"]


def test_what_a_later_attempt_forgot_is_not_kept() -> None:
    again = AttemptStarted(6.0, 2, "w", "n")
    story = (STARTED, done("/a#1"), failed("/f#1"), AttemptFailed(4.0, ERROR, 5.0, True, ("/f#1",)))
    from_there = [*records(*story), Record(9, Kind.READY, "", (CREATED,)), Record(10, Kind.LOG, "n", (again,))]
    recorded = [*from_there, Record(11, Kind.LOG, "n", (done("/k#1"),)), Record(12, Kind.LOG, "n", (done("/f#1"),))]
    made = fork(recorded, "/k#1", run="F", at=9.0, child_error=_child_error)
    assert [one.key for one in made.inherited] == ["/a#1"]


def test_what_was_recorded_before_a_retry_from_the_start_is_not_kept() -> None:
    story = (
        STARTED,
        done("/old#1"),
        done("/k#1"),
        RunDead(4.0, ERROR, "aborted"),
        RunRetried(5.0, from_start=True),
        AttemptStarted(6.0, 2, "w", "n"),
        done("/new#1"),
        done("/k#1"),
    )
    assert kept("/k#1", *story) == ["/new#1"]
    with pytest.raises(UnknownKey):
        kept("/old#1", *story)


def test_what_was_undone_is_not_kept_and_neither_is_its_undo() -> None:
    undoable = StepCompleted("/pay#1", 3.0, 0.1, b"\x01", undo=b"u")
    story = (
        STARTED,
        done("/a#1"),
        undoable,
        failed("/k#1"),
        RunDead(5.0, ERROR, "aborted", ("/k#1",)),
        AttemptResumed(6.0, 1, "w", "n"),
        done("/pay#1/undo"),
    )
    assert kept("/k#1", *story) == ["/a#1"]


def test_children_tokens_and_events_that_came_are_kept_as_outcomes() -> None:
    made = fork(
        records(
            STARTED,
            ChildTriggered("/ship#1", 2.0, "C", "ship"),
            ChildTriggered("/bad#1", 2.0, "D", "ship"),
            WaitStarted("/token#1", 2.0, "R-5", "issued"),
            WaitStarted("/completion#1", 2.0, "R-5", "token"),
            WaitStarted("/event#1", 2.0, "event:/event#1:1", "event", subject="paid"),
            ChildEnded("/ship#1", 5.0, "C", "completed", b"\x05"),
            TokenCompleted("R-5", 6.0, "ops", None),
            EventArrived("event:/event#1:1", 7.0, 1, "paid", b"\x07"),
            ChildEnded("/bad#1", 8.0, "D", "dead", None, ERROR),
            done("/k#1"),
        ),
        "/k#1",
        run="F",
        at=9.0,
        child_error=_child_error,
    )
    assert made.inherited == (
        Inherited("/ship#1", 5.0, 3.0, b"\x05"),
        Inherited("/completion#1", 6.0, 4.0, b"\xc0"),
        Inherited("/event#1", 7.0, 5.0, b"\x07"),
        Inherited("/bad#1", 8.0, 6.0, None, ErrorInfo("payments.CardDeclined", "no", value=b"child")),
    )


def test_a_child_that_ended_after_the_checkpoint_is_not_kept() -> None:
    story = (
        STARTED,
        ChildTriggered("/ship#1", 2.0, "C", "ship"),
        done("/k#1"),
        ChildEnded("/ship#1", 5.0, "C", "completed", b"\x05"),
    )
    assert kept("/k#1", *story) == []


def test_a_volatile_value_is_not_kept() -> None:
    assert kept("/k#1", STARTED, StepVolatile("/v#1", 3.0, 0.1, "a socket"), done("/k#1")) == []


def test_a_fork_of_a_fork_keeps_what_that_one_inherited() -> None:
    created = RunCreated("R", 1.0, "order", b"\x80", origin=Origin("A", "fork", "/z#1"))
    first = Record(1, Kind.LOG, "", (created, Inherited("/a#1", 0.5, 0.1, b"\x01", edited=True)))
    ready = [first, Record(2, Kind.LOG, "n", (STARTED, done("/k#1")))]
    made = fork(ready, "/k#1", run="F", at=9.0, child_error=_child_error)
    assert made.inherited == (Inherited("/a#1", 0.5, 0.1, b"\x01"),)
    assert made.created.origin == Origin("R", "fork", "/k#1")


def test_a_fork_has_the_metadata_as_it_was_at_the_checkpoint() -> None:
    created = RunCreated("R", 1.0, "order", b"\x80", metadata={"a": b"\x01", "b": b"\x02"})
    before, after = MetadataChanged(3.0, {"a": None, "c": b"\x03"}), MetadataChanged(4.0, {"d": b"\x04"})
    made = fork(
        records(STARTED, before, done("/k#1"), after, created=created),
        "/k#1",
        run="F",
        at=9.0,
        child_error=_child_error,
    )
    assert made.created.metadata == {"b": b"\x02", "c": b"\x03"}


def test_the_first_message_of_a_fork_makes_a_run_that_is_to_be_offered_and_recalls_its_outcomes() -> None:
    made = fork(
        records(STARTED, done("/a#1", b"\x2a"), done("/k#1")), "/k#1", run="F", at=9.0, child_error=_child_error
    )
    run = fold([Record(7, Kind.LOG, "", (made.created, *made.inherited))])
    assert run is not None
    assert (run.state, run.offered, run.steps, run.first, run.last) == (State.QUEUED, False, 1, 7, 7)
    recall = Recall()
    for entry in made.inherited:
        recall.add(entry)
    outcome = recall.take("/a#1")
    assert isinstance(outcome, StepCompleted)
    assert outcome.value == b"\x2a"
    assert recall.caught_up


def test_an_unknown_checkpoint_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownKey, match=r"/chrage#1: expected a checkpoint of the run, .* nearest is /charge#1"):
        kept("/chrage#1", STARTED, done("/reserve#1"), done("/charge#1"))
    with pytest.raises(UnknownKey, match="found none at all"):
        kept("/a#1", STARTED)


def test_a_run_that_has_begun_inherits_nothing() -> None:
    run = fold(records(STARTED))
    assert run is not None
    with pytest.raises(IllegalEntry):
        advance(run, Inherited("/a#1", 1.0, 0.0, b"\x01"))


# --- edits ----------------------------------------------------------------------------------------------------------


def test_an_edit_names_a_kept_checkpoint_and_the_way_into_it() -> None:
    story = records(STARTED, done("/a#1"), done("/a#1.5#1"), done("/k#1"), done("/z#1"))
    made = fork(story, "/k#1", run="F", at=9.0, child_error=_child_error)
    assert target("/a#1", made) == Target("/a#1", "")
    assert target("/a#1.total.net", made) == Target("/a#1", "total.net")
    assert target("/a#1.5#1.x", made) == Target("/a#1.5#1", "x")
    for text in ("/z#1", "/k#1.x", "/b#1", "/a#12"):
        with pytest.raises(EditError, match=rf"{text}.*recorded before /k#1"):
            target(text, made)


def test_an_edited_outcome_is_marked_and_is_no_error_any_more() -> None:
    made = fork(records(STARTED, failed("/a#1"), done("/k#1")), "/k#1", run="F", at=9.0, child_error=_child_error)
    assert edited(made, "/a#1", b"\x05").inherited == (Inherited("/a#1", 3.0, 0.5, b"\x05", None, True),)


# --- replays --------------------------------------------------------------------------------------------------------


def test_a_replay_has_the_payload_and_settings_of_its_origin_and_no_parent() -> None:
    created = RunCreated(
        "R",
        1.0,
        "order",
        b"\x80",
        queue="bulk",
        priority=2,
        due=11.0,
        retry=Retry(max_attempts=7),
        parent=Parent("P", "/x#1"),
        source="child",
        tags=("eu",),
        expires=71.0,
        timeouts=Timeouts(start_to_close=5.0),
        deadline=99.0,
        metadata={"a": b"\x01"},
        hooks=(Hook("success", "thanks"),),
    )
    assert replay([Record(1, Kind.READY, "", (created,))], run="N", at=100.0) == RunCreated(
        "N",
        100.0,
        "order",
        b"\x80",
        queue="bulk",
        priority=2,
        retry=Retry(max_attempts=7),
        source="replay",
        tags=("eu",),
        expires=160.0,
        timeouts=Timeouts(start_to_close=5.0),
        metadata={"a": b"\x01"},
        hooks=(Hook("success", "thanks"),),
        origin=Origin("R", "replay"),
    )


def test_a_replay_takes_the_payload_that_a_retry_corrected() -> None:
    story = records(STARTED, RunDead(4.0, ERROR, "payload"), RunRetried(5.0, payload=b"\x81\xa1a\x02"))
    assert replay(story, run="N", at=9.0).payload == b"\x81\xa1a\x02"


def test_a_run_that_was_cancelled_before_it_began_can_be_replayed() -> None:
    story = [Record(5, Kind.LOG, "", (RunCancelled(2.0, "", CREATED),))]
    assert replay(story, run="N", at=9.0).task == "order"


def test_what_is_made_of_a_scheduled_run_is_no_tick_itself() -> None:
    scheduled = RunCreated("R", 1.0, "order", b"", due=1.0, source="schedule order", tick=Tick("order", 1.0, "Q"))
    assert replay(records(created=scheduled), run="F", at=9.0).tick is None
    made = fork(
        records(STARTED, done("/charge#1"), created=scheduled), "/charge#1", run="F", at=9.0, child_error=_child_error
    )
    assert (made.created.tick, made.created.due) == (None, None)
