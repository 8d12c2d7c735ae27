"""What the server writes into replies, headers and acknowledgement subjects, read from bytes.

Formats: ADR-4 (headers), ADR-15 (acknowledgement subjects), ADR-31 (direct get), ADR-37 (pull statuses).
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import msgspec

from holdfast.bus.ports import Item, Message

NO_RESPONDERS = 503
"""Status: nobody is subscribed to the subject that was asked."""

_STATUS_AT = len(b"NATS/1.0 ")


class Reply(NamedTuple):
    """An answer as it came."""

    data: bytes
    headers: bytes | None


class Trouble(msgspec.Struct, frozen=True):
    """Why JetStream refused."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class Ack(msgspec.Struct, frozen=True):
    """The answer to a publish."""

    seq: int = 0
    error: Trouble | None = None


decode_ack = msgspec.json.Decoder(Ack).decode
"""Raises: msgspec.DecodeError: not the answer to a publish."""


def status(headers: bytes | None) -> int:
    """The status code of a message, or 0 where it has none."""
    if headers is None or headers[_STATUS_AT - 1 : _STATUS_AT] != b" ":
        return 0
    return int(headers[_STATUS_AT : _STATUS_AT + 3])


def description(headers: bytes) -> str:
    """The words behind a status code."""
    return headers[_STATUS_AT + 4 : headers.find(b"\r\n")].decode(errors="replace")


def field(headers: bytes | None, name: bytes) -> str | None:
    """The last value of a header; the server appends its own, so what a publisher forged comes before."""
    if headers is None:
        return None
    at = headers.rfind(b"\r\n" + name + b":")
    if at < 0:
        return None
    begin = at + len(name) + 3
    return headers[begin : headers.find(b"\r\n", begin)].strip().decode(errors="replace")


def whole(headers: bytes | None, name: bytes) -> int | None:
    """The last value of a header as a number."""
    value = field(headers, name)
    return int(value) if value is not None and value.isdecimal() else None


def stored(data: bytes, headers: bytes) -> Message:
    """The answer of a direct get as a message; what the server says of it stands behind the publisher's headers."""
    subject, seq, time = (field(headers, name) for name in (b"Nats-Subject", b"Nats-Sequence", b"Nats-Time-Stamp"))
    if subject is None or seq is None or time is None:
        raise ValueError(f"expected the headers of a direct get, found {headers!r}")
    own = headers[: headers.rfind(b"\r\nNats-Stream:")]
    block = own + b"\r\n\r\n" if len(own) > _STATUS_AT else b""
    return Message(subject, data, int(seq), datetime.fromisoformat(time).timestamp(), block)


class Delivery(NamedTuple):
    """What an acknowledgement subject says of its delivery."""

    deliveries: int
    seq: int
    """In the stream."""
    number: int
    """In the consumer: without gaps, from 1."""
    time: float
    pending: int
    """Matching messages behind this one."""


def delivery(token: str) -> Delivery:
    """Read an acknowledgement subject.

    `$JS.ACK.<stream>.<consumer>.<deliveries>.<seq>.<number>.<ns>.<pending>`; newer servers may put domain and account
    behind `ACK` and more tokens at the end.
    """
    parts = token.split(".")
    at = 4 if len(parts) == 9 else 6
    deliveries, seq, number, ns, pending = parts[at : at + 5]
    return Delivery(int(deliveries), int(seq), int(number), int(ns) // 1000 / 1e6, int(pending))


def item(subject: bytes, token: str, data: bytes) -> Item:
    """A pulled message as a work item."""
    said = delivery(token)
    return Item(subject.decode(), data, said.seq, said.time, said.deliveries, token)
