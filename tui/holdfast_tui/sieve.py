"""Which log lines are wanted: the filter line of the logs, read into a test of lines and into a question to the daemon.

`level>=warn run:7f3a task:charge-* queue:emails last:10m /time(d )?out/i "two words" -healthcheck`: words and patterns
are about the text of a line, fields about where it comes from. Reading never fails: what can't be read is passed over
and named, with its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

import msgspec

from holdfast.core.model import Instant
from holdfast.filters import starred
from holdfast.quantities import duration
from holdfast.wire.api import LogRow, LogsQuery

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "fatal": 50, "critical": 50}
FIELDS = ("level", "run", "task", "queue", "last", "since", "until")
HELP = "level>=warn  run:ID  task:a,b*  queue:Q  last:10m  since:12:30  until:  /regex/  word  -word"

_FIELD = re.compile(rf"({'|'.join(FIELDS)})(>=|<=|>|<|:|=)(.*)", re.DOTALL)


class Wrong(NamedTuple):
    """What could not be read."""

    at: int
    """Where in the filter line it begins."""
    text: str
    """What was expected and what was found."""


class Sieve(msgspec.Struct, frozen=True, kw_only=True):
    """A filter of log lines, read."""

    words: tuple[str, ...] = ()
    """All of them are in the text; in lower case."""
    without: tuple[str, ...] = ()
    """None of them is; in lower case."""
    patterns: tuple[re.Pattern[str], ...] = ()
    """All of them are found in the text."""
    run: str = ""
    """How the run's id begins or ends; in upper case."""
    tasks: tuple[str, ...] = ()
    """One of them; a `*` stands for any letters."""
    queues: tuple[str, ...] = ()
    least: int = 0
    """The lowest level."""
    below: int = 0
    """The level below which; 0: any."""
    since: Instant | None = None
    until: Instant | None = None
    wrong: Wrong | None = None

    @property
    def searching(self) -> bool:
        """Whether there is anything to find in the text."""
        return bool(self.words or self.patterns)

    def passes(self, row: LogRow, *, around: bool = False) -> bool:
        """Whether a line is wanted.

        Args:
            around: whatever its text says.
        """
        line = row.line
        if line.level < self.least or (self.below and line.level >= self.below):
            return False
        if self.run and not (row.run.startswith(self.run) or row.run.endswith(self.run)):
            return False
        if (self.since is not None and line.at < self.since) or (self.until is not None and line.at >= self.until):
            return False
        if (self.tasks and not _named(row.task, self.tasks)) or (self.queues and not _named(row.queue, self.queues)):
            return False
        return around or self.finds(line.text)

    def finds(self, text: str) -> bool:
        """Whether the words and patterns are in a text."""
        if self.words or self.without:
            lower = text.lower()
            if not all(word in lower for word in self.words) or any(word in lower for word in self.without):
                return False
        return all(pattern.search(text) for pattern in self.patterns)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where in a text the words and patterns are, in order, not overlapping."""
        found = [match.span() for pattern in self.patterns for match in pattern.finditer(text)]
        found += [match.span() for word in self.words for match in re.finditer(re.escape(word), text, re.IGNORECASE)]
        spans: list[tuple[int, int]] = []
        for start, end in sorted(found):
            start = max(start, spans[-1][1]) if spans else start
            if end > start:
                spans.append((start, end))
        return spans

    def query(self, *, around: bool = False, limit: int = 1000) -> LogsQuery:
        """The same asked of the daemon, newest first in the order in which lines were stored."""
        return LogsQuery(
            run=self.run,
            tasks=self.tasks,
            queues=self.queues,
            level=self.least,
            below=self.below,
            since=self.since,
            until=self.until,
            words=() if around else self.words,
            without=() if around else self.without,
            patterns=() if around else tuple(map(_source, self.patterns)),
            stored=True,
            limit=limit,
        )


ALL = Sieve()


def read(text: str, now: Instant, *, zone: tzinfo = UTC) -> Sieve:
    """Read a filter line.

    Args:
        now: where `last:` counts from, and before which a time of day without its date is.
        zone: whose times of day are meant.
    """
    draft = _Draft(now, zone)
    for at, token in _tokens(text):
        try:
            draft.take(token)
        except ValueError as error:
            draft.wrong = draft.wrong or Wrong(at, str(error))
    return draft.sieve()


class _Draft:
    """A filter while it is read."""

    def __init__(self, now: Instant, zone: tzinfo) -> None:
        self.wrong: Wrong | None = None
        self._now, self._zone = now, zone
        self._words: list[str] = []
        self._without: list[str] = []
        self._patterns: list[re.Pattern[str]] = []
        self._names: dict[str, tuple[str, ...]] = {}
        self._run = ""
        self._least, self._below = 0, 0
        self._since: Instant | None = None
        self._until: Instant | None = None

    def take(self, token: str) -> None:
        """Raises: ValueError: it can't be read; in words for whoever types it."""
        if token.startswith("/"):
            self._pattern(token)
        elif token.startswith("-") and len(token) > 1:
            if token.startswith("-/"):
                raise ValueError("a pattern can't be left out: -word leaves lines out")
            self._without.append(_bare(token[1:]).lower())
        elif (match := _FIELD.fullmatch(token)) is not None:
            self._field(match[1], match[2], _bare(match[3]))
        elif word := _bare(token):
            self._words.append(word.lower())

    def _pattern(self, token: str) -> None:
        body, slash, flags = token[1:].rpartition("/") if _closed(token) else (token[1:], "", "")
        if flags not in ("", "i"):
            raise ValueError(f"expected nothing or i behind /{body}/, found {flags!r}")
        if not body:
            return
        body = body.replace("\\/", "/")
        try:
            self._patterns.append(re.compile(body, re.IGNORECASE if flags else 0))
        except re.error as error:
            if slash:  # else it is half typed
                raise ValueError(f"expected a regular expression, found /{body}/: {error}") from None
        except (RecursionError, OverflowError):
            raise ValueError(f"expected a regular expression, found one too large: /{body[:20]}.../") from None

    def _field(self, field: str, sign: str, value: str) -> None:
        if field == "level":
            return self._level(sign, value)
        if sign not in (":", "="):
            raise ValueError(f"expected {field}:, found {field}{sign}")
        if not value:
            return None
        match field:
            case "run":
                if "," in value or not value.isalnum():
                    raise ValueError(f"run: expected one run's id, its beginning or its end, found {value!r}")
                self._run = value.upper()
            case "task" | "queue":
                self._names[field] = tuple(name for name in value.split(",") if name)
            case "last":
                self._since = self._now - _seconds(value)
            case "since":
                self._since = self._instant(field, value)
            case _:
                self._until = self._instant(field, value)
        return None

    def _level(self, sign: str, value: str) -> None:
        if not value:
            return
        level = _level(value)
        next = level // 10 * 10 + 10 if not value.isdecimal() else level + 1
        match sign:
            case ">=":
                self._least = level
            case ">":
                self._least = next
            case "<=":
                self._below = next
            case "<":
                self._below = level
            case _:
                self._least, self._below = level, next

    def _instant(self, field: str, value: str) -> Instant:
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            found = None
        if found is not None and not value.isdecimal():
            try:
                return (found if found.tzinfo is not None else found.replace(tzinfo=self._zone)).timestamp()
            except (ValueError, OverflowError):
                raise ValueError(f"{field}: expected a time of this age, found {value!r}") from None
        match = re.fullmatch(r"(\d?\d):(\d\d)(?::(\d\d))?", value)
        if match is None or int(match[1]) > 23 or int(match[2]) > 59 or int(match[3] or 0) > 59:
            raise ValueError(f"{field}: expected a time like 12:30, 12:30:05 or 2026-01-31T12:30, found {value!r}")
        today = datetime.fromtimestamp(self._now, self._zone)
        at = today.replace(hour=int(match[1]), minute=int(match[2]), second=int(match[3] or 0), microsecond=0)
        return (at if at <= today else at - timedelta(days=1)).timestamp()

    def sieve(self) -> Sieve:
        return Sieve(
            words=tuple(self._words),
            without=tuple(self._without),
            patterns=tuple(self._patterns),
            run=self._run,
            tasks=self._names.get("task", ()),
            queues=self._names.get("queue", ()),
            least=self._least,
            below=self._below,
            since=self._since,
            until=self._until,
            wrong=self.wrong,
        )


def _tokens(text: str) -> Iterator[tuple[int, str]]:
    """Words with their places; quotes and slashes keep blanks together, as far as they are closed yet."""
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        end = _end_of_pattern(text, at) if text[at] == "/" else _end_of_word(text, at)
        yield at, text[at:end]
        at = end


def _end_of_pattern(text: str, at: int) -> int:
    at += 1
    while at < len(text) and text[at] != "/":
        at += 2 if text[at] == "\\" else 1
    return _end_of_word(text, min(at, len(text)))


def _end_of_word(text: str, at: int) -> int:
    quoted = False
    while at < len(text) and (quoted or not text[at].isspace()):
        quoted ^= text[at] == '"'
        at += 1
    return at


def _closed(token: str) -> bool:
    """Whether a pattern's second slash is there."""
    return re.match(r"/(?:[^\\/]|\\.)*/", token, re.DOTALL) is not None


def _bare(token: str) -> str:
    return token.replace('"', "")


def _level(value: str) -> int:
    if value.isdecimal() and len(value) <= 3:
        return int(value)
    found = {number for name, number in LEVELS.items() if name.startswith(value.lower())}
    if len(found) != 1:
        raise ValueError(f"level: expected debug info warn error fatal or a number, found {value!r}")
    return found.pop()


def _seconds(value: str) -> float:
    try:
        return duration(value)
    except ValueError:
        if value.isdecimal():  # half typed
            return 0.0 if len(value) > 9 else float(value)
        raise ValueError(f"last: expected 90s, 15m, 2h, 7d or alike, found {value!r}") from None


def _named(name: str, wanted: Sequence[str]) -> bool:
    return any(starred(one).fullmatch(name) for one in wanted)


def _source(pattern: re.Pattern[str]) -> str:
    """As the daemon takes it."""
    return f"(?i){pattern.pattern}" if pattern.flags & re.IGNORECASE else pattern.pattern
