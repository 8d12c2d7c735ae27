"""The journal's messages as bytes: msgpack by msgspec. What an entry looks like stands in `core.entries`."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from holdfast.core.entries import Admitted, Batch, Entry, Offered, RunCancelled, RunCreated, RunExpired, RunTimedOut
from holdfast.core.lifecycle import Kind, Record
from holdfast.wire.subjects import Subjects

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_batch = msgspec.msgpack.Decoder(Batch)
_entry: msgspec.msgpack.Decoder[Entry] = msgspec.msgpack.Decoder(Entry)

encode = _encoder.encode
"""A batch, a single entry or any other struct of the wire as bytes."""


def decode_batch(data: bytes) -> Batch:
    """Raises: msgspec.DecodeError: not a batch of entries."""
    return _decoded(_batch, data)


def decode_entry(data: bytes) -> Entry:
    """Raises: msgspec.DecodeError: not an entry."""
    return _decoded(_entry, data)


def _decoded(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    except (RecursionError, UnicodeDecodeError) as error:
        raise msgspec.DecodeError(f"not an entry: {error}") from None


def first_of(data: bytes) -> int:
    """The first sequence of the run that a work item offers or admits; 0 where it creates one, or can't be read."""
    try:
        entry = decode_entry(data)
    except msgspec.DecodeError:
        return 0
    return entry.first if isinstance(entry, Offered | Admitted) else 0


def record(subjects: Subjects, subject: str, seq: int, data: bytes) -> tuple[str, Record]:
    """A stored journal message as the run's id and a record.

    Raises:
        ValueError: not a journal subject, or bytes that hold no entry (msgspec.DecodeError is a ValueError).
    """
    parsed = subjects.parse(subject)
    if parsed.kind is Kind.LOG:
        batch = decode_batch(data)
        writer, entries = batch.writer, batch.entries
    else:
        writer, entries = "", (decode_entry(data),)
    for entry in entries:
        created = entry.created if isinstance(entry, RunCancelled | RunExpired | RunTimedOut) else entry
        if isinstance(created, RunCreated | Offered | Admitted) and created.run != parsed.run:
            raise ValueError(f"{subject} holds an entry of another run, {created.run!r:.60}")
    return parsed.run, Record(seq, parsed.kind, writer, entries)
