"""What the pane of a run is made from: the line under the cursor, and what was read of its run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from holdfast.core.model import Instant
from holdfast.wire import api
from holdfast_tui.model.outline import ROOT, NodeRow, Outline
from holdfast_tui.model.run import Story

PAYLOAD, RESULT = "", ROOT
"""What `runs.value` calls a run's payload and its result; any other name is a checkpoint's."""


class Sight(NamedTuple):
    """What the pages are made from."""

    outline: Outline
    row: NodeRow
    now: Instant
    view: api.RunView | None = None
    values: Mapping[str, api.Value | str] = {}
    """What was asked for of the daemon, by checkpoint, `PAYLOAD` or `RESULT`; a text says why there is none yet."""
    why: api.Why | str | None = None
    """Why it does not run, as the daemon says, once that was asked; a text says why there is none yet."""

    @property
    def story(self) -> Story:
        return self.outline.story

    @property
    def key(self) -> str:
        """The checkpoint that the line is of; ROOT: the task itself."""
        return ROOT if self.row.node is None else self.row.node.key
