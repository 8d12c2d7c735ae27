"""The frame of a screen: two lines of context, the list with its pane, the prompt and the hints; and the tick.

Rows 1, 2, 23 and 24 are always there, so nothing that is asked or said moves the list. What is painted is compared with
what was painted before: what did not change sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.app import ComposeResult
from textual.containers import Container
from textual.screen import Screen

from holdfast.core.model import Instant
from holdfast.errors import HoldfastError
from holdfast_tui import keys, router
from holdfast_tui.bottom import Bottom, asked
from holdfast_tui.command import Offer
from holdfast_tui.failure import failed
from holdfast_tui.format import TIMES, Cell, age, clean, rate, time_now
from holdfast_tui.gateway import Lost
from holdfast_tui.message import Message
from holdfast_tui.model.window import Listing, Window
from holdfast_tui.plan import Plan
from holdfast_tui.router import Mode
from holdfast_tui.widgets.line import LEAST, Line, Room
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

    HORIZONTAL_BREAKPOINTS = [(0, "-slim"), (LEAST[0], "-narrow"), (110, "-wide")]  # noqa: RUF012 - Textual's own annotation
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (LEAST[1], "-short"), (24, "-full"), (32, "-tall")]  # noqa: RUF012
    AUTO_FOCUS = ""
    ALLOW_SELECT = False

    kind: ClassVar[str]
    """Name in `keys.SCREENS`."""
    columns: ClassVar[Sequence[Column]]
    beside: ClassVar[bool] = True
    """Whether the pane stands beside the list where there is room; otherwise it stands below it."""
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
        self._lost = False
        """Whether the last read got no answer."""
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
    def offers(self) -> Sequence[Offer]:
        """The ways to go on with the command that is being typed."""
        return ()

    @property
    def ghost(self) -> str:
        """What that command would go on with at once."""
        return ""

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

    def filter_foot(self, text: str) -> str:
        """Row 24 while the filter is typed."""
        return " enter keeps it  esc as it was  fields: state: queue: task: is:paused"

    def narrowed(self) -> None:
        """The filter changed."""
        self.arrange_rows()

    # --- frame --------------------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        yield Room()
        with Container(id="top"):
            yield self.context
            yield self.time_line
        yield self.scope_line
        with Container(id="body"):
            yield from self.body()
        yield self.prompt
        yield self.hints

    def body(self) -> ComposeResult:
        """What stands between the scope line and the prompt."""
        yield self.table
        if self.paned:
            yield self.pane

    def on_mount(self) -> None:
        self.arrange_rows()
        self.refresh_data()

    def on_screen_resume(self) -> None:
        self.refresh_data()

    def on_resize(self) -> None:
        self.pane.barred = self.size.width >= 110 and self.beside
        self.call_after_refresh(self.paint)

    def refresh_data(self) -> None:
        """Read again, one read at a time; one that is asked for meanwhile follows."""
        if self._reading:
            self._pending = True
            return
        self._reading = True
        self.run_worker(self._read(), group="read", exit_on_error=True)

    def begin(self, group: str, work: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        """Work beside the keys, in place of what was begun in its group. (Cancelled before its turn, it leaves no
        coroutine that nobody awaited.)"""
        self.run_worker(partial(work, *args), group=group, exclusive=True)  # type: ignore[arg-type]  # Textual's is narrow

    async def _read(self) -> None:
        gateway = self.desk.gateway
        try:
            if not gateway.due:
                raise Lost(gateway.link.why)
            marked = self._known_marks() if self._lost else []
            if self._lost:
                self._pressed_at = 0  # all that is shown is old: rows may change places
            await gateway.beat()
            await self.read()
            self.note, self._lost = ("", ""), False
            self._part_with(marked)
        except Lost as error:
            self._lost = True
            self._failed(error)
        except HoldfastError as error:
            self._failed(error)
        finally:
            self._reading = False
        self.paint()
        if self._pending:
            self._pending = False
            self.refresh_data()

    def _failed(self, error: HoldfastError) -> None:
        self.note = (clean(str(error)), "fail")
        failure = failed(error, self.now)
        if failure.asked or self.desk.failure is None:  # else it is the same still: nothing was asked meanwhile
            self.desk.failure = failure

    @property
    def loaded(self) -> Mapping[Any, Any]:
        """The rows that are loaded, by their keys; none where the screen has no list."""
        listing = getattr(self, "listing", None)
        return listing.rows if isinstance(listing, Listing) else {}

    def known(self) -> Collection[Any] | None:
        """The ids of all rows that are loaded, shown or not; None: the screen has no list of what comes and goes."""
        listing = getattr(self, "listing", None)
        return listing.rows.keys() if isinstance(listing, Listing) else None

    def _known_marks(self) -> list[Any]:
        known = self.known()
        return [] if known is None else [key for key in self.window.marks if key in known]

    def _part_with(self, marked: Sequence[Any]) -> None:
        """Say how many marks are of what is there no more."""
        known = self.known() or ()
        gone = [key for key in marked if key not in known]
        if gone:
            self.window.unmark(gone)
            self.say(f"the link is back: {len(gone):,} marked {'is' if len(gone) == 1 else 'are'} gone", "warn")

    def tick(self) -> None:
        """Once a second while on the screen."""
        if self.state.mode in (Mode.ASK, Mode.TYPED) and self.now - self._pressed_at > QUESTION:
            self.state, self.plan = router.NORMAL, None
            self.say("no answer for 30 s: nothing was sent")
        if self.said[0] and self.now - self._said_at > 10 and self.state.mode is not Mode.SENDING:
            self.said = ("", "")
        if self.desk.gateway.due:
            self.refresh_data()
        self.paint()

    def forget(self) -> None:
        """Paint everything anew, whatever was painted before."""
        self.table.forget()
        self.pane.forget()
        for line in self.query(Line):
            line.refresh()

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
        TIMES.now = self.as_of
        self.time_line.show([(f"  {time_now(now).ljust(9)} ", "")])
        self.context.show([(clean(gateway.project) + " ", "title"), mode, (" │ " + self.crumbs, "")], self._link(now))
        left, right = self.scope()
        if not live and gateway.link.answered_at is not None:
            old = age(now - gateway.link.answered_at)
            left = [(f"data is {old} old: below is the last that is known; changes are refused", "warn")]
            right = []
        self.scope_line.show([(" ", ""), *left], [*right, (" ", "")])
        self.table.dimmed = not live
        self.table.sync()
        if self.paned and (self.pane.size.width or self.has_class("-zoom")):  # it may have no size yet
            self.pane.show(*self.detail())
        self._bottom(live)

    def _link(self, now: Instant) -> list[Cell]:
        gateway = self.desk.gateway
        cells: list[Cell] = [("  ", ""), *self.desk.terminal.cells(), *gateway.link.cells(now)]
        if gateway.link.live(now) and gateway.queues_at is not None:
            cells.append((f"  {rate(gateway.events)} ev/s", ""))
        return cells

    def _bottom(self, live: bool) -> None:
        state, foot = self.state, self.filter_foot(self.state.text)
        bottom = asked(state, self.size.width, filter_foot=foot, ghost=self.ghost, offers=self.offers)
        if bottom is None:
            prompt, right = self._told()
            bottom = Bottom(prompt, [(f" {self._hints(live)}", "")], prompt_right=right)
        self.prompt.show(bottom.prompt, bottom.prompt_right)
        self.hints.show(bottom.hints, bottom.hints_right)

    @property
    def troubled(self) -> bool:
        """Whether row 23 shows what was wrong with the last read."""
        return bool(self.note[0]) and not self.said[0]

    def _told(self) -> tuple[list[Cell], list[Cell]]:
        """Row 23 where nothing is asked: what was said, what went wrong, the tour."""
        if self.troubled:
            return [(" ", ""), self.note], [(self._help, "")] if self._roomy else []
        said = self.said if self.said[0] else (self.desk.tour.line, "title")
        return [(" ", ""), said], []

    @property
    def _help(self) -> str:
        """What can be done about what went wrong."""
        now = f"{self.desk.key('again')} now, " if not self.desk.gateway.link.live(self.now) else ""
        return f"  ({now}{self.desk.key('open')} details) "

    @property
    def _roomy(self) -> bool:
        return len(self.note[0]) + len(self._help) < self.size.width

    def _hints(self, live: bool) -> str:
        return keys.hints(
            self.kind,
            self.size.width - 2,
            read_only=self.desk.gateway.read_only,
            off=not live,
            lead="" if not self.troubled or self._roomy else self._help.strip(" ()").replace(",", " "),
            idle=self.idle() | ({"open", "zoom"} if self.troubled else set()),
            actions=self.desk.actions,
        )
