"""A long list, read in parts: what is loaded is bounded, in order, and what the daemon has; wherever it began."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.core.model import State
from holdfast.wire import api
from holdfast.wire.api import RunsOrder, RunsQuery
from holdfast_tui.model.segment import Segment
from holdfast_tui.model.window import Window
from holdfast_tui.reading import HEAD, End, Page, Reader
from tui.world import NOW, page, run_id

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
"""For machines that do other things too."""


def segment(rows: Sequence[str], most: int = 100) -> Segment[str]:
    found = Segment[str](lambda row: row, most=most)
    found.begin(list(rows), above=False, below=True)
    return found


def test_it_grows_at_either_end_and_drops_at_the_other() -> None:
    found = segment("cdef", most=5)
    found.append("ghi", more=True)
    assert ("".join(found.rows), found.above, found.first) == ("efghi", True, 2)
    found.prepend("bcd", more=True)
    assert ("".join(found.rows), found.below, found.first) == ("bcdef", True, 0)
    found.prepend("a", more=False)
    assert ("".join(found.rows), found.above, found.first) == ("abcde", False, 0)


@pytest.mark.parametrize(
    ("read", "more", "after", "rows"),
    [
        ("xabc", True, None, "xabcdef"),
        ("xac", True, None, "xacdef"),
        ("cab", True, None, "cabdef"),
        ("ab", False, None, "ab"),
        ("", False, None, ""),
        ("dxe", True, "b", "abdxef"),
        ("ed", True, "c", "abcedf"),
        ("fgh", True, "e", "abcdefgh"),
        ("x", False, "c", "abcx"),
        ("ga", True, "f", "bcdefga"),
    ],
)
def test_a_page_that_is_read_again_takes_the_place_of_what_was_there(
    read: str, more: bool, after: str | None, rows: str
) -> None:
    found = segment("abcdef")
    assert found.splice(after, read, more=more)
    assert "".join(found.rows) == rows


def test_a_page_that_nothing_joins_changes_nothing_and_says_so() -> None:
    found = segment("abcdef")
    assert not found.splice(None, "xyz", more=True)
    assert "".join(found.rows) == "abcdef"


def test_while_held_only_values_change_and_what_is_new_is_counted() -> None:
    found = Segment[tuple[str, int]](lambda row: row[0])
    found.begin([("a", 1), ("b", 1)], above=False, below=False)
    assert found.splice(None, [("y", 1), ("x", 1), ("b", 2)], more=True, hold=True)
    assert (list(found.rows.values()), found.waiting) == ([("a", 1), ("b", 2)], 2)
    found.put(("a", 5))
    found.put(("z", 5))
    assert list(found.rows.values()) == [("a", 5), ("b", 2)]


# --- the reader ---------------------------------------------------------------------------------------------------


def run(number: int, took: int | None, attempt: int) -> api.RunRow:
    return api.RunRow(
        id=run_id(number), task="t", queue="q", priority=5, state=State.COMPLETED, created_at=NOW + number,
        started_at=None if took is None else NOW, finished_at=None if took is None else NOW + took, attempt=attempt,
    )  # fmt: skip


class World:
    """A daemon with runs."""

    def __init__(self, rows: list[api.RunRow]) -> None:
        self.rows = rows
        self.asked: list[RunsQuery] = []
        self.reader = Reader[api.RunRow](self.ask, lambda row: row.id)
        self.window = Window[str](10)

    async def ask(self, query: RunsQuery) -> Page[api.RunRow]:
        self.asked.append(query)
        found = page(self.rows, query)
        return Page(found.runs, found.total, found.more)

    async def read(self, query: RunsQuery, *, hold: bool = False, follows: bool = False) -> None:
        await self.reader.read(query, self.window, hold=hold, follows=follows)
        self.window.sync(list(self.reader.segment.rows))

    def order(self, query: RunsQuery) -> list[str]:
        return [row.id for row in page(self.rows, msgspec.structs.replace(query, limit=1_000_000)).runs]


queries = st.builds(RunsQuery, order=st.sampled_from(RunsOrder), descending=st.booleans())
worlds = st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 4)), st.integers(0, 4)), max_size=400)


@given(worlds, queries, st.integers(1, 150))
@CALM
async def test_read_backwards_from_the_end_every_row_comes_once_in_order(
    rows: list[tuple[int | None, int]], query: RunsQuery, limit: int
) -> None:
    world = World([run(number, *values) for number, values in enumerate(rows)])
    found: list[api.RunRow] = []
    first: api.RunRow | None = None
    for _ in range(2 * len(rows) + 2):
        back = await world.reader.before(query, first, limit=limit)
        found = [*back.rows, *found]
        if not back.more:
            break
        first = found[0] if found else None
    assert [row.id for row in found] == world.order(query)


@given(
    worlds, queries, st.lists(st.sampled_from(["down", "up", "first", "last", "around", "change", "read"])), st.data()
)
@CALM
async def test_what_is_loaded_is_what_the_daemon_has_wherever_one_goes(
    rows: list[tuple[int | None, int]], query: RunsQuery, does: list[str], data: st.DataObject
) -> None:
    world = World([run(number, *values) for number, values in enumerate(rows)])
    await world.read(query)
    for verb in does:
        match verb:
            case "down":
                world.window.move(data.draw(st.integers(1, 120)))
            case "up":
                world.window.move(-data.draw(st.integers(1, 120)))
            case "first":
                world.reader.anew(End.TOP)
            case "last":
                world.reader.anew(End.LAST)
            case "around" if world.rows:
                world.reader.anew(data.draw(st.sampled_from(world.rows)))
            case "change":
                gone = set(data.draw(st.lists(st.integers(0, 400), max_size=5)))
                world.rows = [row for number, row in enumerate(world.rows) if number not in gone]
                world.reader.anew(End.TOP)
        await world.read(query)
        truth, loaded = world.order(query), list(world.reader.segment.rows)
        if loaded:
            at = truth.index(loaded[0])
            assert loaded == truth[at : at + len(loaded)]
            assert world.reader.segment.above == (at > 0)
            assert world.reader.segment.below == (at + len(loaded) < len(truth))
            assert world.reader.segment.first in (None, at)
            assert world.window.cursor in loaded
        else:
            assert not truth
        assert world.reader.total == len(truth)


async def test_of_a_million_a_few_are_loaded_and_the_end_takes_one_question() -> None:
    asked: list[RunsQuery] = []

    async def ask(query: RunsQuery) -> Page[api.RunRow]:
        """Runs 0 to 999,999, of which the last is the newest."""
        asked.append(query)
        edge = query.before[0] if query.before else None
        first = (
            (999_999 if query.descending else 0) if edge is None else int(edge - NOW) + (-1 if query.descending else 1)
        )
        step = -1 if query.descending else 1
        numbers = [first + step * at for at in range(query.limit) if 0 <= first + step * at < 1_000_000]
        return Page([run(number, 1, 1) for number in numbers], 1_000_000, len(numbers) == query.limit)

    reader, window, query = Reader[api.RunRow](ask, lambda row: row.id), Window[str](40), RunsQuery()
    await reader.read(query, window, hold=False, follows=True)
    window.sync(list(reader.segment.rows))
    most = 0
    for _ in range(120):
        window.move(39)
        await reader.read(query, window, hold=False, follows=False)
        window.sync(list(reader.segment.rows))
        most = max(most, len(reader.segment.rows))
    assert window.cursor == run_id(999_999 - 120 * 39)
    assert most <= 2_000
    assert reader.segment.first is not None
    assert reader.segment.first + window.position == 120 * 39
    before = len(asked)
    reader.anew(End.LAST)
    await reader.read(query, window, hold=False, follows=False)
    assert len(asked) == before + 1
    assert list(reader.segment.rows)[-1] == run_id(0)
    assert reader.segment.first == 1_000_000 - HEAD
    window.sync(list(reader.segment.rows))
    window.to(0)
    await reader.read(query, window, hold=False, follows=False)
    assert (len(asked) - before, len(reader.segment.rows)) == (2, HEAD + 200)


async def test_an_answer_to_an_older_question_is_dropped() -> None:
    world = World([run(number, 1, 1) for number in range(5)])
    reader, window = world.reader, world.window

    async def overtaken(query: RunsQuery) -> Page[api.RunRow]:
        reader.anew(End.TOP)
        return Page([run(9, 1, 1)], 1, False)

    reader._ask = overtaken
    assert await reader.read(RunsQuery(), window, hold=False, follows=True) is None
    assert (dict(reader.segment.rows), reader.answered, reader.beginning) == ({}, False, True)


async def test_where_more_came_than_one_page_holds_who_follows_sees_them_and_who_reads_is_told() -> None:
    world = World([run(number, 1, 1) for number in range(5)])
    await world.read(RunsQuery())
    world.rows += [run(number, 1, 1) for number in range(5, 5 + 3 * HEAD)]
    await world.read(RunsQuery())
    assert world.reader.segment.waiting == HEAD
    assert len(world.reader.segment.rows) == 5
    await world.read(RunsQuery(), follows=True)
    assert next(iter(world.reader.segment.rows)) == run_id(4 + 3 * HEAD)
