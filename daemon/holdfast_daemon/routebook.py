"""Which routes there are: those that tasks ask for (`on=`), from their cards, and those of the configuration."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Self

from holdfast.bus.ports import Message
from holdfast.client import card_settings
from holdfast.config import Route as Configured
from holdfast.core.routing import matches
from holdfast.errors import EventError
from holdfast.events import Event
from holdfast.expressions import Facts
from holdfast.intake import Intake
from holdfast.triggering import Settings
from holdfast.wire import api
from holdfast.wire.events import payload_of
from holdfast.wire.subjects import Subjects

log = logging.getLogger("holdfast.router")

REMEMBERED = 10_000
"""Names of events of which it is known which routes take them in."""


class Sighted:
    """An event that came by; what it says is read when somebody asks."""

    def __init__(self, message: Message, name: str) -> None:
        self.message = message
        self.name = name
        """As tasks and waits name it."""

    @classmethod
    def of(cls, subjects: Subjects, message: Message) -> Self:
        """The event that a message of the event stream is."""
        return cls(message, subjects.event_name(message.subject))

    @cached_property
    def facts(self) -> Facts:
        """What expressions see of it."""
        _, data, seq, time, block = self.message
        return Facts(Event.of(self.name, data, block, time, seq))


class Route:
    """One way from events to runs of a task."""

    def __init__(
        self,
        *,
        identity: str,
        task: str,
        patterns: tuple[str, ...],
        settings: Settings,
        intake: Intake,
        name: str = "",
        whole: bool = False,
        asks: bool = False,
        broken: str = "",
    ) -> None:
        self.identity = identity
        """What the ids of its runs are derived from: an event starts one run for each of these."""
        self.task = task
        self.settings = settings
        """How the runs are triggered."""
        self.intake = intake
        self.name = name
        """As configured; empty where the task itself asks."""
        self.asks = asks
        """Whether the task's workers say what they take in."""
        self.broken = broken
        """Why no event can be taken in, where the card holds what is no expression here; else empty."""
        self._patterns = patterns
        self._whole = whole

    def concerns(self, event: Sighted) -> bool:
        """Whether it is for events of this subject, before anybody looks at them."""
        found = event.message.subject if self._whole else event.name
        return any(matches(pattern, found) for pattern in self._patterns)

    def payload(self, event: Sighted) -> bytes | None:
        """The payload of the run that the event starts; None: it starts none. Not where the task is asked.

        Raises:
            EventError: that can't be said.
        """
        assert not self.asks, "its workers say that"
        if self.broken:
            raise EventError(self.broken)
        return payload_of(event.message.data) if self.intake.plain else self.intake.payload(event.facts)


class Routebook:
    """The routes, as they stand."""

    def __init__(self, configured: Sequence[Configured] = ()) -> None:
        self._configured = configured
        self._cards: dict[str, api.TaskCard] = {}
        self._routes: tuple[Route, ...] = ()
        self._by_subject: dict[str, tuple[Route, ...]] = {}
        self._renew()

    def declare(self, cards: Iterable[api.TaskCard]) -> None:
        """Take in what workers declare."""
        before = dict(self._cards)
        self._cards |= {card.id: card for card in cards}
        if self._cards != before:
            self._renew()

    def of(self, event: Sighted) -> tuple[Route, ...]:
        """The routes that are for events of this one's subject."""
        subject = event.message.subject
        found = self._by_subject.get(subject)
        if found is None:
            found = tuple(route for route in self._routes if route.concerns(event))
            if len(self._by_subject) >= REMEMBERED:
                self._by_subject.clear()
            self._by_subject[subject] = found
        return found

    def undeclared(self) -> list[Configured]:
        """Routes to tasks that no worker has declared."""
        return [route for route in self._configured if route.task not in self._cards]

    def named(self, name: str) -> bool:
        """Whether a route of this name is configured."""
        return any(route.identity == name for route in self._configured)

    def _renew(self) -> None:
        self._by_subject.clear()
        asked = (_asked(card) for card in self._cards.values() if card.on)
        self._routes = (*asked, *(self._of(route) for route in self._configured))

    def _of(self, route: Configured) -> Route:
        card = self._cards.get(route.task)
        return Route(
            identity=f"route:{route.identity}",
            task=route.task,
            patterns=(route.pattern,),
            settings=(Settings() if card is None else card_settings(card)).but(
                queue=route.queue,
                priority=route.priority,
                delay=route.delay,
                ttl=route.ttl,
                concurrency_key=route.concurrency_key,
            ),
            intake=Intake(route.filter, route.map),
            name=route.identity,
            whole=route.source is not None,
        )


def _asked(card: api.TaskCard) -> Route:
    """The route that a task asks for itself."""
    intake, broken = Intake(), ""
    try:
        if not card.asks:
            intake = Intake(card.filter or None, card.map or None)
    except ValueError as error:  # a worker of another version has declared it
        broken = f"filter {card.filter!r}, map {card.map!r}: expected {error}"
        log.error("task %s: %s", card.id, broken)
    return Route(
        identity=card.id,
        task=card.id,
        patterns=card.on,
        settings=card_settings(card),
        intake=intake,
        asks=card.asks,
        broken=broken,
    )
