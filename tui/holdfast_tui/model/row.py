"""A run as lists show it: how it stands, how long it took, what it does; and why it does not run."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from holdfast.core.admission import Cause
from holdfast.core.model import FINAL, State
from holdfast.wire import api
from holdfast_tui.format import (
    PAUSED,
    STATES,
    Cell,
    age,
    clean,
    clock,
    date,
    error_name,
    lines,
    progress,
    took,
)

FAILED = (State.FAILED, State.DEAD, State.EXPIRED, State.TIMED_OUT)
"""The states that `{` and `}` stop at."""

CHANGED_BY = MappingProxyType(
    {
        str(Cause.PAUSED): "P on queues (1) resumes the queue",
        str(Cause.QUEUE): "L on queues (1) changes the limit",
        str(Cause.KEY): "holdfast queues limit QUEUE --per-key N changes it",
        str(Cause.RATE): "L on queues (1) changes the rate",
        str(Cause.TASK): "the task's own limit, in its code",
        str(Cause.TASK_RATE): "the task's own rate, in its code",
        str(Cause.UNSERVED): "a worker that has the task: holdfast worker MODULE; 6 shows the workers",
        str(Cause.TURN): "a higher priority, or more workers",
        "schema": "E on the run (enter) edits its payload",
        "delay": "C cancels it",
        "retry": "C cancels it",
        "schedule": "5 shows the schedules",
        "waits": "enter opens it: S sends a signal, T completes a token",
        "operator": "enter opens it: A answers",
        "workers full": "more workers; 6 shows them",
        "running": "o shows its output; C cancels it",
    }
)
"""By `Reason.cause`: the key or command that would change it."""


def standing(row: api.RunRow) -> Cell:
    """A run's state; where it waits for an operator, that."""
    return PAUSED if row.paused else STATES[row.state]


def lasted(row: api.RunRow, now: float) -> str:
    """From start to end, or so far."""
    if row.started_at is None:
        return "-"
    return took((row.finished_at if row.finished_at is not None else now) - row.started_at)


def doing(row: api.RunRow, now: float) -> str:
    """What a run asks or does just now, or how it ended."""
    if row.paused:
        return row.paused
    if row.state is State.RETRYING:
        due = "" if row.due is None else f"in {age(row.due - now)} "
        return f"{due}{error_name(row.error_type)}: {row.error}"
    if row.error_type and row.state is not State.RUNNING:
        return f"{error_name(row.error_type)}: {row.error}"
    if row.reason:
        return row.reason
    if row.state is State.DELAYED and row.due is not None:
        return f"due in {age(row.due - now)}"
    if row.state in FINAL:
        return ""
    last = row.last_key.rpartition("/")[2].removesuffix("#1")
    step = f"step {row.steps} {last}" if row.steps else ""
    made = progress(row.progress)
    return made or step if row.state is State.RUNNING else row.waits or made or step


def about(row: api.RunRow, now: float, more: Sequence[Cell] = ()) -> list[Cell]:
    """A run in the pane; `more` is what was read of it besides its row, an error too."""
    word, role = STATES[row.state]
    cells: list[Cell] = [("PAUSED: it waits for an operator", "warn"), (row.paused, "")] if row.paused else []
    cells += [
        (word, role or "title"),
        (f"queue {row.queue}   priority {row.priority}", ""),
        (f"worker {row.worker or '-'}", ""),
        (f"created {date(row.created_at)}", ""),
        (f"started {clock(row.started_at, millis=True)}   took {lasted(row, now)}", ""),
        (f"try {row.attempt}   steps {row.steps}   from {row.source or '-'}", ""),
    ]
    if row.state is State.RETRYING and row.due is not None:
        cells.append((f"next try in {age(row.due - now)}", "warn"))
    if row.progress is not None and row.state not in FINAL:
        cells.append((f"progress {progress(row.progress)}", ""))
    if row.waits:
        cells.append((f"waits for {row.waits}", ""))
    if row.last_key:
        cells.append((f"last checkpoint {row.last_key}", ""))
    if row.tags:
        cells.append(("tags " + " ".join(row.tags), ""))
    if row.parent:
        cells.append((f"child of {row.parent}", ""))
    if row.error_type and not more:
        cells += [("", ""), ("error", "title"), *((line, "fail") for line in lines(f"{row.error_type}: {row.error}"))]
    if row.reason:
        cells += [("", ""), (f"because: {row.reason}", "")]
    return [*cells, *more, ("", ""), (row.id, "dim"), ("enter tree  o output  e explain", "dim")]


def explained(why: api.Why) -> list[Cell]:
    """Why a run does not run, the cause that matters first, each with what would change it."""
    word = STATES[why.state][0]
    cells: list[Cell] = [(f"{clean(why.task)} on {clean(why.queue)}: {word}", "title"), ("", "")]
    if not why.reasons:
        return [*cells, ("Nothing holds it back: it is on its way to a worker.", "")]
    for reason in why.reasons:
        cells.append((reason.cause.upper(), "warn"))
        cells += [(f"  {line}", "") for line in lines(reason.text)]
        times = [f"since {date(reason.since)}"] if reason.since is not None else []
        times += [f"until {date(reason.until)} at the soonest"] if reason.until is not None else []
        if times:
            cells.append((f"  {', '.join(times)}", "dim"))
        if reason.cause in CHANGED_BY:
            cells.append((f"  what changes it: {CHANGED_BY[reason.cause]}", ""))
        cells.append(("", ""))
    return cells


def grouped(groups: api.LetterGroups) -> list[Cell]:
    """Dead runs by kind of error, the largest first."""
    cells: list[Cell] = [("    COUNT  LAST  ERROR", "head")]
    for number, group in enumerate(groups.groups, 1):
        lead = f"{number:>2}" if number <= 9 else "  "
        what = f"{error_name(group.error_type)}: {group.pattern}"
        tasks = f"{', '.join(group.tasks[:3])}{' ...' if len(group.tasks) > 3 else ''}"
        cells.append((f"{lead} {group.count:>6,}  {clock(group.last_at)}  {clean(what)}  ({clean(tasks)})", ""))
    return cells
