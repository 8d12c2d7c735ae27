"""Journals for tests: what clients and workers would store for some runs, message by message."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from holdfast.bus.ports import Bus
from holdfast.core import ids
from holdfast.core.entries import (
    Admitted,
    AttemptFailed,
    AttemptInterrupted,
    AttemptResumed,
    AttemptStarted,
    Awaited,
    Batch,
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
from holdfast.core.lifecycle import IllegalEntry as Illegal
from holdfast.core.lifecycle import Record, advance, apply
from holdfast.core.model import ErrorInfo, Hook, Run, State
from holdfast.wire import codec
from holdfast.wire.subjects import Subjects

T0 = 1_700_000_000.0
ERROR = ErrorInfo("shop.OutOfStock", "no more of it\nreally", "Traceback ...", b"\x01")


def run_id(number: int, at: float = T0) -> str:
    return ids.make(at + number, number.to_bytes(10))


class Stored(NamedTuple):
    """A message to be stored."""

    subject: str
    data: bytes


class Teller:
    """Makes messages of runs of one project."""

    def __init__(self, project: str = "shop") -> None:
        self.subjects = Subjects(project)

    def created(self, run: str, **fields: object) -> Stored:
        given = {"at": ids.instant(run), "task": "ship", "payload": b"\x81\xa1a\x01", **fields}
        entry = RunCreated(run=run, **given)  # type: ignore[arg-type]
        return Stored(self.subjects.ready(run, entry.queue, entry.priority), codec.encode(entry))

    def delayed(self, run: str, due: float, **fields: object) -> Stored:
        return Stored(self.subjects.timer(run, "ready"), self.created(run, due=due, **fields).data)

    def offered(self, run: str, queue: str = "default") -> Stored:
        return Stored(self.subjects.again(run, queue, 5), codec.encode(Offered(run, 1)))

    def admitted(self, run: str, queue: str = "default") -> Stored:
        return Stored(self.subjects.go(run, queue), codec.encode(Admitted(run, 1)))

    def log(self, run: str, writer: str, *entries: Entry) -> Stored:
        return Stored(self.subjects.log(run), codec.encode(Batch(writer, entries)))

    def inbox(self, run: str, entry: Entry) -> Stored:
        return Stored(self.subjects.inbox(run), codec.encode(entry))


async def store(bus: Bus, *messages: Stored) -> int:
    """Store messages; returns the last sequence."""
    seq = 0
    for subject, data in messages:
        seq = await bus.publish(subject, data)
    return seq


def random_history(seed: int, runs: int, teller: Teller | None = None) -> Iterator[Stored]:
    """Messages of some runs, interleaved: mostly legal, now and then from a worker that no longer has its run."""
    tell, chance = teller or Teller(), random.Random(seed)
    folded: dict[str, Run | None] = {run_id(number): None for number in range(runs)}
    at, seq = T0 + runs, 0
    pending = dict.fromkeys(folded, 0)
    while pending:
        run = chance.choice(list(pending))
        at, seq = at + chance.random(), seq + 1
        pending[run] += 1
        if pending[run] > 25:
            del pending[run]
            continue
        before = folded[run]
        if before is None and chance.random() < 0.1:
            message = tell.delayed(run, at + 9, queue="mail")
        elif before is None:
            hooks = (Hook("success", "tidy"), Hook("failure", "alarm"), Hook("cancel", "tidy"))
            queue = chance.choice(["default", "mail"])
            message = tell.created(run, queue=queue, tags=("eu",), hooks=hooks, metadata={"who": b"\xa3ann"})
        else:
            message = _next(tell, before, chance, at, str(pending[run]))
        record = codec.record(tell.subjects, message.subject, seq, message.data)[1]
        folded[run] = apply(before, record)
        yield message


def _next(tell: Teller, run: Run, chance: random.Random, at: float, key: str) -> Stored:
    nonce = run.holder.nonce if run.holder is not None else f"n{key}"
    if chance.random() < 0.05:
        nonce = "stranger"
    if chance.random() < 0.05:
        return tell.inbox(run.id, CancelRequested(at=at))
    if chance.random() < 0.05:
        return tell.inbox(run.id, ChildEnded(f"/child#{key}", at, run_id(99), "completed", b"\x01"))
    if chance.random() < 0.1:
        return tell.inbox(run.id, chance.choice(_told(run, at)))
    candidates: list[Entry] = [
        *[AttemptStarted(at, run.attempt + 1, f"w{chance.randrange(3)}", nonce)] * 3,
        AttemptResumed(at, run.attempt, f"w{chance.randrange(3)}", nonce),
        *[StepCompleted(f"/step#{key}", at, 0.5, b"\x01")] * 12,
        StepStarted(f"/step#{key}", at, once=chance.random() < 0.5),
        StepFailed(f"/step#{key}", at, 0.5, ERROR),
        StepRetried(f"/step#{key}", at, 0.5, ERROR, 1, at + 1),
        StepVolatile(f"/step#{key}", at, 0.5, "a socket"),
        ChildTriggered(f"/child#{key}", at, run_id(99), "pack"),
        Suspended(at, (run_id(99),)),
        Suspended(at, ("T", f"/event#{key}"), at + 9),
        Suspended(at, ("pause:/step#1",), None, "its outcome is not known"),
        Suspended(at, ("signal:approve#1",), at + 9),
        WaitStarted(f"/for_#{key}", at, "", "sleep", at + 9),
        WaitStarted(f"/signal:approve#{key}", at, "", "signal", None, "approve"),
        WaitStarted(f"/await#{key}", at, "T", "token", at + 9),
        WaitStarted(f"/event#{key}", at, f"/event#{key}", "event", None, "orders.*"),
        *[StepCompleted(f"/step#{key}", at, 0.5, b"\x01", b"undo")] * 3,
        Heartbeat(at, b"\x01"),
        SecretPinned("STRIPE_KEY", int(key)),
        Inherited(f"/step#{key}", at, 0.5, b"\x01"),
        Progressed(at, float(key), 25, "at it"),
        MetadataChanged(at, {"who": None, "step": b"\x01"}),
        Diverged(f"/other#{key}", at, (run.last_key,)),
        RunTimedOut(at, ERROR, "schedule_to_close"),
        RunExpired(at, "it had to start by then"),
        Held(at, "overlap"),
        *[Postponed(at, at + 12, b"\x81\xa1a\x03")] * 9,
        AttemptFailed(at, ERROR, at + chance.choice([0.2, 1])),
        AttemptInterrupted(at, "worker died"),
        RunCompleted(at, b"\x2a"),
        RunDead(at, ERROR, "attempts used up"),
        RunCancelled(at, "no longer wanted", killed=chance.random() < 0.3),
        RunRetried(at, from_start=chance.random() < 0.3, payload=chance.choice([None, b"\x81\xa1a\x02"])),
        LetterDropped(at),
    ]
    if run.state is State.COMPENSATING:
        candidates = [entry for entry in candidates if not isinstance(entry, StepCompleted)] + _undoing(run, at) * 8
    legal = [entry for entry in candidates if _legal(run, entry)]
    if not run.final and chance.random() < 0.05:
        return tell.admitted(run.id, run.queue)
    if not legal or (not run.final and chance.random() < 0.2):
        return tell.offered(run.id, run.queue)
    count = chance.choice([1, 1, 1, 2])
    return tell.log(run.id, nonce, *chance.sample(legal, min(count, len(legal))))


def _undoing(run: Run, at: float) -> list[Entry]:
    """What a worker says that undoes a run: the step completed last comes first."""
    return [StepCompleted(f"{run.undos[-1]}/undo", at, 0.5, b"\x01") if run.undos else Compensated(at)]


def _told(run: Run, at: float) -> list[Entry]:
    """What somebody outside may tell a run."""
    return [
        TokenCompleted("T", at, value=b"\x01"),
        EventArrived(next((each.wait for each in run.expected), "/event#0"), at, 7, "orders.paid", b"\x01"),
        Signalled(f"s{at}", at, "approve", b"\x01", "ann"),
        Resolved("/step#1", at, "done", "ann", b"\x01"),
        Awaited(run_id(97), at, "/step#1"),
        HookTriggered(run.hook.on if run.hook is not None else "success", at, run_id(98)),
    ]


def _legal(run: Run, entry: Entry) -> bool:
    try:
        advance(run, entry)
    except Illegal:
        return False
    return True


def records(messages: list[Stored], subjects: Subjects) -> list[tuple[str, Record]]:
    """What a stream would hold, from sequence 1 on."""
    return [codec.record(subjects, subject, seq, data) for seq, (subject, data) in enumerate(messages, 1)]
