"""The worker processes of a project: started, watched, replaced; their end is known at once.

A worker has its own process and session and dies with the daemon (see `child`). One that ends by itself is replaced at
once, and where that happens again soon after a pause that doubles, so that a module that crashes does not eat the
machine.
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
"""A worker that lived so long is replaced at once, whatever happened before."""

LONGEST_PAUSE: Seconds = 10.0

_COMPLAINT = "holdfast worker: "
"""What the line begins with in which a worker says why it can't serve."""


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
        failures, first = 0, True
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
                await child.stop(grace=self._drain + 5)
                del self.pids[name]
                self._gone(name, how)
            self._ended(name, code, before, first)
            failures = 0 if time.monotonic() - begun > STEADY else failures + 1
            await anyio.sleep(pause_after(failures))

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
        text = self._tail(before) if code > 0 else ""
        if first:
            raise WorkerError(text or f"a worker ended before it served anything ({_how(code)}): see {self._output}")
        if text:
            self._on_failure(f"a worker ended with {_how(code)} and is started again: {text}")
        else:
            log.warning("worker %s ended: %s", name, _how(code))

    def _tail(self, since: int) -> str:
        """Why a worker ended: its complaint since then, else the last line that was written."""
        with self._output.open("rb") as file:
            file.seek(max(since, self._output.stat().st_size - 4096))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
        complaints = [line for line in lines if line.startswith(_COMPLAINT)]
        return (complaints or lines or ["it wrote nothing"])[-1].removeprefix(_COMPLAINT)


def pause_after(failures: int) -> Seconds:
    """How long a worker that ended soon after its start waits to be replaced; the first time not at all."""
    return 0.0 if failures <= 1 else min(LONGEST_PAUSE, 0.1 * 2.0 ** min(failures - 1, 20))


async def _served(ready: int) -> bool:
    """Wait until the worker says that it serves; False where it ends before."""
    try:
        await anyio.wait_readable(ready)
        return bool(os.read(ready, 1))
    finally:
        os.close(ready)


def _how(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
