"""What the headers of a trigger say about the run: `Idempotency-Key` and `Holdfast-...`, read, pure.

    Idempotency-Key: A1                                  Holdfast-Idempotency-TTL: 1d
    Holdfast-Delay: 90s        Holdfast-TTL: 5m          Holdfast-Priority: 0        Holdfast-Queue: bulk
    Holdfast-Tags: eu, big     Holdfast-Metadata: {"by": "ann"}
    Holdfast-Concurrency-Key: acme                       Holdfast-Debounce: A1; delay=5s
    Holdfast-Timeout-Start-To-Close: 30s                 Holdfast-Timeout-Schedule-To-Close: 1h

A duration is seconds or a number with a unit (ms, s, m, h, d, w). An unknown `Holdfast-...` header is refused: what is
misspelt would else be left out without a word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, TypedDict

import msgspec

from holdfast.core.model import FIRST_PRIORITY, LAST_PRIORITY, Seconds, Timeouts
from holdfast.decoding import nearest
from holdfast.quantities import duration
from holdfast.wire.subjects import TOKEN
from holdfast_daemon.http.problems import Problem

LONGEST: Seconds = 100 * 365 * 86400.0
"""Of a duration in a header."""

TEXT_MOST = 255
"""Characters of a key or a tag."""

TAGS_MOST = 100


class Options(TypedDict, total=False):
    """What `Client.trigger` takes besides the payload."""

    queue: str
    priority: int
    delay: Seconds
    ttl: Seconds
    tags: list[str]
    metadata: dict[str, object]
    timeouts: Timeouts
    idempotency_key: str
    idempotency_ttl: Seconds
    concurrency_key: str
    debounce: tuple[str, Seconds]


class Header:
    """A header that says something about the run."""

    def __init__(self, name: str, expected: str, read: Callable[[str], Any], schema: Mapping[str, object]) -> None:
        self.name = name
        """As it is written."""
        self.expected = expected
        """A value of it in words, for messages and for the document."""
        self.schema = schema
        """JSON Schema of the value."""
        self._read = read

    def read(self, value: str) -> Any:
        """What the value says. Raises: Problem: it says nothing."""
        try:
            return self._read(value.encode("latin-1").decode())
        except (ValueError, TypeError, RecursionError):
            raise bad_header(self.name, self.expected, repr(value)) from None


def bad_header(name: str, expected: str, found: str) -> Problem:
    """A header that says something else than it may."""
    return Problem(HTTPStatus.BAD_REQUEST, f"{name}: expected {expected}, found {found:.200}", header=name)


def single(pairs: Iterable[tuple[str, str]], name: str) -> str | None:
    """The value of a header, None where it is not there. Raises: Problem: it is there more than once."""
    found = [value for key, value in pairs if key == name.lower()]
    if len(found) > 1:
        raise bad_header(name, "it once", f"it {len(found)} times")
    return found[0] if found else None


def options_of(pairs: Iterable[tuple[str, str]]) -> Options:
    """The options in a request's headers, whose names are in lower case.

    Raises:
        Problem: a header says something else than it may, is there twice, or is unknown; the detail names it.
    """
    given: dict[str, str] = {}
    for key, value in pairs:
        if not key.startswith(_OURS) or key == PROJECT.lower():
            continue
        option = _BY_KEY.get(key)
        if option is None:
            names = [header.name for header in HEADERS.values()]
            raise bad_header(key, f"one of {', '.join(names)}", f"an unknown header{nearest(key.title(), names)}")
        if option in given:
            raise bad_header(HEADERS[option].name, "it once", "it twice")
        given[option] = value
    found = {option: HEADERS[option].read(value) for option, value in given.items()}
    start, end = found.pop("start_to_close", None), found.pop("schedule_to_close", None)
    options: Options = found  # type: ignore[assignment]  # its keys are those of HEADERS
    if start is not None or end is not None:
        options["timeouts"] = Timeouts(start_to_close=start, schedule_to_close=end)
    if "idempotency_ttl" in options and "idempotency_key" not in options:
        raise bad_header("Holdfast-Idempotency-TTL", "an Idempotency-Key with it", "none")
    return options


# --- the values -----------------------------------------------------------------------------------------------------


def _seconds(value: str) -> Seconds:
    value = value.strip()
    found = duration(float(value) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value) else value)
    if found > LONGEST:
        raise ValueError(value)
    return found


def _positive(value: str) -> Seconds:
    if (found := _seconds(value)) <= 0:
        raise ValueError(value)
    return found


def _priority(value: str) -> int:
    if re.fullmatch(r"[0-9]", value.strip(), re.ASCII) is None:
        raise ValueError(value)
    return int(value)


def _queue(value: str) -> str:
    if len(value) > 100 or TOKEN.match(value) is None:
        raise ValueError(value)
    return value


def _text(value: str) -> str:
    if not 0 < len(value) <= TEXT_MOST or not value.isprintable() or value != value.strip():
        raise ValueError(value)
    return value


def _key(value: str) -> str:
    """As it stands, or as the quoted string that the IETF's draft for `Idempotency-Key` asks for: both are the same."""
    return _text(value[1:-1] if len(value) > 2 and value[0] == value[-1] == '"' else value)


def _tags(value: str) -> list[str]:
    tags = list(dict.fromkeys(_text(tag.strip()) for tag in value.split(",")))
    if len(tags) > TAGS_MOST:
        raise ValueError(value)
    return tags


def _metadata(value: str) -> dict[str, object]:
    return msgspec.json.decode(value, type=dict[str, object])


def _debounce(value: str) -> tuple[str, Seconds]:
    key, _, parameter = value.rpartition(";")
    name, _, delay = parameter.partition("=")
    if name.strip() != "delay":
        raise ValueError(value)
    return _key(key.strip()), _positive(delay)


_DURATION = {"type": "string", "pattern": r"^[0-9]{1,8}(\.[0-9]{1,3})?(ms|s|m)?$"}
_TEXT = {"type": "string", "pattern": r"^[!-+\--:<-~]([ !-+\--:<-~]{0,60}[!-+\--:<-~])?$"}
_WHILE = "seconds or a duration like 90s, 15m, 2h, 7d"
_WORD = f"1 to {TEXT_MOST} printable characters without outer spaces"

HEADERS: Mapping[str, Header] = {
    "idempotency_key": Header("Idempotency-Key", _WORD, _key, _TEXT),
    "idempotency_ttl": Header("Holdfast-Idempotency-TTL", f"{_WHILE}, above 0", _positive, _DURATION),
    "delay": Header("Holdfast-Delay", _WHILE, _seconds, _DURATION),
    "ttl": Header("Holdfast-TTL", _WHILE, _seconds, _DURATION),
    "priority": Header(
        "Holdfast-Priority",
        f"a whole number from {FIRST_PRIORITY} (first) to {LAST_PRIORITY}",
        _priority,
        {"type": "integer", "minimum": FIRST_PRIORITY, "maximum": LAST_PRIORITY},
    ),
    "queue": Header(
        "Holdfast-Queue",
        "a queue's name of letters, digits, '-' and '_'",
        _queue,
        {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,30}$"},
    ),
    "tags": Header("Holdfast-Tags", f"up to {TAGS_MOST} tags with commas between", _tags, _TEXT),
    "metadata": Header(
        "Holdfast-Metadata", "a JSON object", _metadata, {"type": "string", "contentMediaType": "application/json"}
    ),
    "concurrency_key": Header("Holdfast-Concurrency-Key", _WORD, _text, _TEXT),
    "debounce": Header(
        "Holdfast-Debounce",
        "a key and a delay like `A1; delay=5s`",
        _debounce,
        {"type": "string", "pattern": "^[A-Za-z0-9]{1,20}; delay=[1-9][0-9]{0,4}(ms|s|m)$"},
    ),
    "start_to_close": Header("Holdfast-Timeout-Start-To-Close", f"{_WHILE}, above 0", _positive, _DURATION),
    "schedule_to_close": Header("Holdfast-Timeout-Schedule-To-Close", f"{_WHILE}, above 0", _positive, _DURATION),
}
"""By the option that each gives."""

PROJECT = "Holdfast-Project"
"""Names the project where no token does."""

_BY_KEY = {header.name.lower(): option for option, header in HEADERS.items()}
_OURS = ("holdfast-", "idempotency-key")
