"""Clients that are slow, endless, malformed or gone, over real sockets: none holds anything for long, none writes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import anyio.lowlevel
import httpx
import pytest
from anyio.abc import SocketStream

from doors import Told, visitor
from holdfast.config import Http
from holdfast.errors import PayloadError
from holdfast_daemon.http.app import build
from holdfast_daemon.http.bodies import MOST
from holdfast_daemon.http.protocol import DROPPED_MOST, HEAD_MOST
from holdfast_daemon.http.serve import HttpServer

SHORT = 0.2
"""Seconds that a client may take in these tests; each fails after `LONG`."""

LONG = 20.0

PATH = "/v1/tasks/ship/trigger"


class Served:
    """A server on a port of its own."""

    def __init__(self, told: Told, server: HttpServer) -> None:
        self.told = told
        self.port = server.port
        self.token = told.issue()

    def head(self, *lines: str, path: str = PATH, method: str = "POST", token: str | None = "") -> bytes:
        """The head of a request, without its last line end."""
        told = [f"Authorization: Bearer {self.token}"] if token is not None else []
        return "".join(f"{line}\r\n" for line in (f"{method} {path} HTTP/1.1", "Host: x", *told, *lines)).encode()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[SocketStream]:
        async with await anyio.connect_tcp("127.0.0.1", self.port) as stream:
            yield stream


@asynccontextmanager
async def serving(timeout: float = SHORT, connections: int = 100) -> AsyncIterator[Served]:
    told = Told()
    settings = Http(timeout=timeout, connections=connections)
    server = HttpServer(build({told.name: told}, settings), port=0, settings=settings)
    with anyio.fail_after(LONG):
        async with anyio.create_task_group() as tasks:
            await tasks.start(server.run)
            yield Served(told, server)
            tasks.cancel_scope.cancel()


async def rest(stream: SocketStream) -> bytes:
    """All that comes until the server closes."""
    read = b""
    try:
        while True:
            read += await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return read


async def sent_until_closed(stream: SocketStream, again: bytes) -> int:
    """Send this again and again until the server closes the connection; bytes sent."""
    sent = 0
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        while True:
            await stream.send(again)
            sent += len(again)
    return sent


def status(answer: bytes) -> int:
    return int(answer.split()[1])


def problem(answer: bytes) -> dict[str, object]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    found: dict[str, object] = json.loads(body)
    assert found["status"] == status(answer)
    return found


@pytest.mark.parametrize("sent", [b"", b"P", b"POST / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nA: b"])
async def test_a_head_that_never_ends_is_given_up(sent: bytes) -> None:
    async with serving() as served, served.connection() as stream:
        if sent:
            await stream.send(sent)
        answer = await rest(stream)
    assert status(answer) == 408
    assert "expected the head of a request within 0.2 s" in str(problem(answer)["detail"])


async def test_a_head_that_drips_is_given_up_too() -> None:
    async with serving() as served, served.connection() as stream, anyio.create_task_group() as tasks:

        async def drip() -> None:
            await stream.send(b"POST / HTTP/1.1\r\n")
            while True:
                await stream.send(b"X-A: b\r\n")
                await anyio.sleep(SHORT / 10)

        tasks.start_soon(drip)
        answer = await stream.receive()
        tasks.cancel_scope.cancel()
    assert status(answer) == 408


async def test_a_second_head_on_a_kept_connection_has_its_time_too() -> None:
    async with serving() as served, served.connection() as stream:
        await stream.send(served.head("Content-Length: 2") + b"\r\n{}")
        assert status(await stream.receive()) == 202
        await stream.send(b"POST / HT")
        assert status(await rest(stream)) == 408
    assert len(served.told.triggered) == 1


@pytest.mark.parametrize("how", ["Content-Length: 10", "Transfer-Encoding: chunked"])
async def test_a_body_that_never_ends_is_given_up_and_triggers_nothing(how: str) -> None:
    async with serving() as served, served.connection() as stream:
        await stream.send(served.head(how) + b"\r\n")
        answer = await rest(stream)
    assert "expected the body within 0.2 s" in str(problem(answer)["detail"])
    assert status(answer) == 408
    assert not served.told.touched


async def test_a_body_that_drips_is_given_up_and_triggers_nothing() -> None:
    async with serving() as served, served.connection() as stream, anyio.create_task_group() as tasks:

        async def drip() -> None:
            await stream.send(served.head("Transfer-Encoding: chunked") + b'\r\n4\r\n{"a"\r\n')
            while True:
                await stream.send(b"1\r\n \r\n")
                await anyio.sleep(SHORT / 10)

        tasks.start_soon(drip)
        answer = await stream.receive()
        tasks.cancel_scope.cancel()
    assert status(answer) == 408
    assert not served.told.touched


@pytest.mark.parametrize(
    ("path", "method", "token"), [("/healthz", "GET", None), (PATH, "POST", None), ("/x", "POST", "")]
)
async def test_a_body_that_nobody_reads_does_not_keep_the_connection(path: str, method: str, token: str | None) -> None:
    async with serving() as served, served.connection() as stream:
        head = served.head("Content-Length: 100", path=path, method=method, token=token)
        await stream.send(head + b"\r\nbegun")
        assert status(await stream.receive()) in (200, 401, 404)
        await rest(stream)  # it is closed, though the body never ended
    assert not served.told.touched


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
async def test_who_neither_ends_a_body_nor_closes_keeps_no_connection(connection: str) -> None:
    async with serving(connections=1) as served, served.connection() as stream:
        head = served.head("Content-Length: 100", f"Connection: {connection}", token=None)
        await stream.send(head + b"\r\nbegun")
        assert status(await rest(stream)) == 401
        answer = b""
        while not answer:  # one more than the limit is closed at once
            await anyio.sleep(SHORT)
            async with served.connection() as other:
                await other.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answer = await rest(other)
        assert status(answer) == 200


@pytest.mark.parametrize("how", ["length", "chunks"])
@pytest.mark.parametrize("path", [PATH, "/v1/events/a.b", "/v1/tokens/R1-a/complete", "/v1/runs/R1/cancel"])
@pytest.mark.parametrize("connection", ["keep-alive", "close"])
async def test_several_mebibytes_are_answered_413_and_write_nothing(how: str, path: str, connection: str) -> None:
    body = b'"' + b"x" * (5 * MOST) + b'"'

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 1 << 16):
            yield body[at : at + (1 << 16)]

    async with serving(timeout=10) as served:
        headers = {"Authorization": f"Bearer {served.token}", "Connection": connection}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}", headers=headers) as http:
            answer = await http.post(path, content=body if how == "length" else chunks())
            assert answer.status_code == 413
            assert answer.headers["content-type"] == "application/problem+json"
            assert (await http.get("/healthz")).status_code == 200
    assert not served.told.touched


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
async def test_an_answer_comes_whole_before_the_body_that_nobody_reads_and_then_the_end(connection: str) -> None:
    """A client that sends all before it reads."""
    async with serving(timeout=5) as served, served.connection() as stream:
        lines = (f"Content-Length: {DROPPED_MOST // 2}", f"Connection: {connection}")
        await stream.send(served.head(*lines, token=None) + b"\r\n")
        for _ in range(DROPPED_MOST // 2 // 0x10000):
            await stream.send(b"x" * 0x10000)
            await anyio.lowlevel.checkpoint()
        assert status(await stream.receive()) == 401
        if connection == "close":
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
async def test_an_endless_body_is_cut_off(connection: str) -> None:
    async with serving(timeout=10) as served, served.connection() as stream:
        await stream.send(served.head("Transfer-Encoding: chunked", f"Connection: {connection}") + b"\r\n")
        assert await sent_until_closed(stream, b"10000\r\n" + b"x" * 0x10000 + b"\r\n") < 100 * DROPPED_MOST
    assert not served.told.touched


MALFORMED = [
    b"\x00\x01\x02\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",  # without a Host
    b"GET / HTTP/1.1\r\nHost: x\r\nBad Header: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x00\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]


@pytest.mark.parametrize("request_", MALFORMED)
async def test_what_is_no_request_is_refused_and_never_a_fault_of_ours(request_: bytes) -> None:
    async with serving() as served, served.connection() as stream:
        await stream.send(request_)
        await stream.send_eof()
        answer = await rest(stream)
    assert answer == b"" or 400 <= status(answer) < 500, answer
    assert not served.told.touched


@pytest.mark.parametrize("size", [HEAD_MOST + 100, 4 * HEAD_MOST, 64 * HEAD_MOST])
@pytest.mark.parametrize("where", ["header", "path"])
async def test_a_head_that_is_too_large_is_refused(size: int, where: str) -> None:
    async with serving(timeout=5) as served, served.connection() as stream:
        long = "x" * size
        close = "Connection: close"
        head = served.head(close, f"A: {long}") if where == "header" else served.head(close, path=f"/v1/{long}")
        with suppress(anyio.BrokenResourceError):  # it may be closed under way
            await stream.send(head + b"\r\n")
        answer = await rest(stream)
    assert answer == b"" or status(answer) in (400, 431), answer
    if size < 2 * HEAD_MOST:
        assert problem(answer)
    assert not served.told.touched


async def test_many_small_headers_are_too_much_too() -> None:
    async with serving(timeout=5) as served, served.connection() as stream:
        await stream.send(served.head("Connection: close", *(f"A{n}: b" for n in range(5000))) + b"\r\n")
        assert status(await rest(stream)) in (400, 431)


@pytest.mark.parametrize("bad", [b"zz\r\n", b"-1\r\n", b"5\r\n{}\r\n\r\n\r\n", b"\x00"])
async def test_a_body_that_is_no_http_triggers_nothing(bad: bytes) -> None:
    async with serving() as served, served.connection() as stream:
        await stream.send(served.head("Transfer-Encoding: chunked") + b"\r\n2\r\n{}\r\n" + bad)
        answer = await rest(stream)
    assert status(answer) in (400, 408)
    assert problem(answer)
    assert not served.told.touched


async def test_who_hangs_up_in_the_middle_of_a_body_triggers_nothing() -> None:
    async with serving() as served:
        async with served.connection() as stream:
            await stream.send(served.head("Content-Length: 10") + b'\r\n{"a"')
        async with served.connection() as stream:  # and others are served
            await stream.send(served.head("Content-Length: 2") + b"\r\n{}")
            assert status(await stream.receive()) == 202
    assert len(served.told.triggered) == 1


async def test_who_does_not_take_his_answer_does_not_keep_the_connection() -> None:
    async with serving(timeout=1.0) as served, served.connection() as stream:
        served.told.failure = PayloadError("a long story " * 5000)
        await sent_until_closed(stream, served.head("Content-Length: 2") + b"\r\n{}")  # and no answer is read


async def test_connections_are_bounded() -> None:
    async with (
        serving(timeout=5, connections=2) as served,
        served.connection() as first,
        served.connection(),
        served.connection() as third,
    ):
        assert await rest(third) == b""
        await first.send(served.head("Content-Length: 2") + b"\r\n{}")
        assert status(await first.receive()) == 202


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving(timeout=5) as served, served.connection() as stream:
        one = served.head("Content-Length: 2") + b"\r\n{}"
        other = served.head("Connection: close", path="/nowhere", method="GET") + b"\r\n"
        await stream.send(one * 3 + other)
        answer = await rest(stream)
    assert answer.count(b"HTTP/1.1 202") == 3
    assert answer.rindex(b"HTTP/1.1 404") > answer.rindex(b"HTTP/1.1 202")
    assert len(served.told.triggered) == 3


async def test_who_asks_to_be_told_to_continue_is_told_no_before_he_sends() -> None:
    async with serving(timeout=5) as served, served.connection() as stream:
        await stream.send(served.head(f"Content-Length: {2 * MOST}", "Expect: 100-continue") + b"\r\n")
        assert status(await stream.receive()) == 413
    assert not served.told.touched


async def test_heads_that_are_too_large_are_refused_without_a_server_too() -> None:
    told = Told()
    async with visitor(told) as http:
        answer = await http.post(PATH, json={}, headers={"X": "x" * HEAD_MOST})
    assert answer.status_code == 431
    assert not told.touched
