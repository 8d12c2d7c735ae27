"""Tasks in a test: in this process, on the bus in memory, with a clock that a test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from holdfast import context
from holdfast.core.entries import Entry
from holdfast.core.lifecycle import story
from holdfast.core.model import Instant, Run, Seconds, State
from holdfast.core.tree import Node, Tree
from holdfast.errors import HoldfastError
from holdfast.handle import RunHandle, failure
from holdfast.history import History
from holdfast.task import TASKS, Options, Task
from holdfast.testing.crashes import Progress, crash_everywhere
from holdfast.testing.playing import Meanwhile
from holdfast.testing.report import CrashReport
from holdfast.testing.world import START, Settings, World
from holdfast.wire.values import decode_value
from holdfast.worker.pool import WARM


class RunResult(msgspec.Struct, frozen=True):
    """How a run stands, or ended."""

    run: Run
    """As folded from its journal."""
    history: History
    """Its journal: what `replay` takes."""
    encoded: bytes | None = None
    """The result in the value codec."""

    @property
    def id(self) -> str:
        return self.run.id

    @property
    def state(self) -> State:
        return self.run.state

    @property
    def result(self) -> Any:
        """What the task returned. Raises: RunFailed: it ended otherwise, or has not ended."""
        if self.run.state is not State.COMPLETED:
            raise failure(self.run)
        return None if self.encoded is None else decode_value(self.encoded)

    @property
    def error(self) -> str:
        """The last error as `Type: message`; empty where there was none, or it was got over."""
        error = self.run.error
        return "" if error is None else f"{error.type}: {error.message}"

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What happened, in order."""
        return tuple(story(self.history.records()))

    @property
    def tree(self) -> Tree:
        """Its checkpoints."""
        return Tree.of(self.entries)

    @property
    def checkpoints(self) -> dict[str, Node]:
        """Its checkpoints by key."""
        return {node.key: node for _, node in self.tree.walk()}


class Harness:
    """A project in this process; made by `harness`. Time moves only by `advance`, `run` and a handle's `result`."""

    def __init__(self, settings: Settings, world: World) -> None:
        self._settings = settings
        self._world = world

    # --- time -------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """The time in here."""
        return datetime.fromtimestamp(self._world.clock.now(), UTC)

    async def settle(self) -> None:
        """Let happen what happens without time going by."""
        await self._world.settle()

    async def advance(
        self,
        duration: float | timedelta = 0.0,
        *,
        seconds: float = 0.0,
        minutes: float = 0.0,
        hours: float = 0.0,
        days: float = 0.0,
        weeks: float = 0.0,
    ) -> None:
        """Let time go by: whatever becomes due happens in order, each thing at its own instant."""
        more = timedelta(seconds=seconds, minutes=minutes, hours=hours, days=days, weeks=weeks).total_seconds()
        first = duration.total_seconds() if isinstance(duration, timedelta) else duration
        if first + more < 0:
            raise HoldfastError(f"advance: expected a time from 0 on, found {first + more:g} s: time does not go back")
        await self._world.advance(first + more)

    # --- runs -------------------------------------------------------------------------------------------------------

    async def run(self, task: Task[..., Any] | Options[..., Any] | str, /, **payload: Any) -> RunResult:
        """Trigger a task and go on, over whatever is due, until the run has ended.

        Raises:
            RunStuck: it waits for something that nobody does; the message says what.
        """
        return await self.ended(await self.trigger(task, **payload))

    async def trigger(self, task: Task[..., Any] | Options[..., Any] | str, /, **payload: Any) -> RunHandle:
        """Start a run, and let it come as far as it can without time going by."""
        if isinstance(task, str):
            handle = await self._world.client.trigger(task, payload)
        else:
            handle = await task.trigger(**payload)
        await self._world.settle()
        return handle

    async def ended(self, run: RunHandle | str) -> RunResult:
        """Go on until a run has ended. Raises: RunStuck."""
        await self._world.until_ended(_id(run))
        return await self.look(run)

    async def look(self, run: RunHandle | str) -> RunResult:
        """A run as it stands. Raises: UnknownRun."""
        await self._world.settle()
        found = await self._world.journal.load(_id(run))
        encoded = None if found.result is None else await self._world.client.blobs.full(found.result)
        return RunResult(found, await self.history(run), encoded)

    async def history(self, run: RunHandle | str) -> History:
        """A run's journal, as `replay` takes it. Raises: UnknownRun."""
        return await History.of(self._world.journal, _id(run))

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run of the project, in the order of their creation."""
        return tuple(sorted(self._world.steward.runs.values(), key=lambda run: run.first))

    # --- what others do -----------------------------------------------------------------------------------------------

    async def emit(self, subject: str, data: Any = None) -> None:
        """Publish an event: it starts the tasks that listen for it, and comes to the runs that wait for it."""
        await self._done(self._world.client.emit(subject, data))

    async def complete(self, token_id: str, value: Any = None, *, error: str | BaseException | None = None) -> None:
        """Complete a token. Raises: as `Client.complete`."""
        await self._done(self._world.client.complete(token_id, value, error=error))

    async def signal(self, run: RunHandle | str, name: str, value: Any = None) -> None:
        """Send a run a signal. Raises: as `Client.signal`."""
        await self._done(self._world.client.signal(_id(run), name, value))

    async def query(self, run: RunHandle | str, name: str, *args: Any) -> Any:
        """Ask a run what it exposes. Raises: as `Client.query`."""
        return await self._world.client.query(_id(run), name, *args)

    async def cancel(self, run: RunHandle | str, reason: str = "") -> None:
        """Ask for a run to end. Raises: as `RunHandle.cancel`."""
        await self._done(self._world.client.run(_id(run)).cancel(reason))

    async def kill(self, run: RunHandle | str, reason: str = "") -> None:
        """End a run now, without cleanup. Raises: as `RunHandle.kill`."""
        await self._done(self._world.client.run(_id(run)).kill(reason))

    async def retry(self, run: RunHandle | str, *, from_start: bool = False, payload: Any = None) -> None:
        """Take an ended run up again. Raises: as `Client.retry`."""
        await self._done(self._world.client.retry(_id(run), from_start=from_start, payload=payload))

    async def resolve(self, run: RunHandle | str, key: str, action: str, value: Any = None) -> None:
        """Answer what a paused run asks. Raises: as `Client.resolve`."""
        await self._done(self._world.client.resolve(_id(run), key, action, value))

    async def kill_worker(self) -> None:
        """As SIGKILL: nothing more is written or cleaned up by it; its runs go on with another worker at once.

        The code of the dead stays suspended until the harness is left: only then its `finally` blocks run, as Python
        can't forget them. A thread that it had running goes on, and its outcome counts for nothing.
        """
        self._world.worker.life.end()
        await self._world.settle()

    async def _done(self, work: Awaitable[Any]) -> None:
        await work
        await self._world.settle()

    # --- crashes ----------------------------------------------------------------------------------------------------

    async def crash_at_every_boundary(
        self,
        task: Task[..., Any],
        payload: Mapping[str, Any] | None = None,
        *,
        effects: Callable[[], Any] | None = None,
        reset: Callable[[], Any] | None = None,
        meanwhile: Meanwhile | None = None,
        progress: Progress | None = None,
    ) -> CrashReport:
        """Run a task once for each durable write with its worker killed there, before and after; what differs.

        Each of these runs happens in a world of its own, beside this harness, in which no schedule ticks.

        Args:
            effects: gives what the task has done to the world outside, as a value that can be compared.
            reset: makes that world as it was; called before each run. Either may be async.
            meanwhile: called with a harness and the run when the run waits for somebody: to complete a token, say.
            progress: called after each run with how many were made, of how many, and the boundary.

        Raises:
            RunStuck: even undisturbed the run does not end.
        """
        settings = self._settings
        tasks = {**settings.tasks, task.id: task}
        return await crash_everywhere(
            Settings(
                tasks,
                start=settings.start,
                concurrency=settings.concurrency,
                limits=settings.limits,
                grace=settings.grace,
                warm=settings.warm,
                patience=settings.patience,
                secrets=settings.secrets,
                ticking=False,
            ),
            task,
            payload or {},
            effects=effects,
            reset=reset,
            meanwhile=meanwhile,
            progress=progress,
            harness=Harness,
        )


@asynccontextmanager
async def harness(
    *tasks: Task[..., Any],
    start: datetime | Instant = START,
    concurrency: int = 100,
    limits: Mapping[str, int] | None = None,
    grace: Seconds = 30.0,
    warm: int = WARM,
    patience: Seconds = 1.0,
    secrets: Mapping[str, str] | None = None,
) -> AsyncIterator[Harness]:
    """Run tasks in this process: no server, no daemon, and no time but what the test lets go by.

    Inside a run everything that asks the event loop for the time has the harness's: `wait.for_(days=7)`, retries,
    time-outs, `asyncio.sleep(3600)`, `asyncio.timeout`. `time.sleep`, sockets and `time.time()` are real.

    Args:
        tasks: that are served; none: every task that was declared. Their hooks are served too.
        start: what time it is at first.
        concurrency: runs at a time.
        limits: concurrency by queue.
        grace: seconds that a cancelled task gets for its cleanup.
        warm: of how many suspended runs the code stays in memory; 0: each resume goes over the checkpoints.
        patience: real seconds for which time waits for a thread, or for a step that talks to a socket.
        secrets: the project's, by name.
    """
    served = {task.id: task for task in tasks} or dict(TASKS)
    for task in list(served.values()):
        for hook in task.settings.hooks:
            if hook.task in TASKS:
                served.setdefault(hook.task, TASKS[hook.task])
    at = start.timestamp() if isinstance(start, datetime) else start
    settings = Settings(
        served,
        start=at,
        concurrency=concurrency,
        limits=limits,
        grace=grace,
        warm=warm,
        patience=patience,
        secrets=secrets,
    )
    world = World(settings)
    token = context.enter(world.client)
    try:
        await world.open()
        yield Harness(settings, world)
    finally:
        await world.close()
        context.leave(world.client, token)


def _id(run: RunHandle | str) -> str:
    return run if isinstance(run, str) else run.id
