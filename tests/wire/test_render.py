"""Stored values as JSON to look at, without touching the classes that they name."""

import dataclasses
import enum
import json
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.wire.render import _SHOWN, render, render_json
from holdfast.wire.values import _BY_CODE, encode_exception, encode_value


class Colour(enum.Enum):
    RED = 1


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: object


@dataclasses.dataclass
class Order:
    id: str
    lines: tuple[Point, ...] = ()


class Card(msgspec.Struct):
    number: str
    due: date | None = None


class Person(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    name: str


class Declined(Exception):
    pass


HERE = __name__


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        ("ä", "ä"),
        (1.5, 1.5),
        ([1, {"a": None}], [1, {"a": None}]),
        (1 << 70, 1 << 70),
        ("\ud800", "\\ud800"),
        (float("nan"), {"$type": "float", "value": "nan"}),
        (b"\x00\xff", {"$type": "bytes", "base64": "AP8="}),
        (bytearray(b"\x00\xff"), {"$type": "bytearray", "base64": "AP8="}),
        ((1, (2,)), [1, [2]]),
        ({1: "a", (2, 3): "b", None: "c"}, {"1": "a", "[2, 3]": "b", "null": "c"}),
        ({1: "a", "1": "b"}, {"$type": "dict", "items": [[1, "a"], ["1", "b"]]}),
        ({7}, [7]),
        (frozenset({7}), [7]),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (Counter("aa"), {"a": 2}),
        (deque([1, 2], 5), [1, 2]),
        (defaultdict(list, {"a": [1]}), {"a": [1]}),
        (1 + 2j, {"$type": "complex", "value": "(1+2j)"}),
        (range(1, 5, 2), {"$type": "range", "start": 1, "stop": 5, "step": 2}),
        (datetime(2026, 1, 2, 3, 4, 5, 6), "2026-01-02T03:04:05.000006"),
        (datetime(2026, 1, 2, 3, 4, tzinfo=UTC), "2026-01-02T03:04:00+00:00"),
        (datetime(2026, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=-2), "X")), "2026-01-02T03:04:00-02:00"),
        (datetime(2026, 1, 2, 3, 4, tzinfo=ZoneInfo("Europe/Paris")), "2026-01-02T03:04:00[Europe/Paris]"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (timedelta(days=1, seconds=2), 86402.0),
        (UTC, "+00:00"),
        (ZoneInfo("Europe/Paris"), "Europe/Paris"),
        (Decimal("1.10"), "1.10"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (PurePosixPath("/a/b"), "/a/b"),
        (msgspec.UNSET, {"$type": "unset"}),
        (Colour.RED, {"$type": f"{HERE}:Colour", "name": "RED"}),
        (Right.READ | Right.WRITE, {"$type": f"{HERE}:Right", "value": 3}),
        (Point(1, Decimal(2)), {"$type": f"{HERE}:Point", "x": 1, "y": "2"}),
        (
            Order("A1", (Point(1, 2),)),
            {"$type": f"{HERE}:Order", "id": "A1", "lines": [{"$type": f"{HERE}:Point", "x": 1, "y": 2}]},
        ),
        (Card("4", date(2026, 1, 2)), {"$type": f"{HERE}:Card", "number": "4", "due": "2026-01-02"}),
        (Person.model_validate({"name": "Ada", "age": 36}), {"$type": f"{HERE}:Person", "name": "Ada", "age": 36}),
    ],
)
def test_a_value_is_shown_as_json(value: object, expected: object) -> None:
    found = render(encode_value(value))
    assert found == expected
    assert json.loads(json.dumps(found, allow_nan=False)) == expected


def test_a_number_that_python_writes_in_no_decimals_is_shown_in_hexadecimals() -> None:
    assert render(encode_value(1 << 40_000)) == {"$type": "int", "hex": hex(1 << 40_000)}


def test_an_exception_is_shown_with_its_causes() -> None:
    error = Declined("no money", 3)
    error.__cause__ = ValueError("limit")
    error.card = "4"  # type: ignore[attr-defined]
    assert render(encode_exception(error)) == {
        "$type": f"{HERE}:Declined",
        "args": ["no money", 3],
        "card": "4",
        "$causes": [{"$type": "builtins:ValueError", "args": ["limit"]}],
    }


def test_nothing_of_what_a_value_names_is_imported() -> None:
    data = encode_value(Order("A1")).replace(HERE.encode(), b"x" * len(HERE))
    assert render(data) == {"$type": f"{'x' * len(HERE)}:Order", "id": "A1", "lines": []}
    assert "x" * len(HERE) not in sys.modules


def test_every_extension_of_the_codec_is_known_here() -> None:
    assert set(_SHOWN) == set(_BY_CODE)


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x81", b"\x91" * 100_000, encode_value((1, 2))[:-1], b"\xc7\x01\x0e\xc0"]
)
def test_what_can_not_be_read_is_shown_as_such(data: bytes) -> None:
    found = render(data)
    assert isinstance(found, dict)
    assert found["$type"] == "unreadable"


@given(st.binary(max_size=60), st.integers(1, 40))
def test_whatever_the_bytes_something_is_shown(data: bytes, code: int) -> None:
    for blob in (data, msgspec.msgpack.encode(msgspec.msgpack.Ext(code, data))):
        json.loads(render_json(blob))


_PARTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(st.sampled_from(sorted(_SHOWN)), _PARTS)
def test_whatever_the_parts_something_is_shown(code: int, parts: object) -> None:
    json.loads(render_json(msgspec.msgpack.encode(msgspec.msgpack.Ext(code, msgspec.msgpack.encode(parts)))))


def test_bytes_where_a_name_or_a_number_is_expected_are_shown_as_bytes() -> None:
    shown = {"$type": "bytes", "base64": "AA=="}
    for code, parts, field in [(33, [b"\0"], "$type"), (32, [b"\0", "A"], "$type"), (13, [b"\0", 1, 1], "start")]:
        found = render(msgspec.msgpack.encode(msgspec.msgpack.Ext(code, msgspec.msgpack.encode(parts))))
        assert isinstance(found, dict)
        assert found[field] == shown


def test_an_extension_of_a_later_version_is_shown_by_its_number() -> None:
    data = msgspec.msgpack.encode(msgspec.msgpack.Ext(99, msgspec.msgpack.encode([1])))
    assert render(data) == {"$type": "extension 99", "parts": [1]}


def test_json_text_is_indented_and_keeps_its_letters() -> None:
    assert render_json(encode_value({"a": "ä"})) == '{\n  "a": "ä"\n}'
    assert render_json(encode_value({"a": "ä"}), indent=None) == '{"a": "ä"}'
