"""A worker process: modules imported, connected, serving until told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any

from holdfast.bus.ports import Bus
from holdfast.config import Config
from holdfast.credentials import Credentials, resolve
from holdfast.dial import dial
from holdfast.loops import loop_run
from holdfast.sealing import SecretKey, find_key
from holdfast.task import Task
from holdfast.worker.loading import load_tasks
from holdfast.worker.pool import Worker

log = logging.getLogger("holdfast.worker")

YOUNG = 5_000
"""New objects between two looks of the garbage collector: a busy worker has thousands, and its runs leave no cycles."""


def worker_name() -> str:
    """A name that no other worker has: the host, the process, and when there is no other way to tell, a mark."""
    host = "".join(letter if letter.isalnum() else "-" for letter in socket.gethostname())[:32] or "host"
    return f"{host}-{os.getpid()}-{os.urandom(2).hex()}"


def serve(
    config: Config,
    modules: Sequence[str],
    *,
    project: str | None = None,
    url: str | None = None,
    name: str | None = None,
    concurrency: int | None = None,
    tolerate: Callable[[str], None] | None = None,
    ready: Callable[[str], None] = lambda name: None,
) -> None:
    """Import the modules and serve their tasks until SIGTERM or SIGINT; then drain.

    Args:
        tolerate: told of each module that is wrong; the tasks of the others are served. None: that is an error.

    Raises:
        TaskImportError, DefinitionError: a module is wrong; nothing was connected.
        ConnectError, ConfigError: no server there.
    """
    section = config.project(project)
    tasks = load_tasks(modules or section.modules, base=config.base, tolerate=tolerate)
    _spare_collector()
    credentials = resolve(config, project, url=url)
    loop_run()(
        _serve(
            credentials,
            tasks,
            name=name or worker_name(),
            concurrency=concurrency or section.workers.concurrency,
            drain=section.drain,
            key=find_key(config, project or config.default_project),
            url=url_of(config),
            ttl=section.ttl,
            ready=ready,
        )
    )


async def _serve(
    credentials: Credentials,
    tasks: dict[str, Task[..., Any]],
    *,
    name: str,
    concurrency: int,
    drain: float,
    key: SecretKey | None,
    url: str,
    ttl: float | None,
    ready: Callable[[str], None],
) -> None:
    async def connect() -> Bus:
        return await dial(credentials, name=f"{name}-heart")

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _told_to_stop, stop, number)
    bus = await dial(credentials, name=name)
    try:
        worker = Worker(
            bus,
            tasks,
            name=name,
            concurrency=concurrency,
            drain=drain,
            connect=connect,
            key=key,
            url=url,
            ttl=ttl,
        )
        await worker.run(stop, ready=lambda: ready(name))
    finally:
        await bus.close()


def url_of(config: Config) -> str:
    """Where the daemon takes HTTP requests, as the configuration says; empty where it picks a free port."""
    host, port = config.daemon.address
    return f"http://{host}:{port}" if port else ""


def _spare_collector() -> None:
    """Have the garbage collector pass over what is imported, which stays, and look at the rest less often."""
    gc.collect()
    gc.freeze()
    young, *older = gc.get_threshold()
    if young:  # 0: the user's module turned it off
        gc.set_threshold(max(young, YOUNG), *older)


def _told_to_stop(stop: asyncio.Event, number: int) -> None:
    if stop.is_set() and number == signal.SIGINT:
        log.warning("told twice: leaving at once; the runs go on elsewhere")
        os._exit(130)
    stop.set()
