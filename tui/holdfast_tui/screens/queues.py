"""Screen 1: every queue with its depth, its rates and how it stands."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from holdfast.core.model import Instant
from holdfast.wire.api import QueueRow
from holdfast_tui import filter, keys
from holdfast_tui.format import Cell, age, clean, count, plural, rate, spark, took
from holdfast_tui.model.window import Listing
from holdfast_tui.plan import Plan, Verb
from holdfast_tui.screens.page import Page, marked, told
from holdfast_tui.widgets.table import Column

LATE = 60.0
"""A queue whose oldest run waits longer than this, in seconds, is stalled or slow."""


EXTRA = MappingProxyType(
    {
        "compensating": Column("UNDO", 4, right=True),
        "paused_runs": Column("PAUSED", 6, right=True),
    }
)
"""Columns that are there while a count of theirs is not zero: runs that undo their steps, or wait for an operator."""


class Queues(Page):
    kind = keys.QUEUES
    columns = (
        Column("QUEUE", 10, flex=True),
        Column("STATE", 8),
        Column("DEPTH", 5, right=True),
        Column("OLDEST", 6, right=True, spare=2),
        Column("RUN", 4, right=True),
        Column("IN/s", 5, right=True, spare=3),
        Column("OUT/s", 5, right=True, spare=3),
        Column("P95", 6, right=True, spare=4),
        Column("LAST 60s", 12, spare=5),
        Column("DEAD", 5, right=True),
    )

    def __init__(self) -> None:
        self.listing = Listing[QueueRow](lambda row: row.name, lambda row: row.name)
        self.answered = False
        self.extra: tuple[str, ...] = ()
        """Fields of `EXTRA` that are shown: those that are not zero everywhere."""
        super().__init__()

    async def read(self) -> None:
        answer = await self.desk.gateway.queues()
        self.answered = True
        self.listing.take(answer.queues, hold=self.held)

    def arrange_rows(self) -> None:
        rows = self.listing.rows.values()
        self.extra = tuple(extra for extra in EXTRA if any(getattr(row, extra) for row in rows))
        self.table.columns = (*self.columns[:-1], *(EXTRA[extra] for extra in self.extra), self.columns[-1])
        given = filter.read(self.filter)
        shown = [name for name, row in self.listing.rows.items() if given.matches(name, standing(row, self.as_of)[0])]
        self.window.sync(shown, alive=self.listing.rows)

    def cells(self, key: str, widths: Sequence[int]) -> Sequence[Cell]:
        row, now = self.listing.rows[key], self.as_of
        return (
            (row.name, ""),
            standing(row, now),
            (count(row.depth), ""),
            (age(None if row.oldest is None else now - row.oldest), ""),
            (count(row.running), "run" if row.running else ""),
            (rate(row.in_rate), ""),
            (rate(row.out_rate), ""),
            (took(row.p95), ""),
            (spark(row.ended), ""),
            *((count(runs) if (runs := getattr(row, extra)) else "", "warn") for extra in self.extra),
            (count(row.dead), "fail" if row.dead else ""),
        )

    def empty(self) -> Sequence[str]:
        if self.filter and self.listing.rows:
            return ["", f"  0 of {plural(len(self.listing.rows), 'queue')} match; esc clears the filter"]
        if not self.answered:
            return ["", "  Waiting for the first answer ..."]
        return [
            "",
            f"  No queues yet in project {self.desk.gateway.project}.",
            "",
            "  Make one from a shell; this screen fills by itself:",
            "",
            "     holdfast demo             a daemon, a worker and runs, some of which fail",
            "     holdfast trigger TASK     one run of a task of yours",
            "",
            "  Wrong place?   holdfast tui --project NAME, or --url nats://HOST:4222",
            "",
            "  ? all keys     :tour the desk in eight lines     : command     ctrl+c quit",
        ]

    def scope(self) -> tuple[list[Cell], list[Cell]]:
        rows = self.listing.rows.values()
        waiting, running, dead, undo, paused = (
            sum(getattr(row, name) for row in rows)
            for name in ("depth", "running", "dead", "compensating", "paused_runs")
        )
        told_: list[Cell] = [(plural(len(rows), "queue"), "")]
        if rows:
            told_ += [(f"{count(waiting)} ready", ""), (f"{count(running)} running", ""), (f"{count(dead)} dead", "")]
            told_ += [(f"{count(undo)} undoing", "")] if undo else []
            told_ += [(f"{plural(paused, 'paused run')}", "warn")] if paused else []
        if self.listing.waiting:
            told_.append((f"{self.listing.waiting} new", "title"))
        return told(self.filter, told_) + marked(self.window), [("by name", "")] if rows else []

    def detail(self) -> tuple[str, list[Cell]]:
        row = self.listing.rows.get(self.window.cursor or "")
        if row is None:
            return "", []
        word, role = standing(row, self.as_of)
        oldest = age(None if row.oldest is None else self.as_of - row.oldest)
        return clean(row.name), [
            (word, role or "title"),
            (f"ready   {row.depth:,}   oldest {oldest}", ""),
            (f"running {row.running:,}   limit {row.limit if row.limit is not None else 'none'}", ""),
            (f"waiting {row.waiting:,}   retrying {row.retrying:,}", ""),
            (f"delayed {row.delayed:,}   dead {row.dead:,}", ""),
            *([(f"undoing {row.compensating:,}", "warn")] if row.compensating else []),
            *([(f"paused runs {row.paused_runs:,}: enter, /is:paused", "warn")] if row.paused_runs else []),
            (f"in {rate(row.in_rate)}/s   out {rate(row.out_rate)}/s", ""),
            (f"p95 {took(row.p95)} from start to end, 5 min", ""),
            (f"workers {row.workers}", "" if row.workers else "warn"),
            ("", ""),
            ("ended, last 60 s", "title"),
            (spark(row.ended), ""),
            ("", ""),
            *[(line, "") for line in explained(row, word)],
        ]

    def do_open(self) -> None:
        if self.window.cursor is not None:
            self.desk.open_runs(queue=self.window.cursor)

    def do_pause(self) -> None:
        """Pause what is chosen, or resume it where all of it is paused."""
        chosen = [name for name in self.window.chosen() if name in self.listing.rows]
        self.hold(chosen, any(not self.listing.rows[name].paused for name in chosen))

    def hold(self, queues: list[str], paused: bool) -> None:
        """Ask about pausing or resuming queues."""
        verb = Verb.PAUSE if paused else Verb.RESUME
        hidden = self.window.hidden() if self.window.marks else 0
        self.propose(Plan(verb=verb, targets=tuple(queues), hidden=hidden, what="queue"))


def standing(row: QueueRow, now: Instant) -> Cell:
    """How a queue stands, in one word."""
    late = row.oldest is not None and now - row.oldest > LATE
    if row.paused:
        return "PAUSED", "dim"
    if row.depth and not row.workers and not row.running:
        return "NOWORKER", "dead" if late else "warn"
    if row.depth and late and not row.running and row.out_rate <= 0:
        return "STALLED", "dead"
    if row.limit is not None and row.running >= row.limit and row.depth:
        return f"LIMIT {row.limit}", "warn"
    if late and row.in_rate > row.out_rate:
        return "SLOW", "warn"
    return "ok", ""


def explained(row: QueueRow, word: str) -> list[str]:
    """What the word means here, and what can be done."""
    match word:
        case "PAUSED":
            return ["Nothing new is started; what runs goes on. P resumes it."]
        case "NOWORKER":
            return ["Runs are ready and no worker serves this queue. Start one: holdfast worker MODULE"]
        case "STALLED":
            return ["Runs wait, workers are there, and nothing is started: look at their logs (3)."]
        case "SLOW":
            return ["More comes in than goes out: start more workers."]
    return ["As many run as the limit lets."] if word.startswith("LIMIT") else []
