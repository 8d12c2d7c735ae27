"""`holdfast runs check`: the runs in flight against the code of the working tree."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from holdfast.bus.blobs import Blobs
from holdfast.cli.app import FAILED, Command, Config, Place, Project, Url
from holdfast.cli.output import Output, Style
from holdfast.cli.runs import pages
from holdfast.cli.session import Json, group
from holdfast.cli.text import count, visible
from holdfast.client import Client
from holdfast.config import load
from holdfast.core.lifecycle import fold
from holdfast.core.model import FINAL, State
from holdfast.errors import DaemonUnavailable
from holdfast.task import TASKS
from holdfast.vault import Vault
from holdfast.wire.api import RunsQuery
from holdfast.wire.subjects import Stream

if TYPE_CHECKING:
    from holdfast.testing import Replay
    from holdfast.worker.stored import Stored

app = group()

LIVE = tuple(state for state in State if state not in FINAL)

STYLES = {"ok": Style.GOOD, "diverges": Style.BAD, "can't say": Style.WARN}
"""By verdict."""


@app.callback()
def in_flight() -> None:
    """Makes this a group, whose command `runs` takes in."""


@app.command(cls=Command)
def check(
    ctx: typer.Context,
    modules: Annotated[
        list[str] | None, typer.Argument(metavar="MODULE", help="That declare the tasks; default: the project's.")
    ] = None,
    task: Annotated[list[str] | None, typer.Option("--task", "-t", help="Of this task; may be repeated.")] = None,
    json: Json = False,
    project: Project = None,
    config: Config = None,
    url: Url = None,
) -> None:
    """Hold the runs in flight against the code of the working tree. Nothing is run; exit 1 if a run diverges.

    A run that diverges will, when it goes on with this code, take another way than the one that is recorded.
    """
    from holdfast.worker.loading import load_tasks

    place = ctx.obj.at(project=project, config=config, url=url)
    settings = load(Path(place.config) if place.config else None, env=os.environ)
    load_tasks(modules or settings.project(place.project).modules, base=settings.base)
    if anyio.run(_check, place, tuple(task or ()), Output(json=json)):
        raise typer.Exit(FAILED)


async def _check(place: Place, tasks: Sequence[str], out: Output) -> bool:
    """Print a line for each run; whether any diverges."""
    from holdfast.testing import Verdict
    from holdfast.worker.stored import Stored

    verdicts = dict.fromkeys(Verdict, 0)
    async with place.open() as client:
        vault = Vault()
        await vault.load(client.bus, None)
        stored = Stored(Blobs(client.bus), vault)
        async for run in _in_flight(client, tasks):
            found = await _checked(client, run, stored)
            if found is not None:
                verdicts[found.verdict] += 1
                _tell(found, out)
    if not out.json:
        told = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.items() if number)
        out.note(f"{count(sum(verdicts.values()), 'run')} in flight{f': {told}' if told else ''}")
    return verdicts[Verdict.DIVERGES] > 0


async def _in_flight(client: Client, tasks: Sequence[str]) -> AsyncIterator[str]:
    """The ids of the live runs: from the daemon's history, or from the journal itself where there is no daemon."""
    try:
        rows, _ = await pages(client, RunsQuery(states=LIVE, tasks=tuple(tasks)), 1_000_000)
    except DaemonUnavailable:
        messages = await client.bus.read(Stream.JOURNAL, client.bus.subjects.journal)
        for run in dict.fromkeys(client.bus.subjects.parse(message.subject).run for message in messages):
            folded = await client.journal.load(run)
            if not folded.final and (not tasks or folded.task in tasks):
                yield run
    else:
        for row in rows:
            yield row.id


async def _checked(client: Client, id: str, stored: Stored) -> Replay | None:
    """What came of one run's rehearsal; None: it has ended meanwhile."""
    from holdfast.testing.rehearsal import Replay, Verdict, rehearse

    records = [record for _, record in await client.journal.messages(id)]
    run = fold(records)
    if run is None or run.final:
        return None
    if run.state is State.COMPENSATING:
        return Replay(id, run.task, Verdict.OK)  # its code runs no more
    if run.task not in TASKS:
        return Replay(id, run.task, Verdict.UNSURE, why=f"no task {run.task} in these modules")
    return await rehearse(records, TASKS[run.task], stored)


def _tell(found: Replay, out: Output) -> None:
    if out.json:
        out.record(found)
        return
    verdict, _, more = str(found).partition(" (")
    shown = out.paint(visible(verdict), STYLES[found.verdict])
    out.line(f"{found.run}  {visible(found.task)}  {shown}" + (f" ({visible(more)}" if more else ""))
