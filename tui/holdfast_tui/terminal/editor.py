"""The operator's own editor: `$VISUAL` or `$EDITOR` on a text, with the terminal to itself until it ends."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from textual.app import App, SuspendNotSupported

UNCHANGED = "nothing was changed"


class Edited(NamedTuple):
    """What came back from the editor: a text, or why there is none."""

    text: str | None
    why: str = ""
    """One line where there is no text: no editor, its exit code, nothing changed."""


def command(env: Mapping[str, str]) -> list[str]:
    """VISUAL, else EDITOR, with its arguments; empty where neither is set. Raises: ValueError: a quote is left open."""
    return shlex.split(env.get("VISUAL", "").strip() or env.get("EDITOR", "").strip())


async def edit(app: App[Any], text: str, *, env: Mapping[str, str], name: str = "payload.json") -> Edited:
    """Let the operator change a text in the editor of the environment.

    The app leaves the terminal meanwhile, but lives on: its connections are kept. The text lies in a file that only
    the operator can read, in a directory of its own that is removed at the end with all that the editor left there.

    Args:
        name: of the file; editors choose by its ending how they show it.
    """
    try:
        words = command(env)
    except ValueError as error:
        return Edited(None, f"VISUAL or EDITOR: expected a command, found {str(error).lower()}")
    if not words:
        return Edited(None, "no editor: set VISUAL or EDITOR, as in EDITOR=vim")
    if shutil.which(words[0], path=env.get("PATH")) is None:
        return Edited(None, f"no program {words[0]!r}, which VISUAL or EDITOR names")
    try:
        with tempfile.TemporaryDirectory(prefix="holdfast-", ignore_cleanup_errors=True) as directory:
            file = Path(directory) / name
            file.write_text(text, encoding="utf-8", newline="")
            code = await _run(app, [*words, str(file)], env)
            return _result(Path(words[0]).name, code, text, file)
    except SuspendNotSupported:
        return Edited(None, "this terminal cannot be left to an editor")
    except OSError as error:
        return Edited(None, f"{words[0]} could not be started: {error.strerror}")


async def _run(app: App[Any], words: Sequence[str], env: Mapping[str, str]) -> int:
    """Its exit code. Nothing is raised while the terminal is left: the app would not come back to it."""
    failed: BaseException | None = None
    code = 0
    with app.suspend(), _keyboard_of_another():
        try:
            editor = await asyncio.create_subprocess_exec(*words, env=env)
            code = await _end(editor)
        except (OSError, asyncio.CancelledError) as error:
            failed = error
    if failed is not None:
        raise failed
    return code


async def _end(editor: asyncio.subprocess.Process) -> int:
    """Its exit code. Where the desk ends first, so does the editor."""
    try:
        return await editor.wait()
    finally:
        if editor.returncode is None:
            editor.terminate()


@contextmanager
def _keyboard_of_another() -> Iterator[None]:
    """Keys that become signals are for the editor, which shares the terminal: here they do nothing.

    A handler, not SIG_IGN: a program that is started gets the default back for the first only. A loop that handles a
    signal hears of it all the same: it asks `Linked.away`.
    """
    before = {each: signal.signal(each, lambda *_: None) for each in (signal.SIGINT, signal.SIGQUIT)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _result(program: str, code: int, before: str, file: Path) -> Edited:
    if code < 0:
        return Edited(None, f"{program} was ended by {signal.Signals(-code).name}: nothing was taken over")
    if code:
        return Edited(None, f"{program} ended with exit code {code}: nothing was taken over")
    try:
        after = file.read_bytes().decode()
    except FileNotFoundError:
        return Edited(None, f"{program} left no file: nothing was taken over")
    except UnicodeDecodeError as error:
        return Edited(None, f"expected UTF-8 text from {program}, found byte {error.start} to be something else")
    if not before.endswith("\n"):
        after = after.removesuffix("\n")  # which editors add
    return Edited(None, UNCHANGED) if after == before else Edited(after)
