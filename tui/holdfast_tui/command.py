"""What stands behind `:`, read into a value."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from holdfast_tui import keys
from holdfast_tui.keys import DEAD, LOGS, QUEUES, RUNS

WORDS = ("queues", "runs", "run", "logs", "dead", "drain", "pause", "resume", "help", "quit")
"""What works on every screen."""
PERFORMED = tuple(action.id for action in keys.ACTIONS if action.changes and action.id not in WORDS)
"""What changes something: `:retry` is the key `R`, where that is one."""


class Go(NamedTuple):
    """Show a screen, filtered."""

    screen: str
    filter: str = ""


class OpenRun(NamedTuple):
    """Show a run by its id or an unambiguous part."""

    run: str


class Hold(NamedTuple):
    """Pause or resume a queue; empty: what is chosen on the screen."""

    queue: str
    paused: bool


class Drain(NamedTuple):
    """Retry the dead letters that match."""

    filter: str


class Perform(NamedTuple):
    """Carry out an action, as its key would."""

    id: str
    rest: str
    """What else was typed; actions take nothing."""


class Help(NamedTuple):
    pass


class Quit(NamedTuple):
    pass


class Wrong(NamedTuple):
    """It could not be read."""

    text: str


Command: TypeAlias = Go | OpenRun | Hold | Drain | Perform | Help | Quit | Wrong


def words(screen: str, *, read_only: bool = False) -> tuple[str, ...]:
    """What a command on a screen may begin with."""
    here = [] if read_only else [action.id for action in keys.on(screen) if action.id in PERFORMED]
    return (*WORDS, *here)


def read(text: str) -> Command:
    """Read a command line; an unknown one says which there are."""
    word, _, rest = text.strip().partition(" ")
    rest = rest.strip()
    match word:
        case "queues" | "queue":
            return Go(QUEUES, rest)
        case "runs":
            return Go(RUNS, rest)
        case "run":
            return OpenRun(rest) if rest else Wrong(":run ID: the id is missing, its last characters are enough")
        case "logs":
            return Go(LOGS, rest)
        case "dead" | "dlq":
            return Go(DEAD, rest)
        case "drain":
            return Drain(rest)
        case "pause" | "resume":
            return Hold(rest, word == "pause")
        case "help":
            return Help()
        case "q" | "quit" | "exit":
            return Quit()
    if word in PERFORMED:
        return Perform(word, rest)
    return Wrong(f"no command {word!r}: one of {' '.join((*WORDS, *PERFORMED))}")
