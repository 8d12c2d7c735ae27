"""The frame of every screen: read-only and out of it, undo, the trail, the tour, the help, and a link that is lost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from holdfast_tui import keys
from holdfast_tui.failure import Failure, failed
from holdfast_tui.gateway import Gateway
from holdfast_tui.keys import Help
from holdfast_tui.memory import Memory
from holdfast_tui.model.link import BACKOFF
from holdfast_tui.model.trail import KEPT, Trail
from holdfast_tui.router import Mode
from holdfast_tui.screens.details import Details
from holdfast_tui.screens.help import HelpScreen, laid_out
from holdfast_tui.screens.keyboard import CAPITALS
from holdfast_tui.tour import STOPS, Tour
from tui.desks import Bench, bench
from tui.test_flows import until
from tui.world import NOW, FakeClient, run_id


def last(desk: Bench) -> str:
    """Row 23."""
    return desk.text.splitlines()[-2]


def test_every_step_of_the_tour_names_its_key_and_goes_on_by_it() -> None:
    tour, seen = Tour(), []
    for stop in STOPS:
        seen.append(tour.line)
        tour.did("nothing")
        assert tour.line == seen[-1]
        tour.did(min(stop.does))
    assert tour.over
    assert tour.line == ""
    assert len(seen) == 8
    for at, line in enumerate(seen, 1):
        assert line.startswith(f"tour {at}/8  ")
        assert len(line) <= 78, line
    assert {id for stop in STOPS for id in stop.does} <= set(keys.BY_ID)


def test_a_trail_goes_back_and_forward_and_forgets_what_lay_ahead() -> None:
    trail: Trail[int] = Trail()
    assert trail.walk(-1) is None
    for place in (1, 2, 2, 3):
        trail.visit(place)
    assert [trail.walk(-1), trail.walk(-1), trail.walk(-1), trail.walk(1)] == [2, 1, None, 2]
    trail.visit(4)
    assert (trail.walk(1), trail.places) == (None, [1, 2, 4])
    for place in range(10, 40):
        trail.visit(place)
    assert trail.places == list(range(40 - KEPT, 40))


def test_groups_stand_side_by_side_and_below_each_other_where_that_is_too_wide() -> None:
    rows = [Help("j k", "down, up", "MOVE"), Help("?", "this help", "LOOK"), Help("P", "pause", "CHANGE")]
    assert laid_out(rows, 78, 2)[0] == ("MOVE           LOOK          CHANGE (asks first)", "title")
    narrow = [text for text, _ in laid_out([*rows, Help("/", "filter", "LOOK")], 30, 20)]
    assert narrow[:5] == ["MOVE", "j k  down, up", "LOOK", "?  this help  /  filter", "CHANGE (asks first)"]
    assert [text for text, _ in laid_out([*rows, Help("/", "filter", "LOOK")], 78, 2)] == [*narrow[:5], "P  pause"]
    assert laid_out([], 78, 20) == []


async def test_a_session_is_read_only_when_told_and_no_more_when_the_project_is_named() -> None:
    async with bench() as desk:
        await desk.press(":", *"rw", "enter")
        assert "this session is not read-only" in last(desk)
        await desk.press(":", *"ro", "enter")
        assert "READ-ONLY" in desk.text
        assert "P pause" not in desk.text
        await desk.press("P")
        assert "P is off: read-only: nothing can be changed (:rw leaves it)" in last(desk)
        await desk.press(":", *"rw", "enter", *"dem", "enter")
        assert "expected demo, found dem" in last(desk)
        assert desk.app.gateway.read_only
        await desk.press("o", "enter", "P")
        assert "Pause 1 queue?" in desk.text


async def test_a_session_that_was_started_read_only_stays_so() -> None:
    async with bench(read_only=True) as desk:
        await desk.press(":", *"rw", "enter")
        assert "this session was started with --read-only and stays so" in last(desk)
        await desk.press(":", *"ro", "enter", ":", *"rw", "enter")
        assert "stays so" in last(desk)
        assert desk.app.gateway.read_only


async def test_what_was_paused_is_resumed_by_undo_once_and_only_what_was_done() -> None:
    client = FakeClient()
    client.refuse["emails"] = "no such queue"
    async with bench(client) as desk:
        await desk.press("U")
        assert "nothing to undo" in last(desk)
        await desk.press("space", "space", "P", "y")
        await until(desk, "2 paused")
        await desk.press("4", "U")
        assert "Resume 2 queues?  audit-export billing" in last(desk)
        client.refuse["billing"] = "busy"
        await desk.press("y")
        await until(desk, "1 resumed, 1 refused: busy")
        client.refuse.clear()
        await desk.press("U", "y")
        await until(desk, "1 resumed")
        assert client.changed[2:] == [("resume", "audit-export"), ("resume", "billing")]
        await desk.press("U")
        assert "nothing to undo" in last(desk)


async def test_a_dry_run_says_what_would_be_sent_and_sends_nothing() -> None:
    async with bench() as desk:
        await desk.press("space", "space", "P", "d")
        assert "dry run, nothing sent: holdfast queues pause audit-export  and 1 more like it" in last(desk)
        await desk.press("n")
        assert "nothing was sent" in last(desk)
        await desk.press("4", "Z", "d")
        assert "dry run, nothing sent: holdfast dlq drain would take 40 of all queues" in last(desk)
        await desk.press("n", "D", "d")
        assert desk.page.state.text == "d"
        assert desk.client.changed == []


async def test_the_first_capital_ever_explains_the_rule_and_does_nothing(tmp_path: Path) -> None:
    async with bench(memory=Memory(tmp_path)) as desk:
        await desk.press("G", "P")
        assert CAPITALS in last(desk)
        assert desk.page.state.mode is Mode.NORMAL
        await desk.press("P")
        assert "Pause 1 queue?" in last(desk)
    async with bench(memory=Memory(tmp_path)) as desk:
        await desk.press("P")
        assert "Pause 1 queue?" in last(desk)


async def test_the_trail_leads_back_to_each_screen_as_it_was_left_and_forward_again() -> None:
    async with bench() as desk:
        await desk.press("/", *"image", "enter", "enter")
        await desk.press("j", "space")
        runs, cursor, marks = desk.page, desk.page.window.cursor, dict(desk.page.window.marks)
        await desk.press("enter", "3", "[", "[")
        assert desk.page is runs
        assert (desk.page.window.cursor, desk.page.window.marks) == (cursor, marks)
        assert desk.page.filter == "queue:images"
        await desk.press("[")
        assert (desk.kind, desk.page.window.cursor, desk.page.filter) == (keys.QUEUES, "images", "image")
        await desk.press("[")
        assert "this is the first screen that you were on" in last(desk)
        await desk.press("]", "]")
        assert desk.kind == keys.RUN
        await desk.press("q")
        assert desk.page is runs
        await desk.press("]")
        assert "this is the last screen that you were on" in last(desk)


async def test_screens_that_no_way_leads_back_to_end() -> None:
    async with bench() as desk:
        desk.app.open_run(run_id(2895))
        await desk.settle()
        first = desk.page
        await desk.press("q")
        assert not any(desk.client.bus.listeners.values())
        for _ in range(KEPT):
            desk.app.section(keys.RUNS)
            desk.app.section(keys.QUEUES)
        await desk.settle()
        assert not first.is_running
        assert desk.kind == keys.QUEUES


async def test_the_tour_goes_on_as_its_steps_are_done_and_ends() -> None:
    async with bench() as desk:
        await desk.press(":", *"tour", "enter")
        assert "tour 1/8  j moves down" in last(desk)
        await desk.press("j")
        assert "tour 2/8  enter opens" in last(desk)
        await desk.press("enter", "q", "2", "/")
        await desk.press("escape")
        assert "tour 6/8" in last(desk)
        await desk.press(":", *"tour", "enter")
        assert "the tour is over" in last(desk)


async def test_the_help_is_searched_and_says_why_keys_are_off() -> None:
    async with bench() as desk:
        await desk.press("4")
        desk.client.bus.connected = False
        await desk.later(14)
        await desk.press("?", *"drain")
        assert isinstance(desk.app.screen, HelpScreen)
        assert re.search(r"off: no link to the server: .*\n +Z  drain: retry all shown", desk.text)
        await desk.press("escape", "?", *"xyzzy")
        assert "no key does 'xyzzy'" in desk.text
        await desk.press("escape", "e")
        assert "R Z D U are off: no link to the server" in last(desk)


async def test_a_link_that_is_lost_is_asked_again_with_growing_pauses_and_at_once_when_told() -> None:
    async with bench() as desk:
        desk.client.down = True
        await desk.later(14)
        assert "STALE 14s  reconnect 1, in 1s" in desk.text
        assert "data is 14s old" in desk.text
        assert "(ctrl+r now, enter details)" in desk.text or "ctrl+r now  enter details" in desk.text
        for pause in BACKOFF:
            await desk.later(pause)
        assert f"reconnect {len(BACKOFF) + 1}, in 15s" in desk.text
        await desk.later(1)
        assert f"reconnect {len(BACKOFF) + 1}, in 14s" in desk.text
        desk.client.down = False
        await desk.later(1)
        assert "STALE" in desk.text
        await desk.press("ctrl+r")
        assert "LIVE" in desk.text
        assert "data is" not in desk.text


async def test_marks_of_what_is_gone_when_the_link_returns_are_counted() -> None:
    async with bench() as desk:
        await desk.press("4", "space", "space", "space")
        desk.client.down = True
        await desk.later(14)
        await desk.press("space")
        desk.client.letter_rows = desk.client.letter_rows[2:]
        desk.client.down = False
        await desk.press("ctrl+r")
        assert "the link is back: 2 marked are gone" in last(desk)
        assert list(desk.page.window.marks) == [run_id(2889), run_id(2886)]


async def test_enter_on_what_went_wrong_shows_what_was_asked_and_the_trace() -> None:
    async with bench() as desk:
        desk.client.down = True
        await desk.later(14)
        await desk.press("enter")
        assert isinstance(desk.app.screen, Details)
        assert "asked   queues" in desk.text
        assert "holdfast.errors.DaemonUnavailable" in desk.text
        assert "Traceback" in desk.text
        await desk.press("j", "y")
        assert "copied" in desk.text
        await desk.press("q")
        assert desk.kind == keys.QUEUES
        desk.client.down = False
        await desk.press("ctrl+r", "enter")
        assert desk.kind == keys.RUNS


def test_a_failure_is_told_clean_and_whole() -> None:
    try:
        raise RuntimeError("evil\x1b[2J\nsecond line")
    except RuntimeError as error:
        told = failed(error, NOW)
    assert isinstance(told, Failure)
    assert "\x1b" not in told.text
    assert "second line" in told.text
    assert "asked   nothing" in told.text


@pytest.mark.parametrize("locked", [True, False])
async def test_the_gateway_says_why_nothing_can_be_changed(locked: bool) -> None:
    async def factory() -> object:
        raise OSError("refused")

    gateway = Gateway(factory, project="demo", read_only=locked)  # type: ignore[arg-type]
    if not locked:
        assert gateway.refusal() == "no link to the server: no answer yet"
        gateway.read_only = True
    assert gateway.refusal() == (keys.READ_ONLY if locked else keys.READ_ONLY_NOW)
