"""What runs write."""

from __future__ import annotations

import msgspec

from holdfast.core.model import Instant

LOGS_LIST = "logs.list"
"""`LogsQuery` → `LogsPage`."""


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
