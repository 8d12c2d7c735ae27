"""A worker process as its pool sees it: started, heard when it serves, asked why it ended, stopped."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio

from holdfast.core.model import Seconds
from holdfast_daemon.child import Child, spawn

WRONG = 1
"""The exit code of a worker whose modules or configuration are wrong: it will be so until somebody mends them."""

_SERVES = b"serves\n"
"""What a worker writes when it serves, behind a line for each module that it left out (see `holdfast.worker`)."""

_COMPLAINT = "holdfast worker: "
"""What the line begins with in which a worker says why it can't serve."""


class WorkerProcess:
    """A started worker; made by `Starter`."""

    def __init__(self, name: str, child: Child, ready: int, output: Path, before: int, grace: Seconds) -> None:
        self.name = name
        self.pid = child.pid
        self.serves = False
        self.left_out: tuple[str, ...] = ()
        """Why each module that it does not serve is wrong."""
        self._child = child
        self._ready = ready
        self._output = output
        self._before = before
        self._grace = grace

    async def served(self) -> bool:
        """Wait until it serves; False where it ends before."""
        said = b""
        while not said.endswith(_SERVES):
            await anyio.wait_readable(self._ready)
            part = os.read(self._ready, 65536)
            if not part:
                return False
            said += part
        self.left_out = tuple(said.removesuffix(_SERVES).decode().splitlines())
        self.serves = True
        return True

    async def exited(self) -> int:
        """Wait until it has ended; its exit code, or minus the signal that ended it. May be repeated."""
        return await self._child.exited()

    async def stop(self) -> None:
        """Let it drain, and kill it where that takes too long; not interrupted by cancellation. Idempotent."""
        self.serves = False
        await self._child.stop(grace=self._grace)
        if self._ready >= 0:
            os.close(self._ready)
            self._ready = -1

    def why(self, code: int) -> str:
        """Why it ended before it served: its complaint, else the last line that it wrote."""
        if code <= 0:
            return f"a worker ended before it served anything ({how(code)}): see {self._output}"
        return self.last_words()

    def last_words(self) -> str:
        """Its complaint, else the last line that was written since its start."""
        with self._output.open("rb") as file:
            file.seek(max(self._before, self._output.stat().st_size - 4096))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
        complaints = [line for line in lines if line.startswith(_COMPLAINT)]
        return (complaints or lines or ["it wrote nothing"])[-1].removeprefix(_COMPLAINT)


class Starter:
    """Starts the workers of a pool, each under a name of its own."""

    def __init__(
        self,
        *,
        modules: Sequence[str],
        station: str,
        cwd: Path,
        env: Mapping[str, str],
        output: Path,
        drain: Seconds,
    ) -> None:
        """
        Args:
            station: what the names of these workers begin with.
            env: what is added to this process's environment.
            output: the file that they write to.
            drain: how long they let runs end when they are stopped.
        """
        self._modules = modules
        self._station = station
        self._cwd = cwd
        self._env = env
        self._output = output
        self._drain = drain
        self._started = 0

    def start(self, *, tolerant: bool) -> WorkerProcess:
        """Start one more. Where it is tolerant it leaves out what fails to import; else that ends it.

        Raises:
            OSError: the system has no room for another process.
        """
        self._started += 1
        name = f"{self._station}{self._started}"
        before = self._output.stat().st_size if self._output.exists() else 0
        ready, said = os.pipe()
        try:
            child = spawn(
                [sys.executable, "-m", "holdfast.worker", *(["--tolerant"] if tolerant else []), *self._modules],
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
        return WorkerProcess(name, child, ready, self._output, before, self._drain + 5)


def how(code: int) -> str:
    """How a process ended, in words."""
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
