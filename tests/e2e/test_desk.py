"""The desk against a real daemon: a dead letter is mended and retried, the rest drained; no line is lost or doubled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import anyio
import pytest

from deployment import Deployment
from holdfast.client import Client
from holdfast.connecting import connect
from holdfast.wire.api import LogRow
from holdfast_tui.app import Desk
from holdfast_tui.gateway import Gateway
from holdfast_tui.memory import Memory
from holdfast_tui.screens.logs import Logs
from holdfast_tui.widgets.editor import Editor
from tui.desks import Bench, Clock

TASKS = """
import asyncio, os
from holdfast import Retry, task

@task(retry=Retry(max_attempts=1))
async def post(hook: int, url: str = "") -> int:
    if not os.path.exists("open") and hook != 7:
        raise ValueError(f"HTTP 410 from hook {hook}")
    return hook

@task
async def talk(name: str, lines: int) -> None:
    for number in range(lines):
        print(f"{name} says {number}", flush=True)
        await asyncio.sleep(0.01)
"""
LETTERS = 60


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Deployment(tmp_path_factory.mktemp("desk") / "home", TASKS, workers=1) as deployment:
        yield deployment


@asynccontextmanager
async def client_of(there: Deployment) -> AsyncIterator[Client]:
    client = await connect(config=there.home / "holdfast.toml", name="tui").open()
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def desk_at(there: Deployment) -> AsyncIterator[tuple[Desk, Bench]]:
    async def factory() -> Client:
        return await connect(config=there.home / "holdfast.toml", name="tui").open()

    gateway = Gateway(factory, project="default")
    app = Desk(gateway, memory=Memory(explained=("capitals",)))
    async with anyio.create_task_group() as tasks:
        await tasks.start(gateway.run)
        async with app.run_test(size=(120, 30)) as pilot:
            await gateway.connected.wait()
            yield app, Bench(pilot, app, None, Clock())  # type: ignore[arg-type]
        tasks.cancel_scope.cancel()


async def until(bench: Bench, text: str, within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while text not in bench.text:
        assert time.monotonic() < deadline, f"{text!r} did not come:\n{bench.text}"
        await bench.pilot.pause(0.05)


async def type_in(app: Desk, bench: Bench, text: str) -> None:
    """Put a text in the editor in place of what is there, and take it."""
    deadline = time.monotonic() + 30
    while not isinstance(app.screen, Editor):
        assert time.monotonic() < deadline, bench.text
        await bench.pilot.pause(0.05)
    app.screen.buffer.replace(text)
    await bench.press("ctrl+s")


async def test_a_letter_is_mended_and_the_rest_is_drained_at_its_rate(there: Deployment) -> None:
    async with client_of(there) as client:
        handles = [await client.trigger("post", {"hook": number}) for number in range(100, 100 + LETTERS)]
        async with desk_at(there) as (app, bench):
            await bench.press("4")
            await until(bench, f"{LETTERS} dead letters", within=60)
            await until(bench, "try 1")
            mended = bench.page.window.cursor
            await bench.press("E")
            await type_in(app, bench, '{"hook": "seven"}')
            await until(bench, "argument 'hook'")
            await bench.press("e")
            await type_in(app, bench, '{"hook": 7, "url": "u"}')
            await until(bench, "from the start, edited?")
            await bench.press("y")
            await until(bench, "1 retried with the new payload")
            assert await client.run(str(mended)).result(timeout=30) == 7
            await until(bench, f"{LETTERS - 1} dead letters")

            (there.home / "open").touch()
            await bench.press("Z")
            await until(bench, f"Drain {LETTERS - 1} dead letters: how many a second?")
            await bench.press("backspace", "backspace", *"20", "enter", "y")
            await until(bench, "left, ")
            await until(bench, f"{LETTERS - 1} retried")
            await until(bench, "No dead letters")
        results = [await handle.result(timeout=30) for handle in handles if handle.id != mended]
        assert len(results) == LETTERS - 1


async def test_no_line_is_lost_or_doubled_over_a_restart_of_the_daemon(there: Deployment) -> None:
    async with client_of(there) as client:
        async with desk_at(there) as (_, bench):
            await bench.press("3")
            await client.trigger("talk", {"name": "ana", "lines": 150})
            await until(bench, "ana says ")
            await asyncio.to_thread(there.stop)
            await asyncio.to_thread(there.start)
            await client.trigger("talk", {"name": "bo", "lines": 50})
            await until(bench, "bo says 49", within=60)
            page = bench.page
            assert isinstance(page, Logs)
            ring = page.ring
            got = [ring[serial] for serial in range(ring.begin, ring.end)]
        places = [(row.seq, row.number) for row in got]
        assert places == sorted(set(places))
        assert page.feed is not None
        assert page.feed.missing == 0
        said = [row.line.text for row in got if row.line.text.startswith("bo")]
        assert said == [f"bo says {number}" for number in range(50)]
        assert seqs_are_whole(got)


def seqs_are_whole(rows: list[LogRow]) -> bool:
    """Whether every message of the stream is there."""
    seqs = sorted({row.seq for row in rows})
    return seqs == list(range(seqs[0], seqs[-1] + 1))
