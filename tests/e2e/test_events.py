"""Events from a plain NATS client at full speed while the daemon is killed: exactly one run for each.

`python -m pytest -n 0 -s tests/e2e/test_events.py --events 50000` publishes more of them, and prints what it took.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest

from deployment import Deployment, until
from holdfast.client import Client
from holdfast.config import load
from holdfast.core.entries import RunCreated
from holdfast.credentials import Credentials, resolve
from holdfast.dial import dial
from holdfast.wire import codec
from holdfast.wire.subjects import Stream
from holdfast.wire.values import decode_value
from servers import NatsServer

TASKS = """
from holdfast import task

@task(on="orders.created", queue="orders")
async def process(n: int) -> int:
    return n
"""

PUBLISHER = """
import asyncio, sys, time
import nats

async def main(url, user, password, subject, count, acknowledged):
    options = dict(user=user, password=password) if user else {}
    async with await nats.connect(
        url, pending_size=64 << 20, max_reconnect_attempts=-1, reconnect_time_wait=0.1, **options
    ) as nc:
        begun = time.monotonic()
        await (acknowledged_ones if acknowledged else plain_ones)(nc, subject, count)
        print(f"published {time.monotonic() - begun:.2f}", flush=True)

async def plain_ones(nc, subject, count):
    for n in range(count):
        await nc.publish(subject, b'{"n": %d}' % n)
        if n % 500 == 499:
            await nc.flush(30)
            print(n + 1, flush=True)
    await nc.flush(30)

async def acknowledged_ones(nc, subject, count):
    js, slots, done = nc.jetstream(timeout=2), asyncio.Semaphore(500), 0

    async def one(n):
        nonlocal done
        while True:
            try:
                await js.publish(subject, b'{"n": %d}' % n, headers={"Nats-Msg-Id": f"order-{n}"})
                break
            except Exception:
                await asyncio.sleep(0.1)
        slots.release()
        done += 1
        if done % 500 == 0:
            print(done, flush=True)

    async with asyncio.TaskGroup() as tasks:
        for n in range(count):
            await slots.acquire()
            tasks.create_task(one(n))

url, user, password, subject, count, acknowledged = sys.argv[1:]
asyncio.run(main(url, user, password, subject, int(count), acknowledged == "True"))
"""
"""Knows nothing of holdfast."""

KILLS = 3


@pytest.mark.parametrize("whose", ["own server", "embedded server"])
async def test_while_the_daemon_is_killed_three_times_each_event_starts_exactly_one_run(
    tmp_path: Path, request: pytest.FixtureRequest, whose: str
) -> None:
    """With a server of one's own nothing is lost of what is just sent; the embedded one dies with the daemon, so the
    publisher waits for acknowledgements, and repeats what got none under its id."""
    count = int(request.config.getoption("--events"))
    embedded = whose == "embedded server"
    with ExitStack() as stack:
        url = "" if embedded else stack.enter_context(NatsServer(tmp_path / "nats", sync="100ms")).url
        there = stack.enter_context(Deployment(tmp_path / "home", TASKS, url=url))
        there.run("queues", "pause", "orders")
        begun = time.monotonic()
        publisher = stack.enter_context(Publisher(tmp_path, there, count, acknowledged=embedded))
        for kill in range(1, KILLS + 1):
            publisher.until(count * kill // (KILLS + 1))
            there.kill()
            there.start()
        seconds = publisher.ended()
        client = await connected(there)
        try:
            assert await client.bus.last_seq(Stream.EVENTS) == count, "the server took every event, and each once"
            await caught_up(client, count)
            took = time.monotonic() - begun
            found = await created(client)
        finally:
            await client.close()
    print(f"{whose}: {count} events published in {seconds:.1f} s, routed in {took:.1f} s, with {KILLS} kills")
    assert len(found) == count
    assert Counter(decode_value(run.payload)["n"] for run in found) == Counter(range(count))
    assert len({run.run for run in found}) == count


class Publisher:
    """A process that publishes events as fast as it can."""

    def __init__(self, directory: Path, there: Deployment, count: int, *, acknowledged: bool) -> None:
        at = credentials(there)
        self._said = directory / "published.txt"
        (directory / "publish.py").write_text(PUBLISHER)
        with self._said.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, str(directory / "publish.py"), at.url, at.user, at.password,
                 "hf.default.evt.orders.created", str(count), str(acknowledged)],
                stdout=output, stderr=output,
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()

    def _lines(self) -> list[str]:
        return self._said.read_text().splitlines()

    def until(self, count: int) -> None:
        """Wait until it has published so many."""
        until(lambda: any(line.isdigit() and int(line) >= count for line in self._lines()), self._why, within=300)

    def ended(self) -> float:
        """Wait until it has published all; the seconds that it took."""
        assert self._process.wait(timeout=300) == 0, self._why()
        return float(self._lines()[-1].removeprefix("published "))

    def _why(self) -> str:
        return self._said.read_text()[-2000:]


def credentials(there: Deployment) -> Credentials:
    return resolve(load(there.home / "holdfast.toml", env={}))


async def connected(there: Deployment) -> Client:
    return Client(await dial(credentials(there), name="test"), name="test")


async def caught_up(client: Client, upto: int) -> None:
    """Wait until the router has noted that it came so far."""
    bus = client.bus
    async with asyncio.timeout(300):
        while True:
            kept = await bus.last(Stream.CONTROL, bus.subjects.control("cursor", "router"))
            if kept is not None and int(kept.data) >= upto:
                return
            await asyncio.sleep(0.05)


async def created(client: Client) -> list[RunCreated]:
    """Every run that the journal says was created."""
    bus = client.bus
    messages = await bus.read(Stream.JOURNAL, bus.subjects.journal)
    entries = [codec.decode_entry(message.data) for message in messages if ".ready." in message.subject]
    return [entry for entry in entries if isinstance(entry, RunCreated)]


ROUTES = """
[[routes]]
source = "shop.orders.*"
task = "process"
filter = "event.n > 1"
map = '{"n": event.n * 10}'
"""


async def test_a_route_of_the_configuration_starts_runs_from_a_foreign_subject(tmp_path: Path) -> None:
    with Deployment(tmp_path / "home", TASKS, more=ROUTES) as there:
        client = await connected(there)
        try:
            for n in range(4):
                await client.bus.publish("shop.orders.created", b'{"n": %d}' % n)
            await client.bus.publish("shop.orders.created", b"\xff no json")
            until(lambda: len(there.json("runs", "list", "--task", "process")) == 3, there.log)
        finally:
            await client.close()
        until(lambda: states(there) == ["completed", "completed", "dead"], there.log)
        assert [row["data"] for row in there.json("events", "list", "-n", "2")][1] == {"n": 3}
        (dead,) = there.json("dlq", "list")
        shown = there.run("dlq", "show", dead["run"]).stdout
        assert "event 5 on shop.orders.created, 9 bytes: filter event.n > 1" in shown
        assert "\\xff no json" in shown
        assert there.json("events", "replay", "--all")[0]["existed"] == 3
        there.run("dlq", "retry", dead["run"], "--payload", '{"n": 7}')
        until(lambda: states(there) == ["completed"] * 3, there.log)
        assert "2 runs of events, 2 events that no route wants, 1 that no map" in there.run("doctor").stdout


def states(there: Deployment) -> list[str]:
    return sorted(row["state"] for row in there.json("runs", "list", "--task", "process"))
