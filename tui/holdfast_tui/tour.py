"""A tour of the desk: eight lines in row 23, each of which goes on when what it says is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from holdfast_tui import keys
from holdfast_tui.keys import Action


class Stop(NamedTuple):
    """One line of the tour."""

    text: str
    """`{id}` stands for the key of an action."""
    does: frozenset[str]
    """Ids of the actions that go on."""


STOPS: Sequence[Stop] = (
    Stop(
        "{down} moves down, {up} up, {first} and {last} to the ends: press {down}",
        frozenset(action.id for action in keys.ACTIONS if action.moves),
    ),
    Stop("{open} opens what is under the cursor: press it", frozenset({"open", "zoom"})),
    Stop("{back} closes, clears, goes back, one thing at a time: press it", frozenset({"back"})),
    Stop("{queues} to {events} are the screens: press {runs} for the runs", frozenset(keys.SECTIONS.values())),
    Stop("{filter} filters as you type; enter keeps it, esc does not: press {filter}", frozenset({"filter"})),
    Stop("{mark} marks; changes hit the marks, or the cursor: press {mark}", frozenset({"mark"})),
    Stop("{command} takes a command, tab completes it: press {command}", frozenset({"command"})),
    Stop("capitals change things, and ask; {help} names all keys: press it", frozenset({"help"})),
)


class Tour:
    """Where on the tour somebody is."""

    def __init__(self, actions: Sequence[Action] = keys.ACTIONS) -> None:
        self.at = 0
        self._keys = {action.id: action.keys[-1] if action.id == "back" else action.keys[0] for action in actions}

    @property
    def over(self) -> bool:
        return self.at >= len(STOPS)

    @property
    def line(self) -> str:
        """What row 23 says; empty where the tour is over."""
        if self.over:
            return ""
        return f"tour {self.at + 1}/{len(STOPS)}  {STOPS[self.at].text.format_map(self._keys)}"

    def did(self, action: str) -> None:
        """Go on where this is what the line asked for."""
        if not self.over and action in STOPS[self.at].does:
            self.at += 1
