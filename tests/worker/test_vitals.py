"""What a worker process says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.worker import vitals
from holdfast.worker.vitals import Vitals, resident


class Clock:
    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def test_the_share_of_a_core_is_taken_between_two_beats() -> None:
    clock, spent = Clock(), Clock()
    of = Vitals(clock, spent)
    assert of.now().cpu == 0.0
    clock.at, spent.at = 101.0, 100.17
    assert of.now().cpu == pytest.approx(0.17)
    clock.at, spent.at = 103.0, 103.17
    assert of.now().cpu == pytest.approx(1.5)


def test_two_that_ask_at_once_are_told_the_same() -> None:
    clock, spent = Clock(), Clock()
    of = Vitals(clock, spent)
    clock.at, spent.at = 101.0, 100.5
    first = of.now().cpu
    clock.at += 0.01
    assert of.now().cpu == first == pytest.approx(0.5)


def test_the_rate_is_of_the_last_ten_seconds() -> None:
    clock = Clock()
    of = Vitals(clock, clock)
    clock.at = 200.0
    for _ in range(30):
        of.ended()
    assert of.now().done_rate == 3.0
    clock.at = 205.0
    of.ended()
    assert of.now().done_rate == pytest.approx(3.1)
    clock.at = 210.0
    assert of.now().done_rate == pytest.approx(0.1)
    clock.at = 300.0
    assert of.now().done_rate == 0.0


def test_a_young_worker_tells_the_rate_of_its_life() -> None:
    clock = Clock()
    of = Vitals(clock, clock)
    clock.at += 2.0
    for _ in range(4):
        of.ended()
    assert of.now().done_rate == 2.0


def test_memory_is_told_also_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now = resident()
    assert 1 << 20 < now < 1 << 36
    monkeypatch.setattr(vitals, "_STATM", tmp_path / "none")
    assert now / 4 < resident() < now * 16
