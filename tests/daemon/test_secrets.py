"""The daemon knows which runs in flight have read a secret."""

from __future__ import annotations

import anyio
import pytest
from msgspec.structs import replace

from holdfast.bus.memory import MemoryBus
from holdfast.core.model import Run, State
from holdfast.errors import Refused, SecretInUse
from holdfast.safe import Safe
from holdfast.sealing import SecretKey
from holdfast.wire import api, codec
from holdfast.wire.secrets import PINS, Pin, Pins, PinsQuery
from holdfast_daemon.secrets import Custodian, pins

RUN = Run(id="R1", task="charge", queue="default", priority=5, state=State.RUNNING, created_at=3.0, secrets={"A": 1})
OLDER = replace(RUN, id="R2", state=State.WAITING, created_at=1.0, secrets={"A": 2, "B": 1})
NEITHER = replace(RUN, id="R3", created_at=2.0, secrets={})


def test_the_runs_that_have_read_a_secret_are_listed_oldest_first() -> None:
    assert pins([RUN, NEITHER, OLDER], "A") == [Pin("R2", "charge", 2), Pin("R1", "charge", 1)]
    assert pins([RUN, NEITHER, OLDER], "B") == [Pin("R2", "charge", 1)]
    assert pins([RUN, NEITHER, OLDER], "C") == []


async def test_a_secret_is_not_removed_while_the_daemon_knows_a_run_that_goes_on_with_it() -> None:
    bus = MemoryBus("shop")
    live = {"R1": RUN}
    reached: list[int] = []

    async def reach(seq: int) -> bool:
        reached.append(seq)
        return True

    safe = Safe(bus, SecretKey.random())
    await safe.put("A", "one-one")
    async with anyio.create_task_group() as tasks:
        await tasks.start(lambda task_status: Custodian(bus, lambda: live, reach).run(task_status=task_status))
        with pytest.raises(SecretInUse, match="R1"):
            await safe.remove("A")
        live.clear()
        assert await safe.remove("A") == (1,)
        tasks.cancel_scope.cancel()
    assert reached == [0, 0]


async def test_no_answer_is_given_while_the_history_lags_or_to_a_question_that_is_none() -> None:
    bus = MemoryBus("shop")
    behind = [True, False]

    async def reach(seq: int) -> bool:
        return behind.pop()

    subject = bus.subjects.api(PINS)
    async with anyio.create_task_group() as tasks:
        await tasks.start(lambda task_status: Custodian(bus, dict, reach).run(task_status=task_status))
        with pytest.raises(Refused, match="try again in a moment"):
            await bus.request(subject, codec.encode(PinsQuery("A")))
        assert api.decode(await bus.request(subject, codec.encode(PinsQuery("A"))), Pins).pins == ()
        with pytest.raises(Refused, match="expected a PinsQuery"):
            await bus.request(subject, b"\xc1")
        tasks.cancel_scope.cancel()
