"""What goes over the wire besides the journal: the daemon's requests and replies, letters, log lines, presence.

All of it is msgpack of these structs (`wire.codec.encode`, `decode`). A field is only ever added, with a default. Times
are seconds since the epoch, UTC. Texts that come from users (payloads, errors, log lines) are raw: whoever shows them
on a terminal makes control characters visible.

Each noun has a module. In capitals stand the names of services: each is a subject under `hf.<p>.api.`.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from holdfast.wire.api.asking import (
    CHECK,
    CHECK_ALL,
    MOVED,
    QUERY,
    ROUTE,
    AllChecked,
    Answer,
    AskedEvent,
    Checked,
    EventAnswer,
    EventsAnswered,
    EventsAsked,
    Payloads,
    Query,
)
from holdfast.wire.api.audit import AUDIT_LIST, AuditEntry, AuditPage, AuditQuery
from holdfast.wire.api.events import (
    EVENTS_REPLAY,
    EVENTS_RUNS,
    EventRef,
    EventRun,
    EventRuns,
    EventsReplay,
    EventsReplayed,
)
from holdfast.wire.api.health import HEALTH, Health, Nothing
from holdfast.wire.api.letters import (
    LETTERS_GROUPS,
    LETTERS_LIST,
    Letter,
    LetterGroup,
    LetterGroups,
    LettersPage,
    LettersQuery,
)
from holdfast.wire.api.logs import LOGS_LIST, LogBatch, LogLine, LogRow, LogsPage, LogsQuery
from holdfast.wire.api.metrics import METRICS, Metrics, MetricsQuery
from holdfast.wire.api.queues import (
    QUEUES_LIST,
    QUEUES_PURGE,
    QUEUES_WHY,
    QueuePurge,
    QueuePurged,
    QueueRow,
    Queues,
    ReadyRun,
    Reason,
    Why,
)
from holdfast.wire.api.runs import (
    RUNS_COUNTS,
    RUNS_GET,
    RUNS_HISTORY,
    RUNS_LIST,
    RUNS_VALUE,
    History,
    HistoryRef,
    RunRef,
    RunRow,
    RunsCounts,
    RunsOrder,
    RunsPage,
    RunsQuery,
    RunView,
    Stored,
    Value,
    ValueRef,
)
from holdfast.wire.api.tokens import AccessToken, Scope
from holdfast.wire.api.workers import FAULT, ORDER, Duty, Fault, Order, Presence, TaskCard

__all__ = [
    "AUDIT_LIST",
    "CHECK",
    "CHECK_ALL",
    "EVENTS_REPLAY",
    "EVENTS_RUNS",
    "FAULT",
    "HEALTH",
    "LETTERS_GROUPS",
    "LETTERS_LIST",
    "LOGS_LIST",
    "METRICS",
    "MOVED",
    "ORDER",
    "QUERY",
    "QUEUES_LIST",
    "QUEUES_PURGE",
    "QUEUES_WHY",
    "ROUTE",
    "RUNS_COUNTS",
    "RUNS_GET",
    "RUNS_HISTORY",
    "RUNS_LIST",
    "RUNS_VALUE",
    "AccessToken",
    "AllChecked",
    "Answer",
    "AskedEvent",
    "AuditEntry",
    "AuditPage",
    "AuditQuery",
    "Checked",
    "Duty",
    "EventAnswer",
    "EventRef",
    "EventRun",
    "EventRuns",
    "EventsAnswered",
    "EventsAsked",
    "EventsReplay",
    "EventsReplayed",
    "Fault",
    "Health",
    "History",
    "HistoryRef",
    "Letter",
    "LetterGroup",
    "LetterGroups",
    "LettersPage",
    "LettersQuery",
    "LogBatch",
    "LogLine",
    "LogRow",
    "LogsPage",
    "LogsQuery",
    "Metrics",
    "MetricsQuery",
    "Nothing",
    "Order",
    "Payloads",
    "Presence",
    "Query",
    "QueuePurge",
    "QueuePurged",
    "QueueRow",
    "Queues",
    "ReadyRun",
    "Reason",
    "RunRef",
    "RunRow",
    "RunView",
    "RunsCounts",
    "RunsOrder",
    "RunsPage",
    "RunsQuery",
    "Scope",
    "Stored",
    "TaskCard",
    "Value",
    "ValueRef",
    "Why",
    "decode",
]

T = TypeVar("T")


def decode(data: bytes, type: type[T]) -> T:
    """Raises: msgspec.DecodeError: the bytes are not of this type."""
    return msgspec.msgpack.decode(data, type=type)
