"""The orders that a worker gets from operators (`holdfast.orders`), in their order, each once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import msgspec

from holdfast.bus.ports import Bus
from holdfast.core.model import Seconds
from holdfast.errors import BusError, ConnectError
from holdfast.wire.api import ORDER, Order, decode
from holdfast.wire.subjects import Stream

log = logging.getLogger("holdfast.worker")

AGAIN: Seconds = 1.0
"""Between the loss of what is followed and the next try."""

IDLE: Seconds = 5.0
"""Between two signs that nothing was ordered."""


async def orders(bus: Bus, worker: str, *, first: int) -> AsyncIterator[Order]:
    """What this worker is told, for ever, also across reconnects: orders that are stored from sequence `first` on.

    Of several that came while it was away it hears the last one.
    """
    subject = bus.subjects.control(ORDER, worker)
    while True:
        try:
            async with contextlib.aclosing(bus.follow(Stream.CONTROL, subject, first=first, idle=IDLE)) as news:
                async for messages in news:
                    for message in messages:
                        first = message.seq + 1
                        try:
                            yield decode(message.data, Order)
                        except msgspec.DecodeError as error:
                            log.warning("passed over an unreadable order: %s", error)
        except (BusError, ConnectError) as error:
            log.warning("orders are followed again: %s", error)
            await asyncio.sleep(AGAIN)
