"""Creates the runs that events ask for: each once, however often it is asked.

A run that its event and route ask for has an id derived from both, and creation is create-only. One of which no
arguments can be made is created dead, with the event's bytes as payload.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import anyio
import msgspec

from holdfast.abreast import abreast
from holdfast.bus.blobs import INLINE, Blobs
from holdfast.bus.journal import Journal
from holdfast.core.entries import RunCreated
from holdfast.core.model import ErrorInfo, Instant, Seconds
from holdfast.errors import EncodeError, EventError, TooLarge
from holdfast.triggering import of_event, unmapped
from holdfast.wire.events import raw_payload
from holdfast_daemon.routebook import Route, Sighted

log = logging.getLogger("holdfast.router")

AT_ONCE = 16
"""Dead runs that are created at once."""


class Draft(NamedTuple):
    """A run that an event asks for."""

    event: int
    """Its sequence."""
    run: RunCreated
    error: ErrorInfo | None = None
    """Why it is dead from the start; None: it is not."""


class Outcome(NamedTuple):
    """What became of drafts."""

    created: int = 0
    existed: int = 0
    """Runs that there were already."""
    unmapped: int = 0
    """Created dead."""
    refused: int = 0
    """Too large for the server."""


class Drafter:
    """Makes drafts of what routes say of events."""

    def __init__(self, ttl: Seconds | None = None, *, again: str = "", now: Instant | None = None) -> None:
        """
        Args:
            ttl: the project's default.
            again, now: as of `of_event`.
        """
        self._ttl = ttl
        self._again = again
        self._now = now

    def drafts(self, event: Sighted, routes: Iterable[Route]) -> Iterator[Draft]:
        """The runs of an event by routes that are not asked about."""
        for route in routes:
            try:
                payload = route.payload(event)
            except EventError as error:
                yield self.draft(event, route, error)
            else:
                if payload is not None:
                    yield self.draft(event, route, payload)

    def draft(self, event: Sighted, route: Route, found: bytes | EventError) -> Draft:
        """The run of an event, from the payload that its route makes of it, or from why it can't."""
        message = event.message
        run = of_event(
            message,
            event.name,
            route.task,
            raw_payload(message.data) if isinstance(found, EventError) else found,
            route.settings,
            route=route.identity,
            ttl=self._ttl,
            again=self._again,
            now=self._now,
        )
        return Draft(message.seq, run, unmapped(message, found) if isinstance(found, EventError) else None)


class Registrar:
    """Creates them."""

    def __init__(self, journal: Journal) -> None:
        self.routed = 0
        """Runs created from events."""
        self.unmapped = 0
        """Runs created dead."""
        self.refused = 0
        """Runs that the server takes no more, being too large; their events stay likewise."""
        self._journal = journal
        self._blobs = Blobs(journal.bus)

    async def create(self, drafts: Sequence[Draft]) -> Outcome:
        """Create them all; those whose outcome is unknown are created again, which does nothing twice."""
        before = (self.routed, self.unmapped, self.refused)
        living = [draft.run for draft in drafts if draft.error is None]
        if living:
            await self._create([slim for run in living if (slim := await self._slim(run)) is not None])
        await self._bury([draft for draft in drafts if draft.error is not None])
        created, unmapped, refused = (
            now - then for now, then in zip((self.routed, self.unmapped, self.refused), before, strict=True)
        )
        return Outcome(created, len(drafts) - created - unmapped - refused, unmapped, refused)

    async def _slim(self, run: RunCreated) -> RunCreated | None:
        """The run with a big payload kept apart; None where nothing can keep it."""
        if len(run.payload) <= INLINE:
            return run
        try:
            kept = await self._journal.insist(lambda: self._blobs.keep(run.payload))
        except (EncodeError, TooLarge) as error:
            self._refuse(run, error)
            return None
        return msgspec.structs.replace(run, payload=kept)

    async def _create(self, runs: list[RunCreated]) -> None:
        while runs:
            again = []
            for run, outcome in zip(runs, await self._journal.create_many(runs), strict=True):
                if isinstance(outcome, TooLarge):
                    self._refuse(run, outcome)
                elif isinstance(outcome, Exception):
                    again.append((run, outcome))
                elif outcome:
                    self.routed += 1
            if again:
                log.warning("%d of %d runs are created again: %s", len(again), len(runs), again[0][1])
                await anyio.sleep(0.2)
            runs = [run for run, _ in again]

    def _refuse(self, run: RunCreated, error: Exception) -> None:
        self.refused += 1
        log.error("no run of %s for the %s, which is passed over: %s", run.task, run.source, error)

    async def _bury(self, drafts: Sequence[Draft]) -> None:
        """Create runs that are dead."""
        await abreast((partial(self._bury_one, draft) for draft in drafts), AT_ONCE)

    async def _bury_one(self, draft: Draft) -> None:
        error, run = draft.error, await self._slim(draft.run)
        assert error is not None
        if run is None:
            return
        try:
            new = await self._journal.insist(lambda: self._journal.begin_dead(run, error))
        except TooLarge as refused:
            self._refuse(run, refused)
            return
        if new:
            self.unmapped += 1
            log.warning("run %s of %s is dead from the start: %s", run.run, run.task, error.message)
