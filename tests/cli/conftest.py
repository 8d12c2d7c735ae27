"""A project in memory for the command line: a real client and journal, and a daemon that says what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

import pytest
from msgspec.structs import replace

from holdfast.bus.memory import MemoryBus, MemoryServer
from holdfast.cli.app import Place, run
from holdfast.client import Client
from holdfast.core.entries import AttemptStarted, Entry, RunCompleted, RunDead, StepCompleted
from holdfast.core.lifecycle import story
from holdfast.core.model import ErrorInfo, Run
from holdfast.core.pending import brief, pending
from holdfast.core.tree import Tree
from holdfast.errors import Refused
from holdfast.wire import api
from holdfast.wire.render import render_json
from holdfast.wire.subjects import Stream
from holdfast.wire.values import encode_value

T = TypeVar("T")

AT = 1_767_355_418.12
"""2026-01-02 12:03:38.120 UTC."""

DECLINED = ErrorInfo(
    "payments.CardDeclined",
    "bad currency 'XX'",
    "  File \"payments.py\", line 212, in capture\npayments.CardDeclined: bad currency 'XX'\n",
)


class Told(Client):
    """A client whose daemon answers what a test put there; the journal is real."""

    def __init__(self, bus: MemoryBus, world: World) -> None:
        super().__init__(bus, name="cli")  # type: ignore[arg-type]
        self.world = world

    async def runs(self, query: api.RunsQuery | None = None) -> api.RunsPage:
        assert query is not None
        self.world.asked.append(query)
        rows = [row for row in self.world.rows if query.before is None or (row.created_at, row.id) < query.before]
        page = rows[: query.limit]
        return api.RunsPage(tuple(page), len(self.world.rows), len(page) < len(rows))

    async def get(self, run: str) -> api.RunView:
        ids = {self.bus.subjects.parse(m.subject).run for m in await self.bus.read(Stream.JOURNAL, "hf.shop.j.>")}
        found = [id for id in sorted(ids) if id.endswith(run) or id.startswith(run)]
        if len(found) != 1:
            raise Refused(f"no run {run}: found {len(found)}", code="not_found")
        tree = Tree()
        for entry in story(record for _, record in await self.journal.messages(found[0])):
            tree.add(entry)
        return view(await self.journal.load(found[0]), tree)

    async def history(self, run: str) -> api.History:
        return api.History(
            run,
            tuple(
                api.Stored(message.seq, AT, record.kind.value, record.writer, record.entries)
                for message, record in await self.journal.messages(run)
            ),
        )

    async def letters(self, query: api.LettersQuery | None = None) -> api.LettersPage:
        assert query is not None
        self.world.asked.append(query)
        after = [one for one in self.world.letters if query.before is None or (one.last_at, one.run) < query.before]
        page = after[: min(query.limit, 2)]  # short pages: the command must turn them
        return api.LettersPage(tuple(page), len(self.world.letters), len(page) < len(after))

    async def letter_groups(self, query: api.LettersQuery | None = None) -> api.LetterGroups:
        self.world.asked.append(query)
        return self.world.groups

    async def metrics(self, query: api.MetricsQuery) -> api.Metrics:
        self.world.asked.append(query)
        assert self.world.metrics is not None
        return self.world.metrics

    async def queues(self) -> api.Queues:
        return api.Queues(tuple(self.world.queues), AT)

    async def purge_queue(self, name: str, *, reason: str = "", dry_run: bool = False) -> int:
        self.world.asked.append((name, reason, dry_run))
        return self.world.waiting

    async def why(self, run: str) -> api.Why:
        assert self.world.why is not None
        return self.world.why

    async def logs(self, query: api.LogsQuery | None = None) -> api.LogsPage:
        assert query is not None
        self.world.asked.append(query)
        return api.LogsPage(tuple(self.world.log), self.world.last_log)

    async def audit(self, query: api.AuditQuery | None = None) -> api.AuditPage:
        assert query is not None
        self.world.asked.append(query)
        stored = reversed(await self.bus.read(Stream.AUDIT, self.bus.subjects.audit))
        entries = [replace(api.decode(message.data, api.AuditEntry), seq=message.seq) for message in stored]
        after = [entry for entry in entries if query.before is None or entry.seq < query.before]
        page = after[: min(query.limit, 2)]  # short pages: the command must turn them
        return api.AuditPage(tuple(page), len(entries), len(page) < len(after))

    async def health(self) -> api.Health:
        return api.Health(version="1", pid=7, started_at=AT, projected=9, journal=10)


class Outcome(NamedTuple):
    """What a command line did."""

    code: int
    out: str
    err: str


class World:
    """A project `shop` and a shell."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.server = MemoryServer()
        self.rows: list[api.RunRow] = []
        self.letters: list[api.Letter] = []
        self.groups = api.LetterGroups((), 0)
        self.metrics: api.Metrics | None = None
        self.queues: list[api.QueueRow] = []
        self.waiting = 0
        """Runs that a purge finds."""
        self.why: api.Why | None = None
        self.log: list[api.LogRow] = []
        self.last_log = 0
        self.asked: list[Any] = []
        self.places: list[Place] = []
        self.refuse: Exception | None = None
        self.client: type[Told] = Told
        self._capsys = capsys

    def __call__(self, *args: str) -> Outcome:
        """Type a command line."""
        self._capsys.readouterr()
        code = run(args, opener=self.open)
        return Outcome(code, *self._capsys.readouterr())

    @asynccontextmanager
    async def open(self, place: Place) -> AsyncIterator[Client]:
        self.places.append(place)
        if self.refuse is not None:
            raise self.refuse
        client = self.client(MemoryBus("shop", self.server), self)
        try:
            yield client
        finally:
            await client.close()

    def do(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Something done to the project beforehand or looked up afterwards."""

        async def doing() -> T:
            async with self.open(Place(opener=self.open)) as client:
                return await work(client)

        return asyncio.run(doing())

    def run(self, number: int, *entries: Entry, task: str = "charge-card") -> str:
        """A run whose id ends in the number, with these entries by a worker whose nonce is `n`."""

        async def make(client: Client) -> str:
            id = f"01KDZ0A1B2C3D4E5F6G7H8{number:04}"
            created = client.new_run(task, encode_value({"order": number}), id=id)
            await client.start(created)
            if entries:
                await client.journal.append(id, 0, "n", entries)
                await client.journal.act(await client.journal.load(id))
            return id

        return self.do(make)

    def dead(self, number: int) -> str:
        """A dead run with its letter."""
        id = self.run(number, started(), StepCompleted("/reserve#1", AT, 0.04, encode_value("h_81")), died())
        self.letters.append(
            api.Letter(
                run=id, task="charge-card", queue="default", payload=encode_value({"order": number}), error=DECLINED,
                reason="attempts used up", attempts=1, last_key="/reserve#1", first_at=AT, last_at=AT + number,
            )
        )  # fmt: skip
        self.letters.sort(key=lambda letter: -letter.last_at)
        return id

    def state(self, id: str) -> str:
        async def look(client: Client) -> str:
            return (await client.run(id).status()).state.value

        return self.do(look)


def started(attempt: int = 1) -> AttemptStarted:
    return AttemptStarted(AT, attempt, "w-07", "n")


def died() -> RunDead:
    return RunDead(AT + 1, DECLINED, "attempts used up")


def completed(value: object) -> RunCompleted:
    return RunCompleted(AT + 1, encode_value(value))


def view(run: Run, tree: Tree) -> api.RunView:
    """A run as the daemon shows it."""
    metadata = ", ".join(f'"{name}": {render_json(value)}' for name, value in run.metadata.items())
    payload = render_json(run.payload) if run.reason == "event" else '{\n  "order": 1\n}'
    return api.RunView(
        row=row(run), payload=payload, error=run.error, origin=run.origin,
        metadata=f"{{{metadata}}}" if metadata else "", waits=pending(run, tree),
    )  # fmt: skip


def row(run: Run) -> api.RunRow:
    return api.RunRow(
        id=run.id, task=run.task, queue=run.queue, priority=run.priority, state=run.state, created_at=run.created_at,
        started_at=run.started_at, finished_at=run.finished_at, attempt=run.attempt, steps=run.steps, reason=run.reason,
        error_type=run.error.type if run.error else "", error=run.error.message if run.error else "",
        last_key=run.last_key, due=run.due, paused=run.paused, progress=run.progress, waits=brief(run),
        deadline=run.deadline, expires=run.expires, origin=run.origin.run if run.origin else "", code=run.code,
        ending=run.ending, worker=run.holder.worker if run.holder else "",
    )  # fmt: skip


@pytest.fixture
def shop(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> World:
    """The project and a shell outside any terminal."""
    monkeypatch.setenv("COLUMNS", "100")
    return World(capsys)
