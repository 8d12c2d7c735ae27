"""The journal of a project: runs created, read, moved on, and what follows from where they stand carried out.

The order is always the same: the truth is appended (`append`), then what follows is done (`act`), then the work item is
acknowledged by whoever has it. Everything here may be repeated: creation is create-only, an append is compare-and-set,
and effects are idempotent.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from secrets import token_hex
from typing import TypeAlias, TypeVar

import anyio
import msgspec

from holdfast.bus.clock import Clock, WallClock
from holdfast.bus.ports import Bus, Fence, Message, Publication, Timer
from holdfast.core import ids
from holdfast.core.effects import (
    Arm,
    Cancel,
    CancelChild,
    DropLetter,
    Effect,
    Offer,
    PutLetter,
    Tell,
    TriggerHook,
    Withdraw,
    effects,
)
from holdfast.core.entries import (
    Admitted,
    Awaited,
    Batch,
    CancelRequested,
    ChildEnded,
    Entry,
    EventArrived,
    HookTriggered,
    Inherited,
    Offered,
    Resolved,
    RunCancelled,
    RunCreated,
    RunDead,
    RunExpired,
    RunRetried,
    RunTimedOut,
    Signalled,
    TokenCompleted,
)
from holdfast.core.entries import LetterDropped as Dropped
from holdfast.core.lifecycle import ACCEPTED_IN, Kind, Record, fold, interruption, recreated
from holdfast.core.model import ErrorInfo, Parent, Run, Seconds, State, Tick
from holdfast.errors import ConnectError, Fenced, RunStateError, Unanswered, UnknownRun
from holdfast.wire import codec
from holdfast.wire.api import Letter
from holdfast.wire.ended import ended
from holdfast.wire.subjects import TOKEN, Stream

log = logging.getLogger("holdfast.journal")

T = TypeVar("T")

TIMER = "ready"
"""Name of the timer that makes a delayed or retrying run ready."""

EARLY: Seconds = 300.0
"""So much before its time at most a run of a tick comes about, given that clocks differ."""


Told: TypeAlias = CancelRequested | TokenCompleted | EventArrived | Signalled | Resolved | Awaited
"""What others tell a run."""


def nonce() -> str:
    """A fresh mark by which a writer knows its own entries."""
    return token_hex(5)


class Journal:
    """The runs of the project that a bus is bound to."""

    def __init__(self, bus: Bus, clock: Clock | None = None) -> None:
        self.bus = bus
        self.time: Clock = clock or WallClock()
        self.clock = self.time.now
        self._announced: set[tuple[str, int, str]] = set()

    async def create(self, created: RunCreated) -> int:
        """Create a run and return its first sequence; where it exists already, nothing is done and 0 returned."""
        (outcome,) = await self.create_many([created])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def create_many(self, runs: Sequence[RunCreated]) -> list[int | Exception]:
        """Create several, in order, pipelined: for each its first sequence, 0 where it exists, or what went wrong."""
        await self.announce(runs)
        outcomes = await self.bus.publish_many([self._begun(run) for run in runs])
        return [await self._created(run, outcome) for run, outcome in zip(runs, outcomes, strict=True)]

    def _begun(self, run: RunCreated) -> Publication:
        """The first message of a run: its work item, or the timer that makes it one."""
        ready, data = self._ready(run.run, run.queue, run.priority), codec.encode(run)
        if run.due is None:
            return Publication(ready, data, 0)
        return Publication(self.bus.subjects.timer(run.run, TIMER), data, timer=Timer(run.due, ready))

    async def announce(self, runs: Sequence[RunCreated]) -> None:
        """Say once which tasks have work in which queues and priorities: their workers take it from there."""
        for lane in {(run.queue, run.priority, run.task) for run in runs} - self._announced:
            await self.bus.put("lane", "{}.{}.{}".format(*lane), b"")
            self._announced.add(lane)

    async def _created(self, run: RunCreated, outcome: int | Exception) -> int | Exception:
        if isinstance(outcome, Fenced):
            return 0
        if isinstance(outcome, Unanswered) and run.due is None:  # stored or not: the create-only repetition tells
            try:
                return await self.bus.publish(
                    self._ready(run.run, run.queue, run.priority), codec.encode(run), expect=0
                )
            except Fenced:
                return 0
            except Exception as error:
                return error
        return outcome

    def _ready(self, run: str, queue: str, priority: int) -> str:
        return self.bus.subjects.ready(run, queue, priority)

    async def begin(self, created: RunCreated, inherited: Sequence[Inherited]) -> int:
        """Create a run that begins with outcomes of another one, as one message, and return its first sequence; where
        it exists already, nothing is done and 0 returned.

        Raises:
            TooLarge: that is too much for one message.
        """
        await self.announce([created])
        try:
            return await self._begin(created, inherited)
        except Fenced:
            return 0

    async def _begin(self, created: RunCreated, more: Sequence[Entry]) -> int:
        entries: tuple[Entry, ...] = (created, *more)
        seq = await self.append(created.run, 0, "", entries)
        run = fold([Record(seq, Kind.LOG, "", entries)])
        assert run is not None
        await self.act(run)
        return seq

    async def begin_dead(self, created: RunCreated, error: ErrorInfo) -> bool:
        """Create a run that is dead from the start, as one message, and put its letter; whether it is new. Where it
        exists already it is left as it is, but for a letter that it lacks.

        Raises:
            TooLarge: its payload is too much for one message.
        """
        await self.announce([created])
        dead = RunDead(at=self.clock(), error=error, reason="event")
        known = await self.insist(lambda: self.bus.latest(Stream.JOURNAL, self.bus.subjects.of_run(created.run)))
        if not known:  # a run that waits for its first attempt has no log either: it must not die of this
            with suppress(Fenced):
                await self._begin(msgspec.structs.replace(created, due=None), (dead,))
                return True
        found = await self.load(created.run)
        if found.state is State.DEAD:
            await self.act(found)
        return False

    async def messages(self, run: str, first: int = 1) -> list[tuple[Message, Record]]:
        """A run's stored messages in order; such as hold no entry are passed over with a warning."""
        if not TOKEN.match(run):
            return []  # no run has such an id, and as a subject it could mean many
        found = await self.bus.read(Stream.JOURNAL, self.bus.subjects.of_run(run), first=first)
        return list(self._readable(found))

    async def message(self, run: str, seq: int) -> Record | None:
        """A run's first message from a sequence on; None where there is none, or it holds no entry."""
        found = await self.bus.read(Stream.JOURNAL, self.bus.subjects.of_run(run), first=seq, limit=1)
        return next((record for _, record in self._readable(found)), None)

    async def scattered(self, run: str, first: int = 1) -> list[tuple[Message, Record]]:
        """The same of a run whose messages lie far apart, so that the server would go over all that lies between: each
        subject of the run is read by itself, up to the last message that there is when this begins."""
        if not TOKEN.match(run):
            return []
        import asyncio  # 20 ms, for who only imports a task or the configuration

        lasts = await self.bus.latest(Stream.JOURNAL, self.bus.subjects.of_run(run))
        recent = [last for last in lasts if last.seq >= first]
        reads = [self.bus.read(Stream.JOURNAL, last.subject, first=first) for last in recent]
        until = recent[-1].seq if recent else 0
        found = [message for messages in await asyncio.gather(*reads) for message in messages if message.seq <= until]
        return list(self._readable(sorted(found, key=lambda message: message.seq)))

    def _readable(self, messages: Iterable[Message]) -> Iterator[tuple[Message, Record]]:
        for message in messages:
            try:
                yield message, codec.record(self.bus.subjects, message.subject, message.seq, message.data)[1]
            except ValueError as error:
                log.warning("unreadable journal message %s at %d: %s", message.subject, message.seq, error)

    async def first_of(self, tick: Tick) -> int:
        """A sequence from which on everything of a tick's run lies, also of a run that it has been before: a timer
        that was set once too often fires for a run that may have ended."""
        return await self.bus.first_since(Stream.JOURNAL, tick.at - EARLY)

    async def load(self, run: str, first: int = 1) -> Run:
        """A run as it stands.

        Raises:
            UnknownRun: there is none of this id.
        """
        folded = fold(record for _, record in await self.messages(run, first))
        if folded is None:
            raise UnknownRun(
                f"no run {run} in project {self.bus.subjects.project}: check the id with `holdfast runs list`"
            )
        return folded

    async def append(self, run: str, expect: int, writer: str, entries: Sequence[Entry], *, insist: bool = True) -> int:
        """Append entries that commit as one; returns their sequence on the run's log.

        An outcome that stays unknown is resolved by reading the last message: it is ours where it holds our very bytes.
        While the server is away this waits for it.

        Args:
            insist: False: do not wait for a server that is away.

        Raises:
            Fenced: somebody else appended since `expect`; nothing of ours was stored.
            ConnectError, Unanswered: without `insist`: whether it is stored is unknown.
        """
        subject, data = self.bus.subjects.log(run), codec.encode(Batch(writer, tuple(entries)))
        unsure = False
        while True:
            try:
                return await self.bus.publish(subject, data, expect=expect)
            except (Unanswered, ConnectError):
                unsure = True
            except Fenced:
                if not unsure:
                    raise
            if insist:
                last = await self.insist(lambda: self.bus.last(Stream.JOURNAL, subject))
            else:
                last = await self.bus.last(Stream.JOURNAL, subject)
            found = last.seq if last is not None else 0
            if last is not None and last.data == data:
                return last.seq
            if found != expect:
                raise Fenced(subject, expected=expect, found=found)

    async def offer(self, run: Run) -> None:
        """Publish a work item of a run that waits for one, as it stands; repeating that changes nothing."""
        item = self._item(run)
        await self.bus.publish(item.subject, item.data, dedupe=item.dedupe)

    async def insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """The outcome of something that may be repeated, however long the server is away."""
        pause = 0.05
        while True:
            try:
                return await call()
            except (Unanswered, ConnectError) as error:
                log.info("waiting for the server: %s", error)
                await anyio.sleep(pause)
                pause = min(1.0, pause * 2)

    async def move(self, run: Run, *entries: Entry) -> Run:
        """Append entries to a run that nobody holds (or that is taken from its holder), and do what follows.

        Raises:
            Fenced: it was moved meanwhile.
        """
        writer = nonce()
        seq = await self.append(run.id, run.last, writer, entries)
        moved = fold([Record(seq, Kind.LOG, writer, entries)], run)
        assert moved is not None
        await self.act(moved)
        return moved

    async def act(self, run: Run, *, insist: bool = True) -> None:
        """Do what follows from where the run stands.

        Args:
            insist: False: do not wait for a server that is away.

        Raises:
            ConnectError, Unanswered: without `insist`: something is left to be done.
        """
        for effect in effects(run):
            if insist:
                await self.insist(partial(self._do, effect, run))
            else:
                await self._do(effect, run)

    async def ready_many(self, runs: Sequence[Run]) -> list[int | Exception]:
        """Publish the work items or timers of runs that were created on their log just now, pipelined: for each the
        sequence or what went wrong."""
        return await self.bus.publish_many([self._followed(run) for run in runs])

    def _followed(self, run: Run) -> Publication:
        match effects(run):
            case (Offer(),):
                return self._item(run)
            case (Arm() as arm,):
                return self._timer(arm, run)
        raise AssertionError(f"run {run.id} was not created just now: {run.state}")

    async def _do(self, effect: Effect, run: Run) -> None:
        bus, subjects = self.bus, self.bus.subjects
        match effect:
            case Offer():
                await self.offer(run)
            case Arm():
                timer = self._timer(effect, run)
                assert timer.timer is not None
                await bus.publish_at(timer.subject, timer.data, due=timer.timer.due, target=timer.timer.target)
            case Withdraw():
                await bus.purge(Stream.JOURNAL, subjects.timer(effect.run, ">"))
                if effect.item is not None:
                    await bus.delete(Stream.JOURNAL, effect.item)
            case Cancel():
                await self._cancel(run)
            case CancelChild():
                await self._cancel_child(run, effect)
            case TriggerHook():
                await self._trigger_hook(run, effect)
            case Tell():
                await self.tell_end(run, Parent(effect.parent, effect.key))
            case PutLetter():
                await bus.publish(subjects.letter(effect.queue, effect.run), codec.encode(letter(run)))
            case DropLetter():
                await bus.purge(Stream.JOURNAL, subjects.letter(effect.queue, effect.run))

    async def admit_many(self, runs: Sequence[Run], fence: Fence | None, *, mark: str = "go") -> list[int | Exception]:
        """Give runs of a governed queue their slots: for each the sequence of its work item, or what went wrong.

        May be repeated: an admission of a run that has not moved since is stored once for each `mark`.

        Args:
            fence: by which whoever conducts is known; None: nobody else can.
        """
        return await self.bus.publish_many(
            [
                Publication(
                    self.bus.subjects.go(run.id, run.queue),
                    codec.encode(Admitted(run.id, run.first, run.last, _untouched(run))),
                    dedupe=f"{run.id}-{mark}-{run.last}",
                    fence=fence,
                )
                for run in runs
            ]
        )

    def _item(self, run: Run) -> Publication:
        """A work item of a run, as it stands. One that has not started takes its place among the new ones."""
        lane = self.bus.subjects.again if run.attempt else self.bus.subjects.ready
        return Publication(
            lane(run.id, run.queue, run.priority),
            codec.encode(Offered(run.id, run.first, run.last)),
            dedupe=f"{run.id}-{run.last}",
        )

    def _timer(self, effect: Arm, run: Run) -> Publication:
        """The run's timer; the first fact of a run that nothing else tells of is the timer itself."""
        new = run.state is State.DELAYED
        lane = self.bus.subjects.ready if new else self.bus.subjects.again
        entry = recreated(run) if new and not run.last else Offered(effect.run, effect.first, effect.cause)
        return Publication(
            self.bus.subjects.timer(effect.run, TIMER),
            codec.encode(entry),
            timer=Timer(effect.due, lane(effect.run, effect.queue, effect.priority)),
        )

    async def _cancel(self, run: Run) -> None:
        created = recreated(run) if run.attempt == 0 else None
        await self.move(run, RunCancelled(at=self.clock(), reason=run.reason, created=created))

    async def _cancel_child(self, run: Run, effect: CancelChild) -> None:
        with suppress(UnknownRun, RunStateError):  # it never came about, or has ended just now
            child = await self.load(effect.child, run.first)
            if not child.final and not child.cancel_requested:
                await self.cancel(effect.child, by=f"run {run.id}", reason=effect.reason, first=child.first)

    async def _trigger_hook(self, run: Run, effect: TriggerHook) -> None:
        """Create the hook's run, once for each ending, and note that in the run that has ended."""
        hook = ids.derive(run.finished_at or run.created_at, "hook", run.id, effect.on, str(effect.cause))
        created = RunCreated(
            run=hook,
            at=self.clock(),
            task=effect.task,
            payload=ended(run),
            queue=effect.queue,
            priority=run.priority,
            source=f"hook {effect.on} of {run.id}",
            tags=run.tags,
        )
        (outcome,) = await self.create_many([created])
        if isinstance(outcome, Exception):
            raise outcome
        noted = HookTriggered(effect.on, self.clock(), hook)
        await self.bus.publish(self.bus.subjects.inbox(run.id), codec.encode(noted), dedupe=f"{hook}-noted")

    async def cancel(self, run: str, *, by: str = "", reason: str = "", first: int = 1) -> Run:
        """Ask for a run to end. Where nobody holds it, it has ended when this returns; else its holder ends it.

        Raises:
            UnknownRun: there is none of this id.
            RunStateError: it has ended already.
        """
        found = await self.load(run, first)
        if found.final:
            raise RunStateError(f"run {run} has ended {found.state}: only a live run can be cancelled")
        if found.state is State.COMPENSATING:
            raise RunStateError(f"run {run} compensates, it will be {found.ending}: it can only be killed")
        request = CancelRequested(at=self.clock(), by=by, reason=reason)
        asked = await self.tell(run, request)
        while True:
            found = await self.load(run, found.first)
            if found.state is State.RUNNING:
                if found.last > asked:  # it may have been claimed by somebody who was not there to hear it
                    await self.tell(run, request)
                return found
            try:
                await self.act(found)
            except Fenced:  # a worker took it meanwhile, or gave it back: look again
                continue
            return await self.load(run, found.first)

    async def kill(self, run: str, *, by: str = "", reason: str = "") -> Run:
        """End a run now: without cleanup, without undos; whoever holds it has lost it when this returns.

        Raises:
            UnknownRun: there is none of this id.
            RunStateError: it has ended already.
        """
        first = 1
        while True:
            found = await self.load(run, first)
            first = found.first
            if found.final:
                raise RunStateError(f"run {run} has ended {found.state}: only a live run can be killed")
            await self.tell(run, CancelRequested(at=self.clock(), by=by, reason=reason, kill=True))
            created = recreated(found) if found.attempt == 0 else None
            text = reason or f"killed by {by}"
            try:
                moved = await self.move(found, RunCancelled(self.clock(), text, created, killed=True))
            except Fenced:  # its holder wrote just now: look again
                continue
            if found.holder is not None and found.holder.item:
                self.bus.settle(found.holder.item)
            return moved

    async def tell(self, run: str, entry: Told, *, dedupe: str | None = None) -> int:
        """Tell a run something; whoever holds it hears it. Returns its sequence. May be repeated with a `dedupe`."""
        return await self.bus.publish(self.bus.subjects.inbox(run), codec.encode(entry), dedupe=dedupe)

    async def tell_end(self, run: Run, parent: Parent, *, again: bool = False) -> None:
        """Tell a run that awaits another one how that has ended. May be repeated.

        Args:
            again: it may have forgotten that it was told.
        """
        told = ChildEnded(parent.key, run.finished_at or self.clock(), run.id, run.state, run.result, _error(run))
        dedupe = f"{run.id}-{run.last}-{ids.digest(parent.run, parent.key)}"
        inbox = self.bus.subjects.inbox(parent.run)
        await self.bus.publish(inbox, codec.encode(told), dedupe=None if again else dedupe)

    async def resume(self, run: str, first: int = 1) -> Run:
        """Do what follows where something that a run waits for has come; the run as it stood. Raises: UnknownRun."""
        found = await self.load(run, first)
        if not found.final:
            with suppress(Fenced):  # somebody else moved it on
                await self.act(found)
        return found

    async def end(self, run: Run, entry: RunExpired | RunTimedOut | RunCancelled, *, by: str = "") -> Run:
        """End a run whose time is over; a holder that did not do so itself is told to let go of it.

        Raises:
            Fenced: it was moved meanwhile.
        """
        moved = await self.move(run, entry)
        if run.holder is not None and run.holder.item:  # its undos, if any, have a work item of their own
            self.bus.settle(run.holder.item)
        if run.holder is not None and moved.final:  # else somebody may hold it again, for its undos
            await self.tell(run.id, CancelRequested(at=self.clock(), by=by, kill=True))
        return moved

    async def interrupt(self, run: Run, reason: str) -> Run:
        """Take a run from a holder that is gone; its work item comes again where one still stands for it.

        Raises:
            Fenced: it was moved meanwhile.
        """
        assert run.holder is not None
        moved = await self.move(run, interruption(run, self.clock(), reason))
        if run.holder.item:
            answer = self.bus.release if moved.offered else self.bus.settle
            answer(run.holder.item)
        return moved

    async def retry(
        self, run: str, *, by: str = "", from_start: bool = False, payload: bytes | None = None, first: int = 1
    ) -> Run:
        """Take a run that is dead, failed or cancelled up again behind its last checkpoint, or from the start.

        Raises:
            UnknownRun: there is none of this id.
            RunStateError: its state does not allow it, or somebody else was first.
        """
        entry = RunRetried(at=self.clock(), by=by, from_start=from_start, payload=payload)
        return await self._answer(await self.load(run, first), entry, "retried")

    async def drop(self, run: str, *, by: str = "") -> Run:
        """Drop a dead run's letter: the run is failed for good, unless it is retried by its id.

        Raises:
            UnknownRun: there is none of this id.
            RunStateError: it is not dead, or somebody else was first.
        """
        return await self._answer(await self.load(run), Dropped(at=self.clock(), by=by), "dropped")

    async def _answer(self, run: Run, entry: RunRetried | Dropped, verb: str) -> Run:
        allowed = ACCEPTED_IN[type(entry)]
        if run.state not in allowed:
            states = ", ".join(sorted(allowed))
            raise RunStateError(f"run {run.id} is {run.state}: expected one that is {states}, so it was not {verb}")
        try:
            return await self.move(run, entry)
        except Fenced:
            raise RunStateError(f"run {run.id} was moved by somebody else just now, so it was not {verb}") from None


def _untouched(run: Run) -> int:
    """Sequence of the first fact of a run that nothing else has happened to; 0: something has, or may have."""
    return run.item if run.attempt == 0 and not run.last and run.tick is None else 0


def letter(run: Run) -> Letter:
    """The dead letter of a dead run."""
    return Letter(
        run=run.id,
        task=run.task,
        queue=run.queue,
        payload=run.payload,
        error=run.error or ErrorInfo("", run.reason),
        reason=run.reason,
        attempts=run.attempt,
        last_key=run.last_key,
        first_at=run.created_at,
        last_at=run.finished_at or run.created_at,
    )


def _error(run: Run) -> ErrorInfo | None:
    if run.state is State.COMPLETED:
        return None
    return run.error or ErrorInfo(type=f"holdfast.{run.state}", message=run.reason or f"the run was {run.state}")
