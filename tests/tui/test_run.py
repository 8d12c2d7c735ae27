"""A run's own screens: folds, failures, finding, timeline, history, forks, edits, why; against a desk over a fake."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from holdfast.core.entries import AttemptStarted, RunCompleted, RunDead, StepCompleted, StepFailed, StepStarted
from holdfast.core.lifecycle import Kind
from holdfast.errors import Refused
from holdfast.wire import api
from holdfast.wire.values import encode_value
from holdfast_tui import keys
from holdfast_tui.router import Mode
from holdfast_tui.screens.run import RunTree
from holdfast_tui.widgets.editor import Editor
from tui.desks import Bench, bench, frame
from tui.test_answers import last
from tui.test_flows import until
from tui.world import BAD, EVIL, NOW, FakeClient, Trace, failing, run_id

DEAD, PAUSED, UNDOING, BIG = run_id(2895), run_id(2797), run_id(2798), run_id(7)


async def opened(desk: Bench, run: str = DEAD) -> None:
    desk.app.open_run(run)
    await desk.settle()


def cursor(desk: Bench) -> Any:
    return desk.page.window.cursor


def line(desk: Bench) -> str:
    """The line that the cursor is on."""
    return next(text for text in desk.text.splitlines() if text.startswith(">"))


# --- tree -------------------------------------------------------------------------------------------------------------


async def test_branches_fold_one_by_one_and_all_and_the_cursor_is_held_by_what_is_folded() -> None:
    async with bench() as desk:
        await opened(desk)
        await desk.press("}", "h")
        assert "├▾ gather (2 parallel)" in desk.text
        assert "└▸ quote#2  (2 folded)" in line(desk)
        await desk.press("j", "k", "-")
        assert "├▸ gather" in line(desk)
        assert "(2 folded)" in line(desk)
        await desk.press("=")
        assert "try 2" in desk.text
        assert cursor(desk) == "/gather#1"
        await desk.press("h", "h")
        assert cursor(desk) == "/"
        await desk.press("h")
        assert "(4 folded)" in line(desk)
        assert "validate" not in desk.text
        await desk.press("l", "G")
        assert "capture" in line(desk)


async def test_failures_are_stepped_through_also_where_they_are_folded_away() -> None:
    async with bench() as desk:
        await opened(desk)
        await desk.press("-", "}")
        assert cursor(desk) == "/gather#1/quote#2"
        await desk.press("}")
        assert cursor(desk) == "/capture#1"
        await desk.press("}")
        assert cursor(desk) == "/gather#1/quote#2"
        await desk.press("{")
        assert cursor(desk) == "/capture#1"
        await opened(desk, run_id(2794))
        await desk.press("}")
        assert "no node failed" in last(desk)[0]


async def test_a_node_is_found_by_its_name_or_error_and_the_next_and_the_one_before() -> None:
    async with bench() as desk:
        await opened(desk)
        await desk.press("-", "/", *"quote")
        assert cursor(desk) == "/gather#1/quote#1"
        assert "2 match quote" in desk.text
        await desk.press("enter", "n")
        assert cursor(desk) == "/gather#1/quote#2"
        await desk.press("N")
        assert cursor(desk) == "/gather#1/quote#1"
        await desk.press("escape", "n")
        assert "nothing to find" in last(desk)[0]
        await desk.press("/", *"zzz", "enter", "n")
        assert "0 match zzz" in desk.text
        assert "no node has zzz" in last(desk)[0]


async def test_the_tree_grows_while_it_runs_and_the_cursor_stays_on_its_node() -> None:
    client = FakeClient()
    trace = client.traces[DEAD] = failing(DEAD, dead=False)
    async with bench(client) as desk:
        await opened(desk)
        await desk.press("G")
        assert "capture" in line(desk)
        for number in range(30):
            client.bus.tell(DEAD, trace.log(StepCompleted(f"/gather#1/more#{number + 1}", NOW, 0.1, encode_value(1))))
        await until(desk, "more#30")
        assert cursor(desk) == "/capture#1"
        assert desk.page.window.position == 38
        client.bus.tell(DEAD, trace.log(StepFailed("/capture#1", NOW, 1.0, BAD)))
        await until(desk, "CurrencyError: bad currency")
        assert "FAIL" in line(desk)


# --- pane -------------------------------------------------------------------------------------------------------------


async def test_the_pages_turn_round_and_stay_turned_on_other_lines() -> None:
    async with bench() as desk:
        await opened(desk)
        for page in ("input", "output", "attempts", "meta", "history", "error"):
            await desk.press("tab")
            assert f"[{page}]" in desk.text
        await desk.press("tab", "tab", "j")
        assert "─ validate ─ error | input | [output]" in desk.text
        assert "true" in desk.text


async def test_a_value_that_the_history_came_without_is_asked_for_when_its_line_is_read() -> None:
    client = FakeClient()
    trace = client.traces[BIG] = Trace(BIG)
    trace.log(AttemptStarted(NOW - 9, 1, "w", "n1", "i"), StepCompleted("/big#1", NOW - 8, 0.1, b""))
    trace.log(StepCompleted("/gone#1", NOW - 7, 0.1, b""), RunCompleted(NOW - 6, encode_value("fine")))
    client.values[BIG, "/big#1"] = api.Value(run=BIG, key="/big#1", json=f'"{EVIL} 1"', size=9_000_000, whole=False)
    client.values[BIG, "/gone#1"] = api.Value(run=BIG, key="/gone#1", json="", size=0)
    async with bench(client) as desk:
        await opened(desk, BIG)
        assert "fine" in desk.text
        await desk.press("j")
        assert "reading the value" in desk.text
        assert not [asked for asked in client.asked if isinstance(asked, api.ValueRef)]
        await desk.later(1)
        assert "\\u202e" in desk.text
        assert "... 9,000,000 bytes in all: this is its beginning" in desk.text
        await desk.later(1)
        assert client.asked.count(api.ValueRef(BIG, "/big#1")) == 1


async def test_a_value_that_cannot_be_read_says_why() -> None:
    client = FakeClient()
    trace = client.traces[DEAD] = Trace(DEAD)
    trace.log(AttemptStarted(NOW - 9, 1, "w", "n1", "i"), StepCompleted("/big#1", NOW - 8, 0.1, b""))

    async def refuse(run: str, key: str) -> api.Value:
        raise Refused("a piece of it is missing", code="not_found")

    client.value = refuse  # type: ignore[method-assign]
    async with bench(client) as desk:
        await opened(desk)
        await desk.press("j")
        await desk.later(1)
        assert "a piece of it is missing" in desk.text


async def test_enter_on_meta_opens_the_run_that_it_leads_to() -> None:
    async with bench() as desk:
        await opened(desk, UNDOING)
        await desk.press("tab", "tab", "tab", "tab")
        assert "[meta]" in desk.text
        await desk.press("enter")
        assert "Runs > 00002799" in desk.text
        await desk.press("q")
        assert "Runs > 00002798" in desk.text


async def test_of_several_runs_one_is_picked() -> None:
    client = FakeClient()
    view = client.traces[PAUSED].view()
    children = (api.RunRow(**(_fields(view.row) | {"id": run_id(2800), "task": "ship"})),)
    linked = msgspec.structs.replace(view, children=children, hook=run_id(2801))

    async def get(run: str) -> api.RunView:
        return linked if run == PAUSED else client.traces[DEAD].view()

    client.get = get  # type: ignore[method-assign]
    async with bench(client, size=(120, 36)) as desk:
        await opened(desk, PAUSED)
        for _ in range(4):
            await desk.press("tab")
        assert "b hook" in desk.text
        await desk.press("enter")
        assert "open which run?" in last(desk)[0]
        assert "[a] child ship 00002800" in last(desk)[1]
        await desk.press("b")
        assert isinstance(desk.page, RunTree)
        assert desk.page is not None


def _fields(row: msgspec.Struct) -> dict[str, Any]:
    return {field: getattr(row, field) for field in row.__struct_fields__}


async def test_what_is_copied_is_said_and_what_is_not_there_too() -> None:
    async with bench() as desk:
        sent: list[str] = []
        desk.app.copy = lambda text: sent.append(text) or "copied"  # type: ignore[method-assign,func-returns-value]
        await opened(desk)
        await desk.press("j", "y")
        assert "[v] value  [i] id  [j] JSON  [r] row  [c] command" in last(desk)[1]
        for letter in "vic":
            await desk.press(*([letter] if letter == "v" else ["y", letter]))
        await desk.press("y", "j", "y", "escape")
        assert sent[:3] == ["true", "/validate#1", f"holdfast runs tree {DEAD}"]
        assert json.loads(sent[3]) | {"at": 0} == json.loads(sent[3]) | {"at": 0}
        assert (json.loads(sent[3])["key"], json.loads(sent[3])["value"]) == ("/validate#1", True)
        await opened(desk, PAUSED)
        await desk.press("y", "v")
        assert "no value here" in last(desk)[0]


# --- timeline, history ------------------------------------------------------------------------------------------------


async def test_the_timeline_zooms_pans_and_shows_the_path_that_it_took_so_long_on() -> None:
    async with bench() as desk:
        await opened(desk)
        await desk.press("G", "t")
        assert desk.kind == keys.TIMELINE
        assert "window 0 - 3.2s  zoom x1" in desk.text
        await desk.press("+", "+")
        assert "zoom x4" in desk.text
        at = desk.text.splitlines()[1]
        await desk.press("h")
        assert desk.text.splitlines()[1] != at
        await desk.press("0", "l")
        assert "+ zooms in" in last(desk)[0]
        await desk.press("c")
        assert "critical path 2.2s" in desk.text
        await desk.press("k", "t")
        assert desk.kind == keys.RUN
        assert cursor(desk) == "/gather#1/quote#2!2"
        await desk.press("t", "-", "enter")
        assert desk.kind == keys.RUN


async def test_the_timeline_grows_live_and_finds_failures() -> None:
    client = FakeClient()
    trace = client.traces[DEAD] = failing(DEAD, dead=False)
    async with bench(client) as desk:
        await opened(desk)
        await desk.press("t", "}")
        assert cursor(desk) == "/gather#1/quote#2"
        client.bus.tell(DEAD, trace.log(StepStarted("/late#1", NOW)))
        await until(desk, "└ late")
        await desk.later(5)
        assert "for 1m03s" in desk.text


async def test_the_history_has_every_entry_with_what_it_did_and_is_searched() -> None:
    async with bench() as desk:
        await opened(desk)
        await desk.press("tab", "tab", "tab", "tab", "tab", "enter")
        assert desk.kind == keys.HISTORY
        assert "10 entries" in desk.text
        assert "queue → run" in desk.text
        assert "run → DEAD" in desk.text
        await desk.press("G", "{")
        assert "StepFailed" in line(desk)
        await desk.press("{")
        assert "no failure further up" in last(desk)[0]
        await desk.press("enter")
        assert "step failed" in desk.text
        assert "error: payments.CurrencyError" in desk.text
        await desk.press("escape", "/", *"validate", "enter")
        assert "1 of 10 entries" in desk.text
        await desk.press("/", "ctrl+u", *"nothing at all", "enter")
        assert "no entry of 10 has nothing at all" in desk.text
        await desk.press("escape", "q")
        assert desk.kind == keys.RUN


async def test_the_history_opens_at_what_the_cursor_was_on_and_grows() -> None:
    client = FakeClient()
    trace = client.traces[DEAD] = failing(DEAD, dead=False)
    async with bench(client) as desk:
        await opened(desk)
        await desk.press("j", "tab", "tab", "tab")
        assert "[history]" in desk.text
        await desk.press("enter")
        assert "/validate#1" in line(desk)
        client.bus.tell(DEAD, trace.put("log", "n9", StepCompleted("/late#1", NOW, 0.1, encode_value(1))))
        await until(desk, "did not count")
        assert "9 entries" in desk.text


# --- changes ----------------------------------------------------------------------------------------------------------


async def test_a_fork_says_what_it_keeps_and_goes_to_the_new_run() -> None:
    async with bench() as desk:
        await opened(desk)
        await desk.press("F")
        assert "go to a checkpoint to fork there" in last(desk)[0]
        await desk.press("G", "F")
        assert "Fork 00002895 before /capture#1: a new run keeps 4 results, the rest runs anew?" in last(desk)[0]
        assert "runs anew 1 step" in desk.text
        await desk.press("n")
        assert desk.client.changed == []
        await desk.press("F", "y")
        assert desk.client.changed == [("fork", DEAD, "/capture#1", {}, False)]
        assert "this is a new run, made from 00002895" in last(desk)[0]


async def test_a_result_is_edited_in_place_shown_as_it_differs_and_forked_behind() -> None:
    async with bench() as desk:
        await opened(desk)
        await desk.press("j", "j", "F", "e")
        await until_editor(desk)
        assert "edit result of /reserve#1" in desk.text
        await desk.press("down", "end", *"!")
        await desk.press("ctrl+s")
        assert "line 2, column" in desk.text
        await desk.press("ctrl+z", "end", "left", "backspace", "2", "ctrl+s")
        assert desk.page.state.mode is Mode.ASK
        assert "Fork 00002895 behind /reserve#1 with the other result, 2 results kept?" in last(desk)[0]
        assert '-   "hold": "h_81"' in desk.text
        assert '+   "hold": "h_82"' in desk.text
        await desk.press("y")
        assert desk.client.changed == [("fork", DEAD, "/reserve#1", {"/reserve#1.hold": "h_82"}, True)]


async def test_what_failed_is_forked_behind_with_a_result_that_it_never_had() -> None:
    async with bench() as desk:
        await opened(desk)
        await desk.press("G", "F", "e")
        await until_editor(desk)
        await desk.press("ctrl+k", *"[1]", "ctrl+s", "y")
        assert desk.client.changed == [("fork", DEAD, "/capture#1", {"/capture#1": [1]}, True)]


async def test_an_edit_that_is_left_or_changes_nothing_asks_nothing() -> None:
    async with bench() as desk:
        await opened(desk)
        await desk.press("j", "F", "e")
        await until_editor(desk)
        await desk.press("escape")
        assert desk.page.state.mode is Mode.NORMAL
        await desk.press("F", "e")
        await until_editor(desk)
        await desk.press("ctrl+s")
        assert "nothing was changed, nothing is asked" in last(desk)[0]
        assert desk.client.changed == []


async def test_what_a_fan_out_returned_is_not_edited_and_undos_are_not_forked() -> None:
    async with bench() as desk:
        await opened(desk)
        await desk.press("j", "j", "j", "F")
        assert "before /gather#1" in last(desk)[0]
        assert "[e]" not in last(desk)[1]
        await desk.press("n")
        await opened(desk, UNDOING)
        await desk.press("j", "j", "j", "j", "F")
        assert "an undo is its run's own" in last(desk)[0]


async def test_a_refused_fork_says_why_and_goes_nowhere() -> None:
    client = FakeClient()
    client.refuse[DEAD] = "the outcomes of the run take 3 MB"
    async with bench(client) as desk:
        await opened(desk)
        await desk.press("G", "F", "y")
        assert "0 forked, 1 refused: the outcomes of the run take 3 MB" in last(desk)[0]
        assert "Runs > 00002895" in desk.text


async def test_a_payload_is_edited_shown_as_it_differs_and_retried_from_the_start() -> None:
    async with bench() as desk:
        await opened(desk)
        await desk.press("E")
        await until_editor(desk)
        assert "edit payload of 00002895" in desk.text
        await desk.press("down", "down", "down", "end", "left", "backspace", "backspace", *"EU")
        await desk.press("ctrl+s")
        assert "Retry 00002895 from the start with the payload as it is edited?" in last(desk)[0]
        assert '-   "currency": "XX"' in desk.text
        await desk.press("y")
        payload = {"user": 8812, "amount": 1999, "currency": "EU"}
        assert desk.client.changed == [("retry", DEAD, True, payload)]
        assert "1 retried with the new payload" in last(desk)[0]


async def test_a_payload_that_json_cannot_say_or_that_is_no_object_is_not_taken() -> None:
    client = FakeClient()
    client.values[DEAD, ""] = api.Value(run=DEAD, key="", json='{"at": {"$type": "bytes"}}', size=9)
    async with bench(client) as desk:
        await opened(desk)
        await desk.press("E")
        assert "a value at at that JSON can't say" in last(desk)[0]
        client.values[DEAD, ""] = api.Value(run=DEAD, key="", json='"x', size=9_000_000, whole=False)
        await desk.press("E")
        assert "9,000,000 bytes: too much to be edited here" in last(desk)[0]
        client.values[DEAD, ""] = api.Value(run=DEAD, key="", json="{}", size=1)
        await desk.press("E")
        await until_editor(desk)
        await desk.press("ctrl+k", "1", "ctrl+s")
        assert "expected an object of arguments by name, found 1" in desk.text
        await desk.press("escape", "escape")
        await opened(desk, PAUSED)
        await desk.press("E")
        assert "the run is PAUSED: only a dead" in last(desk)[0]


async def test_a_retry_says_how_much_is_kept_and_how_much_runs_again() -> None:
    client = FakeClient()
    client.traces[DEAD] = spent(DEAD)
    async with bench(client) as desk:
        await opened(desk)
        await desk.press("R")
        assert "keeps 1 result, runs 1 again" in last(desk)[0]
        assert "then s: from the start, repeats 2 steps" in desk.text
        await desk.press("s")
        assert client.changed == [("retry", DEAD, True)]


def spent(run: str) -> Trace:
    """A run that is dead of its second step, whose failure its death forgets."""
    trace = Trace(run)
    trace.log(AttemptStarted(NOW - 9, 1, "w", "n1", "i"), StepCompleted("/a#1", NOW - 8, 0.1, encode_value(1)))
    trace.log(StepFailed("/b#1", NOW - 7, 0.1, BAD), RunDead(NOW - 6, BAD, "attempts used up", ("/b#1",)))
    return trace


async def test_why_it_waits_is_said_with_since_when_and_the_key_that_changes_it() -> None:
    client = FakeClient()
    client.reasons = (api.Reason("operator", "the outcome of /charge#1 is not known", NOW - 30),)
    async with bench(client) as desk:
        await opened(desk, PAUSED)
        await desk.press("e", "enter")
        text = desk.text
        for said in (
            "since 22:23:14, for 30s",
            "A answers",
            "/ship#1 waits for child",
            "enter goes to the child",
            "/for_#1 waits for sleep",
            "since 22:22:47, for 57s; until 23:23:44, in 60m",
            "T completes it",
            "an event that fits ends it",
        ):
            assert said in text, said


async def test_read_only_forks_and_edits_nothing() -> None:
    async with bench(read_only=True) as desk:
        await opened(desk)
        await desk.press("G")
        for key in "FER":
            await desk.press(key)
            assert f"{key} is off" in last(desk)[0]
            assert desk.page.state.mode is Mode.NORMAL
        assert "F fork" not in last(desk)[1]
        await desk.press("t", "t", "y", "escape")
        assert desk.client.changed == []


async def test_a_lost_link_while_editing_asks_nothing_that_could_be_sent() -> None:
    async with bench() as desk:
        await opened(desk)
        await desk.press("G", "F", "e")
        await until_editor(desk)
        desk.client.bus.connected = False
        await desk.press("ctrl+k", "1", "ctrl+s")
        desk.clock.now += 10
        await desk.press("y")
        assert "no link to the server" in last(desk)[0]
        assert desk.client.changed == []
        desk.client.bus.connected = True


@pytest.mark.parametrize("kind", [Kind.LOG, Kind.IN])
async def test_noise_on_the_live_subject_is_no_crash(kind: Kind) -> None:
    async with bench() as desk:
        await opened(desk)
        desk.client.bus.tell(DEAD, b"\xc1", kind)
        await desk.press("t")
        await desk.later(1)
        assert "charge-card" in frame(desk.app)


async def until_editor(desk: Bench) -> None:
    for _ in range(50):
        if isinstance(desk.app.screen, Editor):
            await desk.settle()
            return
        await desk.settle()
    raise AssertionError(desk.text)
