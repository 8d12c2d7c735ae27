"""Cuts what is to be sent into what one message holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def portions(items: Iterable[T], size: Callable[[T], int], *, most: int, most_bytes: int) -> Iterator[list[T]]:
    """Items in order, in portions of at most so many, and of at most so many bytes where one alone is not larger."""
    some: list[T] = []
    total = 0
    for item in items:
        length = size(item)
        if some and (len(some) == most or total + length > most_bytes):
            yield some
            some, total = [], 0
        some.append(item)
        total += length
    if some:
        yield some
