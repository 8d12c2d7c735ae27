"""One call of a `@step` in a run: its tries, its time limits, its undo, and what is done when its outcome is unknown.

first time       -> try it; each failed try that its policy repeats is recorded, then its outcome
resumed          -> the tries that were made count, the next one waits until it is due
at_most_once     -> it is recorded that it begins; if it began and its outcome is not known, it is not repeated:
                    `verify` says, or an operator
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from holdfast.core.entries import StepRetried, StepStarted
from holdfast.core.lifecycle import UNDO
from holdfast.core.model import Retry, Timeouts
from holdfast.core.recall import Tried
from holdfast.core.retry import Stop, decide
from holdfast.errors import EncodeError, TimedOut
from holdfast.step import RESULT, Done, NotDone, Policy, Step, Unknown, accepted, call_named
from holdfast.wire.undo import UndoCall, encode_undo
from holdfast.worker.limits import Limit

if TYPE_CHECKING:
    from holdfast.worker.checkpoints import Checkpoints


async def stepped(execution: Checkpoints, key: str, step: Step[..., Any], args: Any, kwargs: Any) -> Any:
    """Run a step, or recall it."""
    outcome = await execution.known(key)
    if outcome is not None:
        return await execution.recalled(key, outcome)
    execution.steps.add(key)
    try:
        return await _Call(execution, key, step, args, kwargs).run()
    finally:
        execution.steps.discard(key)


async def undo(execution: Checkpoints, key: str, call: UndoCall, step: Step[..., Any], value: bytes) -> None:
    """Undo a completed step; what it was is given up by its own retries or an operator only.

    Args:
        key: of the step.
        value: that it returned, as the journal holds it.
    """
    target = step.policy.undo
    assert target is not None
    policy = target.policy if isinstance(target, Step) else Policy(retry=Retry())
    function = target.fn if isinstance(target, Step) else target
    arguments: dict[str, Any] = await execution.stored.decode(call.arguments)
    named = {**arguments, RESULT: await execution.stored.decode(value)}

    @functools.wraps(function)
    async def undone(*args: Any, **kwargs: Any) -> None:
        await function(*args, **kwargs)  # what it returns is of no use to anybody

    own = policy._replace(undo=None, key=None)
    await _Call(execution, key + UNDO, Step(undone, name="undo", policy=own), (), accepted(function, named)).run()


class _Call:
    """One call of a step."""

    def __init__(self, execution: Checkpoints, key: str, step: Step[..., Any], args: Any, kwargs: Any) -> None:
        self._execution = execution
        self._key = key
        self._step = step
        self._args = args
        self._kwargs = kwargs
        self._over = False
        """Whether a time-out was reached that is never retried."""

    @property
    def _tried(self) -> Tried:
        return self._execution.recall.tried(self._key)

    async def run(self) -> Any:
        execution, key = self._execution, self._key
        called = execution.now()
        while True:
            started = execution.now()
            try:
                await execution.ready(key)
                await self._due()
                self._in_time(called)
                settled = await self._settled()
                if settled is not None:
                    return settled.value
                started = execution.now()
                undo = await self._undo()
                if self._step.policy.at_most_once:
                    await execution.writer.durable(StepStarted(key, started, once=True))
                    execution.recall.add(StepStarted(key, started, once=True))
                value = await self._once(started)
            except asyncio.CancelledError as cut:
                execution.cut(key, started, cut)
                raise
            except Exception as error:
                failure = await self._given_up(started, error)
                if failure is None:
                    continue
                if failure is not error:
                    failure.__cause__ = error
                await execution.failed(key, started, failure)
                raise failure from failure.__cause__
            try:
                await execution.completed(key, started, value, undo)
            except EncodeError as error:
                refused = EncodeError(f"step {self._step.name} has an undo, which needs its result: {error}")
                await execution.failed(key, started, refused)
                raise refused from error
            return value

    async def _undo(self) -> bytes | None:
        """How to undo the call. Raises: EncodeError."""
        if self._step.policy.undo is None:
            return None
        try:
            named = await self._execution.stored.encode(self._step.named(self._args, self._kwargs))
            return encode_undo(UndoCall(self._step.ref, named))
        except EncodeError as error:
            raise EncodeError(f"step {self._step.name} has an undo, which needs its arguments: {error}") from error

    async def _once(self, started: float) -> Any:
        """One try, within its time."""
        with self._execution.under_way(self._key, started):
            if self._step.policy.timeouts is None:
                return await self._step.fn(*self._args, **self._kwargs)
            async with self._limited(started):
                return await self._step.fn(*self._args, **self._kwargs)

    # --- time ------------------------------------------------------------------------------------------------------

    def _in_time(self, called: float) -> None:
        """Raises: TimedOut: this try can't begin in time any more."""
        timeouts, now = self._step.policy.timeouts or Timeouts(), self._execution.now()
        tried = self._tried
        scheduled = tried.due or called
        if timeouts.schedule_to_start is not None and now - scheduled > timeouts.schedule_to_start:
            raise self._late(f"did not start within {timeouts.schedule_to_start:g} s")
        limit = timeouts.schedule_to_close
        if limit is not None and tried.since is not None and now - tried.since >= limit:
            raise self._late(f"did not end within {limit:g} s, its tries together")

    def _late(self, what: str) -> TimedOut:
        """A time-out of the kind that is never retried."""
        self._over = True
        return TimedOut(f"step {self._step.name} {what}")

    @contextlib.asynccontextmanager
    async def _limited(self, started: float) -> AsyncIterator[None]:
        """The block within the step's own time-outs. Raises: TimedOut."""
        timeouts, waits = self._step.policy.timeouts or Timeouts(), self._execution.waits
        since = started if self._tried.since is None else self._tried.since
        close, last, beat = timeouts.start_to_close, timeouts.schedule_to_close, timeouts.heartbeat
        closing = Limit(waits, None if close is None else started + close, working=True)
        lasting = Limit(waits, None if last is None else since + last)
        silent = Limit(waits, None if beat is None else started + beat, working=True)
        if beat is not None:
            self._execution.limits[self._key] = silent, beat
        try:
            async with lasting, closing, silent:
                yield
        except TimeoutError as error:
            if lasting.expired():
                raise self._late(f"did not end within {last:g} s (schedule_to_close)") from error
            if closing.expired():
                raise TimedOut(f"step {self._step.name} did not end within {close:g} s (start_to_close)") from error
            if silent.expired():
                raise TimedOut(f"step {self._step.name} gave no heartbeat for {beat:g} s") from error
            raise
        finally:
            self._execution.limits.pop(self._key, None)

    async def _given_up(self, started: float, error: Exception) -> Exception | None:
        """With what the step fails; None: the failed try is recorded, and its own policy tries again."""
        if self._over or isinstance(error, EncodeError):
            return error
        execution, key, tried = self._execution, self._key, self._tried
        failed = tried.failed + 1
        try:
            decision = decide(error, policy=self._step.policy.retry, failed=failed, seed=f"{execution.id}{key}")
        except Exception as broken:  # the user's retry_if
            return broken
        if isinstance(decision, Stop):
            return error
        now = execution.now()
        due, first = now + decision.after, started if tried.since is None else tried.since
        limit = (self._step.policy.timeouts or Timeouts()).schedule_to_close
        if limit is not None and due >= first + limit:
            return self._late(f"has not ended, and its next try would come after its {limit:g} s (schedule_to_close)")
        number = failed if decision.spent else tried.failed
        entry = StepRetried(key, now, now - started, execution.stored.error(error), number, due)
        execution.recall.add(entry)
        await execution.writer.durable(entry)
        return None

    async def _due(self) -> None:
        """Wait until the step's next try is due, also where the tries before were another worker's."""
        if (due := self._tried.due) > self._execution.now():
            await self._execution.waits.arrival(self._key, lambda: None, due=due)
            await self._execution.writer.claimed()

    # --- unknown outcomes ------------------------------------------------------------------------------------------

    async def _settled(self) -> Done | None:
        """How a step came out that began before and whose outcome is not known; None: (re)run it."""
        execution, key = self._execution, self._key
        if not execution.recall.began(key):
            return None
        answered = execution.recall.answer(key) is not None
        verdict = Unknown() if answered else await self._verified()
        while isinstance(verdict, Unknown):
            why = f": {verdict.why}" if verdict.why else ""
            answer = await execution.ask(key, f"step {self._step.name} began and its outcome is not known{why}")
            match answer.action:
                case "done":
                    verdict = Done(None if answer.value is None else await execution.stored.decode(answer.value))
                case "run":
                    verdict = NotDone()
        if isinstance(verdict, NotDone):
            return None
        await execution.completed(key, execution.now(), verdict.value, await self._undo())
        return verdict

    async def _verified(self) -> Done | NotDone | Unknown:
        verify = self._step.policy.verify
        if verify is None:
            return Unknown()
        try:
            with self._execution.under_way(self._key, self._execution.now()):
                verdict = await call_named(verify, self._step.named(self._args, self._kwargs))
        except Exception as error:
            return Unknown(f"its verify raised {error!r:.200}")
        if not isinstance(verdict, Done | NotDone | Unknown):
            return Unknown(f"its verify returned {verdict!r:.80}, expected Done(value), NotDone() or Unknown(why)")
        return verdict
