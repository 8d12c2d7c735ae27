"""The gateway: it keeps trying, tells how the link stands, and in read-only never touches the client."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from holdfast.client import Client
from holdfast.errors import ConnectError, HoldfastError, RunStateError
from holdfast_tui.gateway import Gateway, Lost, ReadOnly
from tui.world import NOW, FakeClient, run_id


async def test_it_connects_in_the_end_and_closes_what_it_opened() -> None:
    client, tries = FakeClient(), 0

    async def factory() -> Client:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ConnectError("connection refused")
        return client.real

    gateway = Gateway(factory, project="demo", clock=lambda: NOW)
    async with anyio.create_task_group() as tasks:
        await tasks.start(gateway.run)
        while not gateway.connected.is_set():
            if tries and not gateway.link.live(NOW):
                assert gateway.link.why in ("", "connection refused")
            gateway.again()
            await anyio.lowlevel.checkpoint()
        assert (await gateway.queues()).queues
        assert gateway.link.live(NOW)
        tasks.cancel_scope.cancel()
    assert (tries, client.closed) == (3, True)


async def test_before_there_is_a_connection_every_question_is_lost() -> None:
    gateway = Gateway(lambda: pytest.fail("not run"), project="demo")
    with pytest.raises(Lost):
        await gateway.queues()
    with pytest.raises(Lost):
        await gateway.retry(run_id(1), from_start=False)


async def connected(client: FakeClient, *, read_only: bool = False) -> Gateway:
    async def factory() -> Client:
        return client.real

    gateway = Gateway(factory, project="demo", read_only=read_only, clock=lambda: NOW)
    await gateway._connect()
    return gateway


async def test_a_refusal_is_an_answer_and_a_silence_is_not() -> None:
    client = FakeClient()
    gateway = await connected(client)
    client.refuse[run_id(1)] = "it is running"
    with pytest.raises(RunStateError):
        await gateway.retry(run_id(1), from_start=False)
    assert gateway.link.live(NOW)
    client.down = True
    with pytest.raises(Lost, match="nobody answers"):
        await gateway.queues()
    assert not gateway.link.live(NOW)
    client.down, client.bus.connected = False, False
    with pytest.raises(Lost, match="the server is gone"):
        await gateway.queues()
    client.bus.connected = True
    await gateway.beat()
    assert gateway.link.live(NOW)


async def test_read_only_refuses_before_the_client_is_touched() -> None:
    client = FakeClient()
    gateway = await connected(client, read_only=True)
    for change in (
        gateway.retry("x", from_start=True),
        gateway.cancel("x"),
        gateway.kill("x"),
        gateway.replay("x"),
        gateway.resolve("x", "/a#1", "done", 1),
        gateway.complete("x", 1),
        gateway.signal("x", "a", 1),
        gateway.drop("x"),
        gateway.pause("x", paused=True),
    ):
        with pytest.raises(ReadOnly):
            await change
    assert client.changed == []


async def test_who_stops_watching_hears_nothing_more() -> None:
    client, heard = FakeClient(), list[bytes]()
    gateway = await connected(client)
    stop = await gateway.watch(run_id(1), lambda _kind, data: heard.append(data), lambda: heard.append(b"back"))
    client.bus.tell(run_id(1), b"1")
    for call in client.bus.returned:
        call()
    await stop()
    client.bus.tell(run_id(1), b"2")
    for call in client.bus.returned:
        call()
    assert heard == [b"1", b"back"]
    assert issubclass(Lost, HoldfastError)
