"""What went wrong with a look, for whoever has to find out why: what was asked, what was answered, the trace."""

from __future__ import annotations

import traceback
from typing import NamedTuple

from holdfast.core.model import Instant
from holdfast_tui.format import clean, date, lines


class Failure(NamedTuple):
    """A read that failed."""

    asked: str
    """The gateway's name for what was asked; empty: nothing was."""
    error: Exception
    at: Instant

    @property
    def text(self) -> str:
        """All of it as lines, clean."""
        cause = self.error.__cause__ or self.error
        told = [
            f"asked   {self.asked or 'nothing: there is no connection'}",
            f"at      {date(self.at)}",
            f"error   {type(cause).__module__}.{type(cause).__qualname__}",
            *(f"        {line}" for line in lines(str(cause))),
            "",
            *(line for part in traceback.format_exception(self.error) for line in lines(part.rstrip("\n"))),
        ]
        return "\n".join(map(clean, told))


def failed(error: Exception, at: Instant) -> Failure:
    """A failure, with what of the gateway was called."""
    steps = [frame.name for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith("gateway.py")]
    return Failure(next((name for name in reversed(steps) if not name.startswith(("_", "<"))), ""), error, at)
