"""The query service: answers questions from the history, the journal and the gauges. Names and types: `wire.api`.

Whoever asks sees what he has just done: an answer waits until the history has taken in what the journal held when the
question came, at most a second. A single run is read from the journal itself where the history lags.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus
from msgspec.structs import replace

from holdfast.bus.blobs import INLINE, Blobs
from holdfast.bus.ports import Bus, Message
from holdfast.core import ids
from holdfast.core.admission import Hold
from holdfast.core.entries import StepCompleted
from holdfast.core.lifecycle import Record, apply, fold, story
from holdfast.core.model import Instant, Run, Seconds, State
from holdfast.core.pending import Wait, pending
from holdfast.core.tree import Tree
from holdfast.errors import BusError, DaemonUnavailable, HoldfastError, Refused
from holdfast.wire import api, codec
from holdfast.wire.render import render_json
from holdfast.wire.subjects import Stream
from holdfast_daemon.answering import Question, answering
from holdfast_daemon.gauges import Gauges, Rule
from holdfast_daemon.ledger import Change
from holdfast_daemon.projection.projector import Projector
from holdfast_daemon.projection.rows import journal_rows
from holdfast_daemon.projection.store import Store, TooSlow, Unavailable
from holdfast_daemon.query import lines, runs
from holdfast_daemon.query.audit import AuditDesk
from holdfast_daemon.query.lists import Lists
from holdfast_daemon.query.portion import REPLY_MOST, fitting
from holdfast_daemon.query.recent import Recent
from holdfast_daemon.query.sql import Span, Statement
from holdfast_daemon.query.why import Situation, reasons
from holdfast_daemon.router import Counts

log = logging.getLogger("holdfast.query")

WITHIN: Seconds = 1.0
"""How long an answer waits for the history at most."""

VALUE_MOST = REPLY_MOST - 4096
"""Bytes of a value that is asked for by itself, as JSON; what is left is for what stands around it."""

SHOWN_MOST = 256 * 1024
"""Characters of a payload or result as JSON."""

_T = TypeVar("_T")


class Admissions(Protocol):
    """Knows who may run; `admitter.Admitter` is one."""

    def rules_of(self) -> dict[str, Rule]:
        """What is set of each queue of which something is, and what holds it back."""

    def why(self, run: Run) -> Hold | None:
        """What keeps a run of a governed queue from a slot."""


class QueryService:
    """Answers questions about runs, queues, letters and log lines."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        projector: Projector,
        gauges: Gauges,
        *,
        version: str = "",
        admissions: Admissions | None = None,
        repairs: Callable[[], Mapping[str, int]] = dict,
        events: Callable[[], Counts] = Counts,
        clock: Callable[[], Instant] = time.time,
    ) -> None:
        """
        Args:
            admissions: knows what holds runs of limited queues back; None: nothing does.
            repairs: what had to be repaired so far, by kind.
            events: what became of events so far.
        """
        self._bus = bus
        self._blobs = Blobs(bus)
        self._store = store
        self._projector = projector
        self._gauges = gauges
        self._version = version
        self._admissions = admissions
        self._repairs = repairs
        self._events = events
        self._clock = clock
        self._started_at = clock()
        self._lists = Lists(store, self._fresh, clock)
        self._recent = Recent(lambda statement: store.query(*statement))

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        await answering(
            self._bus,
            Question(api.RUNS_LIST, api.RunsQuery, self.runs),
            Question(api.RUNS_GET, api.RunRef, self.view),
            Question(api.RUNS_HISTORY, api.HistoryRef, self.history),
            Question(api.RUNS_VALUE, api.ValueRef, self.value),
            Question(api.RUNS_COUNTS, api.RunsQuery, self._lists.counts),
            Question(api.QUEUES_LIST, api.Nothing, self._queues),
            Question(api.QUEUES_WHY, api.RunRef, self.why),
            Question(api.LETTERS_LIST, api.LettersQuery, self.letters),
            Question(api.LETTERS_GROUPS, api.LettersQuery, self._lists.groups),
            Question(api.METRICS, api.MetricsQuery, self._lists.metrics),
            Question(api.LOGS_LIST, api.LogsQuery, self.lines),
            Question(api.AUDIT_LIST, api.AuditQuery, AuditDesk(self._bus, self._store, self._projector).page),
            Question(api.HEALTH, api.Nothing, self.health),
            wrong=(ValueError, TooSlow),
            away=(Unavailable, BusError),
            task_status=task_status,
        )

    # --- the questions ----------------------------------------------------------------------------------------------

    async def runs(self, query: api.RunsQuery) -> api.RunsPage:
        """A page of runs."""
        return await self._lists.runs(query)

    async def view(self, ref: api.RunRef) -> api.RunView:
        """Everything of one run.

        Raises:
            Refused: no run, or more than one, is meant.
        """
        if not await self._fresh() and ids.is_run_id(ref.run):
            return await self._view_of_journal(ref.run)
        id = await self._id(ref)
        found = await self._ask(runs.run(id), runs.WHOLE)
        return await self._view(found[0]) if found else await self._view_of_journal(id)

    async def history(self, ref: api.HistoryRef) -> api.History:
        """The messages of one run behind one that is known. Recorded values that a reply can't hold are left out
        (empty), the largest first; where that is not enough, it ends early and says so.

        Raises:
            Refused: no run, or more than one, is meant.
        """
        if not ids.is_run_id(ref.run):
            await self._fresh()
        id = await self._id(api.RunRef(ref.run))
        stored = [
            api.Stored(record.seq, message.time, record.kind.value, record.writer, record.entries)
            for message, record in await self._messages(id)
        ]
        if not stored:
            raise _not_found(api.RunRef(ref.run))
        return _page(_cut(api.History(id, tuple(each for each in stored if each.seq > ref.after))))

    async def value(self, ref: api.ValueRef) -> api.Value:
        """A recorded value, also one that a history came without or that is kept apart.

        Raises:
            Refused: no run, or more than one, is meant; or the run has no such value.
        """
        if not ids.is_run_id(ref.run):
            await self._fresh()
        id = await self._id(api.RunRef(ref.run))
        records = [record for _, record in await self._messages(id)]
        if not records:
            raise _not_found(api.RunRef(ref.run))
        data = _recorded(records, ref.key)
        if data is None:
            what = f"checkpoint {ref.key}" if ref.key.strip("/") else "result"
            raise Refused(f"run {id} has no value for {what}: see `holdfast runs tree {id}`", code="not_found")
        try:
            data = await self._blobs.full(data)
        except BusError:
            raise
        except HoldfastError as error:
            raise Refused(
                f"the value of {ref.key or 'the payload'} can't be read: {error}", code="not_found"
            ) from error
        shown = render_json(data)
        json = _beginning(shown, VALUE_MOST)
        return api.Value(run=id, key=ref.key, json=json, size=len(data), whole=len(json) == len(shown))

    async def queues(self) -> api.Queues:
        """How each queue stands, without what was before."""
        await self._fresh()
        rules = {} if self._admissions is None else self._admissions.rules_of()
        return self._gauges.queues(self._clock(), await self._workers(), rules)

    async def _queues(self, nothing: api.Nothing) -> api.Queues:
        return await self._recent.add(await self.queues())

    async def why(self, ref: api.RunRef) -> api.Why:
        """Why a run does not run.

        Raises:
            Refused: no run, or more than one, is meant.
        """
        await self._fresh()
        records = [record for _, record in await self._messages(await self._id(ref))]
        run = fold(records)
        if run is None:
            raise _not_found(ref)
        paused = await self._bus.last(Stream.CONTROL, self._bus.subjects.control("paused", run.queue))
        standing = Situation(
            now=self._clock(),
            since=self._gauges.ready_since(run) or max(run.created_at, run.scheduled_at),
            paused=paused.time if paused is not None and paused.data else None,
            hold=None if self._admissions is None else self._admissions.why(run),
            workers=await self._workers(),
            waits=tuple(pending(run, Tree.of(story(records)))),
            mismatch=await self._mismatch(run),
        )
        return api.Why(run.id, run.task, run.queue, run.state, reasons(run, standing))

    async def _workers(self) -> list[api.Presence]:
        beats = await self._bus.latest(Stream.CONTROL, self._bus.subjects.control("worker", "*"))
        return [beat for message in beats if (beat := _decoded(message, api.Presence)) is not None]

    async def _mismatch(self, run: Run) -> str:
        """Why the run's payload would be refused by a worker; empty where it would not, or nobody can say."""
        if run.state is not State.QUEUED or run.attempt or len(run.payload) > INLINE:
            return ""
        subject = self._bus.subjects.api(f"{api.CHECK}.{run.task}")
        try:
            return api.decode(await self._bus.request(subject, run.payload, timeout=WITHIN), api.Checked).error
        except (DaemonUnavailable, Refused, BusError):
            return ""

    async def letters(self, query: api.LettersQuery) -> api.LettersPage:
        """A page of dead letters."""
        return await self._lists.letters(query)

    async def lines(self, query: api.LogsQuery) -> api.LogsPage:
        """The newest log lines, oldest first."""
        asked = lines.lines(query)  # before anything is waited for: it may be refused
        await self._projector.reach(await self._bus.last_seq(Stream.LOGS), stream=Stream.LOGS, within=WITHIN)
        if query.run:
            await self._fresh()
            id = await self._id(api.RunRef(query.run))
            asked = lines.lines(replace(query, run=id), await self._span(id))
        last_seq = self._projector.projected_lines
        rows = [lines.line(values) for values in await self._ask(asked, lines.LINE)]
        return api.LogsPage(tuple(reversed(fitting(rows))), last_seq)

    async def health(self, nothing: api.Nothing | None = None) -> api.Health:
        """How the daemon stands."""
        repaired = dict(self._repairs())
        return api.Health(
            version=self._version,
            pid=os.getpid(),
            started_at=self._started_at,
            projected=self._projector.projected,
            journal=await self._bus.last_seq(Stream.JOURNAL),
            repairs=sum(repaired.values()),
            repaired=repaired,
            unreadable=self._projector.ledger.unreadable,
            **self._events()._asdict(),
        )

    async def readiness(self) -> str:
        """What is missing to answer everything, in words; empty when nothing is."""
        if not self._bus.connected:
            return "the NATS server does not answer"
        if not self._projector.caught_up:
            return f"the history is being brought up to date: it holds the journal up to {self._projector.projected}"
        return ""

    # --- one run ----------------------------------------------------------------------------------------------------

    async def _id(self, ref: api.RunRef) -> str:
        part = ref.run.strip().upper()
        if ids.is_run_id(part):
            return part
        if not part or not part.isalnum():
            raise Refused(f"expected a run's id, or its beginning or end, found {ref.run!r}", code="bad_request")
        found = await self._ask(runs.ids_like(part), ("id",))
        if not found:
            raise _not_found(ref)
        if len(found) > 1:
            message = f"{ref.run} is the beginning or end of more than one run's id: give more of it"
            raise Refused(message, code="ambiguous")
        return str(found[0]["id"])

    async def _span(self, id: str) -> Span | None:
        found = await self._ask(runs.span(id), runs.SPAN)
        return runs.span_of(found[0]) if found else None

    async def _view(self, values: Mapping[str, Any]) -> api.RunView:
        row = runs.listed(values)
        asked = runs.children(row.id, row.created_at)
        children = fitting([runs.listed(child) for child in await self._ask(asked, runs.LISTED)], REPLY_MOST // 3)
        waits = _waits(await self._messages(row.id)) if row.state in _SUSPENDED else ()
        return _viewed(values, row, tuple(children), waits)

    async def _view_of_journal(self, id: str) -> api.RunView:
        messages = await self._messages(id)
        values = _folded(id, messages)
        row = runs.listed(values)
        return _viewed(values, row, (), _waits(messages) if row.state in _SUSPENDED else ())

    async def _messages(self, id: str) -> list[tuple[Message, Record]]:
        found = []
        for message in await self._bus.read(Stream.JOURNAL, self._bus.subjects.of_run(id)):
            try:
                found.append((message, codec.record(self._bus.subjects, message.subject, message.seq, message.data)[1]))
            except ValueError:
                continue  # counted and logged by the ledger
        return found

    # --- the history ------------------------------------------------------------------------------------------------

    async def _fresh(self) -> bool:
        """Whether the history holds what the journal does now."""
        return await self._projector.reach(await self._bus.last_seq(Stream.JOURNAL), within=WITHIN)

    async def _ask(self, statement: Statement, columns: Sequence[str]) -> list[dict[str, Any]]:
        return [dict(zip(columns, row, strict=True)) for row in await self._store.query(*statement)]


def _not_found(ref: api.RunRef) -> Refused:
    return Refused(f"no run {ref.run}: check its id with `holdfast runs list`", code="not_found")


def _decoded(message: Message, type: type[_T]) -> _T | None:
    try:
        return api.decode(message.data, type)
    except msgspec.DecodeError as error:
        log.warning("passed over an unreadable control value %s: %s", message.subject, error)
        return None


def _folded(id: str, messages: Sequence[tuple[Message, Record]]) -> Mapping[str, Any]:
    """A run's row as the journal tells it."""
    changes: list[Change] = []
    run: Run | None = None
    for message, record in messages:
        before, run = run, apply(run, record)
        if run is not None:
            changes.append(Change(id, record, message.time, before, run))
    if not changes:
        raise _not_found(api.RunRef(id))
    return journal_rows(changes).created[0]._asdict()


_SUSPENDED = frozenset({State.WAITING, State.COMPENSATING})


def _waits(messages: Sequence[tuple[Message, Record]]) -> tuple[Wait, ...]:
    """What a run waits for, as many as fit into a reply."""
    records = [record for _, record in messages]
    tree, run = Tree.of(story(records)), fold(records)
    return () if run is None else tuple(fitting(list(pending(run, tree)), REPLY_MOST // 8))


def _viewed(
    values: Mapping[str, Any], row: api.RunRow, children: tuple[api.RunRow, ...], waits: tuple[Wait, ...]
) -> api.RunView:
    return api.RunView(
        row=row,
        payload=_json(values["payload"]),
        result=_json(values["result"]),
        error=runs.error(values),
        children=children,
        metadata=_shown(values["metadata"]),
        origin=runs.origin(values),
        waits=waits,
        hook=values["hook"] or "",
    )


def _recorded(records: Sequence[Record], key: str) -> bytes | None:
    """A value as the journal has it: of a checkpoint, of `/` the result, of an empty key the payload."""
    if key.strip("/"):
        node = Tree.of(story(records)).node(key)
        return None if node is None else node.value
    run = fold(records)
    return None if run is None else run.result if key else run.payload


def _beginning(text: str, most: int) -> str:
    """As much of a text as fits into so many bytes of UTF-8."""
    if len(text) * 4 <= most:
        return text
    return text.encode()[:most].decode(errors="ignore")


def _json(data: bytes | None) -> str:
    """A stored value as text that fits into a reply."""
    if data is None:
        return ""
    return _shown(render_json(data))


def _shown(text: str) -> str:
    if len(text) <= SHOWN_MOST:
        return text
    return f"{text[:SHOWN_MOST]}\n... {len(text) - SHOWN_MOST:,} more characters are not shown"


def _page(history: api.History) -> api.History:
    """As much of a history, from its beginning, as a reply holds."""
    page = fitting(list(history.messages))
    return replace(history, messages=tuple(page), more=len(page) < len(history.messages))


def _cut(history: api.History) -> api.History:
    """The history without its largest values, where a reply can't hold them."""
    excess = len(codec.encode(history)) - REPLY_MOST
    if excess <= 0:
        return history
    sizes = sorted(
        (
            len(entry.value)
            for stored in history.messages
            for entry in stored.entries
            if isinstance(entry, StepCompleted)
        ),
        reverse=True,
    )
    bound = 0
    for bound in sizes:
        excess -= bound
        if excess <= 0:
            break
    messages = tuple(
        replace(
            stored,
            entries=tuple(
                replace(entry, value=b"") if isinstance(entry, StepCompleted) and len(entry.value) >= bound else entry
                for entry in stored.entries
            ),
        )
        for stored in history.messages
    )
    return replace(history, messages=messages)
