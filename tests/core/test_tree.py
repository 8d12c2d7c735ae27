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
    Compensated,
    Diverged,
    Entry,
    EventArrived,
    Heartbeat,
    HookTriggered,
    Inherited,
    LetterDropped,
    MetadataChanged,
    Offered,
    Progressed,
    Resolved,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunDead,
    RunExpired,
    RunRetried,
    RunTimedOut,
    Signalled,
    StepCompleted,
    StepFailed,
    StepRetried,
    StepStarted,
    StepVolatile,
    Suspended,
    TokenCompleted,
    WaitStarted,
)
from holdfast.core.model import ErrorInfo, Origin, Progress
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
        Node("/c#1", NodeState.WAITING, 1, started_at=12.0, child="C1", note="child pack", kind="child")
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
            kind="child",
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


# --- sleeps, tokens, events, signals ----------------------------------------------------------------------------------


def slept(key: str = "/for_#1", due: float = 100.0) -> WaitStarted:
    return WaitStarted(key=key, at=12.0, wait="", kind="sleep", due=due)


def awaited(key: str = "/await#1", token: str = "T1") -> WaitStarted:
    return WaitStarted(key=key, at=12.0, wait=token, kind="token", due=90.0)


EVENT = WaitStarted("/event#1", 12.0, "E1", "event", None, "orders.*", b"M", 8.0)
SIGNAL = WaitStarted("/signal:approve#1", 12.0, "", "signal", None, "approve")
GIVEN = TokenCompleted(token="T1", at=18.0, by="ann", value=b"yes")


def test_a_sleep_tells_until_when() -> None:
    assert tree_of(STARTED, slept()).roots == [
        Node("/for_#1", NodeState.WAITING, 1, started_at=12.0, due=100.0, kind="sleep")
    ]


def test_a_token_tells_its_id_and_until_when() -> None:
    assert tree_of(STARTED, awaited()).roots == [
        Node("/await#1", NodeState.WAITING, 1, started_at=12.0, due=90.0, kind="token", wait="T1")
    ]


def test_an_event_and_a_signal_tell_what_they_are_waited_for_by() -> None:
    event, signal = tree_of(STARTED, EVENT, SIGNAL).roots
    assert (event.kind, event.wait, event.subject, event.match) == ("event", "E1", "orders.*", b"M")
    assert (signal.kind, signal.wait, signal.subject) == ("signal", "", "approve")


@pytest.mark.parametrize("held", [(), (Suspended(20.0, ("T1",)),), (CRASH,), (failed(),)])
def test_a_token_ends_all_that_wait_for_it_whoever_holds_the_run(held: tuple[Entry, ...]) -> None:
    tree = tree_of(STARTED, awaited(), awaited("/await#2"), awaited("/await#3", "T2"), *held, replace(GIVEN, at=25.0))
    assert shape(tree) == ["await ok", "await#2 ok", "await#3 wait"]
    node = node_of(tree, "/await#2")
    assert (node.value, node.ended_at, node.took, node.due) == (b"yes", 25.0, 13.0, None)
    assert (node.kind, node.wait) == ("token", "T1")


def test_a_token_that_was_completed_before_it_was_awaited_ends_the_wait_at_once() -> None:
    node = node_of(tree_of(STARTED, replace(GIVEN, at=5.0), awaited()), "/await#1")
    assert (node.state, node.value, node.started_at, node.ended_at) == (NodeState.OK, b"yes", 12.0, 12.0)


def test_the_first_completion_of_a_token_counts() -> None:
    tree = tree_of(STARTED, awaited(), GIVEN, TokenCompleted("T1", 30.0, error=ERROR))
    assert (node_of(tree, "/await#1").state, node_of(tree, "/await#1").ended_at) == (NodeState.OK, 18.0)


def test_a_token_completed_with_an_error_has_failed() -> None:
    node = node_of(tree_of(STARTED, awaited(), TokenCompleted("T1", 18.0, error=ERROR)), "/await#1")
    assert (node.state, node.error, node.value) == (NodeState.FAILED, ERROR, None)


def test_an_event_from_before_the_wait_took_no_time() -> None:
    tree = tree_of(STARTED, EVENT, EventArrived("E1", 9.0, 77, "orders.paid", b"data"))
    node = node_of(tree, "/event#1")
    assert (node.state, node.value, node.took) == (NodeState.OK, b"data", 0.0)


@pytest.mark.parametrize("wait", [slept(), awaited(), EVENT, SIGNAL])
def test_a_wait_is_not_lost_with_its_attempt_but_with_its_run(wait: WaitStarted) -> None:
    for end in (CRASH, failed(), Suspended(20.0, (), 100.0)):
        assert [node.state for node in tree_of(STARTED, wait, end).roots] == [NodeState.WAITING]
        over = tree_of(STARTED, wait, end, RunCancelled(at=30.0))
        assert [node.state for node in over.roots] == [NodeState.LOST]


@pytest.mark.parametrize("held", [(), (Suspended(20.0, (), 100.0), RESUMED)])
def test_a_sleep_that_is_over_took_as_long_as_since_its_first_start(held: tuple[Entry, ...]) -> None:
    tree = tree_of(STARTED, slept(), *held, StepCompleted("/for_#1", 100.5, 0.5, b"v"))
    node = node_of(tree, "/for_#1")
    assert (node.state, node.kind, node.due, node.started_at, node.ended_at) == (
        NodeState.OK,
        "sleep",
        None,
        12.0,
        100.5,
    )
    assert node.tries == []


def test_a_wait_that_was_given_up_shows_the_error_and_what_it_was_for() -> None:
    late = StepFailed("/await#1", 90.0, 78.0, ErrorInfo("holdfast.WaitTimeout", "nobody"))
    node = node_of(tree_of(STARTED, awaited(), late), "/await#1")
    assert (node.state, node.error, node.wait) == (NodeState.FAILED, late.error, "T1")


def test_a_signal_that_was_taken_ends_its_wait() -> None:
    taken = StepCompleted("/signal:approve#1", 15.0, 0.0, b"yes")
    node = node_of(tree_of(STARTED, SIGNAL, taken), "/signal:approve#1")
    assert (node.state, node.value, node.took) == (NodeState.OK, b"yes", 3.0)


def test_waits_that_were_given_up_with_their_run_are_waited_for_again_after_a_retry() -> None:
    cancelled: list[Entry] = [STARTED, slept(), slept("/for_#2", 50.0), awaited(), SIGNAL, RunCancelled(at=20.0)]
    assert shape(tree_of(*cancelled)) == ["for_ lost", "for_#2 lost", "await lost", "signal:approve lost"]
    again: list[Entry] = [RunRetried(at=50.0), SECOND, Suspended(61.0, ("T1", "signal:approve#3"), 100.0)]
    assert shape(tree_of(*cancelled, *again)) == ["for_ wait", "for_#2 lost", "await wait", "signal:approve wait"]
    assert node_of(tree_of(*cancelled, *again), "/for_#1").due == 100.0


def test_a_step_in_the_place_of_a_wait_is_no_wait_any_more() -> None:
    late = StepFailed("/await#1", 90.0, 78.0, ERROR)
    tree = tree_of(STARTED, awaited(), late, failed(91.0, "/await#1"), SECOND, done("/await#1", 95.0))
    node = node_of(tree, "/await#1")
    assert (node.state, node.kind, node.wait, len(node.tries)) == (NodeState.OK, "", "", 1)


def limited(key: str = "/wait_for#1") -> WaitStarted:
    return WaitStarted(key, 12.0, "", "timeout", 40.0)


def test_a_limit_on_awaits_stands_as_they_do_and_tells_its_end() -> None:
    tree = tree_of(STARTED, limited())
    assert (node_of(tree, "/wait_for#1").stands, node_of(tree, "/wait_for#1").due) == (NodeState.RUNNING, 40.0)
    for entry, stands in ((begun("/wait_for#1/a#1"), NodeState.RUNNING), (done("/wait_for#1/a#1"), NodeState.OK)):
        tree.add(entry)
        assert node_of(tree, "/wait_for#1").stands is stands
    tree.add(RunCompleted(30.0, b"r"))
    assert node_of(tree, "/wait_for#1").stands is NodeState.OK


def test_a_limit_that_was_overrun_has_failed() -> None:
    tree = tree_of(STARTED, limited(), begun("/wait_for#1/a#1"), StepFailed("/wait_for#1", 40.0, 28.0, BUSY))
    assert (node_of(tree, "/wait_for#1").stands, node_of(tree, "/wait_for#1").error) == (NodeState.FAILED, BUSY)


def test_a_limit_on_a_stretch_of_code_waits_with_its_run_and_is_over_once_the_run_is_not_woken_for_it() -> None:
    before: list[Entry] = [STARTED, limited("/timeout#1"), Suspended(20.0, ("T1",), 40.0)]
    assert shape(tree_of(*before)) == ["timeout wait"]
    assert shape(tree_of(*before, RESUMED)) == ["timeout run"]
    assert shape(tree_of(*before, RESUMED, Suspended(35.0, ("T1",), 40.0))) == ["timeout wait"]
    assert shape(tree_of(*before, RESUMED, Suspended(35.0, ("T1",), 90.0))) == ["timeout ok"]
    assert shape(tree_of(*before, RESUMED, Suspended(35.0, ("T1",)))) == ["timeout ok"]
    assert node_of(tree_of(*before), "/timeout#1").due == 40.0
    assert node_of(tree_of(*before, RESUMED, Suspended(35.0, ("T1",))), "/timeout#1").due is None
    assert shape(tree_of(*before, RESUMED, RunCompleted(36.0, b"r"))) == ["timeout ok"]
    assert shape(tree_of(*before, RESUMED, replace(CRASH, at=36.0))) == ["timeout lost"]


def test_a_token_that_was_made_is_known_by_its_id() -> None:
    node = node_of(tree_of(STARTED, WaitStarted("/token#1", 12.0, "T1", "issued", 90.0)), "/token#1")
    assert (node.state, node.kind, node.wait, node.took) == (NodeState.OK, "issued", "T1", 0.0)


def test_a_limit_with_nothing_below_it_is_lost_with_a_run_that_did_not_complete() -> None:
    assert shape(tree_of(STARTED, limited(), RunCompleted(30.0, b"r"))) == ["wait_for ok"]
    assert shape(tree_of(STARTED, limited(), RunCancelled(30.0))) == ["wait_for lost"]


# --- undos ------------------------------------------------------------------------------------------------------------

UNDOABLE = StepCompleted("/a#1", 13.0, 1.5, b"v", undo=b"u")
FELL: list[Entry] = [STARTED, UNDOABLE, RunDead(20.0, ERROR, "aborted")]


def test_an_undo_is_shown_below_its_step_which_is_marked_once_it_has_run() -> None:
    tree = tree_of(*FELL, RESUMED, begun("/a#1/undo", 31.0))
    assert shape(tree) == ["a ok", "  undo run"]
    assert node_of(tree, "/a#1/undo").kind == "undo"
    tree.add(done("/a#1/undo", 35.0))
    assert shape(tree) == ["a undone", "  undo ok"]
    assert (node_of(tree, "/a#1").value, node_of(tree, "/a#1").ended_at) == (b"v", 13.0)


def test_who_runs_undos_compensates_until_all_have_run() -> None:
    tree = tree_of(*FELL, RESUMED)
    assert [span.outcome for span in tree.attempts] == ["dead", "compensating"]
    tree.add(replace(CRASH, at=31.0))
    tree.add(replace(RESUMED, at=32.0))
    assert [span.outcome for span in tree.attempts] == ["dead", "interrupted", "compensating"]
    tree.add(Compensated(at=40.0))
    assert [(span.outcome, span.ended_at) for span in tree.attempts[2:]] == [("compensated", 40.0)]


def test_an_undo_that_was_under_way_is_lost_with_its_worker_and_its_step_not_undone() -> None:
    tree = tree_of(*FELL, RESUMED, begun("/a#1/undo", 31.0), replace(CRASH, at=32.0))
    assert shape(tree) == ["a ok", "  undo lost"]


def test_an_undo_that_failed_keeps_its_tries() -> None:
    tree = tree_of(*FELL, RESUMED, tried("/a#1/undo", 1, 32.0), raised("/a#1/undo", 35.0))
    assert shape(tree) == ["a ok", "  undo fail"]
    assert len(node_of(tree, "/a#1/undo").tries) == 1


def test_an_undo_that_an_operator_skips_is_not_shown_as_run() -> None:
    asked = Suspended(36.0, ("pause:/a#1/undo",), None, "the undo failed")
    skipped = Resolved("/a#1/undo", 40.0, "skip", by="ann")
    tree = tree_of(*FELL, RESUMED, raised("/a#1/undo", 35.0), asked, skipped, replace(RESUMED, at=41.0))
    tree.add(done("/a#1/undo", 42.0))
    assert shape(tree) == ["a ok", "  undo fail"]
    assert node_of(tree, "/a#1/undo").note == "skipped by ann"


def test_a_killed_compensation_has_ended() -> None:
    tree = tree_of(*FELL, RESUMED, begun("/a#1/undo", 31.0), RunCancelled(33.0, killed=True))
    assert (shape(tree), tree.attempts[-1].outcome) == (["a ok", "  undo lost"], "killed")


def test_an_undone_step_that_runs_again_has_no_undo_any_more() -> None:
    undone: list[Entry] = [*FELL, RESUMED, done("/a#1/undo", 35.0), Compensated(at=36.0), RunRetried(at=50.0), SECOND]
    tree = tree_of(*undone)
    assert tree.attempts[-1].outcome == ""
    assert shape(tree) == ["a undone", "  undo ok"]
    tree.add(replace(UNDOABLE, at=65.0))
    assert shape(tree) == ["a ok"]
    assert tree.node("/a#1/undo") is None


# --- questions --------------------------------------------------------------------------------------------------------

ONCE = StepStarted("/pay#1", 11.0, once=True)
ASKED: list[Entry] = [
    STARTED,
    ONCE,
    CRASH,
    RESUMED,
    Suspended(31.0, ("pause:/pay#1",), None, "its outcome is not known"),
]


def test_a_step_that_may_run_once_and_whose_outcome_is_not_known_asks() -> None:
    node = node_of(tree_of(STARTED, ONCE, CRASH), "/pay#1")
    assert (node.state, node.once, node.asks) == (NodeState.LOST, True, "")
    node = node_of(tree_of(*ASKED), "/pay#1")
    assert (node.state, node.asks, node.note) == (NodeState.PAUSED, "once", "its outcome is not known")
    assert tree_of(*ASKED).attempts[-1].reason == "its outcome is not known"


def test_an_answer_ends_the_question() -> None:
    tree = tree_of(*ASKED, Resolved("/pay#1", 40.0, "done", "ann", b"v"))
    node = node_of(tree, "/pay#1")
    assert (node.state, node.asks, node.note) == (NodeState.WAITING, "", "answered: done by ann")
    tree.add(replace(RESUMED, at=41.0))
    tree.add(done("/pay#1", 42.0))
    assert shape(tree) == ["pay ok"]


def test_a_question_is_asked_until_the_run_ends() -> None:
    for end in (RunCancelled(50.0), RunTimedOut(50.0, ERROR, "schedule_to_close")):
        node = node_of(tree_of(*ASKED, end), "/pay#1")
        assert (node.state, node.asks) == (NodeState.LOST, "")


def test_an_undo_that_finally_failed_asks() -> None:
    asked = Suspended(36.0, ("pause:/a#1/undo",), None, "the undo of /a#1 failed")
    tree = tree_of(*FELL, RESUMED, raised("/a#1/undo", 35.0), asked)
    node = node_of(tree, "/a#1/undo")
    assert (node.state, node.asks, node.error) == (NodeState.PAUSED, "undo", ERROR)
    tree.add(Resolved("/a#1/undo", 40.0, "run"))
    tree.add(replace(RESUMED, at=41.0))
    tree.add(done("/a#1/undo", 42.0))
    assert shape(tree) == ["a undone", "  undo ok"]
    assert [one.error for one in node_of(tree, "/a#1/undo").tries] == [ERROR]


def test_a_question_about_no_await_makes_no_node() -> None:
    assert shape(tree_of(*FELL, RESUMED, Suspended(36.0, ("pause:compensation",), None, "too often"))) == ["a ok"]


# --- another way ------------------------------------------------------------------------------------------------------

TWO: list[Entry] = [STARTED, done("/a#1"), done("/g#1/b#1"), CRASH, RESUMED]
PARTED = Diverged("/x#1", 31.0, ("/g#1/b#1",))


def test_what_the_code_did_not_come_to_is_kept_and_marked_and_so_is_the_first_of_the_other_way() -> None:
    tree = tree_of(*TWO, PARTED, done("/x#1", 33.0), done("/y#1", 34.0))
    assert [(node.name, node.stands) for _, node in tree.walk()] == [
        ("a", NodeState.OK),
        ("g", NodeState.ORPHANED),
        ("b", NodeState.ORPHANED),
        ("x", NodeState.OK),
        ("y", NodeState.OK),
    ]
    assert [node.key for _, node in tree.walk() if node.diverged] == ["/x#1"]
    assert node_of(tree, "/g#1/b#1").value == b"v"


def test_a_known_await_may_begin_another_way() -> None:
    tree = tree_of(STARTED, begun("/x#1"), done("/b#1"), CRASH, RESUMED, Diverged("/x#1", 31.0, ("/b#1", "/gone#1")))
    assert (node_of(tree, "/x#1").diverged, shape(tree)) == (True, ["x lost", "b orphaned"])


def test_a_divergence_that_pauses_asks_where_it_began() -> None:
    tree = tree_of(*TWO, Suspended(31.0, ("pause:/x#1",), None, "the code took another way"))
    node = node_of(tree, "/x#1")
    assert (node.stands, node.asks, node.diverged) == (NodeState.PAUSED, "divergence", False)
    tree.add(Resolved("/x#1", 40.0, "accept"))
    tree.add(replace(RESUMED, at=41.0))
    tree.add(PARTED)
    assert (node.diverged, node_of(tree, "/g#1/b#1").state) == (True, NodeState.ORPHANED)
    tree.add(StepStarted("/x#1", 42.0, once=True))
    tree.add(replace(CRASH, at=43.0))
    tree.add(Suspended(44.0, ("pause:/x#1",), None, "its outcome is not known"))
    assert node_of(tree, "/x#1").asks == "once"


# --- forks and code ---------------------------------------------------------------------------------------------------

FORKED = RunCreated("R", 1.0, "t", b"", origin=Origin("O", "fork", "/c#1"))


def test_a_fork_shows_what_it_has_from_its_origin_and_what_was_edited() -> None:
    tree = tree_of(
        FORKED,
        Inherited("/a#1", 0.5, 0.25, b"v"),
        Inherited("/b#1", 0.5, 0.25, b"w", edited=True),
        Inherited("/c#1", 0.5, 0.25, error=ERROR),
    )
    assert shape(tree) == ["a ok", "b ok", "c fail"]
    assert [(node.origin, node.edited, node.note) for node in tree.roots] == [
        ("O", False, "from O"),
        ("O", True, "from O, edited"),
        ("O", False, "from O"),
    ]
    assert [(node.value, node.error, node.took, node.attempt) for node in tree.roots] == [
        (b"v", None, 0.25, 0),
        (b"w", None, 0.25, 0),
        (None, ERROR, 0.25, 0),
    ]


def test_what_a_fork_runs_again_is_its_own() -> None:
    tree = tree_of(FORKED, Inherited("/c#1", 0.5, 0.25, error=ERROR), STARTED, done("/c#1"))
    assert (node_of(tree, "/c#1").origin, node_of(tree, "/c#1").note) == ("", "")


def test_the_tree_tells_where_the_code_changed() -> None:
    old, new = replace(STARTED, code="c1"), replace(RESUMED, code="c2")
    tree = tree_of(old, UNDOABLE, done("/g#1/b#1"), CRASH, new, done("/g#1/c#1", 33.0), done("/d#1", 34.0))
    assert [(node.name, node.code) for _, node in tree.walk()] == [
        ("a", "c1"),
        ("g", ""),
        ("b", "c1"),
        ("c", "c2"),
        ("d", "c2"),
    ]
    assert tree.recoded() == {"/g#1/c#1"}
    assert [span.code for span in tree.attempts] == ["c1", "c2"]
    tree.add(RunDead(50.0, ERROR, "aborted"))
    tree.add(replace(RESUMED, at=51.0, code="c3"))
    tree.add(done("/a#1/undo", 52.0))
    assert tree.recoded() == {"/g#1/c#1"}


def test_the_last_heartbeat_and_the_progress_of_the_attempt_are_known() -> None:
    tree = tree_of(STARTED, Heartbeat(12.0), Progressed(13.0, 3, 10, "resizing"), Heartbeat(14.0))
    assert tree.progress == Progress(3, 10, "resizing")
    tree.add(CRASH)
    tree.add(RESUMED)
    assert tree.progress == Progress(3, 10, "resizing")
    tree.add(failed(40.0))
    tree.add(SECOND)
    assert [tree.heartbeat_at, tree.progress] == [14.0, None]


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
        (RunCancelled(at=20.0, reason="by ann", killed=True), "killed", None, "by ann"),
        (RunTimedOut(at=20.0, error=ERROR, reason="schedule_to_close"), "timed_out", ERROR, "schedule_to_close"),
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
    for end in (RunCancelled(at=5.0), RunDead(at=5.0, error=ERROR, reason="payload"), RunExpired(at=5.0)):
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
        Signalled(id="s1", at=14.0, name="approve", value=b"v"),
        MetadataChanged(at=14.0, changes={"a": b"v"}),
        HookTriggered(on="success", at=14.0, run="H"),
        Heartbeat(at=14.0),
        Progressed(at=14.0, done=1),
    ],
    ids=lambda entry: type(entry).__name__,
)
def test_what_says_nothing_of_awaits_or_attempts_changes_nothing(entry: Entry) -> None:
    before, after = tree_of(*BEFORE), tree_of(*BEFORE, entry)
    assert (after.roots, after.attempts) == (before.roots, before.attempts)
