"""A project as the HTTP interface asks it: its client, history, gauges and roster behind one door."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import TypeVar

from holdfast.bus.ports import Bus
from holdfast.client import Client
from holdfast.core.model import Run
from holdfast.errors import BusError, Refused
from holdfast.wire.api import AccessToken, RunRef, RunsPage, RunsQuery, RunView, TaskCard
from holdfast_daemon.gauges import Gauges
from holdfast_daemon.http.options import Options
from holdfast_daemon.http.ports import Measures, Triggered
from holdfast_daemon.projection.projector import Projector
from holdfast_daemon.projection.store import TooSlow, Unavailable
from holdfast_daemon.query.service import QueryService
from holdfast_daemon.roster import Roster
from holdfast_daemon.router import Router

_T = TypeVar("_T")


class Knowing(Client):
    """A client that has the cards of the tasks in memory, where others ask the server for each trigger."""

    def __init__(self, bus: Bus, roster: Roster, *, name: str, ttl: float | None = None) -> None:
        super().__init__(bus, name=name, ttl=ttl)
        self.via = "http"
        self._roster = roster

    async def card(self, task: str) -> TaskCard | None:
        return self._roster.cards.get(task) or await super().card(task)


class Front:
    """One project's."""

    def __init__(
        self,
        client: Client,
        queries: QueryService,
        *,
        projector: Projector,
        gauges: Gauges,
        router: Router,
        roster: Roster,
    ) -> None:
        self.name = client.bus.subjects.project
        self._client = client
        self._queries = queries
        self._projector = projector
        self._gauges = gauges
        self._router = router
        self._roster = roster

    async def trigger(self, task: str, payload: dict[str, object], options: Options) -> Triggered:
        handle = await self._client.trigger(task, payload, **options)
        return Triggered(handle.id, handle.cached)

    async def publish(self, subject: str, data: bytes, *, dedupe: str | None) -> int:
        return await self._client.bus.publish(self._client.bus.subjects.event(subject), data, dedupe=dedupe)

    async def view(self, ref: RunRef) -> RunView:
        return await _answer(self._queries.view(ref))

    async def page(self, query: RunsQuery) -> RunsPage:
        return await _answer(self._queries.runs(query))

    async def cancel(self, run: str, reason: str) -> Run:
        return await self._client.run(run).cancel(reason)

    async def retry(self, run: str, payload: dict[str, object] | None, *, from_start: bool) -> Run:
        return await self._client.retry(run, from_start=from_start, payload=payload)

    async def signal(self, run: str, name: str, value: object) -> Run:
        return await self._client.signal(run, name, value)

    async def complete(self, token_id: str, value: object) -> Run:
        return await self._client.complete(token_id, value)

    async def measures(self) -> Measures:
        events = self._router.counts
        return Measures(
            queues=await _answer(self._queries.queues()),
            runs=self._gauges.runs(),
            health=await _answer(self._queries.health()),
            routed=events.routed,
            unwanted=events.unwanted,
            refused=events.refused,
            unmapped=events.unmapped,
            workers=len(await self._client.workers()),
        )

    async def readiness(self) -> str:
        if not self._client.bus.connected:
            return "the server does not answer"
        return "" if self._projector.caught_up else "the history catches up with the journal"

    def token(self, id: str) -> AccessToken | None:
        return self._roster.tokens.get(id)

    def cards(self) -> Iterable[TaskCard]:
        return self._roster.cards.values()

    def secret(self, name: str) -> tuple[str, ...]:
        return self._roster.secret(name)


async def _answer(question: Awaitable[_T]) -> _T:
    """What the history answers. Raises: Refused: it can't, or not just now."""
    try:
        return await question
    except (ValueError, TooSlow) as error:
        raise Refused(str(error), code="bad_request") from error
    except (Unavailable, BusError) as error:
        raise Refused(f"the history can't be asked just now: {error}", code="unavailable") from error
