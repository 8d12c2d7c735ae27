"""A filter, read: what rows must be like, and whether one is."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import msgspec

from holdfast.core.model import Instant, State
from holdfast.filters.grammar import Kind


class Bound(NamedTuple):
    """Where a number must be."""

    operator: str
    number: float

    def admits(self, number: float) -> bool:
        match self.operator:
            case ">":
                return number > self.number
            case ">=":
                return number >= self.number
            case "<":
                return number < self.number
            case "<=":
                return number <= self.number
            case _:
                return number == self.number


class Term(msgspec.Struct, frozen=True):
    """One field of a filter, read."""

    field: str
    kind: Kind
    negated: bool = False
    values: tuple[str, ...] = ()
    bound: Bound | None = None
    """Of a number, a duration, an age (seconds) or a time (instant)."""

    def admits(self, value: object, now: Instant) -> bool:
        """Whether a row with this value stays. What has no value stays only where that is asked for by `-`."""
        return self._fits(value, now) != self.negated

    def _fits(self, value: object, now: Instant) -> bool:
        if value is None:
            return False
        if self.bound is not None:
            return isinstance(value, (int, float)) and self._bounded(self.bound, value, now)
        texts = [str(each) for each in value] if isinstance(value, (tuple, list, set, frozenset)) else [str(value)]
        match self.kind:
            case Kind.NAMES:
                return any(starred(name).fullmatch(text) for name in self.values for text in texts)
            case Kind.WORDS:
                return any(word in texts for word in self.values)
            case _:
                return any(part.lower() in text.lower() for part in self.values for text in texts)

    def _bounded(self, bound: Bound, value: float, now: Instant) -> bool:
        if self.kind is Kind.TIME and bound.number <= 0:  # so long ago
            bound = bound._replace(number=now + bound.number)
        return bound.admits(now - value if self.kind is Kind.AGE else value)


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """A filter, read."""

    words: tuple[str, ...] = ()
    """In lower case; each must be somewhere."""
    without: tuple[str, ...] = ()
    """The same; none may be anywhere."""
    terms: tuple[Term, ...] = ()
    wrong: str = ""
    """What in it could not be read: what was expected and what was found; it does not filter."""
    half: str = ""
    """The same where it stands at the end and may be half typed yet."""
    at: int = 0
    """Where in the text that is."""

    @property
    def text(self) -> str:
        return " ".join(self.words)

    @property
    def empty(self) -> bool:
        """Whether it filters nothing."""
        return not (self.words or self.without or self.terms)

    def matches(self, *texts: str) -> bool:
        """Whether the texts have every word and none that is left out, in any case."""
        joined = " ".join(texts).lower()
        return all(word in joined for word in self.words) and not any(word in joined for word in self.without)

    def admits(self, value: Callable[[str], object], *texts: str, now: Instant = 0.0) -> bool:
        """Whether a row stays.

        Args:
            value: the row's value of a field by name; None: it has none.
            texts: where words are looked for.
            now: for ages.
        """
        return self.matches(*texts) and all(term.admits(value(term.field), now) for term in self.terms)

    def values(self, field: str) -> tuple[str, ...]:
        """What stands behind a field, without what is left out."""
        return tuple(value for term in self.terms if term.field == field and not term.negated for value in term.values)

    def bounds(self, field: str) -> tuple[Bound, ...]:
        return tuple(term.bound for term in self.terms if term.field == field and term.bound is not None)

    # --- the fields of runs, by name ----------------------------------------------------------------------------------

    @property
    def states(self) -> tuple[State, ...]:
        """States to look for; those left out are not among them."""
        wanted = self.values("state")
        out = {value for term in self.terms if term.field == "state" and term.negated for value in term.values}
        if not wanted and not out:
            return ()
        return tuple(state for state in State if state.value not in out and (not wanted or state.value in wanted))

    @property
    def queue(self) -> str:
        """The only queue that it names, or empty."""
        names = self.values("queue")
        return names[0] if len(names) == 1 else ""

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.values("task")

    @property
    def worker(self) -> str:
        names = self.values("worker")
        return names[0] if len(names) == 1 else ""

    @property
    def tag(self) -> str:
        return next(iter(self.values("tag")), "")

    @property
    def paused(self) -> bool:
        """Only what waits for an operator."""
        return "paused" in self.values("is")


@cache
def starred(name: str) -> re.Pattern[str]:
    """A name as an expression; `*` is any text."""
    return re.compile(".*".join(map(re.escape, name.split("*"))), re.DOTALL)
