"""Stored values as JSON to look at, without touching any class that they name: for screens and the daemon.

What JSON can say is said plainly: tuples and sets as arrays, dates, decimals, ids and paths as text, durations as
seconds. The rest is an object with `$type`: instances of classes with their fields, bytes in base 64, floats that are
no numbers. This is a view: it does not say everything, and nothing is made from it again. The extension types are
those of `values`, `shapes`, `classes` and `references`; a value that is kept apart is shown by its size.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta, timezone
from math import isfinite
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from holdfast.wire.references import KEPT, SECRET, Kept, secret_in

Parts = Sequence[Any]


class _Packed(NamedTuple):
    """A value of an extension type, as its parts."""

    code: int
    parts: Any


def render(data: bytes) -> object:
    """A stored value as what `json.dumps` takes. Total: what can't be read is shown as such."""
    try:
        return _shown(_decoder.decode(data))
    except _UNREADABLE as error:
        return _unreadable(data, error)


def render_json(data: bytes, indent: int | None = 2) -> str:
    """A stored value as JSON text; letters beyond ASCII stand as they are."""
    try:
        return json.dumps(render(data), indent=indent, ensure_ascii=False, allow_nan=False)
    except RecursionError as error:
        return json.dumps(_unreadable(data, error), indent=indent)


_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What bytes that are no value of ours can lead to; msgspec.DecodeError is a ValueError."""


def _unreadable(data: bytes, error: Exception) -> object:
    return {"$type": "unreadable", "error": f"{type(error).__name__}: {error}", "base64": b64encode(data).decode()}


def _extension(code: int, data: memoryview) -> _Packed:
    return _Packed(code, _decoder.decode(data))


_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(ext_hook=_extension)


def _shown(value: Any) -> Any:
    match value:
        case _Packed():
            show = _SHOWN.get(value.code)
            return _unknown(value) if show is None else show(value.parts)
        case dict():
            return _mapping(value.items())
        case list():
            return [_shown(item) for item in value]
        case bytes():
            return {"$type": "bytes", "base64": b64encode(value).decode()}
        case float() if not isfinite(value):
            return {"$type": "float", "value": str(value)}
        case datetime():  # msgpack's own timestamps: not ours, but readable
            return value.isoformat()
    return value


def _unknown(value: _Packed) -> object:
    """Of a later version."""
    return {"$type": f"extension {value.code}", "parts": _shown(value.parts)}


def _array(parts: Parts) -> object:
    return [_shown(part) for part in parts]


def _pairs(parts: Parts) -> list[tuple[Any, Any]]:
    return list(zip(parts[::2], parts[1::2], strict=True))


def _mapping(items: Any) -> object:
    """An object; where two keys would look alike, a list of pairs."""
    shown = [(_shown(key), _shown(value)) for key, value in items]
    fields = {_key(key): value for key, value in shown}
    if len(fields) == len(shown):
        return fields
    return {"$type": "dict", "items": [[key, value] for key, value in shown]}


def _key(key: object) -> str:
    return key if isinstance(key, str) else json.dumps(key, ensure_ascii=False)


def _instance(path: Any, fields: Any) -> object:
    return {"$type": _shown(path), **{str(_shown(name)): _shown(value) for name, value in fields}}


def _enum(parts: Parts) -> object:
    name = parts[1]
    return _instance(parts[0], [("name", name)] if name is not None else [("value", parts[2])])


def _with_rest(parts: Parts) -> object:
    """Path, fields, and under a last name `__dict__` what an instance has beside them."""
    *fields, _, beside = parts[1:]
    extra = [_items(some) for some in (beside[0], *beside[2:3])]
    return _instance(parts[0], [*_pairs(fields), *(item for some in extra for item in some)])


def _items(mapping: Any) -> list[tuple[Any, Any]]:
    """Of a dict in any of its forms; None has none."""
    if mapping is None:
        return []
    return list(mapping.items()) if isinstance(mapping, dict) else _pairs(mapping.parts)


def _exception(parts: Parts) -> object:
    path, arguments, attributes, members, causes = parts
    fields: list[tuple[Any, Any]] = [("args", arguments)]
    fields += [*_items(attributes), *_items(members)]
    shown = _instance(path, fields)
    if causes and isinstance(shown, dict):
        shown["$causes"] = [render(cause) for cause in causes]
    return shown


def _integer(parts: Parts) -> object:
    """Beyond some thousand digits Python refuses to write a number in decimals."""
    value = int.from_bytes(parts[0], signed=True)
    return value if len(parts[0]) <= 512 else {"$type": "int", "hex": hex(value)}


def _text(parts: Parts) -> str:
    """Text with lone surrogates, which no encoding takes: as escapes."""
    found: str = parts[0].decode("utf-8", "surrogatepass")
    return found.encode("utf-8", "backslashreplace").decode()


def _as_text(parts: Parts) -> str:
    return str(parts[0])


def _datetime(parts: Parts) -> str:
    *fields, zone, fold = parts
    return _zoned(datetime(*fields, fold=fold).isoformat(), zone)


def _time(parts: Parts) -> str:
    *fields, zone, fold = parts
    return _zoned(time(*fields, fold=fold).isoformat(), zone)


def _zoned(text: str, zone: Any) -> str:
    """RFC 9557 puts a zone's name in brackets; the offset that it stood for is not looked up."""
    if zone is None:
        return text
    shown = str(_shown(zone))
    return text + (shown if shown[:1] in ("+", "-") else f"[{shown}]")


def _offset(delta: timedelta) -> str:
    return datetime(2000, 1, 1, tzinfo=timezone(delta)).isoformat()[19:]


def _zone(parts: Parts) -> str:
    offset = _SHOWN[_TIMEDELTA]
    seconds = offset(parts[0].parts)
    return _offset(timedelta(seconds=float(str(seconds))))


def _seconds(parts: Parts) -> object:
    return timedelta(*parts).total_seconds()


_TIMEDELTA = 17

_SHOWN: dict[int, Callable[[Parts], object]] = {
    1: _integer,
    2: _text,
    3: lambda parts: {"$type": "bytearray", "base64": b64encode(parts[0]).decode()},
    4: _array,
    5: lambda parts: _mapping(_pairs(parts)),
    6: _array,
    7: _array,
    8: lambda parts: _mapping(_pairs(parts)),
    9: lambda parts: _mapping(_pairs(parts)),
    10: lambda parts: _array(parts[:-1]),
    11: lambda parts: _mapping(_pairs(parts[2:])),
    12: lambda parts: {"$type": "complex", "value": str(complex(*parts))},
    13: lambda parts: _instance("range", zip(("start", "stop", "step"), parts, strict=True)),
    14: _datetime,
    15: lambda parts: date(*parts).isoformat(),
    16: _time,
    _TIMEDELTA: _seconds,
    18: _zone,
    19: _as_text,
    20: _as_text,
    21: lambda parts: str(UUID(bytes=parts[0])),
    22: _as_text,
    23: _as_text,
    24: _as_text,
    25: _as_text,
    26: lambda parts: {"$type": "unset"},
    27: lambda parts: _offset(timedelta(seconds=parts[0])),
    32: _enum,
    33: lambda parts: _instance(parts[0], _pairs(parts[1:])),
    34: _with_rest,
    35: lambda parts: _instance(parts[0], _pairs(parts[1:])),
    36: _with_rest,
    37: _exception,
    KEPT: lambda parts: str(Kept(*parts)),
    SECRET: lambda parts: str(secret_in(parts)),
}
"""By the extension's code: how its parts are shown."""
