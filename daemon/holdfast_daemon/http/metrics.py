"""A project in the text formats of Prometheus (https://prometheus.io/docs/instrumenting/exposition_formats/).

Whoever scrapes sees the project of his token. Nothing is kept in the client library's own registry: each scrape is a
registry of its own, made from what the project says at the moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.responses import Response

from holdfast.core.model import Instant
from holdfast.wire.api import QueueRow
from holdfast_daemon.http.ports import Measures

_Of: TypeAlias = Callable[[QueueRow], float | None]


class Requests:
    """How many requests were answered how."""

    def __init__(self) -> None:
        self._answered: Counter[tuple[str, str, str, str]] = Counter()
        """By project (empty: of none), method, route and status."""

    def add(self, project: str, method: str, route: str, status: int) -> None:
        self._answered[project, method, route, str(status)] += 1

    def of(self, project: str) -> Iterator[tuple[tuple[str, str, str], int]]:
        """Those of a project, and those that belong to none."""
        seen: Counter[tuple[str, str, str]] = Counter()
        for (owner, *labels), count in self._answered.items():
            if owner in ("", project):
                seen[labels[0], labels[1], labels[2]] += count
        yield from sorted(seen.items())


def exposed(project: str, measures: Measures, requests: Requests, *, now: Instant, accept: str) -> Response:
    """The answer to a scrape, in the format that it accepts."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Scrape(project, measures, requests, now))
    encode, media_type = choose_encoder(accept)
    return Response(encode(registry), headers={"Content-Type": media_type})


class _Scrape(Collector):
    """What one scrape sees."""

    def __init__(self, project: str, measures: Measures, requests: Requests, now: Instant) -> None:
        self._project = project
        self._measures = measures
        self._requests = requests
        self._now = now

    def collect(self) -> Iterable[Metric]:
        yield from self._runs()
        yield from self._queues()
        yield from self._daemon()

    def _runs(self) -> Iterator[Metric]:
        runs = GaugeMetricFamily("holdfast_runs", "Runs by queue and state.", labels=("project", "queue", "state"))
        for (queue, state), count in sorted(self._measures.runs.items()):
            runs.add_metric((self._project, queue, state.value), count)
        yield runs

    def _queues(self) -> Iterator[Metric]:
        yield self._gauge("queue_oldest_seconds", "Age of the oldest run that is ready.", self._age)
        yield self._gauge("queue_created_per_second", "Runs created, over 10 s.", lambda queue: queue.in_rate)
        yield self._gauge("queue_ended_per_second", "Runs ended, over 10 s.", lambda queue: queue.out_rate)
        yield self._gauge("queue_duration_p95_seconds", "Start to end, over 5 minutes.", lambda queue: queue.p95)
        yield self._gauge("queue_paused", "1 where nothing new starts.", lambda queue: float(queue.paused))
        yield self._gauge("queue_limit", "Runs at once that are allowed.", lambda queue: queue.limit)
        yield self._gauge("queue_workers", "Workers that serve it.", lambda queue: queue.workers)
        yield self._gauge("queue_operator_runs", "Runs that wait for an operator.", lambda queue: queue.paused_runs)

    def _daemon(self) -> Iterator[Metric]:
        measures, health = self._measures, self._measures.health
        lag = max(0, health.journal - health.projected)
        yield self._number("journal_sequence", "Last sequence of the journal.", health.journal)
        yield self._number("projection_lag_messages", "Journal messages that the history is behind.", lag)
        yield self._number("journal_messages_per_second", "Over 10 s.", measures.queues.events)
        yield self._number("workers", "Workers whose heartbeat is fresh.", measures.workers)
        yield self._count("events_routed", "Runs created from events.", measures.routed)
        yield self._count("events_unwanted", "Events that no route wanted.", measures.unwanted)
        yield self._count("events_refused", "Runs of events that were too large.", measures.refused)
        yield self._count("events_unmapped", "Events that no map could read: dead letters.", measures.unmapped)
        yield self._count("journal_unreadable", "Journal messages passed over.", health.unreadable)
        repairs = CounterMetricFamily("holdfast_repairs", "What was mended, by kind.", labels=("project", "kind"))
        for kind, count in sorted(health.repaired.items()):
            repairs.add_metric((self._project, kind), count)
        yield repairs
        labels = ("project", "method", "route", "status")
        answered = CounterMetricFamily("holdfast_http_requests", "Requests by route and status.", labels=labels)
        for found, count in self._requests.of(self._project):
            answered.add_metric((self._project, *found), count)
        yield answered

    def _age(self, queue: QueueRow) -> float:
        return 0.0 if queue.oldest is None else max(0.0, self._now - queue.oldest)

    def _gauge(self, name: str, help: str, of: _Of) -> Metric:
        family = GaugeMetricFamily(f"holdfast_{name}", help, labels=("project", "queue"))
        for queue in self._measures.queues.queues:
            if (value := of(queue)) is not None:
                family.add_metric((self._project, queue.name), value)
        return family

    def _number(self, name: str, help: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"holdfast_{name}", help, labels=("project",))
        family.add_metric((self._project,), value)
        return family

    def _count(self, name: str, help: str, value: float) -> Metric:
        family = CounterMetricFamily(f"holdfast_{name}", help, labels=("project",))
        family.add_metric((self._project,), value)
        return family
