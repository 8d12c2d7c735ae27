"""What a task takes in of events: those that a filter accepts, with the arguments that a map makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from holdfast.errors import EncodeError, EventError
from holdfast.events import Event
from holdfast.expressions import Expression, Facts
from holdfast.wire.events import payload_of
from holdfast.wire.values import encode_value

Filter: TypeAlias = str | Callable[[Event], bool]
"""An expression, or a function that runs in a worker."""
Map: TypeAlias = str | Callable[[Event], Mapping[str, Any]]


class Intake:
    """A filter and a map, either of which may be missing."""

    def __init__(self, filter: Filter | None = None, map: Map | None = None) -> None:
        """Raises: ValueError: a text that is no expression."""
        self.filter = Expression(filter) if isinstance(filter, str) else filter
        self.map = Expression(map) if isinstance(map, str) else map

    @property
    def plain(self) -> bool:
        """Whether every event is taken in as it is."""
        return self.filter is None and self.map is None

    @property
    def asks(self) -> bool:
        """Whether Python is asked, so that only a worker can answer."""
        return any(part is not None and not isinstance(part, Expression) for part in (self.filter, self.map))

    def payload(self, facts: Facts) -> bytes | None:
        """The payload of the run that the event starts; None: the filter does not accept it.

        Raises:
            EventError: the filter or the map can't say.
        """
        if self.filter is not None and not self._accepts(facts):
            return None
        if self.map is None:
            return payload_of(facts.event.raw)
        try:
            return encode_value(self._arguments(facts))
        except EncodeError as error:
            raise EventError(f"map {_named(self.map)}: {error}") from None

    def _accepts(self, facts: Facts) -> bool:
        if isinstance(self.filter, Expression):
            return self.filter.accepts(facts)
        found = _called(self.filter, facts.event, "filter")
        if not isinstance(found, bool):
            raise EventError(f"filter {_named(self.filter)}: expected True or False, found {found!r:.80}")
        return found

    def _arguments(self, facts: Facts) -> dict[str, Any]:
        if isinstance(self.map, Expression):
            return self.map.arguments(facts)
        found = _called(self.map, facts.event, "map")
        if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
            raise EventError(f"map {_named(self.map)}: expected arguments by name, found {found!r:.80}")
        return dict(found)


def _called(function: Any, event: Event, use: str) -> object:
    """What a function of the user says. Raises: EventError: what it raised."""
    try:
        return function(event)
    except Exception as error:  # user code
        raise EventError(f"{use} {_named(function)}: {type(error).__name__}: {error}") from error


def _named(part: object) -> str:
    return part.text if isinstance(part, Expression) else getattr(part, "__qualname__", repr(part))
