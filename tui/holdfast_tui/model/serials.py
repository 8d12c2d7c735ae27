"""Ascending numbers as the keys of a window: found by halving, and never copied for a paint."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import overload


class Serials(Sequence[int]):
    """The first `size` of a list of ascending numbers that may grow at its end meanwhile."""

    def __init__(self, numbers: Sequence[int], size: int) -> None:
        self._numbers, self._size = numbers, size

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[int]: ...
    def __getitem__(self, index: int | slice) -> int | Sequence[int]:
        if isinstance(index, slice):
            return [self._numbers[at] for at in range(*index.indices(self._size))]
        if not -self._size <= index < self._size:
            raise IndexError(index)
        return self._numbers[index % self._size]

    def find(self, number: int) -> int | None:
        """Where a number is; None: it is not there."""
        at = bisect_left(self._numbers, number, 0, self._size)
        return at if at < self._size and self._numbers[at] == number else None

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and self.find(number) is not None
