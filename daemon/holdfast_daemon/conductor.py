"""Moves the runs that no worker moves: resumes whom something arrived for, ends what ran out of time, takes runs from
the dead.

It folds the same journal as everybody and appends with the same compare-and-set, so it can't do harm by being late,
slow or there twice. What a worker or client does anyway (arming its timer, offering a run it retried) is left to it for
a while; what is still missing then is done here and counted as a repair.

For each run it notes when to look at it next: at once, after that while, or when the run may have run out of time. What
is due it reads from the journal itself, where a run costs some milliseconds: what only needs a work item gets it as the
fold has it, and what waits for something to come is not looked at before it does.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from holdfast.abreast import abreast
from holdfast.bus.clock import sleep, until
from holdfast.bus.journal import Journal
from holdfast.core import ids
from holdfast.core.deadlines import next_look, overdue
from holdfast.core.entries import (
    AttemptResumed,
    AttemptStarted,
    CancelRequested,
    RunCancelled,
    RunExpired,
    RunTimedOut,
)
from holdfast.core.model import Instant, Run, Seconds, State
from holdfast.errors import Fenced, HoldfastError, UnknownRun
from holdfast.wire.subjects import Stream
from holdfast_daemon.agenda import Agenda
from holdfast_daemon.ledger import Change
from holdfast_daemon.projection.rows import Ready, Standing
from holdfast_daemon.repairs import Kind, Repairs, fires_at, mend, missing

log = logging.getLogger("holdfast.conductor")

GRACE: Seconds = 2.0
"""How long what follows from an entry is left to whoever wrote it."""

TICK: Seconds = 0.5
"""Between two looks at who is alive."""

BEHIND: Seconds = 0.02
"""Between two looks at whether the fold has caught up: it has no event for it, and this happens once."""

SILENCE: Seconds = 5.0
"""For how long a holder may be without a heartbeat before its runs are taken; the heartbeat itself lives as long."""

LONGEST: Seconds = 30.0
"""Between two looks at the clock: it may be set, and timers stand still while a machine sleeps."""

AT_ONCE = 64
"""Runs that are looked at at a time."""

MOST = 1000
"""Runs that are looked at before the clock is."""


class Conductor:
    """Keeps the project's runs moving. A `projector.Listener`."""

    def __init__(
        self,
        journal: Journal,
        live: Callable[[], Mapping[str, Run]],
        caught_up: Callable[[], bool],
        *,
        station: str = "",
        repairs: Repairs | None = None,
    ) -> None:
        """
        Args:
            live: the runs that have not ended, as folded so far.
            caught_up: whether that is all that the journal held at the start.
            station: what the names of this daemon's workers begin with (`Station.prefix`): those of its earlier lives
                are gone with them.
        """
        self.repairs = repairs or Repairs()
        """What had to be done for somebody who did not."""
        self._journal = journal
        self._live = live
        self._caught_up = caught_up
        self._time = journal.time
        self._now = journal.clock
        self._agenda = Agenda()
        self._unheard: set[str] = set()
        """Runs that were claimed after their end was asked for: their holder was not there to hear it."""
        self._ended: dict[str, str] = {}
        self._silent: dict[str, str] = {}
        self._unseen_since: dict[str, Instant] = {}
        self._stations: dict[str, str] = {station.partition("-")[0]: station} if station else {}
        """By data directory: what the names of the workers of its daemon's present life begin with."""
        self._surveyed = False
        self._awaited: Instant = math.inf
        """Until when it rests, unless it is stirred."""
        self._stirred = anyio.Event()

    # --- what it is told --------------------------------------------------------------------------------------------

    def restart(self, standings: Sequence[Standing], ready: Sequence[Ready]) -> None:
        """The following begins anew: every live run is looked at once it has caught up."""
        self._agenda.clear()
        self._unheard.clear()
        self._surveyed = False
        self._stirred.set()

    def take(self, changes: Sequence[Change]) -> None:
        """Note which runs want looking at. Of those that have ended already the survey knows nothing."""
        for change in changes:
            run = change.after
            if not (self._surveyed or run.final):
                continue
            if run.cancel_requested and run.state is State.RUNNING and _claims(change):
                self._unheard.add(run.id)
            self._note(run)
            for parent in run.parents if run.final else ():
                self._note_parent(parent.run)

    def worker_gone(self, worker: str, reason: str) -> None:
        """A worker has ended for good: whatever it holds, or turns out to have held, is offered again at once."""
        self._ended[worker] = reason
        self._take_from(worker)

    def restarted(self, station: str) -> None:
        """A daemon lives anew: the workers of its earlier lives are gone with them."""
        self._stations[station.partition("-")[0]] = station
        for run in list(self._live().values()):
            if run.holder is not None and self._is_orphan(run.holder.worker):
                self._look(run.id, 0.0, run.first)

    def _is_orphan(self, worker: str) -> bool:
        station = self._stations.get(worker.partition("-")[0])
        return station is not None and not worker.startswith(station)

    def _note(self, run: Run) -> None:
        """Note when to look at a run, whatever was noted before."""
        at = min(self._now() + self._patience(run), _limit(run))
        self._agenda.set(run.id, at, run.first)
        self._stir(at)

    def _patience(self, run: Run) -> Seconds:
        """How long to leave a run to others, as it stands."""
        if run.id in self._unheard:
            return 0.0
        if run.holder is not None:
            return 0.0 if self._is_gone(run.holder.worker) else math.inf
        if run.resumable and not run.offered:
            return 0.0
        return GRACE if self._untold(run) or missing(run, self._live()) else math.inf

    def _untold(self, run: Run) -> list[str]:
        """The children that a suspended run waits for though they have ended: they may not have told it yet."""
        if run.state is not State.WAITING:
            return []
        return [wait for wait in run.waits - run.arrived - self._live().keys() if ids.is_run_id(wait)]

    def _note_parent(self, run_id: str) -> None:
        """A child has ended; in a while it shows whether its parent was told."""
        parent = self._live().get(run_id)
        if parent is not None and parent.state is State.WAITING:
            self._look(parent.id, GRACE, parent.first)

    def _look(self, run_id: str, after: Seconds, first: int) -> None:
        """Look at a run after a while, at the latest."""
        at = self._now() + after
        self._agenda.hasten(run_id, at, first)
        self._stir(at)

    def _stir(self, at: Instant) -> None:
        if at < self._awaited:
            self._stirred.set()

    def _is_gone(self, worker: str) -> bool:
        return worker in self._ended or worker in self._silent or self._is_orphan(worker)

    def _take_from(self, worker: str) -> None:
        for run in self._live().values():
            if run.holder is not None and run.holder.worker == worker:
                self._look(run.id, 0.0, run.first)

    # --- what it does -----------------------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Conduct until cancelled; nothing is done before the fold has caught up with the journal."""
        task_status.started()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch_presence)
            while True:
                if self._surveyed:
                    await self._attend_due()
                    await self._rest()
                elif self._caught_up():
                    self._survey()
                else:
                    await sleep(self._time, BEHIND)

    def _survey(self) -> None:
        """Note every live run; from now on runs are noted as they change."""
        self._surveyed = True
        for run in list(self._live().values()):
            self._note(run)

    async def _rest(self) -> None:
        """Wait for the next look that is due."""
        now = self._now()
        self._stirred = anyio.Event()
        self._awaited = min(self._agenda.next, now + LONGEST)
        if self._awaited > now and self._surveyed:
            await until(self._time, self._awaited, self._stirred)
        self._awaited = -math.inf

    async def _attend_due(self) -> None:
        due = self._agenda.due(self._now(), MOST)
        await abreast((partial(self._attend, run, first) for run, first in due), AT_ONCE)

    async def _attend(self, run_id: str, first: int) -> None:
        """Look at one run in the journal itself and do what is missing."""
        try:
            run = self._resumable(run_id) or await self._journal.load(run_id, first)
            await self._conduct(run)
        except Fenced:
            pass  # it has moved on: the change that says so comes here too
        except UnknownRun:
            log.warning("run %s is not in the journal any more", run_id)
        except HoldfastError as error:
            log.warning("run %s is looked at again: %s", run_id, error)
            self._look(run_id, GRACE, first)
        else:
            self._go_on(run)

    def _resumable(self, run_id: str) -> Run | None:
        """The run as folded, where all that it wants is a work item: that is a hint, and needs no reading."""
        run = self._live().get(run_id)
        if run is None or run.state is not State.WAITING or run.cancel_requested or _limit(run) <= self._now():
            return None
        return run if run.resumable and not run.offered else None

    def _go_on(self, run: Run) -> None:
        """Note the next look at a run that was attended to; what that changed is noted when it comes."""
        if run.id in self._live():
            left = _limit(run) - self._now()
            self._look(run.id, left if left > 0 else GRACE, run.first)

    async def _conduct(self, run: Run) -> None:
        unheard = run.id in self._unheard
        self._unheard.discard(run.id)
        ending = overdue(run, self._now())
        if ending is not None:
            await self._end(run, ending)
        elif run.holder is not None and self._is_gone(run.holder.worker):
            await self._interrupt(run, run.holder.worker)
        elif run.state is State.RUNNING:
            if unheard and run.cancel_requested:
                await self._journal.tell(run.id, CancelRequested(at=self._now(), by="conductor"))
        elif not await mend(self._journal, run, self._live(), self.repairs) and run.state is State.WAITING:
            await self._tell_of_children(run)

    async def _end(self, run: Run, ending: RunExpired | RunTimedOut | RunCancelled) -> None:
        """End a run whose time is over."""
        moved = await self._journal.end(run, ending, by="conductor")
        log.info("run %s ran out of time: %s (%s)", run.id, moved.state, moved.reason)

    async def _interrupt(self, run: Run, worker: str) -> None:
        """Take a run from a holder that is gone."""
        how = self._ended.get(worker) or self._silent.get(worker) or "ended with its daemon"
        moved = await self._journal.interrupt(run, f"worker {worker}: {how}")
        log.info("run %s taken from %s: %s", run.id, worker, moved.state)

    async def _tell_of_children(self, run: Run) -> None:
        """Tell a waiting run of children whose end nobody told it: who ended them died first."""
        for child in self._untold(run):
            with suppress(UnknownRun):
                ended = await self._journal.load(child, run.first)
                if ended.final:
                    await self._journal.act(ended)
                    self.repairs.note(Kind.PARENT, run)

    async def _watch_presence(self) -> None:
        """Find out who has fallen silent."""
        while True:
            await sleep(self._time, TICK)
            try:
                pulse = self._journal.bus.subjects.control("worker", "*")
                beats = await self._journal.bus.latest(Stream.CONTROL, pulse)
            except HoldfastError:
                self._unseen_since.clear()  # it is us who can't see
                continue
            self._compare({beat.subject.rpartition(".")[2] for beat in beats})

    def _compare(self, present: set[str]) -> None:
        now = self._now()
        holders = {run.holder.worker for run in self._live().values() if run.holder is not None}
        for worker in self._silent.keys() & present:
            del self._silent[worker]  # it was stopped, not dead, and is back: what it held is lost to it all the same
        self._unseen_since = {
            worker: self._unseen_since.get(worker, now) for worker in holders - present if not self._is_gone(worker)
        }
        for worker, since in list(self._unseen_since.items()):
            if now - since >= SILENCE:
                self._silent[worker] = f"silent for {SILENCE:g} s"
                self._take_from(worker)


def _claims(change: Change) -> bool:
    return any(isinstance(entry, AttemptStarted | AttemptResumed) for entry in change.record.entries)


def _limit(run: Run) -> Instant:
    """When the run may have run out of time, or its timer has failed it; infinity: never, as it stands."""
    fires = fires_at(run)
    return next_look(run) if fires is None else min(next_look(run), fires)
