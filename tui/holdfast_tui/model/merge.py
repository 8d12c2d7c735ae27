"""What was changed in one JSON value, done to others: part by part, and only where it fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

Path: TypeAlias = tuple[str | int, ...]


class Unfit(Exception):
    """A change does not fit a value; the message says where and why."""


class Change(NamedTuple):
    """One part that is otherwise."""

    path: Path
    value: Any = None
    removed: bool = False
    added: bool = False
    """It was not there before."""


def changes(before: Any, after: Any, path: Path = ()) -> tuple[Change, ...]:
    """The smallest parts that differ: members of objects, items of lists of the same length."""
    if isinstance(before, dict) and isinstance(after, dict):
        found = [
            change
            for name in before.keys() & after.keys()
            for change in changes(before[name], after[name], (*path, name))
        ]
        found += [Change((*path, name), removed=True) for name in before if name not in after]
        found += [Change((*path, name), after[name], added=True) for name in after if name not in before]
        return tuple(sorted(found, key=lambda change: list(map(str, change.path))))
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return tuple(change for place, (old, new) in pairs for change in changes(old, new, (*path, place)))
    same = type(before) is type(after) and not isinstance(before, dict | list) and before == after
    return () if same else (Change(path, after),)


def merged(value: Any, made: Sequence[Change]) -> Any:
    """The value with the changes made; the one that was given is left as it is.

    Raises:
        Unfit: a part that was changed is not there, or is no object where a member is.
    """
    for change in made:
        value = _changed(value, change, change.path, ())
    return value


def _changed(value: Any, change: Change, rest: Path, done: Path) -> Any:
    if not rest:
        return change.value
    name, below = rest[0], rest[1:]
    if isinstance(name, int):
        if not isinstance(value, list) or name >= len(value):
            raise Unfit(f"expected a list with an item {name} at {told(done)}, found {_kind(value)}")
        return [_changed(item, change, below, (*done, name)) if at == name else item for at, item in enumerate(value)]
    if not isinstance(value, dict):
        raise Unfit(f"expected an object at {told(done)}, found {_kind(value)}")
    if not below and change.removed:
        return {key: item for key, item in value.items() if key != name}
    if name not in value and (below or not change.added):
        raise Unfit(f"expected {told((*done, name))}, found no such part")
    return {**value, name: _changed(value.get(name), change, below, (*done, name))}


def told(path: Path) -> str:
    """A place in a value, by dots."""
    return ".".join(map(str, path)) or "the top"


def _kind(value: Any) -> str:
    match value:
        case dict():
            return "an object"
        case list():
            return f"a list of {len(value)}"
        case str():
            return "a text"
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
    return f"the number {value}"
