"""Roles as styles. The default is the terminal's own palette: half the bytes, and the user's colours.

A theme with colours of its own has a ground, an ink and a colour for each of `COLOURED`; what is bold, dim, reverse or
underlined is the same in all. A word on the screen always says the same as its colour.

    # dusk.toml in the folder `themes` beside keys.toml: what is not there is as in `base`
    base = "dark"
    ground = "#1E1E2E"
    fail = "#F38BA8"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from rich.color import Color, ColorParseError
from rich.style import Style

from holdfast.decoding import nearest

COLOURED = ("dim", "run", "warn", "fail", "mark", "cursor")
"""Roles that a theme has a colour for; that of the cursor is its ground, `dead` is `fail` reversed."""

DEFAULT = "ansi"

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
"""Every role."""


class Theme(NamedTuple):
    """Colours, each as `#RRGGBB`."""

    name: str
    ground: str
    ink: str
    colours: Mapping[str, str]
    """By role, those of `COLOURED`."""

    @property
    def dark(self) -> bool:
        """Whether light stands on dark."""
        return sum(Color.parse(self.ground).get_truecolor()) < 3 * 128

    @property
    def styles(self) -> dict[str, Style]:
        """Every role."""
        found = dict(ANSI)
        for role, colour in self.colours.items():
            if role == "cursor":
                found[role] = Style(color=self.ink, bgcolor=colour, bold=True)
            else:
                found[role] = Style(color=colour, bold=ANSI[role].bold)
        found["dead"] = Style(color=self.colours["fail"], bold=True, reverse=True)
        return found


def _theme(name: str, ground: str, ink: str, *colours: str) -> Theme:
    return Theme(name, ground, ink, MappingProxyType(dict(zip(COLOURED, colours, strict=True))))


THEMES: Mapping[str, Theme] = MappingProxyType(
    {
        theme.name: theme
        for theme in (
            _theme("dark", "#121212", "#E0E0E0", "#999999", "#6FC3F0", "#E6B800", "#D55E00", "#C77DFF", "#2F4254"),
            _theme("light", "#FAFAFA", "#1A1A1A", "#666666", "#1B6FBF", "#8A6D00", "#8B0000", "#A0308A", "#CFE0F2"),
            _theme("contrast", "#000000", "#FFFFFF", "#A8A8A8", "#5CD6FF", "#FFD700", "#FF7A45", "#B266FF", "#003C8F"),
        )
    }
)
"""Those that come with the desk, beside `DEFAULT`."""

_styles: dict[str, Style] = dict(ANSI)
"""Those in effect: a process has one terminal, and that one theme."""


def use(theme: Theme | None) -> None:
    """Let this be the theme from here on; None is `DEFAULT`."""
    _styles.clear()
    _styles.update(ANSI if theme is None else theme.styles)


def base(found: Style) -> Style:
    """A widget's own style; the terminal's default colours are nothing at all, which saves their bytes."""
    plain = (found.color is None or found.color.is_default) and (found.bgcolor is None or found.bgcolor.is_default)
    return ANSI[""] if plain else found


def style(role: str) -> Style:
    """Raises: KeyError: no such role."""
    return _styles[role]


# --- a user's own -----------------------------------------------------------------------------------------------------


def names(directory: Path | None) -> list[str]:
    """Every theme that there is, with the user's own."""
    files = sorted(directory.glob("themes/*.toml")) if directory is not None else []
    return list(dict.fromkeys([DEFAULT, *THEMES, *(file.stem for file in files)]))


def find(name: str, directory: Path | None) -> Theme | None:
    """A theme by its name, a user's own first; None is `DEFAULT`. Raises: ValueError: there is none, or it is wrong."""
    known = names(directory)
    if name not in known:
        raise ValueError(f"no theme {name or 'without a name'}: there are {', '.join(known)}")
    file = directory / "themes" / f"{name}.toml" if directory is not None else None
    if file is not None and file.is_file():
        return _read(file)
    return THEMES.get(name)


def _read(file: Path) -> Theme:
    try:
        given = tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f'{file.name}: expected lines like run = "#6FC3F0", found {error}') from None
    below = given.pop("base", "dark")
    if below not in THEMES:
        raise ValueError(f"{file.name}: base: expected one of {', '.join(THEMES)}, found {below!r}")
    theme = THEMES[below]
    roles = ("ground", "ink", *COLOURED)
    for role, colour in given.items():
        if role not in roles:
            raise ValueError(f"{file.name}: {role}: expected one of {', '.join(roles)}{nearest(role, roles)}")
        _check(file, role, colour)
    own = {role: given[role] for role in COLOURED if role in given}
    ground, ink = given.get("ground", theme.ground), given.get("ink", theme.ink)
    return Theme(file.stem, ground, ink, MappingProxyType({**theme.colours, **own}))


def _check(file: Path, role: str, colour: object) -> None:
    try:
        if isinstance(colour, str) and colour.startswith("#"):
            Color.parse(colour)
            return
    except ColorParseError:
        pass  # said below, in our words
    raise ValueError(f'{file.name}: {role}: expected a colour like "#6FC3F0", found {colour!r}')
