"""The keys as a user wants them: `keys.toml` against the table, and the table in effect as text.

    pause = "P"
    follow = ["f", "ctrl+t"]

A row is the id of an action (`keys.ACTIONS`) and its key, or its keys. What cannot be is left as it was and said.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from holdfast.decoding import nearest
from holdfast_tui import keys
from holdfast_tui.keys import ACTIONS, Action

FILE = "keys.toml"

NAMED = frozenset(
    (
        *("space", "tab", "enter", "escape", "up", "down", "left", "right", "home", "end", "pageup", "pagedown"),
        *("insert", "delete", "backspace"),
        *(f"f{number}" for number in range(1, 13)),
    )
)
"""Keys that have a name."""

LOST = frozenset({"ctrl+h", "ctrl+i", "ctrl+j", "ctrl+m"})
"""Terminals send these as backspace, tab and enter."""


class Mapped(NamedTuple):
    """A table of keys, and what of the wishes for it could not be."""

    actions: tuple[Action, ...] = ACTIONS
    wrong: tuple[str, ...] = ()
    """One line each: which row, what was expected, what was found."""


def load(directory: Path | None) -> Mapped:
    """The table with the user's `keys.toml` applied; without one as it is."""
    if directory is None:
        return Mapped()
    file = directory / FILE
    try:
        given = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return Mapped()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return Mapped(wrong=(f'{FILE}: expected lines like pause = "P", found {error}',))
    return remapped(given)


def remapped(given: Mapping[str, object]) -> Mapped:
    """The table with these rows; a row that is wrong, or that clashes on a screen, leaves its action as it was."""
    wishes: dict[str, tuple[str, ...]] = {}
    wrong: list[str] = []
    for id, value in given.items():
        try:
            wishes[id] = _wish(id, value)
        except ValueError as error:
            wrong.append(f"{FILE}: {id}: {error}")
    while clash := _clash(_applied(wishes), wishes):
        blamed, owner = (clash.other, clash.one) if clash.other in wishes else (clash.one, clash.other)
        wrong.append(
            f"{FILE}: {blamed}: expected a key that is free on {clash.screen}, found {clash.key!r}: that is {owner}"
        )
        del wishes[blamed]
    return Mapped(_applied(wishes), tuple(wrong))


class _Clash(NamedTuple):
    key: str
    one: str
    other: str
    screen: str


def _wish(id: str, value: object) -> tuple[str, ...]:
    """Raises: ValueError: there is no such action, or no such key for it."""
    action = keys.BY_ID.get(id)
    if action is None:
        raise ValueError(f"expected an action's id{nearest(id, keys.BY_ID) or '; holdfast tui --keys lists them'}")
    wished = [value] if isinstance(value, str) else value
    if not isinstance(wished, list) or not wished or not all(isinstance(key, str) for key in wished):
        raise ValueError(f'expected a key such as "x" or several such as ["x", "ctrl+x"], found {value!r}')
    for key in wished:
        _check(action, key)
    return tuple(wished)


def _check(action: Action, key: str) -> None:
    plain = len(key) == 1 and key.isprintable() and key != " "
    control = key.startswith("ctrl+") and len(key) == 6 and key[5].isascii() and key[5].islower()
    if key in LOST or not (plain or control or key in NAMED):
        raise ValueError(f"expected a character, ctrl+ and a letter (not h i j m), or a name, found {key!r}")
    capital = len(key) == 1 and key.isupper()
    if action.changes and not capital:
        raise ValueError(f"it changes something: expected a capital letter, found {key!r}")
    if capital and not action.changes and not action.moves:
        raise ValueError(f"it changes nothing: expected anything but a capital letter, found {key!r}")


def _applied(wishes: Mapping[str, tuple[str, ...]]) -> tuple[Action, ...]:
    return tuple(done for group in _groups(ACTIONS) for done in _group(group, wishes))


def _groups(actions: Sequence[Action]) -> Iterator[list[Action]]:
    """Actions with those that are said with them."""
    group: list[Action] = []
    for action in actions:
        if action.label and group:
            yield group
            group = []
        group.append(action)
    if group:
        yield group


def _group(group: Sequence[Action], wishes: Mapping[str, tuple[str, ...]]) -> Iterator[Action]:
    found = [
        msgspec.structs.replace(action, keys=wishes[action.id], remapped=True) if action.id in wishes else action
        for action in group
    ]
    if any(action.remapped for action in found):
        written = " ".join(action.keys[0] for action in found)
        found[0] = msgspec.structs.replace(found[0], show=written, remapped=True)
    yield from found


def _clash(actions: Sequence[Action], wishes: Mapping[str, tuple[str, ...]]) -> _Clash | None:
    """A key that would do two things on a screen; the first that somebody wished for."""
    for screen in keys.SCREENS:
        taken: dict[str, str] = {}
        for action in keys.on(screen, actions):
            for key in action.keys:
                other = taken.setdefault(key, action.id)
                if other != action.id and (other in wishes or action.id in wishes):
                    return _Clash(key, other, action.id, screen)
    return None


# --- the table as text ------------------------------------------------------------------------------------------------


def table(actions: Sequence[Action]) -> str:
    """One line an action: id, keys, what it does, where."""
    rows = [("ID", "KEYS", "DOES", "ON")]
    rows += [(action.id, " ".join(action.keys), told(action, actions), _where(action)) for action in actions]
    sizes = [max(len(row[at]) for row in rows) for at in range(3)]
    lines = ("  ".join((*map(str.ljust, row, sizes), row[3])).rstrip() for row in rows)
    return "\n".join(lines) + "\n"


def page(actions: Sequence[Action]) -> str:
    """The table in Markdown, for docs/keys.md."""
    head = (
        "# Keys of the desk\n\n"
        "`holdfast tui --keys` prints this table as it is in effect. To change a row, write its id and a key, or\n"
        "several, into `keys.toml` in `$XDG_CONFIG_HOME/holdfast` (`~/.config/holdfast`):\n\n"
        '```toml\nfollow = ["f", "ctrl+t"]\npause = "H"\n```\n\n'
        "What changes something has a capital letter and asks first; what does not has none, but moves of the cursor\n"
        "may. A row that is wrong or clashes is left as it was, and said when the desk starts.\n\n"
        "| id | keys | does | on | asks |\n|---|---|---|---|---|\n"
    )
    return head + "".join(
        f"| {action.id} | {_quoted(action.keys)} | {told(action, actions)} | {_where(action)} | {_asks(action)} |\n"
        for action in actions
    )


def told(action: Action, actions: Sequence[Action]) -> str:
    """What an action does; where it is said with the one before it, its id."""
    group = next(group for group in _groups(actions) if action in group)
    return action.label if len(group) == 1 else action.id.replace("_", " ")


def _where(action: Action) -> str:
    return "all" if set(action.on) >= set(keys.SCREENS) else ", ".join(action.on)


def _quoted(names: Sequence[str]) -> str:
    return " ".join("`\\|`" if name == "|" else f"`{name}`" for name in names)


def _asks(action: Action) -> str:
    return "" if not action.changes else action.confirm.value
