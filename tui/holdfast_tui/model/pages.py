"""The pages of a run's pane: what is known of the line under the cursor, a page a question. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from holdfast.core.outcomes import Outcomes
from holdfast.core.pending import Wait, answers
from holdfast.core.tree import NodeState
from holdfast.wire import api
from holdfast.wire.references import is_kept
from holdfast_tui.format import (
    NODES,
    PAUSED,
    Cell,
    clean,
    clock,
    date,
    error_name,
    lines,
    plural,
    short,
    took,
    value,
)
from holdfast_tui.model import frames, journal
from holdfast_tui.model.explain import explained
from holdfast_tui.model.meta import facts
from holdfast_tui.model.nodes import CODE, tries_of, worker_of
from holdfast_tui.model.outline import ROOT
from holdfast_tui.model.run import RETRIABLE, Story
from holdfast_tui.model.sight import RESULT, Sight

RECENT = 100
"""Entries that the pane shows of a run's history, the last ones; its own screen has all."""


Page = Callable[[Sight], list[Cell]]


def first(sight: Sight) -> str:
    """The page for a line that nobody has turned: what it asks, its error, what it waits for, what it returned."""
    run, row = sight.story.run, sight.row
    waits = row.waits and row.took is None if row.id != ROOT else run is not None and bool(run.waits)
    if sight.story.waits() and (row.state == PAUSED or (row.error is None and waits)):
        return "waits"
    return "error" if row.error is not None else "output"


def there(sight: Sight) -> Sequence[str]:
    """The pages that there are for a line, in order; `waits` and `why` only where there is something to say."""
    waits = bool(sight.story.waits())
    return [name for name in PAGES if (name != "waits" or waits) and (name != "why" or sight.why is not None)]


def page(name: str, sight: Sight) -> list[Cell]:
    """A page's lines; one line where there is nothing."""
    return PAGES[name](sight) or [(f"no {name}", "dim")]


# --- what came of it --------------------------------------------------------------------------------------------------


def _error(sight: Sight) -> list[Cell]:
    return frames.told(sight.row.error)


def _input(sight: Sight) -> list[Cell]:
    run = sight.story.run
    text = sight.view.payload if sight.view is not None else value(run.payload if run is not None else None)
    heads = ["" if sight.row.id == ROOT else "of the run", "corrected by a retry" if sight.story.corrected else ""]
    return _shown(text, ", ".join(head for head in heads if head))


def wanted(sight: Sight) -> str | None:
    """Whose value is to be asked for, because the history came without it; None: it is there, or there is none."""
    row, node, run = sight.row, sight.row.node, sight.story.run
    if row.attempt:
        return None
    if node is None:
        return RESULT if run is not None and run.result is not None and (_away(run.result)) else None
    return node.key if node.value is not None and _away(node.value) else None


def _away(data: bytes) -> bool:
    return not data or is_kept(data)


def _output(sight: Sight) -> list[Cell]:
    node, run = sight.row.node, sight.story.run
    if sight.row.attempt:
        return []
    if (name := wanted(sight)) is not None:
        return _asked(sight.values.get(name))
    if node is None:
        text = value(run.result) if run is not None else ""
        return _shown(text or (sight.view.result if sight.view is not None else ""), "")
    head = f"put in place of what {short(node.origin)} recorded" if node.edited else ""
    if node.value is None:
        return [(clean(node.note), "")] if node.note else []
    return _shown(value(node.value), head)


def _asked(found: api.Value | str | None) -> list[Cell]:
    if found is None:
        return [("reading the value ...", "dim")]
    if isinstance(found, str):
        return [(clean(found), "fail")]
    rest = [] if found.whole else [(f"... {plural(found.size, 'byte')} in all: this is its beginning", "warn")]
    return [*_shown(found.json, ""), *rest]


def _shown(text: str, head: str) -> list[Cell]:
    cells: list[Cell] = [(head, "dim")] if head and text else []
    return cells + [(line, "") for line in lines(text) if text]


# --- how it came ------------------------------------------------------------------------------------------------------


def _attempts(sight: Sight) -> list[Cell]:
    spans = sight.story.tree.attempts
    node = sight.row.node
    if node is not None:
        cells: list[Cell] = [
            (
                f"{one.number}  {clock(one.at - one.took, millis=True)}  {took(one.took)}  "
                f"{worker_of(spans, one.at)}  {frames.short(one.error)}",
                "fail",
            )
            for one in tries_of(node)
        ]
        if node.tries and node.state is not NodeState.FAILED:
            word, role = NODES[node.state]
            cells.append((f"{len(node.tries) + 1}  {clock(node.started_at, millis=True)}  {word}", role))
        return cells + _again(sight, bool(cells))
    cells = [
        (
            f"{span.attempt}{' again' if span.resumed else ''}  {clock(span.started_at, millis=True)}  "
            f"{clean(span.worker)}  {span.outcome or 'under way'} "
            f"{clean(error_name(span.error.type) if span.error is not None else span.reason)}"
            f"{f'  code {clean(span.code[:CODE])}' if span.code else ''}",
            "fail" if span.error is not None else "",
        )
        for span in spans
    ]
    return cells + _again(sight, bool(cells))


class Again(NamedTuple):
    """What a retry behind the last checkpoint would do."""

    kept: int
    """Results that it begins with."""
    again: int
    """Awaits that it runs again."""
    all: int
    """Awaits that a retry from the start runs again, as far as the history tells."""


def again(story: Story) -> Again:
    """Counted as the core takes a run up again: what failed for good, was lost or undone runs again."""
    outcomes = Outcomes(told.entry for told in story.told if told.counts)
    standing = {key for key in outcomes.standing if not key.endswith("/undo")}
    seen = {key for key in outcomes.seen if not key.endswith("/undo")}
    return Again(len(standing), len(seen - standing), len(seen))


def retry(story: Story) -> list[Cell]:
    """Where a retry would start, and what it would do."""
    counts = again(story)
    return [
        ("where a retry would start", "title"),
        (f"R  here: keeps {plural(counts.kept, 'result')}, runs {plural(counts.again, 'step')} again", ""),
        (f"   then s: from the start, repeats {plural(counts.all, 'step')}", ""),
    ]


def _again(sight: Sight, below: bool) -> list[Cell]:
    """What a retry would do, below other lines or by itself."""
    run = sight.story.run
    if run is None or run.state not in RETRIABLE:
        return []
    return [("", "")] * below + retry(sight.story)


def _history(sight: Sight) -> list[Cell]:
    story = sight.story
    told = story.told if sight.row.id == ROOT else list(journal.of_key(story.told, sight.key))
    hidden = len(told) - RECENT
    cells: list[Cell] = [(f"{plural(hidden, 'earlier entry').replace('entrys', 'entries')}: enter", "dim")] * (
        hidden > 0
    )
    for one in told[-RECENT:]:
        word, role = journal.name(one)
        did, _ = journal.did(one)
        what = f"{clock(one.at, millis=True)}  {word}  {journal.said(one.entry)}"
        cells.append((f"{what}  [{did}]" if did else what, role))
    return cells


# --- what it waits for ------------------------------------------------------------------------------------------------


def _waits(sight: Sight) -> list[Cell]:
    """What the run, or the await under the cursor, waits for; a question with the commands that answer it."""
    run = sight.story.run
    key = "" if sight.row.id == ROOT else sight.key
    found = [wait for wait in sight.story.waits() if not key or f"{wait.key}/".startswith(f"{key}/")]
    asked = run is not None and run.paused and any(wait.asks for wait in found)
    cells: list[Cell] = [(clean(run.paused), "warn")] if asked and run is not None else []
    for wait in sorted(found, key=lambda wait: not wait.asks):
        cells += _answers(sight.story.id, wait) if wait.asks else [(told_wait(wait), "")]
    return cells


def told_wait(wait: Wait) -> str:
    """A wait on one line, its id whole: a token is completed by it."""
    parts = (
        wait.key,
        wait.kind,
        wait.subject,
        wait.id if wait.kind in ("token", "child") else "",
        " ".join(value(wait.match).split()) if wait.match else "",
        f"until {date(wait.due)}" if wait.due is not None else "",
    )
    return clean("  ".join(part for part in parts if part))


def _answers(run: str, wait: Wait) -> list[Cell]:
    """The commands that answer a question, each below what it means."""
    cells: list[Cell] = []
    for answer in answers(run, wait):
        cells += [(clean(f"{wait.key}: {answer.means}"), ""), (clean(f"  {answer.command}"), "title")]
    return cells


def _why(sight: Sight) -> list[Cell]:
    if isinstance(sight.why, api.Why):
        return explained(sight.why, sight.story, sight.now)
    return [] if sight.why is None else [(clean(sight.why), "dim")]


PAGES: Mapping[str, Page] = MappingProxyType(
    {
        "why": _why,
        "error": _error,
        "waits": _waits,
        "input": _input,
        "output": _output,
        "attempts": _attempts,
        "meta": facts,
        "history": _history,
    }
)
"""The pages, in the order in which tab turns."""
