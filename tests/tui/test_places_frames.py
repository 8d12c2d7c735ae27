"""Schedules, workers, metrics, audit and events as text at both sizes: full, empty, read-only, with the link lost."""

from __future__ import annotations

import pytest

from tui.desks import bench
from tui.test_frames import SIZES, check
from tui.test_places import refused
from tui.world import FakeClient

PLACES = {"schedules": "5", "workers": "6", "metrics": "7", "audit": "8", "events": "9"}


@pytest.mark.parametrize("size", SIZES)
async def test_full_places_then_a_lost_link(size: str) -> None:
    async with bench(size=SIZES[size]) as desk:
        for screen, key in PLACES.items():
            await desk.press(key, "down", "down")
            check(desk, f"{screen}-full-{size}")
        desk.client.down = True
        await desk.later(14)
        for screen, key in PLACES.items():
            await desk.press(key)
            check(desk, f"{screen}-lost-{size}")


@pytest.mark.parametrize("size", SIZES)
async def test_empty_places_say_what_to_do(size: str) -> None:
    async with bench(FakeClient(full=False), size=SIZES[size]) as desk:
        for screen, key in PLACES.items():
            await desk.press(key)
            check(desk, f"{screen}-empty-{size}")


@pytest.mark.parametrize("size", SIZES)
async def test_read_only_places_offer_no_change(size: str) -> None:
    async with bench(size=SIZES[size], read_only=True) as desk:
        for screen, key in PLACES.items():
            await desk.press(key, *("P" if screen == "schedules" else "Z" if screen == "workers" else "R"))
            check(desk, f"{screen}-read-only-{size}")


@pytest.mark.parametrize("size", SIZES)
async def test_places_whose_look_is_refused_keep_what_was_there(size: str) -> None:
    async with bench(size=SIZES[size]) as desk:
        for key in PLACES.values():
            await desk.press(key)
        for name in ("schedules", "workers", "metrics", "audit", "events"):
            setattr(desk.client, name, refused)
        desk.clock.now += 10
        for screen, key in PLACES.items():
            await desk.press(key)
            check(desk, f"{screen}-refused-{size}")
