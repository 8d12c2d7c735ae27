"""The file that the nats-server writes to, and the part of it that explains an end."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

LIMIT = 8 * 2**20
"""Bytes after which the file is put aside at the next start; one older file is kept."""


class ServerLog:
    """`server.log`, appended to by one child after another."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begin = 0

    def begin(self) -> None:
        """A child is about to start: what is there already is not its."""
        if self._size() > LIMIT:
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        self._begin = self._size()

    def tail(self, *, without: Iterable[str]) -> str:
        """The last lines of this child, with the secrets in `without` starred out."""
        try:
            with open(self.path, "rb") as file:
                file.seek(max(self._begin, self._size() - 4096))
                lines = file.read().decode(errors="replace").strip().splitlines()
        except OSError as error:
            return f"{self.path}: {error.strerror}"
        return redacted("\n".join(lines[-15:]), without) or "it wrote nothing"

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0


def redacted(text: str, secrets: Iterable[str]) -> str:
    """`text` with each of the secrets starred out."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text
