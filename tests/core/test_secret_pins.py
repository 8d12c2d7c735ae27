"""Which version of a secret a run goes on with."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from holdfast.core.entries import (
    AttemptFailed,
    AttemptStarted,
    Entry,
    RunCreated,
    RunDead,
    RunRetried,
    SecretPinned,
)
from holdfast.core.lifecycle import Kind, Record, advance, apply, fold
from holdfast.core.model import ErrorInfo, Run
from holdfast.core.recall import Recall

CREATED = RunCreated(run="R", at=1.0, task="t", payload=b"p")
STARTED = AttemptStarted(at=2.0, attempt=1, worker="w1", nonce="n1")
ERROR = ErrorInfo("E", "no")
DEAD = RunDead(at=5.0, error=ERROR, reason="attempts used up")


def run_of(*entries: Entry) -> Run:
    run: Run | None = None
    for entry in entries:
        run = advance(run, entry)
    assert run is not None
    return run


def recall_of(*entries: Entry) -> Recall:
    recall = Recall()
    for entry in entries:
        recall.add(entry)
    return recall


def test_a_run_knows_the_version_of_each_secret_that_it_has_read() -> None:
    run = run_of(CREATED, STARTED, SecretPinned("A", 1), SecretPinned("B", 7), SecretPinned("A", 2))
    assert run.secrets == {"A": 2, "B": 7}
    assert run_of(CREATED, STARTED).secrets == {}


def test_only_the_holder_pins_a_secret_and_a_repetition_moves_nothing() -> None:
    held = fold([Record(1, Kind.READY, "", (CREATED,)), Record(2, Kind.LOG, "n1", (STARTED,))])
    assert held is not None
    for writer in ("n9", ""):
        assert apply(held, Record(3, Kind.LOG, writer, (SecretPinned("A", 1),))) == replace(held, last=3)
    pinned = apply(held, Record(3, Kind.LOG, "n1", (SecretPinned("A", 1),)))
    assert pinned == replace(held, last=3, moved=3, secrets={"A": 1})
    assert apply(pinned, Record(4, Kind.LOG, "n1", (SecretPinned("A", 1),))) == replace(pinned, last=4)


@pytest.mark.parametrize("kind", [Kind.READY, Kind.IN, Kind.TIMER])
def test_a_pin_counts_in_the_log_only(kind: Kind) -> None:
    held = fold([Record(1, Kind.READY, "", (CREATED,)), Record(2, Kind.LOG, "n1", (STARTED,))])
    after = apply(held, Record(3, kind, "n1", (SecretPinned("A", 1),)))
    assert after is not None
    assert after.secrets == {}


def test_a_retried_run_keeps_its_versions_unless_it_begins_anew() -> None:
    dead = (CREATED, STARTED, SecretPinned("A", 1), DEAD)
    assert run_of(*dead).secrets == {"A": 1}
    assert run_of(*dead, RunRetried(at=6.0)).secrets == {"A": 1}
    assert run_of(*dead, RunRetried(at=6.0, from_start=True)).secrets == {}


def test_a_resumed_attempt_knows_what_it_has_read_and_what_an_attempt_before_it_has() -> None:
    entries: list[Entry] = [SecretPinned("A", 1), SecretPinned("B", 2)]
    recall = recall_of(*entries)
    assert (recall.pins, recall.earlier_pins) == ({"A": 1, "B": 2}, frozenset())
    recall = recall_of(*entries, AttemptFailed(at=3.0, error=ERROR, due=4.0))
    assert (recall.pins, recall.earlier_pins) == ({"A": 1, "B": 2}, {"A", "B"})
    recall.add(SecretPinned("A", 3))
    assert (recall.pins, recall.earlier_pins) == ({"A": 3, "B": 2}, {"B"})


@pytest.mark.parametrize(
    ("retried", "pins"), [(RunRetried(at=6.0), {"A": 1}), (RunRetried(at=6.0, from_start=True), {})]
)
def test_after_an_operators_retry_the_pins_are_those_of_earlier_attempts(
    retried: RunRetried, pins: dict[str, int]
) -> None:
    recall = recall_of(SecretPinned("A", 1), DEAD, retried)
    assert recall.pins == pins
    assert recall.earlier_pins == set(pins)
