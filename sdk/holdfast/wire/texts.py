"""The texts in an encoded value, replaced without making any of the objects that it stands for.

What a class is called, what its fields and members are called, and the bytes of numbers and ids are no texts: a value
in which they changed could not be decoded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from msgspec import DecodeError
from msgspec.msgpack import Ext

from holdfast.wire.references import SECRET, SecretVersion, secret_extension, secret_in

_INTEGER, _TEXT, _DEFAULTDICT, _ZONE, _UUID = 1, 2, 11, 19, 21
_ENUM, _EXCEPTION = 32, 37
_INSTANCES = (33, 34, 35, 36)
"""The extension types of `shapes` and `classes` whose parts are not all values."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Replacer(Protocol):
    """What is put in place of each text."""

    def text(self, text: str) -> str | Ext:
        """In place of a text that is a value."""

    def part(self, text: str) -> str:
        """In place of a text where only a text can stand: a key of a dict, or bytes that are one."""

    def secret(self, secret: SecretVersion) -> str | Ext:
        """In place of a reference to a secret."""


class Plainly:
    """Replaces every text by what a function makes of it, and leaves references alone."""

    def __init__(self, replace: Callable[[str], str]) -> None:
        self.text = self.part = replace

    def secret(self, secret: SecretVersion) -> Ext:
        return secret_extension(secret)


def replaced(data: bytes, replacer: Replacer) -> bytes:
    """An encoded value with its texts replaced; all else in it is as it was.

    Raises:
        msgspec.DecodeError: the bytes are no value, or one that is nested too deep for what is left of the stack.
    """
    try:
        return _encode(_value(_decode(data), replacer))
    except (UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(f"expected an encoded value, found {error}") from error


def _value(value: Any, replacer: Replacer) -> Any:
    match value:
        case str():
            return replacer.text(value)
        case bytes():
            return _raw(value, replacer)
        case list():
            return [_value(item, replacer) for item in value]
        case dict():
            return {replacer.part(key): _value(item, replacer) for key, item in value.items()}
        case Ext(code=code, data=parts):
            return _extension(code, bytes(parts), replacer)
    return value


def _extension(code: int, data: bytes, replacer: Replacer) -> str | Ext:
    if code == SECRET:
        return replacer.secret(secret_in(_decode(data)))
    if code in (_INTEGER, _ZONE, _UUID):
        return Ext(code, data)
    return Ext(code, _encode(_parts(code, _decode(data), replacer)))


def _parts(code: int, parts: list[Any], replacer: Replacer) -> list[Any]:
    if code == _TEXT:
        return [_raw(parts[0], replacer)]
    if code in (_ENUM, _DEFAULTDICT):
        return [*parts[:2], *_value(parts[2:], replacer)]
    if code in _INSTANCES:  # path, then names and values alternating
        return [part if index % 2 or not index else _value(part, replacer) for index, part in enumerate(parts)]
    if code == _EXCEPTION:
        path, arguments, attributes, members, causes = parts
        return [
            path,
            *_value([arguments, attributes, members], replacer),
            [replaced(cause, replacer) for cause in causes],
        ]
    return [_value(part, replacer) for part in parts]


def _raw(data: bytes, replacer: Replacer) -> bytes:
    """Bytes, which may be text of any kind; those that are none stay as they are."""
    return replacer.part(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
