"""Roles as styles. The default is the terminal's own palette: half the bytes, and the user's colours."""

from __future__ import annotations

from rich.style import Style

ANSI: dict[str, Style] = {
    "": Style(),
    "dim": Style(dim=True),
    "run": Style(color="cyan"),
    "warn": Style(color="yellow"),
    "fail": Style(color="red", bold=True),
    "dead": Style(color="red", bold=True, reverse=True),
    "mark": Style(color="magenta", bold=True),
    "match": Style(underline=True),
    "pending": Style(italic=True),
    "title": Style(bold=True),
    "ask": Style(bold=True),
    "head": Style(bold=True, underline=True),
    "cursor": Style(reverse=True),
}
"""Every role. A word on the screen always says the same as its colour."""


def base(found: Style) -> Style:
    """A widget's own style; the terminal's default colours are nothing at all, which saves their bytes."""
    plain = (found.color is None or found.color.is_default) and (found.bgcolor is None or found.bgcolor.is_default)
    return ANSI[""] if plain else found


def style(role: str) -> Style:
    """Raises: KeyError: no such role."""
    return ANSI[role]
