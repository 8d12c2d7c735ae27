"""Columns, orders and views: what is shown where, what comes first, and what of it is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast_tui.format import TIMES, Zone, clock, date, time_now, until
from holdfast_tui.model import columns, sorting
from holdfast_tui.model.bars import axis, bars
from holdfast_tui.model.columns import Column, Layout, out_of_view, places
from holdfast_tui.model.sorting import Sort, ordered
from holdfast_tui.views import View, Views
from tui.world import NOW

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For machines that do other things too."""

NAMES = ("name", "state", "depth", "in", "dead")
COLUMNS = (
    Column("NAME", 10, flex=True, letter="n"),
    Column("STATE", 8, spare=1),
    Column("DEPTH", 5, right=True, letter="d", down=True),
    Column("IN/s", 5, right=True, name="in", spare=3),
    Column("DEAD", 5, right=True, spare=2),
)


def shown(layout: Layout, width: int = 80, pan: int = 0) -> list[str]:
    return [NAMES[place.at] for place in places(COLUMNS, layout, width, pan)]


def test_columns_are_hidden_shown_and_moved_by_their_names() -> None:
    layout = columns.read("dead,depth,-in", COLUMNS, Layout())
    assert shown(layout) == ["dead", "depth", "name", "state"]
    layout = columns.read("-dead", COLUMNS, layout)
    assert shown(layout) == ["depth", "name", "state"]
    layout = columns.read("in", COLUMNS, layout)
    assert shown(layout) == ["in", "name", "state", "depth"]
    assert columns.read(layout.text, COLUMNS, Layout()) == layout
    assert columns.read("*", COLUMNS, layout, Layout(("depth",))) == Layout(("depth",))


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("nope", "no column nope: expected names of name state depth in dead"),
        ("in,-in", "expected in either shown or hidden"),
        ("-name,-state,-depth,-in,-dead", "at least one column"),
    ],
)
def test_columns_that_cannot_be_say_why(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        columns.read(text, COLUMNS, Layout())


def test_where_there_is_no_room_the_sparest_goes_and_panning_brings_it_back() -> None:
    assert shown(Layout(), 39) == list(NAMES)
    assert shown(Layout(), 38) == ["name", "state", "depth", "dead"]
    assert shown(Layout(), 20) == ["name", "depth"]
    assert out_of_view(COLUMNS, Layout(), 20) == 3
    assert shown(Layout(), 26, 1) == ["name", "depth", "in"]
    assert shown(Layout(), 26, 2) == ["name", "in", "dead"]
    assert shown(Layout(), 26, 99) == ["name", "dead"]


@given(st.integers(0, 130), st.integers(0, 9), st.lists(st.sampled_from([*NAMES, *(f"-{name}" for name in NAMES)])))
@CALM
def test_what_is_shown_fits_or_is_the_least_that_can_be(width: int, pan: int, given_: list[str]) -> None:
    layout = Layout()
    for text in given_:
        try:
            layout = columns.read(text, COLUMNS, layout)
        except ValueError:
            continue
    found = places(COLUMNS, layout, width, pan)
    assert found
    assert len({place.at for place in found}) == len(found)
    assert not {NAMES[place.at] for place in found} & layout.hidden
    used = columns.GUTTER + sum(place.width for place in found) + len(found) - 1
    least = [COLUMNS[place.at] for place in found]
    assert used <= width or len(found) <= 2 or not any(column.spare for column in least)


def test_the_same_letter_again_turns_the_order_round() -> None:
    name, depth = COLUMNS[0], COLUMNS[2]
    first = sorting.by(depth, Sort("name"))
    assert first == Sort("depth", True)
    assert sorting.by(depth, first) == Sort("depth", False)
    assert sorting.by(name, first) == Sort("name", False)
    assert sorting.read(first.text, COLUMNS) == first
    with pytest.raises(ValueError, match="expected an order like name down, found state up"):
        sorting.read("state up", COLUMNS)


@given(st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 5)), st.integers())), st.booleans())
@CALM
def test_rows_without_a_value_come_last_either_way_and_equal_ones_stay_as_they_came(
    rows: list[tuple[int | None, int]], down: bool
) -> None:
    found = ordered(rows, lambda row: row[0], down=down)
    assert sorted(map(repr, found)) == sorted(map(repr, rows))
    values = [value for value, _ in found if value is not None]
    assert values == sorted(values, reverse=down)
    assert [value for value, _ in found[len(values) :]] == [None] * (len(rows) - len(values))
    for value in {value for value, _ in rows}:
        assert [row for row in found if row[0] == value] == [row for row in rows if row[0] == value]


# --- views --------------------------------------------------------------------------------------------------------

SLOW = View(screen="runs", filter='took:>2s error:"a \\"b\\"\x7f\tü"', sort="took down", columns="took,-try")


def test_views_are_kept_by_name_in_a_file_that_people_can_read(tmp_path: Path) -> None:
    views = Views(tmp_path / "holdfast" / "views.toml")
    assert views.all() == {}
    views.save("slow", SLOW)
    views.save("all", View(screen="queues"))
    other = Views(views.file)
    assert other.all() == {"all": View(screen="queues"), "slow": SLOW}
    other.forget("all")
    assert views.get("slow") == SLOW
    assert [file.name for file in views.file.parent.iterdir()] == ["views.toml"]
    assert '[views.slow]\nscreen = "runs"\n' in views.file.read_text()
    with pytest.raises(ValueError, match="no view all: there are slow"):
        views.get("all")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("not toml", "is broken, mend it or move it away"),
        ('[views.a]\nscreen = 1\n', r"Expected `str`, got `int` - at `\$.views\[...\].screen`"),
        ('[views.a]\nscreen = "runs"\nsrot = "x"\n', "unknown field `srot`"),
    ],
)  # fmt: skip
def test_a_broken_file_is_reported_and_left_as_it_is(tmp_path: Path, text: str, wrong: str) -> None:
    file = tmp_path / "views.toml"
    file.write_text(text)
    for act in (lambda: Views(file).all(), lambda: Views(file).save("x", SLOW), lambda: Views(file).forget("a")):
        with pytest.raises(ValueError, match=wrong):
            act()
    assert file.read_text() == text


def test_a_view_that_cannot_be_kept_says_why(tmp_path: Path) -> None:
    for name in ("", "a b", "a.b", "x" * 41):
        with pytest.raises(ValueError, match="expected a name of letters"):
            Views(tmp_path / "views.toml").save(name, SLOW)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="can't be written"):
        Views(tmp_path / "file" / "views.toml").save("a", SLOW)
    with pytest.raises(ValueError, match="no home directory"):
        Views(None).all()


@given(st.text(max_size=30), st.text(max_size=30))
@CALM
def test_whatever_a_filter_says_it_is_kept(tmp_path_factory: pytest.TempPathFactory, filter: str, sort: str) -> None:
    views = Views(tmp_path_factory.getbasetemp() / "any-views.toml")
    view = View(screen="runs", filter=filter, sort=sort)
    views.save("a", view)
    assert views.get("a") == view


# --- times, bars --------------------------------------------------------------------------------------------------


def test_times_turn_from_utc_to_local_to_relative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TIMES, "zone", Zone.UTC)
    monkeypatch.setattr(TIMES, "now", NOW)
    assert (clock(NOW), date(NOW), time_now(NOW)) == ("22:23:44", "2023-11-14 22:23:44Z", "22:23:44Z")
    assert TIMES.turn() is Zone.LOCAL
    local = TIMES.at(NOW)
    assert local.utcoffset() is not None
    assert (clock(NOW), time_now(NOW)) == (local.strftime("%H:%M:%S"), local.strftime("%H:%M:%S"))
    assert date(NOW) == local.strftime("%Y-%m-%d %H:%M:%S")
    assert TIMES.turn() is Zone.RELATIVE
    assert (clock(NOW - 2460), date(NOW - 3), until(NOW + 90, NOW)) == ("41m ago", "3s ago", "in 1m")
    assert all(len(clock(NOW - ago)) <= 8 for ago in (0, 59, 7199, 172_799, 999 * 86_400, -86_000))
    assert time_now(NOW) == "22:23:44Z"
    assert clock(None) == "-"
    assert TIMES.turn() is Zone.UTC


def test_bars_rise_with_their_values_under_labels() -> None:
    assert bars([0, 1, 4, 8], 2) == ["   8|   █", "   0| ▂██"]
    assert bars([0, 0], 3) == ["   0|", "    |", "   0|"]
    assert axis(30, "-30m", "15m", "now") == "    +-30m----------15m----------now"
