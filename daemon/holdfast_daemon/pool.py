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
from holdfast.errors import WorkerError
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
            on_failure: told of a worker that ended with an error, with the last line that it wrote.
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
        """Keep them running until cancelled; then they drain. Started once each has served.

        Raises:
            WorkerError: the first worker ended before it served anything: its modules are wrong.
        """
        async with anyio.create_task_group() as tasks:
            async with anyio.create_task_group() as beginning:
                for _ in range(self._size):
                    beginning.start_soon(tasks.start, self._keep)
            task_status.started()

    async def _keep(self, *, task_status: TaskStatus[None]) -> None:
        pause, first = 0.2, True
        while True:
            begun = time.monotonic()
            child, ready, before, name = self._spawn()
            how = "told to stop"
            try:
                if await _served(ready):
                    log.info("worker %s serves, pid %d", name, child.pid)
                    if first:
                        task_status.started()
                    first = False
                code = await child.exited()
                how = _how(code)
            finally:
                del self.pids[name]
                await child.stop(grace=self._drain + 5)
                self._gone(name, how)
            self._ended(name, code, before, first)
            if time.monotonic() - begun > STEADY:
                pause = 0.2
            elif code > 0:
                await anyio.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)

    def _spawn(self) -> tuple[Child, int, int, str]:
        """Start a worker: the process, where it says that it serves, how much its output holds so far, its name."""
        self._started += 1
        name = f"{self._station}{self._started}"
        before = self._output.stat().st_size if self._output.exists() else 0
        ready, said = os.pipe()
        try:
            child = spawn(
                [sys.executable, "-m", "holdfast.worker", *self._modules],
                output=self._output,
                inherit=(said,),
                env={**os.environ, **self._env, "HOLDFAST_WORKER_ID": name, "HOLDFAST_READY_FD": str(said)},
                cwd=self._cwd,
            )
        except BaseException:
            os.close(ready)
            raise
        finally:
            os.close(said)
        self.pids[name] = child.pid
        return child, ready, before, name

    def _ended(self, name: str, code: int, before: int, first: bool) -> None:
        """A worker ended though nobody asked it to."""
        log.warning("worker %s ended: %s", name, _how(code))
        if code <= 0:
            return
        text = self._tail(before)
        if first:
            raise WorkerError(text.removeprefix("holdfast worker: "))
        self._on_failure(f"a worker ended with {_how(code)} and is started again: {text}")

    def _tail(self, since: int) -> str:
        """The last line that a worker wrote since then."""
        with self._output.open("rb") as file:
            file.seek(max(since, self._output.stat().st_size - 4096))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "it wrote nothing"


async def _served(ready: int) -> bool:
    """Wait until the worker says that it serves; False where it ends before."""
    try:
        await anyio.wait_readable(ready)
        return bool(os.read(ready, 1))
    finally:
        os.close(ready)


def _how(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
