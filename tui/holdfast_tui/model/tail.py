"""Which lines of a feed are new: each message of the log stream once, in order, whatever the feed loses and repeats.

A message is known by its sequence. One that was taken already is a repetition, unless it says something else: a server
that crashed may have lost its last lines and given their sequences to new ones. In a feed of the whole stream a
sequence that is left out is a gap, and nothing behind it is taken before the gap is closed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from holdfast.wire.api import LogRow

REMEMBERED = 5_000
"""Messages of which it is known what they said."""


class Gap(NamedTuple):
    """What is missing of a feed."""

    after: int
    """The last sequence that was taken."""
    before: int
    """The one that came next."""


class Taken(NamedTuple):
    """What became of some lines of a feed."""

    rows: list[LogRow]
    """Those that are new, in order."""
    gap: Gap | None = None
    """Where it stopped."""


class Tail:
    """How far a feed was taken."""

    def __init__(self, last: int, *, whole: bool) -> None:
        """
        Args:
            last: the sequence up to which everything is known.
            whole: whether the feed has every message of the stream.
        """
        self.last = last
        self.repeated = 0
        """Messages that came again."""
        self.rewound = 0
        """How often the stream lost its end."""
        self._whole = whole
        self._known: OrderedDict[int, tuple[LogRow, ...]] = OrderedDict()
        self._excused: Gap | None = None

    def seen(self, rows: Sequence[LogRow]) -> None:
        """These were read of the history, up to the newest; what the feed has of them too is a repetition."""
        for seq, message in _messages(rows):
            self.last = max(self.last, seq)
            self._remember(seq, message)

    def take(self, rows: Sequence[LogRow]) -> Taken:
        """Take in what a feed brings."""
        new: list[LogRow] = []
        for seq, message in _messages(rows):
            if seq <= self.last and not self._other(seq, message):
                self.repeated += 1
                continue
            if seq <= self.last:
                self._rewind(seq)
            gap = Gap(self.last, seq)
            if self._whole and seq > self.last + 1 and gap != self._excused:
                return Taken(new, gap)
            new += message
            self.last = seq
            self._remember(seq, message)
        return Taken(new)

    def excuse(self, gap: Gap) -> None:
        """What is missing there is not to be had: go on behind it."""
        self._excused = gap

    def _other(self, seq: int, message: tuple[LogRow, ...]) -> bool:
        """Whether something else was taken under this sequence."""
        known = self._known.get(seq)
        return known is not None and known[-1] != message[-1]

    def _rewind(self, seq: int) -> None:
        self.rewound += 1
        self.last = seq - 1
        for later in [known for known in self._known if known >= seq]:
            del self._known[later]

    def _remember(self, seq: int, message: tuple[LogRow, ...]) -> None:
        self._known[seq] = message
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


def _messages(rows: Sequence[LogRow]) -> Iterator[tuple[int, tuple[LogRow, ...]]]:
    for seq, lines in groupby(rows, key=lambda row: row.seq):
        yield seq, tuple(lines)
