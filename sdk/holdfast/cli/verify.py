"""`holdfast verify`: a task of the user's, run with its worker killed at each durable write."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer

from holdfast.cli import given
from holdfast.cli.app import FAILED, Command, Usage
from holdfast.cli.output import Column, Output, Style
from holdfast.cli.session import Json, group
from holdfast.cli.text import count, visible
from holdfast.task import TASKS, Task
from holdfast.testing import Boundary, CrashReport, harness
from holdfast.worker.loading import load_tasks

app = group()

COLUMNS = (
    Column("WRITES OF"),
    Column("WRITES", right=True),
    Column("CRASHES", right=True),
    Column("DIFFER", right=True),
)


@app.command(cls=Command)
def verify(
    task: Annotated[str, typer.Argument(metavar="MODULE:TASK", help="A task, by its id or the name of its function.")],
    payload: Annotated[
        str, typer.Option("--payload", metavar="JSON|@FILE|-", help="Its arguments; @FILE reads a file, - stdin.")
    ] = "{}",
    effects: Annotated[
        str, typer.Option("--effects", metavar="NAME", help="A function of MODULE: what was done, to be compared.")
    ] = "",
    reset: Annotated[
        str, typer.Option("--reset", metavar="NAME", help="A function of MODULE: called before each of the runs.")
    ] = "",
    json: Json = False,
) -> None:
    """Run a task once for each durable write, with its worker killed there. Exit 1 if anything comes out otherwise.

    It runs in this process, without a server; what it does outside it does many times: point it at a test's world.
    """
    out = Output(json=json)
    arguments = given.payload_of(payload, "--payload")
    module, found = _found(task)
    seen, clear = _function(module, effects, "--effects"), _function(module, reset, "--reset")
    progress = _Progress(live=sys.stderr.isatty() and not json)
    with _quietly(), contextlib.redirect_stdout(sys.stderr):
        report = anyio.run(_verify, found, arguments, seen, clear, progress)
    if json:
        _record(report, out)
    else:
        _show(report, out)
    if report.differences:
        raise typer.Exit(FAILED)


async def _verify(
    task: Task[..., Any],
    payload: dict[str, Any],
    effects: Callable[[], Any] | None,
    reset: Callable[[], Any] | None,
    progress: _Progress,
) -> CrashReport:
    async with harness() as h:
        try:
            return await h.crash_at_every_boundary(task, payload, effects=effects, reset=reset, progress=progress)
        finally:
            progress.clear()


class _Progress:
    """A line on the terminal that says how far it is."""

    def __init__(self, *, live: bool) -> None:
        self._live = live

    def __call__(self, done: int, total: int, at: Boundary) -> None:
        if self._live:
            print(f"\r{done}/{total} {visible(str(at)):.60}\x1b[K", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _found(named: str) -> tuple[Any, Task[..., Any]]:
    """The module and the task. Raises: Usage; TaskImportError."""
    where, _, name = named.rpartition(":")
    if not where or not name:
        raise Usage(f"expected MODULE:TASK, such as orders.tasks:process-order, found {named!r}")
    load_tasks([where], base=Path.cwd())
    module = sys.modules[where.removesuffix(".py").replace("/", ".").lstrip(".") if where.endswith(".py") else where]
    task = TASKS.get(name) or getattr(module, name, None)
    if not isinstance(task, Task):
        raise Usage(f"expected a task of {where}, found {name!r}: known are {', '.join(sorted(TASKS))}")
    return module, task


def _function(module: Any, name: str, option: str) -> Callable[[], Any] | None:
    if not name:
        return None
    function = getattr(module, name, None)
    if not callable(function):
        raise Usage(f"{option}: expected a function of {module.__name__}, found {name!r}")
    return function  # type: ignore[no-any-return]


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the log lines of workers that lose their runs: that is what they are here for."""
    log = logging.getLogger("holdfast")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def _show(report: CrashReport, out: Output) -> None:
    differing = {
        kind: sum(any(at.write.kind == kind for at in one.boundaries) for one in report.differences)
        for kind in report.classes
    }
    out.table(
        COLUMNS,
        [[kind, str(writes), str(2 * writes), str(differing[kind] or "-")] for kind, writes in report.classes.items()],
    )
    for difference in report.differences:
        out.line()
        title, *more = str(difference).splitlines()
        out.line(out.paint(visible(title), Style.BAD))
        out.lines(visible(line) for line in more)
    if report.notes:
        out.line()
        out.lines(visible(line) for line in report.told)
    out.line()
    verdict = count(len(report.differences), "difference") if report.differences else "no difference"
    style = Style.BAD if report.differences else Style.GOOD
    crashes, writes = count(report.crashes, "crash", "crashes"), count(len(report.writes), "durable write")
    out.line(f"{visible(report.task)}: {crashes} at {writes}, {out.paint(verdict, style)}")


def _record(report: CrashReport, out: Output) -> None:
    for kind, writes in report.classes.items():
        out.record({"type": "class", "class": kind, "writes": writes, "crashes": 2 * writes})
    for difference in report.differences:
        out.record({"type": "difference", **_plain(difference)})
    for note in report.notes:
        out.record({"type": "note", **_plain(note)})
    out.record(
        {
            "type": "report",
            "task": report.task,
            "writes": len(report.writes),
            "crashes": report.crashes,
            "differences": len(report.differences),
        }
    )


def _plain(found: Any) -> dict[str, Any]:
    fields = {name: getattr(found, name) for name in found.__struct_fields__}
    return {**fields, "boundaries": [str(at) for at in found.boundaries]}
