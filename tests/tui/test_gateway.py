"""The gateway: it keeps trying, tells how the link stands, and in read-only never touches the client."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from holdfast.bus.memory import MemoryBus, MemoryServer
from holdfast.client import Client
from holdfast.core.model import State
from holdfast.errors import ConnectError, HoldfastError, RunStateError, UnknownToken
from holdfast.wire.values import encode_value
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


async def test_the_real_client_takes_what_the_desk_tells_a_run_and_refuses_the_rest() -> None:
    client = Client(MemoryBus("shop", MemoryServer()), name="tui")  # type: ignore[arg-type]

    async def factory() -> Client:
        return client

    gateway = Gateway(factory, project="shop")
    await gateway._connect()
    run = (await client.start(client.new_run("pay", encode_value({})))).id
    await gateway.signal(run, "approve", {"by": "ana"})
    with pytest.raises(RunStateError, match="is not paused at /charge#1"):
        await gateway.resolve(run, "/charge#1", "done", 1)
    with pytest.raises(UnknownToken):
        await gateway.complete(f"{run}-1", True)
    again = await gateway.replay(run)
    assert again != run
    assert (await client.run(again).status()).task == "pay"
    await gateway.kill(run)
    assert (await client.run(run).status()).state is State.CANCELLED
    with pytest.raises(RunStateError, match="has ended"):
        await gateway.kill(run)
    with pytest.raises(RunStateError, match="has ended"):
        await gateway.signal(run, "approve", None)
    await client.close()


async def test_no_answer_in_time_leaves_open_whether_it_was_done() -> None:
    client = FakeClient()
    gateway = await connected(client)
    client.silent = True
    with pytest.raises(Lost) as lost:
        await gateway.resolve("x", "/a#1", "run", None)
    assert lost.value.unsure
    client.bus.connected = False
    with pytest.raises(Lost) as lost:
        await gateway.resolve("x", "/a#1", "run", None)
    assert not lost.value.unsure


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
