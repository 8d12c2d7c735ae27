"""From changes to rows, pure: what a batch of the journal, or of log lines, writes into the tables of schema.sql.

A run has one folded row in a batch, however often it changed. Its columns come in three kinds: those that its creation
sets for good, those that are set anew with each row (so that an operator's retry clears them), and `KEPT`, which change
rarely and are None where the batch does not say.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from sys import intern
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from holdfast.core.entries import (
    AttemptFailed,
    AttemptInterrupted,
    AttemptResumed,
    AttemptStarted,
    ChildEnded,
    ChildTriggered,
    Compensated,
    Diverged,
    Entry,
    EventArrived,
    HookTriggered,
    Inherited,
    Resolved,
    RunCancelled,
    RunCompleted,
    RunDead,
    RunExpired,
    RunTimedOut,
    StepCompleted,
    StepFailed,
    StepRetried,
    StepVolatile,
    Suspended,
    TokenCompleted,
    WaitStarted,
)
from holdfast.core.lifecycle import UNDO, taken
from holdfast.core.model import ErrorInfo, Instant, Origin, Run, Seconds, State
from holdfast.core.pending import brief
from holdfast.core.tree import NodeState
from holdfast.wire.api import AuditEntry, LogBatch
from holdfast.wire.render import render_json
from holdfast_daemon.ledger import Change
from holdfast_daemon.projection.patterns import pattern, place

BEHIND = " behind"
"""What ends `origin_how` where a fork parts behind `origin_key`, not before it."""


class RunRow(NamedTuple):
    """A row of `runs`; the names are its columns, in order."""

    id: str
    task: str
    queue: str
    priority: int
    state: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    took: int | None
    due: datetime | None
    moved_at: datetime | None
    ready_at: datetime | None
    attempt: int
    steps: int
    worker: str | None
    parent: str
    parent_key: str
    source: str
    tags: tuple[str, ...]
    error_type: str
    error: str
    traceback: str
    error_value: bytes | None
    pattern: str
    place: str
    reason: str
    last_key: str
    payload: bytes | None
    result: bytes | None
    first: int
    paused: str
    waits: str
    done: float | None
    total: float | None
    doing: str
    deadline: datetime | None
    expires: datetime | None
    origin: str
    origin_how: str
    origin_key: str
    code: str
    ending: str
    metadata: str
    hook: str | None
    fold: bytes | None


FIXED = frozenset(
    {
        "id",
        "task",
        "queue",
        "priority",
        "created_at",
        "parent",
        "parent_key",
        "source",
        "tags",
        "first",
        "origin",
        "origin_how",
        "origin_key",
    }
)
"""Columns that a run's creation sets for good."""

KEPT = frozenset({"moved_at", "ready_at", "worker", "payload", "hook"})
"""Columns where None says: as it was."""


class AttemptRow(NamedTuple):
    """A row of `attempts`."""

    run_id: str
    seq: int
    happened_at: datetime
    attempt: int
    what: str
    worker: str
    error_type: str
    error: str
    reason: str


class CheckpointRow(NamedTuple):
    """A row of `checkpoints`."""

    run_id: str
    seq: int
    key: str
    state: str
    attempt: int
    started_at: datetime | None
    ended_at: datetime
    value: bytes | None
    error_type: str
    error: str
    note: str


class LogLineRow(NamedTuple):
    """A row of `logs`."""

    run_id: str
    task: str
    attempt: int
    seq: int
    line: int
    written_at: datetime
    level: int
    stream: str
    text: str
    key: str


class AuditRow(NamedTuple):
    """A row of `audit`; the names are its columns, in order."""

    seq: int
    done_at: datetime
    who: str
    via: str
    host: str
    address: str
    action: str
    kind: str
    targets: list[str]
    meant: int
    accepted: int
    refused: int
    why: str
    chosen: str
    reason: str
    command: str


class Rows(NamedTuple):
    """What one transaction writes."""

    created: list[RunRow]
    changed: list[RunRow]
    attempts: list[AttemptRow]
    checkpoints: list[CheckpointRow]
    logs: list[LogLineRow]
    audit: list[AuditRow]

    @classmethod
    def none(cls) -> Rows:
        """Nothing yet."""
        return cls([], [], [], [], [], [])


class Standing(NamedTuple):
    """How many runs of a queue are in a state that is not over."""

    queue: str
    state: State
    runs: int
    paused: int = 0
    """How many of them wait for an operator."""


class Ready(NamedTuple):
    """A queued run."""

    run: str
    queue: str
    since: Instant
    task: str = ""


class LogMessage(NamedTuple):
    """A stored message of the log stream, read."""

    seq: int
    time: Instant
    batch: LogBatch


class AuditMessage(NamedTuple):
    """A stored message of the audit stream, read."""

    seq: int
    time: Instant
    entry: AuditEntry


def journal_rows(changes: Iterable[Change]) -> Rows:
    """The rows of a batch of the journal."""
    rows = Rows.none()
    drafts: dict[str, _Draft] = {}
    for change in changes:
        draft = drafts.get(change.run_id)
        if draft is None:
            draft = drafts[change.run_id] = _Draft(change)
        draft.take(change)
        for entry, run in accepted(change):
            _tell(rows, change, entry, run)
    for draft in drafts.values():
        (rows.created if draft.new else rows.changed).append(draft.row())
    return rows


def log_rows(messages: Iterable[LogMessage]) -> Rows:
    """The rows of a batch of log lines."""
    lines = [
        LogLineRow(
            batch.run,
            batch.task,
            batch.attempt,
            seq,
            number,
            utc(line.at),
            line.level,
            line.stream,
            line.text,
            line.key,
        )
        for seq, _, batch in messages
        for number, line in enumerate(batch.lines)
    ]
    return Rows.none()._replace(logs=lines)


def audit_rows(messages: Iterable[AuditMessage]) -> Rows:
    """The rows of a batch of audit entries."""
    entries = [
        AuditRow(
            seq,
            utc(entry.at),
            entry.who,
            entry.via,
            entry.host,
            entry.address,
            entry.action,
            entry.kind,
            list(entry.targets),
            entry.count,
            entry.accepted,
            entry.refused,
            entry.why,
            entry.filter,
            entry.reason,
            entry.command,
        )
        for seq, _, entry in messages
    ]
    return Rows.none()._replace(audit=entries)


def accepted(change: Change) -> Iterator[tuple[Entry, Run]]:
    """Those entries of a change that the fold took, each with the run after it; no repetitions."""
    before, record = change.before, change.record
    if before is not None and len(record.entries) == 1 and change.after.moved == record.seq:
        yield record.entries[0], change.after  # it moved the run, so it counted: most messages, and not folded twice
        return
    for entry, run in taken(before, record):
        if before is None or not _repeated(before, entry):
            yield entry, run
        before = run


def _repeated(run: Run, entry: Entry) -> bool:
    """Whether the run was told the same before: what comes in from outside counts the first time only."""
    match entry:
        case ChildEnded():
            return entry.child in run.arrived
        case TokenCompleted():
            return entry.token in run.arrived
        case EventArrived():
            return entry.wait in run.arrived
    return False


class _Draft:
    """A run's row while the batch goes on."""

    def __init__(self, change: Change) -> None:
        self.new = change.before is None
        self._state = None if change.before is None else change.before.state
        self._moved_at: Instant | None = None
        self._worker: str | None = None
        self._payload: bytes | None = None
        self._hook: str | None = None
        self._ready_at: datetime | None = None
        self._run = change.after

    def take(self, change: Change) -> None:
        self._run = run = change.after
        if run.state is not self._state:
            self._state, self._moved_at = run.state, change.time
        if run.holder is not None:
            self._worker = run.holder.worker
        elif change.record.writer:
            self._worker = _claimed(change) or self._worker
        if run.payload:
            self._payload = run.payload
        self._ready_at = _ready_at(run) or self._ready_at
        if run.followed is not (change.before is not None and change.before.followed):
            self._hook = _followed(change) if run.followed else ""

    def row(self) -> RunRow:
        run, error = self._run, self._run.error or _NO_ERROR
        origin, progress = run.origin or _NO_ORIGIN, run.progress
        return RunRow(
            id=run.id,
            task=run.task,
            queue=run.queue,
            priority=run.priority,
            state=run.state.value,
            created_at=utc(run.created_at),
            started_at=_utc(run.started_at),
            finished_at=_utc(run.finished_at),
            took=_took(run),
            due=_utc(run.due),
            moved_at=_utc(self._moved_at),
            ready_at=self._ready_at,
            attempt=run.attempt,
            steps=run.steps,
            worker=self._worker,
            parent="" if run.parent is None else run.parent.run,
            parent_key="" if run.parent is None else run.parent.key,
            source=run.source,
            tags=run.tags,
            error_type=error.type,
            error=error.message,
            traceback=error.traceback,
            error_value=error.value,
            pattern=_pattern(run),
            place=place(error.traceback),
            reason=run.reason,
            last_key=run.last_key,
            payload=self._payload,
            result=run.result,
            first=run.first,
            paused=run.paused,
            waits=brief(run),
            done=None if progress is None else progress.done,
            total=None if progress is None else progress.total,
            doing="" if progress is None else progress.text,
            deadline=_utc(run.deadline),
            expires=_utc(run.expires),
            origin=origin.run,
            origin_how=origin.how + (BEHIND if origin.behind else ""),
            origin_key=origin.key,
            code=run.code,
            ending="" if run.ending is None else run.ending.value,
            metadata=metadata_json(run.metadata),
            hook=self._hook if self._hook is not None or not self.new else "",
            fold=None if run.final else pack(run),
        )


_NO_ERROR, _NO_ORIGIN = ErrorInfo("", ""), Origin("", "")


def _took(run: Run) -> int | None:
    """Start to end in microseconds, as the difference of the two columns."""
    if run.started_at is None or run.finished_at is None:
        return None
    return (utc(run.finished_at) - utc(run.started_at)) // timedelta(microseconds=1)


def _pattern(run: Run) -> str:
    """Of its error, or else of why it is dead; empty where it has no error."""
    if run.error is None and run.state is not State.DEAD:
        return ""
    return pattern(run.reason if run.error is None else run.error.message)


def _ready_at(run: Run) -> datetime | None:
    """When a delayed run was to be ready first; None: it was so from the beginning, or this tells of a later time."""
    later = run.scheduled_at > run.created_at
    return utc(run.scheduled_at) if later and (run.started_at is None or run.scheduled_at <= run.started_at) else None


def metadata_json(metadata: Mapping[str, bytes]) -> str:
    """A run's metadata as JSON text, indented; empty where there is none."""
    if not metadata:
        return ""
    shown = {name: render_json(value).replace("\n", "\n  ") for name, value in metadata.items()}
    return "{\n" + ",\n".join(f"  {json.dumps(name, ensure_ascii=False)}: {shown[name]}" for name in shown) + "\n}"


def _followed(change: Change) -> str:
    """The run that follows this one's ending up."""
    return next((entry.run for entry in change.record.entries if isinstance(entry, HookTriggered)), "")


def _claimed(change: Change) -> str | None:
    """Who began in a message in which it also ended."""
    for entry, run in accepted(change):
        if isinstance(entry, AttemptStarted | AttemptResumed) and run.holder is not None:
            return run.holder.worker
    return None


def _tell(rows: Rows, change: Change, entry: Entry, run: Run) -> None:
    """Add what an accepted entry says of attempts and checkpoints."""
    match entry:
        case AttemptStarted():
            _attempt(rows, change, run, entry.at, "started", worker=entry.worker)
        case AttemptResumed():
            what = "compensating" if run.state is State.COMPENSATING else "resumed"
            _attempt(rows, change, run, entry.at, what, worker=entry.worker)
        case Suspended():
            _attempt(rows, change, run, entry.at, "paused" if entry.paused else "suspended", reason=entry.paused)
        case AttemptFailed():
            _attempt(rows, change, run, entry.at, "failed" if entry.spent else "snoozed", error=entry.error)
        case AttemptInterrupted():
            _attempt(rows, change, run, entry.at, "interrupted", reason=entry.reason)
        case RunCompleted():  # a cancel that came before it wins
            _attempt(rows, change, run, entry.at, run.state.value)
        case RunDead():
            _attempt(rows, change, run, entry.at, "dead", error=entry.error, reason=entry.reason)
        case RunTimedOut():
            _attempt(rows, change, run, entry.at, "timed_out", error=entry.error, reason=entry.reason)
        case RunExpired():
            _attempt(rows, change, run, entry.at, "expired", reason=entry.reason)
        case RunCancelled():
            _attempt(rows, change, run, entry.at, "killed" if entry.killed else "cancelled", reason=entry.reason)
        case Compensated():
            _attempt(rows, change, run, entry.at, "compensated")
        case _:
            _outcome(rows, change, entry, run)


def _outcome(rows: Rows, change: Change, entry: Entry, run: Run) -> None:
    """Add what an accepted entry says of checkpoints."""
    match entry:
        case StepCompleted():
            _checkpoint(rows, change, run, entry.key, NodeState.OK, entry.at, entry.took, value=entry.value)
            if entry.key.endswith(UNDO):
                _checkpoint(rows, change, run, entry.key.removesuffix(UNDO), NodeState.UNDONE, entry.at, None)
        case StepFailed():
            _checkpoint(rows, change, run, entry.key, NodeState.FAILED, entry.at, entry.took, error=entry.error)
        case StepVolatile():
            _checkpoint(rows, change, run, entry.key, NodeState.VOLATILE, entry.at, entry.took, note=entry.reason)
        case StepRetried():
            _checkpoint(
                rows,
                change,
                run,
                entry.key,
                NodeState.RETRYING,
                entry.at,
                entry.took,
                error=entry.error,
                note=f"try {entry.number}",
            )
        case ChildTriggered():
            _checkpoint(rows, change, run, entry.key, NodeState.WAITING, entry.at, 0.0, note=f"child {entry.child}")
        case WaitStarted():
            note = f"{entry.kind} {entry.subject or entry.wait}".rstrip()
            state = NodeState.OK if entry.kind == "issued" else NodeState.WAITING
            _checkpoint(rows, change, run, entry.key, state, entry.at, 0.0, note=note)
        case Inherited():
            state = NodeState.OK if entry.error is None else NodeState.FAILED
            note = "inherited, edited" if entry.edited else "inherited"
            _checkpoint(
                rows, change, run, entry.key, state, entry.at, entry.took,
                value=entry.value, error=entry.error, note=note,
            )  # fmt: skip
        case Diverged():
            for key in entry.missing:
                _checkpoint(rows, change, run, key, NodeState.ORPHANED, entry.at, None, note=f"diverged at {entry.key}")
        case Resolved():
            note = f"answered: {entry.action}{f' by {entry.by}' if entry.by else ''}"
            _checkpoint(rows, change, run, entry.key, NodeState.PAUSED, entry.at, None, value=entry.value, note=note)
        case ChildEnded() | TokenCompleted() | EventArrived():
            _arrival(rows, change, entry, run)


def _arrival(rows: Rows, change: Change, entry: ChildEnded | TokenCompleted | EventArrived, run: Run) -> None:
    """Add how something outside came out. Which checkpoints waited for a token or event, their own rows say."""
    error = None if isinstance(entry, EventArrived) else entry.error
    failed = error is not None or (isinstance(entry, ChildEnded) and entry.state != State.COMPLETED)
    match entry:
        case ChildEnded():
            key, note = entry.key, f"child {entry.child}"
        case TokenCompleted():
            key, note = "", f"token {entry.token}"
        case EventArrived():
            key, note = "", f"event {entry.subject}"
    state = NodeState.FAILED if failed else NodeState.OK
    _checkpoint(rows, change, run, key, state, entry.at, None, value=entry.value, error=error, note=note)


def _attempt(
    rows: Rows,
    change: Change,
    run: Run,
    at: Instant,
    what: str,
    *,
    worker: str = "",
    error: ErrorInfo | None = None,
    reason: str = "",
) -> None:
    told = error or _NO_ERROR
    rows.attempts.append(
        AttemptRow(run.id, change.record.seq, utc(at), run.attempt, what, worker, told.type, told.message, reason)
    )


def _checkpoint(
    rows: Rows,
    change: Change,
    run: Run,
    key: str,
    state: NodeState,
    at: Instant,
    took: Seconds | None,
    *,
    value: bytes | None = None,
    error: ErrorInfo | None = None,
    note: str = "",
) -> None:
    told = error or _NO_ERROR
    began = None if took is None else utc(at - took)
    rows.checkpoints.append(
        CheckpointRow(
            run.id,
            change.record.seq,
            key,
            state.value,
            run.attempt,
            began,
            utc(at),
            value,
            told.type,
            told.message,
            note,
        )
    )


# --- times and folds ------------------------------------------------------------------------------------------------

EPOCH = datetime(1970, 1, 1)
_LATEST = datetime(9999, 12, 31)


def utc(at: Instant) -> datetime:
    """An instant as the tables hold it: naive UTC, to the microsecond; clamped to years 1 to 9999."""
    try:
        return EPOCH + timedelta(microseconds=round(at * 1e6))
    except (OverflowError, ValueError):
        return _LATEST if at > 0 else EPOCH


def instant(at: datetime) -> Instant:
    """A time of the tables as an instant; `utc` gives the same time again."""
    return (at - EPOCH) // timedelta(microseconds=1) / 1e6


def _utc(at: Instant | None) -> datetime | None:
    return None if at is None else utc(at)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Run).decode


def pack(run: Run) -> bytes:
    """A live run's fold, without what other columns hold."""
    return _encode(replace(run, payload=b"", result=None, error=None, tags=()))


def unpack(fold: bytes, *, tags: Iterable[str], error: ErrorInfo | None) -> Run:
    """Raises: msgspec.DecodeError: the fold is not of this version."""
    run = _decode(fold)
    return replace(run, task=intern(run.task), queue=intern(run.queue), tags=tuple(tags), error=error)
