"""A worker that dies as by `kill -9`: from one moment on nothing of it reaches the bus, and what it held is taken."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from holdfast.client import RunHandle
from holdfast.core.lifecycle import interruption
from holdfast.core.model import Run
from holdfast.task import Task
from holdfast.worker.pool import Worker
from stage import Stage


class Mortal:
    """A bus that is lost with its process: then it sends, answers and delivers nothing. Used as `ports.Bus`."""

    def __init__(self, bus: Any) -> None:
        self._bus = bus
        self.dead = False

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._bus, name)
        if name in ("listen", "pull", "serve"):
            return self._delivering(member)
        if inspect.isasyncgenfunction(member):
            return self._following(member)
        if inspect.iscoroutinefunction(member):
            return self._asking(member)
        return self._sending(member) if inspect.ismethod(member) else member

    def _asking(self, member: Callable[..., Any]) -> Callable[..., Any]:
        async def ask(*args: Any, **kwargs: Any) -> Any:
            await self._unless_dead()
            answer = await member(*args, **kwargs)
            await self._unless_dead()
            return answer

        return ask

    def _delivering(self, member: Callable[..., Any]) -> Callable[..., Any]:
        async def deliver(subject: str, handler: Callable[..., Any], **kwargs: Any) -> Any:
            return await member(subject, lambda *args: None if self.dead else handler(*args), **kwargs)

        return self._asking(deliver)

    def _following(self, member: Callable[..., Any]) -> Callable[..., Any]:
        async def follow(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
            source = member(*args, **kwargs)
            try:
                async for messages in source:
                    await self._unless_dead()
                    yield messages
            finally:
                await source.aclose()

        return follow

    def _sending(self, member: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: None if self.dead else member(*args, **kwargs)

    async def _unless_dead(self) -> None:
        if self.dead:
            await asyncio.get_running_loop().create_future()


class Victim:
    """A worker, and how to kill it."""

    def __init__(self, bus: Mortal, serving: asyncio.Task[None]) -> None:
        self._bus = bus
        self._serving = serving

    def cut(self) -> None:
        """From now on nothing of it counts. May be called by the code that it runs."""
        self._bus.dead = True

    async def kill(self) -> None:
        """Idempotent."""
        self.cut()
        self._serving.cancel()
        await asyncio.wait([self._serving], timeout=2)
        await self._bus._bus.close()


@asynccontextmanager
async def killable(stage: Stage, *tasks: Task[..., Any], name: str = "w1", **options: Any) -> AsyncIterator[Victim]:
    """A worker that is killed at the end of the block, unless it was before."""
    bus = Mortal(await stage._make())
    ready = asyncio.Event()
    worker = Worker(bus, {task.id: task for task in tasks}, name=name, **options)  # type: ignore[arg-type]
    serving = asyncio.get_running_loop().create_task(worker.run(asyncio.Event(), ready=ready.set))
    victim = Victim(bus, serving)
    try:
        async with asyncio.timeout(5):
            await ready.wait()
        yield victim
    finally:
        await victim.kill()


async def taken(stage: Stage, handle: RunHandle) -> Run:
    """Take a run from its holder, who is dead, and offer it again: what the daemon's conductor does."""
    run = await handle.status()
    assert run.holder is not None, run.state
    reason = f"worker {run.holder.worker}: killed"
    moved = await stage.journal.move(run, interruption(run, time.time(), reason))
    answer = stage.client.bus.release if moved.offered else stage.client.bus.settle
    answer(run.holder.item)
    return moved
