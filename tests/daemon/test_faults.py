"""What keeps workers from serving, shown for as long as it stands; time is the memory bus's own."""

from __future__ import annotations

from holdfast.client import Client
from holdfast_daemon.app import running
from holdfast_daemon.faults import LASTS, FaultBoard
from worlds import MemoryWorld


async def test_a_fault_is_shown_until_it_is_mended_or_its_daemon_is_gone() -> None:
    world = MemoryWorld()
    client = Client(await world.bus())
    board = FaultBoard(await world.bus(), "w1-shop", clock=world.now)
    async with running(board):
        assert await client.faults() == []
        board.show(["module a", "module b"])
        await world.quiet()
        (fault,) = await client.faults()
        assert (fault.pool, fault.errors) == ("w1-shop", ("module a", "module b"))
        board.show(["module b"])
        await world.quiet()
        assert [fault.errors for fault in await client.faults()] == [("module b",)]
        board.show([])
        await world.quiet()
        assert await client.faults() == []
        board.show(["module c"])
        await world.quiet()
    assert len(await client.faults()) == 1
    await world.elapse(LASTS + 1)
    assert await client.faults() == []
