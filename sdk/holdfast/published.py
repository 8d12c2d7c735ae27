"""What was published as events, read back from the event stream: it needs no daemon."""

from __future__ import annotations

from msgspec.structs import replace

from holdfast.bus.ports import Bus, Message
from holdfast.core.routing import matches
from holdfast.errors import Refused
from holdfast.wire import headers
from holdfast.wire.events import EventRow, EventsPage, EventsQuery
from holdfast.wire.subjects import EVENT, Stream

WINDOW, WIDEST = 250, 8000
"""Events that are read at once, from the newest back; twice as many each time that none was meant."""

PATIENCE = 200_000
"""Events that a page looks through at most."""

MOST = 1000
"""Events of a page."""


async def newest(bus: Bus, query: EventsQuery) -> EventsPage:
    """A page of events, newest first. Raises: Refused: a subject or a limit that can't be."""
    if query.subject and not EVENT.match(query.subject):
        expected = "expected a subject such as orders.created or orders.*"
        raise Refused(f"{expected}, found {query.subject!r:.100}", code="bad_request")
    if not 1 <= query.limit <= MOST:
        raise Refused(f"limit: expected 1 to {MOST:,} events, found {query.limit}", code="bad_request")
    first = 1 if query.since is None else await bus.first_since(Stream.EVENTS, query.since)
    begun = behind = await _behind(bus, query)
    width, found = WINDOW, list[EventRow]()
    while behind > first and len(found) <= query.limit and begun - behind < PATIENCE:
        begin = max(first, behind - width)
        some = await _between(bus, query.subject, begin, behind)
        found += reversed(some)
        behind, width = begin, WINDOW if some else min(2 * width, WIDEST)
    page = found[: query.limit]
    more = len(found) > len(page) or behind > first
    return EventsPage(
        events=tuple(_cut(event, query.most) for event in page),
        more=more,
        before=page[-1].seq if len(found) > len(page) else behind,
    )


async def _behind(bus: Bus, query: EventsQuery) -> int:
    """The sequence behind the last event that may be meant."""
    behind = await bus.last_seq(Stream.EVENTS) + 1
    if query.until is not None:
        behind = min(behind, await bus.first_since(Stream.EVENTS, query.until))
    return behind if query.before is None else min(behind, query.before)


async def at(bus: Bus, seq: int) -> EventRow | None:
    """The event of a number, whole; None: there is none, or no more."""
    messages = await bus.read(Stream.EVENTS, ">", first=seq, limit=1)
    return _row(bus, messages[0]) if messages and messages[0].seq == seq else None


async def _between(bus: Bus, subject: str, first: int, behind: int) -> list[EventRow]:
    """The events of a name from one sequence on, up to before another one, in order."""
    filters = {bus.subjects.event(subject), subject} if subject else {">"}
    messages = {
        message.seq: message
        for filter in filters
        for message in await bus.read(Stream.EVENTS, filter, first=first, limit=behind - first)
        if message.seq < behind
    }
    found = [_row(bus, messages[seq]) for seq in sorted(messages)]
    return [event for event in found if not subject or matches(subject, event.name)]


def _row(bus: Bus, message: Message) -> EventRow:
    return EventRow(
        seq=message.seq,
        at=message.time,
        name=bus.subjects.event_name(message.subject),
        subject=message.subject,
        size=len(message.data),
        data=message.data,
        headers=headers.parse(message.headers),
    )


def _cut(event: EventRow, most: int) -> EventRow:
    return event if event.size <= most else replace(event, data=event.data[:most])
