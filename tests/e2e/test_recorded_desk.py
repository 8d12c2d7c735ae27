"""The desk over a real daemon: schedules, workers, figures, the audit, events; and the same from its recording."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from deployment import Deployment, until
from holdfast.client import Client
from holdfast.connecting import connect
from holdfast_tui import tape
from holdfast_tui.recording import Recorder
from holdfast_tui.replaying import Replay
from tui.desks import Bench, Clock, over
from tui.world import FakeClient

TASKS = """
from holdfast import Cron, Retry, task

@task(schedule=Cron("0 0 1 1 *"))
async def yearly() -> str:
    return "a new year"

@task(on="orders.created", queue="orders", retry=Retry(max_attempts=1))
async def ship(id: int) -> str:
    print(f"order {id} is shipped")
    if id == 13:
        raise ValueError("no such order")
    return "hunter2"
"""

STEPS = (
    (("1",), "orders"),
    (("2",), "ship"),
    (("5",), "yearly"),
    (("6",), "orders"),
    (("7",), "throughput"),
    (("8",), "holdfast"),
    (("9",), "orders.created"),
    (("j", "enter"), "Runs >"),
    (("o",), "is shipped"),
    (("4",), "ValueError: no such order"),
)
"""Keys, and what must be on the screen behind them."""


@pytest.fixture
def shop(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path / "shop", TASKS)


def prepare(shop: Deployment) -> None:
    """Do a little of everything, and wait until all of it has ended."""
    shop.run("schedules", "create", "extra", "--task", "yearly", "--cron", "0 0 2 1 *")
    shop.run("schedules", "pause", "extra")
    shop.run("emit", "orders.created", '{"id": 13}')
    shop.run("emit", "orders.created", '{"id": 7}')
    shop.run("emit", "nobody.wants", "{}")

    def over() -> bool:
        states = sorted(row["state"] for row in shop.json("runs", "list"))
        return states == ["completed", "dead"]

    until(over, shop.log)
    until(lambda: len(shop.json("audit")) >= 3, shop.log)


async def shown(desk: Bench, text: str) -> None:
    """Look until something is on the screen; the clock stands still meanwhile."""
    end = time.monotonic() + 30
    while text not in desk.text:
        assert time.monotonic() < end, f"{text!r} did not come:\n{desk.text}"
        await asyncio.sleep(0.05)
        desk.app.tick()
        await desk.settle()


async def walked(desk: Bench, clock: Clock) -> list[str]:
    """What is on the screen after each step, but for its first line, which tells of the link."""
    frames = []
    for keys, text in STEPS:
        await desk.press(*keys)
        await shown(desk, text)
        for _ in range(2):  # whatever else is asked of what is shown now
            clock.now += 4
            desk.app.tick()
            await desk.settle()
            await asyncio.sleep(0.1)
            await desk.settle()
        frames.append(desk.text.partition("\n")[2])
    return frames


async def test_a_session_over_a_real_daemon_is_shown_again_from_its_recording(shop: Deployment, tmp_path: Path) -> None:
    file, clock = tmp_path / "session", Clock()

    async def client() -> Client:
        return await connect(config=shop.home / "holdfast.toml", name="tui").open()

    with shop:
        prepare(shop)
        clock.now = time.time()
        with Recorder(file, project="default", clock=clock) as recorder:
            async with over(recorder.around(client), FakeClient(full=False), clock, project="default") as desk:
                frames = await walked(desk, clock)
    said = dict(zip((keys[0] for keys, _ in STEPS), frames, strict=True))
    assert "1 paused" in said["5"]
    assert "schedule-pause" in said["8"]
    assert "unwanted" in said["9"]
    assert "DEAD ship" in said["9"]

    again = Clock()
    again.now = clock.now = tape.read(file).head.at
    played = Replay(tape.read(file), clock=again)
    async with over(played.client, FakeClient(full=False), again, project="default") as desk:
        for number, (first, second) in enumerate(zip(frames, await walked(desk, again), strict=True)):
            assert first == second, STEPS[number]
