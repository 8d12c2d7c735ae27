"""Every entry in every state, against a grid written by hand from DESIGN 3 and BEHAVIOURS."""

from __future__ import annotations

import msgspec
import pytest

from holdfast.core.entries import (
    ENTRIES,
    Admitted,
    AttemptFailed,
    AttemptInterrupted,
    AttemptResumed,
    AttemptStarted,
    Awaited,
    CancelRequested,
    ChildEnded,
    ChildTriggered,
    Compensated,
    Diverged,
    Entry,
    EventArrived,
    Heartbeat,
    Held,
    HookTriggered,
    Inherited,
    LetterDropped,
    MetadataChanged,
    Offered,
    Postponed,
    Progressed,
    Resolved,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunDead,
    RunExpired,
    RunRetried,
    RunTimedOut,
    SecretPinned,
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
from holdfast.core.lifecycle import IllegalEntry, advance
from holdfast.core.model import ErrorInfo, Holder, Run, State

GRID = """
                   | del  que  run  wai  ret  cmp  cmh  | com  fai  dea  can  exp  tim
RunCreated         |  -    -    -    -    -    -    -   |  -    -    -    -    -    -
Offered            | que  que  run  wai  que  cmp  cmh  | com  fai  dea  can  exp  tim
AttemptStarted     |  -   run   -    -   run   -    -   |  -    -    -    -    -    -
AttemptResumed     |  -   run   -    -    -   cmh   -   |  -    -    -    -    -    -
StepStarted        |  -    -   run   -    -    -   cmh  |  -    -    -    -    -    -
StepCompleted      |  -    -   run   -    -    -   cmh  |  -    -    -    -    -    -
StepFailed         |  -    -   run   -    -    -   cmh  |  -    -    -    -    -    -
StepRetried        |  -    -   run   -    -    -   cmh  |  -    -    -    -    -    -
StepVolatile       |  -    -   run   -    -    -   cmh  |  -    -    -    -    -    -
ChildTriggered     |  -    -   run   -    -    -    -   |  -    -    -    -    -    -
Suspended          |  -    -   wai   -    -    -   cmp  |  -    -    -    -    -    -
AttemptFailed      |  -    -   ret   -    -    -    -   |  -    -    -    -    -    -
AttemptInterrupted |  -    -   que   -    -    -   cmp  |  -    -    -    -    -    -
RunCompleted       |  -    -   com   -    -    -    -   |  -    -    -    -    -    -
RunDead            |  -   dea  dea   -    -    -    -   |  -    -    -    -    -    -
RunCancelled       | can  can  can  can  can   -    -   |  -    -    -    -    -    -
RunCancelled:kill  | can  can  can  can  can  can  can  |  -    -    -    -    -    -
RunRetried         |  -    -    -    -    -    -    -   |  -   que  que  que   -   que
LetterDropped      |  -    -    -    -    -    -    -   |  -    -   fai   -    -    -
CancelRequested    | del  que  run  wai  ret  cmp  cmh  | com  fai  dea  can  exp  tim
ChildEnded         | del  que  run  wai  ret  cmp  cmh  | com  fai  dea  can  exp  tim
WaitStarted        |  -    -   run   -    -    -    -   |  -    -    -    -    -    -
TokenCompleted     | del  que  run  wai  ret  cmp  cmh  | com  fai  dea  can  exp  tim
EventArrived       | del  que  run  wai  ret  cmp  cmh  | com  fai  dea  can  exp  tim
Signalled          | del  que  run  wai  ret  cmp  cmh  |  -    -    -    -    -    -
Resolved           | del  que  run  wai  ret  cmp  cmh  |  -    -    -    -    -    -
RunExpired         |  -   exp   -    -    -    -    -   |  -    -    -    -    -    -
RunTimedOut        | tim  tim  tim  tim  tim   -    -   |  -    -    -    -    -    -
Compensated        |  -    -    -    -    -    -   can  |  -    -    -    -    -    -
Heartbeat          |  -    -   run   -    -    -   cmh  |  -    -    -    -    -    -
Progressed         |  -    -   run   -    -    -   cmh  |  -    -    -    -    -    -
MetadataChanged    |  -    -   run   -    -    -   cmh  |  -    -    -    -    -    -
Diverged           |  -    -   run   -    -    -    -   |  -    -    -    -    -    -
Inherited          |  -   que   -    -    -    -    -   |  -    -    -    -    -    -
HookTriggered      |  -    -    -    -    -    -    -   | com  fai  dea  can  exp  tim
SecretPinned       |  -    -   run   -    -    -   cmh  |  -    -    -    -    -    -
Admitted           | del  que  run  wai  ret  cmp  cmh  | com  fai  dea  can  exp  tim
Held               |  -   que   -    -    -    -    -   |  -    -    -    -    -    -
Postponed          | del   -    -    -    -    -    -   |  -    -    -    -    -    -
Awaited            | del  que  run  wai  ret  cmp  cmh  | com  fai  dea  can  exp  tim
"""
"""Rows: what happens. Columns: where the run stands. Cells: where it stands then; `-`: refused.

A waiting run here has nothing arrived yet and no time to wake at; a retrying one may be started by the worker that kept
it for a short delay; one that compensates was cancelled, and in the second of its columns a worker holds it. No run
here has anything to undo (`test_compensation` has those). Expired and inheriting runs never had an attempt, all others
had one.
"""

SHORT = {
    "del": (State.DELAYED, False),
    "que": (State.QUEUED, False),
    "run": (State.RUNNING, True),
    "wai": (State.WAITING, False),
    "ret": (State.RETRYING, False),
    "cmp": (State.COMPENSATING, False),
    "cmh": (State.COMPENSATING, True),
    "com": (State.COMPLETED, False),
    "fai": (State.FAILED, False),
    "dea": (State.DEAD, False),
    "can": (State.CANCELLED, False),
    "exp": (State.EXPIRED, False),
    "tim": (State.TIMED_OUT, False),
}
"""Columns: the state, and whether a worker holds the run."""

ERROR = ErrorInfo(type="payments.CardDeclined", message="no")

SAMPLES: dict[str, Entry] = {
    "RunCreated": RunCreated(run="R", at=9.0, task="t", payload=b""),
    "Offered": Offered(run="R", first=1),
    "AttemptStarted": AttemptStarted(at=9.0, attempt=2, worker="w2", nonce="n2"),
    "AttemptResumed": AttemptResumed(at=9.0, attempt=1, worker="w2", nonce="n2"),
    "StepStarted": StepStarted(key="/a#1", at=9.0),
    "StepCompleted": StepCompleted(key="/a#1", at=9.0, took=0.1, value=b"v"),
    "StepFailed": StepFailed(key="/a#1", at=9.0, took=0.1, error=ERROR),
    "StepRetried": StepRetried(key="/a#1", at=9.0, took=0.1, error=ERROR, number=1, due=10.0),
    "StepVolatile": StepVolatile(key="/a#1", at=9.0, took=0.1, reason="a socket"),
    "ChildTriggered": ChildTriggered(key="/a#1", at=9.0, child="C", task="t"),
    "Suspended": Suspended(at=9.0, waits=("C",)),
    "AttemptFailed": AttemptFailed(at=9.0, error=ERROR, due=10.0),
    "AttemptInterrupted": AttemptInterrupted(at=9.0, reason="worker died"),
    "RunCompleted": RunCompleted(at=9.0, result=b"r"),
    "RunDead": RunDead(at=9.0, error=ERROR, reason="aborted"),
    "RunCancelled": RunCancelled(at=9.0),
    "RunCancelled:kill": RunCancelled(at=9.0, killed=True),
    "RunRetried": RunRetried(at=9.0),
    "LetterDropped": LetterDropped(at=9.0),
    "CancelRequested": CancelRequested(at=9.0),
    "ChildEnded": ChildEnded(key="/a#1", at=9.0, child="D", state="completed"),
    "WaitStarted": WaitStarted(key="/sleep#1", at=9.0, wait="", kind="sleep", due=60.0),
    "TokenCompleted": TokenCompleted(token="T", at=9.0),
    "EventArrived": EventArrived(wait="E", at=9.0, event=1, subject="orders.paid", value=b"v"),
    "Signalled": Signalled(id="s1", at=9.0, name="approve", value=b"v"),
    "Resolved": Resolved(key="/a#1", at=9.0, action="run"),
    "RunExpired": RunExpired(at=9.0),
    "RunTimedOut": RunTimedOut(at=9.0, error=ERROR, reason="schedule_to_close"),
    "Compensated": Compensated(at=9.0),
    "Heartbeat": Heartbeat(at=9.0),
    "Progressed": Progressed(at=9.0, done=1.0),
    "MetadataChanged": MetadataChanged(at=9.0, changes={"eta": b"v"}),
    "Diverged": Diverged(key="/b#1", at=9.0, missing=("/a#1",)),
    "Inherited": Inherited(key="/a#1", at=9.0, took=0.1, value=b"v"),
    "HookTriggered": HookTriggered(on="failure", at=9.0, run="H"),
    "SecretPinned": SecretPinned(name="STRIPE_KEY", version=1),
    "Admitted": Admitted(run="R", first=1),
    "Held": Held(at=9.0, why="overlap"),
    "Postponed": Postponed(at=9.0, due=12.0),
    "Awaited": Awaited(run="P", at=9.0, key="/ship#1"),
}


def standing(column: str, entry: Entry) -> Run:
    """A run in a state, after one attempt; the attempt is over unless the entry resumes it."""
    state, held = SHORT[column]
    return Run(
        id="R",
        task="t",
        queue="default",
        priority=5,
        state=state,
        created_at=1.0,
        attempt=0 if isinstance(entry, RunExpired | Inherited) else 1,
        fresh=not isinstance(entry, AttemptResumed) and state is not State.COMPENSATING,
        due=8.0 if state in (State.DELAYED, State.RETRYING) else None,
        holder=Holder(worker="w1", nonce="n1", item="i1") if held else None,
        waits=frozenset({"C"}) if state is State.WAITING else frozenset(),
        ending=State.CANCELLED if state is State.COMPENSATING else None,
    )


def read_grid() -> list[tuple[str, str, str]]:
    """The grid's cells as (entry, state, next state or `-`)."""
    head, *rows = [line.replace("|", " ").split() for line in GRID.strip().splitlines()]
    return [(name, column, cell) for name, *cells in rows for column, cell in zip(head, cells, strict=True)]


CELLS = read_grid()
LEGAL = [cell for cell in CELLS if cell[2] != "-"]
REFUSED = [cell for cell in CELLS if cell[2] == "-"]


def in_words(cell: tuple[str, str, str]) -> str:
    return " ".join(cell)


@pytest.mark.parametrize("cell", LEGAL, ids=in_words)
def test_a_legal_entry_moves_the_run_to_the_state_in_the_grid(cell: tuple[str, str, str]) -> None:
    name, column, then = cell
    entry = SAMPLES[name]
    after = advance(standing(column, entry), entry)
    assert (after.state, after.holder is not None) == SHORT[then]


@pytest.mark.parametrize("cell", REFUSED, ids=in_words)
def test_an_illegal_entry_is_refused_and_leaves_the_run_as_it_was(cell: tuple[str, str, str]) -> None:
    name, column, _ = cell
    entry = SAMPLES[name]
    run = standing(column, entry)
    before = msgspec.json.encode(run)
    with pytest.raises(IllegalEntry, match="run R"):
        advance(run, entry)
    assert msgspec.json.encode(run) == before


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "RunCreated"])
def test_only_its_creation_can_be_the_first_entry_of_a_run(name: str) -> None:
    with pytest.raises(IllegalEntry, match="expected RunCreated first"):
        advance(None, SAMPLES[name])


def test_a_started_run_neither_expires_nor_inherits() -> None:
    for name, words in (("RunExpired", "has started: it does not expire"), ("Inherited", "inherits nothing any more")):
        with pytest.raises(IllegalEntry, match=words):
            advance(standing("que", SAMPLES["RunRetried"]), SAMPLES[name])


def test_the_grid_has_a_row_for_every_entry_and_a_column_for_every_state() -> None:
    assert len(CELLS) == (39 + 1) * (12 + 1)  # a kill, and a compensating run that is held, stand for themselves
    assert {name.partition(":")[0] for name, _, _ in CELLS} == {entry.__name__ for entry in ENTRIES}
    assert all(type(SAMPLES[name]).__name__ == name.partition(":")[0] for name, _, _ in CELLS)
    assert {SHORT[column][0] for _, column, _ in CELLS} == set(State)
    assert len(ENTRIES) == 39
