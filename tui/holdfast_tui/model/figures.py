"""What the charts show: the figures of a time, bucket by bucket, as plots, as words and as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from holdfast.core.model import Instant, Seconds
from holdfast.wire.api import Metrics
from holdfast_tui.format import clean, count, rate, took
from holdfast_tui.model.chart import Plot
from holdfast_tui.model.span import Span

PARTIAL: Seconds = 1.0
"""A bucket that is younger says nothing about a rate yet."""


class Chart(NamedTuple):
    """One of the charts."""

    name: str
    title: str
    values: Callable[[Metrics, Instant], Sequence[float | None]]
    """Of each bucket as of an instant; None: there is nothing to say."""
    written: Callable[[float], str]
    whole: bool = False
    """As `Plot.whole`."""
    filter: str = ""
    """What narrows the runs of a bucket to those that the chart counts."""


def _throughput(metrics: Metrics, now: Instant) -> list[float | None]:
    return _per(metrics, metrics.ended, now, 1.0)


def _failures(metrics: Metrics, now: Instant) -> list[float | None]:
    return _per(metrics, metrics.failed, now, 60.0)


def _waiting(metrics: Metrics, now: Instant) -> list[float | None]:
    return [value if at <= now else None for at, value in zip(metrics.at, metrics.waiting, strict=True)]


def _per(metrics: Metrics, counts: Sequence[int], now: Instant, unit: Seconds) -> list[float | None]:
    """Counts as rates; of the bucket that is not over yet, over the part of it that is."""
    found: list[float | None] = []
    for at, number in zip(metrics.at, counts, strict=True):
        length = min(metrics.step, now - at)
        found.append(number * unit / length if length >= min(PARTIAL, metrics.step) else None)
    return found


def seconds(value: float) -> str:
    """A duration on an axis; nothing is 0."""
    return took(value) if value else "0"


CHARTS = (
    Chart("out", "throughput out/s", _throughput, rate),
    Chart("p95", "p95 latency", lambda metrics, now: metrics.p95, seconds),
    Chart("waiting", "waiting", _waiting, count, whole=True),
    Chart("fail", "failures/min", _failures, rate, filter="state:fail,dead,timeup"),
)


def nothing(metrics: Metrics) -> bool:
    """Whether nothing happened and nothing waited."""
    counts = (metrics.created, metrics.started, metrics.ended, metrics.waiting, metrics.running)
    return not any(any(each) for each in counts)


def plot(chart: Chart, metrics: Metrics, now: Instant) -> Plot:
    """A chart to be drawn, with how it stands now and how high it was behind its title."""
    values = chart.values(metrics, now)
    there = [value for value in values if value is not None]
    if not there:
        return Plot(chart.title, values, chart.written, "no data", chart.whole)
    note = f"now {_or(values[-1], chart)}  peak {chart.written(max(there))}"
    if chart.name == "p95" and metrics.worst:
        queue, slow = metrics.worst[0]
        note += f"  worst {took(slow)} {clean(queue)}"
    return Plot(chart.title, values, chart.written, note, chart.whole)


def _or(value: float | None, chart: Chart) -> str:
    return "-" if value is None else chart.written(value)


def at_cursor(metrics: Metrics, index: int, now: Instant) -> str:
    """The figures of a bucket on one line."""
    units = {"out": "/s", "fail": "/min"}
    parts = []
    for chart in CHARTS:
        value = chart.values(metrics, now)[index]
        parts.append(f"{chart.name} {_or(value, chart)}{units.get(chart.name, '') if value is not None else ''}")
    return "  ".join(parts)


def labels(span: Span) -> list[str]:
    """Below the axis: how long ago."""
    assert span.seconds is not None
    return [*(_ago(span.seconds * part / 4) for part in (4, 3, 2, 1)), "now"]


def _ago(ago: Seconds) -> str:
    if ago < 120:
        return f"-{ago:g}s"
    if ago < 2 * 3600:
        return f"-{ago / 60:g}m" if ago % 60 == 0 else f"-{ago // 60:.0f}m{ago % 60:02.0f}s"
    if ago <= 86_400:
        return f"-{ago / 3600:g}h"
    return f"-{ago / 86_400:g}d"


def as_csv(metrics: Metrics) -> str:
    """The figures as a table: a line for each bucket; what is not there is empty. Durations are in seconds."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    names = ("created", "started", "ended", "failed", "waiting", "running", "p50", "p95")
    table.writerow(("at", *names))
    columns = [getattr(metrics, name) for name in names]
    for number, at in enumerate(metrics.at):
        time = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        values = (column[number] for column in columns)
        table.writerow((time, *("" if value is None else value for value in values)))
    return out.getvalue()
