"""The journal, followed: each stored message with the run before and after it.

Whoever watches all runs (projector, gauges, conductor) folds the same messages with the same function; this is the one
place that does it. Only live runs are held in memory, without payload and result, so that a hundred thousand queued
ones fit. A run that had ended and is moved again is read back from the journal.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from sys import intern
from typing import NamedTuple

from msgspec.structs import replace

from holdfast.bus.journal import Journal
from holdfast.bus.ports import Bus, Message
from holdfast.core.entries import RunCreated, RunRetried
from holdfast.core.lifecycle import ACCEPTED_IN, Kind, Record, apply, fold
from holdfast.core.model import Instant, Run, Seconds, Tick
from holdfast.wire import codec
from holdfast.wire.subjects import Stream

log = logging.getLogger("holdfast.ledger")

IDLE: Seconds = 0.1
"""After so long without a message the journal counts as caught up with."""

_ENDED_KEPT = 50_000
_RETRYABLE = ACCEPTED_IN[RunRetried]


class Change(NamedTuple):
    """What one stored message did to its run."""

    run_id: str
    record: Record
    time: Instant
    """When the message was stored, by the server's clock."""
    before: Run | None
    """None: this message is the first that is known of the run. Without payload where it was in memory."""
    after: Run
    """Equal to `before` where the message was illegal, late or a repetition."""


class Ledger:
    """The runs of a project as the journal tells them, from a cursor on."""

    def __init__(
        self, bus: Bus, cursor: int, first_of: Callable[[str], int], live: Mapping[str, Run] | None = None
    ) -> None:
        """
        Args:
            cursor: the last sequence that is known already.
            first_of: where reading a run that had ended before the cursor begins; 1 where that is not known.
            live: the live runs as folded up to the cursor. Those that are missing are read back when they move.
        """
        self._bus = bus
        self._first_of = first_of
        self._live = dict(live or {})
        self._ended: OrderedDict[str, int] = OrderedDict()
        """First sequences of runs that ended and may be retried: the newest only."""
        self.position = cursor
        """Sequence of the last message that was taken in."""
        self.quiet_at = float("-inf")
        """When (`time.monotonic`) nothing had come for `IDLE` seconds, the last time; -inf: not caught up yet."""
        self.unreadable = 0
        """Messages that could not be read and were passed over."""

    @property
    def live(self) -> Mapping[str, Run]:
        """The runs that have not ended, by id; without payload and result."""
        return self._live

    @property
    def caught_up(self) -> bool:
        """Whether all that the journal held when the following began has been yielded."""
        return self.quiet_at > float("-inf")

    async def changes(self) -> AsyncIterator[list[Change]]:
        """What happens, in stream order, for ever; each message once. An empty list: caught up, or still quiet.

        To be iterated once; `position` already covers a list when it is yielded.
        """
        # Dead letters are in the same stream; following them too keeps `position` comparable with the stream's last.
        everything = f"{self._bus.subjects.root}.>"
        async for messages in self._bus.follow(Stream.JOURNAL, everything, first=self.position + 1, idle=IDLE):
            if not messages:
                self.quiet_at = time.monotonic()
                yield []
                continue
            changes = [change for message in messages if (change := await self._change(message)) is not None]
            self.position = messages[-1].seq
            if changes:
                yield changes

    async def _change(self, message: Message) -> Change | None:
        if not message.subject.startswith(self._bus.subjects.journal[:-1]):
            return None
        try:
            run_id, record = codec.record(self._bus.subjects, message.subject, message.seq, message.data)
        except ValueError as error:
            self.unreadable += 1
            log.warning("passed over an unreadable journal message: seq=%d %s: %s", message.seq, message.subject, error)
            return None
        before = self._live.get(run_id)
        if before is None and _may_have_a_past(record):
            before = await self._recall(run_id, record)
        after = apply(before, record)
        if after is None:
            return None
        self._keep(after)
        return Change(run_id, record, message.time, before, after)

    async def _recall(self, run_id: str, record: Record) -> Run | None:
        """The run as its earlier messages tell it."""
        first = self._ended.get(run_id) or self._first_of(run_id)
        match record.entries:
            case (RunCreated(tick=Tick() as tick), *_) if first == 1:
                first = await Journal(self._bus).first_of(tick)
        records = []
        for message in await self._bus.read(Stream.JOURNAL, self._bus.subjects.of_run(run_id), first=first):
            if message.seq >= record.seq:
                break
            try:
                records.append(codec.record(self._bus.subjects, message.subject, message.seq, message.data)[1])
            except ValueError:
                continue  # counted and logged where it was followed
        return fold(records)

    def _keep(self, run: Run) -> None:
        if not run.final:
            known = run.id in self._live
            self._live[run.id] = run if known and not run.payload else _light(run)
            return
        self._live.pop(run.id, None)
        if run.state in _RETRYABLE:
            self._ended[run.id] = run.first
            if len(self._ended) > _ENDED_KEPT:
                self._ended.popitem(last=False)


def _may_have_a_past(record: Record) -> bool:
    """Whether a run that is not in memory may have earlier messages.

    A run's first fact is stored create-only, so nothing lies before it; but a timer that creates a run fires as the
    same fact again, and the run may have been cancelled just then.
    """
    match record.entries:
        case (RunCreated(due=None), *_):
            return False
        case (RunCreated(), *_):
            return record.kind is not Kind.TIMER
        case _:
            return True


def _light(run: Run) -> Run:
    return replace(run, task=intern(run.task), queue=intern(run.queue), payload=b"", result=None)
