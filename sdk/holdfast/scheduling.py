"""What operators do to schedules: create, delete, pause, resume, run by hand, and look ahead.

Each is written down first, for the daemon to follow, and then done here as well: so that it holds while there is none.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from functools import partial
from itertools import islice

from msgspec.structs import replace

from holdfast.abreast import abreast
from holdfast.bus.blobs import INLINE
from holdfast.bus.journal import Journal
from holdfast.catalogue import Catalogue, Planned
from holdfast.core.model import Instant, Seconds, State
from holdfast.core.schedule import Schedule
from holdfast.decoding import suggested
from holdfast.errors import ConfigError, Fenced, ScheduleTaken, UnknownRun, UnknownSchedule
from holdfast.ticks import Cron, Every, after, zone
from holdfast.timetable import Timetable
from holdfast.triggering import token
from holdfast.wire import codec
from holdfast.wire.schedules import DELETED_FOR, PAUSED, SCHEDULE, Dynamic, Pause, ScheduleRow, Ticking
from holdfast.wire.subjects import Stream

MOST = 1000
"""Ticks that are looked ahead at most."""

BEHIND: Seconds = 60.0
"""So long after its tick was due a schedule whose next one is not parked has nobody who attends to it."""

AT_ONCE = 16
"""Runs that are read at a time."""


async def planned(journal: Journal, name: str) -> Planned:
    """A schedule. Raises: UnknownSchedule."""
    known = (await Catalogue.of(journal.bus)).schedules
    found = known.get(token("schedule", name))
    if found is not None:
        return found
    raise UnknownSchedule(f"no schedule {name!r} in project {journal.bus.subjects.project}; {suggested(name, known)}")


def made(
    name: str, task: str, when: Cron | Every, *, payload: bytes, queue: str | None, priority: int | None
) -> Schedule:
    """A schedule of an operator. Raises: ConfigError: it can't be."""
    _check_times(name, when)
    if len(payload) > INLINE:
        size = f"at most {INLINE >> 10} KiB, found {len(payload)} bytes"
        raise ConfigError(f"schedule {name}: expected a payload of {size}: keep the rest where the task finds it")
    schedule = replace(when.of(token("task", task)), name=token("schedule", name), payload=payload)
    return replace(schedule, queue="" if queue is None else token("queue", queue), priority=priority)


def _check_times(name: str, when: Cron | Every) -> None:
    if not isinstance(when, Cron | Every):
        raise ConfigError(f"schedule {name}: expected a Cron or an Every, found {when!r:.100}")


async def create(journal: Journal, timetable: Timetable, schedule: Schedule, by: str, *, over: bool) -> Planned:
    """Create a schedule, or change one that an operator created.

    Args:
        over: change it, where there is one.

    Raises:
        ScheduleTaken: a task declares one of this name; there is one, and it is not to be changed; or somebody else
            created or changed it just now.
    """
    name = schedule.name
    task = (await Catalogue.of(journal.bus)).declared(name)
    if task:
        raise ScheduleTaken(f"schedule {name} is declared by task {task}: expected another name, or pause that one")
    subject = journal.bus.subjects.control(SCHEDULE, name)
    found = await journal.bus.last(Stream.CONTROL, subject)
    if found is not None and found.data and not over:
        raise ScheduleTaken(f"there is a schedule {name}: expected another name, or --replace to change it")
    dynamic = Dynamic(schedule=schedule, by=by, at=journal.clock())
    try:
        await journal.bus.publish(subject, codec.encode(dynamic), expect=0 if found is None else found.seq)
    except Fenced:
        raise ScheduleTaken(f"schedule {name} was created or changed by somebody else just now") from None
    stands = await planned(journal, name)
    await timetable.attend(stands)
    return stands


async def change(journal: Journal, timetable: Timetable, name: str, when: Cron | Every, by: str) -> None:
    """Have a schedule that an operator created tick at other times; its payload, queue and priority stay.

    Raises:
        UnknownSchedule: there is none of this name.
        ScheduleTaken: a task declares it, or somebody else changed it just now.
        ConfigError: times that can't be.
    """
    _check_times(name, when)
    subject = journal.bus.subjects.control(SCHEDULE, token("schedule", name))
    found = await journal.bus.last(Stream.CONTROL, subject)
    stands = await planned(journal, name)
    if stands.since is None or found is None or not found.data:
        raise ScheduleTaken(f"schedule {name} is declared by task {stands.schedule.task}: change its code")
    old = stands.schedule
    schedule = replace(when.of(old.task), name=name, payload=old.payload, queue=old.queue, priority=old.priority)
    dynamic = Dynamic(schedule=schedule, by=by, at=journal.clock())
    try:
        await journal.bus.publish(subject, codec.encode(dynamic), expect=found.seq)
    except Fenced:
        raise ScheduleTaken(f"schedule {name} was changed by somebody else just now") from None
    await timetable.attend(await planned(journal, name))


async def delete(journal: Journal, timetable: Timetable, name: str) -> None:
    """Delete a schedule that an operator created; the runs of its ticks go on.

    Raises:
        UnknownSchedule: there is none of this name.
        ScheduleTaken: a task declares it.
    """
    bus, catalogue = journal.bus, await Catalogue.of(journal.bus)
    task = catalogue.declared(name)
    if not catalogue.created(name):
        await planned(journal, name)
        raise ScheduleTaken(
            f"schedule {name} is declared by task {task}: remove it from the code, or `holdfast schedules pause {name}`"
        )
    await bus.put(SCHEDULE, name, b"", ttl=DELETED_FOR)
    if not task:  # else it was hidden, and the task's own goes on
        await bus.purge(Stream.CONTROL, bus.subjects.control(PAUSED, name))
        await timetable.forget(name)


async def pause(journal: Journal, timetable: Timetable, name: str, by: str, *, paused: bool) -> None:
    """Have a schedule's ticks not come about, or again; what would have come meanwhile counts as nothing.

    Raises:
        UnknownSchedule: there is none of this name.
    """
    found = await planned(journal, name)
    if (found.paused is not None) is paused:
        return
    if not paused:
        await timetable.resume(found)
    word = Pause(paused=paused, by=by, at=journal.clock())
    await journal.bus.put(PAUSED, name, codec.encode(word))
    await timetable.attend(found._replace(paused=word if paused else None))


def ahead(found: Planned, count: int, now: Instant) -> list[datetime]:
    """The next nominal times of a schedule, in its zone, paused or not. Raises: ConfigError: too many."""
    if not 1 <= count <= MOST:
        raise ConfigError(f"expected a number of ticks from 1 to {MOST}, found {count}")
    ticks = islice(after(found.schedule, now - found.schedule.offset), count)
    return [datetime.fromtimestamp(tick, zone(found.schedule.tz)) for tick in ticks]


async def rows(journal: Journal, timetable: Timetable) -> list[ScheduleRow]:
    """Every schedule as it stands, by name."""
    found = list((await Catalogue.of(journal.bus)).schedules.values())
    shown: dict[str, ScheduleRow] = {}

    async def show(one: Planned) -> None:
        state, _ = await timetable.standing(one.name)
        shown[one.name] = _row(one, state, await _last_state(journal, state), journal.clock())

    await abreast((partial(show, one) for one in found), AT_ONCE)
    return [shown[one.name] for one in found]


async def _last_state(journal: Journal, state: Ticking | None) -> State | None:
    """Of the run of the last tick."""
    if state is None or state.last is None:
        return None
    with suppress(UnknownRun):
        return (await journal.load(state.last.run, state.last.first)).state
    return None


def _row(one: Planned, state: Ticking | None, last: State | None, now: Instant) -> ScheduleRow:
    schedule, known = one.schedule, state or Ticking(since=now)
    return ScheduleRow(
        name=one.name,
        task=schedule.task,
        when=schedule.when,
        tz=schedule.tz,
        overlap=schedule.overlap,
        catch_up=schedule.catch_up,
        jitter=schedule.jitter,
        declared=one.since is None,
        state=_word(one, state, now),
        next_at=None if known.next is None else known.next.due,
        last_at=None if known.last is None else known.last.at,
        last_run="" if known.last is None else known.last.run,
        last_state=last,
        missed=known.missed,
        skipped=known.skipped,
        by=one.paused.by if one.paused is not None else one.by,
        every=schedule.every,
        created_at=one.since,
        paused_at=None if one.paused is None else one.paused.at,
    )


def _word(one: Planned, state: Ticking | None, now: Instant) -> str:
    if one.paused is not None:
        return "paused"
    if state is None:
        return "new"
    if state.next is None:
        return "over"
    return "behind" if state.next.due + BEHIND < now else "active"
