"""Metrics as Prometheus reads them."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families

from doors import Told, problem, visitor
from holdfast.errors import ConnectError
from holdfast.wire.api import Scope


def samples(answer: httpx.Response) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(answer.text)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def named(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset({"project": "shop", **labels}.items())


async def test_a_scrape_tells_how_the_project_stands() -> None:
    async with visitor(Told("shop")) as http:
        answer = await http.get("/metrics")
    found = samples(answer)
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert found[named("holdfast_runs", queue="default", state="queued")] == 2
    assert found[named("holdfast_runs", queue="default", state="completed")] == 40
    assert found[named("holdfast_queue_oldest_seconds", queue="default")] == pytest.approx(4)
    assert found[named("holdfast_queue_created_per_second", queue="default")] == 1.5
    assert found[named("holdfast_journal_sequence")] == 10
    assert found[named("holdfast_projection_lag_messages")] == 3
    assert found[named("holdfast_repairs_total", kind="offer")] == 2
    assert found[named("holdfast_events_routed_total")] == 5
    assert found[named("holdfast_events_unwanted_total")] == 6
    assert found[named("holdfast_workers")] == 1


async def test_requests_are_counted_by_route_and_status() -> None:
    shop = Told("shop")
    async with visitor(shop) as http:
        await http.post("/v1/tasks/ship/trigger", json={})
        await http.post("/v1/tasks/ship/trigger", json={})
        await http.post("/v1/tasks/nobody/trigger", json={})
        await http.get("/v1/nothing", headers={"Authorization": ""})
        await http.request("BREW", "/v1/pot")
        shop.failure = RuntimeError("a bug")
        await http.post("/v1/tasks/ship/trigger", json={})
        shop.failure = None
        found = samples(await http.get("/metrics"))
    counted = {
        (labels["method"], labels["route"], labels["status"]): value
        for (name, raw), value in found.items()
        if name == "holdfast_http_requests_total" and (labels := dict(raw))
    }
    assert counted == {
        ("POST", "/v1/tasks/{id}/trigger", "202"): 2,
        ("POST", "/v1/tasks/{id}/trigger", "404"): 1,
        ("POST", "/v1/tasks/{id}/trigger", "500"): 1,
        ("GET", "(none)", "404"): 1,
        ("OTHER", "(none)", "404"): 1,
    }


async def test_a_scrape_sees_its_own_project_only() -> None:
    shop, other = Told("shop"), Told("other")
    async with visitor(shop, other) as http:
        secret = {"Authorization": f"Bearer {other.issue()}"}
        await http.post("/v1/tasks/ship/trigger", json={}, headers=secret)
        mine = await http.get("/metrics")
        theirs = await http.get("/metrics", headers=secret)
    assert "/v1/tasks/{id}/trigger" not in mine.text
    assert 'project="other"' not in mine.text
    assert "/v1/tasks/{id}/trigger" in theirs.text


async def test_openmetrics_is_spoken_to_who_asks_for_it() -> None:
    async with visitor(Told()) as http:
        answer = await http.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert {family.name for family in open_metrics(answer.text)} >= {"holdfast_runs", "holdfast_http_requests"}


async def test_a_scrape_that_can_not_be_answered_says_why() -> None:
    shop = Told()
    shop.failure = ConnectError("the server is away")
    async with visitor(shop, token=shop.issue(Scope.READ)) as http:
        answer = await http.get("/metrics")
    assert (answer.status_code, problem(answer)["detail"]) == (503, "the server is away")
