"""Who may: tokens, scopes, projects, rates, and what an address may try."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from doors import RUN, Hand, Told, problem, visitor
from holdfast.config import Auth, Http
from holdfast.core.model import Rate
from holdfast.errors import UnknownToken
from holdfast.wire.api import Scope
from holdfast_daemon.http.app import endpoints
from holdfast_daemon.http.auth import Gate
from holdfast_daemon.http.problems import Problem

TRIGGER, READ, OPERATE = Scope.TRIGGER, Scope.READ, Scope.OPERATE

SCOPED = [
    ("POST", "/v1/tasks/ship/trigger", TRIGGER),
    ("POST", "/v1/events/orders.created", TRIGGER),
    ("GET", "/v1/runs", READ),
    ("GET", "/v1/runs/R1", READ),
    ("GET", "/metrics", READ),
    ("POST", f"/v1/runs/{RUN}/cancel", OPERATE),
    ("POST", f"/v1/runs/{RUN}/retry", OPERATE),
    ("POST", f"/v1/runs/{RUN}/signals/go", OPERATE),
]
"""Written by hand: what needs which scope."""

OPEN = [
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/openapi.json"),
    ("POST", "/v1/tokens/R1-a1b2/complete"),
]


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


@pytest.fixture
def shop() -> Told:
    return Told("shop")


def test_nothing_is_served_that_these_tests_do_not_know() -> None:
    assert len(endpoints()) == len(SCOPED) + len(OPEN) + len(["hooks"])


@pytest.mark.parametrize(("method", "path", "scope"), SCOPED)
@pytest.mark.parametrize("has", list(Scope))
async def test_a_token_may_what_its_scope_says_and_nothing_else(
    shop: Told, method: str, path: str, scope: Scope, has: Scope
) -> None:
    async with visitor(shop, token=shop.issue(has)) as http:
        answer = await http.request(method, path, content=b"{}")
    if has is scope:
        assert answer.status_code in (200, 202), answer.text
        return
    assert scope in str(problem(answer)["detail"])
    assert answer.status_code == 403
    assert f'scope="{scope}"' in answer.headers["www-authenticate"]
    assert not shop.touched


@pytest.mark.parametrize(("method", "path", "scope"), SCOPED)
async def test_nobody_may_without_a_token(shop: Told, method: str, path: str, scope: Scope) -> None:
    async with visitor(shop, token=None) as http:
        answer = await http.request(method, path, content=b"{}")
    assert problem(answer)["status"] == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert not shop.touched
    assert shop.asked == []


@pytest.mark.parametrize(("method", "path"), OPEN)
async def test_what_is_open_asks_for_nothing(shop: Told, method: str, path: str) -> None:
    async with visitor(shop, token=None) as http:
        assert (await http.request(method, path)).status_code == 200


def wrong_ones(right: str) -> Iterator[str]:
    secret = right.rpartition("_")[2]
    yield right.replace("hf_shop", "hf_shap")
    yield right.replace("hf_shop", "hf_other")
    yield right.replace(secret, secrets.token_hex(32))
    yield right.replace(secret, secret[:-1] + ("0" if secret[-1] != "0" else "1"))
    yield right.upper()
    yield right + " "
    yield right + "0"
    yield right[:-1]
    yield secret
    yield ""
    yield "hf_shop__"
    yield "null"


async def test_a_wrong_token_proves_nothing(shop: Told) -> None:
    right = shop.issue()
    settings = Http(failures=Rate(1000, 1.0))
    async with visitor(shop, Told("other"), token=None, settings=settings) as http:
        for wrong in wrong_ones(right):
            if wrong.strip() == right:
                continue  # spaces around it are no part of it
            answer = await http.post("/v1/tasks/ship/trigger", content=b"{}", headers=bearer(wrong))
            assert (answer.status_code, problem(answer)["title"]) == (401, "Unauthorized"), wrong
        for header in (f"Basic {right}", right, f"Bearer{right}", f"Token {right}"):
            answer = await http.post("/v1/tasks/ship/trigger", content=b"{}", headers={"Authorization": header})
            assert answer.status_code == 401, header
        twice = [("Authorization", f"Bearer {right}"), ("Authorization", "Bearer x")]
        assert (await http.post("/v1/tasks/ship/trigger", content=b"{}", headers=twice)).status_code == 401
        assert not shop.touched
        assert (await http.post("/v1/tasks/ship/trigger", json={}, headers=bearer(right))).status_code == 202
        lower = {"authorization": f"bearer  {right} "}
        assert (await http.post("/v1/tasks/ship/trigger", json={}, headers=lower)).status_code == 202


def asking(*headers: tuple[str, bytes]) -> Request:
    raw = [(name.encode(), value) for name, value in headers]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": raw, "client": ("192.0.2.1", 1)})


@given(st.binary(max_size=200))
def test_no_bytes_in_the_header_let_anybody_in(value: bytes) -> None:
    shop = Told("shop")
    shop.issue()
    gate = Gate({"shop": shop}, Http(), Hand())
    for request in (asking(("authorization", value)), asking(("authorization", b"Bearer " + value))):
        with pytest.raises(Problem) as refused:
            gate.admit(request, READ)
        assert refused.value.status == 401


async def test_the_token_says_which_project_is_meant(shop: Told) -> None:
    other = Told("other")
    async with visitor(shop, other, token=other.issue()) as http:
        await http.post("/v1/tasks/ship/trigger", json={"a": 1}, headers={"Holdfast-Project": "shop"})
    assert (shop.triggered, other.triggered) == ([], [("ship", {"a": 1})])


async def test_a_token_counts_from_its_creation_to_its_end(shop: Told) -> None:
    text = shop.issue()
    (id,) = shop.known
    token = shop.known.pop(id)
    async with visitor(shop, token=text) as http:
        assert (await http.get("/v1/runs")).status_code == 401
        shop.known[id] = token
        assert (await http.get("/v1/runs")).status_code == 200
        shop.known[id] = msgspec.structs.replace(token, revoked_at=2.0)
        assert (await http.get("/v1/runs")).status_code == 401


async def test_no_token_gets_into_the_log(shop: Told, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    text = shop.issue()
    shop.failure = RuntimeError("a bug")
    async with visitor(shop, token=text) as http:
        answer = await http.post("/v1/tasks/ship/trigger", json={})
        refused = await http.get("/v1/runs", headers=bearer(f"{text}0"))
    assert (answer.status_code, refused.status_code) == (500, 401)
    for part in (text, text.rpartition("_")[2]):
        assert part not in caplog.text + answer.text + refused.text


# --- rates


async def test_a_token_asks_as_often_as_it_may_and_then_waits(shop: Told) -> None:
    hand = Hand()
    mine, yours = shop.issue(rate=Rate(3, 60.0)), shop.issue()
    async with visitor(shop, token=mine, hand=hand) as http:
        assert [(await http.get("/v1/runs")).status_code for _ in range(4)] == [200, 200, 200, 429]
        answer = await http.get("/v1/runs")
        assert problem(answer)["title"] == "Too Many Requests"
        assert answer.headers["retry-after"] == "20"
        assert (await http.get("/v1/runs", headers=bearer(yours))).status_code == 200
        hand.at += 20
        assert [(await http.get("/v1/runs")).status_code for _ in range(2)] == [200, 429]
        before = len(shop.triggered)
        assert (await http.post("/v1/tasks/ship/trigger", json={})).status_code == 429
        assert len(shop.triggered) == before


async def test_the_configured_rate_is_that_of_tokens_without_one(shop: Told) -> None:
    settings = Http(rate=Rate(2, 1.0))
    async with visitor(shop, settings=settings) as http:
        assert [(await http.get("/v1/runs")).status_code for _ in range(3)] == [200, 200, 429]


async def test_who_proves_nothing_too_often_is_told_to_wait_and_a_right_token_never_is(shop: Told) -> None:
    hand, settings = Hand(), Http(failures=Rate(3, 60.0))
    async with visitor(shop, settings=settings, hand=hand) as http:
        tried = [(await http.get("/v1/runs", headers=bearer("x"))).status_code for _ in range(5)]
        assert tried == [401, 401, 401, 429, 429]
        assert (await http.get("/v1/runs")).status_code == 200
        hand.at += 20
        assert (await http.get("/v1/runs", headers=bearer("x"))).status_code == 401


async def test_ids_of_tokens_to_complete_are_not_guessed_for_long(shop: Told) -> None:
    hand, settings = Hand(), Http(failures=Rate(3, 60.0))
    shop.failure = UnknownToken("none has asked for it")
    async with visitor(shop, settings=settings, hand=hand, token=None) as http:
        tried = [(await http.post(f"/v1/tokens/R1-{n}/complete")).status_code for n in range(5)]
        assert tried == [404, 404, 404, 429, 429]
        shop.failure = None
        assert (await http.post("/v1/tokens/R1-1/complete")).status_code == 429  # it is not even looked up
        assert not shop.touched
        hand.at += 20
        assert (await http.post("/v1/tokens/R1-1/complete")).status_code == 200


# --- without tokens


async def test_without_tokens_everybody_here_may_everything_of_the_project_that_is_named(shop: Told) -> None:
    other = Told("other")
    transport_base = Http(auth=Auth.OFF)
    async with visitor(shop, other, settings=transport_base, token=None) as http:
        http.base_url = httpx.URL("http://127.0.0.1:8377")
        for method, path, _ in SCOPED:
            assert (await http.request(method, path, content=b"{}")).status_code in (200, 202)
        await http.post("/v1/tasks/ship/trigger", json={}, headers={"Holdfast-Project": "other"})
        assert (len(shop.triggered), len(other.triggered)) == (1, 1)
        answer = await http.post("/v1/tasks/ship/trigger", json={}, headers={"Holdfast-Project": "othr"})
        assert "expected one of shop, other, found 'othr'" in str(problem(answer)["detail"])


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.0.0.1:80", 200),
        ("[::1]:80", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
    ],
)
async def test_without_tokens_a_name_that_leads_here_opens_nothing(shop: Told, host: str, status: int) -> None:
    async with visitor(shop, settings=Http(auth=Auth.OFF), token=None) as http:
        assert (await http.get("/v1/runs", headers={"Host": host})).status_code == status
