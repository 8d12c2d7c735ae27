"""What a run waits for just now: its sleeps, tokens, events, signals and child runs, and the questions that it asks."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from holdfast.core.lifecycle import COMPENSATION, PAUSE
from holdfast.core.model import Instant, Run, State
from holdfast.core.recall import SIGNAL
from holdfast.core.tree import WAITS, Node, NodeState, Tree

BRIEF = 10
"""So many waits are named by `brief`; of more it says how many."""


class Wait(msgspec.Struct, frozen=True):
    """One thing that a run waits for."""

    kind: str
    """`sleep`, `timeout`, `token`, `event`, `signal`, `child`, or `pause`: an operator's answer."""
    key: str = ""
    """The checkpoint that waits; empty where that is not known."""
    id: str = ""
    """The token, child run, event or signal; empty for what only takes time, and for a question."""
    due: Instant | None = None
    """When the sleep ends, or the wait is given up; None: never."""
    subject: str = ""
    """Of an event: its subject with wildcards. Of a signal: its name."""
    match: bytes = b""
    """Of an event: what its fields must be equal to, a msgpack map; empty: any event."""
    asks: str = ""
    """Of a question: `once`, `undo`, `divergence` or `compensation`."""


class Answer(NamedTuple):
    """One way to answer a question."""

    means: str
    """What happens then, in plain words."""
    command: str
    """The command line that says so; `JSON` in it stands for a value."""


OPTIONS = {
    "once": (("it happened, with this result", "--done JSON"), ("it did not happen: run it", "--not-done")),
    "undo": (("run the undo again", "--run-again"), ("count it as undone", "--skip")),
    "divergence": (("go on the new way", "--accept"), ("look again, with the code of now", "--retry")),
    "compensation": (("run the undos again", "--run-again"),),
}
"""By what is asked: what an answer means, and the options of `holdfast runs resolve` that give it."""

ACTIONS = {
    "--done": "done",
    "--not-done": "run",
    "--run-again": "run",
    "--skip": "skip",
    "--accept": "accept",
    "--retry": "run",
}
"""What each of these options records (`entries.Resolved.action`)."""


def answers(run: str, wait: Wait) -> tuple[Answer, ...]:
    """The ways to answer what a run asks; empty where the wait is no question."""
    asked = f"holdfast runs resolve {run} {shlex.quote(wait.key)}"
    return tuple(Answer(means, f"{asked} {option}") for means, option in OPTIONS.get(wait.asks, ()))


def pending(run: Run, tree: Tree) -> tuple[Wait, ...]:
    """What the run waits for, in the order of its tree; what no node tells comes last."""
    if run.final:
        return ()
    found = list(_told(run, tree))
    known = {PAUSE + wait.key if wait.kind == "pause" else wait.id for wait in found}
    rest = [_of_id(run, id) for id in sorted(run.waits - run.arrived - known)]
    signals = {wait.subject for wait in found if wait.kind == "signal"}
    return (*found, *(wait for wait in rest if wait.kind != "signal" or wait.subject not in signals))


def brief(run: Run) -> str:
    """What a suspended run waits for, on one line, as far as the folded run alone tells; empty where it does not."""
    suspended = run.state in (State.WAITING, State.COMPENSATING) and run.holder is None
    waits = [_of_id(run, id) for id in sorted(run.waits - run.arrived)] if suspended else []
    words = [f"{wait.kind} {wait.subject or wait.id or wait.key}" for wait in waits[:BRIEF]]
    if len(waits) > BRIEF:
        words.append(f"{len(waits) - BRIEF} more")
    if not run.waits and run.state is State.WAITING and run.due is not None:
        return "sleep"
    return ", ".join(words)


def _told(run: Run, tree: Tree) -> Iterator[Wait]:
    """The waits that have a node."""
    for _, node in tree.walk():
        if node.state is NodeState.PAUSED:
            yield Wait("pause", node.key, asks=node.asks)
        elif node.state is NodeState.WAITING and _counts(node, run):
            id = node.child or node.wait
            yield Wait(node.kind, node.key, id, node.due, node.subject, node.match)


def _counts(node: Node, run: Run) -> bool:
    """Whether the run still waits for it: of several awaited at once, some may have been given up."""
    if run.holder is None and (node.child or node.wait):
        return (node.child or node.wait) in run.waits
    if run.holder is None and node.kind == "signal":
        return node.signal_in(run.waits)
    return bool(node.child) or node.kind in WAITS or node.kind == "timeout"


def _of_id(run: Run, id: str) -> Wait:
    if id.startswith(PAUSE):
        key = id.removeprefix(PAUSE)
        return Wait("pause", key, asks="compensation" if key == COMPENSATION else "divergence")
    if id.startswith(SIGNAL):
        return Wait("signal", id=id, subject=id.removeprefix(SIGNAL).rpartition("#")[0])
    if id in run.children:
        return Wait("child", id=id)
    event = next((one for one in run.expected if one.wait == id), None)
    if event is not None:
        return Wait("event", id=id, subject=event.subject, match=event.match)
    return Wait("token", id=id)
