"""Values on their way into the journal and back: small ones as they are, big ones kept apart, secrets never."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from holdfast.bus.blobs import INLINE, Blobs
from holdfast.core.model import ErrorInfo
from holdfast.errors import EncodeError
from holdfast.quantities import readable_size
from holdfast.redaction import Redactor
from holdfast.vault import Vault
from holdfast.wire.ended import Ended
from holdfast.wire.values import decode_value, encode_value
from holdfast.worker.errors import error_info


class Stored:
    """What a worker does to each value."""

    def __init__(self, blobs: Blobs, vault: Vault) -> None:
        self.vault = vault
        self._blobs = blobs
        self._redactor = Redactor(vault.values, vault)

    def redact(self, text: str) -> str:
        """A text for people, without secrets."""
        return self._redactor.text(text)

    async def encode(self, value: Any) -> bytes:
        """A checkpoint's value. Raises: EncodeError: it can't be stored so that it comes back the same."""
        return await self._blobs.keep(self._redactor.seal(encode_value(value)))

    async def encode_result(self, value: Any) -> bytes:
        """A run's result; a secret that is part of a longer text is censored in it. Raises: EncodeError."""
        return await self._blobs.keep(self._redactor.censor(encode_value(value, name="result")))

    def seal(self, data: bytes) -> bytes:
        """An encoded value without secrets. Raises: EncodeError: a text in it contains a secret and more."""
        return self._redactor.seal(data)

    def unseal(self, data: bytes) -> bytes:
        """A sealed value with its secrets: not to be stored."""
        return self._redactor.open(data)

    async def keep(self, data: bytes) -> bytes:
        """An encoded value. Raises: EncodeError: it is too large, or a text in it contains a secret and more."""
        return await self._blobs.keep(self._redactor.seal(data))

    async def fetch(self, data: bytes) -> bytes:
        """An encoded value that the journal holds, whole and with its secrets: not to be stored."""
        return self._redactor.open(await self._blobs.full(data))

    async def decode(self, data: bytes) -> Any:
        """The value that the journal holds."""
        if self._blobs.refers(data):
            data = await self._blobs.full(data)
        return decode_value(self._redactor.open(data))

    async def at_hand(self, ended: Ended) -> Ended:
        """What a hook is told, with the payload and the result of the run whole."""
        payload = await self.fetch(ended.encoded_payload)
        result = None if ended.encoded_result is None else await self.fetch(ended.encoded_result)
        return replace(ended, encoded_payload=payload, encoded_result=result)

    def encode_small(self, value: Any) -> bytes:
        """A value for people and for the run itself, never kept apart; secrets are censored. Raises: EncodeError."""
        data = self._redactor.censor(encode_value(value))
        if len(data) > INLINE:
            raise EncodeError(
                f"expected at most {readable_size(INLINE)} of this kind, found {readable_size(len(data))}: "
                "return it from a step, which may hold more"
            )
        return data

    def decode_small(self, data: bytes) -> Any:
        """The value that `encode_small` stored."""
        return decode_value(self._redactor.open(data))

    def error(self, error: BaseException) -> ErrorInfo:
        """An exception."""
        return error_info(error, self._redactor.text)
