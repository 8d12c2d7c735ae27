"""Decides about scheduled runs that workers left unstarted: `holdfast.overlap` says how, this says when.

It is asked again whenever a run of a schedule has ended. What it did itself it knows before the journal tells it, so
that the next decision does not rest on how things were.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from holdfast.bus.clock import sleep
from holdfast.bus.journal import Journal
from holdfast.core.model import Instant, Run, Seconds
from holdfast.errors import Fenced, HoldfastError
from holdfast.overlap import Referee
from holdfast.timetable import Timetable
from holdfast_daemon.ledger import Change
from holdfast_daemon.projection.rows import Ready, Standing

log = logging.getLogger("holdfast.overlap")

BEHIND: Seconds = 0.02
"""Between two looks at whether the fold has caught up: it has no event for it, and this happens once."""

AGAIN: Seconds = 1.0
"""After so long what could not be done is tried again."""


class Overlaps:
    """Keeps scheduled runs from overlapping where they shall not. A `projector.Listener`."""

    def __init__(
        self,
        journal: Journal,
        timetable: Timetable,
        live: Callable[[], Mapping[str, Run]],
        caught_up: Callable[[], bool],
    ) -> None:
        """
        Args:
            live: the runs that have not ended, as folded so far.
            caught_up: whether that is all that the journal held at the start.
        """
        self._journal = journal
        self._referee = Referee(journal, timetable, self._known)
        self._live = live
        self._caught_up = caught_up
        self._held: set[str] = set()
        """Runs that were left unstarted, as far as is known."""
        self._moved: dict[str, Run] = {}
        """What was ended here and did not come back from the journal yet."""
        self._surveyed = False
        self._stirred = anyio.Event()

    # --- what it is told --------------------------------------------------------------------------------------------

    def restart(self, standings: Sequence[Standing], ready: Sequence[Ready]) -> None:
        """The following begins anew: every live run is looked at once it has caught up."""
        self._held.clear()
        self._moved.clear()
        self._surveyed = False
        self._stirred.set()

    def take(self, changes: Sequence[Change]) -> None:
        """Note what is held, and that something of a schedule has ended."""
        for change in changes:
            run = change.after
            if run.tick is None:
                continue
            moved = self._moved.get(run.id)
            if moved is not None and run.last >= moved.last:
                del self._moved[run.id]
            if run.held:
                self._held.add(run.id)
            if run.held or run.final:
                self._stirred.set()

    # --- what it does -----------------------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Decide until cancelled; nothing is done before the fold has caught up with the journal."""
        self._surveyed = False
        task_status.started()
        while True:
            while not self._caught_up():
                await sleep(self._journal.time, BEHIND)
            if not self._surveyed:
                self._surveyed = True
                self._held.update(run.id for run in list(self._live().values()) if run.held and run.tick)
            self._stirred = anyio.Event()
            if await self._decide_all():
                await self._stirred.wait()
            else:
                await sleep(self._journal.time, AGAIN)

    async def _decide_all(self) -> bool:
        """Look at every held run, the earliest tick first; whether all went well."""
        well = True
        held = [run for run in map(self._known, self._held) if run is not None and run.held]
        self._held = {run.id for run in held}
        for run in sorted(held, key=_turn):
            try:
                for ended in await self._referee.decide(run):
                    self._moved[ended.id] = ended
            except Fenced:
                well = False  # it has moved on: the change that says so may have come before this
            except HoldfastError as error:
                log.warning("run %s is looked at again: %s", run.id, error)
                well = False
        return well

    def _known(self, run_id: str) -> Run | None:
        """The run as it stands, as far as is known without reading it."""
        return self._moved.get(run_id) or self._live().get(run_id)


def _turn(run: Run) -> Instant:
    return run.tick.at if run.tick is not None else run.created_at
