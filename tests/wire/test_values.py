"""Values come back the same, types included, or are refused with the place that is in the way."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import math
import sys
import types
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import EncodeError, RecordedError, RunFailed
from holdfast.wire.values import MAX_DEPTH, decode_exception, decode_value, encode_exception, encode_value

# --- classes that values are made of


class Colour(enum.Enum):
    RED = "red"
    ALSO_RED = "red"  # noqa: PIE796


class Level(enum.IntEnum):
    HIGH = 3


class Word(enum.StrEnum):
    HELLO = "hello"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: Any = 0


Old = namedtuple("Old", "a b")


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    id: str
    lines: tuple[Any, ...] = ()
    total: Decimal = dataclasses.field(default=Decimal(0), init=False)


@dataclasses.dataclass
class Loose:
    a: Any
    b: list[Any] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.calls = [*getattr(self, "calls", []), "post"]


class Plain(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    tags: frozenset[str] = frozenset()
    unset: Any = msgspec.UNSET


class Doubling(msgspec.Struct):
    n: int

    def __post_init__(self) -> None:
        self.n *= 2


class Customer(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    name: str
    since: datetime | None = None
    _secret: int = pydantic.PrivateAttr(default=1)


class Outer:
    class Inner(enum.Enum):
        A = 1


class KeywordError(Exception):
    def __init__(self, text: str, *, code: int) -> None:
        super().__init__(f"{text} ({code})")
        self.code = code


class SlottedError(OSError):
    def __init__(self, host: str) -> None:
        super().__init__(5, "down", host)


class TextSubclass(str):
    __slots__ = ()


class Unknown:
    def __repr__(self) -> str:
        return "<unknown>"


@dataclasses.dataclass
class DictAndDataclass(dict):  # type: ignore[type-arg]
    a: int


VALUES: list[Any] = [
    None, True, 0, -1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**400, -(10**400), 1.5, -0.0, math.inf,
    "text", "\ud800 lone", {"\udfff": 1}, b"bytes", bytearray(b"array"), [], {}, (), set(), frozenset(),
    [1, [2, (3, {4})]], {"a": {"b": [None]}}, {1: "int", "1": "str"}, {(1, "t"): {2.5: None}, None: 1}, {True: 1},
    (1,), {1, "a", (2,)}, frozenset({frozenset({1})}), OrderedDict(b=1, a=2), deque([1, (2,)], maxlen=3), deque([1]),
    Counter("hello"), Counter({"negative": -1}), defaultdict(list, a=[1]), defaultdict(None, {1: 2}),
    complex(-0.0, math.inf), range(1, 10, 3), date(2024, 2, 29), timedelta(days=-1, microseconds=1),
    datetime(2024, 1, 2, 3, 4, 5, 6), datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 10, 27, 2, 30, fold=1),
    datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")), ZoneInfo("UTC"), UTC,
    datetime(2024, 1, 2, tzinfo=timezone(timedelta(hours=-3, minutes=-30), "named")), time(1, 2, 3, 4, tzinfo=UTC),
    time(2, fold=1), Decimal("1.10"), Decimal("-0"), Decimal("sNaN123"), Decimal("1E+999"),
    UUID(int=7), Path("/tmp/a b"), PurePosixPath("x"), PureWindowsPath("C:\\x"), PurePath(), Colour.RED,
    Colour.ALSO_RED,
    Level.HIGH, Word.HELLO, Access.READ, Access.READ | Access.WRITE, Access(0), Outer.Inner.A, Point(1), Point(1, (2,)),
    Old(1, {2}), Order("o", (1, Point(2))), Loose({1: 2}), Plain(name="n"),
    Plain(name="n", tags=frozenset("ab"), unset=1),
    Doubling(3), Customer(name="n", extra=(1, 2)), {"deep": [Order("x", ({"k": Colour.RED},))]},
    Customer.model_validate_json('{"name": "n", "since": "2024-01-02T03:04:05+01:00"}'), msgspec.UNSET,
]  # fmt: skip


def same(a: Any, b: Any) -> bool:
    """Equal, and of the same types all the way down, in the same order."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return str(a) == str(b)
    if isinstance(a, Decimal):
        return a.as_tuple() == b.as_tuple()
    if isinstance(a, dict):
        return same_items(a.items(), b.items()) and getattr(a, "default_factory", 0) == getattr(b, "default_factory", 0)
    if isinstance(a, set | frozenset):
        return a == b and {(type(x), x) for x in a} == {(type(x), x) for x in b}
    if isinstance(a, tuple | list | deque):
        return same_items(a, b) and getattr(a, "maxlen", 0) == getattr(b, "maxlen", 0)
    if isinstance(a, datetime | time):
        return a.replace(tzinfo=None) == b.replace(tzinfo=None) and a.fold == b.fold and same(a.tzinfo, b.tzinfo)
    if isinstance(a, msgspec.Struct):
        return same(msgspec.structs.asdict(a), msgspec.structs.asdict(b))
    if dataclasses.is_dataclass(a) or isinstance(a, pydantic.BaseModel):
        return same(object.__getstate__(a), object.__getstate__(b))
    return bool(a == b) and repr(a) == repr(b)


def same_items(a: Any, b: Any) -> bool:
    return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{type(value).__name__}")
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [v], lambda v: (v, {"k": v})], ids=["bare", "list", "tuple"])
def test_a_value_comes_back_the_same(value: Any, wrap: Any) -> None:
    assert same(decode_value(encode_value(wrap(value))), wrap(value))


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers(allow_nan=False) | st.binary()
    | st.text(st.characters(codec=None)) | st.decimals() | st.uuids() | st.dates() | st.timedeltas()
    | st.datetimes(timezones=st.none() | st.timezones(), allow_imaginary=True) | st.times() | st.sampled_from(Colour)
    | st.builds(bytearray, st.binary()) | st.builds(range, st.integers(), st.integers())
)  # fmt: skip
KEYS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.dates() | st.sampled_from(Access),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
NESTED = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4) | st.sets(KEYS, max_size=4) | st.builds(Point, inner, inner)
        | st.builds(Loose, inner) | st.builds(Order, st.text(), st.tuples(inner)) | st.builds(deque, st.lists(inner))
    ),
    max_leaves=12,
)  # fmt: skip


@given(NESTED)
def test_any_value_comes_back_the_same(value: Any) -> None:
    assert same(decode_value(encode_value(value)), value)


def test_the_comparison_tells_types_apart() -> None:
    for a, b in [
        (1, True),
        (1, 1.0),
        ((1,), [1]),
        (Point(1, 2), (1, 2)),
        ({1}, {True}),
        (0.0, -0.0),
        (Word.HELLO, "hello"),
    ]:
        assert not same(a, b)


def test_plain_values_are_plain_msgpack() -> None:
    value = {"a": [1, 2.5, None, True, "x", b"y"]}
    assert msgspec.msgpack.decode(encode_value(value)) == value


def test_instances_come_back_without_running_their_constructors() -> None:
    value = Loose(1)
    value.calls.append("own")
    assert decode_value(encode_value(value)).calls == ["post", "own"]
    assert decode_value(encode_value(Doubling(3))).n == 6


def test_pydantic_models_keep_what_was_set_and_what_is_private() -> None:
    customer = Customer(name="n")
    customer._secret = 2
    found = decode_value(encode_value(customer))
    assert (found, found.model_fields_set, found._secret) == (customer, {"name"}, 2)


# --- refusals


def local_class() -> Any:
    @dataclasses.dataclass
    class Local:
        a: int = 1

    return Local()


def shadowed() -> Any:
    fake = type("Order", (), {"__module__": __name__, "__qualname__": "Order", "__dataclass_fields__": {}})
    return fake()


def cyclic() -> Any:
    value: dict[str, Any] = {"a": []}
    value["a"].append(value)
    return value


def deep(levels: int, wrap: Any = lambda value: [value]) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"conn": [1, 2, Unknown()]}, r'result\["conn"\]\[2\]: expected .* found .*Unknown with no stored form'),
        ({"a": (1, {"b": Point(1, print)})}, r'result\["a"\]\[1\]\["b"\]\.y: .* builtin_function_or_method'),
        ([Order("o", (object(),))], r"result\[0\]\.lines\[0\]: .* found object "),
        (Loose(Unknown()), r"result\.a: "),
        (Plain(name="n", unset=Unknown()), r"result\.unset: "),
        (Customer(name="n", extra=Unknown()), r"result.*Unknown"),
        ({1: {(2, 3): Unknown()}}, r"result\[1\]\[\(2, 3\)\]: "),
        ({Unknown(): 1}, r"result\.keys\(\)\[0\]: "),
        ({Unknown()}, r"result\[element 0\]: "),
        (TextSubclass("x"), r"result: .*TextSubclass \(a subclass of str\). Return a plain str"),
        ({TextSubclass("x"): 1}, r"TextSubclass"),
        (types.SimpleNamespace(), "SimpleNamespace"),
        (Order, "found type with no"),
        (sys.float_info, "subclass of tuple"),
        (defaultdict(Unknown), "with the factory"),
        (local_class(), "local to a function"),
        (shadowed(), "is not what is found at"),
        (DictAndDataclass(1), "dataclass and a built-in type"),
        (cyclic(), r'result\["a"\].*contains itself after 2 levels'),
        (deep(MAX_DEPTH + 2), f"deeper than {MAX_DEPTH} levels"),
        (deep(5000), f"deeper than {MAX_DEPTH} levels"),
        (deep(MAX_DEPTH + 2, lambda value: (value,)), f"deeper than {MAX_DEPTH} levels"),
        ([ValueError(Unknown())], r"result\[0\]\.args\[0\]: "),
        (iter([]), "list_iterator"),
        (memoryview(b""), "memoryview"),
        (Ellipsis, "ellipsis"),
    ],
)
def test_what_would_not_come_back_the_same_is_refused(value: Any, message: str) -> None:
    with pytest.raises(EncodeError, match=message):
        encode_value(value, name="result")


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: (v,), lambda v: {"a": v}, Loose, Point])
def test_the_deepest_nesting_that_is_encoded_is_decoded(wrap: Any) -> None:
    value = deep(MAX_DEPTH - 1, wrap)
    if wrap is Loose:
        value = deep(MAX_DEPTH // 2 - 1, wrap)
    assert encode_value(decode_value(encode_value(value))) == encode_value(value)


# --- classes that changed


def renamed(data: bytes, old: str, new: str) -> bytes:
    assert len(old) == len(new)
    assert old.encode() in data
    return data.replace(old.encode(), new.encode())


@pytest.mark.parametrize(
    ("value", "old", "new", "message"),
    [
        (Order("o"), ":Order", ":Gone0", "found no such name"),
        (Order("o"), f"{__name__}:", f"{__name__[:-1]}_:", "found no such module"),
        (Order("o"), "lines", "linez", "'linez' .*removed"),
        (Plain(name="n"), "tags", "tagz", "'tagz' .*removed"),
        (Colour.RED, "RED", "XED", "member 'XED' .*removed"),
        (Point(1), ":Point", ":Order", "expected the named tuple .*:Order, found <class"),
        (Order("o"), ":Order", ":Plain", "expected the dataclass"),
        (ValueError("x"), "builtins:ValueError", "subprocess:Popen\0\0\0"[:19], "found no such name"),
    ],
)
def test_a_class_that_changed_is_named(value: Any, old: str, new: str, message: str) -> None:
    with pytest.raises(msgspec.DecodeError, match=message):
        decode_value(renamed(encode_value(value), old, new))


def test_nothing_but_the_known_families_is_called() -> None:
    data = renamed(encode_value(ArithmeticError("true")), "builtins:ArithmeticError", "subprocess:getstatusoutp")
    with pytest.raises(msgspec.DecodeError):
        decode_value(data)
    for family in (Order("o"), Point(1), Colour.RED, Plain(name="n"), Customer(name="n"), ValueError()):
        path = f"{type(family).__module__}:{type(family).__qualname__}"
        data = encode_value(family).replace(path.encode(), b"builtins:print".ljust(len(path), b"\0"))
        with pytest.raises(msgspec.DecodeError, match=r"no such name|Only such classes"):
            decode_value(data)


def test_fields_that_a_class_has_gained_take_their_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules[__name__]

    def evolve(old: Any, new: Any, value: Any) -> Any:
        for cls in (old, new):
            cls.__qualname__, cls.__module__ = "Evolving", __name__
        monkeypatch.setattr(module, "Evolving", old, raising=False)
        data = encode_value(value)
        monkeypatch.setattr(module, "Evolving", new)
        return decode_value(data)

    new_field = dataclasses.field(default_factory=list)
    old = dataclasses.make_dataclass("Evolving", ["a"])
    assert evolve(old, dataclasses.make_dataclass("Evolving", ["a", ("b", Any, new_field)]), old(1)).b == []
    with pytest.raises(msgspec.DecodeError, match=r"field 'b' .* found none. Give it a default"):
        evolve(old, dataclasses.make_dataclass("Evolving", ["a", "b"]), old(1))
    struct = msgspec.defstruct("Evolving", [("a", int)])
    assert evolve(struct, msgspec.defstruct("Evolving", [("a", int), ("b", int, 2)]), struct(1)).b == 2
    with pytest.raises(msgspec.DecodeError, match=r"missing required argument|Missing required argument"):
        evolve(struct, msgspec.defstruct("Evolving", [("a", int), ("b", int)]), struct(1))
    pair = namedtuple("Evolving", "a")
    assert evolve(pair, namedtuple("Evolving", "b a", defaults=(7, 8)), pair(1)) == (7, 1)


def test_bytes_of_a_newer_version_are_refused() -> None:
    with pytest.raises(msgspec.DecodeError, match=r"found 99\. Upgrade"):
        decode_value(msgspec.msgpack.encode(msgspec.msgpack.Ext(99, b"\x90")))


@given(st.binary())
def test_arbitrary_bytes_decode_or_are_refused(data: bytes) -> None:
    with contextlib.suppress(msgspec.DecodeError):
        decode_value(data)


# --- exceptions

EXCEPTIONS: list[BaseException] = [
    ValueError("x", 1, (2,)), KeyError("k"), KeywordError("text", code=7), FileNotFoundError(2, "no", "file"),
    SlottedError("host"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), StopIteration(3), SystemExit(4),
    ImportError("no", name="module", path="/p"), RunFailed("failed", run="r", state="dead"), KeyboardInterrupt(),
    ExceptionGroup("group", [ValueError(1), ExceptionGroup("inner", [KeywordError("t", code=1)])]),
    msgspec.ValidationError("bad"), RecordedError("a.B", "text"), TimeoutError(),
    SyntaxError("s", ("f", 1, 2, "t", 1, 3)),
]  # fmt: skip


@pytest.mark.parametrize("error", EXCEPTIONS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("within", [False, True], ids=["recorded", "within a value"])
def test_an_exception_comes_back_as_its_own_class(error: BaseException, within: bool) -> None:
    error.__notes__ = ["note"]
    found = decode_value(encode_value([error]))[0] if within else decode_exception(encode_exception(error))
    assert type(found) is type(error)
    assert repr(found) == repr(error)
    assert str(found) == str(error)
    if not isinstance(error, BaseExceptionGroup):
        assert (found.args, found.__dict__) == (error.args, error.__dict__)
    for name in ("errno", "filename", "name", "path", "value", "code", "start", "object", "lineno", "end_offset"):
        assert getattr(found, name, None) == getattr(error, name, None)
    assert found.__notes__ == ["note"]


def test_causes_come_back_in_their_order() -> None:
    error, middle, root = KeywordError("top", code=1), ValueError("middle"), LookupError("root")
    error.__cause__, middle.__cause__, root.__cause__ = middle, root, error
    found = decode_exception(encode_exception(error))
    assert repr(found.__cause__) == repr(middle)
    assert repr(found.__cause__.__cause__) == repr(root)  # type: ignore[union-attr]
    assert found.__cause__.__cause__.__cause__ is None  # type: ignore[union-attr]


def test_attributes_that_do_not_encode_are_left_out_and_noted() -> None:
    error = KeywordError("text", code=1)
    error.response = Unknown()  # type: ignore[attr-defined]
    found = decode_exception(encode_exception(error))
    assert (type(found), found.__dict__["code"]) == (KeywordError, 1)
    assert "not recorded, as they can't be stored: response" in found.__notes__[0]
    with pytest.raises(EncodeError, match="response"):
        encode_value([error])


def test_what_cannot_be_rebuilt_is_recorded_in_its_words() -> None:
    class LocalError(Exception):
        pass

    for error, name in ((LocalError("text"), "LocalError"), (ValueError(Unknown()), "builtins.ValueError")):
        error.add_note("note")
        error.__cause__ = ValueError("cause")
        found = decode_exception(encode_exception(error))
        assert isinstance(found, RecordedError)
        assert found.error_type.endswith(name)
        assert found.message == str(error)
        assert found.__notes__ == ["note"]
        assert repr(found.__cause__) == "ValueError('cause')"


def test_a_validation_error_of_pydantic_is_recorded_in_its_words() -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        Customer.model_validate({})
    found = decode_exception(encode_exception(caught.value))
    assert isinstance(found, RecordedError)
    assert "Field required" in found.message


def test_a_value_is_not_taken_for_an_exception() -> None:
    with pytest.raises(msgspec.DecodeError, match="expected an exception, found int"):
        decode_exception(encode_value(1))
