"""`holdfast workers` and `holdfast tasks list`: who is there, what they can do, and what they are told to do."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated

import typer

from holdfast import orders
from holdfast.cli import text
from holdfast.cli.app import FAILED, Usage
from holdfast.cli.output import Cell, Column, Output, Style
from holdfast.cli.session import ask, connected, group
from holdfast.client import Client
from holdfast.deeds import shell
from holdfast.errors import UnknownWorker
from holdfast.filters import starred
from holdfast.quantities import readable_size
from holdfast.wire.api import Presence, TaskCard

workers_app = group("List, drain, resume and stop workers.")
tasks_app = group("List the tasks that workers have declared.")

WORKERS = (
    Column("WORKER", cut=True),
    Column("STATE"),
    Column("RUNS", right=True),
    Column("OF", right=True),
    Column("CPU", right=True),
    Column("MEM", right=True),
    Column("DONE/S", right=True),
    Column("UP", right=True),
    Column("SEEN", right=True),
    Column("HOST", cut=True),
    Column("PID", right=True),
    Column("QUEUES", cut=True),
    Column("TASKS", cut=True),
    Column("VERSION"),
)
TASKS = (
    Column("TASK", cut=True),
    Column("QUEUE", cut=True),
    Column("PARAMETERS", cut=True),
    Column("ON", cut=True),
    Column("MODULE", cut=True),
    Column("ABOUT", cut=True),
)


Names = Annotated[
    list[str], typer.Argument(metavar="NAME", help="As `workers list` shows; `*` stands for any letters, as in 'w-*'.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@tasks_app.callback()
def _tasks() -> None:
    """List the tasks that workers have declared."""


@connected(workers_app, "list")
async def list_workers(client: Client, out: Output) -> None:
    """The workers whose heartbeat is fresh."""
    workers = sorted(await client.workers(), key=lambda worker: worker.worker)
    if out.json:
        out.records(workers)
    elif workers:
        now = time.time()
        out.table(WORKERS, [_worker(worker, now) for worker in workers])
    for fault in await client.faults():
        for error in fault.errors:
            out.note(f"not served: {error}")
    if not workers:
        out.note("no workers: start one with `holdfast up` or `holdfast worker MODULE`")


@connected(workers_app)
async def drain(client: Client, out: Output, name: Names, yes: Yes = False) -> None:
    """Have workers finish or suspend what they have and take up nothing, until they are resumed.

    What waits there for a slot is given back at once. A drained worker of `holdfast up` stays: none begins in its
    place. One that ends by itself, or with the daemon, is followed by one that is not drained.
    """

    def told(worker: Presence) -> str:
        return f"drains, {_runs(worker)} to finish or suspend" if worker.running else "drained"

    await _order(client, out, name, "drain", client.drain_worker, told, yes=yes)


@connected(workers_app)
async def resume(client: Client, out: Output, name: Names, yes: Yes = False) -> None:
    """Have drained workers take up runs again."""
    await _order(client, out, name, "resume", client.resume_worker, lambda _: "takes up runs again", yes=yes)


@connected(workers_app)
async def stop(client: Client, out: Output, name: Names, yes: Yes = False) -> None:
    """Have workers drain for their drain time at most, and exit; the rest goes on elsewhere, no attempt spent.

    `holdfast up` begins another one in the place of one of its own, so there this is a restart; `workers drain` keeps
    one idle.
    """

    def told(worker: Presence) -> str:
        return f"stops, {_runs(worker)} to finish or give back" if worker.running else "stops"

    await _order(client, out, name, "stop", client.stop_worker, told, yes=yes)


async def _order(
    client: Client,
    out: Output,
    names: list[str],
    verb: str,
    give: Callable[[str], Awaitable[Presence]],
    told: Callable[[Presence], str],
    *,
    yes: bool,
) -> None:
    """Tell the workers that are meant; one that is gone by then is refused, the others are told."""
    chosen = _chosen(names, await client.workers())
    patterns = [name for name in names if "*" in name]
    if patterns and not yes:
        await _confirm(chosen, verb, out)
    refused: list[UnknownWorker] = []
    command = shell(("workers", verb), names)
    async with client.audit_as(
        f"worker-{verb}", "worker", count=len(chosen), filter=" ".join(patterns), command=command
    ):
        for worker in chosen:
            try:
                found = await give(worker.worker)
            except UnknownWorker as error:
                refused.append(error)
                continue
            if out.json:
                out.record({"worker": found.worker, "told": verb, "running": found.running})
            else:
                out.line(f"{text.visible(found.worker)}  {told(found)}")
    for why in refused:
        out.note(f"refused: {why}")
    if refused:
        raise typer.Exit(FAILED)


def _chosen(names: Iterable[str], present: Iterable[Presence]) -> list[Presence]:
    """The workers that are meant, by name. Raises: UnknownWorker: a name or pattern that none has; nobody was told."""
    known = {worker.worker: worker for worker in present}
    chosen: set[str] = set()
    for name in names:
        found = [worker for worker in known if starred(name).fullmatch(worker)]
        if not found:
            raise orders.unknown(name, known)
        chosen.update(found)
    return [known[name] for name in sorted(chosen)]


async def _confirm(chosen: list[Presence], verb: str, out: Output) -> None:
    """Show who is meant, and ask. Raises: Usage: the answer is no."""
    for worker in chosen:
        state = ", draining" if worker.draining else ""
        out.note(f"  {worker.worker}  on {worker.host}  {_runs(worker)}{state}")
    running = text.count(sum(worker.running for worker in chosen), "run")
    question = f"{verb} {text.count(len(chosen), 'worker')} with {running}? [y/N] "
    if (await ask(question)).lower() not in ("y", "yes"):
        raise Usage("no worker was told anything: the answer was not y")


def _runs(worker: Presence) -> str:
    return text.count(worker.running, "run")


def _worker(worker: Presence, now: float) -> list[Cell | str]:
    return [
        worker.worker,
        Cell("draining", Style.WARN) if worker.draining else Cell("ok", Style.GOOD),
        str(worker.running),
        str(worker.concurrency),
        f"{worker.cpu:.0%}",
        readable_size(worker.rss) if worker.rss else "-",
        f"{worker.done_rate:.1f}",
        text.age(now - worker.started_at),
        text.age(now - worker.at),
        worker.host,
        str(worker.pid),
        ", ".join(worker.queues),
        ", ".join(worker.tasks),
        worker.version,
    ]


@connected(tasks_app, "list")
async def list_tasks(client: Client, out: Output) -> None:
    """The tasks that workers have declared, served just now or not."""
    cards = sorted(await client.cards(), key=lambda card: card.id)
    if out.json:
        out.records(cards)
    elif cards:
        out.table(TASKS, [_card(card) for card in cards])
    if not cards:
        out.note("no tasks yet: a worker declares its own when it starts")


def _card(card: TaskCard) -> list[Cell | str]:
    return [card.id, card.queue, card.parameters, ", ".join(card.on), card.module, card.doc]
