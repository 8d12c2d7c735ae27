"""A run's stored messages, written by hand: they are numbered by their place, from 1 on."""

from __future__ import annotations

from holdfast.core.entries import AttemptResumed, AttemptStarted, Entry
from holdfast.core.lifecycle import Kind, Record, fold, story
from holdfast.core.model import Run
from holdfast.core.recall import Recall


def ready(entry: Entry) -> Record:
    """A work item."""
    return Record(0, Kind.READY, "", (entry,))


def log(*entries: Entry, writer: str | None = None) -> Record:
    """A message on the run's log; a claim in it says who wrote it."""
    claims = (entry.nonce for entry in entries if isinstance(entry, AttemptStarted | AttemptResumed))
    return Record(0, Kind.LOG, next(claims, "") if writer is None else writer, entries)


def told(entry: Entry) -> Record:
    """What somebody else tells the run."""
    return Record(0, Kind.IN, "", (entry,))


def timer(entry: Entry) -> Record:
    """A timer that is set."""
    return Record(0, Kind.TIMER, "", (entry,))


def numbered(*records: Record) -> list[Record]:
    return [record._replace(seq=place) for place, record in enumerate(records, 1)]


def folded(*records: Record) -> Run:
    """The run after these messages, the first of which creates it."""
    run = fold(numbered(*records))
    assert run is not None
    return run


def recalled(*records: Record) -> Recall:
    """What a worker that reads these messages knows."""
    recall = Recall()
    for entry in story(numbered(*records)):
        recall.add(entry)
    return recall
