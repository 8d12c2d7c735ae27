"""Knows which runs in flight have read which secrets: a version that one of them goes on with is not removed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping

from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from holdfast.bus.ports import Bus
from holdfast.core.model import Run
from holdfast.errors import Refused
from holdfast.wire.secrets import PINS, Pin, Pins, PinsQuery
from holdfast.wire.subjects import Stream
from holdfast_daemon.answering import Question, answering


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
        await answering(self._bus, Question(PINS, PinsQuery, self._pins), away=(), task_status=task_status)

    async def _pins(self, query: PinsQuery) -> Pins:
        if not await self._reach(await self._bus.last_seq(Stream.JOURNAL)):
            raise Refused(f"{PINS}: not all runs are known yet: try again in a moment", code="unavailable")
        return Pins(tuple(pins(self._live().values(), query.name)))


def pins(live: Iterable[Run], name: str) -> list[Pin]:
    """The runs in flight that have read a secret, oldest first."""
    found = [run for run in live if name in run.secrets]
    return [Pin(run.id, run.task, run.secrets[name]) for run in sorted(found, key=lambda run: (run.created_at, run.id))]
