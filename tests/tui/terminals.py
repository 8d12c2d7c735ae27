"""A terminal for tests: a program in a pty, its screen by pyte, what it asks answered or not."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import pyte

QUESTIONS = re.compile(rb"\x1b\[6n|\x1b\[\?2026\$p")
ANSWERS = {b"\x1b[6n": b"\x1b[1;1R", b"\x1b[?2026$p": b"\x1b[?2026;2$y"}
IGNORED = re.compile(rb"\x1b\[[<>=][0-9;]*u|\x1b\[\?[0-9;]*\$p|\x1bP.*?\x1b\\|\x1b\][^\x07]*\x07", re.DOTALL)
"""What pyte would take for text."""

TAKE = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
"""Begins a program with the terminal as its own, so that it is told when the terminal goes away."""

PATIENCE = 30.0
"""Seconds until a wait counts as failed; a test that passes never waits so long."""


class Terminal:
    """The operator's side of a pty."""

    def __init__(self, process: subprocess.Popen[bytes], master: int, size: tuple[int, int]) -> None:
        self.process, self.master = process, master
        self.data = bytearray()
        """All that was received."""
        self.answering = True
        """Whether it answers questions; those that it did not answer are in `unanswered`."""
        self.unanswered: list[bytes] = []
        self.screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self.screen)
        self._tail = b""
        self._open = True

    def type(self, text: str | bytes) -> None:
        os.write(self.master, text.encode() if isinstance(text, str) else text)

    def resize(self, columns: int, lines: int) -> None:
        self.screen.resize(lines, columns)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def read(self, timeout: float = 0.05) -> bytes:
        """What has arrived; empty where nothing does within `timeout` seconds."""
        if not self._open or not select.select([self.master], [], [], timeout)[0]:
            return b""
        try:
            data = os.read(self.master, 65536)
        except OSError:  # the program has closed its side
            data = b""
        if not data:
            self._open = False
            return b""
        self.data += data
        seen = self._tail + data
        for found in QUESTIONS.finditer(seen):
            self._asked(found.group())
        rest = seen[-16:]
        self._tail = b"" if QUESTIONS.search(rest) else rest[rest.rfind(b"\x1b") :] if b"\x1b" in rest else b""
        self._stream.feed(IGNORED.sub(b"", data))
        return data

    def _asked(self, question: bytes) -> None:
        if self.answering:
            self.type(ANSWERS[question])
        else:
            self.unanswered.append(question)

    def answer(self) -> None:
        """Answer what was left unanswered."""
        for question in self.unanswered:
            self.type(ANSWERS[question])
        self.unanswered.clear()

    def until(self, true: Callable[[], object], what: str = "") -> None:
        end = time.monotonic() + PATIENCE
        while not true():
            self.read()
            assert time.monotonic() < end, (
                f"{what or 'it'} did not come true:\n{self.text}\n{bytes(self.data[-600:])!r}"
            )

    def shows(self, text: str) -> None:
        self.until(lambda: text in self.text, f"{text!r} on the screen")

    def received(self, data: bytes) -> None:
        self.until(lambda: data in self.data, repr(data))

    def ends(self) -> int:
        """Read until the program has ended; its exit code."""
        self.until(lambda: self.process.poll() is not None, "the end")
        while self.read(0.2):
            pass
        return self.process.wait()

    def hang_up(self) -> None:
        """The terminal goes away."""
        os.close(self.master)
        self._open = False

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)


@contextmanager
def terminal(
    command: Sequence[str],
    *,
    size: tuple[int, int] = (80, 24),
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> Iterator[Terminal]:
    """Run a program in a terminal of so many columns and lines; it is killed at the end if it is still there."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    known = {key: value for key, value in os.environ.items() if key not in ("TMUX", "STY", "NO_COLOR", "COLORTERM")}
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE, *command],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**known, "TERM": "xterm-256color", **(env or {})},
        start_new_session=True,
        pass_fds=pass_fds,
    )
    os.close(slave)
    found = Terminal(process, master, size)
    try:
        yield found
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if found._open:
            os.close(master)
