"""What is current: the run that this code is part of, and the client that tasks are triggered with.

`SEAM` stands in every rewritten task. Outside a run it is transparent: it calls what the user called and adds no frame
to what is awaited.
"""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from holdfast.errors import ConnectError, HoldfastError
from holdfast.rewrite import Site

if TYPE_CHECKING:
    from holdfast import waiting
    from holdfast.client import Client
    from holdfast.core.model import Instant, Seconds
    from holdfast.step import Step
    from holdfast.task import Task
    from holdfast.triggering import Order, Settings


class Execution(Protocol):
    """A run as the code inside it sees it; the worker's and the test harness's."""

    id: str
    task: str
    attempt: int
    tags: tuple[str, ...]

    def call(self, site: Site, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        """`await f(...)` in a task's own body."""

    def value(self, site: Site, awaitable: Awaitable[Any]) -> Awaitable[Any]:
        """`await x` in a task's own body."""

    def spawn(self, site: Site, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call that starts something to be awaited later, in a task's own body."""

    def step(self, step: Step[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        """A step called anywhere inside the run."""

    def inline(self, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        """A task called plainly inside the run: a sub-tree of it."""

    def child(self, task: str, payload: bytes, settings: Settings) -> Awaitable[Any]:
        """A run of its own, awaited by this one."""

    def children(self, task: str, orders: Sequence[Order | Exception]) -> Awaitable[list[Any]]:
        """Several, awaited together: their results and failures in order; an exception stays in its place."""

    def sleep(self, due: Callable[[Instant], Instant]) -> Awaitable[None]:
        """A durable sleep; `due` gives its end from its first start."""

    def token(self, timeout: Seconds | None) -> waiting.Token:
        """A token that somebody outside completes."""

    def token_wait(self, token: waiting.Token) -> Awaitable[Any]:
        """An await of a token."""

    def event(
        self, subject: str, match: Mapping[str, Any], timeout: Seconds | None, lookback: Seconds
    ) -> Awaitable[Any]:
        """A wait for an event."""

    def signal(self, name: str) -> Awaitable[Any]:
        """A wait for the next signal of a name."""

    def secret(self, name: str) -> str:
        """A secret's value, in the version that the run read first."""

    def seal(self, data: bytes) -> bytes:
        """An encoded value for another run: with references in place of secrets."""

    def unseal(self, data: bytes) -> bytes:
        """An encoded value of another run: with the secrets that it refers to."""

    def captured(self, name: str, make: Callable[[], Any]) -> Any:
        """A value that code between awaits asks for: the same again where the code runs again."""

    def heartbeat(self, details: Any) -> Awaitable[None]:
        """Say that the attempt lives."""

    def progress(self, done: float, total: float | None, text: str) -> Awaitable[None]:
        """Say how far the run has come."""

    def expose(self, name: str, answer: Callable[..., Any]) -> None:
        """Let a query of this name be answered by a function."""

    @property
    def last_heartbeat(self) -> Any:
        """The details of the last heartbeat, also of an attempt before; None: there was none."""

    @property
    def metadata(self) -> MutableMapping[str, Any]:
        """The run's metadata; changes are recorded."""

    @property
    def cancelled(self) -> bool:
        """Whether the run was told to end: how code in a thread learns of it."""

    def now(self) -> Instant:
        """The time, by the clock of whoever executes."""

    def derived_id(self) -> str:
        """The id of a run that the current step triggers: the same where the step runs again."""

    @property
    def key(self) -> str:
        """The checkpoint whose code runs just now; empty in the task's own body."""


execution: ContextVar[Execution | None] = ContextVar("holdfast_execution", default=None)
"""The run that the current code is part of."""


class Observer(Protocol):
    """Watches what runs do; a harness puts one into `observer` around the worker that it starts."""

    def comes_to(self, run: str, key: str, given: Mapping[Any, Any]) -> None:
        """The code awaits something new or recorded, with these arguments."""

    def runs(self, run: str, key: str) -> None:
        """It is run now, not recalled."""

    def drawn(self, run: str, key: str, make: Callable[[], Any]) -> Any:
        """What `run.random` and the like give that is not recorded yet."""


observer: ContextVar[Observer | None] = ContextVar("holdfast_observer", default=None)
"""Who watches the runs that begin here."""


class _Seam:
    """Stands between a task's code and what it awaits."""

    def call(self, site: Site, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        current = execution.get()
        if current is None:
            return f(*args, **kwargs)  # type: ignore[no-any-return]
        return current.call(site, f, args, kwargs)

    def value(self, site: Site, awaitable: Awaitable[Any], /) -> Awaitable[Any]:
        current = execution.get()
        return awaitable if current is None else current.value(site, awaitable)

    def spawn(self, site: Site, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        current = execution.get()
        if current is None:
            return f(*args, **kwargs)
        return current.spawn(site, f, args, kwargs)


SEAM = _Seam()


class Inside:
    """What code inside a run calls; its methods give awaitables that know themselves what is a checkpoint."""


class CurrentRun(Inside):
    """The run that the current code is part of: `run.id`, `run.attempt`, ...

    Every attribute raises HoldfastError outside a run.
    """

    @property
    def id(self) -> str:
        return _current().id

    @property
    def task(self) -> str:
        return _current().task

    @property
    def attempt(self) -> int:
        """From 1."""
        return _current().attempt

    @property
    def tags(self) -> tuple[str, ...]:
        return _current().tags

    @property
    def idempotency_key(self) -> str:
        """Stable for this step of this run, over retries and crashes: for use with outside systems."""
        current = _current()
        return f"{current.id}:{current.key or '/'}"

    @property
    def metadata(self) -> MutableMapping[str, Any]:
        """Named values of the run, shown with it: what the trigger gave and what the task changed. Writes are recorded;
        a value that can't be stored is refused."""
        return _current().metadata

    def now(self) -> datetime:
        """The time, in UTC; captured: a resumed run gets the same again."""
        current = _current()
        return datetime.fromtimestamp(current.captured("now", current.now), UTC)

    def random(self) -> float:
        """A random number from [0, 1); captured."""
        return float(_current().captured("random", random.random))

    def uuid(self) -> uuid.UUID:
        """A random UUID; captured."""
        made: uuid.UUID = _current().captured("uuid", uuid.uuid4)
        return made

    def heartbeat(self, details: Any = None) -> Awaitable[None]:
        """Say that this attempt lives, and how far it has come; never waits. In a thread it need not be awaited.

        Raises:
            EncodeError: the details can't be stored.
            asyncio.CancelledError: in a thread: the run was told to end.
        """
        return _current().heartbeat(details)

    @property
    def last_heartbeat(self) -> Any:
        """The details of the last heartbeat, also of an attempt before this one; None: there was none."""
        return _current().last_heartbeat

    def progress(self, done: float, total: float | None = None, text: str = "") -> Awaitable[None]:
        """Say how far the run has come, for CLI and TUI; never waits."""
        return _current().progress(done, total, text)

    async def signals(self, name: str) -> AsyncIterator[Any]:
        """The values of the signals of a name, in order, each once; taking one is a checkpoint."""
        while True:
            yield await _current().signal(name)

    def expose(self, name: str, answer: Callable[..., Any]) -> None:
        """Answer queries of a name with a function of this run's state; it must not change anything."""
        _current().expose(name, answer)

    @property
    def cancelled(self) -> bool:
        """Whether the run was told to end: code in a thread asks, an `async def` is cancelled."""
        return _current().cancelled

    @property
    def log(self) -> logging.Logger:
        """A logger whose lines belong to the run; silent while recorded checkpoints are recalled."""
        return logging.getLogger(f"holdfast.run.{_current().task}")


run = CurrentRun()


def _current() -> Execution:
    current = execution.get()
    if current is None:
        raise HoldfastError("`run` is there only inside a run: this code was called outside of one")
    return current


_client: ContextVar[Client | None] = ContextVar("holdfast_client", default=None)
_default: list[Client] = []


def enter(client: Client) -> Token[Client | None]:
    """Make a client the current one; outside the entering context it stands in where there is no other."""
    _default.append(client)
    return _client.set(client)


def leave(client: Client, token: Token[Client | None]) -> None:
    """Undo `enter`."""
    _default.remove(client)
    _client.reset(token)


def client() -> Client:
    """The current client. Raises: ConnectError: there is none."""
    current = _client.get()
    if current is not None:
        return current
    if _default:
        return _default[-1]
    raise ConnectError(
        "no connection: trigger inside `async with holdfast.connect():`, or, in code that does not await, by "
        "`with holdfast.connect() as hf: hf.trigger(task, {...})`"
    )
