"""The desk within a real tmux: keys, a filter, two sizes, and the shell's screen back at the end."""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tui.terminals import terminal


@pytest.mark.skipif(shutil.which("tmux") is None, reason="expected tmux on the PATH")
def test_the_desk_works_within_tmux() -> None:
    name = f"holdfast-{uuid.uuid4().hex[:8]}"
    program = Path(__file__).with_name("stand.py")
    shell = f"echo BEFORE; {sys.executable} {program} '' '{{}}'; echo AFTER $?; read line"
    command = ["tmux", "-L", name, "-f", "/dev/null", "new-session", shell]
    try:
        with terminal(command, size=(80, 25)) as outside:  # tmux has a line of its own
            outside.shows("> audit-export")
            outside.type("j")
            outside.shows("> billing")
            outside.type("2")
            outside.shows("│ Runs")
            outside.type("/charge")
            outside.shows("/charge")
            outside.type("\r")
            outside.until(lambda: "send-welcome" not in outside.text and "charge-card" in outside.text, "the filter")
            outside.resize(120, 37)
            outside.until(lambda: any("│" in line[75:90] for line in outside.screen.display[3:20]), "the pane")
            outside.resize(80, 25)
            outside.until(lambda: "│" not in outside.screen.display[10], "no pane")
            outside.type("1")
            outside.shows("> billing")
            outside.type("\x03")
            outside.shows("AFTER 0")
            assert outside.text.startswith("BEFORE")
            assert "billing" not in outside.text
    finally:
        subprocess.run(["tmux", "-L", name, "kill-server"], capture_output=True, check=False)
