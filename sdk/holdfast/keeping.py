"""Values that a client stores and reads: big ones apart; where its caller is inside a run, secrets never.

A run may use any client, also one of its own: what it gives to another run as a payload, a signal or a token's value
refers to the secrets in it, and what it reads of another has them again.
"""

from __future__ import annotations

from holdfast.bus.blobs import Blobs
from holdfast.context import execution


class Values(Blobs):
    """The values of a client."""

    async def keep(self, data: bytes) -> bytes:
        """As `Blobs.keep`. Raises: EncodeError, too: inside a run, a text in it contains a secret and more."""
        current = execution.get()
        return await super().keep(data if current is None else current.seal(data))

    async def full(self, data: bytes) -> bytes:
        found = await super().full(data)
        current = execution.get()
        return found if current is None else current.unseal(found)
