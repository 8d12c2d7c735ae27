"""Flows of schedules, workers, metrics, audit and events, with real keys over the fake world."""

from __future__ import annotations

import csv
from pathlib import Path

import msgspec
import pytest

from holdfast.core.model import State
from holdfast.errors import Refused
from holdfast.ticks import Cron, Every
from holdfast.wire import api
from holdfast_tui import keys
from holdfast_tui.model.window import Follow
from holdfast_tui.router import Mode
from holdfast_tui.screens.audit import Audit
from holdfast_tui.screens.metrics import Metrics
from holdfast_tui.widgets.chart import Picture
from tui.desks import bench
from tui.places import EVIL, NOW, event, presence, run_id, schedule
from tui.test_flows import until
from tui.world import FakeClient

# --- schedules


async def test_schedules_pause_what_is_marked_and_resume_it_again() -> None:
    async with bench() as desk:
        await desk.press("5", "j", "space", "space", "P")
        assert "Pause 2 schedules?  digest fraud-retrain" in desk.text
        await desk.press("y")
        assert desk.client.changed == [("schedule-pause", "digest"), ("schedule-pause", "fraud-retrain")]
        assert "2 paused" in desk.text
        await desk.later(4)
        assert "3 paused" in desk.text
        await desk.press("g", "P")
        assert "Resume 1 schedule?  cleanup" in desk.text
        await desk.press("y")
        assert desk.client.changed[-1] == ("schedule-resume", "cleanup")


async def test_pausing_passes_over_what_is_paused_already() -> None:
    async with bench() as desk:
        await desk.press("5", "space", "space", "P")
        assert "Pause 1 schedule?  digest  (1 others can't be)" in desk.text


async def test_a_schedule_is_triggered_now_and_opens_its_runs() -> None:
    async with bench() as desk:
        await desk.press("5", "j", "T")
        assert "Start a run now of 1 schedule?  digest" in desk.text
        await desk.press("y")
        assert desk.client.changed == [("schedule-run", "digest")]
        assert "1 triggered" in desk.text
        await desk.press("enter")
        assert desk.kind == keys.RUNS
        assert desk.page.filter == "schedule:digest"


async def test_times_are_edited_where_an_operator_created_the_schedule_and_mended_where_they_are_wrong() -> None:
    async with bench() as desk:
        await desk.press("5", "E")
        assert "cleanup is declared by task cleanup: change it in the code" in desk.text
        await desk.press("j", "j", "E")
        assert "when> every 6h" in desk.text
        await desk.press("ctrl+u", *"every nonsense", "enter")
        assert "expected seconds or a duration" in desk.text
        await desk.press("ctrl+u", *"61 * * * *", "enter")
        assert "expected five fields" in desk.text
        await desk.press("ctrl+u", *"every 2h", "enter")
        assert "Have fraud-retrain tick every 7200s from now on?" in desk.text
        await desk.press("y")
        await desk.press("E", "ctrl+u", *"0 3 * * *", "enter", "y")
    (_, name, every), (_, _, cron) = desk.client.changed
    assert name == "fraud-retrain"
    assert every == Every(7200.0, jitter=30.0)
    assert cron == Cron("0 3 * * *", jitter=30.0)


@pytest.mark.parametrize(
    ("downs", "words"),
    [
        (0, "Paused by ana since 2023-11-14 17:23:44Z: nothing counts as missed"),
        (2, "Its tick was due 14m ago and nobody set the next one"),
        (3, "It ticks as it should, next 2023-12-01"),
        (5, "It has no tick any more"),
    ],
)
async def test_a_schedule_says_why_it_stands_so(downs: int, words: str) -> None:
    async with bench(size=(200, 24)) as desk:
        await desk.press("5", *["j"] * downs, "e")
        assert words in desk.text


async def test_schedules_are_narrowed_by_state_task_and_words() -> None:
    async with bench() as desk:
        await desk.press("5", "/", *"state:late", "enter")
        assert desk.page.window.keys == ["fraud-retrain"]
        await desk.press("escape", "/", *"task:re*", "enter")
        assert desk.page.window.keys == ["fraud-retrain"]
        await desk.press("escape", "/", *"nothing", "enter")
        assert "0 of 6 schedules match; esc clears the filter" in desk.text


async def test_the_past_is_read_again_when_a_run_ended_and_not_each_second() -> None:
    client = FakeClient()
    asked = 0
    answer = client.schedule_pasts

    async def counted(days: int = 30) -> object:
        nonlocal asked
        asked += 1
        return await answer(days)

    client.schedule_pasts = counted  # type: ignore[assignment,method-assign]
    async with bench(client) as desk:
        await desk.press("5")
        await desk.later(1)
        await desk.later(1)
        assert asked == 1
        client.schedule_rows[0] = msgspec.structs.replace(client.schedule_rows[0], last_state=State.DEAD)
        await desk.later(1)
        assert asked == 2


async def test_a_strange_schedule_keeps_the_others_and_is_shown_clean() -> None:
    client = FakeClient()
    client.schedule_rows.append(schedule(f"z {EVIL}", "what ever", None, tz="Mars/Olympus", state="dreaming"))
    async with bench(client, size=(120, 36)) as desk:
        await desk.press("5", "G")
        assert "times that are not known here" in desk.text
        assert "dreami" in desk.text
        assert "\x1b" not in desk.text


# --- workers


async def test_workers_drain_and_go_on_and_stop_by_their_name() -> None:
    async with bench() as desk:
        await desk.press("6", "j", "Z")
        assert "Drain 1 worker?  w-01" in desk.text
        await desk.press("y")
        await desk.press("j", "Z")
        assert "Resume 1 worker?  w-02" in desk.text
        await desk.press("y")
        await desk.press("K", *"w-0", "enter")
        assert desk.page.state.mode is Mode.TYPED
        assert "STOP worker w-02: it ends once its 1 run ended or wait" in desk.text
        await desk.press("2", "enter")
        assert desk.client.changed == [("worker-drain", "w-01"), ("worker-resume", "w-02"), ("worker-stop", "w-02")]
        await desk.press("space", "space", "K")
        assert "2 are marked: one worker is stopped at a time" in desk.text


async def test_a_worker_that_falls_silent_is_lost_and_shows_what_it_held_and_what_became_of_it() -> None:
    async with bench(size=(120, 36)) as desk:
        await desk.press("6", "j")
        desk.client.presences = [each for each in desk.client.presences if each.worker != "w-01"]
        await desk.later(41)
        assert "1 lost" in desk.text
        assert "LOST, heard 41s ago" in desk.text
        assert "in flight when it was heard last" in desk.text
        assert "00002900 run    send-welcome" in desk.text
        for key in "ZK":
            await desk.press(key)
            assert "w-01 is lost: nobody is there to be told" in desk.text
        assert desk.client.changed == []


async def test_a_worker_opens_its_runs_and_the_output_of_what_it_holds() -> None:
    client = FakeClient()
    client.presences = [presence(1, "emails", runs=(run_id(2801), run_id(2802)), running=2)]
    async with bench(client) as desk:
        await desk.press("6", "enter")
        assert (desk.kind, desk.page.filter) == (keys.RUNS, "worker:w-01")
        await desk.press("q", "o")
        assert "Workers > w-01 > output" in desk.text
        assert "2 runs of w-01" in desk.text
        assert "00002801" in desk.text
        assert "00002803" not in desk.text
        await desk.press("q")
        client.presences = [presence(1, "emails", runs=(), running=0)]
        await desk.later(1)
        await desk.press("o")
        assert "w-01 holds no run" in desk.text


async def test_modules_that_fail_are_named_also_where_no_worker_is_there() -> None:
    client = FakeClient(full=False)
    client.fault_rows = [api.Fault(pool="p", since=NOW, errors=(f"tasks.py:7: NameError: {EVIL}\nmore",))]
    async with bench(client) as desk:
        await desk.press("6")
        assert "No workers are there: runs wait." in desk.text
        assert "tasks.py:7: NameError: evil␛[2J" in desk.text
        assert "1 module fails" in desk.text
        client.presences = [presence(1, "emails")]
        await desk.later(1)
        await desk.press("tab")
        await until(desk, "modules that fail: their tasks are not served")


async def test_workers_are_narrowed_by_queue_state_and_version() -> None:
    async with bench() as desk:
        await desk.press("6", "/", *"queue:emails", "enter")
        assert desk.page.window.keys == ["w-00", "w-05"]
        await desk.press("escape", "/", *"state:drain", "enter")
        assert desk.page.window.keys == ["w-02"]
        await desk.press("escape", "/", *"version:2.4.0", "enter")
        assert desk.page.window.keys == ["w-03"]


# --- metrics


async def test_the_cursor_of_the_charts_shows_what_is_under_it_and_opens_the_runs_of_that_time() -> None:
    async with bench(size=(120, 36)) as desk:
        await desk.press("7")
        assert "cursor now" in desk.text
        await desk.press("h", "h", "h")
        assert "cursor 22:20  out 70/s  p95 130ms  waiting 200" in desk.text
        await desk.later(70)
        assert "cursor 22:20" in desk.text
        await desk.press("enter")
        assert desk.page.filter == "since:2023-11-14T22:20:00 until:2023-11-14T22:21:00"
        await desk.press("q", "l", "l", "l", "l")
        assert desk.page.window.follow is Follow.LAST
        assert "cursor now" in desk.text


async def test_windows_charts_and_queues_are_turned() -> None:
    async with bench() as desk:
        await desk.press("7")
        assert desk.text.count("─ ") == 2
        await desk.press("tab")
        assert "─ p95 latency" in desk.text
        assert "─ waiting" in desk.text
        await desk.press("=")
        assert desk.text.count("─ ") == 1
        await desk.press(">", ">", ">", ">")
        assert "last 7d" in desk.text
        assert "7d is the longest window" in desk.text
        await desk.press("/", *"emails", "enter")
        query = desk.client.figures_asked[-1]
        assert (query.queue, query.step) == ("emails", 3 * 3600.0)
        await desk.press("tab", "tab", "h", "enter")
        assert "queue:emails state:fail,dead,timeup" in desk.page.filter


async def test_figures_are_not_asked_for_each_second() -> None:
    async with bench() as desk:
        await desk.press("7")
        for _ in range(4):
            await desk.later(1)
        assert len(desk.client.figures_asked) == 1
        await desk.later(2)
        assert len(desk.client.figures_asked) == 2


async def test_a_click_puts_the_cursor_under_it() -> None:
    async with bench(size=(120, 36)) as desk:
        await desk.press("7")
        await desk.pilot.click(Picture, offset=(8, 5))
        await desk.settle()
        assert desk.page.window.position == 0
        await desk.pilot.click(Picture, offset=(119, 5))
        await desk.settle()
        assert desk.page.window.follow is Follow.LAST


async def test_figures_are_written_to_a_file_and_over_another_one_only_if_that_is_meant(tmp_path: Path) -> None:
    async with bench() as desk:
        await desk.press("7", "h")
        for name, answer in ((tmp_path / "a.txt", ""), (tmp_path / "a.csv", ""), (tmp_path / "a.csv", "y")):
            page = desk.page
            assert isinstance(page, Metrics)
            page.do_write()
            await desk.press("ctrl+u", *str(name), "enter", *answer)
            if name.suffix == ".txt":
                assert "expected a file that ends with .csv" in desk.text
                await desk.press("escape")
        assert "60 buckets written to" in desk.text
    assert len(list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))) == 60


# --- audit


async def test_the_audit_shows_what_became_of_it_and_the_same_from_a_shell_and_opens_its_targets() -> None:
    async with bench(size=(120, 36)) as desk:
        await desk.press("8")
        assert "holdfast queues pause emails" in desk.text
        await desk.press("enter")
        assert (desk.kind, desk.page.filter) == (keys.QUEUES, "emails")
        await desk.press("8", "j", "enter")
        assert "no screen shows a secret: holdfast secrets list" in desk.text
        await desk.press("j", "enter")
        assert desk.kind == keys.RUN
        await desk.press("q", "j", "enter")
        assert (desk.kind, desk.page.filter) == (keys.SCHEDULES, "nightly-etl")
        await desk.press("8", "j")
        assert "811 accepted, 1 refused, of 812" in desk.text
        assert "refused: already retried by ana" in desk.text
        assert "hook fixed, ticket 4411" in desk.text
        assert "evil␛" in desk.text
        await desk.press("enter")
        assert desk.kind == keys.RUNS
        assert desk.page.filter.startswith(f"id:{run_id(2895)},{run_id(2892)}")
        assert "the first 5 of 812: the audit keeps no more names" in desk.text


async def test_the_window_and_the_filter_narrow_the_audit() -> None:
    async with bench() as desk:
        await desk.press("8")
        assert "7 changes" in desk.text
        await desk.press(">")
        assert "8 changes" in desk.text
        await desk.press("/", *"who:bo action:retry", "enter")
        await until(desk, "1 change ")
        await desk.press("escape", "<", "<", "<")
        assert "last 1h" in desk.text
        assert "4 changes" in desk.text


@pytest.mark.parametrize("most", [10_000, 120])
async def test_entries_in_another_order_are_all_those_within_the_span_or_it_is_said(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Audit, "MOST_ORDERED", most)
    monkeypatch.setattr("holdfast_tui.screens.audit.MOST", 60)
    client = FakeClient()
    first = client.audit_entries[0]
    client.audit_entries = [
        msgspec.structs.replace(first, seq=seq, at=NOW - 1000 + seq, who=f"u{250 - seq:03}") for seq in range(250)
    ]
    async with bench(client) as desk:
        await desk.press("8", "s")
        assert "[t] time up" in desk.text
        await desk.press("c", "j", "s", "w")
        assert "sort who (s)" in desk.text
        assert desk.page.window.keys[0] == "249"
        await desk.press("s", "w")
        assert "sort who down (s)" in desk.text
        assert ("the newest only" in desk.text) == (most == 120)
        loaded = 250 if most > 250 else 160  # a page of 100, then some of 60
        assert desk.page.window.keys == [str(seq) for seq in range(250 - loaded, 250)]
        client.audit_entries.append(msgspec.structs.replace(first, seq=999, at=NOW, who="zoe"))
        await desk.press("ctrl+r", "g")
        await desk.later(60)
        assert desk.page.window.keys[0] == "999"
        await desk.press("s", "t")
        assert desk.page.window.keys[:2] == ["999", "249"]
        assert "newest first (s)" in desk.text


async def test_events_in_another_order_are_all_those_within_the_span() -> None:
    client = FakeClient()
    first = client.event_rows[0]
    client.event_rows = [
        msgspec.structs.replace(first, seq=seq, at=NOW - 1000 + seq, size=seq % 7) for seq in range(1, 251)
    ]
    async with bench(client) as desk:
        await desk.press("9", "s", "b")
        assert "sort bytes down (s)" in desk.text
        sizes = [desk.page.listing.rows[key].size for key in desk.page.window.keys]  # type: ignore[attr-defined]
        assert (len(sizes), sizes) == (250, sorted(sizes, reverse=True))
        await desk.press("s", "t")
        assert desk.page.window.keys[0] == "250"


async def test_new_entries_wait_above_while_somebody_reads_and_old_ones_are_read_behind() -> None:
    client = FakeClient()
    first = client.audit_entries[0]
    client.audit_entries = [
        msgspec.structs.replace(first, seq=seq, at=NOW - 1000 + seq, who=f"u{seq}") for seq in range(1, 251)
    ]
    async with bench(client) as desk:
        await desk.press("8", "j", "j")
        client.audit_entries.append(msgspec.structs.replace(first, seq=999, at=NOW, who="new"))
        await desk.later(1)
        assert "1 new above" in desk.text
        assert desk.page.window.cursor == "248"
        await desk.press("G")
        await desk.press("G")
        await desk.press("G")
        assert desk.page.window.cursor == "1"
        await desk.press("g")
        await desk.later(1)
        assert desk.page.window.cursor == "999"


# --- events


async def test_events_follow_say_what_they_became_and_open_its_runs() -> None:
    async with bench() as desk:
        await desk.press("9")
        assert "FOLLOW" in desk.text
        desk.client.event_rows.append(event(9, -1, "orders.sent", b"{}"))
        desk.client.became[9] = desk.client.became[7]
        await desk.later(2)
        assert desk.page.window.cursor == "9"
        await desk.press("enter")
        assert desk.kind == keys.RUN
        await desk.press("q", "j", "enter")
        assert "it started no run" in desk.text
        await desk.press("j", "j", "enter")
        assert desk.page.filter == f"id:{run_id(2897)},{run_id(2895)}"


async def test_events_are_narrowed_by_a_subject_by_words_and_by_time() -> None:
    async with bench() as desk:
        await desk.press("9", "/", *"subject:orders.*", "enter")
        await until(desk, "5 events")
        await desk.press(">", ">")
        await until(desk, "6 events")
        await desk.press("/", *" raw", "enter")
        assert desk.page.window.keys == ["3"]
        assert "1 of 6 events" in desk.text
        await desk.press("escape", "/", *"subject:no.*", "enter")
        await until(desk, "matches subject:no.*")


async def test_the_pane_of_an_event_has_its_headers_and_all_of_its_data_and_nothing_that_a_terminal_obeys() -> None:
    async with bench(size=(120, 36)) as desk:
        await desk.press("9", "j")
        assert desk.text.count(" 1,") > 20
        await desk.press("j", "j", "j", "j", "j", "tab")
        assert "X-From: evil␛[2J" in desk.text
        await desk.press("tab")
        assert "00002900 run    send-welcome" in desk.text
        await desk.press("k", "k", "tab")
        assert "evil␛[2J␛]0;owned␇" in desk.text
        assert "\x1b" not in desk.text
        await desk.press("tab", "tab")
        assert "no arguments could be" in desk.text


async def test_routing_again_says_first_what_it_would_do() -> None:
    async with bench() as desk:
        await desk.press("9", "space", "space", "R")
        assert "Route 2 events again?  runs: 1 new, 1 there already" in desk.text
        await desk.press("n")
        assert desk.client.changed == []
        await desk.press("R", "y")
        assert desk.client.changed == [("reroute", "8", False), ("reroute", "7", False)]
        await desk.press("R")
        assert "[a] another run also where there is one" in desk.text
        await desk.press("a")
        assert desk.client.changed[-1] == ("reroute", "6", True)
        assert [entry.command for entry in desk.client.noted] == [
            "holdfast events replay 8",
            "holdfast events replay 7",
            "holdfast events replay 6 --again",
        ]
        assert {(entry.action, entry.kind, entry.accepted) for entry in desk.client.noted} == {("replay", "event", 1)}


async def test_what_routing_again_is_refused_for_is_said_and_nothing_is_asked() -> None:
    async with bench() as desk:
        await desk.press("9", "a")
        desk.client.refuse_dry = "no worker says what ship makes of events"
        await desk.press("R")
        assert "nothing was routed: no worker says what ship makes of events" in desk.text
        assert desk.page.state.mode is Mode.NORMAL


# --- as the other lists


async def test_schedules_and_workers_are_sorted_by_what_they_show() -> None:
    async with bench() as desk:
        await desk.press("5", "s", "x")
        assert desk.page.window.keys[:2] == ["fraud-retrain", "nightly-etl"]
        await desk.press("s", "x")
        assert desk.page.window.keys[0] == "invoice-run"
        await desk.press("6", "s", "c")
        assert desk.page.window.keys[0] == "w-05"
        await desk.press("/", *"took:>1s", "enter")
        assert "not read: took:>1s" in desk.text


async def test_failures_are_found_with_braces() -> None:
    async with bench() as desk:
        for key, found in (("5", "fraud-retrain"), ("8", "6"), ("9", "6")):
            await desk.press(key, "}")
            assert desk.page.window.cursor == found, key


async def test_the_same_from_a_shell_is_copied_and_events_are_written_whole(tmp_path: Path) -> None:
    copied: list[str] = []
    async with bench() as desk:
        desk.app.copy = lambda text: copied.append(text) or "copied"  # type: ignore[func-returns-value,method-assign]
        await desk.press("8", "y", "c")
        await desk.press("j", "y", "c")
        await desk.press("9", "y", "c")
        await desk.press("6", "y", "j")
        assert copied[:3] == [
            "holdfast queues pause emails",
            "# secret-set secret STRIPE_KEY: the audit has no command",
            "holdfast events show 8",
        ]
        assert msgspec.json.decode(copied[3])["worker"] == "w-00"
        for key, name in (("9", "events.csv"), ("8", "audit.jsonl"), ("6", "workers.csv"), ("5", "schedules.csv")):
            await desk.press(key, "w", "ctrl+u", *str(tmp_path / name), "enter")
            await until(desk, "written to")
    events = list(csv.DictReader((tmp_path / "events.csv").read_text().splitlines()))
    assert len(events) == 7
    assert len(next(row for row in events if row["seq"] == "7")["data"]) > 5000
    assert len((tmp_path / "audit.jsonl").read_text().splitlines()) == 7
    assert len(list(csv.DictReader((tmp_path / "workers.csv").read_text().splitlines()))) == 6


# --- all of them


@pytest.mark.parametrize("key", ["5", "6", "7", "8", "9"])
async def test_a_look_that_is_refused_is_said_and_what_was_there_stays(key: str) -> None:
    async with bench() as desk:
        await desk.press(key)
        before = desk.text.splitlines()[3:12]
        for name in ("schedules", "workers", "metrics", "audit", "events"):
            setattr(desk.client, name, refused)
        await desk.later(10)
        assert "the history can't be read just now" in desk.text
        assert "LIVE" in desk.text
        if key != "7":
            assert [line[:40] for line in desk.text.splitlines()[3:12]] == [line[:40] for line in before]


async def refused(*_: object) -> object:
    raise Refused("the history can't be read just now", code="unavailable")
