"""A user's own themes: `themes/NAME.toml` in the directory of their configuration.

    ground = "#121212"      # what all stands on; the terminal's own without it
    ink = "#F2F2F2"         # what has no role
    cursor = "#27405C"      # what the cursor's row stands on; else it is reversed

    [roles]                 # #rrggbb, or a name of the terminal's palette such as "bright_cyan"
    dim = "#929292"
    run = "#6FC3F0"
    warn = "#E6D200"
    fail = "#E06A10"
    dead = "#E06A10"
    mark = "#C77DFF"

A role that is not named has the colour of the theme `ansi`. Weights stay as they are: no theme takes a sign away.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.color import ANSI_COLOR_NAMES

from holdfast.decoding import nearest
from holdfast.errors import ConfigError
from holdfast_tui.theme import ANSI_THEME, ROLES, THEMES, Theme

PAINTED = tuple(role for role, known in ROLES.items() if known.paints)
"""Roles that a theme gives a colour."""

_EXACT = re.compile(r"#[0-9A-Fa-f]{6}\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\Z")


def names(directory: Path | None) -> list[str]:
    """The themes there are: those that come with the desk, then the user's own."""
    own = sorted(file.stem for file in (directory / "themes").glob("*.toml")) if directory is not None else []
    return [*THEMES, *(name for name in own if name not in THEMES and _NAME.match(name))]


def find(name: str, directory: Path | None) -> Theme:
    """A theme by its name; one of the user's own goes before one of the desk's.

    Args:
        directory: of the user's configuration, if they have one.

    Raises:
        ConfigError: there is none, or it is wrong.
    """
    known = names(directory)
    file = directory / "themes" / f"{name}.toml" if directory is not None and _NAME.match(name) else None
    if file is not None and file.is_file():
        return _read(name, file)
    if name in THEMES:
        return THEMES[name]
    raise ConfigError(f"theme: expected one of {', '.join(known)}, found {name!r}{nearest(name, known)}")


def _read(name: str, file: Path) -> Theme:
    try:
        tree = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: expected a readable file, found: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: expected TOML, found: {error}") from None
    _known(file, "", tree, ("ground", "ink", "cursor", "roles"))
    roles = tree.get("roles", {})
    if not isinstance(roles, dict):
        raise ConfigError(f"{file}: roles: expected a table, found {roles!r}")
    _known(file, "roles.", roles, PAINTED)
    colours = {role: _colour(file, f"roles.{role}", value) for role, value in roles.items()}
    ground, ink, cursor = (_optional(file, key, tree) for key in ("ground", "ink", "cursor"))
    if bool(ground) != bool(ink):
        raise ConfigError(f"{file}: expected ground and ink together, found one: either may be unreadable on the other")
    return Theme(name, {**ANSI_THEME.colours, **colours}, ground, ink, cursor)


def _known(file: Path, prefix: str, table: dict[str, Any], keys: Iterable[str]) -> None:
    for key in table:
        if key not in keys:
            raise ConfigError(f"{file}: {prefix}{key}: expected one of {', '.join(keys)}{nearest(key, list(keys))}")


def _optional(file: Path, key: str, tree: dict[str, Any]) -> str:
    """A colour of its own, exact: it must be known what stands on it."""
    value = tree.get(key, "")
    if value != "" and not (isinstance(value, str) and _EXACT.match(value)):
        raise ConfigError(f'{file}: {key}: expected a colour like "#121212", found {value!r}')
    return str(value)


def _colour(file: Path, key: str, value: object) -> str:
    if isinstance(value, str) and (_EXACT.match(value) or value in ANSI_COLOR_NAMES):
        return value
    raise ConfigError(f'{file}: {key}: expected a colour like "#6FC3F0" or "bright_cyan", found {value!r}')
