"""The driver of the terminal: Textual's, with answers heard, and a terminal that goes away or stalls survived."""

from __future__ import annotations

import os
import select
import time
from codecs import getincrementaldecoder
from collections.abc import Callable
from contextlib import suppress
from threading import Timer
from typing import Any, Protocol, cast

from textual import events
from textual._parser import ParseError
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

PING = "\x1b[6n"
"""Asks where the cursor is; the answer, which is one for all, says that all before it has arrived."""
TICK = 0.1
"""Seconds after which the thread that reads looks whether it is to end."""
PATIENCE = 2.0
"""Seconds that a terminal has to take what it was sent, when the desk leaves it."""
PIECE = 65536


class Heard(Protocol):
    """What an app does with what its driver learns; called in the app's loop."""

    def terminal_answered(self) -> None:
        """All that was sent before the oldest open question has arrived."""

    def terminal_taken(self) -> None:
        """The terminal is this program's, for the first time or again: nothing is known of what it shows."""

    def terminal_gone(self) -> None:
        """Nobody is there any more."""


class Outlet:
    """The way to the terminal, as the file that Textual's thread writes to.

    It has its own open file, which does not block: of the shell's, which is shared, that may not be said.
    """

    def __init__(self, handle: int, gone: Callable[[], None]) -> None:
        self._gone = gone
        self._dropping = False
        self._parts: list[str] = []
        self._handle = handle
        self._own = False
        with suppress(OSError):
            self._handle = os.open(os.ttyname(handle), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
            self._own = True

    def fileno(self) -> int:
        return self._handle

    def write(self, text: str) -> None:
        self._parts.append(text)

    def flush(self) -> None:
        data = memoryview("".join(self._parts).encode("utf-8", "replace"))
        self._parts.clear()
        while data and not self._dropping:
            try:
                data = data[os.write(self._handle, data[:PIECE]) :]
            except BlockingIOError:
                select.select([], [self._handle], [], TICK)
            except OSError:
                self.abandon()
                self._gone()

    def abandon(self) -> None:
        """Drop what was not sent, and all that follows."""
        self._dropping = True

    def resume(self) -> None:
        """Send again."""
        self._dropping = False

    def close(self) -> None:
        if self._own:
            self._own = False
            self._dropping = True
            os.close(self._handle)


class Driver(LinuxDriver):
    """Textual's driver of POSIX terminals, made safe over SSH.

    Answers to `PING` go to the app, and no further. A terminal that is gone ends the app; one that takes nothing more
    does not keep it from ending. Mouse moves are not asked for: nothing follows the pointer.
    """

    def __init__(self, app: Any, **kwargs: Any) -> None:
        super().__init__(app, **kwargs)
        assert self._file is not None
        self._outlet = Outlet(self._file.fileno(), self._lost)
        self._file = cast("Any", self._outlet)

    @property
    def backlog(self) -> int:
        """Writes that the terminal has not taken."""
        return 0 if self._writer_thread is None else self._writer_thread._queue.qsize()

    @property
    def taken(self) -> bool:
        """Whether the terminal is this program's just now; what is written otherwise is dropped."""
        return self._writer_thread is not None and self._writer_thread.is_alive()

    def write(self, data: str) -> None:
        if self.taken:
            super().write(data)

    def start_application_mode(self) -> None:
        self._outlet.resume()
        super().start_application_mode()  # type: ignore[no-untyped-call]
        self._tell(cast("Heard", self._app).terminal_taken)

    def close(self) -> None:
        alarm = Timer(PATIENCE, self._outlet.abandon)
        alarm.start()
        try:
            super().close()
        finally:
            alarm.cancel()
            alarm.join()

    def process_message(self, message: Message) -> None:
        if isinstance(message, events.CursorPosition):
            self._tell(cast("Heard", self._app).terminal_answered)
        else:
            super().process_message(message)

    def _get_terminal_size(self) -> tuple[int, int]:
        """The terminal's, whatever COLUMNS and LINES say, which do not follow it."""
        try:
            found = os.get_terminal_size(self.fileno)
        except OSError:
            return 80, 24
        return found.columns or 80, found.lines or 24

    def _enable_mouse_support(self) -> None:
        if self._mouse:
            self.write("\x1b[?1000h\x1b[?1006h")

    def _disable_mouse_support(self) -> None:
        if self._mouse:
            self.write("\x1b[?1000l\x1b[?1006l")

    def _enable_mouse_pixels(self) -> None:
        """Cells are enough."""

    def _lost(self) -> None:
        self._tell(cast("Heard", self._app).terminal_gone)

    def _tell(self, call: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(call)

    def run_input_thread(self) -> None:
        """Read until the app leaves the terminal, or it is gone."""
        parser = XTermParser(self._debug)
        decode = getincrementaldecoder("utf-8")("replace").decode
        try:
            while not self.exit_event.is_set():
                data = b""
                if select.select([self.fileno], [], [], _timeout(parser))[0]:
                    try:
                        data = os.read(self.fileno, 4096)
                    except BlockingIOError:  # another program made the shared file so, and somebody else read
                        continue
                    if not data:
                        self._lost()
                        return
                for message in parser.feed(decode(data)) if data else ():
                    self.process_message(message)
                for message in parser.tick():
                    self.process_message(message)
        except OSError:
            self._lost()
        finally:
            with suppress(EOFError, ParseError):
                list(parser.feed(""))


def _timeout(parser: XTermParser) -> float:
    """Until the parser takes an escape for the key, rather than for the beginning of a longer one."""
    due = parser._timeout_time
    return TICK if due is None else min(TICK, max(0.0, due - time.monotonic()))
