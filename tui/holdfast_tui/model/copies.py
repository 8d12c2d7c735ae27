"""What `y` copies of a line of a run: its value, its id, all of it as JSON, the line, the command that shows it."""

from __future__ import annotations

import json
import shlex
from typing import Any

import msgspec

from holdfast.wire import api
from holdfast_tui.format import took, value
from holdfast_tui.model.outline import ROOT
from holdfast_tui.model.pages import wanted
from holdfast_tui.model.sight import Sight

CHOICES = (("v", "value"), ("i", "id"), ("j", "JSON"), ("r", "row"), ("c", "command"))
"""The keys behind `y`."""


def copied(letter: str, sight: Sight) -> str:
    """The text for a key; empty where there is nothing of the kind."""
    match letter:
        case "v":
            return _value(sight)
        case "i":
            return sight.story.id if sight.row.id == ROOT else sight.key
        case "j":
            return json.dumps(_fields(sight), indent=2, ensure_ascii=False)
        case "r":
            row = sight.row
            return "\t".join((row.name, row.state[0], str(row.tries or ""), took(row.took), row.about)).rstrip()
    return f"holdfast runs tree {shlex.quote(sight.story.id)}"


def _value(sight: Sight) -> str:
    """What came of it as JSON, as far as it is here; of a failure what was raised."""
    name = wanted(sight)
    if name is not None:
        found = sight.values.get(name)
        return found.json if isinstance(found, api.Value) else ""
    node, run = sight.row.node, sight.story.run
    data = node.value if node is not None and not sight.row.attempt else run.result if node is None and run else None
    error = sight.row.error
    return value(data) or (f"{error.type}: {error.message}\n{error.traceback}".rstrip() if error is not None else "")


def _fields(sight: Sight) -> dict[str, Any]:
    node, run = sight.row.node, sight.story.run
    if node is None:
        found = {} if run is None else dict(_plain(run))
        return found | {"payload": _json(run.payload if run is not None else None), "result": _parsed(_value(sight))}
    fields = dict(_plain(node))
    fields.pop("children", None)
    return fields | {"run": sight.story.id, "value": _parsed(_value(sight))}


def _plain(struct: msgspec.Struct) -> dict[str, Any]:
    """The fields as JSON has them, those that say nothing left out; bytes are values."""
    found = ((field.name, getattr(struct, field.name)) for field in msgspec.structs.fields(struct))
    return {name: _built(item) for name, item in found if item not in (None, "", b"", (), [], {}, frozenset())}


def _built(item: Any) -> Any:
    match item:
        case bytes():
            return _json(item)
        case msgspec.Struct():
            return _plain(item)
        case frozenset():
            return sorted(item)
        case list() | tuple():
            return [_built(one) for one in item]
        case dict():
            return {name: _built(one) for name, one in item.items()}
    return item


def _json(data: bytes | None) -> Any:
    return None if data is None else _parsed(value(data))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text
