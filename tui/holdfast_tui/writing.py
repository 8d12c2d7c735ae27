"""Rows written to a file that its name says the form of: `.csv`, `.jsonl` or `.parquet`.

All that match is written, page by page, into a file beside the one that is meant; that one takes its place when it is
whole. What is stopped or fails leaves what was there.
"""

from __future__ import annotations

import asyncio
import csv
import io
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from holdfast.core.model import ErrorInfo
from holdfast.wire.render import render
from holdfast_tui import parquet

FORMS = (".csv", ".jsonl", ".parquet")

TIMES = frozenset(
    {
        "at", "created_at", "started_at", "finished_at", "ended_at", "due", "next_at", "deadline", "expires", "since",
        "until", "first_at", "last_at", "oldest", "revoked_at", "time",
    }
)  # fmt: skip
"""The fields that hold an instant: ISO 8601 in UTC; the same as in the JSON of the command line."""


def target(name: str) -> Path:
    """The file that a name means. Raises: ValueError: nothing can be written there, or its form is unknown."""
    text = name.strip()
    path = Path(text).expanduser()
    if path.suffix not in FORMS or path.name in FORMS:
        raise ValueError(f"expected a file that ends in {', '.join(FORMS)}, found {text or 'nothing'}")
    if path.is_dir():
        raise ValueError(f"expected a file, found the directory {path}")
    if not path.parent.is_dir():
        raise ValueError(f"no directory {path.parent}: make it first")
    return path


async def write(
    path: Path, row: type[msgspec.Struct], pages: AsyncIterator[Sequence[msgspec.Struct]], told: Callable[[int], None]
) -> int:
    """Write rows to a file; returns how many.

    Args:
        row: what they are; its fields are the columns.
        told: hears how many are written so far, after each page.

    Raises: ValueError: it can't be written; and what `pages` raises.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    count = 0
    try:
        async for page in pages:
            await _in_thread(partial(_append, beside, path.suffix, row, page, count == 0))
            count += len(page)
            told(count)
        await _in_thread(partial(_finish, beside, path, row, count))
    except OSError as error:
        raise ValueError(f"{path} can't be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
    return count


async def _in_thread(work: Callable[[], None]) -> None:
    """Do what blocks; who cancels it waits until it is done, so that nothing is written behind their back."""
    doing = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        await asyncio.shield(doing)
    except asyncio.CancelledError:
        while not doing.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([doing])
        raise


def plain(value: Any, name: str = "") -> Any:
    """A value as JSON has it: instants (by the field's name) in ISO 8601, stored values as what they hold."""
    match value:
        case ErrorInfo():
            return {"type": value.type, "message": value.message, "traceback": value.traceback}
        case msgspec.Struct():
            return {field: plain(getattr(value, field), field) for field in value.__struct_fields__}
        case Enum():
            return value.value
        case bytes():
            return render(value) if value else None
        case dict():
            return {str(key): plain(item, str(key)) for key, item in value.items()}
        case tuple() | list() | set() | frozenset():
            return [plain(item) for item in value]
        case float() | int() if name in TIMES and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value


def _append(file: Path, form: str, row: type[msgspec.Struct], page: Sequence[msgspec.Struct], first: bool) -> None:
    """Append a page to the file beside the one that is meant; for Parquet it is JSON until it is whole."""
    rows = [plain(each) for each in page]
    if form == ".csv":
        text = _csv(row, rows, head=first)
    else:
        text = "".join(msgspec.json.encode(each).decode() + "\n" for each in rows)
    with file.open("a", encoding="utf-8", newline="") as out:
        out.write(text)


def _csv(row: type[msgspec.Struct], rows: Sequence[dict[str, Any]], *, head: bool) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    if head:
        writer.writerow(row.__struct_fields__)
    for each in rows:
        writer.writerow(_cell(each[field]) for field in row.__struct_fields__)
    return out.getvalue()


def _cell(value: Any) -> Any:
    """What has parts is JSON; nothing is empty."""
    if isinstance(value, (dict, list, bool)):
        return msgspec.json.encode(value).decode()
    return "" if value is None else value


def _finish(beside: Path, path: Path, row: type[msgspec.Struct], count: int) -> None:
    if count == 0:
        _append(beside, path.suffix, row, (), True)
    if path.suffix != ".parquet":
        beside.replace(path)
        return
    whole = beside.with_name(f"{beside.name}.parquet")
    try:
        parquet.convert(beside, whole, row, TIMES)
        whole.replace(path)
    finally:
        whole.unlink(missing_ok=True)
