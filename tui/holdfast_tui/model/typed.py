"""JSON that an operator types: read strictly, and what is wrong with it said with line and column."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn


class NotJson(ValueError):
    """What was typed is no JSON; lines and columns count from 1, 0: nowhere in particular."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        where = f"line {line}, column {column}: " if line else ""
        super().__init__(where + message)
        self.line, self.column = line, column


def read_json(text: str) -> Any:
    """The value. Raises: NotJson: it is none, or one that can't be kept as it is: a key twice, NaN, Infinity."""
    if not text.strip():
        raise NotJson("expected JSON, found nothing: null is a value")
    try:
        return json.loads(text, parse_constant=_constant, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        found = text[error.pos : error.pos + 1].strip()
        behind = f", found {found!r}" if found else ", found the end of the line" if error.pos < len(text) else ""
        raise NotJson(_told(error.msg) + behind, error.lineno, error.colno) from None
    except RecursionError:
        raise NotJson("expected JSON of at most some hundred levels, found deeper ones") from None


def _told(message: str) -> str:
    """What Python's reader says, in the words of the other errors."""
    return message.replace("Expecting", "expected").replace("Extra data", "expected the end behind the first value")


def _constant(name: str) -> NoReturn:
    raise NotJson(f"expected JSON, found {name}: it has no such number")


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise NotJson(f"expected each key once in an object, found {twice!r} twice")
    return found
