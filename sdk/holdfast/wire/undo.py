"""How a completed step is to be undone, as the journal keeps it: which step it was, and its arguments."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.wire.values import decode_value, encode_value


class UndoCall(msgspec.Struct, frozen=True, array_like=True):
    """What `StepCompleted.undo` holds, as msgpack."""

    step: str
    """The step, as `module:qualname`."""
    arguments: bytes
    """By parameter, in the value codec."""

    @property
    def named(self) -> dict[str, Any]:
        """The arguments by parameter. Raises: what a class of the user's raises on being made again."""
        named: dict[str, Any] = decode_value(self.arguments)
        return named


def encode_undo(step: str, named: dict[str, Any]) -> bytes:
    """Raises: EncodeError: an argument can't be stored."""
    return msgspec.msgpack.encode(UndoCall(step, encode_value(named)))


def decode_undo(data: bytes) -> UndoCall:
    """Raises: msgspec.DecodeError: not an undo."""
    return msgspec.msgpack.decode(data, type=UndoCall)
