"""What the daemons of a project tell each other: who of their workers has ended, and that they live anew.

Unstored, so it may be lost; then a dead worker's silence tells the same, some seconds later.
"""

from __future__ import annotations

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from holdfast.bus.ports import Bus
from holdfast_daemon.conductor import Conductor

_GONE, _BEGUN = "gone", "begun"


class News:
    """Tells the project's other daemons, and hears them."""

    def __init__(self, bus: Bus, conductor: Conductor) -> None:
        self._bus = bus
        self._conductor = conductor

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled."""
        stops = [
            await self._bus.listen(self._bus.subjects.news(_GONE), lambda _, data: self._hear_gone(data)),
            await self._bus.listen(self._bus.subjects.news(_BEGUN), lambda _, data: self._hear_begun(data)),
        ]
        task_status.started()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(1.0):
                for stop in stops:
                    await stop()

    def gone(self, worker: str, reason: str) -> None:
        """A worker of ours has ended for good."""
        self._conductor.worker_gone(worker, reason)
        self._bus.send(self._bus.subjects.news(_GONE), f"{worker} {reason}".encode())

    def begun(self, station: str) -> None:
        """We live anew: the workers of our earlier lives are gone."""
        self._bus.send(self._bus.subjects.news(_BEGUN), station.encode())

    def _hear_gone(self, data: bytes) -> None:
        worker, _, reason = data.decode(errors="replace").partition(" ")
        self._conductor.worker_gone(worker, reason)

    def _hear_begun(self, data: bytes) -> None:
        self._conductor.restarted(data.decode(errors="replace"))
