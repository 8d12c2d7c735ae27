"""Charts, the figures that they show, lanes of schedules and the crew of workers: pure."""

from __future__ import annotations

import csv
import io
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from holdfast.core.model import State
from holdfast.wire.api import EventRun, MetricsQuery
from holdfast_tui import filter
from holdfast_tui.format import count, moment, rate, size
from holdfast_tui.model import chart, figures, lanes, span
from holdfast_tui.model.becoming import AGAIN, SETTLED, Becoming, told
from holdfast_tui.model.chart import GUTTER, HOLE, Plot
from holdfast_tui.model.crew import SHOWN, Crew
from holdfast_tui.model.figures import CHARTS
from tui.places import DAY, HOUR, NOW, presence, run_id, schedule
from tui.places import figures as fake


def lines(plot: Plot, width: int, height: int, **more: object) -> list[str]:
    drawn = chart.draw(plot, width, height, **more)  # type: ignore[arg-type]
    return ["".join(text for text, _ in cells) for cells in drawn]


# --- charts


def test_a_chart_is_a_title_bars_over_an_axis_and_times() -> None:
    shown = lines(Plot("out", (0, 1, 2, 4), count, "now 4"), GUTTER + 4, 7, labels=("-1m", "now"))
    assert shown == [
        "─ out  now 4",
        "     4 |   █",
        "     3 |   █",
        "     2 |  ██",
        "     1 | ███",
        "       +----",
        "        -1m ",
    ]


def test_a_hole_is_a_dot_and_a_zero_is_nothing() -> None:
    shown = lines(Plot("p95", (1, None, 0, 1), count), GUTTER + 4, 3)
    assert shown[1] == f"     1 |█{HOLE} █"
    assert shown[2] == "       +----"


def test_the_column_of_the_cursor_is_marked_in_every_row_and_on_the_axis() -> None:
    drawn = chart.draw(Plot("out", (1, 2, 3), count), GUTTER + 3, 5, cursor=1)
    for cells in drawn[1:-1]:
        assert [text for text, role in cells if role == "cursor"] != []
    assert drawn[-1][0][0].endswith("+-^-")


@given(
    st.lists(st.none() | st.floats(0, 1e9), max_size=200),
    st.integers(12, 130),
    st.integers(3, 20),
    st.booleans(),
)
def test_every_line_has_the_width_and_there_are_as_many_as_asked(
    values: list[float | None], width: int, height: int, labelled: bool
) -> None:
    labels = ("-1h", "-30m", "now") if labelled else ()
    cursor = len(values) // 2 if values else None
    shown = lines(Plot("some title", values, rate), width, height, cursor=cursor, labels=labels)
    assert len(shown) == height
    assert {cell_len(line) for line in shown} == {width}


@given(st.lists(st.none() | st.floats(0, 1e6), min_size=1, max_size=500), st.integers(1, 130))
def test_no_peak_is_lost_and_no_hole_is_filled(values: list[float | None], columns: int) -> None:
    spread = chart.spread(values, columns)
    there = [value for value in values if value is not None]
    if len(values) >= columns:
        assert [value for value in spread if value is not None] == [] or max(
            value for value in spread if value is not None
        ) == max(there)
    assert all(value is None or value in there for value in spread)
    if not there:
        assert set(spread) == {None}


@given(st.integers(1, 500), st.integers(1, 130))
def test_a_value_is_drawn_in_the_column_that_leads_back_to_it(count: int, columns: int) -> None:
    for index in range(count):
        column = chart.column_of(index, count, columns)
        assert 0 <= column < columns
        if count <= columns:
            assert chart.index_of(column, count, columns) == index
        else:
            first = column * count // columns
            assert first <= index < max(first + 1, (column + 1) * count // columns)


@pytest.mark.parametrize(
    ("most", "bars", "whole", "step"),
    [(0, 5, False, 1), (10, 5, False, 2), (0.22, 7, False, 0.04), (3, 8, True, 1), (9, 8, True, 2), (100, 7, True, 15)],
)
def test_an_axis_has_round_steps(most: float, bars: int, whole: bool, step: float) -> None:
    assert chart.step_of(most, bars, whole=whole) == pytest.approx(step)


def test_four_charts_stand_beside_and_below_each_other() -> None:
    plots = [Plot(name, (1, 2), count) for name in ("a", "b", "c", "d")]
    sheet = ["".join(text for text, _ in cells) for cells in chart.sheet(plots, 60, 12, across=2, labels=("x", "now"))]
    assert len(sheet) == 12
    assert {cell_len(line) for line in sheet} == {60}
    assert "─ a" in sheet[0]
    assert "─ b" in sheet[0]
    assert "─ c" in sheet[6]
    assert sheet[-1].count("now") == 2
    assert "now" not in sheet[5]


# --- figures

QUERY = MetricsQuery(since=NOW - 600, until=NOW, step=60)


def test_a_bucket_that_is_not_over_counts_for_the_part_that_is() -> None:
    metrics = fake(QUERY)
    out, fail = CHARTS[0], CHARTS[3]
    whole = out.values(metrics, NOW)
    assert whole[-1] == pytest.approx(metrics.ended[-1] / 60)
    half = out.values(metrics, NOW - 30)
    assert half[-1] == pytest.approx(metrics.ended[-1] / 30)
    assert half[:-1] == whole[:-1]
    assert out.values(metrics, NOW - 60)[-1] is None
    assert fail.values(metrics, NOW)[0] == pytest.approx(metrics.failed[0])


def test_a_plot_says_how_it_stands_how_high_it_was_and_which_queue_is_slowest() -> None:
    metrics = fake(MetricsQuery(since=NOW - 3600, until=NOW, step=60))
    notes = {each.name: figures.plot(each, metrics, NOW).note for each in CHARTS}
    assert notes["p95"].endswith("worst 2.8s images")
    assert notes["waiting"] == "now 260  peak 320"
    empty = fake(MetricsQuery(since=NOW - 3600, until=NOW, step=60), busy=False)
    assert figures.plot(CHARTS[0], empty, NOW).note == "no data"
    assert figures.nothing(empty)
    assert not figures.nothing(metrics)


def test_the_figures_as_a_file_leave_out_what_is_not_there() -> None:
    metrics = fake(MetricsQuery(since=NOW - 3600, until=NOW, step=60))
    rows = list(csv.DictReader(io.StringIO(figures.as_csv(metrics))))
    assert len(rows) == 60
    assert rows[0]["at"] == "2023-11-14T21:23:44Z"
    assert (rows[0]["ended"], rows[0]["p95"]) == (str(metrics.ended[0]), "0.12")
    assert {row["p95"] for row in rows if row["ended"] == "0"} == {""}


@pytest.mark.parametrize("charted", span.CHARTED)
def test_a_charted_span_is_whole_buckets_of_which_the_last_holds_now(charted: span.Span) -> None:
    begin, end = span.aligned(NOW, charted)
    assert (end - begin) / charted.step == round((charted.seconds or 0) / charted.step) <= 72
    assert end - charted.step <= NOW < end
    assert begin % charted.step == 0
    labels = figures.labels(charted)
    assert (len(labels), labels[-1]) == (5, "now")
    assert all(len(label) < 9 for label in labels)


def test_windows_are_turned_step_by_step_and_stop_at_the_ends() -> None:
    first, last = span.LISTED[0], span.LISTED[-1]
    assert span.turned(span.LISTED, first, -1) == first
    assert span.turned(span.LISTED, last, 1) == last
    assert span.turned(span.LISTED, first, 1) == span.LISTED[1]
    assert span.since(last, NOW, filter.read("")) is None
    grammar = {"last": filter.RUNS["last"]}
    assert span.since(last, NOW, filter.read("last:2h", grammar)) == NOW - 7200
    assert span.since(first, NOW, filter.read("last:2h", grammar)) == NOW - 3600


# --- lanes

MIDNIGHT = NOW // DAY * DAY


@pytest.mark.parametrize(
    ("when", "every", "places"),
    [
        ("0 */6 * * *", None, [0, 12, 24, 36]),
        ("30 12 * * *", None, [25]),
        ("every 12h", 12 * HOUR, [0, 24]),
        ("*/5 * * * *", None, list(range(48))),
        ("every 1s", 1.0, list(range(48))),
        ("0 0 30 2 *", None, []),
    ],
)
def test_a_lane_has_a_mark_where_the_schedule_ticks(when: str, every: float | None, places: list[int]) -> None:
    lane = lanes.lane(schedule("s", when, None, every=every), MIDNIGHT, 48)
    assert [at for at, mark in enumerate(lane.marks) if mark == "|"] == places
    assert len(lane.marks) == 48


def test_a_lane_is_in_the_zone_of_its_schedule_and_moved_by_its_jitter() -> None:
    paris = lanes.lane(schedule("s", "0 12 * * *", None, tz="Europe/Paris"), MIDNIGHT, 24)
    assert paris.marks.index("|") == 11
    late = schedule("s", "0 12 * * *", None, jitter=20 * HOUR)
    found = lanes.schedule_of(late)
    assert found is not None
    place = int((12 + found.offset / HOUR) % 24)
    assert lanes.lane(late, MIDNIGHT, 24).marks.index("|") == place
    assert lanes.ahead(late, MIDNIGHT, 1)[0] % DAY == pytest.approx((12 * HOUR + found.offset) % DAY)


def test_what_does_not_tick_says_why() -> None:
    assert lanes.lane(schedule("s", "0 1 * * *", None, state="paused"), MIDNIGHT, 24).word == "paused"
    over = lanes.lane(schedule("s", "0 1 * * *", None, state="over"), MIDNIGHT, 24)
    assert (over.word, over.marks.strip()) == ("over", "")
    strange = lanes.lane(schedule("s", "0 1 * * *", None, tz="Mars/Olympus"), MIDNIGHT, 24)
    assert strange.word == "times that are not known here"
    assert lanes.ahead(schedule("s", "0 1 * * *", None, tz="Mars/Olympus"), NOW, 3) == []


def test_the_next_ticks_follow_each_other() -> None:
    found = lanes.ahead(schedule("s", "every 6h", None, every=6 * HOUR), NOW, 3)
    assert [later - one for one, later in pairwise(found)] == [6 * HOUR] * 2
    assert NOW < found[0] <= NOW + 6 * HOUR


@pytest.mark.parametrize("columns", [12, 48, 72, 100])
def test_the_hours_stand_over_their_place(columns: int) -> None:
    text = lanes.hours(MIDNIGHT, columns, lambda at: f"{(at - MIDNIGHT) / HOUR:02.0f}")
    assert len(text) == columns
    for label in text.split():
        assert text.index(label) == int(int(label) / 24 * columns)


# --- workers


def test_a_worker_that_falls_silent_is_lost_for_a_while_with_what_it_held() -> None:
    crew = Crew()
    crew.take([presence(1, "a"), presence(2, "b")], NOW)
    crew.take([presence(2, "b", at=NOW + 1)], NOW + 1)
    mate = crew.mates["w-01"]
    assert (mate.state, mate.lost_at, mate.seen.running) == ("LOST", NOW + 1, 3)
    crew.take([presence(2, "b")], NOW + 30)
    assert crew.mates["w-01"].lost_at == NOW + 1
    crew.take([presence(1, "a", at=NOW + 31), presence(2, "b")], NOW + 31)
    assert crew.mates["w-01"].state == "ok"
    crew.take([presence(2, "b")], NOW + 40)
    crew.take([presence(2, "b")], NOW + 41 + SHOWN)
    assert list(crew.mates) == ["w-02"]


def test_a_worker_that_drained_and_went_is_not_lost_but_one_that_held_something_is() -> None:
    crew = Crew()
    crew.take([presence(1, draining=True, running=0, runs=()), presence(2, draining=True, running=1)], NOW)
    assert crew.mates["w-01"].state == "DRAIN"
    crew.take([], NOW + 5)
    assert {name: mate.state for name, mate in crew.mates.items()} == {"w-02": "LOST"}


def test_figures_of_a_worker_are_kept_beat_by_beat() -> None:
    crew = Crew()
    for beat in range(100):
        crew.take([presence(1, at=NOW + beat // 2, cpu=beat // 2)], NOW)
    cpu = crew.mates["w-01"].cpu
    assert (len(cpu), cpu[-1]) == (50, 49)


# --- events


def test_what_an_event_became_is_said_in_a_few_words() -> None:
    ok, dead = EventRun(run_id(1), "pay", "", State.COMPLETED), EventRun(run_id(2), "mail", "r", State.DEAD)
    unmapped = EventRun(run_id(3), "ship", "", State.DEAD, True)
    assert told(()) == ("unwanted", "dim")
    assert told((ok,)) == ("ok pay", "")
    assert told((ok, dead)) == ("2 runs: 1 ok 1 DEAD", "fail")
    assert told((unmapped,)) == ("UNMAPPED ship", "fail")
    assert told((ok, unmapped)) == ("UNMAPPED ship +1", "fail")


def test_it_is_asked_again_until_all_has_ended() -> None:
    becoming = Becoming()
    events = [(1, NOW - 10), (2, NOW - 2 * SETTLED), (3, NOW), (4, NOW)]
    assert becoming.due(events, NOW) == [1, 2, 3, 4]
    becoming.take(1, (), NOW)
    becoming.take(2, (), NOW)
    becoming.take(3, (EventRun(run_id(1), "pay", "", State.COMPLETED),), NOW)
    becoming.take(4, (EventRun(run_id(1), "pay", "", State.RUNNING),), NOW)
    assert becoming.due(events, NOW) == []
    assert becoming.due(events, NOW + AGAIN) == [1, 4]
    becoming.forget([3])
    assert becoming.due(events, NOW) == [3]
    assert becoming.told(3) == ("..", "dim")


# --- words


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1024, "1K"), (4200, "4.1K"), (200 << 20, "200M"), (1288490189, "1.2G"), (1 << 42, "4T")],
)
def test_sizes_have_five_columns(number: int, text: str) -> None:
    assert size(number) == text


@given(st.integers(0, 1 << 49))
def test_no_size_is_wider_than_five_columns(number: int) -> None:
    assert len(size(number)) <= 5


def test_what_is_longer_ago_than_a_day_has_its_day() -> None:
    assert moment(NOW - 60, NOW) == "22:22:44"
    assert moment(NOW - DAY, NOW) == "11-13T22"
