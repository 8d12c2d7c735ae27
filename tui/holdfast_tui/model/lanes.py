"""When schedules tick in the time to come, as lanes: a line for each, a bar where it ticks."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from math import ceil
from typing import NamedTuple

from holdfast.core.model import Instant, Seconds
from holdfast.core.schedule import Schedule
from holdfast.ticks import after, check
from holdfast.wire.schedules import ScheduleRow

DAY: Seconds = 86_400.0


class Lane(NamedTuple):
    """A line: where a schedule ticks."""

    name: str
    marks: str
    word: str
    """Behind it: why it does not tick."""


def schedule_of(row: ScheduleRow) -> Schedule | None:
    """The times of a schedule; None where this machine does not understand them: it may know fewer time zones."""
    cron = "" if row.every is not None else row.when
    found = Schedule(name=row.name, task=row.task, cron=cron, every=row.every, tz=row.tz, jitter=row.jitter)
    try:
        check(found)
    except ValueError:
        return None
    return found


def marks(schedule: Schedule, begin: Instant, columns: int, length: Seconds = DAY, mark: str = "|") -> str:
    """A mark in each column in whose time the schedule ticks, as its ticks are due."""
    step, found = length / columns, [" "] * columns
    column, offset = 0, schedule.offset
    while column < columns:
        tick = next(after(schedule, begin + column * step - offset - 1e-6), None)
        if tick is None:
            break
        place = int((tick + offset - begin) / step + 1e-9)
        if place >= columns:
            break
        found[max(column, place)] = mark
        column = max(column, place) + 1
    return "".join(found)


def lane(row: ScheduleRow, begin: Instant, columns: int) -> Lane:
    """The lane of a schedule: of one that is paused, what would be; nothing of one whose times are over."""
    schedule = schedule_of(row)
    if schedule is None:
        return Lane(row.name, " " * columns, "times that are not known here")
    if row.state == "over":
        return Lane(row.name, " " * columns, "over")
    return Lane(row.name, marks(schedule, begin, columns), "paused" if row.state == "paused" else "")


def hours(begin: Instant, columns: int, written: Callable[[Instant], str], length: Seconds = DAY) -> str:
    """The line above: the time of day every three hours, where there is room for it."""
    step, text = 3 * 3600.0, ""
    at = ceil(begin / step) * step
    while at < begin + length:
        place = int((at - begin) / length * columns)
        label = written(at)
        if place >= len(text) + bool(text) and place + len(label) <= columns:
            text = text.ljust(place) + label
        at += step
    return text.ljust(columns)[:columns]


def ahead(row: ScheduleRow, now: Instant, count: int) -> list[Instant]:
    """When its next ticks are due."""
    schedule = schedule_of(row)
    if schedule is None or row.state == "over":
        return []
    return [tick + schedule.offset for tick in islice(after(schedule, now - schedule.offset), count)]
