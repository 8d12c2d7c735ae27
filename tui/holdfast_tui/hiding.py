"""Answers without what users put in: payloads, results, log lines, messages of errors, data and headers of events."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.wire import codec
from holdfast.wire.values import encode_value

LEFT_OUT = "(left out)"

TEXTS = frozenset(
    {"payload", "result", "metadata", "text", "message", "traceback", "error", "errors", "pattern", "headers", "json"}
)
"""Fields whose texts come from users; bytes do everywhere."""

_BYTES = encode_value(LEFT_OUT)


def hidden(value: Any, field: str = "") -> Any:
    """The same value with everything left out that users put in; ids, names, times and states stay."""
    match value:
        case bytes():
            return _bytes(value, field)
        case str():
            return LEFT_OUT if value and field in TEXTS else value
        case msgspec.Struct():
            changed = {name: hidden(getattr(value, name), name) for name in value.__struct_fields__}
            return msgspec.structs.replace(value, **changed)
        case tuple() if hasattr(value, "_fields"):
            return type(value)(*(hidden(getattr(value, name), name) for name in value._fields))
        case tuple() | list():
            return type(value)(hidden(each, field) for each in value)
        case dict():
            return {key: hidden(each, field) for key, each in value.items()}
    return value


def _bytes(value: bytes, field: str) -> bytes:
    """What stands for bytes: what a wait's event must hold is a map, which is empty then; JSON stays JSON."""
    if not value or field == "match":
        return b""
    return b"{}" if field == "schema" else _BYTES


def hidden_message(subject: str, data: bytes) -> bytes:
    """A journal message without what users put in; bytes that are none are left out."""
    try:
        batch = subject.endswith(".log")
        return codec.encode(hidden(codec.decode_batch(data) if batch else codec.decode_entry(data)))
    except msgspec.DecodeError:
        return b""
