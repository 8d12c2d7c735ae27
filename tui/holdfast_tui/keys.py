"""Every key of the desk, once: bindings, the hints of row 24, the help and the rules of read-only come from this table.

Lowercase, digits, symbols and ctrl keys look; capitals change, and ask first (`G` only moves).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType

import msgspec

QUEUES, RUNS, RUN, LOGS, DEAD = "queues", "runs", "run", "logs", "dead"
GROUPS = "groups"
"""Dead letters by kind of error."""
SCHEDULES, WORKERS, METRICS, AUDIT, EVENTS = "schedules", "workers", "metrics", "audit", "events"
TIMELINE, HISTORY = "timeline", "history"
SCREENS = (QUEUES, RUNS, RUN, TIMELINE, HISTORY, LOGS, DEAD, GROUPS, SCHEDULES, WORKERS, METRICS, AUDIT, EVENTS)
SECTIONS = MappingProxyType(
    {
        "1": QUEUES,
        "2": RUNS,
        "3": LOGS,
        "4": DEAD,
        "5": SCHEDULES,
        "6": WORKERS,
        "7": METRICS,
        "8": AUDIT,
        "9": EVENTS,
    }
)
"""The keys of the screens that stand by themselves."""

READ_ONLY = "read-only session: nothing can be changed (start without --read-only)"
IDLE = "nothing that it could act on just now"
READ_ONLY_NOW = "read-only: nothing can be changed (:rw leaves it)"


class Confirm(StrEnum):
    """How an action that changes something asks."""

    NONE = "none"
    """It changes nothing."""
    YES = "yes"
    """`y`, and nothing else."""
    COUNT = "count"
    """The number of what is hit is typed."""
    NAME = "name"
    """The end of the run's id is typed, as lists show it; or the name of what is hit."""
    CHOICE = "choice"
    """The letter of one of several answers; one that takes a value asks for it, and then for `y`."""
    VALUE = "value"
    """What is to be sent is typed; then `y`."""


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a key does."""

    id: str
    """Screens implement it as `do_<id>`; `router` owns those in `ROUTED`. Screens may have it in rows of their own."""
    keys: tuple[str, ...]
    """A printable key is itself, any other has Textual's name."""
    label: str
    """What it does, in the help; empty: said with the action before it."""
    show: str = ""
    """How the keys are written; empty: the first one."""
    hint: str = ""
    """What it does, in row 24; empty: not there."""
    rank: int = 50
    """Hints of a low rank come first and are dropped last."""
    on: tuple[str, ...] = SCREENS
    moves: bool = False
    """It moves the cursor only: allowed while something is being sent."""
    changes: bool = False
    confirm: Confirm = Confirm.NONE
    remapped: bool = False
    """Its keys are a user's own."""

    @property
    def written(self) -> str:
        return self.show or self.keys[0]


_PLACES = (SCHEDULES, WORKERS, AUDIT, EVENTS)
"""Lists beside those of runs and queues."""
LISTED = (QUEUES, RUNS, DEAD, GROUPS, *_PLACES)
"""The screens that are `Listed`."""
_OF_RUN = (RUN, TIMELINE, HISTORY)
PANNED = (*LISTED, LOGS)
"""Those that are wider than the terminal may be, with failures to jump to."""

ACTIONS: tuple[Action, ...] = (
    Action(id="down", keys=("j", "down"), show="j k", label="down, up", moves=True),
    Action(id="up", keys=("k", "up"), label="", moves=True),
    Action(id="first", keys=("g", "home"), show="g G", label="first, last", moves=True),
    Action(id="last", keys=("G", "end"), label="", moves=True),
    Action(id="half_down", keys=("ctrl+d",), show="ctrl+d ctrl+u", label="half a page", moves=True),
    Action(id="half_up", keys=("ctrl+u",), label="", moves=True),
    Action(id="page_down", keys=("pagedown", "ctrl+f"), show="pgdn pgup", label="a page", moves=True),
    Action(id="page_up", keys=("pageup",), label="", moves=True),
    Action(id="fold", keys=("h", "left"), show="h l", label="fold, unfold", hint="h/l fold", rank=12, on=(RUN,)),
    Action(id="unfold", keys=("l", "right"), label="", on=(RUN,)),
    Action(id="fold_all", keys=("-",), show="- =", label="fold, unfold all", on=(RUN,)),
    Action(id="unfold_all", keys=("=",), label="", on=(RUN,)),
    Action(id="closer", keys=("+",), show="+ -", label="closer, further off", hint="+/- zoom", rank=12, on=(TIMELINE,)),
    Action(id="further", keys=("-",), label="", on=(TIMELINE,)),
    Action(id="fit", keys=("0",), label="the whole run", hint="0 fit", rank=13, on=(TIMELINE,)),
    Action(id="pan_left", keys=("h", "left"), show="h l", label="left, right", hint="h/l pan", rank=14, on=(TIMELINE,)),
    Action(id="pan_right", keys=("l", "right"), label="", on=(TIMELINE,)),
    Action(id="critical", keys=("c",), label="critical path", hint="c critical path", rank=16, on=(TIMELINE,)),
    Action(
        id="open",
        keys=("enter",),
        label="open",
        hint="enter open",
        rank=10,
        on=(*LISTED, LOGS, TIMELINE, METRICS),
    ),
    Action(id="zoom", keys=("enter",), label="read pane, open link", hint="enter read", rank=11, on=(RUN, HISTORY)),
    Action(
        id="previous_failure",
        keys=("{",),
        show="{ }",
        label="previous, next failure",
        hint="{ } error",
        rank=24,
        on=_OF_RUN,
        moves=True,
    ),
    Action(id="next_failure", keys=("}",), label="", on=_OF_RUN, moves=True),
    Action(
        id="next_match",
        keys=("n",),
        show="n N",
        label="next, previous match",
        hint="n/N match",
        rank=51,
        on=(RUN, TIMELINE, LOGS),
        moves=True,
    ),
    Action(id="previous_match", keys=("N",), label="", on=(RUN, TIMELINE, LOGS), moves=True),
    Action(id="timeline", keys=("t",), label="tree, timeline", hint="t timeline", rank=26, on=(RUN, TIMELINE)),
    Action(id="explain", keys=("e",), label="why it waits", hint="e why", rank=28, on=(RUN,)),
    Action(id="copy", keys=("y",), label="copy value, id, ...", hint="y copy", rank=46, on=_OF_RUN),
    Action(id="back", keys=("escape", "q"), show="esc q", label="close, clear, go back"),
    Action(id="quit", keys=("ctrl+c",), label="quit"),
    *(
        Action(id=name, keys=(key,), show="1-9", label="the screens" if key == "1" else "")
        for key, name in SECTIONS.items()
    ),
    Action(id="command", keys=(":",), label="command", hint=": command", rank=60),
    Action(id="filter", keys=("/",), label="filter as you type", hint="/ filter", rank=20),
    Action(id="help", keys=("?",), label="this help", hint="? help", rank=0),
    Action(
        id="mark",
        keys=("space",),
        label="mark",
        hint="space mark",
        rank=40,
        on=(QUEUES, RUNS, DEAD, *_PLACES),
    ),
    Action(id="mark_all", keys=("a",), label="mark all shown", on=(QUEUES, RUNS, DEAD, *_PLACES)),
    Action(id="range", keys=("v",), label="mark from last mark", hint="v range", rank=42, on=LISTED),
    Action(
        id="sort",
        keys=("s",),
        label="sort, turn round",
        hint="s sort",
        rank=41,
        on=LISTED,
    ),
    Action(id="pan_left", keys=("h", "left"), show="h l", label="pan", hint="h/l pan", rank=54, on=PANNED),
    Action(id="pan_right", keys=("l", "right"), label="", on=PANNED),
    Action(
        id="previous_failure",
        keys=("{",),
        show="{ }",
        label="failure above, below",
        hint="{ } error",
        rank=52,
        on=PANNED,
    ),
    Action(id="next_failure", keys=("}",), label="", on=PANNED),
    Action(id="copy", keys=("y",), label="copy: then i j r c", hint="y copy", rank=48, on=PANNED),
    Action(id="write", keys=("w",), label="write to a file", hint="w write file", rank=49, on=(*PANNED, METRICS)),
    Action(id="times", keys=("z",), label="times: UTC, local, ago"),
    Action(id="explain", keys=("e",), label="explain what holds it", hint="e explain", rank=44, on=LISTED),
    Action(id="unique", keys=("u",), label="unique errors", hint="u unique errors", rank=35, on=(RUNS, DEAD)),
    Action(id="open_timeline", keys=("t",), label="timeline of a run", hint="t timeline", rank=47, on=(RUNS,)),
    Action(id="follow", keys=("f",), label="follow, freeze", hint="f follow", rank=15, on=(RUNS, LOGS, EVENTS)),
    Action(
        id="output",
        keys=("o",),
        label="output (logs)",
        hint="o output",
        rank=45,
        on=(RUNS, *_OF_RUN, DEAD, LOGS, WORKERS),
    ),
    Action(id="wrap", keys=("r",), label="wrap or cut lines", hint="r wrap", rank=28, on=(LOGS,)),
    Action(id="around", keys=("m",), label="lines around matches", hint="m around", rank=30, on=(LOGS,)),
    Action(
        id="pane",
        keys=("tab",),
        label="next page of pane",
        hint="tab details",
        rank=36,
        on=(RUN, RUNS, DEAD, SCHEDULES, WORKERS, EVENTS),
    ),
    Action(
        id="pane_up",
        keys=("(",),
        show="( )",
        label="scroll the pane",
        on=(*_OF_RUN, RUNS, DEAD, GROUPS, QUEUES, *_PLACES),
    ),
    Action(id="pane_down", keys=(")",), label="", on=(*_OF_RUN, RUNS, DEAD, GROUPS, QUEUES, *_PLACES)),
    Action(id="chart", keys=("tab",), label="next chart", hint="tab chart", rank=14, on=(METRICS,)),
    Action(id="maximise", keys=("=",), label="one chart, or all", hint="= one chart", rank=16, on=(METRICS,)),
    Action(
        id="earlier",
        keys=("h", "left"),
        show="h l",
        label="earlier, later",
        hint="h/l cursor",
        rank=13,
        on=(METRICS,),
        moves=True,
    ),
    Action(id="later", keys=("l", "right"), label="", on=(METRICS,), moves=True),
    Action(
        id="shorter",
        keys=("<",),
        show="< >",
        label="shorter, longer window",
        hint="< > window",
        rank=9,
        on=(METRICS, AUDIT, EVENTS),
    ),
    Action(id="longer", keys=(">",), label="", on=(METRICS, AUDIT, EVENTS)),
    Action(id="backward", keys=("[",), show="[ ]", label="screens been on"),
    Action(id="forward", keys=("]",), label=""),
    Action(id="explain", keys=("e",), label="why keys are off", on=(LOGS, METRICS)),
    Action(id="again", keys=("ctrl+r",), label="read again, connect"),
    Action(id="redraw", keys=("ctrl+l",), label="redraw"),
    Action(
        id="pause",
        keys=("P",),
        label="pause, resume",
        hint="P pause",
        rank=30,
        on=(QUEUES, SCHEDULES),
        changes=True,
        confirm=Confirm.YES,
    ),
    Action(
        id="limit",
        keys=("L",),
        label="limit a queue",
        hint="L limit",
        rank=31,
        on=(QUEUES,),
        changes=True,
        confirm=Confirm.VALUE,
    ),
    Action(
        id="purge",
        keys=("X",),
        label="purge: cancel waiting",
        hint="X purge",
        rank=34,
        on=(QUEUES,),
        changes=True,
        confirm=Confirm.NAME,
    ),
    Action(
        id="answer",
        keys=("A",),
        label="answer what a run asks",
        hint="A answer",
        rank=14,
        on=(RUN,),
        changes=True,
        confirm=Confirm.CHOICE,
    ),
    Action(
        id="complete",
        keys=("T",),
        label="complete a token",
        hint="T complete",
        rank=16,
        on=(RUN,),
        changes=True,
        confirm=Confirm.VALUE,
    ),
    Action(
        id="retry",
        keys=("R",),
        label="retry (s: from start)",
        hint="R retry",
        rank=30,
        on=(RUNS, RUN, DEAD),
        changes=True,
        confirm=Confirm.YES,
    ),
    Action(
        id="fork",
        keys=("F",),
        label="fork from here",
        hint="F fork",
        rank=31,
        on=(RUN,),
        changes=True,
        confirm=Confirm.YES,
    ),
    Action(
        id="edit",
        keys=("E",),
        label="edit payload, retry",
        hint="E edit",
        rank=33,
        on=(RUN,),
        changes=True,
        confirm=Confirm.YES,
    ),
    Action(
        id="cancel",
        keys=("C",),
        label="cancel",
        hint="C cancel",
        rank=32,
        on=(RUNS, RUN),
        changes=True,
        confirm=Confirm.YES,
    ),
    Action(
        id="signal",
        keys=("S",),
        label="send a signal",
        hint="S signal",
        rank=46,
        on=(RUN,),
        changes=True,
        confirm=Confirm.VALUE,
    ),
    Action(
        id="kill",
        keys=("K",),
        label="kill: now, no undos",
        hint="K kill",
        rank=47,
        on=(RUN,),
        changes=True,
        confirm=Confirm.NAME,
    ),
    Action(
        id="replay",
        keys=("B",),
        label="begin again: a new run",
        hint="B begin again",
        rank=48,
        on=(RUN,),
        changes=True,
        confirm=Confirm.YES,
    ),
    Action(
        id="drain",
        keys=("Z",),
        label="drain: retry all shown",
        hint="Z drain",
        rank=33,
        on=(DEAD, GROUPS),
        changes=True,
        confirm=Confirm.YES,
    ),
    Action(
        id="edit",
        keys=("E",),
        label="edit payload, retry",
        hint="E edit+retry",
        rank=31,
        on=(DEAD,),
        changes=True,
        confirm=Confirm.YES,
    ),
    Action(
        id="purge_letters",
        keys=("X",),
        label="purge: drop all shown",
        hint="X purge",
        rank=35,
        on=(DEAD, GROUPS),
        changes=True,
        confirm=Confirm.COUNT,
    ),
    Action(
        id="drop",
        keys=("D",),
        label="drop dead letters",
        hint="D drop",
        rank=34,
        on=(DEAD,),
        changes=True,
        confirm=Confirm.COUNT,
    ),
    Action(
        id="trigger",
        keys=("T",),
        label="start a run now",
        hint="T trigger now",
        rank=31,
        on=(SCHEDULES,),
        changes=True,
        confirm=Confirm.YES,
    ),
    Action(
        id="reschedule",
        keys=("E",),
        label="edit its times",
        hint="E edit",
        rank=32,
        on=(SCHEDULES,),
        changes=True,
        confirm=Confirm.VALUE,
    ),
    Action(
        id="rest",
        keys=("Z",),
        label="drain, resume a worker",
        hint="Z drain",
        rank=30,
        on=(WORKERS,),
        changes=True,
        confirm=Confirm.YES,
    ),
    Action(
        id="stop_worker",
        keys=("K",),
        label="stop a worker",
        hint="K stop",
        rank=31,
        on=(WORKERS,),
        changes=True,
        confirm=Confirm.NAME,
    ),
    Action(
        id="reroute",
        keys=("R",),
        label="route events again",
        hint="R route again",
        rank=30,
        on=(EVENTS,),
        changes=True,
        confirm=Confirm.YES,
    ),
    Action(id="undo", keys=("U",), label="undo pause, limit", changes=True, confirm=Confirm.YES),
)

BY_ID: Mapping[str, Action] = MappingProxyType({action.id: action for action in ACTIONS})

ROUTED = frozenset({"back", "quit", "command", "filter"})
"""Actions that the router carries out itself."""

HINT_WORDS: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        (RUN, "filter"): "/ find",
        (RUN, "pane"): "tab page",
        (TIMELINE, "filter"): "/ find",
        (TIMELINE, "open"): "enter node",
        (TIMELINE, "timeline"): "t tree",
        (LOGS, "open"): "enter whole line",
        (QUEUES, "open"): "enter runs",
        (LOGS, "output"): "o its run",
        (DEAD, "open"): "enter run",
        (GROUPS, "open"): "enter its letters",
        (SCHEDULES, "open"): "enter runs",
        (WORKERS, "open"): "enter its runs",
        (METRICS, "open"): "enter runs then",
        (METRICS, "filter"): "/ queue",
        (AUDIT, "open"): "enter targets",
        (EVENTS, "open"): "enter its runs",
    }
)
"""Hints that a screen words better than the table."""


def on(screen: str, actions: Sequence[Action] = ACTIONS) -> list[Action]:
    """The actions of a screen, in the table's order."""
    return [action for action in actions if screen in action.on]


def screens(id: str) -> tuple[str, ...]:
    """Where there is an action."""
    return tuple(screen for action in ACTIONS if action.id == id for screen in action.on)


def keymap(screen: str, *, read_only: bool = False, actions: Sequence[Action] = ACTIONS) -> dict[str, Action]:
    """What each key does on a screen; read-only takes away what changes."""
    return {key: action for action in on(screen, actions) if not (read_only and action.changes) for key in action.keys}


def refused(screen: str, *, why: str, actions: Sequence[Action] = ACTIONS) -> dict[str, str]:
    """Keys that are off on a screen, with the reason; without one none is.

    Args:
        why: nothing can be changed now.
    """
    return {key: why for action in on(screen, actions) if action.changes for key in action.keys} if why else {}


def hints(
    screen: str,
    width: int,
    *,
    read_only: bool = False,
    off: bool = False,
    lead: str = "",
    idle: frozenset[str] = frozenset(),
    actions: Sequence[Action] = ACTIONS,
) -> str:
    """Row 24: dropped from the end until they fit; `? help` stands at the right, always.

    Args:
        off: what changes is off just now (the link is down), so it is not offered.
        lead: what stands before all hints.
        idle: ids of actions that would find nothing to act on just now.
    """
    shown = [
        action
        for action in on(screen, actions)
        if action.hint and action.rank and action.id not in idle and not (action.changes and (read_only or off))
    ]
    tail, line = _hint(next(action for action in actions if action.id == "help"), screen), lead
    for action in sorted(shown, key=lambda action: action.rank):
        text = _hint(action, screen)
        longer = f"{line}  {text}" if line else text
        if len(longer) + 2 + len(tail) > width:
            break
        line = longer
    return line + tail.rjust(width - len(line))


def _hint(action: Action, screen: str) -> str:
    text = HINT_WORDS.get((screen, action.id), action.hint)
    return f"{action.written} {text.partition(' ')[2]}" if action.remapped else text


class Help(msgspec.Struct, frozen=True):
    """One line of the help."""

    keys: str
    label: str
    group: str
    """`MOVE`, `LOOK` or `CHANGE`."""
    off: str = ""
    """Why the key is off, or empty."""


def help_rows(
    screen: str,
    *,
    off: str = "",
    idle: frozenset[str] = frozenset(),
    search: str = "",
    actions: Sequence[Action] = ACTIONS,
) -> list[Help]:
    """The help of a screen, narrowed to what has `search` in its keys or label.

    Args:
        off: why nothing can be changed now, if so.
        idle: ids of actions that would find nothing to act on just now.
    """
    rows = []
    for action in on(screen, actions):
        group = "CHANGE" if action.changes else "MOVE" if action.moves else "LOOK"
        if action.label and (search in action.written or search.lower() in action.label.lower()):
            why = off if action.changes and off else IDLE if action.id in idle else ""
            rows.append(Help(action.written, action.label, group, why))
    return rows
