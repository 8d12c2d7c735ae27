"""Replays a recorded session: a client that answers from the file what was answered at that time, without any server.

Time is the recording's: it begins when that began and stands still where that ended. A question is answered as it was
last answered before now, else as it was first answered later; one that differs from a recorded one in its times alone
is answered like it. What was never asked is refused.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import groupby
from typing import Any, cast

import anyio
import msgspec

from holdfast import errors
from holdfast.client import Client
from holdfast.core.model import Instant, Seconds
from holdfast.core.routing import matches
from holdfast.errors import BusError, ConnectError, HoldfastError, Refused
from holdfast.wire import api
from holdfast.wire.subjects import Subjects
from holdfast_tui import tape
from holdfast_tui.tape import Answer, Failure, Heard, Line, Link, Tape

LOOK: Seconds = 0.1
"""After so long, at most, it is looked whether the next record is due."""

TIMES = frozenset({"since", "until", "after", "at"})
"""Fields of a question that say when; they move on with the clock."""


class Replay:
    """A recording that is being played. It begins with the first look at its clock."""

    def __init__(self, recorded: Tape, *, speed: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            speed: so many seconds of the recording are shown in one.
            clock: in seconds, from any beginning.

        Raises:
            TapeError: the speed is none.
        """
        if not 0 < speed <= 1000:
            raise tape.TapeError(f"--speed: expected a number above 0 and up to 1000, found {speed:g}")
        self.tape = recorded
        self.speed = speed
        self._clock = clock
        self._began: float | None = None
        self._answers: dict[str, dict[bytes, list[Answer | Failure]]] = {}
        for record in recorded.records:
            if isinstance(record, Answer | Failure):
                self._answers.setdefault(record.ask, {}).setdefault(bytes(record.given), []).append(record)
        self._links = [record for record in recorded.records if isinstance(record, Link)]
        self._alike = {ask: {_timeless(given): given for given in by_given} for ask, by_given in self._answers.items()}

    @property
    def at(self) -> Seconds:
        """Where in the recording it is."""
        now = self._clock()
        if self._began is None:
            self._began = now
        return min(self.tape.length, (now - self._began) * self.speed)

    def clock(self) -> Instant:
        """The time that the recording shows."""
        return self.tape.head.at + self.at

    async def client(self) -> Client:
        """A client of it, as `Gateway` takes it."""
        return cast(Client, _Replayed(self))

    def connected(self) -> bool:
        """Whether there was a connection."""
        before = bisect_right(self._links, self.at, key=lambda link: link.at)
        return self._links[before - 1].connected if before else True

    def answer(self, ask: str, given: msgspec.Raw) -> Any:
        """What was answered.

        Raises:
            Refused: it was not asked then, or the answer can't be read.
            HoldfastError: as recorded.
        """
        record = self._record(ask, bytes(given))
        if record is None:
            raise Refused("this is not in the recording: nobody looked at it", code="not_found")
        if isinstance(record, Failure):
            raise _error(record)
        return _decoded(record)

    def _record(self, ask: str, given: bytes) -> Answer | Failure | None:
        known = self._answers.get(ask, {})
        found = known.get(given) or known.get(self._alike.get(ask, {}).get(_timeless(given), b""))
        if not found:
            return None
        return found[max(0, bisect_right(found, self.at, key=lambda record: record.at) - 1)]

    def lines(self, ask: str, given: msgspec.Raw) -> list[tuple[Seconds, api.LogRow]]:
        """What a stream answered, and when: the one of a run is part of the one of all."""
        streams: dict[bytes, list[Line]] = {}
        for record in self.tape.records:
            if isinstance(record, Line) and record.ask == ask:
                streams.setdefault(_timeless(bytes(record.given)), []).append(record)
        asked = msgspec.json.decode(given)
        found = streams.get(_timeless(bytes(given)))
        if found is None:
            found = max(streams.values(), key=len, default=[])
        rows = [(line.at, cast(api.LogRow, _decoded(line))) for line in found]
        return [
            (at, row)
            for at, row in rows
            if asked["run"] in ("*", row.run) and asked["task"] in ("*", row.task) and row.seq > (asked["after"] or 0)
        ]

    async def until(self, at: Seconds) -> None:
        """Wait until the recording is there."""
        while (left := at - self.at) > 0:  # noqa: ASYNC110 - the clock is a parameter, and gives no events
            await anyio.sleep(min(LOOK, left / self.speed))

    def soon(self, at: Seconds) -> Seconds:
        """After how many seconds to look whether it is there."""
        return min(LOOK, max(0.0, at - self.at) / self.speed)


class _Replayed:
    """Stands for a client."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self.bus = _ReplayedBus(replay)

    async def close(self) -> None:
        self.bus.stop()

    async def follow_output(self, *args: Any, **given: Any) -> AsyncIterator[list[api.LogRow]]:
        lines = self._replay.lines("follow_output", tape.arguments("follow_output", args, given))
        for _, message in groupby(lines, key=lambda line: line[1].seq):  # the lines of a message are never parted
            told = list(message)
            await self._replay.until(told[0][0])
            yield [row for _, row in told]
        await anyio.sleep_forever()

    def __getattr__(self, name: str) -> Any:
        if name not in tape.LOOKS:
            raise AttributeError(f"{name} is not answered by a recording")

        async def asked(*args: Any, **given: Any) -> Any:
            return self._replay.answer(name, tape.arguments(name, args, given))

        return asked


class _ReplayedBus:
    """Stands for a bus: what was heard is heard again, in its time."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self.subjects = Subjects(replay.tape.head.project)
        self._playing: set[_Playing] = set()

    @property
    def connected(self) -> bool:
        return self._replay.connected()

    def on_reconnect(self, call: Callable[[], None]) -> None:
        found = [record for record in self._replay.tape.records if isinstance(record, Link) and record.connected]
        self._play([(record.at, call) for record in found])

    async def listen(self, subject: str, listener: Callable[[str, bytes], None]) -> Callable[[], Awaitable[None]]:
        def told(record: Heard) -> Callable[[], None]:
            return lambda: listener(record.subject, record.data)

        found = [record for record in self._replay.tape.records if isinstance(record, Heard)]
        playing = self._play([(each.at, told(each)) for each in found if matches(subject, each.subject)])

        async def stop() -> None:
            playing.stop()
            self._playing.discard(playing)

        return stop

    def _play(self, calls: Sequence[tuple[Seconds, Callable[[], None]]]) -> _Playing:
        playing = _Playing(self._replay, calls)
        self._playing.add(playing)
        return playing

    def stop(self) -> None:
        for playing in self._playing:
            playing.stop()
        self._playing.clear()


class _Playing:
    """Calls that are made each in its time, from now on."""

    def __init__(self, replay: Replay, calls: Sequence[tuple[Seconds, Callable[[], None]]]) -> None:
        self._replay = replay
        self._calls = [(at, call) for at, call in calls if at > replay.at]
        self._handle: asyncio.TimerHandle | None = None
        self._wait()

    def _wait(self) -> None:
        if self._calls:
            after = self._replay.soon(self._calls[0][0])
            self._handle = asyncio.get_running_loop().call_later(after, self._look)

    def _look(self) -> None:
        while self._calls and self._calls[0][0] <= self._replay.at:
            self._calls.pop(0)[1]()
        self._wait()

    def stop(self) -> None:
        self._calls = []
        if self._handle is not None:
            self._handle.cancel()


def _decoded(record: Answer | Line) -> Any:
    try:
        return tape.answers(record.ask).decode(record.answer)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refused(f"the recording holds an answer that can't be read: {error}", code="internal") from None


def _error(record: Failure) -> HoldfastError:
    """The error that was raised, as far as the link is concerned."""
    kind = getattr(errors, record.error, None)
    text = record.text or record.error
    if isinstance(kind, type) and issubclass(kind, Refused):
        return Refused(text, code="recorded")
    if isinstance(kind, type) and issubclass(kind, ConnectError):
        return kind(text)
    if isinstance(kind, type) and issubclass(kind, HoldfastError) and not issubclass(kind, BusError):
        return HoldfastError(text)
    return BusError(text)


def _timeless(given: bytes) -> bytes:
    """A question without its times."""
    return msgspec.json.encode(_without_times(msgspec.json.decode(given)))


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_times(each) for name, each in value.items() if name not in TIMES}
    if isinstance(value, list):
        return [_without_times(each) for each in value]
    return value
