"""The text of server.conf: what the real nats-server reads from it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from holdfast.bus.ports import ACK_WAIT
from holdfast.config import Durability
from holdfast_daemon.server.binary import find
from holdfast_daemon.server.settings import PING_EVERY, PINGS_UNANSWERED, Account, ServerSettings, User, render


def settings(store_dir: Path = Path("/tmp/x"), durability: Durability = Durability.ALWAYS) -> ServerSettings:
    return ServerSettings(
        name="holdfast-1",
        port=4222,
        store_dir=store_dir,
        durability=durability,
        system=User(name="system", password="s"),
        accounts=(
            Account(name="default", users=(User(name="default.daemon", password="1"), User(name="c", password="$X"))),
            Account(name="2-true_no", users=()),
        ),
    )


def test_each_durability_is_the_interval_that_keeps_its_promise() -> None:
    assert 'sync_interval: "always"' in render(settings(durability=Durability.ALWAYS))
    assert 'sync_interval: "100ms"' in render(settings(durability=Durability.INTERVAL))


def test_it_listens_on_loopback_only() -> None:
    assert 'host: "127.0.0.1"' in render(settings())


def test_passwords_are_not_in_the_repr() -> None:
    assert "$X" not in repr(settings())


def test_a_client_that_is_stopped_is_dropped_before_what_it_got_comes_again() -> None:
    text = render(settings())
    assert f'ping_interval: "{PING_EVERY}s"' in text
    assert f"ping_max: {PINGS_UNANSWERED}" in text
    assert PING_EVERY * (PINGS_UNANSWERED + 1) < ACK_WAIT


@pytest.mark.parametrize("durability", list(Durability))
@pytest.mark.parametrize("directory", ["plain", 'a "b" c', "back\\slash", "é $HOME # x", "new\nline"])
def test_the_real_server_accepts_it_whatever_the_directory_is_called(
    tmp_path: Path, directory: str, durability: Durability
) -> None:
    conf = tmp_path / "server.conf"
    conf.write_text(render(settings(tmp_path / directory, durability)))

    done = subprocess.run([find().path, "-t", "-c", conf], capture_output=True, text=True, timeout=10, check=False)

    assert done.returncode == 0, done.stderr
