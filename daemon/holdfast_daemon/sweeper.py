"""Recomputes from the fold what should be pending, and repairs the difference. Each repair is a bug found.

The conductor looks where something happened; the sweeper looks at every live run, for what nothing tells: a work item
that was acknowledged or lost while its run still waits for a worker, and whatever the conductor should have done.

Nothing is repaired that is merely under way: a run is touched when two sweeps in a row found it in the same place, and
the journal, read after the second one, still says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import anyio
import anyio.lowlevel
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from holdfast.bus.clock import sleep
from holdfast.bus.journal import Journal
from holdfast.bus.ports import ConsumerState, consumer_name
from holdfast.core.deadlines import overdue
from holdfast.core.entries import Offered
from holdfast.core.lifecycle import fold
from holdfast.core.model import Instant, Run, Seconds, State
from holdfast.errors import Fenced, HoldfastError
from holdfast.wire import codec
from holdfast.wire.subjects import Lane, Stream
from holdfast_daemon.repairs import Kind, Repairs, fires_at, mend, missing

log = logging.getLogger("holdfast.sweeper")

EVERY: Seconds = 10.0
"""Between two sweeps."""

BREATH = 500
"""Runs that are looked at before others have a turn."""


class _Trace(NamedTuple):
    """Where a run stood when it was found wanting: the same again is no coincidence."""

    moved: int
    state: State
    attempt: int
    due: Instant | None


class Sweeper:
    """Finds what nobody else misses, in one project."""

    def __init__(
        self,
        journal: Journal,
        live: Callable[[], Mapping[str, Run]],
        caught_up: Callable[[], bool],
        repairs: Repairs,
    ) -> None:
        """
        Args:
            live: the runs that have not ended, as folded so far.
            caught_up: whether that is all that the journal held at the start.
        """
        self._journal = journal
        self._live = live
        self._caught_up = caught_up
        self._repairs = repairs
        self._suspects: dict[str, _Trace] = {}

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Sweep until cancelled."""
        task_status.started()
        while True:
            await sleep(self._journal.time, EVERY)
            if not self._caught_up():
                continue
            try:
                await self.sweep()
            except HoldfastError as error:
                log.warning("this sweep found nothing out: %s", error)

    async def sweep(self) -> None:
        """Look at every live run once, and repair those that the sweep before found as they are still."""
        stored = await self._journal.bus.last_seq(Stream.JOURNAL)
        lanes = _Lanes(await self._journal.bus.consumers())
        found = await self._wanting(lanes)
        again = [run_id for run_id, trace in found.items() if self._suspects.get(run_id) == trace]
        self._suspects = found
        for run_id in again:
            known = self._live().get(run_id)
            if known is not None:
                await self._repair(known, stored if lanes.lack(known) else 0)

    async def _wanting(self, lanes: _Lanes) -> dict[str, _Trace]:
        """The runs that something is missing of, as folded."""
        live, now = self._live(), self._journal.clock()
        found = {}
        for number, run in enumerate(list(live.values())):
            if number % BREATH == 0:
                await anyio.lowlevel.checkpoint()
            if (_is_offered(run) and lanes.lack(run)) or missing(run, live) or _is_late(run, now):
                found[run.id] = _Trace(run.moved, run.state, run.attempt, run.due)
        return found

    async def _repair(self, known: Run, delivered: int) -> None:
        """Read the run and do what is missing.

        Args:
            delivered: work items up to this sequence are nowhere on their way.
        """
        try:
            messages = await self._journal.messages(known.id, known.first)
            run = fold(record for _, record in messages)
            if run is None or run.final or run.moved != known.moved:
                return
            last = messages[-1][1].seq
            if _is_offered(run) and last <= delivered:
                await self._offer(run, last)
            elif (ending := overdue(run, self._journal.clock())) is not None:
                log.error("run %s should have ended by now: the conductor passed it over", run.id)
                await self._journal.end(run, ending, by="sweeper")
            elif await mend(self._journal, run, self._live(), self._repairs):
                log.error("run %s was left %s for two sweeps: the conductor passed it over", run.id, run.state)
        except Fenced:
            pass  # it moves after all

    async def _offer(self, run: Run, last: int) -> None:
        """Publish another work item. Its id is that of no other offer, but two daemons make the same."""
        if run.admitted:
            await self._journal.admit_many([run], None, mark=f"swept-{last}")
            self._repairs.note(Kind.ITEM, run)
            return
        again = self._journal.bus.subjects.again(run.id, run.queue, run.priority)
        offered = codec.encode(Offered(run.id, run.first, run.last))
        await self._journal.bus.publish(again, offered, dedupe=f"{run.id}-swept-{last}")
        self._repairs.note(Kind.ITEM, run)


class _Lanes:
    """The work consumers, and which of them have nothing to deliver and nothing delivered that is not done with."""

    def __init__(self, states: Sequence[ConsumerState]) -> None:
        self._idle = {state.name: not (state.pending or state.delivered or state.paused) for state in states}

    def lack(self, run: Run) -> bool:
        """Whether no consumer has a work item of the run, though one would deliver it."""
        if run.admitted:
            return self._idle.get(consumer_name(run.queue, lane=Lane.GO), False)
        ready, again = (consumer_name(run.queue, run.priority, lane) for lane in (Lane.READY, Lane.AGAIN))
        return self._idle.get(ready, False) and self._idle.get(again, False)


def _is_offered(run: Run) -> bool:
    return run.offered and run.holder is None and run.state in (State.QUEUED, State.COMPENSATING)


def _is_late(run: Run, now: Instant) -> bool:
    """Whether its time is over, as the conductor should have seen long ago."""
    fires = fires_at(run)
    return (fires is not None and fires + EVERY < now) or overdue(run, now - EVERY) is not None
