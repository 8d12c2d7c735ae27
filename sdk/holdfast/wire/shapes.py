"""A shape says how values of a type are taken apart and put together again; here those of the standard library's types.

The parts are values themselves and are encoded in turn. `values` holds the walk, `classes` the shapes of user classes.
"""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from reprlib import repr as short_repr
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec


class Unfit(Exception):
    """This value can't be taken apart so that it comes back the same; says why and what to do."""


Parts = Sequence[Any]
Label = Callable[[Parts, int], str]


class Shape(NamedTuple):
    """How values of one type, or of one family of classes, become parts and parts become values."""

    code: int
    """The msgpack extension type, 1 to 127; never reused: the journal holds it."""
    take: Callable[[Any], Parts]
    """Raises Unfit."""
    make: Callable[[Parts], Any]
    """Raises msgspec.DecodeError, or anything else where the parts were not taken by `take`."""
    label: Label
    """Where a part stands, as it would be written in Python after the value's own place."""


def by_index(_: Parts, index: int) -> str:
    """`[2]`: the parts are the items."""
    return f"[{index}]"


def by_key(parts: Parts, index: int) -> str:
    """`["conn"]`: keys and values alternate."""
    return f"[{_quoted(parts[index - 1])}]" if index % 2 else f".keys()[{index // 2}]"


def by_element(_: Parts, index: int) -> str:
    """`[element 2]`: a set has no places, so the place in its iteration."""
    return f"[element {index}]"


def by_zone(_: Parts, __: int) -> str:
    """`.tzinfo`: the only part of a date or time that can fail."""
    return ".tzinfo"


def _quoted(key: object) -> str:
    return f'"{key}"' if type(key) is str and '"' not in key and len(key) < 40 else short_repr(key)


def pairs(mapping: Any) -> list[Any]:
    """Keys and values, alternating."""
    return [part for item in mapping.items() for part in item]


def paired(parts: Parts) -> Any:
    """The items of alternating keys and values."""
    return zip(parts[::2], parts[1::2], strict=True)


FACTORIES: dict[str, Any] = {
    factory.__name__: factory for factory in (list, dict, set, frozenset, tuple, int, float, str, bytes, bool)
}
"""The `default_factory` that a defaultdict may have, besides None."""


def _take_defaultdict(value: defaultdict[Any, Any]) -> Parts:
    factory = value.default_factory
    if factory is None:
        return ["", "", *pairs(value)]
    name = getattr(factory, "__name__", "")
    if FACTORIES.get(name) is not factory:
        raise Unfit(f"with the factory {short_repr(factory)}. Use a built-in factory, or return a dict")
    return [name, "", *pairs(value)]


def _make_counter(parts: Parts) -> Counter[Any]:
    counter: Counter[Any] = Counter()
    dict.update(counter, paired(parts))
    return counter


def _instant(value: datetime | time) -> list[Any]:
    return [value.hour, value.minute, value.second, value.microsecond, value.tzinfo, value.fold]


def _make_datetime(parts: Parts) -> datetime:
    *fields, fold = parts
    return datetime(*fields).replace(fold=fold)


def _make_time(parts: Parts) -> time:
    *fields, fold = parts
    return time(*fields).replace(fold=fold)


def _take_zone(value: ZoneInfo) -> Parts:
    if value.key is None:
        raise Unfit("without a key (read from a file). Use a zone by its name")
    return [value.key]


def _take_offset(value: timezone) -> Parts:
    return value.__getinitargs__()  # type: ignore[attr-defined,no-any-return]  # offset and, if given, the name


def _take_integer(value: int) -> Parts:
    return [value.to_bytes(value.bit_length() // 8 + 1, signed=True)]


def _take_text(value: str) -> Parts:
    return [value.encode("utf-8", "surrogatepass")]


def _path(code: int, kind: type) -> Shape:
    return Shape(code, lambda value: [str(value)], lambda parts: kind(parts[0]), by_index)


SHAPES: dict[type, Shape] = {
    int: Shape(1, _take_integer, lambda p: int.from_bytes(p[0], signed=True), by_index),
    str: Shape(2, _take_text, lambda p: p[0].decode("utf-8", "surrogatepass"), by_index),
    bytearray: Shape(3, lambda v: [bytes(v)], lambda p: bytearray(p[0]), by_index),
    tuple: Shape(4, list, tuple, by_index),
    dict: Shape(5, pairs, lambda p: dict(paired(p)), by_key),
    set: Shape(6, list, set, by_element),
    frozenset: Shape(7, list, frozenset, by_element),
    OrderedDict: Shape(8, pairs, lambda p: OrderedDict(paired(p)), by_key),
    Counter: Shape(9, pairs, _make_counter, by_key),
    deque: Shape(10, lambda v: [*v, v.maxlen], lambda p: deque(p[:-1], p[-1]), by_index),
    defaultdict: Shape(11, _take_defaultdict, lambda p: defaultdict(FACTORIES.get(p[0]), paired(p[2:])), by_key),
    complex: Shape(12, lambda v: [v.real, v.imag], lambda p: complex(*p), by_index),
    range: Shape(13, lambda v: [v.start, v.stop, v.step], lambda p: range(*p), by_index),
    datetime: Shape(14, lambda v: [v.year, v.month, v.day, *_instant(v)], _make_datetime, by_zone),
    date: Shape(15, lambda v: [v.year, v.month, v.day], lambda p: date(*p), by_index),
    time: Shape(16, _instant, _make_time, by_zone),
    timedelta: Shape(17, lambda v: [v.days, v.seconds, v.microseconds], lambda p: timedelta(*p), by_index),
    timezone: Shape(18, _take_offset, lambda p: timezone(*p), by_index),
    ZoneInfo: Shape(19, _take_zone, lambda p: ZoneInfo(p[0]), by_index),
    Decimal: Shape(20, lambda v: [str(v)], lambda p: Decimal(p[0]), by_index),
    UUID: Shape(21, lambda v: [v.bytes], lambda p: UUID(bytes=p[0]), by_index),
    PosixPath: _path(22, PosixPath),
    PurePosixPath: _path(23, PurePosixPath),
    WindowsPath: _path(24, WindowsPath),
    PureWindowsPath: _path(25, PureWindowsPath),
    type(msgspec.UNSET): Shape(26, lambda _: [], lambda _: msgspec.UNSET, by_index),
}  # fmt: skip
"""By exact type. Subclasses have other behaviour and perhaps other state: they are not these."""


def _make_pydantic_zone(parts: Parts) -> tzinfo:
    from pydantic_core import TzInfo

    zone: tzinfo = TzInfo(parts[0])
    return zone


PYDANTIC_ZONE = Shape(27, lambda v: [int(v.utcoffset(None).total_seconds())], _make_pydantic_zone, by_index)
"""The zone that pydantic gives to the datetimes it parses."""


def shape_of_type(kind: type) -> Shape | None:
    """The shape of a type of the standard library, or None."""
    shape = SHAPES.get(kind)
    if shape is None and kind.__name__ == "TzInfo" and (core := sys.modules.get("pydantic_core")):
        return PYDANTIC_ZONE if kind is getattr(core, "TzInfo", None) else None
    return shape
