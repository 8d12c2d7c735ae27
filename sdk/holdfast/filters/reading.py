"""How a filter's text is read: words and fields, quotes, and what to say where it can't be."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from math import isfinite
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from holdfast.core import ids
from holdfast.core.model import Instant
from holdfast.filters.filter import Bound, Filter, Term
from holdfast.filters.grammar import RUNS, Field, Grammar, Kind
from holdfast.quantities import duration


class _Token(NamedTuple):
    at: int
    end: int
    negated: bool
    field: str
    values: tuple[str, ...]
    """Parted at commas where there is a field."""
    quoted: bool


class _Unclear(Exception):
    def __init__(self, message: str, *, half: bool = False) -> None:
        super().__init__(message)
        self.half = half


_NAME = re.compile(r"[a-z][a-z_]*")


def read(text: str, grammar: Grammar = RUNS) -> Filter:
    """Read a filter; never fails: what can't be read is passed over and named in `wrong`, or `half` at the end."""
    words: list[str] = []
    without: list[str] = []
    terms: list[Term] = []
    wrong, half, place = "", "", 0
    for token in _tokens(text):
        try:
            if token.field and (token.field in grammar or not token.values[0].startswith("//")):
                _join(terms, token, grammar)
            elif word := _word(token):
                (without if token.negated else words).append(word)
        except _Unclear as error:
            if wrong:
                continue
            if error.half and token.end == len(text):
                half, place = str(error), token.at
            else:
                wrong, place = str(error), token.at
    return Filter(
        words=tuple(words), without=tuple(without), terms=tuple(terms), wrong=wrong, half=half, at=place
    )  # fmt: skip


def quoted(value: str) -> str:
    """A value as a filter takes it: in quotes where it has to be."""
    if value and not re.search(r'[\s",:\\]', value) and not value.startswith("-"):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def without(text: str, fields: Collection[str]) -> str:
    """A filter's text without some of its fields."""
    return " ".join(text[token.at : token.end] for token in _tokens(text) if token.field not in fields)


def caret(text: str, found: Filter) -> str:
    """The text, a caret under what could not be read, and why; empty where all could be."""
    why = found.wrong or found.half
    return f"{text}\n{' ' * found.at}^ {why}" if why else ""


def _word(token: _Token) -> str:
    lead = f"{token.field}:" if token.field else ""
    return (lead + ",".join(token.values)).lower()


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        token = _token(text, at)
        yield token
        at = token.end


def _token(text: str, start: int) -> _Token:
    at = start
    negated = text[at] == "-"
    at += negated
    field, values, quoted = "", [""], False
    while at < len(text) and not text[at].isspace():
        char = text[at]
        if char == '"':
            at, inside = _inside(text, at + 1)
            values[-1] += inside
            quoted = True
            continue
        if char == ":" and not field and not quoted and _NAME.fullmatch(values[0]):
            field, values = values[0], [""]
        elif char == "," and field:
            values.append("")
        else:
            values[-1] += char
        at += 1
    return _Token(start, at, negated, field, tuple(values), quoted)


def _inside(text: str, at: int) -> tuple[int, str]:
    """What stands between quotes, and where it goes on; to the end where they are not closed yet."""
    found = ""
    while at < len(text) and text[at] != '"':
        if text[at] == "\\" and at + 1 < len(text):
            at += 1
        found += text[at]
        at += 1
    return min(len(text), at + 1), found


def _term(token: _Token, grammar: Grammar) -> Term:
    """Raises: _Unclear."""
    field = grammar.get(token.field)
    if field is None:
        known = " ".join(grammar) or "none"
        raise _Unclear(f"no field {token.field}: expected one of {known}; quote it to look for the text")
    values = tuple(filter(None, token.values))
    if token.negated and not field.leaves_out:
        raise _Unclear(f"expected -word: {token.field}: can't be left out here")
    if not values:
        raise _Unclear(f"expected {field.expects}", half=True)
    if field.once and len(values) > 1:
        raise _Unclear(f"expected one value, found {len(values)}: {field.expects}")
    term = Term(token.field, field.kind, token.negated)
    match field.kind:
        case Kind.IDS if len(values) > 1 and not all(ids.is_run_id(value.upper()) for value in values):
            raise _Unclear(f"expected {field.expects}, found several and not all whole")
        case Kind.NAMES | Kind.PARTS | Kind.IDS:
            return msgspec.structs.replace(term, values=values)
        case Kind.WORDS:
            return msgspec.structs.replace(term, values=_listed(token.field, field, values))
        case _:
            return msgspec.structs.replace(term, bound=_bound(field, ",".join(values)))


def _listed(name: str, field: Field, values: tuple[str, ...]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for number, value in enumerate(values, 1):
        word = value.lower()
        if word == "*":
            return ("*",)
        if word in field.words:
            found[field.words[word]] = None
        elif word == "paused" and name == "state":
            raise _Unclear("paused is beside the state: is:paused")
        else:
            half = number == len(values) and any(known.startswith(word) for known in field.words)
            raise _Unclear(f"expected {field.expects}, found {value}", half=half)
    return tuple(found)


def _bound(field: Field, text: str) -> Bound:
    operator = next((each for each in (">=", "<=", ">", "<") if text.startswith(each)), "")
    given = text[len(operator) :].strip()
    half = not given or given[0 if field.kind is Kind.TIME else -1].isdigit() or given[-1] == "."
    wrong = _Unclear(f"expected {field.expects}, found {text}", half=half)
    if operator not in field.operators:
        raise _Unclear(f"expected {field.expects}, found {text}", half=not given)
    try:
        number = _NUMBERS[field.kind](given)
    except (ValueError, OverflowError):
        raise wrong from None
    if not isfinite(number):
        raise wrong
    return Bound(operator or field.operator, number)


def _time(text: str) -> Instant:
    """Seconds ago as a negative number, or an instant. Raises: ValueError."""
    try:
        return -duration(text)
    except ValueError:
        at = datetime.fromisoformat(text)
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


_NUMBERS: Mapping[Kind, Callable[[str], float]] = MappingProxyType(
    {Kind.NUMBER: float, Kind.DURATION: duration, Kind.AGE: duration, Kind.TIME: _time}
)


def _join(terms: list[Term], token: _Token, grammar: Grammar) -> None:
    """Add what a token says; where its field was given before it means either. Raises: _Unclear."""
    term = _term(token, grammar)
    if term.values == ("*",) and not (term.negated or token.quoted):
        return
    field = grammar[term.field]
    for index, known in enumerate(terms):
        if known.field != term.field:
            continue
        if field.once:
            raise _Unclear(f"expected {term.field}: once: {field.expects}")
        if known.negated == term.negated and term.bound is None:
            terms[index] = msgspec.structs.replace(known, values=tuple(dict.fromkeys(known.values + term.values)))
            return
        if term.bound is None and not set(known.values) ^ set(term.values):
            raise _Unclear(f"nothing is both {term.field}:{token.values[0]} and not")
    terms.append(term)
