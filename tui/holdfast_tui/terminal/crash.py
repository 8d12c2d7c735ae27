"""The report on a crash: what was on the screen and what led there, in a file that only the operator can read."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TextIO

from holdfast_tui.terminal.link import Linked

PACKAGES = ("holdfast", "textual", "rich")
TOLD = ("TERM", "TERM_PROGRAM", "TERM_PROGRAM_VERSION", "COLORTERM", "LANG", "SSH_TTY", "TMUX", "STY")
"""Variables that say which terminal it was."""


def report(desk: Linked, *, env: Mapping[str, str], to: TextIO | None = None) -> None:
    """Say in two lines what happened and where the report is; the terminal is the shell's again."""
    to = to or sys.stderr
    error = desk.crash
    said = "".join(traceback.format_exception_only(error)).strip().splitlines() if error is not None else ["unknown"]
    print(f"holdfast: the desk ended because of a bug: {said[-1]}", file=to)
    try:
        handle, path = tempfile.mkstemp(prefix="holdfast-crash-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text(desk, env))
    except OSError as failed:
        print(f"holdfast: a report could not be written: {failed.strerror}", file=to)
    else:
        print(f"holdfast: to report it, read and send {path}; what was on the screen is in it", file=to)


def text(desk: Linked, env: Mapping[str, str]) -> str:
    """The report."""
    parts = {
        "versions": "\n".join([*map(_version, PACKAGES), f"python {platform.python_version()}, {platform.platform()}"]),
        "terminal": "\n".join([*desk.condition(), *(f"{name}={env[name]}" for name in TOLD if name in env)]),
        "error": "".join(traceback.format_exception(desk.crash)) if desk.crash is not None else "",
        f"last {len(desk.happened)} events": "\n".join(desk.happened),
        "last frame": desk.last_frame,
    }
    return "\n".join(f"== {title}\n{body.rstrip()}\n" for title, body in parts.items())


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:  # run from a checkout
        return f"{package} of a checkout"
