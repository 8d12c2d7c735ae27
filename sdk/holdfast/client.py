"""The client of a project: trigger runs, emit events, await results, ask the daemon, move runs.

Triggering, awaiting, cancelling and retrying need only the server; what is asked of the history (`runs`, `get`, `logs`)
is answered by the daemon.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import anyio
import msgspec

from holdfast import context
from holdfast.bus.clock import Clock
from holdfast.bus.journal import Journal
from holdfast.bus.ports import Bus
from holdfast.core import ids
from holdfast.core.entries import (
    AttemptResumed,
    AttemptStarted,
    Entry,
    RunCreated,
    StepCompleted,
    StepFailed,
    StepRetried,
    StepStarted,
    StepVolatile,
)
from holdfast.core.lifecycle import Kind, apply
from holdfast.core.model import Run, State
from holdfast.errors import (
    DaemonUnavailable,
    PayloadError,
    Refused,
    RunFailed,
    RunWasCancelled,
    Unanswered,
    UnknownTask,
)
from holdfast.triggering import Settings, created, token
from holdfast.wire import api, codec
from holdfast.wire.subjects import Stream
from holdfast.wire.values import decode_value, encode_value

T = TypeVar("T")


class RunHandle(msgspec.Struct, dict=True):
    """A run, seen from outside. A value like any other: a task may return it or keep it in a checkpoint."""

    id: str
    first: int = 1
    """Stream sequence from which on the run is read."""

    @property
    def client(self) -> Client:
        """The client that made it; for a handle that came out of a checkpoint the current one."""
        made_by = self.__dict__.get("_client")
        return made_by if made_by is not None else context.client()

    @classmethod
    def of(cls, client: Client, id: str, first: int = 1) -> RunHandle:
        """A handle on a run."""
        handle = cls(id, first or 1)
        handle.__dict__["_client"] = client
        return handle

    async def status(self) -> Run:
        """The run as it stands. Raises: UnknownRun."""
        run = await self.client.journal.load(self.id, self.first)
        self.first = run.first
        return run

    async def result(self, timeout: float | None = None) -> Any:
        """What the task returned; waits for the end.

        Raises:
            RunFailed: it ended otherwise; `RunWasCancelled` where it was cancelled.
            TimeoutError: it has not ended within `timeout` seconds; the run goes on.
        """
        with anyio.fail_after(timeout):
            run = await self._ended()
        if run.state is State.COMPLETED:
            return decode_value(run.result) if run.result is not None else None
        raise failure(run)

    async def _ended(self) -> Run:
        moved = anyio.Event()

        def heard(_subject: str, data: bytes) -> None:
            if _may_end(data):
                moved.set()

        stop = await self.client.bus.listen(self.client.bus.subjects.live(self.id, Kind.LOG), heard)
        try:
            while not (run := await self.status()).final:
                with anyio.move_on_after(5):  # what is heard is a hint; look now and then in any case
                    await moved.wait()
                moved = anyio.Event()
            return run
        finally:
            await stop()

    async def cancel(self, reason: str = "") -> Run:
        """Ask for the run to end. Raises: UnknownRun; RunStateError: it has ended."""
        return await self.client.journal.cancel(self.id, by=self.client.name, reason=reason)

    async def retry(self, *, from_start: bool = False, payload: Mapping[str, Any] | None = None) -> Run:
        """Take an ended run up again behind its last checkpoint. Raises: UnknownRun; RunStateError."""
        data = None if payload is None else encode_payload(payload)
        return await self.client.journal.retry(self.id, by=self.client.name, from_start=from_start, payload=data)

    async def events(self) -> AsyncIterator[Entry]:
        """The run's entries in order, from its first to the one that ends it, as they are written."""
        subjects = self.client.bus.subjects
        run: Run | None = None
        async for messages in self.client.bus.follow(
            Stream.JOURNAL, subjects.of_run(self.id), first=self.first, idle=1.0
        ):
            for message in messages:
                _, record = codec.record(subjects, message.subject, message.seq, message.data)
                run = apply(run, record)
                for entry in record.entries:
                    yield entry
            if run is not None and run.final:
                return


_GOING_ON = (AttemptStarted, AttemptResumed, StepStarted, StepCompleted, StepFailed, StepRetried, StepVolatile)


def _may_end(data: bytes) -> bool:
    """Whether a message on a run's log may end it: a run of a thousand steps is not read a thousand times."""
    try:
        return not all(isinstance(entry, _GOING_ON) for entry in codec.decode_batch(data).entries)
    except msgspec.DecodeError:
        return True


def failure(run: Run) -> RunFailed:
    """The error to raise where somebody awaits a run that ended without a result."""
    kind = RunWasCancelled if run.state is State.CANCELLED else RunFailed
    error = run.error
    what = f"{error.type}: {error.message}" if error is not None else run.reason or "no reason given"
    return kind(
        f"run {run.id} of {run.task} ended {run.state}: {what}",
        run=run.id,
        state=run.state,
        error_type=error.type if error is not None else "",
        traceback=error.traceback if error is not None else "",
    )


def encode_payload(payload: Mapping[str, Any]) -> bytes:
    """A payload for the journal. Raises: PayloadError: not a mapping of names to values; EncodeError."""
    if not isinstance(payload, Mapping) or not all(isinstance(name, str) for name in payload):
        raise PayloadError(
            f"a payload is an object of arguments by name, found {type(payload).__name__}: {payload!r:.80}"
        )
    return encode_value(dict(payload))


def card_settings(card: api.TaskCard) -> Settings:
    """How runs of a declared task are triggered."""
    return Settings(queue=card.queue, priority=card.priority, timeouts=card.timeouts, ttl=card.ttl, hooks=card.hooks)


class Client:
    """A connection to one project. Made by `connect`; close it, or use it as a context manager."""

    def __init__(self, bus: Bus, *, name: str = "sdk", clock: Clock | None = None, ttl: float | None = None) -> None:
        """
        Args:
            ttl: the project's default, in seconds, for runs whose trigger and task name none.
        """
        self.bus = bus
        self.journal = Journal(bus, clock)
        self.ttl = ttl
        self.name = name
        """Who acts: recorded with what it changes."""

    async def close(self) -> None:
        await self.bus.close()

    # --- runs ---------------------------------------------------------------------------------------------------

    def new_run(
        self, task: str, payload: bytes, settings: Settings | None = None, *, source: str = "", id: str | None = None
    ) -> RunCreated:
        """The entry that creates a run; nothing is sent. Raises: ConfigError; EncodeError."""
        now = self.journal.clock()
        return created(
            task,
            payload,
            settings or Settings(),
            run=id or self._new_id(now),
            at=now,
            source=source or self.name,
            ttl=self.ttl,
        )

    @staticmethod
    def _new_id(now: float) -> str:
        current = context.execution.get()
        return ids.make(now, os.urandom(10)) if current is None else current.derived_id()

    async def trigger(
        self,
        task: str,
        payload: Mapping[str, Any] | None = None,
        *,
        declared: bool = True,
        id: str | None = None,
        **options: Any,
    ) -> RunHandle:
        """Start a run of a task by its id, without importing it; durable when this returns.

        Other options are those of `Task.options`; what they leave open is the task's own. The payload is checked by a
        worker that has the task, where one serves just now, and always before the first attempt.

        Args:
            declared: False starts a run also of a task that no worker has ever declared; it waits for one.

        Raises:
            UnknownTask: no worker has declared a task of this id; nothing was started.
            PayloadError: the payload does not fit the task's signature; nothing was started.
        """
        data = encode_payload(payload or {})
        card = await self.card(task)
        settings = Settings() if card is None else card_settings(card)
        changed = settings.but(**options)
        if card is not None:
            await self._check(task, data)
        elif declared:
            raise await self._unknown(task)
        return await self.start(self.new_run(task, data, changed, id=id))

    async def _check(self, task: str, payload: bytes) -> None:
        subject = self.bus.subjects.api(f"{api.CHECK}.{task}")
        try:
            reply = await self.bus.request(subject, payload, timeout=1.0)
        except (DaemonUnavailable, Unanswered, Refused):
            return  # no worker has a moment: one checks it before the first attempt
        checked = api.decode(reply, api.Checked)
        if checked.error:
            raise PayloadError(checked.error)

    async def _unknown(self, task: str) -> UnknownTask:
        known = sorted(card.id for card in await self.cards())
        near = difflib.get_close_matches(task, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(known[:10]) or 'none yet'}"
        return UnknownTask(f"no worker has declared a task {task!r}; {hint} (see `holdfast tasks list`)")

    async def start(self, created: RunCreated) -> RunHandle:
        """Create a run from its entry."""
        return RunHandle.of(self, created.run, await self.journal.create(created))

    async def start_many(self, created: Iterable[RunCreated]) -> list[RunHandle | Exception]:
        """Create several, pipelined, in order; an item that could not be created is its error."""
        runs = list(created)
        return [
            outcome if isinstance(outcome, Exception) else RunHandle.of(self, run.run, outcome)
            for run, outcome in zip(runs, await self.journal.create_many(runs), strict=True)
        ]

    def run(self, id: str) -> RunHandle:
        """A handle on a run by its id; nothing is asked yet."""
        return RunHandle.of(self, id)

    async def emit(self, event: str, data: Any = None) -> int:
        """Publish an event as JSON on `hf.<project>.evt.<event>`; returns its sequence in the event stream."""
        for part in event.split("."):
            token("event subject", part)
        return await self.bus.publish(self.bus.subjects.event(event), msgspec.json.encode(data))

    # --- asked of the daemon --------------------------------------------------------------------------------------

    async def _ask(self, service: str, question: msgspec.Struct, answer: type[T]) -> T:
        reply = await self.bus.request(self.bus.subjects.api(service), codec.encode(question))
        return api.decode(reply, answer)

    async def runs(self, query: api.RunsQuery | None = None) -> api.RunsPage:
        return await self._ask(api.RUNS_LIST, query or api.RunsQuery(), api.RunsPage)

    async def get(self, run: str) -> api.RunView:
        """A run with everything, by its id or an unambiguous part. Raises: Refused: not found, or several."""
        return await self._ask(api.RUNS_GET, api.RunRef(run), api.RunView)

    async def history(self, run: str) -> api.History:
        """A run's journal messages; `core.tree.Tree` folds their entries. Raises: Refused: not found, or several."""
        return await self._ask(api.RUNS_HISTORY, api.RunRef(run), api.History)

    async def queues(self) -> api.Queues:
        return await self._ask(api.QUEUES_LIST, api.Nothing(), api.Queues)

    async def letters(self, query: api.LettersQuery | None = None) -> api.LettersPage:
        return await self._ask(api.LETTERS_LIST, query or api.LettersQuery(), api.LettersPage)

    async def logs(self, query: api.LogsQuery | None = None) -> api.LogsPage:
        return await self._ask(api.LOGS_LIST, query or api.LogsQuery(), api.LogsPage)

    async def health(self) -> api.Health:
        return await self._ask(api.HEALTH, api.Nothing(), api.Health)

    # --- asked of the server --------------------------------------------------------------------------------------

    async def follow_logs(
        self, *, task: str = "*", run: str = "*", after: int | None = None
    ) -> AsyncIterator[api.LogRow]:
        """Log lines as they come, without gaps or doubles over reconnects; from the end, or behind sequence `after`."""
        first = (await self.bus.last_seq(Stream.LOGS) if after is None else after) + 1
        async for messages in self.bus.follow(Stream.LOGS, self.bus.subjects.output(task, run), first=first):
            for message in messages:
                batch = api.decode(message.data, api.LogBatch)
                for line in batch.lines:
                    yield api.LogRow(message.seq, batch.run, batch.task, batch.attempt, line)

    async def pause(self, queue: str, *, paused: bool = True) -> None:
        """Start nothing new in a queue, or again; what runs goes on."""
        await self.bus.pause(token("queue", queue), paused=paused)

    async def drop_letter(self, run: str) -> Run:
        """Drop a dead letter; the run is failed. Raises: UnknownRun; RunStateError."""
        return await self.journal.drop(run, by=self.name)

    async def workers(self) -> list[api.Presence]:
        """The workers whose heartbeat is fresh."""
        return [api.decode(message.data, api.Presence) for message in await self._control("worker")]

    async def cards(self) -> list[api.TaskCard]:
        """The tasks that workers have declared."""
        return [api.decode(message.data, api.TaskCard) for message in await self._control("task")]

    async def card(self, task: str) -> api.TaskCard | None:
        message = await self.bus.last(Stream.CONTROL, self.bus.subjects.control("task", token("task", task)))
        return None if message is None else api.decode(message.data, api.TaskCard)

    async def _control(self, what: str) -> list[Any]:
        return await self.bus.latest(Stream.CONTROL, self.bus.subjects.control(what, "*"))


class connect:
    """Connect to a project: `async with connect() as hf` gives a `Client`, which tasks triggered inside use.

    Args:
        url: of the server; default HOLDFAST_URL, then holdfast.toml, then the embedded server of its data directory.
        project: default HOLDFAST_PROJECT, then holdfast.toml, then `default`.
        config: path of a holdfast.toml.

    Raises:
        ConfigError: the configuration is wrong.
        ConnectError: no server is running there, or it refuses the credentials.
    """

    def __init__(
        self, url: str | None = None, *, project: str | None = None, config: Path | str | None = None, name: str = "sdk"
    ) -> None:
        self._url, self._project, self._config, self._name = url, project, config, name
        self._client: Client | None = None
        self._token: Any = None

    async def open(self) -> Client:
        """Connect; close the client when done."""
        from holdfast.config import load
        from holdfast.credentials import resolve
        from holdfast.dial import dial

        settings = load(Path(self._config) if self._config is not None else None, env=os.environ)
        bus = await dial(resolve(settings, self._project, url=self._url), name=f"holdfast-{self._name}")
        return Client(bus, name=self._name)

    async def __aenter__(self) -> Client:
        self._client = await self.open()
        self._token = context.enter(self._client)
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._client is not None
        context.leave(self._client, self._token)
        await self._client.close()

    def __await__(self) -> Any:
        return self.open().__await__()
