"""A stream in memory: messages in order, compare-and-set, timers, expiry, deduplication."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from holdfast.bus.clock import Cancel, Clock
from holdfast.bus.ports import DUPLICATE_WINDOW, Message
from holdfast.core.model import Instant, Seconds
from holdfast.errors import Fenced


def matches(filter: str, subject: str) -> bool:
    """Whether a subject matches a filter: `*` stands for one token, `>` at the end for one or more."""
    if filter == subject:
        return True
    wanted, found = filter.split("."), subject.split(".")
    for at, token in enumerate(wanted):
        if token == ">":
            return len(found) > at
        if at >= len(found) or token not in ("*", found[at]):
            return False
    return len(wanted) == len(found)


class MemoryStream:
    """One stream."""

    def __init__(self, clock: Clock, *, only_last: bool = False, window: Seconds = DUPLICATE_WINDOW) -> None:
        self.last_seq = 0
        self.stored: list[Callable[[Message, bool], None]] = []
        """Called with each message as it is stored, and whether a timer made it."""
        self._clock = clock
        self._only_last = only_last
        self._window = window
        self._messages: dict[int, Message] = {}
        self._by_subject: dict[str, dict[int, None]] = {}
        self._ends: dict[int, Cancel] = {}
        """What cancels the timer or the expiry of a message."""
        self._seen: dict[str, tuple[int, Instant]] = {}

    def store(
        self,
        subject: str,
        data: bytes,
        *,
        expect: int | None = None,
        dedupe: str | None = None,
        ttl: Seconds | None = None,
        fired: bool = False,
        headers: bytes = b"",
    ) -> int:
        """Append a message; see `Bus.publish`."""
        now = self._clock.now()
        last = self.last_of(subject)
        if expect is not None and expect != last:
            raise Fenced(subject, expected=expect, found=last)
        if dedupe is not None and dedupe in self._seen and self._seen[dedupe][1] > now - self._window:
            return self._seen[dedupe][0]
        self.last_seq += 1
        message = Message(subject, bytes(data), self.last_seq, now, headers)
        if self._only_last or last in self._ends:
            self.delete(last)
        self._messages[message.seq] = message
        self._by_subject.setdefault(subject, {})[message.seq] = None
        if dedupe is not None:
            self._seen[dedupe] = (message.seq, now)
        if ttl is not None:
            self._at(now + math.ceil(ttl), message.seq, lambda: None)
        for call in list(self.stored):
            call(message, fired)
        return message.seq

    def store_timer(self, subject: str, data: bytes, *, due: Instant, target: str) -> int:
        """Append a timer; see `Bus.publish_at`."""
        seq = self.store(subject, data)
        self._at(due, seq, lambda: self.store(target, data, fired=True))
        return seq

    def delete(self, seq: int) -> bool:
        """Remove a message, and its timer."""
        message = self._messages.pop(seq, None)
        if message is None:
            return False
        seqs = self._by_subject[message.subject]
        del seqs[seq]
        if not seqs:
            del self._by_subject[message.subject]
        end = self._ends.pop(seq, None)
        if end is not None:
            end()
        return True

    def get(self, seq: int) -> Message | None:
        return self._messages.get(seq)

    def last(self, subject: str) -> Message | None:
        return self._messages.get(self.last_of(subject))

    def last_of(self, subject: str) -> int:
        """Sequence of the last message on a subject; 0: none."""
        seqs = self._by_subject.get(subject)
        return next(reversed(seqs)) if seqs else 0

    def latest(self, filter: str) -> list[Message]:
        found = [
            self._messages[next(reversed(seqs))]
            for subject, seqs in self._by_subject.items()
            if matches(filter, subject)
        ]
        return sorted(found, key=lambda message: message.seq)

    def matching(self, filter: str, first: int = 1) -> Iterator[Message]:
        """Messages from a sequence on, in order."""
        for seq in range(max(first, 1), self.last_seq + 1):
            message = self._messages.get(seq)
            if message is not None and matches(filter, message.subject):
                yield message

    def first_since(self, when: Instant) -> int:
        """See `Bus.first_since`; asked about times that are not long ago."""
        first = self.last_seq + 1
        for seq in range(self.last_seq, 0, -1):
            message = self._messages.get(seq)
            if message is not None and message.time < when:
                break
            first = first if message is None else seq
        return first

    def close(self) -> None:
        """Forget everything."""
        for seq in list(self._messages):
            self.delete(seq)

    def _at(self, due: Instant, seq: int, then: Callable[[], object]) -> None:
        def end() -> None:
            self.delete(seq)
            then()

        self._ends[seq] = self._clock.call_at(due, end)
