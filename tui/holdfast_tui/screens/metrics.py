"""Screen 7: charts over time: how much is done, how long it takes, how much waits, how much fails."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from textual.app import ComposeResult

from holdfast.core.model import Instant
from holdfast.wire.api import Metrics as Figures
from holdfast.wire.api import MetricsQuery
from holdfast_tui import filter, keys
from holdfast_tui.filter import Field, Grammar, Kind
from holdfast_tui.format import TIMES, Cell, age, clean, plural
from holdfast_tui.model import chart, figures, span
from holdfast_tui.model.figures import CHARTS
from holdfast_tui.model.span import Span
from holdfast_tui.model.window import Follow
from holdfast_tui.screens.page import Page, told
from holdfast_tui.widgets.chart import Picture
from holdfast_tui.widgets.table import Column

FRESH = 2.0
"""Seconds between two looks at the least; a twelfth of a bucket, where that is more."""

LOW = 7
"""Lines of a chart at the least: with less room fewer are shown."""

GRAMMAR: Grammar = {
    "queue": Field(Kind.NAMES, "the name of a queue, like queue:emails or queue:mail-*", leaves_out=False, once=True),
    "task": Field(Kind.NAMES, "the name of a task, like task:charge_*", leaves_out=False, once=True),
}


class Metrics(Page):
    kind = keys.METRICS
    paned = False
    columns = (Column("AT", 8, flex=True),)

    def __init__(self) -> None:
        self.span: Span = span.CHARTED[1]
        self.figures: Figures | None = None
        self.first = 0
        """Which chart is shown first."""
        self.alone = False
        """Whether one is shown alone."""
        self.picture = Picture()
        self._asked_at: Instant | None = None
        self._asked: MetricsQuery | None = None
        super().__init__()
        self.window.follow = Follow.LAST

    def body(self) -> ComposeResult:
        yield self.table
        yield self.picture

    def asking(self, now: Instant) -> MetricsQuery:
        given = filter.read(self.filter, GRAMMAR)
        begin, end = span.aligned(now, self.span)
        queue = next(iter((*given.values("queue"), *given.words)), "")
        return MetricsQuery(
            since=begin, until=end, step=self.span.step, queue=queue, task=next(iter(given.values("task")), "")
        )

    async def read(self) -> None:
        query, now = self.asking(self.now), self.now
        fresh = max(FRESH, self.span.step / 12)
        if query == self._asked and self._asked_at is not None and now - self._asked_at < fresh:
            return
        found = await self.desk.gateway.metrics(query)
        if query.step == self.span.step:  # else the window was turned meanwhile
            self.figures, self._asked, self._asked_at = found, query, now
            self.arrange_rows()

    def arrange_rows(self) -> None:
        self.window.sync(() if self.figures is None else self.figures.at)
        self.window.resize(len(self.window) // 4)  # what ctrl+d and pgdn move by

    def narrowed(self) -> None:
        self._asked = None
        self.refresh_data()

    def moved(self, move: object) -> None:
        """At the end the cursor stays with what is now."""
        assert callable(move)
        self.window.follow = Follow.OFF
        move()
        if self.window.position >= len(self.window) - 1:
            self.window.follow = Follow.LAST

    # --- what is shown ------------------------------------------------------------------------------------------------

    def paint(self) -> None:
        super().paint()
        if not self.is_mounted or not self.picture.size.width:
            return
        self.picture.dimmed = not self.desk.gateway.link.live(self.now)
        self.picture.show(self._lines())

    @property
    def _shown(self) -> tuple[Sequence[figures.Chart], int]:
        """Which charts there is room for, and how many stand beside each other."""
        wide, high = self.picture.size.width >= 100, self.picture.size.height
        across = 2 if wide and not self.alone else 1
        rows = 1 if self.alone else max(1, min(2, high // LOW))
        shown = across * rows
        turned = [*CHARTS[self.first :], *CHARTS[: self.first]]
        return (CHARTS, 2) if shown == len(CHARTS) else (turned[:shown], across)

    def _lines(self) -> list[list[Cell]]:
        width, height = self.picture.size.width, self.picture.size.height
        if self.figures is None or figures.nothing(self.figures):
            return [[(line, "")] for line in self.empty()]
        charts, across = self._shown
        plots = [figures.plot(each, self.figures, self.as_of) for each in charts]
        if len(charts) == len(CHARTS):
            plots[self.first] = plots[self.first]._replace(title=f"[{plots[self.first].title}]")
        cursor = None if self.window.follow is Follow.LAST else self.window.position
        return chart.sheet(
            plots, width, height, across=across, cursor=cursor, labels=figures.labels(self.span)
        )  # fmt: skip

    def empty(self) -> Sequence[str]:
        if self.figures is None:
            return ["", "  Waiting for the first answer ..."]
        what = f" of {clean(self.filter)}" if self.filter else ""
        clears = "esc clears the filter, " if self.filter else ""
        return [
            "",
            f"  Nothing ran or waited{what} in the last {self.span.name}; {clears}> looks further back.",
            "",
            "  Start something from a shell; this screen fills by itself:",
            "",
            "     holdfast demo             runs, retries and a dead letter to look at",
            "     holdfast trigger TASK     one run of a task of yours",
        ]

    def scope(self) -> tuple[list[Cell], list[Cell]]:
        given = filter.read(self.filter, GRAMMAR)
        parts: list[Cell] = [(given.wrong, "warn")] if given.wrong else []
        here, wide = self.window.follow is not Follow.LAST, self.size.width >= 110
        parts.append((f"last {self.span.name} (< >)", ""))
        if wide or not here:
            parts += [] if self.filter else [("all queues (/)", "")]
            parts.append((f"step {age(self.span.step)}", ""))
        if self.figures is None or not len(self.window):
            return told(self.filter, parts), []
        at = _minute(self.window.keys[self.window.position], self.span) if here else "now"
        values = figures.at_cursor(self.figures, self.window.position, self.as_of)
        parts.append((f"cursor {at}" + (f"  {values}" if wide or here else ""), "title"))
        return told(self.filter, parts), []

    # --- what keys do -------------------------------------------------------------------------------------------------

    def do_earlier(self) -> None:
        self.moved(lambda: self.window.move(-1))

    def do_later(self) -> None:
        self.moved(lambda: self.window.move(1))

    def do_shorter(self) -> None:
        self._turn(-1)

    def do_longer(self) -> None:
        self._turn(1)

    def _turn(self, by: int) -> None:
        turned = span.turned(span.CHARTED, self.span, by)
        if turned == self.span:
            self.say(f"{self.span.name} is the {'shortest' if by < 0 else 'longest'} window")
            return
        self.span, self.figures = turned, None
        self.window.follow = Follow.LAST
        self.narrowed()

    def do_chart(self) -> None:
        self.first = (self.first + 1) % len(CHARTS)

    def do_maximise(self) -> None:
        self.alone = not self.alone

    def do_redraw(self) -> None:
        self.picture.forget()
        super().do_redraw()

    def do_open(self) -> None:
        """Show the runs that were created in the time under the cursor."""
        if self.figures is None or not len(self.window):
            return
        at, query = self.window.keys[self.window.position], self.asking(self.now)
        words = [f"since:{_iso(at)}", f"until:{_iso(at + self.figures.step)}"]
        words += [f"queue:{filter.quoted(query.queue)}"] if query.queue else []
        words += [f"task:{filter.quoted(query.task)}"] if query.task else []
        words += [CHARTS[self.first].filter] if CHARTS[self.first].filter else []
        self.desk.open_filtered(" ".join(words))

    def command_export(self, name: str) -> None:
        """Write the figures to the file that is named, or ask for one. Raises: ValueError: it can't be written."""
        if name and self.figures is not None:
            self._named(figures.as_csv(self.figures), name)
        else:
            self.do_write()

    def do_write(self) -> None:
        """Ask for a file's name, and write the figures to it."""
        if self.figures is None:
            self.say("there are no figures yet")
            return
        text = figures.as_csv(self.figures)
        self.fill("Write these figures to a .csv file", "file", "metrics.csv", partial(self._named, text))

    def _named(self, text: str, name: str) -> None:
        path = Path(name.strip()).expanduser()
        if path.suffix != ".csv":
            raise ValueError(f"expected a file that ends with .csv, found {name.strip() or 'nothing'}")
        if path.exists():
            choices = (("y", "write over it"), ("n", "leave it"))
            self.pick(f"{clean(str(path))} is there already", choices, partial(self._over, text, path))
        else:
            self._write_file(text, path)

    def _over(self, text: str, path: Path, answer: str) -> None:
        if answer == "y":
            self._write_file(text, path)
        else:
            self.say("nothing was written")

    def _write_file(self, text: str, path: Path) -> None:
        try:
            path.write_text(text)
        except OSError as error:
            self.say(f"nothing was written: {path}: {error.strerror}", "fail")
        else:
            self.say(f"{plural(text.count(chr(10)) - 1, 'bucket')} written to {path}")

    def on_picture_clicked(self, message: Picture.Clicked) -> None:
        """Put the cursor where somebody clicked."""
        _, across = self._shown
        wide = self.picture.size.width // across
        column = message.x % wide - chart.GUTTER - (message.x >= wide)
        room = wide - chart.GUTTER - (across > 1)
        if column >= 0 and len(self.window):
            self.moved(lambda: self.window.to(chart.index_of(column, len(self.window), room)))
            self.paint()


def _minute(at: Instant, over: Span) -> str:
    """When a bucket begins, as exactly as its length."""
    written = "%H:%M:%S" if over.step < span.MINUTE else "%H:%M" if over.step < span.HOUR else "%a %H:%M"
    return TIMES.at(at).strftime(written)


def _iso(at: Instant) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")
