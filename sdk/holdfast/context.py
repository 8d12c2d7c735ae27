"""What is current: the run that this code is part of, and the client that tasks are triggered with.

`SEAM` stands in every rewritten task. Outside a run it is transparent: it calls what the user called and adds no frame
to what is awaited.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Protocol

from holdfast.errors import ConnectError, HoldfastError
from holdfast.rewrite import Site

if TYPE_CHECKING:
    from holdfast.client import Client
    from holdfast.task import Step, Task


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

    def child(self, task: str, queue: str, payload: bytes) -> Awaitable[Any]:
        """A run of its own, awaited by this one."""

    def derived_id(self) -> str:
        """The id of a run that the current step triggers: the same where the step runs again."""

    @property
    def key(self) -> str:
        """The checkpoint whose code runs just now; empty in the task's own body."""


execution: ContextVar[Execution | None] = ContextVar("holdfast_execution", default=None)
"""The run that the current code is part of."""


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


class CurrentRun:
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
    raise ConnectError("no connection: trigger inside `async with holdfast.connect():`")
