"""What a run waits for and asks, each expectation by hand."""

from __future__ import annotations

import pytest

from holdfast.core.entries import (
    AttemptInterrupted,
    AttemptResumed,
    AttemptStarted,
    ChildTriggered,
    Entry,
    EventArrived,
    Offered,
    Resolved,
    RunCompleted,
    RunCreated,
    RunDead,
    StepCompleted,
    StepStarted,
    Suspended,
    WaitStarted,
)
from holdfast.core.lifecycle import Kind, Record, fold, story
from holdfast.core.model import ErrorInfo, Run
from holdfast.core.pending import Wait, answers, brief, pending
from holdfast.core.tree import Tree

ERROR = ErrorInfo("E", "no")
STARTED = AttemptStarted(10.0, 1, "w1", "n")
SLEEP = WaitStarted("/for_#1", 11.0, "", "sleep", 100.0)
TOKEN = WaitStarted("/await#1", 11.0, "T1", "token", 90.0)
EVENT = WaitStarted("/event#1", 11.0, "E1", "event", None, "orders.*", b"M", 8.0)
SIGNAL = WaitStarted("/signal:approve#1", 11.0, "", "signal", None, "approve")
CHILD = ChildTriggered("/pack#1", 11.0, "C1", "pack")
WAITS: list[Entry] = [STARTED, SLEEP, TOKEN, EVENT, SIGNAL, CHILD]
SUSPENDED = Suspended(20.0, ("T1", "E1", "signal:approve#1", "C1"), 90.0)


def folded(*entries: Entry) -> tuple[Run, Tree]:
    records = [Record(1, Kind.READY, "", (RunCreated("R", 1.0, "t", b""),))]
    for seq, entry in enumerate(entries, 2):
        kind = Kind.READY if isinstance(entry, Offered) else Kind.LOG
        records.append(Record(seq, kind, "n", (entry,)))
    run, tree = fold(records), Tree()
    for entry in story(records):
        tree.add(entry)
    assert run is not None
    return run, tree


ALL = (
    Wait("sleep", "/for_#1", "", 100.0),
    Wait("token", "/await#1", "T1", 90.0),
    Wait("event", "/event#1", "E1", None, "orders.*", b"M"),
    Wait("signal", "/signal:approve#1", "", None, "approve"),
    Wait("child", "/pack#1", "C1"),
)


def test_each_wait_tells_its_kind_its_id_and_its_end() -> None:
    assert pending(*folded(*WAITS)) == ALL
    assert pending(*folded(*WAITS, SUSPENDED)) == ALL


def test_a_wait_that_was_given_up_while_others_go_on_is_not_named() -> None:
    assert pending(*folded(*WAITS, Suspended(20.0, ("T1",)))) == ALL[:2]


def test_a_time_limit_is_waited_for_until_it_is_over() -> None:
    limit = WaitStarted("/timeout#1", 11.0, "", "timeout", 40.0)
    assert pending(*folded(STARTED, limit)) == ()
    assert pending(*folded(STARTED, limit, Suspended(20.0, (), 40.0))) == (Wait("timeout", "/timeout#1", "", 40.0),)
    run, tree = folded(STARTED, limit, Suspended(20.0, ("T1",), 50.0))
    assert pending(run, tree) == (Wait("token", id="T1"),)


def test_what_came_is_waited_for_no_more() -> None:
    assert pending(*folded(*WAITS, EventArrived("E1", 15.0, 7, "orders.paid", b"v"))) == (*ALL[:2], *ALL[3:])


def test_an_answered_question_is_asked_no_more() -> None:
    asked: list[Entry] = [STARTED, ONCE, Suspended(31.0, ("pause:/pay#1", "T1"), None, "why")]
    run, tree = folded(*asked, Resolved("/pay#1", 40.0, "done"))
    assert (pending(run, tree), brief(run)) == ((Wait("token", id="T1"),), "token T1")


def test_a_run_that_has_ended_waits_for_nothing() -> None:
    assert pending(*folded(*WAITS, RunCompleted(20.0, b"r"))) == ()


def test_a_wait_that_no_node_tells_is_named_by_its_id() -> None:
    run, _ = folded(*WAITS, SUSPENDED)
    assert pending(run, Tree()) == (
        Wait("child", id="C1"),
        Wait("event", id="E1", subject="orders.*", match=b"M"),
        Wait("token", id="T1"),
        Wait("signal", id="signal:approve#1", subject="approve"),
    )


def test_a_suspended_run_says_on_one_line_what_for() -> None:
    assert brief(folded(*WAITS, SUSPENDED)[0]) == "child C1, event orders.*, token T1, signal approve"
    assert brief(folded(STARTED, SLEEP, Suspended(20.0, (), 100.0))[0]) == "sleep"
    assert brief(folded(*WAITS)[0]) == ""
    many = tuple(f"T{number:02}" for number in range(25))
    assert brief(folded(STARTED, Suspended(20.0, many))[0]).endswith("token T08, token T09, 15 more")


ONCE = StepStarted("/pay#1", 11.0, once=True)
FELL: list[Entry] = [STARTED, StepCompleted("/a#1", 13.0, 1.5, b"v", b"u"), RunDead(20.0, ERROR, "aborted")]
RESUMED = AttemptResumed(30.0, 1, "w1", "n")


@pytest.mark.parametrize(
    ("entries", "key", "asks", "options"),
    [
        (
            [STARTED, ONCE, Suspended(31.0, ("pause:/pay#1",), None, "why")],
            "/pay#1",
            "once",
            ["--done JSON", "--not-done"],
        ),
        (
            [*FELL, RESUMED, Suspended(36.0, ("pause:/a#1/undo",), None, "why")],
            "/a#1/undo",
            "undo",
            ["--run-again", "--skip"],
        ),
        (
            [STARTED, Suspended(31.0, ("pause:/x#1",), None, "why")],
            "/x#1",
            "divergence",
            ["--accept", "--retry"],
        ),
        (
            [*FELL, *[RESUMED, AttemptInterrupted(31.0, "died")] * 6],
            "compensation",
            "compensation",
            ["--run-again"],
        ),
    ],
)
def test_a_question_names_the_commands_that_answer_it(
    entries: list[Entry], key: str, asks: str, options: list[str]
) -> None:
    run, tree = folded(*entries)
    assert run.paused
    (wait,) = pending(run, tree)
    assert wait == Wait("pause", key, asks=asks)
    shown = f"'{key}'" if "#" in key else key
    assert [one.command for one in answers("R", wait)] == [f"holdfast runs resolve R {shown} {one}" for one in options]


def test_a_wait_that_is_no_question_has_no_answers() -> None:
    assert answers("R", Wait("token", "/await#1", "T1")) == ()


def test_a_key_can_not_break_out_of_its_command() -> None:
    (first, _) = answers("R", Wait("pause", "/a'; rm -rf ~#1", asks="once"))
    assert first.command == "holdfast runs resolve R '/a'\"'\"'; rm -rf ~#1' --done JSON"
