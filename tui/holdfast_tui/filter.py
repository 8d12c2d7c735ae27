"""The filter line: words that must all be there, and fields: `state:fail,dead queue:emails task:charge Timeout`.

`is:paused` is no state: a run that waits for an operator also has one of the others.
"""

from __future__ import annotations

import msgspec

from holdfast.core.model import State
from holdfast_tui.format import STATES

FIELDS = ("state", "queue", "task", "tag", "worker", "is")
PAUSED = "paused"


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """A filter, read."""

    words: tuple[str, ...] = ()
    """In lower case."""
    states: tuple[State, ...] = ()
    queue: str = ""
    tasks: tuple[str, ...] = ()
    tag: str = ""
    worker: str = ""
    paused: bool = False
    """Only runs that wait for an operator."""
    wrong: str = ""
    """What in it could not be read, in plain words; it does not filter."""

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def matches(self, *texts: str) -> bool:
        """Whether every word is somewhere in the texts, in any case."""
        joined = " ".join(texts).lower()
        return all(word in joined for word in self.words)


def read(text: str) -> Filter:
    """Read a filter; never fails: what is half typed yet is passed over and named in `wrong`."""
    words: list[str] = []
    found: dict[str, str] = {}
    for word in text.split():
        field, colon, given = word.partition(":")
        if colon and field in FIELDS:
            found[field] = given
        else:
            words.append(word.lower())
    states, wrong = _states(found.get("state", ""))
    given = found.get("is", "").lower()
    if not PAUSED.startswith(given):
        wrong = f"no is:{given}: only is:{PAUSED}"
    return Filter(
        words=tuple(words),
        states=states,
        queue=found.get("queue", ""),
        tasks=tuple(task for task in found.get("task", "").split(",") if task),
        tag=found.get("tag", ""),
        worker=found.get("worker", ""),
        paused=given == PAUSED,
        wrong=wrong,
    )


def _states(text: str) -> tuple[tuple[State, ...], str]:
    names = {state.value: state for state in State} | {word.lower(): state for state, (word, _) in STATES.items()}
    states, wrong = [], ""
    for name in filter(None, text.lower().split(",")):
        if name in names:
            states.append(names[name])
        elif name == PAUSED:
            wrong = f"{PAUSED} is beside the state: is:{PAUSED}"
        elif not any(known.startswith(name) for known in names):
            wrong = f"no state {name!r}: one of {' '.join(word.lower() for word, _ in STATES.values())}"
    return tuple(states), wrong
