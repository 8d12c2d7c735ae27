"""Admits the runs of queues with limits: publishes a work item for each that gets a slot, and for no other.

What stands in the way of whom, `core.admission` decides over the same fold as everybody's; here its decisions are
published, fenced by who conducts. A queue that has limits for the first time is governed from then on: its workers are
given nothing but what is admitted here, and what they had been given before counts as running.

After a start nothing is admitted before all is known: the fold has caught up with the journal, the control values are
read, and the starts of the last windows are counted, also of runs that have ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from holdfast.bus.clock import sleep, until
from holdfast.bus.journal import Journal
from holdfast.bus.ports import Fence
from holdfast.core.admission import Admission, Cause, Hold, QueueLimits
from holdfast.core.entries import AttemptStarted
from holdfast.core.lifecycle import Kind
from holdfast.core.model import Rate, Run, Seconds
from holdfast.errors import BusError, ConnectError, Fenced, Unanswered, UnknownRun
from holdfast.wire import codec
from holdfast.wire.subjects import Lane, Stream
from holdfast_daemon.gauges import Rule
from holdfast_daemon.ledger import Change
from holdfast_daemon.projection.rows import Ready, Standing
from holdfast_daemon.rules import CONFIGURED, Rules

log = logging.getLogger("holdfast.admitter")

LONGEST: Seconds = 0.5
"""Between two looks: workers fall silent without a word."""

BEHIND: Seconds = 0.02
"""Between two looks at whether the fold has caught up."""

MOST = 500
"""Runs that are admitted at a time."""

SLACK: Seconds = 60.0
"""How long before its start a run may have been admitted, as far as a window of before the start is counted."""


class Lead(Protocol):
    """Whether this daemon conducts; `leadership.Leadership` knows."""

    @property
    def leads(self) -> bool: ...

    @property
    def fence(self) -> Fence | None:
        """What only the one who conducts can publish with; None: nobody else could."""

    def depose(self) -> None:
        """Another daemon conducts: something was refused to us."""


class Alone(NamedTuple):
    """The only daemon there is."""

    leads: bool = True
    fence: Fence | None = None

    def depose(self) -> None:
        """Nobody is there to take over."""


class Admitter:
    """Decides who of a project's limited queues may run. A `projector.Listener`."""

    def __init__(
        self,
        journal: Journal,
        live: Callable[[], Mapping[str, Run]],
        caught_up: Callable[[], bool],
        *,
        lead: Lead | None = None,
        configured: Mapping[str, QueueLimits] | None = None,
    ) -> None:
        """
        Args:
            live: the runs that have not ended, as folded so far.
            caught_up: whether that is all that the journal held at the start.
            lead: whether this daemon conducts.
            configured: limits of queues.
        """
        self.admitted = 0
        """Runs that were admitted here."""
        self.rules = Rules(journal, self._stir)
        self._journal = journal
        self._bus = journal.bus
        self._now = journal.clock
        self._live = live
        self._caught_up = caught_up
        self._lead = lead or Alone()
        self._configured = configured or {}
        self._admission = Admission()
        self._surveyed = False
        self._unsure: list[Run] = []
        """Admissions of which it is not known whether they are stored."""
        self._stirred = anyio.Event()

    # --- what it is told --------------------------------------------------------------------------------------------

    def restart(self, standings: Sequence[Standing], ready: Sequence[Ready]) -> None:
        """The following begins anew: everything is counted again once it has caught up."""
        self._surveyed = False
        self._stir()

    def take(self, changes: Sequence[Change]) -> None:
        """Count what happened."""
        if not self._surveyed:
            return
        governed, now = self._admission.queues, self._now()
        for change in changes:
            if change.after.queue in governed:
                run = self._live().get(change.run_id, change.after)  # without its payload
                self._admission.note(run, now, started=_starts(change), told=change.record.kind is Kind.GO)
                self._stirred.set()

    def _stir(self) -> None:
        self._stirred.set()

    # --- what it says -----------------------------------------------------------------------------------------------

    def why(self, run: Run) -> Hold | None:
        """What keeps a run of a governed queue from a slot."""
        return self._admission.why(run, self._now())

    def holds_back(self, queue: str) -> Hold | None:
        """What holds a whole queue back."""
        if queue in self.rules.paused:
            return Hold(Cause.PAUSED)
        return self._admission.holds_back(queue, self._now())

    def rules_of(self) -> dict[str, Rule]:
        """What is set of each queue of which something is, and what holds it back."""
        names = {*self.rules.limited, *self.rules.paused}
        return {queue: Rule(self.rules.limits(queue), self.holds_back(queue)) for queue in names}

    # --- what it does -----------------------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Admit until cancelled, whenever this daemon conducts."""
        await self._publish_configured()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._follow_rules)
            await self.rules.known.wait()
            await self._govern()
            task_status.started()
            while True:
                if self._surveyed:
                    await self._admit()
                    await self._rest()
                elif self._caught_up():
                    await self._survey()
                else:
                    await sleep(self._journal.time, BEHIND)

    async def _publish_configured(self) -> None:
        """Let everybody know the limits that the configuration gives, and no others."""
        known = await self._journal.insist(
            lambda: self._bus.latest(Stream.CONTROL, self._bus.subjects.control(CONFIGURED, "*"))
        )
        names = {message.subject.rpartition(".")[2]: message.data for message in known}
        for queue in sorted(names.keys() | self._configured.keys()):
            data = codec.encode(self._configured.get(queue, QueueLimits()))
            if names.get(queue) != data:
                await self._journal.insist(partial(self._bus.put, CONFIGURED, queue, data))

    async def _follow_rules(self) -> None:
        while True:
            try:
                await self.rules.follow()
            except (BusError, ConnectError) as error:
                log.warning("limits and pauses are followed again: %s", error)
                await sleep(self._journal.time, LONGEST)

    async def _survey(self) -> None:
        """Count every live run; from now on they are counted as they change."""
        self._admission = Admission()
        self._unsure.clear()
        await self._govern()
        self._surveyed = True
        for run in list(self._live().values()):
            self._count(run)
        await self._remember()

    def _count(self, run: Run) -> None:
        begun = run.held_since if run.holder is not None and run.held_since is not None else None
        self._admission.note(run, begun or self._now(), started=begun is not None)

    async def _remember(self) -> None:
        """Count the starts of runs that have ended since, as far as they lie within a rate's window."""
        longest = max((rate.per for rate in self._rates()), default=0.0)
        if not longest:
            return
        first = await self._bus.first_since(Stream.JOURNAL, self._now() - longest - SLACK)
        for queue in self._admission.queues:
            for message in await self._bus.read(Stream.JOURNAL, self._bus.subjects.go("*", queue), first=first):
                run_id, begins = self._bus.subjects.parse(message.subject).run, codec.first_of(message.data)
                if run_id not in self._live():
                    await self._remember_ended(run_id, begins)

    async def _remember_ended(self, run_id: str, first: int) -> None:
        try:
            run = await self._journal.load(run_id, first)
        except UnknownRun:
            return
        if run.final and run.attempt and run.finished_at is not None:  # it did not begin later than it ended
            self._admission.remember(run, run.finished_at)

    def _rates(self) -> list[Rate]:
        tasks = [limits.rate for limits in self.rules.tasks.values()]
        queues = [self.rules.limits(queue).rate for queue in self._admission.queues]
        return [rate for rate in (*tasks, *queues) if rate is not None]

    async def _govern(self) -> None:
        """Take in the rules; queues that have limits for the first time are governed from now on."""
        for task, limits in self.rules.tasks.items():
            self._admission.declare(task, limits)
        for queue, bounds in self.rules.limited.items():
            new = queue not in self._admission.queues
            if queue not in self.rules.governed:
                await self._journal.insist(partial(self._bus.govern, queue))
                log.info("queue %s has limits: its runs are admitted one by one", queue)
            if new:
                await self._journal.insist(partial(self._bus.ensure_consumer, queue, lane=Lane.GO))
            self._admission.govern(queue, bounds)
            if new and self._surveyed:
                for run in [run for run in self._live().values() if run.queue == queue]:
                    self._count(run)
        self._admission.pause(self.rules.paused)
        self._admission.serve(self.rules.served)

    async def _admit(self) -> None:
        """Admit whoever may go now."""
        self._stirred = anyio.Event()
        await self._govern()
        while self._lead.leads and self._surveyed:
            runs = self._unsure or self._admission.take(self._now(), MOST)
            if not runs:
                return
            self._unsure = []
            await self._publish(runs)

    async def _publish(self, runs: Sequence[Run]) -> None:
        outcomes = await self._journal.admit_many(runs, self._lead.fence)
        for run, outcome in zip(runs, outcomes, strict=True):
            match outcome:
                case int():
                    self.admitted += 1
                case Fenced():
                    self._admission.withdraw(run.id)
                    self._lead.depose()
                case Unanswered():
                    self._unsure.append(run)
                case _:
                    self._admission.withdraw(run.id)
                    log.warning("run %s is admitted again: %s", run.id, outcome)
        if any(isinstance(outcome, Exception) for outcome in outcomes):
            await sleep(self._journal.time, BEHIND)

    async def _rest(self) -> None:
        """Wait until something changes, or a rate has room again."""
        due = min(self._now() + LONGEST, max(self._admission.wake_at(), self._now()))
        await until(self._journal.time, due, self._stirred)


def _starts(change: Change) -> bool:
    """Whether an attempt begins with this message."""
    began = any(isinstance(entry, AttemptStarted) for entry in change.record.entries)
    return began and (change.before is None or change.after.attempt != change.before.attempt)
