"""The journal's messages as bytes: msgpack by msgspec. What an entry looks like stands in `core.entries`."""

from __future__ import annotations

import msgspec

from holdfast.core.entries import Batch, Entry
from holdfast.core.lifecycle import Kind, Record
from holdfast.wire.subjects import Subjects

_encoder = msgspec.msgpack.Encoder()
_batch = msgspec.msgpack.Decoder(Batch)
_entry: msgspec.msgpack.Decoder[Entry] = msgspec.msgpack.Decoder(Entry)

encode = _encoder.encode
"""A batch, a single entry or any other struct of the wire as bytes."""


def decode_batch(data: bytes) -> Batch:
    """Raises: msgspec.DecodeError: not a batch of entries."""
    return _batch.decode(data)


def decode_entry(data: bytes) -> Entry:
    """Raises: msgspec.DecodeError: not an entry."""
    return _entry.decode(data)


def record(subjects: Subjects, subject: str, seq: int, data: bytes) -> tuple[str, Record]:
    """A stored journal message as the run's id and a record.

    Raises:
        ValueError: not a journal subject, or bytes that hold no entry (msgspec.DecodeError is a ValueError).
    """
    parsed = subjects.parse(subject)
    if parsed.kind is Kind.LOG:
        batch = _batch.decode(data)
        return parsed.run, Record(seq, parsed.kind, batch.writer, batch.entries)
    return parsed.run, Record(seq, parsed.kind, "", (decode_entry(data),))
