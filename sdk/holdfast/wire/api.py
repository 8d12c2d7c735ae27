"""What goes over the wire besides the journal: the daemon's requests and replies, letters, log lines, presence.

All of it is msgpack of these structs (`wire.codec.encode`, `decode`). A field is only ever added, with a default. Times
are seconds since the epoch, UTC. Texts that come from users (payloads, errors, log lines) are raw: whoever shows them
on a terminal makes control characters visible.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar, assert_never

import msgspec

from holdfast.core.entries import Entry
from holdfast.core.lifecycle import Kind, Record
from holdfast.core.model import (
    DEFAULT_PRIORITY,
    ErrorInfo,
    Hook,
    Instant,
    Limits,
    Origin,
    Progress,
    Rate,
    Seconds,
    State,
    Timeouts,
)
from holdfast.core.pending import Wait
from holdfast.core.schedule import Schedule

T = TypeVar("T")


def decode(data: bytes, type: type[T]) -> T:
    """Raises: msgspec.DecodeError: the bytes are not of this type."""
    return msgspec.msgpack.decode(data, type=type)


# --- services: the name of each is its subject under `hf.<p>.api.` --------------------------------------------------

RUNS_LIST = "runs.list"
"""`RunsQuery` → `RunsPage`."""
RUNS_GET = "runs.get"
"""`RunRef` → `RunView`."""
RUNS_HISTORY = "runs.history"
"""`HistoryRef` → `History`."""
RUNS_VALUE = "runs.value"
"""`ValueRef` → `Value`."""
QUEUES_LIST = "queues.list"
"""`Nothing` → `Queues`."""
QUEUES_WHY = "queues.why"
"""`RunRef` → `Why`."""
QUEUES_PURGE = "queues.purge"
"""`QueuePurge` → `QueuePurged`."""
RUNS_COUNTS = "runs.counts"
"""`RunsQuery` → `RunsCounts`."""
LETTERS_LIST = "dlq.list"
"""`LettersQuery` → `LettersPage`."""
LETTERS_GROUPS = "dlq.groups"
"""`LettersQuery` → `LetterGroups`."""
METRICS = "metrics.series"
"""`MetricsQuery` → `Metrics`."""
LOGS_LIST = "logs.list"
"""`LogsQuery` → `LogsPage`."""
AUDIT_LIST = "audit.list"
"""`AuditQuery` → `AuditPage`."""
HEALTH = "health"
"""`Nothing` → `Health`."""
EVENTS_REPLAY = "events.replay"
"""`EventsReplay` → `EventsReplayed`."""
EVENTS_RUNS = "events.runs"
"""`EventRef` → `EventRuns`."""


CHECK = "check"
"""`check.<task>`, served by the workers that have the task: a payload in the value codec → `Checked`."""


class Checked(msgspec.Struct, frozen=True):
    """Whether a payload fits a task's signature."""

    error: str = ""
    """Why not; empty where it does."""


ROUTE = "route"
"""`route.<task>`, served by the workers that have the task, where its filter or map is a function: `EventsAsked` →
`EventsAnswered`."""


class AskedEvent(msgspec.Struct, frozen=True, array_like=True):
    """An event that a task may want."""

    subject: str
    """Its name."""
    data: bytes
    headers: bytes
    """As a block."""
    time: Instant
    seq: int


class EventsAsked(msgspec.Struct, frozen=True):
    """What does the task make of these?"""

    events: tuple[AskedEvent, ...]


class EventAnswer(msgspec.Struct, frozen=True, array_like=True):
    """What the task makes of an event."""

    payload: bytes | None = None
    """Of the run that it starts, in the value codec; None: none."""
    error: str = ""
    """Why its filter or map can't say; empty where they can."""


class EventsAnswered(msgspec.Struct, frozen=True):
    """One answer for each event, in order."""

    answers: tuple[EventAnswer, ...]


CHECK_ALL = "check-all"
"""`check-all.<task>`, served likewise: `Payloads` → `AllChecked`."""


class Payloads(msgspec.Struct, frozen=True):
    """Several payloads of one task, in the value codec."""

    payloads: tuple[bytes, ...]


class AllChecked(msgspec.Struct, frozen=True):
    """Whether each of them fits."""

    errors: tuple[str, ...]
    """As `Checked.error`, in their order."""


QUERY = "query"
"""`query.<run>`, served by the worker that has the run in memory: `Query` → `Answer`."""


MOVED = "moved"
"""Code of a worker's refusal to answer a `Query`: another one has the run by now. It answers none of it any more, so
whoever asks again comes to another worker."""


class Query(msgspec.Struct, frozen=True):
    """A question to the code of a run (`run.expose`)."""

    name: str
    args: bytes
    """A list in the value codec."""


class Answer(msgspec.Struct, frozen=True):
    """What the code of a run answers."""

    value: bytes | None = None
    """In the value codec; None: nothing, or an error."""
    error: str = ""
    """Why it can't answer; empty where it does."""


class Nothing(msgspec.Struct, frozen=True):
    """A request without arguments."""


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


class ReadyRun(msgspec.Struct, frozen=True, array_like=True):
    """A run that waits for a worker."""

    run: str
    task: str
    since: Instant
    """When it became ready."""


class QueueRow(msgspec.Struct, frozen=True, kw_only=True):
    """A queue as it stands."""

    name: str
    paused: bool = False
    limit: int | None = None
    depth: int = 0
    """Runs that are ready and that nobody holds, by the journal."""
    running: int = 0
    waiting: int = 0
    retrying: int = 0
    delayed: int = 0
    dead: int = 0
    oldest: Instant | None = None
    """Since when its oldest ready run waits."""
    in_rate: float = 0.0
    """Runs created per second, over the last 10 s."""
    out_rate: float = 0.0
    """Runs ended per second, over the last 10 s."""
    p95: Seconds | None = None
    """Of start to end, over the last 5 minutes."""
    ended: tuple[int, ...] = ()
    """Runs ended in each of the last 60 s by 5 s, oldest first."""
    workers: int = 0
    """Workers that serve it."""
    compensating: int = 0
    paused_runs: int = 0
    """Runs that wait for an operator; each is also counted in its state."""
    key_limit: int | None = None
    """Runs at once of each concurrency key."""
    rate: Rate | None = None
    """Starts in any window of time."""
    limited_by: str = ""
    """What holds the whole queue back just now (`core.admission.Cause`, or `no worker`); empty: nothing does."""
    until: Instant | None = None
    """When that is over at the soonest, where it is known."""
    p50: Seconds | None = None
    """As `p95`."""
    p99: Seconds | None = None
    """As `p95`."""
    depths: tuple[int, ...] = ()
    """How many runs were ready and had never started, at the end of each of the last 30 minutes, oldest first; empty:
    it is not known."""
    oldest_runs: tuple[ReadyRun, ...] = ()
    """Those that wait longest; at most 3."""
    errors: tuple[tuple[int, str, str], ...] = ()
    """How many runs came to an end or a retry by an error in the last hour, its type, and its place (`file.py:88`) or
    else its message's pattern; the most frequent first, at most 3."""


class QueuePurge(msgspec.Struct, frozen=True, kw_only=True):
    """Cancel a page of the runs of a queue that wait and have never started."""

    queue: str
    by: str = ""
    """Who asks."""
    reason: str = ""
    after: int = 0
    """Where the page before ended: sequence of a run's first message."""
    upto: int | None = None
    """The last sequence that is meant, as the first page said it; None: all that there are now."""
    limit: int = 1000
    """At most so many are looked at; at most 1,000."""
    dry_run: bool = False
    """Only count them all."""


class QueuePurged(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a page of a purge."""

    cancelled: int
    """Or that would be, of all pages, where it is a dry run."""
    after: int
    """Where the next page begins."""
    upto: int
    """What the next page says as `QueuePurge.upto`: runs that came later stay."""
    done: bool
    """Whether there is no next one."""


class Reason(msgspec.Struct, frozen=True):
    """Something that a run waits for."""

    cause: str
    """A stable word or two: a `core.admission.Cause`, `schema`, `delay`, `retry`, `schedule`, `waits`, `operator`,
    `workers full`, `running`, or `ended`."""
    text: str
    """The same in plain words, with what would change it."""
    since: Instant | None = None
    until: Instant | None = None
    """When it is over at the soonest, where that is known."""


class Why(msgspec.Struct, frozen=True):
    """Why a run does not run."""

    run: str
    task: str
    queue: str
    state: State
    reasons: tuple[Reason, ...]
    """The one that matters first; empty: nothing holds it back, it is on its way to a worker."""


class Queues(msgspec.Struct, frozen=True):
    queues: tuple[QueueRow, ...]
    at: Instant
    events: float = 0.0
    """Journal messages per second, over the last 10 s."""


class LettersQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which dead letters, newest first unless another order is asked for. Empty fields do not filter.

    In the names of tasks and queues a `*` stands for any characters.
    """

    tasks: tuple[str, ...] = ()
    queue: str = ""
    error: str = ""
    """Part of the error's type or message."""
    since: Instant | None = None
    """When it died, as `until`."""
    before: tuple[float | None, str] | None = None
    """Where the page before ended: what its last letter is ordered by and its run; see `behind`."""
    limit: int = 50
    until: Instant | None = None
    order: RunsOrder = RunsOrder.ENDED
    """By when it died (`ended`), when its run was `created`, or its `attempts`; by nothing else."""
    descending: bool = True
    error_type: str = ""
    """The error's type, all of it."""
    pattern: str = ""
    """The error's pattern, as `LetterGroup.pattern`."""
    queues: tuple[str, ...] = ()
    """Any of these, besides `queue`."""
    errors: tuple[str, ...] = ()
    """Any of these is part of the error's type or message."""
    text: str = ""
    """Part of the run's id, the task or the error's message."""
    without: tuple[str, ...] = ()
    """None of these is part of the run's id, the task, the error's type or its message."""
    words: tuple[str, ...] = ()
    """Each of these is part of one of them."""
    keys: tuple[str, ...] = ()
    """Ids of runs, of any of these; at most 1,000."""
    attempts_least: int = 0

    def behind(self, last: Letter) -> LettersQuery:
        """The query for the page behind a page's last letter."""
        return msgspec.structs.replace(self, before=(last.ordered(self.order), last.run))


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter: everything for triage without opening anything else. Stored on `hf.<p>.dlq.<queue>.<run>`."""

    run: str
    task: str
    queue: str
    payload: bytes
    """In the value codec."""
    error: ErrorInfo
    reason: str
    attempts: int
    last_key: str
    """The checkpoint recorded last: where it stopped; empty where there is none."""
    first_at: Instant
    """When the run was created."""
    last_at: Instant
    """When it died."""

    def ordered(self, order: RunsOrder) -> float:
        """What it is ordered by; by what it can't be, as by when it died."""
        match order:
            case RunsOrder.CREATED:
                return self.first_at
            case RunsOrder.ATTEMPTS:
                return self.attempts
        return self.last_at


class LettersPage(msgspec.Struct, frozen=True):
    letters: tuple[Letter, ...]
    total: int
    more: bool


class LetterGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters of one kind of error."""

    error_type: str
    pattern: str
    """The message's first line with `*` for what varies: numbers, ids, quoted texts. Of a run that died of no error:
    why it did."""
    count: int
    first_at: Instant
    """When the first of them died."""
    last_at: Instant
    """When the last of them died."""
    tasks: tuple[str, ...]
    """By name; at most 20."""
    queues: tuple[str, ...]
    """By name; at most 20."""
    example: str
    """Id of the run that died last."""


class LetterGroups(msgspec.Struct, frozen=True):
    """Dead letters by kind of error; a query's order, page and limit do not count."""

    groups: tuple[LetterGroup, ...]
    """The largest first, at most 200."""
    total: int
    """How many letters match in all."""
    kinds: int = 0
    """How many groups there are in all."""


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


class LogLine(msgspec.Struct, frozen=True, array_like=True):
    """One line of output of user code."""

    at: Instant
    level: int
    """As in `logging`: 10 debug, 20 info, 30 warning, 40 error, 50 critical; stdout is 20, stderr 30."""
    stream: str
    """`stdout`, `stderr`, or the logger's name."""
    text: str
    key: str = ""
    """The step that wrote it, or empty for the task's own body."""


class LogBatch(msgspec.Struct, frozen=True):
    """What one message on `hf.<p>.log.<task>.<run>` holds."""

    run: str
    task: str
    attempt: int
    worker: str
    lines: tuple[LogLine, ...]
    queue: str = ""
    """Of the run; empty where an older worker wrote."""


class LogsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which lines. Empty fields do not filter."""

    run: str = ""
    task: str = ""
    level: int = 0
    """At least this level."""
    text: str = ""
    """Part of the line."""
    since: Instant | None = None
    until: Instant | None = None
    limit: int = 200
    """The newest so many, returned oldest first; at most 10,000."""
    tasks: tuple[str, ...] = ()
    """Any of them; a `*` stands for any letters."""
    queues: tuple[str, ...] = ()
    """The same of queues."""
    below: int = 0
    """Below this level; 0: of any."""
    words: tuple[str, ...] = ()
    """Parts of the line, all of them, in any case."""
    without: tuple[str, ...] = ()
    """Parts that must not be in the line, in any case."""
    patterns: tuple[str, ...] = ()
    """Regular expressions, in the dialect of RE2, that are all found in the line."""
    stored: bool = False
    """Newest in the order in which lines were stored, not in that in which they were written."""
    before: tuple[int, int] | None = None
    """Only what was stored before this message and the place of a line in it; with `stored`, the page before one."""
    after: int | None = None
    """Only what was stored behind this message."""


class LogRow(msgspec.Struct, frozen=True):
    seq: int
    """Sequence of its message in the log stream: where a follower goes on."""
    run: str
    task: str
    attempt: int
    line: LogLine
    number: int = 0
    """Its place in that message."""
    queue: str = ""
    """Of the run; empty where it is not known."""


class LogsPage(msgspec.Struct, frozen=True):
    rows: tuple[LogRow, ...]
    last_seq: int
    """What the projection has seen of the log stream: follow from the next one."""
    more: bool = False
    """Whether older ones match."""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody did who operates the project; a change to many things at once is one. Stored on `hf.<p>.audit`.

    It holds names only: never a payload, nor the value of a secret.
    """

    seq: int = 0
    """Its sequence in the audit stream; 0 where it is not stored yet."""
    at: Instant = 0.0
    who: str = ""
    """The user of the operating system; over HTTP the name of the access token."""
    via: str = ""
    """`tui`, `cli`, `http` or `sdk`."""
    host: str = ""
    """The machine that it was done on."""
    action: str
    """A stable word: `pause`, `resume`, `limit`, `retry`, `cancel`, ..."""
    kind: str
    """What the targets are: `run`, `queue`, `schedule`, `worker`, `secret`, `token`, `letter` or `event`."""
    targets: tuple[str, ...] = ()
    """The first 100, by name or id."""
    count: int = 1
    """How many things were meant; more than `accepted` and `refused` where it was stopped half way."""
    accepted: int = 0
    refused: int = 0
    why: str = ""
    """Why the first one was refused."""
    filter: str = ""
    """How they were chosen, where they were not named."""
    reason: str = ""
    """What for, in the words of whoever did it."""
    command: str = ""
    """The same from a shell; values that are not kept are words in capitals."""
    address: str = ""
    """Where the session came from: the client's address of SSH or HTTP; empty on the machine itself."""


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries, newest first. Empty fields do not filter."""

    since: Instant | None = None
    until: Instant | None = None
    who: str = ""
    via: str = ""
    action: str = ""
    """`*` stands for any letters, as in `schedule-*`; so in `who` and `target`."""
    target: str = ""
    """Of these, one of the first 100."""
    text: str = ""
    """Part of a target, the filter, the reason, the refusal or the command."""
    before: int | None = None
    """Where the page before ended: `seq` of its last entry."""
    limit: int = 100
    """At most 1,000."""


class AuditPage(msgspec.Struct, frozen=True):
    entries: tuple[AuditEntry, ...]
    """Newest first."""
    total: int
    """How many match in all."""
    more: bool


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's heartbeat: control value `worker`, ended by its TTL."""

    worker: str
    host: str
    pid: int
    started_at: Instant
    at: Instant
    tasks: tuple[str, ...]
    queues: tuple[str, ...]
    concurrency: int
    running: int
    runs: tuple[str, ...] = ()
    """Up to 100 of the runs that it holds."""
    draining: bool = False
    """It takes up nothing; until it is resumed, where it does not stop."""
    version: str = ""
    cpu: float = 0.0
    """Share of a core that it used since the beat before: 0.17 is 17 %."""
    rss: int = 0
    """Bytes of memory that it has; 0 where the system does not say."""
    done_rate: float = 0.0
    """Runs ended per second, over the last 10 s."""


ORDER = "order"
"""The control value that tells a worker what to do."""


class Duty(StrEnum):
    """What a worker is told to do."""

    DRAIN = "drain"
    """Finish or suspend what it has, give back what waits, take up nothing; until it is resumed."""
    RESUME = "resume"
    """Take up runs again."""
    STOP = "stop"
    """Drain for the drain time at most, then exit."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator tells a worker: control value `order`. One of the same name that begins later is not meant."""

    duty: Duty
    at: Instant
    by: str = ""


FAULT = "fault"
"""The control value that a pool of workers shows while one of its modules is wrong."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps the workers of a pool from serving all its tasks: control value `fault`, ended by its TTL."""

    pool: str
    since: Instant = 0.0
    errors: tuple[str, ...] = ()
    """What each module that fails says, with the place; empty: it is mended."""


class TaskCard(msgspec.Struct, frozen=True, kw_only=True):
    """A task as its workers declare it: control value `task`."""

    id: str
    queue: str
    on: tuple[str, ...] = ()
    """Event subjects (below `hf.<p>.evt.`, NATS wildcards) that trigger it."""
    doc: str = ""
    """First line of its docstring."""
    parameters: str = ""
    """Its signature as text."""
    module: str = ""
    code: str = ""
    priority: int = DEFAULT_PRIORITY
    timeouts: Timeouts | None = None
    ttl: Seconds | None = None
    hooks: tuple[Hook, ...] = ()
    limits: Limits = Limits()
    schema: bytes = b""
    """JSON Schema of its arguments by name, as JSON; empty where it says nothing."""
    schedules: tuple[Schedule, ...] = ()
    """Those that the task declares."""
    takes_tick: bool = False
    """Whether it has a parameter `tick`, in which a scheduled run is told its time."""
    filter: str = ""
    """An expression for which of these events; empty: all, or `asks`."""
    map: str = ""
    """An expression for the arguments; empty: the members of the event's JSON object, or `asks`."""
    asks: bool = False
    """Its filter or map is a function: its workers are asked (`ROUTE`)."""


class Scope(StrEnum):
    """What an access token allows."""

    TRIGGER = "trigger"
    """To start runs and publish events."""
    READ = "read"
    """To look at runs and metrics."""
    OPERATE = "operate"
    """To cancel and retry runs, and to send them signals."""


class AccessToken(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody's access to the project over HTTP: control value `token`. Its text is known to its bearer only."""

    id: str
    name: str
    """For whom or what it was made."""
    scopes: tuple[Scope, ...]
    hash: bytes
    """SHA-256 of its text (`holdfast.access`)."""
    created_at: Instant
    created_by: str = ""
    rate: Rate | None = None
    """Of requests; None: as configured."""
    revoked_at: Instant | None = None
    """It stays as a value, so that whoever follows them learns that it is no longer one."""


class EventsReplay(msgspec.Struct, frozen=True, kw_only=True):
    """Route past events once more: a page of them."""

    first: int
    """From this one on."""
    last: int
    """Up to this one."""
    limit: int = 200
    """At most so many are looked at, whether they are meant or not; at most 1,000."""
    subject: str = ""
    """Only those of this name, NATS wildcards."""
    task: str = ""
    """Only to this task."""
    route: str = ""
    """Only by the route of this name."""
    at: Instant
    """When the replay was asked for: as of when its runs are created."""
    again: str = ""
    """Make another run also where there is one, under ids derived from this text and `at` too: the same two make none
    twice."""
    dry_run: bool = False
    """Only say what would be."""


class EventsReplayed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a page of events."""

    next: int
    """Where the next page begins."""
    done: bool
    """Whether there is none."""
    events: int = 0
    """That were meant."""
    created: int = 0
    """Runs."""
    existed: int = 0
    """Runs that there are already; nothing was done."""
    unwanted: int = 0
    """Events that no route wants."""
    unmapped: int = 0
    """Runs created dead: of these events no arguments could be made."""
    refused: int = 0
    """Runs that the server does not take, being too large."""


class EventRef(msgspec.Struct, frozen=True):
    """Names an event of the event stream."""

    seq: int


class EventRun(msgspec.Struct, frozen=True):
    """A run that an event started."""

    run: str
    task: str
    route: str
    """Name of the route; empty where the task itself asks for the event."""
    state: State
    unmapped: bool = False
    """No arguments could be made of the event: it was created dead."""


class EventRuns(msgspec.Struct, frozen=True):
    """The runs that an event started, by the routes of today; not those of a replay that made others."""

    runs: tuple[EventRun, ...]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The daemon's state."""

    version: str
    pid: int
    started_at: Instant
    projected: int
    """Last journal sequence in the projection."""
    journal: int
    """Last journal sequence stored."""
    repairs: int = 0
    """How often something had to be done for somebody who did not."""
    unreadable: int = 0
    """Journal messages that could not be read and were passed over."""
    repaired: dict[str, int] = {}
    """`repairs` by kind."""
    routed: int = 0
    """Runs created from events, since its start, as the following."""
    unwanted: int = 0
    """Events that no route wants."""
    refused: int = 0
    """Runs of events that the server does not take, being too large."""
    unmapped: int = 0
    """Events of which no arguments could be made: their runs are dead letters."""
