"""A run, seen from outside: what it is, how it ends, and what may be done to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

import anyio
import msgspec

from holdfast import context
from holdfast.core.entries import (
    AttemptResumed,
    AttemptStarted,
    ChildEnded,
    Entry,
    StepCompleted,
    StepFailed,
    StepRetried,
    StepStarted,
    StepVolatile,
)
from holdfast.core.lifecycle import Kind, apply
from holdfast.core.model import Run, State
from holdfast.errors import ChildFailed, RunFailed, RunWasCancelled
from holdfast.wire import codec
from holdfast.wire.subjects import Stream
from holdfast.wire.values import decode_value

if TYPE_CHECKING:
    from holdfast.client import Client


class RunHandle(msgspec.Struct, dict=True):
    """A run, seen from outside. A value like any other: a task may return it or keep it in a checkpoint."""

    id: str
    first: int = 1
    """Stream sequence from which on the run is read."""
    cached: bool = False
    """Whether the trigger found it by its key, instead of creating it."""

    @property
    def client(self) -> Client:
        """The client that made it; for a handle that came out of a checkpoint the current one."""
        made_by = self.__dict__.get("_client")
        return made_by if made_by is not None else context.client()

    @classmethod
    def of(cls, client: Client, id: str, first: int = 1, *, cached: bool = False) -> RunHandle:
        """A handle on a run."""
        handle = cls(id, first or 1, cached)
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
        if run.state is not State.COMPLETED:
            raise failure(run)
        return None if run.result is None else decode_value(await self.client.blobs.full(run.result))

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
        return await self.client.cancel(self.id, reason)

    async def kill(self, reason: str = "") -> Run:
        """End the run now, without cleanup and without undos. Raises: UnknownRun; RunStateError: it has ended."""
        return await self.client.kill(self.id, reason)

    async def retry(self, *, from_start: bool = False, payload: Mapping[str, Any] | None = None) -> Run:
        """Take an ended run up again behind its last checkpoint. Raises: UnknownRun; RunStateError."""
        return await self.client.retry(self.id, from_start=from_start, payload=payload)

    async def signal(self, name: str, value: Any = None) -> Run:
        """As `Client.signal`."""
        return await self.client.signal(self.id, name, value)

    async def resolve(self, key: str, action: str, value: Any = None) -> Run:
        """As `Client.resolve`."""
        return await self.client.resolve(self.id, key, action, value)

    async def query(self, name: str, *args: Any) -> Any:
        """As `Client.query`."""
        return await self.client.query(self.id, name, *args)

    async def replay(self) -> RunHandle:
        """As `Client.replay`."""
        return await self.client.replay(self.id)

    async def fork(self, key: str, edits: Mapping[str, Any] | None = None, *, behind: bool = False) -> RunHandle:
        """As `Client.fork`."""
        return await self.client.fork(self.id, key, edits, behind=behind)

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


def child_failure(ended: ChildEnded) -> ChildFailed:
    """The error to raise where a parent awaits a child run that ended without a result."""
    error = ended.error
    assert error is not None
    return ChildFailed(
        f"child run {ended.child} ended {ended.state}: {error.type}: {error.message}",
        run=ended.child,
        state=ended.state,
        error_type=error.type,
        traceback=error.traceback,
    )
