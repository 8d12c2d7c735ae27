"""What a client asks the daemon: runs, queues, letters, log lines, metrics, as the history, the journal and the gauges
hold them. Names and types: `wire.api`."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from holdfast.bus.ports import Bus
from holdfast.wire import api, codec

T = TypeVar("T")

LONG = 60.0
"""Seconds that the daemon may take for a page of what changes something: a replay of events, a purge."""


class Questions:
    """The part of a client that asks the daemon.

    Each question raises DaemonUnavailable where nobody answers, and Refused where it can't be answered as it is.
    """

    bus: Bus
    name: str

    async def _ask(self, service: str, question: msgspec.Struct, answer: type[T], *, within: float | None = None) -> T:
        subject, data = self.bus.subjects.api(service), codec.encode(question)
        reply = await (
            self.bus.request(subject, data) if within is None else self.bus.request(subject, data, timeout=within)
        )
        return api.decode(reply, answer)

    # --- runs -------------------------------------------------------------------------------------------------------

    async def runs(self, query: api.RunsQuery | None = None) -> api.RunsPage:
        """A page of runs; `RunsQuery.behind` asks for the next one."""
        return await self._ask(api.RUNS_LIST, query or api.RunsQuery(), api.RunsPage)

    async def run_counts(self, query: api.RunsQuery | None = None) -> api.RunsCounts:
        """How many runs a query means, by state."""
        return await self._ask(api.RUNS_COUNTS, query or api.RunsQuery(), api.RunsCounts)

    async def get(self, run: str) -> api.RunView:
        """A run with everything, by its id or an unambiguous part. Raises: Refused: not found, or several."""
        return await self._ask(api.RUNS_GET, api.RunRef(run), api.RunView)

    async def history(self, run: str) -> api.History:
        """A run's journal messages; `core.tree.Tree` folds their entries. Raises: Refused: not found, or several."""
        page = await self._ask(api.RUNS_HISTORY, api.HistoryRef(run), api.History)
        id, messages = page.run, list(page.messages)
        while page.more and page.messages:
            page = await self._ask(api.RUNS_HISTORY, api.HistoryRef(id, messages[-1].seq), api.History)
            messages += page.messages
        return api.History(id, tuple(messages))

    async def value(self, run: str, key: str) -> api.Value:
        """A recorded value as JSON: of a checkpoint, of `/` the result, of an empty key the payload.

        Raises:
            Refused: there is no such run, or several, or no such value.
        """
        return await self._ask(api.RUNS_VALUE, api.ValueRef(run, key), api.Value)

    async def why(self, run: str) -> api.Why:
        """Why a run does not run, and since when. Raises: Refused: not found, or several."""
        return await self._ask(api.QUEUES_WHY, api.RunRef(run), api.Why)

    # --- queues -----------------------------------------------------------------------------------------------------

    async def queues(self) -> api.Queues:
        return await self._ask(api.QUEUES_LIST, api.Nothing(), api.Queues)

    async def purge_queue(self, name: str, *, reason: str = "", dry_run: bool = False) -> int:
        """Cancel all runs of a queue that wait (queued or delayed) and have never started; returns how many.

        Runs that a worker takes meanwhile go on, and those created after the call began stay. It goes page by page:
        what it has cancelled stays so where it is interrupted, and may be called again.

        Args:
            reason: why; recorded with each.
            dry_run: only count them.
        """
        asked = api.QueuePurge(queue=name, by=self.name, reason=reason, dry_run=dry_run)
        cancelled = 0
        while True:
            page = await self._ask(api.QUEUES_PURGE, asked, api.QueuePurged, within=LONG)
            cancelled += page.cancelled
            if page.done:
                return cancelled
            asked = msgspec.structs.replace(asked, after=page.after, upto=page.upto)

    # --- dead letters -----------------------------------------------------------------------------------------------

    async def letters(self, query: api.LettersQuery | None = None) -> api.LettersPage:
        """A page of dead letters; `LettersQuery.behind` asks for the next one."""
        return await self._ask(api.LETTERS_LIST, query or api.LettersQuery(), api.LettersPage)

    async def letter_groups(self, query: api.LettersQuery | None = None) -> api.LetterGroups:
        """Dead letters by kind of error, the most frequent first."""
        return await self._ask(api.LETTERS_GROUPS, query or api.LettersQuery(), api.LetterGroups)

    # --- log lines, metrics, events, the daemon itself --------------------------------------------------------------

    async def logs(self, query: api.LogsQuery | None = None) -> api.LogsPage:
        return await self._ask(api.LOGS_LIST, query or api.LogsQuery(), api.LogsPage)

    async def metrics(self, query: api.MetricsQuery) -> api.Metrics:
        """How much was done and how long it took, over time."""
        return await self._ask(api.METRICS, query, api.Metrics)

    async def replay_events(self, asked: api.EventsReplay) -> api.EventsReplayed:
        """Route a page of past events once more. Raises: Refused."""
        return await self._ask(api.EVENTS_REPLAY, asked, api.EventsReplayed, within=LONG)

    async def event_runs(self, seq: int) -> tuple[api.EventRun, ...]:
        """The runs that an event started. Raises: Refused: there is no such event."""
        return (await self._ask(api.EVENTS_RUNS, api.EventRef(seq), api.EventRuns)).runs

    async def health(self) -> api.Health:
        return await self._ask(api.HEALTH, api.Nothing(), api.Health)
