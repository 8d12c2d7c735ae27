"""What a run waits for outside of itself: time, tokens, events, signals, and child runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from holdfast import context
from holdfast.bus.ports import Message
from holdfast.core import ids
from holdfast.core.entries import (
    ChildTriggered,
    RunCreated,
    Signalled,
    StepCompleted,
    WaitStarted,
)
from holdfast.core.model import Instant, Parent
from holdfast.core.recall import Outcome
from holdfast.errors import (
    ChildFailed,
    ConnectError,
    EncodeError,
    HoldfastError,
    Unanswered,
    WaitTimeout,
)
from holdfast.triggering import Settings, created
from holdfast.wire import codec
from holdfast.wire.subjects import Stream
from holdfast.worker.checkpoints import Checkpoints, was_cut


class Outside(Checkpoints):
    """The waits of a run in one worker, each a checkpoint."""

    unread = False
    """Whether the run was begun without reading what it had been told by then."""
    _reading: asyncio.Future[list[Message]] | None = None

    async def _sleep(self, key: str, due: Callable[[Instant], Instant]) -> None:
        outcome = await self.known(key)
        if outcome is not None:
            await self.recalled(key, outcome)
            return
        await self.ready(key)
        started = self._wait_started(key, "sleep", "", due(self.now()))
        with self.cuttable(key, started.at):
            await self.waits.arrival(key, lambda: None, due=started.due)
        await self.completed(key, started.at, None)

    async def _outside(
        self,
        key: str,
        wait: str,
        kind: str,
        what: str,
        *,
        due: Instant | None,
        began: Instant | None = None,
        **more: Any,
    ) -> Any:
        """Wait for a token or an event.

        Args:
            began: when its time began; None: with the wait.
        """
        outcome = await self.known(key)
        if outcome is None:
            await self.ready(key)
            started = self._wait_started(key, kind, wait, due, **more)
            with self.cuttable(key, started.at):
                outcome = await self.waits.arrival(
                    key, lambda: self.recall.take(key), wait=lambda: started.wait, due=started.due
                )
            if outcome is None:
                allowed = (started.due or 0.0) - (started.at if began is None else began)
                error = WaitTimeout(f"{what} did not come within {round(allowed, 3)} s")
                await self.failed(key, started.at, error)
                raise error
        return await self.recalled(key, outcome)

    def _wait_started(self, key: str, kind: str, wait: str, due: Instant | None, **more: Any) -> WaitStarted:
        """How the wait began: recorded before, or now."""
        started = self.recall.wait(key)
        if started is None:
            started = WaitStarted(key, self.now(), wait, kind, due, **more)
            self.recall.add(started)
        elif kind != "event" or any(expected.wait == started.wait for expected in self.writer.run.expected):
            return started
        self.writer.write(*self.passed_over(), started)
        return started

    async def _signal(self, key: str, name: str) -> Any:
        outcome = await self.known(key)
        if outcome is not None:
            return await self.recalled(key, outcome)
        await self.ready(key)
        if self.unread:
            await self._read_inbox()
        started = self._wait_started(key, "signal", "", None, subject=name)
        with self.cuttable(key, started.at):
            signal = await self.waits.arrival(
                key, lambda: self.recall.take_signal(name), wait=lambda: self.recall.next_signal(name)
            )
        assert signal is not None
        now = self.now()
        await self.record(StepCompleted(key, now, now - started.at, signal.value))
        return await self.stored.decode(signal.value)

    async def _read_inbox(self) -> None:
        """Take in the signals that were sent before this worker had the run: it began with it unread."""
        if self._reading is None:
            inbox, run = self._journal.bus.subjects.inbox(self.id), self.writer.run
            first = run.first if run.scheduled_at == run.created_at else 1  # a delayed one was there before it fired
            read = lambda: self._journal.bus.read(Stream.JOURNAL, inbox, first=first)  # noqa: E731
            self._reading = asyncio.ensure_future(self._journal.insist(read))
        told = [codec.decode_entry(message.data) for message in await asyncio.shield(self._reading)]
        if self.unread:
            self.unread = False
            self.recall.came_before(entry for entry in told if isinstance(entry, Signalled))

    async def _child(self, key: str, task: str, payload: bytes, settings: Settings) -> Any:
        outcome = await self.known(key)
        if outcome is None:
            await self.ready(key)
            if self.recall.child(key) is None:
                for failure in (await self._trigger({key: await self.stored.keep(payload)}, task, settings)).values():
                    raise failure
            with self.cuttable(key, self.now()):
                outcome = await self._child_ended(key)
        return await self.recalled(key, outcome)

    async def _children(self, key: str, task: str, payloads: list[bytes | Exception], settings: Settings) -> list[Any]:
        """Several children, created together; each a checkpoint below this one."""
        started = self.now()
        keys = [f"{key}/{task}#{number}" for number in range(1, len(payloads) + 1)]
        begun = await self._created_children(key, dict(zip(keys, payloads, strict=True)), task, settings)
        with self.cuttable(key, started):
            for each in reversed(keys):  # the last one ends last, as a rule: one suspension for all
                if each not in begun:
                    begun[each] = await self._child_result(each)
        return [begun[each] for each in keys]

    async def _created_children(
        self, key: str, payloads: Mapping[str, bytes | Exception], task: str, settings: Settings
    ) -> dict[str, Any]:
        """Create those of the children that there are not; what can't be created is its error, by key."""
        outcome = self._take(key)
        if outcome is not None and was_cut(outcome):
            await self._cut_again(key, outcome)
        new, failures = dict[str, bytes](), dict[str, Any]()
        for each, payload in payloads.items():
            self._take(each)  # the code has come to them all
            if isinstance(payload, Exception):
                failures[each] = payload
            elif self.recall.child(each) is None:
                try:
                    new[each] = await self.stored.keep(payload)
                except EncodeError as error:
                    failures[each] = error
        if new:
            await self.known(key)
            await self.ready(key)
            failures |= await self._trigger(new, task, settings)
        return failures

    async def _child_result(self, key: str) -> Any:
        """What came of a child: its result, or its failure as a value."""
        try:
            return await self.recalled(key, await self._child_ended(key))
        except (ChildFailed, HoldfastError) as error:
            return error

    async def _child_ended(self, key: str) -> Outcome:
        ended: Outcome | None = await self.waits.arrival(
            key, lambda: self.recall.take(key), wait=lambda: self.recall.child(key) or ""
        )
        assert ended is not None
        return ended

    async def _trigger(self, payloads: Mapping[str, bytes], task: str, settings: Settings) -> dict[str, Exception]:
        """Create child runs, by the key of each; those that exist already are taken as they are.

        Returns:
            By key: why one could not be created.
        """
        run, now = self.writer.run, self.now()
        if run.priority != settings.priority and settings.priority == Settings().priority:
            settings = msgspec.structs.replace(settings, priority=run.priority)  # a child goes where its parent goes
        children = {
            key: created(
                task,
                payload,
                settings,
                run=ids.derive(run.created_at, run.id, key, str(self.attempt)),
                at=now,
                source="child",
                parent=Parent(run.id, key),
                deadline=run.deadline,
                ttl=context.client().ttl,
            )
            for key, payload in payloads.items()
        }
        outcomes = await self._journal.insist(lambda: self._created(list(children.values())))
        failures = {key: one for key, one in zip(children, outcomes, strict=True) if isinstance(one, Exception)}
        entries = [
            ChildTriggered(key, now, child.run, task, settings.detached)
            for key, child in children.items()
            if key not in failures
        ]
        for entry in entries:
            self.recall.add(entry)
        if entries:
            await self.writer.durable(*self.passed_over(), *entries)
        return failures

    async def _created(self, runs: list[RunCreated]) -> list[int | Exception]:
        outcomes = await self._journal.create_many(runs)
        for outcome in outcomes:
            if isinstance(outcome, Unanswered | ConnectError):
                raise outcome  # to be repeated, all of them: create-only
        return outcomes
