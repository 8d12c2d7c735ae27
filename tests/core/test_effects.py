"""What must follow from where a run stands, for every state, written by hand from DESIGN 1.2, 3 and BEHAVIOURS."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from holdfast.core.effects import Arm, Cancel, DropLetter, Effect, Offer, PutLetter, Tell, Withdraw, effects
from holdfast.core.model import FINAL, Holder, Parent, Run, State

OFFER = Offer(run="R", queue="orders", priority=3, first=11, cause=17)
ARM = Arm(run="R", queue="orders", priority=3, first=11, due=60.0)
TELL = Tell(parent="P", key="/pay#1")
PUT = PutLetter(run="R", queue="orders")
DROP = DropLetter(run="R", queue="orders")
TIMERS_GONE = Withdraw(run="R", item=None)
ITEM_GONE = Withdraw(run="R", item=11)
CANCEL = Cancel(run="R")


def run_in(
    state: State,
    *,
    offered: bool = False,
    armed: bool = False,
    due: float | None = None,
    cancel: bool = False,
    attempt: int = 0,
    child: bool = False,
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
        parent=Parent(run="P", key="/pay#1") if child else None,
        holder=Holder(worker="w", nonce="n", item="i") if state is State.RUNNING else None,
        waits=waits,
        arrived=arrived,
    )


A, B = "/a#1", "/b#1"

FOLLOWS: list[tuple[str, Run, list[Effect]]] = [
    ("delayed, its timer stands", run_in(State.DELAYED, due=60.0, armed=True), []),
    ("delayed, to be cancelled", run_in(State.DELAYED, due=60.0, armed=True, cancel=True), [CANCEL]),
    ("queued with a work item", run_in(State.QUEUED, offered=True), []),
    ("queued without a work item", run_in(State.QUEUED), [DROP, OFFER]),
    ("queued, to be cancelled", run_in(State.QUEUED, offered=True, cancel=True), [CANCEL]),
    ("queued without a work item, to be cancelled", run_in(State.QUEUED, cancel=True), [CANCEL]),
    ("running", run_in(State.RUNNING, offered=True), []),
    ("running, to be cancelled: its holder does it", run_in(State.RUNNING, offered=True, cancel=True), []),
    ("waiting, nothing has come", run_in(State.WAITING, waits=frozenset({A})), []),
    ("waiting, another key has come", run_in(State.WAITING, waits=frozenset({A}), arrived=frozenset({B})), []),
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
    ("compensating", run_in(State.COMPENSATING), []),
    ("completed", run_in(State.COMPLETED), []),
    ("completed, a child", run_in(State.COMPLETED, child=True), [TELL]),
    ("failed", run_in(State.FAILED), [DROP]),
    ("failed, a child", run_in(State.FAILED, child=True), [TELL, DROP]),
    ("dead", run_in(State.DEAD), [PUT]),
    ("dead, a child", run_in(State.DEAD, child=True), [TELL, PUT]),
    ("cancelled before its first attempt", run_in(State.CANCELLED), [ITEM_GONE]),
    ("cancelled after an attempt began", run_in(State.CANCELLED, attempt=1), [TIMERS_GONE]),
    ("cancelled, a child", run_in(State.CANCELLED, attempt=1, child=True), [TIMERS_GONE, TELL]),
    ("cancelled on request", run_in(State.CANCELLED, attempt=1, cancel=True), [TIMERS_GONE]),
    ("expired", run_in(State.EXPIRED), []),
    ("expired, a child", run_in(State.EXPIRED, child=True), [TELL]),
    ("timed out", run_in(State.TIMED_OUT), []),
    ("timed out, a child", run_in(State.TIMED_OUT, child=True), [TELL]),
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
    kinds = [type(effect).__name__ for effect in effects(run_in(State.QUEUED))]
    assert kinds == ["DropLetter", "Offer"]


def test_an_offer_for_another_cause_is_another_offer() -> None:
    run = run_in(State.QUEUED)
    assert effects(run)[-1] == OFFER
    assert effects(replace(run, last=18))[-1] == Offer(run="R", queue="orders", priority=3, first=11, cause=18)
