"""What keeps a pool's workers from serving everything, shown to whoever asks: the control value `fault` of the pool."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from holdfast.bus.ports import Bus
from holdfast.core.model import Instant, Seconds
from holdfast.errors import HoldfastError
from holdfast.wire import codec
from holdfast.wire.api import FAULT, Fault

log = logging.getLogger("holdfast.pool")

LASTS: Seconds = 15.0
"""How long a fault is shown by itself: nobody takes it back where the daemon was killed."""


class FaultBoard:
    """Shows the faults of one pool for as long as they stand."""

    def __init__(self, bus: Bus, pool: str, clock: Callable[[], Instant] = time.time) -> None:
        self._bus = bus
        self._fault = Fault(pool=pool)
        self._clock = clock
        self._shown = False
        self._stirred = anyio.Event()

    def show(self, errors: Sequence[str]) -> None:
        """Show these from now on; none: take back what is shown."""
        self._fault = Fault(pool=self._fault.pool, since=self._clock(), errors=tuple(errors))
        self._stirred.set()

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Show until cancelled."""
        task_status.started()
        while True:
            self._stirred = anyio.Event()
            if self._fault.errors or self._shown:
                await self._put()
            with anyio.move_on_after(LASTS / 3 if self._fault.errors or self._shown else None):
                await self._stirred.wait()

    async def _put(self) -> None:
        fault = self._fault
        try:
            await self._bus.put(FAULT, fault.pool, codec.encode(fault), ttl=LASTS if fault.errors else 1.0)
        except HoldfastError as error:
            log.warning("a fault of the workers is shown a little later: %s", error)
        else:
            self._shown = bool(fault.errors)
