"""One flow a screen, with real keys over the fake world."""

from __future__ import annotations

import asyncio

from textual import events

from holdfast.core.entries import StepCompleted
from holdfast.wire.values import encode_value
from holdfast_tui import keys
from holdfast_tui.model.window import Follow
from tui.desks import Bench, bench
from tui.world import FakeClient, failing, log_line, queue, run_id


async def until(desk: Bench, text: str, tries: int = 100) -> None:
    """Wait for what the app's own timers bring."""
    for _ in range(tries):
        if text in desk.text:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{text!r} did not come:\n{desk.text}")


async def test_queues_pause_what_is_marked_and_keep_cursor_and_marks_as_ids() -> None:
    async with bench() as desk:
        await desk.press("j", "space", "j", "space")
        assert desk.page.window.chosen() == ["billing", "etl-nightly"]
        await desk.press("P")
        assert "Pause 2 queues?  billing etl-nightly" in desk.text
        desk.client.queue_rows.insert(0, queue("aaa"))
        await desk.later(4)
        assert "aaa" in desk.text
        assert desk.page.window.cursor == "images"
        await desk.press("y")
        assert desk.client.changed == [("pause", "billing"), ("pause", "etl-nightly")]
        assert desk.page.window.marks == {}
        assert "2 paused" in desk.text


async def test_a_queue_opens_its_runs_and_q_comes_back_to_the_same_row() -> None:
    async with bench() as desk:
        await desk.press("/", *"image", "enter")
        await desk.press("enter")
        assert desk.kind == keys.RUNS
        assert "queue:images" in desk.text
        assert desk.client.asked[-1].queue == "images"
        await desk.press("q")
        assert desk.kind == keys.QUEUES
        assert (desk.page.window.cursor, desk.page.filter) == ("images", "image")
        await desk.press("q", "q")
        assert "ctrl+c quits" in desk.text


async def test_runs_filter_by_state_and_refuse_what_cannot_be_retried() -> None:
    async with bench() as desk:
        await desk.press("2", "R")
        assert "in no state to retry" in desk.text
        await desk.press("/", *"state:dead", "enter")
        await until(desk, "7 runs")
        await until(desk, "CurrencyError")
        assert "send-welcome" not in desk.text
        await desk.press("R", "y")
        assert desk.client.changed == [("retry", run_id(2895), False)]


async def test_new_runs_wait_above_while_somebody_reads() -> None:
    async with bench() as desk:
        await desk.press("2", "j", "j")
        cursor = desk.page.window.cursor
        row = desk.client.run_rows[0]
        new = {field: getattr(row, field) for field in row.__struct_fields__} | {"id": run_id(9), "created_at": 9e9}
        desk.client.run_rows.append(type(row)(**new))
        await desk.later(1)
        assert "1 new above" in desk.text
        assert desk.page.window.position == 2
        await desk.later(5)
        assert (desk.page.window.cursor, desk.page.window.position) == (cursor, 3)
        await desk.press("g")
        assert desk.page.window.cursor == run_id(9)


async def test_a_run_grows_while_it_is_open_and_shows_the_error_under_the_cursor() -> None:
    client = FakeClient()
    trace = client.traces[run_id(2900)] = failing(run_id(2900), dead=False)
    async with bench(client) as desk:
        desk.app.command("run 2900")
        await until(desk, "└ capture")
        client.bus.tell(run_id(2900), trace.log(StepCompleted("/ship#1", 1_700_000_620.0, 0.5, encode_value("sent"))))
        await until(desk, "└ ship")
        await desk.press("G")
        await until(desk, '"sent"')
        for call in client.bus.returned:  # a lost connection: what was said meanwhile was not heard
            trace.log(StepCompleted("/bill#1", 1_700_000_621.0, 0.5, encode_value(1)))
            call()
        await desk.later(1)
        await until(desk, "└ bill")
        await desk.press("C")
        assert "Cancel 1 run?  00002900" in desk.text
        await desk.press("y")
        assert client.changed == [("cancel", run_id(2900))]
        await desk.press("q")
        await desk.pilot.pause()
        assert not any(client.bus.listeners.values())


async def test_the_pane_turns_and_fills_the_screen() -> None:
    async with bench() as desk:
        desk.app.open_run(run_id(2895))
        await desk.settle()
        await desk.press("G")
        await desk.press("enter")
        assert "capture  " not in desk.text
        assert "payments.py" in desk.text
        await desk.press("tab")
        assert '"amount": 1999' in desk.text
        await desk.press("escape")
        assert "└ capture" in desk.text
        assert desk.kind == keys.RUN


async def test_logs_follow_and_frozen_means_frozen() -> None:
    async with bench() as desk:
        await desk.press("3")
        desk.client.stream.write(log_line(41))
        await until(desk, "41 lines")
        assert desk.page.window.follow is Follow.LAST
        await desk.press("f")
        shown = desk.text.splitlines()[3:22]
        for number in range(42, 45):
            desk.client.stream.write(log_line(number))
        await until(desk, "FROZEN 22:23:25, 3 lines below")
        assert desk.text.splitlines()[3:22] == shown
        await desk.press("f")
        assert "FOLLOW" in desk.text
        await desk.press("/", *"slow", "enter")
        assert "of 44 lines" in desk.text
        await desk.press("enter")
        await until(desk, "stored as message")
        await desk.press("enter")
        assert desk.kind == keys.RUN


async def test_output_of_a_run_is_that_runs() -> None:
    async with bench() as desk:
        desk.app.open_logs(run_id(2801))
        await desk.settle()
        assert "Runs > 00002801 > output" in desk.text
        assert desk.kind == keys.LOGS
        assert "00002802" not in desk.text


async def test_dead_letters_are_retried_as_they_were_when_the_key_was_pressed() -> None:
    client = FakeClient()
    client.refuse[run_id(2892)] = "run is running: it was not retried"
    async with bench(client) as desk:
        await desk.press("4", "space", "space", "R")
        client.letter_rows = client.letter_rows[3:]
        await desk.later(5)
        await desk.press("s")
        assert client.changed == [("retry", run_id(2895), True)]
        assert "1 retried, 1 refused: run is running" in desk.text
        assert list(desk.page.window.marks) == [run_id(2892)]


async def test_a_lost_link_refuses_changes_keeps_the_data_and_comes_back() -> None:
    async with bench() as desk:
        await desk.press("4", "space")
        desk.client.bus.connected = False
        await desk.later(14)
        assert "STALE 14s" in desk.text
        assert "send-email" in desk.text
        await desk.press("R")
        assert "R is off: no link to the server" in desk.text
        desk.client.bus.connected = True
        await desk.later(1)
        assert "LIVE" in desk.text
        assert "1 marked" in desk.text


async def test_a_question_left_alone_is_answered_with_no() -> None:
    async with bench() as desk:
        await desk.press("4", "R")
        await desk.later(31)
        assert "nothing was sent" in desk.text
        await desk.press("y")
        assert desk.client.changed == []


async def test_ctrl_c_quits_and_closes_the_client() -> None:
    client = FakeClient()
    async with bench(client) as desk:
        await desk.pilot.press("ctrl+c")
        assert desk.app._exit
    assert client.closed


async def test_a_resize_moves_the_pane_and_keeps_the_cursor_in_view() -> None:
    async with bench(size=(120, 36)) as desk:
        await desk.press("2", "G")
        assert "priority" in desk.text
        cursor = desk.page.window.cursor
        await desk.pilot.resize_terminal(80, 24)
        await desk.settle()
        assert "priority" not in desk.text
        assert desk.page.window.cursor == cursor
        assert "\n>" in desk.text
        await desk.pilot.resize_terminal(60, 10)
        await desk.settle()
        assert "\n>" in desk.text
        await desk.pilot.resize_terminal(59, 10)
        await desk.settle()
        assert desk.text.strip() == "needs 60x10, is 59x10"


async def test_keys_that_are_typed_ahead_are_for_the_screen_that_those_before_them_lead_to() -> None:
    async with bench() as desk:
        for key in "24jj1jP":  # all of them before the first is handled
            desk.app.post_message(events.Key(key, key))
        await until(desk, "Pause 1 queue?  billing")
        await desk.press("n", "4")
        assert desk.page.window.position == 2
        desk.app.post_message(events.Key("1", "1"))
        desk.app.post_message(events.Key("enter", None))
        await until(desk, "queue:billing")
        assert desk.kind == keys.RUNS
