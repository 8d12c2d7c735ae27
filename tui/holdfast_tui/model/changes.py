"""What was changed in a JSON text: the lines that differ, and the smallest edits that say the same."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import msgspec

from holdfast_tui.format import Cell, clean

NEAR = 2
"""Unchanged lines that are shown around changed ones."""


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """A payload that was edited."""

    arguments: Mapping[str, Any]
    changed: tuple[Cell, ...]
    """The lines that differ."""


def told(before: str, after: str) -> list[Cell]:
    """The lines that differ, with those around them: `-` was, `+` is."""
    cells: list[Cell] = []
    found = difflib.unified_diff(before.split("\n"), after.split("\n"), n=NEAR, lineterm="")
    for line in list(found)[2:]:
        if line.startswith("@@"):
            cells += [("...", "dim")] if cells else []
        else:
            role = {"-": "fail", "+": "title"}.get(line[0], "dim")
            cells.append((clean(f"{line[0]} {line[1:]}"), role))
    return cells


def edits(key: str, before: Any, after: Any) -> Mapping[str, Any]:
    """Edits as a fork takes them, by `key` and path: only what differs, so that the rest keeps its kind."""
    if before == after and type(before) is type(after):
        return {}
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        parts = [(name, before[name], after[name]) for name in before]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        parts = [(str(place), *pair) for place, pair in enumerate(zip(before, after, strict=True))]
    else:
        return {key: after}
    found: dict[str, Any] = {}
    for name, old, new in parts:
        found |= edits(f"{key}.{name}", old, new)
    if "$type" in _names(before) and f"{key}.$type" in found:
        return {key: after}
    return found


def unsayable(value: Any, path: str = "") -> str:
    """Where in a value something stands that JSON can't say (`$type`), by dots; empty: nowhere."""
    if isinstance(value, dict):
        if "$type" in value:
            return path or "the whole"
        items = list(value.items())
    else:
        items = list(enumerate(value)) if isinstance(value, list) else []
    for name, item in items:
        if found := unsayable(item, f"{path}.{name}".lstrip(".")):
            return found
    return ""


def _names(value: Any) -> frozenset[str]:
    return frozenset(value) if isinstance(value, dict) else frozenset()
