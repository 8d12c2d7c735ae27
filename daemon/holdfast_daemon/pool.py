"""The worker processes of a project: started, watched, replaced; their end is known at once.

A worker has its own process and session and dies with the daemon (see `child`). One that ends by itself is replaced at
once where it had served for a while, else after a pause that doubles, so that a module that can't be imported does not
eat the machine.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from holdfast.core.model import Seconds
from holdfast_daemon.child import Child, spawn

log = logging.getLogger("holdfast.pool")

STEADY: Seconds = 5.0
"""A worker that lived so long is replaced at once."""

LONGEST_PAUSE: Seconds = 10.0


class WorkerPool:
    """Keeps `size` worker processes of a project running."""

    def __init__(
        self,
        *,
        size: int,
        modules: Sequence[str],
        station: str,
        cwd: Path,
        env: Mapping[str, str],
        output: Path,
        drain: Seconds,
        gone: Callable[[str, str], None],
        on_failure: Callable[[str], None] = lambda text: None,
    ) -> None:
        """
        Args:
            station: what the names of these workers begin with.
            env: what is added to this process's environment.
            output: the file that they write to.
            gone: told the name of each worker that has ended, and how.
            on_failure: told why a worker that never served has ended: its last lines.
        """
        self._size = size
        self._modules = modules
        self._station = station
        self._cwd = cwd
        self._env = env
        self._output = output
        self._drain = drain
        self._gone = gone
        self._on_failure = on_failure
        self._started = 0
        self.pids: dict[str, int] = {}
        """Of the running workers, by name."""

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Keep them running until cancelled; then they drain."""
        async with anyio.create_task_group() as tasks:
            for _ in range(self._size):
                tasks.start_soon(self._keep)
            task_status.started()

    async def _keep(self) -> None:
        pause = 0.2
        while True:
            begun = time.monotonic()
            served = await self._one()
            if served or time.monotonic() - begun > STEADY:
                pause = 0.2
                continue
            await anyio.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)

    async def _one(self) -> bool:
        """One worker, from start to end; whether its end was that of a worker that had served."""
        self._started += 1
        name = f"{self._station}{self._started}"
        before = self._output.stat().st_size if self._output.exists() else 0
        child = spawn(
            [sys.executable, "-m", "holdfast.worker", *self._modules],
            output=self._output,
            env={**os.environ, **self._env, "HOLDFAST_WORKER_ID": name},
            cwd=self._cwd,
        )
        self.pids[name] = child.pid
        code = 0
        try:
            code = await child.exited()
        finally:
            del self.pids[name]
            await self._end(child)
            self._gone(name, _how(code))
        log.warning("worker %s ended: %s", name, _how(code))
        if code > 0:
            self._on_failure(self._tail(before))
        return code < 0

    async def _end(self, child: Child) -> None:
        await child.stop(grace=self._drain + 5)

    def _tail(self, since: int) -> str:
        """The last line that a worker wrote since then."""
        with self._output.open("rb") as file:
            file.seek(max(since, self._output.stat().st_size - 4096))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "it wrote nothing"


def _how(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
