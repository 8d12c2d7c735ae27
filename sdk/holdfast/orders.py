"""What operators tell workers: to drain, to take up runs again, to stop.

An order is a control value under the worker's name, which the worker follows: one that is away for a moment finds it
when it is back. It is for the process that is there now; a later one of the same name does not find it.
"""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.bus.ports import Bus
from holdfast.core.model import Instant, Seconds
from holdfast.errors import UnknownWorker
from holdfast.wire import api, codec
from holdfast.wire.api import Duty, Order, Presence
from holdfast.wire.subjects import Stream

KEPT: Seconds = 3600.0
"""How long an order waits for a worker that does not answer."""

NAMED = 20
"""So many workers are named where another one was meant."""


async def give(bus: Bus, name: str, duty: Duty, *, at: Instant, by: str) -> Presence:
    """Tell a worker what to do, durably; what it has just now.

    Raises:
        UnknownWorker: none of this name is there; nothing was told.
    """
    found = {worker.worker: worker for worker in await present(bus)}
    worker = found.get(name)
    if worker is None:
        raise unknown(name, found)
    await bus.put(api.ORDER, name, codec.encode(Order(duty=duty, at=at, by=by)), ttl=KEPT)
    return worker


def unknown(name: str, known: Iterable[str]) -> UnknownWorker:
    """That none of this name, or that matches it, is there; names those that are."""
    names = sorted(known)
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    there = f"there are {', '.join(names[:NAMED])}{more}" if names else "there is none just now"
    return UnknownWorker(f"no worker {name!r:.100} is there: {there} (`holdfast workers list`)")


async def present(bus: Bus) -> list[Presence]:
    """The workers whose heartbeat is fresh."""
    beats = await bus.latest(Stream.CONTROL, bus.subjects.control("worker", "*"))
    return [api.decode(beat.data, Presence) for beat in beats]
