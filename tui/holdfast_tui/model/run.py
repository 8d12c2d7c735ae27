"""One run as its journal tells it: folded from the history, and moved on by what is heard live.

What is heard carries no sequence. A batch that is in the history already is told by its bytes; one that was missed by
what comes behind it not counting, or by the daemon having counted more outcomes than we have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from holdfast.core.entries import (
    Batch,
    Entry,
    Heartbeat,
    MetadataChanged,
    Progressed,
    RunRetried,
    StepCompleted,
    StepRetried,
    StepStarted,
    StepVolatile,
)
from holdfast.core.lifecycle import Kind, Record, stored, taken
from holdfast.core.model import FINAL, Instant, Run, Seconds, State
from holdfast.core.pending import Wait, pending
from holdfast.core.tree import Tree
from holdfast.wire import api, codec

RETRIABLE = frozenset({State.DEAD, State.FAILED, State.CANCELLED, State.TIMED_OUT})
"""The states that a retry leaves (`lifecycle.ACCEPTED_IN`)."""
CANCELLABLE = frozenset(State) - FINAL - {State.COMPENSATING}
"""The states in which a run can be cancelled; one that undoes its steps can only be killed."""


_QUIET = (StepStarted, StepCompleted, StepRetried, StepVolatile, Heartbeat, Progressed, MetadataChanged)
"""Entries that begin no wait, and end one only if they are about it."""


class Told(NamedTuple):
    """An entry of the journal, and what it did."""

    number: int
    """From 1, in journal order."""
    seq: int
    """Of its message in the journal; 0: it was heard, and the history that has it is not read yet."""
    at: Instant
    kind: str
    """As `api.Stored.kind`."""
    writer: str
    entry: Entry
    counts: bool
    """Whether it changed anything: what a worker writes that has lost the run does not."""
    before: State | None
    """How the run stood; None: there was none yet."""
    after: State | None


class Story:
    """A run, its tree, and every entry that tells them."""

    def __init__(self, run: str) -> None:
        self.id = run
        self.run: Run | None = None
        self.tree = Tree()
        self.told: list[Told] = []
        self.records: list[Record] = []
        """What the run is folded from."""
        self.corrected = False
        """Whether an operator gave it another payload than its trigger did."""
        self.version = 0
        """Rises with every change."""
        self.stale = False
        """Something was missed: the history must be read again."""
        self._read = False
        self._known: set[bytes] = set()
        self._early: list[tuple[Kind, bytes]] = []
        self._waits: tuple[int, tuple[Wait, ...]] = (-1, ())

    @property
    def final(self) -> bool:
        return self.run is not None and self.run.final

    def load(self, history: api.History) -> None:
        """Begin anew from the history; what was heard meanwhile and is not in it comes on top."""
        self.run, self.tree, self._known, self._read, self.stale = None, Tree(), set(), True, False
        self.told, self.records, self.corrected = [], [], False
        self.version += 1
        for message in history.messages:
            record = message.record
            self._known.add(_bytes(record.kind, record.writer, record.entries))
            self._take(record, message.seq, message.time)
        early, self._early = self._early, []
        for kind, data in early:
            self.hear(kind, data)

    def hear(self, kind: Kind, data: bytes) -> bool:
        """Take in a message heard live; returns whether anything is new."""
        if not self._read:
            self._early.append((kind, data))
            return False
        if data in self._known:
            return False
        self._known.add(data)
        try:
            batch = codec.decode_batch(data) if kind is Kind.LOG else Batch("", (codec.decode_entry(data),))
        except msgspec.DecodeError:
            self.stale = True
            return False
        seq = 0 if self.run is None else self.run.last + 1
        if not self._take(Record(seq, kind, batch.writer, batch.entries), 0, None):
            self.stale = True
        return True

    def missed(self) -> None:
        """The connection was lost and is back: what was sent meanwhile was not heard."""
        self.stale = True

    def compare(self, row: api.RunRow) -> None:
        """Hold what we have against what the daemon has counted."""
        if self.run is None or row.steps > self.run.steps or (row.state in FINAL and not self.run.final):
            self.stale = True

    def _take(self, record: Record, seq: int, time: Instant | None) -> bool:
        """Take in a message; `time` None: each of its entries names its own. Returns whether all of it counts."""
        counted = list(taken(self.run, record))
        quiet = self._waits[0] == self.version and all(self._is_quiet(entry) for entry in record.entries)
        self._tell(record, seq, time, {id(entry): run.state for entry, run in counted})
        for entry, _ in counted:
            self.tree.add(entry)
            self.corrected = self.corrected or (isinstance(entry, RunRetried) and entry.payload is not None)
        self.records.append(record)
        self.run = stored(self.run, record, counted[-1][1] if counted else self.run)
        self.version += 1
        if quiet:
            self._waits = self.version, self._waits[1]
        return len(counted) == len(record.entries)

    def _tell(self, record: Record, seq: int, time: Instant | None, states: Mapping[int, State]) -> None:
        """Put the entries of a message down; `states`: how the run stood behind those that count, by their identity."""
        state = None if self.run is None else self.run.state
        for entry in record.entries:
            before, state = state, states.get(id(entry), state)
            at = getattr(entry, "at", time)
            when = at if at is not None else self.told[-1].at if self.told else 0.0
            number, counts = len(self.told) + 1, id(entry) in states
            self.told.append(Told(number, seq, when, record.kind.value, record.writer, entry, counts, before, state))

    def _is_quiet(self, entry: Entry) -> bool:
        """Whether an entry leaves what the run waits for as it was: most do, and looking takes the whole tree."""
        key = f"{getattr(entry, 'key', '')}/"
        return isinstance(entry, _QUIET) and not any(
            key.startswith(f"{wait.key}/") or f"{wait.key}/".startswith(key) for wait in self._waits[1] if wait.key
        )

    def waits(self) -> tuple[Wait, ...]:
        """What the run waits for just now, and what it asks."""
        version, waits = self._waits
        if version != self.version:
            waits = pending(self.run, self.tree) if self.run is not None else ()
            self._waits = (self.version, waits)
        return waits

    def span(self, now: Instant) -> tuple[Instant, Seconds]:
        """Start and length of the whole run so far."""
        if self.run is None:
            return now, 0.0
        start = self.run.started_at or self.run.created_at
        return start, max(0.0, (self.run.finished_at or now) - start)


def _bytes(kind: Kind, writer: str, entries: tuple[Entry, ...]) -> bytes:
    if kind is Kind.LOG:
        return codec.encode(Batch(writer, entries))
    return codec.encode(entries[0]) if entries else b""
