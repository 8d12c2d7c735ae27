"""Empties a queue as an operator asks: what waits in it and has never started is cancelled, page by page.

A page is taken in the order in which the runs came, and ends where the journal did when the first one was asked for: so
a purge ends however many come meanwhile. Each run is cancelled by one append that nobody else has come before: one that
a worker takes meanwhile goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from holdfast.abreast import abreast
from holdfast.bus.journal import Journal
from holdfast.core.entries import RunCancelled
from holdfast.core.lifecycle import recreated
from holdfast.core.model import Run, Seconds, State
from holdfast.errors import BusError, Fenced, UnknownRun
from holdfast.wire import api
from holdfast.wire.subjects import Stream
from holdfast_daemon.answering import Question, answering
from holdfast_daemon.projection.projector import Projector
from holdfast_daemon.projection.store import Store, TooSlow, Unavailable
from holdfast_daemon.query import runs

AT_ONCE = 64
"""Runs that are cancelled at the same time."""

WITHIN: Seconds = 10.0
"""How long a page waits for the history to hold what the journal does."""


class Purger:
    """Serves `queues.purge`."""

    def __init__(self, journal: Journal, store: Store, projector: Projector) -> None:
        self._journal = journal
        self._store = store
        self._projector = projector

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        await answering(
            self._journal.bus,
            Question(api.QUEUES_PURGE, api.QueuePurge, self.purge),
            wrong=(ValueError, TooSlow),
            away=(Unavailable, BusError),
            task_status=task_status,
        )

    async def purge(self, asked: api.QueuePurge) -> api.QueuePurged:
        """Cancel a page of runs, or only count them all.

        Raises:
            ValueError: the page is too large.
            Unavailable: the history is too far behind to tell what waits.
        """
        upto = await self._journal.bus.last_seq(Stream.JOURNAL) if asked.upto is None else asked.upto
        waiting = runs.untouched(asked.queue, asked.after, upto)
        page = runs.oldest(waiting, asked.limit)
        if not await self._projector.reach(upto, within=WITHIN):
            raise Unavailable("the history is behind the journal: ask again in a moment")
        if asked.dry_run:
            number = int((await self._store.query(*runs.counted(waiting)))[0][0])
            return api.QueuePurged(cancelled=number, after=upto, upto=upto, done=True)
        found = await self._store.query(*page)
        chosen = [(str(id), int(first)) for id, first in found[: asked.limit]]
        return api.QueuePurged(
            cancelled=await self._cancelled(chosen, asked),
            after=chosen[-1][1] if chosen else upto,
            upto=upto,
            done=len(found) <= asked.limit,
        )

    async def _cancelled(self, chosen: Sequence[tuple[str, int]], asked: api.QueuePurge) -> int:
        """How many of these were still waiting and are cancelled now."""
        done: list[str] = []

        async def one(id: str, first: int) -> None:
            if await self._cancel(id, first, asked):
                done.append(id)

        await abreast([partial(one, id, first) for id, first in chosen], AT_ONCE)
        return len(done)

    async def _cancel(self, id: str, first: int, asked: api.QueuePurge) -> bool:
        with suppress(UnknownRun):
            while _waits(found := await self._journal.load(id, first)):
                with suppress(Fenced):  # somebody was first: perhaps only to offer it
                    await self._journal.move(
                        found, RunCancelled(self._journal.clock(), _reason(asked), recreated(found))
                    )
                    return True
        return False


def _waits(run: Run) -> bool:
    return run.attempt == 0 and run.holder is None and run.state in (State.QUEUED, State.DELAYED)


def _reason(asked: api.QueuePurge) -> str:
    by = f" by {asked.by}" if asked.by else ""
    return f"queue purged{by}{f': {asked.reason}' if asked.reason else ''}"
