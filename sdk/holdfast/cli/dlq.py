"""`holdfast dlq`: dead letters listed, shown, retried, drained, purged. `grouping` adds their kinds.

A selection is taken once, when the command begins: letters that come later are not touched.
"""

from __future__ import annotations

import shlex
import time
from base64 import b64decode
from collections import Counter
from typing import Annotated, Any, NamedTuple

import msgspec.structs
import typer

from holdfast.auditing import TARGETS_MOST
from holdfast.cli import given, text
from holdfast.cli.app import FAILED, Usage
from holdfast.cli.bulk import Answers, answer
from holdfast.cli.narrowing import narrowed
from holdfast.cli.output import Cell, Column, Output, Style, json_value, plain, state
from holdfast.cli.session import RunName, ask, connected, group, resolve
from holdfast.client import Client
from holdfast.core.model import State
from holdfast.deeds import shell
from holdfast.errors import RunStateError
from holdfast.filters import LETTERS, letters_query, read
from holdfast.wire.api import Letter, LettersQuery, RunView

app = group("Dead letters: list, group, show, retry, drain, purge.")

PAGE = 500

RATE = 10.0
"""Letters that a drain retries per second where it is not told another rate."""

Runs = Annotated[list[str] | None, typer.Argument(metavar="RUN", help="Ids, or parts that no other run has.")]
Tasks = Annotated[list[str] | None, typer.Option("--task", "-t", help="Of this task; may be repeated.")]
Queue = Annotated[str, typer.Option("--queue", "-q", help="Of this queue.")]
Error = Annotated[str, typer.Option("--error", "-e", metavar="TEXT", help="Part of the error's type or message.")]
Filter = Annotated[
    str, typer.Option("--filter", "-f", help="As in `holdfast tui`: 'queue:emails error:\"HTTP 410\" last:1h -word'.")
]
All = Annotated[bool, typer.Option("--all", help="All of them.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
FromStart = Annotated[bool, typer.Option("--from-start", help="Forget what was recorded.")]
Payload = Annotated[str | None, typer.Option("--payload", metavar="JSON", help="Another payload; also @FILE, -.")]

COLUMNS = (
    Column("RUN"),
    Column("TASK", cut=True),
    Column("QUEUE", cut=True),
    Column("TRY", right=True),
    Column("AGE", right=True),
    Column("CHECKPOINT", cut=True),
    Column("ERROR", cut=True),
)


@connected(app, "list")
async def list_(
    client: Client,
    out: Output,
    task: Tasks = None,
    queue: Queue = "",
    error: Error = "",
    since: given.Since = None,
    filter: Filter = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 50,
) -> None:
    """Dead letters, newest first."""
    letters, total = await pages(client, letters_of(task, queue, error, since, filter), limit)
    if out.json:
        out.records(letters)
    elif letters:
        now = time.time()
        out.table(COLUMNS, [_row(letter, now, out) for letter in letters])
    if not letters:
        out.note("no dead letter matches")
    elif total > len(letters) and out.tty:
        out.note(f"{len(letters):,} of {text.count(total, 'letter')}; --limit shows more")


def letters_of(task: list[str] | None, queue: str, error: str, since: float | None, filter: str = "") -> LettersQuery:
    """What a filter and options ask for together. Raises: Usage: it can't be read, or both say the same."""
    options = {"tasks": tuple(task or ()), "queue": queue, "error": error, "since": given.since(since)}
    return narrowed(filter, LETTERS, letters_query, options)


async def pages(client: Client, query: LettersQuery, limit: int | None = None) -> tuple[list[Letter], int]:
    """The newest `limit` letters that match (None: all), page by page, and how many match in all."""
    found: list[Letter] = []
    while True:
        following = query.behind(found[-1]) if found else query
        most = PAGE if limit is None else min(limit - len(found), PAGE)
        page = await client.letters(msgspec.structs.replace(following, limit=most))
        found += page.letters
        if not page.more or not page.letters or len(found) == limit:
            return found, max(page.total, len(found))


def _row(letter: Letter, now: float, out: Output) -> list[Cell | str]:
    return [
        out.run(letter.run),
        letter.task,
        letter.queue,
        str(letter.attempts),
        text.age(now - letter.last_at),
        letter.last_key or "-",
        Cell(_error(letter), Style.BAD),
    ]


def _error(letter: Letter) -> str:
    kind, first = letter.error.type.rpartition(".")[2], letter.error.message.split("\n", 1)[0]
    return f"{kind}: {first}" if kind and first else kind or first


@connected(app)
async def show(client: Client, out: Output, run: RunName) -> None:
    """A dead letter: payload, error, traceback, and where a retry goes on."""
    view = await client.get(run)
    if view.row.state is not State.DEAD:
        raise RunStateError(f"run {view.row.id} is {view.row.state}: expected a dead one, so it has no dead letter")
    if out.json:
        out.record(_record(view))
        return
    row, error = view.row, view.error
    out.fields(
        [
            ("run", Cell(row.id, Style.BOLD)),
            ("task", row.task),
            ("queue", row.queue),
            ("state", state(row.state)),
            ("reason", row.reason),
            ("attempts", str(row.attempt)),
            ("first", text.stamp(row.created_at)),
            ("last", text.stamp(row.finished_at) if row.finished_at else ""),
            ("checkpoint", row.last_key),
            ("retry", f"keeps {text.count(row.steps, 'step')}; --from-start repeats all"),
        ]
    )
    raw = _event(view)
    out.block(*(("payload", view.payload) if raw is None else ("event, as it was published", text.of_bytes(raw))))
    if error is not None:
        out.block("error", error.traceback or f"{error.type}: {error.message}", Style.BAD)


def _event(view: RunView) -> bytes | None:
    """The bytes of the event, where that is all that the run has; None where they are not, or kept apart."""
    if view.row.reason != "event":
        return None
    match json_value(view.payload):
        case {"event": {"$type": "bytes", "base64": str(encoded)}}:
            return b64decode(encoded)
    return None


def _record(view: RunView) -> dict[str, object]:
    """The letter for JSON, with the fields of `wire.api.Letter`."""
    row = view.row
    return {
        "run": row.id,
        "task": row.task,
        "queue": row.queue,
        "payload": json_value(view.payload),
        "error": plain(view.error),
        "reason": row.reason,
        "attempts": row.attempt,
        "last_key": row.last_key,
        "first_at": plain(row.created_at, "first_at"),
        "last_at": plain(row.finished_at, "last_at"),
    }


class Chosen(NamedTuple):
    """The runs that a command answers."""

    runs: list[str]
    named: bool
    """Whether each was named, so that one refused is a failure."""
    letters: list[Letter]
    """Empty where they were named."""


async def choose(client: Client, runs: list[str] | None, query: LettersQuery, *, all: bool, verb: str) -> Chosen:
    """The runs that are named, or those whose letters match. Raises: Usage: none, or both, are given."""
    filtered = query != LettersQuery()
    if runs and (filtered or all):
        raise Usage(f"expected runs to {verb} or a selection, found both: leave out one of them")
    if not runs and not filtered and not all:
        raise Usage(
            f"expected what to {verb}, found nothing: name runs, or select with --task --error --since, or --all"
        )
    if runs:
        return Chosen([await resolve(client, name) for name in dict.fromkeys(runs)], True, [])
    letters, _ = await pages(client, query)
    return Chosen([letter.run for letter in letters], False, letters)


def _audit(action: str, chosen: Chosen, query: LettersQuery, *options: str, filter: str = "") -> dict[str, Any]:
    """What the audit is told of a change to many letters (as `Client.audit_as` takes it)."""
    of_filter = letters_query(read(filter, LETTERS), time.time())
    age = "" if query.since is None or of_filter.since is not None else f"{time.time() - query.since:.0f}s"
    tasks = () if of_filter.tasks else query.tasks
    queue = "" if of_filter.queue else query.queue
    asked = [*(("task", task) for task in tasks), ("queue", queue), ("error", query.error), ("since", age)]
    filters = [(name, value) for name, value in asked if value]
    words = [word for name, value in filters for word in (f"--{name}", value)]
    words += ["--filter", filter] if filter else []
    named = chosen.runs[:TARGETS_MOST] if chosen.named else []
    if not words and not named and action != "drain":
        words = ["--all"]
    return {
        "action": action,
        "kind": "letter",
        "count": len(chosen.runs),
        "filter": "" if named else _told(filters, filter) or "all",
        "command": shell(("dlq", "retry" if action == "edit" else action), named, [*words, *options]),
    }


def _told(filters: list[tuple[str, str]], filter: str) -> str:
    return " ".join([*(f"{name}:{shlex.quote(value)}" for name, value in filters), *([filter] if filter else [])])


@connected(app)
async def retry(
    client: Client,
    out: Output,
    run: Runs = None,
    task: Tasks = None,
    queue: Queue = "",
    error: Error = "",
    since: given.Since = None,
    filter: Filter = "",
    all: All = False,
    from_start: FromStart = False,
    payload: Payload = None,
    yes: Yes = False,
) -> None:
    """Retry dead letters behind their last checkpoint: those named, or a selection."""
    changed = None if payload is None else given.payload_of(payload, "--payload")
    query = letters_of(task, queue, error, since, filter)
    chosen = await choose(client, run, query, all=all, verb="retry")
    if not chosen.named and chosen.runs and not yes:
        question = f"retry {text.count(len(chosen.runs), 'dead letter')}? [y/N] "
        if (await ask(question)).lower() not in ("y", "yes"):
            raise Usage("nothing was retried: the answer was not y")
    options = [*(["--from-start"] if from_start else []), *(["--payload", "JSON"] if changed is not None else [])]
    audit = _audit("retry" if changed is None else "edit", chosen, query, *options, filter=filter)
    await _retry(client, out, chosen, audit, from_start=from_start, payload=changed)


async def _retry(
    client: Client, out: Output, chosen: Chosen, audit: dict[str, Any], *, from_start: bool = False,
    payload: dict[str, object] | None = None, per_second: float | None = None,
) -> None:  # fmt: skip
    if not chosen.runs:
        out.note("no dead letter matches")
        return
    answers = Answers(len(chosen.runs), "retried", out)
    async with client.audit_as(**audit):
        await answer(
            chosen.runs,
            lambda id: client.run(id).retry(from_start=from_start, payload=payload),
            answers,
            per_second=per_second,
        )
    if chosen.named and answers.refused:
        raise typer.Exit(FAILED)


@connected(app)
async def drain(
    client: Client,
    out: Output,
    task: Tasks = None,
    queue: Queue = "",
    error: Error = "",
    since: given.Since = None,
    filter: Filter = "",
    from_start: FromStart = False,
    rate: Annotated[
        float | None,
        typer.Option("--rate", parser=given.rate, metavar="RATE", help="At most, e.g. 600/m; 10/s if not given."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be retried.")] = False,
) -> None:
    """Retry all dead letters that match, at a bounded rate; Ctrl-C stops it, the same command goes on."""
    query = letters_of(task, queue, error, since, filter)
    chosen = await choose(client, None, query, all=True, verb="drain")
    if dry_run:
        _preview(chosen.letters, rate or RATE, out)
    else:
        options = [*(["--from-start"] if from_start else []), *(["--rate", f"{rate:g}/s"] if rate else [])]
        audit = _audit("drain", chosen, query, *options, filter=filter)
        await _retry(client, out, chosen, audit, from_start=from_start, per_second=rate or RATE)


def _preview(letters: list[Letter], per_second: float, out: Output) -> None:
    if out.json:
        out.records({"run": letter.run, "task": letter.task, "error_type": letter.error.type} for letter in letters)
        return
    lasts = f", in {text.took((len(letters) - 1) / per_second)}" if len(letters) > 1 else ""
    out.line(f"{text.count(len(letters), 'letter')} would be retried, at {per_second:g}/s{lasts}")
    counted = Counter((letter.task, letter.error.type) for letter in letters)
    if counted:
        columns = (Column("LETTERS", right=True), Column("TASK"), Column("ERROR", cut=True))
        out.table(columns, [(f"{number:,}", task, kind) for (task, kind), number in counted.most_common()])


@connected(app)
async def purge(
    client: Client,
    out: Output,
    run: Runs = None,
    task: Tasks = None,
    queue: Queue = "",
    error: Error = "",
    since: given.Since = None,
    filter: Filter = "",
    all: All = False,
    yes: Yes = False,
) -> None:
    """Drop dead letters for good; asks for their number first."""
    query = letters_of(task, queue, error, since, filter)
    chosen = await choose(client, run, query, all=all, verb="purge")
    total = len(chosen.runs)
    if not total:
        out.note("no dead letter matches")
        return
    if not yes:
        typed = await ask(f"drop {text.count(total, 'dead letter')} for good? type {total} to do it: ")
        if typed.replace(",", "") != str(total):
            raise Usage(f"nothing was dropped: expected {total}, found {typed!r}")
    answers = Answers(total, "dropped", out)
    async with client.audit_as(**_audit("purge", chosen, query, filter=filter)):
        await answer(chosen.runs, client.drop_letter, answers)
    if chosen.named and answers.refused:
        raise typer.Exit(FAILED)
