"""What an event holds, and what a run is given of it: JSON where it is, else text, else bytes."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.core.model import Instant
from holdfast.errors import EncodeError
from holdfast.wire.values import encode_value


class EventsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which events, newest first. Empty fields do not filter."""

    subject: str = ""
    """Their name, NATS wildcards."""
    since: Instant | None = None
    """When they were stored."""
    until: Instant | None = None
    before: int | None = None
    """Where the page before ended (`EventsPage.before`)."""
    limit: int = 50
    """At most 1,000."""
    most: int = 1 << 20
    """Of each so many bytes of its data at most."""


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it was published."""

    seq: int
    """Its number in the event stream."""
    at: Instant
    """When it was stored."""
    name: str
    """As tasks and routes name it."""
    subject: str
    """That it was published on."""
    size: int
    """Bytes of its data."""
    data: bytes
    """Its data, or the beginning of it."""
    headers: dict[str, str] = {}


class EventsPage(msgspec.Struct, frozen=True, kw_only=True):
    events: tuple[EventRow, ...]
    more: bool
    """Whether there may be older ones: a page looks through 200,000 events at most, whether they are meant or not."""
    before: int
    """Where the next page begins (`EventsQuery.before`)."""


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
