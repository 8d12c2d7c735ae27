"""The embedded nats-server: a child of the daemon, started, watched, restarted, and never left behind."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus
from msgspec import Struct

from holdfast.config import Config, Durability
from holdfast.errors import ServerError
from holdfast_daemon.child import Child, spawn
from holdfast_daemon.server import lock as locks
from holdfast_daemon.server.accounts import Accounts, issue, listed, user_of
from holdfast_daemon.server.binary import Binary, find, refusal
from holdfast_daemon.server.lock import DataDirLock
from holdfast_daemon.server.log import ServerLog, redacted
from holdfast_daemon.server.readiness import answers
from holdfast_daemon.server.settings import ServerSettings, render

HOST = "127.0.0.1"
GRACE = 5.0
"""Seconds from SIGTERM to SIGKILL: the first costs 10 ms per consumer, the second loses nothing acknowledged."""
STEADY = 10.0
"""Seconds of life after which a death counts as the first again."""
SLOW = 5.0
"""Seconds of starting after which, and then every so often, the wait is reported: a long journal is being recovered."""
_LOG_LIMIT = 8 * 2**20
_POLL = 0.003
_PORT_TRIES = 5


class ServerReady(Struct, frozen=True, kw_only=True):
    """The server answers."""

    pid: int
    port: int
    seconds: float
    """Since it was started."""


class ServerSlow(Struct, frozen=True, kw_only=True):
    """The server runs but does not answer yet."""

    pid: int
    seconds: float
    """Since it was started."""


class ServerDied(Struct, frozen=True, kw_only=True):
    """The server ended though nobody asked it to; it is started again."""

    code: int
    """Exit code, or minus the signal."""
    restart_in: float
    """Seconds until the next start."""
    log: str
    """The last lines that it wrote."""


ServerEvent = ServerReady | ServerSlow | ServerDied


class _Ended(Exception):
    """A child ended, or had to, before it was ready."""

    def __init__(self, code: int, log: str) -> None:
        super().__init__(log)
        self.code = code
        self.log = log


class NatsServer:
    """Runs a nats-server on 127.0.0.1 for as long as `run` is not cancelled.

    `lock` is the data directory, held: that nobody else uses it is a condition, not a hope. `port` 0 takes a free one,
    which then stays the same over restarts of the child. `on_event` is called in the event loop and must not block.
    """

    def __init__(
        self,
        lock: DataDirLock,
        *,
        projects: Sequence[str] = ("default",),
        port: int = 0,
        durability: Durability = Durability.ALWAYS,
        binary: Path | None = None,
        on_event: Callable[[ServerEvent], None] = lambda event: None,
    ) -> None:
        if not projects:
            raise ValueError("expected at least one project, found none")
        self._lock = lock
        self._home = lock.data_dir.absolute() / "nats"
        self._conf = self._home / "server.conf"
        self._log = ServerLog(self._home / "server.log")
        self._projects = projects
        self._wanted_port = port
        self._durability = durability
        self._binary = binary
        self._on_event = on_event
        self._failures = 0
        self.port = port
        """Where it listens; known once `run` has started."""

    @classmethod
    def of(
        cls, config: Config, lock: DataDirLock, *, on_event: Callable[[ServerEvent], None] = lambda event: None
    ) -> NatsServer:
        """The server that a configuration describes, with an account for each of its projects and the default one."""
        return cls(
            lock,
            projects=tuple(dict.fromkeys((config.default_project, *config.projects))),
            port=config.nats.port,
            durability=config.nats.durability,
            binary=config.path(config.nats.binary) if config.nats.binary else None,
            on_event=on_event,
        )

    def check(self) -> None:
        """Whether it could start, as far as that shows without writing anything.

        Raises:
            ServerError: there is no binary that serves, or the port is taken.
        """
        find(self._binary)
        if self._wanted_port:
            _check_port(self._wanted_port)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"nats://{HOST}:{self.port}"

    @property
    def accounts(self) -> Accounts:
        """Who may log in; known once `run` has started."""
        return self._accounts

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Keep the server running; `started` is reported once JetStream answers a project's own user.

        To be called in a thread that lives as long as the service (see `child`). A child that dies is started again on
        the same port, after 0.05 s, doubling to 2 s while that fails; acknowledged data is kept. On cancellation it is
        asked to end and killed after `GRACE` seconds. Raises ServerError: it can't start at all, the port is taken,
        another server uses the store, or its configuration is refused.
        """
        if not self._lock.held:
            raise RuntimeError("expected a locked data directory: use `with DataDirLock(...)` around the server")
        binary = find(self._binary)
        with self._set_up() as store:
            await self._claim(store)
            child = await self._first(binary, store)
            task_status.started()
            await self._keep(child, binary, store)

    def _set_up(self) -> AbstractContextManager[int]:
        try:
            self._home.mkdir(mode=0o700, exist_ok=True)
            return locks.opened(self._home / "server.lock")
        except OSError as error:
            raise ServerError(f"{self._home}: expected a directory that can be written, found: {error}") from None

    async def _claim(self, store: int) -> None:
        """Lock the store. The child inherits the lock, so it is held while any nats-server uses the store.

        After a SIGKILL of a daemon its child dies too, a moment later; on macOS it does not.
        """
        for _ in range(200):
            if locks.try_lock(store):
                return
            await anyio.sleep(0.01)
        raise ServerError(
            f"{self._home} is still used by a nats-server (pid {locks.holder_of(store)}) of a daemon that is gone: "
            "stop that process, then start again"
        )

    async def _first(self, binary: Binary, store: int) -> Child:
        """The first start, where whatever goes wrong is for the caller to know; only a free port is chosen again."""
        for tries_left in reversed(range(_PORT_TRIES)):
            self.port = self._wanted_port or _free_port()
            _check_port(self.port)
            try:
                return await self._start(binary, store)
            except _Ended as ended:
                if self._wanted_port or not tries_left or "address already in use" not in ended.log:
                    raise ServerError(f"nats-server did not start (exit code {ended.code}): {ended.log}") from None
        raise AssertionError("the last try returns or raises")

    async def _keep(self, child: Child, binary: Binary, store: int) -> None:
        """Watch the child, and put another in its place when it dies, for ever."""
        while True:
            ready = time.monotonic()
            try:
                code = await child.exited()
            finally:
                await child.stop(grace=GRACE)
            if time.monotonic() - ready > STEADY:
                self._failures = 0
            child = await self._replace(code, self._tail(), binary, store)

    async def _replace(self, code: int, log: str, binary: Binary, store: int) -> Child:
        while True:
            delay = backoff(self._failures)
            self._failures += 1
            self._on_event(ServerDied(code=code, restart_in=delay, log=log))
            await anyio.sleep(delay)
            try:
                return await self._start(binary, store)
            except _Ended as ended:
                code, log = ended.code, ended.log
            if reason := refusal(binary, self._conf):
                raise ServerError(f"nats-server refuses its configuration: {redacted(reason, self._secrets())}")

    async def _start(self, binary: Binary, store: int) -> Child:
        """Start a child and wait until it answers; raises _Ended if it ends instead."""
        begun = time.monotonic()
        try:
            settings = self._configure()
            self._log.begin()
            child = spawn([binary.path, "-c", self._conf], output=self._log.path, inherit=(store,))
        except OSError as error:
            raise _Ended(127, str(error)) from None
        locks.sign(store, child.pid)
        try:
            await self._until_ready(child, settings, begun)
            self._on_event(ServerReady(pid=child.pid, port=self.port, seconds=time.monotonic() - begun))
        except BaseException:
            await child.stop(grace=GRACE)
            raise
        return child

    async def _until_ready(self, child: Child, settings: ServerSettings, begun: float) -> None:
        report = SLOW
        while child.running:
            try:
                if await answers(settings, settings.accounts[0].users[0]):
                    return
            except ServerError as error:
                raise _Ended(await child.stop(grace=GRACE), str(error)) from None
            if (waited := time.monotonic() - begun) > report:
                self._on_event(ServerSlow(pid=child.pid, seconds=waited))
                report *= 2
            await anyio.sleep(_POLL)
        raise _Ended(await child.exited(), self._tail())

    def _configure(self) -> ServerSettings:
        """Write the credentials and server.conf; again at each start, so a lost file is no reason to stay down."""
        self._accounts = issue(self._lock.data_dir, self._projects, url=self.url)
        settings = ServerSettings(
            name=_name(self._home),
            host=HOST,
            port=self.port,
            store_dir=self._home,
            durability=self._durability,
            system=user_of(self._accounts.system),
            accounts=listed(self._accounts),
        )
        _write(self._conf, render(settings))
        return settings

    def _tail(self) -> str:
        return self._log.tail(without=self._secrets())

    def _secrets(self) -> list[str]:
        known = self._accounts
        return [one.password for one in (*known.daemon.values(), *known.clients.values(), known.system)]


def backoff(failures: int) -> float:
    """Seconds to wait before a start that follows so many restarts: 0.05, doubling, at most 2."""
    return min(2.0, 0.05 * 2.0 ** min(failures, 10))


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _check_port(port: int) -> None:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as nats-server does: TIME_WAIT is no matter
        try:
            probe.bind((HOST, port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            what = "is in use by another process: stop it" if taken else f"can't be listened on ({error.strerror})"
            raise ServerError(f"{HOST}:{port} {what}, or set nats.port / --port to another (0: any free one)") from None


def _name(home: Path) -> str:
    """The same for the same directory, so that we know our own server from another on the same port."""
    return f"holdfast-{hashlib.blake2s(str(home).encode(), digest_size=6).hexdigest()}"


def _write(path: Path, text: str) -> None:
    """Mode 0600; only if it says something else, so that a restart on a full disk does not truncate it."""
    if not path.exists() or path.read_text() != text:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
