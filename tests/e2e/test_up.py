"""`holdfast up` and its ends: it drains, it hurries when told twice, and it leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployment import HOLDFAST, Deployment, alive, until

TASKS = """
import asyncio, os
from holdfast import task

def effect(text: str) -> None:
    file = os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{text}\\n".encode())
    os.close(file)

async def leg(name: str, n: int) -> int:
    await asyncio.sleep(0.02)
    effect(f"{name} {n}")
    return n

async def gate(name: str) -> None:
    effect(f"{name} waits")
    while not os.path.exists(f"open-{name}"):
        await asyncio.sleep(0.05)

@task
async def long(name: str) -> int:
    first = [await leg(name, n) for n in range(10)]
    await gate(name)
    return sum(first + [await leg(name, n) for n in range(10, 20)])

@task
async def short(name: str) -> str:
    effect(f"{name} begun")
    await asyncio.sleep(0.5)
    return name
"""


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """One deployment, with two seconds to drain; each test leaves it running."""
    with Deployment(tmp_path_factory.mktemp("up") / "home", TASKS) as deployment:
        yield deployment


def shown(there: Deployment, run: str) -> Any:
    (view,) = there.json("runs", "show", run)
    return view["row"]


def ended(there: Deployment, *signals: signal.Signals) -> float:
    """Send the daemon these signals; how long it takes to end."""
    begun = time.monotonic()
    there.signal(*signals)
    until(lambda: there.poll() is not None, there.log)
    return time.monotonic() - begun


def go_on(there: Deployment, run: str, name: str) -> None:
    """Start the daemon again: the run goes on at its gate, in the attempt that it was in, and ends."""
    (there.home / f"open-{name}").touch()
    there.start()
    until(lambda: f"{name} 10" in there.lines(), there.log, within=5)  # not a work item's ack wait later
    there.run("runs", "watch", run)
    row = shown(there, run)
    assert (row["state"], row["attempt"]) == ("completed", 1)
    counts = Counter(line for line in there.lines() if line.startswith(f"{name} "))
    assert counts.pop(f"{name} waits") == 2
    assert counts == {f"{name} {n}": 1 for n in range(20)}


def test_ctrl_c_lets_short_runs_end_and_the_others_go_on_at_the_next_start(there: Deployment) -> None:
    long = there.trigger("long", {"name": "one"})
    until(lambda: "one waits" in there.lines(), there.log)
    short = there.trigger("short", {"name": "two"})
    until(lambda: "two begun" in there.lines(), there.log)
    took = ended(there, signal.SIGINT)
    assert there.poll() == 0
    assert 1.8 < took < 6
    until(lambda: not there.children(), lambda: f"left behind: {there.children()}", within=3)

    go_on(there, long, "one")
    row = shown(there, short)
    assert (row["state"], row["attempt"]) == ("completed", 1)
    assert there.lines().count("two begun") == 1


def test_told_twice_it_waits_for_nothing_and_loses_nothing(there: Deployment) -> None:
    run = there.trigger("long", {"name": "three"})
    until(lambda: "three waits" in there.lines(), there.log)
    assert ended(there, signal.SIGINT, signal.SIGINT) < 1.8
    assert there.poll() == 0
    until(lambda: not there.children(), lambda: f"left behind: {there.children()}", within=3)
    go_on(there, run, "three")


def test_http_triggers_what_is_right_and_refuses_the_rest(there: Deployment) -> None:
    before = len(there.json("runs", "list"))
    with httpx.Client(base_url=there.http) as http:
        for _ in range(3):
            assert http.get("/readyz").json() == {"status": "ready"}
        answer = http.post("/v1/tasks/short/trigger", json={"name": "four"})
        assert answer.status_code == 202
        assert answer.headers["location"] == f"/v1/runs/{answer.json()['run']}"
        until(lambda: http.get(answer.headers["location"]).json().get("state") == "completed", there.log, within=5)
        assert http.get(answer.headers["location"]).json()["result"] == "four"

        for path, body, status, said in [
            ("/v1/tasks/shrt/trigger", b"{}", 404, "did you mean 'short'"),
            ("/v1/tasks/short/trigger", b"{}", 422, "name"),
            ("/v1/tasks/short/trigger", b'{"name": 4}', 422, "name"),
            ("/v1/tasks/short/trigger", b'{"name": "x", "n": 1}', 422, "n"),
            ("/v1/tasks/short/trigger", b"[]", 422, "expected a JSON object"),
            ("/v1/tasks/short/trigger", b"{", 400, "no JSON"),
            ("/v1/tasks/a.b/trigger", b"{}", 404, "a.b"),
        ]:
            answer = http.post(path, content=body)
            assert answer.status_code == status, (path, body, answer.text)
            assert said in answer.json()["detail"]
            assert answer.headers["content-type"] == "application/problem+json"
    assert len(there.json("runs", "list")) == before + 1


def test_a_killed_daemon_leaves_no_process(there: Deployment) -> None:
    left = there.children()
    assert len(left) >= 3
    there.kill()
    until(lambda: not any(alive(pid) for pid in left), lambda: f"left behind: {there.children()}", within=5)
    assert not there.children()


def test_ctrl_c_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    fresh = Deployment(tmp_path / "home", "import time\ntime.sleep(60)\n")
    with subprocess.Popen([*HOLDFAST, "up"], cwd=fresh.home, env=fresh.env, stderr=subprocess.PIPE) as daemon:
        until(lambda: len(fresh.children()) >= 3, within=10)  # the module of its worker is being imported
        daemon.send_signal(signal.SIGINT)
        _, said = daemon.communicate(timeout=5)
    assert daemon.returncode == 130
    assert b"Traceback" not in said
    until(lambda: not fresh.children(), lambda: f"left behind: {fresh.children()}", within=3)


HANGS = "\nif __import__('os').path.exists('hang'):\n    __import__('time').sleep(600)\n"


def three_generations(there: Deployment) -> set[int]:
    """A worker that drains, one that serves, and one whose import never ends; the processes of the deployment."""
    run = there.trigger("long", {"name": "gen"})
    until(lambda: "gen waits" in there.lines(), there.log)
    first = set(there.workers().values())
    (there.home / "tasks.py").write_text(TASKS + HANGS)
    until(lambda: there.said("reloaded tasks.py in "), there.log)
    assert there.said(" s: 1 worker\n")
    (there.home / "hang").touch()
    (there.home / "tasks.py").write_text(TASKS + HANGS + "\n")
    serving = set(there.workers().values()) - first
    until(lambda: len(there.children() - first - serving) >= 3, there.log)  # the daemon, its server, the one that hangs
    assert shown(there, run)["state"] == "running"
    return there.children()


def test_ctrl_c_between_generations_leaves_nothing(tmp_path: Path) -> None:
    with Deployment(tmp_path / "home", TASKS, options=("--dev",)) as there:
        left = three_generations(there)
        ended(there, signal.SIGINT)
        assert there.poll() == 0
        until(lambda: not any(alive(pid) for pid in left), lambda: f"left behind: {there.children()}", within=5)
        assert not there.children()
    assert "Traceback" not in (there.home / "up.log").read_text()


def test_a_killed_daemon_takes_all_generations_with_it(tmp_path: Path) -> None:
    with Deployment(tmp_path / "home", TASKS, options=("--dev",)) as there:
        left = three_generations(there)
        there.kill()
        until(lambda: not any(alive(pid) for pid in left), lambda: f"left behind: {there.children()}", within=5)
        assert not there.children()
