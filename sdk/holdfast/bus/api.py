"""JetStream's own requests (`$JS.API...`), and what they answer."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.bus.asking import Asker
from holdfast.bus.replies import NO_RESPONDERS, Trouble, status
from holdfast.core.model import Seconds
from holdfast.errors import BusError

STREAM_MISSING = 10059
CONSUMER_MISSING = 10014
DELETE_FAILED = 10057
NAME_TAKEN = 10058
"""A stream of this name stands with another configuration."""
OVERLAPS = 10065
"""Another stream stores one of the subjects."""
WRONG_LAST = 10071
"""A compare-and-set found another last sequence; it stands in the text."""
BUSY = frozenset({10164, 10008})
"""Nothing was done, and the same a moment later may be: a write in flight, a cluster without a leader."""

_encode = msgspec.json.encode


class ApiError(BusError):
    """JetStream refused a request."""

    def __init__(self, subject: str, trouble: Trouble) -> None:
        super().__init__(f"{subject}: {trouble.description or 'refused'} (code {trouble.err_code})")
        self.err_code = trouble.err_code
        """The number of the reason, stable over versions."""
        self.description = trouble.description
        """The reason in the server's words."""


class Absent(BusError):
    """Nobody answers a request: JetStream is not enabled, has no leader at the moment, or the name is unknown."""


class State(msgspec.Struct, frozen=True):
    """What a stream holds."""

    messages: int = 0
    last_seq: int = 0


class StreamInfo(msgspec.Struct, frozen=True):
    """A stream as it stands."""

    config: dict[str, Any]
    state: State


class ConsumerInfo(msgspec.Struct, frozen=True):
    """A consumer as it stands."""

    name: str
    config: dict[str, Any]
    num_pending: int = 0
    num_ack_pending: int = 0
    paused: bool = False


class Consumers(msgspec.Struct, frozen=True):
    """A page of consumers."""

    total: int = 0
    consumers: list[ConsumerInfo] = []


class Purged(msgspec.Struct, frozen=True):
    """How many messages went."""

    purged: int = 0


class Account(msgspec.Struct, frozen=True):
    """What the account may use."""

    limits: dict[str, Any] = {}


class Names(msgspec.Struct, frozen=True):
    """Names of streams."""

    streams: tuple[str, ...] | None = None


class Done(msgspec.Struct, frozen=True):
    """Nothing to tell."""


class _Refusal(msgspec.Struct, frozen=True):
    error: Trouble | None = None


class Api:
    """Asks JetStream."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    async def call(
        self,
        verb: str,
        body: object = None,
        *,
        answer: type[Any] = Done,
        repeat: bool = True,
        within: Seconds | None = None,
    ) -> Any:
        """Ask `$JS.API.<verb>`; what comes back is of the type `answer`.

        Args:
            repeat: whether the request may be repeated after the connection was lost.

        Raises:
            ApiError: JetStream refused.
            Absent: JetStream is not there.
        """
        subject = f"$JS.API.{verb}"
        data = b"" if body is None else _encode(body)
        reply = await self._asker.get(subject, data, within=within, repeat=repeat)
        if status(reply.headers) == NO_RESPONDERS:
            raise Absent(f"{subject}: nobody answers: is JetStream enabled for this account, and does the name exist?")
        refusal = msgspec.json.decode(reply.data, type=_Refusal)
        if refusal.error is not None:
            raise ApiError(subject, refusal.error)
        return msgspec.json.decode(reply.data, type=answer)

    async def stream(self, name: str) -> StreamInfo:
        """Raises: ApiError: no such stream."""
        info: StreamInfo = await self.call(f"STREAM.INFO.{name}", answer=StreamInfo)
        return info

    async def consumer(self, stream: str, name: str) -> ConsumerInfo | None:
        """A consumer, or None where there is none of the name."""
        try:
            info: ConsumerInfo = await self.call(f"CONSUMER.INFO.{stream}.{name}", answer=ConsumerInfo)
        except ApiError as error:
            if error.err_code == CONSUMER_MISSING:
                return None
            raise
        return info

    async def consumers(self, stream: str) -> list[ConsumerInfo]:
        """All consumers of a stream."""
        found: list[ConsumerInfo] = []
        while True:
            page: Consumers = await self.call(f"CONSUMER.LIST.{stream}", {"offset": len(found)}, answer=Consumers)
            found += page.consumers
            if not page.consumers or len(found) >= page.total:
                return found
