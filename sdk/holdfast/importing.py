"""An exported history put into a project, to be looked at: a run that nothing happens to any more.

Its work items go to a queue that no worker is told of; no parent hears of its end and no hook follows it; a run that
had not ended is cancelled behind its last message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from holdfast.bus.blobs import Blobs
from holdfast.bus.journal import Journal
from holdfast.bus.ports import Publication
from holdfast.core.entries import (
    AttemptStarted,
    Awaited,
    Batch,
    Entry,
    Offered,
    RunCancelled,
    RunCreated,
    RunExpired,
    RunTimedOut,
)
from holdfast.core.lifecycle import Kind, Record, apply, fold, recreated
from holdfast.core.model import Instant, Origin, Run
from holdfast.errors import Fenced, HistoryError, HoldfastError, RunStateError
from holdfast.history import History
from holdfast.wire import codec
from holdfast.wire.subjects import Stream, Subjects

QUEUE = "imported"
"""The queue of imported runs: never announced, so no worker takes from it."""

UNFINISHED = "imported unfinished"
"""Why an imported run was cancelled that had not ended."""


class _Message(NamedTuple):
    kind: Kind
    writer: str
    entries: tuple[Entry, ...]


async def import_run(journal: Journal, history: History) -> Run:
    """Store a run's history under its own id; the run as it then stands.

    Raises:
        RunStateError: the project has a run of this id.
        HistoryError: the messages tell of no run that could be.
        HoldfastError: the server took only a part of it, which was removed again.
    """
    run, subjects = history.run, journal.bus.subjects
    messages = inert(history, journal.clock())
    if await journal.messages(run):
        raise _exists(run, subjects)
    blobs = Blobs(journal.bus)
    for value in history.values:
        await blobs.keep(value)
    first, *others = [Publication(_subject(message, run, subjects), _data(message)) for message in messages]
    try:
        await journal.bus.publish(first.subject, first.data, expect=0)
    except Fenced:
        raise _exists(run, subjects) from None
    refused = [outcome for outcome in await journal.bus.publish_many(others) if isinstance(outcome, Exception)]
    if refused:
        await journal.insist(lambda: journal.bus.purge(Stream.JOURNAL, subjects.of_run(run)))
        raise HoldfastError(f"run {run} was not imported, the server refused a message of it: {refused[0]}")
    return await journal.load(run)


def _exists(run: str, subjects: Subjects) -> RunStateError:
    return RunStateError(f"project {subjects.project} has a run {run}: import into another one with --project")


def _subject(message: _Message, run: str, subjects: Subjects) -> str:
    match message.kind:
        case Kind.READY:
            created = message.entries[0]
            return subjects.ready(run, QUEUE, created.priority if isinstance(created, RunCreated) else 0)
        case Kind.LOG:
            return subjects.log(run)
        case _:
            return subjects.inbox(run)


def _data(message: _Message) -> bytes:
    if message.kind is Kind.LOG:
        return codec.encode(Batch(message.writer, message.entries))
    return codec.encode(message.entries[0])


def inert(history: History, at: Instant) -> list[_Message]:
    """The messages to store for a history, changed so that nothing follows from them; the last one ends the run.

    Raises:
        HistoryError: they tell of no run that could be.
    """
    records = history.records()
    messages = list(_inert(records, history.run))
    before, after = fold(records), fold(_numbered(messages))
    if before is None or after is None or before.final is not after.final:
        raise HistoryError(
            f"run {history.run}: expected messages that tell how one run went, found some missing or out of order"
        )
    if not after.final:
        created = recreated(after) if after.attempt == 0 else None
        messages.append(_Message(Kind.LOG, "", (RunCancelled(at, UNFINISHED, created, killed=True),)))
    return messages


def _numbered(messages: Iterable[_Message]) -> Iterator[Record]:
    return (Record(number, *message) for number, message in enumerate(messages, 1))


def _inert(records: Sequence[Record], run_id: str) -> Iterator[_Message]:
    """Timers are left out, but for one that alone creates the run; so are slots, and work items that came too late."""
    run: Run | None = None
    for record in records:
        before, run = run, apply(run, record)
        entries = tuple(_alone(entry, run_id) for entry in record.entries)
        if record.kind is Kind.GO or any(isinstance(entry, Awaited) for entry in record.entries):
            continue
        if record.kind is Kind.TIMER:
            if before is None and run is not None and not _offered_later(records):
                yield _Message(Kind.READY, "", entries)
        elif not (before is not None and any(_stale(before, entry) for entry in record.entries)):
            yield _Message(record.kind, record.writer, entries)


def _offered_later(records: Sequence[Record]) -> bool:
    return any(record.kind is Kind.READY and isinstance(record.entries[0], RunCreated) for record in records)


def _stale(run: Run, entry: Entry) -> bool:
    """Whether an offer was made for where the run stood before (as the fold has it, by sequences of the journal)."""
    return isinstance(entry, Offered) and 0 < entry.cause < run.moved


def _alone(entry: Entry, run: str) -> Entry:
    """The entry without what ties its run to others, and to sequences of the journal that it comes from."""
    match entry:
        case RunCreated():
            origin = entry.origin or Origin(run, "import")
            return replace(entry, queue=QUEUE, parent=None, key=None, hooks=(), origin=origin)
        case Offered():
            return replace(entry, first=1, cause=0)
        case AttemptStarted():
            return replace(entry, hooks=())
        case RunCancelled() | RunExpired() | RunTimedOut() if entry.created is not None:
            return replace(entry, created=_alone(entry.created, run))
    return entry
