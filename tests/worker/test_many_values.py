"""Values that are each small enough for the journal, and together more than a message holds; and some that are not."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import Retry, run, task
from holdfast.core.entries import StepCompleted
from holdfast.errors import EncodeError, RecordedError
from stage import Stage


async def test_a_fan_out_whose_results_together_exceed_a_message_is_recorded_all_the_same(stage: Stage) -> None:
    async def part(number: int) -> bytes:
        return bytes([number]) * 250_000

    @task(retry=Retry(max_attempts=1))
    async def wide() -> int:
        parts = await asyncio.gather(*(part(number) for number in range(100)))
        return sum(map(len, parts))

    async with stage.worker(wide):
        handle = await wide.trigger()
        assert await handle.result(20) == 25_000_000
    batches = [record.entries for _, record in await stage.journal.messages(handle.id)]
    outcomes = [sum(isinstance(entry, StepCompleted) for entry in batch) for batch in batches]
    assert sum(outcomes) == 100
    assert max(outcomes) == 3  # as many as there is room for in a message


async def test_an_exception_that_holds_too_much_is_recorded_by_its_text(stage: Stage) -> None:
    kinds: list[type[BaseException]] = []

    async def heavy() -> None:
        raise ValueError("no", b"x" * 20_000_000)

    async def light() -> None:
        if run.attempt == 1:
            raise KeyError("once more")

    @task(retry=Retry(max_attempts=2, min_timeout=0.01, max_timeout=0.01))
    async def catching() -> None:
        try:
            await heavy()
        except Exception as error:
            kinds.append(type(error))
        await light()

    async with stage.worker(catching):
        await (await catching.trigger()).result(20)
    assert kinds == [ValueError, RecordedError]


async def test_metadata_and_heartbeats_refuse_what_is_big(stage: Stage) -> None:
    @task(retry=Retry(max_attempts=1))
    async def noting() -> int:
        with pytest.raises(EncodeError, match=r"at most 256\.0 KiB of this kind, found 19\.1 MiB"):
            run.metadata["big"] = b"x" * 20_000_000
        with pytest.raises(EncodeError):
            await run.heartbeat(b"x" * 300_000)
        return len(run.metadata)

    async with stage.worker(noting):
        assert await (await noting.trigger()).result(10) == 0
