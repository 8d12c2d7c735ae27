"""Screen 5: schedules: when each ticks next, how its last runs went, what it missed, and the ticks of the next day."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from textual.app import ComposeResult
from textual.containers import Container

from holdfast.core.model import FINAL, Instant, Seconds, State
from holdfast.core.schedule import CATCH_UP
from holdfast.errors import DefinitionError
from holdfast.quantities import duration
from holdfast.ticks import Cron, Every
from holdfast.wire.api import RunRow
from holdfast.wire.schedules import Day, Past, ScheduleRow
from holdfast_tui import keys
from holdfast_tui.filter import Field, Grammar, Kind, quoted
from holdfast_tui.format import (
    STATES,
    TIMES,
    Cell,
    age,
    clean,
    count,
    date,
    error_name,
    fit,
    minute,
    plural,
    short,
    spark,
    took,
)
from holdfast_tui.model import lanes
from holdfast_tui.model.sorting import Sort
from holdfast_tui.model.window import Listing
from holdfast_tui.plan import Plan, Verb
from holdfast_tui.screens.listed import Listed
from holdfast_tui.screens.page import marked, told
from holdfast_tui.widgets.pane import Pane
from holdfast_tui.widgets.table import Column

STANDINGS: dict[str, Cell] = {
    "active": ("ok", ""),
    "paused": ("PAUSED", "dim"),
    "new": ("new", "dim"),
    "behind": ("LATE", "warn"),
    "over": ("over", "dim"),
}
"""The word and the role of each state of a schedule."""

STRIP = 6
"""Blocks of the strip in the list: five days each."""

FAILURES = frozenset({State.DEAD, State.FAILED, State.TIMED_OUT, State.EXPIRED})

PAST_EVERY = 30.0
"""Seconds between two looks at the past of the schedules."""

WORDS = {word.lower(): state for state, (word, _) in STANDINGS.items()}
"""What the filter calls each state."""

TASK = Field(Kind.NAMES, "names of tasks by commas, like task:charge_*")
NUMBER = Field(Kind.NUMBER, "a number, like >0")
LASTING = Field(Kind.DURATION, "how long, like took:>2m", operators=(">=", "<=", ">", "<"))


class Schedules(Listed):
    kind = keys.SCHEDULES
    row_type, noun = ScheduleRow, "schedule"
    sort = Sort("schedule")
    columns = (
        Column(
            "SCHEDULE", 14, flex=True, letter="n", value=lambda row: row.name,
            field=Field(Kind.NAMES, "names by commas, like schedule:nightly-*"),
        ),
        Column(
            "STATE", 6, letter="s", value=lambda row: row.state,
            field=Field(Kind.WORDS, f"states by commas: {' '.join(WORDS)}", WORDS),
        ),
        Column("WHEN", 17, spare=2, letter="w", value=lambda row: row.when),
        Column("NEXT", 7, right=True, letter="x", value=lambda row: row.next_at),
        Column("LAST", 6, letter="l", down=True, value=lambda row: row.last_at),
        Column("TOOK", 6, right=True, spare=3, letter="t", down=True, field=LASTING),
        Column("MISSED", 6, right=True, letter="m", down=True, field=NUMBER, value=lambda row: row.missed),
        Column("30d", STRIP, spare=4),
    )  # fmt: skip

    def __init__(self) -> None:
        self.listing = Listing[ScheduleRow](lambda row: row.name, lambda row: row.name)
        self.pasts: dict[str, Past] = {}
        self.answered = False
        self._past_at: Instant | None = None
        self._past_of: frozenset[tuple[str, str]] = frozenset()
        self.lanes = Pane(classes="lanes")
        super().__init__()

    def compose(self) -> ComposeResult:
        with Container(id="top"):
            yield self.context
            yield self.time_line
        yield self.scope_line
        with Container(id="body"):
            with Container(id="left"):
                yield self.table
                yield self.lanes
            yield self.pane
        yield self.prompt
        yield self.hints

    async def read(self) -> None:
        rows = await self.desk.gateway.schedules()
        self.answered = True
        self.listing.take(rows, hold=self.held)
        self.arrange_rows()
        self.say_lost()
        ran = frozenset((row.name, f"{row.last_run} {row.last_state}") for row in rows)
        if self._past_at is None or self.now - self._past_at >= PAST_EVERY or ran != self._past_of:
            self.pasts = {past.name: past for past in await self.desk.gateway.schedule_pasts()}
            self._past_at, self._past_of = self.now, ran

    def arrange_rows(self) -> None:
        given = self.given()
        shown = [name for name, row in self.listing.rows.items() if self.admits(given, row, (name, row.task, row.when))]
        self.window.sync(shown, alive=self.listing.rows)

    @property
    def grammar(self) -> Grammar:
        return {**super().grammar, "task": TASK}

    def value(self, row: ScheduleRow, column: str) -> Any:
        match column:
            case "task":
                return row.task
            case "took":
                return self._took(row.name)
        return super().value(row, column)

    def _took(self, name: str) -> Seconds | None:
        """Of the last run that ended."""
        past = self.pasts.get(name)
        return None if past is None else next((run.took for run in past.last if run.took is not None), None)

    def key(self, row: ScheduleRow) -> str:
        return row.name

    def failed(self, row: ScheduleRow) -> bool:
        return row.state == "behind" or row.last_state in FAILURES

    def shell(self, key: str) -> str:
        return f"holdfast schedules next {shlex.quote(key)}"

    def cells(self, key: str, widths: Sequence[int]) -> Sequence[Cell]:
        row, past = self.listing.rows[key], self.pasts.get(key)
        word, role = ("-", "") if row.last_state is None else STATES[row.last_state]
        return (
            (row.name, ""),
            STANDINGS.get(row.state, (row.state, "warn")),
            (row.when if row.tz == "UTC" or row.every is not None else f"{row.when} {row.tz}", ""),
            (due(row, self.as_of), "warn" if row.state == "behind" else ""),
            (word, role),
            (took(self._took(key)), ""),
            (count(row.missed), "warn" if row.missed else ""),
            (strip(past.days if past is not None else (), STRIP), ""),
        )

    def empty(self) -> Sequence[str]:
        if not self.answered:
            return ["", "  Waiting for the first answer ..."]
        if self.filter and self.listing.rows:
            return ["", f"  0 of {plural(len(self.listing.rows), 'schedule')} match; esc clears the filter"]
        return [
            "",
            "  No schedules yet.",
            "",
            "  Declare one in code, or create one from a shell; this screen fills by itself:",
            "",
            '     @task(schedule=Cron("0 2 * * *"))',
            "     holdfast schedules create NAME --task TASK --every 1h",
        ]

    def scope(self) -> tuple[list[Cell], list[Cell]]:
        rows = self.listing.rows.values()
        shown = len(self.window)
        parts: list[Cell] = [((f"{shown:,} of " if shown != len(rows) else "") + plural(len(rows), "schedule"), "")]
        for state, word in (("paused", "paused"), ("behind", "late"), ("over", "over")):
            if number := sum(row.state == state for row in rows):
                parts.append((f"{number} {word}", "warn" if word == "late" else ""))
        if self.listing.waiting:
            parts.append((f"{self.listing.waiting} new", "title"))
        right: list[Cell] = [(f"times {TIMES.zone} (z)", ""), ("  ", ""), *self.told_sort()]
        return self.unread() + told(self.filter, parts) + marked(self.window), right if rows else []

    # --- the pane and the lanes ---------------------------------------------------------------------------------------

    def about(self) -> tuple[str, list[Cell]]:
        row = self.listing.rows.get(self.window.cursor or "")
        if row is None:
            return "", []
        past = self.pasts.get(row.name)
        return clean(row.name), [
            *_rules(row),
            ("", ""),
            ("last 5", "title"),
            *([_told(run) for run in past.last] if past is not None else [("none yet", "dim")]),
            ("", ""),
            ("next 3", "title"),
            *_next(row, self.as_of),
            ("", ""),
            *_days(past.days if past is not None else ()),
            ("", ""),
            *[(line, "") for line in reasons(row, self.as_of)],
        ]

    def paint(self) -> None:
        super().paint()
        if self.is_mounted and self.lanes.size.width:
            self.lanes.show("next 24 h", self._lanes())

    def _lanes(self) -> list[Cell]:
        width = self.lanes.size.width - 1 - self.lanes.barred
        named = max(9, min(20, width // 5))
        """Columns of a name before its lane."""
        room, begin = width - named - 1, self.as_of // 60 * 60
        if room < 12 or not self.window.keys:
            return []
        found: list[Cell] = [(" " * (named + 1) + lanes.hours(begin, room, minute), "dim")]
        for name in self._in_view():
            lane = _lane(self.listing.rows[name], begin, room)
            line = lane.marks
            if lane.word:
                line = f"{line[: max(0, room - len(lane.word) - 1)]} {lane.word}"
            found.append((f"{fit(name, named)} {line}", "dim" if lane.word else ""))
        text, role = self._last(self.window.cursor or "")
        return [*found, (fit(text, width).rstrip(), role)]

    def _in_view(self) -> Sequence[str]:
        """As many as there is room for, that under the cursor among them."""
        room = max(1, self.lanes.size.height - 3)
        first = max(0, min(self.window.position - room // 2, len(self.window) - room))
        return self.window.keys[first : first + room]

    def _last(self, name: str) -> Cell:
        """How the last run of the schedule under the cursor went."""
        past = self.pasts.get(name)
        if past is None or not past.last:
            return f"{clean(name)}  no run in 30 days", "dim"
        run = past.last[0]
        word, role = STATES[run.state]
        why = f"  {error_name(run.error_type)}: {run.error}" if run.error_type else f"  {run.reason}"
        return clean(f"{name}  last run {short(run.id)} {word} {minute(run.created_at)}{why.rstrip()}"), role

    # --- what keys do -------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        self.zoom(True)

    def do_open(self) -> None:
        if self.window.cursor is not None:
            self.desk.open_filtered(f"schedule:{quoted(self.window.cursor)}")

    def explained(self) -> str:
        row = self.listing.rows.get(self.window.cursor or "")
        return "" if row is None else " ".join(reasons(row, self.as_of))

    def do_pause(self) -> None:
        """Pause what is chosen, or resume it where all of it is paused."""
        chosen = [name for name in self.window.chosen() if name in self.listing.rows]
        paused = any(self.listing.rows[name].state != "paused" for name in chosen)
        fit = [name for name in chosen if (self.listing.rows[name].state == "paused") is not paused]
        self._propose(Verb.HOLD if paused else Verb.UNHOLD, fit, len(chosen) - len(fit))

    def do_trigger(self) -> None:
        self._propose(Verb.TRIGGER, self.window.chosen())

    def _propose(self, verb: Verb, chosen: Sequence[str], passed: int = 0) -> None:
        hidden = self.window.hidden() if self.window.marks else 0
        self.propose(Plan(verb=verb, targets=tuple(chosen), hidden=hidden, passed=passed, what="schedule"))

    def do_reschedule(self) -> None:
        """Ask for other times of the schedule under the cursor, where an operator created it."""
        row = self.listing.rows.get(self.window.cursor or "")
        if row is None:
            return
        if row.declared:
            self.say(f"{clean(row.name)} is declared by task {clean(row.task)}: change it in the code", "warn")
            return

        def given(text: str) -> None:
            when = times_of(text, row)
            self.propose(Plan(verb=Verb.RESCHEDULE, targets=(row.name,), values={row.name: when}, what="schedule"))

        self.fill(f"When {clean(row.name)} ticks: a cron expression, or `every 5m`", "when", row.when, given)


def times_of(text: str, row: ScheduleRow) -> Cron | Every:
    """What was typed as times; the other rules stay as the schedule has them. Raises: ValueError: that can't be."""
    word, _, rest = text.strip().partition(" ")
    try:
        if word == "every":
            return Every(
                duration(rest.strip()), tz=row.tz, overlap=row.overlap, catch_up=row.catch_up, jitter=row.jitter
            )
        return Cron(text.strip(), tz=row.tz, overlap=row.overlap, catch_up=row.catch_up, jitter=row.jitter)
    except DefinitionError as error:
        raise ValueError(str(error)) from None
    except ValueError as error:
        raise ValueError(f"expected {error}, found {rest.strip() or 'nothing'}") from None


def due(row: ScheduleRow, now: Instant) -> str:
    """When the next tick is: `in 14h`, or how long ago it should have been."""
    if row.next_at is None:
        return "-"
    return f"in {age(row.next_at - now)}" if row.next_at >= now else f"{age(now - row.next_at)} ago"


def strip(days: Sequence[Day], blocks: int) -> str:
    """How long the runs took, each block the mean of some days; a day without any is nothing."""
    if not days:
        return " " * blocks
    size = max(1, len(days) // blocks)
    parts = [days[at : at + size] for at in range(len(days) % size, len(days), size)]
    return spark([_mean([day.took for day in part if day.took is not None]) for part in parts])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def reasons(row: ScheduleRow, now: Instant) -> list[str]:
    """Why it stands so, and what can be done."""
    found = []
    match row.state:
        case "paused":
            since = "" if row.paused_at is None else f" since {date(row.paused_at)}"
            found.append(f"Paused by {clean(row.by) or 'somebody'}{since}: nothing counts as missed; P resumes it.")
        case "behind":
            late = age(now - row.next_at) if row.next_at is not None else "a while"
            found.append(
                f"Its tick was due {late} ago and nobody set the next one: is the daemon running (holdfast up)?"
            )
        case "new":
            found.append("Nobody has attended to it yet: the daemon does, within moments (holdfast up).")
        case "over":
            found.append("It has no tick any more: its times are over.")
        case _:
            found.append(f"It ticks as it should, next {date(row.next_at)}.")
    if row.missed:
        found.append(f"{plural(row.missed, 'tick')} came more than {took(row.catch_up)} late and did not run.")
    if row.skipped:
        found.append(
            f"{plural(row.skipped, 'tick')} did not run: the run before had not ended (overlap: {row.overlap})."
        )
    return found


def _rules(row: ScheduleRow) -> list[Cell]:
    word, role = STANDINGS.get(row.state, (row.state, "warn"))
    made = "declared by its task" if row.declared else f"created {date(row.created_at)[:10]}; E edits it"
    late = "runs anyway" if row.catch_up >= 10 * 365 * 86_400 else f"runs up to {took(row.catch_up)} late"
    if row.catch_up == CATCH_UP:
        late += ", as by default"
    return [
        (word, role or "title"),
        (f"{row.when}   zone {row.tz}", ""),
        (f"task {row.task}", ""),
        (f"overlap {row.overlap}   jitter {took(row.jitter) if row.jitter else 'none'}", ""),
        (f"a missed tick {late}", ""),
        (made, ""),
        (f"missed {row.missed:,}   skipped {row.skipped:,}", "warn" if row.missed else ""),
    ]


def _told(run: RunRow) -> Cell:
    word, role = STATES[run.state]
    lasted = took(run.took) if run.state in FINAL else ".."
    why = error_name(run.error_type) if run.error_type else run.reason if run.state is State.CANCELLED else ""
    hand = " by hand" if run.source.endswith(" by hand") else ""
    return f"{minute(run.created_at)} {word:<6} {lasted:>6} {why}{hand}".rstrip(), role


def _next(row: ScheduleRow, now: Instant) -> list[Cell]:
    found = lanes.ahead(row, now, 3)
    if row.state == "paused":
        return [(f"{date(at)}   not while paused", "dim") for at in found]
    if row.state == "behind" and row.next_at is not None:
        return [
            (f"{date(row.next_at)}   late by {age(now - row.next_at)}", "warn"),
            *[(date(at), "") for at in found[:2]],
        ]
    return [(f"{date(at)}   in {age(at - now)}", "") for at in found] or [("none", "dim")]


def _days(days: Sequence[Day]) -> list[Cell]:
    if not days:
        return [("30 days: no run", "title")]
    runs, failed = sum(day.runs for day in days), sum(day.failed for day in days)
    return [
        (f"30 days: {plural(runs, 'run')}, {failed:,} failed", "title"),
        (f"took {strip(days, len(days))}", ""),
        (f"runs {spark([day.runs for day in days])}", ""),
        (f"fail {spark([day.failed for day in days])}", "fail" if failed else ""),
    ]


@lru_cache(maxsize=512)
def _lane(row: ScheduleRow, begin: Instant, columns: int) -> lanes.Lane:
    return lanes.lane(row, begin, columns)
