"""Modules that declare tasks, some of them wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.errors import DuplicateTask, TaskImportError
from holdfast.worker.loading import load_tasks

GOOD = "from holdfast import task\n\n@task\nasync def sound() -> None: ...\n"
HALF = "from holdfast import task\n\n@task\nasync def half() -> None: ...\n\nraise RuntimeError('out of order')\n"
TAKEN = "from holdfast import task\n\n@task(id='sound')\nasync def other() -> None: ...\n"


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory that modules are imported from, and forgotten with the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(base: Path, **modules: str) -> None:
    for name, source in modules.items():
        (base / f"{name}.py").write_text(source)


def test_a_wrong_module_is_an_error_where_nothing_is_tolerated(base: Path) -> None:
    write(base, good=GOOD, bad=HALF)
    with pytest.raises(TaskImportError, match=r"bad failed to import at .*bad\.py:6: RuntimeError: out of order"):
        load_tasks(["good", "bad"], base=base)


@pytest.mark.parametrize("order", [["good", "bad"], ["bad", "good"]])
def test_what_can_be_imported_is_served_and_the_rest_is_told(base: Path, order: list[str]) -> None:
    write(base, good=GOOD, bad=HALF)
    told: list[str] = []
    assert set(load_tasks(order, base=base, tolerate=told.append)) == {"sound"}
    assert told == [f"module bad failed to import at {base}/bad.py:6: RuntimeError: out of order"]


def test_what_a_wrong_module_imported_whole_stays(base: Path) -> None:
    write(base, good=GOOD, bad=f"import good\n{HALF}")
    told: list[str] = []
    assert set(load_tasks(["bad", "good"], base=base, tolerate=told.append)) == {"sound"}
    assert len(told) == 1


def test_the_second_task_of_an_id_is_left_out_with_its_module(base: Path) -> None:
    write(base, good=GOOD, other=TAKEN)
    told: list[str] = []
    assert load_tasks(["good", "other"], base=base, tolerate=told.append)["sound"].fn.__module__ == "good"
    assert told == ["module other is wrong: task id 'sound' is taken by good.sound: give other.other another id="]
    with pytest.raises(DuplicateTask):
        load_tasks(["good", "other"], base=base)


def test_where_every_module_is_wrong_it_is_an_error_all_the_same(base: Path) -> None:
    write(base, bad=HALF)
    told: list[str] = []
    with pytest.raises(TaskImportError, match="out of order"):
        load_tasks(["bad", "nowhere"], base=base, tolerate=told.append)
    assert not told
