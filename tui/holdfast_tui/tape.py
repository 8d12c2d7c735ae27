"""A recorded session as a file: a head line, then one JSON record a line, each with its second since the start.

What a record holds is what the desk's client was asked and answered, or heard. Nobody but `recording`, which writes it,
and `replaying`, which answers from it, knows the file.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias, get_type_hints

import msgspec

from holdfast.client import Client
from holdfast.core.model import Instant, Seconds
from holdfast.errors import HoldfastError
from holdfast.wire import api

FORMAT = 1
"""Of the files that are written; later ones can't be read here."""

LOOKS = (
    "queues",
    "runs",
    "get",
    "history",
    "why",
    "letters",
    "logs",
    "workers",
    "faults",
    "schedules",
    "schedule_pasts",
    "events",
    "event",
    "event_runs",
    "replay_events",
    "letter_groups",
    "run_counts",
    "metrics",
    "audit",
    "limits",
    "configured_limits",
    "value",
)
"""What a client can be asked that changes nothing and tells no secret: questions and answers are recorded."""

STREAMS: Mapping[str, Any] = MappingProxyType({"follow_output": api.LogRow})
"""What a client can be asked that goes on answering, in lists, with the type of each element."""

UNRECORDED = ("misfits",)
"""What a client is asked with payloads and changes nothing: neither a look nor a change."""

BEFORE_CHANGES = (*UNRECORDED, "purge_queue")
"""What is asked on the way to a change only: never while a recording is shown."""


class TapeError(HoldfastError):
    """A file is no recording, or one that can't be read."""


class Head(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """The first line."""

    recording: int
    """`FORMAT` of the file."""
    version: str
    """Of the holdfast that wrote it."""
    project: str
    at: Instant
    """When it began."""
    values: bool
    """Whether payloads, results, log lines and messages of errors are in it."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="answer"):
    """A question and its answer; the same answer to the same question is not written again."""

    at: Seconds
    ask: str
    given: msgspec.Raw
    """The arguments by name."""
    answer: msgspec.Raw


class Failure(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="failure"):
    """A question that was refused or got no answer."""

    at: Seconds
    ask: str
    given: msgspec.Raw
    error: str
    """Name of the error's class."""
    text: str


class Change(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="change"):
    """Something was changed; what it was told beside its target is not written."""

    at: Seconds
    ask: str
    target: str
    refused: str = ""


class Line(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="line"):
    """One of the answers of a stream."""

    at: Seconds
    ask: str
    given: msgspec.Raw
    answer: msgspec.Raw


class Heard(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="heard"):
    """A message that was heard live."""

    at: Seconds
    subject: str
    data: bytes


class Link(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="link"):
    """The connection was lost, or is there again."""

    at: Seconds
    connected: bool


class Full(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="full"):
    """The file was as large as it may be: nothing more was written."""

    at: Seconds


class End(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="end"):
    """The session was over."""

    at: Seconds


Record: TypeAlias = Answer | Failure | Change | Line | Heard | Link | Full | End

_head = msgspec.json.Decoder(Head)
_record: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


class Tape(NamedTuple):
    """A recorded session."""

    head: Head
    records: Sequence[Record]
    """In order of time."""

    @property
    def length(self) -> Seconds:
        return self.records[-1].at if self.records else 0.0


def read(path: Path) -> Tape:
    """Read a file. A last line that was cut short is left out: whoever wrote it was stopped.

    Raises:
        TapeError: there is none, it is no recording, a later version wrote it, or a line of it can't be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise TapeError(f"{path}: expected a file of `holdfast tui --record`, found: {error.strerror}") from None
    head = _read_head(path, lines[0])
    records: list[Record] = []
    for number, line in enumerate(lines[1:-1], 2):
        try:
            records.append(_record.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise TapeError(
                f"{path}, line {number}: expected a record, found {line[:40].decode(errors='replace')!r}: {error}; "
                f"cut the file before this line to replay what is good"
            ) from None
    return Tape(head, sorted(records, key=lambda record: record.at))


def _read_head(path: Path, line: bytes) -> Head:
    try:
        head = _head.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = line[:40].decode(errors="replace") or "nothing"
        raise TapeError(f"{path}: expected a file of `holdfast tui --record`, found {found!r} at its start") from None
    if head.recording != FORMAT:
        raise TapeError(
            f"{path}: expected a recording in format {FORMAT}, found format {head.recording}, of holdfast "
            f"{head.version}: replay it with that version"
        )
    return head


def arguments(ask: str, args: Sequence[Any], given: Mapping[str, Any]) -> msgspec.Raw:
    """What a method of the client was given, by name, the same however it was given."""
    bound = _signature(ask).bind(None, *args, **given)
    bound.apply_defaults()
    bound.arguments.pop("self")
    return msgspec.Raw(msgspec.json.encode(dict(bound.arguments), order="sorted"))


@cache
def _signature(ask: str) -> inspect.Signature:
    return inspect.signature(getattr(Client, ask))


@cache
def answers(ask: str) -> msgspec.json.Decoder[Any]:
    """Reads the answers to a question."""
    kind = STREAMS[ask] if ask in STREAMS else get_type_hints(getattr(Client, ask))["return"]
    return msgspec.json.Decoder(kind)
