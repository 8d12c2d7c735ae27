"""The app: it owns the gateway, the screens and the one tick; what is shown and what keys do is up to the screens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import anyio

from holdfast.client import Client
from holdfast.core.model import Instant
from holdfast_tui import command, keys
from holdfast_tui.format import short
from holdfast_tui.gateway import Gateway
from holdfast_tui.plan import Plan, Verb
from holdfast_tui.screens.audit import Audit
from holdfast_tui.screens.dead import Dead
from holdfast_tui.screens.events import Events
from holdfast_tui.screens.frame import Frame
from holdfast_tui.screens.help import HelpScreen
from holdfast_tui.screens.logs import Logs
from holdfast_tui.screens.metrics import Metrics
from holdfast_tui.screens.page import Page
from holdfast_tui.screens.queues import Queues
from holdfast_tui.screens.run import RunTree
from holdfast_tui.screens.runs import Runs
from holdfast_tui.screens.schedules import Schedules
from holdfast_tui.screens.workers import Workers
from holdfast_tui.terminal.clipboard import copy
from holdfast_tui.terminal.editor import Edited, edit
from holdfast_tui.terminal.link import Linked

TICK = 1.0
"""Seconds between looks."""


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
    Schedules #left { layout: vertical; height: 1fr; width: 1fr; }
    Schedules .lanes, Schedules.-wide .lanes { display: block; height: 9; width: 1fr; }
    Schedules.-wide .lanes { height: 13; }
    Audit Pane { display: block; height: 8; width: 1fr; }
    Audit.-wide Pane { width: 39; height: 1fr; }
    Metrics Table { display: none; }
    Page.-zoom Table, Schedules.-zoom #left { display: none; }
    Page.-zoom Pane { display: block; width: 1fr; height: 1fr; }
    Page.-short .less, Page.-tiny .less { display: none; }
    #keys { height: 1fr; }
    """

    def __init__(
        self, gateway: Gateway, *, clock: Callable[[], Instant] = time.time, env: Mapping[str, str] | None = None
    ) -> None:
        """
        Args:
            env: the operator's environment: which terminal, which editor.
        """
        super().__init__()
        self.gateway = gateway
        self.clock = clock
        self.env = env or {}
        self.commands: list[str] = []
        """Commands given, oldest first."""
        self.animation_level = "none"
        self.theme = "ansi-dark"
        self._sections: dict[str, Page] = {}

    def on_mount(self) -> None:
        self.section(keys.QUEUES)
        self.set_interval(TICK, self.tick)
        self.run_worker(self._greet(), exit_on_error=True)

    async def _greet(self) -> None:
        """Look as soon as there is a connection, not at the next tick."""
        await self.gateway.connected.wait()
        self.tick()

    def tick(self) -> None:
        screen = self.screen
        if isinstance(screen, Page):
            screen.tick()

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
        while len(self.screen_stack) > 1 and self.screen is not page:
            self.pop_screen()
        if self.screen is not page:
            self.push_screen(page)
        if filter is not None:
            page.filter = filter
            page.call_later(page.narrowed)

    def say(self, text: str, role: str = "") -> None:
        """A line in row 23 of the screen that is shown."""
        if isinstance(self.screen, Page):
            self.screen.say(text, role)

    def back(self) -> None:
        if not self.at_root:
            self.pop_screen()

    def open_runs(self, *, queue: str) -> None:
        self.push_screen(Runs(filter=f"queue:{queue}"))

    def open_filtered(self, filter: str) -> None:
        """Show the runs that a filter means."""
        self.push_screen(Runs(filter=filter))

    def open_run(self, run: str) -> None:
        self.push_screen(RunTree(run))

    def open_made(self, run: str, *, of: str) -> None:
        """Show a run that was made from another one just now."""
        made = RunTree(run, new=True)
        self.push_screen(made)
        made.say(f"this is a new run, made from {short(of)}")

    def open_logs(self, run: str) -> None:
        self.push_screen(Logs(run))

    def open_logs_of(self, runs: Sequence[str], worker: str) -> None:
        """Show the output of the runs that a worker holds."""
        self.push_screen(Logs(among=runs, of=worker))

    def help(self, page: Frame) -> None:
        self.push_screen(HelpScreen(page.kind, read_only=self.gateway.read_only))

    # --- the terminal -------------------------------------------------------------------------------------------------

    def copy(self, text: str) -> str:
        """Put a text into the operator's clipboard; returns what to say of it."""
        return copy(text, write=self.send, env=self.env)

    async def edit(self, text: str, *, name: str = "payload.json") -> Edited:
        """Let the operator change a text in an editor of theirs; for a worker, as it takes as long as they do."""
        return await edit(self, text, env=self.env, name=name)

    # --- commands -----------------------------------------------------------------------------------------------------

    def command(self, text: str) -> None:
        """Carry out what was typed behind `:`."""
        self.commands.append(text)
        page = self.screen
        assert isinstance(page, Page)
        match command.read(text):
            case command.Go(screen, filter):
                self.section(screen, filter or None)
            case command.OpenRun(run):
                self.open_run(run)
            case command.Help():
                self.help(page)
            case command.Quit():
                self.exit()
            case command.Perform(id, rest):
                self._perform(page, id, rest)
            case command.Wrong(why):
                page.say(why, "warn")
            case command.Hold(queue, paused):
                self._hold(page, queue, paused)
            case command.Drain(filter):
                self._drain(page, filter)

    def _perform(self, page: Page, id: str, rest: str) -> None:
        action = keys.BY_ID[id]
        if page.kind not in action.on:
            page.say(f":{id} is not for this screen: {', '.join(action.on)}", "warn")
        elif rest:
            page.say(f":{id} takes no words: it is about what is under the cursor", "warn")
        elif not self._refused(page):
            getattr(page, f"do_{id}")()

    def _refused(self, page: Page) -> bool:
        why = keys.READ_ONLY if self.gateway.read_only else self.gateway.link.refusal(self.clock())
        if why:
            page.say(why, "warn")
        return bool(why)

    def _hold(self, page: Page, queue: str, paused: bool) -> None:
        if self._refused(page):
            return
        if isinstance(page, Queues):
            page.hold([queue] if queue else page.window.chosen(), paused)
        elif queue:
            page.propose(Plan(verb=Verb.PAUSE if paused else Verb.RESUME, targets=(queue,), what="queue"))
        else:
            page.say(f":{'pause' if paused else 'resume'} QUEUE: which queue?", "warn")

    def _drain(self, page: Page, filter: str) -> None:
        if self._refused(page):
            return
        if isinstance(page, Dead) and not filter:
            page.do_drain()
        else:
            self.section(keys.DEAD, filter)
            self._sections[keys.DEAD].say("Z drains what is shown here")


def operate(
    client_factory: Callable[[], Awaitable[Client]],
    *,
    project: str,
    read_only: bool,
    env: Mapping[str, str],
    clock: Callable[[], Instant] = time.time,
) -> int:
    """Run the desk in this terminal until the operator quits."""
    return asyncio.run(_operate(client_factory, env, clock, project=project, read_only=read_only))


async def _operate(
    client_factory: Callable[[], Awaitable[Client]],
    env: Mapping[str, str],
    clock: Callable[[], Instant],
    **options: Any,
) -> int:
    gateway = Gateway(client_factory, clock=clock, **options)
    desk = Desk(gateway, env=env, clock=clock)
    async with anyio.create_task_group() as tasks:
        await tasks.start(gateway.run)
        await desk.run_async()
        tasks.cancel_scope.cancel()
    return desk.return_code or 0
