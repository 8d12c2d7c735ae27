"""A whole holdfast, as a user runs it: `holdfast up` in a directory of its own, with nats-server, daemon and workers.

All are processes of their own, and all are gone when the block ends, however it ends.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

import anyio

from holdfast import context
from holdfast.client import Client
from holdfast.config import FILE, Config, Durability, load
from holdfast.core.model import Seconds
from holdfast.credentials import resolve
from holdfast.dial import dial
from holdfast.errors import BusError, ConnectError, HoldfastError

if TYPE_CHECKING:
    from holdfast.bus.ports import Bus

UP_WITHIN: Seconds = 60.0
"""Longer than this no start takes."""

HOLDFAST = (sys.executable, "-c", "from holdfast.cli import main; main()")

CONFIG = """\
[nats]
port = 0
durability = "{durability}"
[daemon]
http = "127.0.0.1:0"
[projects.default]
modules = ["holdfast.bench.tasks"]
drain = 1
"""


class Process(Protocol):
    """A started process that dies with us."""

    pid: int

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""

    async def stop(self, *, grace: float) -> int:
        """Ask it to end, and kill it after `grace` seconds."""


Spawn: TypeAlias = Callable[..., Process]
"""`holdfast_daemon.child.spawn`."""


class Deployed(NamedTuple):
    """What runs, and a client of it, which is also the current one."""

    client: Client
    pid: int
    """Of the daemon; server and workers are its children."""
    data: Path
    """The daemon's data directory; its configuration is beside it."""
    begun: float
    """When its start began (`time.time`), in an empty directory."""

    async def workers(self, count: int) -> dict[str, int]:
        """Wait until so many workers serve; their pids by name."""
        with anyio.fail_after(UP_WITHIN):
            while len(found := await _alive(self.client)) < count:  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.01)
        return found


Deploy: TypeAlias = Callable[..., AbstractAsyncContextManager[Deployed]]
"""`deploy` but for the number of workers."""


Fill: TypeAlias = Callable[[Path, str, int, float], None]
"""`holdfast_daemon.projection.sample.fill`."""


@asynccontextmanager
async def deploy(
    durability: Durability,
    *,
    spawn: Spawn,
    fill: Fill,
    directory: Path | None = None,
    workers: int = 1,
    history: int = 0,
) -> AsyncIterator[Deployed]:
    """A deployment for the time of the block; its workers serve when the block begins.

    Args:
        directory: where its own directory is made; default: the system's temporary directory.
        history: so many runs, ended long ago, are in its history.

    Raises:
        HoldfastError: it could not start; the message is its last words.
    """
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-", dir=directory, ignore_cleanup_errors=True) as made:
        home = Path(made)
        (home / FILE).write_text(CONFIG.format(durability=durability.value))
        if history:
            await anyio.to_thread.run_sync(fill, home / ".holdfast", "default", history, time.time())
        begun = time.time()
        daemon = spawn(
            [*HOLDFAST, "up", "--workers", str(workers)], output=home / "up.log", env=environment(home), cwd=home
        )
        try:
            bus = await _connected(load(home / FILE, env={}), daemon, home)
            client = Client(bus, name="bench")
            token = context.enter(client)
            try:
                deployed = Deployed(client, daemon.pid, home / ".holdfast", begun)
                await deployed.workers(workers)
                yield deployed
            finally:
                context.leave(client, token)
                with anyio.CancelScope(shield=True), anyio.move_on_after(2.0):
                    await client.close()
        finally:
            await daemon.stop(grace=20.0)


def environment(home: Path) -> dict[str, str]:
    """Ours, without what would lead a process of the deployment elsewhere or have it compile all code at its start."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("HOLDFAST_") and name != "PYTHONDONTWRITEBYTECODE"
    }
    return {**kept, "HOLDFAST_CONFIG": str(home / FILE)}


async def _connected(config: Config, daemon: Process, home: Path) -> Bus:
    until = time.monotonic() + UP_WITHIN
    while daemon.running and time.monotonic() < until:
        with suppress(ConnectError):
            return await dial(resolve(config), name="holdfast-bench")
        await anyio.sleep(0.01)
    lines = (home / "up.log").read_text(errors="replace").strip().splitlines()
    raise HoldfastError(f"holdfast up did not start: {lines[-1] if lines else 'it said nothing'}")


async def _alive(client: Client) -> dict[str, int]:
    """Workers whose process is there; a killed one's last heartbeat outlives it."""
    found: dict[str, int] = {}
    with suppress(BusError):  # the streams are not made yet
        for presence in await client.workers():
            with suppress(ProcessLookupError):
                os.kill(presence.pid, 0)
                found[presence.worker] = presence.pid
    return found


def filesystem(directory: Path | None) -> str:
    """The kind of file system that a directory is on, or an empty text where the machine does not say."""
    path = Path(directory or tempfile.gettempdir()).resolve()
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return ""
    kinds = {Path(where): kind for where, kind in mounts}
    return next((kinds[place] for place in (path, *path.parents) if place in kinds), "")
