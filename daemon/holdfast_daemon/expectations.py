"""The events that runs wait for, found by subject and first field, not one by one.

Waits of one pattern hang on a tree of subject tokens; there they are told apart by the first field that they name and
its value. So an event that nobody waits for costs a look or two, and of ten thousand waits for one subject it is
compared with those that want its very value.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import NamedTuple

from holdfast.core.model import Expected
from holdfast.core.routing import MISSING, agrees, field, wanted
from holdfast.wire.events import value_of


class Place(NamedTuple):
    """Whose wait it is."""

    run: str
    wait: str


class Expectations:
    """Open waits for events."""

    def __init__(self) -> None:
        self._root = _Node()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, place: Place, expected: Expected) -> None:
        """Take a wait in; a run's waits have different ids."""
        node = self._root
        for token in expected.subject.split("."):
            node = node.below.setdefault(token, _Node())
        node.shelf(expected, make=True)[place] = expected
        self._count += 1

    def remove(self, place: Place, expected: Expected) -> None:
        """Forget one that is there."""
        way = [self._root]
        tokens = expected.subject.split(".")
        for token in tokens:
            way.append(way[-1].below[token])
        del way[-1].shelf(expected)[place]
        way[-1].tidy(expected)
        while tokens and not (way[-1].below or way[-1].shelves):
            way.pop()
            del way[-1].below[tokens.pop()]
        self._count -= 1

    def satisfied(self, subject: str, data: bytes) -> list[Place]:
        """The waits that an event is for, as far as its subject and data go."""
        nodes = list(_matching(self._root, subject.split("."), 0))
        if not nodes:
            return []
        value = value_of(data)
        return [
            place for node in nodes for place, expected in node.candidates(value) if agrees(expected, subject, value)
        ]


class _Node:
    """The waits of one pattern, and the patterns that go on behind it."""

    __slots__ = ("below", "shelves")

    def __init__(self) -> None:
        self.below: dict[str, _Node] = {}
        self.shelves: dict[str, dict[Hashable, dict[Place, Expected]]] = {}
        """By first field ("": none) and its value."""

    def shelf(self, expected: Expected, *, make: bool = False) -> dict[Place, Expected]:
        path, mark = _label(expected)
        if make:
            return self.shelves.setdefault(path, {}).setdefault(mark, {})
        return self.shelves[path][mark]

    def tidy(self, expected: Expected) -> None:
        """Drop the shelf of a wait that was removed, where it was the last one."""
        path, mark = _label(expected)
        if not self.shelves[path][mark]:
            del self.shelves[path][mark]
        if not self.shelves[path]:
            del self.shelves[path]

    def candidates(self, value: object) -> Iterator[tuple[Place, Expected]]:
        for path, shelves in self.shelves.items():
            found = field(value, path) if path else MISSING
            for mark in {_mark(found), None}:
                yield from shelves.get(mark, {}).items()


def _matching(node: _Node, tokens: list[str], at: int) -> Iterator[_Node]:
    """The nodes whose pattern takes these tokens in."""
    if at == len(tokens):
        if node.shelves:
            yield node
        return
    if (tail := node.below.get(">")) is not None and tail.shelves:
        yield tail
    for token in (tokens[at], "*"):
        if (below := node.below.get(token)) is not None:
            yield from _matching(below, tokens, at + 1)


def _label(expected: Expected) -> tuple[str, Hashable]:
    fields = wanted(expected)
    if not fields:
        return "", None
    path, value = next(iter(fields.items()))
    return path, _mark(value)


def _mark(value: object) -> Hashable:
    """Equal for equal scalars; None for what has to be compared."""
    match value:
        case bool():
            return ("bool", value)
        case int() | float() | str():
            return value
        case _:
            return None
