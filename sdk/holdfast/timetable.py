"""Keeps the next tick of each schedule parked in the server, where it fires by itself, and makes up for missed ones.

What is parked is the first fact of the tick's run, as a timer whose target is the run's work item. So a tick needs
nobody but the server to fire, and a worker to run; who keeps the timetable may be away from one tick to the next. The
id of the run is made of schedule and time, and where a schedule stands is written with compare-and-set: several may
keep the timetable at once, and each may be stopped anywhere.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import anyio.lowlevel
import msgspec
from msgspec.structs import replace

from holdfast.bus.journal import EARLY, TIMER, Journal
from holdfast.bus.ports import Message
from holdfast.catalogue import Planned
from holdfast.core import ids
from holdfast.core.entries import RunCreated
from holdfast.core.lifecycle import Kind
from holdfast.core.model import Instant, Seconds, Tick
from holdfast.core.schedule import SLACK, Overlap, catch_up, run_id
from holdfast.errors import Fenced
from holdfast.ticks import after, tell
from holdfast.triggering import created
from holdfast.wire import api, codec
from holdfast.wire.schedules import TICK, Fired, Parked, Ticking
from holdfast.wire.subjects import Stream
from holdfast.wire.values import decode_value, encode_value

log = logging.getLogger("holdfast.schedules")

SOON: Seconds = 0.1
"""After so long it is looked again whether a tick that is due has fired."""

TRIES = 20
"""How often a schedule is looked at anew because somebody else moved it on meanwhile."""

BREATH = 500
"""Missed ticks that are counted before others have a turn."""

AT_ONCE = 200
"""Runs of missed ticks that are created at a time."""

COUNTED = 20
"""Runs that are remembered as counted: those of ticks that may be looked at twice."""


class Standing(NamedTuple):
    """Where a schedule stands, and the sequence that says so."""

    state: Ticking | None
    seq: int


class Timetable:
    """The ticks of a project's schedules."""

    def __init__(self, journal: Journal, *, ttl: Seconds | None = None) -> None:
        """
        Args:
            ttl: the project's, of runs whose task names none.
        """
        self._journal = journal
        self._bus = journal.bus
        self._now = journal.clock
        self._ttl = ttl
        self._doubted: dict[str, Instant] = {}
        """Runs of ticks that are due and have not fired, since when that is known."""

    async def standing(self, name: str) -> Standing:
        """Where a schedule stands."""
        kept = await self._bus.last(Stream.CONTROL, self._bus.subjects.control(TICK, name))
        if kept is None:
            return Standing(None, 0)
        try:
            return Standing(api.decode(kept.data, Ticking), kept.seq)
        except msgspec.MsgspecError as error:
            log.warning("schedule %s begins anew: where it stood can't be read: %s", name, error)
            return Standing(None, kept.seq)

    async def names(self) -> list[str]:
        """The schedules of which it is known where they stand."""
        kept = await self._bus.latest(Stream.CONTROL, self._bus.subjects.control(TICK, "*"))
        return [message.subject.rpartition(".")[2] for message in kept]

    async def attend(self, planned: Planned) -> Instant:
        """Do for a schedule what there is to do just now; when to look again. May be repeated, and by several at once.

        Raises:
            BusError, ConnectError: look again a little later.
        """
        for _ in range(TRIES):
            with suppress(Fenced):  # somebody moved it on meanwhile
                return await self._attend(planned, await self.standing(planned.name))
        return self._now() + SOON

    async def resume(self, planned: Planned) -> None:
        """A schedule is not paused any more: what came meanwhile was not to run."""
        await self._change(planned.name, lambda state: replace(state, since=self._now()))

    async def forget(self, name: str) -> None:
        """A schedule is no more."""
        state, _ = await self.standing(name)
        if state is not None and state.next is not None:
            await self._unpark(state.next.run)
        await self._bus.purge(Stream.CONTROL, self._bus.subjects.control(TICK, name))

    async def count(self, schedule: str, run: str, *, missed: bool = False) -> None:
        """Count the tick of a run that was skipped, or missed. Counts a run once."""

        def counted(state: Ticking) -> Ticking:
            if run in state.counted:
                return state
            remembered = (*state.counted, run)[-COUNTED:]
            return replace(
                state, missed=state.missed + missed, skipped=state.skipped + (not missed), counted=remembered
            )

        await self._change(schedule, counted)

    async def _change(self, name: str, change: Callable[[Ticking], Ticking]) -> None:
        """Change where a schedule stands, where that is known."""
        while True:
            state, seq = await self.standing(name)
            if state is None or (changed := change(state)) == state:
                return
            with suppress(Fenced):
                await self._keep(name, changed, seq)
                return

    async def _keep(self, name: str, state: Ticking, expect: int) -> int:
        return await self._bus.publish(self._bus.subjects.control(TICK, name), codec.encode(state), expect=expect)

    # --- one look at one schedule -----------------------------------------------------------------------------------

    async def _attend(self, planned: Planned, standing: Standing) -> Instant:
        state = _begun(standing.state, planned, self._now())
        state = await self._make(planned, state)
        fired = await self._fired(planned, state)
        if fired is None:
            return self._now() + SOON
        if planned.paused is not None:
            return await self._rest(planned, fired.state, standing)
        state = await self._catch_up(planned, fired)
        if state is not fired.state:  # counted and named before it is done: that may be done twice, not be counted so
            standing = Standing(state, await self._keep(planned.name, state, standing.seq))
            state = await self._make(planned, state)
        return await self._park(planned, state, standing)

    async def _fired(self, planned: Planned, state: Ticking, made_up: bool = False) -> _Fired | None:
        """Where the schedule stands once its parked tick has fired, if that is due; None: it is about to fire."""
        parked, now = state.next or await self._unkept(planned, state), self._now()
        if parked is None or parked.due > now:
            return _Fired(state, made_up)
        message = await self._first_of(parked)
        if message is not None:
            self._doubted.pop(parked.run, None)
            last = Fired(parked.at, parked.run, message.seq)
            made_up = SLACK < message.time - parked.due <= planned.schedule.catch_up + SLACK
            state = replace(state, next=None, last=last, since=max(state.since, parked.at))
            return await self._fired(planned, state, made_up)  # somebody may have parked another one
        if planned.paused is None and now < self._doubted.setdefault(parked.run, now) + SLACK:
            return None
        self._doubted.pop(parked.run, None)
        if planned.paused is None:
            log.warning("schedule %s: the timer of its tick is gone, which counts as missed", planned.name)
        return _Fired(replace(state, next=None), made_up)

    async def _unkept(self, planned: Planned, state: Ticking) -> Parked | None:
        """A tick that was parked by somebody who could not say so any more, and that has fired."""
        at = next(after(planned.schedule, state.since), None)
        if at is None or (due := at + planned.schedule.offset) > self._now():
            return None
        first = await self._bus.first_since(Stream.JOURNAL, at - EARLY)
        parked = Parked(at, run_id(planned.name, at), due, first)
        return None if await self._first_of(parked) is None else parked

    async def _first_of(self, parked: Parked) -> Message | None:
        """The first message of a tick's run, once there is one."""
        subjects = self._bus.subjects
        messages = await self._bus.read(Stream.JOURNAL, subjects.of_run(parked.run), first=parked.seq)
        return next((one for one in messages if subjects.parse(one.subject).kind is not Kind.TIMER), None)

    async def _rest(self, planned: Planned, state: Ticking, standing: Standing) -> Instant:
        """Let a paused schedule have no tick parked."""
        if state.next is not None:
            await self._unpark(state.next.run)
        if state.next is not None or state != standing.state:
            resting = replace(state, next=None, since=max(state.since, self._now()))
            await self._keep(planned.name, resting, standing.seq)
        return math.inf

    async def _catch_up(self, planned: Planned, fired: _Fired) -> Ticking:
        """Where the schedule stands once missed ticks are counted, or named as being given their runs."""
        state, made_up = fired
        missed = await self._missed(planned, state.since)
        if missed.last is None:
            return state
        plan = catch_up(planned.schedule.overlap, missed.recent, made_up=made_up)
        log.info("schedule %s: %d ticks run late, %d not", planned.name, len(plan.run), missed.older + plan.skipped)
        return replace(
            state,
            since=missed.last,
            making=plan.run,
            missed=state.missed + missed.older,
            skipped=state.skipped + plan.skipped,
        )

    async def _missed(self, planned: Planned, since: Instant) -> _Missed:
        """The ticks that are due and not parked."""
        schedule, now = planned.schedule, self._now()
        older, recent, last = 0, [], None
        for number, at in enumerate(after(schedule, since)):
            late = now - (at + schedule.offset)
            if late < 0:
                break
            if number % BREATH == BREATH - 1:
                await anyio.lowlevel.checkpoint()
            last = at
            if late > schedule.catch_up + SLACK:
                older += 1
            else:
                recent.append(at)
        return _Missed(older, recent, last)

    async def _make(self, planned: Planned, state: Ticking) -> Ticking:
        """Where the schedule stands once missed ticks have their runs, each behind the one before."""
        ticks, last = state.making, state.last
        for start in range(0, len(ticks), AT_ONCE):
            chunk = ticks[start : start + AT_ONCE]
            first = await self._bus.first_since(Stream.JOURNAL, chunk[0] - EARLY)
            runs = []
            for at in chunk:
                runs.append(self._made(planned, at, last))
                last = Fired(at, runs[-1].run, first)
            for outcome in await self._journal.create_many(runs):
                if isinstance(outcome, Exception):
                    raise outcome
        return replace(state, making=(), last=last) if ticks else state

    async def _park(self, planned: Planned, state: Ticking, standing: Standing) -> Instant:
        """Have the next tick stand in the server; when it is due."""
        at = next(after(planned.schedule, state.since), None)
        due = math.inf if at is None else at + planned.schedule.offset
        if due <= self._now():
            return due  # time went by
        made = None if at is None else self._made(planned, at, state.last, due=due)
        if state.next is not None and (made is None or state.next.run != made.run):
            await self._unpark(state.next.run)
        if at is None or made is None:
            await self._keep_changed(planned, replace(state, next=None), standing)
            return due
        digest = ids.digest(codec.encode(made).hex())
        if state.next is not None and state.digest == digest and await self._stands(state.next.run):
            await self._keep_changed(planned, state, standing)
            return due
        parked = Parked(at, made.run, due, await self._journal.create(made))
        await self._keep_parked(planned, replace(state, next=parked, digest=digest), standing.seq)
        return due

    async def _keep_changed(self, planned: Planned, state: Ticking, standing: Standing) -> None:
        if state != standing.state:
            await self._keep(planned.name, state, standing.seq)

    async def _keep_parked(self, planned: Planned, state: Ticking, seq: int) -> None:
        """Keep that a tick was parked; where somebody else was faster and does not want it, it goes.

        Raises:
            Fenced: somebody else was faster.
        """
        assert state.next is not None
        try:
            await self._keep(planned.name, state, seq)
        except Fenced:
            found, _ = await self.standing(planned.name)
            if found is None or found.next is None or found.next.run != state.next.run:
                await self._unpark(state.next.run)
            raise

    async def _stands(self, run: str) -> bool:
        """Whether the timer of a tick is there."""
        return await self._bus.last(Stream.JOURNAL, self._bus.subjects.timer(run, TIMER)) is not None

    async def _unpark(self, run: str) -> None:
        await self._bus.purge(Stream.JOURNAL, self._bus.subjects.timer(run, TIMER))

    # --- runs -------------------------------------------------------------------------------------------------------

    def _made(self, planned: Planned, at: Instant, before: Fired | None, *, due: Instant | None = None) -> RunCreated:
        """The first fact of a tick's run.

        Args:
            due: when it fires; None: it was missed, and runs at once.
        """
        schedule = planned.schedule
        follows = before is not None and schedule.overlap != Overlap.ALLOW
        tick = Tick(
            schedule=schedule.name,
            at=at,
            before=before.run if before is not None and follows else "",
            before_first=before.first if before is not None and follows else 1,
            catch_up=None if due is None else schedule.catch_up,
            overlap=schedule.overlap,
        )
        made = created(
            schedule.task,
            arguments(planned, at, None if before is None else before.at),
            replace(planned.settings, delay=0.0 if due is None else due - at),
            run=run_id(schedule.name, at),
            at=self._now() if due is None else at,
            source=f"schedule {schedule.name}",
            ttl=self._ttl,
        )
        return replace(made, due=due, tick=tick)


def arguments(planned: Planned, at: Instant, previous: Instant | None) -> bytes:
    """The payload of a run of a schedule: its own, and the tick where the task takes it."""
    schedule = planned.schedule
    if not planned.takes_tick:
        return schedule.payload or encode_value({})
    given = decode_value(schedule.payload) if schedule.payload else {}
    return encode_value({"tick": tell(schedule, at, previous, next(after(schedule, at), None)), **given})


class _Fired(NamedTuple):
    state: Ticking
    made_up: bool = False
    """Whether the tick that was parked fired late, and runs: it stands for others that were missed."""


class _Missed(NamedTuple):
    older: int
    """How many are too old to be caught up with."""
    recent: list[Instant]
    last: Instant | None
    """None: no tick was missed."""


def _begun(state: Ticking | None, planned: Planned, now: Instant) -> Ticking:
    """Where a schedule stands that may be new, or another one than it was: its times count from then on."""
    rhythm, begins = planned.schedule.rhythm, now if planned.since is None else planned.since
    if state is None:
        return Ticking(since=begins, rhythm=rhythm)
    return state if state.rhythm == rhythm else replace(state, rhythm=rhythm, since=max(state.since, begins))
