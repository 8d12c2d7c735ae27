"""The output of runs as it comes, each line once and in order, over lost connections and restarts of the daemon.

What comes is held against the sequences (`model.tail`). A gap is followed again from before it; what the stream does
not have any more is read of the daemon's history; only what is not there either is left out, and counted.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Protocol

import anyio

from holdfast.core.model import Seconds
from holdfast.errors import HoldfastError
from holdfast.wire.api import LogRow, LogsPage, LogsQuery
from holdfast_tui.gateway import Lost
from holdfast_tui.model.ring import place
from holdfast_tui.model.tail import Gap, Tail

PAUSE: Seconds = 1.0
"""Before a feed that was lost is begun again."""
PAGE = 5_000
PAGES = 20
"""How much of a gap is read of the history at most, its newest part."""


class Source(Protocol):
    """Where lines come from; `gateway.Gateway` is one."""

    def follow_output(self, *, run: str, after: int) -> AsyncGenerator[list[LogRow], None]:
        """Lines behind a sequence, as they come. Raises: Lost."""

    async def logs(self, query: LogsQuery) -> LogsPage:
        """A page of the history. Raises: Lost; HoldfastError."""


class Feed:
    """Follows the output of a run, or of all."""

    def __init__(
        self, source: Source, tail: Tail, take: Callable[[Sequence[LogRow]], None], *, run: str = "",
        pause: Seconds = PAUSE,
    ) -> None:  # fmt: skip
        self.tail = tail
        self.missing = 0
        """Messages that are neither in the stream nor in the history."""
        self._source = source
        self._take = take
        self._run = run
        self._pause = pause

    async def follow(self) -> None:
        """Take what comes, until cancelled. Raises: HoldfastError: it is refused."""
        again: Gap | None = None
        while True:
            try:
                gap = await self._until_gap()
                if gap is not None and gap == again:
                    await self._fill(gap)
                again = gap
            except Lost:
                await anyio.sleep(self._pause)

    async def _until_gap(self) -> Gap | None:
        async with aclosing(self._source.follow_output(run=self._run, after=self.tail.last)) as lists:
            async for rows in lists:
                taken = self.tail.take(rows)
                if taken.rows:
                    self._take(taken.rows)
                if taken.gap is not None:
                    return taken.gap
        return None

    async def _fill(self, gap: Gap) -> None:
        """Read of the history what the stream does not have any more, as far as the daemon answers."""
        found: list[LogRow] = []
        before = (gap.before, 0)
        with suppress(HoldfastError):
            for _ in range(PAGES):
                query = LogsQuery(run=self._run, after=gap.after, before=before, stored=True, limit=PAGE)
                page = await self._source.logs(query)
                found[:0] = page.rows
                if not page.more or not page.rows:
                    break
                before = place(page.rows[0])
        self.missing += gap.before - gap.after - 1 - len({row.seq for row in found})
        if found:
            self._take(found)
        self.tail.seen(found)
        self.tail.excuse(Gap(self.tail.last, gap.before))
