"""What happened over time."""

from __future__ import annotations

import msgspec

from holdfast.core.model import Instant, Seconds

METRICS = "metrics.series"
"""`MetricsQuery` → `Metrics`."""


class MetricsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which time, in which steps. Empty fields do not filter."""

    since: Instant
    until: Instant
    step: Seconds
    """At least so long that there are at most 500 of them."""
    queue: str = ""
    """A `*` in it stands for any characters, as in `task`."""
    task: str = ""


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """How much was done and how long it took, bucket by bucket; each tuple has one value for each."""

    at: tuple[Instant, ...]
    """When each begins, oldest first; at most 500. The last one may reach beyond `until`, and counts up to there."""
    step: Seconds
    created: tuple[int, ...]
    """Runs created in it."""
    started: tuple[int, ...]
    """Runs that started in it for the first time."""
    ended: tuple[int, ...]
    failed: tuple[int, ...]
    """Those that ended dead, failed or timed out."""
    waiting: tuple[int, ...]
    """At its end: those that had not started yet."""
    running: tuple[int, ...]
    """At its end: those that had started and not ended, also while they slept or were to be retried."""
    p50: tuple[Seconds | None, ...]
    """Start to end of those that ended in it; None: none did."""
    p95: tuple[Seconds | None, ...]
    worst: tuple[tuple[str, Seconds], ...]
    """Queues and their p95 over the whole time, the slowest first; at most 5."""
