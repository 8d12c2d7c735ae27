"""Screen 3: output of user code as it comes. Frozen means frozen: what arrives is kept and counted below.

What comes changes the model only; five times a second what is in view is painted, if anything came.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC

import msgspec
from textual.timer import Timer

from holdfast.errors import HoldfastError
from holdfast.wire.api import LogRow
from holdfast_tui import keys, sieve
from holdfast_tui.feed import Feed
from holdfast_tui.format import TIMES, Cell, clean, clipped, clock, count, plural
from holdfast_tui.model.ring import SIZE, Place, Ring, place
from holdfast_tui.model.tail import Tail
from holdfast_tui.model.window import Follow
from holdfast_tui.screens.filing import Filing
from holdfast_tui.screens.loglook import COPIES, Written, copied, head, look, told_record, written
from holdfast_tui.screens.page import told
from holdfast_tui.widgets.lines import Lines, Look
from holdfast_tui.widgets.table import Column

FIRST = 1000
"""How many lines are read to begin with."""
PAGE = 1000
"""How many older ones are read at a time."""
REPAINT = 0.2
"""Seconds between repaints while lines come in."""
TYPING = 0.06
"""Seconds after a key before many lines are held against a new filter."""
MANY = 5_000
"""How many lines are many."""
FAILURE = 40
"""The level from which on a line is a failure."""


class Logs(Filing):
    kind = keys.LOGS
    row_type, noun = Written, "line"
    columns = (
        Column("TIME", 12, spare=3),
        Column("LEVEL", 5),
        Column("QUEUE", 8, spare=4),
        Column("TASK", 12, spare=2),
        Column("RUN", 8, spare=1),
        Column("LINE", 36, flex=True),
    )

    def __init__(
        self, run: str = "", *, among: Sequence[str] = (), of: str = "", filter: str = "", size: int = SIZE
    ) -> None:
        """
        Args:
            among: only lines of these runs; empty: of all.
            of: whose runs they are.
            size: how many lines are kept.
        """
        self.of_run = run
        self.among = frozenset(among)
        self.of = of
        self.ring = Ring(size)
        self.feed: Feed | None = None
        self.sieve = sieve.ALL
        self.around = False
        """Whether lines are shown whatever their text says, and what is looked for is only underlined."""
        self.frozen: int | None = None
        """The serial number behind the last line of the frozen view; None: it follows."""
        self.answered = False
        self.older = True
        """Whether there may be older lines than those that are here."""
        self._reached: Place | None = None
        """How far back was read since there was another filter, or the newest lines."""
        self._fresh = False
        self._generation = 0
        self._typing: Timer | None = None
        super().__init__(filter=filter)
        self.window.follow = Follow.LAST
        self.table: Lines = Lines(self.window, self.columns, self.head, self.look, self.empty)

    @property
    def crumbs(self) -> str:
        if self.of:
            return f"Workers > {clean(self.of)} > output"
        return f"Runs > {clean(self.of_run[-8:])} > output" if self.of_run else "Logs"

    def on_mount(self) -> None:
        self.set_interval(REPAINT, self._grow)
        if self.filter:
            self._narrow()

    # --- what comes ---------------------------------------------------------------------------------------------------

    async def read(self) -> None:
        if self.feed is None:
            await self._begin()
        elif not self._following:
            await self._catch_up()
        if not self._following and self.is_current:
            self.begin("follow", self._follow)
        if self.older and len(self.window) < self.window.height and self.filter:
            self.read_older()

    @property
    def _following(self) -> bool:
        return any(worker.group == "follow" and worker.is_running for worker in self.workers)

    async def _newest(self) -> tuple[tuple[LogRow, ...], int]:
        query = msgspec.structs.replace(sieve.ALL.query(limit=FIRST), run=self.of_run)
        page = await self.desk.gateway.logs(query)
        return page.rows, page.last_seq

    async def _begin(self) -> None:
        rows, last = await self._newest()
        tail = Tail(last, whole=not self.of_run)
        tail.seen(rows)
        self.ring.extend(self._own(rows))
        self.feed = Feed(self.desk.gateway, tail, self._take, run=self.of_run)
        self.answered, self._fresh = True, True

    async def _catch_up(self) -> None:
        """After it was out of sight: what came meanwhile, or, where that is too much, the newest of it."""
        assert self.feed is not None
        rows, last = await self._newest()
        tail = self.feed.tail
        if last <= tail.last or not rows or rows[0].seq <= tail.last + 1:
            return
        if self.frozen is None:
            self.ring.begin_anew(self._own(rows))
        else:
            self.ring.cut = True
        tail.last = last
        tail.seen(rows)
        self._fresh, self.older, self._reached = True, True, None

    async def _follow(self) -> None:
        assert self.feed is not None
        try:
            await self.feed.follow()
        except HoldfastError as error:
            self.say(str(error), "fail")

    def _take(self, rows: Sequence[LogRow]) -> None:
        self.ring.extend(self._own(rows))
        self._fresh = True

    def _own(self, rows: Sequence[LogRow]) -> Sequence[LogRow]:
        """Those of the runs that this screen is about."""
        return [row for row in rows if row.run in self.among] if self.among else rows

    def on_screen_suspend(self) -> None:
        self.workers.cancel_group(self, "follow")

    def _grow(self) -> None:
        if self._fresh and self.is_current:
            self._fresh = False
            self.paint()

    # --- what is shown ------------------------------------------------------------------------------------------------

    def arrange_rows(self) -> None:
        self.window.sync(self.ring.keys(self.frozen))

    def narrowed(self) -> None:
        self._generation += 1
        if self._typing is not None:
            self._typing.stop()
        if len(self.ring) > MANY:
            self._typing = self.set_timer(TYPING, self._narrow_and_paint)
        else:
            self._narrow()

    def _narrow_and_paint(self) -> None:
        self._narrow()
        self.paint()

    def _narrow(self) -> None:
        self._generation += 1
        self.sieve = self._sieve(self.filter) if self.filter.strip() else sieve.ALL
        self.ring.narrow(self.sieve, around=self.around)
        self.table.recolour()
        self.older, self._reached = True, None
        self.arrange_rows()
        self.refresh_data()

    def _sieve(self, text: str) -> sieve.Sieve:
        return sieve.read(text, self.now, zone=TIMES.at(self.now).tzinfo or UTC)

    def filter_foot(self, text: str) -> str:
        wrong = self._sieve(text).wrong
        if wrong is None:
            return f" enter keeps it  esc as it was  {sieve.HELP}"
        at, why = 2 + len(clean(text[: wrong.at])), clean(wrong.text)
        if at + 2 + len(why) > self.size.width and at > len(why):
            return f"{why} ^".rjust(at + 1)
        return " " * at + f"^ {why}"

    def read_older(self) -> None:
        """Read lines of before those that are here, once."""
        if self.older and self.answered and self.feed is not None and len(self.ring) < 2 * self.ring.size:
            self.begin("older", self._read_older, self._generation)

    async def _read_older(self, generation: int) -> None:
        asked = self.sieve.query(around=self.around, limit=PAGE)
        query = msgspec.structs.replace(asked, run=self.of_run or asked.run, before=self._before())
        try:
            page = await self.desk.gateway.logs(query)
        except HoldfastError as error:
            self.note = (clean(f"older lines: {error}"), "fail")
            return
        if generation == self._generation:
            self.older = page.more and bool(page.rows)
            self._reached = place(page.rows[0]) if page.rows else self._reached
            self.ring.prepend(self._own(page.rows))
            self.paint()

    def _before(self) -> Place | None:
        """Where the older lines begin: before the oldest that is here, or that was read and is of another run."""
        known = [each for each in (self.ring.oldest(), self._reached) if each is not None]
        return min(known, default=None)

    def head(self, serial: int) -> tuple[Cell, ...]:
        return head(self.ring[serial]) if serial in self.ring else ()

    def look(self, serial: int) -> Look:
        if serial not in self.ring:
            return Look(())  # dropped since it was arranged
        return look(self.ring[serial], self.sieve)

    def detail(self) -> tuple[str, list[Cell]]:
        serial = self.window.cursor
        if serial is None or serial not in self.ring:
            return "", []
        return told_record(self.ring[serial])

    def empty(self) -> Sequence[str]:
        if not self.answered:
            return ["", "  Waiting for the first answer ..."]
        if self.filter:
            older = ", older ones are looked for" if self.older else ", nor is there an older one in the history"
            return ["", f"  0 of {plural(len(self.ring), 'line')} match{older}; esc clears the filter"]
        what = "of this run " if self.of_run else "of these runs " if self.among else ""
        return ["", f"  No output {what}yet.", "", "  What tasks print and log stands here as it comes."]

    def _whose(self) -> str:
        if self.of:
            return f"{plural(len(self.among), 'run')} of {clean(self.of)}"
        return f"run:{clean(self.of_run)}"

    def scope(self) -> tuple[list[Cell], list[Cell]]:
        parts: list[Cell] = [(self._whose(), "")] if self.of_run or self.of else []
        lines = plural(len(self.ring), "line")
        passing = len(self.ring.keys(self.frozen))
        parts.append((f"{passing:,} of {lines}" if self.filter else lines, ""))
        if self.around and self.sieve.searching:
            parts.append(("in context", ""))
        if self.feed is not None and self.feed.missing:
            parts.append((f"{plural(self.feed.missing, 'message')} missing", "warn"))
        kept = ("  " + f"ring {count(self.ring.size)}  dropped {count(self.ring.dropped)}", "")
        shown = clipped(self.filter, self.size.width - (52 if self.frozen is None else 68))
        if self.frozen is None:
            return told(shown, parts), [("FOLLOW", "title"), kept]
        below = self.ring.behind(self.frozen)
        at = f" {clock(self.ring[self.frozen - 1].line.at)}" if self.frozen - 1 in self.ring else ""
        frozen = (f"FROZEN{at}, {plural(below, 'line')} below (f)", "title")
        return told(shown, parts), [frozen, kept] if self.size.width >= 110 else [frozen]

    def idle(self) -> frozenset[str]:
        return frozenset() if self.sieve.searching else frozenset({"next_match", "around"})

    # --- following ----------------------------------------------------------------------------------------------------

    def moved(self, move: Callable[[], None]) -> None:
        """Any movement freezes; one down from the end takes in what has come, one near the top what was before."""
        before = self.window.position
        if self.frozen is not None and before >= len(self.window) - 1:
            self.frozen = self.ring.end
            self.arrange_rows()
        else:
            self.freeze()
        move()
        if self.window.position <= before and self.window.position < self.window.height:
            self.read_older()

    def freeze(self) -> None:
        if self.frozen is None:
            self.window.follow = Follow.OFF
            self.ring.hold(True)
            self.frozen = self.ring.end
            self.arrange_rows()

    def thaw(self) -> None:
        """Go to the newest line and stay there."""
        self.frozen, self.window.follow = None, Follow.LAST
        cut = self.ring.cut
        self.ring.hold(False)
        self.older, self._reached = True, None
        if cut:
            self.begin("return", self._return)
        self.arrange_rows()

    async def _return(self) -> None:
        """More came than was kept: what there is now is read anew."""
        assert self.feed is not None
        try:
            rows, _ = await self._newest()
        except HoldfastError as error:
            self.note = (clean(str(error)), "fail")
            return
        fed = self.feed.tail.last
        self.ring.begin_anew(self._own([row for row in rows if row.seq <= fed]))
        if self.frozen is not None:
            self.frozen = self.ring.end
        self.paint()

    def do_last(self) -> None:
        self.thaw()

    def do_follow(self) -> None:
        self.freeze() if self.frozen is None else self.thaw()

    # --- looking ------------------------------------------------------------------------------------------------------

    def do_open(self) -> None:
        """The whole line; from there its run."""
        serial = self.window.cursor
        if serial is None or serial not in self.ring:
            return
        if self.has_class("-zoom"):
            self.desk.open_run(self.ring[serial].run)
        else:
            self.freeze()
            self.zoom(True)

    def do_output(self) -> None:
        """Only the output of the run under the cursor."""
        serial = self.window.cursor
        if serial is not None and serial in self.ring and not self.of_run:
            self.desk.open_logs(self.ring[serial].run)

    async def pages(self) -> AsyncIterator[Sequence[Written]]:
        """What is here and shown, oldest first; older lines of the history are written once they have been read."""
        shown = self.ring.keys(self.frozen)
        for at in range(0, len(shown), PAGE):
            yield [written(self.ring[serial]) for serial in shown[at : at + PAGE] if serial in self.ring]

    def do_copy(self) -> None:
        """Let a letter choose what of the line under the cursor is copied."""
        serial = self.window.cursor
        if serial is None or serial not in self.ring:
            self.say("nothing to copy", "warn")
            return
        row = self.ring[serial]
        self.pick("copy of this line", COPIES, lambda letter: self.say(self.desk.copy(copied(row, letter))))

    def do_wrap(self) -> None:
        self.table.wrapped = not self.table.wrapped
        self.table.forget()
        self.say("lines are wrapped" if self.table.wrapped else "lines are cut: h l moves them sideways")

    def do_pan_left(self) -> None:
        self._pan(-1)

    def do_pan_right(self) -> None:
        self._pan(1)

    def _pan(self, sign: int) -> None:
        if self.table.wrapped:
            self.say("lines are wrapped: r cuts them, then h l moves them")
        else:
            self.table.shift_by(sign * max(1, self.table.room // 2))

    def do_around(self) -> None:
        """Show the lines around those that match, or only these."""
        if not self.sieve.searching:
            self.say("m shows the lines around those that match: / with a word or /pattern/ looks for some")
            return
        self.freeze()
        self.around = not self.around
        cursor = self.window.cursor
        self.ring.narrow(self.sieve, around=self.around)
        self.older, self._reached = True, None
        self.arrange_rows()
        if cursor is not None and self.window.go(cursor):
            self.window.top = self.window.position - self.window.height // 2
            self.window.resize(self.window.height)

    def do_next_match(self) -> None:
        self._jump(1, self._found, "line that matches")

    def do_previous_match(self) -> None:
        self._jump(-1, self._found, "line that matches")

    def do_next_failure(self) -> None:
        self._jump(1, _fails, "error")

    def do_previous_failure(self) -> None:
        self._jump(-1, _fails, "error")

    def _found(self, row: LogRow) -> bool:
        return self.sieve.finds(row.line.text)

    def _jump(self, step: int, wanted: Callable[[LogRow], bool], what: str) -> None:
        """Go to the next line of a kind."""
        if what != "error" and not self.sieve.searching:
            self.say("nothing is looked for: / with a word or /pattern/ looks for it")
            return
        self.freeze()
        at = self.window.position + step
        while 0 <= at < len(self.window):
            if wanted(self.ring[self.window.keys[at]]):
                self.window.to(at)
                return
            at += step
        if step < 0 and self.older:
            self.read_older()
            self.say(f"no {what} above in what is loaded; older lines are being read", "warn")
        else:
            below = " what came since is behind f" if step > 0 and self.frozen != self.ring.end else ""
            self.say(f"no {what} {'above' if step < 0 else 'below'}{below}", "warn")


def _fails(row: LogRow) -> bool:
    return row.line.level >= FAILURE
