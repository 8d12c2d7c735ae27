"""Roles as styles. A role is a word on the screen, then a weight, and only then a colour: a theme says which colour.

The default theme is the terminal's own palette: half the bytes, and the user's colours. The others have a ground of
their own; their colours are held apart from it and from each other, also for eyes that see fewer of them, by a test.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from rich.style import Style


class Role(NamedTuple):
    """What a text is, whatever the theme."""

    words: str
    """What says the same on the screen."""
    weight: Style = Style()
    """Attributes: what is left without colours."""
    paints: bool = False
    """Whether it has a colour of its own."""


ROLES: Mapping[str, Role] = {
    "": Role("ok"),
    "dim": Role("wait cancel delay", Style(dim=True), paints=True),
    "run": Role("run", paints=True),
    "warn": Role("retry SLOW LATE PAUSED", paints=True),
    "fail": Role("FAIL", Style(bold=True), paints=True),
    "dead": Role("DEAD LOST STALLED", Style(bold=True, reverse=True), paints=True),
    "mark": Role("* in column 2", Style(bold=True), paints=True),
    "match": Role("what was searched for", Style(underline=True)),
    "pending": Role("? in the state", Style(italic=True)),
    "title": Role("the titles", Style(bold=True)),
    "ask": Role("the question", Style(bold=True)),
    "head": Role("the columns' names", Style(bold=True, underline=True)),
    "cursor": Role("> in column 1", Style(reverse=True)),
}
"""Every role. A word on the screen always says the same as its colour."""


class Theme(NamedTuple):
    """A colour for each role that has one. `dead` has that of `fail` where it is not named."""

    name: str
    colours: Mapping[str, str]
    """By role: a name of the terminal's palette, or #rrggbb."""
    ground: str = ""
    """What all stands on; empty: the terminal's own."""
    ink: str = ""
    """The colour of what has no role; empty: the terminal's own."""
    cursor: str = ""
    """What the cursor's row stands on; empty: it is reversed."""

    @property
    def own(self) -> bool:
        """Whether it has a ground of its own, instead of the terminal's."""
        return bool(self.ground)

    def style(self, role: str) -> Style:
        """Raises: KeyError: no such role."""
        known = ROLES[role]
        if role == "cursor" and self.cursor:
            return Style(bgcolor=self.cursor)
        colour = self.colours.get(role) or (self.colours.get("fail") if role == "dead" else None)
        if colour is None:
            return known.weight
        weight = Style() if known.weight.dim else known.weight
        return weight + Style(color=colour)


ANSI_THEME = Theme("ansi", {"run": "cyan", "warn": "yellow", "fail": "red", "mark": "magenta"})
DARK = Theme(
    "dark",
    {"dim": "#929292", "run": "#6FC3F0", "warn": "#E6D200", "fail": "#E06A10", "mark": "#C77DFF"},
    ground="#121212",
    ink="#F2F2F2",
    cursor="#27405C",
)
LIGHT = Theme(
    "light",
    {"dim": "#727272", "run": "#0C2C80", "warn": "#815100", "fail": "#640D00", "mark": "#B325CA"},
    ground="#FAFAFA",
    ink="#101010",
    cursor="#C9DCF2",
)
CONTRAST = Theme(
    "contrast",
    {"dim": "#A6A6A6", "run": "#52DFFA", "warn": "#FFE600", "fail": "#DE542F", "mark": "#DA7DFF"},
    ground="#000000",
    ink="#FFFFFF",
    cursor="#003A70",
)
COLOURLESS = Theme("ansi", {})
"""For NO_COLOR: weights alone."""
THEMES: Mapping[str, Theme] = {theme.name: theme for theme in (ANSI_THEME, DARK, LIGHT, CONTRAST)}
"""The themes that come with the desk, by name."""

DEFAULT = ANSI_THEME.name

_styles: dict[str, Style] = {}


def use(theme: Theme) -> None:
    """From now on this is the theme; what was painted before must be painted again."""
    _styles.update({role: theme.style(role) for role in ROLES})


use(ANSI_THEME)

ANSI: dict[str, Style] = {role: ANSI_THEME.style(role) for role in ROLES}
"""The styles of the default theme."""


def base(found: Style) -> Style:
    """A widget's own style; the terminal's default colours are nothing at all, which saves their bytes."""
    plain = (found.color is None or found.color.is_default) and (found.bgcolor is None or found.bgcolor.is_default)
    return ROLES[""].weight if plain else found


def style(role: str) -> Style:
    """Raises: KeyError: no such role."""
    return _styles[role]


def fewer(theme: Theme) -> Theme:
    """The same roles for a terminal of 16 or 8 colours: the eight that each has, on its own ground."""
    return ANSI_THEME._replace(name=theme.name) if theme.own or _exact(theme.colours.values()) else theme


def _exact(colours: Iterable[str]) -> bool:
    return any(colour.startswith("#") for colour in colours)
