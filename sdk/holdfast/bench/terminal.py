"""A program in a terminal of its own: keys go in, and what it paints is timed and counted.

The terminal answers what programs ask of one (where the cursor is, ECMA-48 DSR 6; who it is, DA1), so that a program
that paces itself by the answers goes on.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from holdfast.errors import HoldfastError

QUIET = 0.05
"""Seconds without a byte after which what a key did is painted."""

_ASKED = re.compile(rb"\x1b\[(6n|c|0c)")
_ANSWERS = {b"6n": b"\x1b[1;1R", b"c": b"\x1b[?62;22c", b"0c": b"\x1b[?62;22c"}
_CONTROLS = re.compile(rb"\x1b(\[[0-9;?=<>]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\-_]|P[^\x1b]*\x1b\\)")


class Painted(NamedTuple):
    """What came of a key."""

    first: float
    """Seconds until its first byte."""
    size: int
    """Bytes until it was quiet."""


class Terminal:
    """A program behind a pseudo-terminal; it is killed when the block ends, should it still run."""

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, columns: int = 80, lines: int = 24
    ) -> None:
        self.begun = time.perf_counter()
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        settings = {**env, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": str(lines)}
        self._process = subprocess.Popen(
            list(command), stdin=slave, stdout=slave, stderr=slave, env=settings, cwd=cwd, start_new_session=True
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        os.close(self._master)

    @property
    def pid(self) -> int:
        return self._process.pid

    def until(self, text: str, within: float) -> tuple[float, int]:
        """Read until a text was painted; when that was, in seconds since the start, and the bytes until then.

        Raises:
            HoldfastError: it did not come, or the program has ended.
        """
        seen, size, end = b"", 0, time.perf_counter() + within
        while text.encode() not in _CONTROLS.sub(b"", seen):
            data = self._read(end - time.perf_counter())
            if not data:
                said = _CONTROLS.sub(b"", seen).decode(errors="replace").strip()[-300:]
                raise HoldfastError(f"expected {text!r} on the screen within {within:g} s, found {said!r}")
            seen, size = (seen + data)[-100_000:], size + len(data)
        return time.perf_counter() - self.begun, size

    def send(self, keys: str) -> None:
        """Press keys, and look at nothing."""
        os.write(self._master, keys.encode())

    def press(self, key: str, *, within: float = 5.0) -> Painted | None:
        """Press a key; None where nothing was painted within so many seconds."""
        begun = time.perf_counter()
        self.send(key)
        if not (data := self._read(within)):
            return None
        first, size = time.perf_counter() - begun, len(data)
        while more := self._read(QUIET):
            size += len(more)
        return Painted(first, size)

    def listen(self, seconds: float) -> int:
        """The bytes that come by themselves."""
        size, end = 0, time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            size += len(self._read(left))
        return size

    def _read(self, within: float) -> bytes:
        if not select.select([self._master], [], [], max(0.0, within))[0]:
            return b""
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:  # nobody holds the other end any more
            return b""
        for asked in _ASKED.finditer(data):
            os.write(self._master, _ANSWERS[asked[1]])
        return data
