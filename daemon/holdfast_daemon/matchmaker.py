"""Tells runs of the events that they wait for: of each wait the earliest one that was published since it counts.

A wait becomes known with a message of the journal, an event with one of the event stream, and nothing orders the two.
So when a wait becomes known, the stream up to where the following of it stands is searched once, from the wait's
`since` on; what comes behind is compared as it comes, and the first match of that is only kept until the search is
over. Either way the earliest one wins, and no event is between the two. A daemon that starts knows the open waits from
the fold and does the same for each of them: what was told already is in the fold too.

While no run waits for an event the stream is not even followed.
"""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial

import anyio
import msgspec
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from holdfast.bus.clock import sleep
from holdfast.bus.journal import Journal
from holdfast.bus.ports import Message
from holdfast.core.entries import EventArrived
from holdfast.core.model import Expected, Instant, Run, Seconds
from holdfast.errors import BusError
from holdfast.wire.events import encoded
from holdfast.wire.subjects import Stream
from holdfast_daemon.expectations import Expectations, Place
from holdfast_daemon.ledger import Change
from holdfast_daemon.projection.rows import Ready, Standing

log = logging.getLogger("holdfast.matchmaker")

BEHIND: Seconds = 0.02
"""Between two looks at whether the fold has caught up: it has no event for it, and this happens once."""

PAGE = 1000
"""Events that are read at a time when the past is searched."""

RECENT = 2000
"""Newest events that are kept in memory: a replica that answers a search may lag behind by some of them, and most
waits need look no further back."""

RECENT_BYTES = 16 << 20
"""Of them, at most."""

LINGER: Seconds = 10.0
"""How long the event stream is followed after the last wait: the next one may come soon."""

AT_ONCE = 16
"""Searches and tellings under way."""


class Matchmaker:
    """Brings events and waiting runs together. A `projector.Listener`."""

    def __init__(self, journal: Journal, live: Callable[[], Mapping[str, Run]], caught_up: Callable[[], bool]) -> None:
        """
        Args:
            live: the runs that have not ended, as folded so far.
            caught_up: whether that is all that the journal held at the start.
        """
        self.told = 0
        """Events that runs were told of."""
        self.refused = 0
        """Those that the server takes no more, being too large."""
        self._journal = journal
        self._bus = journal.bus
        self._live = live
        self._caught_up = caught_up
        self._surveyed = False
        self._waits: dict[Place, _Wait] = {}
        self._by_run: defaultdict[str, dict[str, _Wait]] = defaultdict(dict)
        self._open = Expectations()
        """The waits that have no event yet."""
        self._unsearched: list[_Wait] = []
        self._matched: list[_Wait] = []
        """To be told."""
        self._recent: deque[Message] = deque()
        """The newest events that were heard."""
        self._recent_bytes = 0
        self._position: int | None = None
        """Up to where the event stream was heard; None: it is not followed."""
        self._stirred = anyio.Event()

    # --- what it is told --------------------------------------------------------------------------------------------

    def restart(self, standings: Sequence[Standing], ready: Sequence[Ready]) -> None:
        """The following of the journal begins anew: every live run is looked at once it has caught up."""
        self._surveyed = False
        self._stir()

    def take(self, changes: Sequence[Change]) -> None:
        """Note the waits that began or ended."""
        if not self._surveyed:
            return
        for change in changes:
            if change.after.expected or change.run_id in self._by_run:
                self._note(change.after)

    def _survey(self) -> None:
        self._surveyed = True
        live = self._live()
        for run_id in list(self._by_run.keys() - live.keys()):
            self._forget(run_id, self._by_run[run_id].keys())
        for run in list(live.values()):
            if run.expected or run.id in self._by_run:
                self._note(run)

    def _note(self, run: Run) -> None:
        expected = {each.wait: each for each in run.expected}
        known = self._by_run.get(run.id, {})
        # one that was begun anew under its old id, by a run that was retried from the start, is another one
        ended = [wait for wait, one in known.items() if expected.get(wait) != one.expected]
        self._forget(run.id, ended)
        for each in expected.values():
            if each.wait not in self._by_run.get(run.id, {}):
                self._expect(run, each)

    def _expect(self, run: Run, expected: Expected) -> None:
        wait = _Wait(Place(run.id, expected.wait), expected, run.attempt, self._position)
        try:
            self._open.add(wait.place, expected)
        except msgspec.DecodeError as error:
            log.warning("run %s waits in vain for %s: its fields can't be read: %s", run.id, expected.subject, error)
            return
        self._waits[wait.place] = wait
        self._by_run[run.id][expected.wait] = wait
        self._unsearched.append(wait)
        self._stir()

    def _forget(self, run_id: str, waits: Iterable[str]) -> None:
        for wait in list(waits):
            one = self._by_run[run_id].pop(wait)
            del self._waits[one.place]
            if one.event is None:
                self._open.remove(one.place, one.expected)
            one.over = True
        if not self._by_run[run_id]:
            del self._by_run[run_id]

    def _stir(self) -> None:
        self._stirred.set()
        self._stirred = anyio.Event()

    # --- what it does -----------------------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Match until cancelled; begins when the fold has caught up with the journal."""
        task_status.started()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._tell_all)
            while True:
                if not self._surveyed and not self._caught_up():
                    await sleep(self._journal.time, BEHIND)
                elif not self._surveyed:
                    self._survey()
                elif self._open:
                    await self._follow()
                else:
                    await self._stirred.wait()

    async def _follow(self) -> None:
        """Hear events as long as somebody waits for one."""
        last = await self._journal.insist(lambda: self._bus.last_seq(Stream.EVENTS))
        self._position = max(0, last - RECENT)  # the newest are heard again: a replica might not show them yet
        for wait in self._unsearched:
            wait.upto = self._position
        wanted_at = self._journal.clock()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._search_all)
                async with aclosing(self._bus.follow(Stream.EVENTS, ">", first=self._position + 1)) as feed:
                    async for events in feed:
                        if events:
                            self._hear(events)
                        if self._open:
                            wanted_at = self._journal.clock()
                        if not self._surveyed or self._journal.clock() - wanted_at > LINGER:
                            break
                tasks.cancel_scope.cancel()
        finally:
            self._position = None
            self._recent.clear()
            self._recent_bytes = 0
            self._search_again()

    def _search_again(self) -> None:
        """Following ends: whoever still waits is searched for when it begins again."""
        self._unsearched = [wait for wait in self._waits.values() if wait.event is None]
        for wait in self._unsearched:
            wait.searched, wait.upto, wait.candidate = False, None, None

    def _hear(self, events: Sequence[Message]) -> None:
        for event in events:
            for wait in self._satisfied(self._open, event):
                if wait.searched:
                    self._match(wait, event)
                elif wait.candidate is None:
                    wait.candidate = event
            self._remember(event)
        self._position = events[-1].seq

    def _remember(self, event: Message) -> None:
        self._recent.append(event)
        self._recent_bytes += len(event.data)
        while len(self._recent) > RECENT or self._recent_bytes > RECENT_BYTES:
            self._recent_bytes -= len(self._recent.popleft().data)

    def _satisfied(self, among: Expectations, event: Message) -> list[_Wait]:
        places = among.satisfied(self._name(event), event.data)
        found = [wait for place in places if (wait := self._waits.get(place)) is not None]
        return [wait for wait in found if event.time >= wait.expected.since]

    def _name(self, event: Message) -> str:
        return self._bus.subjects.event_name(event.subject)

    def _match(self, wait: _Wait, event: Message) -> None:
        self._open.remove(wait.place, wait.expected)
        wait.event = event
        self._matched.append(wait)
        self._stir()

    # --- the past ---------------------------------------------------------------------------------------------------

    async def _search_all(self) -> None:
        """Search the past for the waits that became known: what is in memory at once, for the others the stream."""
        limit = anyio.CapacityLimiter(AT_ONCE)
        while True:
            while not self._unsearched:
                await self._stirred.wait()
            waits, self._unsearched = self._unsearched, []
            found: dict[Place, Message] = {}
            self._sift(self._recent, waits, found)
            older = [wait for wait in waits if not self._is_recent(wait.expected.since)]
            self._searched([wait for wait in waits if self._is_recent(wait.expected.since)], found)
            await self._search_stream(older, found, limit)

    def _is_recent(self, since: Instant) -> bool:
        """Whether all events from then on are in memory."""
        return bool(self._recent) and self._recent[0].time < since

    async def _search_stream(
        self, waits: Sequence[_Wait], found: dict[Place, Message], limit: anyio.CapacityLimiter
    ) -> None:
        """Search the stream for waits, for those of one pattern together."""
        if not waits:
            return
        since = min(wait.expected.since for wait in waits)
        first = await self._journal.insist(lambda: self._bus.first_since(Stream.EVENTS, since))
        by_pattern: defaultdict[str, list[_Wait]] = defaultdict(list)
        for wait in waits:
            by_pattern[wait.expected.subject].append(wait)
        async with anyio.create_task_group() as tasks:
            for pattern, group in by_pattern.items():
                await limit.acquire_on_behalf_of(group[0])
                tasks.start_soon(self._search_pattern, pattern, group, found, first, limit)

    async def _search_pattern(
        self,
        pattern: str,
        waits: Sequence[_Wait],
        found: dict[Place, Message],
        first: int,
        limit: anyio.CapacityLimiter,
    ) -> None:
        upto = max(wait.upto or 0 for wait in waits)
        try:
            for filter in {self._bus.subjects.event(pattern), pattern}:  # ours, and those that keep their own name
                async for events in self._pages(filter, first, upto):
                    self._sift(events, waits, found)
        finally:
            limit.release_on_behalf_of(waits[0])
        self._searched(waits, found)

    async def _pages(self, filter: str, first: int, upto: int) -> AsyncIterator[Sequence[Message]]:
        while first <= upto:
            page = await self._journal.insist(partial(self._bus.read, Stream.EVENTS, filter, first=first, limit=PAGE))
            yield page
            if len(page) < PAGE:
                return
            first = page[-1].seq + 1

    def _sift(self, events: Iterable[Message], waits: Sequence[_Wait], found: dict[Place, Message]) -> None:
        """Note for each wait the first event that it is for, among those that were there when it became known."""
        asked = Expectations()
        for wait in waits:
            if not wait.over:  # else another one may be in its place
                asked.add(wait.place, wait.expected)
        for event in events:
            for wait in self._satisfied(asked, event):
                known = found.get(wait.place)
                if event.seq <= (wait.upto or 0) and (known is None or event.seq < known.seq):
                    found[wait.place] = event

    def _searched(self, waits: Iterable[_Wait], found: Mapping[Place, Message]) -> None:
        """The past of these waits is known; what was heard since counts from now on."""
        for wait in waits:
            wait.searched = True
            event = found.get(wait.place, wait.candidate)
            if event is not None and not wait.over:
                self._match(wait, event)

    # --- telling ----------------------------------------------------------------------------------------------------

    async def _tell_all(self) -> None:
        limit = anyio.CapacityLimiter(AT_ONCE)
        async with anyio.create_task_group() as tasks:
            while True:
                while not self._matched:
                    await self._stirred.wait()
                matched, self._matched = self._matched, []
                for wait in matched:
                    await limit.acquire_on_behalf_of(wait)
                    tasks.start_soon(self._tell, wait, limit)

    async def _tell(self, wait: _Wait, limit: anyio.CapacityLimiter) -> None:
        """Tell a run of its event; by how often that is repeated nothing changes."""
        event, place = wait.event, wait.place
        assert event is not None
        arrived = EventArrived(place.wait, event.time, event.seq, self._name(event), encoded(event.data))
        dedupe = f"{place.run}-{place.wait}-{wait.attempt}-{event.seq}"
        try:
            if wait.over:
                return
            await self._journal.insist(lambda: self._journal.tell(place.run, arrived, dedupe=dedupe))
            self.told += 1
        except BusError as error:
            self.refused += 1
            log.error("run %s is not told of event %d that it waits for: %s", place.run, event.seq, error)
        finally:
            limit.release_on_behalf_of(wait)


class _Wait:
    """A wait and what came of it."""

    __slots__ = ("attempt", "candidate", "event", "expected", "over", "place", "searched", "upto")

    def __init__(self, place: Place, expected: Expected, attempt: int, upto: int | None) -> None:
        self.place = place
        self.expected = expected
        self.attempt = attempt
        self.upto = upto
        """Up to where the past is searched: what lies behind is heard."""
        self.searched = False
        self.candidate: Message | None = None
        """The first match that was heard before the past was searched."""
        self.event: Message | None = None
        """The event that it is for."""
        self.over = False
        """Whether the run waits no more."""
