"""`holdfast metrics`."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from holdfast.wire import api

from .conftest import AT

if TYPE_CHECKING:
    from .conftest import World

SERIES = api.Metrics(
    at=(AT - 60, AT - 30), step=30.0, created=(1200, 3), started=(4, 5), ended=(6, 7), failed=(0, 2), waiting=(8, 9),
    running=(10, 11), p50=(None, 0.12), p95=(None, 2.8), worst=(("images", 2.8), ("emails", 0.08)),
)  # fmt: skip


def test_metrics_are_a_row_for_each_step_and_the_slowest_queues(shop: World) -> None:
    shop.metrics = SERIES
    head, *lines = shop("metrics").out.splitlines()
    assert head.split() == [
        "FROM", "CREATED", "STARTED", "ENDED", "FAILED", "WAITING", "RUNNING", "P50", "P95",
    ]  # fmt: skip
    assert lines[0].split()[2:] == ["1,200", "4", "6", "0", "8", "10", "-", "-"]
    assert lines[1].split()[2:] == ["3", "5", "7", "2", "9", "11", "120ms", "2.80s"]
    assert [line.split() for line in lines[3:]] == [["SLOWEST", "P95"], ["images", "2.80s"], ["emails", "80ms"]]


@pytest.mark.parametrize(
    ("options", "step"),
    [
        ((), 120.0),
        (("--since", "60s"), 2.0),
        (("--since", "1s"), 1.0),
        (("--since", "7d"), 21600.0),
        (("--since", "90d"), 259200.0),
        (("--since", "1h", "--step", "30s"), 30.0),
    ],
)
def test_the_time_begins_with_a_whole_step_and_a_step_is_chosen_where_none_is_given(
    shop: World, options: tuple[str, ...], step: float
) -> None:
    shop.metrics = SERIES
    assert shop("metrics", *options, "--queue", "e*", "-t", "send").code == 0
    (query,) = shop.asked
    assert (query.step, query.queue, query.task) == (step, "e*", "send")
    assert query.since % step == pytest.approx(0, abs=1e-6)
    assert query.until <= time.time()


def test_metrics_as_json_are_one_object_with_the_buckets(shop: World) -> None:
    shop.metrics = SERIES
    found = json.loads(shop("metrics", "--json").out)
    assert found["step"] == 30.0
    assert found["worst"][0] == {"queue": "images", "p95": 2.8}
    assert found["buckets"][1] == {
        "at": "2026-01-02T12:03:08.120Z", "created": 3, "started": 5, "ended": 7, "failed": 2, "waiting": 9,
        "running": 11, "p50": 0.12, "p95": 2.8,
    }  # fmt: skip
