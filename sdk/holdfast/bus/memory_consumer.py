"""A work consumer in memory: who gets which item, and when again."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque

from holdfast.bus.clock import Cancel, Clock
from holdfast.bus.memory_stream import MemoryStream, matches
from holdfast.bus.ports import ConsumerState, Handler, Item, Message
from holdfast.core.model import Seconds

TOKEN = "$MEM.ACK."
"""What acknowledgement tokens begin with."""

_log = logging.getLogger("holdfast.bus")


class MemoryConsumer:
    """One consumer; its items go to the demands in turn."""

    def __init__(
        self,
        stream: MemoryStream,
        clock: Clock,
        name: str,
        filter: str,
        ack_wait: Seconds,
        context: contextvars.Context,
    ) -> None:
        """
        Args:
            context: in which items are handed over.
        """
        self.name = name
        self._context = context
        self.paused = False
        self._stream = stream
        self._clock = clock
        self._filter = filter
        self._ack_wait = ack_wait
        self._new = deque(message.seq for message in stream.matching(filter))
        self._again: deque[int] = deque()
        self._waits: dict[int, Cancel] = {}
        """The delivered items, and what cancels their ack wait."""
        self._deliveries: dict[int, int] = {}
        self._demands: deque[MemoryPull] = deque()
        self._soon: asyncio.Handle | None = None
        stream.stored.append(self._stored)

    @property
    def state(self) -> ConsumerState:
        pending = sum(self._stream.get(seq) is not None for seq in self._new)
        return ConsumerState(self.name, pending, len(self._waits), self.paused)

    def settle(self, seq: int) -> None:
        self._end_wait(seq)
        self._deliveries.pop(seq, None)
        if seq in self._again:
            self._again.remove(seq)
        self.wake()

    def release(self, seq: int) -> None:
        if seq in self._waits and seq not in self._again:
            self._again.append(seq)
            self.wake()

    def extend(self, seq: int, wait: Seconds | None = None) -> None:
        if seq in self._waits:
            self._wait(seq, wait)

    def demand(self, pull: MemoryPull) -> None:
        if pull not in self._demands:
            self._demands.append(pull)
        self.wake()

    def leave(self, pull: MemoryPull) -> None:
        if pull in self._demands:
            self._demands.remove(pull)

    def wake(self) -> None:
        """Deliver what can be delivered, in the next tick of the loop: never from within a call of the bus."""
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self._deliver, context=self._context)

    def close(self) -> None:
        self._stream.stored.remove(self._stored)
        for seq in list(self._waits):
            self._end_wait(seq)
        self._demands.clear()

    def _stored(self, message: Message, fired: bool) -> None:
        if matches(self._filter, message.subject):
            self._new.append(message.seq)
            self.wake()

    def _deliver(self) -> None:
        self._soon = None
        while self._demands and not self.paused and (message := self._next()) is not None:
            pull = self._demands.popleft()
            deliveries = self._deliveries[message.seq] = self._deliveries.get(message.seq, 0) + 1
            self._wait(message.seq)
            token = f"{TOKEN}{self.name}.{message.seq}"
            if pull.take(Item(message.subject, message.data, message.seq, message.time, deliveries, token)):
                self._demands.append(pull)

    def _next(self) -> Message | None:
        while self._again:
            seq = self._again.popleft()
            message = self._stream.get(seq)
            if message is not None:
                return message
            self._end_wait(seq)  # deleted meanwhile: it holds no slot
            self._deliveries.pop(seq, None)
        while self._new:
            message = self._stream.get(self._new.popleft())
            if message is not None:
                return message
        return None

    def _wait(self, seq: int, wait: Seconds | None = None) -> None:
        self._end_wait(seq)
        due = self._clock.now() + (self._ack_wait if wait is None else wait)
        self._waits[seq] = self._clock.call_at(due, lambda: self.release(seq))

    def _end_wait(self, seq: int) -> None:
        cancel = self._waits.pop(seq, None)
        if cancel is not None:
            cancel()


class MemoryPull:
    """A standing demand for the items of one consumer."""

    def __init__(self, consumer: MemoryConsumer, handler: Handler) -> None:
        self._consumer = consumer
        self._handler = handler
        self._credits = 0
        self._stopped = False

    def want(self, count: int) -> None:
        if not self._stopped and count > 0:
            self._credits += count
            self._consumer.demand(self)

    async def stop(self) -> None:
        self._stopped = True
        self._credits = 0
        self._consumer.leave(self)

    def take(self, item: Item) -> bool:
        """Hand an item over; whether more are wanted (then the consumer keeps this demand)."""
        self._credits -= 1
        try:
            self._handler(item)
        except Exception:  # the contract forbids it; the item must not be lost until its ack wait ends
            _log.exception("bus.handler_failed consumer=%s", self._consumer.name)
            self._consumer.release(item.seq)
        return self._credits > 0
