"""The exported history of one run: a file of JSON lines, readable by people, from which the run can be had again.

    {"holdfast": "history", "version": 1, "project": "shop", "run": "01K..."}
    {"value": "<digest>", "data": "<base64>"}                                       a value that is kept apart, if any
    {"seq": 7, "time": 1767355418.12, "kind": "log", "data": "<base64>", "entries": [...]}        a message, in order

`data` is the stored message itself and counts; `entries` is the same for whoever reads the file.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from holdfast.bus.blobs import Blobs
from holdfast.bus.journal import Journal
from holdfast.core.entries import Entry
from holdfast.core.lifecycle import Kind, Record, fold
from holdfast.core.model import Instant
from holdfast.errors import HistoryError, UnknownRun
from holdfast.wire import codec
from holdfast.wire.references import DIGEST_BYTES, decode_kept, is_kept
from holdfast.wire.subjects import TOKEN, Subjects

T = TypeVar("T")

VERSION = 1
"""Of the format; a later one only adds fields."""

FORMAT = "history"


class Exported(NamedTuple):
    """A message of the run."""

    seq: int
    """Its sequence in the journal that it comes from."""
    time: Instant
    """When it was stored there."""
    kind: Kind
    data: bytes
    record: Record


class History(NamedTuple):
    """A run's messages, and the big values that they refer to."""

    project: str
    run: str
    messages: tuple[Exported, ...]
    values: tuple[bytes, ...] = ()
    """Encoded values that are kept apart from the journal."""

    @classmethod
    def load(cls, path: str | Path) -> History:
        """The history in a file.

        Raises:
            HistoryError: it holds none, or a damaged one; the message names the line.
            OSError: it can't be read.
        """
        return cls.parse(Path(path).read_bytes(), str(path))

    @classmethod
    def parse(cls, data: bytes, name: str) -> History:
        """The history that the bytes of a file say; all of it is checked. Raises: HistoryError."""
        numbered = [(number, line) for number, line in enumerate(data.splitlines(), 1) if line.strip()]
        if not numbered:
            raise HistoryError(f"{name}: expected an exported history (`holdfast runs export`), found an empty file")
        header = _header(numbered[0][1], name)
        messages: list[Exported] = []
        values: list[bytes] = []
        for number, line in numbered[1:]:
            where = f"{name}, line {number}"
            read = _decoded(line, _Line, where)
            if read.value:
                values.append(_value(read, where))
            else:
                messages.append(_message(read, header.run, messages[-1].seq if messages else 0, where))
        found = cls(header.project, header.run, tuple(messages), tuple(values))
        if fold(found.records()) is None:
            raise HistoryError(f"{name}: expected the messages of run {header.run}, found none that creates it")
        return found

    @classmethod
    async def of(cls, journal: Journal, run: str) -> History:
        """The history of a run in the journal; secrets stay references in it. Raises: UnknownRun."""
        blobs = Blobs(journal.bus)  # not a client's, which gives code inside a run its secrets
        found = await journal.messages(run)
        project = journal.bus.subjects.project
        if fold(record for _, record in found) is None:  # nor is a tick that is parked one
            raise UnknownRun(f"no run {run} in project {project}: see `holdfast runs list`")
        messages = tuple(
            Exported(message.seq, message.time, record.kind, message.data, record) for message, record in found
        )
        kept = dict.fromkeys(each for _, record in found for each in _kept(record.entries))
        return cls(project, run, messages, tuple([await blobs.full(each) for each in kept]))

    def records(self) -> list[Record]:
        """The messages as the fold takes them."""
        return [message.record for message in self.messages]

    def lines(self, readable: Callable[[Entry], object]) -> Iterator[str]:
        """The lines of the file.

        Args:
            readable: an entry as what `json.dumps` takes.
        """
        yield json.dumps({"holdfast": FORMAT, "version": VERSION, "project": self.project, "run": self.run})
        for value in self.values:
            yield json.dumps({"value": _digest(value), "data": b64encode(value).decode()})
        for message in self.messages:
            yield json.dumps(
                {
                    "seq": message.seq,
                    "time": message.time,
                    "kind": message.kind.value,
                    "data": b64encode(message.data).decode(),
                    "entries": [readable(entry) for entry in message.record.entries],
                }
            )


class _Header(msgspec.Struct):
    holdfast: str
    version: int
    project: str
    run: str


class _Line(msgspec.Struct):
    data: str
    value: str = ""
    seq: int = 0
    time: float = 0.0
    kind: Kind | None = None


def _header(line: bytes, name: str) -> _Header:
    try:
        header = msgspec.json.decode(line, type=_Header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        header = None
    if header is None or header.holdfast != FORMAT or not TOKEN.match(header.run):
        found = line[:60].decode(errors="replace")
        raise HistoryError(f"{name}, line 1: expected the header of an exported history, found {found!r}")
    if header.version > VERSION:
        raise HistoryError(f"{name}: expected a history of version {VERSION}, found {header.version}: upgrade holdfast")
    return header


def _decoded(line: bytes, type: type[T], where: str) -> T:
    try:
        return msgspec.json.decode(line, type=type)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HistoryError(f"{where}: expected a message as JSON, found a line that is none: {error}") from None


def _bytes(text: str, where: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise HistoryError(f"{where}: expected base64 in `data`, found something else: {error}") from None


def _value(line: _Line, where: str) -> bytes:
    data = _bytes(line.data, where)
    if _digest(data) != line.value:
        raise HistoryError(f"{where}: expected the value {line.value:.32}, found other bytes: the file was changed")
    return data


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=DIGEST_BYTES).hexdigest()


def _message(line: _Line, run: str, after: int, where: str) -> Exported:
    if line.kind is None or line.seq <= after:
        raise HistoryError(
            f"{where}: expected a message with a kind and a sequence above {after}, found {line.kind} {line.seq}"
        )
    data = _bytes(line.data, where)
    subjects = Subjects("exported")
    subject = {
        Kind.READY: subjects.ready(run, "any", 0),
        Kind.GO: subjects.go(run, "any"),
        Kind.LOG: subjects.log(run),
        Kind.IN: subjects.inbox(run),
        Kind.TIMER: subjects.timer(run, "any"),
    }[line.kind]
    try:
        _, record = codec.record(subjects, subject, line.seq, data)
    except ValueError as error:
        raise HistoryError(f"{where}: expected entries of run {run} in `data`, found something else: {error}") from None
    return Exported(line.seq, line.time, line.kind, data, record)


def _kept(value: Any) -> Iterator[bytes]:
    """The references to values that are kept apart, wherever in entries they stand."""
    match value:
        case bytes():
            if is_kept(value) and _is_reference(value):
                yield value
        case msgspec.Struct():
            yield from _kept([getattr(value, name) for name in value.__struct_fields__])
        case dict():
            yield from _kept(value.values())
        case str():
            return
        case Iterable():
            for each in value:
                yield from _kept(each)


def _is_reference(data: bytes) -> bool:
    try:
        decode_kept(data)
    except msgspec.DecodeError:
        return False
    return True
