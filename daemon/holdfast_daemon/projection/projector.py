"""The projector: carries the journal, the log lines and the audit into the history, each message once.

Per stream one task follows and one writes what has come together, in batches. Nothing waits for it: while the file
can't be written (disk full, damaged) runs go on, and it catches up from its cursor. A batch whose values the file
refuses is halved until the message at fault is alone; that one is passed over, loudly, and counted.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import anyio
import msgspec
from anyio import TASK_STATUS_IGNORED, CapacityLimiter, to_thread
from anyio.abc import TaskStatus

from holdfast.bus.ports import Bus, Message
from holdfast.core.model import Instant, Run, Seconds
from holdfast.errors import BusError, ConnectError
from holdfast.wire.api import AuditEntry, LogBatch, decode
from holdfast.wire.subjects import Stream
from holdfast_daemon.ledger import IDLE, Change, Ledger
from holdfast_daemon.projection.rows import (
    AuditMessage,
    LogMessage,
    Ready,
    Rows,
    Standing,
    audit_rows,
    journal_rows,
    log_rows,
)
from holdfast_daemon.projection.store import Batch, Cursor, Moved, Rejected, Store, Unavailable

log = logging.getLogger("holdfast.projector")

EVERY: Seconds = 0.2
"""A batch is written so long after the one before, at the latest; the first after a silence at once."""

FULL = 2_000
"""So many messages are written before their time."""

MOST = 20_000
"""Messages in a batch at most; while catching up batches are that large. Twice as many wait in memory at most."""

FORGET_EVERY: Seconds = 600.0
"""How often the history lets go of what its streams hold no more."""

SLACK: Seconds = 60.0
"""A line may have been written so long before the message that carries it was stored."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 8.0
_T = TypeVar("_T")


class Listener(Protocol):
    """Watches all runs."""

    def restart(self, standings: Sequence[Standing], ready: Sequence[Ready]) -> None:
        """Forget everything: the following begins where the runs stand like this. `ready` is ordered, oldest first."""

    def take(self, changes: Sequence[Change]) -> None:
        """Take in what happened, in stream order, before it is written. Must not block and not raise."""


class Projector:
    """Keeps the history up to date with the journal, the log stream and the audit stream."""

    def __init__(self, bus: Bus, store: Store, listeners: Sequence[Listener] = ()) -> None:
        self._bus = bus
        self._store = store
        self._listeners = listeners
        self._writer = CapacityLimiter(1)
        self.skipped = 0
        """Messages whose values the history refused, and which are missing in it."""
        self.unreadable_lines = 0
        """Messages of the log and audit streams that could not be read."""
        self._set_up({}, {})

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Project until cancelled. Started once the history agrees with the journal, not when it has caught up."""
        await self._begin()
        task_status.started()
        while True:
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._follow_journal)
                    tasks.start_soon(self._follow_lines)
                    tasks.start_soon(self._follow_audit)
                    tasks.start_soon(self._forget)
                    for pump in (self._journal, self._lines, self._audit):
                        tasks.start_soon(pump.write)
            except* (Moved, BusError, ConnectError) as lost:
                log.error("the journal and the history are compared again: %s", lost.exceptions[0])
            await self._begin_again()

    @property
    def caught_up(self) -> bool:
        """Whether all that the journal held at the start has been projected."""
        return self._journal.caught_up

    @property
    def projected(self) -> int:
        """The journal's sequence up to which the history is complete."""
        return self._journal.seen

    @property
    def projected_lines(self) -> int:
        """The same of the log stream."""
        return self._lines.seen

    async def reach(self, seq: int, *, stream: Stream = Stream.JOURNAL, within: Seconds = 1.0) -> bool:
        """Wait until the history holds a stream up to a sequence given out; False where it takes longer."""
        pumps: dict[Stream, _Pump[Any]] = {Stream.LOGS: self._lines, Stream.AUDIT: self._audit}
        pump = pumps.get(stream, self._journal)
        if seq - pump.seen > MOST:  # it is being built again: waiting for that would only make every answer slow
            return False
        return await pump.reach(seq, within)

    # --- beginning --------------------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        await self._agree()
        start = await to_thread.run_sync(_start, self._store, limiter=self._writer)
        for listener in self._listeners:
            listener.restart(start.standings, start.ready)
        self._set_up(start.live, start.firsts)

    def _set_up(self, live: dict[str, Run], firsts: dict[str, int]) -> None:
        self.ledger = Ledger(self._bus, self._store.cursor(Stream.JOURNAL).seq, lambda run: firsts.get(run, 1), live)
        """The fold that is being projected; a new one where the history had to be followed up again."""
        self._journal: _Pump[Change] = _Pump(
            self._store, self._writer, Stream.JOURNAL, journal_rows, _of_change, self._skip
        )
        self._lines: _Pump[LogMessage] = _Pump(self._store, self._writer, Stream.LOGS, log_rows, _of_plain, self._skip)
        self._audit: _Pump[AuditMessage] = _Pump(
            self._store, self._writer, Stream.AUDIT, audit_rows, _of_plain, self._skip
        )

    async def _begin_again(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            await anyio.sleep(pause)
            try:
                return await self._begin()
            except (Unavailable, BusError, ConnectError) as error:
                pause = min(2 * pause, _LONGEST_PAUSE)
                log.error("the history can't be followed up yet, next try in %.1f s: %s", pause, error)

    async def _agree(self) -> None:
        """Whether what is projected is a part of these very streams; if not, it is projected again."""
        wrong = await self._disagreement(Stream.JOURNAL)
        if wrong:
            reason = f"{wrong}: the journal went backwards or is another one"
            await to_thread.run_sync(self._store.set_aside, reason, limiter=self._writer)
        for stream, what in ((Stream.LOGS, "log lines"), (Stream.AUDIT, "the audit's entries")):
            wrong = await self._disagreement(stream)
            if wrong:  # it is bounded and may be lost; what was kept of it stays
                log.warning("%s are followed from the stream's beginning: %s", what, wrong)
                await to_thread.run_sync(self._store.rewind, stream, limiter=self._writer)

    async def _disagreement(self, stream: Stream) -> str:
        cursor, last = self._store.cursor(stream), await self._bus.last_seq(stream)
        if cursor.seq > last:
            return f"the history goes to {cursor.seq}, the stream to {last}"
        if not cursor.seq:
            return ""
        found = await self._bus.read(stream, f"{self._bus.subjects.root}.>", first=cursor.seq, limit=1)
        if found and found[0].seq == cursor.seq and abs(found[0].time - cursor.time) > 0.001:
            return f"message {cursor.seq} was of {cursor.time:.3f} when it was projected and is of {found[0].time:.3f}"
        return ""

    # --- following --------------------------------------------------------------------------------------------------

    async def _follow_journal(self) -> None:
        pump, ledger = self._journal, self.ledger
        async for changes in ledger.changes():
            pump.position = ledger.position
            if not changes:
                pump.settled()
                continue
            for listener in self._listeners:
                listener.take(changes)
            await pump.put(changes)

    async def _follow_lines(self) -> None:
        def read(message: Message) -> LogMessage:
            return LogMessage(message.seq, message.time, decode(message.data, LogBatch))

        await self._follow(Stream.LOGS, self._bus.subjects.output("*", "*"), self._lines, read)

    async def _follow_audit(self) -> None:
        def read(message: Message) -> AuditMessage:
            return AuditMessage(message.seq, message.time, decode(message.data, AuditEntry))

        await self._follow(Stream.AUDIT, self._bus.subjects.audit, self._audit, read)

    async def _follow(self, stream: Stream, filter: str, pump: _Pump[_T], read: Callable[[Message], _T]) -> None:
        """Follow a stream of which each message is for itself."""
        cursor = self._store.cursor(stream)
        known = cursor.time if cursor.seq == 0 else float("-inf")  # rewound: what is not newer is there already
        async for messages in self._bus.follow(stream, filter, first=cursor.seq + 1, idle=IDLE):
            if not messages:
                pump.settled()
                continue
            pump.position = messages[-1].seq
            found = []
            for message in messages:
                if message.time <= known:
                    continue
                try:
                    found.append(read(message))
                except msgspec.DecodeError as error:
                    self.unreadable_lines += 1
                    log.warning("passed over an unreadable message of %s: seq=%d: %s", filter, message.seq, error)
            if found:
                await pump.put(found)

    # --- forgetting -------------------------------------------------------------------------------------------------

    async def _forget(self) -> None:
        """Keep log lines and the audit for as long as their streams do."""
        while True:
            for stream in (Stream.LOGS, Stream.AUDIT):
                try:
                    before = await self._kept_since(stream)
                    if before is not None:
                        await to_thread.run_sync(self._store.forget, stream, before, limiter=self._writer)
                except (BusError, ConnectError, Unavailable, Rejected) as error:
                    log.warning("the history lets go of old %s later: %s", stream.name.lower(), error)
            await anyio.sleep(FORGET_EVERY)

    async def _kept_since(self, stream: Stream) -> Instant | None:
        """Since when the stream holds what came; None where it has dropped nothing yet, as one that is new."""
        found = await self._bus.read(stream, f"{self._bus.subjects.root}.>", limit=1)
        if found:
            return found[0].time - SLACK if found[0].seq > 1 else None
        return self._store.cursor(stream).time if await self._bus.last_seq(stream) else None

    def _skip(self, stream: Stream, seq: int, error: Exception) -> None:
        self.skipped += 1
        log.error(
            "message %d of the %s is missing in the history, which refuses its values: %s",
            seq,
            stream.name.lower(),
            error,
        )


class _Start(NamedTuple):
    live: dict[str, Run]
    firsts: dict[str, int]
    standings: list[Standing]
    ready: list[Ready]


def _start(store: Store) -> _Start:
    try:
        return _Start(store.live(), store.firsts(), store.standings(), store.ready())
    except Rejected as error:
        store.set_aside(str(error))
        return _Start({}, {}, [], [])


def _of_change(change: Change) -> Cursor:
    return Cursor(change.record.seq, change.time)


def _of_plain(message: LogMessage | AuditMessage) -> Cursor:
    return Cursor(message.seq, message.time)


class _Pump(Generic[_T]):
    """Writes what was followed of one stream, in order, in batches."""

    def __init__(
        self,
        store: Store,
        writer: CapacityLimiter,
        stream: Stream,
        rows_of: Callable[[Sequence[_T]], Rows],
        mark_of: Callable[[_T], Cursor],
        skipped: Callable[[Stream, int, Exception], None],
    ) -> None:
        self._store = store
        self._writer = writer
        self._stream = stream
        self._rows_of = rows_of
        self._mark_of = mark_of
        self._skipped = skipped
        self._waiting: list[_T] = []
        self._at = store.cursor(stream).seq
        """What the next batch comes behind."""
        self.position = self._at
        """The last message that was followed; set before what it holds is put."""
        self.caught_up = False
        """Whether there was a moment since the start at which nothing was missing."""
        self._writing = False
        self._hurried = False
        self._written_at = float("-inf")
        self._settled_at = float("-inf")
        self._stirred = anyio.Event()

    @property
    def idle(self) -> bool:
        """Whether everything that was followed is written."""
        return not self._waiting and not self._writing

    @property
    def seen(self) -> int:
        """Up to where the history is complete."""
        return self.position if self.idle else self._at

    async def put(self, items: Sequence[_T]) -> None:
        """Hand over what was followed; waits while there is too much of it."""
        self._waiting += items
        self._stir()
        while len(self._waiting) >= 2 * MOST:
            await self._stirred.wait()

    def settled(self) -> None:
        """Nothing has come for `IDLE` seconds."""
        self._settled_at = time.monotonic()
        self.caught_up = self.caught_up or self.idle
        self._stir()

    async def reach(self, seq: int, within: Seconds) -> bool:
        asked_at = time.monotonic()
        with anyio.move_on_after(within):
            # A stream's last messages may have been deleted and never come: a silence that began later proves it.
            while self.seen < seq and not (self.idle and self._settled_at >= asked_at + IDLE):
                self._hurried = True
                self._stir()
                with anyio.move_on_after(0.02):
                    await self._stirred.wait()
            self.position = max(self.position, seq) if self.idle else self.position
            return True
        return False

    async def write(self) -> None:
        """Write until cancelled.

        Raises:
            Moved: the history is no longer where this pump left it.
        """
        while True:
            while not self._waiting:
                await self._stirred.wait()
            await self._linger()
            items, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            self._writing, self._hurried = True, False
            self._stir()
            await self._commit(items)
            self._writing, self._written_at = False, time.monotonic()
            self.caught_up = self.caught_up or (self.idle and self._settled_at > float("-inf"))
            self._stir()

    async def _linger(self) -> None:
        """Let a batch come together."""
        full = FULL if self._settled_at > float("-inf") else MOST
        with anyio.move_on_after(max(0.0, self._written_at + EVERY - time.monotonic())):
            while len(self._waiting) < full and not self._hurried:
                await self._stirred.wait()

    async def _commit(self, items: Sequence[_T]) -> None:
        """Write items whatever it takes: in halves where they are refused, later where the file can't be written."""
        rows_of, pause = self._rows_of, _FIRST_PAUSE
        while True:
            try:
                await self._apply(items, rows_of)
            except Rejected as error:
                if len(items) > 1:
                    await self._commit(items[: len(items) // 2])
                    await self._commit(items[len(items) // 2 :])
                    return
                if rows_of is _no_rows:
                    raise
                self._skipped(self._stream, self._mark_of(items[0]).seq, error)
                rows_of = _no_rows
            except Unavailable as error:
                log.error("the history can't be written, next try in %.1f s: %s", pause, error)
                await anyio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                await self._reopen()
            else:
                return

    async def _apply(self, items: Sequence[_T], rows_of: Callable[[Sequence[_T]], Rows]) -> None:
        after, upto = self._at, self._mark_of(items[-1])

        def write() -> None:
            try:
                rows = rows_of(items)
            except (ValueError, TypeError, OverflowError) as error:
                raise Rejected(f"no rows can be made of it: {error!r}") from error
            self._store.apply(Batch(self._stream, after, upto, rows))

        await to_thread.run_sync(write, limiter=self._writer)
        self._at = upto.seq

    async def _reopen(self) -> None:
        with contextlib.suppress(Unavailable):  # the next attempt says so
            await to_thread.run_sync(self._store.reopen, limiter=self._writer)

    def _stir(self) -> None:
        self._stirred.set()
        self._stirred = anyio.Event()


def _no_rows(items: Sequence[object]) -> Rows:
    """In the place of a message that is passed over."""
    return Rows.none()
