"""What importing holdfast costs: nobody pays for the screens, the database or the server's client before using them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"textual", "rich", "duckdb", "nats", "holdfast_daemon", "holdfast_tui"}

PROBE = "import json, sys, {module}; print(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"


def loaded_by(module: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after importing one."""
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("sdk", "daemon", "tui"))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROBE.format(module=module)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def test_importing_holdfast_loads_nothing_heavy() -> None:
    loaded = loaded_by("holdfast")
    assert "holdfast" in loaded
    assert loaded & HEAVY == set()


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    loaded = loaded_by("holdfast.cli")
    assert "holdfast" in loaded
    assert loaded & HEAVY == set()


def test_the_probe_sees_what_an_import_loads() -> None:
    assert "duckdb" in loaded_by("duckdb")
    assert "nats" in loaded_by("nats")
