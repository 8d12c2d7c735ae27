"""What a run and an await are: ids, workers, code, tags, metadata, and the runs that they lead to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from holdfast.core.tree import Node
from holdfast_tui.format import NODES, STATES, Cell, clean, clock, date, plural, progress, value
from holdfast_tui.model.nodes import is_wait, worker_of
from holdfast_tui.model.sight import Sight

LETTERS = "abcdefghijklmnoprstuvwxyz"
"""What picks a link; of more than there are letters the first ones can be picked."""


class Link(NamedTuple):
    """Another run that this one leads to."""

    label: str
    run: str


def links(sight: Sight) -> list[Link]:
    """Runs to go to, each once: the await's child first, then whence it came, who waits, its children, its hook."""
    run, node, view = sight.story.run, sight.row.node, sight.view
    found = [Link("child", node.child)] if node is not None and node.child else []
    found += [Link("origin", node.origin)] if node is not None and node.origin else []
    if run is not None:
        found += [Link("parent", run.parent.run)] if run.parent is not None else []
        found += [Link(run.origin.how + " of", run.origin.run)] if run.origin is not None else []
        found += [Link("awaited by", parent.run) for parent in run.awaited]
    if view is not None:
        found += [Link(f"child {child.task}", child.id) for child in view.children]
        found += [Link("hook", view.hook)] if view.hook else []
    return list({link.run: link for link in reversed(found)}.values())[::-1]


def facts(sight: Sight) -> list[Cell]:
    run = sight.story.run
    if run is None:
        return []
    node = sight.row.node
    told = [] if node is None else [*_of_node(node, sight), ("", "")]
    cells: list[Cell] = [(clean(f"{name:<10} {said}").rstrip(), "") for name, said in told if not name or said]
    cells += [(clean(f"{name:<10} {said}"), "") for name, said in _of_run(sight) if said]
    cells += [(clean(f"metadata {name} = {' '.join(value(data).split())}"), "") for name, data in run.metadata.items()]
    found = links(sight)
    states = {child.id: STATES[child.state][0] for child in sight.view.children} if sight.view is not None else {}
    if found:
        cells.append(("enter opens", "title"))
    for letter, link in zip(LETTERS.ljust(len(found)), found, strict=False):
        cells.append((clean(f"{letter} {link.label}  {link.run}  {states.get(link.run, '')}").rstrip(), ""))
    return cells


def _of_node(node: Node, sight: Sight) -> Iterator[tuple[str, str]]:
    spans = sight.story.tree.attempts
    yield "key", node.key
    yield "state", f"{NODES[node.stands][0]}  {node.note}".strip()
    yield "recorded", f"in try {node.attempt}, by {worker_of(spans, node.ended_at or node.started_at) or '-'}"
    yield "began", date(node.started_at) if node.started_at is not None else ""
    yield "ended", date(node.ended_at) if node.ended_at is not None else ""
    yield "waits for", f"{node.kind} {node.subject} {node.wait}".strip() if is_wait(node) else ""
    yield "until", date(node.due) if node.due is not None else ""
    yield "code", _code(node.code, sight)


def _code(fingerprint: str, sight: Sight) -> str:
    """A fingerprint, and whether later attempts ran other code."""
    if not fingerprint:
        return ""
    now = next((span.code for span in reversed(sight.story.tree.attempts) if span.code), "")
    return fingerprint + (f", changed since: {now}" if now != fingerprint else "")


def _of_run(sight: Sight) -> Iterator[tuple[str, str]]:
    run, tree = sight.story.run, sight.story.tree
    assert run is not None
    codes = list(dict.fromkeys(span.code for span in tree.attempts if span.code))
    origin = run.origin
    ending = f", will be {STATES[run.ending][0]}" if run.ending is not None else ""
    yield "run", run.id
    yield "task", f"{run.task}  queue {run.queue}  priority {run.priority}{ending}"
    yield "created", f"{date(run.created_at)}  from {run.source}"
    yield "held by", "nobody" if run.holder is None else f"{run.holder.worker} since {clock(run.held_since)}"
    yield "checkpoint", f"{run.last_key or '-'}  {plural(run.steps, 'result')} recorded"
    yield "code", codes[0] if len(codes) == 1 else f"changed while it ran: {', then '.join(codes)}" if codes else ""
    yield "because", run.reason
    yield "progress", progress(run.progress)
    yield "heartbeat", date(tree.heartbeat_at) if tree.heartbeat_at is not None else ""
    yield "deadline", date(run.deadline) if run.deadline is not None else ""
    yield "expires", date(run.expires) if run.expires is not None and run.started_at is None else ""
    yield "made from", origin.told if origin is not None else ""
    yield "key", f"{run.key.kind} {run.key.text}" if run.key is not None else ""
    yield "limits", "  ".join(key for key in (run.concurrency_key, run.rate_key) if key)
    yield "tags", " ".join(run.tags)
    yield "secrets", "  ".join(f"{name} version {version}" for name, version in sorted(run.secrets.items()))
    yield "trace", run.trace
