"""Does our nats-server answer? Asked over a bare socket, since only `holdfast.bus` may import a NATS client.

A port that accepts connections is not yet a server, nor ours, nor one with JetStream: `answers` logs in with a
project's own password and waits for an answer of that account's JetStream API.
Protocol: https://docs.nats.io/reference/reference-protocols/nats-protocol
"""

from __future__ import annotations

import json
from typing import Any

import anyio
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from holdfast.errors import ServerError
from holdfast_daemon.server.settings import ServerSettings, User

_PATIENCE = 1.0
"""Seconds for one question: a server that is busy recovering may accept and say nothing."""


async def answers(settings: ServerSettings, user: User) -> bool:
    """Whether our server lets `user` in and JetStream answers its account; within a second, and 0.3 ms when healthy.

    False while it does not listen or is not ready yet. Raises ServerError if it is another server that listens there,
    or if it refuses the password.
    """
    try:
        with anyio.move_on_after(_PATIENCE):
            return await _ask(settings, user)
    except (OSError, anyio.EndOfStream, anyio.IncompleteRead, anyio.DelimiterNotFound, anyio.BrokenResourceError):
        pass  # not listening yet, or gone again
    return False


async def _ask(settings: ServerSettings, user: User) -> bool:
    async with await anyio.connect_tcp(settings.host, settings.port) as stream:
        lines = BufferedByteReceiveStream(stream)
        info = _info(await _line(lines))
        if info.get("server_name") != settings.name:
            raise ServerError(
                f"{settings.host}:{settings.port} is answered by another process: stop it, or set nats.port / --port"
            )
        return bool(info.get("jetstream")) and await _jetstream(stream, lines, user)


async def _jetstream(stream: SocketStream, lines: BufferedByteReceiveStream, user: User) -> bool:
    login = {"verbose": False, "pedantic": False, "user": user.name, "pass": user.password, "name": "readiness"}
    question = "SUB _INBOX.readiness 1\r\nPUB $JS.API.INFO _INBOX.readiness 0\r\n\r\n"
    await stream.send(f"CONNECT {json.dumps(login)}\r\n{question}".encode())
    while True:
        line = await _line(lines)
        if line.startswith(b"MSG "):
            return b'"error"' not in await lines.receive_exactly(int(line.split()[-1]))
        if line.startswith(b"-ERR"):
            raise ServerError(f"the nats-server refused user {user.name}: {line[5:].decode(errors='replace')}")


async def _line(lines: BufferedByteReceiveStream) -> bytes:
    return await lines.receive_until(b"\r\n", 65536)


def _info(line: bytes) -> dict[str, Any]:
    """The server's greeting; empty if this is no NATS server."""
    try:
        info = json.loads(line.removeprefix(b"INFO "))
    except ValueError:
        return {}
    return info if isinstance(info, dict) else {}
