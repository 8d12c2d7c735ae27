"""Output of user code, per run and step: stdout, stderr and logging, batched into the log stream.

`sys.stdout` and `sys.stderr` are wrapped once; what is written outside a run passes through. While recorded checkpoints
are recalled a run's output is dropped: it has been seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, TextIO

from holdfast.bus.ports import Bus
from holdfast.core.model import Run
from holdfast.redaction import as_is
from holdfast.wire import codec
from holdfast.wire.api import LogBatch, LogLine
from holdfast.worker.execution import Execution

FLUSH_EVERY = 0.1
"""Seconds for which lines are gathered into one message."""

LONGEST_LINE = 8_000
"""Characters of a line that are kept."""

MOST_LINES = 5_000
"""Lines that wait to be sent, over all runs; more are counted and dropped."""

_current: ContextVar[Output | None] = ContextVar("holdfast_output", default=None)


class Output:
    """The output of one attempt."""

    def __init__(self, capture: Capture, run: Run) -> None:
        self._capture = capture
        self._run = run
        self._execution: Execution | None = None
        self._partial: dict[str, str] = {}

    def enter(self, execution: Execution) -> None:
        """Make this the output of the current context."""
        self._execution = execution
        _current.set(self)

    def write(self, stream: str, level: int, text: str) -> None:
        """Take in what was printed; a line is sent when it is whole."""
        if self._execution is not None and self._execution.recalling:
            return
        *lines, self._partial[stream] = (self._partial.get(stream, "") + text).split("\n")
        for line in lines:
            self._send(stream, level, line)

    def record(self, record: logging.LogRecord) -> None:
        """Take in a logging record."""
        if self._execution is None or not self._execution.recalling:
            self._send(record.name, record.levelno, _formatted(record))

    def finish(self) -> None:
        """Send what was printed without an end of line."""
        for stream, text in self._partial.items():
            if text:
                self._send(stream, logging.INFO if stream == "stdout" else logging.WARNING, text)
        self._partial.clear()

    def _send(self, stream: str, level: int, text: str) -> None:
        execution = self._execution
        kept = self._capture.redact(text)[:LONGEST_LINE]  # in this order: half a secret is not found any more
        line = LogLine(time.time(), level, stream, kept, execution.key if execution else "")
        self._capture.add(self._run, execution.attempt if execution else 0, line)


def _formatted(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except Exception as error:  # the user's arguments
        text = f"{record.msg} (its arguments do not fit: {error})"
    if record.exc_info:
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    return text


class Capture:
    """Gathers the output of a worker's runs and publishes it."""

    def __init__(self, bus: Bus, worker: str, redact: Callable[[str], str] = as_is) -> None:
        """
        Args:
            redact: takes the secrets out of a line; called from any thread.
        """
        self.redact = redact
        self._bus = bus
        self._worker = worker
        self._waiting: dict[tuple[str, str, str, int], list[LogLine]] = {}
        self._count = 0
        self._dropped = 0

    @contextlib.contextmanager
    def output(self, run: Run) -> Iterator[Output]:
        """The output of one attempt of a run."""
        output = Output(self, run)
        try:
            yield output
        finally:
            output.finish()

    def add(self, run: Run, attempt: int, line: LogLine) -> None:
        """Take in a line; callable from any thread."""
        if self._count >= MOST_LINES:
            self._dropped += 1
            return
        self._count += 1
        self._waiting.setdefault((run.id, run.task, run.queue, attempt), []).append(line)

    async def run(self) -> None:
        """Publish what comes, for ever; what waits is published when this is cancelled."""
        try:
            while True:
                await asyncio.sleep(FLUSH_EVERY)
                self.flush()
        finally:
            self.flush()

    def flush(self) -> None:
        """Publish what waits. At most once: a log line is never worth an fsync."""
        waiting, self._waiting, self._count = self._waiting, {}, 0
        if self._dropped:
            logging.getLogger("holdfast.worker").warning("%d log lines came too fast and were dropped", self._dropped)
            self._dropped = 0
        for (run, task, queue, attempt), lines in waiting.items():
            batch = LogBatch(run, task, attempt, self._worker, tuple(lines), queue)
            self._bus.send(self._bus.subjects.output(task, run), codec.encode(batch))

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Wrap stdout, stderr and logging of this process."""
        stdout, stderr = sys.stdout, sys.stderr
        handler = _Handler()
        root = logging.getLogger()
        shown = _handlers_of(stdout, stderr)
        level = root.level
        sys.stdout = _Tee(stdout, "stdout", logging.INFO)
        sys.stderr = _Tee(stderr, "stderr", logging.WARNING)
        for one in shown:
            one.addFilter(_not_of_a_run)
        root.addHandler(handler)
        root.setLevel(min(level, logging.INFO) if level else logging.INFO)
        try:
            yield
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
            for one in shown:
                one.removeFilter(_not_of_a_run)
            sys.stdout, sys.stderr = stdout, stderr


class _Tee(io.TextIOBase):
    """A standard stream whose text belongs to the run that wrote it."""

    def __init__(self, real: TextIO, stream: str, level: int) -> None:
        self._real, self._stream, self._level = real, stream, level

    def write(self, text: str, /) -> int:
        output = _current.get()
        if output is None:
            return self._real.write(text)
        output.write(self._stream, self._level, text)
        return len(text)

    def flush(self) -> None:
        self._real.flush()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._real.isatty()

    def fileno(self) -> int:
        return self._real.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._real.encoding

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class _Handler(logging.Handler):
    """Takes logging records of user code; holdfast's own go where the process's log goes."""

    def emit(self, record: logging.LogRecord) -> None:
        output = _current.get()
        if output is not None and _of_user_code(record):
            output.record(record)


def _handlers_of(*streams: TextIO) -> list[logging.Handler]:
    """The handlers that write to these streams, whichever logger has them."""
    root = logging.getLogger()
    loggers = [root, *(one for one in root.manager.loggerDict.values() if isinstance(one, logging.Logger))]
    found = [
        handler for logger in loggers for handler in logger.handlers if getattr(handler, "stream", None) in streams
    ]
    return list(dict.fromkeys(found))


def _not_of_a_run(record: logging.LogRecord) -> bool:
    """What goes to the process's own streams: a run's lines go to the run's log instead, which holds no secrets."""
    output = _current.get()
    if output is None or not _of_user_code(record):
        return True
    if not _reaches_root(logging.getLogger(record.name)):
        output.record(record)
    return False


def _reaches_root(logger: logging.Logger) -> bool:
    """Whether our own handler gets what is logged there."""
    while logger.parent is not None and logger.propagate:
        logger = logger.parent
    return logger.parent is None


def _of_user_code(record: logging.LogRecord) -> bool:
    return not record.name.startswith("holdfast.") or record.name.startswith("holdfast.run.")
