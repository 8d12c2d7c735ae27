"""Screen 8: the audit: who did what, with what, to whom, what became of it, and how to do the same from a shell."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from holdfast.core.model import Instant
from holdfast.wire import api
from holdfast_tui import keys
from holdfast_tui.filter import RUNS as OF_RUNS
from holdfast_tui.filter import Field, Grammar, Kind, quoted
from holdfast_tui.format import Cell, clean, count, date, moment, plural, short
from holdfast_tui.model import span
from holdfast_tui.model.window import Follow, Listing
from holdfast_tui.screens.dated import Dated
from holdfast_tui.screens.page import marked, told
from holdfast_tui.widgets.table import Column

HEAD, MOST = 100, 1000
"""Entries of a page, and of one where all are read."""

_ONE: Mapping[str, Any] = {"leaves_out": False, "once": True}

GRAMMAR: Grammar = {
    "who": Field(Kind.NAMES, "a user or the name of an access token, like who:ana or who:deploy-*", **_ONE),
    "via": Field(Kind.WORDS, "one of tui cli http sdk", {name: name for name in ("tui", "cli", "http", "sdk")}, **_ONE),
    "action": Field(Kind.NAMES, "an action, like action:retry or action:schedule-*", **_ONE),
    "target": Field(Kind.NAMES, "a target's name or id, like target:emails", **_ONE),
    "last": OF_RUNS["last"],
}

SECTIONS = {"queue": keys.QUEUES, "schedule": keys.SCHEDULES, "worker": keys.WORKERS}
"""The screens of targets that are no runs."""

RUNS = frozenset({"run", "letter"})
"""Targets that are runs."""


class Audit(Dated):
    MOST_ORDERED = 10_000

    kind = keys.AUDIT
    row_type, noun = api.AuditEntry, "entry"
    columns = (
        Column("TIME", 8, letter="t", down=True, value=lambda entry: entry.seq),
        Column("WHO", 9, letter="w", value=lambda entry: entry.who),
        Column("FROM", 8, spare=2, letter="f", value=lambda entry: entry.via),
        Column("ACTION", 15, letter="a", value=lambda entry: entry.action),
        Column("TARGET", 12, flex=True, letter="g", value=lambda entry: targeted(entry)),
        Column("N", 5, right=True, spare=1, name="count", letter="c", down=True, value=lambda entry: entry.count),
        Column("RESULT", 15, letter="r", down=True, value=lambda entry: entry.refused),
    )

    def __init__(self) -> None:
        self.listing = Listing[api.AuditEntry](lambda entry: str(entry.seq), lambda entry: -entry.seq)
        self.total = 0
        self.answered = False
        self._begin = True
        super().__init__(span.LISTED[2])
        self.window.follow = Follow.FIRST

    def asking(self, now: Instant) -> api.AuditQuery:
        given = self.given()

        def one(field: str) -> str:
            return next(iter(given.values(field)), "")

        return api.AuditQuery(
            since=span.since(self.span, now, given),
            who=one("who"),
            via=one("via"),
            action=one("action"),
            target=one("target"),
            text=given.text,
            limit=HEAD,
        )

    async def read(self) -> None:
        generation, query = self._generation, self.asking(self.now)
        head = await self.desk.gateway.audit(query)
        if generation != self._generation:
            return
        self.answered, self.total = True, head.total
        known = self.listing.rows
        joined = not head.more or any(str(entry.seq) in known for entry in head.entries)
        if self._begin or not joined:
            self._begin, self.more = False, head.more
            self.listing.take(head.entries)
        else:
            self.listing.take(
                head.entries, hold=self.held and self.window.follow is Follow.OFF, gone=self.outdated(query.since)
            )
        self.arrange_rows()
        await self.read_older(query, generation)

    async def older(self, query: api.AuditQuery) -> tuple[Sequence[api.AuditEntry], bool]:
        before = min((entry.seq for entry in self.listing.rows.values()), default=None)
        limit = HEAD if self.newest_first else MOST
        page = await self.desk.gateway.audit(msgspec.structs.replace(query, before=before, limit=limit))
        return page.entries, page.more and bool(page.entries)

    @property
    def grammar(self) -> Grammar:
        return GRAMMAR

    async def pages(self) -> AsyncIterator[Sequence[api.AuditEntry]]:
        query = msgspec.structs.replace(self.asking(self.now), limit=MOST)
        while True:
            page = await self.desk.gateway.audit(query)
            yield page.entries
            if not page.more or not page.entries:
                return
            query = msgspec.structs.replace(query, before=page.entries[-1].seq)

    def key(self, row: api.AuditEntry) -> str:
        return str(row.seq)

    def failed(self, row: api.AuditEntry) -> bool:
        return bool(row.refused)

    def shell(self, key: str) -> str:
        """The same from a shell."""
        entry = self.listing.rows.get(key)
        return "" if entry is None else entry.command or f"# {entry.action} {targeted(entry)}: the audit has no command"

    def explained(self) -> str:
        entry = self.listing.rows.get(self.window.cursor or "")
        return "" if entry is None or not entry.why else f"refused: {clean(entry.why)}"

    def arrange_rows(self) -> None:
        self.window.sync(list(self.listing.rows))

    def narrowed(self) -> None:
        self._generation += 1
        self._begin = True
        self.refresh_data()

    def moved(self, move: object) -> None:
        assert callable(move)
        move()
        self.window.follow = Follow.OFF if self.window.position else Follow.FIRST
        if self.more and self.window.position > len(self.window) - 2 * self.window.height:
            self.refresh_data()

    def cells(self, key: str, widths: Sequence[int]) -> Sequence[Cell]:
        entry = self.listing.rows[key]
        return (
            (moment(entry.at, self.as_of), "dim"),
            (entry.who, ""),
            (entry.via + (" ssh" if entry.via in ("tui", "cli") and entry.address else ""), ""),
            (entry.action, ""),
            (targeted(entry), ""),
            (count(entry.count), ""),
            result(entry),
        )

    def empty(self) -> Sequence[str]:
        if not self.answered:
            return ["", "  Waiting for the first answer ..."]
        if self.filter:
            return ["", f"  No entry of {self.within} matches {clean(self.filter)}; esc clears the filter"]
        return [
            "",
            f"  Nothing was changed in {self.within}; > looks further back.",
            "",
            "  What operators do here, in the shell or over HTTP leaves an entry: who, what, to whom, and the outcome.",
        ]

    def scope(self) -> tuple[list[Cell], list[Cell]]:
        parts = [self.told_span()]
        if not self.filter:
            parts.append(("who:*  action:*", ""))
        loaded = len(self.window)
        parts.append((plural(self.total, "change") if loaded == self.total else f"{loaded:,} of {self.total:,}", ""))
        if self.listing.waiting:
            above = " above" if self.newest_first else ""
            parts.append((f"{self.listing.waiting} new{above} (g)", "title"))
        return self.unread() + told(self.filter, parts) + marked(self.window), self.told_sort()

    def about(self) -> tuple[str, list[Cell]]:
        entry = self.listing.rows.get(self.window.cursor or "")
        if entry is None:
            return "", []
        return f"{entry.action} by {clean(entry.who)}, {date(entry.at)}", told_of(entry)

    # --- what keys do -------------------------------------------------------------------------------------------------

    def do_first(self) -> None:
        self.window.follow = Follow.FIRST
        self.window.to(0)
        self.refresh_data()

    def do_open(self) -> None:
        """Show what it was done to."""
        entry = self.listing.rows.get(self.window.cursor or "")
        if entry is None:
            return
        if not entry.targets:
            self.say("it names no targets")
        elif entry.kind in RUNS and len(entry.targets) == 1:
            self.desk.open_run(entry.targets[0])
        elif entry.kind in RUNS:
            self.desk.open_filtered("id:" + ",".join(quoted(target) for target in entry.targets))
            if entry.count > len(entry.targets):
                self.desk.say(f"the first {len(entry.targets)} of {entry.count:,}: the audit keeps no more names")
        elif entry.kind in SECTIONS:
            self.desk.section(SECTIONS[entry.kind], quoted(entry.targets[0]) if len(entry.targets) == 1 else "")
        else:
            self.say(f"no screen shows a {entry.kind}: holdfast {entry.kind}s list", "warn")


def targeted(entry: api.AuditEntry) -> str:
    """What it was done to, in a few words."""
    if not entry.targets:
        return entry.kind
    first = short(entry.targets[0]) if entry.kind in RUNS else entry.targets[0]
    return f"{entry.kind} {first}"


def result(entry: api.AuditEntry) -> Cell:
    """What became of it."""
    if not entry.refused:
        left = entry.count - entry.accepted
        return (f"{count(entry.accepted)} ok, stopped", "warn") if left > 0 else (f"{count(entry.accepted)} ok", "")
    if not entry.accepted:
        return f"{count(entry.refused)} refused", "fail"
    return f"{count(entry.accepted)} ok {count(entry.refused)} no", "warn"


def told_of(entry: api.AuditEntry) -> list[Cell]:
    """An entry in the pane."""
    where = f"{entry.via or '-'} on {entry.host or '-'}" + (f" from {entry.address}" if entry.address else "")
    found: list[Cell] = [(f"with {clean(where)}", "")]
    if entry.filter:
        found.append((f"filter {clean(entry.filter)}", "match"))
    if entry.reason:
        found.append((f"reason {clean(entry.reason)}", ""))
    found.append((f"{entry.accepted:,} accepted, {entry.refused:,} refused, of {entry.count:,}", result(entry)[1]))
    if entry.why:
        found.append((f"refused: {clean(entry.why)}", "fail"))
    if entry.command:
        found += [("same from a shell:", "title"), (clean(entry.command), "")]
    names = [short(target) if entry.kind in RUNS else clean(target) for target in entry.targets]
    if names:
        found += [("", ""), (f"{entry.kind}s", "title"), (" ".join(names), "")]
    return found
