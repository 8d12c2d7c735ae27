"""The checkpoint tree of a run as operators see it: nodes, tries and attempts, each expectation by hand."""

from __future__ import annotations

import pytest
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
from holdfast.core.tree import AttemptSpan, Node, NodeState, Tree, Try

ERROR = ErrorInfo(type="payments.CardDeclined", message="no")
BUSY = ErrorInfo(type="builtins.TimeoutError", message="busy")
STARTED = AttemptStarted(at=10.0, attempt=1, worker="w1", nonce="n1", item="i1")
RESUMED = AttemptResumed(at=30.0, attempt=1, worker="w2", nonce="n2", item="i2")
SECOND = AttemptStarted(at=60.0, attempt=2, worker="w3", nonce="n3", item="i3")
CRASH = AttemptInterrupted(at=20.0, reason="worker w1 died")


def tree_of(*entries: Entry) -> Tree:
    tree = Tree()
    for entry in entries:
        tree.add(entry)
    return tree


def shape(tree: Tree) -> list[str]:
    """The tree as text: a line a node, indented by its depth, with its state."""
    return [f"{'  ' * depth}{node.name} {node.state}" for depth, node in tree.walk()]


def node_of(tree: Tree, key: str) -> Node:
    node = tree.node(key)
    assert node is not None
    return node


def begun(key: str, at: float = 11.0) -> StepStarted:
    return StepStarted(key=key, at=at)


def done(key: str, at: float = 13.0) -> StepCompleted:
    return StepCompleted(key=key, at=at, took=1.5, value=b"v")


def raised(key: str, at: float = 13.0) -> StepFailed:
    return StepFailed(key=key, at=at, took=1.5, error=ERROR)


def tried(key: str, number: int, at: float) -> StepRetried:
    return StepRetried(key=key, at=at, took=0.5, error=BUSY, number=number, due=at + 2)


def asked(key: str, child: str = "C1") -> ChildTriggered:
    return ChildTriggered(key=key, at=12.0, child=child, task="pack")


def failed(at: float = 20.0, *fatal: str, spent: bool = True) -> AttemptFailed:
    return AttemptFailed(at=at, error=ERROR, due=60.0, spent=spent, fatal=fatal)


# --- one await --------------------------------------------------------------------------------------------------------


def test_a_run_without_awaits_has_an_empty_tree() -> None:
    tree = tree_of(RunCreated(run="R", at=1.0, task="t", payload=b""), Offered(run="R", first=1))
    assert (tree.roots, tree.attempts, list(tree.walk()), tree.node("/a#1")) == ([], [], [], None)


def test_a_step_that_returned_tells_when_it_ran_and_what_came_of_it() -> None:
    assert tree_of(STARTED, done("/a#1")).roots == [
        Node(key="/a#1", state=NodeState.OK, attempt=1, started_at=11.5, ended_at=13.0, value=b"v")
    ]
    assert node_of(tree_of(STARTED, done("/a#1")), "/a#1").took == 1.5


def test_a_step_that_raised_into_the_tasks_code_tells_its_error() -> None:
    assert tree_of(STARTED, raised("/a#1")).roots == [
        Node(key="/a#1", state=NodeState.FAILED, attempt=1, started_at=11.5, ended_at=13.0, error=ERROR)
    ]


def test_a_value_that_is_not_kept_is_shown_as_volatile_with_the_reason() -> None:
    tree = tree_of(STARTED, StepVolatile(key="/a#1", at=13.0, took=1.5, reason="a socket"))
    assert tree.roots == [
        Node(key="/a#1", state=NodeState.VOLATILE, attempt=1, started_at=11.5, ended_at=13.0, note="a socket")
    ]


def test_a_slow_step_is_seen_while_it_runs() -> None:
    node = node_of(tree_of(STARTED, begun("/a#1")), "/a#1")
    assert node == Node(key="/a#1", state=NodeState.RUNNING, attempt=1, started_at=11.0)
    assert node.took is None


def test_a_slow_step_ends_like_any_other() -> None:
    assert tree_of(STARTED, begun("/a#1", at=11.5), done("/a#1")).roots == tree_of(STARTED, done("/a#1")).roots


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("/charge#1", "charge"),
        ("/charge#2", "charge#2"),
        ("/charge#11", "charge#11"),
        ("/charge#21", "charge#21"),
        ("/gather#1/ship#3", "ship#3"),
        ("/gather#2/ship#1", "ship"),
    ],
)
def test_a_node_is_called_by_its_last_name_and_its_occurrence_after_the_first(key: str, name: str) -> None:
    assert node_of(tree_of(STARTED, done(key)), key).name == name


# --- a step's own retries ---------------------------------------------------------------------------------------------


def test_each_failed_try_stays_in_its_node() -> None:
    tree = tree_of(STARTED, tried("/a#1", 1, 12.0), tried("/a#1", 2, 15.0))
    node = node_of(tree, "/a#1")
    assert node.tries == [
        Try(number=1, at=12.0, took=0.5, error=BUSY, attempt=1),
        Try(number=2, at=15.0, took=0.5, error=BUSY, attempt=1),
    ]
    assert node.due == 17.0
    assert (node.state, node.error, node.attempt) == (NodeState.RETRYING, BUSY, 1)
    assert (node.started_at, node.ended_at) == (11.5, None)


def test_a_step_that_succeeds_in_its_third_try_is_ok_and_shows_the_two_before() -> None:
    node = node_of(tree_of(STARTED, tried("/a#1", 1, 12.0), tried("/a#1", 2, 15.0), done("/a#1", 20.0)), "/a#1")
    assert (node.state, node.value, node.error, node.due) == (NodeState.OK, b"v", None, None)
    assert (node.started_at, node.ended_at) == (18.5, 20.0)
    assert [(one.number, one.error) for one in node.tries] == [(1, BUSY), (2, BUSY)]


def test_a_step_that_gives_up_shows_the_error_of_its_last_try() -> None:
    node = node_of(tree_of(STARTED, tried("/a#1", 1, 12.0), raised("/a#1", 15.0)), "/a#1")
    assert (node.state, node.error, len(node.tries)) == (NodeState.FAILED, ERROR, 1)


def test_the_tries_of_earlier_attempts_stay_and_so_does_the_failure_that_ended_them() -> None:
    first: list[Entry] = [STARTED, tried("/a#1", 1, 12.0), raised("/a#1", 15.0), failed(16.0, "/a#1")]
    node = node_of(tree_of(*first, SECOND, tried("/a#1", 1, 62.0), done("/a#1", 65.0)), "/a#1")
    assert node.tries == [
        Try(number=1, at=12.0, took=0.5, error=BUSY, attempt=1),
        Try(number=2, at=15.0, took=1.5, error=ERROR, attempt=1),
        Try(number=3, at=62.0, took=0.5, error=BUSY, attempt=2),
    ]
    assert (node.state, node.attempt, node.error) == (NodeState.OK, 2, None)


def test_a_step_that_retries_in_the_next_attempt_has_not_ended_and_began_in_that_one() -> None:
    node = node_of(tree_of(STARTED, raised("/a#1"), failed(20.0, "/a#1"), SECOND, tried("/a#1", 1, 62.0)), "/a#1")
    assert (node.state, node.started_at, node.ended_at, node.due) == (NodeState.RETRYING, 61.5, None, 64.0)
    assert [(one.number, one.at, one.attempt) for one in node.tries] == [(1, 13.0, 1), (2, 62.0, 2)]


@pytest.mark.parametrize("before", [tried("/a#1", 1, 11.0), raised("/a#1", 11.0)], ids=["a try", "an attempt"])
def test_a_step_that_succeeded_in_the_end_has_no_error(before: Entry) -> None:
    node = node_of(tree_of(STARTED, before, done("/a#1")), "/a#1")
    assert (node.state, node.value, node.error, len(node.tries)) == (NodeState.OK, b"v", None, 1)


def test_a_value_that_was_kept_the_second_time_has_no_note_of_why_it_was_not() -> None:
    volatile = StepVolatile(key="/a#1", at=13.0, took=1.5, reason="a socket")
    node = node_of(tree_of(STARTED, volatile, CRASH, RESUMED, done("/a#1", 33.0)), "/a#1")
    assert node == Node(key="/a#1", state=NodeState.OK, attempt=1, started_at=31.5, ended_at=33.0, value=b"v")


def test_a_step_that_returned_and_runs_again_shows_no_value_of_before() -> None:
    node = node_of(tree_of(STARTED, done("/a#1"), CRASH, RESUMED, begun("/a#1", 31.0)), "/a#1")
    assert node == Node(key="/a#1", state=NodeState.RUNNING, attempt=1, started_at=31.0)


def test_two_nodes_do_not_share_their_tries_or_children() -> None:
    tree = tree_of(STARTED, tried("/a#1", 1, 12.0), done("/b#1"), done("/c#1/d#1"))
    assert (len(node_of(tree, "/a#1").tries), node_of(tree, "/b#1").tries) == (1, [])
    assert [len(node.children) for node in tree.roots] == [0, 0, 1]


# --- children ---------------------------------------------------------------------------------------------------------


def test_a_child_run_waits_under_its_own_id() -> None:
    assert tree_of(STARTED, asked("/c#1")).roots == [
        Node(key="/c#1", state=NodeState.WAITING, attempt=1, started_at=12.0, child="C1", note="child pack")
    ]


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        ("completed", NodeState.OK),
        ("failed", NodeState.FAILED),
        ("dead", NodeState.FAILED),
        ("cancelled", NodeState.FAILED),
        ("expired", NodeState.FAILED),
        ("timed_out", NodeState.FAILED),
    ],
)
def test_a_child_that_ended_any_other_way_than_completed_is_a_failure(state: str, shown: NodeState) -> None:
    tree = tree_of(STARTED, asked("/c#1"), ChildEnded(key="/c#1", at=18.0, child="C1", state=state))
    node = node_of(tree, "/c#1")
    assert (node.state, node.started_at, node.ended_at, node.took) == (shown, 12.0, 18.0, 6.0)


def test_a_child_tells_its_result_and_its_error() -> None:
    tree = tree_of(
        STARTED,
        asked("/c#1"),
        asked("/c#2", "C2"),
        ChildEnded(key="/c#1", at=18.0, child="C1", state="completed", value=b"r"),
        ChildEnded(key="/c#2", at=19.0, child="C2", state="dead", error=ERROR),
    )
    assert [(node.child, node.value, node.error) for node in tree.roots] == [("C1", b"r", None), ("C2", None, ERROR)]


def test_a_child_goes_on_waiting_however_its_parents_attempt_ends() -> None:
    for end in (CRASH, failed(), Suspended(at=20.0, waits=("C1",))):
        assert shape(tree_of(STARTED, asked("/c#1"), end)) == ["c wait"]


DIED = ChildEnded(key="/c#1", at=18.0, child="C1", state="dead", error=ERROR)


def test_the_child_of_a_new_attempt_waits_and_the_one_before_stays_as_a_try() -> None:
    before: list[Entry] = [STARTED, asked("/c#1"), DIED, failed(20.0, "/c#1"), SECOND]
    again = ChildTriggered(key="/c#1", at=61.0, child="C2", task="pack")
    assert tree_of(*before, again).roots == [
        Node(
            key="/c#1",
            state=NodeState.WAITING,
            attempt=2,
            started_at=61.0,
            tries=[Try(number=1, at=18.0, took=6.0, error=ERROR, attempt=1)],
            child="C2",
            note="child pack",
        )
    ]


def test_a_child_of_before_does_not_end_the_wait_for_the_new_one() -> None:
    retried = RunRetried(at=50.0, from_start=True)
    before: list[Entry] = [STARTED, asked("/c#1"), RunCancelled(at=20.0), retried, SECOND]
    node = node_of(tree_of(*before, asked("/c#1", "C2"), replace(DIED, at=70.0)), "/c#1")
    assert (node.state, node.child, node.ended_at, node.error) == (NodeState.WAITING, "C2", None, None)
    assert tree_of(*before, replace(DIED, at=70.0)).roots == []


def test_a_child_whose_end_comes_before_the_entry_that_names_it_has_ended_too() -> None:
    assert tree_of(STARTED, DIED, asked("/c#1")).roots == tree_of(STARTED, asked("/c#1"), DIED).roots
    assert shape(tree_of(STARTED, DIED, asked("/c#1"))) == ["c fail"]


def test_a_child_that_was_told_of_twice_ended_once() -> None:
    tree = tree_of(STARTED, asked("/c#1"), DIED, replace(DIED, at=99.0))
    assert node_of(tree, "/c#1").ended_at == 18.0


def test_a_child_that_was_given_up_with_its_run_is_waited_for_again_after_a_retry() -> None:
    cancelled: list[Entry] = [STARTED, asked("/c#1"), begun("/w#1"), RunCancelled(at=20.0)]
    assert shape(tree_of(*cancelled)) == ["c lost", "w lost"]
    again: list[Entry] = [RunRetried(at=50.0), SECOND, Suspended(at=61.0, waits=("C1",))]
    assert shape(tree_of(*cancelled, *again)) == ["c wait", "w lost"]
    assert shape(tree_of(*cancelled, *again, replace(DIED, at=70.0))) == ["c fail", "w lost"]


def test_a_child_that_ends_while_nobody_holds_its_parent_is_taken_in() -> None:
    end = ChildEnded(key="/c#1", at=25.0, child="C1", state="completed", value=b"r")
    tree = tree_of(STARTED, asked("/c#1"), Suspended(at=20.0, waits=("C1",)), end)
    assert shape(tree) == ["c ok"]
    assert tree.attempts[-1].ended_at == 20.0


# --- waits ------------------------------------------------------------------------------------------------------------


WAITS: list[Entry] = [STARTED, begun("/w#1"), done("/a#1"), asked("/w#1/c#1"), Suspended(at=20.0, waits=("C1",))]
"""A branch that has been under way for a while and awaits a child."""


def test_a_branch_that_waits_in_a_suspended_run_is_shown_as_waiting() -> None:
    assert shape(tree_of(*WAITS)) == ["w wait", "  c wait", "a ok"]
    assert shape(tree_of(*WAITS, RESUMED)) == ["w wait", "  c wait", "a ok"]


@pytest.mark.parametrize(
    ("end", "branch", "child"),
    [
        ([RunCancelled(at=25.0)], "lost", "lost"),
        ([RESUMED, RunCancelled(at=35.0)], "lost", "lost"),
        ([RESUMED, RunCompleted(at=35.0, result=b"r")], "lost", "lost"),
        ([RESUMED, RunDead(at=35.0, error=ERROR, reason="aborted")], "lost", "lost"),
        ([RESUMED, failed(35.0)], "lost", "wait"),
        ([RESUMED, replace(CRASH, at=35.0)], "lost", "wait"),
        ([RESUMED, Suspended(at=35.0, waits=("C1",))], "wait", "wait"),
    ],
    ids=["cancelled", "resumed and cancelled", "completed", "dead", "failed", "interrupted", "suspended again"],
)
def test_a_branch_waits_until_its_attempt_ends_and_its_child_until_the_run_does(
    end: list[Entry], branch: str, child: str
) -> None:
    assert shape(tree_of(*WAITS, *end)) == [f"w {branch}", f"  c {child}", "a ok"]


def test_a_branch_that_waited_in_a_suspended_run_is_ok_once_it_came() -> None:
    tree = tree_of(*WAITS, RESUMED, done("/w#1", 31.0))
    node = node_of(tree, "/w#1")
    assert (node.state, node.started_at, node.ended_at, node.attempt) == (NodeState.OK, 29.5, 31.0, 1)


# --- lost -------------------------------------------------------------------------------------------------------------

BEFORE: list[Entry] = [
    STARTED,
    done("/ok#1"),
    raised("/caught#1"),
    StepVolatile(key="/conn#1", at=13.0, took=1.5, reason="a socket"),
    begun("/slow#1"),
    tried("/flaky#1", 1, 12.0),
    asked("/child#1"),
]

KEPT = ["ok ok", "caught fail", "conn volatile"]


@pytest.mark.parametrize(
    "end",
    [
        CRASH,
        replace(CRASH, polite=True),
        failed(),
        failed(spent=False),
        replace(RESUMED, at=20.0),
        replace(SECOND, at=20.0),
    ],
    ids=["died", "drained", "failed", "snoozed", "resumed elsewhere", "started anew"],
)
def test_what_was_under_way_is_lost_with_its_attempt_and_what_was_recorded_is_not(end: Entry) -> None:
    assert shape(tree_of(*BEFORE, end)) == [*KEPT, "slow lost", "flaky lost", "child wait"]
    assert node_of(tree_of(*BEFORE, end), "/flaky#1").due is None


@pytest.mark.parametrize(
    "end",
    [RunDead(at=20.0, error=ERROR, reason="poison"), RunCancelled(at=20.0), RunCompleted(at=20.0, result=b"r")],
    ids=["dead", "cancelled", "completed"],
)
def test_a_run_that_has_ended_waits_for_no_child_any_more(end: Entry) -> None:
    assert shape(tree_of(*BEFORE, end)) == [*KEPT, "slow lost", "flaky lost", "child lost"]
    assert shape(tree_of(*BEFORE, replace(CRASH, at=19.0), end)) == [*KEPT, "slow lost", "flaky lost", "child lost"]


def test_a_lost_step_that_runs_again_is_lost_no_more() -> None:
    tree = tree_of(*BEFORE, CRASH, RESUMED, begun("/slow#1", 31.0), tried("/flaky#1", 2, 32.0))
    assert shape(tree) == [*KEPT, "slow run", "flaky retry", "child wait"]
    assert node_of(tree, "/slow#1").started_at == 31.0
    tree.add(done("/slow#1", 40.0))
    tree.add(done("/flaky#1", 41.0))
    assert shape(tree) == [*KEPT, "slow ok", "flaky ok", "child wait"]


def test_a_step_of_before_that_runs_again_belongs_to_the_attempt_that_runs_it() -> None:
    tree = tree_of(STARTED, done("/a#1"), raised("/b#1"), failed(20.0, "/b#1"), SECOND, begun("/b#1", 61.0))
    node = node_of(tree, "/b#1")
    assert (node.state, node.attempt, node.started_at, node.ended_at) == (NodeState.RUNNING, 2, 61.0, None)
    tree.add(done("/b#1", 65.0))
    assert (node.state, node.attempt, node.started_at, node.ended_at) == (NodeState.OK, 2, 63.5, 65.0)
    assert node_of(tree, "/a#1").attempt == 1


def test_a_step_that_failed_in_two_attempts_shows_the_later_error() -> None:
    tree = tree_of(STARTED, raised("/a#1"), failed(20.0, "/a#1"), SECOND, replace(raised("/a#1", 63.0), error=BUSY))
    node = node_of(tree, "/a#1")
    assert (node.state, node.attempt, node.error, node.ended_at) == (NodeState.FAILED, 2, BUSY, 63.0)
    assert node.tries == [Try(number=1, at=13.0, took=1.5, error=ERROR, attempt=1)]


# --- branches ---------------------------------------------------------------------------------------------------------


def test_a_fan_out_that_has_no_entry_of_its_own_stands_above_its_branches() -> None:
    tree = tree_of(STARTED, done("/gather#1/ship#2"), done("/gather#1/ship#1"), begun("/gather#1/ship#3"))
    assert shape(tree) == ["gather ok", "  ship#2 ok", "  ship ok", "  ship#3 run"]
    gather = node_of(tree, "/gather#1")
    assert (gather.started_at, gather.ended_at, gather.value) == (None, None, None)


def test_a_fan_out_that_raised_keeps_its_branches_below() -> None:
    tree = tree_of(STARTED, done("/gather#1/ship#1"), raised("/gather#1/ship#2"), raised("/gather#1", 14.0))
    assert shape(tree) == ["gather fail", "  ship ok", "  ship#2 fail"]
    assert node_of(tree, "/gather#1").ended_at == 14.0


def test_nodes_keep_the_order_in_which_they_first_appeared() -> None:
    tree = tree_of(
        STARTED,
        begun("/b#1"),
        done("/a#1"),
        done("/g#1/y#1"),
        begun("/c#1"),
        done("/g#1/x#1"),
        done("/b#1"),
        failed(20.0),
        SECOND,
        done("/c#1", 61.0),
        done("/g#1/w#1", 62.0),
    )
    assert [node.key for node in tree.roots] == ["/b#1", "/a#1", "/g#1", "/c#1"]
    assert [node.key for node in node_of(tree, "/g#1").children] == ["/g#1/y#1", "/g#1/x#1", "/g#1/w#1"]


def test_a_walk_goes_over_every_node_once_parents_first_with_its_depth() -> None:
    tree = tree_of(STARTED, done("/a#1/b#1/c#1"), done("/d#1"), done("/a#1/e#1"), done("/a#1"), done("/a#1/b#1/f#1"))
    assert [(depth, node.key) for depth, node in tree.walk()] == [
        (0, "/a#1"),
        (1, "/a#1/b#1"),
        (2, "/a#1/b#1/c#1"),
        (2, "/a#1/b#1/f#1"),
        (1, "/a#1/e#1"),
        (0, "/d#1"),
    ]


def test_keys_that_begin_alike_are_no_branches_of_each_other() -> None:
    tree = tree_of(STARTED, done("/a#1"), done("/a#11"), done("/a#1x/b#1"))
    assert [(depth, node.key) for depth, node in tree.walk()] == [
        (0, "/a#1"),
        (0, "/a#11"),
        (0, "/a#1x"),
        (1, "/a#1x/b#1"),
    ]


# --- attempts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "outcome", "error", "reason"),
    [
        (RunCompleted(at=20.0, result=b"r"), "completed", None, ""),
        (failed(), "failed", ERROR, ""),
        (CRASH, "interrupted", None, "worker w1 died"),
        (Suspended(at=20.0, waits=("C1",)), "suspended", None, ""),
        (RunDead(at=20.0, error=ERROR, reason="aborted"), "dead", ERROR, "aborted"),
        (RunCancelled(at=20.0, reason="by ann"), "cancelled", None, "by ann"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_an_attempt_tells_how_it_ended(end: Entry, outcome: str, error: ErrorInfo | None, reason: str) -> None:
    expected = AttemptSpan(1, "w1", 10.0, False, ended_at=20.0, outcome=outcome, error=error, reason=reason)
    assert tree_of(STARTED, end).attempts == [expected]


def test_an_attempt_under_way_has_no_end() -> None:
    tree = tree_of(STARTED, done("/a#1"), CancelRequested(at=14.0))
    assert tree.attempts == [AttemptSpan(attempt=1, worker="w1", started_at=10.0, resumed=False)]
    assert (tree.attempts[0].ended_at, tree.attempts[0].outcome) == (None, "")


def test_a_snooze_is_not_shown_as_a_failure() -> None:
    assert tree_of(STARTED, failed(spent=False)).attempts[0].outcome != "failed"


def test_an_interrupted_attempt_has_a_span_for_each_worker_that_held_it() -> None:
    tree = tree_of(STARTED, CRASH, RESUMED, failed(40.0), SECOND, RunCompleted(at=70.0, result=b"r"))
    spans = [(s.attempt, s.worker, s.resumed, s.started_at, s.ended_at, s.outcome) for s in tree.attempts]
    assert spans == [
        (1, "w1", False, 10.0, 20.0, "interrupted"),
        (1, "w2", True, 30.0, 40.0, "failed"),
        (2, "w3", False, 60.0, 70.0, "completed"),
    ]


def test_a_wait_that_freed_the_slot_is_in_no_span() -> None:
    tree = tree_of(STARTED, asked("/c#1"), Suspended(at=20.0, waits=("C1",)), RESUMED, RunCompleted(40.0, b"r"))
    assert [(span.started_at, span.ended_at, span.outcome) for span in tree.attempts] == [
        (10.0, 20.0, "suspended"),
        (30.0, 40.0, "completed"),
    ]


@pytest.mark.parametrize(
    "late",
    [
        RunCancelled(at=50.0, reason="by ann"),
        RunDead(at=50.0, error=BUSY, reason="payload"),
        AttemptInterrupted(at=50.0, reason="late"),
        LetterDropped(at=50.0),
        RunRetried(at=50.0),
    ],
    ids=lambda entry: type(entry).__name__,
)
def test_what_comes_after_an_attempt_has_ended_does_not_change_how_it_ended(late: Entry) -> None:
    before = tree_of(STARTED, failed()).attempts
    assert tree_of(STARTED, failed(), late).attempts == before


def test_a_run_that_ends_before_it_started_has_no_attempts() -> None:
    for end in (RunCancelled(at=5.0), RunDead(at=5.0, error=ERROR, reason="payload")):
        assert tree_of(end).attempts == []


# --- an operator's retry ----------------------------------------------------------------------------------------------


def test_a_retry_keeps_the_tree_and_the_attempts() -> None:
    tree = tree_of(STARTED, done("/a#1"), raised("/b#1"), RunDead(20.0, ERROR, "aborted", ("/b#1",)), RunRetried(50.0))
    assert shape(tree) == ["a ok", "b fail"]
    tree.add(SECOND)
    tree.add(done("/b#1", 65.0))
    assert shape(tree) == ["a ok", "b ok"]
    assert [span.attempt for span in tree.attempts] == [1, 2]


def test_a_retry_from_the_start_begins_a_new_tree_and_keeps_the_attempts() -> None:
    dead = RunDead(at=20.0, error=ERROR, reason="aborted")
    tree = tree_of(STARTED, done("/g#1/a#1"), tried("/b#1", 1, 14.0), dead, RunRetried(at=50.0, from_start=True))
    assert (tree.roots, list(tree.walk()), tree.node("/g#1/a#1"), tree.node("/b#1")) == ([], [], None, None)
    tree.add(SECOND)
    tree.add(done("/b#1", 65.0))
    tree.add(done("/g#1/a#1", 66.0))
    assert shape(tree) == ["b ok", "g ok", "  a ok"]
    assert node_of(tree, "/b#1").tries == []
    assert [(span.attempt, span.outcome) for span in tree.attempts] == [(1, "dead"), (2, "")]


@pytest.mark.parametrize(
    "entry",
    [
        RunCreated(run="R", at=1.0, task="t", payload=b""),
        Offered(run="R", first=1),
        CancelRequested(at=14.0),
        LetterDropped(at=14.0),
        RunRetried(at=14.0),
    ],
    ids=lambda entry: type(entry).__name__,
)
def test_what_says_nothing_of_awaits_or_attempts_changes_nothing(entry: Entry) -> None:
    before, after = tree_of(*BEFORE), tree_of(*BEFORE, entry)
    assert (after.roots, after.attempts) == (before.roots, before.attempts)
