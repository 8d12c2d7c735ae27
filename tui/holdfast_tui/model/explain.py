"""Why a run does not go on: what the daemon says and what its tree says, since when, and the key that changes it."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

from holdfast.core.model import Instant
from holdfast.core.pending import Wait
from holdfast.wire import api
from holdfast_tui.format import PAUSED, STATES, Cell, age, clean, clock, took, until
from holdfast_tui.model.run import Story

KEYS = MappingProxyType(
    {
        "paused": "P on the queue (1) starts it again",
        "queue limit": "L on the queue (1) changes its limit",
        "queue rate": "L on the queue (1) changes its rate",
        "key limit": "it goes on when one of them has ended",
        "task limit": "it goes on when one of them has ended",
        "task rate": "it goes on by itself",
        "its turn": "it goes on by itself",
        "no worker": "start a worker that has the task; 6 shows those that there are",
        "workers full": "start more workers; 6 shows those that there are",
        "schema": "E corrects the payload once it has failed, C cancels it",
        "delay": "C cancels it",
        "schedule": "C cancels it",
        "retry": "C cancels it; otherwise it goes on by itself",
        "operator": "A answers",
        "running": "o shows what it writes, C cancels it",
        "ended": "R retries it, B begins it again, F forks it",
    }
)
"""By a reason's cause: which key would change that."""

WAITS = MappingProxyType(
    {
        "pause": "A answers",
        "token": "T completes it",
        "signal": "S sends it",
        "event": "an event that fits ends it",
        "child": "enter goes to the child",
        "sleep": "it ends by itself",
        "timeout": "it ends by itself",
    }
)
"""By the kind of a wait: what ends it."""


def explained(why: api.Why, story: Story, now: Instant) -> list[Cell]:
    """The reasons, the one that matters first, then each wait of the tree."""
    word, _ = PAUSED if story.run is not None and story.run.paused else STATES[why.state]
    cells: list[Cell] = [(clean(f"{why.task} is {word} on queue {why.queue}"), "title")]
    waits = sorted(story.waits(), key=lambda wait: not wait.asks)
    for reason in why.reasons:
        if reason.cause != "waits" or not waits:
            cells += _reason(reason, now)
    if not why.reasons and not waits:
        cells.append(("nothing holds it back: it is on its way to a worker", ""))
    for wait in waits:
        cells += _wait(wait, story, now)
    return cells


def _reason(reason: api.Reason, now: Instant) -> Iterator[Cell]:
    yield clean(reason.text), "warn" if reason.cause not in ("running", "ended") else ""
    times = [f"since {clock(reason.since)}, for {took(now - reason.since)}"] if reason.since is not None else []
    times += [_until(reason.until, now)] if reason.until is not None else []
    if times:
        yield "  " + "; ".join(times), ""
    change = KEYS.get(reason.cause, "")
    if change:
        yield f"  {change}", "title"


def _wait(wait: Wait, story: Story, now: Instant) -> Iterator[Cell]:
    """A wait of the tree: what for, since when, until when, and what ends it."""
    node = story.tree.node(wait.key)
    what = "an operator's answer" if wait.kind == "pause" else f"{wait.kind} {wait.subject or wait.id}".strip()
    yield clean(f"{wait.key or 'it'} waits for {what}"), "warn"
    since = node.started_at if node is not None else None
    times = [f"since {clock(since)}, for {age(now - since)}"] if since is not None else []
    times += [_until(wait.due, now) if wait.due is not None else "without a time limit"]
    yield "  " + "; ".join(times), ""
    if wait.kind in WAITS:
        yield f"  {WAITS[wait.kind]}", "title"


def _until(due: Instant, now: Instant) -> str:
    return f"{until(due, now)}, in {age(due - now)}"
