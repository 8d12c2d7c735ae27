"""What the desk keeps of its user from one session to the next: the commands given, and what was explained once."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

KEPT = 200
"""How many commands are kept."""
HISTORY, EXPLAINED, THEME = "history", "explained", "theme"
"""The files: a command, or the name of what was explained, on each line; the name of the theme."""


class Memory:
    """Kept in a directory, for the user alone; without one, or where it can't be written, for this session."""

    def __init__(self, directory: Path | None = None, *, explained: Iterable[str] = ()) -> None:
        self.wrong = ""
        """Why nothing is kept, if so."""
        self._directory = directory
        self.commands: list[str] = self._read(HISTORY)[-KEPT:]
        """Oldest first."""
        self.theme = next(iter(self._read(THEME)), "")
        """The theme chosen last; empty: none was."""
        self._explained = {*explained, *self._read(EXPLAINED)}

    def given(self, command: str) -> None:
        """Keep a command; one that is given again moves to the end."""
        command = " ".join(command.split())
        self.commands = [*(each for each in self.commands if each != command), command][-KEPT:]
        others = [each for each in self._read(HISTORY) if each != command]  # those of another desk, too
        self._write(HISTORY, [*others, command][-KEPT:])

    def chosen(self, theme: str) -> None:
        """Keep the theme."""
        self.theme = theme
        self._write(THEME, [theme])

    def once(self, lesson: str) -> bool:
        """Whether this is the first time ever that a lesson is due."""
        if lesson in self._explained:
            return False
        self._explained.add(lesson)
        self._write(EXPLAINED, sorted({*self._explained, *self._read(EXPLAINED)}))
        return True

    def _read(self, name: str) -> list[str]:
        if self._directory is None:
            return []
        try:
            return [line for line in (self._directory / name).read_text("utf-8").splitlines() if line.strip()]
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            self.wrong = f"{self._directory / name}: {error}"
            return []

    def _write(self, name: str, lines: Sequence[str]) -> None:
        """As a whole or not at all: another desk may read it meanwhile."""
        if self._directory is None or self.wrong:
            return
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, path = tempfile.mkstemp(dir=self._directory, prefix=f".{name}-")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)
            os.replace(path, self._directory / name)
        except OSError as error:
            self.wrong = f"{self._directory}: {error}"
