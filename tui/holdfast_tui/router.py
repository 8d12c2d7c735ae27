"""What a key means: one pure function over a few modes. Focus never moves, layout never shifts: a prompt is a state.

`press` answers with the next state and what to do; who does it is the screen.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple, TypeAlias, assert_never

import msgspec

ROOT = "this is the first screen: ctrl+c quits"
NOTHING_SENT = "nothing was sent"


class Mode(StrEnum):
    """What the bottom line is for."""

    NORMAL = "normal"
    FILTER = "filter"
    COMMAND = "command"
    ASK = "ask"
    """A question that `y` answers."""
    TYPED = "typed"
    """A question that is answered by typing a word."""
    BLANK = "blank"
    """Something is typed that a question or a look needs; enter hands it over, and sends nothing."""
    PICK = "pick"
    """One key chooses among a few; nothing is sent."""
    SENDING = "sending"
    """A batch is on its way; esc stops it."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked before something changes."""

    text: str
    options: tuple[tuple[str, str], ...] = (("y", "yes"),)
    """Keys that send, with their words."""
    typed: str = ""
    """What must be typed, exactly; empty: a key is enough."""


class Blank(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be typed before a question can be asked or something shown."""

    text: str
    name: str
    """What stands before the text that is typed."""
    start: str = ""
    """What stands there at first."""
    left: str = NOTHING_SENT
    """What is said where it is left without an answer."""


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """What one key chooses among."""

    title: str
    """What is chosen."""
    choices: tuple[tuple[str, str], ...]
    """Keys with their words."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The router's state."""

    mode: Mode = Mode.NORMAL
    text: str = ""
    """What stands in the prompt."""
    before: str = ""
    """The filter as it was when its prompt opened."""
    recall: int = 0
    """How far back in the history of commands."""
    question: Question | None = None
    blank: Blank | None = None
    pick: Choices | None = None
    wrong: str = ""
    """Why what was typed can't be taken, until the next key."""
    warned: bool = False
    """Whether ctrl+c was pressed while sending."""


class Scene(NamedTuple):
    """What the router must know of the screen."""

    keys: Mapping[str, str]
    """Key to the id of its action."""
    off: Mapping[str, str] = {}
    """Key to the reason why it is off."""
    moves: frozenset[str] = frozenset()
    """Ids of actions that only move."""
    filter: str = ""
    home: str = ""
    """The filter that the screen was opened with: esc goes no further."""
    marked: int = 0
    zoomed: bool = False
    """Whether something is open over the list that esc closes first."""
    root: bool = True
    history: tuple[str, ...] = ()
    """Commands given before, oldest first."""
    words: tuple[str, ...] = ()
    """What a command may begin with."""


class Act(NamedTuple):
    """Carry out an action."""

    id: str


class Narrow(NamedTuple):
    """The filter is this now."""

    text: str


class Submit(NamedTuple):
    """Carry out a command."""

    text: str


class Answer(NamedTuple):
    """The question was answered with this option; empty: no."""

    option: str


class Given(NamedTuple):
    """This was typed where something was asked for."""

    text: str


class Picked(NamedTuple):
    """This key was chosen; empty: none."""

    key: str


class Say(NamedTuple):
    """Show a line."""

    text: str


class Do(StrEnum):
    """What needs no more words."""

    UNZOOM = "unzoom"
    UNMARK = "unmark"
    BACK = "back"
    QUIT = "quit"
    STOP = "stop"
    """Stop sending."""


Intent: TypeAlias = Act | Narrow | Submit | Answer | Given | Picked | Say | Do


class Step(NamedTuple):
    state: State
    intents: tuple[Intent, ...] = ()


NORMAL = State()


def key_name(key: str, character: str | None) -> str:
    """A key as the table names it: a printable one is itself, but `space`."""
    if key.startswith("alt+"):
        return key
    if character is not None and character.isprintable() and len(character) == 1:
        return "space" if character == " " else character
    return key


def press(state: State, key: str, scene: Scene) -> Step:
    """One key."""
    if key == "ctrl+c":
        return _quit(state)
    match state.mode:
        case Mode.NORMAL:
            return _normal(state, key, scene)
        case Mode.FILTER:
            return _filter(state, key, scene)
        case Mode.COMMAND:
            return _command(state, key, scene)
        case Mode.ASK:
            return _ask(state, key)
        case Mode.TYPED:
            return _typed(state, key)
        case Mode.BLANK:
            return _blank(state, key)
        case Mode.PICK:
            return _pick(state, key)
        case Mode.SENDING:
            return _sending(state, key, scene)
        case _:
            assert_never(state.mode)


def paste(state: State, text: str) -> Step:
    """A paste: text for a prompt on one line; it never answers a question and never is a key."""
    text = "".join(text.splitlines()[:1])
    match state.mode:
        case Mode.FILTER:
            return Step(_typing(state, state.text + text), (Narrow(state.text + text),))
        case Mode.COMMAND | Mode.BLANK:
            return Step(_typing(state, state.text + text))
        case _:
            return Step(state)


def ask(question: Question) -> State:
    """The state that asks."""
    return State(mode=Mode.TYPED if question.typed else Mode.ASK, question=question)


def fill(blank: Blank) -> State:
    """The state in which something is typed."""
    return State(mode=Mode.BLANK, blank=blank, text=blank.start)


def pick(choices: Choices) -> State:
    """The state in which one key chooses."""
    return State(mode=Mode.PICK, pick=choices)


def sending() -> State:
    return State(mode=Mode.SENDING)


def _quit(state: State) -> Step:
    if state.mode is Mode.SENDING and not state.warned:
        warned = msgspec.structs.replace(state, warned=True)
        return Step(warned, (Say("still sending: esc stops, ctrl+c again quits"),))
    return Step(state, (Do.QUIT,))


def _normal(state: State, key: str, scene: Scene) -> Step:
    if key in ("escape", "q"):
        return Step(state, (_back(scene),))
    if key == "/":
        return Step(State(mode=Mode.FILTER, text=scene.filter, before=scene.filter))
    if key == ":":
        return Step(State(mode=Mode.COMMAND))
    if key in scene.off:
        return Step(state, (Say(f"{key} is off: {scene.off[key]}"),))
    if key in scene.keys:
        return Step(state, (Act(scene.keys[key]),))
    return Step(state, (Say(f"{key} does nothing here: ? shows the keys"),)) if len(key) == 1 else Step(state)


def _back(scene: Scene) -> Intent:
    if scene.zoomed:
        return Do.UNZOOM
    if scene.filter != scene.home:
        return Narrow(scene.home)
    if scene.marked:
        return Do.UNMARK
    return Say(ROOT) if scene.root else Do.BACK


def _filter(state: State, key: str, scene: Scene) -> Step:
    if key == "enter":
        return Step(NORMAL)
    if key == "escape":
        return Step(NORMAL, (Narrow(state.before),))
    if key in ("up", "down", "pageup", "pagedown") and key in scene.keys:
        return Step(state, (Act(scene.keys[key]),))
    text = edit(state.text, key)
    return Step(state) if text == state.text else Step(_typing(state, text), (Narrow(text),))


def _command(state: State, key: str, scene: Scene) -> Step:
    if key == "escape" or (key == "backspace" and not state.text):
        return Step(NORMAL)
    if key == "enter":
        return Step(NORMAL, (Submit(state.text),)) if state.text.strip() else Step(NORMAL)
    if key in ("up", "down"):
        back = max(0, min(len(scene.history), state.recall + (1 if key == "up" else -1)))
        text = scene.history[-back] if back else ""
        return Step(msgspec.structs.replace(state, text=text, recall=back))
    if key == "tab":
        found = [word for word in scene.words if word.startswith(state.text)]
        return Step(_typing(state, found[0] + " ")) if found and state.text else Step(state)
    return Step(_typing(state, edit(state.text, key)))


def _ask(state: State, key: str) -> Step:
    assert state.question is not None
    if key in dict(state.question.options):
        return Step(NORMAL, (Answer(key),))
    if key in ("n", "q", "escape"):
        return Step(NORMAL, (Answer(""), Say(NOTHING_SENT)))
    return Step(state)


def _typed(state: State, key: str) -> Step:
    assert state.question is not None
    if key == "escape":
        return Step(NORMAL, (Answer(""), Say(NOTHING_SENT)))
    if key == "enter":
        return Step(NORMAL, (Answer("y"),)) if state.text == state.question.typed else Step(state)
    return Step(_typing(state, edit(state.text, key)))


def _blank(state: State, key: str) -> Step:
    assert state.blank is not None
    if key == "escape":
        return Step(NORMAL, (Answer(""), Say(state.blank.left)))
    if key == "enter":
        return Step(state, (Given(state.text),))
    return Step(_typing(state, edit(state.text, key)))


def _pick(state: State, key: str) -> Step:
    assert state.pick is not None
    choices = dict(state.pick.choices)
    if key in choices:
        return Step(NORMAL, (Picked(key),))
    if key in ("escape", "q"):
        return Step(NORMAL, (Picked(""),))
    return Step(msgspec.structs.replace(state, wrong=f"{key} is none of {' '.join(choices)}"))


def _sending(state: State, key: str, scene: Scene) -> Step:
    if key in ("escape", "q"):
        return Step(state, (Do.STOP,))
    action = scene.keys.get(key, "")
    return Step(state, (Act(action),)) if action in scene.moves else Step(state)


def edit(text: str, key: str) -> str:
    """A prompt's text after a key."""
    if key == "backspace":
        return text[:-1]
    if key == "ctrl+u":
        return ""
    if key == "ctrl+w":
        return text.rstrip().rpartition(" ")[0]
    if key == "space":
        return text + " "
    return text + key if len(key) == 1 and key.isprintable() else text


def _typing(state: State, text: str) -> State:
    return msgspec.structs.replace(state, text=text, recall=0, wrong="")
