"""The HTTP interface: what is answered, and that a refused request has triggered nothing."""

import signal
import socket
from collections.abc import AsyncIterator

import anyio
import httpx
import pytest

from holdfast.core.model import State
from holdfast.errors import (
    BusError,
    ConfigError,
    ConnectError,
    EncodeError,
    PayloadError,
    Refused,
    RunStateError,
    TokenTaken,
    Unanswered,
    UnknownTask,
    UnknownToken,
)
from holdfast.wire.api import RunRef, RunRow, RunView
from holdfast_daemon.http.app import BODY_MOST, build
from holdfast_daemon.http.serve import HttpServer

ROW = RunRow(id="R1", task="ship", queue="default", priority=5, state=State.QUEUED, created_at=1.5)


class Daemon:
    """What the application asks."""

    def __init__(self) -> None:
        self.triggered: list[tuple[str, dict[str, object]]] = []
        self.completed: list[tuple[str, object]] = []
        self.failure: Exception | None = None
        self.missing = ""

    async def trigger(self, task_id: str, payload: dict[str, object]) -> str:
        if self.failure is not None:
            raise self.failure
        if task_id != "ship":
            raise UnknownTask(f"nobody serves a task {task_id}")
        self.triggered.append((task_id, payload))
        return "R1"

    async def complete(self, token_id: str, value: object) -> str:
        if self.failure is not None:
            raise self.failure
        self.completed.append((token_id, value))
        return "R1"

    async def view(self, ref: RunRef) -> RunView:
        if ref.run != "R1":
            raise Refused(f"no run {ref.run}", code="ambiguous" if ref.run == "R" else "not_found")
        return RunView(row=ROW, payload='{\n  "a": 1\n}', result="")

    async def readiness(self) -> str:
        return self.missing


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


@pytest.fixture
async def http(daemon: Daemon) -> AsyncIterator[httpx.AsyncClient]:
    app = build(daemon, daemon, daemon.readiness, daemon)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://holdfast") as client:
        yield client


def problem(answer: httpx.Response) -> dict[str, object]:
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, object] = answer.json()
    assert set(told) >= {"type", "title", "status", "detail"}
    assert told["status"] == answer.status_code
    return told


async def test_a_trigger_is_accepted_with_the_runs_id(http: httpx.AsyncClient, daemon: Daemon) -> None:
    answer = await http.post("/v1/tasks/ship/trigger", json={"a": [1, "ä"]})
    assert (answer.status_code, answer.json()) == (202, {"run": "R1"})
    assert answer.headers["location"] == "/v1/runs/R1"
    assert daemon.triggered == [("ship", {"a": [1, "ä"]})]


@pytest.mark.parametrize(
    ("task", "body", "status"),
    [
        ("nobody", b"{}", 404),
        ("ship", b"", 400),
        ("ship", b"{", 400),
        ("ship", b"{'a': 1}", 400),
        ("ship", b'{"a": NaN}', 400),
        ("ship", b"\xff", 400),
        ("ship", b'{"a":' * 20_000 + b"1" + b"}" * 20_000, 400),
        ("ship", b"[1]", 422),
        ("ship", b"null", 422),
        ("ship", b'"text"', 422),
        ("ship", b'{"a": "' + b"x" * BODY_MOST + b'"}', 413),
    ],
)
async def test_a_wrong_request_is_a_problem_and_triggers_nothing(
    http: httpx.AsyncClient, daemon: Daemon, task: str, body: bytes, status: int
) -> None:
    answer = await http.post(f"/v1/tasks/{task}/trigger", content=body)
    assert answer.status_code == status
    problem(answer)
    assert daemon.triggered == []


async def test_a_body_of_exactly_the_limit_is_taken(http: httpx.AsyncClient, daemon: Daemon) -> None:
    body = b'{"a": "' + b"x" * (BODY_MOST - 9) + b'"}'
    assert len(body) == BODY_MOST
    assert (await http.post("/v1/tasks/ship/trigger", content=body)).status_code == 202


async def test_a_body_without_a_length_is_read_no_further_than_the_limit(
    http: httpx.AsyncClient, daemon: Daemon
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 65536

    with anyio.fail_after(5):
        answer = await http.post("/v1/tasks/ship/trigger", content=endless())
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"
    assert daemon.triggered == []


@pytest.mark.parametrize(
    ("failure", "status", "outcome"),
    [
        (PayloadError("ship: expected order_id"), 422, None),
        (BusError("no stream"), 503, None),
        (Unanswered("no answer in time"), 503, "unknown"),
        (RuntimeError("a bug"), 500, None),
    ],
)
async def test_a_trigger_that_fails_says_why(
    http: httpx.AsyncClient, daemon: Daemon, failure: Exception, status: int, outcome: str | None
) -> None:
    daemon.failure = failure
    answer = await http.post("/v1/tasks/ship/trigger", json={})
    assert answer.status_code == status
    assert problem(answer).get("outcome") == outcome


async def test_a_page_in_a_browser_may_not_trigger(http: httpx.AsyncClient, daemon: Daemon) -> None:
    answer = await http.post("/v1/tasks/ship/trigger", json={}, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert daemon.triggered == []


async def test_a_run_is_shown_as_json(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/runs/R1")
    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["id"], shown["state"], shown["payload"], shown["result"]) == ("R1", "queued", {"a": 1}, None)


@pytest.mark.parametrize(("path", "status"), [("/v1/runs/R2", 404), ("/v1/runs/R", 409), ("/v1/nothing", 404)])
async def test_what_is_not_there_is_a_problem(http: httpx.AsyncClient, path: str, status: int) -> None:
    answer = await http.get(path)
    assert answer.status_code == status
    problem(answer)


async def test_a_wrong_method_names_the_right_one(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/tasks/ship/trigger")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    problem(answer)


async def test_alive_is_not_yet_ready(http: httpx.AsyncClient, daemon: Daemon) -> None:
    daemon.missing = "the history has not caught up"
    assert (await http.get("/healthz")).status_code == 200
    answer = await http.get("/readyz")
    assert answer.status_code == 503
    assert problem(answer)["detail"] == "the history has not caught up"
    daemon.missing = ""
    assert (await http.get("/readyz")).status_code == 200


async def test_the_server_serves_and_ends_with_its_scope(daemon: Daemon) -> None:
    server = HttpServer(build(daemon, daemon, daemon.readiness, daemon), port=0)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            await tasks.start(server.run)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
                assert (await client.post("/v1/tasks/ship/trigger", json={})).status_code == 202
                tasks.cancel_scope.cancel()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0


async def test_the_server_leaves_signals_alone(daemon: Daemon) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    async with anyio.create_task_group() as tasks:
        await tasks.start(HttpServer(build(daemon, daemon, daemon.readiness, daemon), port=0).run)
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
        tasks.cancel_scope.cancel()


async def test_a_port_in_use_is_said_with_what_to_do(daemon: Daemon) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port} in use; stop what listens there"):
            await HttpServer(build(daemon, daemon, daemon.readiness, daemon), port=port).run()


async def test_an_address_of_another_machine_is_said(daemon: Daemon) -> None:
    with pytest.raises(ConfigError, match=r"daemon\.http: expected an address to listen on, found"):
        await HttpServer(build(daemon, daemon, daemon.readiness, daemon), host="192.0.2.1", port=0).run()


# --- tokens ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "value"),
    [(b"", None), (b"  \n", None), (b"null", None), (b'{"ok": true}', {"ok": True}), (b"[1]", [1]), (b'"yes"', "yes")],
)
async def test_a_token_is_completed_with_any_json_or_nothing(
    http: httpx.AsyncClient, daemon: Daemon, body: bytes, value: object
) -> None:
    answer = await http.post("/v1/tokens/R1-a1b2/complete", content=body)
    assert (answer.status_code, answer.json()) == (200, {"run": "R1"})
    assert daemon.completed == [("R1-a1b2", value)]


@pytest.mark.parametrize("body", [b"{", b"yes", b"\xff", b"[" * 100_000])
async def test_a_token_is_not_completed_with_what_is_no_json(
    http: httpx.AsyncClient, daemon: Daemon, body: bytes
) -> None:
    answer = await http.post("/v1/tokens/R1-a1b2/complete", content=body)
    assert problem(answer)["status"] == 400
    assert daemon.completed == []


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (UnknownToken("no run has asked for it"), 404),
        (TokenTaken("completed by ann", by="ann", at=1.0), 409),
        (RunStateError("run R1 has ended"), 409),
        (EncodeError("nested too deep"), 400),
        (BusError("no"), 503),
        (ConnectError("away"), 503),
    ],
)
async def test_a_token_that_can_not_be_completed_is_a_problem_with_its_reason(
    http: httpx.AsyncClient, daemon: Daemon, failure: Exception, status: int
) -> None:
    daemon.failure = failure
    told = problem(await http.post("/v1/tokens/R1-a1b2/complete", content=b"1"))
    assert (told["status"], told["detail"]) == (status, str(failure))


async def test_an_unanswered_completion_says_that_its_outcome_is_unknown(
    http: httpx.AsyncClient, daemon: Daemon
) -> None:
    daemon.failure = Unanswered("late")
    told = problem(await http.post("/v1/tokens/R1-a1b2/complete", content=b"1"))
    assert (told["status"], told["outcome"]) == (503, "unknown")


async def test_pages_in_a_browser_and_large_bodies_complete_no_tokens(http: httpx.AsyncClient, daemon: Daemon) -> None:
    path = "/v1/tokens/R1-a1b2/complete"
    assert problem(await http.post(path, headers={"Origin": "https://evil.example"}))["status"] == 403
    assert problem(await http.post(path, content=b" " * (BODY_MOST + 1)))["status"] == 413
    assert problem(await http.get(path))["status"] == 405
    assert daemon.completed == []
