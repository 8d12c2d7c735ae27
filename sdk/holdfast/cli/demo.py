"""`holdfast demo`: server, daemon and workers in a directory of their own, for the length of a story.

What is played, claimed and printed is in `holdfast.demo`; here it gets its stage, and leaves none of it behind.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile
import termios
import time
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated

import anyio
import typer

from holdfast.cli.app import FAILED, INTERRUPTED, Usage
from holdfast.cli.output import Output, Style
from holdfast.cli.serving import first_cause
from holdfast.cli.session import Json, group
from holdfast.config import FILE, VARIABLES, load
from holdfast.connecting import connect
from holdfast.demo import report
from holdfast.demo.claims import judge
from holdfast.demo.story import Story
from holdfast.loops import loop_run

app = group()

WORKERS = 2
"""So that the run of the one that is killed goes on at once on the other."""

CONFIG = """\
[nats]
port = 0  # any free one

[daemon]
http = "127.0.0.1:0"

[projects.default]
modules = ["holdfast.demo.tasks"]
drain = 0  # nobody waits for the end of a demo
"""


class Desk(Enum):
    """Whether the operator's desk is shown at the end."""

    OPEN = "open"
    OFFER = "offer"
    NEVER = "never"


@app.command()
def demo(
    json: Json = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the directory: configuration, journal, history.")] = False,
    tui: Annotated[bool, typer.Option("--tui", help="Open the operator's desk at the end.")] = False,
) -> None:
    """A real run of everything, in a temporary directory. Exit 0 if every claim held."""
    out = Output(json=json)
    person = out.tty and sys.stdin.isatty() and not json
    if tui and not person:
        raise Usage("--tui: expected a terminal and no --json, found otherwise")
    for name in VARIABLES:  # they speak of the person's own deployment, and our children would believe them
        os.environ.pop(name, None)
    desk = Desk.OPEN if tui else Desk.OFFER if person else Desk.NEVER
    raise typer.Exit(loop_run()(_demo(out, keep=keep, desk=desk)))


async def _demo(out: Output, *, keep: bool, desk: Desk) -> int:
    """Set everything up, play, and take it down again, whatever happens; the exit code."""
    code = INTERRUPTED
    with (
        anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals,
        _directory(keep=keep) as directory,
    ):
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_stop_at, signals, tasks.cancel_scope)
                code = await _play(directory, out, desk)
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as errors:
            raise first_cause(errors) from None
        if keep:
            out.note(f"kept: {directory}")
    return code


@contextmanager
def _directory(*, keep: bool) -> Iterator[Path]:
    """A directory with a configuration, for the time of the block."""
    directory = Path(tempfile.mkdtemp(prefix="holdfast-demo-")).resolve()
    log = logging.FileHandler(directory / "daemon.log")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", handlers=[log])
    try:
        (directory / FILE).write_text(CONFIG)
        yield directory
    finally:
        logging.getLogger().removeHandler(log)
        log.close()
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)


async def _stop_at(signals: AsyncIterator[signal.Signals], scope: anyio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()


async def _play(directory: Path, out: Output, desk: Desk) -> int:
    """Start everything in the directory, play the story, print what came of it; the exit code."""
    from holdfast_daemon.app import daemon

    begun = time.monotonic()
    audience = report.Nobody() if out.json else report.Screen(out)
    audience.act(f"holdfast demo, in {directory}")
    audience.note(f"starting nats-server, the daemon and {WORKERS} workers")
    settings = load(directory / FILE, env={})
    async with (
        daemon(settings, workers=WORKERS, tell=audience.note) as up,
        connect(config=directory / FILE, name="demo") as client,
    ):
        started = time.monotonic() - begun
        audience.note(f"they run: {up.nats}, {up.http}")
        evidence = await Story(client, directory, up.worker_pids, audience).perform()
        done = report.Performance(evidence, judge(evidence), started, time.monotonic() - begun)
        if out.json:
            out.record(report.as_json(done))
        else:
            report.show(done, out)
        if desk is Desk.OPEN or (desk is Desk.OFFER and await _wanted(out)):
            await _open_desk(directory)
    return 0 if done.holds else FAILED


async def _wanted(out: Output) -> bool:
    """Whether the person wants to look around."""
    key = out.paint("t", Style.BOLD)
    out.line()
    out.line(f"press {key} to look around in the TUI, enter to end")
    with _single_keys():
        while True:
            await anyio.wait_readable(sys.stdin)
            match os.read(sys.stdin.fileno(), 1):
                case b"t" | b"T":
                    return True
                case b"\r" | b"\n" | b"q" | b"\x1b" | b"\x04" | b"":
                    return False


@contextmanager
def _single_keys() -> Iterator[None]:
    """Keys come one by one and are not echoed; what was typed before is dropped. Ctrl-C stays what it is."""
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin, termios.TCSAFLUSH)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


async def _open_desk(directory: Path) -> None:
    """The TUI as a process of its own: it wants an event loop and a terminal for itself."""
    command = [sys.executable, "-m", "holdfast.cli", "tui", "--config", str(directory / FILE)]
    process = await anyio.open_process(command, stdin=None, stdout=None, stderr=None)
    try:
        await process.wait()
    finally:
        if process.returncode is None:
            with anyio.CancelScope(shield=True), anyio.move_on_after(2):
                process.send_signal(signal.SIGINT)  # it puts the terminal back
                await process.wait()
        await process.aclose()
