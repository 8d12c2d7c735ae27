"""Work items from a consumer, no more than were asked for.

The server keeps requests for items and answers them as items become ready (ADR-13). How many it still owes us is known
without knowing which request an item answered: what was asked, less what came, less what the ending of a request says
it left open. That number may only ever be too high (we wait) and never too low (we would get more than we want), so:

- A request that the server ended says in a header how many it left open. If it does not, all requests are abandoned.
- A request can't be alive after its expiry: what is owed is at most the sum of the requests that have not expired.
- Abandoning means a new inbox: requests whose inbox nobody hears die. What was on its way to the old one is released.
- A lost connection abandons, and so does silence: the server sends a heartbeat while a request stands.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from holdfast.bus.asking import Asker
from holdfast.bus.ports import Handler
from holdfast.bus.replies import description, item, status, whole
from holdfast.core.model import Seconds

EXPIRES = 60.0
"""Seconds that a request stands."""
HEARTBEAT = 5.0
"""Seconds between the server's signs of life."""

_GRACE = 5.0
_ENDINGS = frozenset({404, 408, 409})
_BEAT = 100

_log = logging.getLogger("holdfast.bus")

RELEASE, SETTLE, EXTEND = b"-NAK", b"+ACK", b"+WPI"


def release_after(seconds: Seconds) -> bytes:
    """The acknowledgement that has an item delivered again after a while."""
    return b'-NAK {"delay": %d}' % int(seconds * 1e9)


class Pull:
    """A standing demand for the items of one consumer."""

    def __init__(self, asker: Asker, stream: str, consumer: str, handler: Handler) -> None:
        self._asker = asker
        self._link = asker.link
        self._loop = asyncio.get_running_loop()
        self._handler = handler
        self._consumer = consumer
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._credits = 0
        """Wanted and not come."""
        self._owed = 0
        """Asked of the server and not come."""
        self._asked: deque[tuple[float, int]] = deque()
        """When each request surely has ended, and how many it was for."""
        self._pause = 0.1
        self._alive = self._loop.time()
        self._soon: asyncio.Handle | None = None
        self._stopped = False
        self._inbox = asker.fresh()
        self._sid = self._link.hear(self._inbox, self._hear)
        self._link.downs.append(self._abandon)
        self._link.ups.append(self._ask)
        self._watch = self._loop.call_later(HEARTBEAT, self._look)

    def want(self, count: int) -> None:
        """Ask for so many further items."""
        if self._stopped:
            return
        self._credits += count
        if self._soon is None:  # what is wanted within one tick is asked for at once
            self._soon = self._loop.call_soon(self._ask)

    async def stop(self) -> None:
        """Ask for no more; an item that is on its way is released. Idempotent."""
        if not self._stopped:
            self._stopped = True
            self._credits = 0
            self._watch.cancel()
            if self._soon is not None:
                self._soon.cancel()
            self._link.downs.remove(self._abandon)
            self._link.ups.remove(self._ask)
            self._link.unhear(self._sid, late=self._release)
            await self._link.settled()
            self._link.forget(self._sid)

    def _ask(self) -> None:
        self._soon = None
        count = self._credits - self._owed
        if count <= 0 or self._stopped or not self._link.up:
            return
        if self._owed == 0:
            self._asked.clear()
            self._alive = self._loop.time()
        body = b'{"batch":%d,"expires":%d,"idle_heartbeat":%d}' % (count, EXPIRES * 1e9, HEARTBEAT * 1e9)
        if self._link.emit(self._next, body, reply=self._inbox):
            self._owed += count
            self._asked.append((self._loop.time() + EXPIRES + _GRACE, count))

    def _hear(self, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self._alive = self._loop.time()
        code = 0 if headers is None or reply.startswith(b"$JS.ACK.") else status(headers)
        if code == 0:
            self._deliver(subject, reply, data)
        elif code in _ENDINGS:
            left = whole(headers, b"Nats-Pending-Messages")
            if left is None:
                _log.warning("bus.pull_ended consumer=%s reason=%s", self._consumer, description(headers or b""))
                self._retry()
            else:
                self._owed = max(self._owed - left, 0)
                self._ask_later(0.0 if code == 408 else self._pause)
        elif code != _BEAT:
            _log.warning("bus.pull_failed consumer=%s reason=%s", self._consumer, description(headers or b""))
            self._retry()

    def _deliver(self, subject: bytes, reply: bytes, data: bytes) -> None:
        token = reply.decode()
        if self._credits <= 0:
            self._link.emit(token, RELEASE)
            return
        self._pause = 0.1
        self._credits -= 1
        self._owed = max(self._owed - 1, 0)
        try:
            self._handler(item(subject, token, data))
        except Exception:  # the contract forbids it; the item must not be lost until its ack wait ends
            _log.exception("bus.handler_failed consumer=%s", self._consumer)
            self._link.emit(token, RELEASE)

    def _release(self, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        if reply.startswith(b"$JS.ACK."):
            self._link.emit(reply.decode(), RELEASE)

    def _abandon(self) -> None:
        """Owe nothing from now on: listen elsewhere."""
        sid = self._sid
        self._link.unhear(sid, late=self._release)
        self._loop.call_later(_GRACE, self._link.forget, sid)
        self._inbox = self._asker.fresh()
        self._sid = self._link.hear(self._inbox, self._hear)
        self._owed = 0
        self._asked.clear()

    def _retry(self) -> None:
        self._abandon()
        self._ask_later(self._pause)
        self._pause = min(self._pause * 2, 2.0)

    def _ask_later(self, delay: float) -> None:
        if self._soon is not None:
            self._soon.cancel()
        self._soon = self._loop.call_later(delay, self._ask)

    def _look(self) -> None:
        """Notice what never came: heartbeats, or the endings of requests."""
        now = self._loop.time()
        while self._asked and self._asked[0][0] < now:
            self._asked.popleft()
        self._owed = min(self._owed, sum(count for _, count in self._asked))
        if self._owed and self._link.up and now - self._alive > 2.5 * HEARTBEAT:
            _log.warning("bus.pull_silent consumer=%s", self._consumer)
            self._abandon()
        self._ask()
        self._watch = self._loop.call_later(HEARTBEAT, self._look)
