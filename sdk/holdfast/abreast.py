"""Many calls at a time, but not all at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import anyio


async def abreast(calls: Iterable[Callable[[], Awaitable[object]]], most: int) -> None:
    """Make all of these calls, at most so many at a time; begun in order. The first that raises ends the others."""
    limit = anyio.CapacityLimiter(most)

    async def one(call: Callable[[], Awaitable[object]]) -> None:
        async with limit:
            await call()

    async with anyio.create_task_group() as tasks:
        for call in calls:
            tasks.start_soon(one, call)
