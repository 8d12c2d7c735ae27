"""Rules over the table of keys: what it promises holds on every screen."""

from __future__ import annotations

import pytest

from holdfast_tui import command, keys
from holdfast_tui.app import SECTIONS
from holdfast_tui.gateway import ReadOnly
from holdfast_tui.keys import ACTIONS, Confirm
from holdfast_tui.screens.obeying import hooks
from holdfast_tui.screens.run import RunTree
from holdfast_tui.verbs import DEEDS, Verb
from tui.desks import bench
from tui.world import ReadingClient, run_id

PAGES = {**SECTIONS, keys.RUN: RunTree}
SCREENS = tuple(PAGES)
"""The screens that there are."""


def test_what_changes_has_a_capital_and_a_question_and_nothing_else_has_a_capital() -> None:
    for action in ACTIONS:
        for key in action.keys:
            assert (len(key) == 1 and key.isupper()) == (action.changes or key in "GN"), action.id
        assert action.changes == (action.confirm is not Confirm.NONE), action.id


@pytest.mark.parametrize("screen", SCREENS)
def test_a_key_does_one_thing_on_a_screen(screen: str) -> None:
    found = [key for action in keys.on(screen) for key in action.keys]
    assert len(found) == len(set(found))


@pytest.mark.parametrize("screen", SCREENS)
def test_every_action_is_implemented_by_its_screen(screen: str) -> None:
    for action in keys.on(screen):
        if action.id not in keys.ROUTED and action.id not in keys.SECTIONS.values():
            assert callable(getattr(PAGES[screen], f"do_{action.id}", None)), action.id


def test_keys_that_terminals_and_multiplexers_lose_are_not_used() -> None:
    used = {key for action in ACTIONS for key in action.keys}
    for key in used:
        assert not key.startswith(("alt+", "shift+", "f1")), key
    assert not used & {"ctrl+a", "ctrl+h", "ctrl+i", "ctrl+j", "ctrl+m", "ctrl+enter"}


@pytest.mark.parametrize("width", [80, 120, 40])
@pytest.mark.parametrize("screen", SCREENS)
def test_hints_fit_and_always_end_with_help(screen: str, width: int) -> None:
    line = keys.hints(screen, width)
    assert len(line) <= width
    assert line.endswith("? help")


@pytest.mark.parametrize("screen", SCREENS)
def test_help_names_every_key_of_the_screen(screen: str) -> None:
    shown = " ".join(row.keys for row in keys.help_rows(screen)).split()
    for action in keys.on(screen):
        assert action.written.split()[-1] in shown or action.keys[0] in shown or not action.label, action.id
        assert len(action.label) <= 23, f"{action.id}: two columns at 80 need a label of at most 23"


@pytest.mark.parametrize("screen", SCREENS)
def test_read_only_takes_what_changes_from_keys_hints_and_says_why_in_the_help(screen: str) -> None:
    changing = {action.id for action in keys.on(screen) if action.changes}
    assert not changing & {action.id for action in keys.keymap(screen, read_only=True).values()}
    words = [action.hint for action in keys.on(screen) if action.changes and action.hint]
    assert not any(word in keys.hints(screen, 500, read_only=True) for word in words)
    off = [row for row in keys.help_rows(screen, off=keys.READ_ONLY) if row.off]
    assert len(off) == len(changing)
    assert set(keys.refused(screen, why=keys.READ_ONLY)) == {
        key for action in keys.on(screen) if action.changes for key in action.keys
    }


@pytest.mark.parametrize("screen", SCREENS)
def test_every_key_that_changes_something_is_a_command_too_but_not_in_read_only(screen: str) -> None:
    changing = {action.id for action in keys.on(screen) if action.changes}
    assert changing <= {word.word for word in command.words(screen, hooks=hooks(PAGES[screen]))}
    assert not changing & {word.word for word in command.words(screen, read_only=True)}


def test_what_would_find_nothing_to_act_on_is_not_offered() -> None:
    assert "A answer" in keys.hints(keys.RUN, 200)
    assert "A answer" not in keys.hints(keys.RUN, 200, idle=frozenset({"answer"}))


def test_the_help_says_what_would_find_nothing_to_act_on() -> None:
    rows = keys.help_rows(keys.RUN, idle=frozenset({"answer"}))
    assert [(row.keys, row.off) for row in rows if row.off] == [("A", keys.IDLE)]


def test_the_help_is_searched_by_key_and_by_label() -> None:
    assert [row.keys for row in keys.help_rows(keys.DEAD, search="drain")] == ["Z"]
    assert "ctrl+r" in [row.keys for row in keys.help_rows(keys.DEAD, search="ctrl+r")]


@pytest.mark.parametrize("screen", SCREENS)
async def test_in_read_only_no_key_and_no_command_reaches_the_client(screen: str) -> None:
    client = ReadingClient()
    async with bench(client, read_only=True) as desk:
        if screen == keys.RUN:
            desk.app.open_run(run_id(2895))
        else:
            desk.app.section(screen)
        await desk.settle()
        place = desk.app.trail.places[-1]
        for key in (key for action in keys.on(screen) for key in action.keys if action.id != "quit"):
            await desk.press(key, "y", "escape")
            desk.app._show(place)
            await desk.settle()
        for line in (*(f"{word.word} emails" for word in command.WORDS if word.changes), *command.PERFORMED):
            desk.app.command(line)
            await desk.press("y")
        with pytest.raises(ReadOnly, match="read-only"):
            await desk.app.gateway.retry(run_id(1), from_start=False)


def test_every_word_of_the_command_line_is_understood() -> None:
    for word in command.WORDS:
        for name in (word.word, *word.aliases):
            assert isinstance(command.read(f"{name} x"), command.Wrong) == (word.takes is command.Takes.NOTHING), name
    for id in command.PERFORMED:
        assert command.read(f"{id} x") == command.Perform(id, "x")
    assert isinstance(command.read("rnus"), command.Wrong)
    assert isinstance(command.read("run"), command.Wrong)
    assert command.read("runs state:fail") == command.Go(keys.RUNS, "state:fail")
    assert command.read("kill") == command.Perform("kill", "")
    assert set(SECTIONS) <= set(keys.SECTIONS.values()) <= set(keys.SCREENS)


def test_every_verb_says_how_it_asks_is_sent_and_is_told() -> None:
    assert set(DEEDS) == set(Verb)


async def test_the_key_of_a_section_that_is_not_there_says_so() -> None:
    async with bench() as desk:
        desk.app.section("nowhere")
        await desk.settle()
        desk.page.paint()
        await desk.settle()
        assert "no screen nowhere: there are queues, runs" in desk.text
