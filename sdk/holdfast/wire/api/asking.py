"""Questions that workers answer: whether payloads fit, what a task makes of events, what the code of a run knows."""

from __future__ import annotations

import msgspec

from holdfast.core.model import Instant

CHECK = "check"
"""`check.<task>`, served by the workers that have the task: a payload in the value codec → `Checked`."""


class Checked(msgspec.Struct, frozen=True):
    """Whether a payload fits a task's signature."""

    error: str = ""
    """Why not; empty where it does."""


ROUTE = "route"
"""`route.<task>`, served by the workers that have the task, where its filter or map is a function: `EventsAsked` →
`EventsAnswered`."""


class AskedEvent(msgspec.Struct, frozen=True, array_like=True):
    """An event that a task may want."""

    subject: str
    """Its name."""
    data: bytes
    headers: bytes
    """As a block."""
    time: Instant
    seq: int


class EventsAsked(msgspec.Struct, frozen=True):
    """What does the task make of these?"""

    events: tuple[AskedEvent, ...]


class EventAnswer(msgspec.Struct, frozen=True, array_like=True):
    """What the task makes of an event."""

    payload: bytes | None = None
    """Of the run that it starts, in the value codec; None: none."""
    error: str = ""
    """Why its filter or map can't say; empty where they can."""


class EventsAnswered(msgspec.Struct, frozen=True):
    """One answer for each event, in order."""

    answers: tuple[EventAnswer, ...]


CHECK_ALL = "check-all"
"""`check-all.<task>`, served likewise: `Payloads` → `AllChecked`."""


class Payloads(msgspec.Struct, frozen=True):
    """Several payloads of one task, in the value codec."""

    payloads: tuple[bytes, ...]


class AllChecked(msgspec.Struct, frozen=True):
    """Whether each of them fits."""

    errors: tuple[str, ...]
    """As `Checked.error`, in their order."""


QUERY = "query"
"""`query.<run>`, served by the worker that has the run in memory: `Query` → `Answer`."""
MOVED = "moved"
"""Code of a worker's refusal to answer a `Query`: another one has the run by now. It answers none of it any more, so
whoever asks again comes to another worker."""


class Query(msgspec.Struct, frozen=True):
    """A question to the code of a run (`run.expose`)."""

    name: str
    args: bytes
    """A list in the value codec."""


class Answer(msgspec.Struct, frozen=True):
    """What the code of a run answers."""

    value: bytes | None = None
    """In the value codec; None: nothing, or an error."""
    error: str = ""
    """Why it can't answer; empty where it does."""
