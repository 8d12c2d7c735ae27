"""What stands behind `:`: the words, what may follow each, and how a line is completed and read.

A word that changes something is an action's id, and does what the action's key does. A word with a `hook` is carried
out by screens that have a `command_<word>`, which gets what follows it; `limit` is offered where `command_limit` is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from holdfast_tui import keys
from holdfast_tui.format import short


class Takes(StrEnum):
    """What may follow a word."""

    NOTHING = ""
    FILTER = "FILTER"
    QUEUE = "QUEUE"
    RUN = "RUN"
    VIEW = "VIEW"
    THEME = "THEME"
    TEXT = "..."
    """What only the screen knows."""


class Word(NamedTuple):
    """What a command may begin with."""

    word: str
    does: str
    takes: Takes = Takes.NOTHING
    action: str = ""
    """The action whose key does the same."""
    aliases: tuple[str, ...] = ()
    changes: bool = False
    hook: bool = False
    """Screens carry it out, those that can."""


WORDS: tuple[Word, ...] = (
    Word("queues", "the queues", Takes.QUEUE, "queues", ("queue",)),
    Word("runs", "the runs", Takes.FILTER, "runs"),
    Word("run", "open a run", Takes.RUN),
    Word("logs", "output as it comes", Takes.FILTER, "logs"),
    Word("dead", "the dead letters", Takes.FILTER, "dead", ("dlq",)),
    Word("schedules", "the schedules", Takes.FILTER, "schedules"),
    Word("workers", "the workers", Takes.FILTER, "workers"),
    Word("metrics", "what happened over time", Takes.FILTER, "metrics"),
    Word("audit", "who changed what", Takes.FILTER, "audit"),
    Word("events", "what came from outside", Takes.FILTER, "events"),
    Word("pause", "pause a queue", Takes.QUEUE, "pause", changes=True),
    Word("resume", "resume a queue", Takes.QUEUE, "pause", changes=True),
    Word("limit", "limit a queue", Takes.QUEUE, "limit", changes=True, hook=True),
    Word("drain", "retry the dead letters that match", Takes.FILTER, "drain", changes=True),
    Word("retry", "retry a run", Takes.RUN, "retry", changes=True),
    Word("cancel", "cancel a run", Takes.RUN, "cancel", changes=True),
    Word("kill", "kill a run: now, no undos", Takes.RUN, "kill", changes=True),
    Word("replay", "begin a run again as a new one", Takes.RUN, "replay", changes=True),
    Word("undo", "take back the last pause, limit or drain", Takes.NOTHING, "undo", changes=True),
    Word("export", "write what is shown to a file", Takes.TEXT, "write", hook=True),
    Word("save", "keep this filter and order as a view", Takes.VIEW, hook=True),
    Word("view", "show a view that was kept", Takes.VIEW, hook=True),
    Word("views", "which views there are", hook=True),
    Word("forget", "keep a view no more", Takes.VIEW, hook=True),
    Word("columns", "which columns are shown", Takes.TEXT, hook=True),
    Word("theme", "other colours", Takes.THEME),
    Word("rw", "leave read-only"),
    Word("ro", "change nothing until :rw"),
    Word("theme", "other colours", Takes.TEXT, hook=True),
    Word("tour", "the desk in eight lines"),
    Word("help", "every key", Takes.NOTHING, "help"),
    Word("quit", "leave the desk", Takes.NOTHING, "quit", ("q", "exit")),
)
"""Every word that is no action's id alone."""

_NAMED = {name: word for word in WORDS for name in (word.word, *word.aliases)}
PERFORMED = tuple(dict.fromkeys(action.id for action in keys.ACTIONS if action.changes and action.id not in _NAMED))
"""What else changes something: `:answer` is the key `A`, where that is one."""


class Known(NamedTuple):
    """Names that a line may be completed with, in the order in which they are offered."""

    queues: Sequence[str] = ()
    runs: Sequence[str] = ()
    views: Sequence[str] = ()
    themes: Sequence[str] = ()
    fields: Mapping[str, Sequence[str]] = {}
    """What a filter may name, with what may stand behind its colon."""


class Offer(NamedTuple):
    """A way to go on with a line."""

    line: str
    does: str


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
    """Carry out an action, as its key would, or on the run that is named."""

    id: str
    rest: str


class Hook(NamedTuple):
    """Let the screen carry it out."""

    word: str
    rest: str


class Mode(NamedTuple):
    """Be read-only, or be it no more."""

    read_only: bool


class Colours(NamedTuple):
    """Show the desk in this theme; empty: say which there are."""

    theme: str


class Tour(NamedTuple):
    pass


class Help(NamedTuple):
    pass


class Quit(NamedTuple):
    pass


class Wrong(NamedTuple):
    """It could not be read."""

    text: str


Command: TypeAlias = Go | OpenRun | Hold | Drain | Perform | Hook | Mode | Colours | Tour | Help | Quit | Wrong


def read(text: str) -> Command:
    """Read a command line; an unknown one says which there are."""
    word, _, rest = text.strip().partition(" ")
    rest = rest.strip()
    found = _NAMED.get(word)
    if found is None:
        if word in PERFORMED:
            return Perform(word, rest)
        return Wrong(f"no command {word!r}: one of {' '.join((*(word.word for word in WORDS), *PERFORMED))}")
    if rest and found.takes is Takes.NOTHING:
        return Wrong(f":{found.word} takes no words, found {rest!r}")
    match found.word:
        case "run":
            return OpenRun(rest) if rest else Wrong(":run ID: the id is missing, its last characters are enough")
        case "pause" | "resume":
            return Hold(rest, found.word == "pause")
        case "drain":
            return Drain(rest)
        case "rw" | "ro":
            return Mode(found.word == "ro")
        case "theme":
            return Colours(rest)
        case "tour":
            return Tour()
        case "help":
            return Help()
        case "quit":
            return Quit()
    if found.hook:
        return Hook(found.word, rest)
    return Perform(found.word, rest) if found.changes else Go(found.word, rest)


def words(
    screen: str,
    *,
    read_only: bool = False,
    hooks: Collection[str] = (),
    sections: Collection[str] = keys.SCREENS,
    actions: Sequence[keys.Action] = keys.ACTIONS,
) -> list[Word]:
    """What a command on a screen may begin with.

    Args:
        hooks: the words that the screen carries out itself.
        sections: the screens that there are.
    """
    absent = {*keys.SECTIONS.values()} - {*sections}
    here = {action.id: action for action in keys.on(screen, actions)}
    found = [word for word in WORDS if (word.word in hooks or not word.hook) and word.word not in absent]
    found += [Word(id, here[id].label, action=id, changes=True) for id in PERFORMED if id in here]
    return [word for word in found if not (read_only and word.changes)]


def offers(text: str, words: Sequence[Word], known: Known, named: Mapping[str, str]) -> list[Offer]:
    """Every way to go on with a line, the likeliest first.

    Args:
        named: by the id of an action, the key that does the same.
    """
    begun, space, rest = text.lstrip().partition(" ")
    if not space:
        return [
            Offer(word.word + (" " if word.takes else ""), _told(word, named))
            for word in words
            if word.word.startswith(begun)
        ]
    found = next((word for word in words if begun in (word.word, *word.aliases)), None)
    if found is None:
        return []
    before, blank, last = rest.rpartition(" ")
    return [Offer(f"{begun} {before}{blank}{end}", end.strip()) for end in _ends(found.takes, last, known)]


def _told(word: Word, named: Mapping[str, str]) -> str:
    takes = f" {word.takes.value}" if word.takes else ""
    key = f" ({named[word.action]})" if word.action in named else ""
    return f"{word.word}{takes}  {word.does}{key}"


def _ends(takes: Takes, last: str, known: Known) -> list[str]:
    """What the last word of a line may be."""
    match takes:
        case Takes.QUEUE:
            return _begin(known.queues, last)
        case Takes.RUN:
            return _begin([short(run) for run in known.runs], last) or _begin(known.runs, last)
        case Takes.VIEW:
            return _begin(known.views, last)
        case Takes.THEME:
            return _begin(known.themes, last)
        case Takes.FILTER:
            return _fields(last, known)
        case Takes.NOTHING | Takes.TEXT:
            return []


def _fields(last: str, known: Known) -> list[str]:
    """A field of a filter, or one of its values; of several, parted by commas, the last."""
    field, colon, given = last.partition(":")
    if not colon:
        return _begin([f"{name}:" for name in known.fields], last) if last else []
    before, comma, begun = given.rpartition(",")
    return [f"{field}:{before}{comma}{value}" for value in _begin(known.fields.get(field, ()), begun)]


def _begin(names: Sequence[str], begun: str) -> list[str]:
    return [name for name in names if name.startswith(begun) and name != begun]
