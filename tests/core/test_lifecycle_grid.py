"""Every entry in every state, against a grid written by hand from DESIGN 3 and BEHAVIOURS."""

from __future__ import annotations

import msgspec
import pytest

from holdfast.core.entries import (
    ENTRIES,
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
from holdfast.core.lifecycle import IllegalEntry, advance
from holdfast.core.model import ErrorInfo, Holder, Run, State

GRID = """
                   | del  que  run  wai  ret  cmp  | com  fai  dea  can  exp  tim
RunCreated         |  -    -    -    -    -    -   |  -    -    -    -    -    -
Offered            | que  que  run  wai  que  cmp  | com  fai  dea  can  exp  tim
AttemptStarted     |  -   run   -    -   run   -   |  -    -    -    -    -    -
AttemptResumed     |  -   run   -    -    -    -   |  -    -    -    -    -    -
StepStarted        |  -    -   run   -    -    -   |  -    -    -    -    -    -
StepCompleted      |  -    -   run   -    -    -   |  -    -    -    -    -    -
StepFailed         |  -    -   run   -    -    -   |  -    -    -    -    -    -
StepRetried        |  -    -   run   -    -    -   |  -    -    -    -    -    -
StepVolatile       |  -    -   run   -    -    -   |  -    -    -    -    -    -
ChildTriggered     |  -    -   run   -    -    -   |  -    -    -    -    -    -
Suspended          |  -    -   wai   -    -    -   |  -    -    -    -    -    -
AttemptFailed      |  -    -   ret   -    -    -   |  -    -    -    -    -    -
AttemptInterrupted |  -    -   que   -    -    -   |  -    -    -    -    -    -
RunCompleted       |  -    -   com   -    -    -   |  -    -    -    -    -    -
RunDead            |  -   dea  dea   -    -    -   |  -    -    -    -    -    -
RunCancelled       | can  can  can  can  can   -   |  -    -    -    -    -    -
RunRetried         |  -    -    -    -    -    -   |  -   que  que  que   -    -
LetterDropped      |  -    -    -    -    -    -   |  -    -   fai   -    -    -
CancelRequested    | del  que  run  wai  ret  cmp  | com  fai  dea  can  exp  tim
ChildEnded         | del  que  run  wai  ret  cmp  | com  fai  dea  can  exp  tim
"""
"""Rows: what happens. Columns: where the run stands. Cells: where it stands then; `-`: refused.

A waiting run here has nothing arrived yet; a retrying one may be started by the worker that kept it for a short delay.
"""

SHORT = {
    "del": State.DELAYED,
    "que": State.QUEUED,
    "run": State.RUNNING,
    "wai": State.WAITING,
    "ret": State.RETRYING,
    "cmp": State.COMPENSATING,
    "com": State.COMPLETED,
    "fai": State.FAILED,
    "dea": State.DEAD,
    "can": State.CANCELLED,
    "exp": State.EXPIRED,
    "tim": State.TIMED_OUT,
}

ERROR = ErrorInfo(type="payments.CardDeclined", message="no")

SAMPLES: list[Entry] = [
    RunCreated(run="R", at=9.0, task="t", payload=b""),
    Offered(run="R", first=1),
    AttemptStarted(at=9.0, attempt=2, worker="w2", nonce="n2"),
    AttemptResumed(at=9.0, attempt=1, worker="w2", nonce="n2"),
    StepStarted(key="/a#1", at=9.0),
    StepCompleted(key="/a#1", at=9.0, took=0.1, value=b"v"),
    StepFailed(key="/a#1", at=9.0, took=0.1, error=ERROR),
    StepRetried(key="/a#1", at=9.0, took=0.1, error=ERROR, number=1, due=10.0),
    StepVolatile(key="/a#1", at=9.0, took=0.1, reason="a socket"),
    ChildTriggered(key="/a#1", at=9.0, child="C", task="t"),
    Suspended(at=9.0, waits=("C",)),
    AttemptFailed(at=9.0, error=ERROR, due=10.0),
    AttemptInterrupted(at=9.0, reason="worker died"),
    RunCompleted(at=9.0, result=b"r"),
    RunDead(at=9.0, error=ERROR, reason="aborted"),
    RunCancelled(at=9.0),
    RunRetried(at=9.0),
    LetterDropped(at=9.0),
    CancelRequested(at=9.0),
    ChildEnded(key="/a#1", at=9.0, child="C", state="completed"),
]


def standing(state: State, entry: Entry) -> Run:
    """A run in a state, after one attempt; the attempt is over unless the entry resumes it."""
    return Run(
        id="R",
        task="t",
        queue="default",
        priority=5,
        state=state,
        created_at=1.0,
        attempt=1,
        fresh=not isinstance(entry, AttemptResumed),
        due=8.0 if state in (State.DELAYED, State.RETRYING) else None,
        holder=Holder(worker="w1", nonce="n1", item="i1") if state is State.RUNNING else None,
        waits=frozenset({"/a#1"}) if state is State.WAITING else frozenset(),
    )


def read_grid() -> list[tuple[str, str, str]]:
    """The grid's cells as (entry, state, next state or `-`)."""
    head, *rows = [line.replace("|", " ").split() for line in GRID.strip().splitlines()]
    return [(name, state, cell) for name, *cells in rows for state, cell in zip(head, cells, strict=True)]


CELLS = read_grid()
LEGAL = [cell for cell in CELLS if cell[2] != "-"]
REFUSED = [cell for cell in CELLS if cell[2] == "-"]


def sample(name: str) -> Entry:
    return next(entry for entry in SAMPLES if type(entry).__name__ == name)


@pytest.mark.parametrize(("name", "state", "then"), LEGAL, ids="-".join)
def test_a_legal_entry_moves_the_run_to_the_state_in_the_grid(name: str, state: str, then: str) -> None:
    entry = sample(name)
    assert advance(standing(SHORT[state], entry), entry).state is SHORT[then]


@pytest.mark.parametrize(("name", "state", "then"), REFUSED, ids="-".join)
def test_an_illegal_entry_is_refused_and_leaves_the_run_as_it_was(name: str, state: str, then: str) -> None:
    entry = sample(name)
    run = standing(SHORT[state], entry)
    before = msgspec.json.encode(run)
    with pytest.raises(IllegalEntry, match=name):
        advance(run, entry)
    assert msgspec.json.encode(run) == before


@pytest.mark.parametrize("entry", SAMPLES[1:], ids=lambda entry: type(entry).__name__)
def test_only_its_creation_can_be_the_first_entry_of_a_run(entry: Entry) -> None:
    with pytest.raises(IllegalEntry, match="expected RunCreated first"):
        advance(None, entry)


def test_the_grid_has_a_row_for_every_entry_and_a_column_for_every_state() -> None:
    assert len(CELLS) == 20 * 12
    assert {name for name, _, _ in CELLS} == {entry.__name__ for entry in ENTRIES}
    assert {SHORT[state] for _, state, _ in CELLS} == set(State)
    assert (len(LEGAL), len(REFUSED)) == (60, 180)
