"""A desk over the fake world, without a terminal, and its screen as text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from rich.style import Style
from textual import events
from textual.pilot import Pilot

from holdfast.client import Client
from holdfast.errors import ConnectError
from holdfast_tui.app import Desk
from holdfast_tui.format import TIMES, Zone
from holdfast_tui.gateway import Gateway
from holdfast_tui.keymap import Mapped
from holdfast_tui.memory import Memory
from holdfast_tui.screens.page import Page
from holdfast_tui.screens.runs import RESTED, Runs
from holdfast_tui.theme import ANSI
from tui.world import NOW, FakeClient

LETTERS = {
    "dim": "d",
    "run": "r",
    "warn": "w",
    "fail": "f",
    "dead": "D",
    "mark": "m",
    "match": "u",
    "title": "t",
    "head": "h",
    "cursor": ">",
}
"""How a role is written in a frame; plain is `.`."""

PATIENCE = 5.0
"""Real seconds that an answer may take on a machine that is busy."""


async def turns() -> None:
    """Let every message that is under way arrive."""
    for _ in range(30):
        await asyncio.sleep(0)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Bench:
    """A running desk and what surrounds it."""

    def __init__(self, pilot: Pilot[int], app: Desk, client: FakeClient, clock: Clock) -> None:
        self.pilot, self.app, self.client, self.clock = pilot, app, client, clock

    @property
    def page(self) -> Page:
        assert isinstance(self.app.screen, Page)
        return self.app.screen

    @property
    def kind(self) -> str:
        """Which screen is shown, as in `keys.SCREENS`."""
        return self.page.kind

    async def settle(self) -> None:
        """Until what was asked is on the screen."""
        with anyio.move_on_after(PATIENCE):  # what never comes is for the test to find
            while True:
                await turns()
                if self._looks:  # it waits for the cursor to rest
                    await asyncio.sleep(RESTED / 4)
                elif not self._reads:
                    await self.pilot.pause()
                    if not (self._looks or self._reads):  # as what was painted may have asked for more
                        break

    @property
    def _looks(self) -> bool:
        return isinstance(self.app.screen, Runs) and self.app.screen.looking

    @property
    def _reads(self) -> bool:
        screen = self.app.screen
        return isinstance(screen, Page) and (screen._reading or screen._pending)

    async def press(self, *keys: str) -> None:
        """Keys, one after the other; faster than the pilot's, which waits 60 ms for each."""
        for key in keys:
            character = {"space": " "}.get(key, key if len(key) == 1 else None)
            self.app.post_message(events.Key(key, character))
            await turns()
        await self.settle()

    async def rested(self) -> None:
        """Until what is read for the row under the cursor is on the screen."""
        for _ in range(100):
            if "reading " not in self.text:
                break
            await asyncio.sleep(0.02)
        await self.settle()

    async def later(self, seconds: float) -> None:
        """Move the clock and tick."""
        self.clock.now += seconds
        self.app.tick()
        await self.settle()

    @property
    def text(self) -> str:
        return frame(self.app).partition("\n-- roles")[0]


@asynccontextmanager
async def bench(
    client: FakeClient | None = None,
    *,
    size: tuple[int, int] = (80, 24),
    read_only: bool = False,
    reachable: bool = True,
    memory: Memory | None = None,
    mapped: Mapped | None = None,
    settings: Path | None = None,
) -> AsyncIterator[Bench]:
    """A desk over a fake client; without a memory its user knows the desk already.

    Args:
        settings: the directory of the user's own settings.
    """
    client, clock = client or FakeClient(), Clock()

    tried: list[float] = []

    async def factory() -> Client:
        if not reachable:
            if tried:
                await anyio.sleep_forever()  # the pause before it went by on the wall, not on the test's clock
            tried.append(clock.now)
            raise ConnectError("nats://10.0.0.4:4222: connection refused")
        return client.real

    options: Any = {"size": size, "read_only": read_only, "memory": memory, "mapped": mapped, "settings": settings}
    async with over(factory, client, clock, **options) as found:
        yield found


@asynccontextmanager
async def over(
    factory: Callable[[], Awaitable[Client]],
    client: FakeClient,
    clock: Clock,
    *,
    size: tuple[int, int] = (80, 24),
    read_only: bool = False,
    project: str = "demo",
    memory: Memory | None = None,
    mapped: Mapped | None = None,
    settings: Path | None = None,
) -> AsyncIterator[Bench]:
    """A desk over any client; the rest as of `bench`."""
    gateway = Gateway(factory, project=project, read_only=read_only, clock=clock)
    memory = memory or Memory(explained=("capitals",))
    app = Desk(gateway, clock=clock, memory=memory, mapped=mapped, config_dir=settings)
    TIMES.zone = Zone.UTC
    async with anyio.create_task_group() as tasks:
        await tasks.start(gateway.run)
        async with app.run_test(size=size) as pilot:
            found = Bench(pilot, app, client, clock)
            await found.settle()
            app.tick()
            await found.settle()
            yield found
        tasks.cancel_scope.cancel()


def frame(app: Desk) -> str:
    """The screen: its text, and below it the roles of every line that is not all plain."""
    texts, roles = [], []
    for number, strip in enumerate(app.screen._compositor.render_strips(), 1):
        texts.append(strip.text.rstrip())
        letters = "".join(letter(segment.style) * len(segment.text) for segment in strip)
        if letters.strip("."):
            roles.append(f"{number:>2} {letters.rstrip('.')}")
    return "\n".join([*texts, "-- roles", *roles]) + "\n"


def letter(found: Style | None) -> str:
    if found is None:
        return "."
    look = _look(found)
    if look[3] and look[0] is None:
        return ">"
    exact = [name for name, role in ANSI.items() if _look(role) == look]
    return next((LETTERS[name] for name in exact if name in LETTERS), "." if "" in exact else "?")


def _look(style: Style) -> tuple[object, ...]:
    color = None if style.color is None or style.color.is_default else style.color.name
    return color, bool(style.bold), bool(style.dim), bool(style.reverse), bool(style.underline), bool(style.italic)
