"""Screen 3: output of user code as it comes. Frozen means frozen: what arrives is kept and counted below."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from holdfast.errors import HoldfastError
from holdfast.wire import api
from holdfast_tui import keys
from holdfast_tui.format import LEVELS, Cell, clean, clock, count, plural, short
from holdfast_tui.gateway import Lost
from holdfast_tui.model.ring import Ring
from holdfast_tui.model.window import Follow
from holdfast_tui.screens.page import Page, told
from holdfast_tui.widgets.table import Column

FIRST = 1000
"""How many lines are read to begin with."""
REPAINT = 0.2
"""Seconds between repaints while lines come in."""


class Logs(Page):
    kind = keys.LOGS
    paned = False
    columns = (
        Column("TIME", 12, spare=3),
        Column("LEVEL", 5),
        Column("TASK", 12, spare=2),
        Column("RUN", 8, spare=1),
        Column("LINE", 20, flex=True),
    )

    def __init__(self, run: str = "", *, among: Sequence[str] = (), of: str = "") -> None:
        """
        Args:
            among: only lines of these runs; empty: of all.
            of: whose runs they are.
        """
        self.of_run = run
        self.among = frozenset(among)
        self.of = of
        self.ring = Ring()
        self.after: int | None = None
        """Sequence of the last message that was taken in; None: nothing was read yet."""
        self.frozen_at = 0
        """How many lines there were when the view was frozen."""
        self.answered = False
        self._fresh = False
        self._following = False
        super().__init__()
        self.window.follow = Follow.LAST

    @property
    def crumbs(self) -> str:
        if self.of:
            return f"Workers > {clean(self.of)} > output"
        return f"Runs > {short(self.of_run)} > output" if self.of_run else "Logs"

    def on_mount(self) -> None:
        self.set_interval(REPAINT, self._grow)

    async def read(self) -> None:
        if self.after is None:
            page = await self.desk.gateway.logs(api.LogsQuery(run=self.of_run, limit=FIRST))
            for row in page.rows:
                self._take(row)
            self.after, self.answered = page.last_seq, True
        if not self._following:
            self._following = True
            self.run_worker(self._follow(), group="follow", exclusive=True, exit_on_error=True)

    def _take(self, row: api.LogRow) -> None:
        if not self.among or row.run in self.among:
            self.ring.append(row)

    async def _follow(self) -> None:
        """Lines as they come; after a lost connection from where it was."""
        try:
            while True:
                try:
                    async for row in self.desk.gateway.follow_logs(run=self.of_run, after=self.after or 0):
                        self._take(row)
                        self.after, self._fresh = row.seq, True
                except Lost:
                    await anyio.sleep(1)
                except HoldfastError as error:
                    self.say(str(error), "fail")
                    return
        finally:
            self._following = False

    def on_screen_suspend(self) -> None:
        self.workers.cancel_group(self, "follow")

    def _grow(self) -> None:
        if self._fresh and self.is_current:
            self._fresh = False
            self.paint()

    def arrange_rows(self) -> None:
        self.window.sync(self.ring.keys())

    def narrowed(self) -> None:
        self.ring.narrow(self.filter)
        self.arrange_rows()

    def moved(self, move: object) -> None:
        """Going to the end follows; any other movement freezes."""
        assert callable(move)
        move()
        at_end = self.window.position >= len(self.window) - 1
        self._set_follow(at_end and self.window.follow is Follow.LAST)

    def _set_follow(self, on: bool) -> None:
        if self.window.follow is Follow.LAST and not on:
            self.frozen_at = self.ring.dropped + len(self.ring)
        self.window.follow = Follow.LAST if on else Follow.OFF
        self.arrange_rows()

    def do_last(self) -> None:
        self._set_follow(True)

    def do_follow(self) -> None:
        self._set_follow(self.window.follow is not Follow.LAST)

    def do_open(self) -> None:
        serial = self.window.cursor
        if serial is not None and serial in self.ring:
            self.desk.open_run(self.ring[serial].run)

    def cells(self, key: int, widths: Sequence[int]) -> Sequence[Cell]:
        row = self.ring[key]
        level = LEVELS.get(row.line.level // 10 * 10, (str(row.line.level), ""))
        step = row.line.key.rpartition("/")[2].removesuffix("#1")
        first, *more = row.line.text.rstrip("\n").split("\n")
        text = f"{step}: {first}" if step else first
        rest = f"  (+{len(more)} lines)" if more else ""
        return (
            (clock(row.line.at, millis=True), "dim"),
            level,
            (row.task, ""),
            (short(row.run), ""),
            (text + rest, level[1] if level[1] != "dead" else "fail"),
        )

    def empty(self) -> Sequence[str]:
        if not self.answered:
            return ["", "  Waiting for the first answer ..."]
        if self.filter:
            return ["", f"  0 of {len(self.ring):,} lines match; esc clears the filter"]
        what = "of this run " if self.of_run else "of these runs " if self.among else ""
        return ["", f"  No output {what}yet.", "", "  What tasks print and log stands here as it comes."]

    def _whose(self) -> str:
        if self.of:
            return f"{plural(len(self.among), 'run')} of {clean(self.of)}"
        return f"run:{self.of_run}" if self.of_run else "all runs"

    def scope(self) -> tuple[list[Cell], list[Cell]]:
        matching = len(self.ring.keys())
        parts: list[Cell] = [(self._whose(), "")]
        lines = plural(len(self.ring), "line")
        parts.append((f"{matching:,} of {lines}" if self.filter else lines, ""))
        if self.ring.dropped:
            parts.append((f"{count(self.ring.dropped)} older dropped", ""))
        if self.window.follow is Follow.LAST:
            return told(clean(self.filter), parts), [("FOLLOW", "title")]
        below = self.ring.dropped + len(self.ring) - self.frozen_at
        return told(clean(self.filter), parts), [(f"FROZEN, {plural(below, 'line')} below (f)", "title")]
