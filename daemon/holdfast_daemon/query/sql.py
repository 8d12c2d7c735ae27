"""Questions to the history as SQL, pure: parameters only, always a limit.

Ids are time-ordered and a time range lets DuckDB pass over most of a table, so nothing here needs an index. What a
query asks that makes no sense raises ValueError in words for whoever asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from math import isfinite
from typing import NamedTuple

from holdfast.core.model import Instant, Seconds
from holdfast_daemon.projection.rows import utc

SKEW: Seconds = 3600.0
"""How far the clocks of clients and workers may be apart before log lines or children are missed."""

KEYS_MOST = 1_000
"""Ids that a query may name."""


class Statement(NamedTuple):
    """SQL and its parameters."""

    sql: str
    parameters: tuple[object, ...] = ()


class Span(NamedTuple):
    """When a run was there."""

    begin: Instant
    end: Instant | None


class Where:
    """Conditions and their parameters, in order."""

    def __init__(self, conditions: Sequence[str] = (), parameters: Sequence[object] = ()) -> None:
        self._conditions = list(conditions)
        self._parameters = list(parameters)

    @property
    def parameters(self) -> tuple[object, ...]:
        return tuple(self._parameters)

    def add(self, condition: str, *parameters: object) -> None:
        self._conditions.append(condition)
        self._parameters += parameters

    def but(self, condition: str, *parameters: object) -> Where:
        """These conditions and one more; they themselves stay as they are."""
        return Where([*self._conditions, condition], [*self._parameters, *parameters])

    def one_of(self, column: str, values: Sequence[object]) -> None:
        if values:
            self.add(f"{column} IN ({', '.join('?' * len(values))})", *values)

    def named(self, column: str, names: Sequence[str]) -> None:
        """One of these names, in which `*` stands for any characters."""
        plain = [name for name in names if "*" not in name]
        ways = [f"{column} IN ({', '.join('?' * len(plain))})"] if plain else []
        patterns = [like(name) for name in names if "*" in name]
        ways += [rf"{column} LIKE ? ESCAPE '\'"] * len(patterns)
        if ways:
            self.add(_any(ways), *plain, *patterns)

    def keyed(self, column: str, keys: Sequence[str]) -> None:
        """One of these ids."""
        if len(keys) > KEYS_MOST:
            raise ValueError(f"keys: expected at most {KEYS_MOST:,} ids, found {len(keys):,}")
        self.one_of(column, [key.strip().upper() for key in keys])

    def holds(self, columns: Sequence[str], texts: Sequence[str]) -> None:
        """One of these texts is part of one of these columns, in whatever case."""
        if texts:
            ways = [f"contains(lower({column}), lower(?))" for column in columns for _ in texts]
            self.add(_any(ways), *[text for _ in columns for text in texts])

    def holds_not(self, columns: Sequence[str], texts: Sequence[str]) -> None:
        """None of them is."""
        for text in texts:
            ways = [f"contains(lower({column}), lower(?))" for column in columns]
            self.add(f"NOT {_any(ways)}", *[text] * len(columns))

    def between(self, column: str, since: Instant | None, until: Instant | None) -> None:
        if since is not None:
            self.add(f"{column} >= ?", time("since", since))
        if until is not None:
            self.add(f"{column} < ?", time("until", until))

    def __str__(self) -> str:
        return f" WHERE {' AND '.join(self._conditions)}" if self._conditions else ""


def _any(ways: Sequence[str]) -> str:
    return ways[0] if len(ways) == 1 else f"({' OR '.join(ways)})"


def like(name: str) -> str:
    """A name in which `*` stands for any letters, in SQL's terms: `LIKE ? ESCAPE '\\'`."""
    escaped = name.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%")


def limited(limit: int, most: int) -> int:
    """Raises: ValueError: it is no limit, or above the largest."""
    if not 1 <= limit <= most:
        raise ValueError(f"limit: expected 1 to {most:,}, found {limit}")
    return limit


def time(name: str, at: Instant) -> datetime:
    """An instant of a query as a parameter. Raises: ValueError: it is none."""
    if not isfinite(at):
        raise ValueError(f"{name}: expected seconds since the epoch, found {at}")
    return utc(at)


def seconds(name: str, length: Seconds) -> Seconds:
    """A duration of a query. Raises: ValueError: it is none."""
    if not isfinite(length) or length < 0:
        raise ValueError(f"{name}: expected seconds, 0 or more, found {length}")
    return length
