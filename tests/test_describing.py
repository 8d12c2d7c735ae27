"""The JSON Schema of what a task takes: true where it says something, open where it can't."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jsonschema_rs
import pytest
from msgspec import Struct
from pydantic import BaseModel

from holdfast.describing import LONGEST
from holdfast.errors import PayloadError
from holdfast.payload import Signature


class Line(Struct):
    sku: str
    count: int = 1


@dataclass
class Order:
    lines: list[Line]
    placed: datetime | None = None


class Address(BaseModel):
    street: str
    zip: int | None = None


class Customer(BaseModel):
    name: str
    home: Address


class Opaque:
    pass


class Mixed(enum.Enum):
    A = 1
    B = "b"


def schema_of(fn: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Signature("t", fn).schema())
    return found


async def ship(order: Order, customer: Customer, note: str = "", *, express: bool = False) -> None: ...


def test_names_types_defaults_and_what_is_required() -> None:
    schema = schema_of(ship)
    assert schema["required"] == ["order", "customer"]
    assert schema["properties"]["express"] == {"type": "boolean", "default": False}
    assert schema["additionalProperties"] is False
    assert {"Order", "Line", "Address"} <= schema["$defs"].keys()


GOOD = {"order": {"lines": [{"sku": "a"}]}, "customer": {"name": "ann", "home": {"street": "x"}}}


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"note": "n", "express": True}, True),
        ({"note": 1}, False),
        ({"order": {"lines": [{}]}}, False),
        ({"order": 3}, False),
        ({"customer": {"name": "ann", "home": {}}}, False),
        ({"customer": None}, False),
        ({"more": 1}, False),
    ],
)
def test_the_schema_and_the_check_agree(change: dict[str, Any], fits: bool) -> None:
    payload = GOOD | change
    assert jsonschema_rs.is_valid(schema_of(ship), payload) is fits
    try:
        Signature("ship", ship).check(payload)
    except PayloadError:
        assert not fits
    else:
        assert fits


def test_what_nobody_can_describe_may_be_anything() -> None:
    async def odd(opaque: Opaque, mixed: Mixed, plain, many: list[Opaque] = [], nan=Opaque()) -> None: ...  # type: ignore[no-untyped-def]  # noqa: B006, B008

    schema = schema_of(odd)
    assert schema["properties"] == {"opaque": {}, "mixed": {}, "plain": {}, "many": {"default": []}, "nan": {}}


def test_an_annotation_that_can_not_be_resolved_describes_nothing_and_breaks_nothing() -> None:
    async def odd(a: Missing, b: int = 1) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    assert schema_of(odd)["properties"] == {"a": {}, "b": {"default": 1}}


def test_further_keywords_may_be_more() -> None:
    async def more(a: int, **rest: int) -> None: ...

    assert schema_of(more)["additionalProperties"] is True


def test_a_task_without_arguments_takes_an_empty_object() -> None:
    async def none() -> None: ...

    assert schema_of(none) == {"type": "object", "properties": {}, "additionalProperties": False}


def test_a_schema_that_is_too_large_is_left_out() -> None:
    async def large(a: str = "x" * LONGEST) -> None: ...

    assert Signature("large", large).schema() == b""
