"""`holdfast events`: what was published, and past events routed once more.

Listing and showing read the event stream itself; replaying is asked of the daemon page by page, so that it can be
stopped between two of them. What it does is idempotent unless `--again` is given.
"""

from __future__ import annotations

import secrets
import sys
import time
from typing import Annotated, Any, NamedTuple

import typer
from msgspec import structs

from holdfast.bus.ports import Message
from holdfast.cli import given, text
from holdfast.cli.app import FAILED, Usage
from holdfast.cli.output import Cell, Column, Output, Style, short, state, stored
from holdfast.cli.session import connected, group
from holdfast.client import Client
from holdfast.core.routing import matches
from holdfast.deeds import shell
from holdfast.errors import DaemonUnavailable, HoldfastError, Refused
from holdfast.quantities import readable_size
from holdfast.wire import headers
from holdfast.wire.api import AuditEntry, EventRun, EventsReplay, EventsReplayed
from holdfast.wire.events import encoded, value_of
from holdfast.wire.render import render_json
from holdfast.wire.subjects import EVENT, Stream

app = group("Events: list and show them, and route past ones once more.")

WINDOW, WIDEST = 250, 8000
"""Events that are read at once, from the newest back; twice as many each time that none was meant."""

PAGE = 200
"""Events that are replayed at once."""

Subject = Annotated[
    str, typer.Option("--subject", "-s", metavar="SUBJECT", help="Of this name; NATS wildcards, e.g. orders.*")
]

COLUMNS = (
    Column("SEQ", right=True),
    Column("AGE", right=True),
    Column("SUBJECT", cut=True),
    Column("ID", cut=True),
    Column("SIZE", right=True),
    Column("DATA", cut=True),
)


class Found(NamedTuple):
    """An event of the stream."""

    message: Message
    name: str
    headers: dict[str, str]

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "seq": self.message.seq,
            "time": text.iso(self.message.time),
            "subject": self.name,
            "published_on": self.message.subject,
            "headers": self.headers,
            "bytes": len(self.message.data),
            "data": stored(encoded(self.message.data)),
        }


@connected(app, "list")
async def list_(
    client: Client,
    out: Output,
    subject: Subject = "",
    since: given.Since = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 50,
) -> None:
    """Events, newest first."""
    events = await newest(client, _pattern(subject), given.since(since), limit)
    if out.json:
        out.records(event.record() for event in events)
    elif events:
        now = time.time()
        out.table(COLUMNS, [_row(event, now) for event in events])
    else:
        out.note("no event matches")


def _row(event: Found, now: float) -> list[Cell | str]:
    message = event.message
    return [
        str(message.seq),
        text.age(now - message.time),
        event.name,
        event.headers.get(headers.ID, "-"),
        readable_size(len(message.data)),
        Cell(text.clip(short(encoded(message.data[:1000] if len(message.data) > 100_000 else message.data)), 200)),
    ]


def _pattern(subject: str) -> str:
    if subject and not EVENT.match(subject):
        raise Usage(f"--subject: expected a subject such as orders.created or orders.*, found {subject!r}")
    return subject


async def newest(client: Client, subject: str, since: float | None, limit: int) -> list[Found]:
    """The newest events of a name, from the last one back."""
    bus = client.bus
    first = 1 if since is None else await bus.first_since(Stream.EVENTS, since)
    behind, width = await bus.last_seq(Stream.EVENTS) + 1, WINDOW
    found: list[Found] = []
    while behind > first and len(found) < limit:
        begin = max(first, behind - width)
        some = await _between(client, subject, begin, behind)
        found += reversed(some)
        behind, width = begin, WINDOW if some else min(2 * width, WIDEST)
    return found[:limit]


async def _between(client: Client, subject: str, first: int, behind: int) -> list[Found]:
    """The events of a name from one sequence on, up to before another one, in order."""
    bus = client.bus
    filters = {bus.subjects.event(subject), subject} if subject else {">"}
    messages = {
        message.seq: message
        for filter in filters
        for message in await bus.read(Stream.EVENTS, filter, first=first, limit=behind - first)
        if message.seq < behind
    }
    found = [_found(client, messages[seq]) for seq in sorted(messages)]
    return [event for event in found if not subject or matches(subject, event.name)]


def _found(client: Client, message: Message) -> Found:
    return Found(message, client.bus.subjects.event_name(message.subject), headers.parse(message.headers))


async def _at(client: Client, seq: int) -> Message | None:
    """The event of a number; None: there is none, or no more."""
    messages = await client.bus.read(Stream.EVENTS, ">", first=seq, limit=1)
    return messages[0] if messages and messages[0].seq == seq else None


@connected(app)
async def show(
    client: Client, out: Output, seq: Annotated[int, typer.Argument(metavar="SEQ", min=1, help="Its number.")]
) -> None:
    """An event: its data and headers, and the runs that it started."""
    message = await _at(client, seq)
    if message is None:
        last = await client.bus.last_seq(Stream.EVENTS)
        raise HoldfastError(f"no event {seq}: the last one is {last}, and old ones are dropped after their retention")
    event = _found(client, message)
    runs, unknown = await _runs(client, seq)
    if out.json:
        out.record({**event.record(), "runs": None if unknown else runs})
        return
    out.fields(
        [
            ("event", Cell(str(seq), Style.BOLD)),
            ("time", text.stamp(event.message.time)),
            ("subject", event.name),
            ("published on", event.message.subject if event.message.subject != event.name else ""),
            ("size", readable_size(len(event.message.data))),
        ]
    )
    out.block("headers", "\n".join(f"{name}: {value}" for name, value in event.headers.items()))
    out.block("data", _shown(event.message.data))
    _show_runs(runs, unknown, out)


def _shown(data: bytes) -> str:
    """Data for people: JSON indented, else as text, what is none of it as escapes."""
    value = value_of(data)
    return render_json(encoded(data)) if not isinstance(value, str | bytes) and data else text.of_bytes(data)


async def _runs(client: Client, seq: int) -> tuple[tuple[EventRun, ...], str]:
    """The runs that an event started, or why they are not known."""
    try:
        return await client.event_runs(seq), ""
    except (DaemonUnavailable, Refused) as error:
        return (), str(error)


def _show_runs(runs: tuple[EventRun, ...], unknown: str, out: Output) -> None:
    if unknown:
        out.note(f"which runs it started is not known: {unknown}")
    elif not runs:
        out.note("it started no run")
    else:
        out.line()
        columns = (Column("RUN"), Column("TASK", cut=True), Column("ROUTE", cut=True), Column("STATE"))
        out.table(columns, [(out.run(run.run), run.task, run.route or "-", state(run.state)) for run in runs])


# --- replay -----------------------------------------------------------------------------------------------------------


@connected(app)
async def replay(
    client: Client,
    out: Output,
    seq: Annotated[list[int] | None, typer.Argument(metavar="SEQ", min=1, help="Their numbers.")] = None,
    since: given.Since = None,
    until: Annotated[
        float | None, typer.Option("--until", parser=given.seconds, metavar="AGE", help="Not newer, e.g. 15m, 2h.")
    ] = None,
    subject: Subject = "",
    first: Annotated[int | None, typer.Option("--first", metavar="SEQ", min=1, help="From this one on.")] = None,
    all: Annotated[bool, typer.Option("--all", help="All that there are.")] = False,
    task: Annotated[str, typer.Option("--task", "-t", help="Only to this task.")] = "",
    route: Annotated[str, typer.Option("--route", "-r", help="Only by the route of this name.")] = "",
    again: Annotated[bool, typer.Option("--again", help="Make another run also where there is one.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be.")] = False,
) -> None:
    """Route past events once more, by the routes of today; a run that is there is not made again."""
    selected = since is not None or until is not None or first is not None or bool(subject)
    if seq and (selected or all):
        raise Usage("expected numbers of events or a selection, found both: leave out one of them")
    if not seq and not selected and not all:
        raise Usage(
            "expected which events to replay, found nothing: name their numbers, or select with --since --until "
            "--subject --first, or --all"
        )
    asked = EventsReplay(
        first=1,
        last=0,
        limit=PAGE,
        subject=_pattern(subject),
        task=task,
        route=route,
        at=time.time(),
        again=secrets.token_hex(8) if again else "",
        dry_run=dry_run,
    )
    spans = await _spans(client, seq, given.since(since), given.since(until), first)
    progress = Progress(out, dry_run=dry_run, again=again)
    try:
        for begin, end in spans:
            await _pages(client, asked, begin, end, progress)
        progress.finished = True
    finally:
        if not dry_run:
            ages = {"--since": since, "--until": until}
            await client.audited(_entry(asked, seq or [], {**ages, "--first": first}, progress))
        progress.close()
    if progress.total["refused"]:
        raise typer.Exit(FAILED)


def _entry(
    asked: EventsReplay, seqs: list[int], bounds: dict[str, float | int | None], progress: Progress
) -> AuditEntry:
    """For the audit: what was replayed, as far as it came."""
    named = tuple(map(str, seqs))
    options = {name: f"{value:g}{'s' if name != '--first' else ''}" for name, value in bounds.items() if value}
    options |= {"--subject": asked.subject, "--task": asked.task, "--route": asked.route}
    words = [word for option, value in options.items() if value for word in (option, value)]
    words += ["--again"] if asked.again else []
    command = shell(("events", "replay"), named, words if words or named else ["--all"])
    done = progress.total
    return AuditEntry(
        action="replay", kind="event", targets=named, count=done["events"], accepted=done["events"] - done["refused"],
        refused=done["refused"], why="too large for the server" if done["refused"] else "",
        filter="" if named else " ".join(words) or "all", command=command,
    )  # fmt: skip


async def _spans(
    client: Client, seqs: list[int] | None, since: float | None, until: float | None, first: int | None
) -> list[tuple[int, int]]:
    """First and last sequence of what is to be replayed. Raises: HoldfastError: a number that no event has."""
    if seqs:
        for seq in seqs:
            if await _at(client, seq) is None:
                raise HoldfastError(f"no event {seq}: see `holdfast events list`; nothing was replayed")
        return [(seq, seq) for seq in dict.fromkeys(seqs)]
    begin = max(first or 1, 1 if since is None else await client.bus.first_since(Stream.EVENTS, since))
    if until is None:
        return [(begin, await client.bus.last_seq(Stream.EVENTS))]
    return [(begin, await client.bus.first_since(Stream.EVENTS, until) - 1)]


async def _pages(client: Client, asked: EventsReplay, begin: int, end: int, progress: Progress) -> None:
    while begin <= end:
        page = await client.replay_events(structs.replace(asked, first=begin, last=end))
        progress.took(page)
        if page.done:
            return
        begin = page.next


class Progress:
    """How far a replay has come."""

    def __init__(self, out: Output, *, dry_run: bool, again: bool) -> None:
        self.total = dict.fromkeys(("events", "created", "existed", "unwanted", "unmapped", "refused"), 0)
        self.finished = False
        self._next = 0
        self._out = out
        self._dry_run = dry_run
        self._again = again
        self._live = sys.stderr.isatty() and not out.json

    def __str__(self) -> str:
        made = self.total
        would = "would be " if self._dry_run else ""
        parts = [
            f"{text.count(made['events'], 'event')}: {text.count(made['created'], 'run')} {would}created",
            f"{made['existed']:,} there already",
            f"{made['unwanted']:,} unwanted",
        ]
        if made["unmapped"]:
            parts.append(f"{made['unmapped']:,} {would}dead letters (see `holdfast dlq list`)")
        if made["refused"]:
            parts.append(f"{made['refused']:,} too large")
        return ", ".join(parts)

    def took(self, page: EventsReplayed) -> None:
        """A page is done."""
        for name in self.total:
            self.total[name] += getattr(page, name)
        self._next = page.next
        if self._live:
            print(f"\r{self}\x1b[K", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Print how far it came."""
        if self._live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        if self._out.json:
            self._out.record({**self.total, "finished": self.finished, "next": self._next})
        else:
            stopped = "" if self.finished else f"; stopped, --first {self._next} goes on" if self._next else "; stopped"
            self._out.line(f"{self}{stopped}")
