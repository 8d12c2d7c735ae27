"""A stored value with a part of it replaced, without the classes that it names: what `fork --set` does.

A path goes by field names, keys and places, with dots between: `order.lines.0.price`. What is put in is any value;
plain JSON takes the form of what was there: a text becomes the decimal, date or UUID that stood in its place, an object
the dataclass, a list the tuple. What does not fit is refused.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from holdfast.errors import EditError, EncodeError
from holdfast.wire.parts import MAPPINGS, SETS, Packed, pack, unpack
from holdfast.wire.render import render
from holdfast.wire.values import encode_value

_SEQUENCES = {4: "tuple", 6: "set", 7: "frozenset", 10: "deque"}
_NAMED = {33: "named tuple", 34: "dataclass", 35: "struct", 36: "model"}
_ENUM = 32
_WITH_REST = frozenset({34, 36})
"""What ends with a name `__dict__` and what an instance holds beside its fields."""


def replaced(data: bytes, path: str, new: object, what: str) -> bytes:
    """The stored value with the part at a path replaced; an empty path is the whole.

    Args:
        what: how the edit is called in an error.

    Raises:
        EditError: there is no such part, or the new one does not fit in its place.
    """
    try:
        put = unpack(encode_value(new))
    except EncodeError as error:
        raise EditError(f"{what}: {error}") from None
    return pack(_replaced(unpack(data), path, put, what))


def _replaced(value: Any, path: str, put: Any, what: str) -> Any:
    if not path:
        return _fit(value, put, what)
    match value:
        case dict():
            key, rest = _step(path, {name: name for name in value}, value, what)
            return {**value, key: _inside(value[key], rest, put, what)}
        case list():
            place, rest = _place(path, value, value, what)
            return _with(value, place, _inside(value[place], rest, put, what))
        case Packed(code=code, parts=parts) if code in _SEQUENCES and code not in SETS:
            count = len(parts) - (code == 10)  # a deque's parts end with its bound
            place, rest = _place(path, parts[:count], value, what)
            return Packed(code, _with(parts, place, _inside(parts[place], rest, put, what)))
        case Packed(code=code, parts=parts) if (slots := _slots(value)) is not None:
            place, rest = _step(path, slots, value, what)
            changed = _with(parts, place, _inside(parts[place], rest, put, what))
            return Packed(code, _noted(code, changed, path[: len(path) - len(rest)].rstrip(".")))
    raise EditError(f"{what}: expected a value with parts at {path!r}, found {_said(value)}: set the whole of it")


def _inside(value: Any, rest: str, put: Any, what: str) -> Any:
    """A part replaced, itself or further in; at its place a plain value stays of its kind."""
    if rest:
        return _replaced(value, rest, put, what)
    kinds = _kind(value), _kind(put)
    if "null" not in kinds and "" not in kinds and kinds[0] != kinds[1]:
        raise EditError(f"{what}: expected {kinds[0]} where {_said(value)} stands, found {_said(put)}")
    if type(value) is float and type(put) is int:
        return float(put)
    return _fit(value, put, what)


def _slots(value: Packed) -> dict[str, int] | None:
    """Where in its parts the fields or items of a value stand, by name; None where it has none."""
    code, parts = value
    if code in MAPPINGS:
        return {_name(parts[at]): at + 1 for at in range(MAPPINGS[code], len(parts), 2)}
    if code in _NAMED:
        end = len(parts) - 2 if code in _WITH_REST else len(parts)
        return {str(parts[at]): at + 1 for at in range(1, end, 2)}
    return None


def _name(key: Any) -> str:
    """A mapping's key as a path has it, and as the rendered value shows it."""
    shown = render(pack(key))
    return shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)


def _step(path: str, slots: dict[str, Any], value: Any, what: str) -> tuple[Any, str]:
    """The slot that a path begins with, and the rest of the path; names may have dots in them."""
    name = max((name for name in slots if path == name or path.startswith(f"{name}.")), key=len, default=None)
    if name is None:
        wanted = path.partition(".")[0]
        known = ", ".join(slots) or "none"
        raise EditError(f"{what}: expected a field of {_called(value)}, found {wanted!r}: it has {known}")
    return slots[name], path[len(name) + 1 :]


def _place(path: str, items: list[Any], value: Any, what: str) -> tuple[int, str]:
    wanted, _, rest = path.partition(".")
    if not (wanted.isdecimal() and int(wanted) < len(items)):
        places = f"from 0 to {len(items) - 1}" if items else "but there is none"
        raise EditError(f"{what}: expected a place in {_called(value)}, {places}, found {wanted!r}")
    return int(wanted), rest


def _with(parts: list[Any], place: int, part: Any) -> list[Any]:
    return [*parts[:place], part, *parts[place + 1 :]]


def _noted(code: int, parts: list[Any], field: str) -> list[Any]:
    """A pydantic model keeps which fields were given: one that was edited is."""
    if code != 36:
        return parts
    rest, given, *others = parts[-1]
    if isinstance(given, Packed) and field not in given.parts:
        given = Packed(given.code, [*given.parts, field])
    return [*parts[:-1], [rest, given, *others]]


# --- a new value in the form of the old one -------------------------------------------------------------------------


def _fit(old: Any, new: Any, what: str) -> Any:
    """The new value in the form that the old one had, as far as that says something."""
    if isinstance(new, Packed) or new is None:
        return new
    if isinstance(old, list) and isinstance(new, list):
        return _fit_items(old, new, what)
    if isinstance(old, dict) and isinstance(new, dict):
        return {key: _fit(old[key], item, what) if key in old else item for key, item in new.items()}
    if isinstance(old, bytes):
        return _fit_bytes(old, new, what)
    if not isinstance(old, Packed):
        return new
    code, parts = old
    if code in _SEQUENCES and isinstance(new, list):
        bound = parts[-1:] if code == 10 else []
        return Packed(code, [*_fit_items(parts[: len(parts) - len(bound)], new, what), *bound])
    if code in MAPPINGS and isinstance(new, dict):
        return _fit_mapping(old, new, what)
    if code in _NAMED and isinstance(new, dict):
        return _fit_fields(old, new, what)
    if code == _ENUM and isinstance(new, str | dict):
        return _fit_member(old, new, what)
    if code in _TEXTS and isinstance(new, str | int | float) and not isinstance(new, bool):
        return _fit_text(old, new, what)
    if code in _PATHS and isinstance(new, str):
        return Packed(code, [new])
    raise EditError(f"{what}: expected {_called(old)} like {_said(old)}, found {_said(new)}")


def _fit_items(old: list[Any], new: list[Any], what: str) -> list[Any]:
    """Items in the form of those that were in their places; further ones in that of the last."""
    return [_fit(old[min(at, len(old) - 1)], item, what) if old else item for at, item in enumerate(new)]


def _fit_mapping(old: Packed, new: dict[str, Any], what: str) -> Packed:
    """Keys that were there keep their type; new ones are text."""
    at = MAPPINGS[old.code]
    keys = {_name(key): (key, item) for key, item in zip(old.parts[at::2], old.parts[at + 1 :: 2], strict=True)}
    parts = list(old.parts[:at])
    for name, item in new.items():
        key, before = keys.get(name, (name, None))
        parts += [key, item if before is None else _fit(before, item, what)]
    return Packed(old.code, parts)


def _fit_fields(old: Packed, new: dict[str, Any], what: str) -> Packed:
    """All fields of an instance; the class itself is not there to be asked."""
    slots = _slots(old) or {}
    fields = {name: item for name, item in new.items() if name != "$type"}
    if fields.keys() != slots.keys():
        raise EditError(
            f"{what}: expected the fields of {_called(old)} ({', '.join(slots)}), found "
            f"{', '.join(fields) or 'none'}: give all of them, or set one with KEY.field=JSON"
        )
    parts = list(old.parts)
    for name, item in fields.items():
        parts[slots[name]] = _fit(parts[slots[name]], item, what)
    return Packed(old.code, parts)


def _fit_member(old: Packed, new: str | dict[str, Any], what: str) -> Packed:
    name = new.get("name") if isinstance(new, dict) else new
    if not isinstance(name, str) or not name.isidentifier():
        raise EditError(f"{what}: expected the name of a member of {old.parts[0]}, found {_said(new)}")
    return Packed(_ENUM, [old.parts[0], name])


def _fit_bytes(old: bytes, new: Any, what: str) -> bytes:
    """Bytes as the rendered value shows them."""
    try:
        if new["$type"] == "bytes":
            return b64decode(new["base64"], validate=True)
    except (TypeError, KeyError, ValueError):
        pass  # said below
    raise EditError(
        f'{what}: expected bytes as {{"$type": "bytes", "base64": "..."}} like {_said(old)}, found {_said(new)}'
    )


def _fit_text(old: Packed, new: str | float, what: str) -> Any:
    noun, read = _TEXTS[old.code]
    try:
        return unpack(encode_value(read(new)))
    except (ValueError, TypeError, ArithmeticError):
        raise EditError(f"{what}: expected {noun} like {_said(old)}, found {_said(new)}") from None


def _text(new: Any) -> str:
    if not isinstance(new, str):
        raise TypeError(new)
    return new


def _whole(new: Any) -> int:
    if int(new) != new:
        raise ValueError(new)
    return int(new)


_TEXTS: dict[int, tuple[str, Callable[[Any], Any]]] = {
    1: ("a whole number", _whole),
    2: ("a text", _text),
    14: ("a date with time", lambda new: datetime.fromisoformat(_text(new))),
    15: ("a date", lambda new: date.fromisoformat(_text(new))),
    16: ("a time of day", lambda new: time.fromisoformat(_text(new))),
    17: ("a duration in seconds", lambda new: timedelta(seconds=float(new))),
    20: ("a decimal number", lambda new: Decimal(str(new))),
    21: ("a UUID", lambda new: UUID(_text(new))),
}
"""By extension type: what it is, and how it is read of JSON."""

_PATHS = frozenset({22, 23, 24, 25})


# --- words ----------------------------------------------------------------------------------------------------------


def _kind(value: Any) -> str:
    """The kind of a plain value; empty for others, which know themselves what fits."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case dict():
            return "an object"
    return ""


def _called(value: Any) -> str:
    match value:
        case Packed(code=code, parts=[str() as path, *_]) if code in _NAMED or code == _ENUM:
            return path
        case Packed(code=code):
            return f"a {_SEQUENCES[code]}" if code in _SEQUENCES else _TEXTS.get(code, ("a value",))[0]
    return _kind(value)


def _said(value: Any) -> str:
    shown = str(render(pack(value)))
    return shown if len(shown) <= 60 else f"{shown[:59]}…"
