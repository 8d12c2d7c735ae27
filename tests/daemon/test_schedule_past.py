"""What became of the runs of schedules, from a real history: by day, also by hand, the last ones first."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.test_query_service import answering
from histories import ERROR, T0, Stored, Teller, run_id, store
from holdfast.bus.memory import MemoryBus
from holdfast.client import Client
from holdfast.core.entries import AttemptStarted, RunCompleted, RunDead
from holdfast.core.model import State
from holdfast.errors import Refused
from holdfast.wire.schedules import Day
from holdfast.wire.values import encode_value
from holdfast_daemon.query.past import BY_HAND, MOST

TELL = Teller()
DAY = 86_400.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "h.duckdb"


def tick(
    number: int, ago: float, source: str = "schedule nightly", *, took: float = 0.0, fails: bool = False
) -> list[Stored]:
    """A run that was created so many seconds before now, and has ended where it took a while."""
    run, at = run_id(number), T0 - ago
    made = [TELL.created(run, at=at, source=source)]
    if took:
        end = RunDead(at + took, ERROR, "attempts used up") if fails else RunCompleted(at + took, encode_value(None))
        made += [TELL.log(run, "n", AttemptStarted(at, 1, "w1", "n")), TELL.log(run, "n", end)]
    return made


async def test_days_are_counted_back_from_now_with_failures_and_how_long_it_took(path: Path) -> None:
    async with answering(MemoryBus("shop"), path) as desk:
        await store(
            desk.bus,
            *tick(1, 10, took=4),
            *tick(2, 20, took=2, fails=True),
            *tick(3, DAY + 1, took=60),
            *tick(4, 2.5 * DAY),
            *tick(5, 4 * DAY, took=1),
            *tick(6, 30, "schedule other"),
            *tick(7, 30, "sdk", took=1),
        )
        client = Client(desk.bus)
        nightly, other = await client.schedule_pasts(3)
        assert (nightly.name, other.name) == ("nightly", "other")
        assert nightly.days == (Day(1, 0, None), Day(1, 0, 60.0), Day(2, 1, 3.0))
        assert other.days == (Day(), Day(), Day(1, 0, None))
        assert len((await client.schedule_pasts())[0].days) == 30
        assert (await client.schedule_pasts(5))[0].days[0] == Day(1, 0, 1.0)


async def test_the_last_five_are_there_newest_first_also_those_by_hand(path: Path) -> None:
    async with answering(MemoryBus("shop"), path) as desk:
        await store(
            desk.bus,
            *[message for number in range(7) for message in tick(number, 100 - number, took=0.5)],
            *tick(8, 50, f"schedule nightly{BY_HAND}", took=1, fails=True),
            *tick(9, 40, "schedule nightly--more"),
        )
        nightly, more = await Client(desk.bus).schedule_pasts()
        assert [row.id for row in nightly.last] == [run_id(8), *(run_id(number) for number in (6, 5, 4, 3))]
        assert nightly.last[0].state is State.DEAD
        assert nightly.days[-1].runs == 8
        assert [row.id for row in more.last] == [run_id(9)]


@pytest.mark.parametrize("days", [0, MOST + 1])
async def test_too_many_days_are_refused(path: Path, days: int) -> None:
    async with answering(MemoryBus("shop"), path) as desk:
        with pytest.raises(Refused, match=f"days: expected 1 to 90, found {days}"):
            await Client(desk.bus).schedule_pasts(days)
