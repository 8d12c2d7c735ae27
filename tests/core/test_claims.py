"""What a worker does with a delivered work item, by hand from DESIGN 1.5 and 3 and BEHAVIOURS "Interruption"."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from holdfast.core.claims import Claim, claim
from holdfast.core.entries import (
    AttemptFailed,
    AttemptInterrupted,
    AttemptResumed,
    AttemptStarted,
    CancelRequested,
    ChildEnded,
    ChildTriggered,
    Compensated,
    Entry,
    LetterDropped,
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
from holdfast.core.lifecycle import Kind, Record, advance, fold
from holdfast.core.model import FINAL, ErrorInfo, Holder, Run, State

ERROR = ErrorInfo(type="payments.CardDeclined", message="no")
CREATED = RunCreated(run="R", at=1.0, task="pay", payload=b"p")
OFFERED = Offered(run="R", first=1)
STARTED = AttemptStarted(at=2.0, attempt=1, worker="w1", nonce="n1", item="i1")
STEP = StepCompleted(key="/a#1", at=3.0, took=1.0, value=b"v")
FAILED = AttemptFailed(at=4.0, error=ERROR, due=60.0)
CRASH = AttemptInterrupted(at=5.0, reason="worker died")
DRAIN = AttemptInterrupted(at=5.0, reason="drained", polite=True)
DEAD = RunDead(at=6.0, error=ERROR, reason="attempts used up")
ASKED = ChildTriggered(key="/c#1", at=3.0, child="C", task="t")
SUSPENDED = Suspended(at=4.0, waits=("C",))
ARRIVED = ChildEnded(key="/c#1", at=5.0, child="C", state="completed")
CANCEL = CancelRequested(at=6.0)
RETRIED = RunRetried(at=9.0)


def run_of(*entries: Entry) -> Run:
    """The run after these entries, each legal."""
    run = advance(None, CREATED)
    for entry in entries:
        run = advance(run, entry)
    return run


NOBODY_HOLDS: list[tuple[str, list[Entry], Claim]] = [
    ("triggered", [OFFERED], Claim.START),
    ("its backoff passed", [STARTED, STEP, FAILED, OFFERED], Claim.START),
    ("its snooze passed", [STARTED, replace(FAILED, spent=False), OFFERED], Claim.START),
    ("its worker died", [STARTED, STEP, CRASH], Claim.RESUME),
    ("its worker drained", [STARTED, STEP, DRAIN, OFFERED], Claim.RESUME),
    ("interrupted before its first step", [STARTED, CRASH], Claim.RESUME),
    ("its child ended", [STARTED, ASKED, SUSPENDED, ARRIVED, OFFERED], Claim.RESUME),
    ("dead and retried", [STARTED, DEAD, RETRIED, OFFERED], Claim.START),
    ("dead and retried from the start", [STARTED, DEAD, replace(RETRIED, from_start=True), OFFERED], Claim.START),
    ("dropped and retried", [STARTED, DEAD, LetterDropped(at=7.0), RETRIED, OFFERED], Claim.START),
    ("cancelled and retried", [STARTED, CANCEL, RunCancelled(at=7.0), RETRIED, OFFERED], Claim.START),
    ("poison and retried", [STARTED, CRASH, replace(DEAD, reason="poison"), RETRIED, OFFERED], Claim.START),
    ("waiting, and a duplicate came", [STARTED, ASKED, SUSPENDED, OFFERED], Claim.SETTLE),
    ("its child ended, the offer is another one", [STARTED, ASKED, SUSPENDED, ARRIVED], Claim.SETTLE),
    ("in its backoff, and a duplicate came", [STARTED, FAILED], Claim.SETTLE),
    ("queued, to be cancelled", [OFFERED, CANCEL], Claim.SETTLE),
    ("interrupted, to be cancelled", [STARTED, CANCEL, CRASH], Claim.SETTLE),
    ("waiting, to be cancelled", [STARTED, ASKED, SUSPENDED, CANCEL], Claim.SETTLE),
    ("completed", [STARTED, RunCompleted(at=6.0, result=b"r")], Claim.SETTLE),
    ("dead", [STARTED, DEAD], Claim.SETTLE),
    ("dead of its payload", [OFFERED, replace(DEAD, reason="payload")], Claim.SETTLE),
    ("failed", [STARTED, DEAD, LetterDropped(at=7.0)], Claim.SETTLE),
    ("cancelled before it started", [OFFERED, RunCancelled(at=7.0)], Claim.SETTLE),
]
"""How the run came to stand where it does, and what to do; whether anybody lives is nobody's question here."""


@pytest.mark.parametrize("alive", [True, False])
@pytest.mark.parametrize(
    ("history", "expected"), [case[1:] for case in NOBODY_HOLDS], ids=[case[0] for case in NOBODY_HOLDS]
)
def test_where_nobody_holds_the_run_the_fold_alone_decides(history: list[Entry], expected: Claim, alive: bool) -> None:
    assert claim(run_of(*history), holder_alive=alive) is expected


HELD: list[list[Entry]] = [
    [STARTED],
    [OFFERED, STARTED, STEP],
    [STARTED, CRASH, AttemptResumed(at=6.0, attempt=1, worker="w2", nonce="n2", item="i2")],
    [STARTED, FAILED, replace(STARTED, attempt=2, nonce="n2", item="")],
    [STARTED, ASKED, ARRIVED],
    [STARTED, OFFERED],
]


@pytest.mark.parametrize("history", HELD, ids=["first", "offered", "resumed", "second", "child", "duplicate"])
def test_a_run_whose_worker_lives_is_never_started_a_second_time(history: list[Entry]) -> None:
    assert claim(run_of(*history), holder_alive=True) is Claim.LEAVE


@pytest.mark.parametrize("history", HELD, ids=["first", "offered", "resumed", "second", "child", "duplicate"])
def test_a_run_whose_worker_is_gone_is_taken_over(history: list[Entry]) -> None:
    assert claim(run_of(*history), holder_alive=False) is Claim.TAKE_OVER


def test_a_cancel_is_its_holders_to_carry_out_and_of_whoever_takes_over_from_a_dead_one() -> None:
    run = run_of(STARTED, CANCEL)
    assert claim(run, holder_alive=True) is Claim.LEAVE
    assert claim(run, holder_alive=False) is Claim.TAKE_OVER


@pytest.mark.parametrize("alive", [True, False])
@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("state", sorted({*FINAL, State.DELAYED, State.WAITING, State.RETRYING}))
def test_only_a_queued_or_a_running_run_gives_a_worker_anything_to_run(state: State, fresh: bool, alive: bool) -> None:
    run = replace(run_of(STARTED, STEP, CRASH), state=state, fresh=fresh)
    assert claim(run, holder_alive=alive) is Claim.SETTLE


UNDO_CUT = StepCompleted(key="/a#1", at=3.0, took=1.0, value=b"v", undo=b"u")
CLAIMED_UNDO = AttemptResumed(at=7.0, attempt=1, worker="w2", nonce="n2", item="i2")
ASKS = Suspended(at=8.0, waits=("pause:/a#1/undo",), paused="the undo raised")
ANSWERED = Resolved(key="/a#1/undo", at=9.0, action="skip")


@pytest.mark.parametrize(
    ("history", "gone", "alive"),
    [
        ([], Claim.RESUME, Claim.RESUME),
        ([CLAIMED_UNDO], Claim.TAKE_OVER, Claim.LEAVE),
        ([CLAIMED_UNDO, CRASH], Claim.RESUME, Claim.RESUME),
        ([CLAIMED_UNDO, ASKS], Claim.SETTLE, Claim.SETTLE),
        ([CLAIMED_UNDO, ASKS, ANSWERED], Claim.RESUME, Claim.RESUME),
        ([CLAIMED_UNDO, replace(ASKS, waits=(), paused="", due=60.0)], Claim.SETTLE, Claim.SETTLE),
        ([CLAIMED_UNDO, replace(ASKS, waits=(), paused="", due=60.0), OFFERED], Claim.RESUME, Claim.RESUME),
        ([CLAIMED_UNDO, Compensated(at=9.0)], Claim.SETTLE, Claim.SETTLE),
    ],
    ids=["dead", "held", "interrupted", "paused", "answered", "between two tries", "its next try is due", "all undone"],
)
def test_a_run_with_undos_is_taken_up_until_they_have_run_but_not_while_it_waits(
    history: list[Entry], gone: Claim, alive: Claim
) -> None:
    run = run_of(STARTED, UNDO_CUT, DEAD, *history)
    assert (claim(run, holder_alive=False), claim(run, holder_alive=True)) == (gone, alive)


def test_what_a_worker_may_claim_the_journal_accepts() -> None:
    """The claim that `claim` names is the legal one, and the other is not: checked through `advance` itself."""
    fresh, interrupted = run_of(STARTED, FAILED, OFFERED), run_of(STARTED, CRASH)
    assert claim(fresh, holder_alive=False) is Claim.START
    assert advance(fresh, replace(STARTED, attempt=2)).holder == Holder(worker="w1", nonce="n1", item="i1")
    assert claim(interrupted, holder_alive=False) is Claim.RESUME
    resumed = AttemptResumed(at=6.0, attempt=1, worker="w2", nonce="n2", item="i2")
    assert advance(interrupted, resumed).holder == Holder(worker="w2", nonce="n2", item="i2")


def test_the_same_item_delivered_twice_starts_the_run_once() -> None:
    history = [Record(1, Kind.READY, "", (CREATED,))]
    run = fold(history)
    assert run is not None
    assert claim(run, holder_alive=False) is Claim.START
    run = fold([Record(2, Kind.LOG, "n1", (STARTED,))], run)
    assert run is not None
    assert claim(run, holder_alive=True) is Claim.LEAVE
    run = fold([Record(3, Kind.LOG, "n1", (RunCompleted(at=4.0, result=b"r"),))], run)
    assert run is not None
    assert claim(run, holder_alive=True) is Claim.SETTLE


def test_an_item_left_over_from_before_the_last_move_gives_a_waiting_run_nothing_to_run() -> None:
    run = fold(
        [
            Record(1, Kind.READY, "", (CREATED,)),
            Record(2, Kind.LOG, "n1", (STARTED, FAILED)),
            Record(3, Kind.LOG, "n2", (replace(STARTED, attempt=2, nonce="n2"), FAILED)),
            Record(4, Kind.READY, "", (replace(OFFERED, cause=2),)),
        ]
    )
    assert run is not None
    assert claim(run, holder_alive=False) is Claim.SETTLE
