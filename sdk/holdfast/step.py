"""Steps: one await with a policy of its own."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Generic, NamedTuple, ParamSpec, TypeAlias, TypeVar, overload

import msgspec

from holdfast import context
from holdfast.core.model import Retry, Timeouts
from holdfast.errors import DefinitionError

P = ParamSpec("P")
R = TypeVar("R")

Undo: TypeAlias = "Callable[..., Awaitable[Any]] | Step[..., Any]"
Verify: TypeAlias = Callable[..., Awaitable["Done | NotDone | Unknown"]]

RESULT = "result"
"""The parameter by which an undo gets what its step returned."""

STEPS: dict[str, Step[..., Any]] = {}
"""Every step of a module declared in this process, by `module:qualname`: how the journal names one to be undone."""


class Done(msgspec.Struct, frozen=True):
    """Answer of a `verify`: the step did happen, and returned this."""

    value: Any = None


class NotDone(msgspec.Struct, frozen=True):
    """Answer of a `verify`: the step did not happen; it is run."""


class Unknown(msgspec.Struct, frozen=True):
    """Answer of a `verify`: it can't be known; the run pauses for an operator."""

    why: str = ""


class Policy(NamedTuple):
    """How a step is treated."""

    retry: Retry = Retry(max_attempts=1)
    timeouts: Timeouts | None = None
    undo: Undo | None = None
    at_most_once: bool = False
    verify: Verify | None = None
    key: str | Callable[..., str] | None = None


class Step(Generic[P, R]):
    """One await with a policy of its own. Outside a run it is the plain function."""

    def __init__(self, fn: Callable[P, Awaitable[R]], *, name: str, policy: Policy) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.name = name
        self.policy = policy
        self.ref = reference(fn)
        """How the journal names it."""
        self._signature = inspect.signature(fn)

    def __repr__(self) -> str:
        return f"<step {self.name}>"

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Methods can be steps too."""
        if instance is None:
            return self
        return Step(types.MethodType(self.fn, instance), name=self.name, policy=self.policy)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        current = context.execution.get()
        if current is None:
            return self.fn(*args, **kwargs)
        return current.step(self, args, kwargs)

    def named(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by parameter, with defaults. Raises: TypeError: they do not fit."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)

    def own_key(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> str | None:
        """The key that the step's `key=` gives to a call; None where it has none.

        Raises:
            DefinitionError: the key is no text, or has characters that stand for structure.
        """
        key = self.policy.key
        if callable(key):
            key = key(*args, **kwargs)
        if key is not None:
            _check_label(f"step {self.name}: key", key)
        return key


def call_named(fn: Callable[..., Any], named: Mapping[str, Any]) -> Any:
    """Call a function with those of the named values that it has parameters for."""
    return fn(**accepted(fn, named))


def accepted(fn: Callable[..., Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the named values that a function has parameters for."""
    parameters = inspect.signature(fn).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return dict(named)
    return {name: value for name, value in named.items() if name in parameters}


def reference(fn: Callable[..., Any]) -> str:
    """How the journal names a function of a module."""
    return f"{getattr(fn, '__module__', '')}:{getattr(fn, '__qualname__', '')}"


@overload
def step(fn: Callable[P, Awaitable[R]], /) -> Step[P, R]: ...
@overload
def step(
    *,
    retry: Retry | None = None,
    timeouts: Timeouts | None = None,
    undo: Undo | None = None,
    at_most_once: bool = False,
    verify: Verify | None = None,
    key: str | Callable[..., str] | None = None,
    name: str | None = None,
) -> Callable[[Callable[P, Awaitable[R]]], Step[P, R]]: ...
def step(
    fn: Callable[..., Awaitable[Any]] | None = None,
    /,
    *,
    retry: Retry | None = None,
    timeouts: Timeouts | None = None,
    undo: Undo | None = None,
    at_most_once: bool = False,
    verify: Verify | None = None,
    key: str | Callable[..., str] | None = None,
    name: str | None = None,
) -> Any:
    """Give an async function a policy of its own as a step of any run; each call in a run is a checkpoint.

    Args:
        retry: within the attempt; default: none, its error goes to the task's code.
        timeouts: of one call, over its own tries.
        undo: called with the step's arguments by name, and its `result`, when the run ends failed, cancelled or timed
            out after the step completed; the undos of a run go last first. A step itself may be one, with its retry.
        at_most_once: never repeat it on its own; where its outcome is unknown (a crash, an exception), `verify` is
            asked, and without one, or where it does not know, the run pauses for an operator.
        verify: called with the step's arguments by name; returns `Done(value)`, `NotDone()` or `Unknown(why)`.
        key: names the checkpoint of a call within its scope, instead of the order of calls; or a function of the
            arguments that does. Using one twice is an error.
        name: what its checkpoints are called; default: the function's name.

    Raises:
        DefinitionError: not an async function, or settings that can't work.
    """
    policy = Policy(retry or Retry(max_attempts=1), timeouts, undo, at_most_once, verify, key)
    if fn is None:
        return lambda f: step_of(f, policy, name)
    return step_of(fn, policy, name)


def step_of(fn: Callable[..., Awaitable[Any]], policy: Policy, name: str | None) -> Step[..., Any]:
    """What `step` does, with every setting named."""
    if not inspect.iscoroutinefunction(inspect.unwrap(fn)):
        raise DefinitionError(f"@step {getattr(fn, '__name__', fn)!r}: expected an async function")
    label = name or fn.__name__
    _check_label("@step name", label)
    if isinstance(policy.key, str):
        _check_label(f"@step {label}: key", policy.key)
    made: Step[..., Any] = Step(fn, name=label, policy=policy)
    if policy.undo is not None:
        _check_undo(made, policy.undo)
        STEPS[made.ref] = made
    if policy.verify is not None:
        _check_follower(made, policy.verify, "verify", set())
    if policy.verify is not None and not policy.at_most_once:
        raise DefinitionError(f"@step {label}: verify is asked for at_most_once=True only: add it, or drop verify=")
    if policy.at_most_once and policy.retry.max_attempts > 1 and policy.verify is None:
        raise DefinitionError(
            f"@step {label}: at_most_once=True excludes a retry of its own unless verify= can tell that it did not "
            "happen: give verify=, or drop retry="
        )
    return made


def _check_label(what: str, label: object) -> None:
    if not isinstance(label, str) or not label or "/" in label or "#" in label:
        raise DefinitionError(f"{what} {label!r}: expected a text without '/' and '#', which stand for structure")


def _check_undo(made: Step[..., Any], undo: Undo) -> None:
    if "<locals>" in made.ref:
        raise DefinitionError(
            f"@step {made.name}: undo= needs a step of a module, found one inside a function: another process could "
            "not find it to undo what this one did"
        )
    _check_follower(made, undo.fn if isinstance(undo, Step) else undo, "undo", {RESULT})


def _parameters_of_a_call(fn: Callable[..., Any]) -> list[str]:
    """The names of a function's parameters; of a method without its instance, which the journal does not hold."""
    names = list(inspect.signature(fn).parameters)
    within = getattr(fn, "__qualname__", "").rpartition(".")[0]
    method = within and not within.endswith("<locals>") and names[:1] == ["self"]
    return names[1:] if method else names


def _check_follower(made: Step[..., Any], fn: Callable[..., Any], what: str, extra: set[str]) -> None:
    """Whether a function that follows a step can be called with the step's arguments."""
    if not inspect.iscoroutinefunction(inspect.unwrap(fn)):
        raise DefinitionError(f"@step {made.name}: {what}={fn!r}: expected an async function")
    offered = {*_parameters_of_a_call(made.fn), *extra}
    for parameter in inspect.signature(fn).parameters.values():
        variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        positional = parameter.kind is parameter.POSITIONAL_ONLY
        if positional or (not variadic and parameter.default is parameter.empty and parameter.name not in offered):
            raise DefinitionError(
                f"@step {made.name}: {what} {getattr(fn, '__name__', fn)} asks for {parameter.name!r}, but it is "
                f"called by name with: {', '.join(sorted(offered))}; rename the parameter or give it a default"
            )
