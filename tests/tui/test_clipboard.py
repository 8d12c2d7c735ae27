"""Copying: what is sent to which terminal, what is too long, and a real tmux."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
import uuid
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast_tui.terminal import clipboard
from holdfast_tui.terminal.clipboard import LIMIT, copy, sequences
from tui.terminals import Terminal, terminal

PLAIN = re.compile(r"\x1b\]52;c;([A-Za-z0-9+/=]*)\x07")


def copied(text: str, **env: str) -> tuple[str, str]:
    """What is said, and what the terminal was sent."""
    sent: list[str] = []
    return copy(text, write=sent.append, env=env), "".join(sent)


def test_a_text_goes_to_the_terminal_as_it_is() -> None:
    said, sent = copied("01HF8Q é\n", TERM="xterm-256color")
    found = PLAIN.fullmatch(sent)
    assert found is not None
    assert b64decode(found.group(1)).decode() == "01HF8Q é\n"
    assert said == "copied 1 line"


@pytest.mark.parametrize("env", [{"TMUX": "/tmp/none,1,0", "PATH": ""}, {"TERM": "tmux-256color"}])
def test_within_tmux_it_is_also_sent_for_the_terminal_around_it(env: dict[str, str]) -> None:
    _, sent = copied("id", **env)
    assert sent == "\x1b]52;c;aWQ=\x07\x1bPtmux;\x1b\x1b]52;c;aWQ=\x07\x1b\\"


@pytest.mark.parametrize("env", [{"STY": "1.pts", "TERM": "xterm"}, {"TERM": "screen-256color"}])
def test_within_screen_it_is_also_sent_in_pieces_that_screen_takes(env: dict[str, str]) -> None:
    text = "payload " * 200
    plain = sequences(text.encode(), {})
    sent = sequences(text.encode(), env)
    assert sent.startswith(plain)
    pieces = re.findall(r"\x1bP(.*?)\x1b\\", sent[len(plain) :], re.DOTALL)
    assert "".join(pieces) == plain
    assert max(map(len, pieces)) <= 768


def test_what_is_said_names_a_short_text_and_counts_a_long_one() -> None:
    assert copied("holdfast runs list")[0] == "copied holdfast runs list"
    assert copied("x" * 1234)[0] == "copied 1,234 characters"
    assert copied("a\nb\nc")[0] == "copied 3 lines"
    assert copied("\x1b[2J")[0] == "copied ␛[2J"
    assert copied("") == ("nothing to copy", "")


def test_the_longest_text_is_sent_and_a_longer_one_is_kept_in_a_private_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clipboard.tempfile, "tempdir", str(tmp_path))
    assert len(copied("x" * LIMIT)[1]) < 100_010
    said, sent = copied("x" * (LIMIT + 1))
    assert sent == ""
    (file,) = tmp_path.iterdir()
    assert said == f"74,995 bytes are more than a terminal's clipboard takes (74,994): it is in {file}"
    assert file.read_text() == "x" * (LIMIT + 1)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clipboard.tempfile, "tempdir", str(tmp_path / "none"))
    said, _ = copied("x" * 2_000_000)
    assert said.startswith(
        "2,000,000 bytes are more than a terminal's clipboard takes (74,994): and it could not be written"
    )


def test_a_tmux_that_is_not_there_is_said() -> None:
    said, _ = copied("id", TMUX="/tmp/none,1,0", PATH="/nowhere")
    assert said == "copied id; tmux took no buffer, so it may be that nothing arrived"


# --- a real tmux ------------------------------------------------------------------------------------------------------

needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="expected tmux on the PATH")

COPY = """
import os, sys
sys.path[:0] = {paths!r}
from holdfast_tui.terminal.clipboard import copy
print(copy("run 01HF8Q", write=lambda text: print(text, end="", flush=True), env=os.environ))
input()
"""


class Tmux:
    """A server of our own and a client of it in a terminal."""

    def __init__(self, name: str) -> None:
        self.name = name

    def ask(self, *words: str) -> str:
        done = subprocess.run(["tmux", "-L", self.name, *words], capture_output=True, text=True, check=True)
        return done.stdout


@pytest.fixture
def tmux() -> Iterator[Tmux]:
    server = Tmux(f"holdfast-{uuid.uuid4().hex[:8]}")
    yield server
    subprocess.run(["tmux", "-L", server.name, "kill-server"], capture_output=True, check=False)


@needs_tmux
@pytest.mark.parametrize("option", ["set-clipboard external", "set-clipboard on", "allow-passthrough on"])
def test_a_copy_within_tmux_reaches_its_buffer_and_the_terminal_around_it(
    tmux: Tmux, option: str, tmp_path: Path
) -> None:
    rules = tmp_path / "tmux.conf"
    rules.write_text(f"set -g {option}\n")
    program = tmp_path / "copy.py"
    program.write_text(COPY.format(paths=[path for path in sys.path if path]))
    command = ["tmux", "-L", tmux.name, "-f", str(rules), "new-session", f"{sys.executable} {program}"]
    with terminal(command) as outside:
        outside.shows("copied run 01HF8Q")
        outside.until(lambda: arrived(outside), "the clipboard's sequence")
        assert tmux.ask("show-buffer") == "run 01HF8Q"


def arrived(outside: Terminal) -> list[str]:
    return [
        found for found in PLAIN.findall(outside.data.decode(errors="replace")) if b64decode(found) == b"run 01HF8Q"
    ] or re.findall(r"\x1b\]52;[^;]*;cnVuIDAxSEY4UQ==", outside.data.decode(errors="replace"))
