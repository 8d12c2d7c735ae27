"""Saved views: a screen with its filter, order and columns under a name, in a TOML file of the user's.

The file may be edited by hand, and several desks may use it: every change reads it again and puts a whole new file in
its place. A file that can't be read is reported and left as it is.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

import msgspec

NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")


class View(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a list showed."""

    screen: str
    filter: str = ""
    sort: str = ""
    """As `Sort.text`."""
    columns: str = ""
    """As `Layout.text`."""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    views: dict[str, View] = {}


class Views:
    """The views of a user."""

    def __init__(self, file: Path | None) -> None:
        self._file = file

    @property
    def file(self) -> Path:
        """Raises: ValueError: there is none."""
        if self._file is None:
            raise ValueError("views are kept nowhere: the user has no home directory (HOME)")
        return self._file

    def all(self) -> dict[str, View]:
        """By name. Raises: ValueError: the file can't be read, with what is wrong in it."""
        try:
            data = self.file.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise ValueError(f"{self.file} can't be read: {error.strerror}") from None
        try:
            return dict(sorted(msgspec.toml.decode(data, type=_File).views.items()))
        except (msgspec.MsgspecError, ValueError) as error:
            raise ValueError(f"{self.file} is broken, mend it or move it away: {error}") from None

    def get(self, name: str) -> View:
        """Raises: ValueError: there is none, or the file can't be read."""
        views = self.all()
        if name not in views:
            known = ", ".join(views) or "none: :save NAME makes one"
            raise ValueError(f"no view {name or 'without a name'}: there are {known}")
        return views[name]

    def save(self, name: str, view: View) -> None:
        """Keep a view, in place of one of that name. Raises: ValueError: the name or the file is wrong."""
        if not NAME.fullmatch(name):
            raise ValueError(f"expected a name of letters, digits, - and _, found {name or 'nothing'}")
        self._write({**self.all(), name: view})

    def forget(self, name: str) -> None:
        """Raises: ValueError: there is none, or the file is wrong."""
        self.get(name)
        self._write({known: view for known, view in self.all().items() if known != name})

    def _write(self, views: Mapping[str, View]) -> None:
        """Raises: ValueError: it can't be written."""
        new = self.file.with_name(f".{self.file.name}.{secrets.token_hex(4)}")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            try:
                with new.open("x", encoding="utf-8") as file:
                    file.write(_toml(views))
                    file.flush()
                    os.fsync(file.fileno())
                new.replace(self.file)
            finally:
                new.unlink(missing_ok=True)
        except OSError as error:
            raise ValueError(f"{self.file} can't be written: {error.strerror}") from None


def _toml(views: Mapping[str, View]) -> str:
    lines = ["# Views of `holdfast tui`: :save NAME, :view NAME, :views, :forget NAME."]
    for name, view in sorted(views.items()):
        lines += ["", f"[views.{name}]"]
        values = ((field, getattr(view, field)) for field in view.__struct_fields__)
        lines += [f"{field} = {_quoted(value)}" for field, value in values if value]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A basic string of TOML: control characters, quotes and backslashes are escaped."""
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if ord(char) < 0x20 or ord(char) == 0x7F:
        return f"\\u{ord(char):04x}"
    return "\ufffd" if "\ud800" <= char <= "\udfff" else char  # half a character is none
