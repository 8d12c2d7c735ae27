"""Stored values taken apart and put together again without touching any class that they name.

`pack(unpack(data))` is `data` again: for those who change or compare values of code that they do not have.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from msgspec.msgpack import Ext

SETS = frozenset({6, 7})
"""Extension types whose parts have no order: set and frozenset."""
MAPPINGS = {5: 0, 8: 0, 9: 0, 11: 2}
"""Extension types that are mappings (dict, OrderedDict, Counter, defaultdict), and where their items begin."""


class Packed(NamedTuple):
    """A value that is more than plain msgpack, as the parts of its extension type (see `values`)."""

    code: int
    parts: Any


def unpack(data: bytes) -> Any:
    """A stored value as plain values and `Packed`.

    Raises:
        msgspec.DecodeError: the bytes are no value.
    """
    try:
        return _decoder.decode(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"expected an encoded value, found {error}") from error


def pack(value: Any) -> bytes:
    """The stored value that `unpack` made this of."""
    return _encode(_wired(value))


def alike(left: bytes, right: bytes) -> bool:
    """Whether two stored values are equal; the order of sets and mappings does not count."""
    if left == right:
        return True
    try:
        return bool(_settled(unpack(left)) == _settled(unpack(right)))
    except (msgspec.DecodeError, RecursionError, TypeError):
        return False


def _extension(code: int, data: memoryview) -> Packed:
    return Packed(code, _decoder.decode(data))


_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(ext_hook=_extension)
_encode = msgspec.msgpack.Encoder().encode


def _wired(value: Any) -> Any:
    match value:
        case Packed():
            return Ext(value.code, _encode(_wired(value.parts)))
        case dict():
            return {key: _wired(item) for key, item in value.items()}
        case list():
            return [_wired(item) for item in value]
    return value


def _settled(value: Any) -> Any:
    """The value with everything that has no order in one order, and numbers of different types apart."""
    match value:
        case Packed(code=code, parts=list() as parts) if code in SETS:
            return (code, sorted(repr(_settled(part)) for part in parts))
        case Packed(code=code, parts=list() as parts) if code in MAPPINGS and code != 8:
            at = MAPPINGS[code]
            items = zip(parts[at::2], parts[at + 1 :: 2], strict=True)
            return (code, parts[:at], sorted(repr((_settled(key), _settled(item))) for key, item in items))
        case Packed():
            return (value.code, _settled(value.parts))
        case dict():
            return {key: _settled(item) for key, item in value.items()}
        case list():
            return [_settled(item) for item in value]
    return (type(value).__name__, value)
