"""Which subjects a pattern takes in, and which events a wait is for.

NATS wildcards: `*` is one token, a last `>` one or more. Values are JSON's: `true` is not 1, but 1 is 1.0.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import Final

import msgspec

from holdfast.core.model import Expected

MISSING: Final = object()
"""What `field` gives where there is none; equal to nothing."""


def matches(pattern: str, subject: str) -> bool:
    """Whether the subject is one of the pattern's."""
    wanted, tokens = pattern.split("."), subject.split(".")
    for place, want in enumerate(wanted):
        if want == ">" and place == len(wanted) - 1:
            return len(tokens) > place
        if place >= len(tokens) or want not in ("*", tokens[place]):
            return False
    return len(tokens) == len(wanted)


def covers(pattern: str, other: str) -> bool:
    """Whether every subject of the other pattern is one of this one's."""
    wanted, tokens = pattern.split("."), other.split(".")
    for place, want in enumerate(wanted):
        if want == ">" and place == len(wanted) - 1:
            return len(tokens) > place
        if place >= len(tokens) or tokens[place] == ">" or want not in ("*", tokens[place]):
            return False
    return len(tokens) == len(wanted)


def overlap(one: str, other: str) -> bool:
    """Whether some subject is one of both patterns'."""
    for mine, theirs in zip_longest(one.split("."), other.split(".")):
        if mine is None or theirs is None:
            return False
        if ">" in (mine, theirs):
            return True
        if mine != theirs and "*" not in (mine, theirs):
            return False
    return True


def agrees(expected: Expected, subject: str, data: object) -> bool:
    """Whether an event of this subject and these (decoded JSON) data is one that the wait is for, whenever it came."""
    if not matches(expected.subject, subject):
        return False
    return all(same(value, field(data, path)) for path, value in wanted(expected).items())


def wanted(expected: Expected) -> dict[str, object]:
    """What a wait's event must hold, by dotted path."""
    return msgspec.msgpack.decode(expected.match, type=dict[str, object]) if expected.match else {}


def field(data: object, path: str) -> object:
    """The member of an object at a dotted path, or `MISSING`."""
    found = data
    for name in path.split("."):
        if not isinstance(found, dict) or name not in found:
            return MISSING
        found = found[name]
    return found


def same(wanted: object, found: object) -> bool:
    """Whether two values are equal as JSON has it."""
    match wanted:
        case bool():
            return found is wanted
        case int() | float():
            return isinstance(found, int | float) and not isinstance(found, bool) and found == wanted
        case list():
            return isinstance(found, list) and len(found) == len(wanted) and all(map(same, wanted, found))
        case dict():
            return (
                isinstance(found, dict)
                and found.keys() == wanted.keys()
                and all(same(value, found[name]) for name, value in wanted.items())
            )
        case _:
            return type(found) is type(wanted) and found == wanted
