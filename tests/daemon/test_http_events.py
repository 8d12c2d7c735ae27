"""Events over HTTP: any bytes, once for each key."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from doors import Told, problem, visitor
from holdfast.errors import Unanswered
from holdfast_daemon.http.bodies import MOST


@pytest.fixture
def shop() -> Told:
    return Told()


@pytest.fixture
async def http(shop: Told) -> AsyncIterator[httpx.AsyncClient]:
    async with visitor(shop) as client:
        yield client


@pytest.mark.parametrize("body", [b"", b"{}", b"\x00\xff", b"{", "ä".encode(), b"x" * MOST])
async def test_any_bytes_are_stored_as_they_are(http: httpx.AsyncClient, shop: Told, body: bytes) -> None:
    answer = await http.post("/v1/events/orders.created", content=body)
    assert (answer.status_code, answer.json()) == (202, {"seq": 1})
    assert shop.published == [("orders.created", body, None)]


async def test_a_key_stores_an_event_once_and_belongs_to_its_subject(http: httpx.AsyncClient, shop: Told) -> None:
    for subject, seq in [("a.b", 1), ("a.b", 1), ("a.c", 2), ("a.b", 1)]:
        answer = await http.post(f"/v1/events/{subject}", content=b"x", headers={"Idempotency-Key": "A1"})
        assert answer.json() == {"seq": seq}
    assert [subject for subject, _, _ in shop.published] == ["a.b", "a.c"]
    await http.post("/v1/events/a.b", content=b"x", headers={"Idempotency-Key": "A2"})
    assert len(shop.published) == 3


@pytest.mark.parametrize(
    ("subject", "status"),
    [
        ("a..b", 400),
        ("*", 400),
        ("a.%3E", 400),
        ("a%20b", 400),
        ("a.b.", 400),
        ("%00", 400),
        ("a%0D%0Ab", 400),
        ("ж", 400),
        ("a" * 201, 404),
        ("a/b", 404),
        ("", 404),
    ],
)
async def test_a_subject_that_can_not_be_is_refused(
    http: httpx.AsyncClient, shop: Told, subject: str, status: int
) -> None:
    answer = await http.post(f"/v1/events/{subject}", content=b"x")
    assert problem(answer)["status"] == status
    assert shop.published == []


async def test_what_is_too_much_is_refused(http: httpx.AsyncClient, shop: Told) -> None:
    assert (await http.post("/v1/events/a.b", content=b"x" * (MOST + 1))).status_code == 413
    assert (await http.post("/v1/events/a.b", content=b"x", headers={"Idempotency-Key": "x" * 256})).status_code == 400
    assert shop.published == []


async def test_an_unanswered_event_says_that_its_outcome_is_unknown(http: httpx.AsyncClient, shop: Told) -> None:
    shop.failure = Unanswered("late")
    told = problem(await http.post("/v1/events/a.b", content=b"x"))
    assert (told["status"], told["outcome"]) == (503, "unknown")
