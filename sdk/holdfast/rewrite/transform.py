"""The rewriting of one function in place: find its source, rebuild the awaits, exchange the code."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from types import FunctionType
from typing import Any, Protocol

import msgspec

from holdfast.errors import DefinitionError
from holdfast.rewrite.awaits import CALL, SITE, SPAWN, VALUE, Awaits, Site
from holdfast.rewrite.compile import compile_statement, find, with_constants


class Seam(Protocol):
    """Stands between a task and whatever it awaits.

    Its methods are looked up once, by `rewrite`, and become constants of the code: it has to be hashable, and
    replacing a method afterwards changes nothing. Callee and arguments come evaluated, in the order of the source.
    """

    def call(self, site: Site, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        """For `await f(a, k=b)`: what is awaited instead."""
        ...

    def value(self, site: Site, x: Any, /) -> Awaitable[Any]:
        """For `await x`, where x is not a call: what is awaited instead."""
        ...

    def spawn(self, site: Site, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """For a call of one of `SPAWNERS` that is not awaited: its result. Its awaitable arguments are branches."""
        ...


class Rewritten(msgspec.Struct, frozen=True):
    """What the rewriting of a function found in it."""

    sites: tuple[Site, ...]
    """In the order of the source, an outer expression before those inside it."""


def rewrite(fn: FunctionType, seam: Seam) -> Rewritten:
    """Replaces the code of an `async def` function by one whose awaits go through the seam.

    The function object stays the same, with its closure, defaults, globals and annotations, so whoever holds it (a
    decorator below, a class) now calls the new code. Unwrap wrappers first (`inspect.unwrap`). Idempotent: it starts
    from the source, so the last seam wins. Nested functions, lambdas and classes are left alone.

    Raises:
        DefinitionError: not an `async def`, or one that yields.
        SourceUnavailable: there is no source, or the file is not the one that was imported. Nothing is changed then.
    """
    _require_coroutine(fn)
    definition = find(fn)
    awaits = Awaits()
    statement = definition.with_body(awaits.body(definition.node.body))
    objects: dict[str, Any] = {f"{SITE}{index}": site for index, site in enumerate(awaits.sites)}
    objects |= {CALL: seam.call, VALUE: seam.value, SPAWN: seam.spawn}
    fn.__code__ = with_constants(compile_statement(statement, fn), objects)
    return Rewritten(tuple(awaits.sites))


def _require_coroutine(fn: FunctionType) -> None:
    flags = fn.__code__.co_flags
    if flags & inspect.CO_ASYNC_GENERATOR:
        raise DefinitionError(
            f"{fn.__qualname__}: expected an `async def` that returns once, found `yield` in it. "
            "Return a list, or make what is yielded a run of its own"
        )
    if not flags & inspect.CO_COROUTINE:
        raise DefinitionError(
            f"{fn.__qualname__}: expected an `async def` function, found a plain one. Write `async def`"
        )
