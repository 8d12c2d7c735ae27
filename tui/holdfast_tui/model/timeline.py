"""The timeline of a run: which stretch of its time is shown, the axis above it, and the path that it took so long on.

Pure layout: times and widths in, text out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from holdfast.core.model import Instant, Seconds
from holdfast_tui.format import Cell, clean, clock, error_name, offset, plural, took
from holdfast_tui.model.nodes import tries_of, worker_of
from holdfast_tui.model.outline import ROOT, NodeRow, Outline
from holdfast_tui.model.stretch import Scale

LEAST: Seconds = 0.001
"""The shortest time that fills the whole width."""
MOST = 2.0**20
"""How far it can be zoomed in."""
PAN = 0.25
"""By which part of what is shown a key pans."""
TICK = 16
"""Columns between two labels of the axis, at least."""


class Reach(NamedTuple):
    """Which part of the run is shown."""

    zoom: float = 1.0
    """1: all of it; 4: a quarter of its length."""
    start: Seconds = 0.0
    """Behind the run's start."""

    def span(self, total: Seconds) -> Seconds:
        return max(LEAST, total / self.zoom)

    def zoomed(self, by: float, around: Seconds, total: Seconds) -> Reach:
        """Closer (`by` above 1) or further off, with an instant kept where it is on the screen, or in the middle."""
        zoom = min(max(1.0, self.zoom * by), max(1.0, min(MOST, total / LEAST)))
        before, after = self.span(total), max(LEAST, total / zoom)
        shown = self.start <= around <= self.start + before
        place = (around - self.start) / before if shown else 0.5
        return Reach(zoom, around - after * place).held(total)

    def panned(self, by: float, total: Seconds) -> Reach:
        """Sideways, by a part of what is shown."""
        return Reach(self.zoom, self.start + by * self.span(total)).held(total)

    def held(self, total: Seconds) -> Reach:
        """Within the run."""
        return Reach(self.zoom, max(0.0, min(self.start, total - self.span(total))))

    def scale(self, begun: Instant, total: Seconds, width: int) -> Scale:
        return Scale(begun + self.start, self.span(total), width)

    def told(self, total: Seconds) -> str:
        """For row 2."""
        end = min(total, self.start + self.span(total)) if total else 0.0
        zoom = f"{self.zoom:.0f}" if self.zoom < 10_000 else f"{self.zoom / 1000:.0f}k"
        step = (end - self.start) / 8
        return f"window {tick(self.start, step)} - {tick(end, step)}  zoom x{zoom}"


def axis(scale: Scale, begun: Instant) -> str:
    """Labels above the bars, evenly; the last one ends where they end."""
    count = max(1, scale.width // TICK)
    cells = [" "] * scale.width
    for index in range(count + 1):
        at = scale.start - begun + scale.span * index / count
        label = tick(at, scale.span / count)
        place = min(round(scale.width * index / count), scale.width - len(label))
        if place >= 0 and "".join(cells[max(0, place - 1) : place + len(label)]).isspace():
            cells[place : place + len(label)] = label
    return "".join(cells)


def tick(at: Seconds, step: Seconds) -> str:
    """A time behind the run's start, as exact as the distance to the next one needs."""
    if at <= 0:
        return "0"
    if step >= 10 or at >= 600:
        return took(at)
    digits = 3 if step < 0.02 else 2 if step < 0.2 else 1 if step < 2 else 0
    return f"{at:.{digits}f}s"


class Path(NamedTuple):
    """The awaits that one after the other made the run as long as it is."""

    keys: frozenset[str]
    """Of these awaits, and of those that they lie within."""
    length: Seconds
    """The time spent in them."""


def critical(outline: Outline, now: Instant) -> Path:
    """From the end back: what ended last, then what ended last before that began, and so on. Undos count as any."""
    leaves = sorted(_leaves(outline, now), key=lambda leaf: (leaf[1], leaf[0]), reverse=True)
    keys: set[str] = set()
    length, before = 0.0, float("inf")
    for start, end, key in leaves:
        if end <= before + 1e-9 and end > start:
            length += end - start
            before = start
            while key:
                keys.add(key)
                key = key.rpartition("/")[0]
    return Path(frozenset(keys), length)


def _leaves(outline: Outline, now: Instant) -> Iterator[tuple[Instant, Instant, str]]:
    """Start, end and key of the awaits that have none below them, as far as they have times."""
    for _, node in outline.story.tree.walk():
        inner = [child for child in node.children if child.kind != "undo"]
        if inner:
            continue
        start, lasted = outline.times(node)
        if start is not None:
            yield start, now if lasted is None else start + lasted, node.key


def summary(outline: Outline, row: NodeRow, now: Instant) -> list[Cell]:
    """What is to be said of the line under the cursor: when, how long, how often, who, and why it failed."""
    begun, _ = outline.story.span(now)
    word, role = row.state
    cells: list[Cell] = [(f"{word}  {_when(row, begun, now)}".rstrip(), role)]
    spans = outline.story.tree.attempts
    node = row.node
    if row.id == ROOT:
        held = sum((span.ended_at or now) - span.started_at for span in spans)
        workers = list(dict.fromkeys(clean(span.worker) for span in spans))
        cells.append((f"{took(held)} held by {plural(len(workers), 'worker')}  {', '.join(workers[:6])}", ""))
    elif node is not None and node.tries and not row.attempt:
        tries = tries_of(node)
        whole = (now if row.took is None else (row.start or now) + row.took) - (row.start or now)
        busy = sum(one.took for one in tries)
        if len(tries) == len(node.tries) and node.started_at is not None and node.started_at >= node.tries[-1].at:
            busy += (node.ended_at or now) - node.started_at
        workers = list(dict.fromkeys(worker_of(spans, one.at) for one in tries))
        said = f"{plural(row.tries or len(tries), 'try').replace('trys', 'tries')}, {took(whole - busy)} of it backoff"
        cells.append((f"{said}   worker {', '.join(workers)}", ""))
    elif node is not None and row.start is not None:
        cells.append((f"began {clock(row.start, millis=True)}   worker {worker_of(spans, row.start) or '-'}", ""))
    if row.about:
        cells.append((row.about, ""))
    if row.error is not None:
        cells.append((clean(f"{error_name(row.error.type)}: {row.error.message}"), "fail"))
    return cells


def _when(row: NodeRow, begun: Instant, now: Instant) -> str:
    if row.start is None:
        return ""
    end = now if row.took is None else row.start + row.took
    until = "now" if row.took is None else offset(end - begun)
    return f"{offset(row.start - begun)} .. {until}  {took(end - row.start)}"
