"""Values on their way into the journal and back: small ones as they are, big ones kept apart, secrets never."""

from __future__ import annotations

from typing import Any

from holdfast.core.model import ErrorInfo
from holdfast.errors import EncodeError
from holdfast.wire.values import decode_value, encode_value
from holdfast.worker.errors import error_info

LARGEST = 4 << 20
"""Bytes of the largest value that a checkpoint holds."""


class Stored:
    """What a worker does to each value."""

    async def encode(self, value: Any) -> bytes:
        """The value for the journal. Raises: EncodeError: it can't be stored."""
        return await self.keep(encode_value(value))

    async def keep(self, data: bytes) -> bytes:
        """An encoded value for the journal. Raises: EncodeError: it is too large."""
        if len(data) > LARGEST:
            raise EncodeError(f"{len(data):,} bytes: expected at most {LARGEST:,}")
        return data

    async def fetch(self, data: bytes) -> bytes:
        """An encoded value that the journal holds, whole."""
        return data

    async def decode(self, data: bytes) -> Any:
        """The value that the journal holds."""
        return decode_value(await self.fetch(data))

    def encode_small(self, value: Any) -> bytes:
        """As `encode`, for what is never kept apart."""
        return encode_value(value)

    def decode_small(self, data: bytes) -> Any:
        """The value that `encode_small` stored."""
        return decode_value(data)

    def error(self, error: BaseException) -> ErrorInfo:
        """An exception for the journal."""
        return error_info(error)
