"""`holdfast bench`: that it measures, says of what, and leaves nothing behind. What it finds is never asserted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.bench.deployment import filesystem
from holdfast.bench.figures import Measure, percentile, rate, spread
from holdfast.bench.workloads import WORKLOADS

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-c", "import sys; sys.argv[0] = 'holdfast'; from holdfast.cli import main; main()", "bench"]

UNITS = {"ms", "/s", "MiB", "KiB", "B", "B/s"}


def environment() -> dict[str, str]:
    """Ours, with what a bench must not be led astray by."""
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("sdk", "daemon", "tui"))
    return {**os.environ, "PYTHONPATH": paths, "HOLDFAST_URL": "nats://127.0.0.1:1", "HOLDFAST_DURABILITY": "nonsense"}


def bench(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *args], env=environment(), capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """All workloads, once, with next to nothing to do."""
    place = tmp_path_factory.mktemp("disk")
    done = bench("all", "-n", "2", "--durability", "interval", "--json", "--dir", str(place))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert list(place.iterdir()) == []
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_workload_gives_figures_that_say_what_they_are_of(figures: list[dict[str, Any]]) -> None:
    assert {figure["workload"] for figure in figures} == set(WORKLOADS)
    for figure in figures:
        assert figure["durability"] == "interval"
        assert figure["unit"] in UNITS
        assert figure["value"] > 0 or figure["unit"] == "B/s"
        assert figure["samples"] >= 1
        assert figure["cpus"] >= 1
        assert {"holdfast", "nats-server", "python", "system"} <= figure["versions"].keys()
    assert len({(figure["workload"], figure["figure"]) for figure in figures}) == len(figures)


@pytest.mark.parametrize(
    ("workload", "expected"),
    [
        ("latency", {"trigger to first line p50", "trigger to first line p99", "trigger to result p50"}),
        ("steps", {"step p50", "steps, 50 runs at once"}),
        ("queues", {"triggers into the queue", "runs through a limit of 50"}),
        ("throughput", {"triggers, nobody serves", "runs, trigger to end of all", "runs, draining a backlog"}),
        ("triggers", {"triggers, one after the other", "triggers, 50 in flight", "triggers, batch of 2"}),
        ("fanout", {"fan-out of 2 and join p50"}),
        ("recovery", {"kill -9 to next step p50"}),
        ("footprint", {"idle memory, all", "idle memory, server", "journal of a 100-step run"}),
        ("tui", {"start to first content p50", "runs: cursor down, to first byte p50", "entries, live", "memory"}),
        ("start", {"empty directory to first result p50"}),
    ],
)
def test_a_workload_measures_what_the_design_names(
    figures: list[dict[str, Any]], workload: str, expected: set[str]
) -> None:
    assert expected <= {figure["figure"] for figure in figures if figure["workload"] == workload}


def test_people_get_a_column_for_each_durability() -> None:
    done = bench("latency", "-n", "2")
    assert done.returncode == 0, done.stderr
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["FIGURE", "ALWAYS", "INTERVAL", "UNIT", "SAMPLES"]
    assert all(row.split()[-2:] == ["ms", "2"] for row in rows)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_bench_that_is_stopped_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [*COMMAND, "latency", "-n", "1000000", "--dir", str(tmp_path)],
        env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(lambda: any(tmp_path.glob("*/.holdfast/workers.log")))
        assert len(list(members(tmp_path))) >= 2
        process.send_signal(number)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()
    assert list(members(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [("latency", "-n", "0"), ("latency", "--durability", "never"), ("speed",)])
def test_wrong_usage_is_refused(wrong: tuple[str, ...]) -> None:
    done = bench(*wrong)
    assert done.returncode == 2
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(50, 2.0), (75, 3.0), (76, 4.0), (99, 4.0), (100, 4.0), (1, 1.0)],
)
def test_a_percentile_is_a_sample_that_so_many_do_not_exceed(percent: int, expected: float) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], percent) == expected


def test_a_spread_is_in_milliseconds_and_needs_no_order() -> None:
    assert spread("x", [0.003, 0.001, 0.002], (50, 99)) == [
        Measure("x p50", "ms", 2.0, 3),
        Measure("x p99", "ms", 3.0, 3),
    ]


def test_a_rate_is_per_second() -> None:
    assert rate("runs", 10, 0.5) == Measure("runs", "/s", 20.0, 10)


@pytest.mark.skipif(not Path("/proc/self/mounts").exists(), reason="only Linux says it there")
def test_the_file_system_is_that_of_the_nearest_mount() -> None:
    assert filesystem(Path("/proc/self")) == "proc"


def members(home: Path) -> Iterator[int]:
    """The processes of a deployment below a directory, found by their environment, command line or directory."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                told = (entry / "environ").read_bytes() + os.readlink(entry / "cwd").encode()
            except OSError:
                continue
            if str(home).encode() in told:
                yield int(entry.name)


def wait_for(true: Any) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
