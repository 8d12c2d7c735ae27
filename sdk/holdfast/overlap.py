"""What becomes of a scheduled run whose time has come too late, or while the run of a tick before it has not ended.

The worker that comes to such a run leaves it unstarted, and says so in its journal (`Held`); whoever conducts the runs
decides then, by the schedule's own rule. A run that never ran passes the question on to the tick before it: what counts
is the last tick that really ran, or will.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

from msgspec.structs import replace

from holdfast.bus.journal import Journal
from holdfast.bus.ports import Message
from holdfast.core.entries import (
    Compensated,
    LetterDropped,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunDead,
    RunExpired,
    RunRetried,
    RunTimedOut,
)
from holdfast.core.lifecycle import Kind, Record, recreated
from holdfast.core.model import Run, Tick
from holdfast.core.schedule import Verdict, is_late, passes_on, verdict
from holdfast.errors import RunStateError, UnknownRun
from holdfast.ticks import zone
from holdfast.timetable import Timetable
from holdfast.wire import codec
from holdfast.wire.subjects import Stream

_ENDINGS = (RunCompleted, RunDead, RunCancelled, RunExpired, RunTimedOut, Compensated, LetterDropped)


async def held_back(journal: Journal, run: Run, messages: Sequence[tuple[Message, Record]]) -> str:
    """Why a run of a tick may not start, as `Held.why` says it; empty: it may.

    An operator who retries one that was skipped means it: that is not asked again.

    Args:
        messages: the run's own.
    """
    if (
        run.tick is None
        or run.attempt
        or any(isinstance(each, RunRetried) for _, one in messages for each in one.entries)
    ):
        return ""
    made = (message.time for message, record in messages if _makes(record))
    if is_late(run, next(made, run.created_at)):
        return "late"
    return "overlap" if await _overlaps(journal, run.tick) else ""


def _makes(record: Record) -> bool:
    return record.kind is Kind.READY and any(isinstance(entry, RunCreated) for entry in record.entries)


async def _overlaps(journal: Journal, tick: Tick) -> bool:
    """Whether the run before has not ended. One that is under way may be long: its last message says that much."""
    if not tick.before:
        return False
    last = await journal.insist(lambda: journal.bus.last(Stream.JOURNAL, journal.bus.subjects.log(tick.before)))
    if last is not None and not any(isinstance(entry, _ENDINGS) for entry in codec.decode_batch(last.data).entries):
        return True
    return await journal.insist(lambda: standing(journal, tick)) is not None


async def standing(journal: Journal, tick: Tick, known: Callable[[str], Run | None] = lambda run: None) -> Run | None:
    """The run of a tick before this one that has not ended; None: there is none.

    Args:
        known: runs that need not be read.
    """
    before, first = tick.before, tick.before_first
    while before:
        try:
            run = known(before) or await journal.load(before, first)
        except UnknownRun:
            return None
        if run.tick is None or not (passes_on(run) or run.held == "late"):
            return None if run.final else run
        before, first = run.tick.before, run.tick.before_first
    return None


class Referee:
    """Decides about runs that workers left unstarted. May be repeated, and by several at once."""

    def __init__(self, journal: Journal, timetable: Timetable, known: Callable[[str], Run | None]) -> None:
        """
        Args:
            known: a run as it is known to stand, without its payload; None: it is to be read.
        """
        self._journal = journal
        self._timetable = timetable
        self._known = known

    async def decide(self, run: Run) -> list[Run]:
        """Do with a held run what its schedule's rule says; the runs that were ended by that, as they stand then.

        Raises:
            Fenced: one of them was moved by somebody else.
        """
        tick = run.tick
        if not run.held or tick is None:
            return []
        if run.held == "late":
            return await self._skip(run, f"its tick of {_said(tick)} came too late", missed=True)
        before = await standing(self._journal, tick, self._known)
        if before is None:
            await self._journal.offer(run)
            return []
        match verdict(tick.overlap, buffered=await self._is_buffered(before)):
            case Verdict.SKIP:
                return await self._skip(run, f"skipped: run {before.id} of a tick before has not ended", before=before)
            case Verdict.REPLACE:
                return await self._replace(before, run)
            case Verdict.WAIT:
                return []

    async def _is_buffered(self, run: Run) -> bool:
        """Whether a run has not started, as it waits for one before it."""
        if run.attempt or run.tick is None:
            return False
        return await standing(self._journal, run.tick, self._known) is not None

    async def _skip(self, run: Run, reason: str, *, missed: bool = False, before: Run | None = None) -> list[Run]:
        """End a run that has not started; what comes after it then finds the way to the one before it at once."""
        full = await self._journal.load(run.id, run.first)
        if full.final or full.attempt or full.tick is None:
            return []
        await self._timetable.count(full.tick.schedule, full.id, missed=missed)
        created = recreated(full)
        if before is not None and before.id != run.id:
            created = replace(created, tick=replace(full.tick, before=before.id, before_first=before.first))
        entry = RunCancelled(at=self._journal.clock(), reason=reason, created=created, skipped=True)
        return [await self._journal.move(full, entry)]

    async def _replace(self, before: Run, run: Run) -> list[Run]:
        """Make the run before end, for a later one that takes its place."""
        assert run.tick is not None
        if not before.attempt:
            ended = await self._skip(before, f"skipped: run {run.id} of a later tick takes its place")
            if ended:
                return ended
        if not before.cancel_requested:
            reason = f"the tick of {_said(run.tick)} takes its place"
            with suppress(RunStateError):  # it ends just now
                by = f"schedule {run.tick.schedule}"
                await self._journal.cancel(before.id, by=by, reason=reason, first=before.first)
        return []


def _said(tick: Tick) -> str:
    """The tick's nominal time; the zone is in the schedule, which may be another one by now."""
    return f"{datetime.fromtimestamp(tick.at, zone('UTC')):%Y-%m-%d %H:%M:%S} UTC"
