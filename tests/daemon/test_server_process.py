"""The embedded nats-server, the real one: it starts, survives its own death, and never survives ours."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import nats
import pytest
from nats.aio.client import Client

from holdfast.config import Durability, load
from holdfast.credentials import Credentials, resolve
from holdfast.errors import ServerError
from holdfast_daemon.server import DataDirLock, NatsServer, ServerDied, ServerEvent, ServerReady
from holdfast_daemon.server.process import backoff

ROOT = Path(__file__).parents[2]
E = TypeVar("E", ServerReady, ServerDied)


class Events(list[ServerEvent]):
    """What the server reported, and a way to wait for more."""

    def __init__(self) -> None:
        super().__init__()
        self._more = anyio.Event()

    def __call__(self, event: ServerEvent) -> None:
        self.append(event)
        self._more.set()

    async def ready(self, times: int) -> ServerReady:
        """The event of the so-manieth start."""
        return await self._nth(ServerReady, times)

    async def died(self, times: int) -> ServerDied:
        """The event of the so-manieth end."""
        return await self._nth(ServerDied, times)

    async def _nth(self, kind: type[E], times: int) -> E:
        with anyio.fail_after(20):
            while len(found := [event for event in self if isinstance(event, kind)]) < times:
                self._more = anyio.Event()
                await self._more.wait()
        return found[times - 1]


@asynccontextmanager
async def running(data_dir: Path, events: Events | None = None, **options: Any) -> AsyncIterator[NatsServer]:
    with DataDirLock(data_dir) as lock:
        server = NatsServer(lock, on_event=Events() if events is None else events, **options)
        async with anyio.create_task_group() as tasks:
            with anyio.fail_after(20):
                await tasks.start(_run, server)
            try:
                yield server
            finally:
                tasks.cancel_scope.cancel()


async def _run(server: NatsServer, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    await server.run(task_status=task_status)


@asynccontextmanager
async def client(known: Credentials, password: str | None = None) -> AsyncIterator[Client]:
    connection = await nats.connect(
        known.url, user=known.user, password=password or known.password, allow_reconnect=False, error_cb=_ignore
    )
    try:
        yield connection
    finally:
        await connection.close()


async def _ignore(error: Exception) -> None:
    pass


async def refused(data_dir: Path, **options: Any) -> str:
    """What is said by a server that can't start."""
    with DataDirLock(data_dir) as lock, pytest.raises(ServerError) as caught:
        await NatsServer(lock, **options).run()
    return str(caught.value)


def started(command: list[str]) -> subprocess.Popen[bytes]:
    """A second process that we talk to over pipes."""
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)


def login(port: int, who: dict[str, str]) -> bytes:
    """What the server answers; over a bare socket, since nats-py leaves one open when it is refused."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection, connection.makefile("rwb") as lines:
        lines.readline()
        lines.write(b"CONNECT " + json.dumps({"verbose": False, **who}).encode() + b"\r\nPING\r\n")
        lines.flush()
        return lines.readline()


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip()[:1] not in ("", "Z")


def taken_port() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


# --- starting


async def test_in_an_empty_directory_it_starts_and_its_clients_find_it(tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_text("[nats]\nport = 0")
    config = load(tmp_path / "holdfast.toml", env={})

    with DataDirLock(config.data_dir) as lock:
        server = NatsServer.of(config, lock)
        async with anyio.create_task_group() as tasks:
            await tasks.start(_run, server)
            known = resolve(config)
            assert known.url == server.url
            async with client(known) as connection:
                assert (await connection.jetstream().account_info()).streams == 0
            tasks.cancel_scope.cancel()


async def test_it_ends_with_its_service(tmp_path: Path) -> None:
    events = Events()
    async with running(tmp_path, events):
        pid = (await events.ready(1)).pid
        assert alive(pid)

    assert not alive(pid)
    assert [type(event) for event in events] == [ServerReady]


async def test_it_says_how_durable_it_is(tmp_path: Path) -> None:
    async with (
        running(tmp_path, durability=Durability.ALWAYS) as server,
        client(server.accounts.system) as connection,
    ):
        answer = await connection.request("$SYS.REQ.SERVER.PING.VARZ", b"", timeout=2)

    assert b'"sync_always":true' in answer.data.replace(b" ", b"")


async def test_it_needs_the_directory_to_be_locked(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="expected a locked data directory"):
        await NatsServer(DataDirLock(tmp_path)).run()


# --- who may log in


async def test_credentials_are_for_the_owner_only_and_kept_across_restarts(tmp_path: Path) -> None:
    async with running(tmp_path, projects=("blue",)) as server:
        first = server.accounts
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "credentials").iterdir()}
        secret = [tmp_path / "nats" / name for name in ("server.conf", "server.log")]
        assert {path.stat().st_mode & 0o777 for path in secret} == {0o600}
    assert modes == {"_system.json": 0o600, "blue.daemon.json": 0o600, "blue.json": 0o600}

    async with running(tmp_path, projects=("blue", "green")) as server:
        assert server.accounts.clients["blue"].password == first.clients["blue"].password
        assert server.accounts.system.password == first.system.password
        assert server.accounts.clients["green"].password != first.clients["blue"].password


async def test_a_wrong_password_and_none_are_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        known = server.accounts.clients["default"]

        assert b"PONG" in login(server.port, {"user": known.user, "pass": known.password})
        assert b"-ERR 'Authorization Violation'" in login(server.port, {"user": known.user, "pass": "wrong"})
        assert b"-ERR 'Authorization Violation'" in login(server.port, {})


async def test_projects_do_not_see_each_other(tmp_path: Path) -> None:
    async with running(tmp_path, projects=("blue", "green")) as server:
        clients = server.accounts.clients
        async with client(clients["blue"]) as blue, client(clients["green"]) as green:
            heard = await green.subscribe("x")
            await green.flush()
            await blue.jetstream().add_stream(name="S", subjects=["x"])
            await blue.jetstream().publish("x", b"1")
            await blue.flush()
            await green.publish("x", b"own")

            assert (await heard.next_msg(timeout=2)).data == b"own"
            assert (await green.jetstream().account_info()).streams == 0
        async with client(server.accounts.daemon["blue"]) as daemon:
            assert (await daemon.jetstream().stream_info("S")).state.messages == 1


async def test_a_torn_credentials_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "default.json").write_text('{"url": ')

    async with running(tmp_path) as server, client(server.accounts.clients["default"]) as connection:
        assert connection.is_connected


# --- its death


async def test_killed_it_is_back_on_the_same_port_with_its_data(tmp_path: Path) -> None:
    events = Events()
    async with running(tmp_path, events) as server:
        known = server.accounts.clients["default"]
        async with client(known) as connection:
            await connection.jetstream().add_stream(name="S", subjects=["x"])
            await connection.jetstream().publish("x", b"kept")

        for times in (2, 3):
            os.kill((await events.ready(times - 1)).pid, signal.SIGKILL)
            assert (await events.ready(times)).port == server.port

        async with client(known) as connection:
            assert (await connection.jetstream().get_msg("S", 1)).data == b"kept"
    died = [event for event in events if isinstance(event, ServerDied)]
    assert [(event.code, event.restart_in) for event in died] == [(-9, 0.05), (-9, 0.1)]


async def test_a_lost_configuration_is_written_again_before_a_restart(tmp_path: Path) -> None:
    events = Events()
    async with running(tmp_path, events):
        (tmp_path / "nats" / "server.conf").unlink()
        os.kill((await events.ready(1)).pid, signal.SIGKILL)
        await events.ready(2)


async def test_while_its_port_is_taken_it_tries_again(tmp_path: Path) -> None:
    events = Events()
    async with running(tmp_path, events) as server:
        first = await events.ready(1)
        with closing(socket.socket()) as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            os.kill(first.pid, signal.SIGKILL)
            with anyio.fail_after(5):
                while True:
                    try:
                        thief.bind(("127.0.0.1", server.port))
                        break
                    except OSError:
                        await anyio.lowlevel.checkpoint()
            thief.listen()
            with anyio.fail_after(20):
                while sum(isinstance(event, ServerDied) for event in events) < 2:
                    await anyio.lowlevel.checkpoint()
        assert (await events.ready(2)).port == server.port
    second = [event for event in events if isinstance(event, ServerDied)][1]
    assert "address already in use" in second.log


def test_the_pause_before_a_restart_doubles_to_two_seconds() -> None:
    assert [backoff(failures) for failures in (0, 1, 2, 3, 4, 5, 6, 5000)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


# --- our death

PARENT = """
import sys
from pathlib import Path
sys.path[:0] = ["sdk", "daemon"]
import anyio
from holdfast_daemon.server import DataDirLock, NatsServer

async def main():
    with DataDirLock(Path(sys.argv[1])) as lock:
        await NatsServer(lock, on_event=lambda event: print(event.pid, flush=True)).run()

anyio.run(main)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's; elsewhere the next test's lock holds")
async def test_a_parent_that_is_killed_leaves_no_server_behind(tmp_path: Path) -> None:
    with started([sys.executable, "-c", PARENT, str(tmp_path)]) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)

        parent.kill()

    try:
        async with running(tmp_path):  # the store's lock is free only when that server is gone
            assert not alive(pid)
    finally:
        if alive(pid):  # the test has failed: leave nothing behind all the same
            os.kill(pid, signal.SIGKILL)


async def test_a_store_in_use_by_a_leftover_server_is_refused_with_its_pid(tmp_path: Path) -> None:
    (tmp_path / "nats").mkdir()
    lock = tmp_path / "nats" / "server.lock"
    leftover = f"import fcntl, sys; f = open({str(lock)!r}, 'w'); fcntl.flock(f, 2); print(77, file=f, flush=True)"
    wait = "; print('locked', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", leftover + wait]
    with started(command) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()

        assert "still used by a nats-server (pid 77) of a daemon that is gone" in await refused(tmp_path)

        holder.kill()


# --- what keeps it from starting


async def test_a_port_in_use_is_named_with_what_to_do(tmp_path: Path) -> None:
    with closing(taken_port()) as listener:
        port = listener.getsockname()[1]

        said = await refused(tmp_path, port=port)

    assert said.startswith(f"127.0.0.1:{port} is in use by another process: stop it, or set nats.port / --port")


async def test_a_server_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "nats").mkdir()
    (tmp_path / "nats" / "jetstream").write_text("a file where a directory is needed")

    said = await refused(tmp_path)

    assert said.startswith("nats-server did not start (exit code 1): ")
    assert "jetstream" in said.partition(": ")[2].lower()


async def test_a_file_where_its_directory_belongs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "nats").write_text("")

    assert "expected a directory that can be written" in await refused(tmp_path)


async def test_a_server_too_old_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text("#!/bin/sh\necho 'nats-server: v2.11.0'\n")
    old.chmod(0o755)

    assert "2.11.0: expected 2.12 or newer" in await refused(tmp_path / "data", binary=old)
    assert not (tmp_path / "data" / "nats").exists()


async def test_no_password_reaches_the_log_or_the_message(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        everyone = server.accounts
    (tmp_path / "nats" / "jetstream").rename(tmp_path / "nats" / "aside")
    (tmp_path / "nats" / "jetstream").write_text("")
    said = await refused(tmp_path) + (tmp_path / "nats" / "server.log").read_text() + repr(everyone)

    for one in (*everyone.daemon.values(), *everyone.clients.values(), everyone.system):
        assert one.password not in said
