"""Moves the runs that no worker moves: resumes whom something arrived for, cancels, and takes runs from the dead.

It folds the same journal as everybody and appends with the same compare-and-set, so it can't do harm by being late,
slow or there twice. What a worker or client does anyway (arming its timer, offering a run it retried) is left to it for
a while; what is still missing then is done here and counted as a repair.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from holdfast.bus.journal import Journal
from holdfast.core.effects import effects
from holdfast.core.entries import AttemptResumed, AttemptStarted, CancelRequested
from holdfast.core.lifecycle import interruption
from holdfast.core.model import FINAL, Instant, Run, Seconds, State
from holdfast.errors import Fenced, HoldfastError, UnknownRun
from holdfast.wire.subjects import Stream
from holdfast_daemon.ledger import Change
from holdfast_daemon.projection.rows import Ready, Standing

log = logging.getLogger("holdfast.conductor")

CLAIMS = (AttemptStarted, AttemptResumed)

GRACE: Seconds = 2.0
"""How long what follows from an entry is left to whoever wrote it."""

TICK: Seconds = 0.5
"""Between two looks at what is overdue and who is alive."""

BEHIND: Seconds = 0.02
"""Between two looks at whether the fold has caught up: it has no event for it, and this happens once."""

SILENCE: Seconds = 5.0
"""For how long a holder may be without a heartbeat before its runs are taken; the heartbeat itself lives as long."""


class Conductor:
    """Keeps the project's runs moving. A `projector.Listener`."""

    def __init__(
        self,
        journal: Journal,
        live: Callable[[], Mapping[str, Run]],
        caught_up: Callable[[], bool],
        *,
        orphaned: Callable[[str], bool] = lambda worker: False,
        clock: Callable[[], Instant] = time.time,
    ) -> None:
        """
        Args:
            orphaned: whether a worker of this name was the child of a daemon that is gone, and so is gone with it.
            live: the runs that have not ended, as folded so far.
            caught_up: whether that is all that the journal held at the start.
        """
        self.repairs = 0
        """What had to be done for somebody who did not."""
        self._journal = journal
        self._live = live
        self._caught_up = caught_up
        self._clock = clock
        self._due: dict[str, Seconds] = {}
        self._ended: dict[str, str] = {}
        self._silent: dict[str, str] = {}
        self._unseen_since: dict[str, Seconds] = {}
        self._orphaned = orphaned
        self._surveyed = False
        self._stirred = anyio.Event()

    # --- what it is told --------------------------------------------------------------------------------------------

    def restart(self, standings: Sequence[Standing], ready: Sequence[Ready]) -> None:
        """The following begins anew: every live run is looked at once it has caught up."""
        self._due.clear()
        self._surveyed = False

    def take(self, changes: Sequence[Change]) -> None:
        """Note which runs want looking at."""
        if not self._surveyed:
            return
        for change in changes:
            self._note(change.after)
            if change.after.final and change.after.parent is not None:
                self._note_parent(change.after.parent.run)
            if change.after.cancel_requested and any(isinstance(entry, CLAIMS) for entry in change.record.entries):
                self._soon(change.run_id, 0)

    def worker_gone(self, worker: str, reason: str) -> None:
        """A worker has ended for good: whatever it holds, or turns out to have held, is offered again at once."""
        self._ended[worker] = reason
        self._take_from(worker)

    def _note(self, run: Run) -> None:
        if run.state is State.RUNNING:
            if run.holder is not None and self._is_gone(run.holder.worker):
                self._soon(run.id, 0)
        elif run.resumable and not run.offered:
            self._soon(run.id, 0)
        elif run.state is State.WAITING or (run.state not in FINAL and effects(run)):
            self._soon(run.id, GRACE)
        else:
            self._due.pop(run.id, None)

    def _note_parent(self, run_id: str) -> None:
        """A child has ended; in a while it shows whether its parent was told."""
        parent = self._live().get(run_id)
        if parent is not None and parent.state is State.WAITING:
            self._soon(run_id, GRACE)

    def _soon(self, run: str, after: Seconds) -> None:
        self._due[run] = min(self._due.get(run, math.inf), time.monotonic() + after)
        if after == 0:
            self._stirred.set()

    def _is_gone(self, worker: str) -> bool:
        return worker in self._ended or worker in self._silent or self._orphaned(worker)

    def _take_from(self, worker: str) -> None:
        for run in self._live().values():
            if run.holder is not None and run.holder.worker == worker:
                self._soon(run.id, 0)

    # --- what it does -----------------------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Conduct until cancelled; nothing is done before the fold has caught up with the journal."""
        task_status.started()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch_presence)
            while True:
                if not self._surveyed and self._caught_up():
                    self._survey()
                with anyio.move_on_after(TICK if self._surveyed else BEHIND):
                    await self._stirred.wait()
                self._stirred = anyio.Event()
                if self._surveyed:
                    await self._attend_due()

    def _survey(self) -> None:
        """Note every live run; from now on runs are noted as they change."""
        self._surveyed = True
        for run in list(self._live().values()):
            self._note(run)

    async def _attend_due(self) -> None:
        now = time.monotonic()
        due = [run for run, at in self._due.items() if at <= now]
        async with anyio.create_task_group() as tasks:
            limit = anyio.CapacityLimiter(64)
            for run in due:
                del self._due[run]
                tasks.start_soon(self._attend, run, limit)

    async def _attend(self, run_id: str, limit: anyio.CapacityLimiter) -> None:
        """Look at one run in the journal itself and do what is missing."""
        known = self._live().get(run_id)
        if known is None:
            return
        async with limit:
            try:
                run = await self._journal.load(run_id, known.first)
                if run.state is State.RUNNING:
                    await self._interrupt(run)
                    if run.cancel_requested:  # it was claimed after that was asked: its holder was not there to hear it
                        await self._journal.tell(run_id, CancelRequested(at=self._clock(), by="conductor"))
                elif not run.final and effects(run):
                    self.repairs += not run.resumable
                    await self._journal.act(run)
                elif run.state is State.WAITING:
                    await self._tell_of_children(run)
            except Fenced:
                pass  # it has moved on: the change that says so comes here too
            except UnknownRun:
                log.warning("run %s is not in the journal any more", run_id)
            except HoldfastError as error:
                log.warning("run %s is looked at again: %s", run_id, error)
                self._soon(run_id, GRACE)

    async def _interrupt(self, run: Run) -> None:
        """Take a run from a holder that is gone."""
        holder = run.holder
        if holder is None or not self._is_gone(holder.worker):
            return
        how = self._ended.get(holder.worker) or self._silent.get(holder.worker) or "ended with its daemon"
        reason = f"worker {holder.worker}: {how}"
        moved = await self._journal.move(run, interruption(run, self._clock(), reason))
        log.info("run %s taken from %s: %s", run.id, holder.worker, moved.state)
        if not holder.item:
            return
        if moved.final:
            self._journal.bus.settle(holder.item)
        else:
            self._journal.bus.release(holder.item)

    async def _tell_of_children(self, run: Run) -> None:
        """Tell a waiting run of children whose end nobody told it: who ended them died first."""
        for child in run.waits - run.arrived - self._live().keys():
            with suppress(UnknownRun):
                ended = await self._journal.load(child, run.first)
                if ended.final:
                    self.repairs += 1
                    await self._journal.act(ended)

    async def _watch_presence(self) -> None:
        """Find out who has fallen silent."""
        while True:
            await anyio.sleep(TICK)
            try:
                pulse = self._journal.bus.subjects.control("worker", "*")
                beats = await self._journal.bus.latest(Stream.CONTROL, pulse)
            except HoldfastError:
                self._unseen_since.clear()  # it is us who can't see
                continue
            self._compare({beat.subject.rpartition(".")[2] for beat in beats})

    def _compare(self, present: set[str]) -> None:
        now = time.monotonic()
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
