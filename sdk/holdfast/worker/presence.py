"""The worker's heartbeat, from a thread with a connection of its own: a blocked event loop is not a death.

Each beat says that the worker lives (a control value that ends by itself) and keeps its work items from being delivered
to somebody else. A process that is stopped or killed falls silent in both.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator

from holdfast.bus.ports import ACK_WAIT, Bus
from holdfast.core.model import Seconds
from holdfast.errors import BusError, ConnectError
from holdfast.wire import codec
from holdfast.wire.api import Presence

log = logging.getLogger("holdfast.worker")

BEAT: Seconds = 1.0
"""Between two heartbeats."""

SILENT_AFTER: Seconds = 5.0
"""Without a heartbeat for so long a worker counts as gone."""


class Heart:
    """Beats while the worker lives."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Bus]],
        presence: Callable[[], Presence],
        tokens: Callable[[], list[str]],
    ) -> None:
        self._connect = connect
        self._presence = presence
        self._tokens = tokens
        self._stop = threading.Event()

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Beat in a thread, until the end of the block."""
        thread = threading.Thread(target=lambda: asyncio.run(self._beat()), name="holdfast-heart", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(timeout=2 * BEAT)

    async def _beat(self) -> None:
        bus = await self._connected()
        if bus is None:
            return
        try:
            beats = 0
            while not self._stop.is_set():
                await self._tell(bus, extend=beats % max(1, int(ACK_WAIT / 4 / BEAT)) == 0)
                beats += 1
                await self._sleep(BEAT)
            await self._gone(bus)
        finally:
            await bus.close()

    async def _connected(self) -> Bus | None:
        while not self._stop.is_set():
            try:
                return await self._connect()
            except ConnectError as error:
                log.warning("no heartbeat: %s", error)
                await self._sleep(BEAT)
        return None

    async def _tell(self, bus: Bus, *, extend: bool) -> None:
        presence = self._presence()
        if extend:
            for token in self._tokens():
                bus.extend(token)
        with contextlib.suppress(BusError, ConnectError):  # the next beat may get through
            await bus.put("worker", presence.worker, codec.encode(presence), ttl=SILENT_AFTER)

    async def _gone(self, bus: Bus) -> None:
        """Take the presence back: nobody need wait for the silence."""
        with contextlib.suppress(BusError, ConnectError):
            await bus.put("worker", self._presence().worker, codec.encode(self._presence()), ttl=1.0)

    async def _sleep(self, seconds: Seconds) -> None:
        await asyncio.to_thread(self._stop.wait, seconds)
