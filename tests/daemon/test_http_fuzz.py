"""The whole interface over a real server, asked whatever its own document allows, and what it does not allow.

No answer is a fault of ours, every answer is as the document says, and what was refused has written nothing.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import anyio
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from holdfast.bus.jetstream import connect
from holdfast.bus.journal import Journal
from holdfast.bus.ports import Bus
from holdfast.client import Client
from holdfast.config import HookStyle, Http, Webhook
from holdfast.core.model import Rate
from holdfast.payload import Signature
from holdfast.safe import Safe
from holdfast.sealing import SecretKey
from holdfast.wire import codec
from holdfast.wire.api import CHECK, Scope, TaskCard
from holdfast.wire.subjects import Stream
from holdfast.worker.pool import _checker
from holdfast_daemon.front import Front
from holdfast_daemon.gauges import Gauges
from holdfast_daemon.http.app import build
from holdfast_daemon.http.serve import HttpServer
from holdfast_daemon.projection.projector import Projector
from holdfast_daemon.projection.store import Store
from holdfast_daemon.query.service import QueryService
from holdfast_daemon.roster import Roster
from holdfast_daemon.router import Router
from servers import NatsServer

T = TypeVar("T")

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

WATCHED = (Stream.JOURNAL, Stream.EVENTS, Stream.CONTROL, Stream.BLOBS)

EXAMPLES = 12
"""For each operation."""


async def process_order(order_id: str, lines: list[dict[str, int]], *, express: bool = False, note: str = "") -> None:
    """Process an order."""


@asynccontextmanager
async def front(bus: Bus, path: Path) -> AsyncIterator[tuple[Front, str]]:
    """A project without workers, so that only what is asked over HTTP writes; and a token for everything."""
    client, gauges, key = Client(bus, name="http"), Gauges(), SecretKey.random()
    signature = Signature("process-order", process_order)
    card = TaskCard(id="process-order", queue="orders", parameters=str(signature), schema=signature.schema())
    await bus.put("task", card.id, codec.encode(card))
    await bus.serve(bus.subjects.api(f"{CHECK}.{card.id}"), _checker(_Task(signature)))  # type: ignore[arg-type]
    await Safe(bus, key).put("HOOK", "whsec_5f2b")
    text, _ = await client.create_token("fuzz", list(Scope), rate=Rate(100_000, 1.0))
    with _closing(Store.open(path)) as store:
        projector, roster = Projector(bus, store, [gauges]), Roster(bus, key)
        queries = QueryService(bus, store, projector, gauges)
        async with anyio.create_task_group() as tasks:
            await tasks.start(projector.run)
            await tasks.start(queries.run)
            await tasks.start(roster.run)
            router = Router(Journal(bus))
            yield (
                Front(client, queries, projector=projector, gauges=gauges, router=router, roster=roster),
                text,
            )
            tasks.cancel_scope.cancel()


class _Task:
    def __init__(self, signature: Signature) -> None:
        self.signature = signature


class _closing:
    def __init__(self, store: Store) -> None:
        self._store = store

    def __enter__(self) -> Store:
        return self._store

    def __exit__(self, *_: object) -> None:
        self._store.close()


class Daemon:
    """The interface in a thread of its own."""

    def __init__(self, url: str, path: Path) -> None:
        self._url, self._path = url, path
        self._loop = asyncio.new_event_loop()
        self._ready, self._over = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self.base = ""
        self.token = ""

    def __enter__(self) -> Daemon:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(30)
        self._loop.close()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Something done in the daemon's thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def written(self) -> tuple[int, ...]:
        """The last sequence of each stream that a request may write to."""

        async def look() -> tuple[int, ...]:
            return tuple(await asyncio.gather(*(self.bus.last_seq(stream) for stream in WATCHED)))

        return self.do(look())

    def new_run(self) -> str:
        """A run that waits for a worker."""

        async def start() -> str:
            return (await Client(self.bus).trigger("nobody", declared=False)).id

        return self.do(start())

    async def _serve(self) -> None:
        async with await connect(self._url, project=f"p{uuid4().hex[:10]}") as self.bus:
            await self.bus.ensure_streams()
            async with front(self.bus, self._path) as (project, self.token), anyio.create_task_group() as tasks:
                hooks = [Webhook(name=style.value, style=style, secret="HOOK", subject="hooked") for style in HookStyle]
                own = Http(failures=Rate(100_000, 1.0))
                server = HttpServer(build({project.name: project}, own, hooks), port=0, settings=own)
                await tasks.start(server.run)
                self.base = f"http://127.0.0.1:{server.port}"
                self._ready.set()
                await self._over.wait()
                tasks.cancel_scope.cancel()
            await self.bus.remove_streams()


@pytest.fixture(scope="module")
def daemon(nats: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(nats.url, tmp_path_factory.mktemp("fuzz") / "history.duckdb") as running:
        yield running


@pytest.fixture(scope="module")
def document(daemon: Daemon) -> Any:
    headers = {"Authorization": f"Bearer {daemon.token}"}
    return schemathesis.openapi.from_url(f"{daemon.base}/openapi.json", headers=headers)


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_whatever_is_asked_the_answer_is_as_documented_and_a_refusal_wrote_nothing(
    daemon: Daemon, document: Any, mode: schemathesis.GenerationMode
) -> None:
    asked: Counter[str] = Counter()
    for operation in (found.ok() for found in document.get_all_operations()):

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(operation.as_strategy(generation_mode=mode), st.booleans())
        def ask(case: schemathesis.Case, real: bool) -> None:
            if real and case.operation.path.startswith("/v1/runs/"):
                case.path_parameters["id"] = daemon.new_run()
            if real and case.operation.path == "/v1/tasks/process-order/trigger":
                case.headers.clear()  # or one wrong header of twelve would refuse nearly all
            before = daemon.written()
            response = case.call(headers={"Authorization": f"Bearer {daemon.token}"})
            asked[f"{case.operation.label} {response.status_code // 100}"] += 1
            case.validate_response(response, checks=CHECKS)
            if response.status_code >= 400 or case.method == "GET":
                assert daemon.written() == before

        with suppress(Unsatisfiable):  # there is nothing wrong to be said to an operation that takes nothing
            ask()
    if mode is schemathesis.GenerationMode.POSITIVE:
        assert asked["POST /v1/tasks/process-order/trigger 2"] > 0
        assert asked["POST /v1/events/{subject} 2"] > 0
        assert asked["POST /v1/runs/{id}/cancel 2"] > 0
    else:
        assert asked["POST /v1/tasks/process-order/trigger 4"] > 0
