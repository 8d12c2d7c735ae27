"""What the HTTP interface asks of the rest of the daemon: projects, each with what can be asked of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol, TypeAlias

from holdfast.core.model import Run, State
from holdfast.wire.api import AccessToken, Health, Queues, RunRef, RunsPage, RunsQuery, RunView, TaskCard
from holdfast_daemon.http.options import Options


class Triggered(NamedTuple):
    """What a trigger came to."""

    run: str
    """The run's id."""
    cached: bool = False
    """Whether it was there already, by its idempotency key."""


class Measures(NamedTuple):
    """A project in numbers."""

    queues: Queues
    runs: Mapping[tuple[str, State], int]
    """By queue and state, ended ones too."""
    health: Health
    routed: int
    """Runs created from events since the start."""
    unwanted: int
    """Events that no route wanted since the start."""
    refused: int
    """Runs of events that were too large, since the start."""
    workers: int
    unmapped: int = 0
    """Events that no map could read, since the start: dead letters."""


class Project(Protocol):
    """One project. What is asked raises errors of `holdfast.errors`; what it refuses has changed nothing."""

    name: str

    async def trigger(self, task: str, payload: dict[str, object], options: Options) -> Triggered:
        """Create a run; it is durable when this returns.

        Raises:
            UnknownTask: nobody serves a task of this id.
            PayloadError, EncodeError: the payload does not fit it.
        """

    async def publish(self, subject: str, data: bytes, *, dedupe: str | None) -> int:
        """Store an event and return its sequence; with `dedupe`, at most once within the stream's window."""

    async def view(self, ref: RunRef) -> RunView:
        """Everything of a run. Raises: Refused: no run, or more than one, is meant."""

    async def page(self, query: RunsQuery) -> RunsPage:
        """Runs, newest first. Raises: Refused: it can't be answered."""

    async def cancel(self, run: str, reason: str) -> Run:
        """Raises: UnknownRun; RunStateError: it has ended."""

    async def retry(self, run: str, payload: dict[str, object] | None, *, from_start: bool) -> Run:
        """Raises: UnknownRun; RunStateError: it has not ended."""

    async def signal(self, run: str, name: str, value: object) -> Run:
        """Raises: UnknownRun; RunStateError; ConfigError: no signal can have this name."""

    async def complete(self, token_id: str, value: object) -> Run:
        """Complete what a run waits for; its run.

        Raises:
            UnknownToken: no run has asked for it.
            TokenTaken, RunStateError: it was completed before, or its run has ended.
        """

    async def measures(self) -> Measures: ...

    async def readiness(self) -> str:
        """What is missing to serve, in words; empty when nothing is."""

    def token(self, id: str) -> AccessToken | None:
        """An access token, revoked or not."""

    def cards(self) -> Iterable[TaskCard]:
        """The tasks that workers have declared."""

    def secret(self, name: str) -> tuple[str, ...]:
        """The values of a secret's two latest versions; none where it is not set."""


Projects: TypeAlias = Mapping[str, Project]
"""By name; the first is the default one."""
