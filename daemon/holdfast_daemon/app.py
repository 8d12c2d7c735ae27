"""The daemon, put together: lock, server, then for each project its services, then HTTP, then the workers.

What starts later depends on what started earlier, and stops before it: workers drain while the server still answers.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus
from msgspec import Struct

from holdfast import __version__
from holdfast.bus.journal import Journal
from holdfast.bus.layout import Layout
from holdfast.config import Config, Workers
from holdfast.core.admission import QueueLimits
from holdfast.core.model import Run
from holdfast.credentials import Credentials, resolve
from holdfast.dial import dial
from holdfast.sealing import SecretKey, make_key
from holdfast.timetable import Timetable
from holdfast_daemon.admitter import Admitter
from holdfast_daemon.backlogs import Backlogs
from holdfast_daemon.conductor import Conductor
from holdfast_daemon.faults import FaultBoard
from holdfast_daemon.front import Front, Knowing
from holdfast_daemon.gauges import Gauges
from holdfast_daemon.http.app import build
from holdfast_daemon.http.serve import HttpServer, check_address
from holdfast_daemon.leadership import Leadership, Led, Service
from holdfast_daemon.lookout import Lookout
from holdfast_daemon.matchmaker import Matchmaker
from holdfast_daemon.news import News
from holdfast_daemon.overlap import Overlaps
from holdfast_daemon.pool import WorkerPool
from holdfast_daemon.projection.projector import Projector
from holdfast_daemon.projection.store import Store
from holdfast_daemon.purger import Purger
from holdfast_daemon.query.service import QueryService
from holdfast_daemon.registrar import Registrar
from holdfast_daemon.repairs import Repairs
from holdfast_daemon.replays import Replays
from holdfast_daemon.roster import Roster
from holdfast_daemon.routebook import Routebook
from holdfast_daemon.router import Router
from holdfast_daemon.scaling import Scaler
from holdfast_daemon.scheduler import Scheduler
from holdfast_daemon.secrets import Custodian
from holdfast_daemon.server import DataDirLock, NatsServer, ServerDied, ServerEvent, ServerReady
from holdfast_daemon.sources import Sources
from holdfast_daemon.sweeper import Sweeper

log = logging.getLogger("holdfast.daemon")


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
    dev: bool = False,
    tell: Callable[[str], None] = log.warning,
) -> AsyncIterator[Up]:
    """Everything that `holdfast up` runs, for the time of the block.

    Args:
        modules: of the default project, instead of those of the configuration.
        workers: processes of each project that has modules, always, instead of `workers.min` to `workers.max`.
        dev: whether workers begin anew when a Python file below the configuration's directory is written.
        tell: told in plain words what an operator should know.

    Raises:
        ConfigError: another daemon uses the data directory, a port is taken, or the configuration contradicts itself.
        ServerError: the server can't start, or is older than 2.12.
        ConnectError: the server that the configuration names does not answer.
    """
    pids: list[int] = []
    config.check()
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
        app = build({project.name: project.front for project in projects}, config.http, config.hooks)
        http = HttpServer(app, address.host, address.port, config.http)
        await stack.enter_async_context(running(http))
        pools: list[WorkerPool] = []
        for each in projects:
            named = each.modules(config, modules)
            if named:
                await stack.enter_async_context(running(each.faults))
                pools.append(each.pool(config, named, workers, dev, tell))
                await stack.enter_async_context(running(pools[-1]))
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

    def __init__(self, name: str, conductor: Conductor) -> None:
        self.name = name
        self.front: Front
        self.prefix = ""
        self.gone: Callable[[str, str], None] = conductor.worker_gone
        self.faults: FaultBoard
        self.lookout: Lookout

    def modules(self, config: Config, modules: Sequence[str]) -> Sequence[str]:
        """Those of its workers, which are `modules` where it is the default project and there are any."""
        return modules if self.name == config.default_project and modules else config.project(self.name).modules

    def pool(
        self, config: Config, modules: Sequence[str], workers: int | None, dev: bool, tell: Callable[[str], None]
    ) -> WorkerPool:
        """Its worker processes."""
        section = config.project(self.name)
        bounds = section.workers
        size = workers if workers is not None else min(max(bounds.min, 1), bounds.most)
        scales = workers is None and bounds.most > bounds.min
        return WorkerPool(
            size=size,
            modules=modules,
            station=self.prefix,
            cwd=config.base,
            env=self._environment(config) | ({"PYTHONDONTWRITEBYTECODE": "1"} if dev else {}),
            output=config.data_dir / "workers.log",
            drain=section.drain,
            gone=self.gone,
            tell=tell,
            on_faults=self.faults.show,
            scaler=_scaler(bounds, size) if scales else None,
            look=self.lookout.look if scales else None,
            sources=Sources(config.base, apart=[config.data_dir]) if dev and size else None,
        )

    def _environment(self, config: Config) -> dict[str, str]:
        """What its workers find in theirs, besides what is in ours."""
        env = {
            **config.project(self.name).env,
            "HOLDFAST_PROJECT": self.name,
            "HOLDFAST_DATA_DIR": str(config.data_dir),
            "HOLDFAST_SECRETS_KEY": make_key(config, self.name).text,
        }
        if config.file is not None:
            env["HOLDFAST_CONFIG"] = str(config.file)
        return env


def _scaler(bounds: Workers, size: int) -> Scaler:
    return Scaler(
        least=bounds.min,
        most=bounds.most,
        concurrency=bounds.concurrency,
        up_after=bounds.scale_up_after,
        idle_after=bounds.idle_after,
        size=size,
    )


@asynccontextmanager
async def _project(
    config: Config, name: str, credentials: Credentials, *, station: str, boot: str
) -> AsyncIterator[_Project]:
    """The services of a project, for the time of the block."""
    async with AsyncExitStack() as stack:
        bus = await dial(credentials, name="holdfast-daemon")
        stack.push_async_callback(_quietly, bus.close)
        await bus.ensure_streams(_layout(config, name))
        store = await anyio.to_thread.run_sync(Store.open, config.data_dir / f"history-{name}.duckdb")
        stack.callback(store.close)
        journal, gauges, repairs = Journal(bus), Gauges(), Repairs()
        prefix = f"{station}-{boot}-"

        def live() -> Mapping[str, Run]:
            return projector.ledger.live

        def caught_up() -> bool:
            return projector.ledger.caught_up

        lead = Leadership(journal, f"{station}-{boot}", station=station, position=lambda: projector.ledger.position)
        conductor = Conductor(journal, live, caught_up, station=prefix, repairs=repairs)
        admitter = Admitter(journal, live, caught_up, lead=lead, configured=_limits(config))
        matchmaker = Matchmaker(journal, live, caught_up)
        ttl = config.project(name).ttl
        backlogs = Backlogs(live)
        timetable = Timetable(journal, ttl=ttl)
        overlaps = Overlaps(journal, timetable, live, caught_up)
        projector = Projector(bus, store, (gauges, conductor, admitter, matchmaker, overlaps, backlogs))
        book, registrar = Routebook(config.routes_of(name)), Registrar(journal)
        router = Router(journal, book, registrar, ttl=ttl)
        routing = _InOrder(router, Replays(journal, book, registrar, ttl=ttl))
        project = _Project(name, conductor)
        project.prefix = f"{prefix}{name}-"
        project.faults = FaultBoard(bus, f"{station}-{name}")
        queries = QueryService(
            bus,
            store,
            projector,
            gauges,
            version=__version__,
            admissions=admitter,
            repairs=lambda: {str(kind): count for kind, count in repairs.by_kind.items()},
            events=lambda: router.counts,
        )
        purger = Purger(journal, store, projector)
        project.lookout = Lookout(bus, backlogs, queries.queues, least=config.project(name).workers.min)
        sweeper = Sweeper(journal, live, caught_up, repairs)
        custodian = Custodian(bus, live, projector.reach)
        roster = Roster(bus, _hook_key(config, name))
        client = Knowing(bus, roster, name="http", ttl=ttl)
        project.front = Front(client, queries, projector=projector, gauges=gauges, router=router, roster=roster)
        scheduler = Scheduler(journal, timetable)
        conducting = (conductor, matchmaker, sweeper, routing, overlaps, scheduler)
        news = News(bus, conductor)
        project.gone = news.gone
        led = (Led(lead, service) for service in conducting)
        services: tuple[Service, ...] = (projector, news, lead, admitter, *led, custodian, queries, purger, roster)
        for service in services:
            await stack.enter_async_context(running(service))
        news.begun(prefix)
        yield project


def _hook_key(config: Config, project: str) -> SecretKey | None:
    """The key of a project's secrets, where a hook is signed with one of them."""
    hooked = {hook.project or config.default_project for hook in config.hooks}
    return make_key(config, project) if project in hooked else None


class _InOrder:
    """Services of which each begins when the one before it has."""

    def __init__(self, *services: Service) -> None:
        self._services = services

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        async with anyio.create_task_group() as tasks:
            for service in self._services:
                await tasks.start(partial(service.run))
            task_status.started()


def _credentials(config: Config, server: NatsServer | None, project: str) -> Credentials:
    return resolve(config, project) if server is None else server.accounts.daemon[project]


def _limits(config: Config) -> dict[str, QueueLimits]:
    """The limits that the configuration gives to queues."""
    return {
        name: QueueLimits(concurrency=queue.concurrency, key_concurrency=queue.key_concurrency, rate=queue.rate)
        for name, queue in config.queues.items()
    }


def _layout(config: Config, project: str) -> Layout:
    retention = config.retention
    return Layout(
        replicas=config.nats.replicas,
        events_age=retention.events.age,
        events_bytes=retention.events.bytes,
        events_subjects=config.sources_of(project),
        logs_age=retention.logs.age,
        logs_bytes=retention.logs.bytes,
        audit_age=retention.audit.age,
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
