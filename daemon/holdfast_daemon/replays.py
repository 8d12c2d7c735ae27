"""Routes past events once more, page by page, as an operator asks: by today's routes, and idempotently.

A run that an event has started already is not started again, unless that is asked for; then its id says for which
asking, so that a page that is asked for twice starts nothing twice either.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial

from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from holdfast.abreast import abreast
from holdfast.bus.journal import Journal
from holdfast.core.model import Seconds, State
from holdfast.core.routing import matches
from holdfast.errors import DaemonUnavailable, Refused, Unanswered, UnknownRun
from holdfast.wire import api
from holdfast.wire.events import payload_of
from holdfast.wire.subjects import Stream
from holdfast_daemon.answering import Question, answering
from holdfast_daemon.inquiry import inquired, questions
from holdfast_daemon.registrar import Draft, Drafter, Outcome, Registrar
from holdfast_daemon.routebook import Route, Routebook, Sighted

MOST = 1000
"""Events of a page."""

AT_ONCE = 32
"""Runs that are looked for at once."""


UNMAPPED = "event"
"""Why a run is dead of whose event no arguments could be made (`Journal.begin_dead`)."""


class Replays:
    """Serves `events.replay` and `events.runs`."""

    def __init__(self, journal: Journal, book: Routebook, registrar: Registrar, *, ttl: Seconds | None = None) -> None:
        self._journal = journal
        self._bus = journal.bus
        self._book = book
        self._registrar = registrar
        self._ttl = ttl

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        await answering(
            self._bus,
            Question(api.EVENTS_REPLAY, api.EventsReplay, self.replay),
            Question(api.EVENTS_RUNS, api.EventRef, self.runs),
            task_status=task_status,
        )

    async def replay(self, asked: api.EventsReplay) -> api.EventsReplayed:
        """Route a page of events.

        Raises:
            Refused: there is no such route, or the page is too large, or no worker says what a task takes in.
        """
        if not 1 <= asked.limit <= MOST:
            raise Refused(f"limit: expected 1 to {MOST} events, found {asked.limit}", code="bad_request")
        if asked.route and not self._book.named(asked.route):
            raise Refused(f"no route is named {asked.route}: see [[routes]] in holdfast.toml", code="not_found")
        found = await self._bus.read(Stream.EVENTS, ">", first=asked.first, limit=asked.limit)
        events = [Sighted.of(self._bus.subjects, message) for message in found if message.seq <= asked.last]
        meant = [event for event in events if not asked.subject or matches(asked.subject, event.name)]
        drafts = await self._drafts(asked, meant)
        wanting = {draft.event for draft in drafts}
        outcome = await self._carried_out(asked, drafts)
        return api.EventsReplayed(
            next=found[-1].seq + 1 if found else asked.last + 1,
            done=len(found) < asked.limit or found[-1].seq >= asked.last,
            events=len(meant),
            unwanted=sum(event.message.seq not in wanting for event in meant),
            **outcome._asdict(),
        )

    async def runs(self, ref: api.EventRef) -> api.EventRuns:
        """The runs that an event started, as they stand.

        Raises:
            Refused: the event stream holds no such event.
        """
        stored = await self._bus.read(Stream.EVENTS, ">", first=ref.seq, limit=1)
        if not stored or stored[0].seq != ref.seq:
            raise Refused(f"no event {ref.seq}: see `holdfast events list`", code="not_found")
        event = Sighted.of(self._bus.subjects, stored[0])
        drafter = Drafter()
        started = []
        for route in self._book.of(event):
            run = drafter.draft(event, route, payload_of(b"")).run.run
            with suppress(UnknownRun):
                found = await self._journal.load(run)
                unmapped = found.state is State.DEAD and found.reason == UNMAPPED
                started.append(api.EventRun(run, route.task, route.name, found.state, unmapped))
        return api.EventRuns(tuple(started))

    async def _drafts(self, asked: api.EventsReplay, events: Sequence[Sighted]) -> list[Draft]:
        drafter = Drafter(self._ttl, again=asked.again, now=asked.at)
        drafts: list[Draft] = []
        to_ask: dict[str, tuple[Route, list[Sighted]]] = {}
        for event in events:
            routes = [route for route in self._book.of(event) if _meant(route, asked)]
            drafts += drafter.drafts(event, (route for route in routes if not route.asks))
            for route in routes:
                if route.asks:
                    to_ask.setdefault(route.identity, (route, []))[1].append(event)
        for route, theirs in to_ask.values():
            try:
                for portion in questions(theirs):
                    drafts += await inquired(self._bus, drafter, route, portion)
            except (DaemonUnavailable, Unanswered) as error:
                raise Refused(
                    f"no worker says what {route.task} makes of events, which it tells by a function: start one, or "
                    f"name other tasks ({error})",
                    code="unavailable",
                ) from error
        return drafts

    async def _carried_out(self, asked: api.EventsReplay, drafts: Sequence[Draft]) -> Outcome:
        """Create the runs that there are not yet, or count them."""
        known = await self._known(draft.run.run for draft in drafts)
        new = [draft for draft in drafts if draft.run.run not in known]
        if not asked.dry_run:
            outcome = await self._registrar.create(new)
            return outcome._replace(existed=outcome.existed + len(known))
        dead = sum(draft.error is not None for draft in new)
        return Outcome(created=len(new) - dead, existed=len(known), unmapped=dead)

    async def _known(self, runs: Iterable[str]) -> set[str]:
        """Which of these runs the journal knows, whatever has become of them."""
        known: set[str] = set()

        async def look(run: str) -> None:
            if await self._bus.latest(Stream.JOURNAL, self._bus.subjects.of_run(run)):
                known.add(run)

        await abreast((partial(look, run) for run in runs), AT_ONCE)
        return known


def _meant(route: Route, asked: api.EventsReplay) -> bool:
    return (not asked.task or route.task == asked.task) and (not asked.route or route.name == asked.route)
