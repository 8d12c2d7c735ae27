"""A task as whoever triggers it knows it: the object that was imported, or its name and what workers say of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from holdfast.bus.blobs import INLINE
from holdfast.errors import ConfigError, EncodeError, PayloadError
from holdfast.portions import portions
from holdfast.triggering import Order, Settings, TriggerOptions
from holdfast.wire.values import encode_value

Payload: TypeAlias = Mapping[str, Any]
"""Arguments by name."""

BatchItem: TypeAlias = Payload | tuple[Payload, TriggerOptions]
"""What a batch starts a run of: a payload, or a payload and options of its own, which go before the batch's."""

PAYLOADS = 500
"""Payloads that a worker is asked to check at once: it has runs to see to."""


class Declaration(NamedTuple):
    """What triggering a task needs to know of it."""

    task: str
    """Its id."""
    settings: Settings
    encode: Callable[[Payload], bytes]
    """A payload for the journal. Raises: PayloadError; EncodeError."""

    def order(self, item: BatchItem) -> Order | Exception:
        """What an item of a batch asks for, or why it can't be had."""
        try:
            payload, options = _parted(item)
            return Order(self.encode(payload), self.settings.but(**options))
        except (PayloadError, EncodeError, ConfigError) as error:
            return error


class Declared(Protocol):
    """A task, or a task with options of its own, as code that imports it has it."""

    @property
    def declaration(self) -> Declaration: ...


def encode_payload(payload: Payload) -> bytes:
    """A payload for the journal. Raises: PayloadError: not a mapping of names to values; EncodeError."""
    if not isinstance(payload, Mapping) or not all(isinstance(name, str) for name in payload):
        raise PayloadError(
            f"a payload is an object of arguments by name, found {type(payload).__name__}: {payload!r:.80}"
        )
    return encode_value(dict(payload))


def chunks(payloads: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Payloads as they are sent to be checked: not too many, and not too many bytes, at once."""
    return portions(payloads, len, most=PAYLOADS, most_bytes=INLINE)


def _parted(item: BatchItem) -> tuple[Payload, TriggerOptions]:
    """An item of a batch as payload and options. Raises: PayloadError: it is none."""
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], Mapping):
        return item
    if isinstance(item, Mapping):
        return item, {}
    raise PayloadError(
        "an item of a batch is a payload, or a payload and options like "
        f'({{"order_id": "A1"}}, {{"priority": 0}}), found {item!r:.80}'
    )
