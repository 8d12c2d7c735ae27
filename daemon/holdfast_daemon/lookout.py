"""Looks at what is asked of a pool of workers: what waits, what holds it back, and how busy the workers are."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Mapping

import msgspec

from holdfast.bus.ports import Bus
from holdfast.core.model import Instant
from holdfast.wire.api import Presence, QueueRow, Queues, decode
from holdfast.wire.subjects import Stream
from holdfast_daemon.backlogs import Backlogs, Line
from holdfast_daemon.scaling import Backlog, Demand


class Lookout:
    """Of one project."""

    def __init__(
        self,
        bus: Bus,
        backlogs: Backlogs,
        queues: Callable[[], Awaitable[Queues]],
        *,
        least: int,
        clock: Callable[[], Instant] = time.time,
    ) -> None:
        """
        Args:
            queues: how the queues stand: which are paused, and what their limits leave.
            least: with so many workers and nothing that waits nobody is asked.
        """
        self._bus = bus
        self._backlogs = backlogs
        self._queues = queues
        self._least = least
        self._clock = clock
        self._tasks: frozenset[str] | None = None
        """The tasks that the pool's workers had when they were seen last; None: not yet."""

    async def look(self, serving: Collection[str]) -> Demand:
        """What is asked of a pool whose workers of these names serve. Raises: HoldfastError: it can't be known now."""
        if self._backlogs.empty and len(serving) <= self._least:
            return Demand(runs=dict.fromkeys(serving, 0))
        present = await self._present()
        own = [worker for worker in present if worker.worker in serving]
        if own:
            self._tasks = frozenset(task for worker in own for task in worker.tasks)
        rows = {row.name: row for row in (await self._queues()).queues}
        lines = self._backlogs.lines(self._tasks)
        return Demand(
            backlogs=tuple(_backlog(queue, line, rows, self._clock()) for queue, line in sorted(lines.items())),
            runs={**dict.fromkeys(serving, 0), **{worker.worker: worker.running for worker in own}},
            drained=sum(worker.draining for worker in own),
            elsewhere=any(self._serves(worker) for worker in present if worker.worker not in serving),
        )

    async def _present(self) -> list[Presence]:
        found = []
        for message in await self._bus.latest(Stream.CONTROL, self._bus.subjects.control("worker", "*")):
            try:
                found.append(decode(message.data, Presence))
            except msgspec.DecodeError:
                continue  # of a version that we can't read: not one of ours
        return found

    def _serves(self, worker: Presence) -> bool:
        """Whether a worker that is not the pool's does the same."""
        return not worker.draining and (self._tasks is None or not self._tasks.isdisjoint(worker.tasks))


def _backlog(queue: str, line: Line, rows: Mapping[str, QueueRow], now: Instant) -> Backlog:
    row = rows.get(queue)
    return Backlog(
        queue=queue,
        ready=line.ready,
        age=0.0 if line.oldest is None else max(0.0, now - line.oldest),
        taken=line.taken,
        paused=row is not None and row.paused,
        room=None if row is None or row.limit is None else row.limit - row.running,
    )
