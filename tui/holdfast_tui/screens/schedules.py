"""Screen 5: schedules: when each ticks next, how its last runs went, what it missed, and the ticks of the next day."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from textual.app import ComposeResult
from textual.containers import Container

from holdfast.core.model import Instant, Seconds, State
from holdfast.wire.schedules import Past, ScheduleRow
from holdfast_tui import keys
from holdfast_tui.filter import Field, Grammar, Kind, quoted
from holdfast_tui.format import (
    STATES,
    TIMES,
    Cell,
    clean,
    count,
    error_name,
    fit,
    minute,
    plural,
    short,
    took,
)
from holdfast_tui.model import lanes
from holdfast_tui.model.schedule import STANDINGS, ahead, days_told, due, reasons, rules, run_told, strip, times_of
from holdfast_tui.model.sorting import Sort
from holdfast_tui.model.window import Listing
from holdfast_tui.plan import Plan, Verb
from holdfast_tui.screens.listed import Listed
from holdfast_tui.screens.page import marked, told
from holdfast_tui.widgets.pane import Pane
from holdfast_tui.widgets.table import Column

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

    def body(self) -> ComposeResult:
        with Container(id="left"):
            yield self.table
            yield self.lanes
        yield self.pane

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
            *rules(row),
            ("", ""),
            ("last 5", "title"),
            *([run_told(run) for run in past.last] if past is not None else [("none yet", "dim")]),
            ("", ""),
            ("next 3", "title"),
            *ahead(row, self.as_of),
            ("", ""),
            *days_told(past.days if past is not None else ()),
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


@lru_cache(maxsize=512)
def _lane(row: ScheduleRow, begin: Instant, columns: int) -> lanes.Lane:
    return lanes.lane(row, begin, columns)
