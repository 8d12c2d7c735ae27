"""The client of a project: trigger runs, emit events, await results, ask the daemon, move runs.

Triggering, awaiting, cancelling and retrying need only the server; what is asked of the history (`runs`, `get`, `logs`)
is answered by the daemon (`questions`).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from datetime import datetime
from typing import Any, Unpack

import msgspec

from holdfast import access, context, deeds, orders, published, remaking, scheduling, telling
from holdfast.auditing import Auditor, Batch, noted
from holdfast.bus.blobs import INLINE
from holdfast.bus.clock import Clock
from holdfast.bus.journal import Journal
from holdfast.bus.keyed import Found, Keyed
from holdfast.bus.ports import Bus, Message
from holdfast.catalogue import Planned
from holdfast.core import ids
from holdfast.core.admission import QueueLimits
from holdfast.core.entries import Resolved, RunCreated, Signalled, TokenCompleted
from holdfast.core.model import ErrorInfo, Rate, Run
from holdfast.declared import (
    BatchItem,
    Declaration,
    Declared,
    Payload,
    chunks,
    encode_payload,
)
from holdfast.decoding import suggested
from holdfast.errors import (
    ConfigError,
    DaemonUnavailable,
    EncodeError,
    Fenced,
    HoldfastError,
    PayloadError,
    Refused,
    RunStateError,
    TokenFailed,
    Unanswered,
    UnknownTask,
    UnknownToken,
)
from holdfast.handle import RunHandle
from holdfast.keeping import Values
from holdfast.questions import Questions
from holdfast.ticks import Cron, Every
from holdfast.timetable import Timetable, arguments
from holdfast.triggering import Settings, TriggerOptions, card_settings, created, token
from holdfast.wire import api, codec
from holdfast.wire.events import EventRow, EventsPage, EventsQuery
from holdfast.wire.schedules import ScheduleRow
from holdfast.wire.subjects import TOKEN, Stream
from holdfast.wire.values import decode_value, encode_exception, encode_value

__all__ = ["Client", "RunHandle", "card_settings", "encode_payload"]

ASKED = 20
"""How often a query is sent to workers of which each says that it does not have the run any more."""


def _error_info(error: str | BaseException) -> ErrorInfo:
    """An error for the journal, with the exception to raise."""
    raised = TokenFailed(error) if isinstance(error, str) else error
    kind = type(raised)
    return ErrorInfo(f"{kind.__module__}.{kind.__qualname__}", str(raised), value=encode_exception(raised))


def _log_rows(message: Message) -> list[api.LogRow]:
    """The lines of a message of the log stream; none of one that can't be read, as in the daemon's history."""
    try:
        batch = api.decode(message.data, api.LogBatch)
    except msgspec.DecodeError:
        return []
    return [
        api.LogRow(message.seq, batch.run, batch.task, batch.attempt, line, number, batch.queue)
        for number, line in enumerate(batch.lines)
    ]


class Client(Questions):
    """A connection to one project. Made by `connect`; close it, or use it as a context manager."""

    def __init__(self, bus: Bus, *, name: str = "sdk", clock: Clock | None = None, ttl: float | None = None) -> None:
        """
        Args:
            ttl: the project's default, in seconds, for runs whose trigger and task name none.
        """
        self.bus = bus
        self.journal = Journal(bus, clock)
        self.blobs = Values(bus)
        self._timetable = Timetable(self.journal, ttl=ttl)
        self._keyed = Keyed(self.journal)
        self.ttl = ttl
        self.name = name
        """Who acts: recorded with what it changes."""
        self.auditing = Auditor(bus, self.journal.clock)

    async def close(self) -> None:
        await self.bus.close()

    @property
    def via(self) -> str:
        """What the client is used with, for the audit: `sdk`, `cli`, `tui` or `http`; empty: it leaves no entries."""
        return self.auditing.via

    @via.setter
    def via(self, via: str) -> None:
        self.auditing.via = via

    # --- the audit ------------------------------------------------------------------------------------------------

    async def audit(self, query: api.AuditQuery | None = None) -> api.AuditPage:
        """What was done by whoever operates the project, newest first. Raises: Refused: a question that can't be."""
        return await self._ask(api.AUDIT_LIST, query or api.AuditQuery(), api.AuditPage)

    async def audited(self, entry: api.AuditEntry) -> None:
        """Leave an entry of something that was done; who, with what, where and when are filled in where it is open.

        Raises nothing: where it can't be stored, `auditing.missed` is told.
        """
        await self.auditing.store(entry)

    def audit_as(
        self, action: str, kind: str, *, count: int | None = None, filter: str = "", reason: str = "", command: str = ""
    ) -> AbstractAsyncContextManager[Batch]:
        """What is changed inside of `async with client.audit_as(...) as batch`, is one entry: accepted, refused, why.

        Methods of the client count in it by themselves, also in tasks that are begun inside; for whatever else
        `batch.took(target)` and `batch.refuse(target, why)` do. It is stored at the end, also of what is stopped.

        Args:
            count: how many things are meant; None: as many as are tried.
            filter: how they were chosen.
            command: the same from a shell; never with payloads or values.
        """
        entry = api.AuditEntry(action=action, kind=kind, filter=filter, reason=reason, command=command)
        return self.auditing.batch(entry, count)

    # --- runs ---------------------------------------------------------------------------------------------------

    def new_run(
        self, task: str, payload: bytes, settings: Settings | None = None, *, source: str = "", id: str | None = None
    ) -> RunCreated:
        """The entry that creates a run; nothing is sent. Raises: ConfigError; EncodeError."""
        now = self.journal.clock()
        made = created(
            task,
            payload,
            settings or Settings(),
            run=id or self._new_id(now),
            at=now,
            source=source or self.name,
            ttl=self.ttl,
            within=current.id if (current := context.execution.get()) is not None else "",
        )
        if id is not None and made.key is not None:
            raise ConfigError(f"id: expected none beside a key, which gives the run its id, found {id!r}")
        return made

    @staticmethod
    def _new_id(now: float) -> str:
        current = context.execution.get()
        return ids.make(now, os.urandom(10)) if current is None else current.derived_id()

    async def trigger(
        self,
        task: str | Declared,
        payload: Payload | None = None,
        *,
        declared: bool = True,
        id: str | None = None,
        **options: Unpack[TriggerOptions],
    ) -> RunHandle:
        """Start a run of a task, by its id without importing it; durable when this returns.

        What the options leave open is the task's own. The payload of a task that is named is checked by a worker that
        has it, where one serves just now, and always before the first attempt.

        Args:
            declared: False starts a run also of a task that no worker has ever declared; it waits for one.

        Raises:
            UnknownTask: no worker has declared a task of this id; nothing was started.
            PayloadError: the payload does not fit the task's signature; nothing was started.
            ConfigError: an option that can't be.
        """
        known = await self._known(task, declared)
        data = known.encode(payload or {})
        run = self.new_run(known.task, data, known.settings.but(**options), id=id)
        if isinstance(task, str) and (why := await self._misfit(task, data)):
            raise PayloadError(why)
        return await self.start(run)

    async def batch_trigger(
        self,
        task: str | Declared,
        items: Iterable[BatchItem],
        *,
        declared: bool = True,
        **options: Unpack[TriggerOptions],
    ) -> list[RunHandle | Exception]:
        """Start a run for each item, in order, in few round trips; an item that can't be started is its error.

        Args:
            items: payloads, or pairs of a payload and options of its own.
            declared, options: as of `trigger`, for all of them.

        Raises:
            UnknownTask: no worker has declared a task of this id; nothing was started.
            ConfigError: an option that can't be; nothing was started.
        """
        known = await self._known(task, declared)
        known = known._replace(settings=known.settings.but(**options))
        runs = [self._item(known, item) for item in items]
        return await self.start_many(await self._fitting(task, runs) if isinstance(task, str) else runs)

    async def _known(self, task: str | Declared, declared: bool) -> Declaration:
        if not isinstance(task, str):
            return task.declaration
        card = await self.card(task)
        if card is None and declared:
            raise await self._unknown(task)
        return Declaration(task, Settings() if card is None else card_settings(card), encode_payload)

    def _item(self, task: Declaration, item: BatchItem) -> RunCreated | Exception:
        order = task.order(item)
        if isinstance(order, Exception):
            return order
        try:
            return self.new_run(task.task, *order)
        except EncodeError as error:  # of its metadata
            return error

    async def _misfit(self, task: str, payload: bytes) -> str:
        """Why a payload does not fit a task, as a worker that has it says; empty: it does, or nobody says so."""
        if len(payload) > INLINE:
            return ""  # too big to ask with: it is checked before the first attempt
        reply = await self._ask_worker(f"{api.CHECK}.{task}", payload)
        return "" if reply is None else api.decode(reply, api.Checked).error

    async def misfits(self, task: str, payloads: Sequence[Mapping[str, Any]]) -> list[str] | None:
        """Why each payload does not fit a task's signature, as a worker that has it says; empty: it does.

        Nobody can be asked about one that is kept apart for its size: that counts as fitting. None: no worker answers.

        Raises:
            EncodeError: a value can't be stored.
        """
        encoded = [encode_payload(payload) for payload in payloads]
        why, whole = await self._checked(task, encoded)
        return [why.get(data, "") for data in encoded] if whole else None

    async def _checked(self, task: str, payloads: Iterable[bytes]) -> tuple[dict[bytes, str], bool]:
        """Why each payload does not fit, as far as a worker says; and whether one answered to the end."""
        why: dict[bytes, str] = {}
        for some in chunks(dict.fromkeys(data for data in payloads if len(data) <= INLINE)):
            reply = await self._ask_worker(f"{api.CHECK_ALL}.{task}", codec.encode(api.Payloads(tuple(some))))
            if reply is None:
                return why, False
            why |= zip(some, api.decode(reply, api.AllChecked).errors, strict=True)
        return why, True

    async def _fitting(self, task: str, runs: Sequence[RunCreated | Exception]) -> list[RunCreated | Exception]:
        """The runs of a batch; one whose payload does not fit becomes its error."""
        why, _ = await self._checked(task, (run.payload for run in runs if isinstance(run, RunCreated)))
        return [
            PayloadError(why[run.payload]) if isinstance(run, RunCreated) and why.get(run.payload) else run
            for run in runs
        ]

    async def _ask_worker(self, service: str, question: bytes) -> bytes | None:
        """What a worker answers; None: none has a moment."""
        try:
            return await self.bus.request(self.bus.subjects.api(service), question, timeout=1.0)
        except (DaemonUnavailable, Unanswered, Refused):
            return None

    async def _unknown(self, task: str) -> UnknownTask:
        known = sorted(card.id for card in await self.cards())
        return UnknownTask(
            f"no worker has declared a task {task!r}; {suggested(task, known)} (see `holdfast tasks list`)"
        )

    async def start(self, created: RunCreated) -> RunHandle:
        """Create a run from its entry, or find the one that has its key. A big payload is kept apart.

        Raises:
            EncodeError: the payload is too large.
        """
        (started,) = await self.start_many([created])
        if isinstance(started, Exception):
            raise started
        return started

    async def start_many(self, created: Iterable[RunCreated | Exception]) -> list[RunHandle | Exception]:
        """The same of several, pipelined, in order; one that could not be created is its error, and an error stays."""
        runs = [run if isinstance(run, Exception) else await self._slim(run) for run in created]
        outcomes = iter(await self._keyed.create_all([run for run in runs if isinstance(run, RunCreated)]))
        return [run if isinstance(run, Exception) else self._started(run, next(outcomes)) for run in runs]

    async def _slim(self, created: RunCreated) -> RunCreated | Exception:
        try:
            kept = await self.blobs.keep(created.payload)
        except HoldfastError as error:
            return error
        return created if kept is created.payload else msgspec.structs.replace(created, payload=kept)

    def _started(self, run: RunCreated, outcome: int | Found | Exception) -> RunHandle | Exception:
        match outcome:
            case Found():
                return RunHandle.of(self, outcome.run.id, outcome.run.first, cached=outcome.cached)
            case int():
                return RunHandle.of(self, run.run, outcome)
        return outcome

    def run(self, id: str) -> RunHandle:
        """A handle on a run by its id; nothing is asked yet."""
        return RunHandle.of(self, id)

    async def emit(
        self, event: str, data: Any = None, *, id: str | None = None, headers: Mapping[str, str] | None = None
    ) -> int:
        """Publish an event as JSON on `hf.<project>.evt.<event>`; returns its sequence in the event stream.

        Args:
            id: two events of one id, published within the stream's window, are one (`Nats-Msg-Id`).
            headers: what filters, maps and waits see beside the data; the run that it starts joins the trace of a
                W3C `traceparent`.

        Raises:
            BusError: an id or headers that can't be.
        """
        for part in event.split("."):
            token("event subject", part)
        subject = self.bus.subjects.event(event)
        return await self.bus.publish(subject, msgspec.json.encode(data), dedupe=id, headers=headers)

    # --- what is done to a run from outside -----------------------------------------------------------------------

    @noted(deeds.cancel)
    async def cancel(self, run: str, reason: str = "") -> Run:
        """Ask for a run to end. Returns it as it then stood. Raises: UnknownRun; RunStateError: it has ended."""
        return await self.journal.cancel(run, by=self.name, reason=reason)

    @noted(deeds.kill)
    async def kill(self, run: str, reason: str = "") -> Run:
        """End a run now, without cleanup and without undos. Raises: UnknownRun; RunStateError: it has ended."""
        return await self.journal.kill(run, by=self.name, reason=reason)

    @noted(deeds.complete)
    async def complete(self, token_id: str, value: Any = None, *, error: str | BaseException | None = None) -> Run:
        """Complete a token; the run that waits for it goes on. Returns the run as it then stood.

        Args:
            value: what awaiting the token gives.
            error: raised there instead; a text as `TokenFailed`.

        Raises:
            UnknownToken: no run has asked for it; nothing was written.
            TokenTaken: it was completed before: only the first time counts.
            RunStateError: its run has ended.
            EncodeError: the value can't be stored.
        """
        info = None if error is None else _error_info(error)
        data = None if error is not None else encode_value(value)
        entry = TokenCompleted(token_id, self.journal.clock(), self.name, data, info)
        return await telling.complete(self.journal, self.blobs, entry)

    @noted(deeds.signal)
    async def signal(self, run: str, name: str, value: Any = None) -> Run:
        """Send a run a signal; its code takes those of a name in order. Returns the run as it then stood.

        Raises:
            UnknownRun: there is none of this id.
            RunStateError: it has ended; it never takes the signal.
            ConfigError: no signal can have this name.
            EncodeError: the value can't be stored.
        """
        if not name or "/" in name or "#" in name:
            raise ConfigError(f"signal: expected a name without '/' and '#', found {name!r}")
        entry = Signalled(secrets.token_hex(8), self.journal.clock(), name, encode_value(value), self.name)
        return await telling.signal(self.journal, self.blobs, run, entry)

    @noted(deeds.resolve)
    async def resolve(self, run: str, key: str, action: str, value: Any = None) -> Run:
        """Answer what a paused run asks at a checkpoint. Returns the run as it then stood.

        Args:
            action: `done` (the step happened, and returned `value`), `run` (it did not: run it; or: try again), `skip`
                (count an undo as done), `accept` (of changed code: go on the new way).

        Raises:
            UnknownRun: there is none of this id.
            RunStateError: it asks nothing there, or the action answers another question.
            EncodeError: the value can't be stored.
        """
        data = encode_value(value) if action == "done" else None
        entry = Resolved(key, self.journal.clock(), action, self.name, data)
        return await telling.resolve(self.journal, self.blobs, run, entry)

    async def query(self, run: str, name: str, *args: Any) -> Any:
        """What the code of a run answers to a query that it exposes (`run.expose`); changes nothing.

        Raises:
            UnknownRun: there is none of this id.
            RunStateError: no worker has it in memory just now.
            Refused: it does not answer that.
        """
        question = codec.encode(api.Query(name, encode_value(list(args))))
        try:
            reply = await self._ask_holder(self.bus.subjects.api(f"{api.QUERY}.{token('run', run)}"), question)
        except DaemonUnavailable:
            state = (await self.journal.load(run)).state
            raise RunStateError(
                f"run {run} is {state}: no worker has it in memory just now, so nobody can answer; ask while it runs"
            ) from None
        answer = api.decode(reply, api.Answer)
        if answer.error:
            raise Refused(answer.error, code="bad_request")
        return None if answer.value is None else decode_value(answer.value)

    async def _ask_holder(self, subject: str, question: bytes) -> bytes:
        """The answer of the worker that has a run; one that only had it says so, once."""
        for _ in range(ASKED):
            try:
                return await self.bus.request(subject, question)
            except Refused as refused:
                if refused.code != api.MOVED:
                    raise
        raise DaemonUnavailable(f"no worker answers {subject}: each of {ASKED} said that another one has the run")

    @noted(deeds.retry)
    async def retry(self, run: str, *, from_start: bool = False, payload: Mapping[str, Any] | None = None) -> Run:
        """Take an ended run up again behind its last checkpoint. Raises: UnknownRun; RunStateError."""
        data = None if payload is None else await self.blobs.keep(encode_payload(payload))
        return await self.journal.retry(run, by=self.name, from_start=from_start, payload=data)

    @noted(deeds.replay)
    async def replay(self, run: str) -> RunHandle:
        """Start a new run with the payload and settings of another one: from the start, with today's code.

        Raises:
            UnknownRun: there is none of this id.
        """
        id = self._new_id(self.journal.clock())
        return RunHandle.of(self, id, await remaking.replay(self.journal, run, id))

    @noted(deeds.fork)
    async def fork(
        self, run: str, key: str, edits: Mapping[str, Any] | None = None, *, behind: bool = False
    ) -> RunHandle:
        """Start a new run that begins with what another one recorded before a checkpoint; that one is left as it is.

        Args:
            key: the checkpoint from which on it runs anew.
            edits: other results, by `KEY` or, for a part of one, `KEY.path.to.field`.
            behind: it keeps what came of the checkpoint itself, or as it is edited, and runs anew what came after it.

        Raises:
            UnknownRun: there is none of this id.
            UnknownKey: it has no such checkpoint.
            EditError: an edit is about something else than what the fork keeps, or does not fit there.
            TooLarge: the fork would begin with too much for one message.
        """
        id = self._new_id(self.journal.clock())
        first = await remaking.fork(self.journal, self.blobs, run, key, id, edits or {}, behind=behind)
        return RunHandle.of(self, id, first)

    # --- schedules ------------------------------------------------------------------------------------------------

    async def schedules(self) -> list[ScheduleRow]:
        """Every schedule as it stands, by name."""
        return await scheduling.rows(self.journal, self._timetable)

    @noted(deeds.create_schedule)
    async def create_schedule(
        self,
        name: str,
        task: str,
        when: Cron | Every,
        payload: Mapping[str, Any] | None = None,
        *,
        queue: str | None = None,
        priority: int | None = None,
        replace: bool = False,
    ) -> None:
        """Have a task run at the times of a schedule that no code declares.

        Args:
            when: the name in it does not count.
            payload: the arguments of each run; where the task has a parameter `tick`, it is given besides.
            replace: change the one of this name, where there is one.

        Raises:
            ScheduleTaken: there is one of this name; nothing was changed.
            UnknownTask: no worker has declared a task of this id.
            PayloadError: the payload does not fit the task's signature.
            ConfigError: a name, queue or priority that can't be, or the payload is too large.
        """
        data = encode_payload(payload) if payload else b""
        schedule = scheduling.made(name, task, when, payload=data, queue=queue, priority=priority)
        card = await self.card(task)
        if card is None:
            raise await self._unknown(task)
        settings = card_settings(card).but(queue=queue, priority=priority)
        one = Planned(schedule, settings, card.takes_tick, None, self.name, None)
        if why := await self._misfit(task, arguments(one, self.journal.clock(), None)):
            raise PayloadError(why)
        await scheduling.create(self.journal, self._timetable, schedule, self.name, over=replace)

    @noted(deeds.delete_schedule)
    async def delete_schedule(self, name: str) -> None:
        """Delete a schedule that was created so. Raises: UnknownSchedule; ScheduleTaken: a task declares it."""
        await scheduling.delete(self.journal, self._timetable, name)

    @noted(deeds.pause_schedule)
    async def pause_schedule(self, name: str) -> None:
        """Have a schedule's ticks not come about; none counts as missed. Idempotent. Raises: UnknownSchedule."""
        await scheduling.pause(self.journal, self._timetable, name, self.name, paused=True)

    @noted(deeds.resume_schedule)
    async def resume_schedule(self, name: str) -> None:
        """Have them come about again, from now on. Idempotent. Raises: UnknownSchedule."""
        await scheduling.pause(self.journal, self._timetable, name, self.name, paused=False)

    @noted(deeds.run_schedule)
    async def run_schedule(self, name: str) -> RunHandle:
        """Start a run as the schedule would, now, paused or not; no tick waits for it. Raises: UnknownSchedule."""
        one = await scheduling.planned(self.journal, name)
        state, _ = await self._timetable.standing(name)
        last = None if state is None or state.last is None else state.last.at
        payload = arguments(one, self.journal.clock(), last)
        source = f"schedule {name} by hand"
        return await self.start(self.new_run(one.schedule.task, payload, one.settings, source=source))

    @noted(deeds.reschedule)
    async def reschedule(self, name: str, when: Cron | Every) -> None:
        """Have a schedule that an operator created tick at other times; what its runs are given stays.

        Args:
            when: the name in it does not count.

        Raises:
            UnknownSchedule: there is none of this name.
            ScheduleTaken: a task declares it, or somebody else changed it just now.
            ConfigError: times that can't be.
        """
        await scheduling.change(self.journal, self._timetable, name, when, self.name)

    async def next_ticks(self, name: str, count: int = 5) -> list[datetime]:
        """The next times of a schedule, in its zone, without jitter, paused or not. Raises: UnknownSchedule."""
        return scheduling.ahead(await scheduling.planned(self.journal, name), count, self.journal.clock())

    # --- events ---------------------------------------------------------------------------------------------------

    async def events(self, query: EventsQuery | None = None) -> EventsPage:
        """Events that were published, newest first; needs no daemon. Raises: Refused: a question that can't be."""
        return await published.newest(self.bus, query or EventsQuery())

    async def event(self, seq: int) -> EventRow | None:
        """The event of a number, whole; None: there is none, or no more."""
        return await published.at(self.bus, seq)

    # --- asked of the server --------------------------------------------------------------------------------------

    async def follow_logs(
        self, *, task: str = "*", run: str = "*", after: int | None = None
    ) -> AsyncIterator[api.LogRow]:
        """Log lines as they come, without gaps or doubles over reconnects; from the end, or behind sequence `after`."""
        async for rows in self.follow_output(task=task, run=run, after=after):
            for row in rows:
                yield row

    async def follow_output(
        self, *, task: str = "*", run: str = "*", after: int | None = None
    ) -> AsyncIterator[list[api.LogRow]]:
        """The same in lists, as they arrive: the lines of a message are never parted. An empty one: nothing came."""
        first = (await self.bus.last_seq(Stream.LOGS) if after is None else after) + 1
        async with aclosing(
            self.bus.follow(Stream.LOGS, self.bus.subjects.output(task, run), first=first)
        ) as following:
            async for messages in following:
                yield [row for message in messages for row in _log_rows(message)]

    @noted(deeds.pause)
    async def pause(self, queue: str, *, paused: bool = True) -> None:
        """Start nothing new in a queue, or again; what runs goes on."""
        await self.bus.pause(token("queue", queue), paused=paused)

    async def limits(self, queue: str) -> QueueLimits | None:
        """The limits that an operator set for a queue; None: those of the configuration stand."""
        return await self._limits("limits", queue)

    async def configured_limits(self, queue: str) -> QueueLimits:
        """The limits that the daemon's configuration gives a queue."""
        return await self._limits("queue", queue) or QueueLimits()

    async def _limits(self, what: str, queue: str) -> QueueLimits | None:
        found = await self.bus.last(Stream.CONTROL, self.bus.subjects.control(what, token("queue", queue)))
        return None if found is None or not found.data else api.decode(found.data, QueueLimits)

    @noted(deeds.limit)
    async def limit(self, queue: str, limits: QueueLimits | None) -> None:
        """Set a queue's limits, all of them, from now on, over restarts; None: those of the configuration again.

        What runs goes on: a lower limit holds as runs end. The daemon enforces them.
        """
        data = b"" if limits is None else codec.encode(msgspec.structs.replace(limits, by=self.name))
        await self.bus.put("limits", token("queue", queue), data)

    async def purge_queue(self, name: str, *, reason: str = "", dry_run: bool = False) -> int:
        """Cancel all runs of a queue that wait (queued or delayed) and have never started; returns how many.

        Runs that a worker takes meanwhile go on, and those created after the call began stay. What it has cancelled
        stays so where it is interrupted, and may be called again.

        Args:
            reason: why; recorded with each, and in the audit.
            dry_run: only count them.
        """
        if dry_run:
            return await super().purge_queue(name, dry_run=True)
        command = deeds.shell(("queues", "purge"), (name,), ("--reason", reason) if reason else ())
        async with self.audit_as("purge", "queue", reason=reason, command=command) as batch:
            try:
                cancelled = await super().purge_queue(name, reason=reason)
            except HoldfastError as error:
                batch.refuse(name, str(error))
                raise
            except BaseException:  # stopped: pages of it are done
                batch.lose(name)
                raise
            batch.took(name, cancelled)
        return cancelled

    @noted(deeds.drop_letter)
    async def drop_letter(self, run: str) -> Run:
        """Drop a dead letter; the run is failed. Raises: UnknownRun; RunStateError."""
        return await self.journal.drop(run, by=self.name)

    async def workers(self) -> list[api.Presence]:
        """The workers whose heartbeat is fresh."""
        return await orders.present(self.bus)

    @noted(deeds.drain_worker)
    async def drain_worker(self, name: str) -> api.Presence:
        """Have a worker finish or suspend what it has and take up nothing, until it is resumed; returns what it has.

        It gives back at once what waits there for a slot. Idempotent. Raises: UnknownWorker.
        """
        return await self._order(name, api.Duty.DRAIN)

    @noted(deeds.resume_worker)
    async def resume_worker(self, name: str) -> api.Presence:
        """Have a drained worker take up runs again; one that stops can't. Idempotent. Raises: UnknownWorker."""
        return await self._order(name, api.Duty.RESUME)

    @noted(deeds.stop_worker)
    async def stop_worker(self, name: str) -> api.Presence:
        """Have a worker drain, for its drain time at most, and exit; returns what it has.

        What does not end in time goes on elsewhere behind its last checkpoint. Where the worker is of the daemon's pool
        and the pool wants as many, it begins another one in its place: a restart. Raises: UnknownWorker.
        """
        return await self._order(name, api.Duty.STOP)

    async def _order(self, name: str, duty: api.Duty) -> api.Presence:
        return await orders.give(self.bus, name, duty, at=self.journal.clock(), by=self.name)

    async def faults(self) -> list[api.Fault]:
        """What keeps the daemon's workers from serving all their tasks, by pool."""
        found = [api.decode(message.data, api.Fault) for message in await self._control(api.FAULT)]
        return [fault for fault in found if fault.errors]

    async def cards(self) -> list[api.TaskCard]:
        """The tasks that workers have declared."""
        return [api.decode(message.data, api.TaskCard) for message in await self._control("task")]

    async def card(self, task: str) -> api.TaskCard | None:
        message = await self.bus.last(Stream.CONTROL, self.bus.subjects.control("task", token("task", task)))
        return None if message is None else api.decode(message.data, api.TaskCard)

    # --- access over HTTP -----------------------------------------------------------------------------------------

    @noted(deeds.create_token)
    async def create_token(
        self, name: str, scopes: Iterable[str], *, rate: Rate | None = None
    ) -> tuple[str, api.AccessToken]:
        """A new access token of the project, with the text that its bearer sends: it is nowhere else, so keep it.

        Args:
            name: for whom or what it is made.
            scopes: of `trigger`, `read`, `operate`.
            rate: requests that it may make; None: as the daemon is configured.

        Raises:
            ConfigError: no scopes, or unknown ones; no name.
        """
        text, token = access.issue(
            self.bus.subjects.project, name, scopes, at=self.journal.clock(), by=self.name, rate=rate
        )
        await self.bus.publish(self.bus.subjects.control("token", token.id), codec.encode(token), expect=0)
        return text, token

    async def tokens(self) -> list[api.AccessToken]:
        """The access tokens that are in force, oldest first."""
        found = [api.decode(message.data, api.AccessToken) for message in await self._control("token")]
        return [token for token in found if token.revoked_at is None]

    @noted(deeds.revoke_token)
    async def revoke_token(self, id: str) -> api.AccessToken:
        """End an access token; running daemons refuse it within moments. Raises: UnknownToken: there is none."""
        subject = self.bus.subjects.control("token", id)
        message = await self.bus.last(Stream.CONTROL, subject) if TOKEN.match(id) else None
        found = None if message is None else api.decode(message.data, api.AccessToken)
        if message is None or found is None or found.revoked_at is not None:
            raise UnknownToken(f"access token {id!r:.100}: expected the id of one in force: see `holdfast tokens list`")
        revoked = msgspec.structs.replace(found, revoked_at=self.journal.clock())
        try:
            await self.bus.publish(subject, codec.encode(revoked), expect=message.seq)
        except Fenced:  # somebody else ended it just now
            return await self.revoke_token(id)
        return revoked

    async def _control(self, what: str) -> list[Any]:
        return await self.bus.latest(Stream.CONTROL, self.bus.subjects.control(what, "*"))
