"""Files of what a screen shows: asked for by name, written with progress, stopped by esc."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from holdfast.errors import HoldfastError
from holdfast_tui import router, writing
from holdfast_tui.format import clean, plural
from holdfast_tui.screens.page import Page


class Filing(Page):
    """A screen whose rows can be written to a file."""

    row_type: ClassVar[type[msgspec.Struct]]
    """What its rows are."""
    noun: ClassVar[str]
    """What a row is called."""

    def pages(self) -> AsyncIterator[Sequence[Any]]:
        """All rows that the filter shows, page by page, in the order shown. Raises: HoldfastError."""
        raise NotImplementedError

    def command_export(self, name: str) -> None:
        """Write all that match to the file that is named, or ask for one. Raises: ValueError: it can't be written."""
        if name:
            self._named(name)
        else:
            self.do_write()

    def do_write(self) -> None:
        """Ask for a file's name, and write all that match to it."""
        text = f"Write all {self.noun}s that are shown here to a file: .csv, .jsonl or .parquet"
        self.fill(text, "file", f"{self.kind}.csv", self._named)

    def _named(self, name: str) -> None:
        path = writing.target(name)
        if path.exists():
            choices = (("y", "write over it"), ("n", "leave it"))
            self.pick(f"{clean(str(path))} is there already", choices, partial(self._over, path))
        else:
            self._begin_writing(path)

    def _over(self, path: Path, answer: str) -> None:
        if answer == "y":
            self._begin_writing(path)
        else:
            self.say("nothing was written")

    def _begin_writing(self, path: Path) -> None:
        self.state = router.sending()
        self._sender = self.run_worker(self._write(path), group="send", exit_on_error=True)

    async def _write(self, path: Path) -> None:
        outcome = ("stopped: nothing was written", "warn")
        try:
            self._wrote(path, 0)
            count = await writing.write(path, self.row_type, self.pages(), partial(self._wrote, path))
            outcome = (f"{plural(count, self.noun)} written to {path}", "")
        except (HoldfastError, ValueError) as error:
            outcome = (f"nothing was written: {error}", "fail")
        finally:
            self.state = router.NORMAL
            self.say(*outcome)
            self.paint()

    def _wrote(self, path: Path, count: int) -> None:
        self.say(f"writing {path}: {plural(count, self.noun)}  (esc stops)")
        self.paint()
