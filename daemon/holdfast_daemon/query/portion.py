"""How much goes into one reply."""

from __future__ import annotations

from typing import TypeVar

from holdfast.wire import codec

REPLY_MOST = 900_000
"""Bytes of a reply: a message of NATS holds 1 MiB."""

_T = TypeVar("_T")


def fitting(rows: list[_T], most: int = REPLY_MOST) -> list[_T]:
    """The first of these rows, as many as fit into a reply; always one."""
    size = 0
    for count, row in enumerate(rows):
        size += len(codec.encode(row))
        if size > most and count:
            return rows[:count]
    return rows
