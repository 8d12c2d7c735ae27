"""A schedule as a user runs it: its ticks go on while the daemon is dead, and each runs once."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from deployment import HOLDFAST, Deployment, until
from servers import NatsServer

TASKS = """
import os
from holdfast import Every, task
from holdfast.ticks import Scheduled

@task(schedule=Every(4, overlap="buffer_all"))
async def beat(tick: Scheduled) -> None:
    with open(os.environ["EFFECTS"], "a") as file:
        print(tick.at.timestamp(), file=file)
"""


@contextmanager
def worker(place: Deployment) -> Iterator[None]:
    """A worker of its own, that does not end with the daemon."""
    with (place.home / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [*HOLDFAST, "worker", "tasks"], cwd=place.home, env=place.env, stdout=log, stderr=log
        )
        try:
            until(lambda: len(place.json("workers", "list")) == 1, place.log)
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)


def ticks(place: Deployment) -> list[float]:
    """The nominal times of the ticks that ran, in the order in which they did."""
    return [float(line) for line in place.effects.read_text().split()] if place.effects.exists() else []


def schedule(place: Deployment) -> dict[str, Any]:
    (row,) = place.json("schedules", "list")
    return dict(row)


def parked(place: Deployment) -> float:
    """When the next tick is due, as it stands in the server."""
    at = schedule(place)["next_at"]
    return datetime.fromisoformat(at).timestamp() if at else 0.0


def test_ticks_fire_while_the_daemon_is_dead_and_each_runs_once(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats") as server:
        place = Deployment(tmp_path / "home", TASKS, workers=0)
        http = place.http.removeprefix("http://")
        (place.home / "holdfast.toml").write_text(
            f'[nats]\nurl = "{server.url}"\n[daemon]\nhttp = "{http}"\n[projects.default]\nmodules = ["tasks"]\n'
        )
        with place, worker(place):
            until(lambda: len(ticks(place)) >= 2, place.log)
            until(lambda: schedule(place)["last_state"] == "completed", place.log)
            until(lambda: parked(place) > ticks(place)[-1], place.log)
            due = parked(place)
            place.kill()
            until(lambda: due in ticks(place), place.log)  # it fired by itself, and ran
            until(lambda: time.time() > due + 9, place.log)
            assert ticks(place)[-1] == due  # nobody parked another one
            assert schedule(place)["state"] in ("active", "behind")
            place.start()
            until(lambda: ticks(place)[-1] >= due + 12, place.log)
            found = ticks(place)
            assert schedule(place)["missed"] == 0
        assert found == [found[0] + 4 * number for number in range(len(found))]
        runs = Path(place.effects).read_text().split()
        assert len(runs) == len(set(runs))
