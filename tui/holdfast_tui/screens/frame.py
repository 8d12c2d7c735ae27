"""The frame of a screen: two lines of context, the list with its pane, the prompt and the hints; and the tick.

Rows 1, 2, 23 and 24 are always there, so nothing that is asked or said moves the list. What is painted is compared with
what was painted before: what did not change sends nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.app import ComposeResult
from textual.containers import Container
from textual.screen import Screen

from holdfast.core.model import Instant
from holdfast.errors import HoldfastError
from holdfast_tui import command, keys, router
from holdfast_tui.format import Cell, clean, clock, rate
from holdfast_tui.gateway import Lost
from holdfast_tui.message import Message
from holdfast_tui.model.window import Window
from holdfast_tui.plan import Plan
from holdfast_tui.router import Mode
from holdfast_tui.widgets.line import Line
from holdfast_tui.widgets.pane import Pane
from holdfast_tui.widgets.table import Column, Table

if TYPE_CHECKING:
    from holdfast_tui.app import Desk

HOLD = 3.0
"""Seconds without a key before rows may change places."""
QUESTION = 30.0
"""Seconds before a question counts as answered with no."""


class Frame(Screen[None], inherit_bindings=False):
    """A screen's six parts, and what each screen says in them."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012 - Textual's own annotation
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (10, "-short"), (24, "-full")]  # noqa: RUF012
    AUTO_FOCUS = ""
    ALLOW_SELECT = False

    kind: ClassVar[str]
    """Name in `keys.SCREENS`."""
    columns: ClassVar[Sequence[Column]]
    paned: ClassVar[bool] = True
    """Whether a pane stands beside the list where there is room."""

    def __init__(self, *, filter: str = "") -> None:
        super().__init__()
        self.window: Window[Any] = Window()
        self.filter = filter
        self.home = filter
        """The filter that it was opened with."""
        self.state = router.NORMAL
        self.plan: Plan | Message | None = None
        """What is asked about."""
        self.said: Cell = ("", "")
        """Row 23."""
        self.note: Cell = ("", "")
        """What was wrong with the last read; shown while nothing else is said."""
        self._said_at: Instant = 0
        self._pressed_at: Instant = 0
        self._reading = False
        self._pending = False
        self.context, self.time_line, self.scope_line = Line(), Line(id="time"), Line(classes="less")
        self.prompt, self.hints = Line(), Line(classes="less")
        self.table = Table(self.window, self.columns, self.cells, self.empty)
        self.pane = Pane()

    @property
    def desk(self) -> Desk:
        return cast("Desk", self.app)

    @property
    def now(self) -> Instant:
        return self.desk.clock()

    @property
    def as_of(self) -> Instant:
        """Now; or, while the link is lost, when what is shown was true."""
        link = self.desk.gateway.link
        return self.now if link.answered_at is None or link.live(self.now) else link.answered_at

    @property
    def words(self) -> tuple[str, ...]:
        """What a command may begin with here."""
        return command.words(self.kind, read_only=self.desk.gateway.read_only)

    # --- for each screen to say ---------------------------------------------------------------------------------------

    @property
    def crumbs(self) -> str:
        return self.kind.capitalize()

    async def read(self) -> None:
        """Ask for what is shown. Raises: Lost; HoldfastError."""
        raise NotImplementedError

    def arrange_rows(self) -> None:
        """Bring the window in line with the rows and the filter."""
        raise NotImplementedError

    def cells(self, key: Any, widths: Sequence[int]) -> Sequence[Cell]:
        raise NotImplementedError

    def empty(self) -> Sequence[str]:
        """What to say where there are no rows."""
        return ()

    def scope(self) -> tuple[list[Cell], list[Cell]]:
        """Row 2, left and right."""
        return [], []

    def detail(self) -> tuple[str, list[Cell]]:
        """Title and lines of the pane."""
        return "", []

    def idle(self) -> frozenset[str]:
        """Ids of actions that would find nothing to act on just now: they are not offered in row 24."""
        return frozenset()

    def narrowed(self) -> None:
        """The filter changed."""
        self.arrange_rows()

    # --- frame --------------------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        with Container(id="top"):
            yield self.context
            yield self.time_line
        yield self.scope_line
        with Container(id="body"):
            yield self.table
            if self.paned:
                yield self.pane
        yield self.prompt
        yield self.hints

    def on_mount(self) -> None:
        self.arrange_rows()
        self.refresh_data()

    def on_screen_resume(self) -> None:
        self.refresh_data()

    def on_resize(self) -> None:
        self.pane.barred = self.size.width >= 110
        self.call_after_refresh(self.paint)

    def refresh_data(self) -> None:
        """Read again, one read at a time; one that is asked for meanwhile follows."""
        if self._reading:
            self._pending = True
            return
        self._reading = True
        self.run_worker(self._read(), group="read", exit_on_error=True)

    async def _read(self) -> None:
        try:
            await self.desk.gateway.beat()
            await self.read()
            self.note = ("", "")
        except Lost as error:
            self.note = (clean(str(error)), "fail")
        except HoldfastError as error:
            self.note = (clean(str(error)), "fail")
        finally:
            self._reading = False
        self.paint()
        if self._pending:
            self._pending = False
            self.refresh_data()

    def tick(self) -> None:
        """Once a second while on the screen."""
        if self.state.mode in (Mode.ASK, Mode.TYPED) and self.now - self._pressed_at > QUESTION:
            self.state, self.plan = router.NORMAL, None
            self.say("no answer for 30 s: nothing was sent")
        if self.said[0] and self.now - self._said_at > 10 and self.state.mode is not Mode.SENDING:
            self.said = ("", "")
        self.refresh_data()
        self.paint()

    @property
    def held(self) -> bool:
        """Whether somebody is at the keys, so that rows stay where they are."""
        return self.now - self._pressed_at < HOLD

    def say(self, text: str, role: str = "") -> None:
        self.said, self._said_at = (clean(text), role), self.now

    def paint(self) -> None:
        """Bring the terminal in line with the state; what did not change costs nothing."""
        if not self.is_mounted or not self.size.width:
            return
        self.arrange_rows()
        gateway, now = self.desk.gateway, self.now
        live = gateway.link.live(now)
        mode = ("READ-ONLY", "title") if gateway.read_only else ("RW", "")
        self.time_line.show([(f"  {clock(now)}Z ", "")])
        self.context.show([(clean(gateway.project) + " ", "title"), mode, (" │ " + self.crumbs, "")], self._link(now))
        left, right = self.scope()
        if not live and gateway.link.answered_at is not None:
            left = [("old data: the last that is known; changes are refused", "warn")]
        self.scope_line.show([(" ", ""), *left], [*right, (" ", "")])
        self.table.dimmed = not live
        self.table.sync()
        if self.paned and self.pane.size.width:
            self.pane.show(*self.detail())
        self._bottom(live)

    def _link(self, now: Instant) -> list[Cell]:
        gateway = self.desk.gateway
        cells: list[Cell] = [("  ", ""), *gateway.link.cells(now)]
        if gateway.link.live(now) and gateway.queues_at is not None:
            cells.append((f"  {rate(gateway.events)} ev/s", ""))
        return cells

    def _bottom(self, live: bool) -> None:
        state, question = self.state, self.state.question
        tail: list[Cell] = []
        match state.mode:
            case Mode.FILTER:
                row = [(" /", "title"), (clean(state.text), ""), ("▏", "")]
                foot = " enter keeps it  esc as it was  fields: state: queue: task: is:paused"
            case Mode.COMMAND:
                row = [(" :", "title"), (clean(state.text), ""), ("▏", "")]
                foot = " enter does it  tab completes  esc closes  " + " ".join(self.words)
            case Mode.ASK if question is not None:
                row = [(" " + clean(question.text), "ask")]
                foot = " " + _offered((*question.options, ("n/esc", "no")))
                tail = _where_room(foot, "nothing sent yet ", self.size.width)
            case Mode.TYPED if question is not None:
                row = [(" " + clean(question.text), "ask")]
                foot = f" type {question.typed}> {clean(state.text)}▏"
                tail = [("enter when it matches   esc cancels ", "")]
            case Mode.BLANK if state.blank is not None:
                row = [(" " + clean(state.wrong), "fail")] if state.wrong else [(" " + state.blank.text, "ask")]
                tail = [("  enter goes on   esc cancels ", "")]
                room = self.size.width - len(tail[0][0]) - len(state.blank.name) - 4
                foot = f" {state.blank.name}> {_end(clean(state.text), room)}▏"
            case Mode.PICK if state.pick is not None:
                row = [(" " + clean(state.wrong), "warn")] if state.wrong else [(" " + clean(state.pick.title), "ask")]
                foot = " " + "  ".join(
                    f"[{key}] {clean(word)}" for key, word in (*state.pick.choices, ("esc", "leave"))
                )
            case _:
                row = [(" ", ""), self.said if self.said[0] else self.note]
                foot = " " + keys.hints(
                    self.kind,
                    self.size.width - 2,
                    read_only=self.desk.gateway.read_only,
                    off=not live,
                    idle=self.idle(),
                )
        self.prompt.show(row)
        self.hints.show([(foot, "")], tail)


def _offered(options: Sequence[tuple[str, str]]) -> str:
    """Keys with their words, for row 24."""
    return "  ".join(f"[{key}] {clean(word)}" for key, word in options)


def _where_room(line: str, tail: str, width: int) -> list[Cell]:
    """What stands at the right, where the line leaves room for it."""
    return [(tail, "")] if len(line) + 2 + len(tail) <= width else []


def _end(text: str, room: int) -> str:
    """The end of what is typed, where it is too long to be shown."""
    return text if len(text) <= room else "…" + text[len(text) - room + 1 :]
