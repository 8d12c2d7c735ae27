"""What must follow from where a run stands, for every state, written by hand from DESIGN 1.2, 3 and BEHAVIOURS."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from holdfast.core.effects import Arm, Cancel, DropLetter, Effect, Offer, PutLetter, Tell, Withdraw, effects
from holdfast.core.entries import (
    AttemptInterrupted,
    AttemptStarted,
    ChildEnded,
    Entry,
    Offered,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunDead,
    RunRetried,
    Suspended,
)
from holdfast.core.lifecycle import Kind, Record, fold
from holdfast.core.model import FINAL, ErrorInfo, Holder, Parent, Run, State

OFFER = Offer(run="R", queue="orders", priority=3, first=11, cause=17)
ARM = Arm(run="R", queue="orders", priority=3, first=11, due=60.0, cause=17)
TELL = Tell(parent="P", key="/pay#1")
PUT = PutLetter(run="R", queue="orders")
DROP = DropLetter(run="R", queue="orders")
TIMERS_GONE = Withdraw(run="R", item=None)
ITEM_GONE = Withdraw(run="R", item=14)
CANCEL = Cancel(run="R")
ERROR = ErrorInfo(type="payments.CardDeclined", message="no")


def run_in(
    state: State,
    *,
    offered: bool = False,
    armed: bool = False,
    due: float | None = None,
    cancel: bool = False,
    attempt: int = 0,
    child: bool = False,
    held: bool = False,
    item: int = 0,
    lettered: bool = False,
    waits: frozenset[str] = frozenset(),
    arrived: frozenset[str] = frozenset(),
) -> Run:
    return Run(
        id="R",
        task="pay",
        queue="orders",
        priority=3,
        state=state,
        created_at=1.0,
        first=11,
        last=17,
        offered=offered,
        armed=armed,
        due=due,
        cancel_requested=cancel,
        attempt=attempt,
        item=item,
        lettered=lettered,
        parent=Parent(run="P", key="/pay#1") if child else None,
        holder=Holder(worker="w", nonce="n", item="i") if held or state is State.RUNNING else None,
        waits=waits,
        arrived=arrived,
    )


A, B = "A", "B"
"""Ids of child runs."""
ASKED = "pause:/a#1/undo"
"""Id of an operator's answer."""

FOLLOWS: list[tuple[str, Run, list[Effect]]] = [
    ("delayed, its timer stands", run_in(State.DELAYED, due=60.0, armed=True), []),
    ("delayed, its timer is missing", run_in(State.DELAYED, due=60.0), [ARM]),
    ("delayed, its timer is missing, to be cancelled", run_in(State.DELAYED, due=60.0, cancel=True), [CANCEL]),
    ("delayed, to be cancelled", run_in(State.DELAYED, due=60.0, armed=True, cancel=True), [CANCEL]),
    ("queued with a work item", run_in(State.QUEUED, offered=True), []),
    ("queued without a work item", run_in(State.QUEUED), [OFFER]),
    ("queued without a work item, once dead", run_in(State.QUEUED, lettered=True), [DROP, OFFER]),
    ("queued, to be cancelled", run_in(State.QUEUED, offered=True, cancel=True), [CANCEL]),
    ("queued without a work item, to be cancelled", run_in(State.QUEUED, cancel=True), [CANCEL]),
    ("running", run_in(State.RUNNING, offered=True), []),
    ("running, to be cancelled: its holder does it", run_in(State.RUNNING, offered=True, cancel=True), []),
    ("waiting, nothing has come", run_in(State.WAITING, waits=frozenset({A})), []),
    ("waiting, another child has ended", run_in(State.WAITING, waits=frozenset({A}), arrived=frozenset({B})), []),
    ("waiting, one of two has come", run_in(State.WAITING, waits=frozenset({A, B}), arrived=frozenset({B})), [OFFER]),
    (
        "waiting, it has come and a work item stands",
        run_in(State.WAITING, waits=frozenset({A}), arrived=frozenset({A}), offered=True),
        [],
    ),
    (
        "waiting, it has come, to be cancelled",
        run_in(State.WAITING, waits=frozenset({A}), arrived=frozenset({A}), cancel=True),
        [CANCEL],
    ),
    ("retrying, its timer is missing", run_in(State.RETRYING, due=60.0), [ARM]),
    ("retrying, its timer stands", run_in(State.RETRYING, due=60.0, armed=True), []),
    ("retrying, to be cancelled", run_in(State.RETRYING, due=60.0, cancel=True), [CANCEL]),
    ("compensating, held", run_in(State.COMPENSATING, held=True), []),
    ("compensating, nobody holds it", run_in(State.COMPENSATING), [OFFER]),
    ("compensating, a child: its parent waits", run_in(State.COMPENSATING, child=True), [OFFER]),
    ("compensating with a work item", run_in(State.COMPENSATING, offered=True), []),
    ("compensating, paused", run_in(State.COMPENSATING, waits=frozenset({ASKED})), []),
    (
        "compensating, answered",
        run_in(State.COMPENSATING, waits=frozenset({ASKED}), arrived=frozenset({ASKED})),
        [OFFER],
    ),
    ("compensating, its next try has no timer", run_in(State.COMPENSATING, due=60.0), [ARM]),
    ("compensating, its next try has a timer", run_in(State.COMPENSATING, due=60.0, armed=True), []),
    ("compensating, its cancel was asked for", run_in(State.COMPENSATING, cancel=True), [OFFER]),
    ("waiting for a time", run_in(State.WAITING, due=60.0), [ARM]),
    ("waiting for a time, its timer stands", run_in(State.WAITING, due=60.0, armed=True), []),
    (
        "waiting for a time or a child, the child has ended",
        run_in(State.WAITING, due=60.0, armed=True, waits=frozenset({A}), arrived=frozenset({A})),
        [OFFER],
    ),
    ("waiting for a time, to be cancelled", run_in(State.WAITING, due=60.0, armed=True, cancel=True), [CANCEL]),
    ("completed", run_in(State.COMPLETED), []),
    ("completed, a child", run_in(State.COMPLETED, child=True), [TELL]),
    ("completed, a child that was once dead", run_in(State.COMPLETED, child=True, lettered=True), [TELL, DROP]),
    ("failed", run_in(State.FAILED, lettered=True), [DROP]),
    ("failed, a child", run_in(State.FAILED, child=True, lettered=True), [TELL, DROP]),
    ("dead", run_in(State.DEAD, lettered=True), [PUT]),
    ("dead, a child", run_in(State.DEAD, child=True, lettered=True), [TELL, PUT]),
    ("cancelled before its first attempt", run_in(State.CANCELLED, item=14), [ITEM_GONE]),
    ("cancelled before it had a work item", run_in(State.CANCELLED), [TIMERS_GONE]),
    ("cancelled after an attempt began", run_in(State.CANCELLED, attempt=1), [TIMERS_GONE]),
    (
        "cancelled, a child that was once dead",
        run_in(State.CANCELLED, attempt=1, child=True, lettered=True),
        [TIMERS_GONE, TELL, DROP],
    ),
    ("cancelled, a child", run_in(State.CANCELLED, attempt=1, child=True), [TIMERS_GONE, TELL]),
    ("cancelled on request", run_in(State.CANCELLED, attempt=1, cancel=True), [TIMERS_GONE]),
    ("expired", run_in(State.EXPIRED, item=14), [ITEM_GONE]),
    ("expired, a child", run_in(State.EXPIRED, child=True), [TIMERS_GONE, TELL]),
    ("expired, once dead", run_in(State.EXPIRED, lettered=True), [TIMERS_GONE, DROP]),
    ("timed out", run_in(State.TIMED_OUT, attempt=1), [TIMERS_GONE]),
    ("timed out before its first attempt", run_in(State.TIMED_OUT, item=14), [ITEM_GONE]),
    ("timed out, once dead", run_in(State.TIMED_OUT, attempt=1, lettered=True), [TIMERS_GONE, DROP]),
    ("timed out, a child", run_in(State.TIMED_OUT, attempt=1, child=True), [TIMERS_GONE, TELL]),
]


@pytest.mark.parametrize(("run", "expected"), [case[1:] for case in FOLLOWS], ids=[case[0] for case in FOLLOWS])
def test_what_follows_is_what_the_table_says(run: Run, expected: list[Effect]) -> None:
    assert list(effects(run)) == expected


def test_every_state_is_in_the_table() -> None:
    assert {run.state for _, run, _ in FOLLOWS} == set(State)


@pytest.mark.parametrize("state", sorted(FINAL))
def test_a_parent_hears_of_every_way_to_end(state: State) -> None:
    assert TELL in effects(run_in(state, child=True))


def test_a_letter_is_answered_before_its_run_is_offered_again() -> None:
    kinds = [type(effect).__name__ for effect in effects(run_in(State.QUEUED, lettered=True))]
    assert kinds == ["DropLetter", "Offer"]


def test_an_offer_for_another_cause_is_another_offer() -> None:
    run = run_in(State.QUEUED)
    assert effects(run)[-1] == OFFER
    assert effects(replace(run, last=18))[-1] == Offer(run="R", queue="orders", priority=3, first=11, cause=18)


def test_a_timer_for_another_cause_is_another_timer() -> None:
    run = run_in(State.RETRYING, due=60.0)
    assert effects(run) == (ARM,)
    assert effects(replace(run, last=18)) == (Arm("R", "orders", 3, 11, 60.0, 18),)


@pytest.mark.parametrize("state", sorted(set(State) - {State.DEAD}))
def test_a_run_that_never_died_has_no_letter_to_drop(state: State) -> None:
    assert not any(isinstance(effect, DropLetter | PutLetter) for effect in effects(run_in(state, due=60.0)))


@pytest.mark.parametrize("state", sorted(FINAL - {State.DEAD}))
def test_a_run_that_was_dead_and_ends_otherwise_leaves_no_letter_behind(state: State) -> None:
    assert DROP in effects(run_in(state, attempt=2, lettered=True))


# --- from a history to what follows -----------------------------------------------------------------------------------


CREATED = RunCreated(run="R", at=1.0, task="pay", payload=b"p", queue="orders", priority=3)
LATER = replace(CREATED, due=50.0)
STARTED = AttemptStarted(at=2.0, attempt=1, worker="w", nonce="n", item="i")
GONE = RunCancelled(at=60.0, created=CREATED)


def ready(seq: int, entry: Entry) -> Record:
    return Record(seq, Kind.READY, "", (entry,))


def log(seq: int, *entries: Entry, writer: str = "") -> Record:
    return Record(seq, Kind.LOG, writer, entries)


def follows(*history: Record) -> list[Effect]:
    run = fold(history)
    assert run is not None
    return list(effects(run))


@pytest.mark.parametrize(
    ("history", "item"),
    [
        ([ready(11, CREATED), log(15, GONE)], 11),
        ([log(11, CREATED), ready(14, Offered(run="R", first=11, cause=11)), log(15, GONE)], None),
        ([Record(11, Kind.TIMER, "", (LATER,)), ready(14, LATER), log(15, GONE)], 14),
        ([ready(14, LATER), log(15, GONE)], 14),
        ([ready(11, CREATED), ready(14, RunDead(at=4.0, error=ERROR, reason="aborted")), log(15, GONE)], 11),
        ([log(11, CREATED), log(15, GONE)], None),
        ([Record(11, Kind.TIMER, "", (LATER,)), log(15, GONE)], None),
        ([log(15, GONE)], None),
    ],
    ids=[
        "triggered", "created on its log", "its delay passed", "its delay passed, the timer is gone",
        "what is no work item came after it", "not yet offered", "still delayed", "nothing else is left",
    ],
)  # fmt: skip
def test_a_run_cancelled_before_its_first_attempt_takes_back_its_work_item_and_nothing_else(
    history: list[Record], item: int | None
) -> None:
    assert follows(*history) == [Withdraw(run="R", item=item)]


def test_a_run_that_workers_know_keeps_its_messages_when_it_is_cancelled() -> None:
    begun = [ready(11, CREATED), log(15, STARTED, writer="n")]
    assert follows(*begun, log(16, RunCancelled(at=3.0))) == [TIMERS_GONE]
    interrupted = log(16, AttemptInterrupted(at=3.0, reason="worker died"))
    again = ready(17, Offered(run="R", first=11, cause=16))
    assert follows(*begun, interrupted, again, log(18, RunCancelled(at=4.0))) == [TIMERS_GONE]


def test_a_delayed_run_created_on_its_log_has_its_timer_armed_and_then_nothing_more() -> None:
    arm = Arm(run="R", queue="orders", priority=3, first=17, due=50.0, cause=17)
    assert follows(log(17, LATER)) == [arm]
    assert follows(log(17, LATER), Record(18, Kind.TIMER, "", (CREATED,))) == []
    assert follows(log(17, LATER), ready(19, CREATED)) == []


def test_a_run_whose_offer_came_too_early_is_offered_again() -> None:
    suspended = log(16, STARTED, Suspended(at=3.0, waits=(A,)), writer="n")
    ended = Record(17, Kind.IN, "", (ChildEnded(key="/a#1", at=4.0, child=A, state="completed"),))
    early = ready(18, Offered(run="R", first=11, cause=11))
    assert follows(ready(11, CREATED), suspended, ended, early) == [replace(OFFER, cause=16)]


def test_a_run_whose_holder_kept_no_work_item_is_offered_when_it_loses_the_run() -> None:
    died = log(17, AttemptInterrupted(at=3.0, reason="worker died"))
    assert follows(ready(11, CREATED), log(16, replace(STARTED, item=""), writer="n"), died) == [OFFER]
    assert follows(ready(11, CREATED), log(16, STARTED, writer="n"), died) == []


def test_a_dead_run_that_was_retried_and_ends_otherwise_drops_its_letter_even_if_nobody_did_before() -> None:
    died = [ready(11, CREATED), log(15, STARTED, RunDead(at=3.0, error=ERROR, reason="aborted"), writer="n")]
    retried = [*died, log(16, RunRetried(at=4.0))]
    assert follows(*died) == [PUT]
    assert follows(*retried, log(17, RunCancelled(at=6.0))) == [TIMERS_GONE, DROP]
    again = replace(STARTED, attempt=2, nonce="m")
    assert follows(*retried, log(17, again, RunCompleted(at=6.0, result=b"r"), writer="m")) == [DROP]
