"""Runs: lists and counts of them, one whole, its history and its values."""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never

import msgspec

from holdfast.core.entries import Entry
from holdfast.core.lifecycle import Kind, Record
from holdfast.core.model import ErrorInfo, Instant, Origin, Progress, Seconds, State
from holdfast.core.pending import Wait

RUNS_LIST = "runs.list"
"""`RunsQuery` → `RunsPage`."""
RUNS_GET = "runs.get"
"""`RunRef` → `RunView`."""
RUNS_HISTORY = "runs.history"
"""`HistoryRef` → `History`."""
RUNS_VALUE = "runs.value"
"""`ValueRef` → `Value`."""
RUNS_COUNTS = "runs.counts"
"""`RunsQuery` → `RunsCounts`."""


class RunRef(msgspec.Struct, frozen=True):
    """Names a run: its id, or enough of its end or beginning to be the only one."""

    run: str


class RunsOrder(StrEnum):
    """By what runs are ordered. Those of which it is not known come last, whichever way they are ordered."""

    CREATED = "created"
    STARTED = "started"
    ENDED = "ended"
    TOOK = "took"
    """Start to end, of those that have ended."""
    ATTEMPTS = "attempts"
    STEPS = "steps"


class RunsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs, newest first unless another order is asked for. Empty fields do not filter.

    In the names of tasks, queues, workers, schedules and sources a `*` stands for any characters: `w-*`.
    """

    states: tuple[State, ...] = ()
    tasks: tuple[str, ...] = ()
    queue: str = ""
    tag: str = ""
    worker: str = ""
    text: str = ""
    """Part of the id, the task or the error's message."""
    since: Instant | None = None
    until: Instant | None = None
    before: tuple[float | None, str] | None = None
    """Where the page before ended: what its last run is ordered by (None: it has none) and its id; see `behind`."""
    limit: int = 50
    """At most 1,000."""
    paused: bool = False
    """Only those that wait for an operator."""
    origin: str = ""
    """Made from this run: replayed, forked or imported."""
    code: str = ""
    """Fingerprint of the code that ran last, or its beginning."""
    waits: str = ""
    """Part of what it waits for, as `RunRow.waits` says it."""
    deadline: Instant | None = None
    """Those that must have ended by then."""
    order: RunsOrder = RunsOrder.CREATED
    descending: bool = True
    queues: tuple[str, ...] = ()
    """Any of these, besides `queue`."""
    keys: tuple[str, ...] = ()
    """Ids, of any of these; at most 1,000."""
    errors: tuple[str, ...] = ()
    """Any of these is part of the error's type or message."""
    error_type: str = ""
    """The error's type, all of it."""
    pattern: str = ""
    """The error's pattern, as `LetterGroup.pattern`."""
    without: tuple[str, ...] = ()
    """None of these is part of the id, the task, the error's type or its message."""
    words: tuple[str, ...] = ()
    """Each of these is part of one of them."""
    attempts_least: int = 0
    took_least: Seconds | None = None
    """Start to end, at least so long; of one that runs: till now."""
    took_most: Seconds | None = None
    """The same, at most."""
    priority: int | None = None
    schedule: str = ""
    """Name of the schedule that started it, also by hand."""
    source: str = ""
    """What started it, or how that begins: `event`, `schedule nightly`."""

    def behind(self, last: RunRow) -> RunsQuery:
        """The query for the page behind a page's last run."""
        return msgspec.structs.replace(self, before=(last.ordered(self.order), last.id))


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """A run as lists show it."""

    id: str
    task: str
    queue: str
    priority: int
    state: State
    created_at: Instant
    started_at: Instant | None = None
    finished_at: Instant | None = None
    due: Instant | None = None
    attempt: int = 0
    steps: int = 0
    worker: str = ""
    parent: str = ""
    source: str = ""
    tags: tuple[str, ...] = ()
    error_type: str = ""
    error: str = ""
    """First line of the error's message."""
    reason: str = ""
    last_key: str = ""
    """The last recorded checkpoint."""
    paused: str = ""
    """Why it waits for an operator; empty where it does not."""
    progress: Progress | None = None
    waits: str = ""
    """What it is suspended on: `token T`, `event orders.paid`, `child R`, `signal approve`, `sleep`; by commas."""
    deadline: Instant | None = None
    """By when it must have ended."""
    expires: Instant | None = None
    """By when it must have started for the first time."""
    origin: str = ""
    """The run that it was made from."""
    code: str = ""
    """Fingerprint of the code that ran last."""
    ending: State | None = None
    """The final state that it will have; set while its undos run."""

    @property
    def took(self) -> Seconds | None:
        """Start to end, to the microsecond; None: it has not ended, or never started."""
        if self.started_at is None or self.finished_at is None:
            return None
        return round(self.finished_at - self.started_at, 6)

    def ordered(self, order: RunsOrder) -> float | None:
        """What it is ordered by."""
        match order:
            case RunsOrder.CREATED:
                return self.created_at
            case RunsOrder.STARTED:
                return self.started_at
            case RunsOrder.ENDED:
                return self.finished_at
            case RunsOrder.TOOK:
                return self.took
            case RunsOrder.ATTEMPTS:
                return self.attempt
            case RunsOrder.STEPS:
                return self.steps
        assert_never(order)


class RunsCounts(msgspec.Struct, frozen=True):
    """How many runs a query means; its order, page and limit do not count."""

    states: dict[State, int]
    """By state; those of which there are none are left out."""
    total: int


class RunsPage(msgspec.Struct, frozen=True):
    runs: tuple[RunRow, ...]
    total: int
    """How many match in all."""
    more: bool


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    """A run with everything."""

    row: RunRow
    payload: str
    """As JSON, indented; a value that has no JSON form is shown as `{"$type": ...}`."""
    result: str = ""
    """The same; empty where there is none."""
    error: ErrorInfo | None = None
    children: tuple[RunRow, ...] = ()
    metadata: str = ""
    """As JSON, indented, as the payload; empty where there is none."""
    origin: Origin | None = None
    waits: tuple[Wait, ...] = ()
    """What it is suspended on, one by one."""
    hook: str = ""
    """Id of the run that follows its ending up; empty where there is none."""


class HistoryRef(msgspec.Struct, frozen=True):
    """A run's history, from a message on."""

    run: str
    """As in `RunRef`."""
    after: int = 0
    """Sequence of the last message that is known."""


class Stored(msgspec.Struct, frozen=True):
    """One journal message of a run."""

    seq: int
    time: Instant
    kind: str
    """`ready`, `log`, `in` or `timer`."""
    writer: str
    entries: tuple[Entry, ...]

    @property
    def record(self) -> Record:
        """The message as the fold takes it."""
        return Record(self.seq, Kind(self.kind), self.writer, self.entries)


class History(msgspec.Struct, frozen=True):
    """A run's messages in stream order."""

    run: str
    messages: tuple[Stored, ...]
    more: bool = False
    """Whether there are further ones behind these, which a reply can't hold too."""


class ValueRef(msgspec.Struct, frozen=True):
    """A recorded value of a run."""

    run: str
    """As in `RunRef`."""
    key: str
    """A checkpoint; `/`: the run's result; empty: its payload."""


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded value, whatever its size, as JSON."""

    run: str
    key: str
    json: str
    """Indented; a value that has no JSON form is shown as `{"$type": ...}`."""
    size: int
    """Bytes of the value as it is stored."""
    whole: bool = True
    """False: a reply can't hold all of it, and this is its beginning."""
