"""The operator's clipboard, also over SSH and through tmux or screen: by OSC 52, and by `tmux load-buffer -w`.

No terminal says whether it took what it was sent. Which way is open depends on the terminal and on tmux's options
(`set-clipboard`, `allow-passthrough`), so a text goes every way that might be: they all carry the same.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from base64 import b64encode
from collections.abc import Callable, Mapping

from holdfast_tui.format import clean

LIMIT = 74_994
"""Bytes that terminals take at least: 100,000 characters of base64, with what is around them."""
PIECE = 512
"""Characters between the marks of a control string that screen passes on; it drops what is longer than 768."""
PATIENCE = 1.0
"""Seconds that tmux may take."""


def copy(text: str, *, write: Callable[[str], None], env: Mapping[str, str]) -> str:
    """Put a text into the clipboard; returns what to say of it, in one line.

    What is too long for a terminal is written to a file that only the operator can read, and the file is named.

    Args:
        write: sends to the terminal, as it is.
        env: says which terminal this is: TMUX, STY, TERM.
    """
    data = text.encode("utf-8", "replace")
    if not data:
        return "nothing to copy"
    if len(data) > LIMIT:
        return f"{len(data):,} bytes are more than a terminal's clipboard takes ({LIMIT:,}): {_kept(data)}"
    write(sequences(data, env))
    if env.get("TMUX") and not _load_buffer(data, env):
        return f"{_copied(text)}; tmux took no buffer, so it may be that nothing arrived"
    return _copied(text)


def sequences(data: bytes, env: Mapping[str, str]) -> str:
    """What to send to the terminal: the plain sequence, and the one that tmux or screen passes on to theirs."""
    plain = f"\x1b]52;c;{b64encode(data).decode()}\x07"
    term = env.get("TERM", "")
    if env.get("TMUX") or term.startswith("tmux"):
        return plain + "\x1bPtmux;" + plain.replace("\x1b", "\x1b\x1b") + "\x1b\\"
    if env.get("STY") or term.startswith("screen"):
        pieces = (plain[at : at + PIECE] for at in range(0, len(plain), PIECE))
        return plain + "".join(f"\x1bP{piece}\x1b\\" for piece in pieces)
    return plain


def _load_buffer(data: bytes, env: Mapping[str, str]) -> bool:
    """Give it to tmux, which keeps it as a buffer and passes it on to its terminal."""
    command = ["tmux", "load-buffer", "-w", "-"]
    try:
        done = subprocess.run(command, input=data, env=env, capture_output=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _copied(text: str) -> str:
    if "\n" in text:
        count = text.count("\n") + (not text.endswith("\n"))
        return f"copied {count:,} lines" if count > 1 else "copied 1 line"
    return f"copied {clean(text)}" if len(text) <= 40 else f"copied {len(text):,} characters"


def _kept(data: bytes) -> str:
    try:
        handle, path = tempfile.mkstemp(prefix="holdfast-", suffix=".txt")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
    except OSError as error:
        return f"and it could not be written to a file: {error.strerror}"
    return f"it is in {path}"
