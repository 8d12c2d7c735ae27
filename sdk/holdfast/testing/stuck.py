"""Why a run does not end in a harness, and what a test does about it: in words."""

from __future__ import annotations

from collections.abc import Container, Sequence

from holdfast.core.model import Instant, Run, State
from holdfast.core.pending import Wait

_DO = {
    "token": 'await h.complete("{id}", value)',
    "event": 'await h.emit("{subject}", data)',
    "signal": 'await h.signal(run, "{subject}", value)',
    "pause": 'await h.resolve(run, "{key}", ...)',
    "child": "look at run {id}, which has not ended",
}


def why_stuck(run: Run, waits: Sequence[Wait], tasks: Container[str], now: Instant) -> str:
    """What a run waits for that does not come by itself."""
    return f"run {run.id} of {run.task} does not end: {_why(run, waits, tasks)}"


def _why(run: Run, waits: Sequence[Wait], tasks: Container[str]) -> str:
    if waits:
        return f"it is {run.state} and waits for {'; '.join(_wait(wait) for wait in waits)}"
    if run.state is State.QUEUED and run.task not in tasks:
        return f"no worker here has task {run.task!r}: give it to harness(...)"
    if run.state is State.QUEUED:
        return f"it is queued in {run.queue!r} and nobody takes it: is the queue paused, or full?"
    if run.holder is not None:
        where = f"behind {run.last_key}" if run.last_key else "before its first checkpoint"
        return (
            f"its code runs, {where}, and nothing here wakes it: what does it await? (Time moves by itself; threads "
            "and sockets have harness(patience=) real seconds)"
        )
    return f"it is {run.state}, and nothing is due"


def _wait(wait: Wait) -> str:
    what = {"pause": "an answer", "child": "child run"}.get(wait.kind, wait.kind)
    named = wait.subject or wait.id or wait.key
    do = _DO.get(wait.kind, "").format(id=wait.id, subject=wait.subject, key=wait.key)
    at = f" at {wait.key}" if wait.key and wait.key != named else ""
    return f"{what} {named}{at}" + (f" ({do})" if do else "")
