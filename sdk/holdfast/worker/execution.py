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
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, TypeGuard
from weakref import WeakKeyDictionary, finalize

import anyio
import msgspec

from holdfast import context
from holdfast.bus.clock import sleep
from holdfast.bus.journal import Journal
from holdfast.bus.ports import Message
from holdfast.context import Inside, observer
from holdfast.core import ids
from holdfast.core.entries import (
    ChildEnded,
    ChildTriggered,
    Diverged,
    Entry,
    EventArrived,
    Heartbeat,
    Progressed,
    Resolved,
    RunCreated,
    SecretPinned,
    Signalled,
    StepCompleted,
    StepFailed,
    StepStarted,
    StepVolatile,
    TokenCompleted,
    WaitStarted,
)
from holdfast.core.lifecycle import PAUSE
from holdfast.core.model import ErrorInfo, Instant, Parent, Seconds
from holdfast.core.recall import SIGNAL, Outcome, Recall
from holdfast.errors import (
    ChildFailed,
    CodeDiverged,
    ConnectError,
    EncodeError,
    HoldfastError,
    KeyTaken,
    RecordedError,
    Unanswered,
    WaitTimeout,
)
from holdfast.rewrite import Site
from holdfast.step import Step
from holdfast.task import OnDivergence, Options, Task
from holdfast.triggering import Settings, created
from holdfast.waiting import Token
from holdfast.wire import codec
from holdfast.wire.subjects import Stream
from holdfast.wire.values import decode_exception, decode_value, encode_value
from holdfast.worker.calls import Call
from holdfast.worker.completions import Completions, Next
from holdfast.worker.divergence import Ways
from holdfast.worker.limits import Kept, Limit
from holdfast.worker.marks import Marks, Metadata
from holdfast.worker.queries import Questions
from holdfast.worker.stepping import stepped
from holdfast.worker.stored import Stored
from holdfast.worker.waits import Waits
from holdfast.worker.writer import Writer

log = logging.getLogger("holdfast.worker")

SHOWN_AFTER = 0.25
"""Seconds after which a step that is under way is recorded as started, for operators to see."""

CUT = "asyncio.CancelledError"
"""What is recorded of an await that the task's own code cancelled, as `asyncio.timeout` does, and went on after."""

PATIENCE = 5.0
"""Seconds beyond its first time for which a recalled await waits to be cut short again."""

MISSING = 100
"""Recorded awaits that one entry of a divergence names at most."""

REFUSALS = 5
"""How often code that was told to end is told so at once where it goes on."""

_scope: ContextVar[str] = ContextVar("holdfast_scope", default="")
"""The checkpoint within which the current code creates awaitables."""

_FANS: frozenset[Any] = frozenset({asyncio.gather, asyncio.wait_for, asyncio.shield, asyncio.as_completed})
_LIMITS: frozenset[Any] = frozenset({asyncio.timeout, asyncio.timeout_at})
_KEPT: frozenset[Any] = frozenset({anyio.fail_after, anyio.move_on_after})
_PROCESS_OWN = (asyncio.Lock, asyncio.Event, asyncio.Condition, asyncio.Semaphore, asyncio.Queue, asyncio.Barrier)


class Execution:
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
        run = writer.run
        self.id = run.id
        self.task = run.task
        self.attempt = attempt
        self.tags = run.tags
        self.now = journal.clock
        self.recalling = not recall.caught_up
        """Whether the code still goes over ground that the journal knows; its output is silent meanwhile."""
        self.ending = False
        """Whether somebody outside cancels this code."""
        self.stopped = False
        """Whether the run was taken from this code: it gets nothing done any more, not even in a `finally`."""
        self.strayed = False
        """Whether the code went on while it was parked: it is not where the journal is any more."""
        self.branches: set[asyncio.Task[Any]] = set()
        """Tasks that run steps of this run."""
        self.shielded: set[asyncio.Task[Any]] = set()
        """Those of them that a cancellation leaves alone."""
        self.open: dict[str, float] = {}
        """Steps under way, with their start."""
        self.steps: set[str] = set()
        """Those of them that have a policy of their own, also between their tries."""
        self.unread = False
        """Whether the run was begun without reading what it had been told by then."""
        self._reading: asyncio.Future[list[Message]] | None = None
        self.questions = Questions(journal.bus, run.id, stored, self._current)
        self.stored = stored
        self.recall = recall
        self.writer = writer
        self.clock = journal.time
        self.waits = Waits(recall, self.open, journal.time)
        self.marks = Marks(self._say, journal.time)
        self.limits: dict[str, tuple[Limit, Seconds]] = {}
        """Of steps under way that must show signs of life, with how long they may be silent."""
        self._observer = observer.get()
        self._metadata = Metadata(run.metadata, recall.removed, self.marks.say, journal.time, stored)
        self._shown: set[str] = set()
        self._journal = journal
        self._raised: dict[int, tuple[BaseException, list[str]]] = {}
        self._issued: dict[str, Instant] = {}
        """When each token was made."""
        self._cut: dict[str, StepFailed] = {}
        """Steps that were cancelled from within the task's code, until that goes on."""
        self._derived: Counter[str] = Counter()
        self._task_keys: WeakKeyDictionary[asyncio.Future[Any], str] = WeakKeyDictionary()
        self._loop = asyncio.get_running_loop()
        self._captured: asyncio.Future[None] | None = None
        """Done when all that the code took from outside between its awaits is durable."""
        self._on_divergence = on_divergence
        self.ways = Ways(recall, journal.time)
        self.refused: CodeDiverged | None = None
        """Set once the code has taken another way, and its task says that this is an error."""
        self._verdict: asyncio.Future[None] | None = None
        """Pending while it is decided what becomes of code that has taken another way."""
        self._refusals = 0
        """How often the code came to an await after the run was taken from it."""
        self._url = url

    # --- called by the seam ---------------------------------------------------------------------------------------

    @property
    def key(self) -> str:
        return _scope.get()

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
        scope = self._new_key(site.name) if _hashable(f) and f in _FANS else _scope.get()
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

    def children(self, task: str, payloads: Sequence[bytes | Exception], settings: Settings) -> Call:
        return Call(task, lambda key: self._children(key, task, list(payloads), settings), lambda: self._new_key(task))

    def sleep(self, name: str, due: Callable[[Instant], Instant]) -> Call:
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
        if not _in_loop():
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
            if _in_loop():
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
        if self.cancelled and not _in_loop():
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
        return self.recall.key(_scope.get(), name)

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
        if outcome is not None and not _was_cut(outcome):
            return await self.recalled(key, outcome)
        started = self.now()
        try:
            async with self._cuttable(key, outcome):
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
        await self._slow_down()
        outcome = self._take(key)
        if outcome is not None and not _was_cut(outcome):
            for made in (*branches, *named.values(), *args, *kwargs.values()):
                if inspect.iscoroutine(made):
                    made.close()
            return await self.recalled(key, outcome)
        started = self.now()
        try:
            if f is asyncio.shield:
                return await self._shield(key, outcome, *branches, **named)
            if f is asyncio.wait_for:
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
        async with self._cuttable(key, cut_before):
            return await asyncio.shield(task)

    @asynccontextmanager
    async def _cuttable(self, key: str, outcome: Outcome | None) -> AsyncIterator[None]:
        """An await of what goes on when that await is cancelled: the cancellation is recorded, and waited for again."""
        if outcome is not None and _was_cut(outcome):
            await self._cut_again(key, outcome)
        started = self.now()
        try:
            yield
        except asyncio.CancelledError as cut:
            self.cut(key, started, cut)
            raise

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
            async with self._cuttable(key, outcome), self._lasting(key, timeout):
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

    # --- checkpoints ------------------------------------------------------------------------------------------------

    async def checkpoint(self, key: str, make: Callable[[], Awaitable[Any]]) -> Any:
        """Run an await, or recall it."""
        outcome = await self.known(key)
        if outcome is not None:
            return await self.recalled(key, outcome)
        started = self.now()
        try:
            await self.ready(key)
            started = self.now()
            with self.under_way(key, started):
                value = await make()
        except asyncio.CancelledError as cut:
            self.cut(key, started, cut)
            raise
        except Exception as error:
            await self.failed(key, started, error)
            raise
        await self.completed(key, started, value)
        return value

    async def known(self, key: str) -> Outcome | None:
        """The recorded outcome of an await, if it is to be used; None: run it."""
        self._track(asyncio.current_task())
        await self._slow_down()
        if self.refused is not None:
            raise self.refused
        outcome = self._take(key)
        if outcome is None:
            if not self.recall.caught_up and not self.recall.begun(key):
                await self._doubt(key)
        elif _was_cut(outcome):
            await self._cut_again(key, outcome)
            return None
        return outcome

    async def ready(self, key: str) -> None:
        """Before anything new happens: the claim stands, and so does all that the code has taken from outside."""
        self._check_held()
        await self.writer.claimed()
        if (captured := self._captured) is not None:
            await self.writer.until(captured)
            if self._captured is captured:  # till then others wait for it too
                self._captured = None
        self.recalling = False

    def cut(self, key: str, started: float, cut: asyncio.CancelledError) -> None:
        """An await was cancelled: by the task's own code, where nobody ends that."""
        self._note(key, cut)
        if not self.ending:
            now = self.now()
            self._cut[key] = StepFailed(key, now, now - started, ErrorInfo(CUT, "cancelled by the task's own code"))

    async def _cut_again(self, key: str, outcome: StepFailed) -> None:
        """Wait for the cancellation that cut this await short before; where none comes, it runs after all."""
        self.waits.kept += 1
        try:
            await sleep(self.clock, outcome.took + PATIENCE)
        except asyncio.CancelledError as cut:
            self._note(key, cut)
            raise
        finally:
            self.waits.kept -= 1
            self.waits.stir()

    async def _slow_down(self) -> None:
        """Code that swallows its cancellation and comes here again and again must not take the worker with it."""
        if self.stopped:
            self._refusals += 1
            if self._refusals > REFUSALS:
                await asyncio.sleep(min(1.0, 0.01 * (self._refusals - REFUSALS)))

    def _check_held(self) -> None:
        """Raises: CancelledError: the run was taken from this code, or it woke by itself while it was parked."""
        if self.waits.parked:
            self.strayed = True
        if self.stopped or self.waits.parked:
            raise asyncio.CancelledError

    def _take(self, key: str) -> Outcome | None:
        self._check_held()
        outcome = self.recall.take(key)
        if self.recalling and self.recall.caught_up:
            self.recalling = False
        return outcome

    async def recalled(self, key: str, outcome: Outcome) -> Any:
        error: BaseException
        match outcome:
            case StepCompleted():
                return await self.stored.decode(outcome.value)
            case StepFailed():
                error = _recorded(outcome.error)
                for within in self.recall.came_from(key):
                    self._note(within, error)
            case ChildEnded() | TokenCompleted() | EventArrived():
                return await self._arrived(key, outcome)
        self._note(key, error)
        raise error

    async def _arrived(self, key: str, outcome: ChildEnded | TokenCompleted | EventArrived) -> Any:
        info = None if isinstance(outcome, EventArrived) else outcome.error
        if info is None:
            return None if outcome.value is None else await self.stored.decode(outcome.value)
        error = _child_failed(outcome, info) if isinstance(outcome, ChildEnded) else _recorded(info)
        self._note(key, error)
        raise error

    def derived_id(self) -> str:
        """The id of a run that the current step triggers: the same where the step runs again."""
        key = _scope.get()
        self._derived[key] += 1
        return ids.derive(self.writer.run.created_at, self.id, key, "triggered", str(self._derived[key]))

    @contextmanager
    def under_way(self, key: str, started: float) -> Iterator[None]:
        """What is created in the block lies within the await."""
        if self._observer is not None:
            self._observer.runs(self.id, key)
        token = _scope.set(key)
        self._derived[key] = 0
        self.open[key] = started
        self.ways.begin(key)
        self.waits.stir()
        self._track(asyncio.current_task())
        try:
            yield
        finally:
            _scope.reset(token)
            del self.open[key]
            self.ways.end(key)
            self._shown.discard(key)
            self.waits.stir()

    def _track(self, task: asyncio.Task[Any] | None) -> None:
        if task is not None and task not in self.branches:
            self.branches.add(task)
            task.add_done_callback(self.branches.discard)

    async def completed(self, key: str, started: float, value: Any, undo: bytes | None = None) -> None:
        """Record that an await returned. Raises: EncodeError: it has an undo, and its value can't be stored."""
        now = self.now()
        try:
            data = await self.stored.encode(value)
        except EncodeError as error:
            if undo is not None:
                raise
            reason = self.stored.redact(str(error))
            log.warning("%s of run %s is volatile, it runs again on resume: %s", key, self.id, reason)
            await self.record(StepVolatile(key, now, now - started, reason))
        else:
            await self.record(StepCompleted(key, now, now - started, data, undo))

    async def failed(self, key: str, started: float, error: Exception) -> None:
        """Record that an await raised."""
        self._note(key, error)
        now = self.now()
        await self.record(StepFailed(key, now, now - started, self.stored.error(error)))

    async def record(self, entry: StepCompleted | StepFailed | StepVolatile) -> None:
        """Append an outcome, behind the cancellations that the task's code went on after."""
        self._check_held()
        self._cut.pop(entry.key, None)
        self._learn(entry)
        await self.writer.durable(*self.passed_over(), entry)

    def _learn(self, entry: Entry) -> None:
        """Keep an outcome at hand where what it lies within may run again: a step that tries again."""
        if not isinstance(entry, StepCompleted | StepFailed):
            return
        self.recall.settle(entry.key)
        if any(entry.key.startswith(f"{key}/") for key in self.steps):
            self.recall.learn(entry)

    def passed_over(self) -> tuple[Entry, ...]:
        """The cancellations that the task's code went on after, and the time limits that were reached: to be recorded
        with what comes next."""
        cut, self._cut = self._cut, {}
        return (*self.waits.reached(), *cut.values())

    def _note(self, key: str, error: BaseException) -> None:
        self._raised.setdefault(id(error), (error, []))[1].append(key)

    def forget(self) -> None:
        """Its code has ended: let go of the exceptions, which hold the frames that hold this."""
        self._raised.clear()

    def fatal(self, error: BaseException) -> tuple[str, ...]:
        """The checkpoints whose exception this one is, or comes from."""
        seen: set[int] = set()
        pending, keys = [error], list[str]()
        while pending:
            current = pending.pop()
            if id(current) in seen:
                continue
            seen.add(id(current))
            if id(current) in self._raised:
                keys.extend(self._raised[id(current)][1])
                continue
            if isinstance(current, BaseExceptionGroup):
                pending.extend(current.exceptions)
            origin = current.__cause__ or current.__context__
            if origin is not None:
                pending.append(origin)
        return tuple(keys)

    def show_slow(self, now: float) -> None:
        """Record the start of steps that have been under way for a while; nobody waits for it."""
        for key, started in self.open.items():
            if key not in self._shown and now - started > SHOWN_AFTER:
                self._shown.add(key)
                self.writer.write(StepStarted(key, started))

    # --- divergence -------------------------------------------------------------------------------------------------

    async def _doubt(self, key: str) -> None:
        """A new await, while recorded ones are left over: has the code changed, or is another branch not there yet?"""
        if self.recall.volatile(key):
            return  # it was not recorded because it could not be
        self.waits.kept += 1
        try:
            lost = await self.ways.lost()
        finally:
            self.waits.kept -= 1
            self.waits.stir()
        if self._verdict is not None:
            await self._verdict
        elif lost:
            self._verdict = asyncio.get_running_loop().create_future()
            try:
                await self._diverged(key, lost)
            finally:
                verdict, self._verdict = self._verdict, None
                verdict.set_result(None)
        if self.refused is not None:
            raise self.refused

    async def _diverged(self, key: str, lost: tuple[str, ...]) -> None:
        """The code took another way: what its task says about that is done."""
        text = (
            f"run {self.id} comes to {key}, which its journal does not know, and not to {lost[0]}"
            f"{' and others' if len(lost) > 1 else ''}, which it does: the code has changed, or takes its ways by "
            "something that no checkpoint holds"
        )
        await self.ready(key)
        if self._on_divergence == "fail":
            self.refused = CodeDiverged(f'{text}; on_divergence is "fail"')
            return
        if self._on_divergence == "pause":
            while (await self.ask(key, text)).action != "accept":
                pass  # run again, and it has come to the same place
        log.warning("%s; it goes on with what is new (see `holdfast runs tree %s`)", text, self.id)
        now = self.now()
        told = [Diverged(key, now, lost[begin : begin + MISSING]) for begin in range(0, len(lost), MISSING)]
        for entry in told:
            self.recall.add(entry)
        await self.writer.durable(*told)

    async def ask(self, key: str, question: str) -> Resolved:
        """Ask an operator; the run pauses until there is an answer."""
        answer = await self.waits.arrival(
            key, lambda: self.recall.answer(key), wait=lambda: PAUSE + key, paused=self.stored.redact(question)
        )
        assert answer is not None
        self.recall.answered(key)
        await self.writer.claimed()
        return answer

    # --- waits ------------------------------------------------------------------------------------------------------

    async def _sleep(self, key: str, due: Callable[[Instant], Instant]) -> None:
        outcome = await self.known(key)
        if outcome is not None:
            await self.recalled(key, outcome)
            return
        await self.ready(key)
        started = self._wait_started(key, "sleep", "", due(self.now()))
        try:
            await self.waits.arrival(key, lambda: None, due=started.due)
        except asyncio.CancelledError as cut:
            self.cut(key, started.at, cut)
            raise
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
            try:
                outcome = await self.waits.arrival(
                    key, lambda: self.recall.take(key), wait=lambda: started.wait, due=started.due
                )
            except asyncio.CancelledError as cut:
                self.cut(key, started.at, cut)
                raise
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
        try:
            signal = await self.waits.arrival(
                key, lambda: self.recall.take_signal(name), wait=lambda: self.recall.next_signal(name)
            )
        except asyncio.CancelledError as cut:
            self.cut(key, started.at, cut)
            raise
        assert signal is not None
        now = self.now()
        await self.record(StepCompleted(key, now, now - started.at, signal.value))
        return await self.stored.decode(signal.value)

    async def _read_inbox(self) -> None:
        """Take in the signals that were sent before this worker had the run: it began with it unread."""
        if self._reading is None:
            inbox = self._journal.bus.subjects.inbox(self.id)
            read = lambda: self._journal.bus.read(Stream.JOURNAL, inbox, first=self.writer.run.first)  # noqa: E731
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
            started = self.now()
            try:
                outcome = await self._child_ended(key)
            except asyncio.CancelledError as cut:
                self.cut(key, started, cut)
                raise
        return await self.recalled(key, outcome)

    async def _children(self, key: str, task: str, payloads: list[bytes | Exception], settings: Settings) -> list[Any]:
        """Several children, created together; each a checkpoint below this one."""
        started = self.now()
        keys = [f"{key}/{task}#{number}" for number in range(1, len(payloads) + 1)]
        begun = await self._created_children(key, dict(zip(keys, payloads, strict=True)), task, settings)
        try:
            for each in reversed(keys):  # the last one ends last, as a rule: one suspension for all
                if each not in begun:
                    begun[each] = await self._child_result(each)
        except asyncio.CancelledError as cut:
            self.cut(key, started, cut)
            raise
        return [begun[each] for each in keys]

    async def _created_children(
        self, key: str, payloads: Mapping[str, bytes | Exception], task: str, settings: Settings
    ) -> dict[str, Any]:
        """Create those of the children that there are not; what can't be created is its error, by key."""
        outcome = self._take(key)
        if outcome is not None and _was_cut(outcome):
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


class _Done(Awaitable[None]):
    """Awaited at once: for what may be awaited, and need not be."""

    def __await__(self) -> Iterator[None]:  # type: ignore[override]
        return iter(())


_DONE = _Done()


def _is_child(bound: object, f: Callable[..., Any]) -> bool:
    return isinstance(bound, Task | Options) and f.__name__.endswith("trigger_and_wait")


def _in_loop() -> bool:
    """Whether this is code of the event loop, not of a thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _token_id(run: str, key: str) -> str:
    return f"{run}-{ids.digest(run, key)}"


def _was_cut(outcome: Outcome) -> TypeGuard[StepFailed]:
    return isinstance(outcome, StepFailed) and outcome.error.type == CUT and outcome.error.value is None


def _recorded(info: ErrorInfo) -> BaseException:
    if info.value is not None:
        return decode_exception(info.value)
    return RecordedError(info.type, info.message)


def _child_failed(ended: ChildEnded, error: ErrorInfo) -> ChildFailed:
    return ChildFailed(
        f"child run {ended.child} ended {ended.state}: {error.type}: {error.message}",
        run=ended.child,
        state=ended.state,
        error_type=error.type,
        traceback=error.traceback,
    )


async def _yielding(made: Awaitable[Any]) -> Any:
    """`asyncio.sleep` lets other branches go on, also where it is recalled."""
    value = await made
    await asyncio.sleep(0)
    return value


def _hashable(f: object) -> bool:
    return type(f).__hash__ is not None
