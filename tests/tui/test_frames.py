"""Every screen as text at both sizes: full, empty, with the link lost. HOLDFAST_FRAMES=write stores what is shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from holdfast.core.entries import StepStarted
from tui.desks import Bench, bench, frame
from tui.world import NOW, FakeClient, failing, questions, queue, run_id, runs

FRAMES = Path(__file__).parent / "frames"
SIZES = {"80x24": (80, 24), "120x36": (120, 36)}
GO = {
    "queues": "1",
    "runs": "2",
    "logs": "3",
    "dead": "4",
}


SCREENS = (*GO, "run")


async def show(bench: Bench, screen: str) -> None:
    if screen == "run":
        bench.app.open_run(run_id(2895))
        await bench.settle()
    else:
        await bench.press(GO[screen])


def check(bench: Bench, name: str) -> None:
    shown, file = frame(bench.app), FRAMES / f"{name}.txt"
    if os.environ.get("HOLDFAST_FRAMES") == "write":
        file.write_text(shown)
    assert shown == file.read_text(), f"{name}: look at the difference; HOLDFAST_FRAMES=write takes it as it is"


@pytest.mark.parametrize("size", SIZES)
async def test_full_screens_then_a_lost_link(size: str) -> None:
    async with bench(size=SIZES[size]) as desk:
        for screen in SCREENS:
            await show(desk, screen)
            check(desk, f"{screen}-full-{size}")
        desk.client.down = True
        await desk.later(14)
        check(desk, f"run-lost-{size}")
        for screen in GO:
            await show(desk, screen)
            check(desk, f"{screen}-lost-{size}")


@pytest.mark.parametrize("size", SIZES)
async def test_empty_screens_say_what_to_do(size: str) -> None:
    async with bench(FakeClient(full=False), size=SIZES[size]) as desk:
        for screen in SCREENS:
            await show(desk, screen)
            check(desk, f"{screen}-empty-{size}")


@pytest.mark.parametrize("size", SIZES)
async def test_a_run_that_waits_and_asks(size: str) -> None:
    async with bench(size=SIZES[size]) as desk:
        desk.app.open_run(run_id(2797))
        await desk.settle()
        check(desk, f"run-paused-{size}")
        await desk.press(*["down"] * 5)
        check(desk, f"run-token-{size}")


@pytest.mark.parametrize("size", SIZES)
async def test_a_question_of_a_run_its_answers_and_its_value(size: str) -> None:
    async with bench(size=SIZES[size]) as desk:
        desk.app.open_run(run_id(2797))
        await desk.settle()
        await desk.press("A")
        check(desk, f"run-question-{size}")
        await desk.press("h", *'{"id"', "enter")
        check(desk, f"run-value-{size}")
        await desk.press(*': "ch_7"}', "enter")
        check(desk, f"run-sure-{size}")
        await desk.press("y")
        check(desk, f"run-answered-{size}")


@pytest.mark.parametrize("size", SIZES)
async def test_an_undo_that_failed_and_a_kill(size: str) -> None:
    async with bench(size=SIZES[size]) as desk:
        desk.app.open_run(run_id(2795))
        await desk.settle()
        await desk.press("A")
        check(desk, f"run-undo-question-{size}")
        await desk.press("n", "K", *"0000")
        check(desk, f"run-kill-{size}")


@pytest.mark.parametrize("size", SIZES)
async def test_a_timeline_and_a_history_in_full_then_with_a_lost_link(size: str) -> None:
    async with bench(size=SIZES[size]) as desk:
        desk.app.open_run(run_id(2895))
        await desk.settle()
        await desk.press("G", "t")
        check(desk, f"timeline-full-{size}")
        await desk.press("+", "c")
        check(desk, f"timeline-path-{size}")
        desk.client.down = True
        await desk.later(14)
        check(desk, f"timeline-lost-{size}")
        desk.app.open_history(desk.page.watched)  # type: ignore[attr-defined]
        await desk.settle()
        check(desk, f"history-lost-{size}")
        desk.client.down = False
        await desk.later(1)
        await desk.press("G")
        check(desk, f"history-full-{size}")


@pytest.mark.parametrize("size", SIZES)
async def test_a_live_run_in_its_tree_and_on_its_timeline(size: str) -> None:
    client = FakeClient()
    trace = client.traces[run_id(7)] = failing(run_id(7), dead=False)
    async with bench(client, size=SIZES[size]) as desk:
        desk.app.open_run(run_id(7))
        await desk.settle()
        await desk.press("G")
        client.bus.tell(run_id(7), trace.log(StepStarted("/gather#1/quote#3", NOW - 1)))
        await desk.later(1)
        check(desk, f"run-live-{size}")
        await desk.press("t")
        check(desk, f"timeline-live-{size}")


@pytest.mark.parametrize("size", SIZES)
async def test_a_timeline_and_a_history_of_what_is_not_there(size: str) -> None:
    async with bench(FakeClient(full=False), size=SIZES[size]) as desk:
        desk.app.open_run(run_id(2895))
        await desk.settle()
        await desk.press("t")
        check(desk, f"timeline-empty-{size}")
        desk.app.open_history(desk.page.watched)  # type: ignore[attr-defined]
        await desk.settle()
        check(desk, f"history-empty-{size}")


@pytest.mark.parametrize("size", SIZES)
async def test_a_fork_its_edited_result_and_why_a_run_waits(size: str) -> None:
    async with bench(size=SIZES[size]) as desk:
        desk.app.open_run(run_id(2895))
        await desk.settle()
        await desk.press("j", "j", "F")
        check(desk, f"run-fork-{size}")
        await desk.press("e")
        await desk.settle()
        check(desk, f"editor-{size}")
        await desk.press("down", "end", "left", "backspace", "2", "ctrl+s")
        check(desk, f"run-fork-edited-{size}")
        await desk.press("n")
        desk.app.open_run(run_id(2797))
        await desk.settle()
        await desk.press("e")
        check(desk, f"run-why-{size}")


async def test_read_only_offers_looks_at_a_run_and_no_change() -> None:
    async with bench(read_only=True) as desk:
        desk.app.open_run(run_id(2895))
        await desk.settle()
        await desk.press("F")
        check(desk, "run-read-only-fork-80x24")
        await desk.press("t")
        check(desk, "timeline-read-only-80x24")
        desk.app.open_history(desk.page.watched)  # type: ignore[attr-defined]
        await desk.settle()
        check(desk, "history-read-only-80x24")


@pytest.mark.parametrize("size", SIZES)
async def test_a_list_of_runs_that_ask_and_of_queues_that_have_some(size: str) -> None:
    client = FakeClient()
    client.run_rows = [*questions(), *runs()]
    client.queue_rows[1] = queue("billing", 3, depth=212, running=16, workers=4, paused_runs=2, compensating=1)
    async with bench(client, size=SIZES[size]) as desk:
        await desk.press("down")
        check(desk, f"queues-paused-{size}")
        await desk.press("2")
        check(desk, f"runs-paused-{size}")


async def test_read_only_offers_no_answer() -> None:
    async with bench(read_only=True) as desk:
        desk.app.open_run(run_id(2797))
        await desk.settle()
        await desk.press("A")
        check(desk, "run-read-only-80x24")
        await desk.press("?")
        check(desk, "run-help-read-only-80x24")


async def test_a_fork_that_undoes_its_steps() -> None:
    async with bench() as desk:
        desk.app.open_run(run_id(2798))
        await desk.settle()
        check(desk, "run-undo-80x24")
        await desk.press("tab", "tab", "tab", "tab")
        check(desk, "run-undo-about-80x24")


async def test_a_server_that_never_answered() -> None:
    async with bench(reachable=False) as desk:
        check(desk, "queues-down-80x24")


async def test_read_only_offers_no_change() -> None:
    async with bench(read_only=True) as desk:
        await desk.press("4", "R")
        check(desk, "dead-read-only-80x24")


async def test_a_question_stands_on_the_last_two_lines() -> None:
    async with bench() as desk:
        await desk.press("4", "space", "space", "R")
        check(desk, "dead-question-80x24")
        await desk.press("n", "D", "1")
        check(desk, "dead-typed-80x24")


async def test_help_lists_the_keys_of_the_screen() -> None:
    async with bench() as desk:
        await desk.press("4", "?")
        check(desk, "help-80x24")


async def test_a_small_terminal_keeps_the_list() -> None:
    async with bench(size=(60, 14)) as desk:
        check(desk, "queues-60x14")


@pytest.mark.parametrize("size", SIZES)
async def test_the_help_in_columns(size: str) -> None:
    async with bench(size=SIZES[size]) as desk:
        await desk.press("?")
        check(desk, f"queues-help-{size}")
        await desk.press(*"pau")
        check(desk, f"queues-help-search-{size}")


@pytest.mark.parametrize("size", SIZES)
async def test_the_command_line_is_the_palette(size: str) -> None:
    async with bench(size=SIZES[size]) as desk:
        await desk.press(":", "r")
        check(desk, f"command-{size}")
        await desk.press("tab", "tab")
        check(desk, f"command-tab-{size}")


@pytest.mark.parametrize("size", SIZES)
async def test_a_choice_a_dry_run_and_the_tour(size: str) -> None:
    async with bench(size=SIZES[size]) as desk:
        desk.page.pick("Sort by", (("n", "name"), ("d", "depth"), ("o", "oldest")), desk.page.say)
        await desk.press("x")
        check(desk, f"pick-{size}")
        await desk.press("escape", "P", "d")
        check(desk, f"dry-run-{size}")
        await desk.press("n", ":", *"tour", "enter")
        check(desk, f"tour-{size}")


async def test_the_help_while_the_link_is_lost() -> None:
    async with bench() as desk:
        desk.client.bus.connected = False
        await desk.later(14)
        await desk.press("?")
        check(desk, "queues-help-lost-80x24")


@pytest.mark.parametrize("size", SIZES)
async def test_lists_with_an_error_keep_what_they_had_and_read_only_ones_offer_no_change(size: str) -> None:
    async with bench(read_only=True, size=SIZES[size]) as desk:
        for screen in ("queues", "runs"):
            await show(desk, screen)
            check(desk, f"{screen}-read-only-{size}")
        desk.client.wrong = "the history can't be read: disk full"
        await desk.later(4)
        check(desk, f"runs-error-{size}")
        await show(desk, "queues")
        await desk.later(4)
        check(desk, f"queues-error-{size}")


@pytest.mark.parametrize("size", SIZES)
async def test_lists_with_marks_a_filter_an_order_and_a_choice(size: str) -> None:
    async with bench(size=SIZES[size]) as desk:
        await desk.press("j", "space", "space", "s")
        check(desk, f"queues-sort-{size}")
        await desk.press("d", "/", *"dead:>0 took:x")
        check(desk, f"queues-filter-{size}")
        await desk.press("escape", "j", "j", "e")
        check(desk, f"queues-explained-{size}")
        await desk.press("escape", "2", "space", "y")
        check(desk, f"runs-copy-{size}")
        await desk.press("escape", "u")
        await desk.settle()
        check(desk, f"runs-unique-{size}")
