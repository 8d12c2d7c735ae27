"""The invariants of BEHAVIOURS over random histories, with illegal entries and with what workers wrote too late."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from holdfast.core.claims import Claim, claim
from holdfast.core.effects import (
    Arm,
    Cancel,
    CancelChild,
    DropLetter,
    Effect,
    Offer,
    PutLetter,
    Tell,
    TriggerHook,
    Withdraw,
    effects,
)
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
from holdfast.core.lifecycle import Kind, Record, apply, fold, story, taken
from holdfast.core.model import ErrorInfo, Hook, Parent, Run, State
from holdfast.core.recall import Outcome, Recall

ERROR = ErrorInfo(type="payments.CardDeclined", message="no")
KEYS = ("/a#1", "/b#1", "/c#1")
CHILDREN = ("A", "B", "C")
"""Ids of child runs, one for each key."""
UNDOABLE = ("/u#1", "/u#2", "/u#3")
"""Keys of steps that have an undo."""
PAUSES = ("/a#1", "/u#1/undo", "compensation")
"""Checkpoints that an operator is asked about."""
ENDED = {"completed", "failed", "dead", "cancelled", "expired", "timed_out"}
UNHELD = {"delayed", "queued", "waiting", "retrying"}

OWN = (
    StepStarted,
    StepCompleted,
    StepFailed,
    StepRetried,
    StepVolatile,
    ChildTriggered,
    Suspended,
    AttemptFailed,
    RunCompleted,
    WaitStarted,
    Compensated,
    Heartbeat,
    Progressed,
    MetadataChanged,
    Diverged,
    SecretPinned,
)
"""What only a holder can say, by hand: it did something, or its attempt ended by itself."""


class Move(NamedTuple):
    """One drawn step of a history; what it means depends on where the run stands then."""

    what: int
    likely: bool
    writer: int
    """0: whoever may, 1: a worker that lost the run, 2: nobody."""
    number: int
    """How far an attempt's number is off."""
    key: int
    flag: bool
    joins: bool
    """Whether it is in one message with the move before it."""
    astray: Kind | None = None
    """Where it is stored though it may not belong there; None: where it belongs."""


def moves_of(drawn: bytes) -> list[Move]:
    """Three bytes a move: one draw for a whole history is quick, and shrinks well."""
    return [
        Move(
            what=what,
            likely=how & 3 != 0,
            writer=(0, 0, 0, 0, 0, 0, 1, 2)[how >> 2 & 7],
            number=(0, 0, 0, 0, 0, 0, 1, -1)[which & 7],
            key=(which >> 3) % 3,
            flag=bool(how & 32),
            joins=how >> 6 == 3,
            astray={29: Kind.TIMER, 30: Kind.IN, 31: Kind.READY}.get(which >> 3),
        )
        for what, how, which in zip(drawn[::3], drawn[1::3], drawn[2::3], strict=False)
    ]


CLAIM = -1
"""Whichever claim the run is to have next."""

LIKELY = {
    State.DELAYED: [1, 1, 1, 15, 18, 20, 27, 46, 46, 46, 46, 47],
    State.QUEUED: [CLAIM] * 24 + [3, 2, 1, 1, 18, 14, 15, 26, 27, 33, 33, 24, 44, 44, 44, 45, 45],
    State.RUNNING: [
        4, 5, 5, 6, 7, 8, 9, 9, 10, 10, 10, 11, 11, 12, 12, 12, 13, *[14] * 5, 15, 18, 19, 19, 21, 21, 21, 22, 23, 24,
        27, 29, 30, 30, 31, 32, *[35] * 10, 37, 37, 37, 38, 39, 40, 42, 43,
    ],
    State.WAITING: [0, 1, 1, 1, 19, 19, 20, 20, 20, 20, 22, 22, 23, 23, 24, 24, 25, 25, 15, 18, 27, 39],
    State.RETRYING: [1, 1, 2, 20, 20, 20, 20, 19, 22, 24, 24, 0, 0, 15, 18, 27],
    State.COMPENSATING: [1, 1, 44, 25, 25, 3, 3, 3, 3, 3, 3, 3, 39, 20, 18],
    State.DEAD: [16, 16, 16, 17, 1, 2, 34],
    State.FAILED: [16, 16, 1],
    State.CANCELLED: [16, 16, 1, 2, 34],
    State.TIMED_OUT: [16, 16, 1, 19, 34],
    State.EXPIRED: [1, 16, 34],
    State.COMPLETED: [16, 1, 18, 13, 34, 47],
}  # fmt: skip
"""Moves that keep a history going, by state."""

UNDOING = [28, 28, 28, 28, 28, 28, 28, 36, 41, 12, 12, 12, 12, 38, 38, 38, 37, 29, 39]
"""The same while a worker runs undos."""

MOVES = 48


def entry_of(move: Move, what: int, run: Run | None, seq: int, nonce: str) -> Entry:
    """What the move says; moves of a run's start, middle and end."""
    if what <= 19 or what == 20:
        return first_entries(move, what, run, seq, nonce)
    return told_entries(move, what, seq) if what in (22, 23, 24, 25, 34, 47) else later_entries(move, what, run, seq)


def first_entries(move: Move, what: int, run: Run | None, seq: int, nonce: str) -> Entry:
    at, key, child = float(seq), KEYS[move.key], CHILDREN[move.key]
    attempt = run.attempt if run is not None else 0
    match what:
        case 0:
            hooks = (Hook("success", "thank"), Hook("failure", "page-ann")) if move.number == 0 else ()
            parent = Parent("P", "/r#1") if move.key == 2 else None
            due = at + 5 if move.flag else None
            return RunCreated(run="R", at=at, task="t", payload=b"", due=due, hooks=hooks, parent=parent)
        case 1 | 20:
            last = run.last if run is not None else 0
            return Offered(run="R", first=1, cause=max(1, last - 3) if move.number else last if move.flag else 0)
        case 2:
            return AttemptStarted(
                at=at,
                attempt=attempt + 1 + move.number,
                worker="w",
                nonce=nonce,
                item="i" if move.flag else "",
                max_interruptions=move.key,
            )
        case 3:
            return AttemptResumed(
                at=at, attempt=attempt + move.number, worker="w", nonce=nonce, item="i" if move.flag else ""
            )
        case 4:
            return StepStarted(key=key, at=at)
        case 5:
            return StepCompleted(key=key, at=at, took=0.1, value=b"v")
        case 6:
            return StepFailed(key=key, at=at, took=0.1, error=ERROR)
        case 7:
            return StepRetried(key=key, at=at, took=0.1, error=ERROR, number=1, due=at + 1)
        case 8:
            return StepVolatile(key=key, at=at, took=0.1, reason="a socket")
        case 9:
            return ChildTriggered(key=key, at=at, child=child, task="t", detached=move.flag)
        case 10:
            return Suspended(at=at, waits=(child, CHILDREN[0]))
        case 11:
            return AttemptFailed(at=at, error=ERROR, due=at + 5, spent=move.flag, fatal=(key,) if move.number else ())
        case 12:
            return AttemptInterrupted(at=at, reason="worker died", polite=move.flag and move.key == 0)
        case 13:
            return RunCompleted(at=at, result=b"r")
        case 14:
            return RunDead(at=at, error=ERROR, reason="aborted")
        case 15:
            return RunCancelled(at=at, created=copy_of(at) if move.flag else None)
        case 16:
            return RunRetried(at=at, from_start=move.flag)
        case 17:
            return LetterDropped(at=at)
        case 18:
            return CancelRequested(at=at)
        case _:
            return ChildEnded(key=key, at=at, child=child, state="completed")


def told_entries(move: Move, what: int, seq: int) -> Entry:
    """What others tell a run."""
    at = float(seq)
    match what:
        case 22:
            return TokenCompleted(token="T", at=at, value=b"%d" % seq)
        case 23:
            return EventArrived(wait="E", at=at, event=seq, subject="orders.paid", value=b"%d" % seq)
        case 24:
            return Signalled(id=f"s{seq // 9}", at=at, name="approve" if move.flag else "reject", value=b"v")
        case 25:
            return Resolved(key=PAUSES[move.key], at=at, action="run")
        case 47:
            return Awaited(run=f"Q{move.key}", at=at, key=KEYS[move.key])
        case _:
            return HookTriggered(on=("success", "failure", "cancel")[move.key], at=at, run="H")


def later_entries(move: Move, what: int, run: Run | None, seq: int) -> Entry:
    at, key = float(seq), KEYS[move.key]
    compensating = run is not None and run.state is State.COMPENSATING
    undos = run.undos if run is not None and compensating else ()
    match what:
        case 21:
            wait, kind = (("", "sleep"), ("T", "token"), ("E", "event"))[move.key]
            return WaitStarted(key=f"/{kind}#1", at=at, wait=wait, kind=kind, due=at + 9, subject="orders.*")
        case 26:
            return RunExpired(at=at, reason="too late", created=copy_of(at) if move.flag else None)
        case 27:
            created = copy_of(at) if move.flag else None
            return RunTimedOut(at=at, error=ERROR, reason="schedule_to_close", created=created)
        case 28 if not undos:
            return Compensated(at=at)
        case 29:
            return Heartbeat(at=at, details=b"v")
        case 30:
            return Progressed(at=at, done=at)
        case 31:
            return MetadataChanged(at=at, changes={"eta": b"v" if move.flag else None})
        case 43:
            return SecretPinned(name="STRIPE_KEY", version=seq)
        case 32:
            return Diverged(key=key, at=at, missing=("/z#1",))
        case 33:
            return Inherited(key=key, at=at, took=0.1, value=b"v", error=ERROR if move.flag else None)
        case 35 if not compensating:
            return StepCompleted(key=UNDOABLE[move.key], at=at, took=0.1, value=b"v", undo=b"u")
        case 28 | 36 if undos:
            return StepCompleted(key=f"{undos[-1]}/undo", at=at, took=0.1, value=b"v")
        case 37:
            waits = (("T", "E"), ("signal:approve#1", "T"), ())[move.key]
            return Suspended(at=at, waits=waits, due=at + 9 if move.flag or not waits else None)
        case 38:
            return Suspended(at=at, waits=(f"pause:{PAUSES[move.key]}",), paused="what happened?")
        case 39:
            return RunCancelled(at=at, killed=True)
        case 40:
            return StepStarted(key=key, at=at, once=True)
        case 41 if undos:
            return StepFailed(key=f"{undos[-1]}/undo", at=at, took=0.1, error=ERROR)
        case 44:
            return Admitted(run="R", first=1, cause=run.last if run is not None and move.flag else 0)
        case 45:
            return Held(at=at, why="overlap" if move.flag else "late")
        case 46:
            return Postponed(at=at, due=at + 9, payload=b"p" if move.flag else None)
        case 42:
            return StepCompleted(key=f"/signal:approve#{seq}", at=at, took=0.1, value=b"v")
    return StepCompleted(key=key, at=at, took=0.1, value=b"v")


def copy_of(at: float) -> RunCreated:
    return RunCreated(run="R", at=at, task="t", payload=b"")


def what_of(move: Move, run: Run | None) -> int:
    likely = likely_of(run) if run is not None and move.likely else []
    return likely[move.what % len(likely)] if likely else move.what % MOVES


def likely_of(run: Run) -> list[int]:
    if run.state is State.COMPENSATING and run.holder is not None:
        return UNDOING
    return [(2 if run.fresh else 3) if what == CLAIM else what for what in LIKELY[run.state]]


TOLD = (CancelRequested, ChildEnded, TokenCompleted, EventArrived, Signalled, Resolved, HookTriggered, Awaited)


def record_of(moves: list[Move], run: Run | None, seq: int) -> Record:
    """One stored message: its first move says where it is stored and who wrote it."""
    first = moves[0]
    held = run.holder.nonce if run is not None and run.holder is not None else ""
    what, claimed = what_of(first, run), f"n{seq}"
    writer = [claimed if what in (2, 3) else held, "zombie", ""][first.writer]
    entry = entry_of(first, what, run, seq, claimed)
    if first.astray is not None:
        return Record(seq, first.astray, "", (entry,))
    match entry:
        case Offered() if what == 20:
            return Record(seq, Kind.TIMER, "", (entry,))
        case RunCreated() if entry.due is not None and first.key == 0:
            return Record(seq, Kind.TIMER, "", (entry,))
        case RunCreated() if first.key == 1:
            return Record(seq, Kind.LOG, "", (entry,))
        case Admitted():
            return Record(seq, Kind.GO, "", (entry,))
        case RunCreated() | Offered():
            return Record(seq, Kind.READY, "", (entry,))
        case _ if isinstance(entry, TOLD) and first.writer != 2:
            return Record(seq, Kind.IN, "", (entry,))
    record = Record(seq, Kind.LOG, writer, (entry,))
    for move in moves[1:]:
        so_far = apply(run, record)
        record = record._replace(entries=(*record.entries, entry_of(move, what_of(move, so_far), so_far, seq, claimed)))
    return record


def history_of(drawn: bytes, *, created: bool = True) -> list[Record]:
    """The stored messages of a run, with gaps between their sequences; the first one creates it if so asked."""
    first, *rest = moves_of(drawn)
    messages = [
        [first._replace(what=0, likely=False, astray=None) if created else first._replace(what=first.what % MOVES)]
    ]
    for move in rest:
        if move.joins:
            messages[-1].append(move)
        else:
            messages.append([move])
    records: list[Record] = []
    run: Run | None = None
    for number, moves in enumerate(messages):
        records.append(record_of(moves, run, 3 * number + 1))
        run = apply(run, records[-1])
    return records


HISTORIES = st.binary(min_size=60, max_size=180).map(history_of)
LATE = st.binary(min_size=3, max_size=45).map(lambda drawn: history_of(drawn, created=False))
"""Histories whose first message may be anything, creation or not."""

bounded = settings(
    max_examples=220,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def steps_of(history: list[Record]) -> list[tuple[Run | None, Record, Run | None]]:
    """Each message with the run before and after it."""
    steps, run = [], None
    for record in history:
        after = apply(run, record)
        steps.append((run, record, after))
        run = after
    return steps


BELONGS: dict[Kind, tuple[type[Entry], ...]] = {
    Kind.READY: (RunCreated, Offered),
    Kind.GO: (Admitted,),
    Kind.IN: TOLD,
    Kind.TIMER: (RunCreated,),
    Kind.LOG: (
        RunCreated, AttemptStarted, AttemptResumed, StepStarted, StepCompleted, StepFailed, StepRetried, StepVolatile,
        ChildTriggered, Suspended, AttemptFailed, AttemptInterrupted, RunCompleted, RunDead, RunCancelled, RunRetried,
        LetterDropped, CancelRequested, ChildEnded, WaitStarted, TokenCompleted, EventArrived, Signalled, Resolved,
        RunExpired, RunTimedOut, Compensated, Heartbeat, Progressed, MetadataChanged, Diverged, Inherited,
        HookTriggered, SecretPinned, Held, Postponed, Awaited,
    ),
}  # fmt: skip
"""What may be said where, by hand from DESIGN 2: a work item, what others tell a run, a delayed trigger, the log."""


def has(record: Record, *kinds: type[Entry]) -> bool:
    """Whether it says something of these kinds where that may be said."""
    return any(isinstance(entry, kinds) and isinstance(entry, BELONGS[record.kind]) for entry in record.entries)


def creates(record: Record) -> bool:
    last_words = RunCancelled | RunExpired | RunTimedOut
    copies = (entry for entry in record.entries if isinstance(entry, last_words) and entry.created is not None)
    return has(record, RunCreated) or (record.kind is Kind.LOG and any(copies))


@bounded
@given(HISTORIES)
def test_a_final_run_leaves_its_state_only_by_an_operators_hand(history: list[Record]) -> None:
    for before, record, after in steps_of(history):
        if before is None or before.state not in ENDED or after == before:
            continue
        assert after is not None
        if after.state == before.state and not has(record, RunRetried):
            assert (after.result, after.error, after.finished_at) == (before.result, before.error, before.finished_at)
        elif not has(record, RunRetried):
            assert (before.state, after.state) == (State.DEAD, State.FAILED)
            assert has(record, LetterDropped)
        else:
            assert before.state in ("dead", "failed", "cancelled", "timed_out") or after.state == before.state
            assert record.kind is Kind.LOG


@bounded
@given(HISTORIES)
def test_attempt_numbers_rise_by_exactly_one(history: list[Record]) -> None:
    seen = [0]
    for before, record, _ in steps_of(history):
        for entry, after in taken(before, record):
            if after.attempt != seen[-1]:
                assert isinstance(entry, AttemptStarted)
                assert entry.attempt == after.attempt
                seen.append(after.attempt)
    assert seen == list(range(len(seen)))


@bounded
@given(HISTORIES)
def test_nothing_that_only_a_holder_can_say_counts_from_anyone_else(history: list[Record]) -> None:
    for before, record, after in steps_of(history):
        if before is None or not all(isinstance(entry, OWN) for entry in record.entries):
            continue
        assert after is not None
        if before.holder is None or before.holder.nonce != record.writer:
            assert after == apply(before, record._replace(entries=()))


@bounded
@given(st.one_of(HISTORIES, LATE))
def test_an_entry_changes_nothing_where_it_may_not_be_said(history: list[Record]) -> None:
    for before, record, after in steps_of(history):
        if has(record, *BELONGS[record.kind]):
            continue
        if before is None:
            assert after is None
        else:
            assert after is not None
            assert after == replace(before, armed=after.armed, last=after.last)
            assert after.armed == before.armed or record.kind is Kind.TIMER
            assert after.last == before.last or record.kind is Kind.LOG


@bounded
@given(HISTORIES)
def test_a_timer_that_is_set_moves_no_run(history: list[Record]) -> None:
    for before, record, after in steps_of(history):
        if record.kind is Kind.TIMER and before is not None:
            (entry,) = record.entries
            armed = before.armed
            if before.due is not None and isinstance(entry, Offered):
                armed = not 0 < entry.cause < before.moved
            elif before.due is not None and isinstance(entry, RunCreated):
                armed = before.state == "delayed"
            assert after == replace(before, armed=armed)


@bounded
@given(HISTORIES)
def test_an_offer_of_before_the_runs_last_move_wakes_nobody(history: list[Record]) -> None:
    moved = 0
    for before, record, after in steps_of(history):
        assert after is not None
        if record.kind is Kind.READY and before is not None:
            for entry in record.entries:
                assert not (isinstance(entry, Offered) and 0 < entry.cause < moved) or after == before
        elif before is None or replace(after, last=before.last, moved=before.moved) != before:
            moved = record.seq if record.kind is Kind.LOG else moved
        assert after.moved == moved


@bounded
@given(HISTORIES)
def test_only_a_run_that_has_not_started_has_a_work_item_to_take_back(history: list[Record]) -> None:
    created: set[int] = set()
    for _, record, run in steps_of(history):
        assert run is not None
        created |= {record.seq} if record.kind is Kind.READY and has(record, RunCreated) else set()
        assert run.item in created or run.item == 0
        assert run.item == 0 or run.attempt == 0
        withdrawn = [effect.item for effect in effects(run) if isinstance(effect, Withdraw)]
        over = run.state in ("cancelled", "expired", "timed_out")
        assert withdrawn == ([run.item or None] if over else [])


@bounded
@given(HISTORIES)
def test_a_letter_is_put_while_a_run_is_dead_and_dropped_only_once_it_was(history: list[Record]) -> None:
    died = False
    for before, record, run in steps_of(history):
        assert run is not None
        died = died or any(then.state == "dead" for _, then in taken(before, record))
        follows = effects(run)
        assert any(isinstance(effect, PutLetter) for effect in follows) is (run.state == "dead")
        drops = any(isinstance(effect, DropLetter) for effect in follows)
        assert died or not drops
        if died and run.state in ENDED - {"dead"}:
            assert drops


@bounded
@given(HISTORIES)
def test_a_run_whose_cancel_was_asked_for_ends_in_no_other_way(history: list[Record]) -> None:
    for before, _, after in steps_of(history):
        assert after is not None
        if before is not None and before.cancel_requested and before.state not in ENDED and after.state in ENDED:
            assert after.state == "cancelled" or not after.cancel_requested


@bounded
@given(HISTORIES)
def test_a_held_run_changes_hands_only_after_it_was_let_go(history: list[Record]) -> None:
    letting_go = (
        Suspended, AttemptFailed, AttemptInterrupted, RunCompleted, RunDead, RunCancelled, RunTimedOut, Compensated,
    )  # fmt: skip
    for before, record, after in steps_of(history):
        if before is None or before.holder is None:
            continue
        assert after is not None
        if after.holder != before.holder:
            assert has(record, *letting_go)
        if after.holder is not None and after.holder != before.holder:
            assert after.holder.nonce == record.writer


@bounded
@given(HISTORIES)
def test_a_finished_run_has_no_slot_no_timer_no_work_item_and_waits_for_nothing(history: list[Record]) -> None:
    for _, _, after in steps_of(history):
        assert after is not None
        if after.state in ENDED:
            assert (after.holder, after.held_since, after.offered, after.armed, after.due) == (
                None, None, False, False, None,
            )  # fmt: skip
            assert (after.waits, after.expected, after.paused, after.ending) == (frozenset(), (), "", None)
            assert after.finished_at is not None
        else:
            assert (after.result, after.finished_at, after.followed) == (None, None, False)


@bounded
@given(HISTORIES)
def test_a_run_is_held_while_it_runs_and_by_nobody_else_than_who_runs_its_undos(history: list[Record]) -> None:
    for _, _, after in steps_of(history):
        assert after is not None
        assert after.holder is None or after.state in ("running", "compensating")
        assert after.holder is not None or after.state != "running"
        assert (after.holder is None) is (after.held_since is None)
        assert (after.ending is not None) is (after.state == "compensating")


@bounded
@given(HISTORIES)
def test_only_a_run_that_waits_for_something_says_so(history: list[Record]) -> None:
    for _, _, after in steps_of(history):
        assert after is not None
        waits = bool(after.waits) or after.due is not None
        assert waits or after.state not in ("delayed", "retrying", "waiting")
        assert not waits or (after.state in {*UNHELD, "compensating"} - {"queued"} and after.holder is None)
        assert after.due is not None or not (after.armed or after.state in ("delayed", "retrying"))
        assert not after.paused or after.waits
        assert not after.waits or after.state in ("waiting", "compensating")


@bounded
@given(st.one_of(HISTORIES, LATE))
def test_a_history_can_be_folded_in_two_parts_cut_anywhere(history: list[Record]) -> None:
    whole = fold(history)
    for cut in range(len(history) + 1):
        assert fold(history[cut:], fold(history[:cut])) == whole


@bounded
@given(LATE)
def test_a_run_exists_from_its_creation_on_and_keeps_its_first_sequence(history: list[Record]) -> None:
    created = [record.seq for record in history if creates(record)]
    run = fold(history)
    assert (run is not None) is bool(created)
    assert run is None or run.first == created[0]


@bounded
@given(HISTORIES)
def test_what_the_next_append_expects_is_the_last_message_on_the_log_whoever_wrote_it(history: list[Record]) -> None:
    run = fold(history)
    assert run is not None
    assert run.last == max((record.seq for record in history if record.kind is Kind.LOG), default=0)


@bounded
@given(st.one_of(HISTORIES, LATE))
def test_the_story_of_a_run_holds_the_outcomes_that_it_counts_and_no_others(history: list[Record]) -> None:
    steps, attempts = 0, 0
    for entry in story(history):
        steps += isinstance(entry, StepCompleted | StepFailed | StepVolatile | Inherited)
        attempts += isinstance(entry, AttemptStarted)
        if isinstance(entry, RunRetried) and entry.from_start:
            steps = 0
    run = fold(history)
    assert (steps, attempts) == ((0, 0) if run is None else (run.steps, run.attempt))


@bounded
@given(HISTORIES)
def test_what_follows_fits_where_the_run_stands(history: list[Record]) -> None:
    for _, _, run in steps_of(history):
        assert run is not None
        follows = effects(run)
        offers = [effect for effect in follows if isinstance(effect, Offer)]
        arms = [effect for effect in follows if isinstance(effect, Arm)]
        if run.state in ENDED or run.state == "running":
            assert offers == arms == []
            assert Cancel(run.id) not in follows
        elif run.cancel_requested and run.state in UNHELD:
            assert follows == (Cancel(run.id),)
        elif run.state == "queued":
            assert [offer.cause for offer in offers] == ([] if run.offered or run.held else [run.last])
        elif run.state in ("waiting", "compensating"):
            arrived = any(wait in run.arrived for wait in run.waits)
            idle = run.holder is None and not run.offered
            at_once = arrived or (run.state == "compensating" and not run.waits and run.due is None)
            assert len(offers) == (1 if idle and at_once else 0)
            assert [arm.due for arm in arms] == ([run.due] if run.due and not (at_once or run.armed) else [])
        elif run.state in ("retrying", "delayed"):
            assert [arm.cause for arm in arms] == ([] if run.armed else [run.last])
            assert [arm.due for arm in arms] == ([] if run.armed else [run.due])


@bounded
@given(HISTORIES)
def test_only_who_is_ready_runs_or_tries_again_at_once_has_a_slot(history: list[Record]) -> None:
    """4: finished or waiting means no slot; and a slot is given by an admission only."""
    for before, record, run in steps_of(history):
        assert run is not None
        if run.admitted:
            assert run.state in ("queued", "running", "retrying", "compensating")
            assert (before is not None and before.admitted) or has(record, Admitted)
            assert not run.held
        if run.held:
            assert run.state == "queued"
            assert not run.offered


@bounded
@given(HISTORIES)
def test_an_effect_that_was_carried_out_does_not_follow_again(history: list[Record]) -> None:
    for _, record, run in steps_of(history):
        assert run is not None
        for effect in effects(run):
            done = apply(run, trace_of(effect, run, record.seq + 1))
            assert done is not None
            assert effect not in effects(done) or isinstance(effect, REPEATABLE)


@bounded
@given(HISTORIES)
def test_once_all_that_follows_was_done_only_what_may_be_repeated_follows(history: list[Record]) -> None:
    for _, record, run in steps_of(history):
        assert run is not None
        for seq in range(record.seq + 1, record.seq + 4):
            for effect in effects(run):
                done = apply(run, trace_of(effect, run, seq))
                assert done is not None
                run = done
        assert all(isinstance(effect, REPEATABLE) for effect in effects(run))


REPEATABLE = (Withdraw, Tell, PutLetter, DropLetter)
"""Effects that leave nothing in the run's own journal."""


def trace_of(effect: Effect, run: Run, seq: int) -> Record:
    """What carrying an effect out leaves in the run's journal."""
    match effect:
        case Offer():
            return Record(seq, Kind.READY, "", (Offered("R", effect.first, effect.cause),))
        case Arm():
            return Record(seq, Kind.TIMER, "", (timer_of(effect, run),))
        case Cancel():
            return Record(seq, Kind.LOG, "", (RunCancelled(at=float(seq)),))
        case CancelChild():
            key = KEYS[CHILDREN.index(effect.child)]
            return Record(seq, Kind.IN, "", (ChildEnded(key, float(seq), effect.child, "cancelled"),))
        case TriggerHook():
            return Record(seq, Kind.IN, "", (HookTriggered(effect.on, float(seq), "H"),))
    return Record(seq, Kind.IN, "", ())


def timer_of(effect: Arm, run: Run) -> Entry:
    """A delay is over when the run's creation comes, unless the log has it; everything else by an offer."""
    return copy_of(1.0) if run.state is State.DELAYED and not run.last else Offered("R", effect.first, effect.cause)


# --- no run is stuck --------------------------------------------------------------------------------------------------


@bounded
@given(HISTORIES)
def test_a_live_run_is_in_somebodys_hands_or_waits_for_something_or_something_follows(history: list[Record]) -> None:
    for _, _, run in steps_of(history):
        assert run is not None
        hands = run.holder is not None or (run.offered and claim(run, holder_alive=False) is not Claim.SETTLE)
        waits = run.state in ("delayed", "retrying", "waiting", "compensating") and (
            (run.armed and run.due is not None) or bool(run.waits - run.arrived)
        )
        conducted = run.state == "queued" and bool(run.held)
        assert run.state in ENDED or hands or waits or conducted or effects(run)


class World:
    """Servers, workers and outside world that go on from where a history ends: they do what they are told, no more."""

    def __init__(self, history: list[Record]) -> None:
        self.seq = history[-1].seq
        self.timer: Entry | None = None
        """What fires: the last timer that was set takes the place of that before."""
        run = fold(history)
        assert run is not None
        self.run = run
        for record in history:
            self._remember(record)

    def _remember(self, record: Record) -> None:
        if record.kind is Kind.TIMER and isinstance(record.entries[0], Offered | RunCreated):
            self.timer = record.entries[0]

    def store(self, kind: Kind, *entries: Entry, writer: str = "") -> None:
        self.seq += 1
        record = Record(self.seq, kind, writer, entries)
        self._remember(record)
        moved = apply(self.run, record)
        assert moved is not None
        self.run = moved

    def go_on(self) -> bool:
        """One thing that happens by itself; False: nothing does."""
        run = self.run
        follows = [effect for effect in effects(run) if not isinstance(effect, REPEATABLE)]
        if follows:
            record = trace_of(follows[0], run, self.seq + 1)
            self.store(record.kind, *record.entries)
        elif run.holder is not None:
            self._hold(run)
        elif run.offered and claim(run, holder_alive=False) is not Claim.SETTLE:
            self._claim(run)
        elif run.held:  # whoever conducts lets it go
            self.store(Kind.READY, Offered("R", run.first, run.last))
        elif run.due is not None and run.armed and self.timer is not None:
            self.store(Kind.READY, self.timer)
        elif missing := sorted(run.waits - run.arrived):
            self.store(Kind.IN, arrival_of(missing[0], self.seq))
        return self.run != run

    def _claim(self, run: Run) -> None:
        nonce = f"m{self.seq}"
        if claim(run, holder_alive=False) is Claim.START:
            self.store(Kind.LOG, AttemptStarted(1.0, run.attempt + 1, "w", nonce, "i"), writer=nonce)
        else:
            self.store(Kind.LOG, AttemptResumed(1.0, run.attempt, "w", nonce, "i"), writer=nonce)

    def _hold(self, run: Run) -> None:
        """The code has nothing left to do but to undo."""
        assert run.holder is not None
        undone = [StepCompleted(f"{key}/undo", 1.0, 0.1, b"v") for key in reversed(run.undos)]
        if run.state is State.COMPENSATING:
            self.store(Kind.LOG, *undone, Compensated(1.0), writer=run.holder.nonce)
        else:
            self.store(Kind.LOG, RunCompleted(1.0, b"r"), writer=run.holder.nonce)


def arrival_of(wait: str, seq: int) -> Entry:
    """What ends a wait."""
    match wait.partition(":"):
        case ("pause", _, key):
            return Resolved(key, 1.0, "run")
        case ("signal", _, numbered):
            return Signalled(f"t{seq}", 1.0, numbered.partition("#")[0], b"v")
        case ("T", _, _):
            return TokenCompleted("T", 1.0)
        case ("E", _, _):
            return EventArrived("E", 1.0, 1, "orders.paid", b"v")
    return ChildEnded(KEYS[CHILDREN.index(wait)], 1.0, wait, "completed")


@bounded
@given(HISTORIES)
def test_whatever_has_happened_to_a_run_it_comes_to_its_end_once_all_that_it_waits_for_has_come(
    history: list[Record],
) -> None:
    for cut in range(1, len(history) + 1, 2):
        world = World(history[:cut])
        for _ in range(30):
            if not world.go_on():
                break
        assert world.run.state in ENDED
        assert not [effect for effect in effects(world.run) if not isinstance(effect, REPEATABLE)]


# --- undos ------------------------------------------------------------------------------------------------------------


@bounded
@given(HISTORIES)
def test_no_undo_is_lost_or_doubled(history: list[Record]) -> None:
    """What is to be undone is what completed and was not undone; each end but a kill and a success comes behind it."""
    run: Run | None = None
    owed: list[str] = []
    for record in history:
        for entry, after in taken(run, record):
            before, run = run, after
            match entry:
                case StepCompleted(undo=None) if entry.key.removesuffix("/undo") in owed and entry.key.endswith(
                    "/undo"
                ):
                    owed.remove(entry.key.removesuffix("/undo"))
                case StepCompleted(undo=bytes()) if entry.key not in owed:
                    owed.append(entry.key)
                case RunRetried(from_start=True):
                    owed.clear()
            assert list(after.undos) == owed
            if before is not None and before.state not in ENDED and after.state in ENDED - {"completed"}:
                assert not owed or (isinstance(entry, RunCancelled) and entry.killed)
        run = apply(run, record)


@bounded
@given(HISTORIES)
def test_what_is_to_be_undone_is_known_and_what_was_undone_is_not(history: list[Record]) -> None:
    run, recall = fold(history), recall_of(history)
    assert run is not None
    for key in UNDOABLE:
        assert (recall.take(key) is not None) is (key in run.undos)


# --- recall -----------------------------------------------------------------------------------------------------------


def recall_of(history: list[Record]) -> Recall:
    recall = Recall()
    for entry in story(history):
        recall.add(entry)
    return recall


AWAITED = ("/token#1", "/event#1", *KEYS)


@bounded
@given(HISTORIES)
def test_each_wait_is_resolved_once(history: list[Record]) -> None:
    """However often asked and whatever arrives later; but what the holder recorded goes before what arrived."""
    recall = Recall()
    known: dict[str, Outcome] = {}
    arrived: dict[str, Outcome] = {}
    for entry in story(history):
        recall.add(entry)
        match entry:
            case RunRetried(from_start=True):
                known.clear()
            case AttemptFailed():
                for key in entry.fatal:
                    known.pop(key, None)
            case StepCompleted() | StepFailed() | Inherited() if isinstance(
                known.get(entry.key), ChildEnded | TokenCompleted | EventArrived
            ):
                del known[entry.key]
            case ChildEnded() if entry.child not in arrived:
                arrived[entry.child] = entry
            case TokenCompleted() if "T" not in arrived:
                arrived["T"] = entry
            case EventArrived() if "E" not in arrived:
                arrived["E"] = entry
        for key in AWAITED:
            found = recall.take(key)
            assert found == recall.take(key)
            assert key not in known or found == known[key]
            if found is not None:
                known[key] = found
        assert {wait: recall.arrival(wait) for wait in arrived} == arrived


@bounded
@given(HISTORIES)
def test_the_run_and_its_recall_agree_on_which_signal_comes_next(history: list[Record]) -> None:
    """Else a run would wait for ever for a signal that it has, or be woken for ever by one that it has not."""
    run, recall = fold(history), recall_of(history)
    assert run is not None
    for name in ("approve", "reject"):
        wait = recall.next_signal(name)
        assert (wait in run.arrived) is (recall.take_signal(name) is not None)


@bounded
@given(HISTORIES)
def test_the_rules_are_pure(history: list[Record]) -> None:
    assert fold(history) == fold(history)
    run = fold(history)
    assert run is not None
    assert effects(run) == effects(run)


def test_the_random_histories_reach_every_state_that_entries_lead_to() -> None:
    """Else the properties above would hold over too little."""
    seen: Counter[str] = Counter()
    attempts: set[int] = set()

    @settings(bounded)
    @given(HISTORIES)
    def walk(history: list[Record]) -> None:
        for before, record, run in steps_of(history):
            assert run is not None
            attempts.add(run.attempt)
            seen[run.state] += 1
            seen.update(type(entry).__name__ for entry, _ in taken(before, record))
            seen["paused"] += bool(run.paused)
            seen["paused while compensating"] += bool(run.paused) and run.state == "compensating"
            seen["poisonous undos"] += "pause:compensation" in run.waits
            held = before.holder.nonce if before is not None and before.holder is not None else ""
            seen["zombie"] += bool(held) and record.kind is Kind.LOG and record.writer != held
            seen[f"astray {record.kind}"] += not has(record, *BELONGS[record.kind])
            seen["stale"] += before is not None and any(
                isinstance(entry, Offered) and 0 < entry.cause < before.moved for entry in record.entries
            )

    walk()
    assert {state for state in State if not seen[state]} == set()
    assert {entry.__name__ for entry in ENTRIES if seen[entry.__name__] < 5} == set()
    assert max(attempts) >= 4
    rare = (
        "zombie", "stale", "astray ready", "astray in", "astray timer", "paused", "paused while compensating",
        "poisonous undos",
    )  # fmt: skip
    assert {name: seen[name] for name in rare if seen[name] < 10} == {}
