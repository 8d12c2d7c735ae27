"""The command line as a whole: where it acts, what errors print, exit codes, and what loading it costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.cli.app import COMMANDS
from holdfast.errors import ConfigError, ConnectError, DaemonUnavailable, Refused

if TYPE_CHECKING:
    from .conftest import World

ROOT = Path(__file__).resolve().parents[2]

CHILD = "import sys; sys.argv[0] = 'holdfast'; from holdfast.cli import main; main()"


def holdfast(*args: str, code: str = CHILD, **settings: Any) -> subprocess.CompletedProcess[str]:
    """The real thing, in a process of its own."""
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("sdk", "daemon", "tui"))
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *args],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True, text=True, timeout=60, check=False, **settings,
    )  # fmt: skip


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    probe = (
        "import sys; from holdfast.cli.app import run; code = run(['--help']); "
        "print(code, sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = holdfast(code=probe)
    assert done.stderr == ""
    *_, last = done.stdout.splitlines()
    assert last.startswith("0 ")
    for heavy in ("textual", "rich", "duckdb", "nats", "holdfast_daemon", "holdfast_tui"):
        assert f"'{heavy}'" not in last
    for row in COMMANDS:
        assert f"  {row.name} " in done.stdout


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_the_help_of_each_command_loads_neither_screens_nor_database_nor_server(row: Any) -> None:
    probe = (
        f"import sys; from holdfast.cli.app import run; code = run(['{row.name}', '--help']); "
        "print(code, sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    *_, last = holdfast(code=probe).stdout.splitlines()
    assert last.startswith("0 ")
    for heavy in ("textual", "rich", "duckdb", "nats", "holdfast_daemon", "holdfast_tui"):
        assert f"'{heavy}'" not in last


@pytest.mark.parametrize(
    "args", [["queues", "list"], ["runs", "list", "-s", "dead", "-n", "5", "--task", "a", "--since", "1h", "-p", "x"]]
)
def test_calling_a_command_does_not_load_what_typer_would_read_options_with(args: list[str]) -> None:
    probe = (
        "import sys; from contextlib import asynccontextmanager; from holdfast.cli.app import run\n"
        "from holdfast.wire import api\n"
        "from holdfast.bus.memory import MemoryBus; from holdfast.client import Client\n"
        "class C(Client):\n"
        "    async def queues(self): return api.Queues((), 1.0)\n"
        "    async def runs(self, query): return api.RunsPage((), 0, False)\n"
        "@asynccontextmanager\n"
        "async def opener(place): yield C(MemoryBus('shop'))\n"
        f"print(run({args!r}, opener=opener), sorted({{name.partition('.')[0] for name in sys.modules}}))"
    )
    done = holdfast(code=probe)
    assert done.stdout.startswith("0 "), done.stderr
    for heavy in ("pydantic", "textual", "rich", "duckdb", "nats", "holdfast_daemon", "holdfast_tui"):
        assert f"'{heavy}'" not in done.stdout


def test_without_a_command_it_prints_its_help(shop: World) -> None:
    done = shop()
    assert done.code == 0
    assert "Commands:" in done.out
    assert shop("runs").out.startswith("Usage: holdfast runs ")
    assert shop("runs", "tree", "-h").out.startswith("Usage: holdfast runs tree ")


def test_place_options_are_taken_before_the_command_and_behind_it(shop: World) -> None:
    assert shop("--project", "a", "--url", "nats://x", "runs", "list").code == 0
    assert shop("--project", "a", "--config", "f", "runs", "list", "--project", "b").code == 0
    first, second = shop.places
    assert (first.project, first.url, first.config) == ("a", "nats://x", None)
    assert (second.project, second.config) == ("b", "f")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConnectError("no server is running here"), 3),
        (DaemonUnavailable("the daemon does not answer"), 3),
        (Refused("no run matches", code="not_found"), 1),
        (ConfigError("nats.url: expected a URL"), 2),
    ],
)
def test_an_error_is_one_line_on_stderr_and_an_exit_code(shop: World, error: Exception, code: int) -> None:
    shop.refuse = error
    assert shop("runs", "list") == (code, "", f"holdfast: {error}\n")


def test_an_error_of_several_lines_is_still_one_line_and_harmless(shop: World) -> None:
    shop.refuse = ConnectError("no server\n  at \x1b[2J here")
    assert shop("runs", "list").err == "holdfast: no server at \\x1b[2J here\n"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["rusn"], "No such command 'rusn'. Did you mean 'runs'?; see `holdfast --help`"),
        (["runs", "lst"], "No such command 'lst'. Did you mean 'list'?; see `holdfast runs --help`"),
        (
            ["runs", "list", "--stat", "x"],
            "No such option: --stat (Possible options: --state, --tag, --text); see `holdfast runs list --help`",
        ),
        (["runs", "show"], "Missing argument 'RUN'; see `holdfast runs show --help`"),
        (
            ["runs", "list", "--since", "soon"],
            "Invalid value for '--since': expected a duration like 90s, 15m, 2h or 7d, found \"soon\"; "
            "see `holdfast runs list --help`",
        ),
        (
            ["dlq", "drain", "--rate", "0/s"],
            "Invalid value for '--rate': expected a rate above 0 like 10/s or 600/m, found \"0/s\"; "
            "see `holdfast dlq drain --help`",
        ),
        (
            ["logs", "--grep", "("],
            "--grep: expected a regular expression, found '(': missing ), unterminated subpattern at position 0",
        ),
    ],
)  # fmt: skip
def test_wrong_usage_says_what_was_expected_and_exits_with_2(shop: World, args: list[str], said: str) -> None:
    assert shop(*args) == (2, "", f"holdfast: {said}\n")


def test_a_state_that_is_none_names_those_that_are(shop: World) -> None:
    done = shop("runs", "list", "--state", "lost")
    assert done.code == 2
    assert "'lost'" in done.err
    assert "'dead'" in done.err
    assert done.err.count("\n") == 1


def test_a_reader_that_goes_away_ends_it_silently() -> None:
    code = (
        "import sys; from contextlib import asynccontextmanager\n"
        "from holdfast.cli import app\n"
        "from holdfast.wire import api\n"
        "from holdfast.bus.memory import MemoryBus; from holdfast.client import Client\n"
        "class C(Client):\n"
        "    async def queues(self): return api.Queues(tuple(api.QueueRow(name='q' * 900) for _ in range(999)), 1.0)\n"
        "@asynccontextmanager\n"
        "async def opener(place): yield C(MemoryBus('shop'))\n"
        "app.run.__kwdefaults__['opener'] = opener\n"
        "sys.argv = ['holdfast', 'queues', 'list', *sys.argv[1:]]\n"
        "app.main()\n"
    )
    for args in ([], ["--json"]):
        reader, writer = os.pipe()
        os.close(reader)
        paths = os.pathsep.join(str(ROOT / folder) for folder in ("sdk", "daemon", "tui"))
        done = subprocess.run(
            [sys.executable, "-c", code, *args],
            stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False, env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
        os.close(writer)
        assert done.stderr == b""
        assert done.returncode == 141


def test_ctrl_c_ends_it_with_130_and_no_traceback() -> None:
    code = (
        "import sys, anyio; from contextlib import asynccontextmanager\n"
        "from holdfast.cli import app\n"
        "from holdfast.bus.memory import MemoryBus; from holdfast.client import Client\n"
        "class C(Client):\n"
        "    async def queues(self):\n"
        "        print('there', flush=True)\n"
        "        await anyio.sleep(60)\n"
        "@asynccontextmanager\n"
        "async def opener(place): yield C(MemoryBus('shop'))\n"
        "app.run.__kwdefaults__['opener'] = opener\n"
        "sys.argv = ['holdfast', 'queues', 'list']\n"
        "app.main()\n"
    )
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("sdk", "daemon", "tui"))
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths},
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == "there\n"
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=30)
    assert said == ""
    assert child.returncode == 130
