"""A worker and a client on one bus, in this process: for tests of what happens to a run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from holdfast import context
from holdfast.bus.journal import Journal
from holdfast.bus.ports import Bus
from holdfast.client import Client, RunHandle
from holdfast.core.entries import Entry, Suspended
from holdfast.core.lifecycle import Kind, story
from holdfast.core.model import Run
from holdfast.core.tree import Node, Tree
from holdfast.task import Task
from holdfast.wire import codec
from holdfast.wire.subjects import Stream
from holdfast.worker.pool import Worker


class Stage:
    """One project's bus, with workers that come and go."""

    def __init__(self, make: Any, client: Client) -> None:
        self._make = make
        self.client = client
        self.journal = Journal(client.bus)

    async def connect(self) -> Bus:
        """Another connection, as a worker's heartbeat has one."""
        bus: Bus = await self._make()
        return bus

    @asynccontextmanager
    async def worker(self, *tasks: Task[..., Any], name: str = "w1", **options: Any) -> AsyncIterator[Worker]:
        """A worker that serves these tasks for the time of the block, then drains."""
        bus: Bus = await self._make()
        stop, ready = asyncio.Event(), asyncio.Event()
        options.setdefault("drain", 0.1)
        worker = Worker(bus, {task.id: task for task in tasks}, name=name, **options)
        serving = asyncio.get_running_loop().create_task(worker.run(stop, ready=ready.set))
        waiting = asyncio.get_running_loop().create_task(ready.wait())
        try:
            await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                await serving
            yield worker
        finally:
            waiting.cancel()
            stop.set()
            await serving

    @asynccontextmanager
    async def conductor(self) -> AsyncIterator[None]:
        """For the time of the block, runs go on that something arrived for: what the daemon's conductor does."""
        bus: Bus = await self._make()
        conducting = asyncio.get_running_loop().create_task(_conduct(Journal(bus)))
        try:
            yield
        finally:
            conducting.cancel()
            await asyncio.wait([conducting])

    async def entries(self, handle: RunHandle) -> list[Entry]:
        """A run's entries, in order."""
        return [entry for _, record in await self.journal.messages(handle.id) for entry in record.entries]

    async def names(self, handle: RunHandle) -> list[str]:
        """The names of a run's entries, in order."""
        return [type(entry).__name__ for entry in await self.entries(handle)]

    async def tree(self, handle: RunHandle) -> Tree:
        tree = Tree()
        for entry in story(record for _, record in await self.journal.messages(handle.id)):
            tree.add(entry)
        return tree

    async def nodes(self, handle: RunHandle) -> dict[str, Node]:
        """The nodes of a run's tree by key."""
        return {node.key: node for _, node in (await self.tree(handle)).walk()}

    async def until(self, handle: RunHandle, *states: str, within: float = 10.0) -> Run:
        """Wait until the run is in one of the states."""
        async with asyncio.timeout(within):
            async for _ in _moves(handle):
                run = await handle.status()
                if run.state in states:
                    return run
        raise AssertionError("unreachable")


async def _conduct(journal: Journal) -> None:
    subjects = journal.bus.subjects
    async for messages in journal.bus.follow(Stream.JOURNAL, subjects.of_run("*"), first=1):
        told = {
            run
            for run, record in (codec.record(subjects, each.subject, each.seq, each.data) for each in messages)
            if record.kind is Kind.IN or any(isinstance(entry, Suspended) for entry in record.entries)
        }
        for run in told:
            await journal.resume(run)


async def _moves(handle: RunHandle) -> AsyncIterator[None]:
    """Whenever something of the run was stored."""
    stirred = asyncio.Event()
    stop = await handle.client.bus.listen(
        f"{handle.client.bus.subjects.root}.live.{handle.id}.*", lambda *_: stirred.set()
    )
    try:
        while True:
            yield
            try:
                async with asyncio.timeout(0.2):
                    await stirred.wait()
            except TimeoutError:
                pass
            stirred.clear()
    finally:
        await stop()


@asynccontextmanager
async def stage(make: Any) -> AsyncIterator[Stage]:
    """A stage over buses that `make` connects."""
    client = Client(await make(), name="test")
    token = context.enter(client)
    try:
        yield Stage(make, client)
    finally:
        context.leave(client, token)
