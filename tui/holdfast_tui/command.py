"""What stands behind `:`, read into a value."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from holdfast_tui.keys import DEAD, LOGS, QUEUES, RUNS

WORDS = ("queues", "runs", "run", "logs", "dead", "drain", "pause", "resume", "help", "quit")


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


class Help(NamedTuple):
    pass


class Quit(NamedTuple):
    pass


class Wrong(NamedTuple):
    """It could not be read."""

    text: str


Command: TypeAlias = Go | OpenRun | Hold | Drain | Help | Quit | Wrong


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
    return Wrong(f"no command {word!r}: one of {' '.join(WORDS)}")
