"""The OpenAPI document: of what is served, and of the tasks of who asks."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema_rs
import pytest

from doors import Told, visitor
from holdfast.payload import Signature
from holdfast.wire.api import Scope, TaskCard
from holdfast_daemon.http.app import endpoints
from holdfast_daemon.http.openapi import document


def card(id: str = "process-order", schema: bytes = b"", doc: str = "Process an order.") -> TaskCard:
    return TaskCard(id=id, queue="orders", doc=doc, parameters="(order_id: str)", schema=schema)


def of_signature(fn: Any) -> bytes:
    return Signature("t", fn).schema()


async def asked(shop: Told, token: str | None = "") -> dict[str, Any]:
    async with visitor(shop, token=token) as http:
        answer = await http.get("/openapi.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def test_every_endpoint_is_in_the_document_and_nothing_else() -> None:
    found = await asked(Told(), None)
    assert found["openapi"] == "3.1.0"
    there = {(method.upper(), path) for path, item in found["paths"].items() for method in item}
    assert there == {(endpoint.method, endpoint.path) for endpoint in endpoints()}
    ids = [operation["operationId"] for item in found["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))


def references(part: object) -> set[str]:
    match part:
        case dict():
            own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
            return own.union(*(references(one) for one in part.values()))
        case list():
            return set().union(*(references(one) for one in part))
        case _:
            return set()


async def test_every_parameter_of_a_path_is_described_and_every_reference_leads_somewhere() -> None:
    found = await asked(Told())
    for path, item in found["paths"].items():
        for operation in item.values():
            named = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path))
    for reference in references(found):
        assert reference.removeprefix("#/components/schemas/") in found["components"]["schemas"], reference


async def test_what_needs_a_scope_says_so() -> None:
    found = await asked(Told())
    security = {path: operation["security"] for path, item in found["paths"].items() for operation in item.values()}
    assert security["/v1/tasks/{id}/trigger"] == [{"token": ["trigger"]}]
    assert security["/v1/runs/{id}"] == [{"token": ["read"]}]
    assert security["/v1/runs/{id}/cancel"] == [{"token": ["operate"]}]
    assert security["/healthz"] == security["/v1/hooks/{name}"] == []


async def test_tasks_are_shown_to_who_has_a_token_of_their_project_and_to_nobody_else() -> None:
    shop, other = Told("shop"), Told("other")
    shop.tasks = [card()]
    other.tasks = [card("secret-task")]
    async with visitor(shop, other, token=shop.issue(Scope.TRIGGER)) as http:
        mine = (await http.get("/openapi.json")).text
        answer = await http.get("/openapi.json", headers={"Authorization": "Bearer x"})
        assert answer.status_code == 401
    async with visitor(shop, other, token=None) as http:
        nobodys = await http.get("/openapi.json")
    assert nobodys.headers["vary"] == "Authorization"
    assert "/v1/tasks/process-order/trigger" in mine
    assert "secret-task" not in mine + nobodys.text
    assert "process-order" not in nobodys.text


async def test_a_task_is_a_path_of_its_own_with_its_arguments() -> None:
    async def process_order(order_id: str, count: int = 1) -> None: ...

    shop = Told()
    shop.tasks = [card(schema=of_signature(process_order))]
    operation = (await asked(shop))["paths"]["/v1/tasks/process-order/trigger"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert jsonschema_rs.is_valid(schema, {"order_id": "A1"})
    assert not jsonschema_rs.is_valid(schema, {"order_id": 1})
    assert not jsonschema_rs.is_valid(schema, {})
    assert (operation["operationId"], operation["summary"]) == ("trigger-process-order", "Process an order.")
    assert {one["name"] for one in operation["parameters"]} >= {"Idempotency-Key", "Holdfast-Delay"}
    assert all(one["in"] == "header" for one in operation["parameters"])


def test_definitions_of_two_tasks_do_not_meet() -> None:
    def with_definition(kind: str) -> bytes:
        return json.dumps(
            {
                "type": "object",
                "properties": {"a": {"$ref": "#/$defs/A"}, "$ref": {"type": "null"}},
                "$defs": {"A": {"type": kind, "items": {"$ref": "#/$defs/A[int]"}}, "A[int]": {}},
            }
        ).encode()

    found: Any = document((), [card("one", with_definition("array")), card("two", with_definition("string"))])
    schemas = found["components"]["schemas"]
    assert (schemas["one.A"]["type"], schemas["two.A"]["type"]) == ("array", "string")
    assert schemas["one.A"]["items"] == {"$ref": "#/components/schemas/one.A_int_"}
    body = found["paths"]["/v1/tasks/one/trigger"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"] == {"a": {"$ref": "#/components/schemas/one.A"}, "$ref": {"type": "null"}}
    assert references(found) <= {f"#/components/schemas/{name}" for name in schemas}


@pytest.mark.parametrize("schema", [b"", b"{", b"[]", b"null", b'{"$defs": 1}', b"\xff"])
def test_a_card_without_a_schema_or_with_a_broken_one_is_shown_all_the_same(schema: bytes) -> None:
    found: Any = document((), [card(schema=schema)])
    body = found["paths"]["/v1/tasks/process-order/trigger"]["post"]["requestBody"]
    assert isinstance(body["content"]["application/json"]["schema"], dict)
