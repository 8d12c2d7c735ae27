"""The invariants of BEHAVIOURS over random histories, with illegal entries and with what workers wrote too late."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from holdfast.core.effects import Arm, Cancel, DropLetter, Offer, PutLetter, Withdraw, effects
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
from holdfast.core.lifecycle import Kind, Record, apply, fold, story
from holdfast.core.model import ErrorInfo, Run, State

ERROR = ErrorInfo(type="payments.CardDeclined", message="no")
KEYS = ("/a#1", "/b#1", "/c#1")
CHILDREN = ("A", "B", "C")
"""Ids of child runs, one for each key."""
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


LIKELY = {
    State.DELAYED: [1, 1, 1, 15, 18],
    State.QUEUED: [2, 2, 2, 2, 3, 3, 3, 3, 1, 18, 14, 15],
    State.RUNNING: [4, 5, 5, 6, 7, 8, 9, 10, 10, 10, 11, 11, 11, 12, 12, 12, 12, 13, 14, 15, 18, 19, 19],
    State.WAITING: [1, 1, 19, 19, 19, 19, 15, 18],
    State.RETRYING: [1, 1, 1, 2, 20, 20, 15, 18],
    State.DEAD: [16, 16, 16, 17, 1, 2],
    State.FAILED: [16, 16, 1],
    State.CANCELLED: [16, 16, 1, 2],
    State.COMPLETED: [16, 1, 18, 13],
}
"""Moves that keep a history going, by state."""


def entry_of(move: Move, what: int, run: Run | None, seq: int, nonce: str) -> Entry:
    at, key, child = float(seq), KEYS[move.key], CHILDREN[move.key]
    attempt = run.attempt if run is not None else 0
    match what:
        case 0:
            return RunCreated(run="R", at=at, task="t", payload=b"", due=at + 5 if move.flag else None)
        case 1 | 20:
            last = run.last if run is not None else 0
            return Offered(run="R", first=1, cause=max(1, last - 3) if move.number else last if move.flag else 0)
        case 2:
            return AttemptStarted(
                at=at, attempt=attempt + 1 + move.number, worker="w", nonce=nonce, item="i" if move.flag else ""
            )
        case 3:
            return AttemptResumed(at=at, attempt=attempt + move.number, worker="w", nonce=nonce, item="i")
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
            return ChildTriggered(key=key, at=at, child=child, task="t")
        case 10:
            return Suspended(at=at, waits=(child, CHILDREN[0]))
        case 11:
            return AttemptFailed(at=at, error=ERROR, due=at + 5, spent=move.flag)
        case 12:
            return AttemptInterrupted(at=at, reason="worker died", polite=move.flag)
        case 13:
            return RunCompleted(at=at, result=b"r")
        case 14:
            return RunDead(at=at, error=ERROR, reason="aborted")
        case 15:
            return RunCancelled(at=at, created=RunCreated(run="R", at=at, task="t", payload=b"") if move.flag else None)
        case 16:
            return RunRetried(at=at, from_start=move.flag)
        case 17:
            return LetterDropped(at=at)
        case 18:
            return CancelRequested(at=at)
        case _:
            return ChildEnded(key=key, at=at, child=child, state="completed")


def what_of(move: Move, run: Run | None) -> int:
    likely = LIKELY.get(run.state, []) if run is not None and move.likely else []
    return likely[move.what % len(likely)] if likely else move.what % 21


def record_of(moves: list[Move], run: Run | None, seq: int) -> Record:
    """One stored message: its first move says where it is stored and who wrote it."""
    first = moves[0]
    held = run.holder.nonce if run is not None and run.holder is not None else ""
    whats = [what_of(move, run) for move in moves]
    claim = f"n{seq}"
    writer = [claim if whats[0] in (2, 3) else held, "zombie", ""][first.writer]
    entries = [entry_of(move, what, run, seq, claim) for move, what in zip(moves, whats, strict=True)]
    if first.astray is not None:
        return Record(seq, first.astray, "", (entries[0],))
    match entries[0]:
        case Offered() if whats[0] == 20:
            return Record(seq, Kind.TIMER, "", (entries[0],))
        case RunCreated() if entries[0].due is not None and first.key == 0:
            return Record(seq, Kind.TIMER, "", (entries[0],))
        case RunCreated() if first.key == 1:
            return Record(seq, Kind.LOG, "", (entries[0],))
        case RunCreated() | Offered():
            return Record(seq, Kind.READY, "", (entries[0],))
        case CancelRequested() | ChildEnded():
            return Record(seq, Kind.IN, "", (entries[0],))
    return Record(seq, Kind.LOG, writer, tuple(entries))


def history_of(drawn: bytes, *, created: bool = True) -> list[Record]:
    """The stored messages of a run, with gaps between their sequences; the first one creates it if so asked."""
    first, *rest = moves_of(drawn)
    messages = [
        [first._replace(what=0, likely=False, astray=None) if created else first._replace(what=first.what % 21)]
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
    max_examples=120,
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
    Kind.IN: (CancelRequested, ChildEnded),
    Kind.TIMER: (RunCreated,),
    Kind.LOG: (
        RunCreated, AttemptStarted, AttemptResumed, StepStarted, StepCompleted, StepFailed, StepRetried, StepVolatile,
        ChildTriggered, Suspended, AttemptFailed, AttemptInterrupted, RunCompleted, RunDead, RunCancelled, RunRetried,
        LetterDropped, CancelRequested, ChildEnded,
    ),
}  # fmt: skip
"""What may be said where, by hand from DESIGN 2: a work item, what others tell a run, a delayed trigger, the log."""


def has(record: Record, *kinds: type[Entry]) -> bool:
    """Whether it says something of these kinds where that may be said."""
    return any(isinstance(entry, kinds) and isinstance(entry, BELONGS[record.kind]) for entry in record.entries)


def creates(record: Record) -> bool:
    copies = (entry for entry in record.entries if isinstance(entry, RunCancelled) and entry.created is not None)
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
            assert before.state in ("dead", "failed", "cancelled") or after.state == before.state
            assert record.kind is Kind.LOG


@bounded
@given(HISTORIES)
def test_attempt_numbers_rise_by_exactly_one(history: list[Record]) -> None:
    seen = [0]
    for _, record, after in steps_of(history):
        assert after is not None
        if after.attempt != seen[-1]:
            assert has(record, AttemptStarted)
            assert any(isinstance(entry, AttemptStarted) and entry.attempt == after.attempt for entry in record.entries)
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
            backing_off = before.state in ("delayed", "retrying")
            stale = any(isinstance(entry, Offered) and 0 < entry.cause < before.moved for entry in record.entries)
            assert after == replace(before, armed=not stale if backing_off else before.armed)


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
        assert withdrawn == ([run.item or None] if run.state == "cancelled" else [])


@bounded
@given(HISTORIES)
def test_a_letter_is_put_while_a_run_is_dead_and_dropped_only_once_it_was(history: list[Record]) -> None:
    died = False
    for _, _, run in steps_of(history):
        assert run is not None
        died = died or run.state == "dead"
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
    letting_go = (Suspended, AttemptFailed, AttemptInterrupted, RunCompleted, RunDead, RunCancelled)
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
def test_a_finished_run_has_no_slot_no_timer_and_no_work_item(history: list[Record]) -> None:
    for _, _, after in steps_of(history):
        assert after is not None
        if after.state in ENDED:
            assert (after.holder, after.offered, after.armed, after.due) == (None, False, False, None)
            assert (after.waits, after.finished_at is None) == (frozenset(), False)
        else:
            assert (after.result, after.finished_at) == (None, None)


@bounded
@given(HISTORIES)
def test_a_run_is_running_exactly_while_somebody_holds_it(history: list[Record]) -> None:
    for _, _, after in steps_of(history):
        assert after is not None
        assert (after.state == "running") is (after.holder is not None)


@bounded
@given(HISTORIES)
def test_a_run_has_a_due_time_exactly_while_it_is_delayed_or_retrying(history: list[Record]) -> None:
    for _, _, after in steps_of(history):
        assert after is not None
        assert (after.state in ("delayed", "retrying")) is (after.due is not None)
        assert after.due is not None or not after.armed
        assert after.state == "waiting" or not after.waits


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
        steps += isinstance(entry, StepCompleted | StepFailed | StepVolatile)
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
            assert [offer.cause for offer in offers] == ([] if run.offered else [run.last])
        elif run.state == "waiting":
            arrived = any(child in run.arrived for child in run.waits)
            assert len(offers) == (1 if arrived and not run.offered else 0)
        elif run.state in ("retrying", "delayed"):
            assert [arm.cause for arm in arms] == ([] if run.armed else [run.last])
            assert [arm.due for arm in arms] == ([] if run.armed else [run.due])


@bounded
@given(HISTORIES)
def test_an_effect_that_was_carried_out_does_not_follow_again(history: list[Record]) -> None:
    for _, record, run in steps_of(history):
        assert run is not None
        for effect in effects(run):
            done = apply(run, trace_of(effect, record.seq + 1))
            assert done is not None
            assert effect not in effects(done) or not isinstance(effect, Offer | Arm | Cancel)


def trace_of(effect: object, seq: int) -> Record:
    """What carrying an effect out leaves in the run's journal."""
    match effect:
        case Offer():
            return Record(seq, Kind.READY, "", (Offered("R", effect.first, effect.cause),))
        case Arm():
            return Record(seq, Kind.TIMER, "", (Offered("R", effect.first, effect.cause),))
        case Cancel():
            return Record(seq, Kind.LOG, "", (RunCancelled(at=float(seq)),))
    return Record(seq, Kind.IN, "", ())


@bounded
@given(HISTORIES)
def test_the_rules_are_pure(history: list[Record]) -> None:
    assert fold(history) == fold(history)
    run = fold(history)
    assert run is not None
    assert effects(run) == effects(run)


def test_the_random_histories_reach_every_state_that_entries_lead_to() -> None:
    """Else the properties above would hold over too little."""
    reached: set[str] = set()
    attempts: set[int] = set()
    zombies = 0
    astray: dict[Kind, int] = dict.fromkeys(Kind, 0)
    stale = 0

    @settings(bounded)
    @given(HISTORIES)
    def walk(history: list[Record]) -> None:
        nonlocal zombies, stale
        for before, record, run in steps_of(history):
            assert run is not None
            reached.add(run.state)
            attempts.add(run.attempt)
            held = before.holder.nonce if before is not None and before.holder is not None else ""
            zombies += bool(held) and record.kind is Kind.LOG and record.writer != held
            astray[record.kind] += not has(record, *BELONGS[record.kind])
            stale += before is not None and any(
                isinstance(entry, Offered) and 0 < entry.cause < before.moved for entry in record.entries
            )

    walk()
    assert reached == {
        "delayed", "queued", "running", "waiting", "retrying", "completed", "failed", "dead", "cancelled",
    }  # fmt: skip
    assert max(attempts) >= 4
    assert zombies > 50
    assert min(astray[kind] for kind in (Kind.READY, Kind.IN, Kind.TIMER)) > 30
    assert stale > 30
