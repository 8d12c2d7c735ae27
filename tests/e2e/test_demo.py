"""`holdfast demo` as a new user types it: in an empty directory, without a home, and interrupted."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployment import HOLDFAST, alive, environment, processes, until
from holdfast.core.entries import AttemptInterrupted, AttemptResumed, AttemptStarted, Entry, RunCreated, StepCompleted
from holdfast.core.lifecycle import Kind, Record, fold
from holdfast.core.tree import Tree
from holdfast.demo.claims import Act, Evidence, Kill, Witness, judge


class Place:
    """An empty home with a place for temporary files of its own, by which the demo's processes are known."""

    def __init__(self, root: Path) -> None:
        self.home, self.tmp, self.here = root / "home", root / "tmp", root / "here"
        for directory in (self.home, self.tmp, self.here):
            directory.mkdir()
        self._out = root / "out.txt"

    @property
    def env(self) -> dict[str, str]:
        """Settings of another deployment are in it: the demo must not believe them."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
        return {**kept, "HOME": str(self.home), "TMPDIR": str(self.tmp), "HOLDFAST_URL": "nats://127.0.0.1:1"}

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*HOLDFAST, "demo", *args],
            cwd=self.here,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self) -> subprocess.Popen[str]:
        with self._out.open("w") as out:
            return subprocess.Popen(
                [*HOLDFAST, "demo"], cwd=self.here, env=self.env, stdout=out, stderr=subprocess.PIPE, text=True
            )

    def said(self) -> str:
        return self._out.read_text()

    def left(self) -> dict[int, str]:
        """Processes that the demo has left, by pid."""
        found = {pid: environment(pid) for pid in processes() if pid != os.getpid()}
        return {pid: text[:200] for pid, text in found.items() if str(self.tmp) in text and alive(pid)}

    def files(self) -> list[str]:
        return [path.name for path in (*self.tmp.iterdir(), *self.home.iterdir(), *self.here.iterdir())]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    for pid in made.left():
        os.kill(pid, signal.SIGKILL)


def test_every_claim_of_the_demo_holds_and_nothing_is_left(place: Place) -> None:
    done = place.run("--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    told: dict[str, Any] = json.loads(line)
    assert told["ok"]
    assert len(told["claims"]) >= 13
    assert all(claim["ok"] for claim in told["claims"])
    assert {run["state"] for run in told["runs"]} == {"completed"}
    assert {run["what"] for run in told["runs"]} == {*(act.value for act in Act), "its child"}
    assert told["letter"]["error"]["type"] == "holdfast.demo.tasks.SupplierClosed"
    assert "in buy" in told["letter"]["error"]["traceback"]
    kill = told["kill"]
    assert 0 < kill["noticed_after"] < kill["resumed_after"] < kill["next_step_after"] + 0.005
    assert place.left() == {}
    assert place.files() == []


def test_the_demo_prints_its_story_its_trees_and_its_claims_in_eighty_columns(place: Place) -> None:
    done = place.run("--keep")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\x1b" not in done.stdout
    for text in ("kill -9", "└ notify", "side effects", "its next step began", "all 13 claims hold"):
        assert text in done.stdout
    assert "FAILED  " not in done.stdout.partition("claims ──")[2]
    assert "press" not in done.stdout
    lines = [line for line in done.stdout.splitlines() if str(place.tmp) not in line]
    assert max(map(len, lines)) <= 80
    kept = re.search(r"kept: (.+)", done.stderr)
    assert kept is not None
    assert (Path(kept[1]) / "calls.log").read_text().count("\n") >= 30
    assert place.left() == {}


@pytest.mark.parametrize("moment", ["starting nats-server", "try 2", "kill -9", "import asyncio"])
def test_an_interrupted_demo_leaves_no_process_and_no_file(place: Place, moment: str) -> None:
    demo = place.start()
    until(lambda: moment in place.said(), place.said)
    demo.send_signal(signal.SIGINT)
    assert demo.wait(timeout=10) == 130
    assert demo.stderr is not None
    assert "Traceback" not in demo.stderr.read()
    demo.stderr.close()
    assert place.left() == {}
    assert place.files() == []


def test_a_killed_demo_leaves_no_process(place: Place) -> None:
    demo = place.start()
    until(lambda: "try 1" in place.said(), place.said)
    assert len(place.left()) >= 4  # itself, the server, two workers: the mark finds them
    demo.kill()
    demo.wait()
    assert demo.stderr is not None
    demo.stderr.close()
    until(lambda: not place.left(), lambda: f"left behind: {place.left()}", within=5)


def test_the_desk_needs_a_terminal(place: Place) -> None:
    done = place.run("--tui")
    assert (done.returncode, done.stdout) == (2, "")
    assert "terminal" in done.stderr


# --- the claims, held against an engine that errs ---------------------------------------------------------------------

KILL = Kill("w1-default-1", 7, 3.0)


def witness(*entries: Entry, calls: dict[str, int]) -> Witness:
    records = [Record(1, Kind.READY, "", (RunCreated("R", 0.0, "process-order", b""),))]
    records += [Record(2 + number, Kind.LOG, "n", (entry,)) for number, entry in enumerate(entries)]
    run = fold(records)
    assert run is not None
    tree = Tree()
    for entry in entries:
        tree.add(entry)
    return Witness(run, entries, tree, Counter(calls), None)


def killed(*later: Entry, calls: dict[str, int]) -> Evidence:
    """A run of two steps whose worker was killed behind the first."""
    it = witness(
        AttemptStarted(1.0, 1, KILL.worker, "n"),
        StepCompleted("/pack#1", 2.0, 0.5, b""),
        AttemptInterrupted(3.1, f"worker {KILL.worker}: killed by signal 9"),
        AttemptResumed(3.2, 1, "w1-default-2", "n"),
        *later,
        calls=calls,
    )
    return Evidence({Act.KILL: it}, {}, KILL, None, False, False, {})


def against(seen: Evidence, says: str) -> tuple[str, ...]:
    (claim,) = [claim for claim in judge(seen) if says in claim.says]
    return claim.against


PACKED_2 = StepCompleted("/pack#2", 4.0, 0.7, b"")


def test_a_step_that_the_kill_cut_short_may_have_had_its_effect() -> None:
    seen = killed(PACKED_2, calls={"/charge#1": 3, "/pack#1": 1, "/pack#2": 2})
    assert against(seen, "recorded before the kill") == ()
    assert seen.recovery is not None
    assert seen.recovery.next_step == pytest.approx(0.3)


def test_a_recorded_step_that_ran_again_breaks_the_claim() -> None:
    seen = killed(PACKED_2, calls={"/charge#1": 3, "/pack#1": 2, "/pack#2": 1})
    assert against(seen, "recorded before the kill") == ("expected one call of /pack#1, found 2",)


def test_a_step_recorded_twice_breaks_the_claim() -> None:
    again = StepCompleted("/pack#1", 4.0, 0.7, b"")
    seen = killed(again, calls={"/charge#1": 3, "/pack#1": 1})
    assert against(seen, "recorded before the kill") == ("recorded twice: /pack#1",)


def test_a_run_that_goes_on_where_it_was_killed_breaks_the_claim() -> None:
    back = AttemptResumed(3.3, 1, KILL.worker, "n")
    it = killed(calls={}).runs[Act.KILL]
    seen = Evidence({Act.KILL: it._replace(entries=(*it.entries[:3], back))}, {}, KILL, None, False, False, {})
    assert against(seen, "another worker went on") == ("the dead worker took it up",)


def test_an_act_that_failed_breaks_every_claim_about_it() -> None:
    troubles = dict.fromkeys(Act, "it did not end")
    assert not any(claim.holds for claim in judge(Evidence({}, {}, None, None, False, True, troubles)))
