"""The audit in the history, and asked over the bus."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace

from holdfast.bus import jetstream
from holdfast.bus.memory import MemoryBus
from holdfast.bus.ports import Bus
from holdfast.client import Client
from holdfast.errors import Refused
from holdfast.wire import codec
from holdfast.wire.api import AuditEntry, AuditQuery
from holdfast_daemon.gauges import Gauges
from holdfast_daemon.projection.projector import Projector
from holdfast_daemon.projection.store import Store
from holdfast_daemon.query import audit
from holdfast_daemon.query.service import QueryService
from servers import NatsServer

T0 = 1_700_000_000.0

ENTRIES = (
    AuditEntry(at=T0, who="ana", via="tui", action="pause", kind="queue", targets=("emails",), accepted=1),
    AuditEntry(
        at=T0 + 10, who="bo", via="cli", action="drain", kind="letter", targets=("R1", "R2"), count=812, accepted=811,
        refused=1, why="run R2 is queued", filter="queue:webhooks", reason="hook fixed, ticket 4411",
        command="holdfast dlq drain --queue webhooks", host="mill", address="10.0.0.9",
    ),
    AuditEntry(at=T0 + 20, who="ci_bot", via="http", action="cancel", kind="run", targets=("R3",), refused=1, why="no"),
    AuditEntry(at=T0 + 30, who="cibot", via="cli", action="schedule-pause", kind="schedule", targets=("50%_off",)),
)  # fmt: skip


@asynccontextmanager
async def asked(bus: Bus, path: Path) -> AsyncIterator[Client]:
    """A client of a daemon that has this history."""
    opened = Store.open(path)
    gauges = Gauges()
    projector = Projector(bus, opened, [gauges])
    queries = QueryService(bus, opened, projector, gauges)
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(projector.run)
            await tasks.start(queries.run)
            yield Client(bus)
            tasks.cancel_scope.cancel()
    finally:
        opened.close()


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(params=["memory", "jetstream"])
async def client(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Client]:
    """In a task of its own, as a fixture begins and ends in different ones."""
    ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def hold() -> None:
        if request.param == "memory":
            async with asked(MemoryBus("shop"), tmp_path / "h.duckdb") as found:
                ready.set_result(found)
                await over.wait()
            return
        async with await jetstream.connect(request.getfixturevalue("nats").url, project="shop") as bus:
            await bus.ensure_streams()
            async with asked(bus, tmp_path / "h.duckdb") as found:
                ready.set_result(found)
                await over.wait()
            await bus.remove_streams()

    holding = asyncio.create_task(hold())
    await asyncio.wait([ready, holding], return_when=asyncio.FIRST_COMPLETED)
    if holding.done():
        await holding
    yield await ready
    over.set()
    await holding


async def tell(client: Client, *entries: AuditEntry) -> None:
    for entry in entries:
        await client.audited(entry)


async def test_what_was_done_just_now_is_asked_whole(client: Client) -> None:
    await tell(client, *ENTRIES)
    page = await client.audit()
    assert (page.total, page.more) == (4, False)
    assert [entry.seq for entry in page.entries] == [4, 3, 2, 1]
    assert page.entries[2] == replace(ENTRIES[1], seq=2)


@pytest.mark.parametrize(
    ("query", "seqs"),
    [
        (AuditQuery(who="ana"), [1]),
        (AuditQuery(who="ci_bot"), [3]),
        (AuditQuery(who="ci*"), [4, 3]),
        (AuditQuery(who="c"), []),
        (AuditQuery(via="cli"), [4, 2]),
        (AuditQuery(action="*-pause"), [4]),
        (AuditQuery(action="pause"), [1]),
        (AuditQuery(target="R2"), [2]),
        (AuditQuery(target="R*"), [3, 2]),
        (AuditQuery(target="50%_off"), [4]),
        (AuditQuery(target="50__off"), []),
        (AuditQuery(text="TICKET 4411"), [2]),
        (AuditQuery(text="webhooks"), [2]),
        (AuditQuery(text="email"), [1]),
        (AuditQuery(since=T0 + 10), [4, 3, 2]),
        (AuditQuery(until=T0 + 10), [1]),
        (AuditQuery(since=T0 + 10, until=T0 + 30, via="http", text="r3"), [3]),
        (AuditQuery(who="'; DROP TABLE audit; --"), []),
    ],
)
async def test_entries_are_found_by(query: AuditQuery, seqs: list[int], filled: Client) -> None:
    page = await filled.audit(query)
    assert [entry.seq for entry in page.entries] == seqs
    assert page.total == len(seqs)


@pytest.fixture
async def filled(tmp_path: Path) -> AsyncIterator[Client]:
    """A client of a daemon whose history holds the entries."""
    ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def hold() -> None:
        bus = MemoryBus("shop")
        await tell(Client(bus), *ENTRIES)
        async with asked(bus, tmp_path / "h.duckdb") as found:
            ready.set_result(found)
            await over.wait()

    holding = asyncio.create_task(hold())
    yield await ready
    over.set()
    await holding


async def test_pages_follow_each_other_without_gap_or_overlap(client: Client) -> None:
    entry = AuditEntry(action="pause", kind="queue", targets=("q",), accepted=1)
    await tell(client, *[entry] * 11)
    seen: list[int] = []
    query = AuditQuery(limit=4)
    while True:
        page = await client.audit(query)
        assert page.total == 11
        seen += [entry.seq for entry in page.entries]
        if not page.more:
            break
        query = replace(query, before=seen[-1])
    assert seen == list(range(11, 0, -1))


async def test_a_page_that_a_reply_could_not_hold_is_cut_and_says_so(client: Client) -> None:
    long = AuditEntry(action="retry", kind="run", targets=("x" * 2_000,) * 100, accepted=100, count=100)
    await tell(client, *[long] * 6)
    page = await client.audit()
    assert 1 <= len(page.entries) < 6
    assert page.more


@pytest.mark.parametrize("query", [AuditQuery(limit=0), AuditQuery(limit=1001), AuditQuery(since=float("nan"))])
async def test_a_question_that_can_be_none_is_refused_in_words(filled: Client, query: AuditQuery) -> None:
    with pytest.raises(Refused, match=r"audit\.list: (limit|since): expected") as refused:
        await filled.audit(query)
    assert refused.value.code == "bad_request"


def test_nothing_that_is_asked_becomes_sql() -> None:
    hostile = "'; DROP TABLE audit; --"
    found = audit.listing(AuditQuery(who=hostile, via=hostile, action=hostile, target=hostile, text=hostile, before=7))
    for statement in found:
        assert "DROP" not in statement.sql
        assert statement.sql.count("?") == len(statement.parameters)


async def test_a_restarted_daemon_goes_on_where_it_was_and_another_one_has_the_same(tmp_path: Path) -> None:
    bus = MemoryBus("shop")
    for entry in ENTRIES:
        async with asked(bus, tmp_path / "h.duckdb") as client:
            await client.audited(entry)
            whole = await client.audit()
    async with asked(bus, tmp_path / "other.duckdb") as client:
        assert await client.audit() == whole
    assert [entry.seq for entry in whole.entries] == [4, 3, 2, 1]


async def test_an_unreadable_entry_is_passed_over(tmp_path: Path) -> None:
    bus = MemoryBus("shop")
    await bus.publish(bus.subjects.audit, b"\xc1")
    await bus.publish(bus.subjects.audit, codec.encode(ENTRIES[0]))
    async with asked(bus, tmp_path / "h.duckdb") as client:
        assert [entry.seq for entry in (await client.audit()).entries] == [2]


async def test_a_history_of_before_there_was_an_audit_gets_one(tmp_path: Path) -> None:
    path = tmp_path / "h.duckdb"
    older = Store.open(path)
    older._con.execute("DROP TABLE audit").fetchall()
    older._con.execute("DELETE FROM projection WHERE stream = 'audit'").fetchall()
    older.close()
    bus = MemoryBus("shop")
    await bus.publish(bus.subjects.audit, codec.encode(ENTRIES[0]))
    async with asked(bus, path) as client:
        assert (await client.audit()).total == 1
    assert not [name for name in os.listdir(tmp_path) if ".bad-" in name]


async def test_an_audit_stream_that_was_lost_is_followed_from_its_beginning_and_what_was_kept_stays(
    tmp_path: Path,
) -> None:
    path = tmp_path / "h.duckdb"
    async with asked(MemoryBus("shop"), path) as client:
        await tell(client, *ENTRIES[:2])
        assert (await client.audit()).total == 2
    async with asked(MemoryBus("shop"), path) as client:
        await tell(client, ENTRIES[2])
        assert sorted(entry.who for entry in (await client.audit()).entries) == ["ana", "bo", "ci_bot"]
