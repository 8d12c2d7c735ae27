"""A task's payload: its arguments by name, checked against the signature.

Checked where a task is triggered by code that imports it, and always by the worker before the first attempt. A value
that already is what the annotation asks for stays as it is; else msgspec converts it (so a date may come as text from
JSON), and pydantic models validate themselves. Parameters without an annotation take anything.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from typing import Any

import msgspec

from holdfast.describing import described
from holdfast.errors import DefinitionError, PayloadError
from holdfast.wire.values import decode_value, encode_value


class Signature:
    """What a task takes."""

    def __init__(self, task: str, fn: Callable[..., Any]) -> None:
        self._task = task
        self._signature = inspect.signature(fn)
        self._fn = fn
        self._hints: dict[str, Any] | None = None
        positional = [p.name for p in self._signature.parameters.values() if p.kind is Parameter.POSITIONAL_ONLY]
        if positional:
            raise DefinitionError(
                f"task {task}: parameter {positional[0]!r} is positional-only, but a payload names its arguments: "
                "remove the '/' from the signature"
            )
        if any(p.kind is Parameter.VAR_POSITIONAL for p in self._signature.parameters.values()):
            raise DefinitionError(f"task {task}: *args can't be named in a payload: take a list parameter instead")

    def __str__(self) -> str:
        """As it stands in the source: `(order_id: str, *, express: bool = False) -> dict`."""
        parameters = [
            each.replace(annotation=_as_written(each.annotation)) for each in self._signature.parameters.values()
        ]
        shown = self._signature.replace(
            parameters=parameters, return_annotation=_as_written(self._signature.return_annotation)
        )
        return str(shown)

    def takes(self, *names: str) -> bool:
        """Whether these arguments alone fit."""
        try:
            self._signature.bind(**dict.fromkeys(names))
        except TypeError:
            return False
        return True

    def has(self, name: str) -> bool:
        """Whether a parameter has this name."""
        return name in self._signature.parameters

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by name, as they were given. Raises: PayloadError: they do not fit the signature."""
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise self._refused(str(error)) from None
        named = dict(bound.arguments)
        for parameter in self._signature.parameters.values():
            if parameter.kind is Parameter.VAR_KEYWORD:
                named.update(named.pop(parameter.name, {}))
        return named

    def check(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments to call the task with. Raises: PayloadError: names or values do not fit."""
        named = self.bind((), payload)
        hints = self._resolved()
        return {name: self._fit(name, value, hints[name]) if name in hints else value for name, value in named.items()}

    def encode(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """Checked arguments for the journal. Raises: PayloadError; EncodeError: a value can't be stored."""
        named = self.bind(args, kwargs)
        self.check(named)
        return encode_value(named)

    def decode(self, payload: bytes) -> dict[str, Any]:
        """The arguments to call the task with, from the journal. Raises: PayloadError."""
        try:
            value = decode_value(payload)
        except Exception as error:  # whatever a class of the user's does on being made again
            raise self._refused(f"it can't be read: {error}") from error
        if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
            raise self._refused(f"expected an object of arguments by name, found {type(value).__name__}")
        return self.check(value)

    def schema(self) -> bytes:
        """JSON Schema of a payload, as JSON; what it can't describe may be anything there. Never raises."""
        try:
            hints = self._resolved()
        except Exception:  # an annotation may be any expression; the task runs all the same
            hints = {}
        return described(self._signature.parameters.values(), hints)

    def _resolved(self) -> dict[str, Any]:
        """Annotations as types; late, because a module's names may come after the task."""
        if self._hints is None:
            try:
                self._hints = typing.get_type_hints(self._fn)
            except NameError as error:
                raise DefinitionError(f"task {self._task}: an annotation can't be resolved: {error}") from error
        return self._hints

    def _fit(self, name: str, value: Any, hint: Any) -> Any:
        if isinstance(hint, type) and type(value) is hint:
            return value
        try:
            validate = getattr(hint, "model_validate", None)
            if validate is not None:
                return validate(value)
            return msgspec.convert(value, hint, strict=True)
        except msgspec.ValidationError as error:
            raise self._refused(f"argument {name!r}: {error}") from None
        except TypeError:
            return value  # a type that msgspec does not know: taken as it came
        except ValueError as error:  # pydantic's
            raise self._refused(f"argument {name!r}: {error}") from None

    def _refused(self, why: str) -> PayloadError:
        return PayloadError(f"payload of task {self._task}: expected {self._task}{self}; {why}")


class _Written(str):
    """An annotation that is text already, shown without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _as_written(annotation: Any) -> Any:
    return _Written(annotation) if isinstance(annotation, str) else annotation
