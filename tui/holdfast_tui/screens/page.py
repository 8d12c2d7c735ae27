"""What all screens share: the frame of six parts, the router, the questions, the sending, the tick.

A screen is a list of columns, a scope line, a pane, what to read each second, and a `do_<id>` for each of its actions
(`keys.ACTIONS`). What is asked and sent stands in a `Plan`, made when the key is pressed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import anyio
import msgspec
from textual import events
from textual.app import ComposeResult
from textual.containers import Container
from textual.screen import Screen
from textual.worker import Worker

from holdfast.core.model import Instant
from holdfast.errors import HoldfastError
from holdfast_tui import command, keys, router, sending
from holdfast_tui.format import Cell, clean, clock, count, rate
from holdfast_tui.gateway import Lost
from holdfast_tui.message import Message
from holdfast_tui.model.window import Window
from holdfast_tui.plan import RATE, Plan, Verb
from holdfast_tui.router import Act, Answer, Do, Given, Mode, Narrow, Say, Scene, Submit
from holdfast_tui.widgets.line import Line
from holdfast_tui.widgets.pane import Pane
from holdfast_tui.widgets.table import Column, Table

if TYPE_CHECKING:
    from holdfast_tui.app import Desk

HOLD = 3.0
"""Seconds without a key before rows may change places."""
QUESTION = 30.0
"""Seconds before a question counts as answered with no."""


class Page(Screen[None], inherit_bindings=False):
    """A screen of the desk."""

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
        self._sender: Worker[None] | None = None
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
                foot = " enter does it  tab completes  esc closes  " + " ".join(self._words)
            case Mode.ASK if question is not None:
                row = [(" " + clean(question.text), "ask")]
                foot = " " + "  ".join(f"[{key}] {word}" for key, word in (*question.options, ("n/esc", "no")))
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

    # --- keys ---------------------------------------------------------------------------------------------------------

    def scene(self) -> Scene:
        """What the router must know."""
        read_only = self.desk.gateway.read_only
        keymap = keys.keymap(self.kind, read_only=read_only)
        return Scene(
            keys={key: action.id for key, action in keymap.items()},
            off=self._off(read_only),
            moves=frozenset(action.id for action in keymap.values() if action.moves),
            filter=self.filter,
            home=self.home,
            marked=len(self.window.marks),
            zoomed=self.has_class("-zoom"),
            root=self.desk.at_root,
            history=tuple(self.desk.commands),
            words=self._words,
        )

    @property
    def _words(self) -> tuple[str, ...]:
        return command.words(self.kind, read_only=self.desk.gateway.read_only)

    def _off(self, read_only: bool) -> dict[str, str]:
        off = keys.refused(self.kind, read_only=read_only)
        refusal = self.desk.gateway.link.refusal(self.now)
        if refusal and not read_only:
            off = {key: refusal for action in keys.on(self.kind) if action.changes for key in action.keys}
        return off

    def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        self._pressed_at = self.now
        if self.state.mode is Mode.NORMAL:
            self.said = ("", "")
        self._carry(router.press(self.state, router.key_name(event.key, event.character), self.scene()))

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        self._pressed_at = self.now
        self._carry(router.paste(self.state, event.text))

    def on_table_opened(self) -> None:
        self._carry(router.press(self.state, "enter", self.scene()))

    def _carry(self, step: router.Step) -> None:
        self.state = step.state
        for intent in step.intents:
            self._do(intent)
        self.paint()

    def _do(self, intent: router.Intent) -> None:
        match intent:
            case Act(id):
                getattr(self, f"do_{id}")()
            case Narrow(text):
                self.filter = text
                self.narrowed()
            case Submit(text):
                self.desk.command(text)
            case Answer(option):
                self._answered(option)
            case Given(text):
                self._given(text)
            case Say(text):
                self.say(text)
            case Do.UNZOOM:
                self.zoom(False)
            case Do.UNMARK:
                self.window.unmark()
            case Do.BACK:
                self.desk.back()
            case Do.QUIT:
                self.desk.exit()
            case Do.STOP:
                self.stop_sending()

    # --- looks --------------------------------------------------------------------------------------------------------

    def do_down(self) -> None:
        self._move(1)

    def do_up(self) -> None:
        self._move(-1)

    def do_half_down(self) -> None:
        self._move(self.window.height // 2)

    def do_half_up(self) -> None:
        self._move(-(self.window.height // 2))

    def do_page_down(self) -> None:
        self._move(self.window.height - 1)

    def do_page_up(self) -> None:
        self._move(1 - self.window.height)

    def _move(self, by: int) -> None:
        if self.has_class("-zoom"):
            self.pane.scroll_lines(by)
        else:
            self.moved(lambda: self.window.move(by))

    def do_first(self) -> None:
        self.moved(lambda: self.window.to(0))

    def do_last(self) -> None:
        self.moved(lambda: self.window.to(len(self.window) - 1))

    def moved(self, move: Callable[[], None]) -> None:
        """Move the cursor; screens that follow stop where it leaves the end."""
        move()

    def zoom(self, on: bool) -> None:
        """Give the pane the whole body, or take it back."""
        self.set_class(on, "-zoom")
        self.call_after_refresh(self.paint)

    def do_help(self) -> None:
        self.desk.help(self)

    def do_again(self) -> None:
        self._pressed_at = 0
        self.desk.gateway.again()
        self.refresh_data()

    def do_redraw(self) -> None:
        self.table.forget()
        self.pane.forget()
        self.app.refresh(layout=True)

    def do_mark(self) -> None:
        self.window.mark()
        self.window.move(1)

    def do_mark_all(self) -> None:
        self.window.marks |= dict.fromkeys(self.window.keys)
        self.say(f"{len(self.window.marks):,} marked: all that are shown")

    def do_pane(self) -> None:
        """Turn to the next page; where there was no room for the pane, open it first."""
        if self.pane.size.width:
            self.turn()
        else:
            self.zoom(True)

    def turn(self) -> None:
        """Show the pane's next page."""

    def do_pane_up(self) -> None:
        self.pane.scroll_lines(-3)

    def do_pane_down(self) -> None:
        self.pane.scroll_lines(3)

    def do_queues(self) -> None:
        self.desk.section(keys.QUEUES)

    def do_runs(self) -> None:
        self.desk.section(keys.RUNS)

    def do_logs(self) -> None:
        self.desk.section(keys.LOGS)

    def do_dead(self) -> None:
        self.desk.section(keys.DEAD)

    # --- changes ------------------------------------------------------------------------------------------------------

    def propose(self, plan: Plan | Message) -> None:
        """Ask about a plan; what it says is what will be sent, whatever moves meanwhile."""
        if isinstance(plan, Plan) and not plan.size:
            why = f"what is chosen is in no state to {plan.verb}" if plan.passed else "nothing is chosen"
            self.say(why, "warn")
            return
        blank = plan.blank if isinstance(plan, Message) else None
        self.plan, self.state = plan, router.ask(plan.question()) if blank is None else router.fill(blank)

    def _given(self, text: str) -> None:
        """Take what was typed, and go on to what is open still; what can't be taken may be mended."""
        assert isinstance(self.plan, Message)
        try:
            self.propose(self.plan.filled(text))
        except ValueError as error:
            self.state = msgspec.structs.replace(self.state, wrong=str(error))

    def _answered(self, option: str) -> None:
        plan, self.plan = self.plan, None
        if plan is None or not option:
            return
        plan = plan.answered(option)
        if isinstance(plan, Message) and not plan.agreed:
            self.propose(plan)
            return
        refusal = self.desk.gateway.link.refusal(self.now)
        if refusal:
            self.say(refusal, "fail")
            return
        self.state = router.sending()
        self._sender = self.run_worker(self._send(plan), group="send", exit_on_error=True)

    def stop_sending(self) -> None:
        if self._sender is not None:
            self._sender.cancel()

    async def _send(self, plan: Plan | Message) -> None:
        gateway, made = self.desk.gateway, ""
        done, refused, why, stopped, unsure = 0, 0, "", True, False
        try:
            async for target in sending.targets(gateway, plan):
                self.say(plan.progress(done, refused))
                self.paint()
                try:
                    made = await sending.carry_out(gateway, plan, target)
                except Lost as error:
                    refused, why, unsure = refused + 1, str(error), error.unsure
                    break
                except HoldfastError as error:
                    refused, why = refused + 1, str(error)
                else:
                    done += 1
                    self.window.unmark([target])
                if isinstance(plan, Plan) and plan.verb is Verb.DRAIN:
                    await anyio.sleep(1 / RATE)
            stopped = False
        except HoldfastError as error:
            refused, why, stopped = refused + 1, str(error), False
        finally:
            self.state, self._pressed_at = router.NORMAL, 0
            self.say(plan.outcome(done, refused, why, stopped=stopped, unsure=unsure), "fail" if refused else "")
            self.refresh_data()
            self.paint()
        if made:
            self.desk.open_made(made, of=plan.targets[0])


def marked(window: Window[Any]) -> list[Cell]:
    """How many are marked, for row 2."""
    if not window.marks:
        return []
    hidden = window.hidden()
    text = f"{count(len(window.marks))} marked" + (f", {count(hidden)} hidden" if hidden else "")
    return [("  " + text, "mark")]


def told(filter: str, parts: Iterable[Cell]) -> list[Cell]:
    """Row 2: the filter, then the rest, two blanks between."""
    cells: list[Cell] = [(clean(filter) + "  ", "match")] if filter else []
    for text, role in parts:
        cells.append((text + "  ", role))
    return cells


def _where_room(line: str, tail: str, width: int) -> list[Cell]:
    """What stands at the right, where the line leaves room for it."""
    return [(tail, "")] if len(line) + 2 + len(tail) <= width else []


def _end(text: str, room: int) -> str:
    """The end of what is typed, where it is too long to be shown."""
    return text if len(text) <= room else "…" + text[len(text) - room + 1 :]
