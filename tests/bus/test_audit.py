"""What operators did, stored in a stream of its own."""

from __future__ import annotations

import asyncio
import time

import anyio
import pytest

from holdfast.auditing import Actor, acting_as
from holdfast.bus.jetstream import connect
from holdfast.bus.layout import Layout
from holdfast.bus.ports import Bus
from holdfast.client import Client
from holdfast.wire import api, codec
from holdfast.wire.subjects import Stream
from servers import NatsServer


async def entries(bus: Bus) -> list[api.AuditEntry]:
    return [api.decode(message.data, api.AuditEntry) for message in await bus.read(Stream.AUDIT, bus.subjects.audit)]


async def test_each_entry_is_kept_and_followed_in_order(bus: Bus) -> None:
    for number in range(5):
        entry = api.AuditEntry(action="pause", kind="queue", targets=(f"q{number}",), accepted=1)
        assert await bus.publish(bus.subjects.audit, codec.encode(entry)) == number + 1
    assert [entry.targets for entry in await entries(bus)] == [(f"q{number}",) for number in range(5)]
    assert await bus.last_seq(Stream.AUDIT) == 5
    assert await bus.last_seq(Stream.JOURNAL) == await bus.last_seq(Stream.CONTROL) == 0
    seen: list[int] = []
    async for messages in bus.follow(Stream.AUDIT, bus.subjects.audit, first=3):
        seen += [message.seq for message in messages]
        if not messages:
            break
    assert seen == [3, 4, 5]


async def test_an_entry_of_one_id_is_stored_once(bus: Bus) -> None:
    first = await bus.publish(bus.subjects.audit, b"a", dedupe="audit-1")
    assert await bus.publish(bus.subjects.audit, b"a", dedupe="audit-1") == first
    assert len(await bus.read(Stream.AUDIT, bus.subjects.audit)) == 1


async def test_a_client_leaves_an_entry_that_says_who_did_what(bus: Bus) -> None:
    client = Client(bus)
    with acting_as(Actor("ana", "mill", "10.0.0.9")):
        await client.pause("emails")
    (entry,) = await entries(bus)
    assert entry.at == pytest.approx(time.time(), abs=60)
    assert (entry.who, entry.via, entry.host, entry.address) == ("ana", "sdk", "mill", "10.0.0.9")
    assert (entry.action, entry.kind, entry.targets) == ("pause", "queue", ("emails",))
    assert (entry.count, entry.accepted, entry.refused, entry.why) == (1, 1, 0, "")
    assert entry.command == "holdfast queues pause emails"


async def test_the_age_of_entries_is_the_only_bound(nats: NatsServer) -> None:
    async with await connect(nats.url, project="bounded") as bus:
        await bus.ensure_streams(Layout(audit_age=3600.0))
        stands = (await bus._api.stream(Stream.AUDIT.of("bounded"))).config
        assert (stands["max_age"], stands["max_bytes"], stands["max_msgs"]) == (3600 * 10**9, -1, -1)
        assert stands["subjects"] == ["hf.bounded.audit"]
        await bus.remove_streams()


async def test_what_is_done_where_nobody_keeps_an_audit_is_done_and_that_is_said(nats: NatsServer) -> None:
    async with await connect(nats.url, project="older") as bus:
        await bus.ensure_streams()
        await bus._api.call(f"STREAM.DELETE.{Stream.AUDIT.of('older')}")
        client, missed = Client(bus), list[str]()
        client.auditing.missed = missed.append
        await client.pause("emails")
        assert await bus.paused() == {"emails"}
        assert len(missed) == 1
        assert missed[0].startswith("the audit has no entry of this pause of queue emails, it could not be stored:")
        await bus.remove_streams()


async def test_a_change_that_is_stopped_half_way_leaves_its_entry_all_the_same(bus: Bus) -> None:
    client = Client(bus)
    begun = asyncio.Event()

    async def change() -> None:
        async with client.audit_as("pause", "queue", count=3, filter="queue:q*") as batch:
            await client.pause("q1")
            batch.refuse("q2", "no such queue")
            begun.set()
            await anyio.sleep_forever()

    changing = asyncio.create_task(change())
    await begun.wait()
    changing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await changing
    (entry,) = await entries(bus)
    assert (entry.count, entry.accepted, entry.refused, entry.why) == (3, 1, 1, "no such queue")
    assert entry.targets == ("q1", "q2")
