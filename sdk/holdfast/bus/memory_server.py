"""What several memory buses share: projects with their streams, listeners, and those who answer requests."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable
from typing import NamedTuple

from holdfast.bus.clock import Clock, WallClock
from holdfast.bus.memory_consumer import MemoryConsumer
from holdfast.bus.memory_stream import MemoryStream, matches
from holdfast.bus.ports import Listener, Message, Responder, duplicate_window
from holdfast.errors import Refused
from holdfast.wire.subjects import Stream, Subjects

_log = logging.getLogger("holdfast.bus")


class Project:
    """What the server holds of one project."""

    def __init__(self, project: str, clock: Clock, hear: Callable[[str, bytes], None]) -> None:
        subjects = Subjects(project)
        self.streams = {
            stream: MemoryStream(clock, only_last=stream is Stream.CONTROL, window=duplicate_window(stream))
            for stream in Stream
        }
        self.filters = {
            Stream.JOURNAL: [subjects.journal, subjects.letters, subjects.lead],
            Stream.EVENTS: [subjects.events],
            Stream.LOGS: [f"{subjects.root}.log.>"],
            Stream.CONTROL: [f"{subjects.root}.ctl.>"],
            Stream.BLOBS: [subjects.blobs],
            Stream.SECRETS: [subjects.secrets],
            Stream.AUDIT: [subjects.audit],
        }
        """The subjects that each stream stores."""
        self.consumers: dict[str, MemoryConsumer] = {}
        self._root = subjects.root
        self._hear = hear
        for stream in self.streams.values():
            stream.stored.append(self._stored)

    def close(self) -> None:
        for consumer in self.consumers.values():
            consumer.close()
        for stream in self.streams.values():
            stream.close()

    def _stored(self, message: Message, fired: bool) -> None:
        """What a timer stores is not published, as with the real server; but log and in are published again."""
        if not fired:
            self._hear(message.subject, message.data)
        if matches(f"{self._root}.j.*.*", message.subject):
            run, kind = message.subject.split(".")[-2:]
            self._hear(f"{self._root}.live.{run}.{kind}", message.data)


class Ear(NamedTuple):
    """A listener."""

    filter: str
    listener: Listener

    def tell(self, subject: str, data: bytes) -> None:
        try:
            self.listener(subject, data)
        except Exception:  # as with the real bus: a listener that raises harms nobody else
            _log.exception("bus.ear_failed subject=%s", subject)


class Desk:
    """A responder and the requests that it works on."""

    def __init__(self, subject: str, responder: Responder, context: contextvars.Context) -> None:
        self.subject = subject
        self._context = context
        self._responder = responder
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, data: bytes, answer: asyncio.Future[bytes | Refused]) -> None:
        """Answer a request, in a task."""
        task = asyncio.get_running_loop().create_task(self._work(data, answer), context=self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Cancel what is not answered within a few turns of the loop."""
        for _ in range(10):
            await asyncio.sleep(0)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _work(self, data: bytes, answer: asyncio.Future[bytes | Refused]) -> None:
        found: bytes | Refused
        try:
            found = await self._responder(data)
        except Refused as refused:
            found = Refused(" ".join(str(refused).split()), code=refused.code)
        except Exception as error:
            _log.exception("bus.responder_failed subject=%s", self.subject)
            found = Refused(" ".join(f"{type(error).__name__}: {error}".split()), code="internal")
        if not answer.done():
            answer.set_result(found)


class MemoryServer:
    """Holds all projects; as many buses as you like may share one."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or WallClock()
        self.ears: list[Ear] = []
        self.desks: list[Desk] = []
        self._projects: dict[str, Project] = {}
        self.context = contextvars.copy_context()
        """In which it calls back: what it does is no part of whoever asked for it."""

    def project(self, name: str) -> Project:
        """A project, made at first sight."""
        if name not in self._projects:
            self._projects[name] = Project(name, self.clock, self.hear)
        return self._projects[name]

    def remove(self, name: str) -> None:
        """Forget a project."""
        project = self._projects.pop(name, None)
        if project is not None:
            project.close()

    def hear(self, subject: str, data: bytes) -> None:
        """Tell whoever listens, in the next tick of the loop."""
        for ear in self.ears:
            if matches(ear.filter, subject):
                asyncio.get_running_loop().call_soon(ear.tell, subject, data, context=self.context)

    def next_desk(self, subject: str) -> Desk | None:
        """Who answers a request; they take turns."""
        for desk in self.desks:
            if matches(desk.subject, subject):
                self.desks.remove(desk)
                self.desks.append(desk)
                return desk
        return None
