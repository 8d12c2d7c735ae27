"""What an event holds, and what a run is given of it: JSON where it is, else text, else bytes."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.errors import EncodeError
from holdfast.wire.values import encode_value


def value_of(data: bytes) -> Any:
    """What an event holds: JSON, else text, else the bytes themselves; None where it is empty."""
    if not data:
        return None
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return text_of(data)


def text_of(data: bytes) -> str | bytes:
    """Bytes as text, where they are UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def encoded(data: bytes) -> bytes:
    """The same in the value codec; what is nested deeper than a value may be is text."""
    try:
        return encode_value(value_of(data))
    except EncodeError:
        return encode_value(text_of(data))


def payload_of(data: bytes) -> bytes:
    """An event's data as a payload: the members of a JSON object by name; anything else under the name `event`."""
    try:
        value = msgspec.json.decode(data) if data else {}
        return encode_value(value if isinstance(value, dict) else {"event": value})
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, EncodeError):
        return encode_value({"event": text_of(data)})


def raw_payload(data: bytes) -> bytes:
    """The bytes of an event that nothing could be made of, as a payload."""
    return encode_value({"event": data})
