"""The desk in a real terminal: what it sends, how it ends, and what it leaves behind."""

from __future__ import annotations

import os
import re
import signal
import stat
import sys
import termios
from pathlib import Path

import pytest

from tui.terminals import Stand, stand

PINGS = re.compile(rb"\x1b\[6n")
LEFT = b"\x1b[?1049l"
"""The shell's screen is back."""

SLACK = 1.15
"""What a budget may be exceeded by: a clock that is a column wider, a count with one more digit."""


def budget(found: bytes, most: int) -> None:
    assert len(found) <= most * SLACK, (len(found), found)


# --- bytes ------------------------------------------------------------------------------------------------------------


def test_what_is_sent_for_each_key_and_change() -> None:
    with stand(link="diff") as desk:
        budget(bytes(desk.terminal.data), 9000)
        budget(desk.press("j"), 300)
        budget(desk.do("change", 5), 800)
        budget(desk.press("2"), 6000)
        budget(desk.press("j"), 300)
        budget(desk.press("\x06"), 1600)
        budget(desk.press("G"), 1600)
        budget(desk.press("/"), 150)
        budget(desk.press("a"), 150)
        desk.press("\x1b")
        budget(desk.do("change", 200), 4100)
        budget(desk.press("1"), 6000)
        budget(desk.do("open", 2895), 4200)


@pytest.mark.parametrize("link", ["stock", "diff"])
def test_nothing_is_sent_where_nothing_changes(link: str) -> None:
    with stand(link=link) as desk:
        for section in "1234":
            desk.press(section)
            assert b"".join(desk.do("tick") for _ in range(5)) == b""


def test_a_clock_that_moves_sends_its_own_columns_only() -> None:
    with stand() as desk:
        budget(desk.do("clock", 1), 60)


def test_moving_the_mouse_sends_nothing_and_a_click_moves_the_cursor() -> None:
    with stand() as desk:
        assert b"\x1b[?1000h" in desk.terminal.data
        assert b"\x1b[?1003h" not in desk.terminal.data
        desk.terminal.type("\x1b[<0;10;6M\x1b[<0;10;6m")
        desk.terminal.until(lambda: desk.terminal.screen.display[5].startswith("> emails"))


def test_a_terminal_that_is_asked_for_no_mouse_keeps_its_own() -> None:
    with stand(mouse=False) as desk:
        assert b"\x1b[?1000h" not in desk.terminal.data


# --- pace -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["paced", "diff"])
def test_no_more_than_two_frames_are_under_way_and_the_newest_wins(link: str) -> None:
    with stand(link=link) as desk:
        desk.terminal.answering = False
        desk.terminal.unanswered.clear()
        desk.do("rush", 10)
        assert desk.terminal.unanswered == [b"\x1b[6n"] * 2
        assert "emails        PAUSED   18.2k" in desk.terminal.text
        desk.terminal.answering = True
        desk.terminal.answer()
        desk.do("settle")
        assert "> audit-export  ok          10 " in desk.terminal.text


def test_a_terminal_that_never_answers_is_still_kept_up_to_date() -> None:
    with stand(answering=False) as desk:
        desk.press("2")
        desk.terminal.shows("Runs")
        desk.press("j", "j", "1")
        desk.terminal.shows("Queues")
        assert len(PINGS.findall(desk.terminal.data)) <= 2


def test_a_slow_terminal_is_said_to_be_slow_and_what_helps_is_said_once() -> None:
    with stand(lag=0.8) as desk:
        desk.press("j")
        desk.terminal.until(lambda: desk.do("tick") and "SLOW terminal" in desk.terminal.text, "SLOW")
        desk.terminal.shows("`ssh -C`")
        desk.press("j")
        desk.do("tick")
        assert "ssh -C" not in desk.terminal.text


# --- other programs in the terminal -----------------------------------------------------------------------------------


def test_an_editor_gets_the_terminal_and_the_desk_draws_all_of_it_again(tmp_path: Path) -> None:
    editor = script(tmp_path, 'print("EDITING", input() + "|" + sys.argv[1][-12:]); open(sys.argv[1], "a").write("?")')
    with stand(env={"VISUAL": "", "EDITOR": f"{sys.executable} {editor}"}) as desk:
        before = desk.terminal.text
        desk.do("edit", '{"a": 1}')
        desk.terminal.received(LEFT)
        desk.terminal.type("hello\r")
        desk.terminal.received(b"EDITING hello|payload.json")
        desk.terminal.shows("edited '{\"a\": 1}?'")
        desk.do("settle")
        assert desk.terminal.text.splitlines()[:22] == before.splitlines()[:22]
        script(
            tmp_path,
            "from signal import *\npthread_sigmask(SIG_BLOCK, {SIGINT})\n"  # it may come at once
            'print("HERE", flush=True)\nsigwait({SIGINT})\nsys.exit(130)',
        )
        desk.do("edit", "text")
        desk.terminal.received(b"HERE")
        desk.terminal.type("\x03")
        desk.terminal.shows("ended with exit code 130")
        desk.press("j")
        assert "> billing" in desk.terminal.text


def test_an_editor_that_gives_no_text_is_said(tmp_path: Path) -> None:
    codes = {
        "sys.exit(3)": "ended with exit code 3: nothing was taken",
        'open(sys.argv[1], "a").write("\\n")': "nothing was changed",
        "import os; os.remove(sys.argv[1])": "left no file",
        'open(sys.argv[1], "wb").write(b"\\xff")': "expected UTF-8 text",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)": "was ended by SIGKILL",
    }
    with stand(env={"VISUAL": f"{sys.executable} {script(tmp_path, '')}"}) as desk:
        for code, said in codes.items():
            script(tmp_path, code)
            desk.do("edit", "text")
            desk.terminal.shows(said)
            desk.press("j")
            assert said not in desk.terminal.text


def test_after_being_stopped_and_continued_all_is_drawn_again() -> None:
    with stand() as desk:
        before = desk.terminal.text
        os.kill(desk.terminal.process.pid, signal.SIGTSTP)
        desk.terminal.received(LEFT)
        desk.terminal.until(lambda: stopped(desk.terminal.process.pid), "the stop")
        desk.terminal.screen.reset()
        os.kill(desk.terminal.process.pid, signal.SIGCONT)
        desk.terminal.until(lambda: desk.terminal.text == before, "the screen of before")


def test_ctrl_l_draws_all_again() -> None:
    with stand() as desk:
        before = desk.terminal.screen.cells()
        desk.terminal.screen.reset()
        desk.press("\x0c")
        assert desk.terminal.screen.cells() == before


def test_a_terminal_may_become_tiny_and_large_again() -> None:
    with stand(env={"COLUMNS": "80", "LINES": "24"}) as desk:
        before = desk.terminal.screen.cells()
        desk.terminal.resize(20, 5)
        desk.do("size", 20, 5)
        assert desk.terminal.text.strip() == "needs 60x10, is 20x5"
        desk.press("4")
        desk.terminal.resize(80, 24)
        desk.do("size", 80, 24)
        assert desk.terminal.screen.cells() == before


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("link", "end", "code"),
    [
        ("stock", 0, 0),
        ("diff", 0, 0),
        ("diff", signal.SIGTERM, 143),
        ("diff", signal.SIGHUP, 129),
        ("diff", signal.SIGINT, 130),
    ],
)
def test_the_desk_ends_and_leaves_the_terminal_as_it_was(link: str, end: int, code: int) -> None:
    with stand(link=link) as desk:
        slave = os.open(desk.terminal.name, os.O_RDWR | os.O_NOCTTY)
        if end:
            os.kill(desk.terminal.process.pid, end)
        else:
            desk.terminal.type("\x03")
        assert desk.terminal.ends() == code
        left_as_it_was(desk)
        assert termios.tcgetattr(slave)[3] & (termios.ECHO | termios.ICANON) == termios.ECHO | termios.ICANON
        os.close(slave)
        assert b"Traceback" not in desk.terminal.data


def left_as_it_was(desk: Stand) -> None:
    tail = bytes(desk.terminal.data)
    for off in (b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?1000l", b"\x1b[?2004l", b"\x1b[<u", b"\x1b[?7h"):
        on = {b"\x1b[?25h": b"\x1b[?25l", b"\x1b[<u": b"\x1b[>"}.get(off) or off.replace(b"l", b"h")
        on = b"\x1b[?7l" if off == b"\x1b[?7h" else on
        assert tail.rfind(off) > tail.rfind(on) >= 0, (off, on)


def test_a_terminal_that_goes_away_ends_the_desk() -> None:
    with stand() as desk:
        desk.terminal.hang_up()
        assert desk.terminal.process.wait(timeout=30) == 129


def test_a_terminal_that_goes_away_ends_a_desk_that_is_told_of_it_only_by_reading() -> None:
    with stand(env={"NOHUP": "1"}) as desk:
        desk.terminal.hang_up()
        assert desk.terminal.process.wait(timeout=30) == 129


def test_a_terminal_that_takes_nothing_more_does_not_keep_the_desk() -> None:
    with stand(tick=0.01) as desk:
        os.kill(desk.terminal.process.pid, signal.SIGTERM)  # and nobody reads what it sends
        assert desk.terminal.process.wait(timeout=30) == 143


def test_a_bug_leaves_the_terminal_as_it_was_and_names_a_report(tmp_path: Path) -> None:
    with stand(env={"TMPDIR": str(tmp_path)}) as desk:
        desk.press("2", "/", "x", "\x1b", "j")
        desk.tell("crash")
        assert desk.terminal.ends() == 1
        left_as_it_was(desk)
        said = bytes(desk.terminal.data).rpartition(b"\x1b[?1006l")[2].decode().split("\r\n")
        (file,) = tmp_path.iterdir()
        assert said == [
            "holdfast: the desk ended because of a bug: ValueError: a bug of the test 7",
            f"holdfast: to report it, read and send {file}; what was on the screen is in it",
            "",
        ]
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        told = file.read_text()
        for part in ("textual 8.2.8", "python 3.", "TERM=xterm-256color", "link diff, 80x24", "Key slash", "Runs"):
            assert part in told
        assert "ValueError: a bug of the test 7" in told
        assert "Key x" not in told
        assert "hunter2" not in told


def script(directory: Path, code: str) -> Path:
    file = directory / "editor.py"
    file.write_text(f"import sys\n{code}\n")
    return file


def stopped(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG) is not None
