"""Dead letters and logs as text at both sizes: what is asked, grouped, explained, wrapped, lost and read-only."""

from __future__ import annotations

import pytest

from tui.desks import bench
from tui.test_dead import typed
from tui.test_flows import until
from tui.test_frames import SIZES, check
from tui.world import FakeClient


@pytest.mark.parametrize("size", SIZES)
async def test_kinds_of_errors(size: str) -> None:
    async with bench(size=SIZES[size]) as desk:
        await desk.press("4", "u")
        await until(desk, "3 kinds of error")
        check(desk, f"groups-full-{size}")
        desk.client.down = True
        await desk.later(14)
        check(desk, f"groups-lost-{size}")


@pytest.mark.parametrize("size", SIZES)
async def test_no_kinds_of_errors(size: str) -> None:
    async with bench(FakeClient(full=False), size=SIZES[size]) as desk:
        await desk.press("4", "u")
        await until(desk, "no errors to group")
        check(desk, f"groups-empty-{size}")


@pytest.mark.parametrize("size", SIZES)
async def test_a_letter_in_one_place_its_edit_and_its_drain(size: str) -> None:
    async with bench(size=SIZES[size]) as desk:
        await desk.press("4", "j", "j", "e")
        await until(desk, "what a retry does")
        await desk.rested()
        check(desk, f"dead-explained-{size}")
        await desk.press("escape", "E")
        await typed(desk, '{\n  "hook": 12,\n  "url": "https://x.example/cb"\n}')
        await until(desk, "from the start, edited?")
        await until(desk, '+   "hook": 12,')
        await desk.rested()
        check(desk, f"dead-edited-{size}")
        await desk.press("n", "escape", "Z")
        await until(desk, "how many a second?")
        await desk.rested()
        check(desk, f"dead-rate-{size}")
        await desk.press("enter")
        await desk.rested()
        check(desk, f"dead-drain-{size}")
        await desk.press("n", "X")
        await until(desk, "PURGE")
        await desk.rested()
        check(desk, f"dead-purge-{size}")


@pytest.mark.parametrize("size", SIZES)
async def test_triage_and_logs_in_read_only(size: str) -> None:
    async with bench(size=SIZES[size], read_only=True) as desk:
        await desk.press("4", "R")
        assert "R is off" in desk.text
        await desk.rested()
        check(desk, f"dead-read-only-{size}")
        await desk.press("3")
        check(desk, f"logs-read-only-{size}")


@pytest.mark.parametrize("size", SIZES)
async def test_logs_frozen_filtered_wrapped_and_one_line_whole(size: str) -> None:
    async with bench(size=SIZES[size]) as desk:
        await desk.press("3", "{", "{")
        check(desk, f"logs-frozen-{size}")
        await desk.press("/", *"/smtp|sent/ level>=warn")
        check(desk, f"logs-filter-{size}")
        await desk.press(*" last:soon")
        check(desk, f"logs-wrong-{size}")
        await desk.press(*["backspace"] * 10, "enter", "r")
        check(desk, f"logs-wrapped-{size}")
        await desk.press("enter")
        await until(desk, "stored as")
        check(desk, f"logs-line-{size}")
        await desk.press("escape", "/", "ctrl+u", *"nowhere", "enter")
        await until(desk, "nor is there an older one")
        check(desk, f"logs-nothing-{size}")
