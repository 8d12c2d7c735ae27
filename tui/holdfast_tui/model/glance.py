"""What is read of the run under the cursor for the pane of a list: where it failed, its first steps, its input."""

from __future__ import annotations

import re
from collections.abc import Sequence

from holdfast.core.model import ErrorInfo
from holdfast.core.tree import Node, NodeState, Tree
from holdfast.wire import api
from holdfast_tui.format import NODES, Cell, clean, lines, plural, took

STEPS_MOST = 200
"""Of a run with more steps the history is not read for a glance."""
SHOWN = 8
"""So many steps are shown at most."""
INPUT = 12
"""So many lines of the input are shown at most."""

_FOLDERS = re.compile(r".*[/\\]")
_FRAME = re.compile(r'^\s*File "([^"]+)", line (\d+), in (.+)$', re.MULTILINE)


def glance(view: api.RunView, history: api.History | None) -> list[Cell]:
    """Lines for the pane, section by section."""
    tree = None if history is None else Tree.of(entry for message in history.messages for entry in message.entries)
    cells: list[Cell] = []
    if view.error is not None:
        at = _failed_at(tree.roots) if tree is not None else ""
        cells += [("", ""), (f"error at {at}" if at else "error", "title"), *_error(view.error)]
    if tree is not None and tree.roots:
        cells += [("", ""), *_steps(tree.roots)]
    if view.payload and view.payload != "{}":
        given = lines(view.payload)
        size = len(view.payload.encode())
        cells += [("", ""), (f"input  {size:,} B", "title"), *((line, "") for line in given[:INPUT])]
        if len(given) > INPUT:
            cells.append((f"... {len(given) - INPUT:,} more lines: enter", "dim"))
    return cells


def _error(error: ErrorInfo) -> list[Cell]:
    cells: list[Cell] = [(f" {line}", "fail") for line in lines(f"{error.type}: {error.message}".removesuffix(": "))]
    if place := error_place(error.traceback):
        cells.append((f" {clean(place)}", ""))
    return cells


def error_place(traceback: str) -> str:
    """The innermost frame of a traceback: `payments.py:212 in capture`; empty where there is none."""
    found = _FRAME.findall(traceback)
    if not found:
        return ""
    file, line, function = found[-1]
    return f"{_FOLDERS.sub('', file)}:{line} in {function}"


def _failed_at(roots: Sequence[Node]) -> str:
    """The step that failed last, by its name."""
    for number, node in reversed(list(enumerate(roots, 1))):
        if node.stands is NodeState.FAILED:
            return f"step {number} '{clean(node.name)}'"
    return ""


def _steps(roots: Sequence[Node]) -> list[Cell]:
    """The first steps and the last: what a run did first, and where it stands."""
    kept = sum(node.stands is NodeState.OK for node in roots)
    cells: list[Cell] = [(f"steps {len(roots):,}   done {kept:,}", "title")]
    shown = list(roots) if len(roots) <= SHOWN else [*roots[: SHOWN // 2], *roots[-SHOWN // 2 + 1 :]]
    for number, node in enumerate(shown):
        if len(roots) > SHOWN and number == SHOWN // 2:
            cells.append((f"│ ... {plural(len(roots) - len(shown), 'step')} between", "dim"))
        word, role = NODES[node.stands]
        tries = f" x{len(node.tries) + 1}" if node.tries else ""
        guide = "└" if number == len(shown) - 1 else "├"
        cells.append((f"{guide} {word:<6} {clean(node.name):<16} {took(node.took):>6}{tries}", role))
    return cells
