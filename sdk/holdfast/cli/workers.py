"""`holdfast workers list` and `holdfast tasks list`: who is there, and what they can do."""

from __future__ import annotations

import time

from holdfast.cli import text
from holdfast.cli.output import Cell, Column, Output, Style
from holdfast.cli.session import connected, group
from holdfast.client import Client
from holdfast.wire.api import Presence, TaskCard

workers_app = group("List the workers that are alive.")
tasks_app = group("List the tasks that workers have declared.")

WORKERS = (
    Column("WORKER", cut=True),
    Column("STATE"),
    Column("RUNS", right=True),
    Column("OF", right=True),
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


@workers_app.callback()
def _workers() -> None:
    """List the workers that are alive."""


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


def _worker(worker: Presence, now: float) -> list[Cell | str]:
    return [
        worker.worker,
        Cell("draining", Style.WARN) if worker.draining else Cell("ok", Style.GOOD),
        str(worker.running),
        str(worker.concurrency),
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
