"""Payloads, results and recorded outcomes as bytes that come back the same: same values, same types.

msgpack by msgspec, with extension types for what msgpack has not. Plain values (None, bool, float, bytes, text, 64-bit
integers, lists, dicts with text keys) are msgpack itself, and any msgpack reader can read them. Left alone, msgspec
would turn tuples and sets into arrays and datetimes, enums and structs into text and maps, so a value is walked first
and whatever is not plain becomes an extension whose data are its encoded parts. Never pickle: decoding looks up classes
by name and instantiates only those of the families in `classes`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from msgspec import DecodeError
from msgspec.msgpack import Ext

from holdfast.errors import EncodeError, RecordedError
from holdfast.wire import classes
from holdfast.wire.references import REFERENCES
from holdfast.wire.shapes import PYDANTIC_ZONE, SHAPES, Parts, Shape, Unfit, by_index, by_key, shape_of_type

MAX_DEPTH = 200
"""Levels of nesting; well within the interpreter's recursion limit, on the way back too."""
MAX_CAUSES = 10
"""How much of a chain of `raise ... from ...` is recorded."""

_LEAVES = frozenset({type(None), bool, float, bytes})
_LOWEST, _HIGHEST = -(1 << 63), (1 << 64) - 1
_encode = msgspec.msgpack.Encoder().encode


def encode_value(value: Any, *, name: str = "value") -> bytes:
    """The value as bytes from which `decode_value` makes an equal value of the same types.

    Args:
        value: anything.
        name: what the value is called in an error, as in `result["conn"][2]`.

    Raises:
        EncodeError: there is no such form; the message names the place, the type and what to do.
    """
    try:
        if _is_plain(value, MAX_DEPTH):
            return _encode(value)
    except UnicodeEncodeError:
        pass  # lone surrogates: as an extension
    root = _Step(None, None, [name], 0, value, 0)
    try:
        return _encode(_converted(value, root))
    except RecursionError as error:
        raise _refused(value, root, "nested too deep for what is left of the stack. Store it flat") from error


def decode_value(data: bytes) -> Any:
    """The value of bytes that `encode_value` made.

    Raises:
        msgspec.DecodeError: the bytes are no value, or a class in it is gone, has changed or is of no known family.
    """
    try:
        return _decoder.decode(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(f"expected an encoded value, found {error}. Was it written by encode_value?") from error


def encode_exception(error: BaseException) -> bytes:
    """The exception as bytes: class, arguments, attributes, notes and causes; always succeeds.

    Attributes that don't encode are left out, and a note says so. What can't be rebuilt as its own class is recorded as
    a `RecordedError` of the same text. The traceback is not part of it.
    """
    return _encode_error(error, [_encode_error(cause, []) for cause in _causes(error)])


def decode_exception(data: bytes) -> BaseException:
    """The exception of bytes that `encode_exception` made, ready to be raised.

    Raises:
        msgspec.DecodeError: as `decode_value`, or the bytes hold something else.
    """
    error = decode_value(data)
    if not isinstance(error, BaseException):
        raise DecodeError(f"expected an exception, found {type(error).__name__}")
    return error


def _is_plain(value: Any, levels: int) -> bool:
    kind = type(value)
    if kind is str or kind in _LEAVES:
        return True
    if kind is int:
        return bool(_LOWEST <= value <= _HIGHEST)
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str or (type(item) is not str and not (levels and _is_plain(item, levels - 1))):
                return False
        return True
    if kind is list:
        for item in value:  # noqa: SIM110  # a generator would double the time
            if type(item) is not str and not (levels and _is_plain(item, levels - 1)):
                return False
        return True
    return False


class _Step(NamedTuple):
    """One level of the way into a value: which part of what we are at."""

    above: _Step | None
    shape: Shape | None
    parts: Parts
    part: int
    whole: Any
    depth: int


def _converted(value: Any, step: _Step) -> Any:
    """The value as what msgspec encodes without loss: plain values and extensions."""
    if _is_leaf(value):
        return value
    shape = _shape_of(value)
    if step.depth > MAX_DEPTH:
        raise _too_deep(value, step)
    if shape is None:
        raise _refused(value, step, _advice(type(value)))
    try:
        parts = shape.take(value)
    except Unfit as unfit:
        raise _refused(value, step, str(unfit)) from unfit
    depth = step.depth + 1
    wired = [
        part if _is_leaf(part) else _converted(part, _Step(step, shape, parts, index, value, depth))
        for index, part in enumerate(parts)
    ]
    if shape is _LIST:
        return wired
    if shape is _TEXT_DICT:
        return dict(zip(wired[::2], wired[1::2], strict=True))
    return Ext(shape.code, _encode(wired))


def _is_leaf(value: Any) -> bool:
    kind = type(value)
    if kind is int:
        return bool(_LOWEST <= value <= _HIGHEST)
    if kind is str:
        return value.isascii() or _is_unicode(value)
    return kind in _LEAVES


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shape_of(value: Any) -> Shape | None:
    kind = type(value)
    if kind is list:
        return _LIST
    if kind is dict and all(type(key) is str and _is_unicode(key) for key in value):
        return _TEXT_DICT
    if isinstance(value, BaseException):
        return _EXCEPTION
    return shape_of_type(kind) or classes.shape_of_class(kind)


def _take_exception(error: BaseException) -> Parts:
    return classes.take_exception(error, [_encode_error(cause, []) for cause in _causes(error)])


def _exception_label(_: Parts, index: int) -> str:
    return ("", ".args", ".__dict__", "", ".__cause__")[index]


_LIST = Shape(0, list, list, by_index)
_TEXT_DICT = Shape(0, SHAPES[dict].take, SHAPES[dict].make, by_key)
_EXCEPTION = Shape(37, _take_exception, lambda parts: classes.make_exception(parts, decode_exception), _exception_label)
_BY_CODE = {
    shape.code: shape for shape in (*SHAPES.values(), *classes.FAMILIES, PYDANTIC_ZONE, _EXCEPTION, *REFERENCES)
}


def _extension(code: int, data: memoryview) -> Any:
    shape = _BY_CODE.get(code)
    if shape is None:
        raise DecodeError(f"expected an extension type of this version, found {code}. Upgrade holdfast here")
    parts = _decoder.decode(data)
    try:
        return shape.make(parts)
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(f"expected the parts of extension type {code}, found {parts!r:.80}: {error!r}") from error


_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(ext_hook=_extension)


def _encode_error(error: BaseException, causes: list[bytes]) -> bytes:
    try:
        path, arguments, attributes, members, _ = classes.take_exception(error, causes)
        kept = {name: part for name, part in attributes.items() if _encodes(part)}
        if dropped := attributes.keys() - kept.keys() - {"__notes__"}:
            note = f"holdfast: not recorded, as they can't be stored: {', '.join(sorted(dropped))}"
            kept["__notes__"] = [*_notes(error), note]
        step = _Step(None, None, ["exception"], 0, error, 0)
        members = {name: part for name, part in members.items() if _encodes(part)}
        return _encode(Ext(_EXCEPTION.code, _encode(_converted([path, arguments, kept, members, causes], step))))
    except (Unfit, EncodeError):
        return _encode_error(_stand_in(error), causes)


def _stand_in(error: BaseException) -> RecordedError:
    try:
        message = str(error)
    except Exception:  # the user's __str__
        message = ""
    stand_in = RecordedError(f"{type(error).__module__}.{type(error).__qualname__}", message)
    for note in _notes(error):
        stand_in.add_note(note)
    return stand_in


def _notes(error: BaseException) -> list[str]:
    notes = getattr(error, "__notes__", ())
    return [str(note) for note in notes] if isinstance(notes, list | tuple) else []


def _causes(error: BaseException) -> list[BaseException]:
    """The chain of causes, cut where it comes back to itself or gets long."""
    chain = [error]
    while (cause := chain[-1].__cause__) and not any(cause is seen for seen in chain) and len(chain) <= MAX_CAUSES:
        chain.append(cause)
    return chain[1:]


def _encodes(value: Any) -> bool:
    try:
        encode_value(value)
    except EncodeError:
        return False
    return True


def _refused(value: Any, step: _Step, reason: str) -> EncodeError:
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    return EncodeError(f"{_place(step)}: expected a value that comes back the same, found {kind} {reason}")


def _too_deep(value: Any, step: _Step) -> EncodeError:
    above, levels = step, 0
    while above.above is not None:
        levels += 1
        if above.whole is value:
            return _refused(
                value, _outermost(step, value), f"that contains itself after {levels} levels. Break the cycle"
            )
        above = above.above
    return _refused(value, _outermost(step, None), f"nested deeper than {MAX_DEPTH} levels. Store it flat")


def _outermost(step: _Step, value: Any) -> _Step:
    """The highest step that is inside the value, or the very first one: a place of 200 levels is of no use."""
    found = step
    while step.above is not None:
        if step.whole is value:
            found = step
        step = step.above
    return step if value is None else found


def _place(step: _Step) -> str:
    labels: list[str] = []
    at: _Step | None = step
    while at is not None:
        labels.append(at.shape.label(at.parts, at.part) if at.shape else str(at.parts[0]))
        at = at.above
    return "".join(reversed(labels))


def _advice(kind: type) -> str:
    for known in (*SHAPES, list, dict, str, int, float, bytes):
        if issubclass(kind, known):
            return f"(a subclass of {known.__name__}). Return a plain {known.__name__}, or a dataclass that holds it"
    return "with no stored form. Return the plain data in it, or a dataclass, struct or model of that"
