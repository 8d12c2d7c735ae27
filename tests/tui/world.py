"""A project that is not there: a client with the calls that the desk makes, over a fixed little world."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from typing import Any, cast

import msgspec

from holdfast.client import Client
from holdfast.core.admission import QueueLimits
from holdfast.core.entries import (
    AttemptInterrupted,
    AttemptResumed,
    AttemptStarted,
    Batch,
    ChildTriggered,
    Diverged,
    Entry,
    Inherited,
    Progressed,
    RunCreated,
    RunDead,
    RunTimedOut,
    StepCompleted,
    StepFailed,
    StepRetried,
    StepStarted,
    Suspended,
    WaitStarted,
)
from holdfast.core.lifecycle import Kind, fold, story
from holdfast.core.model import ErrorInfo, Origin, Progress, Retry, Run, State
from holdfast.core.tree import Tree
from holdfast.errors import DaemonUnavailable, Refused, RunStateError, Unanswered
from holdfast.wire import api, codec
from holdfast.wire.render import render_json
from holdfast.wire.subjects import Subjects
from holdfast.wire.values import encode_value
from tui.places import EVIL, NOW, Places, run_id

__all__ = ["EVIL", "NOW", "run_id"]


class Trace:
    """Entries of one run, with the bookkeeping of sequences."""

    def __init__(
        self,
        run: str,
        *,
        task: str = "charge-card",
        queue: str = "billing",
        at: float = NOW - 60,
        origin: Origin | None = None,
    ) -> None:
        self.run, self.at, self.seq = run, at, 0
        self.messages: list[api.Stored] = []
        created = RunCreated(
            run,
            at,
            task,
            encode_value({"user": 8812, "amount": 1999, "currency": "XX"}),
            queue,
            retry=Retry(max_attempts=5),
            origin=origin,
        )
        self.put("ready", "", created)

    def put(self, kind: str, writer: str, *entries: Entry) -> bytes:
        self.seq += 1
        self.messages.append(api.Stored(self.seq, self.at, kind, writer, entries))
        return codec.encode(Batch(writer, entries))

    def log(self, *entries: Entry) -> bytes:
        return self.put("log", "n1", *entries)

    def history(self) -> api.History:
        return api.History(self.run, tuple(self.messages))

    def view(self) -> api.RunView:
        run = fold(message.record for message in self.messages)
        assert run is not None
        row = api.RunRow(
            id=run.id, task=run.task, queue=run.queue, priority=run.priority, state=run.state,
            created_at=run.created_at, started_at=run.started_at, finished_at=run.finished_at, attempt=run.attempt,
            steps=run.steps, paused=run.paused,
        )  # fmt: skip
        return api.RunView(row=row, payload="{}")


BAD = ErrorInfo(
    "payments.CurrencyError",
    "bad currency 'XX'",
    'Traceback (most recent call last):\n  File "payments.py", line 212, in capture\n'
    "    raise CurrencyError(f\"bad currency {currency!r}\")\npayments.CurrencyError: bad currency 'XX'\n",
)


def failing(run: str, *, dead: bool = True) -> Trace:
    """A run with parallel steps, a step that was tried again and one that failed."""
    trace, at = Trace(run), NOW - 58
    trace.log(AttemptStarted(at, 1, "w-07", "n1", "item"))
    trace.log(StepCompleted("/validate#1", at + 0.004, 0.004, encode_value(True)))
    trace.log(StepCompleted("/reserve#1", at + 0.05, 0.041, encode_value({"hold": "h_81"})))
    trace.log(
        StepCompleted("/gather#1/quote#1", at + 0.09, 0.031, encode_value(19.99)),
        StepRetried("/gather#1/quote#2", at + 0.1, 0.05, ErrorInfo("TimeoutError", "amex"), 1, at + 0.14),
    )
    trace.log(StepCompleted("/gather#1/quote#2", at + 0.2, 0.036, encode_value(20.5)))
    trace.log(StepStarted("/capture#1", at + 1.15))
    if dead:
        trace.log(StepFailed("/capture#1", at + 3.2, 2.05, BAD))
        trace.log(RunDead(at + 3.21, BAD, "attempts used up"))
    return trace


def asking(run: str) -> Trace:
    """A paused run that waits for much, whose code changed and took another way."""
    trace, at = Trace(run, task="onboard"), NOW - 58
    trace.log(AttemptStarted(at, 1, "w-07", "n1", "item", code="3f2a1b99"))
    trace.log(
        StepCompleted("/reserve#1", at + 0.5, 0.4, encode_value({"hold": "h_81"}), b"undo"),
        StepCompleted("/notify#1", at + 1, 0.4, encode_value(None)),
        ChildTriggered("/ship#1", at + 1, run_id(2800), "ship"),
        WaitStarted("/for_#1", at + 1, "", "sleep", NOW + 3600),
        WaitStarted("/await#1", at + 1, "01HF8T0000000000000000TKN1", "token", NOW + 200_000),
        WaitStarted("/event#1", at + 1, "event:/event#1:1", "event", None, "orders.*", codec.encode({"order.id": 7})),
        Progressed(at + 1, 3, 10, "resizing"),
    )
    trace.log(StepStarted("/charge#1", at + 2, once=True))
    trace.put("log", "", AttemptInterrupted(at + 20, "worker w-07 was lost"))
    trace.put("log", "n2", AttemptResumed(at + 21, 1, "w-03", "n2", "item", code="9bc1ddd0"))
    trace.put("log", "n2", Diverged("/mail#1", at + 22, ("/notify#1",)))
    trace.put("log", "n2", StepCompleted("/mail#1", at + 23, 0.4, encode_value(None)))
    waits = (run_id(2800), "01HF8T0000000000000000TKN1", "event:/event#1:1", "pause:/charge#1")
    trace.put("log", "n2", Suspended(at + 24, waits, NOW + 3600, "the outcome of /charge#1 is not known"))
    return trace


def undoing(run: str) -> Trace:
    """A fork that failed and undoes its steps."""
    trace, at = Trace(run, task="onboard", origin=Origin(run_id(2799), "fork", "/charge#1")), NOW - 58
    trace.put("log", "", Inherited("/validate#1", at - 900, 0.1, encode_value(True)))
    trace.put("log", "", Inherited("/quote#1", at - 900, 0.1, encode_value(19.99), None, True))
    trace.log(AttemptStarted(at, 1, "w-07", "n1", "item"))
    trace.log(StepCompleted("/reserve#1", at + 0.5, 0.4, encode_value({"hold": "h_81"}), b"undo"))
    trace.log(StepCompleted("/charge#1", at + 2, 1.4, encode_value({"id": "ch_7"}), b"undo"))
    trace.log(StepFailed("/ship#1", at + 3, 0.4, BAD), RunDead(at + 3.1, BAD, "attempts used up"))
    trace.put("log", "n2", AttemptResumed(at + 4, 1, "w-03", "n2", "item"))
    trace.put("log", "n2", StepCompleted("/charge#1/undo", at + 6, 1.4, encode_value(None)))
    trace.put("log", "n2", StepStarted("/reserve#1/undo", at + 7))
    return trace


def asking_twice(run: str) -> Trace:
    """A run that failed, whose undo failed too, and whose code then took another way."""
    trace, at = Trace(run, task="onboard"), NOW - 58
    trace.log(AttemptStarted(at, 1, "w-07", "n1", "item"))
    trace.log(
        StepCompleted("/mail#1", at + 0.5, 0.4, encode_value(None)),
        StepStarted("/charge#1", at + 1, once=True),
        WaitStarted("/approve#1", at + 1, "", "signal", None, "approve"),
    )
    waits = ("pause:/charge#1", "pause:/mail#2", "signal:approve#1")
    trace.log(Suspended(at + 2, waits, None, "two questions"))
    return trace


def undo_failed(run: str) -> Trace:
    """A run that failed and whose undo failed as well."""
    trace, at = Trace(run, task="onboard"), NOW - 58
    trace.log(AttemptStarted(at, 1, "w-07", "n1", "item"))
    trace.log(StepCompleted("/reserve#1", at + 0.5, 0.4, encode_value({"hold": "h_81"}), b"undo"))
    trace.log(StepFailed("/ship#1", at + 3, 0.4, BAD), RunDead(at + 3.1, BAD, "attempts used up"))
    trace.put("log", "n2", AttemptResumed(at + 4, 1, "w-03", "n2", "item"))
    trace.put("log", "n2", StepFailed("/reserve#1/undo", at + 6, 1.4, BAD))
    why = "the undo of /reserve#1 failed: CurrencyError: bad currency 'XX'"
    trace.put("log", "n2", Suspended(at + 7, ("pause:/reserve#1/undo",), None, why))
    return trace


def undos_lost(run: str) -> Trace:
    """A run that failed, and whose undos took down worker after worker."""
    trace, at = Trace(run, task="onboard"), NOW - 58
    trace.log(AttemptStarted(at, 1, "w-07", "n1", "item"))
    trace.log(StepCompleted("/reserve#1", at + 0.5, 0.4, encode_value({"hold": "h_81"}), b"undo"))
    trace.log(RunDead(at + 3, BAD, "attempts used up"))
    for number in range(6):
        nonce = f"c{number}"
        trace.put("log", nonce, AttemptResumed(at + 4 + number, 1, "w-03", nonce, "item"))
        trace.put("log", "", AttemptInterrupted(at + 4.5 + number, "worker w-03 was lost"))
    return trace


def timed_out(run: str) -> Trace:
    """A run whose time was up."""
    trace = Trace(run, task="onboard")
    trace.log(AttemptStarted(NOW - 58, 1, "w-07", "n1", "item"))
    trace.log(RunTimedOut(NOW - 50, ErrorInfo("holdfast.errors.TimedOut", "8 s were allowed"), "schedule_to_close"))
    return trace


class FakeBus:
    """What the gateway uses of a bus."""

    def __init__(self) -> None:
        self.subjects = Subjects("demo")
        self.connected = True
        self.listeners: dict[str, list[Callable[[str, bytes], None]]] = {}
        self.returned: list[Callable[[], None]] = []

    def on_reconnect(self, call: Callable[[], None]) -> None:
        self.returned.append(call)

    async def listen(self, subject: str, listener: Callable[[str, bytes], None]) -> Callable[[], Awaitable[None]]:
        self.listeners.setdefault(subject, []).append(listener)

        async def stop() -> None:
            self.listeners[subject].remove(listener)

        return stop

    def tell(self, run: str, data: bytes, kind: Kind = Kind.LOG) -> None:
        subject = self.subjects.live(run, kind)
        for listener in list(self.listeners.get(subject, ())):
            listener(subject, data)


class Stream:
    """The stream of output behind what `log_rows` has."""

    def __init__(self) -> None:
        self.rows: list[api.LogRow] = []
        self._grown = asyncio.Event()

    def write(self, *rows: api.LogRow) -> None:
        self.rows += rows
        self._grown.set()
        self._grown = asyncio.Event()

    async def grown(self, size: int) -> None:
        """Wait until there are more."""
        while len(self.rows) <= size:
            await self._grown.wait()


class FakeHandle:
    def __init__(self, client: FakeClient, run: str) -> None:
        self.client, self.run, self.id = client, run, run

    async def retry(self, *, from_start: bool = False, payload: Mapping[str, Any] | None = None) -> None:
        self.client.change("retry", self.run, from_start, *([] if payload is None else [payload]))

    async def cancel(self, reason: str = "") -> None:
        self.client.change("cancel", self.run)

    async def kill(self, reason: str = "") -> None:
        self.client.change("kill", self.run)


class FakeClient(Places):
    """A client whose answers are plain attributes, and which notes what it was asked to change."""

    def __init__(self, *, full: bool = True) -> None:
        super().__init__(full=full)
        self.bus = FakeBus()
        self.changed: list[tuple[Any, ...]] = []
        self.batches: list[tuple[Any, ...]] = []
        """How changes are kept in the audit: an entry for each time that something was sent."""
        self.refuse: dict[str, str] = {}
        """Runs that refuse a change, with the reason."""
        self.silent = False
        """A change gets no answer."""
        self.down = False
        """The daemon does not answer."""
        self.served = True
        """Whether workers answer."""
        self.wrong = ""
        """What the daemon refuses to answer for."""
        self.closed = False
        self.queue_rows = queues() if full else []
        self.run_rows = runs() if full else []
        self.letter_rows = letters() if full else []
        self.log_rows = logs() if full else []
        traces = {
            2895: failing,
            2797: asking,
            2798: undoing,
            2796: asking_twice,
            2795: undo_failed,
            2794: timed_out,
        }
        self.traces = {run_id(number): make(run_id(number)) for number, make in traces.items()} if full else {}
        self.stream = Stream()
        self.asked: list[Any] = []
        self.set_limits: dict[str, QueueLimits] = {}
        self.values: dict[tuple[str, str], api.Value] = {}
        """What is answered of a run's value, where it is not what its history has."""
        self.reasons: tuple[api.Reason, ...] = ()
        """Why no run runs."""

    @asynccontextmanager
    async def audit_as(self, action: str, kind: str, **told: Any) -> AsyncIterator[None]:
        self.batches.append((action, kind, told))
        yield

    @asynccontextmanager
    async def gathering(self) -> AsyncIterator[None]:
        self.batches.append(())
        yield

    @property
    def auditing(self) -> Any:
        return self

    def change(self, verb: str, target: str, *more: Any) -> None:
        if self.silent:
            raise Unanswered("no answer within 5 s")
        if target in self.refuse:
            raise RunStateError(self.refuse[target])
        self.changed.append((verb, target, *more))
        self.letter_rows = [letter for letter in self.letter_rows if letter.run != target]

    def up(self) -> None:
        if self.wrong:
            raise Refused(self.wrong, code="internal")
        if self.down:
            raise DaemonUnavailable("nobody answers on hf.demo.api: start the daemon with `holdfast up`")

    def run(self, id: str) -> FakeHandle:
        return FakeHandle(self, id)

    async def close(self) -> None:
        self.closed = True

    async def queues(self) -> api.Queues:
        self.up()
        return api.Queues(tuple(self.queue_rows), NOW, 5100.0 if self.queue_rows else 0.0)

    async def runs(self, query: api.RunsQuery | None = None) -> api.RunsPage:
        self.up()
        query = query or api.RunsQuery()
        self.asked.append(query)
        return page(self.run_rows, query)

    async def run_counts(self, query: api.RunsQuery | None = None) -> api.RunsCounts:
        self.up()
        found = [row for row in self.run_rows if means(query or api.RunsQuery(), row)]
        return api.RunsCounts(dict(Counter(row.state for row in found)), len(found))

    async def why(self, run: str) -> api.Why:
        self.up()
        row = next((row for row in self.run_rows if row.id == run), None) or self.traces[run].view().row
        return api.Why(row.id, row.task, row.queue, row.state, self.reasons)

    async def limits(self, queue: str) -> QueueLimits | None:
        self.up()
        return self.set_limits.get(queue)

    async def configured_limits(self, queue: str) -> QueueLimits:
        row = next(row for row in self.queue_rows if row.name == queue)
        return QueueLimits(concurrency=row.limit)

    async def limit(self, queue: str, limits: QueueLimits | None) -> None:
        self.change("limit", queue, limits)
        if limits is not None:
            self.set_limits[queue] = limits

    async def purge_queue(self, name: str, *, reason: str = "", dry_run: bool = False) -> int:
        self.up()
        if not dry_run:
            self.change("purge", name)
        return 904

    async def get(self, run: str) -> api.RunView:
        self.up()
        for row in self.run_rows:
            if run in row.id:
                error = BAD if row.state is State.DEAD else None
                return api.RunView(row=row, payload='{\n "user": 8812,\n "amount": 1999\n}', error=error)
        if run in self.traces:
            return self.traces[run].view()
        raise Refused(f"no run {run}: check the id with `holdfast runs list`", code="not_found")

    async def history(self, run: str) -> api.History:
        self.up()
        trace = self.traces.get(run)
        return trace.history() if trace is not None else Trace(run).history()

    async def value(self, run: str, key: str) -> api.Value:
        self.up()
        self.asked.append(api.ValueRef(run, key))
        for letter in self.letter_rows:
            if letter.run == run and not key and (run, key) not in self.values and run not in self.traces:
                return api.Value(run=run, key=key, json=render_json(letter.payload), size=len(letter.payload))
        if (run, key) in self.values:
            return self.values[run, key]
        found = self.run_of(run)
        data = found.payload if not key else found.result if key == "/" else self.tree_of(run)[key]
        if data is None:
            raise Refused(f"run {run} has no value for {key}", code="not_found")
        return api.Value(run=run, key=key, json=render_json(data), size=len(data))

    def run_of(self, run: str) -> Run:
        found = fold(message.record for message in self.traces[run].messages)
        assert found is not None
        return found

    def tree_of(self, run: str) -> dict[str, bytes | None]:
        """Recorded values by checkpoint."""
        tree = Tree.of(story(message.record for message in self.traces[run].messages))
        return {node.key: node.value for _, node in tree.walk()}

    async def letters(self, query: api.LettersQuery | None = None) -> api.LettersPage:
        self.up()
        query = query or api.LettersQuery()
        self.asked.append(query)
        return letters_page(self.letter_rows, query)

    async def letter_groups(self, query: api.LettersQuery | None = None) -> api.LetterGroups:
        self.up()
        self.asked.append(query)
        kinds: dict[tuple[str, str], list[api.Letter]] = {}
        for letter in self.letter_rows:
            if died(query or api.LettersQuery(), letter):
                kinds.setdefault((letter.error.type, pattern(letter.error)), []).append(letter)
        groups = [
            api.LetterGroup(
                error_type=kind,
                pattern=said,
                count=len(found),
                first_at=min(letter.last_at for letter in found),
                last_at=max(letter.last_at for letter in found),
                tasks=tuple(sorted({letter.task for letter in found})),
                queues=tuple(sorted({letter.queue for letter in found})),
                example=max(found, key=lambda letter: letter.last_at).run,
            )
            for (kind, said), found in kinds.items()
        ]
        groups.sort(key=lambda group: -group.count)
        return api.LetterGroups(tuple(groups), sum(group.count for group in groups), len(groups))

    async def misfits(self, task: str, payloads: Sequence[Mapping[str, Any]]) -> list[str] | None:
        """The tasks' hooks are whole numbers; where `served` is False nobody says so."""
        if not self.served:
            return None
        return [
            "" if isinstance(payload.get("hook"), int) else f"payload of task {task}: argument 'hook': expected int"
            for payload in payloads
        ]

    async def logs(self, query: api.LogsQuery | None = None) -> api.LogsPage:
        self.up()
        query = query or api.LogsQuery()
        self.asked.append(query)
        found = [row for row in self.log_rows if _logged(row, query)]
        last = max([0, *(row.seq for row in self.log_rows)])
        return api.LogsPage(tuple(found[-query.limit :]), last, len(found) > query.limit)

    async def follow_output(
        self, *, task: str = "*", run: str = "*", after: int | None = None
    ) -> AsyncGenerator[list[api.LogRow], None]:
        """What was written behind a message, then what is."""
        sent = 0
        while True:
            rows, sent = self.stream.rows[sent:], len(self.stream.rows)
            if rows := [row for row in rows if row.seq > (after or 0) and run in ("*", row.run)]:
                yield rows
            await self.stream.grown(sent)

    async def pause(self, queue: str, *, paused: bool = True) -> None:
        self.change("pause" if paused else "resume", queue)
        self.queue_rows = [
            msgspec.structs.replace(row, paused=paused) if row.name == queue else row for row in self.queue_rows
        ]

    async def resolve(self, run: str, key: str, action: str, value: Any = None) -> None:
        self.change("resolve", run, key, action, value)

    async def complete(self, token_id: str, value: Any = None) -> None:
        self.change("complete", token_id, value)

    async def signal(self, run: str, name: str, value: Any = None) -> None:
        self.change("signal", run, name, value)

    async def replay(self, run: str) -> FakeHandle:
        self.change("replay", run)
        return FakeHandle(self, run_id(9999))

    async def fork(
        self, run: str, key: str, edits: Mapping[str, Any] | None = None, *, behind: bool = False
    ) -> FakeHandle:
        self.change("fork", run, key, dict(edits or {}), behind)
        return FakeHandle(self, run_id(9999))

    async def drop_letter(self, run: str) -> None:
        self.change("drop", run)

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the desk asked its client for {name!r}, which the fake does not have")

    @property
    def real(self) -> Client:
        """As the type that the desk expects."""
        return cast(Client, self)


def means(query: api.RunsQuery, row: api.RunRow) -> bool:
    """Whether a query means a run, as far as the desk's tests ask."""
    text = f"{row.id} {row.task} {row.error_type} {row.error}".lower()
    queues = (*query.queues, query.queue) if query.queue else query.queues
    return (
        (not query.states or row.state in query.states)
        and (not queues or any(fnmatchcase(row.queue, name) for name in queues))
        and (not query.tasks or any(fnmatchcase(row.task, name) for name in query.tasks))
        and (not query.keys or row.id in query.keys)
        and (not query.paused or bool(row.paused))
        and (not query.errors or any(part.lower() in text for part in query.errors))
        and (not query.error_type or row.error_type == query.error_type)
        and (query.since is None or row.created_at >= query.since)
        and row.attempt >= query.attempts_least
        and query.text.lower() in text
        and all(word in text for word in query.words)
        and not any(word.lower() in text for word in query.without)
    )


def page(rows: Sequence[api.RunRow], query: api.RunsQuery) -> api.RunsPage:
    """What the daemon answers: those without a value come last either way, equal ones go by their ids."""

    def place(value: float | None, id: str) -> tuple[bool, float, str]:
        return value is None, value or 0.0, id

    def behind(row: api.RunRow) -> bool:
        assert query.before is not None
        mine, mark = place(row.ordered(query.order), row.id), place(*query.before)
        if mine[0] != mark[0]:
            return mine[0]
        return mine < mark if query.descending else mine > mark

    found = sorted(
        (row for row in rows if means(query, row)),
        key=lambda row: place(row.ordered(query.order), row.id),
        reverse=query.descending,
    )
    found.sort(key=lambda row: row.ordered(query.order) is None)
    rest = [row for row in found if query.before is None or behind(row)]
    return api.RunsPage(tuple(rest[: query.limit]), len(found), len(rest) > query.limit)


def died(query: api.LettersQuery, letter: api.Letter) -> bool:
    """Whether a query means a letter, as far as the desk's tests ask."""
    text = f"{letter.run} {letter.task} {letter.error.type} {letter.error.message}".lower()
    queues = (*query.queues, query.queue) if query.queue else query.queues
    return (
        (not queues or any(fnmatchcase(letter.queue, name) for name in queues))
        and (not query.tasks or any(fnmatchcase(letter.task, name) for name in query.tasks))
        and (not query.keys or letter.run in query.keys)
        and (not query.errors or any(part.lower() in text for part in query.errors))
        and query.error_type in ("", letter.error.type)
        and query.pattern in ("", pattern(letter.error))
        and (query.since is None or letter.last_at >= query.since)
        and (query.until is None or letter.last_at < query.until)
        and query.text.lower() in text
        and all(word.lower() in text for word in query.words)
        and not any(word.lower() in text for word in query.without)
    )


def pattern(error: ErrorInfo) -> str:
    return re.sub(r"\d+", "*", error.message.partition("\n")[0])


def letters_page(rows: Sequence[api.Letter], query: api.LettersQuery) -> api.LettersPage:
    found = sorted(
        (letter for letter in rows if died(query, letter)),
        key=lambda letter: (letter.ordered(query.order), letter.run),
        reverse=query.descending,
    )

    def behind(letter: api.Letter) -> bool:
        assert query.before is not None
        mine = (letter.ordered(query.order), letter.run)
        mark = (query.before[0] or 0.0, query.before[1])
        return mine < mark if query.descending else mine > mark

    rest = [letter for letter in found if query.before is None or behind(letter)]
    return api.LettersPage(tuple(rest[: query.limit]), len(found), len(rest) > query.limit)


def _logged(row: api.LogRow, query: api.LogsQuery) -> bool:
    return (
        query.run in ("", row.run)
        and row.line.level >= query.level
        and (query.before is None or (row.seq, row.number) < query.before)
        and (query.after is None or row.seq > query.after)
        and all(word in row.line.text.lower() for word in query.words)
    )


def queue(name: str, oldest: float | None = None, **fields: Any) -> api.QueueRow:
    return api.QueueRow(name=name, oldest=None if oldest is None else NOW - oldest, **fields)


def queues() -> list[api.QueueRow]:
    """Eight queues, each of which stands in another way."""
    flat, none = (3, 3, 4, 2, 3, 5, 3, 3, 4, 6, 3, 3), (0,) * 12
    some = (1, 0, 1, 3, 1, 0, 1, 2, 1, 1, 1, 1)
    at_limit = queue("etl-nightly", 540, limit=4, depth=640, running=4, in_rate=1, p95=41, ended=flat, workers=1)
    return [
        queue("audit-export", in_rate=0.2, out_rate=0.2, p95=1.2, ended=some, workers=2),
        queue("billing", 3, depth=212, running=16, in_rate=41, out_rate=42, p95=0.12, ended=flat, workers=4),
        queue("emails", 2460, paused=True, depth=18_200, in_rate=310, ended=none, dead=12, workers=6),
        at_limit,
        queue(
            "images", 124, depth=904, running=24, in_rate=30, out_rate=21, p50=1.9, p95=2.8, p99=6.1, ended=flat,
            dead=7, workers=6, depths=tuple(40 + at * at for at in range(30)),
            errors=((5, "builtins.TimeoutError", "resize.py:88"), (2, "builtins.OSError", f"store.py:41 {EVIL}")),
            oldest_runs=(
                api.ReadyRun(run_id(2713), "resize-image", NOW - 124),
                api.ReadyRun(run_id(2714), "resize-image", NOW - 123),
            ),
        ),
        queue("sms", 0.2, depth=2, running=1, in_rate=3, out_rate=3, p95=0.19, ended=flat, dead=1, workers=1),
        queue("thumbs", 20, depth=5, in_rate=1),
        queue("webhooks", 1080, depth=2412, in_rate=12, ended=none, dead=1200, workers=2),
    ]  # fmt: skip


def runs(count: int = 60) -> list[api.RunRow]:
    kinds = (
        ("send-welcome", "emails", State.RUNNING),
        ("notify-slack", "push", State.QUEUED),
        ("nightly-etl", "etl", State.RETRYING),
        ("index-doc", "search", State.COMPLETED),
        ("resize-image", "images", State.COMPLETED),
        ("charge-card", "billing", State.DEAD),
        ("send-welcome", "emails", State.COMPLETED),
        ("await-approval", "billing", State.WAITING),
        ("index-doc", "search", State.CANCELLED),
    )
    rows = []
    for at in range(count):
        task, queue, state = kinds[at % len(kinds)]
        created = NOW - 1 - at
        ended = state in (State.COMPLETED, State.DEAD, State.CANCELLED)
        failed = state in (State.DEAD, State.RETRYING)
        rows.append(
            api.RunRow(
                id=run_id(2900 - at),
                task=task,
                queue=queue,
                priority=5,
                state=state,
                created_at=created,
                started_at=None if state is State.QUEUED else created,
                finished_at=created + 0.12 * (at % 7 + 1) if ended else None,
                due=NOW + 12 if state is State.RETRYING else None,
                attempt=0 if state is State.QUEUED else 3 if failed else 1,
                steps=4 if state in (State.RUNNING, State.DEAD) else 0,
                worker="w-07" if state is State.RUNNING else "",
                source="sdk",
                error_type="CurrencyError" if state is State.DEAD else "TimeoutError" if failed else "",
                error="bad currency 'XX'" if state is State.DEAD else "smtp.example:25" if failed else "",
                reason="by ana" if state is State.CANCELLED else "",
                last_key="/fetch#1" if state is State.RUNNING else "",
            )
        )
    return rows


def questions() -> list[api.RunRow]:
    """Three runs of which two wait for an operator, and one says how far it is."""
    common: dict[str, Any] = {"queue": "billing", "priority": 5, "source": "sdk", "attempt": 1, "worker": ""}
    return [
        api.RunRow(
            id=run_id(2950), task="charge-card", state=State.WAITING, created_at=NOW - 0.1, started_at=NOW - 0.1,
            paused="step charge began and its outcome is not known", **common,
        ),
        api.RunRow(
            id=run_id(2949), task="onboard", state=State.COMPENSATING, created_at=NOW - 0.2, started_at=NOW - 0.2,
            paused="the undo of /reserve#1 failed: bad currency", ending=State.DEAD, **common,
        ),
        api.RunRow(
            id=run_id(2948), task="resize-image", state=State.RUNNING, created_at=NOW - 0.3, started_at=NOW - 0.3,
            progress=Progress(3, 10, "resizing"), steps=3, last_key="/resize#3", **common,
        ),
        api.RunRow(
            id=run_id(2947), task="await-approval", state=State.WAITING, created_at=NOW - 0.4, started_at=NOW - 0.4,
            waits="signal approve", **common,
        ),
    ]  # fmt: skip


def letters(count: int = 40) -> list[api.Letter]:
    kinds = (
        ("send-email", "emails", ErrorInfo("TimeoutError", "smtp.example:25")),
        ("post-webhook", "webhooks", ErrorInfo("hooks.Gone", f"HTTP 410 from {EVIL}")),
        ("charge-card", "billing", BAD),
    )
    rows = []
    for at in range(count):
        task, queue, error = kinds[at % 3]
        rows.append(
            api.Letter(
                run=run_id(2895 - at * 3),
                task=task,
                queue=queue,
                payload=encode_value({"hook": 881 + at, "url": "https://x.example/cb"}),
                error=error,
                reason="attempts used up",
                attempts=5,
                last_key="/reserve#1" if at % 3 == 2 else "",
                first_at=NOW - 7200 - at * 420,
                last_at=NOW - 120 - at * 420,
            )
        )
    return rows


def log_line(number: int) -> api.LogRow:
    levels = (
        (20, "sent template=welcome in 34ms"),
        (30, "smtp slow 2.1s, retry budget 3"),
        (40, "Timeout: smtp.example:25\nTraceback"),
    )
    level, text = levels[0 if number % 4 else number // 4 % 3]
    line = api.LogLine(NOW - 60 + number, level, "stdout", text, "/send#1")
    return api.LogRow(number, run_id(2800 + number % 5), "send-email", 1, line, 0, "emails")


def logs() -> list[api.LogRow]:
    return [log_line(number) for number in range(1, 41)]


class ReadingClient(FakeClient):
    """A client that only answers: whatever would change something fails the test."""

    def change(self, verb: str, target: str, *more: Any) -> None:
        raise AssertionError(f"{verb} {target} reached the client")
