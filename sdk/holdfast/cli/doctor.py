"""`holdfast doctor`: is everything there that holdfast needs, does it answer, and what to do where not."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import anyio
import typer

from holdfast.cli import text
from holdfast.cli.app import FAILED, Command, Config, Place, Project, Url
from holdfast.cli.output import Output, Style
from holdfast.cli.session import Json, group
from holdfast.client import Client
from holdfast.config import Config as Settings
from holdfast.config import load
from holdfast.credentials import resolve
from holdfast.errors import BusError, ConnectError, HoldfastError
from holdfast.wire.subjects import Stream

app = group()

PYTHON = (3, 11)
PACKAGES = (
    "holdfast",
    "nats-py",
    "common-expression-language",
    "msgspec",
    "anyio",
    "cryptography",
    "duckdb",
    "textual",
    "typer",
)
LEAST_DISK, LOW_DISK = 200_000_000, 2_000_000_000
MOST_LAG = 1000
"""Journal messages that the projection may be behind."""
MOST_SKEW = 1.0
"""Seconds between our clock and the server's: timers fire by the server's, deadlines are written by ours."""
SLOW = 0.25
"""Seconds of a round trip that are a lot."""


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""
    """What to do; empty where nothing is to be done."""


STYLES = {Verdict.OK: Style.GOOD, Verdict.WARN: Style.WARN, Verdict.FAIL: Style.BAD}


@app.command(cls=Command)
def doctor(
    ctx: typer.Context, json: Json = False, project: Project = None, config: Config = None, url: Url = None
) -> None:
    """Check versions, configuration, server, daemon and workers; exit 1 if anything fails."""
    place = ctx.obj.at(project=project, config=config, url=url)
    if anyio.run(_report, place, Output(json=json)):
        raise typer.Exit(FAILED)


async def _report(place: Place, out: Output) -> bool:
    """Print each check as it ends; returns whether any failed."""
    failed = False
    async for check in examine(place):
        failed |= check.verdict is Verdict.FAIL
        if out.json:
            out.record(check._asdict())
        else:
            advice = f"  → {check.advice}" if check.advice else ""
            verdict = out.paint(check.verdict.value.ljust(4), STYLES[check.verdict])
            out.line(f"{verdict}  {check.name.ljust(13)}  {text.visible(check.found + advice)}")
    return failed


async def examine(place: Place) -> AsyncIterator[Check]:
    """Every check, in an order in which each needs those before it."""
    yield python()
    yield packages()
    try:
        settings = load(Path(place.config) if place.config else None, env=os.environ)
        settings.check()
    except HoldfastError as error:
        yield Check("configuration", Verdict.FAIL, str(error), "correct it; config.example.toml shows every key")
        return
    yield Check("configuration", Verdict.OK, str(settings.file or "no holdfast.toml: defaults"))
    if settings.nats.embedded:
        yield server_binary(settings)
        for check in data_dir(settings.data_dir):
            yield check
    yield credentials(settings, place)
    try:
        async with place.open() as client:
            async for check in connected(client):
                yield check
    except HoldfastError as error:
        yield Check("connection", Verdict.FAIL, str(error), "start the server with `holdfast up`, or check the url")


# --- this machine -------------------------------------------------------------------------------------------------


def python() -> Check:
    """Whether the interpreter is new enough."""
    found = f"Python {platform.python_version()}, {platform.platform(terse=True)}"
    if sys.version_info < PYTHON:
        return Check("python", Verdict.FAIL, found, f"use Python {PYTHON[0]}.{PYTHON[1]} or newer")
    return Check("python", Verdict.OK, found)


def packages() -> Check:
    """Whether what we need is installed."""
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check("packages", Verdict.FAIL, f"missing: {', '.join(missing)}", "install holdfast again")
    return Check("packages", Verdict.OK, ", ".join(found))


def server_binary(settings: Settings) -> Check:
    """Whether there is a nats-server to embed, new enough."""
    from holdfast_daemon.server.binary import find

    try:
        binary = find(settings.path(settings.nats.binary) if settings.nats.binary else None)
    except HoldfastError as error:
        return Check("nats-server", Verdict.FAIL, str(error))
    return Check("nats-server", Verdict.OK, f"{'.'.join(map(str, binary.version))} at {binary.path}")


def data_dir(path: Path) -> Iterator[Check]:
    """Whether the data directory can be written, and how much room there is."""
    there = next(one for one in (path, *path.parents) if one.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        yield Check("data", Verdict.FAIL, f"{there}: {error.strerror}", "make it writable, or set daemon.data_dir")
        return
    yield Check("data", Verdict.OK, str(path) if there == path else f"{path} (not there yet; `holdfast up` makes it)")
    free = shutil.disk_usage(there).free
    found = f"{free / 1e9:,.1f} GB free"
    if free < LEAST_DISK:
        yield Check("disk", Verdict.FAIL, found, "make room: a full disk stops the journal")
    elif free < LOW_DISK:
        yield Check("disk", Verdict.WARN, found, "make room soon, or lower retention")
    else:
        yield Check("disk", Verdict.OK, found)


def credentials(settings: Settings, place: Place) -> Check:
    """Whether it is known where to connect, and as whom."""
    try:
        found = resolve(settings, place.project, url=place.url)
    except HoldfastError as error:
        return Check("credentials", Verdict.FAIL, str(error), "start the server with `holdfast up`")
    who = f" as {found.user}" if found.user else f" with {found.creds}" if found.creds else ""
    return Check("credentials", Verdict.OK, f"project {found.project} at {found.url}{who}")


# --- the server ---------------------------------------------------------------------------------------------------


async def connected(client: Client) -> AsyncIterator[Check]:
    """What can be asked over a connection."""
    yield await round_trip(client)
    async for check in streams(client):
        yield check
    yield await clock(client)
    yield await daemon(client)
    async for check in events(client):
        yield check
    yield await workers(client)


async def round_trip(client: Client) -> Check:
    """How long the server takes to answer: the least of three."""
    least = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        try:
            await client.bus.last_seq(Stream.CONTROL)
        except ConnectError:
            raise
        except BusError:
            pass  # no stream: the check of the streams says so; it answered
        least = min(least, time.perf_counter() - begin)
    found = f"round trip {least * 1000:.1f} ms"
    if least > SLOW:
        return Check("connection", Verdict.WARN, found, "put workers near the server: each step waits for one or two")
    return Check("connection", Verdict.OK, found)


async def streams(client: Client) -> AsyncIterator[Check]:
    """Whether the project's streams are there."""
    found, missing = [], []
    for stream in Stream:
        name = stream.of(client.bus.subjects.project)
        try:
            found.append(f"{name} {await client.bus.last_seq(stream):,}")
        except ConnectError:
            raise
        except BusError:
            missing.append(name)
    if missing:
        yield Check("streams", Verdict.FAIL, f"missing: {', '.join(missing)}", "start the daemon once: it makes them")
    else:
        yield Check("streams", Verdict.OK, ", ".join(found))


async def clock(client: Client) -> Check:
    """How far our clock is from the server's: the time of a message that we store, in the middle of a round trip."""
    name = f"doctor-{secrets.token_hex(4)}"
    try:
        before = time.time()
        await client.bus.put("probe", name, b"", ttl=1.0)
        after = time.time()
        stored = await client.bus.last(Stream.CONTROL, client.bus.subjects.control("probe", name))
    except ConnectError:
        raise
    except BusError as error:
        return Check("clock", Verdict.WARN, f"not measured: {error}")
    if stored is None:
        return Check("clock", Verdict.WARN, "not measured: the message was gone")
    return skew(stored.time, before, after)


def skew(server: float, before: float, after: float) -> Check:
    """What to say of the server's time of something that happened between two of our own instants."""
    apart = max(before - server, server - after, 0.0)
    found = f"{text.took(apart)} from the server's" if apart else "agrees with the server's"
    if apart > MOST_SKEW:
        return Check(
            "clock", Verdict.WARN, found, "synchronise both clocks (NTP): delays and timeouts are off by as much"
        )
    return Check("clock", Verdict.OK, found)


async def daemon(client: Client) -> Check:
    """Whether the daemon answers and its projection keeps up."""
    try:
        health = await client.health()
    except HoldfastError as error:
        return Check("daemon", Verdict.FAIL, str(error), "start it with `holdfast up`: runs go on, questions wait")
    behind = max(health.journal - health.projected, 0)
    found = f"{health.version}, pid {health.pid}, up {text.age(time.time() - health.started_at)}, {behind:,} behind"
    if health.repairs:
        found += f", repaired {', '.join(f'{count:,} {kind}' for kind, count in sorted(health.repaired.items()))}"
    if health.unreadable:
        return Check("daemon", Verdict.WARN, f"{found}, {health.unreadable:,} messages unreadable", "see its log")
    if behind > MOST_LAG:
        return Check("daemon", Verdict.WARN, found, "lists are old until it has caught up")
    return Check("daemon", Verdict.OK, found)


async def events(client: Client) -> AsyncIterator[Check]:
    """What has become of events since the daemon's start; nothing where it does not answer, which was said before."""
    try:
        health = await client.health()
    except HoldfastError:
        return
    found = f"{text.count(health.routed, 'run')} of events, {health.unwanted:,} events that no route wants"
    if health.unmapped or health.refused:
        found += f", {health.unmapped:,} that no map can read, {health.refused:,} too large for a run"
        yield Check("events", Verdict.WARN, found, "see `holdfast dlq list` and the daemon's log")
    else:
        yield Check("events", Verdict.OK, found)


async def workers(client: Client) -> Check:
    """Whether anybody is there to run tasks."""
    found = await client.workers()
    faults = [error for fault in await client.faults() for error in fault.errors]
    if faults:
        return Check("workers", Verdict.WARN, "; ".join(faults), "mend it; what can be served is")
    if not found:
        return Check("workers", Verdict.WARN, "none", "start one with `holdfast up` or `holdfast worker MODULE`")
    tasks = {task for worker in found for task in worker.tasks}
    return Check("workers", Verdict.OK, f"{text.count(len(found), 'worker')}, {text.count(len(tasks), 'task')}")
