"""Why a run does not run, in plain words: a pure function of the run and of what is known around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from holdfast.core.admission import Cause, Hold
from holdfast.core.model import Instant, KeyKind, Rate, Run, State
from holdfast.core.pending import Wait
from holdfast.quantities import readable_rate
from holdfast.wire.api import Presence, Reason


class Situation(NamedTuple):
    """What is known around a run."""

    now: Instant
    since: Instant
    """When the run became ready."""
    paused: Instant | None = None
    """Since when its queue is paused; None: it is not."""
    hold: Hold | None = None
    """What keeps it from a slot, where its queue has limits."""
    workers: Sequence[Presence] = ()
    waits: tuple[Wait, ...] = ()
    """What it is suspended on."""
    mismatch: str = ""
    """Why its payload does not fit its task, as a worker says."""


def reasons(run: Run, around: Situation) -> tuple[Reason, ...]:
    """What a run waits for, the one that matters first."""
    return tuple(_reasons(run, around))


def _reasons(run: Run, around: Situation) -> Iterator[Reason]:
    match run.state:
        case _ if run.final:
            yield Reason("ended", f"it has ended {run.state}", run.finished_at)
        case _ if run.holder is not None:
            yield Reason("running", f"it is running: worker {run.holder.worker} has it", run.held_since)
        case State.DELAYED:
            debounced = run.key is not None and run.key.kind is KeyKind.DEBOUNCE
            why = "each trigger with its debounce key puts it off" if debounced else "it was triggered with a delay"
            yield Reason("delay", f"{why}; `holdfast runs cancel` ends it", run.created_at, run.due)
        case State.RETRYING:
            yield Reason("retry", f"attempt {run.attempt} failed and the next one is not due yet", None, run.due)
        case _ if run.paused:
            yield Reason("operator", f"{run.paused}; `holdfast runs show {run.id}` says how to answer")
        case _ if run.suspended:
            for wait in around.waits:
                what = f"{wait.kind} {wait.subject or wait.id or wait.key}"
                yield Reason("waits", f"it waits for {what}", None, wait.due)
        case _:
            yield from _queued(run, around)


def _queued(run: Run, around: Situation) -> Iterator[Reason]:
    """Of a run that is ready."""
    if run.held:
        yield Reason("schedule", _HELD.get(run.held, run.held), around.since)
    if around.paused is not None:
        text = f"queue {run.queue} is paused; `holdfast queues resume {run.queue}` starts it again"
        yield Reason(str(Cause.PAUSED), text, max(around.since, around.paused))
    serving = [worker for worker in around.workers if run.task in worker.tasks and not worker.draining]
    if not serving:
        yield Reason(str(Cause.UNSERVED), f"no worker serves task {run.task}: start one that does", around.since)
    hold = around.hold
    if hold is not None and hold.cause not in (Cause.PAUSED, Cause.UNSERVED):
        yield Reason(str(hold.cause), _held_back(run, hold), around.since, hold.until)
    if around.mismatch:
        yield Reason("schema", f"its payload will be refused by today's code: {around.mismatch}", around.since)
    slots = sum(worker.concurrency for worker in serving)
    running = sum(worker.running for worker in serving)
    if serving and hold is None and running >= slots:
        text = f"all {slots} slots of the {len(serving)} workers that serve it are taken: start more workers"
        yield Reason("workers full", text, around.since)


_HELD = {
    "overlap": "its schedule's run before it has not ended",
    "late": "its tick came later than its schedule catches up",
}


def _held_back(run: Run, hold: Hold) -> str:
    """What keeps the run from a slot, and what would change it."""
    change = f"`holdfast queues limit {run.queue}` changes that"
    rate = readable_rate(Rate(hold.bound, hold.per)) if hold.per else ""
    key = run.concurrency_key
    match hold.cause:
        case Cause.QUEUE:
            return f"{hold.bound} of {hold.bound} runs of queue {run.queue} are running; {change}"
        case Cause.KEY:
            return f"{hold.bound} of {hold.bound} runs with concurrency key {key!r} are running"
        case Cause.TASK:
            return f"{hold.bound} of {hold.bound} runs of task {run.task} are running: its `concurrency`"
        case Cause.RATE:
            return f"queue {run.queue} starts {rate}, and that many have started; {change}"
        case Cause.TASK_RATE:
            of = f" for {run.rate_key!r}" if run.rate_key else ""
            return f"task {run.task} starts {rate}{of}, and that many have started: its `rate`"
        case _:
            return "others go first: those of a higher priority, and keys take turns"
