"""The desk's only window to NATS: it connects and reconnects, asks, listens and changes, and knows how the link stands.

Every answer and every failure goes through `_asked`, so the link's state is never anybody else's business. What changes
anything goes through `_changed`, which in a read-only session refuses before the client is touched.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Any, TypeVar

import anyio
import msgspec

from holdfast.client import Client
from holdfast.core.admission import QueueLimits
from holdfast.core.lifecycle import Kind
from holdfast.core.model import Instant
from holdfast.errors import BusError, ConnectError, HoldfastError, Refused, Unanswered
from holdfast.ticks import Cron, Every
from holdfast.wire import api
from holdfast.wire.events import EventRow, EventsPage, EventsQuery
from holdfast.wire.schedules import Past, ScheduleRow
from holdfast_tui.keys import READ_ONLY, READ_ONLY_NOW
from holdfast_tui.model.link import Link

T = TypeVar("T")

FRESH = 3.0
"""How old the queues' figures may be before the desk asks for them again, whatever is on the screen."""


class Lost(HoldfastError):
    """The server or the daemon did not answer; the link's state says more."""

    def __init__(self, message: str, *, unsure: bool = False) -> None:
        super().__init__(message)
        self.unsure = unsure
        """Whether what was asked for may have been done nevertheless."""


class ReadOnly(HoldfastError):
    """A change was asked for in a read-only session."""


class Gateway:
    """A project, seen from the desk. `run` keeps it connected; until then every question raises `Lost`."""

    def __init__(
        self,
        client_factory: Callable[[], Awaitable[Client]],
        *,
        project: str,
        read_only: bool = False,
        clock: Callable[[], Instant] = time.time,
    ) -> None:
        self.project = project
        self.read_only = read_only
        self.locked = read_only
        """Whether it was started so, and stays so."""
        self.clock = clock
        self.link = Link()
        self.events = 0.0
        """Journal messages per second, as of the last look at the queues."""
        self.queues_at: Instant | None = None
        self._factory = client_factory
        self._client: Client | None = None
        self.connected = anyio.Event()
        """Set once there has been a connection."""
        self._wake = anyio.Event()
        self._returned: set[Callable[[], None]] = set()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Connect, for ever; closes the client when cancelled."""
        task_status.started()
        try:
            while self._client is None:
                await self._connect()
            await anyio.sleep_forever()
        finally:
            if self._client is not None:
                with anyio.move_on_after(2, shield=True):
                    await self._client.close()

    async def _connect(self) -> None:
        try:
            client = await self._factory()
        except (HoldfastError, OSError, TimeoutError) as error:
            self.link.failed(str(error))
            pause = self.link.waits(self.clock())
            self._wake = anyio.Event()
            with anyio.move_on_after(pause):
                await self._wake.wait()
            return
        client.bus.on_reconnect(self._back)
        self._client = client
        self.connected.set()
        self.link.why, self.link.attempts, self.link.next_at = "", 0, None

    def _back(self) -> None:
        self.link.next_at = None
        for call in list(self._returned):
            call()

    def again(self) -> None:
        """Try to connect, or to get an answer, now."""
        self._wake.set()
        if self._client is not None:
            self.link.next_at = None

    @property
    def due(self) -> bool:
        """Whether to ask: while nothing answers there are pauses, which grow."""
        return self._client is None or self.link.due(self.clock())

    def refusal(self) -> str:
        """Why nothing can be changed now; empty where it can."""
        return self.why_read_only or self.link.refusal(self.clock())

    @property
    def why_read_only(self) -> str:
        if not self.read_only:
            return ""
        return READ_ONLY if self.locked else READ_ONLY_NOW

    def audited(
        self, action: str = "", kind: str = "", *, count: int = 0, filter: str = "", command: str = ""
    ) -> AbstractAsyncContextManager[object]:
        """What is changed inside is one entry of the audit; without an action, one for all changes that are alike."""
        client = self._client
        if client is None or self.read_only:
            return nullcontext()
        if action:
            return client.audit_as(action, kind, count=count, filter=filter, command=command)
        return client.auditing.gathering()

    async def _asked(self, ask: Callable[[Client], Awaitable[T]]) -> T:
        client = self._client
        if client is None:
            raise Lost(self.link.why or "not connected yet")
        if not client.bus.connected:
            self._failed("the server is gone; reconnecting")
            raise Lost(self.link.why)
        begun = time.perf_counter()
        try:
            answer = await ask(client)
        except (ConnectError, BusError, TimeoutError, OSError) as error:
            self._failed(str(error))
            raise Lost(self.link.why, unsure=isinstance(error, (Unanswered, TimeoutError))) from error
        except msgspec.DecodeError as error:
            raise Refused(f"an answer that this version can't read: {error}", code="internal") from error
        except HoldfastError:
            self.link.answered(self.clock(), time.perf_counter() - begun)
            raise
        self.link.answered(self.clock(), time.perf_counter() - begun)
        return answer

    def _failed(self, why: str) -> None:
        self.link.failed(why)
        self.link.waits(self.clock())

    # --- looks ------------------------------------------------------------------------------------------------------

    async def queues(self) -> api.Queues:
        answer = await self._asked(lambda client: client.queues())
        self.events, self.queues_at = answer.events, self.clock()
        return answer

    async def beat(self) -> None:
        """Keep the link's state and the event rate fresh, where no screen does. Raises: Lost."""
        if self.queues_at is None or self.clock() - self.queues_at >= FRESH:
            await self.queues()

    async def runs(self, query: api.RunsQuery) -> api.RunsPage:
        return await self._asked(lambda client: client.runs(query))

    async def get(self, run: str) -> api.RunView:
        return await self._asked(lambda client: client.get(run))

    async def history(self, run: str) -> api.History:
        return await self._asked(lambda client: client.history(run))

    async def value(self, run: str, key: str) -> api.Value:
        return await self._asked(lambda client: client.value(run, key))

    async def letters(self, query: api.LettersQuery) -> api.LettersPage:
        return await self._asked(lambda client: client.letters(query))

    async def letter_groups(self, query: api.LettersQuery) -> api.LetterGroups:
        return await self._asked(lambda client: client.letter_groups(query))

    async def why(self, run: str) -> api.Why:
        return await self._asked(lambda client: client.why(run))

    async def limits(self, queue: str) -> QueueLimits:
        """The limits of a queue that hold now: as an operator set them, or else as configured."""

        async def ask(client: Client) -> QueueLimits:
            return await client.limits(queue) or await client.configured_limits(queue)

        return await self._asked(ask)

    async def misfits(self, task: str, payloads: Sequence[Mapping[str, Any]]) -> Sequence[str] | None:
        """Why each payload does not fit a task; empty: it fits. None: no worker answers."""
        return await self._asked(lambda client: client.misfits(task, payloads))

    async def logs(self, query: api.LogsQuery) -> api.LogsPage:
        return await self._asked(lambda client: client.logs(query))

    async def workers(self) -> list[api.Presence]:
        return await self._asked(lambda client: client.workers())

    async def faults(self) -> list[api.Fault]:
        return await self._asked(lambda client: client.faults())

    async def schedules(self) -> list[ScheduleRow]:
        return await self._asked(lambda client: client.schedules())

    async def schedule_pasts(self) -> tuple[Past, ...]:
        return await self._asked(lambda client: client.schedule_pasts())

    async def metrics(self, query: api.MetricsQuery) -> api.Metrics:
        return await self._asked(lambda client: client.metrics(query))

    async def audit(self, query: api.AuditQuery) -> api.AuditPage:
        return await self._asked(lambda client: client.audit(query))

    async def published(self, query: EventsQuery) -> EventsPage:
        """Events of the stream, newest first."""
        return await self._asked(lambda client: client.events(query))

    async def event(self, seq: int) -> EventRow | None:
        return await self._asked(lambda client: client.event(seq))

    async def event_runs(self, seq: int) -> tuple[api.EventRun, ...]:
        return await self._asked(lambda client: client.event_runs(seq))

    async def routed(self, seq: int) -> api.EventsReplayed:
        """What routing an event once more would do."""
        asked = rerouting(seq, self.clock(), dry_run=True)
        return await self._asked(lambda client: client.replay_events(asked))

    async def follow_output(self, *, run: str, after: int) -> AsyncGenerator[list[api.LogRow], None]:
        """Lines of a run, or of all, in lists as they come, behind a sequence. Raises: Lost."""
        if self._client is None:
            raise Lost(self.link.why or "not connected yet")
        try:
            async for rows in self._client.follow_output(run=run or "*", after=after):
                yield rows
        except (ConnectError, BusError, TimeoutError, OSError) as error:
            raise Lost(str(error)) from error

    async def watch(
        self, run: str, heard: Callable[[Kind, bytes], None], returned: Callable[[], None]
    ) -> Callable[[], Awaitable[None]]:
        """Hear a run's messages as they are stored, at most once; `returned` is called after a lost connection.

        Returns how to stop. Raises: Lost.
        """

        async def listen(client: Client) -> list[Callable[[], Awaitable[None]]]:
            subjects = client.bus.subjects
            return [
                await client.bus.listen(subjects.live(run, kind), partial(_tell, heard, kind))
                for kind in (Kind.LOG, Kind.IN)
            ]

        stops = await self._asked(listen)
        self._returned.add(returned)

        async def stop() -> None:
            self._returned.discard(returned)
            for each in stops:
                await each()

        return stop

    # --- changes ----------------------------------------------------------------------------------------------------

    async def retry(self, run: str, *, from_start: bool, payload: Mapping[str, Any] | None = None) -> None:
        """Raises: Lost; ReadOnly; HoldfastError: refused, with the reason."""
        if payload is None:
            await self._changed(lambda client: client.run(run).retry(from_start=from_start))
        else:
            await self._changed(lambda client: client.run(run).retry(from_start=from_start, payload=payload))

    async def fork(self, run: str, key: str, edits: Mapping[str, Any], *, behind: bool) -> str:
        """Returns the id of the new run."""
        return (await self._changed(lambda client: client.fork(run, key, edits, behind=behind))).id

    async def cancel(self, run: str) -> None:
        await self._changed(lambda client: client.run(run).cancel("by an operator"))

    async def kill(self, run: str) -> None:
        await self._changed(lambda client: client.run(run).kill("by an operator"))

    async def replay(self, run: str) -> str:
        """Returns the id of the new run."""
        return (await self._changed(lambda client: client.replay(run))).id

    async def resolve(self, run: str, key: str, action: str, value: Any) -> None:
        await self._changed(lambda client: client.resolve(run, key, action, value))

    async def complete(self, token: str, value: Any) -> None:
        await self._changed(lambda client: client.complete(token, value))

    async def signal(self, run: str, name: str, value: Any) -> None:
        await self._changed(lambda client: client.signal(run, name, value))

    async def drop(self, run: str) -> None:
        await self._changed(lambda client: client.drop_letter(run))

    async def pause(self, queue: str, *, paused: bool) -> None:
        await self._changed(lambda client: client.pause(queue, paused=paused))

    async def pause_schedule(self, name: str, *, paused: bool) -> None:
        await self._changed(lambda client: (client.pause_schedule if paused else client.resume_schedule)(name))

    async def run_schedule(self, name: str) -> str:
        """Returns the id of the new run."""
        return (await self._changed(lambda client: client.run_schedule(name))).id

    async def reschedule(self, name: str, when: Cron | Every) -> None:
        await self._changed(lambda client: client.reschedule(name, when))

    async def drain_worker(self, name: str) -> None:
        await self._changed(lambda client: client.drain_worker(name))

    async def resume_worker(self, name: str) -> None:
        await self._changed(lambda client: client.resume_worker(name))

    async def stop_worker(self, name: str) -> None:
        await self._changed(lambda client: client.stop_worker(name))

    async def reroute(self, seq: int, *, again: str = "") -> api.EventsReplayed:
        """Route an event once more, by the routes of today.

        Args:
            again: make another run also where there is one; the same text makes none twice.
        """
        asked = rerouting(seq, self.clock(), again=again)
        command = f"holdfast events replay {seq}{' --again' if again else ''}"
        entry = api.AuditEntry(action="replay", kind="event", targets=(str(seq),), command=command)

        async def noted(client: Client) -> api.EventsReplayed:
            try:
                done = await client.replay_events(asked)
            except Refused as error:
                await client.audited(msgspec.structs.replace(entry, refused=1, why=str(error)))
                raise
            await client.audited(msgspec.structs.replace(entry, accepted=1))
            return done

        return await self._changed(noted)

    async def limit(self, queue: str, limits: QueueLimits) -> None:
        await self._changed(lambda client: client.limit(queue, limits))

    async def to_purge(self, queue: str) -> int:
        """How many runs a purge of a queue would cancel now."""
        return await self._asked(lambda client: client.purge_queue(queue, dry_run=True))

    async def purge(self, queue: str) -> int:
        """Returns how many runs were cancelled."""
        return await self._changed(lambda client: client.purge_queue(queue))

    async def _changed(self, change: Callable[[Client], Awaitable[T]]) -> T:
        if self.read_only:
            raise ReadOnly(self.why_read_only)
        return await self._asked(change)


def rerouting(seq: int, at: Instant, *, again: str = "", dry_run: bool = False) -> api.EventsReplay:
    """The question that routes one event once more."""
    return api.EventsReplay(first=seq, last=seq, limit=1, at=at, again=again, dry_run=dry_run)


def _tell(heard: Callable[[Kind, bytes], None], kind: Kind, subject: str, data: bytes) -> None:
    heard(kind, data)
