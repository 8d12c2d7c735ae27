"""The window of time that a screen looks at: the steps of `<` and `>`, and how a chart parts it."""

from __future__ import annotations

from typing import NamedTuple

from holdfast.core.model import Instant, Seconds
from holdfast_tui.filter import Filter

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


class Span(NamedTuple):
    """A length of time up to now."""

    name: str
    seconds: Seconds | None
    """None: all that there is."""
    step: Seconds = 0.0
    """Of its buckets in a chart."""


CHARTED = (
    Span("15m", 15 * MINUTE, 15.0),
    Span("1h", HOUR, MINUTE),
    Span("6h", 6 * HOUR, 5 * MINUTE),
    Span("24h", DAY, 20 * MINUTE),
    Span("7d", 7 * DAY, 3 * HOUR),
)
"""What charts show."""

LISTED = (Span("1h", HOUR), Span("24h", DAY), Span("7d", 7 * DAY), Span("30d", 30 * DAY), Span("all", None))
"""What lists show."""


def since(span: Span, now: Instant, given: Filter) -> Instant | None:
    """When a list begins: with its window, or later where its filter says `last:`; None: with the first of all."""
    begins = [now - bound.number for bound in given.bounds("last")]
    return max(begins if span.seconds is None else [*begins, now - span.seconds], default=None)


def turned(spans: tuple[Span, ...], now: Span, by: int) -> Span:
    """The next shorter or longer one; the same at the end."""
    return spans[max(0, min(len(spans) - 1, spans.index(now) + by))]


def aligned(now: Instant, span: Span) -> tuple[Instant, Instant]:
    """Begin and end of a charted span: whole buckets, the last of which holds now."""
    assert span.seconds is not None
    end = (now // span.step + 1) * span.step
    return end - span.seconds, end
