"""`holdfast doctor`: each check, and the exit code."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.cli import doctor
from holdfast.cli.doctor import Check, Verdict
from holdfast.errors import BusError, ConnectError, DaemonUnavailable
from holdfast.wire import api, codec
from holdfast.wire.subjects import Stream

from .conftest import Told

if TYPE_CHECKING:
    from holdfast.client import Client

    from .conftest import World


@pytest.fixture(autouse=True)
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory of its own, and a server of one's own to connect to."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOLDFAST_URL", "nats://127.0.0.1:4")
    for name in ("HOLDFAST_CONFIG", "HOLDFAST_PROJECT", "HOLDFAST_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)


def verdicts(out: str) -> dict[str, str]:
    return {line.split()[1]: line.split()[0] for line in out.splitlines()}


def test_all_is_well(shop: World) -> None:
    async def arrive(client: Client) -> None:
        now = time.time()
        presence = api.Presence(
            worker="w", host="h", pid=1, started_at=now, at=now, tasks=("a",), queues=("q",), concurrency=1, running=0
        )
        await client.bus.put("worker", "w", codec.encode(presence))

    shop.do(arrive)
    done = shop("doctor")
    assert (done.code, done.err) == (0, "")
    assert verdicts(done.out) == dict.fromkeys(
        [
            "python",
            "packages",
            "configuration",
            "credentials",
            "connection",
            "streams",
            "clock",
            "daemon",
            "events",
            "workers",
        ],
        "ok",
    )
    assert done.out.splitlines()[2] == "ok    configuration  no holdfast.toml: defaults"
    assert done.out.splitlines()[-1] == "ok    workers        1 worker, 1 task"


def test_modules_that_fail_to_import_are_a_warning_with_the_place(shop: World) -> None:
    fault = api.Fault(pool="w1-shop", errors=("module b failed to import at b.py:2: KeyError: 'x'",))
    shop.do(lambda client: client.bus.put(api.FAULT, fault.pool, codec.encode(fault)))
    done = shop("doctor")
    assert done.code == 0
    assert done.out.splitlines()[-1] == f"warn  workers        {fault.errors[0]}  → mend it; what can be served is"


def test_as_json_each_check_is_an_object(shop: World) -> None:
    checks = [json.loads(line) for line in shop("doctor", "--json").out.splitlines()]
    assert {frozenset(check) for check in checks} == {frozenset({"name", "verdict", "found", "advice"})}
    assert checks[-1] == {
        "name": "workers",
        "verdict": "warn",
        "found": "none",
        "advice": "start one with `holdfast up` or `holdfast worker MODULE`",
    }


def test_without_a_server_it_fails_and_says_how_to_start_one(shop: World) -> None:
    shop.refuse = ConnectError("nats://127.0.0.1:4: connection refused")
    done = shop("doctor")
    assert done.code == 1
    assert done.out.splitlines()[-1] == (
        "fail  connection     nats://127.0.0.1:4: connection refused  "
        "→ start the server with `holdfast up`, or check the url"
    )


def test_a_wrong_configuration_ends_it_there(shop: World, tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_text("[nats]\nprot = 1\n")
    done = shop("doctor")
    assert done.code == 1
    assert verdicts(done.out) == {"python": "ok", "packages": "ok", "configuration": "fail"}
    assert "port" in done.out.splitlines()[-1]


def test_the_embedded_server_is_looked_for_on_this_machine(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOLDFAST_URL")
    monkeypatch.setattr(doctor, "server_binary", lambda settings: Check("nats-server", Verdict.OK, "2.15.1 at /x"))
    found = verdicts(shop("doctor").out)
    assert (found["nats-server"], found["data"], found["credentials"]) == ("ok", "ok", "fail")
    assert "disk" in found


class NoDaemon(Told):
    async def health(self) -> api.Health:
        raise DaemonUnavailable("the daemon does not answer")


def test_a_daemon_that_does_not_answer_fails_and_the_rest_is_checked(shop: World) -> None:
    shop.client = NoDaemon
    done = shop("doctor")
    assert done.code == 1
    assert (verdicts(done.out)["daemon"], verdicts(done.out)["workers"]) == ("fail", "warn")


def test_streams_that_are_not_there_are_named(shop: World) -> None:
    async def last_seq(stream: Stream) -> int:
        if stream is Stream.LOGS:
            raise BusError("stream not found")
        return 3

    class Bare(Told):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            self.bus.last_seq = last_seq  # type: ignore[method-assign]

    shop.client = Bare
    done = shop("doctor")
    assert done.code == 1
    assert "fail  streams        missing: HF_shop_LOGS  → start the daemon once: it makes them\n" in done.out


@pytest.mark.parametrize(
    ("server", "verdict", "found"),
    [
        (100.05, Verdict.OK, "agrees with the server's"),
        (99.5, Verdict.OK, "500ms from the server's"),
        (103.1, Verdict.WARN, "3.00s from the server's"),
        (40.0, Verdict.WARN, "1m 00s from the server's"),
    ],
)
def test_clocks_apart_are_warned_of(server: float, verdict: Verdict, found: str) -> None:
    check = doctor.skew(server, 100.0, 100.1)
    assert (check.verdict, check.found) == (verdict, found)


def test_a_data_directory_that_can_not_be_written_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(dir: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    (check,) = doctor.data_dir(tmp_path)
    assert (check.verdict, check.found) == (Verdict.FAIL, f"{tmp_path}: Permission denied")


@pytest.mark.parametrize(
    ("free", "verdict"), [(50_000_000, Verdict.FAIL), (1_000_000_000, Verdict.WARN), (9_000_000_000, Verdict.OK)]
)
def test_little_room_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, verdict: Verdict) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": free}))
    there, disk = doctor.data_dir(tmp_path / "not" / "yet")
    assert "not there yet" in there.found
    assert disk.verdict is verdict


@pytest.mark.parametrize(
    ("health", "verdict"),
    [
        ({"projected": 10, "journal": 10}, Verdict.OK),
        ({"projected": 10, "journal": 5000}, Verdict.WARN),
        ({"projected": 10, "journal": 10, "unreadable": 1}, Verdict.WARN),
    ],
)
async def test_a_projection_that_lags_is_warned_of(health: dict[str, int], verdict: Verdict) -> None:
    class Answering:
        async def health(self) -> api.Health:
            return api.Health(version="1", pid=7, started_at=time.time(), **health)

    assert (await doctor.daemon(Answering())).verdict is verdict  # type: ignore[arg-type]
