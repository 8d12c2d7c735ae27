"""A program for tests: the real desk over the fake world in a real terminal, told by a socket what to do.

    python stand.py SOCKET JSON        no socket: keys alone; options of `operate`, and the seconds between ticks

Each line that arrives is a step; it ends with an answer, when all that it caused was sent to the terminal.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(HERE / folder) for folder in ("sdk", "daemon", "tui", "tests")]

import msgspec  # noqa: E402
from textual import events  # noqa: E402

from holdfast.client import Client  # noqa: E402
from holdfast_tui import Showing  # noqa: E402
from holdfast_tui import app as desk_app  # noqa: E402
from holdfast_tui.app import Desk  # noqa: E402
from holdfast_tui.model import link, terminal  # noqa: E402
from holdfast_tui.screens.page import Page  # noqa: E402
from tui.world import NOW, FakeClient, log_line, run_id, runs  # noqa: E402

MARK = "\x1b]777;{}\x07"
"""What a step ends with on the terminal."""


class Stood(Desk):
    """The desk, which counts the keys that it was given."""

    keys_seen = 0

    async def on_event(self, event: events.Event) -> None:
        fresh = isinstance(event, events.Key) and not event.is_forwarded
        await super().on_event(event)
        self.keys_seen += fresh


class Steps:
    """What the test may ask for."""

    def __init__(self, desk: Stood, client: FakeClient) -> None:
        self.desk, self.client = desk, client
        self.now = NOW

    def clock(self) -> float:
        return self.now

    async def step(self, words: list[str]) -> None:
        match words:
            case ["keys", number]:
                await until(lambda: self.desk.keys_seen >= int(number))
            case ["rush", number]:
                for _ in range(int(number)):
                    self.change(200)
                    self.tick()
                    await self.rest()
                return
            case ["tick"]:
                self.tick()
            case ["change", number]:
                self.change(int(number))
                self.tick()
            case ["clock", seconds]:
                self.now += float(seconds)
                self.tick()
            case ["odd"]:
                self.odd()
                self.tick()
            case ["open", number]:
                self.desk.open_run(run_id(int(number)))
            case ["size", columns, lines]:
                await until(lambda: tuple(self.desk.screen.size) == (int(columns), int(lines)))
            case ["crash"]:
                self.desk.call_later(fail)
            case ["copy", text]:
                self.desk.copy(text)
            case ["edit", text]:
                self.desk.run_worker(self.edit(text))
                return
            case ["settle"]:
                pass
            case _:
                raise AssertionError(words)
        await self.settle()

    async def edit(self, text: str) -> None:
        found = await self.desk.edit(text)
        page = self.desk.screen
        assert isinstance(page, Page)
        page.say(f"edited {found.text!r} {found.why}")
        page.paint()

    def tick(self) -> None:
        self.desk.tick()

    def change(self, number: int) -> None:
        """So many of the rows change, of queues and of runs."""
        rows = self.client.queue_rows
        for at in range(min(number, len(rows))):
            rows[at] = msgspec.structs.replace(rows[at], depth=rows[at].depth + 1)
        self.client.run_rows = [
            msgspec.structs.replace(row, attempt=row.attempt + 1) if at < number else row
            for at, row in enumerate(self.client.run_rows)
        ]

    def odd(self) -> None:
        """A row gets a text with wide and combining characters, or loses it."""
        text = "接続 e\u0301 拒否 é" if not self.client.run_rows[1].error else ""
        self.client.run_rows[1] = msgspec.structs.replace(self.client.run_rows[1], error=text, error_type=text[:2])

    async def settle(self) -> None:
        """Until all that was caused is on its way to the terminal."""
        await self.rest()
        await until(lambda: not self.desk._frames.waits())
        await self.rest()

    async def rest(self) -> None:
        """Until nothing waits to be handled, read or drawn, and it stays so."""
        calm = 0
        while calm < 2:
            for _ in range(30):
                await asyncio.sleep(0)
            calm = 0 if restless(self.desk) else calm + 1
            await asyncio.sleep(0.002)


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - what is waited for tells nobody
        await asyncio.sleep(0.002)


def restless(desk: Desk) -> bool:
    screen = desk.screen
    return bool(
        (isinstance(screen, Page) and (screen._reading or screen._pending))
        or desk._batch_count
        or desk._resize_timer is not None
        or any(node._message_queue.qsize() for node in (desk, *desk._registry))
        or screen._dirty_widgets
        or screen._layout_required
        or screen._repaint_required
        or screen._scroll_required
        or screen._callbacks
        or screen._compositor._dirty_regions
    )


def fail() -> None:
    secret = "hunter2"
    raise ValueError(f"a bug of the test {len(secret)}")


async def lines(path: str) -> AsyncIterator[tuple[list[str], asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_unix_connection(path)
    while data := await reader.readline():
        yield json.loads(data), writer


async def obey(steps: Steps, path: str) -> None:
    count = 0
    async for words, writer in lines(path):
        await steps.step(words)
        count += 1
        steps.desk.send(MARK.format(count))
        writer.write(b"%d\n" % count)
        await writer.drain()


def main() -> int:
    if "NOHUP" in os.environ:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    path, options = sys.argv[1], json.loads(sys.argv[2])
    client = FakeClient()
    client.log_rows = [log_line(number) for number in range(1, 400)]
    client.run_rows = runs(200)
    desk_app.TICK = options.pop("tick", 3600.0)
    if options.pop("patient", False):  # it does not tell of a slow link, which a busy machine looks like
        link.SLOW = terminal.SLOW = math.inf

    async def factory() -> Client:
        return client.real

    class Told(Stood):
        """A desk that does what the socket says."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.steps = Steps(self, client)
            self.clock = self.gateway.clock = self.steps.clock

        def on_mount(self) -> None:
            if path:
                self.run_worker(obey(self.steps, path))

    desk_app.Desk = Told  # type: ignore[misc]
    showing = Showing(**{name: options.pop(name) for name in Showing._fields if name in options})
    more = {"read_only": False, "config_dir": None, "state_dir": None, **options}
    return desk_app.operate(factory, project="demo", env=os.environ, showing=showing, **more)


if __name__ == "__main__":
    sys.exit(main())
