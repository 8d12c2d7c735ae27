"""Records a session of the desk: a client around the client that the gateway uses, so that nothing else knows of it."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from hashlib import blake2b
from inspect import iscoroutinefunction
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import msgspec

from holdfast import __version__
from holdfast.client import Client
from holdfast.core.model import Instant, Seconds
from holdfast.errors import HoldfastError
from holdfast_tui import tape
from holdfast_tui.hiding import hidden, hidden_message

MOST = 64 << 20
"""Bytes of a recording."""


class Recorder:
    """Writes a session to a file while it is a context; a file that is full takes nothing more, and says so."""

    def __init__(
        self,
        path: Path,
        *,
        project: str,
        values: bool = True,
        most: int = MOST,
        clock: Callable[[], Instant] = time.time,
    ) -> None:
        """
        Args:
            values: whether payloads, results, log lines and messages of errors are written; else `left out` is.
            most: bytes of the file.
        """
        self.full = False
        """Whether the file holds no more."""
        self._path = path
        self._most = most
        self._clock = clock
        self._head = tape.Head(recording=tape.FORMAT, version=__version__, project=project, at=clock(), values=values)
        self._size = 0
        self._file: Any = None
        self._last: dict[tuple[str, bytes], bytes] = {}
        """Digest of the last answer to each question."""

    def __enter__(self) -> Self:
        """Raises: TapeError: there is such a file already, or it can't be written."""
        try:
            self._file = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)
        except FileExistsError:
            raise tape.TapeError(f"{self._path}: expected a file that is not there yet, found one") from None
        except OSError as error:
            raise tape.TapeError(f"{self._path} can't be written: {error.strerror}") from None
        self._write(self._head)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.put(tape.End(at=self.at))
        self._file.close()

    def around(self, factory: Callable[[], Awaitable[Client]]) -> Callable[[], Awaitable[Client]]:
        """The same factory; what its clients are asked is recorded."""

        async def made() -> Client:
            return cast(Client, _Recorded(await factory(), self))

        return made

    @property
    def at(self) -> Seconds:
        """Since the beginning."""
        return max(0.0, round(self._clock() - self._head.at, 6))

    def answered(self, ask: str, given: msgspec.Raw, answer: Any) -> None:
        text = self._encoded(answer)
        digest, asked = blake2b(text, digest_size=16).digest(), (ask, bytes(given))
        if self._last.get(asked) == digest:
            return
        self._last[asked] = digest
        self.put(tape.Answer(at=self.at, ask=ask, given=given, answer=text))

    def failed(self, ask: str, given: msgspec.Raw, error: Exception) -> None:
        self._last.pop((ask, bytes(given)), None)
        self.put(tape.Failure(at=self.at, ask=ask, given=given, error=type(error).__name__, text=self._told(error)))

    def line(self, ask: str, given: msgspec.Raw, row: Any) -> None:
        self.put(tape.Line(at=self.at, ask=ask, given=given, answer=self._encoded(row)))

    def heard(self, subject: str, data: bytes) -> None:
        kept = data if self._head.values else hidden_message(subject, data)
        self.put(tape.Heard(at=self.at, subject=subject, data=kept))

    def changed(self, ask: str, target: Any, error: Exception | None = None) -> None:
        refused = "" if error is None else self._told(error) or type(error).__name__
        self.put(tape.Change(at=self.at, ask=ask, target=target if isinstance(target, str) else "", refused=refused))

    def put(self, record: tape.Record) -> None:
        """Write a record, if there is room."""
        if not self.full:
            self._write(record)

    def _told(self, error: Exception) -> str:
        return str(error) if self._head.values else ""

    def _encoded(self, answer: Any) -> msgspec.Raw:
        return msgspec.Raw(msgspec.json.encode(answer if self._head.values else hidden(answer)))

    def _write(self, record: tape.Head | tape.Record) -> None:
        line = msgspec.json.encode(record) + b"\n"
        if self._size + len(line) > self._most:
            line, self.full = msgspec.json.encode(tape.Full(at=self.at)) + b"\n", True
        self._size += len(line)
        self._file.write(line)


class _Recorded:
    """Stands for a client, or for a run of one: passes everything on, and has it recorded."""

    def __init__(self, client: Any, recorder: Recorder, *, run: str = "") -> None:
        own = {"_client": client, "_recorder": recorder, "_run": run}
        self.__dict__.update(own if run else {**own, "bus": _RecordedBus(client.bus, recorder)})

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._client, name, value)

    def run(self, id: str) -> _Recorded:
        return _Recorded(self._client.run(id), self._recorder, run=id)

    async def close(self) -> None:
        await self._client.close()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name in tape.STREAMS:
            return self._stream(name, found)
        if name in tape.LOOKS:
            return self._look(name, found)
        return self._change(name, found) if iscoroutinefunction(found) and name not in tape.UNRECORDED else found

    def _look(self, name: str, call: Any) -> Any:
        async def asked(*args: Any, **given: Any) -> Any:
            what = tape.arguments(name, args, given)
            try:
                answer = await call(*args, **given)
            except (HoldfastError, TimeoutError, OSError) as error:
                self._recorder.failed(name, what, error)
                raise
            self._recorder.answered(name, what, answer)
            return answer

        return asked

    def _stream(self, name: str, call: Any) -> Any:
        async def asked(*args: Any, **given: Any) -> AsyncIterator[Any]:
            what = tape.arguments(name, args, given)
            async with aclosing(call(*args, **given)) as answers:
                async for rows in answers:
                    for row in rows:
                        self._recorder.line(name, what, row)
                    yield rows

        return asked

    def _change(self, name: str, call: Any) -> Any:
        ask = f"run.{name}" if self._run else name

        async def asked(*args: Any, **given: Any) -> Any:
            target = self._run or next(iter(args), "")
            try:
                answer = await call(*args, **given)
            except (HoldfastError, TimeoutError, OSError) as error:
                self._recorder.changed(ask, target, error)
                raise
            self._recorder.changed(ask, target)
            return answer

        return asked


class _RecordedBus:
    """Stands for a client's bus: what is heard is recorded, and when the connection comes and goes."""

    def __init__(self, bus: Any, recorder: Recorder) -> None:
        self._bus = bus
        self._recorder = recorder
        self._connected = True

    @property
    def connected(self) -> bool:
        self._look()
        return self._connected

    def _look(self) -> None:
        if self._bus.connected != self._connected:
            self._connected = self._bus.connected
            self._recorder.put(tape.Link(at=self._recorder.at, connected=self._connected))

    def on_reconnect(self, call: Callable[[], None]) -> None:
        def returned() -> None:
            self._look()
            call()

        self._bus.on_reconnect(returned)

    async def listen(self, subject: str, listener: Callable[[str, bytes], None]) -> Callable[[], Awaitable[None]]:
        def heard(subject: str, data: bytes) -> None:
            self._recorder.heard(subject, data)
            listener(subject, data)

        return cast(Callable[[], Awaitable[None]], await self._bus.listen(subject, heard))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)
