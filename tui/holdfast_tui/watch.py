"""One run under watch: heard live, read again where something was missed, and what was asked for besides.

Screens of the same run share a watch, and with it folds, cursor and what was read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

from holdfast.core.lifecycle import Kind
from holdfast.core.model import Instant
from holdfast.errors import HoldfastError, Refused
from holdfast.wire import api
from holdfast_tui.gateway import Gateway, Lost
from holdfast_tui.model.outline import ROOT, Outline
from holdfast_tui.model.pages import wanted
from holdfast_tui.model.run import Story
from holdfast_tui.model.sight import Sight

CHECK: float = 3.0
"""Seconds between looks at what the daemon has counted, while the run is open."""
NEW: float = 10.0
"""For so many seconds the daemon need not know a run that was made just now."""
ASKING = "asking the daemon ..."


class Watch:
    """What is known of a run."""

    def __init__(self, run: str, *, new: bool = False) -> None:
        """
        Args:
            new: it was made just now.
        """
        self.story = Story(run)
        self.outline = Outline(self.story)
        self.new = new
        self.view: api.RunView | None = None
        self.values: dict[str, api.Value | str] = {}
        self.why: api.Why | str | None = None
        """Why it does not run; None: nobody asked."""
        self.at = ROOT
        """The line that the cursor is on."""
        self.missing = ""
        """Why there is nothing to show."""
        self._opened_at: Instant | None = None
        self._checked_at: Instant = 0
        self._stop: Callable[[], Awaitable[None]] | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing is expected to change: it has ended, and the daemon knows."""
        return self.story.final and self.view is not None and self.view.row.finished_at is not None

    def sight(self, now: Instant, at: str) -> Sight:
        """A line and all that its pages are made from. Raises: KeyError: there is no such line."""
        return Sight(self.outline, self.outline.row(at, now), now, self.view, self.values, self.why)

    async def read(self, gateway: Gateway, now: Instant, at: str, *, explain: bool = False) -> None:
        """Listen before reading, so that nothing falls between; read the history again where something was missed.

        Args:
            at: the line whose value is read too, where the history came without it.
            explain: ask why it does not run.

        Raises: Lost; HoldfastError.
        """
        try:
            await self._read(gateway, now)
        except Refused as error:
            if self.new and error.code == "not_found" and self._just_opened(now):
                return
            self.missing = str(error)
            raise
        if explain:
            self.why = await gateway.why(self.story.id)
        if self.story.run is not None and (at == ROOT or self.outline.node(at)[0] is not None):
            await self._fetch(gateway, wanted(self.sight(now, at)))

    async def _read(self, gateway: Gateway, now: Instant) -> None:
        if self.view is None or (now - self._checked_at >= CHECK and not self.settled):
            self.view = await gateway.get(self.story.id)
            self.story.id = self.view.row.id
            self._checked_at = now
        if self._stop is None:
            self._stop = await gateway.watch(self.story.id, self._heard, self.story.missed)
            self.story.stale = True
        self.story.compare(self.view.row)
        if self.story.stale:
            self.story.load(await gateway.history(self.story.id))
            self.values.clear()

    async def _fetch(self, gateway: Gateway, name: str | None) -> None:
        if name is None or isinstance(self.values.get(name), api.Value):
            return
        try:
            self.values[name] = await gateway.value(self.story.id, name)
        except Lost:
            raise
        except HoldfastError as error:
            self.values[name] = str(error)

    def _just_opened(self, now: Instant) -> bool:
        if self._opened_at is None:
            self._opened_at = now
        return now - self._opened_at < NEW

    def _heard(self, kind: Kind, data: bytes) -> None:
        if self.story.hear(kind, data) and self.story.final:
            self._checked_at = 0

    async def stop(self) -> None:
        """Hear no more."""
        if self._stop is not None:
            stop, self._stop = self._stop, None
            with suppress(HoldfastError):  # the connection is gone, and with it what was listened to
                await stop()
