"""The tasks that are measured; a worker of the deployment serves them."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from holdfast.step import step
from holdfast.task import task
from holdfast.waiting import wait


@task(id="bench-first-line")
async def first_line() -> float:
    """When its first line ran: `time.time()`, the clock of whoever triggered it on this machine."""
    return time.time()


@task(id="bench-noop")
async def noop() -> None:
    """Nothing."""


@task(id="bench-limited", queue="bench-limited")
async def limited() -> None:
    """Nothing, in a queue that has a limit."""


@task(id="bench-event", on="bench.plain", queue="bench-events")
async def on_event(n: int) -> None:
    """An event, as it is."""


@task(
    id="bench-mapped",
    on="bench.mapped",
    filter="event.n >= 0 && event.shop.startsWith('n')",
    map="{'n': event.n, 'shop': event.shop}",
    queue="bench-events",
)
async def on_mapped_event(n: int, shop: str) -> None:
    """An event, filtered and mapped by expressions."""


@task(id="bench-asked", on="bench.asked", filter=lambda event: event.data["n"] >= 0, queue="bench-events")
async def on_asked_event(n: int) -> None:
    """An event, filtered by a function, which a worker is asked for."""


@task(id="bench-steps")
async def steps(count: int) -> list[float]:
    """Durable steps, one after the other; `time.time()` before the first and behind each."""
    moments = [time.time()]
    for _ in range(count):
        await nothing()
        moments.append(time.time())
    return moments


@step
async def nothing() -> None:
    """A step's least."""


@task(id="bench-fan-out")
async def fan_out(children: int) -> float:
    """So many child runs at once and their join; the seconds that it took."""
    begun = await moment()
    await asyncio.gather(*(noop.trigger_and_wait() for _ in range(children)))
    return time.time() - begun


@task(id="bench-batch")
async def batched(children: int) -> float:
    """The same, triggered as one batch."""
    begun = await moment()
    await noop.batch_trigger_and_wait([{}] * children)
    return time.time() - begun


@task(id="bench-patient")
async def patient() -> None:
    """Waits for a day."""
    await wait.for_(days=1)


@step
async def moment() -> float:
    """When this ran the first time."""
    return time.time()


@task(id="bench-outlive")
async def outlive() -> float:
    """Step after step until its worker is killed; when the first step ran that another process made."""
    pid, _ = await sign_of_life()
    while True:
        now, at = await sign_of_life()
        if now != pid:
            return float(at)


@step
async def sign_of_life() -> list[Any]:
    """Which process ran this, and when."""
    at = time.time()
    await asyncio.sleep(0.005)
    return [os.getpid(), at]


@task(id="bench-paced")
async def paced(count: int, pause: float) -> None:
    """Durable steps, one after the other, each of which takes `pause` seconds at least."""
    for _ in range(count):
        await resting(pause)


@step
async def resting(pause: float) -> None:
    """A step that takes its time."""
    await asyncio.sleep(pause)
