"""The cursor is an id: it stays on it and on its line, whatever comes, goes or changes places."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast_tui.model.window import Follow, Listing, Window

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For machines that do other things too."""

ids = st.lists(st.integers(0, 40), unique=True, max_size=30)


def keys(numbers: list[int]) -> list[str]:
    return [str(number) for number in numbers]


@given(ids, ids, st.integers(1, 12), st.integers(0, 40), st.integers(0, 40))
@CALM
def test_the_cursor_keeps_its_id_and_its_line_over_any_change(
    before: list[int], after: list[int], height: int, at: int, marked: int
) -> None:
    window = Window[str](height)
    window.sync(keys(before))
    window.to(at)
    window.mark()
    window.to(marked)
    window.mark()
    window.to(at)
    cursor, line, old = window.cursor, window.position - window.top, list(window.keys)
    window.sync(keys(after), alive=keys(after))
    if not after:
        assert window.cursor is None
    elif cursor in window.keys:
        assert window.cursor == cursor
        room = len(after) - height
        free = window.position - line
        assert window.position - window.top == line or not 0 <= free <= max(0, room)
    elif before:
        place = old.index(str(cursor))
        left = [key for key in (*old[place:], *reversed(old[:place])) if key in window.keys]
        assert window.cursor == (left[0] if left else window.keys[0])
    assert set(window.marks) <= set(window.keys)
    assert not after or window.top <= window.position < window.top + height


@given(ids, st.lists(st.tuples(st.sampled_from(["move", "to", "scroll", "resize"]), st.integers(-15, 40))))
@CALM
def test_the_cursor_is_always_in_view_and_the_view_within_the_rows(
    rows: list[int], does: list[tuple[str, int]]
) -> None:
    window = Window[str](5)
    window.sync(keys(rows))
    for verb, number in does:
        getattr(window, verb)(number)
        assert 0 <= window.top <= max(0, len(rows) - window.height)
        if rows:
            assert window.top <= window.position < window.top + window.height


def test_leaving_the_view_shows_half_a_page_further() -> None:
    window = Window[str](10)
    window.sync(keys(list(range(100))))
    window.to(9)
    assert window.top == 0
    window.move(1)
    assert window.top == 5


def test_an_action_hits_the_marks_also_the_hidden_ones_or_else_the_cursor() -> None:
    window = Window[str](5)
    window.sync(["a", "b", "c"])
    assert window.chosen() == ["a"]
    window.mark()
    window.move(2)
    window.mark()
    window.sync(["b", "c"], alive=["a", "b", "c"])
    assert (window.chosen(), window.hidden()) == (["a", "c"], 1)
    window.sync(["b"], alive=["b", "c"])
    assert window.chosen() == ["c"]


def test_following_keeps_to_the_end() -> None:
    window = Window[int](3, follow=Follow.LAST)
    window.sync(range(10))
    window.sync(range(5, 20))
    assert (window.cursor, window.top) == (19, 12)
    window.follow = Follow.OFF
    window.sync(range(5, 40))
    assert (window.cursor, window.position) == (19, 14)
    window.sync(range(30, 60))
    assert window.cursor == 30


def test_while_held_values_move_and_rows_do_not() -> None:
    listing = Listing[tuple[str, int]](lambda row: row[0], lambda row: -row[1])
    listing.take([("a", 3), ("b", 2)])
    listing.take([("b", 9), ("c", 5)], hold=True)
    assert list(listing.rows.values()) == [("a", 3), ("b", 9)]
    assert listing.waiting == 1
    listing.take([("b", 9), ("c", 5)])
    assert list(listing.rows) == ["b", "c"]
    listing.take([("d", 1)], gone=())
    assert list(listing.rows) == ["b", "c", "d"]


def test_a_range_is_marked_from_the_last_mark_and_marks_outlive_filters_and_orders() -> None:
    window = Window[str](5)
    window.sync(list("abcdef"))
    assert window.mark_range() == 1
    window.to(3)
    assert window.mark_range() == 3
    assert window.chosen() == list("abcd")
    window.sync(list("fdb"), alive="abcdef")
    assert (window.hidden(), set(window.marks)) == (2, set("abcd"))
    window.go("f")
    assert window.mark_range() == 1
    window.sync(list("fb"), alive="fb")
    assert (window.chosen(), window.take_lost(), window.take_lost()) == (["b", "f"], 3, 0)
    window.sync([])
    assert window.mark_range() == 0


Step = tuple[str, int]


@given(
    ids,
    st.lists(
        st.tuples(
            st.sampled_from(["insert", "delete", "reorder", "resize", "move", "mark", "range", "hide"]),
            st.integers(0, 60),
        ),
        max_size=30,
    ),
)
@CALM
def test_whatever_happens_to_the_rows_the_cursor_keeps_its_id_and_marks_are_of_what_is_there(
    rows: list[int], does: list[Step]
) -> None:
    window = Window[str](6)
    alive = keys(rows)
    window.sync(alive, alive=alive)
    for verb, number in does:
        before = window.cursor
        shown = alive
        match verb:
            case "insert":
                alive = list(dict.fromkeys([*alive[: number % 9], f"n{number}", *alive[number % 9 :]]))
            case "delete":
                alive = [key for at, key in enumerate(alive) if at != number]
            case "reorder":
                alive = sorted(alive, key=lambda key: (len(key) * number % 7, key[::-1]))
            case "resize":
                window.resize(number % 20)
            case "move":
                window.move(number - 30)
                before = window.cursor
            case "mark":
                window.mark()
            case "range":
                window.mark_range()
            case "hide":
                shown = alive[number % 5 :]
        window.sync(shown if verb == "hide" else alive, alive=alive)
        assert set(window.marks) <= set(alive)
        if before in window.keys:
            assert window.cursor == before
        assert window.cursor is None or window.top <= window.position < window.top + window.height


def test_a_listing_keeps_the_order_that_was_asked_for_until_another_is() -> None:
    listing = Listing[tuple[str, int | None]](lambda row: row[0], lambda row: row[0])
    listing.take([("b", 1), ("a", 1), ("c", None), ("d", 9)])
    listing.sort(lambda row: row[1], down=True)
    assert list(listing.rows) == ["d", "a", "b", "c"]
    listing.take([("b", 10), ("a", 1), ("c", 3)], hold=True)
    assert list(listing.rows) == ["d", "a", "b", "c"]
    listing.take([("b", 10), ("a", 1), ("c", 3)])
    assert list(listing.rows) == ["b", "c", "a"]
    listing.sort(None)
    assert list(listing.rows) == ["a", "b", "c"]
