"""The timeline's layout: bars, axis, zoom and pan, the critical path; an error's calls; edits of JSON."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.core.entries import AttemptStarted, RunCompleted, StepCompleted, StepRetried, WaitStarted
from holdfast.core.model import ErrorInfo
from holdfast.wire.values import encode_value
from holdfast_tui.model import changes, frames
from holdfast_tui.model.outline import ROOT, Outline
from holdfast_tui.model.run import Story
from holdfast_tui.model.stretch import Mark, Scale, Stretch, drawn
from holdfast_tui.model.timeline import Reach, axis, critical, summary
from tui.world import BAD, NOW, Trace, failing, run_id

SCALE = Scale(100.0, 10.0, 10)


def bar(*stretches: Stretch, now: float = 110.0) -> str:
    return drawn(stretches, SCALE, now)


def test_a_stretch_takes_the_columns_that_it_reaches_into_and_one_at_least() -> None:
    assert bar(Stretch(102.0, 105.0, Mark.WORK)) == "  ███     "
    assert bar(Stretch(102.0, 102.0001, Mark.FAIL)) == "  x       "
    assert bar(Stretch(110.0, 110.0, Mark.WORK)) == "         █"
    assert bar(Stretch(104.0, None, Mark.WAIT), now=107.0) == "    ···   "


def test_what_lies_outside_is_not_drawn_and_later_stretches_lie_on_top() -> None:
    assert bar(Stretch(90.0, 99.0, Mark.WORK), Stretch(111.0, 112.0, Mark.WORK)).strip() == ""
    assert bar(Stretch(90.0, 120.0, Mark.WAIT), Stretch(101.0, 102.0, Mark.WORK)) == "·█········"
    assert drawn([Stretch(1.0, 2.0, Mark.WORK)], Scale(0.0, 1.0, 0), 1.0) == ""


@pytest.mark.parametrize(
    ("scale", "text"),
    [
        (Scale(0.0, 3.2, 64), "0               0.8s            1.6s            2.4s        3.2s"),
        (Scale(1.0, 0.2, 40), "1.00s               1.10s          1.20s"),
        (Scale(0.0, 7200.0, 40), "0                   1h00m          2h00m"),
        (Scale(0.0, 0.004, 20), "0             0.004s"),
    ],
)
def test_the_axis_is_as_exact_as_what_is_shown(scale: Scale, text: str) -> None:
    assert axis(scale, 0.0) == text


def test_zooming_keeps_the_instant_where_it_is_and_panning_stays_within_the_run() -> None:
    near = Reach().zoomed(2.0, 3.0, 8.0)
    assert (near.zoom, near.start, near.span(8.0)) == (2.0, 1.5, 4.0)
    assert near.panned(0.25, 8.0).start == 2.5
    assert near.panned(9.0, 8.0).start == 4.0
    assert near.panned(-9.0, 8.0).start == 0.0
    assert near.zoomed(0.5, 3.0, 8.0) == Reach()
    assert Reach(2.0, 0.0).zoomed(2.0, 7.0, 8.0).start == 6.0  # out of view: it comes to the middle
    assert Reach().zoomed(1e9, 0.0, 8.0).span(8.0) >= 0.001
    assert near.told(8.0) == "window 1.5s - 5.5s  zoom x2"


def test_the_critical_path_goes_back_from_what_ended_last() -> None:
    trace, at = Trace(run_id(1)), NOW - 50
    trace.log(AttemptStarted(at, 1, "w", "n1", "item"))
    for key, end, took in (("/a#1", 1, 1), ("/g#1/b#1", 2, 0.9), ("/g#1/c#1", 5, 4), ("/d#1", 7, 2)):
        trace.log(StepCompleted(key, at + end, took, encode_value(1)))
    trace.log(RunCompleted(at + 7, encode_value(None)))
    story = Story(run_id(1))
    story.load(trace.history())
    path = critical(Outline(story), NOW)
    assert path.keys == {"/a#1", "/g#1", "/g#1/c#1", "/d#1"}
    assert path.length == pytest.approx(7.0)


def test_of_a_live_run_what_is_under_way_is_on_the_path() -> None:
    trace, at = Trace(run_id(1)), NOW - 50
    trace.log(AttemptStarted(at, 1, "w", "n1", "item"), StepCompleted("/a#1", at + 1, 1, encode_value(1)))
    trace.log(WaitStarted("/s#1", at + 1, "", "sleep", NOW + 60))
    story = Story(run_id(1))
    story.load(trace.history())
    path = critical(Outline(story), NOW)
    assert (path.keys, path.length) == ({"/a#1", "/s#1"}, pytest.approx(50.0))


def told(key: str, outline: Outline) -> list[str]:
    return [text for text, _ in summary(outline, outline.row(key, NOW), NOW)]


def test_a_line_is_summed_up_with_its_tries_their_backoff_and_who_made_them() -> None:
    trace, at = Trace(run_id(1)), NOW - 50
    trace.log(AttemptStarted(at, 1, "w-07", "n1", "item"))
    trace.log(StepRetried("/a#1", at + 1, 1.0, BAD, 1, at + 3), StepCompleted("/a#1", at + 4, 1.0, encode_value(1)))
    story = Story(run_id(1))
    story.load(trace.history())
    outline = Outline(story)
    assert told("/a#1", outline) == ["ok  +0.00 .. +4.00  4.0s", "2 tries, 2.0s of it backoff   worker w-07"]
    assert told("/a#1!1", outline)[-1] == "CurrencyError: bad currency 'XX'"
    assert told(ROOT, outline) == ["run  +0.00 .. now  50s", "50s held by 1 worker  w-07"]


# --- errors -----------------------------------------------------------------------------------------------------------


def error(*lines: str) -> ErrorInfo:
    return ErrorInfo("shop.Bad", "no", "\n".join(lines) + "\n")


def test_an_error_stands_with_its_statement_and_the_calls_that_led_there() -> None:
    shown = frames.told(
        error(
            "Traceback (most recent call last):",
            '  File "/srv/app/tasks.py", line 41, in charge',
            "    await capture(",
            "        hold,",
            "    )",
            '  File "/srv/app/payments.py", line 212, in capture',
            "    raise Bad(currency)",
            "          ^^^^^^^^^^^^^",
            "shop.Bad: no",
        )
    )
    assert shown == [
        ("Bad: no", "fail"),
        ("payments.py:212 in capture", ""),
        (">  212   raise Bad(currency)", ""),
        ("called from tasks.py:41 in charge", "dim"),
        ("    41   await capture(", "dim"),
        ("             hold,", "dim"),
        ("         )", "dim"),
        ("type shop.Bad", "dim"),
    ]


@pytest.mark.parametrize(
    "lines",
    [
        (
            "Traceback (most recent call last):",
            '  File "a.py", line 1',
            "E: 1",
            "",
            "Traceback (most recent call last):",
        ),
        ("  + Exception Group Traceback (most recent call last):", "  | E"),
        ("what another language says",),
    ],
)
def test_a_traceback_that_says_more_stays_as_it_is(lines: tuple[str, ...]) -> None:
    assert frames.told(error(*lines))[1:] == [(line, "") for line in lines]


def test_no_error_and_one_without_a_traceback() -> None:
    assert frames.told(None) == []
    assert frames.told(ErrorInfo("E", "one\ntwo")) == [("E: one", "fail"), ("two", "fail")]
    story = Story(run_id(1))
    story.load(failing(run_id(1)).history())
    assert frames.told(Outline(story).row("/capture#1", NOW).error)[1] == ("payments.py:212 in capture", "")


# --- edits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "edits"),
    [
        ({"a": 1, "b": [1, {"c": 2}]}, {"a": 1, "b": [1, {"c": 3}]}, {"/k#1.b.1.c": 3}),
        ({"a": 1}, {"a": 1, "b": 2}, {"/k#1": {"a": 1, "b": 2}}),
        ([1, 2], [1], {"/k#1": [1]}),
        (1, 1.0, {"/k#1": 1.0}),
        (None, True, {"/k#1": True}),
        ({"$type": "A", "x": 1}, {"$type": "A", "x": 2}, {"/k#1.x": 2}),
        ({"$type": "A", "x": 1}, {"$type": "B", "x": 1}, {"/k#1": {"$type": "B", "x": 1}}),
        ({"a": [1, 2]}, {"a": [1, 2]}, {}),
    ],
)
def test_an_edit_says_only_what_differs(before: Any, after: Any, edits: dict[str, Any]) -> None:
    assert changes.edits("/k#1", before, after) == edits


def test_the_lines_that_differ_are_shown_with_their_neighbours() -> None:
    before = "\n".join(map(str, range(20)))
    after = before.replace("\n5\n", "\nfive\n").replace("\n15\n", "\n\x1b\n")
    assert changes.told(before, after) == [
        ("  3", "dim"), ("  4", "dim"), ("- 5", "fail"), ("+ five", "title"), ("  6", "dim"), ("  7", "dim"),
        ("...", "dim"),
        ("  13", "dim"), ("  14", "dim"), ("- 15", "fail"), ("+ ␛", "title"), ("  16", "dim"), ("  17", "dim"),
    ]  # fmt: skip


def test_what_json_cannot_say_is_named_by_its_place() -> None:
    assert changes.unsayable({"a": [{"b": 1}, {"c": {"$type": "bytes"}}]}) == "a.1.c"
    assert changes.unsayable({"$type": "dict"}) == "the whole"
    assert changes.unsayable({"a": [1, "x"]}) == ""
