"""A child process that never outlives us, and whose end is noticed at once.

On Linux the kernel kills it when we die, however we die (PR_SET_PDEATHSIG). That signal is sent when the *thread* that
started the child ends, so `spawn` belongs in a thread that lives as long as the service: the event loop's, which is
the main thread of the daemon. macOS has no such thing: there a child survives a SIGKILL of the daemon, and the locks
that it inherited tell the next daemon so.

Its end is seen as the end of a pipe whose other end only the child holds: one mechanism for Linux and macOS, no
thread, no polling, no SIGCHLD handler, and it works in any event loop.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import anyio

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Child:
    """A started process; made by `spawn`, ended by `stop`."""

    def __init__(self, process: subprocess.Popen[bytes], end: int) -> None:
        self._process = process
        self._end = end
        self.pid = process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    async def exited(self) -> int:
        """Wait until it has ended; its exit code, or minus the signal that ended it. May be cancelled and repeated."""
        if self._process.returncode is None:
            await anyio.wait_readable(self._end)
        return self._reap()

    async def stop(self, *, grace: float) -> int:
        """Ask it to end, and kill it after `grace` seconds; not interrupted by cancellation. Idempotent."""
        with anyio.CancelScope(shield=True):
            self._process.terminate()
            with anyio.move_on_after(grace):
                await self.exited()
            self._process.kill()  # nothing, if it has ended
            await self.exited()
        return self._reap()

    def _reap(self) -> int:
        code = self._process.wait()  # descriptors are closed microseconds before a process can be waited for
        if self._end >= 0:
            os.close(self._end)
            self._end = -1
        return code


def spawn(
    command: Sequence[str | Path],
    *,
    output: Path,
    inherit: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Child:
    """Start a child that dies with the calling thread; its stdout and stderr are appended to `output`.

    `inherit` are descriptors that it keeps open, such as locks. It has a session of its own, so that Ctrl-C reaches us
    only, and we end it in order. Raises OSError.
    """
    end, held = os.pipe()
    try:
        log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            process = _popen(command, log, (held, *inherit), env, cwd)
        finally:
            os.close(log)
    except BaseException:
        os.close(end)
        raise
    finally:
        os.close(held)
    return Child(process, end)


def _popen(
    command: Sequence[str | Path], log: int, inherit: Sequence[int], env: Mapping[str, str] | None, cwd: Path | None
) -> subprocess.Popen[bytes]:
    with warnings.catch_warnings():
        # Since 3.12 a fork in a process with threads warns. `_die_with` takes no lock, so it can't meet a held one.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=inherit,
            env=env,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=_die_with(os.getpid()) if sys.platform == "linux" else None,
        )


def _die_with(parent: int) -> Callable[[], None]:
    """What the child does between fork and exec. The library is loaded here, before the fork."""
    # PyDLL keeps the interpreter lock during the call: releasing it after a fork would be asking for trouble.
    prctl = ctypes.PyDLL(None).prctl

    def die_with_parent() -> None:
        if prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0 or os.getppid() != parent:
            os._exit(127)  # the parent died before the kernel knew whom to tell

    return die_with_parent
