"""`holdfast runs`: list, show, tree, history, watch. `steering`, `remaking` and `transfer` add what acts on runs."""

from __future__ import annotations

import time
from typing import Annotated

import msgspec.structs
import typer

from holdfast.cli import entries, given, text
from holdfast.cli.app import FAILED
from holdfast.cli.narrowing import narrowed
from holdfast.cli.output import Cell, Column, Output, Style, json_value, plain, progress, short, stands, state
from holdfast.cli.session import RunName, connected, group, resolve
from holdfast.cli.tree import draw
from holdfast.client import Client
from holdfast.core.entries import Entry
from holdfast.core.lifecycle import fold, story
from holdfast.core.model import Origin, State
from holdfast.core.pending import Wait, answers, pending
from holdfast.core.tree import Tree
from holdfast.filters import RUNS, runs_query
from holdfast.wire.api import RunRow, RunsOrder, RunsQuery, RunView

app = group("List, show and watch runs, and act on them.")

WAITS = (
    Column("WAITS FOR"),
    Column("AT", cut=True),
    Column("ID"),
    Column("WHAT", cut=True),
    Column("UNTIL"),
)

PAGE = 1000
"""The most that the daemon gives at once."""

MADE = 50
"""So many forks and replays are shown with a run."""

COLUMNS = (
    Column("RUN"),
    Column("TASK", cut=True),
    Column("STATE"),
    Column("QUEUE", cut=True),
    Column("TRY", right=True),
    Column("STEPS", right=True),
    Column("AGE", right=True),
    Column("TOOK", right=True),
    Column("ABOUT", cut=True),
)


@connected(app, "list")
async def list_(
    client: Client,
    out: Output,
    state: Annotated[list[State] | None, typer.Option("--state", "-s", help="In this state; may be repeated.")] = None,
    task: Annotated[list[str] | None, typer.Option("--task", "-t", help="Of this task; may be repeated.")] = None,
    queue: Annotated[str, typer.Option("--queue", "-q", help="Of this queue.")] = "",
    tag: Annotated[str, typer.Option("--tag", help="With this tag.")] = "",
    worker: Annotated[str, typer.Option("--worker", help="Held by this worker.")] = "",
    grep: Annotated[str, typer.Option("--text", help="Part of the id, the task or the error.")] = "",
    paused: Annotated[bool, typer.Option("--paused", help="That wait for an operator.")] = False,
    origin: Annotated[str, typer.Option("--origin", help="Made from this run: replayed or forked.")] = "",
    code: Annotated[
        str, typer.Option("--code", help="That ran with this code last: its fingerprint's beginning.")
    ] = "",
    waits: Annotated[str, typer.Option("--waits", help="Part of what it waits for: a token, an event.")] = "",
    error: Annotated[
        list[str] | None, typer.Option("--error", "-e", help="Part of the error's type or message; may be repeated.")
    ] = None,
    since: given.Since = None,
    filter: Annotated[
        str,
        typer.Option("--filter", "-f", help="As in `holdfast tui`: 'state:fail took:>2s error:\"HTTP 410\" -word'."),
    ] = "",
    order: Annotated[
        RunsOrder, typer.Option("--order", help="By what; those of which it is not known come last.")
    ] = RunsOrder.CREATED,
    ascending: Annotated[bool, typer.Option("--ascending", help="The oldest, shortest or least first.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 50,
) -> None:
    """Runs, newest first unless another order is asked for."""
    options = {
        "states": tuple(state or ()), "tasks": tuple(task or ()), "queue": queue, "tag": tag, "worker": worker,
        "text": grep, "since": given.since(since), "paused": paused, "origin": origin, "code": code, "waits": waits,
        "errors": tuple(error or ()),
    }  # fmt: skip
    query = msgspec.structs.replace(narrowed(filter, RUNS, runs_query, options), order=order, descending=not ascending)
    rows, total = await pages(client, query, limit)
    if out.json:
        out.records(rows)
    elif rows:
        now = time.time()
        out.table(COLUMNS, [_row(row, now, out) for row in rows])
    if not rows:
        out.note("no run matches")
    elif total > len(rows) and out.tty:
        out.note(f"{len(rows):,} of {text.count(total, 'run')}; --limit shows more")


async def pages(client: Client, query: RunsQuery, limit: int) -> tuple[list[RunRow], int]:
    """The first `limit` runs that match, page by page, and how many match in all."""
    rows: list[RunRow] = []
    while True:
        following = query.behind(rows[-1]) if rows else query
        page = await client.runs(msgspec.structs.replace(following, limit=min(limit - len(rows), PAGE)))
        rows += page.runs
        if not page.more or not page.runs or len(rows) >= limit:
            return rows, max(page.total, len(rows))


def _row(row: RunRow, now: float, out: Output) -> list[Cell | str]:
    end = row.finished_at or (now if row.state is State.RUNNING else None)
    return [
        out.run(row.id),
        row.task,
        stands(row),
        row.queue,
        str(row.attempt or "-"),
        str(row.steps or "-"),
        text.age(now - row.created_at),
        text.took(end - row.started_at) if end and row.started_at else "-",
        _about(row, now),
    ]


def _about(row: RunRow, now: float) -> str:
    """The one thing to know: what it asks, its error, what it waits for, when it goes on, how far it is."""
    if row.paused:
        return row.paused
    if row.error_type or row.error:
        return _error(row)
    if row.state is State.RUNNING:
        where = progress(row.progress) or row.last_key
        return f"{where} on {row.worker}" if where else f"on {row.worker}"
    soon = f"in {text.took(row.due - now)}" if row.due is not None and row.due > now else ""
    if row.waits:
        return f"{row.waits}, {soon}" if soon else row.waits
    return soon or row.reason


def _error(row: RunRow) -> str:
    kind = row.error_type.rpartition(".")[2]
    return f"{kind}: {row.error}" if kind and row.error else kind or row.error


@connected(app)
async def show(client: Client, out: Output, run: RunName) -> None:
    """A run with its payload, result and error, its children, and the runs that were made from it."""
    view = await client.get(run)
    made = await _made(client, view.row.id)
    if out.json:
        values = {"payload": json_value(view.payload), "result": json_value(view.result)}
        out.record({**plain(view), **values, "made": plain(made)})
        return
    _fields(view, out)
    out.block("payload", view.payload)
    out.block("result", view.result)
    out.block("metadata", view.metadata)
    _waits(view, out)
    if view.error is not None:
        out.block("error", view.error.traceback or f"{view.error.type}: {view.error.message}", Style.BAD)
    for title, rows in (("children", view.children), ("made from it", made)):
        if rows:
            out.line()
            out.line(out.paint(title, Style.BOLD))
            now = time.time()
            out.table(COLUMNS, [_row(row, now, out) for row in rows])


async def _made(client: Client, run: str) -> list[RunRow]:
    """The forks and replays of a run; an imported one has itself as its origin."""
    page = await client.runs(RunsQuery(origin=run, limit=MADE))
    return [row for row in page.runs if row.id != run]


def _fields(view: RunView, out: Output) -> None:
    row = view.row
    end = row.finished_at or (time.time() if row.state is State.RUNNING else None)
    out.fields(
        [
            ("run", Cell(row.id, Style.BOLD)),
            ("task", row.task),
            ("state", stands(row)),
            ("reason", row.reason),
            ("ending", f"{row.ending.value} when its undos have run" if row.ending else ""),
            ("paused", row.paused),
            ("progress", progress(row.progress)),
            ("queue", row.queue),
            ("priority", str(row.priority)),
            ("tags", ", ".join(row.tags)),
            ("source", row.source),
            ("parent", row.parent),
            ("origin", _origin(view.origin)),
            ("followed by", view.hook),
            ("created", text.stamp(row.created_at)),
            ("due", text.stamp(row.due) if row.due else ""),
            ("started", text.stamp(row.started_at) if row.started_at else ""),
            ("finished", text.stamp(row.finished_at) if row.finished_at else ""),
            ("took", text.took(end - row.started_at) if end and row.started_at else ""),
            ("attempt", str(row.attempt or "")),
            ("steps", str(row.steps or "")),
            ("checkpoint", row.last_key),
            ("worker", row.worker),
            ("code", row.code),
            ("expires", text.stamp(row.expires) if row.expires and not row.started_at else ""),
            ("deadline", text.stamp(row.deadline) if row.deadline else ""),
        ]
    )


def _origin(origin: Origin | None) -> str:
    return "" if origin is None else origin.told


def _waits(view: RunView, out: Output) -> None:
    """What it waits for, each with its id and its end; and how to answer what it asks."""
    waits = [wait for wait in view.waits if wait.kind != "pause"]
    if waits:
        out.line()
        out.table(WAITS, [_wait(wait) for wait in waits])
    for wait in view.waits:
        for answer in answers(view.row.id, wait):
            out.line()
            out.line(out.paint(text.visible(f"{wait.key}: {answer.means}"), Style.BOLD))
            out.line(f"  {text.visible(answer.command)}")


def _wait(wait: Wait) -> list[Cell | str]:
    what = f"{wait.subject} {short(wait.match)}".strip()
    return [wait.kind, wait.key, wait.id, what, text.stamp(wait.due) if wait.due is not None else "-"]


@connected(app, "tree")
async def tree_(
    client: Client,
    out: Output,
    run: RunName,
    ascii: Annotated[bool, typer.Option("--ascii", help="Draw with ASCII characters.")] = False,
) -> None:
    """A run's checkpoint tree: attempts, steps, tries, errors."""
    view = await client.get(run)
    history = await client.history(view.row.id)
    records = [message.record for message in history.messages]
    tree, folded = Tree.of(story(records)), fold(records)
    if out.json:
        out.records({"depth": depth, "name": node.name, **_node(plain(node))} for depth, node in tree.walk())
        return
    width = out.width or 100
    waits = pending(folded, tree) if folded is not None else ()
    plain_only = ascii or out.ascii
    out.lines(draw(tree, view.row, waits, width=width, ascii=plain_only, now=time.time(), paint=out.paint))


def _node(fields: dict[str, object]) -> dict[str, object]:
    """A node without those below it: they have lines of their own."""
    return {name: value for name, value in fields.items() if name != "children"}


@connected(app)
async def history(client: Client, out: Output, run: RunName) -> None:
    """A run's journal, entry by entry."""
    found = await client.history(run)
    width = max((len(str(message.seq)) for message in found.messages), default=0)
    for message in found.messages:
        for entry in message.entries:
            if out.json:
                where = {"seq": message.seq, "time": message.time, "kind": message.kind, "writer": message.writer}
                out.record({**plain(where), **entries.record(entry)})
            else:
                seq = out.paint(str(message.seq).rjust(width), Style.DIM)
                out.line(f"{seq}  {entries.line(entry, message.time, out)}")


@connected(app)
async def watch(client: Client, out: Output, run: RunName) -> None:
    """Print a run's journal as it is written, until the run ends; exit 1 if it ended badly."""
    handle = client.run(await resolve(client, run))
    await handle.status()  # that there is such a run
    async for entry in handle.events():
        _tell(entry, out)
    ended = await handle.status()
    if not out.json:
        out.line(f"{handle.id}  {out.paint(ended.state.value, state(ended.state).style)}")
    if ended.state is not State.COMPLETED:
        raise typer.Exit(FAILED)


def _tell(entry: Entry, out: Output) -> None:
    if out.json:
        out.record(entries.record(entry))
    else:
        out.line(entries.line(entry, None, out))
