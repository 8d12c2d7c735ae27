"""The command line without its start-up: processes forked from one that has imported it, once for a whole test run.

A command is a process of its own with its own directory, environment and files, as a user's is; only the half second
of imports is spent once. `python forked.py SOCKET` is the process that forks; it ends when nobody holds its stdin.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

IMPORTED = ("asyncio", "nats", "holdfast.client", "holdfast.blocking")
"""What commands import besides their own modules."""

OWN_TASKS = ("demo", "bench")
"""Commands that declare tasks, which no other process is to know."""


def run(
    args: tuple[str, ...], *, cwd: Path, env: dict[str, str], stdin: bytes = b"", timeout: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """A command, as `subprocess.run` gives it. Raises: subprocess.TimeoutExpired."""
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        socket.socket(socket.AF_UNIX) as asked,
    ):
        given.write(stdin)
        given.seek(0)
        asked.settimeout(timeout)
        asked.connect(_forker())
        request = json.dumps({"args": args, "cwd": str(cwd), "env": env}).encode()
        socket.send_fds(asked, [len(request).to_bytes(4, "big")], [given.fileno(), out.fileno(), err.fileno()])
        asked.sendall(request)
        try:
            code = int.from_bytes(asked.recv(4), "big", signed=True)
        except TimeoutError as error:
            raise subprocess.TimeoutExpired(args, timeout, _read(out), _read(err)) from error
        return subprocess.CompletedProcess(args, code, _read(out).decode(), _read(err).decode())


def _read(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


@cache
def _forker() -> str:
    """The socket of the process that forks."""
    place = tempfile.mkdtemp(prefix="forked-")
    path = f"{place}/socket"
    forker = subprocess.Popen([sys.executable, __file__, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert forker.stdout is not None
    assert forker.stdout.readline() == b"ready\n"

    def end() -> None:
        forker.communicate()
        Path(path).unlink(missing_ok=True)
        Path(place).rmdir()

    atexit.register(end)
    return path


def _serve(path: str) -> None:
    """Fork a process for each command that is asked for."""
    from importlib import import_module

    from holdfast.cli import app

    rows = [row for row in app.COMMANDS if row.name not in OWN_TASKS]
    for module in (*IMPORTED, *(where.partition(":")[0] for row in rows for where in (row.where, *row.more))):
        import_module(module)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(64)
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([listening, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            asked, _ = listening.accept()
            if os.fork() == 0:
                if os.fork() == 0:  # the forker has no children to wait for
                    listening.close()
                    _attend(asked)
                os._exit(0)
            asked.close()
            os.wait()


def _attend(asked: socket.socket) -> None:
    """Run one command, and tell how it ended."""
    size, fds, _, _ = socket.recv_fds(asked, 4, 3)
    request = b""
    while len(request) < int.from_bytes(size, "big"):
        request += asked.recv(1 << 20)
    ended, holds = os.pipe()
    child = os.fork()
    if child == 0:
        asked.close()
        os.close(ended)
        for number, fd in enumerate(fds):
            os.dup2(fd, number)
            os.close(fd)
        _command(**json.loads(request))
    os.close(holds)
    if asked in select.select([asked, ended], [], [])[0]:  # whoever asked waits no more
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    asked.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))


def _command(args: list[str], cwd: str, env: dict[str, str]) -> None:
    """Be the command; never returns."""
    from holdfast.cli import main

    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["holdfast", *args]
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    code: Any = 1
    try:
        main()
        code = 0
    except SystemExit as error:
        code = error.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":
    _serve(sys.argv[1])
