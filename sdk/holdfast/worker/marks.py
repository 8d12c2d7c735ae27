"""What a run's code says of itself besides its awaits: heartbeats, progress, metadata. Nobody waits for these."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from holdfast.bus.clock import Clock
from holdfast.core.entries import Entry, Heartbeat, MetadataChanged, Progressed
from holdfast.core.model import Seconds
from holdfast.worker.stored import Stored

EVERY: Seconds = 0.25
"""Between two records of one kind: of what comes faster only the last is kept."""


class Marks:
    """Writes what the code says, from the event loop or from a thread; latest wins."""

    def __init__(self, write: Callable[[Entry], None], clock: Clock) -> None:
        self.on_beat: Callable[[], None] = lambda: None
        """Called in the event loop with each heartbeat."""
        self._write = write
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._unwritten: dict[type[Entry], Entry] = {}
        self._quiet_until: dict[type[Entry], float] = {}
        self._closed = False

    def say(self, entry: Heartbeat | Progressed | MetadataChanged) -> None:
        """Record it: a change of the metadata now, the others now or with what follows within a moment."""
        if threading.get_ident() == self._thread:
            self._said(entry)
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: a thread that was left behind
            self._loop.call_soon_threadsafe(self._said, entry)

    def _said(self, entry: Heartbeat | Progressed | MetadataChanged) -> None:
        if self._closed:
            return
        if isinstance(entry, MetadataChanged):
            self._write(entry)
            return
        if isinstance(entry, Heartbeat):
            self.on_beat()
        kind, now = type(entry), self._clock.now()
        if kind in self._unwritten:
            self._unwritten[kind] = entry
        elif (until := self._quiet_until.get(kind, 0.0)) <= now:
            self._quiet_until[kind] = now + EVERY
            self._write(entry)
        else:
            self._unwritten[kind] = entry
            self._clock.call_at(until, lambda: self._flush(kind))

    def _flush(self, kind: type[Entry]) -> None:
        entry = self._unwritten.pop(kind, None)
        if entry is not None and not self._closed:
            self._quiet_until[kind] = self._clock.now() + EVERY
            self._write(entry)

    def rest(self) -> tuple[Entry, ...]:
        """What was said and not written yet, to go with the attempt's end."""
        rest = tuple(self._unwritten.values())
        self._unwritten.clear()
        return rest

    def close(self) -> None:
        """Nothing more is written: what a thread still says comes too late."""
        self._closed = True


class Metadata(MutableMapping[str, Any]):
    """A run's metadata as its code sees it; a change is recorded at once."""

    def __init__(
        self,
        encoded: dict[str, bytes],
        removed: frozenset[str],
        write: Callable[[MetadataChanged], None],
        clock: Clock,
        stored: Stored,
    ) -> None:
        """
        Args:
            removed: names that the code removed before; it may come to that again.
        """
        self._encoded = dict(encoded)
        self._removed = set(removed)
        self._write = write
        self._clock = clock
        self._stored = stored

    def __getitem__(self, name: str) -> Any:
        return self._stored.decode_small(self._encoded[name])

    def __setitem__(self, name: str, value: Any) -> None:
        if not isinstance(name, str):
            raise TypeError(f"run.metadata: expected a name as text, found {name!r}")
        data = self._stored.encode_small(value)
        if self._encoded.get(name) != data:  # the code comes here again after each resume
            self._encoded[name] = data
            self._write(MetadataChanged(self._clock.now(), {name: data}))

    def __delitem__(self, name: str) -> None:
        if name not in self._encoded and name in self._removed:
            self._removed.discard(name)
            return
        del self._encoded[name]
        self._write(MetadataChanged(self._clock.now(), {name: None}))

    def __iter__(self) -> Iterator[str]:
        return iter(self._encoded)

    def __len__(self) -> int:
        return len(self._encoded)

    def __repr__(self) -> str:
        return repr(dict(self))
