"""Screen 1: every queue with its depth, its rates and how it stands."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from shlex import quote
from types import MappingProxyType
from typing import Any

from msgspec.structs import replace

from holdfast.core.admission import QueueLimits
from holdfast.filters import Field, Kind, quoted
from holdfast.quantities import rate as rate_of
from holdfast.quantities import readable_rate
from holdfast.wire.api import QueueRow
from holdfast_tui import keys
from holdfast_tui.format import Cell, age, clean, count, plural, rate, spark, took
from holdfast_tui.model.queue import LATE, WORDS, about, explained, standing, waited
from holdfast_tui.model.sorting import Sort
from holdfast_tui.model.window import Listing
from holdfast_tui.plan import Plan, Verb
from holdfast_tui.screens.listed import Listed
from holdfast_tui.screens.page import marked, told
from holdfast_tui.widgets.table import Column

__all__ = ["LATE", "Queues", "standing"]

NUMBER = Field(Kind.NUMBER, "a number, like >100")
DURATION = Field(Kind.DURATION, "how long, like >2m or <100ms", operators=(">=", "<=", ">", "<"))

EXTRA = MappingProxyType(
    {
        "compensating": Column(
            "UNDO", 4, right=True, letter="b", down=True, field=NUMBER, value=lambda row: row.compensating
        ),
        "paused_runs": Column(
            "PAUSED", 6, right=True, letter="w", down=True, field=NUMBER, value=lambda row: row.paused_runs
        ),
    }
)
"""Columns that are there while a count of theirs is not zero: runs that undo their steps, or wait for an operator."""

UNLIMITED = "none"


class Queues(Listed):
    kind = keys.QUEUES
    row_type, noun = QueueRow, "queue"
    sort = Sort("queue")
    columns = (
        Column(
            "QUEUE", 10, flex=True, letter="q", value=lambda row: row.name,
            field=Field(Kind.NAMES, "names by commas, like queue:mail-*"),
        ),
        Column("STATE", 8, letter="s", field=Field(Kind.WORDS, f"states by commas: {' '.join(WORDS)}", WORDS)),
        Column("DEPTH", 5, right=True, letter="d", down=True, field=NUMBER, value=lambda row: row.depth),
        Column("OLDEST", 6, right=True, spare=2, letter="o", down=True, field=DURATION),
        Column("RUN", 4, right=True, letter="r", down=True, field=NUMBER, value=lambda row: row.running),
        Column(
            "IN/s", 5, right=True, spare=3, name="in", letter="i", down=True, field=NUMBER,
            value=lambda row: row.in_rate,
        ),
        Column(
            "OUT/s", 5, right=True, spare=3, name="out", letter="u", down=True, field=NUMBER,
            value=lambda row: row.out_rate,
        ),
        Column("P95", 6, right=True, spare=4, letter="p", down=True, field=DURATION, value=lambda row: row.p95),
        Column("LAST 60s", 12, spare=5, name="ended", letter="e", down=True, value=lambda row: sum(row.ended)),
        Column("DEAD", 5, right=True, letter="x", down=True, field=NUMBER, value=lambda row: row.dead),
    )  # fmt: skip

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
        self.arrange_rows()
        self.say_lost()

    def arrange_rows(self) -> None:
        rows = self.listing.rows.values()
        self.extra = tuple(extra for extra in EXTRA if any(getattr(row, extra) for row in rows))
        self.table.columns = (*self.columns[:-1], *(EXTRA[extra] for extra in self.extra), self.columns[-1])
        given, now = self.given(), self.as_of
        shown = [
            name for name, row in self.listing.rows.items() if self.admits(given, row, (name, standing(row, now)[0]))
        ]
        self.window.sync(shown, alive=self.listing.rows)

    def value(self, row: QueueRow, column: str) -> Any:
        match column:
            case "state":
                return standing(row, self.as_of)[0].partition(" ")[0]
            case "oldest":
                return waited(row, self.as_of)
        return super().value(row, column)

    def key(self, row: QueueRow) -> str:
        return row.name

    def failed(self, row: QueueRow) -> bool:
        return standing(row, self.as_of)[0] in ("STALLED", "NOWORKER") or bool(row.dead)

    def shell(self, key: str) -> str:
        return f"holdfast runs list --filter {quote(clean(f'queue:{quoted(key)}'))}"

    def cells(self, key: str, widths: Sequence[int]) -> Sequence[Cell]:
        row, now = self.listing.rows[key], self.as_of
        return (
            (row.name, ""),
            standing(row, now),
            (count(row.depth), ""),
            (age(waited(row, now)), ""),
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
        shown = len(self.window)
        of = f"{shown:,} of " if shown != len(rows) else ""
        first: list[Cell] = [(of + plural(len(rows), "queue"), "")]
        told_: list[Cell] = []
        if rows:
            told_ += [(f"{count(waiting)} ready", ""), (f"{count(running)} running", ""), (f"{count(dead)} dead", "")]
            told_ += [(f"{count(undo)} undoing", "")] if undo else []
            told_ += [(f"{plural(paused, 'paused run')}", "warn")] if paused else []
        if self.listing.waiting:
            told_.append((f"{self.listing.waiting} new", "title"))
        left = self.unread() + told(self.filter, first) + [*marked(self.window), *told("", told_)]
        return left, self.told_sort() if rows else []

    def about(self) -> tuple[str, list[Cell]]:
        row = self.listing.rows.get(self.window.cursor or "")
        return ("", []) if row is None else (clean(row.name), about(row, self.as_of))

    # --- what keys do -------------------------------------------------------------------------------------------------

    def do_open(self) -> None:
        if self.window.cursor is not None:
            self.desk.open_runs(queue=self.window.cursor)

    def do_explain(self) -> None:
        """Say what holds the queue under the cursor, and which key would change it."""
        row = self.listing.rows.get(self.window.cursor or "")
        if row is None:
            self.say("no queue to explain", "warn")
        else:
            self.show_sheet(f"what holds {clean(row.name)}", explained(row, self.as_of))

    def do_pause(self) -> None:
        """Pause what is chosen, or resume it where all of it is paused."""
        chosen = self._chosen()
        self.hold(chosen, any(not self.listing.rows[name].paused for name in chosen))

    def hold(self, queues: list[str], paused: bool) -> None:
        """Ask about pausing or resuming queues."""
        verb = Verb.PAUSE if paused else Verb.RESUME
        self.propose(Plan(verb=verb, targets=tuple(queues), hidden=self._hidden(), what="queue"))

    def do_limit(self) -> None:
        """Ask how many runs of what is chosen may run at once, and how many may start in a time."""
        self.limit(self._chosen())

    def command_limit(self, rest: str) -> None:
        self.limit([rest] if rest else self._chosen())

    def limit(self, queues: list[str]) -> None:
        if queues:
            self._take(self._limit(queues))
        else:
            self.say("no queue is chosen", "warn")

    async def _limit(self, queues: list[str]) -> None:
        """Begin with the limits that hold now: what is not asked about stays."""
        before = {name: await self.desk.gateway.limits(name) for name in queues}
        if not self.undisturbed:
            return
        now = before[queues[0]]
        which = clean(queues[0]) + (f" and {len(queues) - 1:,} more" if len(queues) > 1 else "")
        start = UNLIMITED if now.concurrency is None else str(now.concurrency)
        text = f"Limit {which}: how many runs at once? A number from 1, or none"
        self.fill(text, "at once", start, partial(self._limit_rate, which, before))

    def _limit_rate(self, which: str, before: dict[str, QueueLimits], text: str) -> None:
        bound = _bound(text)
        now = next(iter(before.values()))
        start = UNLIMITED if now.rate is None else readable_rate(now.rate)
        ask = f"Limit {which}: how many may start? Like 50/s, 600/m, 100/15s, or none"
        self.fill(ask, "rate", start, partial(self._limited, before, bound))

    def _limited(self, before: dict[str, QueueLimits], bound: int | None, text: str) -> None:
        rate = _rate(text)
        values = {name: replace(limits, concurrency=bound, rate=rate) for name, limits in before.items()}
        targets = tuple(before)
        self.propose(
            Plan(verb=Verb.LIMIT, targets=targets, hidden=self._hidden(), what="queue", values=values, before=before)
        )

    def do_purge(self) -> None:
        """Ask, by its name, about cancelling all that waits in one queue."""
        chosen = self._chosen()
        if len(chosen) != 1:
            self.say(f"X purges one queue at a time: {len(chosen)} are chosen", "warn")
            return
        self._take(self._purge(chosen[0]))

    async def _purge(self, name: str) -> None:
        total = await self.desk.gateway.to_purge(name)
        if self.undisturbed:
            self.propose(Plan(verb=Verb.PURGE, targets=(name,), hidden=self._hidden(), what="queue", total=total))

    def _chosen(self) -> list[str]:
        return [name for name in self.window.chosen() if name in self.listing.rows]

    def _hidden(self) -> int:
        return self.window.hidden() if self.window.marks else 0


def _bound(text: str) -> int | None:
    """Raises: ValueError."""
    given = text.strip()
    if given == UNLIMITED:
        return None
    if not given.isdecimal() or int(given) < 1:
        raise ValueError(f"expected a whole number from 1, or none, found {given or 'nothing'} (P pauses)")
    return int(given)


def _rate(text: str) -> Any:
    """Raises: ValueError."""
    given = text.strip()
    if given == UNLIMITED:
        return None
    try:
        return rate_of(given)
    except ValueError as error:
        raise ValueError(f"expected {error}, or none, found {given or 'nothing'}") from None
