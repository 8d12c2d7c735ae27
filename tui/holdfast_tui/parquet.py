"""JSON lines made Parquet, by DuckDB; it is imported when that is asked for, as it takes long."""

from __future__ import annotations

import types
from collections.abc import Collection
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

_TYPES = {str: "VARCHAR", int: "BIGINT", float: "DOUBLE", bool: "BOOLEAN"}


def convert(source: Path, target: Path, row: type[msgspec.Struct], times: Collection[str]) -> None:
    """Make a Parquet file of JSON lines, with the types that the fields of `row` have.

    Args:
        times: fields that hold an instant.

    Raises: ValueError: it can't be made.
    """
    import duckdb

    columns = ", ".join(f"\"{field}\": '{kind}'" for field, kind in _schema(row, times).items())
    read = f"read_json({_text(source)}, format = 'newline_delimited', columns = {{{columns}}})"
    try:
        with duckdb.connect(":memory:") as database:
            database.execute("SET TimeZone = 'UTC'")
            database.execute(f"COPY (SELECT * FROM {read}) TO {_text(target)} (FORMAT parquet, COMPRESSION zstd)")
    except duckdb.Error as error:
        raise ValueError(f"it can't be made Parquet: {str(error).splitlines()[0]}") from None


def _text(path: Path) -> str:
    """A path as a text of SQL."""
    return "'" + str(path).replace("'", "''") + "'"


def _schema(row: type[msgspec.Struct], times: Collection[str]) -> dict[str, str]:
    hints = get_type_hints(row)
    return {field: "TIMESTAMPTZ" if field in times else _kind(hints[field]) for field in row.__struct_fields__}


def _kind(hint: Any) -> str:
    """The type in SQL: what has parts is JSON, but a list of texts."""
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [each for each in get_args(hint) if each is not type(None)]
        return _kind(kinds[0]) if len(kinds) == 1 else "JSON"
    if get_origin(hint) is tuple and get_args(hint) == (str, ...):
        return "VARCHAR[]"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "VARCHAR"
    return _TYPES.get(hint, "JSON")
