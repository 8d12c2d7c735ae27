"""A run's checkpoint tree as lines of text: its attempts on top, its steps with their times, its error below.

`draw` is pure: the same tree and row give the same lines. Layout after TUI-SKETCHES.md, "2a Run: checkpoint tree"; the
bars show when each step was under way: `█` work, `x` a try that failed, `·` waiting.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from holdfast.cli import text
from holdfast.cli.output import STATES, Style, progress, short, stands
from holdfast.core.model import ErrorInfo, Instant, State
from holdfast.core.pending import Wait, answers
from holdfast.core.tree import WAITS, AttemptSpan, Node, NodeState, Tree, Try
from holdfast.wire.api import RunRow

Paint: TypeAlias = Callable[[str, Style | None], str]

MOST_TRIES = 6
"""More tries of one step than this are not all shown: its first few are counted."""
MOST_ATTEMPTS = 8
"""The same for attempts."""
MOST_TRACEBACK = 8
"""Lines of a traceback that are shown, from its end."""
LABEL, WORKER, BAR = 34, 12, 32
"""Cells at most: of a worker, of a bar; and what a label may take before the bar gets its share."""
LEAST_BAR = 10

NODES = {
    NodeState.OK: ("ok", Style.GOOD),
    NodeState.RUNNING: ("run", Style.BUSY),
    NodeState.RETRYING: ("retry", Style.WARN),
    NodeState.WAITING: ("wait", Style.BUSY),
    NodeState.FAILED: ("FAIL", Style.BAD),
    NodeState.VOLATILE: ("volatile", Style.WARN),
    NodeState.LOST: ("lost", Style.WARN),
    NodeState.PAUSED: ("paused", Style.WARN),
    NodeState.UNDONE: ("undone", Style.WARN),
    NodeState.ORPHANED: ("orphaned", Style.DIM),
}
OUTCOMES = {
    "completed": Style.GOOD,
    "failed": Style.BAD,
    "dead": Style.BAD,
    "interrupted": Style.WARN,
    "cancelled": Style.WARN,
    "killed": Style.WARN,
    "timed_out": Style.BAD,
    "compensating": Style.WARN,
    "compensated": Style.WARN,
}
OUTCOME = 11
"""Cells of an attempt's outcome at least."""
CODE = 7
"""Characters of a code's fingerprint that are shown."""
LOUD = frozenset({State.DEAD, State.FAILED, State.TIMED_OUT})
"""States written in capitals: they shall be seen without colours too."""


class Glyphs(NamedTuple):
    """The characters of the drawing."""

    branch: str
    last: str
    through: str
    rule: str
    work: str
    wait: str
    fail: str
    arrow: str
    cut: str


UNICODE = Glyphs("├ ", "└ ", "│ ", "─", "█", "·", "x", "→", "…")
ASCII = Glyphs("|-", "`-", "| ", "-", "#", ".", "x", "->", "~")


class Mark(StrEnum):
    """What a part of a bar says; the values are fields of `Glyphs`."""

    WORK = "work"
    WAIT = "wait"
    FAIL = "fail"


class Stretch(NamedTuple):
    """A part of a bar."""

    start: Instant
    end: Instant
    mark: Mark


class Line(NamedTuple):
    """A line of the tree and those below it."""

    label: str
    state: str
    style: Style | None
    tries: int = 0
    start: Instant | None = None
    end: Instant | None = None
    worker: str = ""
    bar: tuple[Stretch, ...] = ()
    below: tuple[Line, ...] = ()


def draw(
    tree: Tree,
    run_row: RunRow,
    waits: Sequence[Wait] = (),
    *,
    width: int = 100,
    ascii: bool = False,
    now: Instant | None = None,
    paint: Paint = lambda piece, style: piece,
) -> list[str]:
    """The run as lines of at most `width` cells; what is to be read or typed whole is not cut: waits, commands that
    answer its questions, the error's text and traceback.

    Args:
        waits: what it waits for.
        ascii: draw with ASCII characters only.
        now: the instant up to which what is still under way is measured; None: it shows no duration.
        paint: puts a piece of text into a style.
    """
    glyphs = ASCII if ascii else UNICODE
    lines = [*_heading(run_row, now, width, glyphs, paint), *_more(tree, run_row, now, width, glyphs, paint)]
    if tree.attempts:
        lines += ["", *_attempts(tree.attempts, now, width, glyphs, paint)]
    lines += ["", *_steps(_run_line(tree, run_row, glyphs, now), width, glyphs, paint)]
    if waiting := list(_waiting(waits)):
        lines += ["", *waiting]
    if questions := list(_questions(run_row, waits, paint)):
        lines += ["", *questions]
    if error := _error(tree, run_row):
        lines += ["", *_error_lines(error, paint)]
    return lines


# --- on top -------------------------------------------------------------------------------------------------------


def _heading(row: RunRow, now: Instant | None, width: int, glyphs: Glyphs, paint: Paint) -> Iterator[str]:
    word, style = stands(row)
    word = word.upper() if row.state in LOUD else word
    yield f"{paint(text.visible(row.task), Style.BOLD)}  {paint(word, style)}  {row.id}"
    end = row.finished_at or now
    facts = [
        f"queue {row.queue}",
        f"created {text.stamp(row.created_at)}",
        f"took {text.took(end - row.started_at)}" if end and row.started_at else "",
        f"due {text.stamp(row.due)}" if row.due and row.state in (State.DELAYED, State.RETRYING) else "",
        f"child of {row.parent}" if row.parent else "",
        f"tags {', '.join(row.tags)}" if row.tags else "",
        row.reason,
    ]
    yield paint(text.clip(text.visible("  ".join(fact for fact in facts if fact)), width, glyphs.cut), Style.DIM)


def _more(tree: Tree, row: RunRow, now: Instant | None, width: int, glyphs: Glyphs, paint: Paint) -> Iterator[str]:
    """What only some runs have, on a line of its own."""
    beat = tree.heartbeat_at
    facts = [
        progress(row.progress or tree.progress),
        f"heartbeat {text.age(now - beat)} ago" if beat and now and row.state is State.RUNNING else "",
        f"will be {row.ending.value} when its undos have run" if row.ending else "",
        f"deadline {text.stamp(row.deadline)}" if row.deadline else "",
        f"expires {text.stamp(row.expires)}" if row.expires and not row.started_at else "",
        f"made from {row.origin}" if row.origin else "",
    ]
    if any(facts):
        yield paint(text.clip(text.visible("  ".join(fact for fact in facts if fact)), width, glyphs.cut), Style.DIM)


def _attempts(
    spans: Sequence[AttemptSpan], now: Instant | None, width: int, glyphs: Glyphs, paint: Paint
) -> Iterator[str]:
    hidden = len(spans) - MOST_ATTEMPTS if len(spans) > MOST_ATTEMPTS + 1 else 0
    if hidden:
        yield paint(f"{hidden} earlier", Style.DIM)
    shown = spans[hidden:]
    labels = ["  resumed" if span.resumed else f"attempt {span.attempt}" for span in shown]
    workers = [text.clip(text.visible(span.worker), 24, glyphs.cut) for span in shown]
    first, ends = max(map(len, labels)), max(map(text.cells, workers))
    most = max(OUTCOME, *(len(span.outcome) for span in shown))
    recoded = _recoded(spans)
    for label, worker, span in zip(labels, workers, shown, strict=True):
        end = span.ended_at if span.ended_at is not None else now
        lasted = text.took(end - span.started_at) if end is not None else "-"
        outcome = span.outcome or "running"
        why = _said(span.error) if span.error else text.visible(span.reason)
        why = f"{_code(span.code)}  {why}" if span.started_at in recoded else why
        started = _moment(span.started_at, spans[0].started_at)
        head = f"{label.ljust(first)}  {text.pad(worker, ends)}  {started}  {lasted:>7}"
        why = text.clip(why, max(width - text.cells(head) - most - 4, 1), glyphs.cut)
        yield f"{head}  {paint(outcome.ljust(most), OUTCOMES.get(outcome, Style.BUSY))}  {why}".rstrip()


def _recoded(spans: Sequence[AttemptSpan]) -> frozenset[Instant]:
    """When stretches began that ran other code than the one before."""
    coded = [span for span in spans if span.code]
    return frozenset(span.started_at for before, span in pairwise(coded) if span.code != before.code)


def _code(fingerprint: str) -> str:
    return f"code {text.visible(fingerprint[:CODE])}"


def _moment(at: Instant, first: Instant) -> str:
    """The time of day; with its date, as wide, where it is a day or more after the first."""
    return text.clock(at) if at - first < 86400 else text.stamp(at)[5:16] + "Z"


# --- the tree -----------------------------------------------------------------------------------------------------


def _run_line(tree: Tree, row: RunRow, glyphs: Glyphs, now: Instant | None) -> Line:
    recoded = tree.recoded()
    below = tuple(_node_line(node, tree, recoded, glyphs, now) for node in tree.roots)
    start = _base(tree, row, below)
    ends = [end for line in below for end in _ends(line)]
    end = (
        row.finished_at or now or max([span.ended_at or span.started_at for span in tree.attempts] + ends, default=None)
    )
    held = tuple(
        Stretch(max(span.started_at, start), span.ended_at or end or span.started_at, Mark.WORK)
        for span in tree.attempts
        if start is not None and (span.ended_at or math.inf) > start
    )
    word, style = ("paused", Style.WARN) if row.paused else (row.state.value, STATES[row.state])
    word = word.upper() if row.state in LOUD else word
    end = end if start is not None else None
    bar = _stretch(start, end, Mark.WAIT) + held
    return Line(text.visible(row.task), word, style, row.attempt, start, end, bar=bar, below=below)


def _base(tree: Tree, row: RunRow, below: Sequence[Line]) -> Instant | None:
    """Where the times are counted from: the start of the attempt in which the first step shown began.

    After a retry from the start, the steps of days before are gone and shall not squeeze the new ones.
    """
    first = min((start for line in below for start in _starts(line)), default=-math.inf)
    starts = [span.started_at for span in tree.attempts]
    return max((at for at in starts if at <= first), default=min(starts, default=row.started_at))


def _starts(line: Line) -> Iterator[Instant]:
    if line.start is not None:
        yield line.start
    for one in line.below:
        yield from _starts(one)


def _ends(line: Line) -> Iterator[Instant]:
    if line.end is not None:
        yield line.end
    for one in line.below:
        yield from _ends(one)


def _node_line(node: Node, tree: Tree, recoded: frozenset[str], glyphs: Glyphs, now: Instant | None) -> Line:
    nested = tuple(_node_line(child, tree, recoded, glyphs, now) for child in node.children)
    tries = tuple(_try_lines(node, now))
    waits = node.state in (NodeState.WAITING, NodeState.RETRYING, NodeState.PAUSED) or bool(node.child)
    waits = waits or node.kind in WAITS
    start, end = (None, None) if node.origin else _span(node, nested, now)  # its origin's times mean nothing here
    word, style = NODES[node.stands]
    marks = f" [{_code(node.code)}]" if node.key in recoded else ""
    marks += " [another way]" if node.diverged else ""
    return Line(
        _label(node, nested, glyphs) + marks,
        word,
        style,
        len(node.tries) + (node.state is not NodeState.RETRYING) if node.tries else 0,
        start,
        end,
        "" if node.child else _worker(tree.attempts, node.ended_at or start),
        _stretch(start, end, Mark.WAIT if waits else Mark.WORK),
        tries + nested,
    )


def _label(node: Node, nested: Sequence[Line], glyphs: Glyphs) -> str:
    name = text.visible(node.name)
    if node.child:
        return f"{name} {glyphs.arrow} {node.child[-8:]}"
    if node.wait and node.kind in ("token", "event", "issued"):
        return f"{name} {glyphs.arrow} {text.visible(node.subject) or f'token {text.visible(node.wait[-8:])}'}"
    about = [_note(node), f"{len(nested)} parallel" if _overlap(nested) else ""]
    if node.due is not None and (node.kind == "timeout" or node.state is NodeState.WAITING):
        about.append(_until(node.due, node.started_at))
    said = ", ".join(one for one in about if one)
    return f"{name} ({said})" if said else name


def _until(due: Instant, since: Instant | None) -> str:
    """The end of a wait, short: without its date where it began less than a day before."""
    stamp = text.stamp(due)
    return f"until {stamp[11:]}" if since is None or due - since < 86400 else f"until {stamp[5:16]}Z"


def _note(node: Node) -> str:
    """What is to be known of a node besides its state."""
    if node.once and node.state in (NodeState.RUNNING, NodeState.LOST, NodeState.PAUSED):
        return "at most once"
    if node.origin:
        return f"from {node.origin[-8:]}{', edited' if node.edited else ''}"
    return text.visible(node.note) if node.state is NodeState.VOLATILE else ""


def _overlap(lines: Sequence[Line]) -> bool:
    """Whether any two were under way at once."""
    spans = sorted((line.start, line.end) for line in lines if line.start is not None and line.end is not None)
    return any(later[0] < earlier[1] for earlier, later in pairwise(spans))


def _span(node: Node, nested: Sequence[Line], now: Instant | None) -> tuple[Instant | None, Instant | None]:
    """From when to when; an end that is not known yet is now."""
    starts = [one.at - one.took for one in node.tries[:1]] + [line.start for line in nested if line.start is not None]
    start = min([*starts, node.started_at] if node.started_at is not None else starts, default=None)
    if node.ended_at is not None or start is None:
        return start, node.ended_at
    ends = [line.end for line in nested]
    if node.started_at is None and ends and None not in ends:
        return start, max(end for end in ends if end is not None)
    live = node.state in (NodeState.RUNNING, NodeState.RETRYING, NodeState.WAITING, NodeState.PAUSED)
    return start, now if live else None


def _try_lines(node: Node, now: Instant | None) -> Iterator[Line]:
    hidden = len(node.tries) - MOST_TRIES if len(node.tries) > MOST_TRIES + 1 else 0
    if hidden:
        yield Line(f"{hidden} earlier tries", "fail", Style.BAD)
    for one in node.tries[hidden:]:
        start = one.at - one.took
        bar = _stretch(start, one.at, Mark.FAIL)
        yield Line(_try_label(one.number, one.error), "fail", Style.BAD, start=start, end=one.at, bar=bar)
    if node.tries and node.state in (NodeState.OK, NodeState.VOLATILE, NodeState.FAILED, NodeState.RUNNING):
        yield _last_try(node, node.tries[-1], now)


def _last_try(node: Node, before: Try, now: Instant | None) -> Line:
    """The try that ended the step or is under way; it has a start where the step's is later than the failed try."""
    known = node.started_at is not None and node.started_at >= before.at
    start = node.started_at if known else None
    end = node.ended_at or (now if start is not None else None)
    failed = node.state is NodeState.FAILED
    word, style = NODES[node.state]
    label = _try_label(before.number + 1, node.error if failed else None)
    return Line(label, word, style, start=start, end=end, bar=_stretch(start, end, Mark.FAIL if failed else Mark.WORK))


def _try_label(number: int, error: ErrorInfo | None) -> str:
    return f"try {number}  {_kind(error)}" if error else f"try {number}"


def _worker(spans: Sequence[AttemptSpan], at: Instant | None) -> str:
    """Who held the run then."""
    held = [span.worker for span in spans if at is not None and span.started_at <= at]
    return text.visible(held[-1]) if held else ""


def _stretch(start: Instant | None, end: Instant | None, mark: Mark) -> tuple[Stretch, ...]:
    return (Stretch(start, end, mark),) if start is not None and end is not None else ()


class _Layout(NamedTuple):
    """Cells of each column; 0: it is left out."""

    label: int
    state: int
    tries: int
    at: int
    took: int
    worker: int
    bar: int


def _steps(root: Line, width: int, glyphs: Glyphs, paint: Paint) -> Iterator[str]:
    rows = list(_flat(root, glyphs))
    times = [
        ("0" if line is root and root.start is not None else at, lasted) for line, (at, lasted) in _timed(rows, root)
    ]
    layout = _layout(rows, times, root.start, width)
    titles = ["STEP".ljust(layout.label), "STATE".ljust(layout.state), "TRY", "AT", "TOOK", "WORKER"]
    yield paint(_columns(layout, titles, _scale(root, layout.bar, glyphs), glyphs), Style.DIM)
    for (guide, line), time in zip(rows, times, strict=True):
        label = text.pad(text.clip(guide + line.label, layout.label, glyphs.cut), layout.label)
        if guide and label.startswith(guide):
            label = paint(guide, Style.DIM) + label[len(guide) :]
        state = paint(line.state.ljust(layout.state), line.style)
        bar = paint(_bar(line, root, layout.bar, glyphs), line.style)
        yield _columns(layout, [label, state, str(line.tries or ""), *time, line.worker], bar, glyphs)


def _flat(line: Line, glyphs: Glyphs, guide: str = "", ahead: str = "") -> Iterator[tuple[str, Line]]:
    """Every line with its guides, parents first."""
    yield guide, line
    for index, one in enumerate(line.below):
        last = index == len(line.below) - 1
        through = "  " if last else glyphs.through
        yield from _flat(one, glyphs, ahead + (glyphs.last if last else glyphs.branch), ahead + through)


def _layout(
    rows: Sequence[tuple[str, Line]], times: Sequence[tuple[str, str]], base: Instant | None, width: int
) -> _Layout:
    lines = [line for _, line in rows]
    state = max(len("STATE"), *(len(line.state) for line in lines))
    tries = len("TRY") if any(line.tries for line in lines) else 0
    at = max(len("AT"), *(len(time[0]) for time in times))
    took = max(len("TOOK"), *(len(time[1]) for time in times))
    fixed = 2 + state + (tries + 2 if tries else 0) + 2 + at + 2 + took
    natural = max(len("STEP"), *(text.cells(guide + line.label) for guide, line in rows))
    label = min(natural, max(width - fixed, 8))
    if label > LABEL and width - fixed - label < LEAST_BAR + 2 <= width - fixed - LABEL:
        label = max(LABEL, width - fixed - LEAST_BAR - 2)
    room = width - fixed - label
    workers = {line.worker for line in lines if line.worker}
    worker = min(max(map(text.cells, workers)), WORKER) if len(workers) > 1 else 0
    worker = max(worker, len("WORKER")) if worker and room >= worker + LEAST_BAR + 4 else 0
    room -= worker + 2 if worker else 0
    bar = min(room - 2, BAR) if room >= LEAST_BAR + 2 and base is not None else 0
    return _Layout(label, state, tries, at, took, worker, bar)


def _columns(layout: _Layout, cells: Sequence[str], bar: str, glyphs: Glyphs) -> str:
    """One line of the table; label and state have their widths already."""
    label, state, tries, at, took, worker = cells
    pieces = [
        label,
        state,
        *([tries.rjust(layout.tries)] if layout.tries else []),
        at.rjust(layout.at),
        took.rjust(layout.took),
        *([text.pad(text.clip(worker, layout.worker, glyphs.cut), layout.worker)] if layout.worker else []),
        *([bar] if layout.bar else []),
    ]
    return "  ".join(pieces).rstrip()


def _timed(rows: Sequence[tuple[str, Line]], root: Line) -> Iterator[tuple[Line, tuple[str, str]]]:
    """Each line with when it began, counted from the root's start, and how long it took."""
    for _, line in rows:
        if line.start is None or root.start is None:
            yield line, ("", "")
        else:
            lasted = text.took(line.end - line.start) if line.end is not None else "-"
            yield line, (_after(line.start - root.start), lasted)


def _after(seconds: float) -> str:
    return f"+{seconds:.2f}" if abs(seconds) < 59.995 else f"+{text.took(seconds)}"


def _scale(root: Line, width: int, glyphs: Glyphs) -> str:
    """The head of the bars: `0 ──── 3.21s`."""
    if root.start is None or root.end is None or not width:
        return ""
    total = text.took(root.end - root.start)
    return f"0 {glyphs.rule * (width - len(total) - 3)} {total}"


def _bar(line: Line, root: Line, width: int, glyphs: Glyphs) -> str:
    """The line's stretches on the root's scale; each takes at least a cell, later ones lie on top."""
    if root.start is None or root.end is None or not width:
        return ""
    base, drawn, scale = root.start, [" "] * width, width / max(root.end - root.start, 1e-9)
    for stretch in line.bar:
        first = min(max(math.floor((stretch.start - base) * scale + 1e-6), 0), width - 1)
        after = min(max(math.ceil((stretch.end - base) * scale - 1e-6), first + 1), width)
        drawn[first:after] = [getattr(glyphs, stretch.mark)] * (after - first)
    return "".join(drawn).rstrip()


# --- below --------------------------------------------------------------------------------------------------------


def _waiting(waits: Sequence[Wait]) -> Iterator[str]:
    """What the run waits for, whole: tokens are to be completed by their ids."""
    shown = [wait for wait in waits if wait.kind != "pause"]
    keys = [text.visible(wait.key) for wait in shown]
    if shown:
        yield "waits for"
    for wait, key in zip(shown, keys, strict=True):
        parts = [
            wait.kind,
            wait.subject,
            wait.id if wait.kind in ("token", "child") else "",
            short(wait.match),
            f"until {text.stamp(wait.due)}" if wait.due is not None else "",
        ]
        said = "  ".join(text.visible(part) for part in parts if part)
        yield f"  {text.pad(key, max(map(text.cells, keys)))}  {said}"


def _questions(row: RunRow, waits: Sequence[Wait], paint: Paint) -> Iterator[str]:
    """Why the run waits for an operator, and the commands that answer."""
    if row.paused:
        yield paint(f"paused: {text.visible(row.paused)}", Style.WARN)
    for wait in waits:
        for answer in answers(row.id, wait):
            yield f"  {text.visible(wait.key)}: {answer.means}"
            yield f"    {text.visible(answer.command)}"


def _error(tree: Tree, row: RunRow) -> ErrorInfo | None:
    """What the run stands at: its last attempt's error, unless it goes on or has completed."""
    if row.state in (State.COMPLETED, State.RUNNING, State.WAITING):
        return None
    if tree.attempts and (error := tree.attempts[-1].error):
        return error
    return ErrorInfo(row.error_type, row.error) if row.error_type or row.error else None


def _error_lines(error: ErrorInfo, paint: Paint) -> Iterator[str]:
    first, *more = text.block(error.message)
    yield paint(": ".join(part for part in (text.visible(error.type), first) if part), Style.BAD)
    yield from more
    trace = error.traceback.rstrip("\n").removesuffix(error.message)
    frames = [line for line in text.block(trace) if line.strip()]
    if frames and frames[0].startswith("Traceback "):
        frames.pop(0)
    if frames and not frames[-1].startswith(" "):  # the error again, as Python ends its tracebacks
        frames.pop()
    if len(frames) > MOST_TRACEBACK:
        frames = [f"  ({len(frames) - MOST_TRACEBACK} lines above)", *frames[-MOST_TRACEBACK:]]
    yield from (paint(line, Style.DIM) for line in frames)


def _said(error: ErrorInfo) -> str:
    """The error on one line."""
    return text.visible(f"{_kind(error)}: {error.message}" if error.message else _kind(error)).replace("\\n", " ")


def _kind(error: ErrorInfo) -> str:
    """The error's type without its module."""
    return text.visible(error.type.rpartition(".")[2]) or "error"
