"""Pages of runs in any order, behind a key of two: what they are ordered by, and the id.

Half a million runs may share a value, and to compare ids is what costs. So a page is put together of up to three parts,
and each asks for less than all: those that share the key's value, ordered by id; those beyond it, of which the value of
the last one on the page is found first; and, last in either direction, those that have no value. What a page shows is
read of its rows alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from math import isfinite
from typing import Any, NamedTuple, TypeAlias

from holdfast.wire.api import RunsOrder
from holdfast_daemon.query.sql import Statement, Where, time

Ask: TypeAlias = Callable[[Statement], Awaitable[list[tuple[Any, ...]]]]
"""Asks the history."""


class Order(NamedTuple):
    """What runs are ordered by, and which way."""

    by: RunsOrder
    descending: bool = True

    @property
    def column(self) -> str:
        return _COLUMNS[self.by]

    @property
    def way(self) -> str:
        return "DESC" if self.descending else "ASC"

    @property
    def behind(self) -> str:
        """How what comes later compares with what comes before."""
        return "<" if self.descending else ">"

    def value(self, value: float) -> object:
        """What a query says in `before` as the column holds it. Raises: ValueError: it can't be that."""
        match self.by:
            case RunsOrder.TOOK:
                return _whole(value * 1e6)
            case RunsOrder.ATTEMPTS | RunsOrder.STEPS:
                return _whole(value)
        return time("before", value)


_COLUMNS = {
    RunsOrder.CREATED: "created_at",
    RunsOrder.STARTED: "started_at",
    RunsOrder.ENDED: "finished_at",
    RunsOrder.TOOK: "took",
    RunsOrder.ATTEMPTS: "attempt",
    RunsOrder.STEPS: "steps",
}


def _whole(value: float) -> int:
    if not isfinite(value) or abs(value) >= 2**63:
        raise ValueError(f"before: expected what the last run of the page before is ordered by, found {value}")
    return round(value)


class Part(NamedTuple):
    """Some of the runs of a listing, each of which comes before all of the next part."""

    where: Where
    order: Order
    varied: bool
    """Whether they differ in what they are ordered by."""

    def last(self, count: int) -> Statement:
        """The value of the last one of the first so many, and how many there are of these."""
        column, least = self.order.column, "min" if self.order.descending else "max"
        first = f"SELECT {column} AS value FROM runs{self.where} ORDER BY value {self.order.way} LIMIT {count}"
        return Statement(f"SELECT {least}(value), count(*) FROM ({first})", self.where.parameters)

    def first(self, columns: Sequence[str], count: int, last: object | None = None) -> Statement:
        """The first so many.

        Args:
            last: the value of the last one of them, where there are that many and they differ.
        """
        column, way = self.order.column, self.order.way
        if last is None:
            key = f"{column} {way}, id {way}" if self.varied else f"id {way}"
            chosen = f"SELECT rowid FROM runs{self.where} ORDER BY {key} LIMIT {count}"
            parameters = self.where.parameters
        else:
            before = self.where.but(f"{column} {'>' if self.order.descending else '<'} ?", last)
            shared = self.where.but(f"{column} = ?", last)
            chosen = (
                f"(SELECT rowid FROM runs{before}) UNION ALL"
                f" (SELECT rowid FROM runs{shared} ORDER BY id {way} LIMIT {count})"
            )
            parameters = before.parameters + shared.parameters
        sql = (
            f"SELECT {', '.join(columns)} FROM runs WHERE rowid IN ({chosen})"
            f" ORDER BY {column} {way}, id {way} LIMIT {count}"
        )
        return Statement(sql, parameters)


def parts(where: Where, order: Order, before: tuple[float | None, str] | None) -> Iterator[Part]:
    """What makes up the listing behind a key, in order. Raises: ValueError: the key can't be one."""
    column, behind = order.column, order.behind
    valueless = where.but(f"{column} IS NULL")
    match before:
        case None:
            yield Part(where.but(f"{column} IS NOT NULL"), order, True)
            yield Part(valueless, order, False)
        case (None, id):
            yield Part(valueless.but(f"id {behind} ?", id), order, False)
        case (float() | int() as given, id):
            value = order.value(given)
            yield Part(where.but(f"{column} = ?", value).but(f"id {behind} ?", id), order, False)
            yield Part(where.but(f"{column} {behind} ?", value), order, True)
            yield Part(valueless, order, False)


async def page(ask: Ask, columns: Sequence[str], asked: Sequence[Part], most: int) -> list[dict[str, Any]]:
    """The first runs of a listing, at most so many, by column. `columns` begin with the id."""
    found: dict[str, dict[str, Any]] = {}
    for part in asked:
        wanted = most - len(found)
        if wanted <= 0:
            break
        rows = await ask(part.first(columns, wanted, await _last(ask, part, wanted)))
        # a run may have moved from one part to another between two questions
        found |= {row[0]: dict(zip(columns, row, strict=True)) for row in rows if row[0] not in found}
    return list(found.values())


async def _last(ask: Ask, part: Part, wanted: int) -> object | None:
    if not part.varied:
        return None
    ((value, count),) = await ask(part.last(wanted))
    return value if count == wanted else None
