"""What the awaits of a task become: recalled where the journal knows them, else run and recorded.

    known      -> the recorded value, or the recorded exception raised again
    unknown    -> run, append the outcome, wait until it is durable, go on
    volatile   -> run again (a value without an exact round trip; locks, queues and events of the process itself)

Fan-outs (`gather`, `wait_for`, `shield`, task groups) are no checkpoints of their own when they succeed: their branches
are. One that raises is recorded, so that it raises the same on resume whatever the branches' timing.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary, finalize

import anyio
import msgspec

from holdfast.bus.journal import Journal
from holdfast.context import Inside
from holdfast.core import ids
from holdfast.core.entries import (
    Entry,
    Heartbeat,
    Progressed,
    SecretPinned,
    StepCompleted,
    WaitStarted,
)
from holdfast.core.model import Instant, Seconds
from holdfast.core.recall import SIGNAL, Outcome, Recall
from holdfast.errors import (
    HoldfastError,
    KeyTaken,
)
from holdfast.rewrite import Site
from holdfast.step import Step
from holdfast.task import OnDivergence, Options, Task
from holdfast.triggering import Order, Settings
from holdfast.waiting import Token
from holdfast.wire.values import decode_value, encode_value
from holdfast.worker.calls import Call
from holdfast.worker.checkpoints import current_scope, in_loop, was_cut
from holdfast.worker.completions import Completions, Next
from holdfast.worker.limits import Kept, Limit
from holdfast.worker.marks import Marks, Metadata
from holdfast.worker.outside import Outside
from holdfast.worker.queries import Questions
from holdfast.worker.stepping import stepped
from holdfast.worker.stored import Stored
from holdfast.worker.writer import Writer

_FANS: frozenset[Any] = frozenset({asyncio.gather, asyncio.wait_for, asyncio.shield, asyncio.as_completed})  # noqa: TID251
_LIMITS: frozenset[Any] = frozenset({asyncio.timeout, asyncio.timeout_at})
_KEPT: frozenset[Any] = frozenset({anyio.fail_after, anyio.move_on_after})
_PROCESS_OWN = (asyncio.Lock, asyncio.Event, asyncio.Condition, asyncio.Semaphore, asyncio.Queue, asyncio.Barrier)


class Execution(Outside):
    """A run in one worker, as the code inside it sees it. Implements `context.Execution`."""

    def __init__(
        self,
        writer: Writer,
        recall: Recall,
        journal: Journal,
        attempt: int,
        *,
        stored: Stored,
        on_divergence: OnDivergence = "branch",
        url: str = "",
    ) -> None:
        """
        Args:
            url: under which the daemon takes HTTP requests; empty: not known.
        """
        super().__init__(writer, recall, journal, attempt, stored=stored, on_divergence=on_divergence)
        run = writer.run
        self.questions = Questions(journal.bus, run.id, stored, self._current)
        self.marks = Marks(self._say, journal.time)
        self._metadata = Metadata(run.metadata, recall.removed, self.marks.say, journal.time, stored)
        self._issued: dict[str, Instant] = {}
        """When each token was made."""
        self._task_keys: WeakKeyDictionary[asyncio.Future[Any], str] = WeakKeyDictionary()
        self._url = url

    # --- called by the seam ---------------------------------------------------------------------------------------

    @property
    def key(self) -> str:
        return current_scope.get()

    def call(self, site: Site, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        bound = getattr(f, "__self__", None)
        if isinstance(bound, _PROCESS_OWN):
            return f(*args, **kwargs)  # type: ignore[no-any-return]
        if f is asyncio.wait:
            return self._wait(self._new_key(site.name), *args, **kwargs)
        if _hashable(f) and f in _FANS:
            return self._fan(self._new_key(site.name), f, args, kwargs)
        if isinstance(f, Step | Task) or isinstance(bound, Inside | Token) or _is_child(bound, f):
            called = f(*args, **kwargs)
            return called.under(self._new_key(called.__name__)) if isinstance(called, Call) else called
        key = self._new_key(site.name)
        self._observe(key, args, kwargs)
        made = self.checkpoint(key, lambda: f(*args, **kwargs))
        return _yielding(made) if f is asyncio.sleep else made

    def value(self, site: Site, awaitable: Awaitable[Any]) -> Awaitable[Any]:
        if isinstance(awaitable, asyncio.Future | Next):
            return awaitable  # a task or future of this process: its branch is the checkpoint
        if isinstance(awaitable, Token):
            awaitable = awaitable.wait()
        if isinstance(awaitable, Call):
            return awaitable.under(self._new_key(awaitable.__name__))
        if inspect.iscoroutine(awaitable):
            return self._branch(self._new_key(awaitable.__name__), awaitable)
        return self.checkpoint(self._new_key(site.name), lambda: awaitable)

    def spawn(self, site: Site, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if _hashable(f) and f in _LIMITS:
            return self._limit(self._new_key(site.name), f, *args, **kwargs)
        if _hashable(f) and f in _KEPT:
            return Kept(self.waits, f(*args, **kwargs))
        scope = self._new_key(site.name) if _hashable(f) and f in _FANS else current_scope.get()
        if f is asyncio.as_completed:
            return self._as_completed(scope, *args, **kwargs)
        if (args and inspect.iscoroutinefunction(args[0])) or (args and isinstance(args[0], Step | Task)):
            return f(self._starter(scope, args[0]), *args[1:], **kwargs)  # anyio's start_soon(function, *args)
        keys: list[str] = []
        if _hashable(f) and f in _FANS:
            self.ways.fans.add(scope)
        made = f(*(self._as_branch(scope, arg, keys) for arg in args), **kwargs)
        if isinstance(made, asyncio.Future) and len(keys) == 1:
            self._task_keys[made] = keys[0]
        return made

    def step(self, step: Step[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        own = step.own_key(args, kwargs)
        name = step.name if own is None else f"{step.name}:{own}"

        def make(key: str) -> Coroutine[Any, Any, Any]:
            if own is not None and not key.endswith("#1"):
                return self._key_taken(key, step, own)
            self._observe(key, args, kwargs)
            return stepped(self, key, step, args, kwargs)

        return Call(name, make, lambda: self._new_key(name))

    def inline(self, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        return Call(
            task.name,
            lambda key: self.checkpoint(key, lambda: task.fn(*args, **kwargs)),
            lambda: self._new_key(task.name),
        )

    def child(self, task: str, payload: bytes, settings: Settings) -> Call:
        return Call(task, lambda key: self._child(key, task, payload, settings), lambda: self._new_key(task))

    def children(self, task: str, orders: Sequence[Order | Exception]) -> Call:
        return Call(task, lambda key: self._children(key, task, orders), lambda: self._new_key(task))

    def sleep(self, due: Callable[[Instant], Instant]) -> Call:
        return Call("sleep", lambda key: self._sleep(key, due), lambda: self._new_key("sleep"))

    def token(self, timeout: Seconds | None) -> Token:
        key = self._new_key("token")
        self._take(key)  # should it be completed: the code has come to it
        started = self.recall.wait(key)
        if started is None:
            now = self.now()
            due = None if timeout is None else now + timeout
            started = WaitStarted(key, now, _token_id(self.id, key), "issued", due)
            self.recall.add(started)
            self._capture(started)
        url = f"{self._url}/v1/tokens/{started.wait}/complete" if self._url else ""
        self._issued[started.wait] = started.at
        return Token(started.wait, url, self, started.due)

    def token_wait(self, token: Token) -> Call:
        async def wait(key: str) -> Any:
            began = self._issued.get(token.id)
            return await self._outside(key, token.id, "token", f"token {token.id}", due=token.due, began=began)

        return Call("completion", wait, lambda: self._new_key("completion"))

    def event(self, subject: str, match: Mapping[str, Any], timeout: Seconds | None, lookback: Seconds) -> Call:
        fields = msgspec.msgpack.encode(dict(match)) if match else b""

        async def wait(key: str) -> Any:
            now = self.now()
            since = max(self.writer.run.created_at, now - lookback)
            due = None if timeout is None else now + timeout
            wait_id = f"event:{key}:{self.attempt}"
            what = f"event {subject}"
            return await self._outside(key, wait_id, "event", what, due=due, subject=subject, match=fields, since=since)

        return Call("event", wait, lambda: self._new_key("event"))

    def signal(self, name: str) -> Call:
        if not name or "/" in name or "#" in name:
            raise HoldfastError(f"run.signals: expected a name without '/' and '#', found {name!r}")
        return Call(SIGNAL + name, lambda key: self._signal(key, name), lambda: self._new_key(SIGNAL + name))

    # --- what code says and takes between its awaits ---------------------------------------------------------------

    def captured(self, name: str, make: Callable[[], Any]) -> Any:
        if not in_loop():
            return make()  # a `def` task in its thread runs anew as a whole
        key = self._new_key(name)
        outcome = self._take(key)
        if isinstance(outcome, StepCompleted):
            return decode_value(outcome.value)
        value = make() if self._observer is None else self._observer.drawn(self.id, key, make)
        now = self.now()
        taken = StepCompleted(key, now, 0.0, encode_value(value))
        self._learn(taken)
        self._capture(taken)
        return value

    def secret(self, name: str) -> str:
        recall, vault = self.recall, self.stored.vault
        pinned = recall.pins.get(name)
        version = vault.pick(name, pinned, retried=name in recall.earlier_pins)
        if version != pinned or name in recall.earlier_pins:
            entry = SecretPinned(name, version)
            recall.add(entry)
            if in_loop():
                self._captured = self.writer.write(entry)
            else:
                self._loop.call_soon_threadsafe(self.writer.write, entry)
        return vault.value(name, version)

    def seal(self, data: bytes) -> bytes:
        return self.stored.seal(data)

    def unseal(self, data: bytes) -> bytes:
        return self.stored.unseal(data)

    def heartbeat(self, details: Any) -> Awaitable[None]:
        self._check_thread()
        beat = Heartbeat(self.now(), None if details is None else self.stored.encode_small(details))
        self.recall.add(beat)
        self.marks.say(beat)
        return _DONE

    def progress(self, done: float, total: float | None, text: str) -> Awaitable[None]:
        self._check_thread()
        self.marks.say(Progressed(self.now(), done, total, self.stored.redact(text)))
        return _DONE

    @property
    def last_heartbeat(self) -> Any:
        return None if self.recall.heartbeat is None else self.stored.decode_small(self.recall.heartbeat)

    @property
    def metadata(self) -> Metadata:
        return self._metadata

    @property
    def cancelled(self) -> bool:
        return self.ending or self.stopped

    def expose(self, name: str, answer: Callable[..., Any]) -> None:
        self.questions.expose(name, answer)

    async def _current(self) -> bool:
        """Whether the run is still where this code has it: while it is parked another worker may have gone on."""
        if self.waits.parked:
            run = await self._journal.load(self.id, self.writer.run.first)
            await self.writer.idle()  # what that may have found is our own then
            if self.waits.parked:
                return run.last <= self.writer.run.last
        return not self.stopped

    def _check_thread(self) -> None:
        """How code in a thread, which nobody can cancel, is told to end."""
        if self.cancelled and not in_loop():
            raise asyncio.CancelledError("the run was told to end")

    def _say(self, entry: Entry) -> None:
        if not self.stopped and not self.waits.parked and not self.writer.closed:
            self.writer.write(entry)

    def _capture(self, entry: StepCompleted | WaitStarted) -> None:
        """Record what the code has already; the next await waits until it is durable."""
        self._captured = self.writer.write(entry)

    def _observe(self, key: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        if self._observer is not None:
            self._observer.comes_to(self.id, key, {**dict(enumerate(args)), **kwargs})

    # --- keys and branches ----------------------------------------------------------------------------------------

    def _new_key(self, name: str) -> str:
        return self.recall.key(current_scope.get(), name)

    async def _key_taken(self, key: str, step: Step[..., Any], own: str) -> Any:
        """Refuse a call whose own key another one has. Raises: KeyTaken."""
        scope = key.rpartition("/")[0] or "the task's body"
        raise KeyTaken(
            f"step {step.name}: key {own!r} is used a second time within {scope}: expected one call for each key; "
            "make the key say what differs, or drop key="
        )

    def _as_branch(self, scope: str, argument: Any, keys: list[str] | None = None) -> Any:
        if isinstance(argument, Token):
            argument = argument.wait()
        if not isinstance(argument, Call) and not inspect.iscoroutine(argument):
            return argument
        key = self.recall.key(scope, argument.__name__)
        if keys is not None:
            keys.append(key)
        return argument.under(key) if isinstance(argument, Call) else self._branch(key, argument)

    def _as_completed(self, scope: str, awaitables: Iterable[Any], *, timeout: float | None = None) -> Completions:
        branches = [self._as_branch(scope, awaitable) for awaitable in awaitables]
        due = self._lasting(scope, timeout).due
        key = f"{scope}/timeout"
        return Completions(scope, branches, lambda: Limit(self.waits, due, key=key, resumed=True), self._chosen)

    async def _chosen(self, key: str, choose: Callable[[], Awaitable[Any]]) -> Any:
        """Something that the code waits for among its branches: an outcome, but nothing that is under way."""
        outcome = self._take(key)
        if outcome is not None and not was_cut(outcome):
            return await self.recalled(key, outcome)
        started = self.now()
        try:
            async with self._cuttable_again(key, outcome):
                value = await choose()
        except Exception as error:
            await self.failed(key, started, error)
            raise
        await self.completed(key, started, value)
        return value

    def _starter(self, scope: str, f: Callable[..., Any]) -> Callable[..., Any]:
        key = self.recall.key(scope, getattr(f, "__name__", "call"))

        @functools.wraps(f)
        async def start(*args: Any, **kwargs: Any) -> Any:
            called = f(*args, **kwargs)
            return await (called.under(key) if isinstance(called, Call) else self._branch(key, called))

        return start

    def _branch(self, key: str, coroutine: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        branch = self._branched(key, coroutine)
        finalize(branch, coroutine.close).atexit = False  # a task that is cancelled before it began awaits neither
        return branch

    async def _branched(self, key: str, coroutine: Coroutine[Any, Any, Any]) -> Any:
        if self._observer is not None:
            self._observer.comes_to(self.id, key, inspect.getcoroutinelocals(coroutine))
        try:
            return await self.checkpoint(key, lambda: coroutine)
        finally:
            coroutine.close()  # where its outcome was recalled it never ran

    async def _fan(self, key: str, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        branches = [self._as_branch(key, arg) for arg in args]
        named = {name: self._as_branch(key, arg) for name, arg in kwargs.items()}
        self.ways.fans.add(key)
        outcome: Outcome | None = None
        begins = False
        try:
            await self._slow_down()
            outcome = self._take(key)
            begins = outcome is None or was_cut(outcome)
        finally:
            if not begins:  # its outcome is recalled, or the code was told to end: no branch is begun
                for made in (*branches, *named.values(), *args, *kwargs.values()):
                    if inspect.iscoroutine(made):
                        made.close()
        if outcome is not None and not was_cut(outcome):
            return await self.recalled(key, outcome)
        started = self.now()
        try:
            if f is asyncio.shield:
                return await self._shield(key, outcome, *branches, **named)
            if f is asyncio.wait_for:  # noqa: TID251
                return await self._wait_for(key, *branches, **named)
            return await f(*branches, **named)
        except Exception as error:
            await self.failed(key, started, error)
            raise

    async def _shield(self, key: str, cut_before: Outcome | None, arg: Any) -> Any:
        """`asyncio.shield`: where the await of it was cut short, that is an outcome, for its branch went on."""
        task = asyncio.ensure_future(arg)
        if isinstance(task, asyncio.Task):
            self.shielded.add(task)
            task.add_done_callback(self.shielded.discard)
        async with self._cuttable_again(key, cut_before):
            return await asyncio.shield(task)

    @asynccontextmanager
    async def _cuttable_again(self, key: str, outcome: Outcome | None) -> AsyncIterator[None]:
        """An await of what goes on when that await is cancelled: the cancellation is recorded, and waited for again."""
        if outcome is not None and was_cut(outcome):
            await self._cut_again(key, outcome)
        with self.cuttable(key, self.now()):
            yield

    async def _wait_for(self, key: str, fut: Any, timeout: float | None = None) -> Any:
        """`asyncio.wait_for`, with a time that goes on while the run is suspended."""
        if timeout is None:
            return await fut
        async with self._lasting(key, timeout):
            return await fut

    async def _wait(
        self,
        key: str,
        fs: Iterable[asyncio.Future[Any]],
        *,
        timeout: float | None = None,
        return_when: str = asyncio.ALL_COMPLETED,
    ) -> tuple[set[asyncio.Future[Any]], set[asyncio.Future[Any]]]:
        """`asyncio.wait`: which ones were done is an outcome; a resume waits for the same ones."""
        given = list(fs)
        names = {future: self._task_keys.get(future, str(place)) for place, future in enumerate(given)}
        await self._slow_down()
        outcome = self._take(key)
        if isinstance(outcome, StepCompleted):
            recorded = set(decode_value(outcome.value))
            chosen = {future for future in given if names[future] in recorded}
            if chosen:
                await asyncio.wait(chosen)
            return chosen, set(given) - chosen
        started = self.now()
        done, pending = set[asyncio.Future[Any]](), set(given)
        try:
            async with self._cuttable_again(key, outcome), self._lasting(key, timeout):
                done, pending = await asyncio.wait(given, return_when=return_when)
        except TimeoutError:
            done = {future for future in given if future.done()}
            pending = set(given) - done
        await self.completed(key, started, sorted(names[future] for future in done))
        return done, pending

    def _limit(self, key: str, f: Any, *args: float | None, **kwargs: float | None) -> Limit:
        """`asyncio.timeout` or `timeout_at`, with a time that goes on while the run is suspended."""
        limit = f(*args, **kwargs)  # for its checks of what it is given
        when, now = limit.when(), asyncio.get_running_loop().time()
        return self._lasting(key, None if when is None else when - now)

    def _lasting(self, key: str, timeout: float | None) -> Limit:
        """A time limit that is kept when the run is suspended within."""
        if timeout is None:
            return Limit(self.waits, None)
        key = f"{key}/timeout"
        known = self.recall.wait(key)
        due = self.now() + timeout if known is None else known.due
        return Limit(self.waits, due, key=key, resumed=known is not None)


class _Done(Awaitable[None]):
    """Awaited at once: for what may be awaited, and need not be."""

    def __await__(self) -> Iterator[None]:  # type: ignore[override]
        return iter(())


_DONE = _Done()


def _is_child(bound: object, f: Callable[..., Any]) -> bool:
    return isinstance(bound, Task | Options) and f.__name__.endswith("trigger_and_wait")


def _token_id(run: str, key: str) -> str:
    return f"{run}-{ids.digest(run, key)}"


async def _yielding(made: Awaitable[Any]) -> Any:
    """`asyncio.sleep` lets other branches go on, also where it is recalled."""
    value = await made
    await asyncio.sleep(0)
    return value


def _hashable(f: object) -> bool:
    return type(f).__hash__ is not None
