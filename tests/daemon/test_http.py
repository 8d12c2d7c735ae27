"""The HTTP interface: what is answered, and that a refused request has triggered nothing."""

import signal
import socket
from collections.abc import AsyncIterator

import anyio
import httpx
import pytest

from doors import Told, problem, visitor
from holdfast.errors import (
    BusError,
    ConfigError,
    ConnectError,
    EncodeError,
    PayloadError,
    Refused,
    RunStateError,
    TokenTaken,
    TooLarge,
    Unanswered,
    UnknownToken,
)
from holdfast_daemon.http.app import build
from holdfast_daemon.http.bodies import MOST
from holdfast_daemon.http.serve import HttpServer


@pytest.fixture
def daemon() -> Told:
    return Told()


@pytest.fixture
async def http(daemon: Told) -> AsyncIterator[httpx.AsyncClient]:
    async with visitor(daemon) as client:
        yield client


def served(daemon: Told, port: int = 0, host: str = "127.0.0.1") -> HttpServer:
    return HttpServer(build({daemon.name: daemon}), host, port)


async def test_a_trigger_is_accepted_with_the_runs_id(http: httpx.AsyncClient, daemon: Told) -> None:
    answer = await http.post("/v1/tasks/ship/trigger", json={"a": [1, "ä"]})
    assert (answer.status_code, answer.json()) == (202, {"run": "R1", "cached": False})
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
        ("ship", b'{"a": "' + b"x" * MOST + b'"}', 413),
    ],
)
async def test_a_wrong_request_is_a_problem_and_triggers_nothing(
    http: httpx.AsyncClient, daemon: Told, task: str, body: bytes, status: int
) -> None:
    answer = await http.post(f"/v1/tasks/{task}/trigger", content=body)
    assert answer.status_code == status
    problem(answer)
    assert daemon.triggered == []


async def test_a_body_of_exactly_the_limit_is_taken(http: httpx.AsyncClient, daemon: Told) -> None:
    body = b'{"a": "' + b"x" * (MOST - 9) + b'"}'
    assert len(body) == MOST
    assert (await http.post("/v1/tasks/ship/trigger", content=body)).status_code == 202


async def test_a_body_without_a_length_is_read_no_further_than_the_limit(http: httpx.AsyncClient, daemon: Told) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 65536

    with anyio.fail_after(5):
        answer = await http.post("/v1/tasks/ship/trigger", content=endless())
    assert answer.status_code == 413
    assert daemon.triggered == []


@pytest.mark.parametrize(
    ("failure", "status", "outcome"),
    [
        (PayloadError("ship: expected order_id"), 422, None),
        (BusError("no stream"), 503, None),
        (Unanswered("no answer in time"), 503, "unknown"),
        (TooLarge("more than the server takes"), 413, None),
        (Refused("not now", code="unavailable"), 503, None),
        (ConfigError("a queue can't be called so"), 400, None),
        (RuntimeError("a bug"), 500, None),
    ],
)
async def test_a_trigger_that_fails_says_why(
    http: httpx.AsyncClient, daemon: Told, failure: Exception, status: int, outcome: str | None
) -> None:
    daemon.failure = failure
    answer = await http.post("/v1/tasks/ship/trigger", json={})
    assert answer.status_code == status
    assert problem(answer).get("outcome") == outcome


async def test_a_page_in_a_browser_may_not_trigger(http: httpx.AsyncClient, daemon: Told) -> None:
    answer = await http.post("/v1/tasks/ship/trigger", json={}, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert daemon.triggered == []


async def test_a_run_that_was_there_already_is_said_to_be(http: httpx.AsyncClient, daemon: Told) -> None:
    daemon.cached = True
    answer = await http.post("/v1/tasks/ship/trigger", json={}, headers={"Idempotency-Key": "A1"})
    assert (answer.status_code, answer.json()) == (202, {"run": "R1", "cached": True})
    assert daemon.options == [{"idempotency_key": "A1"}]


@pytest.mark.parametrize("task", ["a.b", "a b", "%2A", "a%0Ab", "x" * 4000, "%00", "ж"])
async def test_what_can_be_no_tasks_id_is_not_found(http: httpx.AsyncClient, daemon: Told, task: str) -> None:
    answer = await http.post(f"/v1/tasks/{task}/trigger", json={})
    assert answer.status_code == 404
    problem(answer)
    assert not daemon.touched


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


async def test_alive_is_not_yet_ready(http: httpx.AsyncClient, daemon: Told) -> None:
    daemon.missing = "the history has not caught up"
    assert (await http.get("/healthz")).status_code == 200
    answer = await http.get("/readyz")
    assert answer.status_code == 503
    assert problem(answer)["detail"] == "the history has not caught up"
    daemon.missing = ""
    assert (await http.get("/readyz")).status_code == 200


async def test_the_server_serves_and_ends_with_its_scope(daemon: Told) -> None:
    server = served(daemon)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            await tasks.start(server.run)
            headers = {"Authorization": f"Bearer {daemon.issue()}"}
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", headers=headers) as client:
                assert (await client.post("/v1/tasks/ship/trigger", json={})).status_code == 202
                tasks.cancel_scope.cancel()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0


async def test_the_server_leaves_signals_alone(daemon: Told) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    async with anyio.create_task_group() as tasks:
        await tasks.start(served(daemon).run)
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
        tasks.cancel_scope.cancel()


async def test_a_port_in_use_is_said_with_what_to_do(daemon: Told) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port} in use; stop what listens there"):
            await served(daemon, port).run()


async def test_an_address_of_another_machine_is_said(daemon: Told) -> None:
    with pytest.raises(ConfigError, match=r"daemon\.http: expected an address to listen on, found"):
        await served(daemon, host="192.0.2.1").run()


# --- tokens ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "value"),
    [(b"", None), (b"  \n", None), (b"null", None), (b'{"ok": true}', {"ok": True}), (b"[1]", [1]), (b'"yes"', "yes")],
)
async def test_a_token_is_completed_with_any_json_or_nothing(
    http: httpx.AsyncClient, daemon: Told, body: bytes, value: object
) -> None:
    answer = await http.post("/v1/tokens/R1-a1b2/complete", content=body)
    assert (answer.status_code, answer.json()) == (200, {"run": "R1"})
    assert daemon.completed == [("R1-a1b2", value)]


@pytest.mark.parametrize("body", [b"{", b"yes", b"\xff", b"[" * 100_000])
async def test_a_token_is_not_completed_with_what_is_no_json(
    http: httpx.AsyncClient, daemon: Told, body: bytes
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
        (EncodeError("nested too deep"), 422),
        (BusError("no"), 503),
        (ConnectError("away"), 503),
    ],
)
async def test_a_token_that_can_not_be_completed_is_a_problem_with_its_reason(
    http: httpx.AsyncClient, daemon: Told, failure: Exception, status: int
) -> None:
    daemon.failure = failure
    told = problem(await http.post("/v1/tokens/R1-a1b2/complete", content=b"1"))
    assert (told["status"], told["detail"]) == (status, str(failure))


async def test_an_unanswered_completion_says_that_its_outcome_is_unknown(http: httpx.AsyncClient, daemon: Told) -> None:
    daemon.failure = Unanswered("late")
    told = problem(await http.post("/v1/tokens/R1-a1b2/complete", content=b"1"))
    assert (told["status"], told["outcome"]) == (503, "unknown")


async def test_pages_in_a_browser_and_large_bodies_complete_no_tokens(http: httpx.AsyncClient, daemon: Told) -> None:
    path = "/v1/tokens/R1-a1b2/complete"
    assert problem(await http.post(path, headers={"Origin": "https://evil.example"}))["status"] == 403
    assert problem(await http.post(path, content=b" " * (MOST + 1)))["status"] == 413
    assert problem(await http.get(path))["status"] == 405
    assert daemon.completed == []
