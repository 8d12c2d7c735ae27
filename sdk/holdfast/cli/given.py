"""What users type on the command line, read: payloads, durations, rates. What can't be read is wrong usage."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from holdfast.cli.app import Usage
from holdfast.quantities import duration, pace


def seconds(value: str | float) -> float:
    """A duration like `90s`, `15m`, `2h`, `7d`; a bare number, such as an option's default, is seconds."""
    if not isinstance(value, str):
        return value
    try:
        return duration(float(value) if _is_number(value) else value)
    except ValueError:
        raise typer.BadParameter(f'expected a duration like 90s, 15m, 2h or 7d, found "{value}"') from None


def rate(value: str) -> float:
    """Per second, of `10/s`, `600/m`, `10`."""
    try:
        return pace(value)
    except ValueError:
        raise typer.BadParameter(f'expected a rate above 0 like 10/s or 600/m, found "{value}"') from None


Since = Annotated[float | None, typer.Option("--since", parser=seconds, metavar="AGE", help="Not older, e.g. 15m, 2h.")]


def since(age: float | None) -> float | None:
    """The instant that `--since` means."""
    return None if age is None else time.time() - age


def json_of(source: str, what: str) -> Any:
    """The JSON that is given as itself, as `@file` or as `-` for stdin.

    Raises:
        Usage: it is none, or the file can't be read.
    """
    data, where = _read(source, what)
    try:
        return json.loads(data, parse_constant=_constant)
    except RecursionError:
        raise Usage(f"{what}: expected JSON{where}, found JSON that is nested too deep to be read") from None
    except ValueError as error:  # bytes that are no UTF-8 too
        found = data[:40].decode(errors="replace") or "nothing"
        raise Usage(f"{what}: expected JSON{where}, found {found!r}: {error}") from None


def payload_of(source: str, what: str = "payload") -> dict[str, Any]:
    """A payload: an object of arguments by name. Raises: Usage."""
    return object_of(source, what, "arguments by name")


def object_of(source: str, what: str, of: str) -> dict[str, Any]:
    """A JSON object. Raises: Usage."""
    value = json_of(source, what)
    if not isinstance(value, dict):
        raise Usage(f'{what}: expected an object of {of} like {{"order_id": 1}}, found {_kind(value)}')
    return value


def _read(source: str, what: str) -> tuple[bytes, str]:
    if source == "-":
        return sys.stdin.buffer.read(), " on stdin"
    if not source.startswith("@"):
        return source.encode(errors="surrogateescape"), ", @file or -"
    try:
        return Path(source[1:]).expanduser().read_bytes(), f" in {source[1:]}"
    except OSError as error:
        raise Usage(f"{what}: expected a readable file {source[1:]}, found: {error.strerror}") from None


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _is_number(value: str) -> bool:
    return bool(re.fullmatch(r"\s*\d+(\.\d+)?\s*", value))


def _kind(value: object) -> str:
    names = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
