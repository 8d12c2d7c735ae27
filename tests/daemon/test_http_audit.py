"""What is done over HTTP is in the audit under the name of the access token."""

from __future__ import annotations

import socket

import pytest

from doors import Told, visitor
from holdfast import task
from holdfast.bus.memory import MemoryBus
from holdfast.client import Client
from holdfast.config import Auth, Http
from holdfast.core.model import Run
from holdfast.wire import api
from holdfast.wire.subjects import Stream
from holdfast_daemon.front import Knowing
from holdfast_daemon.roster import Roster


class Real(Told):
    """A project whose runs are cancelled, and tokens completed, by a real client."""

    def __init__(self) -> None:
        super().__init__()
        self.bus = MemoryBus("shop")
        self.client = Knowing(self.bus, Roster(self.bus), name="http")

    async def cancel(self, run: str, reason: str) -> Run:
        return await self.client.run(run).cancel(reason)

    async def complete(self, token_id: str, value: object) -> Run:
        return await self.client.complete(token_id, value)

    async def entries(self) -> list[api.AuditEntry]:
        found = await self.bus.read(Stream.AUDIT, self.bus.subjects.audit)
        return [api.decode(message.data, api.AuditEntry) for message in found]


@pytest.fixture
async def shop() -> Real:
    return Real()


async def run_of(shop: Real) -> str:
    @task
    async def ship() -> None: ...

    return (await Client(shop.bus).trigger(ship)).id


async def test_who_it_was_is_the_name_of_the_token_and_where_he_came_from(shop: Real) -> None:
    run = await run_of(shop)
    async with visitor(shop, client=("10.7.7.7", 4)) as http:
        assert (await http.post(f"/v1/runs/{run}/cancel", json={"reason": "rollback"})).status_code == 200
        assert (await http.post(f"/v1/runs/{run}/cancel")).status_code == 409
    done, refused = await shop.entries()
    assert (done.who, done.via, done.address, done.host) == ("test", "http", "10.7.7.7", socket.gethostname())
    assert (done.action, done.targets, done.reason, done.accepted) == ("cancel", (run,), "rollback", 1)
    assert (refused.accepted, refused.refused) == (0, 1)
    assert refused.why


async def test_without_tokens_nobody_is_named(shop: Real) -> None:
    run = await run_of(shop)
    async with visitor(shop, settings=Http(auth=Auth.OFF), token=None) as http:
        answer = await http.post(f"/v1/runs/{run}/cancel", headers={"Host": "localhost"})
        assert answer.status_code == 200
    (entry,) = await shop.entries()
    assert entry.who == "anonymous"


async def test_guesses_at_tokens_fill_no_audit(shop: Real) -> None:
    async with visitor(shop, token=None) as http:
        assert (await http.post("/v1/tokens/01KDZ0A1B2C3D4E5F6G7H80001-ab/complete")).status_code == 404
    assert await shop.entries() == []
