"""What every list can do, with real keys over the fake world: order, columns, views, marks, copies, files, why."""

from __future__ import annotations

import asyncio
import base64
import csv
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual import events

from holdfast.core.admission import QueueLimits
from holdfast.core.model import Rate, State
from holdfast.wire import api
from holdfast.wire.api import RunsOrder
from holdfast_tui.model.queue import explained
from holdfast_tui.plan import Plan, Verb
from holdfast_tui.router import Mode
from holdfast_tui.screens.paged import DEBOUNCE
from tui.desks import Bench, bench
from tui.test_flows import until
from tui.world import NOW, FakeClient, queue, run_id, runs


def column(desk: Bench, title: str, *, right: bool = False) -> list[str]:
    """A column of the list, as it is on the screen: what stands at its title."""
    head, *rows = desk.text.splitlines()[2:22]
    begin = head.index(title)
    found = (re.search(r"\S+", row[begin - 2 * right :]) for row in rows)
    return [each[0] for each in found if each is not None]


def names(desk: Bench) -> list[str]:
    return [row[2:].split()[0] for row in desk.text.splitlines()[3:22] if row.strip()]


async def command(desk: Bench, text: str) -> None:
    desk.app.command(text)
    desk.page.paint()
    await desk.settle()


async def filtered(desk: Bench, text: str) -> None:
    """Filter a list that the daemon narrows, and wait for what it answers."""
    await desk.press("/", "ctrl+u", *text, "enter")
    await asyncio.sleep(DEBOUNCE)
    await desk.settle()


def copies(desk: Bench) -> list[str]:
    """What goes into the clipboard from now on."""
    found: list[str] = []

    def send(text: str) -> None:
        found.extend(base64.b64decode(data).decode() for data in re.findall(r"\x1b\]52;c;([^\x07]*)\x07", text))

    desk.app.send = send  # type: ignore[method-assign]
    return found


# --- order --------------------------------------------------------------------------------------------------------


async def test_a_letter_behind_s_sorts_and_the_same_again_turns_round() -> None:
    async with bench() as desk:
        await desk.press("j", "s")
        assert "[d] depth" in desk.text
        await desk.press("d")
        assert names(desk)[:3] == ["emails", "webhooks", "images"]
        assert "DEPTH↓" in desk.text
        assert "sort depth down (s)" in desk.text
        assert desk.page.window.cursor == "billing"
        await desk.press("s", "d")
        assert names(desk)[-1] == "emails"
        assert "DEPTH↑" in desk.text
        await desk.press("s", "R")
        assert "R is none of q s d" in desk.text
        await desk.press("escape")
        assert desk.page.state.mode is Mode.NORMAL


async def test_rows_hold_still_while_somebody_is_at_the_keys() -> None:
    async with bench() as desk:
        await desk.press("s", "d", "G")
        before = names(desk)
        last = desk.client.queue_rows[0]
        desk.client.queue_rows[0] = msgspec.structs.replace(last, depth=99_000)
        await desk.later(1)
        assert names(desk) == before
        assert "99k" in desk.text
        await desk.later(4)
        assert names(desk)[0] == "audit-export"
        desk.client.queue_rows[0] = last
        await desk.press("k", "ctrl+r")
        assert names(desk) == before


async def test_a_click_on_a_title_sorts_by_it() -> None:
    async with bench() as desk:
        table = desk.page.table
        x = desk.text.splitlines()[2].index("DEPTH")
        table.post_message(
            events.Click(table, x, 0, 0, 0, 1, False, False, False, screen_x=x, screen_y=2, style=None)
        )  # fmt: skip
        await desk.settle()
        assert names(desk)[0] == "emails"


async def test_runs_are_ordered_by_the_daemon() -> None:
    async with bench() as desk:
        await desk.press("2", "s", "t")
        assert (desk.client.asked[-1].order, desk.client.asked[-1].descending) == (RunsOrder.TOOK, True)
        assert column(desk, "TOOK", right=True)[:2] == ["840ms", "840ms"]
        assert "sort took down (s)" in desk.text
        await desk.press("s", "t")
        assert desk.client.asked[-1].descending is False
        assert column(desk, "TOOK", right=True)[:2] == ["120ms", "120ms"]


# --- filter -------------------------------------------------------------------------------------------------------


async def test_queues_are_filtered_by_their_columns_and_a_mistake_stands_under_its_caret() -> None:
    async with bench() as desk:
        await desk.press("/", *"depth:>100 -state:paused")
        assert names(desk) == ["billing", "etl-nightly", "images", "webhooks"]
        assert "4 of 8 queues" in desk.text
        await desk.press(*" oldest:>x")
        lines = desk.text.splitlines()
        assert lines[22] == " /depth:>100 -state:paused oldest:>x▏"
        assert lines[23].index("^") == lines[22].index("oldest")
        assert "expected how long" in lines[23]
        await desk.press("enter")
        assert "not read: oldest:>x" in desk.text
        assert len(names(desk)) == 4


class Slow(FakeClient):
    """A client that answers one question late."""

    def __init__(self, late: str) -> None:
        super().__init__()
        self.late, self.go = late, asyncio.Event()
        self.waiting = asyncio.Event()

    async def runs(self, query: api.RunsQuery | None = None) -> api.RunsPage:
        page = await super().runs(query)
        if query is not None and query.words == (self.late,):
            self.waiting.set()
            await self.go.wait()
        return page


async def test_a_late_answer_to_an_older_filter_changes_nothing() -> None:
    client = Slow("charge")
    async with bench(client) as desk:
        await desk.press("2")
        desk.page.filter = "charge"
        desk.page.narrowed()
        await client.waiting.wait()
        desk.page.filter = "index"
        desk.page.narrowed()
        client.go.set()
        await until(desk, "13 runs")
        assert set(column(desk, "TASK")) == {"index-doc"}
        await asyncio.sleep(DEBOUNCE)
        await desk.settle()
        assert set(column(desk, "TASK")) == {"index-doc"}


# --- columns and views --------------------------------------------------------------------------------------------


async def test_columns_are_hidden_moved_and_panned() -> None:
    async with bench() as desk:
        await command(desk, "columns dead,queue,-run")
        head = desk.text.splitlines()[2].split()
        assert head[:4] == ["DEAD", "QUEUE↑", "STATE", "DEPTH"]
        assert "RUN" not in head
        await command(desk, "columns nope")
        assert "no column nope: expected names of queue state" in desk.text
        await command(desk, "columns *")
        await desk.pilot.resize_terminal(62, 24)
        await desk.settle()
        assert "LAST 60s" not in desk.text
        await desk.press("l", "l", "l", "l", "l")
        assert desk.text.splitlines()[2].split()[0] == "QUEUE↑"
        assert "LAST 60s" in desk.text
        assert "STATE" not in desk.text
        await desk.press("h", "h", "h", "h", "h", "h")
        assert "no column is out of view at the left" in desk.text
        assert "STATE" in desk.text


async def test_a_view_is_kept_and_shown_again_from_another_screen_and_another_desk(tmp_path: Path) -> None:
    async with bench(settings=tmp_path) as desk:
        await desk.press("2")
        await filtered(desk, "state:dead")
        await desk.press("s", "t")
        await command(desk, "columns took,-try")
        await command(desk, "save slow")
        assert "kept: :view slow" in desk.text
    async with bench(settings=tmp_path) as desk:
        await command(desk, "views")
        assert "slow: runs state:dead" in desk.text
        await desk.press(*":vie", "tab")
        await command(desk, "view slow")
        await until(desk, "7 runs")
        assert desk.text.splitlines()[2].split()[:2] == ["↓TOOK", "STATE"]
        assert (desk.client.asked[-1].states, desk.client.asked[-1].order) == ((State.DEAD,), RunsOrder.TOOK)
        await command(desk, "forget slow")
        await command(desk, "view slow")
        assert "no view slow: there are none" in desk.text


async def test_a_broken_file_of_views_is_reported_and_not_written_over(tmp_path: Path) -> None:
    file = tmp_path / "views.toml"
    file.write_text("[views.a\n")
    async with bench(settings=tmp_path, size=(200, 24)) as desk:
        await command(desk, "save mine")
        assert "views.toml is broken, mend it or move it away" in desk.text
    assert file.read_text() == "[views.a\n"


async def test_what_a_view_names_that_is_not_there_any_more_is_said(tmp_path: Path) -> None:
    (tmp_path / "views.toml").write_text('[views.old]\nscreen = "queues"\nsort = "gone down"\ncolumns = "depth,nope"\n')
    async with bench(settings=tmp_path, size=(160, 24)) as desk:
        await command(desk, "view old")
        assert "no column nope" in desk.text
        assert "found gone down" in desk.text
        assert names(desk)[0] == "audit-export"


# --- marks --------------------------------------------------------------------------------------------------------


async def test_marks_of_a_range_outlive_filter_and_order_and_what_is_gone_is_said() -> None:
    async with bench() as desk:
        await desk.press("j", "space", "j", "j", "v")
        assert desk.page.window.chosen() == ["billing", "emails", "etl-nightly", "images"]
        assert "3 queues more marked" in desk.text
        await desk.press("s", "d", "/", *"e", "enter")
        assert "4 marked, 1 hidden" in desk.text
        desk.client.queue_rows = [row for row in desk.client.queue_rows if row.name not in ("emails", "images")]
        await desk.later(4)
        assert "2 marked are gone" in desk.text
        assert desk.page.window.chosen() == ["billing", "etl-nightly"]


async def test_a_marks_all_that_match_also_what_is_not_loaded() -> None:
    client = FakeClient()
    client.run_rows = runs(900)
    async with bench(client) as desk:
        await desk.press("2")
        await filtered(desk, "state:ok")
        await desk.press("a")
        await until(desk, "300 runs marked: all that match")
        await filtered(desk, "state:ok index")
        assert "300 marked, 200 hidden" in desk.text
        await desk.press("R")
        assert "in no state to retry" in desk.text or "Retry" in desk.text


async def test_marks_end_at_ten_thousand_and_say_so() -> None:
    client = FakeClient()
    client.run_rows = runs(10_020)
    async with bench(client) as desk:
        await desk.press("2", "a")
        await until(desk, "10,000 runs marked, the first 10,000: more match")
        assert len(desk.page.window.marks) == 10_000
        assert len(desk.page.loaded) <= 2_000
        client.run_rows = client.run_rows[20:]
        await desk.press("ctrl+r")
        await until(desk, "marked are gone")
        assert len(desk.page.window.marks) == 9_980


# --- copies and files ---------------------------------------------------------------------------------------------


async def test_id_json_row_and_command_are_copied_of_the_cursor_or_the_marks() -> None:
    async with bench() as desk:
        found = copies(desk)
        await desk.press("2", "y", "i", "y", "c", "y", "r", "y", "j")
        assert found[:2] == [run_id(2900), f"holdfast runs show {run_id(2900)}"]
        assert found[2].split("\t")[:3] == ["run", "00002900", "send-welcome"]
        assert json.loads(found[3])["created_at"] == "2023-11-14T22:23:43.000Z"
        await desk.press("space", "space", "y", "i")
        assert found[4] == f"{run_id(2900)}\n{run_id(2899)}"
        assert "copied 2 lines" in desk.text
        await desk.press("1", "y", "c")
        assert found[5] == "holdfast runs list --filter queue:audit-export"


class Thoughtful(FakeClient):
    """A client that takes its time to count what a purge would cancel."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    async def purge_queue(self, name: str, *, reason: str = "", dry_run: bool = False) -> int:
        await self.go.wait()
        return await super().purge_queue(name, reason=reason, dry_run=dry_run)


async def test_a_question_that_comes_late_does_not_break_into_what_is_typed() -> None:
    client = Thoughtful()
    async with bench(client) as desk:
        await desk.press("X", "/", "e")
        client.go.set()
        await desk.press("y")
        assert (desk.page.state.mode, desk.page.filter) == (Mode.FILTER, "ey")
        await desk.press("escape", "X")
        await until(desk, "PURGE audit-export")


@pytest.mark.parametrize("verb", [Verb.PAUSE, Verb.RESUME, Verb.LIMIT, Verb.PURGE])
def test_a_command_to_copy_has_nothing_in_it_that_a_shell_would_obey(verb: Verb) -> None:
    name = "a; echo $(id)\x1b"
    plan = Plan(verb=verb, targets=(name,), what="queue", values={name: QueueLimits()})
    assert f"queues {verb} 'a; echo $(id)␛'" in plan.command(name)


async def test_all_that_match_are_written_to_a_file_also_in_read_only(tmp_path: Path) -> None:
    client = FakeClient()
    client.run_rows = runs(2_500)
    async with bench(client, read_only=True, size=(200, 24)) as desk:
        await desk.press("2")
        await filtered(desk, "state:ok")
        await desk.press("w", "ctrl+u", *"runs.txt", "enter")
        assert "expected a file that ends in .csv, .jsonl, .parquet" in desk.text
        await desk.press("ctrl+u", *str(tmp_path / "runs.csv"), "enter")
        await until(desk, "834 runs written to")
        await desk.press("w", "ctrl+u", *str(tmp_path / "runs.csv"), "enter")
        assert "is there already" in desk.text
        await desk.press("n")
        assert "nothing was written" in desk.text
        await desk.press("1")
        await command(desk, f"export {tmp_path}/runs.csv")
        await desk.press("y")
        await until(desk, "8 queues written to")
    with (tmp_path / "runs.csv").open(newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)][:2] == ["audit-export", "billing"]


async def test_writing_stops_at_escape_and_leaves_what_was_there(tmp_path: Path) -> None:
    client = FakeClient()
    file = tmp_path / "runs.jsonl"
    file.write_text("before\n")
    client.run_rows = runs(1_100)
    rows: Sequence[Any] = client.run_rows

    async def page(query: api.RunsQuery | None = None) -> api.RunsPage:
        await asyncio.sleep(0)
        return api.RunsPage(tuple(rows[:1000]), 1_000_000, True)

    client.runs = page  # type: ignore[method-assign]
    async with bench(client, size=(200, 24)) as desk:
        await desk.press("2", "w", "ctrl+u", *str(file), "enter", "y")
        await until(desk, "000 runs  (esc stops)")
        assert desk.page.state.mode is Mode.SENDING
        await desk.press("escape")
        await until(desk, "stopped: nothing was written")
    assert file.read_text() == "before\n"
    assert os.listdir(tmp_path) == ["runs.jsonl"]


# --- queues -------------------------------------------------------------------------------------------------------


async def test_a_limit_is_typed_shown_as_a_command_and_sent() -> None:
    async with bench(size=(160, 24)) as desk:
        await desk.press("j", "L")
        await until(desk, "Limit billing: how many runs at once?")
        await desk.press("ctrl+u", "0", "enter")
        assert "expected a whole number from 1, or none, found 0" in desk.text
        await desk.press("ctrl+u", *"24", "enter", "ctrl+u", *"fast", "enter")
        assert 'expected a rate like "50/s"' in desk.text
        await desk.press("ctrl+u", *"50/s", "enter")
        assert "Limit billing: 24 at once, 50/s?  holdfast queues limit billing -c 24 --rate 50/s" in desk.text
        assert desk.client.changed == []
        await desk.press("y")
        limits = QueueLimits(concurrency=24, rate=Rate(50, 1.0))
        assert desk.client.changed == [("limit", "billing", limits)]
        await desk.press("U", "y")
        assert desk.client.changed[-1] == ("limit", "billing", QueueLimits())


async def test_a_queue_is_purged_by_its_name_only() -> None:
    async with bench() as desk:
        await desk.press("/", *"image", "enter", "X")
        await until(desk, "PURGE images")
        assert "PURGE images: cancel all 904 that wait there and never started" in desk.text
        await desk.press("y", "enter")
        assert desk.client.changed == []
        await desk.press("ctrl+u", *"images", "enter")
        assert desk.client.changed == [("purge", "images")]
        await desk.press("escape", "space", "space", "X")
        assert "one queue at a time: 2 are chosen" in desk.text


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (queue("q", 400, depth=9, paused=True, workers=1), "PAUSED: nothing new is started; what runs goes on. P res"),
        (queue("q", 400, depth=9), "NO WORKER serves it. Start one: holdfast worker MODULE"),
        (queue("q", 9, depth=9, limit=4, running=4, workers=1), "LIMIT: 4 of 4 run at once. L changes the limit."),
        (
            queue("q", 9, depth=9, rate=Rate(10, 1.0), limited_by="queue rate", until=NOW + 3, workers=1),
            "RATE: 10/s are started. The next start is until 22:23:47. L changes",
        ),
        (queue("q", 400, depth=9, workers=1), "STALLED: runs wait, workers are there, and nothing is started"),
        (queue("q", 400, depth=9, workers=1, running=1, in_rate=9, out_rate=2), "SLOW: 7/s more come in than go out"),
        (queue("q", 9, depth=90, workers=1, running=1, out_rate=9), "it is empty in about 10s"),
        (queue("q"), "Nothing holds this queue back. Nothing waits in it."),
        (queue("q", 9, depth=9, workers=1, limited_by="key limit"), "KEY LIMIT: enter shows its runs"),
    ],
)
def test_what_holds_a_queue_is_said_with_the_key_that_changes_it(row: api.QueueRow, said: str) -> None:
    assert said in "\n".join(text for text, _ in explained(row, NOW))


async def test_e_explains_a_queue_over_the_whole_body_and_esc_goes_back() -> None:
    async with bench() as desk:
        await desk.press("j", "j", "e")
        await until(desk, "what holds emails")
        assert "PAUSED: nothing new is started; what runs goes on. P resumes it." in desk.text
        await desk.press("escape")
        await until(desk, "QUEUE↑")
        assert names(desk)[2] == "emails"


# --- runs ---------------------------------------------------------------------------------------------------------


async def test_e_says_why_a_run_does_not_run_since_when_and_what_changes_it() -> None:
    client = FakeClient()
    client.reasons = (api.Reason("paused", "its queue is paused", NOW - 60, NOW + 3),)
    async with bench(client) as desk:
        await desk.press("2", "e")
        await until(desk, "why 00002900 does not run")
        assert "since 2023-11-14 22:22:44Z, until 2023-11-14 22:23:47Z at the soonest" in desk.text
        assert "what changes it: P on queues (1) resumes the queue" in desk.text
        await desk.press("q")
        assert desk.kind == "runs"
        assert "send-welcome" in desk.text


async def test_u_groups_errors_and_a_digit_narrows_to_one_kind() -> None:
    async with bench() as desk:
        await desk.press("2", "u")
        await until(desk, "errors of 40 dead runs: 3 kinds")
        assert "14  22:21:44  TimeoutError: smtp.example:*  (send-email)" in desk.text
        await desk.press("3")
        await until(desk, 'state:dead type:payments.CurrencyError pattern:"bad currency')
        asked = desk.client.asked[-1]
        assert (asked.error_type, asked.pattern) == ("payments.CurrencyError", "bad currency 'XX'")


async def test_braces_jump_to_failures_also_beyond_what_is_loaded() -> None:
    client = FakeClient()
    client.run_rows = [
        msgspec.structs.replace(row, state=State.COMPLETED, error_type="") if at not in (3, 700) else row
        for at, row in enumerate(msgspec.structs.replace(row, state=State.DEAD) for row in runs(900))
    ]
    async with bench(client) as desk:
        await desk.press("2", "}")
        assert desk.page.window.cursor == run_id(2897)
        await desk.press("}")
        await until(desk, "00002200")
        assert desk.page.window.cursor == run_id(2200)
        await desk.press("}")
        await until(desk, "no failure below")
        await desk.press("{")
        await until(desk, "00002897")
        assert desk.page.window.cursor == run_id(2897)


async def test_the_end_of_a_long_list_is_one_question_away_and_g_comes_back() -> None:
    client = FakeClient()
    client.run_rows = runs(2_000)
    async with bench(client, size=(120, 36)) as desk:
        await desk.press("2", "G")
        assert desk.page.window.cursor == run_id(901)
        assert "row 2,000" in desk.text
        assert client.asked[-1].descending is False or client.asked[-2].descending is False
        assert len(desk.page.loaded) < 500
        await desk.press("k", "pageup", "pageup", "g")
        assert desk.page.window.cursor == run_id(2900)
        assert "FOLLOW" in desk.text


async def test_z_turns_how_times_are_written_on_every_screen() -> None:
    async with bench() as desk:
        await desk.press("2", "z")
        assert "times are local" in desk.text
        await desk.press("z", "j")
        assert "1s ago" in desk.text
        await desk.press("1", "2", "z", "j")
        assert "22:23:43" in desk.text


async def test_the_pane_shows_where_the_run_under_the_cursor_failed_once_the_cursor_rests() -> None:
    async with bench(size=(120, 36)) as desk:
        await desk.press("2", "}")
        await until(desk, "error at step 4 'capture'")
        assert "payments.py:212 in capture" in desk.text
        assert "├ ok     reserve            41ms" in desk.text
        assert "input  34 B" in desk.text
