"""One work item, from claim to acknowledgement. The order is the guarantee: the truth, what follows, then the ack."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Any

from holdfast import context
from holdfast.bus.journal import Journal, nonce
from holdfast.bus.ports import Item, Message
from holdfast.core.claims import Claim, claim
from holdfast.core.entries import (
    AttemptFailed,
    AttemptInterrupted,
    AttemptResumed,
    AttemptStarted,
    CancelRequested,
    Entry,
    Offered,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunDead,
    Suspended,
)
from holdfast.core.lifecycle import Kind, Record, fold, interruption, story
from holdfast.core.model import Run, State
from holdfast.core.recall import Recall
from holdfast.core.retry import Stop, decide
from holdfast.errors import EncodeError, Fenced
from holdfast.task import Task
from holdfast.wire import codec
from holdfast.wire.api import Presence, decode
from holdfast.wire.subjects import Stream
from holdfast.wire.values import encode_value
from holdfast.worker.capture import Output
from holdfast.worker.errors import error_info
from holdfast.worker.execution import LARGEST, Execution
from holdfast.worker.writer import LostRun, Writer

log = logging.getLogger("holdfast.worker")

SHORT = 0.3
"""Seconds up to which a retry waits in the worker: timers fire up to 0.25 s late."""


class Why(StrEnum):
    """Why the user's code was told to stop."""

    CANCELLED = "cancelled"
    SUSPENDED = "suspended"
    DRAINED = "drained"
    LOST = "lost"


class Attempt:
    """What a worker does with one work item."""

    def __init__(
        self,
        item: Item,
        *,
        journal: Journal,
        tasks: Mapping[str, Task[..., Any]],
        worker: str,
        output: Callable[[Run], AbstractContextManager[Output]],
        held: Callable[[Attempt], bool],
    ) -> None:
        self.item = item
        self.holds = False
        """Whether user code runs under this attempt's claim."""
        self.run_id = journal.bus.subjects.parse(item.subject).run
        self.run: Run | None = None
        self.execution: Execution | None = None
        self._journal = journal
        self._tasks = tasks
        self._worker = worker
        self._output = output
        self._held = held
        self._why: Why | None = None
        self._body: asyncio.Task[bytes] | None = None
        self._waits: tuple[str, ...] = ()
        self._heard: list[Entry] = []
        self._writer: Writer | None = None
        self._cancel_heard = False

    async def process(self) -> None:
        """Claim the run, run it, record how it ended, do what follows, acknowledge."""
        known = await self._look()
        if known is None:
            return
        run = await self._hold(*known)
        while await self._due_here(run):
            run = await self._hold(run, await self._recalled(run), (self._started(run),))
        if self._why is Why.LOST:
            return
        if self._cancel_heard:  # which came first, the end or the cancel: the journal knows
            run = await self._journal.insist(lambda: self._journal.load(self.run_id, run.first))
        try:
            await self._journal.act(run)
        except Fenced:
            return  # somebody moved it on meanwhile, and does what follows
        self._acknowledge(run)

    async def still_held(self) -> bool:
        """Whether the journal says that this attempt has the run, or may yet get it."""
        writer = self._writer
        if not self.holds or writer is None or not writer.holds:
            return True  # its claim is under way: the append decides
        run = await self._journal.insist(lambda: self._journal.load(self.run_id, writer.run.first))
        return run.holder is not None and run.holder.nonce == writer.nonce

    def hear(self, entry: Entry) -> None:
        """Take in what somebody told the run."""
        if isinstance(entry, CancelRequested):
            self._cancel_heard = True
            self.stop(Why.CANCELLED)
        elif self.execution is not None:
            self.execution.waits.hear(entry)
        self._heard.append(entry)

    def stop(self, why: Why) -> None:
        """Cancel the user's code; the first reason counts, but for the loss of the run."""
        if self._why is not None and why is not Why.LOST:
            return
        self._why = why
        if self._body is None or self.execution is None:
            return
        self.execution.ending = True
        if why is not Why.CANCELLED:
            self._waits = self.execution.waits.ids
            self.execution.stopped = True
        self._body.cancel()

    def _acknowledge(self, run: Run) -> None:
        if run.state is State.QUEUED and run.offered:
            self._journal.bus.release(self.item.token)
        else:
            self._journal.bus.settle(self.item.token)

    # --- claim ------------------------------------------------------------------------------------------------------

    async def _look(self) -> tuple[Run, Recall, tuple[Entry, ...]] | None:
        """The run, what is recorded of it, and the entries that claim it; None where there is nothing to run."""
        entry = codec.decode_entry(self.item.data)
        if isinstance(entry, RunCreated) and self.item.deliveries == 1:
            run = fold([Record(self.item.seq, Kind.READY, "", (entry,))])
            assert run is not None
            return (run, Recall(), (self._started(run),)) if self._served(run) else None
        first = entry.first if isinstance(entry, Offered) else self.item.seq
        messages = await self._journal.insist(lambda: self._journal.messages(self.run_id, first))
        run = fold(record for _, record in messages)
        if run is None:
            log.warning("work item %s names a run that the journal does not hold any more", self.item.subject)
            self._journal.bus.settle(self.item.token)
            return None
        return await self._decided(run, _recall(messages))

    async def _recalled(self, run: Run) -> Recall:
        return _recall(await self._journal.insist(lambda: self._journal.messages(self.run_id, run.first)))

    async def _decided(self, run: Run, recall: Recall) -> tuple[Run, Recall, tuple[Entry, ...]] | None:
        match claim(run, holder_alive=await self._holder_alive(run)):
            case Claim.START:
                return (run, recall, (self._started(run),)) if self._served(run) else None
            case Claim.RESUME:
                return (run, recall, (self._resumed(run),)) if self._served(run) else None
            case Claim.TAKE_OVER:
                moved = await self._taken_over(run)
                return (moved, recall, (self._resumed(moved),)) if moved is not None else None
            case Claim.SETTLE:
                with contextlib.suppress(Fenced):  # somebody moves it on just now, and does what follows
                    await self._journal.act(run)
                    self._journal.bus.settle(self.item.token)
                return None
            case Claim.LEAVE:
                return None

    async def _taken_over(self, run: Run) -> Run | None:
        """The run without its holder, who fell silent; None where it is dead of that, or somebody was first."""
        assert run.holder is not None
        if not self._served(run):
            return None
        lost = interruption(run, self._journal.clock(), f"worker {run.holder.worker} fell silent")
        try:
            moved = await self._journal.move(run, lost)
        except Fenced:
            return None  # the item comes again
        if moved.final or moved.cancel_requested:  # dead of it, or ended by what followed from the move
            self._journal.bus.settle(self.item.token)
            return None
        return moved

    async def _holder_alive(self, run: Run) -> bool:
        if run.holder is None:
            return False
        if run.holder.worker == self._worker:
            return self._held(self)
        subject = self._journal.bus.subjects.control("worker", run.holder.worker)
        beat = await self._journal.insist(lambda: self._journal.bus.last(Stream.CONTROL, subject))
        return beat is not None and decode(beat.data, Presence).worker == run.holder.worker

    def _served(self, run: Run) -> bool:
        """Whether this worker has the task; else the item comes again, ever less often, to find one that has."""
        if run.task in self._tasks:
            return True
        log.info("run %s waits: this worker does not serve task %s", run.id, run.task)
        self._journal.bus.release(self.item.token, after=min(5.0, 0.1 * 2 ** min(self.item.deliveries, 10)))
        return False

    def _started(self, run: Run) -> AttemptStarted:
        task = self._tasks[run.task]
        return AttemptStarted(
            at=self._journal.clock(),
            attempt=run.attempt + 1,
            worker=self._worker,
            nonce=nonce(),
            item=self.item.token,
            code=task.code,
            max_interruptions=task.max_interruptions,
        )

    def _resumed(self, run: Run) -> AttemptResumed:
        return AttemptResumed(
            at=self._journal.clock(),
            attempt=run.attempt,
            worker=self._worker,
            nonce=nonce(),
            item=self.item.token,
            code=self._tasks[run.task].code,
        )

    # --- hold -------------------------------------------------------------------------------------------------------

    async def _hold(self, run: Run, recall: Recall, claimed: tuple[Entry, ...]) -> Run:
        """Run the user's code under one claim and record how it ended; the run after that."""
        mark = claimed[-1]
        assert isinstance(mark, AttemptStarted | AttemptResumed)
        task = self._tasks[run.task]
        writer = self._writer = Writer(self._journal, run, claimed, mark.nonce)
        writer.on_lost = self._lost
        execution = self.execution = Execution(writer, recall, self._journal, mark.attempt)
        execution.waits.on_quiet = lambda: self.stop(Why.SUSPENDED)
        for entry in self._heard:
            execution.waits.hear(entry)
        try:
            if not task.is_async:
                await writer.claimed()  # its body is one effect: not before the claim stands
            with self._output(run) as output:
                ending = await self._run_body(task, run, execution, output, writer)
            if self._why is not Why.LOST:
                await writer.durable(*ending)
        except LostRun as lost:
            self._lost(str(lost))
        finally:
            self.execution = self._body = None  # both know us: cut loose, they go at once and leave no cycle to collect
        return writer.run

    async def _run_body(
        self, task: Task[..., Any], run: Run, execution: Execution, output: Output, writer: Writer
    ) -> tuple[Entry, ...]:
        """Start the user's code, which may reach its first await before the claim leaves; how it ended."""
        scope = contextvars.copy_context()
        scope.run(context.execution.set, execution)
        scope.run(output.enter, execution)
        self.holds = True
        self._body = asyncio.get_running_loop().create_task(_call(task, run.payload), context=scope)
        try:
            if self._why is not None:
                self._body.cancel()
            await asyncio.sleep(0)
            if not self._body.done():
                writer.write()  # a body that has ended by now shares one append with its claim
                await asyncio.wait([self._body])
            return self._ending(task, run, execution)
        finally:
            await _reap([self._body, *execution.branches])
            self.holds = False

    def _ending(self, task: Task[..., Any], run: Run, execution: Execution) -> tuple[Entry, ...]:
        """The entries that say how the user's code ended."""
        assert self._body is not None
        now = self._journal.clock()
        match self._why:
            case Why.DRAINED:
                return (AttemptInterrupted(now, f"worker {self._worker} drains", polite=True),)
            case Why.SUSPENDED:
                return (Suspended(now, self._waits),)
            case Why.LOST:
                return ()
        if self._body.cancelled():
            if self._why is Why.CANCELLED:
                return (RunCancelled(now),)
            return (self._failed(task, run, execution, asyncio.CancelledError("the task cancelled itself"), now),)
        error = self._body.exception()
        if error is None:
            return (RunCompleted(now, self._body.result()),)
        if self._why is Why.CANCELLED:
            return (RunCancelled(now, f"and its cleanup raised {error!r:.200}"),)
        return (self._failed(task, run, execution, error, now),)

    def _failed(
        self, task: Task[..., Any], run: Run, execution: Execution, error: BaseException, now: float
    ) -> AttemptFailed | RunDead:
        fatal = execution.fatal(error)
        info = error_info(error)
        if isinstance(error, EncodeError):
            return RunDead(now, info, "result", fatal)
        policy = run.retry or task.retry
        try:
            decision = decide(error, policy=policy, failed=run.spent + 1, seed=run.id)
        except Exception as broken:  # the user's retry_if
            return RunDead(now, error_info(broken), "not retried", fatal)
        if isinstance(decision, Stop):
            return RunDead(now, info, decision.reason, fatal)
        return AttemptFailed(now, info, now + decision.after, decision.spent, fatal)

    def _lost(self, why: str) -> None:
        if self._why is not Why.LOST:
            log.warning("run %s is somebody else's now, its code is cancelled here: %s", self.run_id, why)
            self.stop(Why.LOST)

    async def _due_here(self, run: Run) -> bool:
        """Wait for a retry that is due at once; whether there is one to make here."""
        if run.state is not State.RETRYING or run.due is None or self._why is not None:
            return False
        wait = run.due - self._journal.clock()
        if wait <= SHORT:
            await asyncio.sleep(max(0.0, wait))
        return wait <= SHORT and self._why is None


async def _call(task: Task[..., Any], payload: bytes) -> bytes:
    """Run the user's function on its payload; the result in the value codec."""
    arguments = task.signature.decode(payload)
    try:
        if task.is_async:
            result = await task.fn(**arguments)
        else:
            result = await asyncio.to_thread(task.fn, **arguments)
    except SystemExit as left:
        raise RuntimeError(f"the task called sys.exit({left.code!r})") from left
    data = encode_value(result)
    if len(data) > LARGEST:
        raise EncodeError(f"the result has {len(data):,} bytes: expected at most {LARGEST:,}")
    return data


async def _reap(tasks: list[asyncio.Task[Any]]) -> None:
    """End what the user's code left running."""
    running = [task for task in tasks if task.cancel()]
    if running:
        await asyncio.wait(running)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # or asyncio reports that nobody looked at it


def _recall(messages: list[tuple[Message, Record]]) -> Recall:
    recall = Recall()
    for entry in story(record for _, record in messages):
        recall.add(entry)
    return recall
