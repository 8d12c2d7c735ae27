"""Answers what the history alone knows: pages of runs and letters, counts, groups, metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from holdfast.core.model import Instant, State
from holdfast.wire import api
from holdfast_daemon.projection.store import Store
from holdfast_daemon.query import letters, metrics, runs
from holdfast_daemon.query.ordered import page
from holdfast_daemon.query.portion import fitting
from holdfast_daemon.query.sql import Statement


class Lists:
    """Of one project. Each answer raises ValueError where the question makes no sense."""

    def __init__(self, store: Store, fresh: Callable[[], Awaitable[object]], clock: Callable[[], Instant]) -> None:
        """
        Args:
            fresh: waits until the history holds what the journal does.
        """
        self._store = store
        self._fresh = fresh
        self._clock = clock

    async def runs(self, query: api.RunsQuery) -> api.RunsPage:
        """A page of runs."""
        asked = runs.listing(query, self._clock())
        await self._fresh()
        found = await page(self._ask, runs.LISTED, asked.near, query.limit + 1)
        if len(found) <= query.limit:
            found = await page(self._ask, runs.LISTED, asked.parts, query.limit + 1)
        rows = [runs.listed(values) for values in found]
        shown = fitting(rows[: query.limit])
        return api.RunsPage(tuple(shown), await self._count(asked.total), len(rows) > len(shown))

    async def counts(self, query: api.RunsQuery) -> api.RunsCounts:
        """How many runs a query means, by state."""
        asked = runs.counts(query, self._clock())
        await self._fresh()
        states = {State(state): number for state, number in await self._ask(asked)}
        return api.RunsCounts(states, sum(states.values()))

    async def letters(self, query: api.LettersQuery) -> api.LettersPage:
        """A page of dead letters."""
        asked = letters.listing(query)
        await self._fresh()
        found = await page(self._ask, letters.LETTER, asked.parts, query.limit + 1)
        rows = [letters.letter(values) for values in found]
        shown = fitting(rows[: query.limit])
        return api.LettersPage(tuple(shown), await self._count(asked.total), len(rows) > len(shown))

    async def groups(self, query: api.LettersQuery) -> api.LetterGroups:
        """Dead letters by kind of error, the largest groups first."""
        asked = letters.groups(query)
        await self._fresh()
        found = letters.grouped(await self._ask(asked))
        return api.LetterGroups(tuple(fitting(list(found.groups))), found.total, found.kinds)

    async def metrics(self, query: api.MetricsQuery) -> api.Metrics:
        """How much was done and how long it took, over time."""
        asked = metrics.series(query)
        await self._fresh()
        return metrics.told(query, await self._ask(asked))

    async def _ask(self, statement: Statement) -> list[tuple[Any, ...]]:
        return await self._store.query(*statement)

    async def _count(self, statement: Statement) -> int:
        return int((await self._ask(statement))[0][0])
