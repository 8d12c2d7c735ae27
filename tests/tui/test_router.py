"""Every mode against every key: what each does, and what none may do."""

from __future__ import annotations

import msgspec
import pytest

from holdfast_tui import keys, router
from holdfast_tui.router import (
    Act,
    Answer,
    Do,
    Given,
    Mode,
    Narrow,
    Picked,
    Question,
    Say,
    Scene,
    State,
    Submit,
    paste,
    press,
)

QUESTION = Question(text="Retry 3 runs?", options=(("y", "yes"), ("s", "from start")))
TYPED = Question(text="DROP 3", typed="3")
STATES = {
    Mode.NORMAL: State(),
    Mode.FILTER: State(mode=Mode.FILTER, text="ab", before="a"),
    Mode.COMMAND: State(mode=Mode.COMMAND, text="runs"),
    Mode.ASK: router.ask(QUESTION),
    Mode.TYPED: msgspec.structs.replace(router.ask(TYPED), text="3"),
    Mode.BLANK: msgspec.structs.replace(router.fill(router.Blank(text="its value", name="JSON")), text="3"),
    Mode.SENDING: router.sending(),
    Mode.PICK: router.pick(router.Choices(title="sort by", choices=(("n", "name"), ("d", "depth")))),
}
KEYS = sorted(
    {key for action in keys.ACTIONS for key in action.keys}
    | {"y", "n", "s", "d", "x", "backspace", "ctrl+w", "f1", "alt+2", "shift+tab", "é", "3", "N"}
)


def scene(screen: str = keys.DEAD, **changed: object) -> Scene:
    actions = keys.keymap(screen)
    base = Scene(
        keys={key: action.id for key, action in actions.items()},
        moves=frozenset(action.id for action in actions.values() if action.moves),
        complete=lambda text: [word for word in ("queues ", "quit") if word.startswith(text)],
        history=("runs", "dead"),
    )
    return base._replace(**changed)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("screen", keys.SCREENS)
def test_every_key_is_answered_in_every_mode(screen: str, mode: Mode) -> None:
    changing = {action.id for action in keys.ACTIONS if action.changes}
    for key in KEYS:
        step = press(STATES[mode], key, scene(screen))
        for intent in step.intents:
            if isinstance(intent, Answer) and intent.option:
                assert (mode, key) in {(Mode.ASK, "y"), (Mode.ASK, "s"), (Mode.TYPED, "enter")}
            if isinstance(intent, Act) and intent.id in changing:
                assert mode is Mode.NORMAL
                assert key.isupper()
            if intent is Do.QUIT:
                assert key == "ctrl+c"
        if mode in (Mode.FILTER, Mode.COMMAND, Mode.BLANK) and len(key) == 1:
            assert step.state.text == STATES[mode].text + key


def test_escape_closes_one_thing_at_a_time() -> None:
    full = scene(filter="x", home="", marked=2, zoomed=True, root=False)
    assert press(State(), "escape", full).intents == (Do.UNZOOM,)
    full = full._replace(zoomed=False)
    assert press(State(), "q", full).intents == (Narrow(""),)
    full = full._replace(filter="")
    assert press(State(), "q", full).intents == (Do.UNMARK,)
    full = full._replace(marked=0)
    assert press(State(), "escape", full).intents == (Do.BACK,)
    assert press(State(), "q", full._replace(root=True)).intents == (Say(router.ROOT),)


def test_escape_goes_back_to_the_filter_the_screen_was_opened_with_and_then_back() -> None:
    opened = scene(filter="queue:emails x", home="queue:emails", root=False)
    assert press(State(), "q", opened).intents == (Narrow("queue:emails"),)
    assert press(State(), "q", opened._replace(filter="queue:emails")).intents == (Do.BACK,)


def test_the_filter_narrows_as_it_is_typed_and_escape_takes_it_back() -> None:
    state = press(State(), "/", scene(filter="a")).state
    assert (state.mode, state.text, state.before) == (Mode.FILTER, "a", "a")
    step = press(state, "R", scene())
    assert step.intents == (Narrow("aR"),)
    assert press(step.state, "escape", scene()) == (router.NORMAL, (Narrow("a"),))
    assert press(step.state, "enter", scene()) == (router.NORMAL, ())
    assert press(step.state, "down", scene()).intents == (Act("down"),)
    assert press(step.state, "ctrl+u", scene()).intents == (Narrow(""),)


def test_commands_are_recalled_and_completed() -> None:
    state = press(State(), ":", scene()).state
    assert press(press(state, "up", scene()).state, "up", scene()).state.text == "runs"
    assert press(press(state, "q", scene()).state, "tab", scene()).state.text == "queues "
    assert press(msgspec.structs.replace(state, text="dead"), "enter", scene()).intents == (Submit("dead"),)
    assert press(state, "backspace", scene()).state == router.NORMAL


def typed(text: str) -> State:
    return State(mode=Mode.COMMAND, text=text)


def test_tab_goes_round_the_ways_to_complete_and_back_to_what_was_typed() -> None:
    here = scene(complete=lambda text: [word for word in ("quit", "queues ", "queue ") if word.startswith(text)])
    state, found = typed("qu"), []
    for _ in range(5):
        state = press(state, "tab", here).state
        found.append(state.text)
    assert found == ["quit", "queues ", "queue ", "qu", "quit"]
    assert press(press(typed("qu"), "shift+tab", here).state, "shift+tab", here).state.text == "queues "
    assert press(state, "x", here).state == typed("quitx")
    assert press(typed("z"), "tab", here).state == typed("z")


def test_the_ghost_is_the_last_command_that_began_so_or_else_the_likeliest_word() -> None:
    here = scene(history=("runs state:dead", "runs queue:a"), complete=lambda text: ["runs "])
    assert router.ghost(typed("ru"), here) == "ns queue:a"
    assert router.ghost(typed("runs s"), here) == "tate:dead"
    assert router.ghost(typed(""), here) == ""
    assert router.ghost(typed("ru"), here._replace(history=())) == "ns "
    assert press(typed("ru"), "right", here).state == typed("runs queue:a")
    assert press(typed("x"), "ctrl+e", here).state == typed("x")


def test_only_commands_that_begin_as_what_was_typed_are_recalled() -> None:
    here = scene(history=("runs a", "dead b", "runs c"))
    state, found = typed("runs"), []
    for key in ("up", "up", "up", "down", "down"):
        state = press(state, key, here).state
        found.append(state.text)
    assert found == ["runs c", "runs a", "runs a", "runs c", "runs"]


def test_a_dry_run_says_what_would_be_sent_and_asks_on() -> None:
    asked = router.ask(Question(text="Retry 3 runs?", dry="dry run, nothing sent: holdfast runs retry x"))
    step = press(asked, "d", scene())
    assert step.intents == ()
    assert step.state.question == Question(text="dry run, nothing sent: holdfast runs retry x")
    assert press(step.state, "d", scene()) == (step.state, ())
    assert press(step.state, "y", scene()).intents == (Answer("y"),)
    assert press(router.ask(QUESTION), "d", scene()) == (router.ask(QUESTION), ())


@pytest.mark.parametrize("key", ["enter", "space", "Y", "R", "tab", "1"])
def test_only_y_says_yes(key: str) -> None:
    assert press(router.ask(QUESTION), key, scene()) == (router.ask(QUESTION), ())


@pytest.mark.parametrize("key", ["n", "q", "escape"])
def test_no_says_that_nothing_was_sent(key: str) -> None:
    assert press(router.ask(QUESTION), key, scene()).intents == (Answer(""), Say(router.NOTHING_SENT))


def test_a_typed_answer_must_match_exactly() -> None:
    asked = router.ask(TYPED)
    for wrong in ("", "2", "33", "3 ", "y"):
        state = msgspec.structs.replace(asked, text=wrong)
        assert press(state, "enter", scene()).intents == ()
    assert press(msgspec.structs.replace(asked, text="3"), "enter", scene()).intents == (Answer("y"),)


@pytest.mark.parametrize("mode", [Mode.NORMAL, Mode.ASK, Mode.TYPED, Mode.SENDING])
def test_a_paste_is_no_answer_and_no_key(mode: Mode) -> None:
    assert paste(STATES[mode], "y\n3\nq") == (STATES[mode], ())


def test_a_paste_fills_a_prompt_with_its_first_line() -> None:
    assert paste(STATES[Mode.FILTER], "cd\nef").intents == (Narrow("abcd"),)
    assert paste(STATES[Mode.COMMAND], " x\n").state.text == "runs x"


def test_what_is_typed_for_a_question_is_handed_over_and_sends_nothing() -> None:
    state = router.fill(router.Blank(text="its value", name="JSON", start="[1"))
    assert (state.mode, state.text) == (Mode.BLANK, "[1")
    state = paste(state, ",2]\ny").state
    assert press(state, "enter", scene()) == (state, (Given("[1,2]"),))
    assert press(state, "escape", scene()) == (router.NORMAL, (Answer(""), Say(router.NOTHING_SENT)))
    wrong = msgspec.structs.replace(state, wrong="no JSON")
    assert press(wrong, "backspace", scene()).state == msgspec.structs.replace(state, text="[1,2")


def test_one_key_picks_and_another_says_what_there_is() -> None:
    asked = STATES[Mode.PICK]
    assert press(asked, "d", scene()) == (router.NORMAL, (Picked("d"),))
    assert press(asked, "escape", scene()) == (router.NORMAL, (Picked(""),))
    assert press(asked, "q", scene()) == (router.NORMAL, (Picked(""),))
    wrong = press(asked, "R", scene())
    assert wrong == (msgspec.structs.replace(asked, wrong="R is none of n d"), ())
    assert press(wrong.state, "n", scene()).intents == (Picked("n"),)
    assert paste(asked, "n") == (asked, ())
    named_q = router.pick(router.Choices(title="copy", choices=(("q", "queue"),)))
    assert press(named_q, "q", scene()).intents == (Picked("q"),)


def test_while_sending_only_movement_works_and_ctrl_c_asks_twice() -> None:
    sending = router.sending()
    assert press(sending, "j", scene()).intents == (Act("down"),)
    assert press(sending, "R", scene()).intents == ()
    assert press(sending, ":", scene()).state == sending
    assert press(sending, "escape", scene()).intents == (Do.STOP,)
    first = press(sending, "ctrl+c", scene())
    assert isinstance(first.intents[0], Say)
    assert press(first.state, "ctrl+c", scene()).intents == (Do.QUIT,)


def test_a_key_that_is_off_says_why() -> None:
    off = scene(off={"R": "no link"})
    assert press(State(), "R", off).intents == (Say("R is off: no link"),)


@pytest.mark.parametrize(
    ("key", "character", "name"),
    [("slash", "/", "/"), ("R", "R", "R"), ("space", " ", "space"), ("tab", "\t", "tab"), ("ctrl+r", "\x12", "ctrl+r")],
)
def test_keys_are_named_as_in_the_table(key: str, character: str, name: str) -> None:
    assert router.key_name(key, character) == name
    assert router.key_name("alt+2", "™") == "alt+2"
