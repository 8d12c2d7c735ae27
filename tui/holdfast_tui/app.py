"""The app: it owns the gateway, the screens and the one tick; what is shown and what keys do is up to the screens."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import chain, count, islice
from pathlib import Path

import anyio
import msgspec
from textual import events
from textual.theme import Theme as Surface

from holdfast.client import Client
from holdfast.core.model import Instant
from holdfast.errors import ConfigError
from holdfast_tui import Showing, command, keymap, keys, theme, themes
from holdfast_tui.command import Known, Offer
from holdfast_tui.failure import Failure
from holdfast_tui.format import short
from holdfast_tui.gateway import Gateway
from holdfast_tui.keymap import Mapped
from holdfast_tui.keys import Action
from holdfast_tui.memory import Memory
from holdfast_tui.message import Message
from holdfast_tui.model.trail import Trail
from holdfast_tui.plan import Plan
from holdfast_tui.router import Mode
from holdfast_tui.screens.arranged import Arranged
from holdfast_tui.screens.audit import Audit
from holdfast_tui.screens.dead import Dead
from holdfast_tui.screens.details import Details
from holdfast_tui.screens.events import Events
from holdfast_tui.screens.frame import Frame
from holdfast_tui.screens.help import HelpScreen
from holdfast_tui.screens.history import History
from holdfast_tui.screens.logs import Logs
from holdfast_tui.screens.metrics import Metrics
from holdfast_tui.screens.obeying import hooks, obey
from holdfast_tui.screens.page import Page
from holdfast_tui.screens.queues import Queues
from holdfast_tui.screens.run import RunTree
from holdfast_tui.screens.runs import Runs
from holdfast_tui.screens.schedules import Schedules
from holdfast_tui.screens.timeline import Timeline
from holdfast_tui.screens.workers import Workers
from holdfast_tui.terminal.clipboard import copy
from holdfast_tui.terminal.crash import report
from holdfast_tui.terminal.editor import Edited, edit
from holdfast_tui.terminal.link import Link, Linked
from holdfast_tui.theme import ANSI_THEME, COLOURLESS, DEFAULT, Theme, fewer
from holdfast_tui.tour import STOPS, Tour
from holdfast_tui.views import View, Views
from holdfast_tui.vocabulary import known
from holdfast_tui.watch import Watch
from holdfast_tui.widgets.line import LEAST
from holdfast_tui.widgets.pane import Pane
from holdfast_tui.widgets.table import Table

ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
"""Signals that end the desk."""
TICK = 1.0
"""Seconds between looks."""
READ = 1000
"""How many rows of a list are looked through for the names that complete a command."""


SECTIONS: dict[str, Callable[[], Page]] = {
    keys.QUEUES: Queues,
    keys.RUNS: Runs,
    keys.LOGS: Logs,
    keys.DEAD: Dead,
    keys.SCHEDULES: Schedules,
    keys.WORKERS: Workers,
    keys.METRICS: Metrics,
    keys.AUDIT: Audit,
    keys.EVENTS: Events,
}
"""The screens that stand by themselves."""


class Desk(Linked, inherit_bindings=False):
    """The operator's desk."""

    TITLE = "holdfast"
    ENABLE_COMMAND_PALETTE = False
    ALLOW_SELECT = False
    AUTO_FOCUS = ""
    HORIZONTAL_BREAKPOINTS = [(0, "-slim"), (LEAST[0], "-narrow")]  # noqa: RUF012 - Textual's own annotation
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (LEAST[1], "-short")]  # noqa: RUF012

    CSS = """
    Screen { layout: vertical; background: $background; color: $foreground; }
    #top { height: 1; layout: horizontal; }
    #time { width: 12; }
    #body { height: 1fr; width: 1fr; layout: vertical; }
    Page.-wide #body { layout: horizontal; }
    Page Pane { display: none; }
    Page.-wide Pane { display: block; width: 39; height: 1fr; }
    RunTree Pane { display: block; height: 6; width: 1fr; }
    RunTree.-wide Pane { width: 44; height: 1fr; }
    Timeline #body, Timeline.-wide #body { layout: vertical; }
    Timeline Pane, Timeline.-wide Pane { display: block; height: 5; width: 1fr; }
    Schedules #left { layout: vertical; height: 1fr; width: 1fr; }
    Schedules .lanes, Schedules.-wide .lanes { display: block; height: 9; width: 1fr; }
    Schedules.-wide .lanes { height: 13; }
    Audit Pane { display: block; height: 8; width: 1fr; }
    Audit.-wide Pane { width: 39; height: 1fr; }
    Metrics Table { display: none; }
    Page.-zoom Table, Schedules.-zoom #left { display: none; }
    Page.-zoom Pane { display: block; width: 1fr; height: 1fr; }
    Page.-short .less { display: none; }
    Screen Room { display: none; }
    Screen.-tiny > *, Screen.-slim > * { display: none; }
    Screen.-tiny > Room, Screen.-slim > Room { display: block; }
    #keys { height: 1fr; }
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        clock: Callable[[], Instant] = time.time,
        env: Mapping[str, str] | None = None,
        link: Link = Link.DIFF,
        ascii_only: bool = False,
        look: Theme | None = None,
        memory: Memory | None = None,
        mapped: Mapped | None = None,
        config_dir: Path | None = None,
    ) -> None:
        """
        Args:
            env: the operator's environment: which terminal, which editor.
            link: what is done for the way to the terminal.
            ascii_only: draw with ASCII alone.
            look: the theme; None: that of the last session.
            memory: what is kept of the user; without it nothing is.
            mapped: the table of keys in effect, and what is wrong with the user's own.
            config_dir: where the user's own themes and views are; None: nowhere.
        """
        super().__init__(link=link, ascii_only=ascii_only)
        self.gateway = gateway
        self.clock = clock
        self.env = env or {}
        self.views = Views(config_dir and config_dir / "views.toml")
        self.memory = memory or Memory()
        self.mapped = mapped or Mapped()
        self.tour = Tour(self.actions)
        self.tour.at = len(STOPS)
        self.deeds: list[Plan] = []
        """What was done in this session and can be taken back, oldest first, with whom it was done to."""
        self.failure: Failure | None = None
        """The last look that failed."""
        self.trail: Trail[tuple[Page, ...]] = Trail()
        """Where the operator has been: the screen, and those below it."""
        self.animation_level = "none"
        self.config_dir = config_dir
        self._asked_look = look is not None
        self._sections: dict[str, Page] = {}
        self._opened: dict[str, Page] = {}
        """The other screens that somebody may come back to, by the name they are installed under."""
        self._number = count()
        self._paint_as(look or ANSI_THEME)

    @property
    def actions(self) -> Sequence[Action]:
        """The table of keys in effect."""
        return self.mapped.actions

    def key(self, action: str) -> str:
        """The key of an action, to be named in a line."""
        return next(each.keys[0] for each in self.actions if each.id == action)

    def _recolour(self) -> str:
        """Show the theme of the last session, where none is asked for; returns why it can't be, if so."""
        try:
            if not self._asked_look and self.memory.theme not in ("", DEFAULT):
                self._paint_as(themes.find(self.memory.theme, self.config_dir))
        except ConfigError as error:
            return str(error)
        return ""

    @property
    def _unkept(self) -> str:
        return f"nothing is kept: {self.memory.wrong}" if self.memory.wrong else ""

    def on_mount(self) -> None:
        wrong = [*self.mapped.wrong, *filter(None, (self._recolour(), self._unkept))]
        self.section(keys.QUEUES)
        self.set_interval(TICK, self.tick)
        self.run_worker(self._greet(), exit_on_error=True)
        if wrong:
            more = f"  (and {len(wrong) - 1} more: holdfast tui --keys)" if len(wrong) > 1 else ""
            self.call_later(self.say, wrong[0] + more, "warn")

    async def _greet(self) -> None:
        """Look as soon as there is a connection, not at the next tick."""
        await self.gateway.connected.wait()
        self.tick()

    def tick(self) -> None:
        """Once a second; while the app ends there is no screen any more."""
        screen = self.screen_stack[-1] if self.screen_stack else None
        if isinstance(screen, Page):
            if hint := self.terminal.hint():
                screen.say(hint, "warn")
            screen.tick()

    @property
    def typing(self) -> bool:
        return not isinstance(self.screen, Page) or self.screen.state.mode is not Mode.NORMAL

    async def on_event(self, event: events.Event) -> None:
        """Keys do nothing where nothing of what they do could be seen."""
        if isinstance(event, events.Key) and self.cramped and event.key != "ctrl+c":
            return
        await super().on_event(event)

    @property
    def cramped(self) -> bool:
        """Whether the terminal is too small to show anything."""
        return self.size.width < LEAST[0] or self.size.height < LEAST[1]

    @property
    def at_root(self) -> bool:
        """Whether no screen is below the one that is shown."""
        return len(self.screen_stack) <= 2

    # --- where to go --------------------------------------------------------------------------------------------------

    def section(self, name: str, filter: str | None = None) -> None:
        """Show one of the screens that stand by themselves; each keeps its cursor, marks and filter."""
        if name not in SECTIONS:
            self.say(f"no screen {name}: there are {', '.join(SECTIONS)}", "warn")
            return
        page = self._sections.get(name)
        if page is None:
            page = self._sections[name] = SECTIONS[name]()
            self.install_screen(page, name)
        self._show((page,))
        if filter is not None:
            page.filter = filter
            page.call_later(page.narrowed)

    def _show(self, place: tuple[Page, ...]) -> None:
        """Bring the screens that are shown in line with a place; each is as it was left."""
        while len(self.screen_stack) > 1 and tuple(self.screen_stack[1:]) != place[: len(self.screen_stack) - 1]:
            self.pop_screen()
        for page in place[len(self.screen_stack) - 1 :]:
            self.push_screen(page)
        self._arrived()

    def _open(self, page: Page) -> None:
        """Show a screen above the one that is shown."""
        name = f"opened-{next(self._number)}"
        self._opened[name] = page
        self.install_screen(page, name)
        self.push_screen(page)
        self._arrived()

    def _arrived(self) -> None:
        """Note where the operator is; screens that no way leads back to end."""
        self.trail.visit(tuple(page for page in self.screen_stack if isinstance(page, Page)))
        kept = {id(page) for place in self.trail.places for page in place}
        for name, page in list(self._opened.items()):
            if id(page) not in kept:
                del self._opened[name]
                self.uninstall_screen(page)
                page.remove()

    def walk(self, by: int) -> None:
        """Go back along the way that the operator came, or forward again."""
        place = self.trail.walk(by)
        if place is None:
            self.say(f"this is the {'first' if by < 0 else 'last'} screen that you were on")
        else:
            self._show(place)

    def back(self) -> None:
        """Close the screen that is shown; the one below it is as it was left."""
        if not self.at_root:
            self.pop_screen()
            self._arrived()

    def say(self, text: str, role: str = "") -> None:
        """A line in row 23 of the screen that is shown."""
        if isinstance(self.screen, Page):
            self.screen.say(text, role)
            self.screen.paint()

    def open_runs(self, *, queue: str) -> None:
        self._open(Runs(filter=f"queue:{queue}"))

    def open_filtered(self, filter: str) -> None:
        """Show the runs that a filter means."""
        self._open(Runs(filter=filter))

    def open_run(self, run: str) -> None:
        self._open(RunTree(run))

    def open_timeline(self, run: str) -> None:
        """Show a run as a timeline, above its tree."""
        tree = RunTree(run)
        self._open(tree)
        self.show_timeline(tree.watched)

    def open_made(self, run: str, *, of: str) -> None:
        """Show a run that was made from another one just now."""
        made = RunTree(run, new=True)
        self._open(made)
        made.say(f"this is a new run, made from {short(of)}")

    def open_history(self, watch: Watch) -> None:
        self._open(History(watch))

    def show_timeline(self, watch: Watch) -> None:
        self._open(Timeline(watch))

    def open_logs(self, run: str) -> None:
        self._open(Logs(run))

    def details(self) -> None:
        """Show what went wrong with the last look."""
        if self.failure is not None:
            self.push_screen(Details(self.failure))

    def open_logs_of(self, runs: Sequence[str], worker: str) -> None:
        """Show the output of the runs that a worker holds."""
        self._open(Logs(among=runs, of=worker))

    def show_view(self, view: View) -> None:
        """Show what was kept. Raises: ValueError: its screen is not there."""
        if view.screen not in SECTIONS:
            raise ValueError(f"no screen {view.screen}: there are {', '.join(SECTIONS)}")
        self.section(view.screen)
        page = self._sections[view.screen]
        if isinstance(page, Arranged):
            page.call_later(page.take_view, view)

    def help(self, page: Frame) -> None:
        self.push_screen(HelpScreen(page))

    def take_tour(self) -> None:
        """Begin the tour, or end it."""
        if self.tour.over:
            self.tour = Tour(self.actions)
        else:
            self.tour.at = len(STOPS)
            self.say("the tour is over")

    # --- the terminal -------------------------------------------------------------------------------------------------

    def copy(self, text: str) -> str:
        """Put a text into the operator's clipboard; returns what to say of it."""
        return copy(text, write=self.send, env=self.env)

    def use_theme(self, name: str) -> str:
        """Another theme from now on; returns what to say of it. Raises: ConfigError: there is none, or it is wrong."""
        if not name:
            return f"theme {self.look.name}; there are {', '.join(themes.names(self.config_dir))}"
        look = themes.find(name, self.config_dir)
        self._paint_as(look)
        self.memory.chosen(name)
        for screen in dict.fromkeys([*self.screen_stack, *self._sections.values(), *self._opened.values()]):
            for widget in screen.query("*"):
                widget.forget() if isinstance(widget, Table | Pane) else widget.refresh()
        if self.no_color:
            return f"theme {name}, without its colours: NO_COLOR is set"
        return f"theme {name}" if self._depth(look) is look else f"theme {name}, in the colours that this terminal has"

    def _paint_as(self, look: Theme) -> None:
        self.look = look
        shown = COLOURLESS if self.no_color else self._depth(look)
        theme.use(shown)
        if not shown.own:
            self.theme = "ansi-dark"
            return
        name = f"holdfast-{shown.name}"
        self.register_theme(
            Surface(name, primary=shown.ink, background=shown.ground, surface=shown.ground, foreground=shown.ink)
        )
        self.theme = name

    def _depth(self, look: Theme) -> Theme:
        return look if self.console.color_system in ("truecolor", "256") else fewer(look)

    async def edit(self, text: str, *, name: str = "payload.json") -> Edited:
        """Let the operator change a text in an editor of theirs; for a worker, as it takes as long as they do."""
        return await edit(self, text, env=self.env, name=name)

    # --- commands -----------------------------------------------------------------------------------------------------

    def command(self, text: str) -> None:
        """Carry out what was typed behind `:`."""
        self.memory.given(text)
        page = self.screen
        assert isinstance(page, Page)
        obey(self, page, text)

    def known(self) -> Known:
        """The names that the lists have."""
        pages = dict.fromkeys([*self.screen_stack[:0:-1], *self._sections.values()])
        lists = (page.loaded for page in pages if isinstance(page, Frame))
        rows = chain.from_iterable(islice(rows.values(), READ) for rows in lists)
        return known(rows, themes=themes.names(self.config_dir), views=self._views())

    def _views(self) -> Sequence[str]:
        """The names of the views that are kept, for completion: a file that can't be read has none."""
        try:
            return list(self.views.all())
        except ValueError:
            return []

    def offers(self, page: Frame, text: str) -> list[Offer]:
        """The ways to go on with a command on a screen."""
        words = command.words(
            page.kind,
            read_only=self.gateway.read_only,
            hooks=hooks(page),
            sections=SECTIONS,
            actions=self.actions,
        )
        return command.offers(text, words, self.known(), {action.id: action.keys[0] for action in self.actions})

    # --- what was done ------------------------------------------------------------------------------------------------

    def done(self, plan: Plan | Message, targets: Sequence[str]) -> None:
        """Note what was done to whom, so that it can be taken back."""
        if not isinstance(plan, Plan) or not targets:
            return
        if plan.undoes is not None:
            self.deeds = [deed for deed in map(partial(_without, plan.undoes, targets), self.deeds) if deed.targets]
        elif plan.deed.undo is not None:
            self.deeds.append(msgspec.structs.replace(plan, targets=tuple(targets), hidden=0, passed=0))


def _without(undone: Plan, targets: Sequence[str], deed: Plan) -> Plan:
    """What is left of a deed of which some was taken back."""
    if deed is not undone:
        return deed
    return msgspec.structs.replace(deed, targets=tuple(target for target in deed.targets if target not in targets))


def operate(
    client_factory: Callable[[], Awaitable[Client]],
    *,
    project: str,
    read_only: bool,
    env: Mapping[str, str],
    config_dir: Path | None,
    state_dir: Path | None,
    showing: Showing,
    clock: Callable[[], Instant] = time.time,
) -> int:
    """Run the desk in this terminal until the operator quits, or a signal or a bug ends it; returns the exit code.

    Raises: ConfigError: there is no such theme, or it is wrong.
    """
    gateway = Gateway(client_factory, project=project, read_only=read_only, clock=clock)
    memory, mapped = Memory(state_dir), keymap.load(config_dir)
    look = themes.find(showing.theme, config_dir) if showing.theme else None

    def desk() -> Desk:
        return Desk(
            gateway,
            clock=clock,
            env=env,
            link=Link(showing.link),
            ascii_only=showing.ascii_only,
            look=look,
            memory=memory,
            mapped=mapped,
            config_dir=config_dir,
        )

    return asyncio.run(_operate(desk, mouse=showing.mouse))


async def _operate(make: Callable[[], Desk], *, mouse: bool) -> int:
    desk = make()
    loop = asyncio.get_running_loop()
    for each in ENDING:
        loop.add_signal_handler(each, partial(_told, desk, each))
    async with anyio.create_task_group() as tasks:
        await tasks.start(desk.gateway.run)
        await desk.run_async(mouse=mouse)
        tasks.cancel_scope.cancel()
    if desk.crash is not None:
        report(desk, env=desk.env)
    return desk.return_code or 0


def _told(desk: Desk, number: signal.Signals) -> None:
    """End as after `ctrl+c`; the same signal a second time ends at once. `ctrl+c` in an editor is the editor's."""
    if number is signal.SIGINT and desk.away:
        return
    asyncio.get_running_loop().remove_signal_handler(number)
    desk.exit(return_code=128 + number)
