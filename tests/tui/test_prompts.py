"""What the bottom lines ask for: one key of a few, a line of text, a yes."""

from __future__ import annotations

from holdfast_tui.router import Mode
from tui.desks import bench


async def test_a_choice_stands_in_the_last_two_rows_takes_one_key_and_escape_leaves() -> None:
    picked: list[str] = []
    async with bench() as desk:
        desk.page.pick("Sort by", (("n", "name"), ("d", "depth")), picked.append)
        await desk.press("x")
        assert "x is none of n d" in desk.text
        assert "[n] name  [d] depth  [esc] leave" in desk.text
        await desk.press("d")
        assert picked == ["d"]
        desk.page.pick("Sort by", (("n", "name"),), picked.append)
        await desk.press("escape")
        assert picked == ["d"]
        assert desk.page.state.mode is Mode.NORMAL


async def test_what_is_typed_is_handed_over_and_what_cannot_be_taken_stays_to_be_mended() -> None:
    taken: list[int] = []

    def then(text: str) -> None:
        if not text.isdecimal():
            raise ValueError(f"expected a number, found {text}")
        taken.append(int(text))

    async with bench() as desk:
        desk.page.fill("How many at once?", "limit", "1", then)
        await desk.press("x", "enter")
        assert "expected a number, found 1x" in desk.text
        assert "limit> 1x" in desk.text
        await desk.press("backspace", "2", "enter")
        assert taken == [12]
        assert desk.page.state.mode is Mode.NORMAL
        desk.page.fill("How many at once?", "limit", "", then)
        await desk.press("3", "escape")
        assert taken == [12]
        assert "nothing was sent" not in desk.text


async def test_a_choice_that_cannot_be_carried_out_is_said() -> None:
    def then(key: str) -> None:
        raise ValueError(f"expected a row to copy, found none for {key}")

    async with bench() as desk:
        desk.page.pick("Copy", (("i", "id"),), then)
        await desk.press("i")
        assert "expected a row to copy, found none for i" in desk.text
        assert desk.page.state.mode is Mode.NORMAL


async def test_what_is_picked_may_ask_for_more_and_a_plan_after_it() -> None:
    taken: list[str] = []
    async with bench() as desk:
        page = desk.page
        page.pick("Write", (("c", "csv"),), lambda kind: page.fill("To which file?", "file", f"a.{kind}", taken.append))
        await desk.press("c", "enter")
        assert taken == ["a.c"]
        page.pick("Write", (("c", "csv"),), taken.append)
        await desk.press("escape", "P")
        assert "Pause 1 queue?" in desk.text
        await desk.press("y")
        assert desk.client.changed == [("pause", "audit-export")]
        assert taken == ["a.c"]
