"""What only a daemon does, for one project in memory: events, schedules, deadlines, parents, hooks, runs of the dead.

It folds every message as it is stored, and when all is quiet looks at the runs that moved: what follows from where they
stand and shows no trace yet is carried out, by the same pure functions and the same journal as everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from holdfast.bus.journal import Journal
from holdfast.bus.memory import MemoryServer
from holdfast.bus.ports import Message
from holdfast.catalogue import WHAT, Catalogue, Planned
from holdfast.core.admission import Admission, QueueLimits
from holdfast.core.deadlines import next_look, overdue
from holdfast.core.effects import CancelChild, DropLetter, Effect, PutLetter, Tell, Withdraw, effects
from holdfast.core.entries import EventArrived
from holdfast.core.lifecycle import Kind, Record, apply
from holdfast.core.model import Instant, Run, State
from holdfast.core.routing import agrees, matches
from holdfast.errors import EventError, Fenced
from holdfast.events import Event
from holdfast.expressions import Facts
from holdfast.overlap import Referee
from holdfast.task import Task
from holdfast.timetable import Timetable
from holdfast.triggering import of_event, unmapped
from holdfast.wire import codec
from holdfast.wire.events import encoded, raw_payload, value_of
from holdfast.wire.subjects import Stream


class Steward:
    """Keeps the runs moving that no worker moves."""

    def __init__(
        self,
        journal: Journal,
        server: MemoryServer,
        tasks: Mapping[str, Task[..., Any]],
        limits: Mapping[str, QueueLimits] | None = None,
        *,
        ticking: bool = True,
    ) -> None:
        """
        Args:
            ticking: whether the tasks' schedules run them.
        """
        self.runs: dict[str, Run] = {}
        """Every run, as it stands."""
        self.records: dict[str, list[Record]] = {}
        """The messages of each run."""
        self.dead: set[str] = set()
        """Names of workers that are no more."""
        self.length = 0
        """How many messages there were."""
        self._journal = journal
        self._bus = journal.bus
        self._tasks = tasks
        self._stirred: set[str] = set()
        self._alarms: set[tuple[str, float]] = set()
        self._limits = dict(limits or {})
        """Of queues that are governed, or are to be."""
        self._admission = Admission()
        self._admission.serve(frozenset(tasks))
        for task in tasks.values():
            self._admission.declare(task.id, task.settings.limits)
            if task.settings.limits:
                self._limits.setdefault(task.queue, QueueLimits())
        self._events: list[Message] = []
        project = server.project(journal.bus.subjects.project)
        project.streams[Stream.JOURNAL].stored.append(self._stored)
        project.streams[Stream.EVENTS].stored.append(lambda message, fired: self._events_new.append(message))
        self._events_new: list[Message] = []
        self._timetable = Timetable(journal)
        self._referee = Referee(journal, self._timetable, self.runs.get)
        self._catalogue = Catalogue()
        self._planned: dict[str, Planned] = {}
        self._due: set[str] = set()
        """Schedules that are to be attended to."""
        self._replans = False
        if ticking:
            project.streams[Stream.CONTROL].stored.append(self._said)

    def _stored(self, message: Message, fired: bool) -> None:
        if not message.subject.startswith(self._bus.subjects.journal[:-1]):
            return  # a dead letter
        self.length += 1
        run, record = codec.record(self._bus.subjects, message.subject, message.seq, message.data)
        before = self.runs.get(run)
        moved = apply(before, record)
        self.records.setdefault(run, []).append(record)
        if moved is not None:
            self.runs[run] = moved
            self._stirred.add(run)
            if moved.final and moved.tick is not None:
                self._stirred |= {other.id for other in self.live if other.held}
            self._count(before, moved, record)

    def _count(self, before: Run | None, run: Run, record: Record) -> None:
        """Count the run among those of its queue, where that has limits."""
        task = self._tasks.get(run.task)
        if task is not None and task.settings.limits:
            self._limits.setdefault(run.queue, QueueLimits())
        started = before is not None and run.attempt != before.attempt
        self._admission.note(run, self._journal.clock(), started=started, told=record.kind is Kind.GO)

    async def _admit(self) -> bool:
        """Admit whoever may go now; whether there was anybody."""
        for queue in self._limits.keys() - self._admission.queues:
            await self._bus.govern(queue)
            self._admission.govern(queue, self._limits[queue])
            for run in self.live:
                self._admission.note(run, self._journal.clock())
        self._admission.pause(await self._bus.paused())
        runs = self._admission.take(self._journal.clock())
        if runs:
            await self._journal.admit_many(runs, None)
        at = self._admission.wake_at()
        if at < math.inf and ("", at) not in self._alarms:
            self._alarms.add(("", at))
            self._journal.time.call_at(at, lambda: None)  # time is to be moved there at least
        return bool(runs)

    @property
    def live(self) -> Iterator[Run]:
        """The runs that have not ended."""
        return (run for run in self.runs.values() if not run.final)

    def lose(self, worker: str) -> None:
        """A worker is no more."""
        self.dead.add(worker)
        self._stirred |= {run.id for run in self.live if run.holder is not None and run.holder.worker == worker}

    async def attend(self) -> bool:
        """Do what there is to do; whether there was anything to look at."""
        await self._route()
        ticked = await self._tick()
        stirred, self._stirred = sorted(self._stirred), set()
        for id in stirred:
            with suppress(Fenced):  # it has moved on, and is looked at again
                await self._look(self.runs[id])
            self._set_alarm(self.runs[id])
        return await self._admit() or ticked or bool(stirred)

    def _set_alarm(self, run: Run) -> None:
        """Look at the run again when its time may be over."""
        at = next_look(run)
        if at < math.inf and (run.id, at) not in self._alarms:
            self._alarms.add((run.id, at))
            self._journal.time.call_at(at, lambda: self._stirred.add(run.id))

    async def _look(self, run: Run) -> None:
        ending = overdue(run, self._journal.clock())
        if ending is not None:
            await self._journal.end(run, ending, by="harness")
        elif run.holder is not None and run.holder.worker in self.dead:
            await self._journal.interrupt(run, f"worker {run.holder.worker} was killed")
        elif run.held:
            await self._referee.decide(run)
        elif await self._is_missing_something(run):
            await self._journal.act(run)
        else:
            await self._match(run)

    async def _is_missing_something(self, run: Run) -> bool:
        for effect in effects(run):
            if isinstance(effect, PutLetter):
                subject = self._bus.subjects.letter(effect.queue, effect.run)
                if await self._bus.last(Stream.JOURNAL, subject) is None:
                    return True
            elif self._leaves_a_gap(effect, run):
                return True
        return False

    def _leaves_a_gap(self, effect: Effect, run: Run) -> bool:
        """Whether what should have been done shows no trace."""
        match effect:
            case CancelChild():
                child = self.runs.get(effect.child)
                live = child is not None and not child.final and child.state is not State.COMPENSATING
                return live and child is not None and not child.cancel_requested
            case Tell():
                parent = self.runs.get(effect.parent)
                return parent is not None and run.id not in parent.arrived
            case Withdraw() | DropLetter():
                return False
        return True

    # --- schedules --------------------------------------------------------------------------------------------------

    @property
    def only_ticks(self) -> bool:
        """Whether nothing is to come of itself any more but ticks of schedules."""
        return bool(self._planned) and not any(_takes_time(run) for run in self.live if run.tick is None)

    def _said(self, message: Message, fired: bool) -> None:
        if message.subject.split(".")[-2] in WHAT:
            self._catalogue.take(message)
            self._replans = True

    async def _tick(self) -> bool:
        """Attend to the schedules that have changed, or are due; whether there were any."""
        if self._replans:
            self._replans = False
            await self._plan()
        due, self._due = sorted(self._due), set()
        for name in due:
            if name in self._planned:
                at = await self._timetable.attend(self._planned[name])
                self._attend_at(name, at)
        return bool(due)

    async def _plan(self) -> None:
        before, self._planned = self._planned, self._catalogue.schedules
        self._due |= {name for name, planned in self._planned.items() if before.get(name) != planned}
        for name in before.keys() - self._planned.keys():
            await self._timetable.forget(name)

    def _attend_at(self, name: str, at: Instant) -> None:
        if at < math.inf:
            self._journal.time.call_at(at, lambda: self._due.add(name))

    # --- events -----------------------------------------------------------------------------------------------------

    async def _route(self) -> None:
        """Start the runs that new events start, and have those looked at that wait for one."""
        events, self._events_new = self._events_new, []
        self._events += events
        for event in events:
            for task in self._wanting(event):
                await self._start(event, task)
        if events:
            self._stirred |= {run.id for run in self.live if run.expected}

    def _name(self, event: Message) -> str:
        return self._bus.subjects.event_name(event.subject)

    def _wanting(self, event: Message) -> list[Task[..., Any]]:
        name = self._name(event)
        return [task for task in self._tasks.values() if any(matches(pattern, name) for pattern in task.on)]

    async def _start(self, event: Message, task: Task[..., Any]) -> None:
        """Start the task's run of an event, if its filter accepts it; dead, where no arguments can be made of it."""
        name = self._name(event)
        try:
            payload = task.intake.payload(Facts(Event.of(name, event.data, event.headers, event.time, event.seq)))
        except EventError as error:
            run = of_event(event, name, task.id, raw_payload(event.data), task.settings)
            await self._journal.begin_dead(run, unmapped(event, error))
        else:
            if payload is not None:
                await self._journal.create(of_event(event, name, task.id, payload, task.settings))

    async def _match(self, run: Run) -> None:
        """Tell the run of the events that it waits for: of each wait the earliest."""
        for expected in run.expected:
            for event in self._events:
                if event.time >= expected.since and agrees(expected, self._name(event), value_of(event.data)):
                    arrived = EventArrived(expected.wait, event.time, event.seq, self._name(event), encoded(event.data))
                    dedupe = f"{run.id}-{expected.wait}-{run.attempt}-{event.seq}"
                    await self._journal.tell(run.id, arrived, dedupe=dedupe)
                    break


def _takes_time(run: Run) -> bool:
    """Whether time alone moves the run on, or may."""
    return run.state is not State.WAITING or run.due is not None or next_look(run) < math.inf
