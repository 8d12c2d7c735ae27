"""`asyncio.as_completed` inside a run: which branch came when is an outcome too; a resume hands out the same order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any

Checkpoint = Callable[[str, Callable[[], Awaitable[Any]]], Coroutine[Any, Any, Any]]


class Completions:
    """Hands out branches in the order in which they completed; iterated by `for` or `async for`, once."""

    def __init__(
        self, scope: str, branches: list[Awaitable[Any]], timeout: float | None, checkpoint: Checkpoint
    ) -> None:
        self._scope = scope
        self._tasks = [asyncio.ensure_future(branch) for branch in branches]
        self._handed: set[int] = set()
        self._checkpoint = checkpoint
        self._deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout

    def __iter__(self) -> Iterator[Awaitable[Any]]:
        for turn in range(1, len(self._tasks) + 1):
            yield Next(self._result(turn))

    async def __aiter__(self) -> AsyncIterator[asyncio.Future[Any]]:
        for turn in range(1, len(self._tasks) + 1):
            yield await self._task(turn)

    async def _result(self, turn: int) -> Any:
        return await (await self._task(turn))

    async def _task(self, turn: int) -> asyncio.Future[Any]:
        index = await self._checkpoint(f"{self._scope}/completed#{turn}", self._first)
        self._handed.add(index)
        task = self._tasks[index]
        await asyncio.wait([task])
        return task

    async def _first(self) -> int:
        """The index of a branch that has completed and was not handed out."""
        left = None if self._deadline is None else max(0.0, self._deadline - asyncio.get_running_loop().time())
        pending = [task for index, task in enumerate(self._tasks) if index not in self._handed]
        done, _ = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            raise TimeoutError
        return next(index for index, task in enumerate(self._tasks) if task in done)


class Next(Awaitable[Any]):
    """What `for` yields: awaiting it gives the next result. No checkpoint of its own: the order and the branch are."""

    def __init__(self, result: Coroutine[Any, Any, Any]) -> None:
        self._result = result

    def __await__(self) -> Any:
        return self._result.__await__()

    def __del__(self) -> None:
        self._result.close()
