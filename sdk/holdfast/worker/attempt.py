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
from holdfast.bus.clock import sleep
from holdfast.bus.journal import Journal, nonce
from holdfast.bus.ports import Item, Message
from holdfast.core.claims import Claim, claim
from holdfast.core.deadlines import GRACE, overdue, timed_out
from holdfast.core.entries import (
    Admitted,
    AttemptFailed,
    AttemptInterrupted,
    AttemptResumed,
    AttemptStarted,
    Awaited,
    CancelRequested,
    Compensated,
    Entry,
    Held,
    Offered,
    RunCancelled,
    RunCompleted,
    RunCreated,
    RunDead,
    RunTimedOut,
    Suspended,
)
from holdfast.core.lifecycle import SHORT, Kind, Record, fold, interruption, story
from holdfast.core.model import Run, Seconds, State, Timeouts
from holdfast.core.recall import Recall
from holdfast.core.retry import Stop, decide
from holdfast.errors import CodeDiverged, EncodeError, Fenced, TimedOut
from holdfast.overlap import held_back
from holdfast.task import Task
from holdfast.wire import codec
from holdfast.wire.api import Presence, decode
from holdfast.wire.ended import Ended
from holdfast.wire.subjects import Stream
from holdfast.worker.capture import Output
from holdfast.worker.compensation import compensated
from holdfast.worker.execution import Execution
from holdfast.worker.stored import Stored
from holdfast.worker.waits import Alarm
from holdfast.worker.writer import LostRun, Writer

log = logging.getLogger("holdfast.worker")

FAR = 2000
"""Messages between a run's first one and its work item from which on each subject of it is read by itself: going over
all that lies between costs the server some 0.2 us a message, and a run may have been queued behind a hundred thousand.
"""


class Why(StrEnum):
    """Why the user's code was told to stop."""

    CANCELLED = "cancelled"
    TIMED_OUT = "timed out"
    DRAINED = "drained"
    LOST = "lost"


class Attempt:
    """What a worker does with one work item, and with the next one of the same run while its code is parked here."""

    def __init__(
        self,
        item: Item,
        *,
        journal: Journal,
        tasks: Mapping[str, Task[..., Any]],
        worker: str,
        output: Callable[[Run], AbstractContextManager[Output]],
        held: Callable[[Attempt], bool],
        may_begin: Callable[[Item, Run], bool],
        stored: Stored,
        url: str = "",
        grace: Seconds = GRACE,
    ) -> None:
        self.item = item
        self.holds = False
        """Whether user code runs under this attempt's claim."""
        self.leaves = False
        """Whether that is over, and what follows from it is done just now."""
        self.looks = True
        """Whether it is not decided yet that there is something to run."""
        self.ended = False
        """Whether the run ended under this attempt's claim."""
        self.run_id = journal.bus.subjects.parse(item.subject).run
        self.execution: Execution | None = None
        self._journal = journal
        self._tasks = tasks
        self._worker = worker
        self._output = output
        self._held = held
        self._may_begin = may_begin
        self._stored = stored
        self._url = url
        self._grace = grace
        self._why: Why | None = None
        self._limit = ""
        """The time-out that was reached."""
        self._body: asyncio.Task[bytes] | None = None
        self._over: asyncio.Future[None] | None = None
        """Done when the code has ended, is quiet, or has had its time to end."""
        self._quiet = False
        self._rests: tuple[Entry, ...] = ()
        """The entries that say what the quiet code waits for."""
        self._alarms: dict[str, Alarm] = {}
        """By time-out."""
        self._heard: list[Entry] = []
        self._early: list[tuple[Entry, int]] = []
        """What was heard, each with its sequence, while the journal was being read."""
        self._reads = True
        self._heard_last = 0
        """Sequence of the last that was heard."""
        self._known_at_rest = 0
        """The same, when nothing was left to do but to wait."""
        self._writer: Writer | None = None
        self._cancel_heard = False
        self._joined = False
        """Whether another run was heard to await this one's end."""
        self._unread = False
        """Whether the run was begun without reading its journal."""
        self._base: tuple[Run, int] | None = None
        """The run as it was when this began, and the last sequence that says so."""
        self._open = contextlib.ExitStack()
        """What lasts as long as the code is in memory."""

    @property
    def _strayed(self) -> bool:
        """Whether the parked code went on by itself."""
        refused = self._writer is not None and self._writer.refused
        return refused or (self.execution is not None and self.execution.strayed)

    @property
    def parked(self) -> bool:
        """Whether the run is suspended, and its code still here."""
        return self._quiet and self._body is not None and not self._body.done()

    async def process(self) -> None:
        """Claim the run, run it, record how it ended, do what follows, acknowledge."""
        self._afresh()
        known = await self._look()
        if known is None:
            return
        self._listen()
        self.looks = False
        run = await self._hold(*known)
        while self._why is not Why.LOST and (claimed := await self._more(run)) is not None:
            run = await self._hold(run, await self._recalled(run), claimed)
        if self._why is Why.LOST:
            return
        stands = run
        if self._cancel_heard or self._joined:  # which came first, the end or the cancel, and who is told: it knows
            stands = run = await self._journal.insist(lambda: self._journal.load(self.run_id, run.first))
        elif run.suspended and run.state is not State.RETRYING:  # what it waits for may have come before it was said
            stands = await self._journal.insist(lambda: self._stands(run))
        try:
            await self._journal.act(stands)
        except Fenced:
            return  # somebody moved it on meanwhile, and does what follows
        self._acknowledge(run)
        self.ended = run.final

    async def _stands(self, run: Run) -> Run:
        """A run that was suspended just now, with what it was told meanwhile."""
        assert self._base is not None
        if not run.waits:
            return run  # it sleeps
        last = await self._journal.bus.last(Stream.JOURNAL, self._journal.bus.subjects.inbox(run.id))
        if last is None or last.seq <= max(self._known_at_rest, self._base[1]):
            return run
        return (await self._read_on(*self._base))[0]

    async def _read_on(self, base: Run, seq: int) -> tuple[Run, list[tuple[Message, Record]]]:
        """A run as it stands, given how it stood at a sequence, and its messages since then."""
        messages = await self._journal.messages(self.run_id, seq + 1)
        run = fold((record for _, record in messages), base)
        assert run is not None
        return run, messages

    def _afresh(self) -> None:
        """Forget what the code was told under an earlier item."""
        self._why, self._limit, self._cancel_heard, self._joined, self.leaves = None, "", False, False, False
        self._reads = self.looks = True
        self._early.clear()

    def _listen(self) -> None:
        """The journal was read: take in what was heard meanwhile."""
        self._reads = False
        early, self._early = self._early, []
        for entry, seq in early:
            self.hear(entry, seq)

    async def _more(self, run: Run) -> tuple[Entry, ...] | None:
        """The claim under which this worker goes on with the run at once; None: it does not."""
        if run.state is State.COMPENSATING and not run.waits and self._why is not Why.DRAINED:
            self._why = None
            return (self._resumed(run),)
        return (self._started(run),) if await self._due_here(run) else None

    async def still_held(self) -> bool:
        """Whether the journal says that this attempt has the run, or may yet get it."""
        writer = self._writer
        if not self.holds or writer is None or not writer.holds:
            return True  # its claim is under way: the append decides
        run = await self._journal.insist(lambda: self._journal.load(self.run_id, writer.run.first))
        return run.holder is not None and run.holder.nonce == writer.nonce

    def hear(self, entry: Entry, seq: int) -> None:
        """Take in what somebody told the run; `seq` is its place in the journal.

        What was read with the journal is no news, and may be over: a cancel before a retry, an answer that was taken.
        """
        if self._reads:
            self._early.append((entry, seq))
            return
        if self._base is not None and seq <= self._base[1]:
            return
        self._heard_last = seq
        if isinstance(entry, CancelRequested):
            self._cancel_heard = True
            if entry.kill:
                self._lost("it was killed")
            elif self._writer is None or self._writer.run.state is not State.COMPENSATING:
                self.stop(Why.CANCELLED)
        elif isinstance(entry, Awaited):
            self._joined = True
        elif self.holds and self.execution is not None:
            self.execution.waits.hear(entry)
        else:  # what came before it is being read
            self._heard.append(entry)

    def stop(self, why: Why) -> None:
        """Cancel the user's code; the first reason counts, but for the loss of the run."""
        if self._why is not None and why is not Why.LOST:
            return
        self._why = why
        if self._body is None or self.execution is None or self._quiet:
            return
        self._tell()

    def _tell(self) -> None:
        """Cancel the code; it has its grace where it may clean up, and is left behind where it does not end."""
        assert self._body is not None
        assert self.execution is not None
        self.execution.ending = True
        self.execution.stopped = self._why in (Why.DRAINED, Why.LOST)
        self._body.cancel()
        self._alarms["grace"] = Alarm(self.execution.waits, self._journal.clock() + self._grace, self._abandon)

    def _abandon(self) -> None:
        """The code was told to end and has not: the run goes on without it."""
        if self.execution is not None:
            self.execution.stopped = True
        if self._over is not None and not self._over.done():
            log.warning("run %s: its code did not end within %g s and is left behind", self.run_id, self._grace)
            self._over.set_result(None)

    def _quieted(self) -> None:
        """Nothing runs but waits: the run can be suspended."""
        execution, over = self.execution, self._over
        if self._why is not None or execution is None or over is None or over.done():
            return
        if execution.writer.run.state is State.COMPENSATING and not execution.waits.standing(0.0).paused:
            return  # between two tries of an undo
        if execution.writer.awaited:
            return  # the append is slow: code goes on when it is done
        self._quiet = True
        self._rests = self._suspended(execution)  # now: parked code may yet lose its waits
        self._known_at_rest = self._heard_last
        execution.waits.park()
        over.set_result(None)

    async def evict(self) -> None:
        """Let go of parked code; the run goes on from the journal when it is taken up again."""
        execution, body = self.execution, self._body
        self.execution = self._body = None  # both know us: cut loose, they go at once and leave no cycle to collect
        left_behind = body is not None and not body.done() and not self._quiet
        self._quiet = False
        if execution is not None and body is not None:
            execution.ending = execution.stopped = True
            execution.marks.close()
            await execution.questions.close()
            running = [*execution.branches] if left_behind else [body, *execution.branches]
            await _reap(running, 0.0 if left_behind else self._grace)
            execution.forget()
        self._open.close()

    def _acknowledge(self, run: Run) -> None:
        if run.state in (State.QUEUED, State.COMPENSATING) and run.offered and run.holder is None:
            self._journal.bus.release(self.item.token)
        else:
            self._journal.bus.settle(self.item.token)

    # --- claim ------------------------------------------------------------------------------------------------------

    async def _look(self) -> tuple[Run, Recall, tuple[Entry, ...]] | None:
        """The run, what is recorded of it, and the entries that claim it; None where there is nothing to run."""
        if self._base is not None:
            return await self._look_again(*self._base)
        entry = codec.decode_entry(self.item.data)
        if self.item.deliveries == 1 and (run := await self._untouched(entry)) is not None:
            if await self._ended(run):
                return None
            self._base, self._unread = (run, self.item.seq), True
            return (run, Recall(), (self._started(run),)) if self._served(run) else None
        first = entry.first if isinstance(entry, Offered | Admitted) else self.item.seq
        if isinstance(entry, RunCreated) and (tick := entry.tick) is not None:  # which may have fired before
            first = await self._journal.insist(lambda: self._journal.first_of(tick))
        read = self._journal.messages if self.item.seq - first < FAR else self._journal.scattered
        messages = await self._journal.insist(lambda: read(self.run_id, first))
        if not messages and isinstance(entry, RunCreated) and self.item.deliveries == 1:  # a replica that lags behind
            message = Message(self.item.subject, self.item.data, self.item.seq, self.item.time)
            messages = [(message, Record(self.item.seq, Kind.READY, "", (entry,)))]
        run = fold(record for _, record in messages)
        if run is None:
            log.warning("work item %s names a run that the journal does not hold any more", self.item.subject)
            self._journal.bus.settle(self.item.token)
            return None
        self._base = run, messages[-1][1].seq
        if await self._left_unstarted(run, messages):
            return None
        return await self._decided(run, _recall(messages))

    async def _untouched(self, entry: Entry) -> Run | None:
        """The run of an item that nobody else can have, where its first fact is all that is to be known of it."""
        if isinstance(entry, RunCreated) and entry.tick is None:
            return fold([Record(self.item.seq, Kind.READY, "", (entry,))])
        if not isinstance(entry, Admitted) or not entry.item:
            return None
        created = await self._journal.insist(lambda: self._journal.message(self.run_id, entry.item))
        if created is None or created.seq != entry.item:
            return None  # it is gone: cancelled before it began
        return fold([created, Record(self.item.seq, Kind.GO, "", (entry,))])

    async def _look_again(self, base: Run, seq: int) -> tuple[Run, Recall, tuple[Entry, ...]] | None:
        """The same of a run whose code is parked here: it goes on where it is, if nobody else moved the run on."""
        assert self._writer is not None
        run, messages = await self._journal.insist(lambda: self._read_on(base, seq))
        self._base = run, messages[-1][1].seq if messages else seq
        ours = self.parked and run.last == self._writer.run.last and not self._strayed
        if self.execution is None or not ours or run.state is not State.QUEUED or run.fresh or run.cancel_requested:
            await self.evict()
            self._base, self._unread = None, False
            return await self._look()
        if await self._ended(run):
            await self.evict()
            return None
        for _, record in messages:
            if record.kind is Kind.IN:
                for entry in record.entries:
                    self.execution.waits.hear(entry)
        return run, self.execution.recall, (self._resumed(run),)

    async def _ended(self, run: Run) -> bool:
        """End a run whose time was over before it was taken up; whether it was."""
        if run.holder is not None or (entry := overdue(run, self._journal.clock())) is None:
            return False
        with contextlib.suppress(Fenced):  # somebody moves it on just now, and does what follows
            await self._journal.end(run, entry)
            self._journal.bus.settle(self.item.token)
        return True

    async def _left_unstarted(self, run: Run, messages: list[tuple[Message, Record]]) -> bool:
        """Whether this is a tick of a schedule that may not start yet, or not at all: that is decided elsewhere."""
        if run.tick is None or claim(run, holder_alive=True) is not Claim.START:
            return False
        if await self._ended(run):
            return True
        why = await held_back(self._journal, run, messages)
        if not why:
            return False
        with contextlib.suppress(Fenced):  # somebody moves it on just now, and does what follows
            await self._journal.append(run.id, run.last, nonce(), (Held(self._journal.clock(), why),))
            self._journal.bus.settle(self.item.token)
        return True

    async def _recalled(self, run: Run) -> Recall:
        return _recall(await self._journal.insist(lambda: self._journal.messages(self.run_id, run.first)))

    async def _decided(self, run: Run, recall: Recall) -> tuple[Run, Recall, tuple[Entry, ...]] | None:
        if await self._ended(run):
            return None
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
        if claim(moved, holder_alive=False) is not Claim.RESUME:  # dead, cancelled by what followed, or it pauses
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
        """Whether this worker has the task, and the run its slot, where it needs one.

        Else the item comes again, ever less often, to find a worker that has; one that gave a slot which the run has
        no more is done with.
        """
        if run.task in self._tasks and self._may_begin(self.item, run):
            return True
        if run.task in self._tasks and self._journal.bus.subjects.parse(self.item.subject).kind is Kind.GO:
            self._journal.bus.settle(self.item.token)
            return False
        log.info("run %s waits: this worker does not serve task %s, or it has no slot yet", run.id, run.task)
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
            timeouts=task.settings.timeouts,
            hooks=task.settings.hooks,
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
        writer = self._writer = Writer(self._journal, run, claimed, mark.nonce)
        writer.on_lost = self._lost
        self.leaves = False
        try:
            if self.parked and self.execution is not None:
                self._go_on(self.execution, writer)
            else:
                await self._begin(run, recall, mark.attempt, writer)
            ending = await self._until_over(self._tasks[run.task], writer)
            if self._why is not Why.LOST:
                ended = writer.write(*ending)
                writer.close()
                self.holds, self.leaves = False, True
                await writer.until(ended)
        except LostRun as lost:
            self._lost(str(lost))
        finally:
            self.holds, self.leaves = False, True
            for alarm in self._alarms.values():
                alarm.cancel()
            self._alarms.clear()
            if not self.parked or self._why is Why.LOST:
                await self.evict()
        return writer.run

    async def _begin(self, run: Run, recall: Recall, attempt: int, writer: Writer) -> None:
        """Start the code, which may come to its first await before the claim leaves."""
        task = self._tasks[run.task]
        if recall.pins:
            await self._stored.vault.ready_for(recall.pins)
        execution = self.execution = Execution(
            writer,
            recall,
            self._journal,
            attempt,
            stored=self._stored,
            on_divergence=task.on_divergence,
            url=self._url,
        )
        execution.unread, self._unread = self._unread, False
        execution.waits.on_quiet = self._quieted
        writer.on_durable = execution.waits.stir
        compensates = run.state is State.COMPENSATING
        if compensates or not task.is_async:
            await writer.claimed()  # its body is one effect: not before the claim stands
        self._open = contextlib.ExitStack()
        output = self._open.enter_context(self._output(run))
        scope = contextvars.copy_context()
        scope.run(context.execution.set, execution)
        scope.run(output.enter, execution)
        code = compensated(execution) if compensates else _call(task, run.payload, execution)
        self._body = asyncio.get_running_loop().create_task(code, context=scope)
        self._body.add_done_callback(self._ended_by_itself)
        self._run_on(execution, run)
        await asyncio.sleep(0)
        if not self._body.done():
            writer.write()  # a body that has ended by now shares one append with its claim

    def _go_on(self, execution: Execution, writer: Writer) -> None:
        """The run is ours again, and its code is still here."""
        execution.writer = writer
        writer.on_durable = execution.waits.stir
        writer.write()
        execution.waits.go_on()
        self._run_on(execution, writer.run)

    def _run_on(self, execution: Execution, run: Run) -> None:
        for entry in self._heard:
            execution.waits.hear(entry)
        self._heard.clear()
        self._quiet = False
        self.holds = True
        self._over = asyncio.get_running_loop().create_future()
        self._watch(run, execution)
        if self._why is not None:
            self._tell()

    def _ended_by_itself(self, body: asyncio.Task[bytes]) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    async def _until_over(self, task: Task[..., Any], writer: Writer) -> tuple[Entry, ...]:
        """Wait until the code has ended or is quiet; the entries that say so."""
        body, execution, over = self._body, self.execution, self._over
        assert body is not None
        assert execution is not None
        assert over is not None
        await over
        if self._why is Why.LOST:
            return ()
        if self.parked or (self._quiet and execution.strayed):
            ending = self._rests
        elif not body.done():
            ending = self._left_behind(task, writer.run, execution)
        else:
            if self._why in (Why.CANCELLED, Why.TIMED_OUT):
                await self._shielded(execution)
            ending = self._ending(task, writer.run, execution, body)
        return (*execution.marks.rest(), *ending)

    async def _shielded(self, execution: Execution) -> None:
        """Let what the task shielded end, within the grace."""
        if execution.shielded:
            waiting = asyncio.ensure_future(asyncio.wait(set(execution.shielded)))
            patience = asyncio.ensure_future(sleep(self._journal.time, self._grace))
            await asyncio.wait([waiting, patience], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            patience.cancel()

    # --- time-outs --------------------------------------------------------------------------------------------------

    def _watch(self, run: Run, execution: Execution) -> None:
        """Have the time-outs of the attempt called."""
        if run.state is State.COMPENSATING:
            return
        timeouts = run.timeouts or self._tasks[run.task].settings.timeouts or Timeouts()
        now, deadlines = self._journal.clock(), [run.deadline]
        if timeouts.schedule_to_close is not None and run.timeouts is None:  # the claim that says so is under way
            deadlines.append(run.scheduled_at + timeouts.schedule_to_close)
        if known := [at for at in deadlines if at is not None]:
            self._alarm(execution, min(known), "schedule_to_close")
        if timeouts.start_to_close is not None:
            used = 0.0 if run.fresh else run.used
            self._alarm(execution, now + timeouts.start_to_close - used, "start_to_close")
        if timeouts.heartbeat is not None:
            self._alarm(execution, now + timeouts.heartbeat, "heartbeat")
        execution.marks.on_beat = lambda: self._heartbeat(execution, timeouts.heartbeat)

    def _heartbeat(self, execution: Execution, limit: Seconds | None) -> None:
        """The code gave a sign of life."""
        now = self._journal.clock()
        if limit is not None:
            self._alarm(execution, now + limit, "heartbeat")
        for step_limit, silence in execution.limits.values():
            step_limit.move(now + silence)

    def _alarm(self, execution: Execution, due: float, limit: str) -> None:
        if (before := self._alarms.pop(limit, None)) is not None:
            before.cancel()
        self._alarms[limit] = Alarm(execution.waits, due, lambda: self._timed_out(limit))

    def _timed_out(self, limit: str) -> None:
        if self._why is None and self._over is not None and not self._over.done():
            self._limit = limit
            self.stop(Why.TIMED_OUT)

    # --- ends -------------------------------------------------------------------------------------------------------

    def _suspended(self, execution: Execution) -> tuple[Entry, ...]:
        now = self._journal.clock()
        standing = execution.waits.standing(now)
        for timeout in standing.timeouts:
            execution.recall.add(timeout)
        suspended = Suspended(now, standing.waits, standing.due, standing.paused)
        return (*execution.passed_over(), *standing.timeouts, suspended)

    def _left_behind(self, task: Task[..., Any], run: Run, execution: Execution) -> tuple[Entry, ...]:
        """The entries that end an attempt whose code does not end."""
        now = self._journal.clock()
        match self._why:
            case Why.TIMED_OUT:
                return (self._out_of_time(task, run, now, tuple(execution.open), None),)
            case Why.DRAINED:
                return (AttemptInterrupted(now, f"worker {self._worker} drains", polite=True),)
        return (RunCancelled(now, f"its code did not end within {self._grace:g} s and was left behind"),)

    def _ending(
        self, task: Task[..., Any], run: Run, execution: Execution, body: asyncio.Task[bytes]
    ) -> tuple[Entry, ...]:
        """The entries that say how the user's code ended."""
        now = self._journal.clock()
        if self._why is Why.DRAINED:
            return (AttemptInterrupted(now, f"worker {self._worker} drains", polite=True),)
        error = asyncio.CancelledError("the task cancelled itself") if body.cancelled() else body.exception()
        if run.state is State.COMPENSATING:
            return self._compensation_ended(run, error, now)
        if error is None:
            return (RunCompleted(now, body.result()),)
        match self._why:
            case Why.CANCELLED:
                return (RunCancelled(now, "" if body.cancelled() else f"and its cleanup raised {error!r:.200}"),)
            case Why.TIMED_OUT:
                return (self._out_of_time(task, run, now, execution.fatal(error), error),)
        return (self._failed(task, run, error, now, execution.fatal(error)),)

    def _compensation_ended(self, run: Run, error: BaseException | None, now: float) -> tuple[Entry, ...]:
        if error is None:
            return (Compensated(now),)
        log.error("run %s: its compensation broke", run.id, exc_info=error)
        return (AttemptInterrupted(now, f"its compensation broke: {error!r:.200}"),)

    def _out_of_time(
        self, task: Task[..., Any], run: Run, now: float, fatal: tuple[str, ...], error: BaseException | None
    ) -> Entry:
        """The end of an attempt that took too long.

        Args:
            error: with which its code ended when it was told to.
        """
        if self._limit == "schedule_to_close":
            return RunTimedOut(now, timed_out(run, self._limit), self._limit, fatal)
        timeouts = run.timeouts or task.settings.timeouts or Timeouts()
        allowed = timeouts.heartbeat if self._limit == "heartbeat" else timeouts.start_to_close
        what = "gave no heartbeat for" if self._limit == "heartbeat" else "took longer than"
        late = TimedOut(f"attempt {run.attempt} {what} {allowed:g} s ({self._limit})")
        late.__cause__ = error
        return self._failed(task, run, late, now, fatal)

    def _failed(
        self, task: Task[..., Any], run: Run, error: BaseException, now: float, fatal: tuple[str, ...]
    ) -> AttemptFailed | RunDead | RunTimedOut:
        info = self._stored.error(error)
        if isinstance(error, EncodeError):
            return RunDead(now, info, "result", fatal)
        if isinstance(error, CodeDiverged):
            return RunDead(now, info, "diverged", fatal)
        policy = run.retry or task.retry
        try:
            decision = decide(error, policy=policy, failed=run.spent + 1, seed=run.id)
        except Exception as broken:  # the user's retry_if
            return RunDead(now, self._stored.error(broken), "not retried", fatal)
        if isinstance(decision, Stop):
            return RunDead(now, info, decision.reason, fatal)
        due = now + decision.after
        if run.deadline is not None and due >= run.deadline:
            return RunTimedOut(now, info, "schedule_to_close: the next retry would come after it", fatal)
        return AttemptFailed(now, info, due, decision.spent, fatal)

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
            await sleep(self._journal.time, max(0.0, wait))
        return wait <= SHORT and self._why is None


async def _call(task: Task[..., Any], payload: bytes, execution: Execution) -> bytes:
    """Run the user's function on its payload; the result in the value codec."""
    arguments = task.signature.decode(await execution.stored.fetch(payload))
    for name, argument in arguments.items():
        if isinstance(argument, Ended):
            arguments[name] = await execution.stored.at_hand(argument)
    execution.ways.begin("")
    try:
        if task.is_async:
            result = await task.fn(**arguments)
        else:
            result = await asyncio.to_thread(task.fn, **arguments)
    except SystemExit as left:
        raise RuntimeError(f"the task called sys.exit({left.code!r})") from left
    except Exception as error:
        if execution.refused is None or execution.refused is error:
            raise
        raise execution.refused from error
    if execution.refused is not None:  # whatever the code made of it
        raise execution.refused
    try:
        return await execution.stored.encode_result(result)
    except EncodeError as error:
        raise EncodeError(f"the result can't be stored: {error}") from error


async def _reap(tasks: list[asyncio.Task[Any]], patience: Seconds) -> None:
    """End what the user's code left running; what does not end in time is left behind."""
    running = [task for task in tasks if task.cancel()]
    if running:
        await asyncio.wait(running, timeout=patience)
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()  # or asyncio reports that nobody looked at it


def _recall(messages: list[tuple[Message, Record]]) -> Recall:
    return Recall.of(story(record for _, record in messages))
