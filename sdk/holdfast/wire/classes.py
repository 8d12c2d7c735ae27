"""The shapes of user classes: enums, named tuples, dataclasses, msgspec structs, pydantic models and exceptions.

A class is recorded by module and qualified name. Its instances are put together without running code of the class
(no `__init__`, no `__post_init__`), so they come back as they were, not as a constructor would make them; msgspec
structs are the exception, they can only be constructed. Fields that the class has gained since take their defaults.
Nothing else at a recorded path is ever called.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Callable, Collection, Container, Iterable
from enum import Enum, Flag
from typing import Any

import msgspec
from msgspec import DecodeError, Struct

from holdfast.wire.shapes import Parts, Shape, Unfit, paired, pairs

_HEAP_TYPE = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: the class was made at run time, not built into the interpreter."""
_MISSING: Any = object()


def path_of(cls: type) -> str:
    """`module:Qualified.name`, where the class is found again.

    Raises:
        Unfit: the class is not there.
    """
    path = f"{cls.__module__}:{cls.__qualname__}"
    if "<locals>" in path:
        raise Unfit("whose class is local to a function. Define it at the top of a module")
    if _object_at(sys.modules.get(cls.__module__), cls.__qualname__) is not cls:
        raise Unfit(f"whose class is not what is found at {path}. Give it the name it is reached by")
    return path


def class_at(path: str, family: Callable[[type], bool], noun: str) -> type:
    """The class at a recorded path.

    Raises:
        msgspec.DecodeError: it is gone, or is not of the family (then it is not touched).
    """
    module_name, _, qualname = path.partition(":")
    try:
        module = sys.modules.get(module_name) or importlib.import_module(module_name)
    except Exception as error:
        raise DecodeError(
            f"expected the {noun} {path}, found no such module ({error!r}). Keep recorded classes"
        ) from error
    found = _object_at(module, qualname)
    if found is _MISSING:
        hint = " (__main__ is another script here: put the class in a module)" if module_name == "__main__" else ""
        raise DecodeError(
            f"expected the {noun} {path}, found no such name{hint}. Leave an alias where a class was renamed"
        )
    if not isinstance(found, type) or not family(found):
        raise DecodeError(f"expected the {noun} {path}, found {found!r} there. Only such classes are instantiated")
    return found


def _object_at(module: object, qualname: str) -> Any:
    found: Any = module
    for name in qualname.split("."):
        found = getattr(found, name, _MISSING)
    return found


def by_attribute(parts: Parts, index: int) -> str:
    """`.name`: the class's path, then names and values alternating."""
    return f".{parts[index - 1]}"


def _fields(
    cls: type, recorded: Iterable[tuple[str, Any]], known: Collection[str], default: Callable[[str], Any]
) -> dict[str, Any]:
    """The recorded fields by name, those that are new in the class with their defaults."""
    fields = dict(recorded)
    for name in fields:
        if name not in known:
            raise DecodeError(
                f"expected a field {name!r} of {cls.__module__}.{cls.__qualname__}, found it removed. Keep it"
            )
    for name in known:
        if name not in fields and (value := default(name)) is not _MISSING:
            fields[name] = value
    return fields


def _new_without_default(cls: type, name: str) -> DecodeError:
    where = f"{cls.__module__}.{cls.__qualname__}"
    return DecodeError(f"expected the field {name!r} of {where} in the recorded value, found none. Give it a default")


# Enums: path and name; a combination of flags has no name of its own, so its number.


def _take_enum(value: Enum) -> Parts:
    cls = type(value)
    if cls.__members__.get(value.name) is value:
        return [path_of(cls), value.name]
    if isinstance(value, Flag):
        return [path_of(cls), None, value.value]
    raise Unfit("which is not a member of its enum. Use a member")


def _make_enum(parts: Parts) -> Any:
    cls: Any = class_at(parts[0], lambda found: issubclass(found, Enum), "enum")
    if parts[1] is None:
        return cls(parts[2])
    if parts[1] not in cls.__members__:
        raise DecodeError(f"expected the member {parts[1]!r} of {parts[0]}, found it removed. Leave an alias of it")
    return cls[parts[1]]


# Named tuples


def _is_named_tuple(cls: type) -> bool:
    return issubclass(cls, tuple) and hasattr(cls, "_fields") and hasattr(cls, "_field_defaults")


def _take_named_tuple(value: Any) -> Parts:
    if getattr(value, "__dict__", None):
        raise Unfit("with attributes beside its fields. Return a plain named tuple")
    return [path_of(type(value)), *(part for pair in zip(value._fields, value, strict=True) for part in pair)]


def _make_named_tuple(parts: Parts) -> Any:
    cls: Any = class_at(parts[0], _is_named_tuple, "named tuple")
    fields = _fields(cls, paired(parts[1:]), cls._fields, lambda name: cls._field_defaults.get(name, _MISSING))
    for name in cls._fields:
        if name not in fields:
            raise _new_without_default(cls, name)
    return tuple.__new__(cls, [fields[name] for name in cls._fields])


# Dataclasses: all state, so also fields that __init__ does not take, and slots.


def _take_dataclass(value: Any) -> Parts:
    path = path_of(type(value))
    if any(not base.__flags__ & _HEAP_TYPE for base in type(value).__mro__[:-1]):
        raise Unfit("which is a dataclass and a built-in type at once. Hold the built-in value in a field")
    state: Any = object.__getstate__(value)
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    return _with_rest(
        path, {**(attributes or {}), **(slots or {})}, {field.name for field in dataclasses.fields(value)}
    )


def _with_rest(path: str, state: dict[str, Any], known: Container[str], *beside: Any) -> list[Any]:
    """Path and fields, and last what else an instance holds (cached properties, say): that may come and go."""
    fields = {name: part for name, part in state.items() if name in known}
    rest = {name: part for name, part in state.items() if name not in known}
    return [path, *pairs(fields), "__dict__", [rest, *beside]]


def _make_dataclass(parts: Parts) -> Any:
    cls: Any = class_at(parts[0], dataclasses.is_dataclass, "dataclass")
    known = {field.name: field for field in dataclasses.fields(cls)}

    def default(name: str) -> Any:
        field = known[name]
        if field.default is not dataclasses.MISSING:
            return field.default
        if field.default_factory is not dataclasses.MISSING:
            return field.default_factory()
        if not field.init:
            return _MISSING
        raise _new_without_default(cls, name)

    value = object.__new__(cls)
    for name, part in {**_fields(cls, paired(parts[1:-2]), known, default), **parts[-1][0]}.items():
        object.__setattr__(value, name, part)
    return value


# msgspec structs


def _take_struct(value: Any) -> Parts:
    if getattr(value, "__dict__", None):
        raise Unfit("with attributes beside its fields. Declare them as fields")
    return [path_of(type(value)), *pairs({name: getattr(value, name) for name in value.__struct_fields__})]


def _make_struct(parts: Parts) -> Any:
    cls: Any = class_at(parts[0], lambda found: issubclass(found, Struct), "struct")
    fields = _fields(cls, paired(parts[1:]), cls.__struct_fields__, lambda _: _MISSING)
    try:
        value = cls(**fields)
    except TypeError as error:
        raise DecodeError(
            f"expected the fields of {parts[0]}, found {sorted(fields)}: {error}. Give it a default"
        ) from error
    for name, part in fields.items():
        msgspec.structs.force_setattr(value, name, part)
    return value


# pydantic models: what was validated is not validated again.


def _is_model(cls: type) -> bool:
    """pydantic is never imported for this: a model's class has imported it."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and issubclass(cls, pydantic.BaseModel)


def _take_model(value: Any) -> Parts:
    undefined = sys.modules["pydantic_core"].PydanticUndefined
    private = value.__pydantic_private__
    if private is not None:
        private = {name: part for name, part in private.items() if part is not undefined}
    cls = type(value)
    beside = (value.__pydantic_fields_set__, value.__pydantic_extra__, private)
    return _with_rest(path_of(cls), value.__dict__, cls.model_fields, *beside)


def _make_model(parts: Parts) -> Any:
    cls: Any = class_at(parts[0], _is_model, "pydantic model")
    known = cls.model_fields

    def default(name: str) -> Any:
        if known[name].is_required():
            raise _new_without_default(cls, name)
        return known[name].get_default(call_default_factory=True)

    value = cls.__new__(cls)
    rest, fields_set, extra, private = parts[-1]
    fields = _fields(cls, paired(parts[1:-2]), known, default)
    state = {"__dict__": {**fields, **rest}, "__pydantic_fields_set__": fields_set}
    for name, part in {**state, "__pydantic_extra__": extra, "__pydantic_private__": private}.items():
        object.__setattr__(value, name, part)
    return value


# Exceptions: path, arguments, attributes, members of the built-in class, causes (each encoded by itself).


def take_exception(error: BaseException, causes: list[bytes]) -> Parts:
    """The parts of an exception that can be rebuilt.

    Raises:
        Unfit: it can't.
    """
    path = path_of(type(error))
    built_in: Any = _built_in(type(error))
    reduced = built_in.__reduce__(error)
    arguments, state = reduced[1], reduced[2] if len(reduced) > 2 else {}
    attributes = dict(error.__dict__)
    members = {name: part for name, part in (state or {}).items() if name not in attributes and name != "args"}
    try:
        rebuilt = _rebuild(type(error), arguments, attributes, members)
    except Exception as refusal:
        raise Unfit(f"which can't be built from its arguments ({refusal!r}). Raise one that can") from refusal
    if len(rebuilt.args) != len(error.args) or any(a is not b for a, b in zip(rebuilt.args, error.args, strict=True)):
        raise Unfit("which changes its arguments. Raise one that keeps them")
    return [path, arguments, attributes, members, causes]


def make_exception(parts: Parts, decode: Callable[[bytes], BaseException]) -> BaseException:
    """The exception of its parts; each cause is the cause of the one before it."""
    cls = class_at(parts[0], lambda found: issubclass(found, BaseException), "exception")
    error = _rebuild(cls, *parts[1:4])
    effect = error
    for cause in map(decode, parts[4]):
        effect.__cause__ = cause
        effect = cause
    return error


def _rebuild(cls: Any, arguments: Parts, attributes: dict[str, Any], members: dict[str, Any]) -> BaseException:
    """Calls the built-in class's constructor only: one of the user's often takes other arguments than it passes on."""
    built_in: Any = _built_in(cls)
    error: BaseException = built_in.__new__(cls, *arguments)
    built_in.__init__(error, *arguments)
    error.__dict__.update(attributes)
    for name, part in members.items():
        object.__setattr__(error, name, part)
    return error


def _built_in(cls: type) -> type:
    return next(base for base in cls.__mro__ if not base.__flags__ & _HEAP_TYPE)


ENUM = Shape(32, _take_enum, _make_enum, by_attribute)
NAMED_TUPLE = Shape(33, _take_named_tuple, _make_named_tuple, by_attribute)
DATACLASS = Shape(34, _take_dataclass, _make_dataclass, by_attribute)
STRUCT = Shape(35, _take_struct, _make_struct, by_attribute)
MODEL = Shape(36, _take_model, _make_model, by_attribute)
FAMILIES = (ENUM, NAMED_TUPLE, DATACLASS, STRUCT, MODEL)


def shape_of_class(cls: type) -> Shape | None:
    """The family that a class belongs to, exceptions left out; None when it is of none."""
    if issubclass(cls, Enum):
        return ENUM
    if _is_named_tuple(cls):
        return NAMED_TUPLE
    if issubclass(cls, Struct):
        return STRUCT
    if _is_model(cls):
        return MODEL
    return DATACLASS if dataclasses.is_dataclass(cls) else None
