"""An event as filters and maps see it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from holdfast.core.model import Instant
from holdfast.wire import headers
from holdfast.wire.events import value_of


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was published."""

    subject: str
    """Its name: what stands behind `hf.<project>.evt.`, or the whole subject of one that keeps its own."""
    data: Any
    """Decoded JSON where it is, else text, else the bytes; None where it is empty."""
    raw: bytes
    """As it was published."""
    headers: Mapping[str, str] = {}
    time: datetime
    """When it was stored, in UTC."""
    seq: int
    """Its number in the project's event stream."""

    @classmethod
    def of(cls, subject: str, raw: bytes, block: bytes, time: Instant, seq: int) -> Event:
        """The event of what is stored; `block` are its headers as bytes."""
        return cls(
            subject=subject,
            data=value_of(raw),
            raw=raw,
            headers=headers.parse(block),
            time=datetime.fromtimestamp(time, UTC),
            seq=seq,
        )
