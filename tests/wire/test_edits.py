"""Parts of stored values replaced without their classes, and values compared."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import pydantic
import pytest

from holdfast.errors import EditError
from holdfast.wire.edits import replaced
from holdfast.wire.parts import alike, pack, unpack
from holdfast.wire.values import decode_value, encode_value


class Colour(Enum):
    RED = "r"
    BLUE = "b"


class Point(NamedTuple):
    x: int
    y: int


@dataclass
class Line:
    sku: str
    price: Decimal


@dataclass
class Order:
    id: int
    lines: list[Line] = field(default_factory=list)
    colour: Colour = Colour.RED


class Address(msgspec.Struct):
    city: str
    zip: str | None = None


class Model(pydantic.BaseModel):
    name: str
    age: int = 1


ORDER = Order(1, [Line("a", Decimal("1.10")), Line("b", Decimal("2.20"))])

VALUES: list[Any] = [
    None, True, 7, -(2**70), 1.5, "ä", b"\x00\xff", [1, [2]], {"a": {"b": 1}}, (1, (2,)), {1, 2}, frozenset({"a"}),
    {1: "a", (2,): "b"}, OrderedDict(a=1), Counter("aab"), defaultdict(list, a=[1]), deque([1, 2], 5), Colour.RED,
    Point(1, 2), ORDER, Address("Paris"), Model(name="x"), datetime(2026, 1, 2, tzinfo=UTC), date(2026, 1, 2),
    time(1, 2), timedelta(days=1), Decimal("1.1"), UUID(int=5), PurePosixPath("/a"), range(3), 1j, "\ud800",
]  # fmt: skip


def set_(value: object, path: str, new: object) -> Any:
    return decode_value(replaced(encode_value(value), path, new, "/a#1"))


def refusal(value: object, path: str, new: object) -> str:
    with pytest.raises(EditError) as caught:
        set_(value, path, new)
    assert str(caught.value).startswith("/a#1: ")
    return str(caught.value)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_what_is_taken_apart_is_put_together_the_same(value: object) -> None:
    data = encode_value(value)
    assert pack(unpack(data)) == data


@pytest.mark.parametrize(
    ("value", "path", "new", "after"),
    [
        ({"a": 1}, "a", 2, {"a": 2}),
        ({"a": {"b": [1, 2]}}, "a.b.1", 9, {"a": {"b": [1, 9]}}),
        ({"a.b": 1, "a": {"b": 2}}, "a.b", 3, {"a.b": 3, "a": {"b": 2}}),
        ((1, {"x": 2}), "1.x", 3, (1, {"x": 3})),
        (deque([1, 2], 5), "1", 3, deque([1, 3], 5)),
        ({1: "a", 2: "b"}, "1", "c", {1: "c", 2: "b"}),
        (OrderedDict(a=1), "a", 2, OrderedDict(a=2)),
        (Point(1, 2), "y", 5, Point(1, 5)),
        (Address("Paris"), "zip", "75001", Address("Paris", "75001")),
        (Address("Paris", "1"), "zip", None, Address("Paris")),
        (ORDER, "lines.1.price", "9.99", Order(1, [Line("a", Decimal("1.10")), Line("b", Decimal("9.99"))])),
        (ORDER, "colour", "BLUE", Order(1, ORDER.lines, Colour.BLUE)),
        (ORDER, "colour", Colour.BLUE, Order(1, ORDER.lines, Colour.BLUE)),
        ({"f": 1.0}, "f", 2, {"f": 2.0}),
        ({"n": None}, "n", [1], {"n": [1]}),
    ],
    ids=str,
)
def test_a_part_is_replaced_and_the_rest_stays(value: object, path: str, new: object, after: object) -> None:
    found = set_(value, path, new)
    assert found == after
    assert type(found) is type(after)


def test_a_number_put_where_a_float_stood_is_a_float() -> None:
    assert type(set_({"f": 1.0}, "f", 2)["f"]) is float


def test_an_edited_field_of_a_model_counts_as_given() -> None:
    found = set_(Model(name="x"), "age", 5)
    assert (found.age, found.model_fields_set) == (5, {"name", "age"})


@pytest.mark.parametrize(
    ("value", "new", "after"),
    [
        (7, {"any": "json"}, {"any": "json"}),
        ("text", None, None),
        (Decimal(1), "2.50", Decimal("2.50")),
        (Decimal(1), 3, Decimal(3)),
        (UUID(int=5), str(UUID(int=6)), UUID(int=6)),
        (datetime(2026, 1, 2, tzinfo=UTC), "2027-01-02T03:04:05Z", datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (date(2026, 1, 2), "2027-01-02", date(2027, 1, 2)),
        (time(1, 2), "03:04", time(3, 4)),
        (timedelta(1), 90.5, timedelta(seconds=90.5)),
        (PurePosixPath("/a"), "/b", PurePosixPath("/b")),
        (2**70, 5, 5),
        (b"a", {"$type": "bytes", "base64": "Yg=="}, b"b"),
        ((1, 2), [3], (3,)),
        ({1, 2}, [3, 4], {3, 4}),
        (Colour.RED, {"$type": "x", "name": "BLUE"}, Colour.BLUE),
        (Point(1, 2), {"x": 3, "y": 4}, Point(3, 4)),
        (Line("a", Decimal(1)), {"$type": "test:Line", "sku": "c", "price": "2"}, Line("c", Decimal(2))),
        ([Line("a", Decimal(1))], [{"sku": "c", "price": "2"}] * 2, [Line("c", Decimal(2))] * 2),
        ({1: "a"}, {"1": "b", "new": "c"}, {1: "b", "new": "c"}),
        (7, Decimal("1.5"), Decimal("1.5")),
        (ORDER, Address("Rome"), Address("Rome")),
    ],
    ids=str,
)
def test_a_whole_result_takes_the_form_of_the_one_before(value: object, new: object, after: object) -> None:
    found = set_(value, "", new)
    assert found == after
    assert type(found) is type(after)


@pytest.mark.parametrize(
    ("value", "path", "new", "says"),
    [
        ({"a": 1}, "b", 2, "expected a field of an object, found 'b': it has a"),
        ({}, "b", 2, "it has none"),
        ([1], "1", 2, "expected a place in a list, from 0 to 0, found '1'"),
        ([], "x", 2, "but there is none, found 'x'"),
        (ORDER, "linse", 2, "Order, found 'linse': it has id, lines, colour"),
        ({"a": 1}, "a.b", 2, "expected a value with parts at 'b', found 1"),
        ({1, 2}, "0", 2, "set the whole of it"),
        ({"a": 1}, "a", "x", "expected a number where 1 stands, found x"),
        ({"a": True}, "a", 1, "expected true or false where True stands, found 1"),
        ({"a": [1]}, "a", {"b": 1}, "expected a list"),
        (Decimal(1), "", "abc", "expected a decimal number like 1, found abc"),
        (Decimal(1), "", [1], "expected a decimal number like 1, found [1]"),
        (UUID(int=5), "", "abc", "expected a UUID"),
        (date(2026, 1, 2), "", "soon", "expected a date like 2026-01-02, found soon"),
        (2**70, "", 1.5, "expected a whole number"),
        (b"a", "", "b", "expected bytes as"),
        (Point(1, 2), "", {"x": 1}, "(x, y), found x: give all of them"),
        (Point(1, 2), "", [1, 2], "Point like"),
        (Colour.RED, "", "not a name", "expected the name of a member of"),
        (range(3), "", [1], "expected a value like"),
        pytest.param(1, "", object(), "expected a value that comes back the same", id="an object"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_with_what_was_found(value: object, path: str, new: object, says: str) -> None:
    assert says in refusal(value, path, new)


def test_values_are_alike_whatever_the_order_of_what_has_none() -> None:
    def both(left: object, right: object) -> bool:
        return alike(encode_value(left), encode_value(right))

    assert both({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert both({1: "a", 2: "b"}, {2: "b", 1: "a"})
    assert both({"x": {f"k{n}" for n in range(50)}}, {"x": {f"k{n}" for n in reversed(range(50))}})
    assert both(Counter("ab"), Counter("ba"))
    assert not both(OrderedDict(a=1, b=2), OrderedDict(b=2, a=1))
    assert not both([1, 2], [2, 1])
    assert not both(1, 1.0)
    assert not both(1, True)
    assert not both((1,), [1])
    assert not alike(b"\xc1", b"\x01")
