"""Who did what: the audit, asked by filters and by pages, newest first."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, NamedTuple

from holdfast.bus.ports import Bus
from holdfast.core.model import Seconds
from holdfast.wire.api import AuditEntry, AuditPage, AuditQuery
from holdfast.wire.subjects import Stream
from holdfast_daemon.projection.projector import Projector
from holdfast_daemon.projection.rows import AuditRow, instant, utc
from holdfast_daemon.projection.store import Store
from holdfast_daemon.query.portion import fitting
from holdfast_daemon.query.sql import Statement, like

ENTRIES_MOST = 1_000
"""The largest page."""

WITHIN: Seconds = 1.0
"""How long an answer waits for the history at most."""

COLUMNS = AuditRow._fields


class AuditDesk:
    """Answers what was done."""

    def __init__(self, bus: Bus, store: Store, projector: Projector) -> None:
        self._bus = bus
        self._store = store
        self._projector = projector

    async def page(self, query: AuditQuery) -> AuditPage:
        """A page of entries, newest first; what was done just now is in it.

        Raises:
            ValueError: a question that can't be.
        """
        asked = listing(query)
        await self._projector.reach(await self._bus.last_seq(Stream.AUDIT), stream=Stream.AUDIT, within=WITHIN)
        found = [entry(dict(zip(COLUMNS, row, strict=True))) for row in await self._store.query(*asked.page)]
        page = fitting(found[: query.limit])
        total = int((await self._store.query(*asked.total))[0][0])
        return AuditPage(tuple(page), total, len(found) > len(page))


class Listing(NamedTuple):
    """A page, one row longer than asked where there is more, and how many match in all."""

    page: Statement
    total: Statement


def listing(query: AuditQuery) -> Listing:
    """The entries that a query means. Raises: ValueError: it can't be."""
    if not 1 <= query.limit <= ENTRIES_MOST:
        raise ValueError(f"limit: expected 1 to {ENTRIES_MOST:,}, found {query.limit}")
    conditions, parameters = _conditions(query)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    total = Statement(f"SELECT count(*) FROM audit{where}", tuple(parameters))
    if query.before is not None:
        where += f"{' AND' if where else ' WHERE'} seq < ?"
        parameters.append(query.before)
    sql = f"SELECT {', '.join(COLUMNS)} FROM audit{where} ORDER BY seq DESC LIMIT {query.limit + 1}"
    return Listing(Statement(sql, tuple(parameters)), total)


def _conditions(query: AuditQuery) -> tuple[list[str], list[object]]:
    """What an entry must be, and the parameters of that, in order."""
    conditions: list[str] = []
    parameters: list[object] = []
    for name, time, condition in (("since", query.since, "done_at >= ?"), ("until", query.until, "done_at < ?")):
        if time is None:
            continue
        if not isfinite(time):
            raise ValueError(f"{name}: expected seconds since the epoch, found {time}")
        conditions.append(condition)
        parameters.append(utc(time))
    for name, value in (("who", query.who), ("via", query.via), ("action", query.action)):
        if value:
            conditions.append(f"{name} LIKE ? ESCAPE '\\'")
            parameters.append(like(value))
    if query.target:
        conditions.append("len(list_filter(targets, lambda one: one LIKE ? ESCAPE '\\')) > 0")
        parameters.append(like(query.target))
    if query.text:
        told = "concat_ws(chr(10), array_to_string(targets, chr(10)), why, chosen, reason, command)"
        conditions.append(f"contains(lower({told}), lower(?))")
        parameters.append(query.text)
    return conditions, parameters


def entry(values: Mapping[str, Any]) -> AuditEntry:
    """An entry, of the columns `COLUMNS`."""
    return AuditEntry(
        seq=values["seq"],
        at=instant(values["done_at"]),
        who=values["who"],
        via=values["via"],
        host=values["host"],
        address=values["address"],
        action=values["action"],
        kind=values["kind"],
        targets=tuple(values["targets"]),
        count=values["meant"],
        accepted=values["accepted"],
        refused=values["refused"],
        why=values["why"],
        filter=values["chosen"],
        reason=values["reason"],
        command=values["command"],
    )
