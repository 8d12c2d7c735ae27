"""Filters and maps of events as text, in CEL (https://cel.dev): no loops, no side effects, nothing of Python.

    event.amount > 100 && subject.startsWith("orders.")           a filter gives true or false
    {"order_id": event.id, "region": headers["X-Region"]}         a map gives a task's arguments by name

What an expression may name stands in `VARIABLES`. It can't be interrupted once it runs, and it runs in the event loop
of whoever asks; so its length, the size of an event and how often its comprehensions may go round are bounded
beforehand. CEL does not turn whole numbers into others: `event.amount * 1.2` fails for an amount of 100, and works for
100.0; `double(event.amount) * 1.2` works for both. It compares them as one would expect: 1 == 1.0. A whole number of
more than 64 bits is a double there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, cached_property
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from typing import TYPE_CHECKING, Any

from holdfast.decoding import nearest
from holdfast.errors import EventError
from holdfast.events import Event

if TYPE_CHECKING:
    import cel

VARIABLES: Mapping[str, str] = {
    "event": "the event's data: JSON where it is, else text, else bytes; null where it is empty",
    "subject": "its name, as tasks and routes name it",
    "tokens": "the parts of that between the dots, as a list",
    "headers": "its headers, a map of texts",
    "time": "when it was stored, a timestamp",
    "seq": "its number in the event stream",
}
"""What an expression may name."""

LONGEST = 4096
"""Characters of an expression."""

LARGEST = 1 << 20
"""Bytes of an event that is given to one: converting it takes 0.1 s at worst."""

ROUNDS = 250_000
"""How often comprehensions may go round for one event: 0.1 s, or twice that where they gather whole objects."""

# fmt: off
_FUNCTIONS = frozenset({
    "size", "contains", "startsWith", "endsWith", "matches", "string", "bytes", "int", "uint", "double", "duration",
    "timestamp", "type", "dyn", "getFullYear", "getMonth", "getDayOfYear", "getDayOfMonth", "getDate", "getDayOfWeek",
    "getHours", "getMinutes", "getSeconds", "getMilliseconds", "orValue", "hasValue", "value", "or", "none", "of",
})
# fmt: on
_GATHERING = frozenset({"map", "filter"})
"""Macros that make a list, element by element, and copy it each time: n elements cost n * n."""

_MACROS = r"\.\s*(all|exists|exists_one|existsOne|map|filter)\s*\("
_STEP = re.compile(rf"{_MACROS}|[()]")
_BOUND = re.compile(rf"{_MACROS}\s*([A-Za-z_]\w*)\s*,")
_OPAQUE = re.compile(
    r"""//[^\n]*"""
    r"""|\b(?:[bB]?[rR]|[rR][bB])(?:'''.*?'''|\"\"\".*?\"\"\"|'[^'\n]*'|"[^"\n]*")"""
    r"""|'''(?:\\.|.)*?'''|\"\"\"(?:\\.|.)*?\"\"\"|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*\"""",
    re.DOTALL,
)
"""Comments and literals: what looks like code in them is none."""

_WHERE = re.compile(r"ERROR: <input>:(\d+):(\d+): (?:Syntax error: )?([^\n]*)")


class Facts:
    """An event as expressions see it; converted once, however many look at it."""

    def __init__(self, event: Event) -> None:
        self.event = event

    @cached_property
    def context(self) -> cel.Context:
        """The variables.

        Raises:
            EventError: it is too large, or holds what has no counterpart.
        """
        event = self.event
        if len(event.raw) > LARGEST:
            raise EventError(
                f"expected an event of at most {LARGEST:,} bytes for an expression, found {len(event.raw):,}: "
                "filter and map it by a Python function"
            )
        try:
            made: cel.Context = _cel().Context(
                {
                    "event": event.data,
                    "subject": event.subject,
                    "tokens": event.subject.split("."),
                    "headers": dict(event.headers),
                    "time": event.time,
                    "seq": event.seq,
                }
            )
        except ValueError as error:
            raise EventError(f"its data can't be given to an expression: {error}") from None
        return made

    @cached_property
    def longest(self) -> int:
        """Elements of its longest list or map."""
        return max(_longest(self.event.data), len(self.event.headers), self.event.subject.count(".") + 1)

    def rounds(self, exponent: int) -> int:
        """How often an expression may go round at most."""
        guess = max(self.event.raw.count(b",") + 1, len(self.event.headers), self.event.subject.count(".") + 1)
        return int(guess**exponent) if guess**exponent <= ROUNDS else int(self.longest**exponent)


class Expression:
    """A compiled filter or map."""

    def __init__(self, text: str) -> None:
        """Raises: ValueError: it is none, or names what there is not; the message says what was expected, and where."""
        self.text = text
        self._program = _compiled(text)
        self._exponent = _exponent(text)

    def __repr__(self) -> str:
        return f"<expression {self.text!r}>"

    def accepts(self, facts: Facts) -> bool:
        """What a filter says. Raises: EventError: it can't say."""
        found = self._evaluated(facts, "filter")
        if not isinstance(found, bool):
            raise EventError(f"filter {self.text}: expected true or false, found {found!r:.80}")
        return found

    def arguments(self, facts: Facts) -> dict[str, Any]:
        """What a map makes of an event: arguments by name. Raises: EventError: it can't make any."""
        found = self._evaluated(facts, "map")
        if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
            raise EventError(
                f'map {self.text}: expected arguments by name like {{"order_id": event.id}}, found {found!r:.80}'
            )
        return found

    def _evaluated(self, facts: Facts, use: str) -> Any:
        try:
            if self._exponent and facts.rounds(self._exponent) > ROUNDS:
                raise EventError(
                    f"a list of {facts.longest:,} elements is too long for its comprehensions: use a Python function"
                )
            return self._program.execute(facts.context)
        except EventError as error:
            raise EventError(f"{use} {self.text}: {error}") from None
        except KeyError as error:
            raise EventError(f"{use} {self.text}: expected {error} in the event, found none") from None
        except (ValueError, TypeError, RuntimeError, ArithmeticError, LookupError) as error:
            raise EventError(f"{use} {self.text}: {_why(error)}") from None


@cache
def _cel() -> Any:
    """The library's extension, without its package, whose command line takes two seconds to import."""
    package = PathFinder.find_spec("cel")
    if package is None or (spec := PathFinder.find_spec("cel.cel", package.submodule_search_locations)) is None:
        raise ImportError("expected the package common-expression-language, found none: install holdfast again")
    module = module_from_spec(spec)
    assert spec.loader is not None
    spec.loader.exec_module(module)
    return module


def _compiled(text: str) -> cel.Program:
    if not text.strip() or len(text) > LONGEST:
        raise ValueError(f"an expression of 1 to {LONGEST:,} characters")
    try:
        program: cel.Program = _cel().compile(text)
    except ValueError as error:
        raise ValueError(_syntax(str(error))) from None
    bound = {name for _, name in _BOUND.findall(_OPAQUE.sub("''", text))}
    for name in program.variables():
        if name not in VARIABLES and name not in bound:
            raise ValueError(f"an expression of {', '.join(VARIABLES)}, not of {name}{nearest(name, VARIABLES)}")
    for name in program.functions():
        if name.isidentifier() and name not in _FUNCTIONS and not name.startswith("_"):
            raise ValueError(f"an expression with functions that there are, not {name}(){nearest(name, _FUNCTIONS)}")
    return program


def _syntax(message: str) -> str:
    found = _WHERE.search(message)
    if found is None:
        return "an expression that can be read"
    return f"an expression that can be read (line {found[1]}, column {found[2]}: {found[3]:.160})"


def _why(error: Exception) -> str:
    """What the library says, in fewer words."""
    if str(error).startswith("No such overload"):
        return (
            "the event holds something else there than the expression is for; types are not mixed: int(x), double(x), "
            "string(x) make one of another"
        )
    return str(error)


def _exponent(text: str) -> int:
    """Of the longest list: to which power its length says how often the expression goes round, at worst."""
    open_: list[bool] = []
    highest = 0
    for step in _STEP.finditer(_OPAQUE.sub("''", text)):
        if step[0] == ")":
            if open_:
                open_.pop()
            continue
        open_.append(step[1] is not None)
        if step[1] is not None:
            highest = max(highest, sum(open_) + (step[1] in _GATHERING))
    return highest


def _longest(value: object) -> int:
    """Elements of the longest list or object in a JSON value."""
    longest, left = 0, [value]
    while left:
        found = left.pop()
        if isinstance(found, dict | list):
            longest = max(longest, len(found))
            left.extend(found.values() if isinstance(found, dict) else found)
    return longest
