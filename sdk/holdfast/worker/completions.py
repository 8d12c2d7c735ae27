"""`asyncio.as_completed` inside a run: which branch came when is an outcome too; a resume hands out the same order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any

from holdfast.worker.limits import Limit

Chosen = Callable[[str, Callable[[], Awaitable[Any]]], Coroutine[Any, Any, Any]]
"""Records what was chosen among the branches, or recalls it."""


class Completions:
    """Hands out branches in the order in which they completed; iterated by `for` or `async for`, once."""

    def __init__(self, scope: str, branches: list[Awaitable[Any]], limit: Callable[[], Limit], chosen: Chosen) -> None:
        self._scope = scope
        self._tasks = [asyncio.ensure_future(branch) for branch in branches]
        self._done: list[int] = []
        """In the order of their completion."""
        for index, task in enumerate(self._tasks):
            task.add_done_callback(lambda _, index=index: self._done.append(index))  # type: ignore[misc]
        self._handed: set[int] = set()
        self._limit = limit
        self._chosen = chosen

    def __iter__(self) -> Iterator[Awaitable[Any]]:
        for turn in range(1, len(self._tasks) + 1):
            yield Next(self._result(turn))

    async def __aiter__(self) -> AsyncIterator[asyncio.Future[Any]]:
        for turn in range(1, len(self._tasks) + 1):
            yield await self._task(turn)

    async def _result(self, turn: int) -> Any:
        return await (await self._task(turn))

    async def _task(self, turn: int) -> asyncio.Future[Any]:
        index = await self._chosen(f"{self._scope}/completed#{turn}", self._first)
        self._handed.add(index)
        task = self._tasks[index]
        await asyncio.wait([task])
        return task

    async def _first(self) -> int:
        """The index of a branch that has completed and was not handed out."""
        async with self._limit():
            while not (ready := [index for index in self._done if index not in self._handed]):
                pending = [task for index, task in enumerate(self._tasks) if index not in self._handed]
                await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.sleep(0)  # its own callback comes after
        self._handed.add(ready[0])  # at once: others may be waiting for a turn too
        return ready[0]


class Next(Awaitable[Any]):
    """What `for` yields: awaiting it gives the next result. No checkpoint of its own: the order and the branch are."""

    def __init__(self, result: Coroutine[Any, Any, Any]) -> None:
        self._result = result

    def __await__(self) -> Any:
        return self._result.__await__()

    def __del__(self) -> None:
        self._result.close()
