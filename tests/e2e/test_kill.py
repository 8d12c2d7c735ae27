"""SIGKILL of each process in turn, in the middle of a run of a hundred steps."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

from deployment import Deployment, alive, until

TASKS = """
import asyncio, os
from holdfast import task

async def effect(n: int) -> int:
    await asyncio.sleep(0.02)
    file = os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{n}\\n".encode())
    os.close(file)
    return n

@task
async def hundred() -> int:
    total = 0
    for n in range(100):
        total += await effect(n)
    return total
"""


def _server_pid(there: Deployment) -> int:
    return next(pid for pid in there.children() if b"nats-server" in Path(f"/proc/{pid}/cmdline").read_bytes())


def test_a_run_of_a_hundred_steps_survives_the_death_of_each_process_in_turn(tmp_path: Path) -> None:
    with Deployment(tmp_path / "home", TASKS) as there:
        (worker,) = there.workers().values()
        run = there.trigger("hundred")

        until(lambda: len(there.lines()) >= 15, there.log)
        os.kill(worker, signal.SIGKILL)

        seen = len(there.lines())
        until(lambda: len(there.lines()) >= seen + 15, there.log)
        os.kill(_server_pid(there), signal.SIGKILL)

        seen = len(there.lines())
        until(lambda: len(there.lines()) >= seen + 15, there.log)
        left = there.children()
        there.kill()
        until(lambda: not any(alive(pid) for pid in left), lambda: f"left behind: {there.children()}", within=5)

        seen = len(there.lines())
        assert seen < 95, "the run must still have had steps before it"
        there.start()
        done = there.run("runs", "watch", run)
        assert done.returncode == 0

        counts = Counter(map(int, there.lines()))
        assert set(counts) == set(range(100))
        repeated = {n: count for n, count in counts.items() if count > 1}
        assert len(repeated) <= 3, f"at most the step under way at each kill may run again: {repeated}"
        assert all(count == 2 for count in repeated.values())

        (shown,) = there.json("runs", "show", run)
        assert shown["row"]["state"] == "completed"
    until(lambda: not there.children(), lambda: f"left behind: {there.children()}", within=5)


def test_a_restarted_daemon_catches_up_and_a_deleted_history_is_rebuilt(tmp_path: Path) -> None:
    with Deployment(tmp_path / "home", TASKS) as there:
        first = there.trigger("hundred")
        there.run("runs", "watch", first)
        before = there.json("runs", "show", first)
        there.stop()
        for file in (there.home / ".holdfast").glob("history-*"):
            file.unlink()
        there.start()
        assert there.json("runs", "show", first) == before
        assert [row["id"] for row in there.json("runs", "list")] == [first]
