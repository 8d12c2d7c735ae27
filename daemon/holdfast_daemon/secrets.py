"""Knows which runs in flight have read which secrets: a version that one of them goes on with is not removed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping

import anyio
import msgspec
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from holdfast.bus.ports import Bus
from holdfast.core.model import Run
from holdfast.errors import Refused
from holdfast.wire import api, codec
from holdfast.wire.secrets import PINS, Pin, Pins, PinsQuery
from holdfast.wire.subjects import Stream


class Custodian:
    """Answers `secrets.pins`."""

    def __init__(
        self, bus: Bus, live: Callable[[], Mapping[str, Run]], reach: Callable[[int], Awaitable[bool]]
    ) -> None:
        """
        Args:
            live: the runs in flight, by id.
            reach: waits until `live` covers the journal up to a sequence; False: it did not come that far in time.
        """
        self._bus = bus
        self._live = live
        self._reach = reach

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        stop = await self._bus.serve(self._bus.subjects.api(PINS), self._answer)
        try:
            task_status.started()
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(1.0):
                await stop()

    async def _answer(self, data: bytes) -> bytes:
        try:
            name = api.decode(data, PinsQuery).name
        except msgspec.DecodeError as error:
            raise Refused(f"{PINS}: expected a PinsQuery: {error}", code="bad_request") from error
        if not await self._reach(await self._bus.last_seq(Stream.JOURNAL)):
            raise Refused(f"{PINS}: not all runs are known yet: try again in a moment", code="unavailable")
        return codec.encode(Pins(tuple(pins(self._live().values(), name))))


def pins(live: Iterable[Run], name: str) -> list[Pin]:
    """The runs in flight that have read a secret, oldest first."""
    found = [run for run in live if name in run.secrets]
    return [Pin(run.id, run.task, run.secrets[name]) for run in sorted(found, key=lambda run: (run.created_at, run.id))]
