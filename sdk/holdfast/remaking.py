"""New runs made from old ones: replays from the start, and forks from a checkpoint on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from holdfast.bus.blobs import Blobs
from holdfast.bus.journal import Journal
from holdfast.bus.ports import MAX_PAYLOAD
from holdfast.core import forking
from holdfast.core.entries import Batch, ChildEnded
from holdfast.core.forking import Fork
from holdfast.core.lifecycle import Record, fold
from holdfast.core.model import ErrorInfo
from holdfast.errors import EditError, TooLarge, UnknownRun
from holdfast.handle import child_failure
from holdfast.quantities import readable_size
from holdfast.wire import codec
from holdfast.wire.edits import replaced
from holdfast.wire.values import encode_exception, encode_value

MOST = MAX_PAYLOAD - 4096
"""Bytes that the first message of a fork may take; what is left is for its subject and headers."""


async def replay(journal: Journal, origin: str, run: str) -> int:
    """Create a run like another one, from the start; its first sequence. Raises: UnknownRun."""
    records = await _records(journal, origin)
    return await journal.create(forking.replay(records, run=run, at=journal.clock()))


async def fork(
    journal: Journal,
    blobs: Blobs,
    origin: str,
    key: str,
    run: str,
    edits: Mapping[str, Any],
    *,
    behind: bool = False,
) -> int:
    """Create a run that begins with another one's outcomes before a checkpoint; its first sequence.

    Args:
        behind: it begins with the checkpoint's own outcome too; where none can be kept, an edit gives one.

    Raises:
        UnknownRun: there is no such run.
        UnknownKey: it has no such checkpoint.
        EditError: an edit is about something else than what the fork keeps, or does not fit.
        TooLarge: what it would begin with is too much for one message.
    """
    records = await _records(journal, origin)
    made = forking.fork(records, key, run=run, at=journal.clock(), child_error=_child_error, behind=behind)
    if behind and key not in edits and not forking.has_outcome(records, key):
        raise EditError(
            f"{key}: expected a recorded outcome to go on behind, found none that was kept: give it a result"
        )
    for text, value in edits.items():
        made = await _edited(blobs, made, text, value)
    _check_size(made, origin, key)
    return await journal.begin(made.created, made.inherited)


async def _records(journal: Journal, run: str) -> Sequence[Record]:
    records = [record for _, record in await journal.messages(run)]
    if fold(records) is None:
        raise UnknownRun(f"no run {run} in project {journal.bus.subjects.project}: see `holdfast runs list`")
    return records


async def _edited(blobs: Blobs, made: Fork, text: str, value: Any) -> Fork:
    key, path = forking.target(text, made)
    before = next(one for one in made.inherited if one.key == key)
    if before.error is not None and path:
        raise EditError(f"{text}: expected a recorded result, found an exception: set the whole of {key}")
    if before.error is not None or before.value is None:
        data = encode_value(value)
    else:
        data = replaced(await blobs.full(before.value), path, value, text)
    return forking.edited(made, key, await blobs.keep(data))


def _check_size(made: Fork, origin: str, key: str) -> None:
    size = len(codec.encode(Batch("", (made.created, *made.inherited))))
    if size > MOST:
        raise TooLarge(
            f"the outcomes of run {origin} before {key} take {readable_size(size)}: a fork begins with one message of "
            f"at most {readable_size(MOST)}; fork from an earlier checkpoint, or replay the run"
        )


def _child_error(ended: ChildEnded) -> ErrorInfo:
    """The child's error, with the exception that is raised where the child is awaited."""
    assert ended.error is not None
    return replace(ended.error, value=encode_exception(child_failure(ended)))
