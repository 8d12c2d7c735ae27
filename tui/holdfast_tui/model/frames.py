"""An error for reading: what it says, where it was raised with the source line, and the calls that led there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from holdfast.core.model import ErrorInfo
from holdfast_tui.format import Cell, clean, error_name, lines

FRAME = re.compile(r'  File "(?P<file>.*)", line (?P<line>\d+)(?:, in (?P<where>.*))?')
CARETS = re.compile(r"\s*[~^]+[~^\s]*")


class Frame(NamedTuple):
    """A call in a traceback."""

    file: str
    line: int
    where: str
    source: tuple[str, ...]
    """The lines of the statement, as far as they were there to be read."""

    @property
    def place(self) -> str:
        """Short: the file without its folders."""
        name = re.split(r"[/\\]", self.file)[-1]
        return f"{name}:{self.line}" + (f" in {self.where}" if self.where else "")


def frames(traceback: str) -> Sequence[Frame] | None:
    """The calls of a plain traceback, outermost first; None where it says more than that: causes, groups."""
    found: list[Frame] = []
    rest = traceback.rstrip().splitlines()
    if not rest or not rest[0].startswith("Traceback "):
        return None
    for at, line in enumerate(rest[1:], 1):
        if (match := FRAME.fullmatch(line)) is not None:
            found.append(Frame(match["file"], int(match["line"]), match["where"] or "", ()))
        elif line.startswith("    ") and found:
            if not CARETS.fullmatch(line):
                found[-1] = found[-1]._replace(source=(*found[-1].source, line[4:]))
        elif line.startswith("  [Previous line repeated") and found:
            found[-1] = found[-1]._replace(source=(*found[-1].source, line.strip()))
        else:
            return found if found and _is_end(rest[at:]) else None
    return found or None


def _is_end(rest: Sequence[str]) -> bool:
    """Whether nothing but the error itself stands there: its type and message, which may have lines of its own."""
    return not any(line.startswith(("Traceback ", "  File ", "  | ")) for line in rest)


def told(error: ErrorInfo | None) -> list[Cell]:
    """The error, the statement that raised it, then the calls from the innermost out."""
    if error is None:
        return []
    head = f"{error_name(error.type)}: {error.message}".removesuffix(": ")
    cells: list[Cell] = [(line, "fail") for line in lines(head)]
    found = frames(error.traceback) if error.traceback else None
    if found is None:
        return cells + [(line, "") for line in lines(error.traceback.rstrip()) if error.traceback]
    last, *outer = reversed(found)
    cells.append((clean(last.place), ""))
    cells += _source(last, ">")
    for frame in outer:
        cells.append((clean(f"called from {frame.place}"), "dim"))
        cells += _source(frame, " ")
    if "." in error.type:
        cells.append((clean(f"type {error.type}"), "dim"))
    return cells


def _source(frame: Frame, mark: str) -> list[Cell]:
    """The statement, with the number of its line."""
    shown: list[Cell] = []
    for at, text in enumerate(frame.source):
        head = f"{mark} {frame.line:>4}   " if not at else " " * 9
        shown.append((head + clean(text), "" if mark == ">" else "dim"))
    return shown


def short(error: ErrorInfo) -> str:
    """An error on one line."""
    first = (error.message.splitlines() or [""])[0]
    return clean(f"{error_name(error.type)}: {first}".removesuffix(": "))
