"""An event in words: its data and its headers, of which nothing is trusted."""

from __future__ import annotations

from holdfast.wire.events import EventRow, encoded, value_of
from holdfast.wire.render import render_json
from holdfast_tui.format import Cell, date, lines, size

WHOLE = 64 << 10
"""Bytes of an event that are shown."""


def preview(event: EventRow) -> str:
    """The beginning of its data on one line."""
    return " ".join(event.data[:300].decode(errors="replace").split())


def data_told(event: EventRow) -> list[Cell]:
    if not event.data:
        return [("no data", "dim")]
    if len(event.data) < event.size:
        shown, cut = event.data, True
    else:
        shown, cut = event.data[:WHOLE], event.size > WHOLE
    if cut:
        text = shown.decode(errors="replace")
    else:
        value = value_of(shown)
        text = (
            value
            if isinstance(value, str)
            else repr(value)
            if isinstance(value, bytes)
            else render_json(encoded(shown))
        )
    more: list[Cell] = [(f"... of {size(event.size)}: holdfast events show {event.seq}", "dim")] if cut else []
    return [*((line, "") for line in lines(text)), *more]


def headers_told(event: EventRow) -> list[Cell]:
    published: list[Cell] = [(f"published on {event.subject}", "")] if event.subject != event.name else []
    return [
        (f"subject {event.name}", "title"),
        *published,
        (f"stored {date(event.at)}", ""),
        (f"{event.size:,} bytes", ""),
        ("", ""),
        *([(f"{name}: {value}", "") for name, value in event.headers.items()] or [("no headers", "dim")]),
    ]
