"""How a completed step is to be undone, as the journal keeps it: which step it was, and its arguments."""

from __future__ import annotations

import msgspec


class UndoCall(msgspec.Struct, frozen=True, array_like=True):
    """What `StepCompleted.undo` holds, as msgpack."""

    step: str
    """The step, as `module:qualname`."""
    arguments: bytes
    """By parameter, in the value codec; or a reference, where they are kept apart."""


def encode_undo(call: UndoCall) -> bytes:
    """The undo for the journal."""
    return msgspec.msgpack.encode(call)


def decode_undo(data: bytes) -> UndoCall:
    """Raises: msgspec.DecodeError: not an undo."""
    return msgspec.msgpack.decode(data, type=UndoCall)
