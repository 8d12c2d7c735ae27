"""Runs over HTTP: pages, cursors, and what may be done to a run."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doors import RUN, Told, problem, visitor
from holdfast.core.model import State
from holdfast.wire.api import RunsQuery
from holdfast_daemon.http.problems import Problem
from holdfast_daemon.http.runs import query_of


@pytest.fixture
def shop() -> Told:
    return Told()


@pytest.fixture
async def http(shop: Told) -> AsyncIterator[httpx.AsyncClient]:
    async with visitor(shop) as client:
        yield client


async def test_a_page_says_how_to_get_the_next(http: httpx.AsyncClient, shop: Told) -> None:
    shop.more = True
    page = (await http.get("/v1/runs", params={"limit": "1"})).json()
    assert ([run["id"] for run in page["runs"]], page["total"], page["more"]) == (["R1"], 2, True)
    shop.more = False
    page = (await http.get("/v1/runs", params={"before": page["next"]})).json()
    assert page["next"] is None
    assert shop.asked == [RunsQuery(limit=1), RunsQuery(before=(1.5, "R1"))]


async def test_what_is_asked_for_is_asked(http: httpx.AsyncClient, shop: Told) -> None:
    await http.get("/v1/runs?state=dead&state=failed&task=ship&task=charge&queue=bulk&tag=e%20u")
    assert shop.asked == [
        RunsQuery(states=(State.DEAD, State.FAILED), tasks=("ship", "charge"), queue="bulk", tag="e u")
    ]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("state=ded", "expected one of delayed"),
        ("limit=0", "expected a number from 1 to 1000"),
        ("limit=1001", "1001"),
        ("limit=-1", "-1"),
        ("limit=x", "limit"),
        ("task=a.b", "a task's id"),
        ("queue=a&queue=b", "one queue's name"),
        ("tag=", "one tag"),
        ("tag=%00", "one tag"),
        ("before=1~", "what `next`"),
        ("before=nan~R1", "what `next`"),
        ("stat=dead", "expected one of state, task"),
        ("state", "state"),
    ],
)
async def test_what_can_not_be_asked_is_said(http: httpx.AsyncClient, shop: Told, query: str, said: str) -> None:
    answer = await http.get(f"/v1/runs?{query}")
    told = problem(answer)
    assert (answer.status_code, said in str(told["detail"])) == (400, True), told
    assert shop.asked == []


@given(st.lists(st.tuples(st.sampled_from(["state", "task", "queue", "tag", "limit", "before", "x"]), st.text())))
def test_any_question_is_read_or_refused(pairs: list[tuple[str, str]]) -> None:
    refused: Problem | None = None
    try:
        query = query_of(pairs)
    except Problem as error:
        refused = error
    assert 1 <= query.limit <= 1000 if refused is None else refused.status == 400


@pytest.mark.parametrize(
    ("path", "body", "moved"),
    [
        (f"/v1/runs/{RUN}/cancel", b"", ("cancel", RUN, "")),
        (f"/v1/runs/{RUN.lower()}/cancel", b'{"reason": "late"}', ("cancel", RUN, "late")),
        (f"/v1/runs/{RUN}/retry", b" ", ("retry", RUN, None, False)),
        (f"/v1/runs/{RUN}/retry", b'{"from_start": true, "payload": {"a": 1}}', ("retry", RUN, {"a": 1}, True)),
        (f"/v1/runs/{RUN}/signals/go", b"", ("signal", RUN, "go", None)),
        (f"/v1/runs/{RUN}/signals/go", b"[1]", ("signal", RUN, "go", [1])),
        ("/v1/runs/R1/cancel", b"{}", ("cancel", "R1", "")),
    ],
)
async def test_an_operator_moves_a_run(
    http: httpx.AsyncClient, shop: Told, path: str, body: bytes, moved: tuple[object, ...]
) -> None:
    answer = await http.post(path, content=body)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"run": moved[1], "state": "waiting", "cancel_requested": False}
    assert shop.moved == [moved]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (f"/v1/runs/{RUN}/cancel", b"{", 400),
        (f"/v1/runs/{RUN}/cancel", b"[]", 422),
        (f"/v1/runs/{RUN}/cancel", b'{"reason": 1}', 422),
        (f"/v1/runs/{RUN}/cancel", b'{"resaon": "x"}', 422),
        (f"/v1/runs/{RUN}/retry", b'{"payload": [1]}', 422),
        (f"/v1/runs/{RUN}/retry", b'{"from_start": "yes"}', 422),
        (f"/v1/runs/{RUN}/signals/go", b"{x}", 400),
        (f"/v1/runs/{RUN[:-1]}2/cancel", b"", 404),
        (f"/v1/runs/{RUN[:-1]}3/retry", b"", 409),
        ("/v1/runs/nowhere/cancel", b"", 404),
        ("/v1/runs/R/cancel", b"", 409),
        (f"/v1/runs/{'x' * 201}/cancel", b"", 404),
        (f"/v1/runs/{RUN}/signals/{'x' * 201}", b"", 404),
    ],
)
async def test_what_can_not_be_done_moves_nothing(
    http: httpx.AsyncClient, shop: Told, path: str, body: bytes, status: int
) -> None:
    answer = await http.post(path, content=body)
    assert problem(answer)["status"] == status
    assert shop.moved == []
