"""Runs with a key whose creator died before it had done what follows: somebody else does."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from holdfast import task
from holdfast.bus.journal import Journal
from holdfast.core import keys
from holdfast.core.model import Key, KeyKind
from holdfast_daemon import conductor as conducting
from holdfast_daemon.conductor import Conductor
from holdfast_daemon.ledger import Ledger
from holdfast_daemon.repairs import Kind, Repairs
from servers import NatsServer
from stage import Stage

pytestmark = pytest.mark.parametrize("stage", ["jetstream"], indirect=True)

DIES = """
import asyncio, os, signal, sys
from holdfast.bus.jetstream import connect
from holdfast.bus.journal import Journal
from holdfast.client import Client

async def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

async def main(url, project, option):
    client = Client(await connect(url, project=project))
    Journal.act = Journal.ready_many = die  # between the first fact and what follows
    options = {"delay": 0.3} if option == "delay" else {"debounce": ("A1", 0.3)} if option == "debounce" else {}
    if option != "debounce":
        options["idempotency_key"] = "A1"
    await client.trigger("keyed-ship", {"n": 1}, declared=False, **options)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conducting, "GRACE", 0.1)


@asynccontextmanager
async def conducted(stage: Stage) -> AsyncIterator[Repairs]:
    """A conductor at work for the time of the block, as the daemon has one."""
    ledger = Ledger(stage.client.bus, 0, lambda run: 1)
    conductor = Conductor(Journal(stage.client.bus), lambda: ledger.live, lambda: ledger.caught_up)

    async def follow() -> None:
        async for changes in ledger.changes():
            conductor.take(changes)

    services = [asyncio.create_task(follow()), asyncio.create_task(conductor.run())]
    try:
        yield conductor.repairs
    finally:
        for service in services:
            service.cancel()
        await asyncio.gather(*services, return_exceptions=True)


async def killed(stage: Stage, nats: NatsServer, option: str) -> str:
    """The run of a client that was killed when it had created it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DIES, nats.url, stage.client.bus.subjects.project, option, stderr=subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == -signal.SIGKILL, said.decode()
    kind = KeyKind.DEBOUNCE if option == "debounce" else KeyKind.IDEMPOTENCY
    run = await stage.client.run(keys.run_id("keyed-ship", Key(kind, "A1"))).status()
    assert (run.offered, run.armed) == (False, False)
    return run.id


@pytest.mark.parametrize(("option", "repaired"), [("", Kind.OFFER), ("delay", Kind.TIMER), ("debounce", Kind.TIMER)])
async def test_the_conductor_does_what_a_killed_client_left_undone(
    stage: Stage, nats: NatsServer, option: str, repaired: Kind
) -> None:
    @task(id="keyed-ship")
    async def ship(n: int) -> int:
        return n

    id = await killed(stage, nats, option)
    async with conducted(stage) as repairs, stage.worker(ship):
        assert await stage.client.run(id).result(10) == 1
    assert repairs.by_kind == {repaired: 1}


@pytest.mark.parametrize("option", ["", "delay", "debounce"])
async def test_the_next_trigger_with_the_key_does_it_without_a_daemon(
    stage: Stage, nats: NatsServer, option: str
) -> None:
    @task(id="keyed-ship")
    async def ship(n: int) -> int:
        return n

    id = await killed(stage, nats, option)
    options = ship.options(debounce=("A1", 0.2)) if option == "debounce" else ship.options(idempotency_key="A1")
    handle = await options.trigger(2)
    assert (handle.id, handle.cached) == (id, True)
    async with stage.worker(ship):
        assert await handle.result(10) == (2 if option == "debounce" else 1)
