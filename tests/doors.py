"""The HTTP interface over a project that does what a test says, with tokens that it knows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx

from holdfast.access import issue
from holdfast.config import Http, Webhook
from holdfast.core.model import Rate, Run, State
from holdfast.errors import Refused, RunStateError, UnknownRun, UnknownTask
from holdfast.wire.api import (
    AccessToken,
    Health,
    QueueRow,
    Queues,
    RunRef,
    RunRow,
    RunsPage,
    RunsQuery,
    RunView,
    Scope,
    TaskCard,
)
from holdfast_daemon.http.app import build
from holdfast_daemon.http.options import Options
from holdfast_daemon.http.ports import Measures, Triggered

RUN = "01KDZ0A1B2C3D4E5F6G7H80001"
ROW = RunRow(id="R1", task="ship", queue="default", priority=5, state=State.QUEUED, created_at=1.5)
NOW = 1_767_355_418.12


class Told:
    """A project that notes what it is told (`http.ports.Project`)."""

    def __init__(self, name: str = "shop") -> None:
        self.name = name
        self.triggered: list[tuple[str, dict[str, object]]] = []
        self.options: list[Options] = []
        self.published: list[tuple[str, bytes, str | None]] = []
        self.completed: list[tuple[str, object]] = []
        self.moved: list[tuple[Any, ...]] = []
        self.asked: list[RunsQuery] = []
        self.failure: Exception | None = None
        self.missing = ""
        self.known: dict[str, AccessToken] = {}
        self.secrets: dict[str, tuple[str, ...]] = {}
        self.tasks: list[TaskCard] = []
        self.more = False
        self.cached = False

    @property
    def touched(self) -> bool:
        """Whether anything was changed."""
        return bool(self.triggered or self.published or self.completed or self.moved)

    def issue(self, *scopes: Scope, rate: Rate | None = None) -> str:
        """A new token's text."""
        text, token = issue(self.name, "test", scopes or tuple(Scope), at=1.0, rate=rate)
        self.known[token.id] = token
        return text

    async def trigger(self, task: str, payload: dict[str, object], options: Options) -> Triggered:
        self._fail()
        if task != "ship":
            raise UnknownTask(f"nobody serves a task {task}")
        self.triggered.append((task, payload))
        self.options.append(options)
        return Triggered("R1", self.cached)

    async def publish(self, subject: str, data: bytes, *, dedupe: str | None) -> int:
        self._fail()
        for seq, (_, _, known) in enumerate(self.published, 1):
            if dedupe is not None and known == dedupe:
                return seq
        self.published.append((subject, data, dedupe))
        return len(self.published)

    async def view(self, ref: RunRef) -> RunView:
        if ref.run != "R1":
            raise Refused(f"no run {ref.run}", code="ambiguous" if ref.run == "R" else "not_found")
        return RunView(row=ROW, payload='{\n  "a": 1\n}', result="")

    async def page(self, query: RunsQuery) -> RunsPage:
        self._fail()
        self.asked.append(query)
        return RunsPage((ROW,), 2, self.more)

    async def cancel(self, run: str, reason: str) -> Run:
        return self._move("cancel", run, reason)

    async def retry(self, run: str, payload: dict[str, object] | None, *, from_start: bool) -> Run:
        return self._move("retry", run, payload, from_start)

    async def signal(self, run: str, name: str, value: object) -> Run:
        return self._move("signal", run, name, value)

    async def complete(self, token_id: str, value: object) -> Run:
        self._fail()
        self.completed.append((token_id, value))
        return run_of("R1")

    async def measures(self) -> Measures:
        self._fail()
        queue = QueueRow(name="default", depth=2, oldest=NOW - 4, in_rate=1.5, workers=1)
        health = Health(
            version="1", pid=1, started_at=1.0, projected=7, journal=10, repairs=2, repaired={"offer": 2}, unreadable=1
        )
        runs = {("default", State.QUEUED): 2, ("default", State.COMPLETED): 40}
        return Measures(Queues((queue,), NOW, 3.0), runs, health, 5, 6, 0, 1)

    async def readiness(self) -> str:
        return self.missing

    def token(self, id: str) -> AccessToken | None:
        return self.known.get(id)

    def cards(self) -> Iterable[TaskCard]:
        return self.tasks

    def secret(self, name: str) -> tuple[str, ...]:
        return self.secrets.get(name, ())

    def _move(self, *what: Any) -> Run:
        self._fail()
        if what[1] == RUN[:-1] + "2":
            raise UnknownRun(f"no run {what[1]}")
        if what[1] == RUN[:-1] + "3":
            raise RunStateError(f"run {what[1]} has ended")
        self.moved.append(what)
        return run_of(what[1])

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


def run_of(id: str) -> Run:
    """A run as it stands."""
    return Run(id=id, task="ship", queue="default", priority=5, payload=b"", created_at=1.0, state=State.WAITING)


class Hand:
    """Turned by a test: a clock."""

    def __init__(self, at: float = NOW) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


@asynccontextmanager
async def visitor(
    *projects: Told,
    settings: Http | None = None,
    hooks: Iterable[Webhook] = (),
    hand: Hand | None = None,
    token: str | None = "",
    client: tuple[str, int] = ("127.0.0.1", 1),
) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody with a token for everything of the first project, or with this one, or (None) with none."""
    hand = hand or Hand()
    app = build({one.name: one for one in projects}, settings, hooks, now=hand, clock=hand)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=client)
    text = projects[0].issue() if token == "" else token
    headers = {} if text is None else {"Authorization": f"Bearer {text}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://holdfast", headers=headers) as visiting:
        yield visiting


def problem(answer: httpx.Response) -> dict[str, object]:
    """What a refusal says."""
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, object] = answer.json()
    assert set(told) >= {"type", "title", "status", "detail"}
    assert told["status"] == answer.status_code
    return told
