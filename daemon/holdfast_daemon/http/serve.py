"""The HTTP server: uvicorn as a service among others, which takes over neither signals nor the log."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address
from typing import Any

import anyio
import uvicorn
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from holdfast.config import Http
from holdfast.core.model import Seconds
from holdfast.errors import ConfigError
from holdfast_daemon.http.protocol import HEAD_MOST, Patience, PatientProtocol

GRACE: Seconds = 2
"""How long requests under way may take when the server is stopped."""


KEEP: Seconds = 30
"""How long a connection without a request is kept."""


class HttpServer:
    """Serves an ASGI application on one address."""

    def __init__(self, app: Any, host: str = "127.0.0.1", port: int = 8377, settings: Http | None = None) -> None:
        self._app = app
        self._settings = settings or Http()
        self.host = host
        self.port = port
        """0: any free one; which, stands here once it has started."""

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, then let what is under way end within `GRACE`.

        Raises:
            ConfigError: the address can't be listened on.
        """
        with _listening(self.host, self.port) as listener:
            self.port = listener.getsockname()[1]
            server = _Server(self._app, self._settings, task_status.started)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_serve, server, listener)
                try:
                    await anyio.sleep_forever()
                finally:
                    server.should_exit = True


def check_address(host: str, port: int) -> None:
    """Raises: ConfigError: the address can't be listened on just now."""
    _listening(host, port).close()


async def _serve(server: _Server, listener: socket.socket) -> None:
    with anyio.CancelScope(shield=True):  # it ends by `should_exit`, and closes what it opened
        await server.serve([listener])


class _Server(uvicorn.Server):
    """uvicorn that leaves signals to the process and says when it takes connections."""

    def __init__(self, app: Any, settings: Http, started: Callable[[], None]) -> None:
        patience = Patience(settings.timeout, settings.connections)
        super().__init__(
            uvicorn.Config(
                app,
                http=partial(PatientProtocol, patience=patience),  # type: ignore[arg-type]  # it makes one
                ws="none",
                h11_max_incomplete_event_size=HEAD_MOST,
                timeout_keep_alive=int(KEEP),
                proxy_headers=bool(settings.proxies),
                forwarded_allow_ips=list(settings.proxies),
                log_config=None,
                log_level="error",  # what clients do wrong is told to them
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=int(GRACE),
                loop="none",
            )
        )
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        family = socket.AF_INET  # a name
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(256)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigError(_why(host, port, error)) from error
    return listener


def _why(host: str, port: int, error: OSError) -> str:
    address = f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return (
            f"daemon.http: expected a free address, found {address} in use; stop what listens there (another daemon?),"
            ' or set daemon.http (or HOLDFAST_HTTP) to another, like "127.0.0.1:8378"'
        )
    return f"daemon.http: expected an address to listen on, found {address}: {error.strerror or error}"
