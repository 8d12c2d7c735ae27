"""The last lines of output, apart from any view of them: following appends, freezing only stops looking."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.wire.api import LogRow

SIZE = 50_000


class Ring:
    """Log lines by serial number; the oldest are dropped in blocks, so that a number stays what it was."""

    def __init__(self, size: int = SIZE) -> None:
        self.size = size
        self.dropped = 0
        """Serial number of the first line that is kept."""
        self._rows: list[LogRow] = []
        self._filter = ""
        self._matches: list[int] = []

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, serial: object) -> bool:
        return isinstance(serial, int) and 0 <= serial - self.dropped < len(self._rows)

    def __getitem__(self, serial: int) -> LogRow:
        """Raises: KeyError: it was dropped, or has not come yet."""
        if serial not in self:
            raise KeyError(serial)
        return self._rows[serial - self.dropped]

    def append(self, row: LogRow) -> None:
        if self._filter and self._match(row):
            self._matches.append(self.dropped + len(self._rows))
        self._rows.append(row)
        if len(self._rows) >= self.size + self.size // 10:
            excess = len(self._rows) - self.size
            del self._rows[:excess]
            self.dropped += excess
            self._matches = [serial for serial in self._matches if serial >= self.dropped]

    def narrow(self, text: str) -> None:
        """Keep to lines that have every word of the text in them, in any case; empty: all."""
        self._filter = text.lower()
        self._matches = [self.dropped + at for at, row in enumerate(self._rows) if self._match(row)]

    def keys(self) -> Sequence[int]:
        """Serial numbers of the lines that match, oldest first."""
        if self._filter:
            return self._matches.copy()
        return range(self.dropped, self.dropped + len(self._rows))

    def _match(self, row: LogRow) -> bool:
        text = f"{row.line.text} {row.run} {row.task} {row.line.key}".lower()
        return all(word in text for word in self._filter.split())
