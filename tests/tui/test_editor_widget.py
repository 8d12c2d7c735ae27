"""The built-in editor: its text, the JSON that it takes, and its keys."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual import events

from holdfast_tui.model.buffer import Buffer
from holdfast_tui.model.typed import NotJson, read_json
from holdfast_tui.widgets.editor import Editor, edit
from tui.desks import Bench, bench, frame
from tui.world import EVIL

CHANGES = ("newline", "indent", "backspace", "delete", "cut_word", "cut_head", "cut_tail")
MOVES = ("left", "right", "word_left", "word_right", "home", "end")


@given(
    st.text(max_size=60),
    st.lists(st.one_of(st.sampled_from(CHANGES + MOVES), st.text(min_size=1, max_size=8)), max_size=30),
)
def test_the_cursor_stays_in_the_text_and_every_change_can_be_taken_back(text: str, doings: list[str]) -> None:
    buffer = Buffer(text)
    before = buffer.text
    for doing in doings:
        getattr(buffer, doing)() if doing in CHANGES + MOVES else buffer.insert(doing)
        line, column = buffer.cursor
        assert 0 <= line < len(buffer.lines)
        assert 0 <= column <= len(buffer.lines[line])
    after = buffer.text
    while buffer.undo():
        pass
    assert buffer.text == before
    while buffer.redo():
        pass
    assert buffer.text == after


def test_a_word_is_taken_back_as_one() -> None:
    buffer = Buffer("")
    for char in "one two":
        buffer.insert(char)
    buffer.undo()
    assert buffer.text == "one "
    buffer.undo()
    buffer.undo()
    assert buffer.text == ""


def test_a_new_line_is_indented_as_the_one_before_and_deeper_in_brackets() -> None:
    buffer = Buffer("{")
    buffer.end()
    buffer.newline()
    buffer.insert('"a": [')
    buffer.newline()
    assert buffer.lines == ["{", '  "a": [', "    "]
    buffer.backspace()
    assert buffer.lines[2] == "  "


def test_up_and_down_keep_to_the_column() -> None:
    buffer = Buffer("long line\nx\nlong line")
    buffer.to(0, 7)
    buffer.down(1)
    assert buffer.cursor == (1, 1)
    buffer.down(1)
    assert buffer.cursor == (2, 7)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_all_json_is_read(value: Any) -> None:
    assert read_json(json.dumps(value, indent=2)) == value


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ('{\n "a": 1,\n}', 3, 1, "expected"),
        ('{"a" 1}', 1, 6, "expected ':' delimiter, found '1'"),
        ("1 2", 1, 3, "expected the end behind the first value, found '2'"),
        ("", 0, 0, "found nothing"),
        ('{"a": NaN}', 0, 0, "found NaN"),
        ('{"a": 1, "a": 2}', 0, 0, "found 'a' twice"),
        ("[" * 100_000, 0, 0, "deeper"),
    ],
)
def test_what_is_no_json_is_told_with_its_place(text: str, line: int, column: int, said: str) -> None:
    with pytest.raises(NotJson, match=said) as caught:
        read_json(text)
    assert (caught.value.line, caught.value.column) in ((line, column), (2, 8))  # Python 3.13 blames the comma


def opened(desk: Bench, text: str, title: str = "payload") -> asyncio.Task[str | None]:
    return asyncio.get_running_loop().create_task(edit(desk.app, title, text, read_json))


def editor(desk: Bench) -> Editor:
    assert isinstance(desk.app.screen, Editor)
    return desk.app.screen


async def test_what_is_valid_is_taken() -> None:
    async with bench() as desk:
        answer = opened(desk, '{"a": 1}')
        await desk.settle()
        await desk.press("end", "left", *", ", *'"b": 2', "ctrl+s")
        assert await answer == '{"a": 1, "b": 2}'
        assert "Queues" in desk.text


async def test_what_is_not_valid_stays_with_the_cursor_where_it_is_wrong() -> None:
    async with bench() as desk:
        answer = opened(desk, '{"a": 1}')
        await desk.settle()
        await desk.press("delete", "ctrl+s")
        assert "expected the end behind the first value, found ':'" in desk.text
        assert editor(desk).buffer.cursor == (0, 3)
        await desk.press("ctrl+z", "ctrl+s")
        assert await answer == '{"a": 1}'


async def test_escape_leaves_and_asks_once_where_something_was_changed() -> None:
    async with bench() as desk:
        answer = opened(desk, "1")
        await desk.settle()
        await desk.press("escape")
        assert await answer is None
        answer = opened(desk, "1")
        await desk.settle()
        await desk.press("2", "escape")
        assert "escape once more throws the changes away" in desk.text
        await desk.press("right", "escape", "escape")
        assert await answer is None


async def test_a_paste_is_text_and_what_is_invisible_is_shown() -> None:
    async with bench() as desk:
        answer = opened(desk, "", title=EVIL)
        await desk.settle()
        desk.app.post_message(events.Paste(f'{{\n\t"a": "{EVIL}"\r\n}}'))
        await desk.settle()
        assert "\x1b" not in frame(desk.app)
        assert "\\u202e" in desk.text
        assert editor(desk).buffer.cursor == (2, 1)
        await desk.press("ctrl+s")
        assert "line 2, column" in desk.text
        await desk.press("escape", "escape")
        assert await answer is None


async def test_a_long_line_and_many_lines_are_seen_where_the_cursor_is() -> None:
    async with bench() as desk:
        text = "\n".join(["[", *[f"  {number}," for number in range(100)], '"' + "x" * 200 + 'END"', "]"])
        answer = opened(desk, text)
        await desk.settle()
        await desk.press("ctrl+end", "up", "end")
        assert 'END"' in desk.text
        await desk.press("ctrl+home")
        assert desk.text.splitlines()[1].split() == ["1", "["]
        await desk.press("pagedown")
        assert editor(desk).buffer.cursor.line == 20
        await desk.press("escape")
        assert await answer is None


async def test_another_editor_has_the_text_and_what_comes_back_can_be_mended() -> None:
    given: list[str] = []

    async def own(text: str) -> tuple[str | None, str]:
        given.append(text)
        return (None, "vim ended with exit code 1") if len(given) > 1 else ("{oops", "")

    async with bench() as desk:
        asked = edit(desk.app, "payload", "1", read_json, own=own)
        answer = asyncio.get_running_loop().create_task(asked)
        await desk.settle()
        assert "ctrl+o your own editor" in desk.text
        await desk.press("ctrl+o", "ctrl+s")
        assert "{oops" in desk.text
        assert "line 1, column 2: expected property name" in desk.text
        await desk.press("ctrl+o")
        assert "vim ended with exit code 1" in desk.text
        await desk.press("ctrl+z", "ctrl+s")
        assert (await answer, given) == ("1", ["1", "{oops"])
