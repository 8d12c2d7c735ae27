"""The tree of a run as lines: whatever a journal tells, however it is folded, and what each look costs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histories import Teller, random_history, records
from holdfast.core.entries import (
    AttemptStarted,
    StepCompleted,
    StepFailed,
    StepRetried,
    StepStarted,
    StepVolatile,
    WaitStarted,
)
from holdfast.core.lifecycle import Record
from holdfast.core.model import ErrorInfo
from holdfast.errors import EditError, UnknownKey
from holdfast.wire import api
from holdfast.wire.values import encode_value
from holdfast_tui.model import copies, journal, pages
from holdfast_tui.model.cut import cut
from holdfast_tui.model.outline import ROOT, Outline
from holdfast_tui.model.run import Story
from holdfast_tui.model.sight import Sight
from holdfast_tui.model.stretch import Scale, drawn
from holdfast_tui.model.timeline import Reach, axis, critical, summary
from holdfast_tui.model.window import Window
from tui.world import BAD, NOW, Trace, failing, run_id, undoing

ERROR = ErrorInfo("E", "")


@cache
def journals() -> list[list[Record]]:
    """Random runs: some tell of everything that can happen."""
    tell, found = Teller(), dict[str, list[Record]]()
    for seed in range(3):
        for run, record in records(list(random_history(seed, 12, tell)), tell.subjects):
            found.setdefault(f"{seed}{run}", []).append(record)
    return list(found.values())


def told(records: list[Record], run: str = "R") -> api.History:
    return api.History(run, tuple(api.Stored(r.seq, NOW - 60, r.kind.value, r.writer, r.entries) for r in records))


def outline_of(history: api.History) -> Outline:
    story = Story(history.run)
    story.load(history)
    return Outline(story)


def wide(count: int, *, in_batches: bool = True) -> Outline:
    trace = Trace(run_id(1))
    trace.log(AttemptStarted(NOW - 58, 1, "w", "n1", "item"))
    for at in range(count):
        key = f"/batch#{at // 20 + 1}/step#{at % 20 + 1}" if in_batches else f"/gather#1/step#{at + 1}"
        trace.log(StepCompleted(key, NOW - 50 + at / 1000, 0.004, encode_value(at)))
    return outline_of(trace.history())


def shown(outline: Outline) -> list[str]:
    rows = [outline.row(key, NOW) for key in outline.keys]
    return [f"{row.guide}{row.name}" for row in rows]


RUNS = st.integers(0, 35).map(lambda number: journals()[number])


# --- whatever is told -------------------------------------------------------------------------------------------------


@given(RUNS, st.data())
@settings(max_examples=60, deadline=None)
def test_every_line_can_be_drawn_and_lies_below_its_parent(run: list[Record], data: st.DataObject) -> None:
    outline = outline_of(told(run))
    keys = list(outline.keys)
    for key in data.draw(st.lists(st.sampled_from(keys), max_size=5)) if keys else []:
        outline.fold(key)
    for place, key in enumerate(outline.keys):
        row = outline.row(key, NOW)
        assert row.name.isprintable()
        assert row.took is None or row.took >= 0
        assert key == ROOT or outline.parent(key) in outline.keys[:place]
        assert not any(above in outline.folded for above in above_of(outline, key))
        assert len(drawn(row.bars, Scale(NOW - 60, 60, 14), NOW)) == 14
        summary(outline, row, NOW)


def above_of(outline: Outline, key: str) -> list[str]:
    found = []
    while key != ROOT:
        key = outline.parent(key)
        found.append(key)
    return found


@given(RUNS, st.data())
@settings(max_examples=40, deadline=None)
def test_the_cursor_stays_on_its_line_whatever_grows_above_it(run: list[Record], data: st.DataObject) -> None:
    at = data.draw(st.integers(1, len(run)))
    outline, window = outline_of(told(run[:at])), Window[str](8)
    window.sync(outline.keys)
    if not outline.keys:
        return
    window.go(data.draw(st.sampled_from(list(outline.keys))))
    cursor = window.cursor
    assert cursor is not None
    outline.story.load(told(run))
    window.sync(outline.keys)
    if cursor in outline.keys:
        assert window.cursor == cursor
    assert window.cursor in outline.keys


@given(RUNS)
@settings(max_examples=36, deadline=None)
def test_every_page_of_every_line_can_be_read_and_copied_and_nothing_in_it_is_obeyed(run: list[Record]) -> None:
    outline = outline_of(told(run))
    for key in outline.keys:
        sight = Sight(outline, outline.row(key, NOW), NOW)
        assert pages.first(sight) in pages.there(sight)
        for name in pages.there(sight):
            assert all(text.isprintable() for text, _ in pages.page(name, sight)), name
        for letter, _ in copies.CHOICES:
            copies.copied(letter, sight)
    for one in outline.story.told:
        assert journal.said(one.entry).isprintable()
        assert all(text.isprintable() for text, _ in journal.whole(one))
    assert outline.story.told[-1].after == (outline.story.run.state if outline.story.run else None)


@given(RUNS, st.booleans())
@settings(max_examples=36, deadline=None)
def test_a_fork_anywhere_keeps_some_and_runs_the_rest_anew_or_says_why_not(run: list[Record], behind: bool) -> None:
    outline, refused = outline_of(told(run)), list[tuple[str, bool]]()
    for _, node in outline.story.tree.walk():
        try:
            made = cut(outline.story, node.key, behind=behind)
        except (EditError, UnknownKey):
            scope = node.started_at is None and node.ended_at is None
            refused.append((node.key, scope or node.kind == "undo"))
            continue
        assert not set(made.kept) & set(made.anew)
        assert (node.key in made.kept) == behind
    assert all(rightly for _, rightly in refused)


@given(RUNS, st.floats(0.1, 5000), st.floats(-10, 70), st.integers(1, 130))
@settings(max_examples=60, deadline=None)
def test_any_part_of_any_run_can_be_drawn(run: list[Record], zoom: float, around: float, width: int) -> None:
    outline = outline_of(told(run))
    begun, total = outline.story.span(NOW + 40)
    reach = Reach().zoomed(zoom, around, total).panned(0.25, total)
    scale = reach.scale(begun, total, width)
    assert 0 <= reach.start <= max(0.0, total)
    assert reach.start + reach.span(total) <= max(total, 0.001) + 1e-6
    assert len(axis(scale, begun)) == width
    path = critical(outline, NOW + 40)
    times = [outline.times(node) for _, node in outline.story.tree.walk()]
    ends = [NOW + 40 if took is None else start + took for start, took in times if start is not None]
    assert (
        path.length <= max(ends, default=0) - min((start for start, _ in times if start is not None), default=0) + 1e-6
    )
    assert all(outline.story.tree.node(key) is not None for key in path.keys)
    for key in outline.keys:
        assert len(drawn(outline.row(key, NOW).bars, scale, NOW + 40)) == width


# --- lines ------------------------------------------------------------------------------------------------------------


def test_the_try_that_ended_a_step_stands_below_those_that_failed() -> None:
    trace = Trace(run_id(1))
    trace.log(AttemptStarted(NOW - 9, 1, "w", "n1", "item"))
    trace.log(StepRetried("/a#1", NOW - 8, 0.5, BAD, 1, NOW - 7), StepFailed("/a#1", NOW - 6, 0.25, BAD))
    trace.log(StepRetried("/b#1", NOW - 5, 0.5, BAD, 1, NOW + 3))
    outline = outline_of(trace.history())
    assert [(line, outline.row(key, NOW).state[0]) for line, key in zip(shown(outline), outline.keys, strict=True)] == [
        ("charge-card", "run"),
        ("├▾ a", "FAIL"),
        ("│ ├ try 1  CurrencyError", "fail"),
        ("│ └ try 2  CurrencyError", "FAIL"),
        ("└▾ b", "retry"),
        ("  └ try 1  CurrencyError", "fail"),
    ]
    assert outline.row("/a#1", NOW).tries == 2
    assert outline.row("/b#1", NOW).about == "try 2 at 22:23:47"
    last = outline.row("/a#1!2", NOW)
    assert (last.start, last.took, last.error) == (NOW - 6.25, 0.25, BAD)


def test_awaits_that_were_under_way_at_once_are_called_parallel_and_others_not() -> None:
    trace = Trace(run_id(1))
    trace.log(AttemptStarted(NOW - 9, 1, "w", "n1", "item"))
    for number, at in enumerate((1.0, 2.0, 3.0), 1):
        trace.log(StepCompleted(f"/one#1/by#{number}", NOW - 9 + at, 0.5, encode_value(1)))
        trace.log(StepCompleted(f"/all#1/at#{number}", NOW - 9 + at, 1.5, encode_value(1)))
    outline = outline_of(trace.history())
    assert (outline.row("/one#1", NOW).about, outline.row("/all#1", NOW).about) == ("", "(3 parallel)")
    assert outline.row("/all#1", NOW).took == pytest.approx(3.5)


def test_a_wait_says_for_what_and_until_when_and_a_lost_value_why() -> None:
    trace = Trace(run_id(1))
    trace.log(AttemptStarted(NOW - 9, 1, "w", "n1", "item"))
    trace.log(
        WaitStarted("/s#1", NOW - 8, "", "signal", NOW + 60, "approve"),
        StepVolatile("/v#1", NOW - 7, 0.1, "a socket has no value"),
    )
    outline = outline_of(trace.history())
    signal, volatile = outline.row("/s#1", NOW), outline.row("/v#1", NOW)
    assert (signal.about, signal.waits, signal.state[0]) == ("→ approve  until 22:24:44", True, "wait")
    assert (volatile.about, volatile.state[0]) == ("not kept: a socket has no value", "again")


def test_a_step_called_like_a_try_is_a_step() -> None:
    trace = Trace(run_id(1))
    trace.log(AttemptStarted(NOW - 9, 1, "w", "n1", "item"), StepCompleted("/a!1", NOW - 8, 0.1, encode_value(1)))
    outline = outline_of(trace.history())
    assert outline.row("/a!1", NOW).attempt == 0
    assert outline.parent("/a!1") == ROOT


# --- folds, failures, matches -----------------------------------------------------------------------------------------


def test_folding_all_leaves_what_is_on_top_and_a_line_found_below_is_unfolded() -> None:
    outline = outline_of(failing(run_id(1)).history())
    outline.fold_all()
    assert shown(outline) == ["charge-card", "├ validate", "├ reserve", "├▸ gather", "└ capture"]
    assert outline.holding("/gather#1/quote#2!1") == "/gather#1"
    outline.reveal("/gather#1/quote#2")
    assert "/gather#1/quote#2" in outline.keys
    assert "/gather#1/quote#2!1" not in outline.keys
    outline.unfold_all()
    assert len(outline.keys) == 9


def test_failures_are_walked_both_ways_and_round_the_ends() -> None:
    outline = outline_of(failing(run_id(1)).history())
    bad = outline.failures()
    assert bad == ["/gather#1/quote#2", "/capture#1"]
    assert outline.step(bad, ROOT, 1) == "/gather#1/quote#2"
    assert outline.step(bad, "/gather#1/quote#2!1", 1) == "/capture#1"
    assert outline.step(bad, "/gather#1/quote#2!1", -1) == "/gather#1/quote#2"
    assert outline.step(bad, "/capture#1", 1) == "/gather#1/quote#2"
    assert outline.step(bad, ROOT, -1) == "/capture#1"
    assert outline.step((), ROOT, 1) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("QUOTE", ["/gather#1/quote#1", "/gather#1/quote#2"]),
        ("amex", ["/gather#1/quote#2"]),
        ("currencyerror", ["/capture#1"]),
        ("nothing", []),
        ("", []),
    ],
)
def test_a_text_is_found_in_names_and_errors_folded_or_not(text: str, found: list[str]) -> None:
    outline = outline_of(failing(run_id(1)).history())
    outline.fold_all()
    assert list(outline.matches(text)) == found


# --- ten thousand nodes -----------------------------------------------------------------------------------------------


def cost(outline: Outline, look: Callable[[], object]) -> int:
    before = outline.visited
    look()
    return outline.visited - before


@pytest.mark.parametrize("in_batches", [True, False])
def test_a_look_costs_what_is_in_view_whatever_the_tree_holds(in_batches: bool) -> None:
    outline = wide(2000, in_batches=in_batches)
    assert cost(outline, lambda: outline.keys) >= 2000
    for key in outline.keys[:20]:
        outline.row(key, NOW)
    assert cost(outline, lambda: outline.keys) == 0
    assert cost(outline, lambda: [outline.row(key, NOW) for key in outline.keys[1000:1020]]) <= 100


def test_a_change_lays_the_lines_out_once_and_asks_for_waits_only_where_it_may_end_one() -> None:
    outline = wide(2000)
    story = outline.story
    keys, waits = outline.keys, story.waits()
    trace = Trace(run_id(1))
    trace.put("log", "n1", StepStarted("/late#1", NOW), StepCompleted("/late#1", NOW, 0.1, encode_value(1)))
    story._take(trace.messages[-1].record, 0, None)
    assert cost(outline, lambda: outline.keys) <= len(outline.keys)
    assert cost(outline, lambda: outline.keys) == 0
    assert outline.keys[-1] == "/late#1"
    assert outline.keys is not keys
    assert story.waits() is waits


def test_a_wait_that_ends_and_one_that_begins_are_noticed() -> None:
    trace = Trace(run_id(1))
    trace.log(AttemptStarted(NOW - 9, 1, "w", "n1", "item"), WaitStarted("/s#1", NOW - 8, "", "sleep", NOW + 60))
    story = Story(run_id(1))
    story.load(trace.history())
    assert [wait.key for wait in story.waits()] == ["/s#1"]
    trace.log(StepCompleted("/s#1", NOW, 8.0, encode_value(None)))
    story._take(trace.messages[-1].record, 0, None)
    assert story.waits() == ()
    trace.log(WaitStarted("/t#1", NOW, "", "sleep", NOW + 60))
    story._take(trace.messages[-1].record, 0, None)
    assert [wait.key for wait in story.waits()] == ["/t#1"]


def test_what_a_fork_has_from_its_origin_has_no_time_here() -> None:
    outline = outline_of(undoing(run_id(1)).history())
    assert outline.row("/validate#1", NOW).bars == ()
    assert outline.row("/charge#1", NOW).state[0] == "undone"
