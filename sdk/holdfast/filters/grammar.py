"""Which fields a filter has, by the list that it is for: what stands behind the colon of each."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from holdfast.core.model import State


class Kind(StrEnum):
    """What stands behind a field's colon."""

    NAMES = "names"
    """Names by commas, whole; `*` is any text."""
    PARTS = "parts"
    """Texts by commas, any of which is somewhere in it, in any case."""
    IDS = "ids"
    """Whole ids by commas, or a part of one."""
    WORDS = "words"
    """Words of a list, by commas."""
    NUMBER = "number"
    """A number behind `>`, `>=`, `<`, `<=`, or by itself."""
    DURATION = "duration"
    """The same with a unit: `>2s`."""
    AGE = "age"
    """Not longer ago than this: `1h`."""
    TIME = "time"
    """An instant: how long ago, or a date and time in UTC."""


class Field(NamedTuple):
    """A field of a grammar."""

    kind: Kind
    expects: str
    """What may stand there, for whoever typed something else."""
    words: Mapping[str, str] = MappingProxyType({})
    """Of `WORDS`: each word and what it stands for."""
    leaves_out: bool = True
    """Whether `-` may stand before it."""
    once: bool = False
    """Whether one value is all that it takes."""
    operators: tuple[str, ...] = (">=", "<=", ">", "<", "")
    """What may stand before a number."""
    operator: str = "="
    """What a number by itself means."""


Grammar: TypeAlias = Mapping[str, Field]
"""The fields of a list, by name."""


STATES: Mapping[str, str] = MappingProxyType(
    {
        **{state.value: state.value for state in State},
        "delay": State.DELAYED.value,
        "queue": State.QUEUED.value,
        "run": State.RUNNING.value,
        "wait": State.WAITING.value,
        "retry": State.RETRYING.value,
        "undo": State.COMPENSATING.value,
        "ok": State.COMPLETED.value,
        "fail": State.FAILED.value,
        "cancel": State.CANCELLED.value,
        "expire": State.EXPIRED.value,
        "timeup": State.TIMED_OUT.value,
    }
)
"""Every name of a state: its own, and the word that lists show."""

_STATE_WORDS = "delay queue run wait retry undo ok fail dead cancel expire timeup"

_SINGLE: Mapping[str, Any] = MappingProxyType({"leaves_out": False, "once": True})
_POINT: Mapping[str, Any] = MappingProxyType({**_SINGLE, "operators": ("",)})

LAST = Field(Kind.AGE, "how long ago at most, like last:90s, last:15m, last:24h, last:7d", operator="<=", **_POINT)
SINCE = Field(Kind.TIME, "how long ago or a UTC time, like since:2h or since:2026-01-31T08:00", operator=">=", **_POINT)
UNTIL = Field(Kind.TIME, "how long ago or a UTC time, like until:1h or until:2026-01-31T09:00", operator="<", **_POINT)

RUNS: Grammar = MappingProxyType(
    {
        "state": Field(Kind.WORDS, f"states by commas: {_STATE_WORDS}", STATES),
        "queue": Field(Kind.NAMES, "names of queues by commas, like queue:emails or queue:mail-*", leaves_out=False),
        "task": Field(Kind.NAMES, "names of tasks by commas, like task:charge_*", leaves_out=False),
        "worker": Field(Kind.NAMES, "the name of a worker, like worker:w-07 or worker:w-*", **_SINGLE),
        "last": LAST,
        "since": SINCE,
        "until": UNTIL,
        "tries": Field(Kind.NUMBER, "more than how many, like tries:>3", operators=(">=", ">"), **_SINGLE),
        "took": Field(
            Kind.DURATION,
            "longer or shorter than how long, like took:>2s or took:<100ms",
            leaves_out=False,
            operators=(">=", "<=", ">", "<"),
        ),
        "error": Field(Kind.PARTS, 'parts of the error by commas, like error:"HTTP 410"', leaves_out=False),
        "type": Field(Kind.NAMES, "the error's type, all of it, like type:builtins.TimeoutError", **_SINGLE),
        "pattern": Field(Kind.PARTS, "an error's pattern, all of it, as u shows them", **_SINGLE),
        "id": Field(Kind.IDS, "part of a run's id, like id:4Q9K2M7P, or whole ids by commas", leaves_out=False),
        "tag": Field(Kind.NAMES, "a tag, like tag:nightly", **_SINGLE),
        "is": Field(Kind.WORDS, "paused: what waits for an operator", {"paused": "paused"}, leaves_out=False),
        "prio": Field(Kind.NUMBER, "a priority, like prio:5", **_POINT),
        "schedule": Field(Kind.NAMES, "the name of a schedule, like schedule:nightly", **_SINGLE),
        "source": Field(Kind.NAMES, "what made it, like source:http", **_SINGLE),
        "origin": Field(Kind.NAMES, "the id of the run that it was made from", **_SINGLE),
        "code": Field(Kind.NAMES, "the beginning of the code's fingerprint", **_SINGLE),
        "waits": Field(Kind.PARTS, "part of what it waits for, like waits:approve", **_SINGLE),
    }
)  # fmt: skip
"""What runs are filtered by."""

_OF_LETTERS = ("queue", "task", "error", "type", "pattern", "last", "since", "until", "tries", "id")

LETTERS: Grammar = MappingProxyType({name: RUNS[name] for name in _OF_LETTERS})
"""What dead letters are filtered by: times are when they died."""
