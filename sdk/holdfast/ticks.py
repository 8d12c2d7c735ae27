"""When a schedule's ticks are: `Cron` and `Every`, as a task declares them, and the instants that follow.

A cron expression speaks of local times. Each is one instant, except around a change of the clocks: a local time that
does not exist is skipped, one that exists twice ticks twice.
"""

from __future__ import annotations

import difflib
import functools
import heapq
import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import chain
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import msgspec

from holdfast.core.model import Instant, Seconds, seconds
from holdfast.core.schedule import CATCH_UP, SHORTEST, Overlap, Schedule
from holdfast.errors import DefinitionError

__all__ = ["Cron", "Every", "Scheduled"]


class Cron(msgspec.Struct, frozen=True):
    """Run a task at the times of a cron expression: `@task(schedule=Cron("*/5 * * * *", tz="Europe/Paris"))`.

    Raises:
        DefinitionError: it is none, the zone is unknown, or an option can't be.
    """

    expression: str
    """Minute, hour, day of month, month and day of week, or with seconds before them; or `@hourly`, `@daily`, ..."""
    tz: str = "UTC"
    """IANA name of the zone that its times are in."""
    overlap: str = "skip"
    """While the run of the tick before has not ended: "skip", "buffer_one", "buffer_all", "cancel_other", "allow"."""
    catch_up: Seconds | timedelta = CATCH_UP
    """How late a tick may run that was missed while the system was down."""
    jitter: Seconds | timedelta = 0.0
    """Within how long after its time a tick is due: always by the same part of it."""
    name: str = ""
    """Of the schedule, behind the task's id; needed where a task has several."""

    def __post_init__(self) -> None:
        _check(self)

    def of(self, task: str) -> Schedule:
        """The schedule of a task."""
        return _schedule(self, task, cron=self.expression)


class Every(msgspec.Struct, frozen=True):
    """Run a task every so many seconds: `@task(schedule=Every(30))`. The ticks are the multiples since the epoch.

    Raises:
        DefinitionError: it is less than a second, or an option can't be.
    """

    seconds: Seconds | timedelta
    """At least 1."""
    tz: str = "UTC"
    """In which its times are told; no part in when they are."""
    overlap: str = "skip"
    """As in `Cron`."""
    catch_up: Seconds | timedelta = CATCH_UP
    """As in `Cron`."""
    jitter: Seconds | timedelta = 0.0
    """As in `Cron`."""
    name: str = ""
    """As in `Cron`."""

    def __post_init__(self) -> None:
        _check(self)

    def of(self, task: str) -> Schedule:
        """The schedule of a task."""
        return _schedule(self, task, every=seconds(self.seconds, "seconds"))


class Scheduled(msgspec.Struct, frozen=True, kw_only=True):
    """A tick, as the task of a schedule is told of it in a parameter named `tick`. Times are in the schedule's zone."""

    schedule: str
    """Its name."""
    at: datetime
    """The nominal time, whenever the run begins; of a run by hand, when it was asked for."""
    previous: datetime | None = None
    """The nominal time of the tick before, whatever became of its run; None: there was none."""
    next: datetime | None = None
    """The nominal time of the one after; None: there is none."""


def _schedule(spec: Cron | Every, task: str, **when: Any) -> Schedule:
    return Schedule(
        name=f"{task}--{spec.name}" if spec.name else task,
        task=task,
        tz=spec.tz,
        overlap=spec.overlap,
        catch_up=seconds(spec.catch_up, "catch_up"),
        jitter=seconds(spec.jitter, "jitter"),
        **when,
    )


def _check(spec: Cron | Every) -> None:
    """Raises: DefinitionError: it can't be."""
    try:
        check(spec.of("task"))
    except (ValueError, TypeError) as error:
        raise DefinitionError(f"{type(spec).__name__}: {error}") from None


def check(schedule: Schedule) -> None:
    """Raises: ValueError: the schedule can't be; says what was expected and what was found."""
    if not (isinstance(schedule.catch_up, float) and isinstance(schedule.jitter, float)):
        raise ValueError(f"expected seconds, found catch_up={schedule.catch_up!r} and jitter={schedule.jitter!r}")
    if schedule.overlap not in tuple(Overlap):
        raise ValueError(f"overlap: expected one of {', '.join(Overlap)}, found {schedule.overlap!r}")
    zone(schedule.tz)
    if schedule.every is None:
        _check_cron(schedule)
    elif schedule.cron:
        raise ValueError(f"expected either a cron expression or a number of seconds, found {schedule.cron!r} too")
    elif not SHORTEST <= schedule.every < math.inf:
        raise ValueError(f"expected at least {SHORTEST:g} s between two ticks, found {schedule.every:g}")


def _check_cron(schedule: Schedule) -> None:
    fields = "five fields (minute, hour, day of month, month, day of week) or six (seconds first)"
    text = schedule.cron
    if not isinstance(text, str):
        raise ValueError(f"expected a cron expression, found {text!r}")
    try:
        first = next(_local_times(text, datetime(2024, 1, 1)), None)
    except Exception as error:  # whatever the parser makes of it
        raise ValueError(f"cron {text!r}: expected {fields}, found: {error or 'no such expression'}") from None
    if first is None:
        raise ValueError(f"cron {text!r}: expected a time that comes, found none within fifty years")


@functools.lru_cache(maxsize=256)
def zone(name: str) -> ZoneInfo:
    """A time zone by its IANA name. Raises: ValueError: there is none of this name; names the nearest."""
    try:
        if not isinstance(name, str) or not name:
            raise ValueError("no name")
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError, TypeError):  # ZoneInfoNotFoundError is a KeyError; a folder is an OSError
        near = difflib.get_close_matches(str(name), available_timezones(), n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"tz: expected the name of a time zone such as 'Europe/Paris', found {name!r}{hint}") from None


# --- instants ---------------------------------------------------------------------------------------------------------


def after(schedule: Schedule, since: Instant) -> Iterator[Instant]:
    """The nominal times of its ticks behind an instant, in order; for ever, but for a cron expression that runs out."""
    if schedule.every is not None:
        return _multiples(schedule.every, since)
    return _instants(schedule.cron, zone(schedule.tz), since)


def tell(schedule: Schedule, at: Instant, previous: Instant | None, next: Instant | None) -> Scheduled:
    """A tick for the code of the task."""
    local = functools.partial(datetime.fromtimestamp, tz=zone(schedule.tz))
    return Scheduled(
        schedule=schedule.name,
        at=local(at),
        previous=None if previous is None else local(previous),
        next=None if next is None else local(next),
    )


def _multiples(every: Seconds, since: Instant) -> Iterator[Instant]:
    number = _number(every, since)
    while True:
        number += 1
        yield number * every


def _number(every: Seconds, at: Instant) -> int:
    """Of the last multiple up to an instant."""
    number = math.floor(at / every)
    while number * every > at:
        number -= 1
    while (number + 1) * every <= at:
        number += 1
    return number


def _instants(cron: str, tz: ZoneInfo, since: Instant) -> Iterator[Instant]:
    """The instants behind `since` whose local time an expression means.

    Local times come in order, their instants do not: where clocks are set back, those of the second pass come after all
    those of the first. An instant is next once no local time that is still to come can be earlier.
    """
    here = datetime.fromtimestamp(math.floor(since), tz)
    # Where the clocks are soon set back, local times before now come again.
    back = _offset(here) - _offset(datetime.fromtimestamp(math.floor(since) + 25 * 3600, tz))
    start = here.replace(tzinfo=None, fold=0) - (max(back, timedelta()) + timedelta(seconds=1))
    waiting: list[Instant] = []
    for found in chain(_with_instants(cron, tz, start), [None]):
        while waiting and (found is None or waiting[0] <= found[0]):
            tick = heapq.heappop(waiting)
            if tick > since:
                yield tick
        for instant in found or ():
            heapq.heappush(waiting, instant)


def _offset(at: datetime) -> timedelta:
    return at.utcoffset() or timedelta()


def _with_instants(cron: str, tz: ZoneInfo, start: datetime) -> Iterator[tuple[Instant, ...]]:
    """Of each local time that exists: its one or two instants."""
    for local in _local_times(cron, start):
        if found := _of_local(local, tz):
            yield found


def _of_local(local: datetime, tz: ZoneInfo) -> tuple[Instant, ...]:
    """The instants at which clocks show a local time: none, one or two."""
    found = []
    for fold in (0, 1):
        instant = local.replace(tzinfo=tz, fold=fold).timestamp()
        shown = datetime.fromtimestamp(instant, tz)
        if shown.replace(tzinfo=None, fold=0) == local and instant not in found:
            found.append(instant)
    return tuple(sorted(found))


_SHORT = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


def _local_times(cron: str, start: datetime) -> Iterator[datetime]:
    """The local times that an expression means, behind a start, without any zone."""
    from cronsim import CronSim  # 10 ms, for who only imports a task

    return CronSim(_SHORT.get(cron.strip().lower(), cron), start)
