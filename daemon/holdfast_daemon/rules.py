"""What the control stream says about who may run: limits of queues and tasks, pauses, who serves what."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping

import anyio
import msgspec

from holdfast.bus.journal import Journal
from holdfast.bus.ports import Message
from holdfast.core.admission import QueueLimits
from holdfast.core.model import Instant, Limits, Seconds
from holdfast.wire import api
from holdfast.wire.subjects import Stream

log = logging.getLogger("holdfast.admitter")

ABSENT_AFTER: Seconds = 6.0
"""Without a heartbeat for so long a worker serves nothing: its beat ends after five seconds."""

CONFIGURED, SET = "queue", "limits"
"""Control values with a queue's limits: as configured, and as an operator set them since."""


class Rules:
    """The control values, as far as admission asks for them."""

    def __init__(self, journal: Journal, changed: Callable[[], None]) -> None:
        """
        Args:
            changed: called when one of them has.
        """
        self.known = anyio.Event()
        """Set once all that stood at the start is known."""
        self.tasks: dict[str, Limits] = {}
        self._journal = journal
        self._changed = changed
        self._paused: set[str] = set()
        self._governed: set[str] = set()
        self._configured: dict[str, QueueLimits] = {}
        self._set: dict[str, QueueLimits] = {}
        self._lanes: defaultdict[str, set[str]] = defaultdict(set)
        """By queue: the tasks that have had runs in it."""
        self._workers: dict[str, tuple[frozenset[str], Instant]] = {}
        """What each serves, and when it said so."""
        self._take: Mapping[str, Callable[[str, Message], None]] = {
            "paused": self._take_paused,
            "governed": self._take_governed,
            CONFIGURED: self._take_configured,
            SET: self._take_set,
            "lane": self._take_lane,
            "task": self._take_task,
            "worker": self._take_worker,
        }

    @property
    def paused(self) -> frozenset[str]:
        """Queues that are paused."""
        return frozenset(self._paused)

    @property
    def served(self) -> frozenset[str]:
        """Tasks that some worker serves just now."""
        since = self._journal.clock() - ABSENT_AFTER
        for worker in [worker for worker, (_, at) in self._workers.items() if at < since]:
            del self._workers[worker]
        return frozenset().union(*(tasks for tasks, _ in self._workers.values()))

    @property
    def limited(self) -> dict[str, QueueLimits]:
        """Queues that have limits, or whose tasks have; and such as are governed since they once had some."""
        limited = {queue for queue, tasks in self._lanes.items() if any(self.tasks.get(task) for task in tasks)}
        limited |= {queue for queue in (*self._configured, *self._set) if self.limits(queue)}
        return {queue: self.limits(queue) for queue in sorted(limited | self._governed)}

    @property
    def governed(self) -> frozenset[str]:
        """Queues whose runs are admitted one by one."""
        return frozenset(self._governed)

    def limits(self, queue: str) -> QueueLimits:
        """The limits of a queue: an operator's, else the configuration's."""
        return self._set.get(queue) or self._configured.get(queue) or QueueLimits()

    async def follow(self) -> None:
        """Follow the values until cancelled."""
        everything = self._journal.bus.subjects.control(">", "")[:-1]
        async for messages in self._journal.bus.follow(Stream.CONTROL, everything, first=1):
            for message in messages:
                self._note(message)
            if not messages:
                self.known.set()
            else:
                self._changed()

    def _note(self, message: Message) -> None:
        what, *names = message.subject.split(".")[3:]
        take = self._take.get(what)
        if take is None or not names:
            return
        try:
            take(names[0], message)
        except msgspec.DecodeError as error:
            log.warning("unreadable control value %s: %s", message.subject, error)

    def _take_paused(self, queue: str, message: Message) -> None:
        (self._paused.add if message.data else self._paused.discard)(queue)

    def _take_governed(self, queue: str, message: Message) -> None:
        self._governed.add(queue)

    def _take_configured(self, queue: str, message: Message) -> None:
        self._configured[queue] = api.decode(message.data, QueueLimits)

    def _take_set(self, queue: str, message: Message) -> None:
        if message.data:
            self._set[queue] = api.decode(message.data, QueueLimits)
        else:
            self._set.pop(queue, None)

    def _take_lane(self, queue: str, message: Message) -> None:
        self._lanes[queue].add(message.subject.rpartition(".")[2])

    def _take_task(self, task: str, message: Message) -> None:
        card = api.decode(message.data, api.TaskCard)
        self.tasks[task] = card.limits
        self._lanes[card.queue].add(task)

    def _take_worker(self, worker: str, message: Message) -> None:
        beat = api.decode(message.data, api.Presence) if message.data else None
        if beat is None or beat.draining:
            self._workers.pop(worker, None)
        else:
            self._workers[worker] = frozenset(beat.tasks), self._journal.clock()
