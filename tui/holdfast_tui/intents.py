"""What the router knows and says: modes, what is asked in them, what it must know of the screen, what is to be done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, TypeAlias

import msgspec

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
    dry: str = ""
    """What would be sent, for the key `d`; empty: it has no dry run."""


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
    """The filter as it was when its prompt opened; the command as it was typed, before any was recalled."""
    recall: int = 0
    """How far back in the history of commands."""
    stem: str | None = None
    """The command as it was typed, before tab completed it."""
    turn: int = 0
    """Which way to complete it is shown."""
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
    complete: Callable[[str], Sequence[str]] = lambda text: ()
    """The ways to go on with a command line, whole lines, the likeliest first."""


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
