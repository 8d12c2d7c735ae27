"""The HTTP interface of a real daemon: tokens, tasks, events, webhooks and projects."""

from __future__ import annotations

import hashlib
import hmac
import subprocess
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deployment import HOLDFAST, Deployment, until

TASKS = """
import os
from holdfast import task

def effect(text: str) -> None:
    file = os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{text}\\n".encode())
    os.close(file)

@task
async def ship(order_id: str, *, express: bool = False) -> str:
    effect(f"ship {order_id} {express}")
    return order_id

@task(on="orders.created")
async def on_order(order_id: str) -> None:
    effect(f"event {order_id}")

@task(on="payments.github")
async def on_payment(amount: int) -> None:
    effect(f"paid {amount}")
"""

HOOKS = """
[projects.shop]
[[hooks]]
name = "pay"
style = "github"
secret = "PAY"
subject = "payments.github"
[[hooks]]
name = "unset"
secret = "NOTHING"
subject = "payments.github"
"""


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """One deployment that asks for tokens, with a second project that has no workers."""
    deployment = Deployment(tmp_path_factory.mktemp("http") / "home", TASKS, auth="required")
    settings = deployment.home / "holdfast.toml"
    settings.write_text(settings.read_text() + HOOKS)
    with deployment:
        yield deployment


def created(there: Deployment, *scopes: str, project: str = "default") -> tuple[str, str]:
    """A new token: its id and text."""
    args = [part for scope in scopes for part in ("--scope", scope)]
    (made,) = there.json("tokens", "create", "--name", "test", "--project", project, *args)
    return made["id"], made["token"]


def visit(there: Deployment, token: str | None = None) -> httpx.Client:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=there.http, headers=headers, timeout=20)


def runs(there: Deployment, project: str = "default") -> int:
    return len(there.json("runs", "list", "--project", project, "--limit", "1000"))


@pytest.fixture(scope="module")
def token(there: Deployment) -> str:
    return created(there, "trigger", "read", "operate")[1]


def test_a_token_counts_from_its_creation_to_its_end_without_a_restart(there: Deployment) -> None:
    before = runs(there)
    with visit(there) as http:
        assert http.get("/healthz").status_code == http.get("/readyz").status_code == 200
        assert http.post("/v1/tasks/ship/trigger", json={"order_id": "A0"}).status_code == 401
        assert http.get("/v1/runs").status_code == http.get("/metrics").status_code == 401
    id, text = created(there, "trigger")
    with visit(there, text) as http:
        until(lambda: http.post("/v1/tasks/ship/trigger", json={"order_id": "A1"}).status_code == 202, there.log)
        assert http.get("/v1/runs").status_code == 403
        there.run("tokens", "revoke", id)
        until(lambda: http.post("/v1/tasks/ship/trigger", json={}).status_code == 401, there.log)
    assert runs(there) == before + 1
    secret = text.rpartition("_")[2]
    for file in (there.home / ".holdfast").rglob("*"):
        assert not file.is_file() or secret.encode() not in file.read_bytes(), file


def test_a_trigger_with_options_runs_and_is_seen(there: Deployment, token: str) -> None:
    with visit(there, token) as http:
        headers = {"Holdfast-Tags": "eu, big", "Holdfast-Metadata": '{"by": "ann"}', "Holdfast-Priority": "0"}
        answer = http.post("/v1/tasks/ship/trigger", json={"order_id": "B1", "express": True}, headers=headers)
        assert (answer.status_code, answer.json()["cached"]) == (202, False)
        path = answer.headers["location"]
        until(lambda: http.get(path).json().get("state") == "completed", there.log)
        row = http.get(path).json()
        assert (row["tags"], row["priority"], row["result"]) == (["eu", "big"], 0, "B1")
        page = http.get("/v1/runs", params={"task": "ship", "state": "completed", "tag": "big"}).json()
        assert [run["id"] for run in page["runs"]] == [answer.json()["run"]]
    assert "ship B1 True" in there.lines()


def test_pages_follow_each_other_and_an_operator_moves_runs(there: Deployment, token: str) -> None:
    with visit(there, token) as http:
        started = [
            http.post("/v1/tasks/ship/trigger", json={"order_id": f"C{n}"}, headers={"Holdfast-Delay": "1h"}).json()[
                "run"
            ]
            for n in range(5)
        ]
        seen: list[str] = []
        params: dict[str, Any] = {"state": "delayed", "limit": "2"}
        while True:
            page = http.get("/v1/runs", params=params).json()
            seen += [run["id"] for run in page["runs"]]
            if page["next"] is None:
                break
            params["before"] = page["next"]
        assert seen == started[::-1]
        moved = http.post(f"/v1/runs/{started[0]}/cancel", json={"reason": "not wanted"})
        assert (moved.status_code, moved.json()["state"]) == (200, "cancelled")
        assert http.post(f"/v1/runs/{started[0]}/cancel").status_code == 409
        assert http.post(f"/v1/runs/{started[0]}/signals/go").status_code == 409
        assert http.post(f"/v1/runs/{started[0]}/retry").json()["run"] == started[0]
        for run in started[1:]:
            assert http.post(f"/v1/runs/{run}/cancel").status_code == 200
    assert "ship C1 False" not in there.lines()


def test_an_event_starts_its_task_once_for_each_key(there: Deployment, token: str) -> None:
    with visit(there, token) as http:
        key = {"Idempotency-Key": "D1"}
        answers = [http.post("/v1/events/orders.created", json={"order_id": "D1"}, headers=key) for _ in range(3)]
        other = http.post("/v1/events/orders.created", json={"order_id": "D2"})
    assert len({answer.json()["seq"] for answer in answers}) == 1
    assert other.json()["seq"] > answers[0].json()["seq"]
    until(lambda: "event D2" in there.lines(), there.log)
    assert there.lines().count("event D1") == 1


def signed(body: bytes, secret: str) -> dict[str, str]:
    return {"X-Hub-Signature-256": f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"}


def secret_is(there: Deployment, value: str, verb: str) -> None:
    done = subprocess.run(
        [*HOLDFAST, "secrets", verb, "PAY"], cwd=there.home, env=there.env, input=value, text=True, check=False,
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_signed_webhook_starts_its_task_once_and_nothing_else_does(there: Deployment) -> None:
    body, before = b'{"amount": 7}', runs(there)
    with visit(there) as http:
        answer = http.post("/v1/hooks/unset", content=body)
        assert (answer.status_code, "its secret is not set" in answer.json()["detail"]) == (503, True)
        secret_is(there, "first", "set")
        until(lambda: http.post("/v1/hooks/pay", content=body, headers=signed(body, "first")).status_code == 202)
        for _ in range(3):
            assert http.post("/v1/hooks/pay", content=body, headers=signed(body, "first")).status_code == 202
        for headers in ({}, signed(body, "other"), signed(body + b" ", "first")):
            assert http.post("/v1/hooks/pay", content=body, headers=headers).status_code == 401
        assert http.post("/v1/hooks/nobody", content=body).status_code == 404

        secret_is(there, "second", "rotate")
        new = b'{"amount": 8}'
        until(lambda: http.post("/v1/hooks/pay", content=new, headers=signed(new, "second")).status_code == 202)
        old = b'{"amount": 9}'
        assert http.post("/v1/hooks/pay", content=old, headers=signed(old, "first")).status_code == 202
    until(lambda: {"paid 7", "paid 8", "paid 9"} <= set(there.lines()), there.log)
    counts = Counter(line for line in there.lines() if line.startswith("paid"))
    assert counts == {"paid 7": 1, "paid 8": 1, "paid 9": 1}
    assert runs(there) == before + 3


def test_a_token_belongs_to_its_project(there: Deployment, token: str) -> None:
    _, shops = created(there, "trigger", "read", project="shop")
    with visit(there, shops) as http:
        until(lambda: http.get("/v1/runs").status_code == 200, there.log)
        answer = http.post("/v1/tasks/ship/trigger", json={"order_id": "E1"})
        assert answer.status_code == 404  # nobody has declared it there
        assert http.get("/v1/runs").json()["total"] == 0
        seq = http.post("/v1/events/orders.created", json={"order_id": "E1"})
        assert seq.json() == {"seq": 1}
        assert "/v1/tasks/ship/trigger" not in http.get("/openapi.json").json()["paths"]
        assert 'project="default"' not in http.get("/metrics").text
    with visit(there, token) as http:
        assert "/v1/tasks/ship/trigger" in http.get("/openapi.json").json()["paths"]
        families = {family.name for family in text_string_to_metric_families(http.get("/metrics").text)}
    assert families >= {"holdfast_runs", "holdfast_journal_sequence", "holdfast_http_requests"}
    assert "event E1" not in there.lines()


def test_names_that_no_server_takes_do_not_disturb_the_others(there: Deployment, token: str) -> None:
    long = "x" * 8000
    with visit(there, token) as http:
        for path in (
            f"/v1/tasks/{long}/trigger",
            f"/v1/events/{long}",
            f"/v1/runs/{long}/cancel",
            f"/v1/runs/01KDZ0A1B2C3D4E5F6G7H80001/signals/{long}",
            f"/v1/tokens/{long}/complete",
            f"/v1/tokens/{'0' * 180}-1/complete",
        ):
            assert http.post(path, content=b"{}").status_code == 404, path[:40]
        assert http.get(f"/v1/runs/{long}").status_code == 404
        assert http.post("/v1/tasks/ship/trigger", json={"order_id": "F1"}).status_code == 202
    until(lambda: "ship F1 False" in there.lines(), there.log)


def test_what_was_accepted_is_there_after_the_daemon_is_killed(there: Deployment, token: str) -> None:
    accepted: list[str] = []
    with visit(there, token) as http:
        for n in range(30):
            answer = http.post("/v1/tasks/ship/trigger", json={"order_id": f"G{n}"})
            accepted.append(answer.json()["run"])
    there.kill()
    there.start()
    with visit(there, token) as http:
        until(lambda: http.get("/readyz").status_code == 200, there.log)
        until(
            lambda: all(http.get(f"/v1/runs/{run}").json().get("state") == "completed" for run in accepted), there.log
        )
    assert {f"ship G{n} False" for n in range(30)} <= set(there.lines())


def test_a_configuration_that_contradicts_itself_starts_nothing(there: Deployment) -> None:
    settings = there.home / "wrong.toml"
    settings.write_text('[daemon]\nhttp = "0.0.0.0:1"\ndata_dir = "other"\n[http]\nauth = "off"\n')
    done = there.run("up", "--config", str(settings), check=False)
    assert done.returncode == 2
    assert 'http.auth: expected "required", as daemon.http = "0.0.0.0:1" is reached from other machines' in done.stderr
    assert not (there.home / "other").exists()
