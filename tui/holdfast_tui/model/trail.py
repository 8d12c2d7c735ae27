"""Where somebody has been, in order: `[` goes back along it, `]` forward again."""

from __future__ import annotations

from typing import Generic, TypeVar

P = TypeVar("P")

KEPT = 16


class Trail(Generic[P]):
    """Places, the last `KEPT` of them, and where on it somebody stands."""

    def __init__(self) -> None:
        self.places: list[P] = []
        self.at = -1

    def visit(self, place: P) -> None:
        """Somebody went to a place; what lay ahead is forgotten. To stay is no visit."""
        if self.places and self.places[self.at] == place:
            return
        self.places = [*self.places[: self.at + 1], place][-KEPT:]
        self.at = len(self.places) - 1

    def walk(self, by: int) -> P | None:
        """Go along the trail; None where it ends."""
        if not 0 <= self.at + by < len(self.places):
            return None
        self.at += by
        return self.places[self.at]
