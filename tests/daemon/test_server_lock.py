"""The lock of a data directory, against a real second process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.errors import ServerError
from holdfast_daemon.server.lock import DataDirLock

HOLDER = """
import sys
from pathlib import Path
sys.path[:0] = ["sdk", "daemon"]
from holdfast_daemon.server.lock import DataDirLock
with DataDirLock(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""
ROOT = Path(__file__).parents[2]


def test_a_second_daemon_is_refused_with_the_first_ones_pid_until_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"

        with pytest.raises(ServerError, match=rf"used by another daemon \(pid {holder.pid}\)"), DataDirLock(tmp_path):
            pass

        holder.kill()
        holder.wait()
        with DataDirLock(tmp_path) as lock:
            assert lock.held


def test_a_directory_is_made_private_and_kept_out_of_git(tmp_path: Path) -> None:
    with DataDirLock(tmp_path / "a" / "b") as lock:
        assert lock.data_dir.stat().st_mode & 0o777 == 0o700
        assert (lock.data_dir / ".gitignore").read_text() == "*\n"
    assert not lock.held


def test_a_directory_that_was_there_gets_no_gitignore(tmp_path: Path) -> None:
    with DataDirLock(tmp_path):
        assert not (tmp_path / ".gitignore").exists()


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ServerError, match=r"expected a directory that can be written.*daemon\.data_dir"):
            DataDirLock(path).__enter__()


def test_a_directory_that_nobody_may_write_is_refused() -> None:
    with pytest.raises(ServerError, match="expected a directory that can be written"):
        DataDirLock(Path("/proc/holdfast") if sys.platform == "linux" else Path("/System/holdfast")).__enter__()


def test_the_same_process_can_lock_again_after_it_let_go(tmp_path: Path) -> None:
    lock = DataDirLock(tmp_path)
    for _ in range(2):
        with lock:
            assert lock.held
            with pytest.raises(ServerError), DataDirLock(tmp_path):
                pass
