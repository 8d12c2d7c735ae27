"""How a queue stands, and what holds it: in a word, and in lines with the key that would change it."""

from __future__ import annotations

from holdfast.core.model import Instant
from holdfast.quantities import readable_rate
from holdfast.wire.api import QueueRow
from holdfast_tui.format import Cell, age, clean, count, date, rate, short, took, until
from holdfast_tui.model.bars import axis, bars

LATE = 60.0
"""A queue whose oldest run waits longer than this, in seconds, is stalled or slow."""

WORDS = {"paused": "PAUSED", "noworker": "NOWORKER", "stalled": "STALLED", "limit": "LIMIT", "slow": "SLOW", "ok": "ok"}
"""What `state:` takes in the filter, and what it stands for."""


def standing(row: QueueRow, now: Instant) -> Cell:
    """How a queue stands, in one word."""
    late = row.oldest is not None and now - row.oldest > LATE
    if row.paused:
        return "PAUSED", "dim"
    if row.depth and not row.workers and not row.running:
        return "NOWORKER", "dead" if late else "warn"
    if row.depth and late and not row.running and row.out_rate <= 0:
        return "STALLED", "dead"
    if row.limit is not None and row.running >= row.limit and row.depth:
        return f"LIMIT {row.limit}", "warn"
    if late and row.in_rate > row.out_rate:
        return "SLOW", "warn"
    return "ok", ""


def waited(row: QueueRow, now: Instant) -> float | None:
    """How long its oldest ready run waits, in seconds."""
    return None if row.oldest is None else now - row.oldest


def about(row: QueueRow, now: Instant) -> list[Cell]:
    """A queue in the pane: figures, depth over time, errors, who waits longest."""
    word, role = standing(row, now)
    lag = row.in_rate - row.out_rate
    grows = f"   lag +{rate(lag)}/s" if lag > 0.05 and row.depth else ""
    limits = f"limit {row.limit:,} in flight" if row.limit is not None else "no limit"
    cells: list[Cell] = [
        (word, role or "title"),
        (f"depth {count(row.depth)}   oldest {took(waited(row, now))}", ""),
        (f"in {rate(row.in_rate)}/s   out {rate(row.out_rate)}/s{grows}", ""),
        (f"p50 {took(row.p50)}  p95 {took(row.p95)}  p99 {took(row.p99)}", ""),
        (f"{limits}   workers {row.workers}", "" if row.workers or not row.depth else "warn"),
        (f"run {row.running:,}  wait {row.waiting:,}  retry {row.retrying:,}", ""),
        (f"delayed {row.delayed:,}   dead {row.dead:,}", ""),
    ]
    if row.compensating:
        cells.append((f"undoing {row.compensating:,}", "warn"))
    if row.paused_runs:
        cells.append((f"paused runs {row.paused_runs:,}: enter, /is:paused", "warn"))
    if row.depths:
        cells += [("", ""), (f"depth, last {len(row.depths)} min", "title")]
        cells += [(line, "") for line in bars(row.depths, 3)]
        cells.append((axis(len(row.depths), f"-{len(row.depths)}m", f"{len(row.depths) // 2}m", "now"), "dim"))
    if row.errors:
        cells += [("", ""), ("errors, last hour", "title")]
        cells += [(f"{number} {_name(kind)}  {clean(place)}", "fail") for number, kind, place in row.errors]
    if row.oldest_runs:
        cells += [("", ""), ("oldest waiting", "title")]
        cells += [(f"{short(each.run)}  {age(now - each.since)}  {clean(each.task)}", "") for each in row.oldest_runs]
    return [*cells, ("", ""), ("P pause  L limit  enter its runs", "dim")]


def _name(kind: str) -> str:
    return clean(kind.rpartition(".")[2])


def explained(row: QueueRow, now: Instant) -> list[Cell]:
    """What holds a queue, since when, and what would change it."""
    lines = [*_held(row, now)]
    if not lines:
        waits = "It starts what is ready." if row.depth else "Nothing waits in it."
        lines = [(f"Nothing holds this queue back. {waits}", "")]
    if row.oldest is not None and row.depth:
        lines += [("", ""), (f"{row.depth:,} ready; the oldest since {date(row.oldest)}, {took(waited(row, now))}", "")]
    if row.depth and row.out_rate > 0 and row.in_rate < row.out_rate:
        spare = row.out_rate - row.in_rate
        lines.append((f"At {rate(spare)}/s more out than in it is empty in about {took(row.depth / spare)}.", ""))
    return lines


def _held(row: QueueRow, now: Instant) -> list[Cell]:
    """The causes, the one that matters first."""
    cells: list[Cell] = []
    late = row.oldest is not None and now - row.oldest > LATE
    if row.paused:
        cells.append(("PAUSED: nothing new is started; what runs goes on. P resumes it.", "warn"))
    if row.depth and not row.workers:
        cells.append(("NO WORKER serves it. Start one: holdfast worker MODULE (6 shows the workers)", "warn"))
    if row.limit is not None and row.running >= row.limit and row.depth:
        cells.append((f"LIMIT: {row.running:,} of {row.limit:,} run at once. L changes the limit.", "warn"))
    if row.limited_by == "queue rate" and row.rate is not None:
        when = f" The next start is {until(row.until, now)}." if row.until is not None else ""
        cells.append((f"RATE: {readable_rate(row.rate)} are started.{when} L changes it.", "warn"))
    known = ("paused", "no worker", "queue limit", "queue rate")
    if row.limited_by and row.limited_by not in known and row.depth:
        cells.append((f"{row.limited_by.upper()}: enter shows its runs, e on one says what it waits for", "warn"))
    if cells or not late:
        return cells
    if not row.running and row.out_rate <= 0:
        return [("STALLED: runs wait, workers are there, and nothing is started. Look at their logs (3).", "fail")]
    if row.in_rate > row.out_rate:
        more = rate(row.in_rate - row.out_rate)
        return [(f"SLOW: {more}/s more come in than go out. Start more workers, or pause what makes them.", "warn")]
    return []
