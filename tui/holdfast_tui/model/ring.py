"""The last lines of output, apart from any view of them: following appends, freezing only stops looking.

Lines have serial numbers, in the order of the stream and without holes: those that came are at and above `first`, older
ones that were read back for a view are below it. While the ring is held nothing that it has goes away, so a frozen view
stands still; what comes when it is full is counted and not kept (`cut`), and whoever goes back to the present reads
that anew.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from holdfast.wire.api import LogRow
from holdfast_tui.model.serials import Serials
from holdfast_tui.sieve import ALL, Sieve

SIZE = 50_000

Place: TypeAlias = tuple[int, int]
"""Of a line in the stream: the sequence of its message, and which line of it."""


def place(row: LogRow) -> Place:
    return row.seq, row.number


class Ring:
    """Log lines by serial number; the oldest are dropped in blocks, so that a number stays what it was."""

    def __init__(self, size: int = SIZE) -> None:
        self.size = size
        self.first = 0
        """Serial number of the first line that came and is kept."""
        self.held = False
        """Whether lines that are here must stay."""
        self.cut = False
        """Whether lines came that were not kept: the end here is not the present."""
        self.skipped = 0
        """How many of those the filter lets through."""
        self.total = 0
        """How many lines came, kept or not."""
        self.work = 0
        """How often a line was held against a filter."""
        self._rows: list[LogRow] = []
        self._older: list[LogRow] = []
        self._sieve = ALL
        self._around = False
        self._matches: list[int] = []
        """Serials of the lines that pass, where there is a filter. Appended to; otherwise another list takes its place,
        as keys that were given out look at this one."""

    def __len__(self) -> int:
        """How many lines are here."""
        return len(self._older) + len(self._rows)

    @property
    def dropped(self) -> int:
        """How many lines came and are not kept any more."""
        return max(0, self.total - len(self._rows))

    @property
    def begin(self) -> int:
        """Serial number of the oldest line that is here."""
        return self.first - len(self._older)

    @property
    def end(self) -> int:
        """Serial number behind the newest line that is here."""
        return self.first + len(self._rows)

    def __contains__(self, serial: object) -> bool:
        return isinstance(serial, int) and self.begin <= serial < self.end

    def __getitem__(self, serial: int) -> LogRow:
        """Raises: KeyError: it was dropped, or has not come yet."""
        if serial not in self:
            raise KeyError(serial)
        return self._rows[serial - self.first] if serial >= self.first else self._older[serial - self.begin]

    def oldest(self) -> Place | None:
        """Where the oldest line is in the stream; None: there is none."""
        return place(self[self.begin]) if len(self) else None

    # --- what comes ---------------------------------------------------------------------------------------------------

    def extend(self, rows: Iterable[LogRow]) -> None:
        """Take in lines as they come."""
        most = 2 * self.size if self.held else self.size + self.size // 10
        for row in rows:
            self.total += 1
            passes = self._passes(row)
            if self.cut or (self.held and len(self._rows) >= most):
                self.cut = True
                self.skipped += passes
                continue
            if passes and self._filtered:
                self._matches.append(self.end)
            self._rows.append(row)
            if len(self._rows) >= most and not self.held:
                self._trim()

    def _trim(self) -> None:
        excess = max(0, len(self._rows) - self.size)
        del self._rows[:excess]
        self.first += excess
        self._older = []
        self._matches = self._matches[bisect_left(self._matches, self.first) :]

    # --- what is read back --------------------------------------------------------------------------------------------

    def prepend(self, rows: Sequence[LogRow]) -> int:
        """Put lines before the oldest, in order; such as do not pass the filter, or are not older, are left out.

        Returns how many were put.
        """
        oldest = self.oldest()
        older = [row for row in rows if (oldest is None or place(row) < oldest) and self._passes(row)]
        begin = self.begin
        self._older = older + self._older
        if self._filtered:
            self._matches = [*range(begin - len(older), begin), *self._matches]
        return len(older)

    def begin_anew(self, rows: Iterable[LogRow]) -> None:
        """Have these lines, which are the newest, and no others. Numbers go on, so none is used twice."""
        self.first, self.cut, self.skipped = self.end, False, 0
        self._rows, self._older, self._matches = [], [], []
        total = self.total
        self.extend(rows)
        self.total = max(total, len(self._rows))

    # --- holding and filtering ----------------------------------------------------------------------------------------

    def hold(self, on: bool) -> None:
        """Keep all that is here, or let the oldest go again, first what was read back."""
        if self.held and not on:
            self._trim()
        self.held = on

    def narrow(self, sieve: Sieve, *, around: bool = False) -> None:
        """Keep to lines that pass.

        Args:
            around: whatever their text says: it is only looked for.
        """
        self._sieve, self._around, self._older = sieve, around, []
        passing = (serial for serial, row in enumerate(self._rows, self.first) if self._passes(row))
        self._matches = list(passing) if self._filtered else []

    @property
    def _filtered(self) -> bool:
        return self._sieve is not ALL

    def _passes(self, row: LogRow) -> bool:
        if not self._filtered:
            return True
        self.work += 1
        return self._sieve.passes(row, around=self._around)

    def keys(self, end: int | None = None) -> range | Serials:
        """Serial numbers of the lines that pass, oldest first.

        Args:
            end: only those below this one.
        """
        end = self.end if end is None else min(end, self.end)
        if not self._filtered:
            return range(self.begin, max(self.begin, end))
        return Serials(self._matches, bisect_left(self._matches, end))

    def behind(self, serial: int) -> int:
        """How many lines that pass have come from a serial number on."""
        kept = len(self._matches) - bisect_left(self._matches, serial) if self._filtered else self.end - serial
        return max(0, kept) + self.skipped
