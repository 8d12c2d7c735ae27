"""The daemon, put together: lock, server, then for each project its services, then HTTP, then the workers.

What starts later depends on what started earlier, and stops before it: workers drain while the server still answers.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Protocol

import anyio
from anyio.abc import TaskStatus
from msgspec import Struct

from holdfast import __version__
from holdfast.bus.jetstream import JetStreamBus
from holdfast.bus.journal import Journal
from holdfast.bus.layout import Layout
from holdfast.client import Client
from holdfast.config import Config, Retention
from holdfast.core.model import Run
from holdfast.credentials import Credentials, resolve
from holdfast.dial import dial
from holdfast.errors import UnknownToken
from holdfast.sealing import make_key
from holdfast.timetable import Timetable
from holdfast_daemon.conductor import Conductor
from holdfast_daemon.gauges import Gauges
from holdfast_daemon.http.app import build
from holdfast_daemon.http.serve import HttpServer, check_address
from holdfast_daemon.matchmaker import Matchmaker
from holdfast_daemon.overlap import Overlaps
from holdfast_daemon.pool import WorkerPool
from holdfast_daemon.projection.projector import Projector
from holdfast_daemon.projection.store import Store
from holdfast_daemon.query.service import QueryService
from holdfast_daemon.repairs import Repairs
from holdfast_daemon.router import Router
from holdfast_daemon.scheduler import Scheduler
from holdfast_daemon.secrets import Custodian
from holdfast_daemon.server import DataDirLock, NatsServer, ServerDied, ServerEvent, ServerReady
from holdfast_daemon.sweeper import Sweeper

log = logging.getLogger("holdfast.daemon")


class Service(Protocol):
    """Something that runs until it is cancelled."""

    async def run(self, *, task_status: TaskStatus[None]) -> None: ...


class Up(Struct, frozen=True, kw_only=True):
    """What runs where, once it does."""

    nats: str
    http: str
    data_dir: Path
    projects: tuple[str, ...]
    worker_pids: Callable[[], Mapping[str, int]]
    """Of the running worker processes, by name."""
    server_pid: Callable[[], int | None]
    """Of the embedded server; None where it is yours."""


@asynccontextmanager
async def daemon(
    config: Config,
    *,
    modules: Sequence[str] = (),
    workers: int | None = None,
    tell: Callable[[str], None] = log.warning,
) -> AsyncIterator[Up]:
    """Everything that `holdfast up` runs, for the time of the block.

    Args:
        modules: of the default project, instead of those of the configuration.
        workers: processes of each project that has modules, instead of `workers.min`.
        tell: told in plain words what an operator should know.

    Raises:
        ConfigError: another daemon uses the data directory, or a port is taken.
        ServerError: the server can't start, or is older than 2.12.
        ConnectError: the server that the configuration names does not answer.
    """
    pids: list[int] = []
    address, lock = config.daemon.address, DataDirLock(config.data_dir)
    server = (
        NatsServer.of(config, lock, on_event=lambda event: _told(event, tell, pids)) if config.nats.embedded else None
    )
    lock.check()  # what is refused for these reasons has written nothing
    check_address(*address)
    if server is not None:
        server.check()
    async with AsyncExitStack() as stack:
        stack.enter_context(lock)
        if server is not None:
            await stack.enter_async_context(running(server))
        names = tuple(dict.fromkeys((config.default_project, *config.projects)))
        station, boot = _station(config.data_dir), secrets.token_hex(3)
        projects = [
            await stack.enter_async_context(
                _project(config, name, _credentials(config, server, name), station=station, boot=boot)
            )
            for name in names
        ]
        home = projects[0]
        tokens = _Tokens([project.client for project in (*projects[1:], home)])
        app = build(_Triggers(home.client), home.queries, home.readiness, tokens)
        http = HttpServer(app, address.host, address.port)
        await stack.enter_async_context(running(http))
        pools = [pool for each in projects if (pool := each.pool(config, modules, workers, tell)) is not None]
        for pool in pools:
            await stack.enter_async_context(running(pool))
        yield Up(
            nats=server.url if server is not None else config.nats.url or "",
            http=f"http://{address.host}:{http.port}",
            data_dir=config.data_dir,
            projects=names,
            worker_pids=lambda: {name: pid for pool in pools for name, pid in pool.pids.items()},
            server_pid=lambda: pids[-1] if pids else None,
        )


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[None]:
    """A service for the time of the block; what it raises ends the block.

    Only the end of the block stops it: a cancellation from further out would reach all of them at once, and take the
    server from workers that drain.
    """
    begun, over = anyio.Event(), anyio.Event()
    async with anyio.create_task_group() as tasks:
        try:
            tasks.start_soon(_run_until, over, service, begun)
            await begun.wait()
            yield
        finally:
            over.set()


async def _run_until(over: anyio.Event, service: Service, begun: anyio.Event) -> None:
    with anyio.CancelScope(shield=True):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(service.run, task_status=_Begun(begun)))
            await over.wait()
            tasks.cancel_scope.cancel()


class _Begun:
    """A task status for a service that is not in its starter's cancel scope, as `TaskGroup.start` would have it."""

    def __init__(self, begun: anyio.Event) -> None:
        self._begun = begun

    def started(self, value: None = None) -> None:
        self._begun.set()


class _Project:
    """The services of one project."""

    def __init__(self, name: str, bus: JetStreamBus, projector: Projector, conductor: Conductor, *, ttl: float) -> None:
        self.name = name
        self.client = Client(bus, name="http", ttl=ttl)
        self.queries: QueryService
        self._bus = bus
        self._projector = projector
        self._conductor = conductor
        self.prefix = ""

    async def readiness(self) -> str:
        """What is missing to serve, in words; empty when nothing is."""
        if not self._bus.connected:
            return "the server does not answer"
        return "" if self._projector.caught_up else "the history catches up with the journal"

    def pool(
        self, config: Config, modules: Sequence[str], workers: int | None, tell: Callable[[str], None]
    ) -> WorkerPool | None:
        """Its worker processes; None where it has no modules."""
        section = config.project(self.name)
        named = tuple(modules) if self.name == config.default_project and modules else section.modules
        if not named:
            return None
        env = {
            **section.env,
            "HOLDFAST_PROJECT": self.name,
            "HOLDFAST_DATA_DIR": str(config.data_dir),
            "HOLDFAST_SECRETS_KEY": make_key(config, self.name).text,
        }
        if config.file is not None:
            env["HOLDFAST_CONFIG"] = str(config.file)
        return WorkerPool(
            size=section.workers.min if workers is None else workers,
            modules=named,
            station=self.prefix,
            cwd=config.base,
            env=env,
            output=config.data_dir / "workers.log",
            drain=section.drain,
            gone=self._conductor.worker_gone,
            on_failure=tell,
        )


@asynccontextmanager
async def _project(
    config: Config, name: str, credentials: Credentials, *, station: str, boot: str
) -> AsyncIterator[_Project]:
    """The services of a project, for the time of the block."""
    async with AsyncExitStack() as stack:
        bus = await dial(credentials, name="holdfast-daemon")
        stack.push_async_callback(_quietly, bus.close)
        await bus.ensure_streams(_layout(config.retention, config.nats.replicas))
        store = await anyio.to_thread.run_sync(Store.open, config.data_dir / f"history-{name}.duckdb")
        stack.callback(store.close)
        journal, gauges, repairs = Journal(bus), Gauges(), Repairs()
        prefix = f"{station}-{boot}-{name}-"

        def live() -> Mapping[str, Run]:
            return projector.ledger.live

        def caught_up() -> bool:
            return projector.ledger.caught_up

        conductor = Conductor(
            journal,
            live,
            caught_up,
            orphaned=lambda worker: worker.startswith(f"{station}-") and not worker.startswith(f"{station}-{boot}-"),
            repairs=repairs,
        )
        matchmaker = Matchmaker(journal, live, caught_up)
        timetable = Timetable(journal, ttl=config.project(name).ttl)
        overlaps = Overlaps(journal, timetable, live, caught_up)
        projector = Projector(bus, store, (gauges, conductor, matchmaker, overlaps))
        project = _Project(name, bus, projector, conductor, ttl=config.project(name).ttl)
        project.prefix = prefix
        project.queries = QueryService(
            bus,
            store,
            projector,
            gauges,
            version=__version__,
            limits={queue: settings.concurrency for queue, settings in config.queues.items()},
            repairs=lambda: {str(kind): count for kind, count in repairs.by_kind.items()},
        )
        sweeper = Sweeper(journal, live, caught_up, repairs)
        custodian = Custodian(bus, live, projector.reach)
        services: list[Service] = [projector, conductor, matchmaker, sweeper, custodian, project.queries]
        services += [Router(journal), overlaps, Scheduler(journal, timetable)]
        for service in services:
            await stack.enter_async_context(running(service))
        yield project


class _Triggers:
    """Triggers tasks that some worker has declared."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def trigger(self, task_id: str, payload: dict[str, object]) -> str:
        return (await self._client.trigger(task_id, payload)).id


class _Tokens:
    """Completes tokens of whatever project, for a run is in one only; what no project knows, the last one refuses."""

    def __init__(self, clients: Sequence[Client]) -> None:
        self._clients = clients

    async def complete(self, token_id: str, value: object) -> str:
        *others, last = self._clients
        for client in others:
            with suppress(UnknownToken):
                return (await client.complete(token_id, value)).id
        return (await last.complete(token_id, value)).id


def _credentials(config: Config, server: NatsServer | None, project: str) -> Credentials:
    return resolve(config, project) if server is None else server.accounts.daemon[project]


def _layout(retention: Retention, replicas: int) -> Layout:
    return Layout(
        replicas=replicas,
        events_age=retention.events.age,
        events_bytes=retention.events.bytes,
        logs_age=retention.logs.age,
        logs_bytes=retention.logs.bytes,
    )


def _station(data_dir: Path) -> str:
    """What the names of this data directory's workers begin with: who holds its lock knows which of them are gone."""
    path = data_dir / "station"
    if not path.exists():
        path.write_text(f"w{secrets.token_hex(3)}")
    return path.read_text().strip()


def _told(event: ServerEvent, tell: Callable[[str], None], pids: list[int]) -> None:
    log.info("nats-server: %s", event)
    if isinstance(event, ServerReady):
        pids.append(event.pid)
    if isinstance(event, ServerDied):
        tell(f"nats-server ended (code {event.code}) and is started again in {event.restart_in:g} s")


async def _quietly(close: Callable[[], Awaitable[None]]) -> None:
    with anyio.CancelScope(shield=True), anyio.move_on_after(2.0):
        await close()
