"""What the rest of holdfast asks of a bus: durable subjects with compare-and-set, timers, work items, and requests.

Two implementations, one conformance suite (`tests/bus`): `jetstream` over a real server, `memory` for users' tests.
A bus is bound to one project. Every coroutine may raise `ConnectError` (no connection: nothing was done), `Unanswered`
(the outcome is unknown) or another `BusError` (nothing was done); only what differs is said at each method. While there
is no connection, each waits some seconds for its return before it gives up; reads are repeated where the connection was
lost under way.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import NamedTuple, Protocol, TypeAlias

from holdfast.core.model import Instant, Seconds
from holdfast.errors import BusError
from holdfast.wire.subjects import Lane, Stream, Subjects

ACK_WAIT: Seconds = 10.0
"""How long an item may stay unsettled before it is delivered again."""

DUPLICATE_WINDOW: Seconds = 120.0
"""How long a stream remembers the ids that messages are deduplicated by."""

EVENTS_DUPLICATE_WINDOW: Seconds = 720.0
"""The same of the event stream: longer than a signed webhook can be repeated (`config.LONGEST_TOLERANCE`, and a minute
ahead)."""

MAX_PAYLOAD = 8 << 20
"""Bytes of the largest message, where the server is configured as holdfast does it."""


class Message(NamedTuple):
    """A stored message."""

    subject: str
    data: bytes
    seq: int
    """Its sequence in its stream, from 1."""
    time: Instant
    """When it was stored, by the server's clock."""
    headers: bytes = b""
    """As its publisher gave them: a block that `wire.headers.parse` reads; empty where there are none."""


class Item(NamedTuple):
    """A delivered work item; whoever has it must settle, release or extend it before its consumer's ack wait ends."""

    subject: str
    data: bytes
    seq: int
    time: Instant
    deliveries: int
    """How often it was delivered, this time included. After a server crash it may start again at 1."""
    token: str
    """Where it is acknowledged; any client of the project may do so."""


class Fence(NamedTuple):
    """That the last message of another subject of the same stream is still this one: else nothing is stored."""

    subject: str
    seq: int


class Timer(NamedTuple):
    """That a message is stored on another subject of the same stream later; see `Bus.publish_at`."""

    due: Instant
    target: str


class Publication(NamedTuple):
    """One message of a batch; the fields are those of `Bus.publish`."""

    subject: str
    data: bytes
    expect: int | None = None
    dedupe: str | None = None
    fence: Fence | None = None
    """Instead of `expect`."""
    headers: Mapping[str, str] | None = None
    timer: Timer | None = None
    """The message is a timer; instead of all of these."""


class ConsumerState(NamedTuple):
    """Where a work consumer stands."""

    name: str
    """As `consumer_name` makes it."""
    pending: int
    """Stored and not yet delivered."""
    delivered: int
    """Delivered and not yet settled."""
    paused: bool


Handler: TypeAlias = Callable[[Item], None]
"""Called in the event loop for each item, in order; it must not block and not raise."""

Listener: TypeAlias = Callable[[str, bytes], None]
"""Called in the event loop with subject and data of a message that is not stored."""

Responder: TypeAlias = Callable[[bytes], Awaitable[bytes]]
"""Answers a request; what it raises is logged and answered as an internal error."""


class Puller(Protocol):
    """A standing demand for work items of one consumer."""

    def want(self, count: int) -> None:
        """Ask for so many further items; they come to the handler as they become ready.

        The bus keeps asking, over reconnects and restarts of the server, until they have come. At no time are more
        delivered than asked for.
        """

    async def stop(self) -> None:
        """Ask for no more; an item that is on its way is released. Idempotent."""


class Bus(Protocol):
    """A project's messages."""

    subjects: Subjects

    async def publish(
        self,
        subject: str,
        data: bytes,
        *,
        expect: int | None = None,
        dedupe: str | None = None,
        fence: Fence | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> int:
        """Store a message and return its sequence; durable when it returns.

        Args:
            expect: compare-and-set: the last sequence on this subject must be this one (0: none).
            dedupe: an id; a second message with it within the stream's window (`duplicate_window`) is not stored again.
            fence: compare-and-set on another subject, instead of `expect`.
            headers: that the message carries; names that begin with `Nats-` are the server's.

        Raises:
            Fenced: another sequence than expected; nothing was stored.
            Unanswered: it may or may not be stored, now or a moment later. Repeating with the same `expect` is safe,
                and with `expect` or `dedupe` the bus itself has repeated it over reconnects for some ten seconds. If
                its repeat met another last sequence, that may be its own first try: read the last message.
        """

    async def publish_many(self, messages: list[Publication]) -> list[int | Exception]:
        """Store several, pipelined, not atomic: for each the sequence or what `publish` would raise, in order.

        Raises nothing of its own. Messages of one subject are stored in the order given, where none is repeated.
        """

    async def publish_at(self, subject: str, data: bytes, *, due: Instant, target: str) -> int:
        """Store a timer: at `due` the server stores `data` on `target` (same stream) and removes the timer.

        A later timer on the same subject replaces this one. Fires up to 0.25 s late, never early; one that is due in
        the past fires at once, one that is due after 2255 never. Survives restarts of everything. What it stores is not
        heard by those who listen on `target`, but by consumers, followers and (under `live`) everybody.
        """

    async def last(self, stream: Stream, subject: str) -> Message | None:
        """The last message on a subject (no wildcard), or None."""

    async def latest(self, stream: Stream, filter: str) -> list[Message]:
        """The last message of each subject that matches, ordered by sequence."""

    async def read(self, stream: Stream, filter: str, *, first: int = 1, limit: int | None = None) -> list[Message]:
        """The messages whose subject matches the filter, from sequence `first` on, in stream order."""

    async def last_seq(self, stream: Stream) -> int:
        """The stream's last sequence ever given out; 0 for an empty stream that never held a message."""

    async def first_since(self, stream: Stream, when: Instant) -> int:
        """A sequence to read from for everything that was stored at `when` or later: the first such message's.

        Where there is none yet, it is the one behind the stream's last. It may lie a microsecond early, never late.
        """

    async def delete(self, stream: Stream, seq: int) -> bool:
        """Delete one message; False where it was not there."""

    async def purge(self, stream: Stream, filter: str) -> int:
        """Delete all messages whose subject matches the filter; returns how many there were."""

    def follow(
        self, stream: Stream, filter: str, *, first: int, idle: Seconds = 0.2, most: int = 2000
    ) -> AsyncGenerator[list[Message], None]:
        """Every message from sequence `first` on, in order, each once, for ever: also across reconnects.

        Close it (`contextlib.aclosing`) when you leave it early.

        Yields lists of 1 to `most` messages as they arrive; what has arrived is yielded at once. An empty list says:
        all that the stream held when the following began has been yielded (once), and again after each `idle` seconds
        without a message, also while there is no connection.

        Raises:
            BusError: the stream is gone, or its last sequence is below what was yielded: it lost acknowledged messages.
                (Logs may lose their last lines in a crash; there the following goes on.)
            ConnectError: the bus was closed.
        """

    async def ensure_consumer(self, queue: str, priority: int = 0, *, lane: Lane = Lane.READY) -> str:
        """Create the work consumer of a queue, priority and lane; returns its name. Idempotent.

        Args:
            priority: none in the lane `GO`, whose items come in the order of their admission.
        """

    async def pull(self, consumer: str, handler: Handler) -> Puller:
        """Begin to take work items; nothing comes before `Puller.want`. One consumer may be pulled by many.

        Raises:
            BusError: there is no such consumer. (One that is deleted later is pulled again when it is made again.)
        """

    def settle(self, token: str) -> None:
        """The item is done with. At most once: it may be delivered again after a crash, so the journal decides."""

    def release(self, token: str, *, after: Seconds = 0.0) -> None:
        """Deliver the item again, to anybody, at once or after a while; meanwhile it counts as delivered."""

    def extend(self, token: str) -> None:
        """The item is still worked on: its ack wait begins anew."""

    async def pause(self, queue: str, *, paused: bool) -> None:
        """Deliver nothing of the queue's consumers, or again; survives restarts. Also for consumers made later."""

    async def paused(self) -> frozenset[str]:
        """The queues that are paused."""

    async def govern(self, queue: str) -> None:
        """Deliver nothing of the queue's lanes `READY` and `AGAIN` any more: its runs are admitted one by one (`GO`).

        Survives restarts; also for consumers made later. What was delivered before goes on. Idempotent.
        """

    async def governed(self) -> frozenset[str]:
        """The queues that are governed."""

    async def consumers(self) -> list[ConsumerState]:
        """All work consumers of the project."""

    async def put(self, what: str, name: str, data: bytes, *, ttl: Seconds | None = None) -> int:
        """Set a control value (`Subjects.control`), the only one kept on its subject; `ttl` (at least 1 s) ends it."""

    def send(self, subject: str, data: bytes) -> None:
        """Tell whoever listens just now; not stored."""

    async def listen(self, subject: str, listener: Listener) -> Callable[[], Awaitable[None]]:
        """Hear messages that are sent, published, or (under `live`) published again; returns how to stop."""

    async def request(self, subject: str, data: bytes, *, timeout: Seconds = 5.0) -> bytes:
        """Ask whoever serves the subject.

        Raises:
            DaemonUnavailable: nobody serves it.
            Refused: the responder refused or failed.
        """

    async def serve(self, subject: str, responder: Responder) -> Callable[[], Awaitable[None]]:
        """Answer requests on a subject; of several that serve it one gets each request. Returns how to stop."""

    def on_reconnect(self, call: Callable[[], None]) -> None:
        """Have something called after each reconnect: what was sent meanwhile was not heard."""

    @property
    def connected(self) -> bool:
        """Whether the server answers, as far as is known."""

    async def close(self) -> None:
        """Deliver what was sent and disconnect. Idempotent."""


def duplicate_window(stream: Stream) -> Seconds:
    """How long a stream remembers the ids that its messages are deduplicated by."""
    return EVENTS_DUPLICATE_WINDOW if stream is Stream.EVENTS else DUPLICATE_WINDOW


_LITERAL = re.compile(r"[^\s.*>]+(?:\.[^\s.*>]+)*\Z")


def check_subject(subject: str) -> None:
    """Raises: BusError: a message can't be published under this."""
    if _LITERAL.match(subject) is None:
        raise BusError(f"expected a subject without wildcards, spaces and empty tokens, found {subject!r}")


def check_dedupe(dedupe: str) -> None:
    """Raises: BusError: messages can't be deduplicated by this."""
    if not dedupe.isprintable() or dedupe != dedupe.strip() or not dedupe:
        raise BusError(f"expected a printable id without outer spaces to dedupe by, found {dedupe!r}")


def consumer_name(queue: str, priority: int = 0, lane: Lane = Lane.READY) -> str:
    """The name of the work consumer of a queue, priority and lane."""
    return f"{lane}-{queue}" if lane is Lane.GO else f"{lane}-{queue}-{priority}"


class Source(NamedTuple):
    """What a work consumer delivers from."""

    lane: Lane
    queue: str


def source(consumer: str) -> Source | None:
    """The lane and queue of a work consumer, by its name; None where it is none."""
    lane, _, rest = consumer.partition("-")
    if lane not in _LANES or not rest:
        return None
    return Source(Lane(lane), rest if lane == Lane.GO else rest.rpartition("-")[0])


def stands_still(source: Source, *, paused: bool, governed: bool) -> bool:
    """Whether a consumer delivers nothing, its queue being paused, or governed."""
    return paused or (governed and source.lane is not Lane.GO)


_LANES = frozenset(Lane)
