"""A user's own keys: what is taken, what is refused and how that is said; and the table in the docs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from holdfast_tui import keymap, keys
from holdfast_tui.keymap import remapped
from tui.desks import bench

PAGE = Path(__file__).parents[2] / "docs" / "keys.md"


def action(mapped: keymap.Mapped, id: str) -> keys.Action:
    return next(each for each in mapped.actions if each.id == id)


def test_keys_are_swapped_and_hints_help_and_table_say_so() -> None:
    mapped = remapped({"pause": "W", "filter": ["ctrl+s", "/"], "down": "m"})
    assert mapped.wrong == ()
    assert action(mapped, "pause").keys == ("W",)
    assert keys.keymap(keys.QUEUES, actions=mapped.actions)["W"].id == "pause"
    assert "P" not in keys.keymap(keys.QUEUES, actions=mapped.actions)
    hints = keys.hints(keys.QUEUES, 200, actions=mapped.actions)
    assert "W pause" in hints
    assert "ctrl+s filter" in hints
    assert "ctrl+s find" in keys.hints(keys.RUN, 200, actions=mapped.actions)
    assert "m k" in [row.keys for row in keys.help_rows(keys.RUNS, actions=mapped.actions)]
    assert "\npause " in keymap.table(mapped.actions)
    both = remapped({"retry": "C", "cancel": "R"})
    assert both.wrong == ()
    assert [action(both, id).keys for id in ("retry", "cancel")] == [("C",), ("R",)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pausse": "W"}, "pausse: expected an action's id; did you mean pause?"),
        ({"pause": "w"}, "pause: it changes something: expected a capital letter, found 'w'"),
        ({"follow": "F"}, "follow: it changes nothing: expected anything but a capital letter, found 'F'"),
        ({"follow": "ctrl+m"}, "expected a character, ctrl+ and a letter (not h i j m), or a name, found 'ctrl+m'"),
        ({"follow": "ff"}, "found 'ff'"),
        ({"follow": 1}, 'expected a key such as "x" or several such as ["x", "ctrl+x"], found 1'),
        ({"follow": []}, "found []"),
        ({"follow": "/"}, "expected a key that is free on runs, found '/': that is filter"),
        ({"retry": "C"}, "retry: expected a key that is free on runs, found 'C': that is cancel"),
    ],
)
def test_what_cannot_be_is_said_in_one_line_and_leaves_the_table_as_it_was(given: dict[str, object], said: str) -> None:
    mapped = remapped(given)
    assert mapped.actions == keys.ACTIONS
    assert len(mapped.wrong) == 1
    assert mapped.wrong[0].startswith("keys.toml: ")
    assert said in mapped.wrong[0]
    assert "\n" not in mapped.wrong[0]


def test_a_row_that_is_wrong_does_not_take_the_others_with_it() -> None:
    mapped = remapped({"follow": "/", "pause": "W", "nothing": "x"})
    assert len(mapped.wrong) == 2
    assert action(mapped, "pause").keys == ("W",)


def test_a_file_is_read_and_one_that_is_no_toml_is_said(tmp_path: Path) -> None:
    assert keymap.load(None) == keymap.load(tmp_path) == keymap.Mapped()
    (tmp_path / keymap.FILE).write_text('pause = "W"\n')
    assert action(keymap.load(tmp_path), "pause").keys == ("W",)
    (tmp_path / keymap.FILE).write_text("pause = W\n")
    wrong = keymap.load(tmp_path).wrong
    assert len(wrong) == 1
    assert 'expected lines like pause = "P", found' in wrong[0]
    (tmp_path / keymap.FILE).write_bytes(b"\xff")
    assert len(keymap.load(tmp_path).wrong) == 1


@pytest.mark.parametrize("id", [action.id for action in keys.ACTIONS])
def test_every_row_can_be_remapped(id: str) -> None:
    key = "Ä" if keys.BY_ID[id].changes else "ü"
    mapped = remapped({id: key})
    assert mapped.wrong == ()
    for screen in keys.BY_ID[id].on:
        assert keys.keymap(screen, actions=mapped.actions)[key].id == id


def test_the_page_in_the_docs_is_the_table() -> None:
    if os.environ.get("HOLDFAST_FRAMES") == "write":
        PAGE.write_text(keymap.page(keys.ACTIONS))
    assert PAGE.read_text() == keymap.page(keys.ACTIONS), "HOLDFAST_FRAMES=write writes it anew"


async def test_the_desk_goes_by_the_users_keys_and_says_what_is_wrong_with_them() -> None:
    mapped = remapped({"pause": "W", "back": "x", "command": ";", "nothing": "y"})
    async with bench(mapped=mapped) as desk:
        assert "keys.toml: nothing: expected an action's id" in desk.text
        assert "W pause" in desk.text
        await desk.press("P")
        assert "P does nothing here" in desk.text
        await desk.press("W")
        assert "Pause 1 queue?" in desk.text
        await desk.press("escape", ";", *"runs", "enter")
        assert desk.kind == keys.RUNS
        await desk.press("enter", "x")
        assert desk.kind == keys.RUNS


def test_rows_of_one_id_change_the_same_or_nothing() -> None:
    for action in keys.ACTIONS:
        assert action.changes == keys.BY_ID[action.id].changes, action.id
