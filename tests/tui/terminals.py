"""A terminal for tests: a program in a pty, its screen by pyte, what it asks answered or not."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyte

QUESTIONS = re.compile(rb"\x1b\[6n|\x1b\[\?2026\$p")
ANSWERS = {b"\x1b[6n": b"\x1b[1;1R", b"\x1b[?2026$p": b"\x1b[?2026;2$y"}
IGNORED = re.compile(rb"\x1b\[[<>=][0-9;]*u|\x1b\[\?[0-9;]*\$p|\x1bP.*?\x1b\\|\x1b\][^\x07]*\x07", re.DOTALL)
"""What pyte would take for text."""

TAKE = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
"""Begins a program with the terminal as its own, so that it is told when the terminal goes away."""

MARKS = re.compile(rb"\x1b\]777;\d+\x07")

PATIENCE = 30.0
"""Seconds until a wait counts as failed; a test that passes never waits so long."""


class Screen(pyte.Screen):
    """Knows faint text, too, which pyte does not: it is kept as blinking, which nothing here is."""

    def select_graphic_rendition(self, *attrs: int) -> None:
        plain = 38 not in attrs and 48 not in attrs
        super().select_graphic_rendition(*(5 if attr == 2 and plain else attr for attr in attrs))

    def cells(self) -> list[list[pyte.screens.Char]]:
        return [[self.buffer[y][x] for x in range(self.columns)] for y in range(self.lines)]


class Terminal:
    """The operator's side of a pty."""

    def __init__(self, process: subprocess.Popen[bytes], master: int, size: tuple[int, int]) -> None:
        self.process, self.master = process, master
        self.name = ""
        """Path of the program's side."""
        self.data = bytearray()
        """All that was received."""
        self.answering = True
        """Whether it answers questions; those that it did not answer are in `unanswered`."""
        self.unanswered: list[bytes] = []
        self.lag = 0.0
        """Seconds until it answers."""
        self._answers: deque[tuple[float, bytes]] = deque()
        self.screen = Screen(*size)
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
        self._due()
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
        self._due()
        return data

    def _due(self) -> None:
        while self._answers and self._answers[0][0] <= time.monotonic():
            self.type(self._answers.popleft()[1])

    def _asked(self, question: bytes) -> None:
        if self.answering:
            self._answers.append((time.monotonic() + self.lag, ANSWERS[question]))
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


class Stand:
    """The desk over the fake world (`stand.py`) in a terminal, and the line to tell it what to do."""

    def __init__(self, outside: Terminal, listener: socket.socket) -> None:
        self.terminal = outside
        self._listener = listener
        self._line: socket.socket | None = None
        self._steps = 0
        self._keys = 0

    def do(self, *words: object) -> bytes:
        """One step, and all that the terminal was sent for it."""
        begun = len(self.terminal.data)
        self.tell(*words)
        mark = b"\x1b]777;%d\x07" % self._steps
        self.terminal.until(lambda: mark in self.terminal.data[begun:], f"{words}")
        return bytes(self.terminal.data[begun : self.terminal.data.index(mark, begun)])

    def tell(self, *words: object) -> None:
        """One step, whose end is not waited for."""
        if self._line is None:
            self.terminal.until(lambda: select.select([self._listener], [], [], 0)[0], "the desk's call")
            self._line = self._listener.accept()[0]
        self._steps += 1
        self._line.sendall(json.dumps([str(word) for word in words]).encode() + b"\n")

    def press(self, *keys: str) -> bytes:
        """Keys, as the bytes that they send, one after the other; and all that the terminal was sent for them."""
        begun = len(self.terminal.data)
        for key in keys:
            self._keys += 1
            self.terminal.type(key)
            self.do("keys", self._keys)
        return MARKS.sub(b"", bytes(self.terminal.data[begun:]))

    def close(self) -> None:
        if self._line is not None:
            self._line.close()


@contextmanager
def stand(
    *,
    size: tuple[int, int] = (80, 24),
    env: Mapping[str, str] | None = None,
    answering: bool = True,
    lag: float = 0.0,
    **options: Any,
) -> Iterator[Stand]:
    """The desk in a terminal, when it has drawn its first screen. Options: those of `operate`, `tick` and `patient`."""
    with TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        path = f"{directory}/steps"
        listener.bind(path)
        listener.listen()
        command = [sys.executable, str(Path(__file__).with_name("stand.py")), path, json.dumps(options)]
        with terminal(command, size=size, env=env) as outside:
            outside.answering, outside.lag = answering, lag
            found = Stand(outside, listener)
            try:
                found.do("settle")
                yield found
            finally:
                found.close()


@contextmanager
def terminal(
    command: Sequence[str],
    *,
    size: tuple[int, int] = (80, 24),
    env: Mapping[str, str] | None = None,
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
    )
    found = Terminal(process, master, size)
    found.name = os.ttyname(slave)
    os.close(slave)
    try:
        yield found
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if found._open:
            os.close(master)
