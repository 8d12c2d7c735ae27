"""Which server a client connects to, and as whom."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast import credentials
from holdfast.config import Config, load
from holdfast.credentials import Credentials, file_of, resolve
from holdfast.errors import ConfigError, ConnectError

LOCAL = Credentials(url="nats://127.0.0.1:4222", user="default.client", password="p", project="default")


def config(directory: Path, text: str = "", **env: str) -> Config:
    (directory / "holdfast.toml").write_text(text)
    return load(directory / "holdfast.toml", env=env)


def test_the_daemons_file_is_used_when_nothing_else_says_where(tmp_path: Path) -> None:
    credentials.write(file_of(tmp_path / ".holdfast", "default"), LOCAL)

    assert resolve(config(tmp_path)) == LOCAL


def test_without_a_server_the_error_names_the_file_and_the_ways_out(tmp_path: Path) -> None:
    path = tmp_path / ".holdfast" / "credentials" / "blue.json"

    with pytest.raises(ConnectError) as caught:
        resolve(config(tmp_path), "blue")

    assert str(caught.value) == (
        f"no server is running here: expected {path}; start one with `holdfast up` or set HOLDFAST_URL"
    )


def test_a_configured_url_comes_before_the_file_with_its_own_login(tmp_path: Path) -> None:
    credentials.write(file_of(tmp_path / ".holdfast", "default"), LOCAL)
    text = '[nats]\nurl = "tls://h"\nuser = "u"\npassword = "q"\ncreds = "x.creds"\n[nats.tls]\nca = "ca.pem"'

    found = resolve(config(tmp_path, text))

    assert (found.url, found.user, found.password) == ("tls://h", "u", "q")
    assert found.creds == str(tmp_path / "x.creds")
    assert found.tls is not None
    assert found.tls.ca == str(tmp_path / "ca.pem")


def test_a_given_url_comes_before_both(tmp_path: Path) -> None:
    credentials.write(file_of(tmp_path / ".holdfast", "default"), LOCAL)
    there = config(tmp_path, '[nats]\nurl = "nats://h"\nuser = "u"\npassword = "q"')

    assert resolve(there, url="nats://other") == Credentials(url="nats://other", project="default")


def test_a_user_and_password_in_a_url_are_honoured_and_taken_out_of_it(tmp_path: Path) -> None:
    for found in (
        resolve(config(tmp_path), url="nats://al:p%40ss@h:1,nats://al:p%40ss@i:2"),
        resolve(config(tmp_path, HOLDFAST_URL="nats://al:p%40ss@h:1,nats://al:p%40ss@i:2")),
    ):
        assert (found.url, found.user, found.password) == ("nats://h:1,nats://i:2", "al", "p@ss")
        assert "p@ss" not in repr(found)


@pytest.mark.parametrize("url", ["nats://127.0.0.1:4222", "nats://localhost:4222", "127.0.0.1", "localhost:4222"])
def test_a_url_of_the_server_here_logs_in_as_the_file_says(tmp_path: Path, url: str) -> None:
    credentials.write(file_of(tmp_path / ".holdfast", "default"), LOCAL)

    assert resolve(config(tmp_path), url=url) == LOCAL
    assert resolve(config(tmp_path), url="nats://al:x@127.0.0.1:4222").user == "al"


@pytest.mark.parametrize("url", ["nats://127.0.0.1:4223", "nats://evil:4222", "nats://127.0.0.1:4222,nats://evil"])
def test_a_password_goes_to_no_other_server(tmp_path: Path, url: str) -> None:
    credentials.write(file_of(tmp_path / ".holdfast", "default"), LOCAL)

    assert resolve(config(tmp_path), url=url).password == ""


def test_what_is_no_url_or_project_is_refused(tmp_path: Path) -> None:
    for url in ("http://h", "nats://", "nats://h:x", "", "nats://a,"):
        with pytest.raises(ConfigError, match="expected a URL"):
            resolve(config(tmp_path), url=url)
    with pytest.raises(ConfigError, match="project: expected a name"):
        resolve(config(tmp_path), "../x")


def test_a_file_is_written_whole_for_its_owner_only_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a" / "default.json"
    for known in (LOCAL, Credentials(url="nats://h", project="default")):
        credentials.write(path, known)
        assert credentials.read(path) == known

    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["default.json"]


def test_a_file_that_cant_be_put_in_place_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "default.json").mkdir()

    with pytest.raises(OSError, match=r"default\.json"):
        credentials.write(tmp_path / "default.json", LOCAL)

    assert [file.name for file in tmp_path.iterdir()] == ["default.json"]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = file_of(tmp_path / ".holdfast", "default")
    path.parent.mkdir(parents=True)
    for damaged in (b"", b"{}", b"\xff", b'{"url": 1}'):
        path.write_bytes(damaged)
        with pytest.raises(ConnectError, match=r"default\.json: not a credentials file"):
            resolve(config(tmp_path))
