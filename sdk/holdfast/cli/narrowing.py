"""What `--filter` and the other options of a list ask for together."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from holdfast.cli.app import Usage
from holdfast.core.model import Instant
from holdfast.filters import Filter, Grammar, read

Q = TypeVar("Q", bound=msgspec.Struct)


def narrowed(filter: str, grammar: Grammar, ask: Callable[[Filter, Instant], Q], options: Mapping[str, Any]) -> Q:
    """A question of both.

    Args:
        ask: makes the question of a filter.
        options: by the field of the question that they fill; one that is false was not given.

    Raises:
        Usage: the filter can't be read, or both say the same.
    """
    found = read(filter, grammar)
    if wrong := found.wrong or found.half:
        raise Usage(f'--filter: {wrong}, at "{filter[found.at :]}"')
    query = ask(found, time.time())
    for name, value in options.items():
        if value and getattr(query, name):
            raise Usage(f"--filter: expected {name} either there or as an option, found both")
    return msgspec.structs.replace(query, **{name: value for name, value in options.items() if value})
