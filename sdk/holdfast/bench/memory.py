"""Resident memory of a process and its children."""

from __future__ import annotations

import subprocess
from typing import NamedTuple


class _Process(NamedTuple):
    pid: int
    parent: int
    resident: int
    """In bytes."""
    command: str


def resident(daemon: int) -> dict[str, int]:
    """Bytes of resident memory of a daemon, its server and its workers. Raises: OSError: there is no `ps`."""
    found: dict[str, int] = {}
    for process in _processes():
        if daemon in (process.pid, process.parent):
            kind = "daemon" if process.pid == daemon else "server" if "nats-server" in process.command else "worker"
            found[kind] = found.get(kind, 0) + process.resident
    return found


def of(pid: int) -> int:
    """Bytes of resident memory of one process. Raises: OSError: there is no `ps`; StopIteration: no such process."""
    return next(process.resident for process in _processes() if process.pid == pid)


def _processes() -> list[_Process]:
    listed = subprocess.run(["ps", "-axo", "pid=,ppid=,rss=,args="], capture_output=True, text=True, check=True)
    rows = (line.split(maxsplit=3) for line in listed.stdout.splitlines())
    return [_Process(int(pid), int(parent), 1024 * int(size), command) for pid, parent, size, command in rows]
