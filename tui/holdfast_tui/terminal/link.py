"""An app behind a link that may be slow: frames wait for the terminal, the newest one wins.

A frame that may not be sent yet is not drawn either: the lines that it touched are remembered, and drawn as they are
when the terminal has answered. `Link` says how much of this is done.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from rich.control import Control
from rich.segment import Segment
from textual import events
from textual._ansi_sequences import SYNC_END, SYNC_START
from textual._compositor import CompositorUpdate
from textual._context import visible_screen_stack
from textual.app import App
from textual.color import Color
from textual.filter import LineFilter
from textual.geometry import Size
from textual.screen import Screen

from holdfast.core.model import Instant, Seconds
from holdfast_tui.glyphs import plain
from holdfast_tui.model.terminal import LOST, Terminal
from holdfast_tui.terminal.driver import PING, Driver
from holdfast_tui.terminal.frames import Frames

HUNG_UP = 129
"""Exit code where the terminal went away, as of a program that SIGHUP ended."""
SETTLING: Seconds = 0.02
"""At the start: what is mounted within this time is one frame."""
FULL = 8
"""Writes that the terminal has not taken, with which nothing is added."""
KEPT = 200
"""Events that a report on a crash lists."""


class Link(StrEnum):
    """What is done for the way to the terminal."""

    STOCK = "stock"
    """Nothing: frames are sent as Textual makes them."""
    PACED = "paced"
    """No frame is sent before the last but one has arrived."""
    DIFF = "diff"
    """That, and of a frame only the cells that differ from the one before."""


class Ascii(LineFilter):
    """Draws with ASCII alone."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [Segment(plain(text), style, control) for text, style, control in segments]


class Linked(App[int]):
    """An app that knows its terminal."""

    def __init__(
        self,
        *,
        link: Link = Link.DIFF,
        ascii_only: bool = False,
        monotonic: Callable[[], Instant] = time.monotonic,
    ) -> None:
        super().__init__(driver_class=Driver)
        self.link = link
        if ascii_only:
            self._filters.append(Ascii())
        self.terminal = Terminal()
        self.crash: Exception | None = None
        """What ended the app, where it was a bug."""
        self.happened: deque[str] = deque(maxlen=KEPT)
        """Events of late, oldest first; nothing that was typed into a prompt."""
        self.last_frame = ""
        """What was on the screen when the app crashed."""
        self._monotonic = monotonic
        self._frames = Frames(compare=link is Link.DIFF)
        self._later: asyncio.TimerHandle | None = None

    def send(self, text: str) -> None:
        """Send to the terminal what is no frame, such as a sequence for its clipboard; nothing where there is none."""
        if self._driver is not None and not self.is_headless:
            self._driver.write(text)
            self._driver.flush()

    @property
    def away(self) -> bool:
        """Whether the terminal is another program's just now."""
        return isinstance(self._driver, Driver) and not self._driver.taken

    def redraw(self) -> None:
        """Send everything again, whatever the terminal may show."""
        self._frames.forget()
        if self._running and self._screen_stack:
            with self._context():
                screen, below = self.screen, self._background_screens
                self._display(screen, screen._compositor.render_update(full=True, screen_stack=below))

    # --- what the driver hears ----------------------------------------------------------------------------------------

    def terminal_answered(self) -> None:
        self.terminal.answered(self._monotonic())
        self._frames_due()

    def terminal_taken(self) -> None:
        self.terminal.forget()
        self.redraw()

    def terminal_gone(self) -> None:
        self.exit(return_code=HUNG_UP)

    # --- frames -------------------------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        """Nothing is drawn before it is all there."""
        self.delay_update(SETTLING)

    def delay_update(self, delay: Seconds = 0.05) -> None:
        """As Textual's, whose timers never fire where the machine pauses just when they begin: all stayed dark."""
        self._begin_batch()
        asyncio.get_running_loop().call_later(delay, self._settled)

    def _settled(self) -> None:
        with self._context():
            self._end_batch()
            if not self._batch_count and self._screen_stack:
                self.screen.refresh()

    def _display(self, screen: Screen[Any], renderable: Any) -> None:
        """In Textual's place: what it has drawn, `renderable`, says which lines may differ."""
        if self.link is Link.STOCK or self.is_headless or not isinstance(renderable, CompositorUpdate):
            super()._display(screen, renderable)
            return
        if screen is self.screen:
            self._frames.mark(renderable, screen.size)
            self._frames_due()
        self.post_display_hook()

    def _frames_due(self) -> None:
        """Send what waits, or see to it that it is sent as soon as it may."""
        driver = self._driver
        if not isinstance(driver, Driver) or self._batch_count or not self._running or self._closed:
            return
        if not driver.taken or not self._frames.waits():
            return
        wait = LOST if driver.backlog > FULL else self.terminal.wait(self._monotonic())
        if wait == 0:
            self._send_frame()
            return
        if self._later is not None:
            self._later.cancel()
        self._later = asyncio.get_running_loop().call_later(LOST if wait is None else wait, self._frames_due)

    def _send_frame(self) -> None:
        with self._context():
            visible_screen_stack.set(self._background_screens)
            try:
                cells = self._frames.take(self.screen._compositor, self.console)
            except Exception as error:  # as Textual does: whatever a widget raises while it is drawn ends the app
                self._handle_exception(error)
                return
        if not cells:
            return
        cursor = Control.move_to(*self.screen.outer_size.clamp_offset(self.cursor_position)).segment.text
        ping = PING if self.terminal.sent(self._monotonic()) else ""
        begin, end = (SYNC_START, SYNC_END) if self._sync_available else ("", "")
        self.send(f"{begin}{cells}{cursor}{end}{ping}")

    # --- what happens -------------------------------------------------------------------------------------------------

    async def _on_resize(self, event: events.Resize) -> None:
        """A terminal that was resized shows anything, even where it has its old size again."""
        same = self._size == event.size
        await super()._on_resize(event)
        self._frames.forget()
        if same:
            self.terminal_taken()
        elif self._resize_timer is not None:  # it may never fire: see delay_update
            asyncio.get_running_loop().call_later(SETTLING, self._resized)

    def _resized(self) -> None:
        if self._resize_event is not None:
            with self._context():
                self._check_resize()

    async def on_event(self, event: events.Event) -> None:
        if not event.is_forwarded:
            self.happened.append(self.named(event))
        await super().on_event(event)

    def named(self, event: events.Event) -> str:
        """An event for a report on a crash: a key by its name, unless it is part of what somebody types."""
        name = type(event).__name__
        if isinstance(event, events.Key) and not self.typing:
            return f"{name} {event.key}"
        return f"{name} {event.size}" if isinstance(event, events.Resize) else name

    @property
    def typing(self) -> bool:
        """Whether keys are the text of a prompt just now."""
        return False

    def condition(self) -> list[str]:
        """What is known of the terminal, for a report on a crash."""
        terminal = self.terminal
        trip = "none" if terminal.trip is None else f"{terminal.trip:.3f} s"
        return [
            f"link {self.link}, {self.size.width}x{self.size.height}, {self.console.color_system} colours",
            f"answers {terminal.answers}, last round trip {trip}, synchronised frames {self._sync_available}",
        ]

    def _fatal_error(self) -> None:
        """In Textual's place, which would show the values of variables, too."""
        if self.is_headless:
            super()._fatal_error()
            return
        self.crash = self.crash or self._exception
        if self._screen_stack:
            self.last_frame = shown(self.screen)
        self._close_messages_no_wait()


def shown(screen: Screen[Any]) -> str:
    """What is on the screen, as text; empty where it cannot be drawn."""
    try:
        return "\n".join(strip.text.rstrip() for strip in screen._compositor.render_strips(Size(*screen.size)))
    except Exception as error:  # it is drawn for a report on a crash, which may be that of drawing
        return f"(it cannot be drawn: {type(error).__name__})"
