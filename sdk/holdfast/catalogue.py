"""The schedules of a project, as the control stream tells of them: those of its tasks and those of its operators."""

from __future__ import annotations

import logging
from typing import NamedTuple

import msgspec

from holdfast.bus.ports import Bus, Message
from holdfast.core.model import Instant
from holdfast.core.schedule import Schedule
from holdfast.errors import ConfigError
from holdfast.ticks import check
from holdfast.triggering import Settings, card_settings
from holdfast.wire import api
from holdfast.wire.schedules import PAUSED, SCHEDULE, Dynamic, Pause
from holdfast.wire.subjects import Stream

log = logging.getLogger("holdfast.schedules")

TASK = "task"

WHAT = (TASK, SCHEDULE, PAUSED)
"""The control values that tell of schedules."""


class Planned(NamedTuple):
    """A schedule with what its runs are made of."""

    schedule: Schedule
    settings: Settings
    """Of its task, changed by the schedule's own."""
    takes_tick: bool
    """Whether the task is told the tick."""
    since: Instant | None
    """When an operator created it; None: declared by its task."""
    by: str
    """Who created it; empty: its task."""
    paused: Pause | None
    """None: it is not."""

    @property
    def name(self) -> str:
        return self.schedule.name


class Catalogue:
    """Takes in control values in their order; what it knows is complete once all that there are were taken in."""

    def __init__(self) -> None:
        self._cards: dict[str, api.TaskCard] = {}
        self._dynamic: dict[str, Dynamic] = {}
        self._pauses: dict[str, Pause] = {}

    @classmethod
    async def of(cls, bus: Bus) -> Catalogue:
        """As the control stream stands."""
        made = cls()
        for what in WHAT:
            for message in await bus.latest(Stream.CONTROL, bus.subjects.control(what, "*")):
                made.take(message)
        return made

    def take(self, message: Message) -> None:
        """Take in a control value; what can't be read changes nothing."""
        what, name = message.subject.split(".")[-2:]
        try:
            match what:
                case "task":
                    self._cards[name] = api.decode(message.data, api.TaskCard)
                case "schedule" if not message.data:
                    self._dynamic.pop(name, None)
                    self._pauses.pop(name, None)
                case "schedule":
                    self._dynamic[name] = api.decode(message.data, Dynamic)
                case "schedule-paused":
                    self._pauses[name] = api.decode(message.data, Pause)
        except msgspec.MsgspecError as error:
            log.warning("passed over an unreadable control value: %s: %s", message.subject, error)

    @property
    def schedules(self) -> dict[str, Planned]:
        """Every schedule by name, in order; one that a task declares hides an operator's of the same name."""
        found: dict[str, Dynamic | None] = dict(self._dynamic)
        schedules = {name: one.schedule for name, one in self._dynamic.items()}
        for one in (one for card in self._cards.values() for one in card.schedules):
            schedules[one.name], found[one.name] = one, None
        planned = (self._planned(schedules[name], found[name]) for name in sorted(found))
        return {one.name: one for one in planned if one is not None}

    @property
    def hidden(self) -> dict[str, str]:
        """Schedules of operators that do not tick, as a task declares one of the same name: that task, by name."""
        return {name: task for name in sorted(self._dynamic) if (task := self.declared(name))}

    def declared(self, name: str) -> str:
        """The task that declares a schedule of this name; empty: none does."""
        return next((card.id for card in self._cards.values() for one in card.schedules if one.name == name), "")

    def created(self, name: str) -> bool:
        """Whether an operator created a schedule of this name, understood here or not."""
        return name in self._dynamic

    def _planned(self, schedule: Schedule, dynamic: Dynamic | None) -> Planned | None:
        """A schedule with what its runs are made of; None where this machine does not understand it: it may know fewer
        time zones than whoever declared it."""
        card = self._cards.get(schedule.task)
        pause = self._pauses.get(schedule.name)
        try:
            check(schedule)
            task = Settings() if card is None else card_settings(card)
            settings = task.but(queue=schedule.queue or None, priority=schedule.priority)
        except (ValueError, ConfigError) as error:
            log.error("schedule %s of task %s does not tick here: %s", schedule.name, schedule.task, error)
            return None
        return Planned(
            schedule,
            settings,
            card is not None and card.takes_tick,
            None if dynamic is None else dynamic.at,
            "" if dynamic is None else dynamic.by,
            pause if pause is not None and pause.paused else None,
        )
