"""What stands in an encoded value for something that is kept elsewhere: a big value, or a secret.

Both are extension types of the value codec. A big value (`bus.blobs`) is replaced whole: the reference is all that the
bytes hold. A secret (`redaction`) is replaced wherever it stands in a value.
"""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import msgspec
from msgspec import DecodeError
from msgspec.msgpack import Ext

from holdfast.quantities import readable_size
from holdfast.wire.shapes import Parts, Shape, by_index

KEPT, SECRET = 40, 41
"""The codes of the extension types."""

DIGEST_BYTES = 32

_EXT_8 = 0xC7
_KEPT_LENGTHS = range(3 + 3 + DIGEST_BYTES + 1, 3 + 3 + DIGEST_BYTES + 9 + 1)
"""An extension's head, an array's, a digest's with its own, and an integer of 1 to 9 bytes."""
_SECRET_MARK = bytes([SECRET, 0x93, 0xA6]) + b"secret"
"""How the bytes of every reference to a secret begin, from the extension's code on."""

_encode = msgspec.msgpack.Encoder().encode


class Kept(NamedTuple):
    """A value that is kept apart."""

    digest: bytes
    """blake2b of its bytes: who keeps the same value twice keeps it once."""
    size: int
    """Bytes of the encoded value."""

    @property
    def name(self) -> str:
        """The digest as its subjects have it."""
        return self.digest.hex()

    def __str__(self) -> str:
        return f"<{readable_size(self.size)}, kept apart>"


class SecretVersion(NamedTuple):
    """A secret as a value refers to it."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"[secret {self.name}]"


def encode_kept(kept: Kept) -> bytes:
    """The reference in place of the value's bytes."""
    return _encode(Ext(KEPT, _encode([kept.digest, kept.size])))


def is_kept(data: bytes) -> bool:
    """Whether the bytes are such a reference, and no value."""
    return len(data) in _KEPT_LENGTHS and data[0] == _EXT_8 and data[2] == KEPT


def decode_kept(data: bytes) -> Kept:
    """What bytes that are a reference refer to. Raises: msgspec.DecodeError: they are none."""
    digest, size = _decode_parts(data, KEPT)
    if not isinstance(digest, bytes) or len(digest) != DIGEST_BYTES or not isinstance(size, int):
        raise DecodeError(f"expected a digest and a size in a reference, found {digest!r:.80} and {size!r:.80}")
    return Kept(digest, size)


def secret_extension(secret: SecretVersion) -> Ext:
    """The reference in place of a secret's text."""
    return Ext(SECRET, _encode(["secret", *secret]))


def secret_in(parts: Parts) -> SecretVersion:
    """The secret that the parts of an extension refer to."""
    _, name, version = parts
    return SecretVersion(str(name), int(version))


def has_secrets(data: bytes) -> bool:
    """Whether an encoded value refers to secrets; now and then wrongly yes, never wrongly no."""
    return _SECRET_MARK in data


def _decode_parts(data: bytes, code: int) -> list[Any]:
    found = msgspec.msgpack.decode(data, type=Ext)
    if found.code != code:
        raise DecodeError(f"expected a reference (extension type {code}), found extension type {found.code}")
    parts = msgspec.msgpack.decode(found.data, type=list)
    if len(parts) != 2:
        raise DecodeError(f"expected a digest and a size in a reference, found {len(parts)} parts")
    return parts


def _refuse(parts: Parts) -> NoReturn:
    raise DecodeError(f"expected a value, found {Kept(*parts)}: have `Blobs.full` fetch its bytes first")


REFERENCES = (
    Shape(KEPT, list, _refuse, by_index),
    Shape(SECRET, list, lambda parts: str(secret_in(parts)), by_index),
)
"""How `decode_value` takes references: it fetches nothing, and where a secret stood it gives a text that says so."""
