"""`holdfast logs`: what was written, then what is written, each line once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from holdfast.wire import codec
from holdfast.wire.api import LogBatch, LogLine, LogRow

from .conftest import AT, Told

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from holdfast.client import Client

    from .conftest import World

RUN = "01KDZ0A1B2C3D4E5F6G7H80001"


def line(text: str, level: int = 20, key: str = "", stream: str = "stdout") -> LogLine:
    return LogLine(AT, level, stream, text, key)


def wrote(shop: World, *lines: LogLine, task: str = "resize", run: str = RUN, projected: bool = True) -> None:
    """A message of output in the stream, and in the daemon's projection."""

    async def write(client: Client) -> int:
        batch = LogBatch(run, task, 1, "w", lines)
        return await client.bus.publish(client.bus.subjects.output(task, run), codec.encode(batch))

    seq = shop.do(write)
    if not projected:
        return
    shop.log += [LogRow(seq, run, task, 1, one) for one in lines]
    shop.last_log = seq


def test_lines_name_time_level_task_run_and_step(shop: World) -> None:
    wrote(shop, line("begun"), line("too \x1b[2J large\n", 30, "/load#1"), line("boom", 40))
    assert shop("logs").out.splitlines() == [
        f"12:03:38.120  INFO   resize {RUN[-8:]}  begun",
        f"12:03:38.120  WARN   resize {RUN[-8:]} /load#1  too \\x1b[2J large",
        f"12:03:38.120  ERROR  resize {RUN[-8:]}  boom",
    ]


def test_of_one_run_its_name_is_not_repeated(shop: World) -> None:
    wrote(shop, line("begun"))
    assert shop("logs", "--run", RUN).out == "12:03:38.120  INFO   begun\n"
    assert shop.asked[0].run == RUN


def test_lines_as_json(shop: World) -> None:
    wrote(shop, line("begun", key="/a#1"))
    assert json.loads(shop("logs", "--json").out) == {
        "seq": 1,
        "run": RUN,
        "task": "resize",
        "attempt": 1,
        "at": "2026-01-02T12:03:38.120Z",
        "level": 20,
        "stream": "stdout",
        "text": "begun",
        "key": "/a#1",
    }


def test_levels_and_patterns_select(shop: World) -> None:
    wrote(shop, line("order A1 ok"), line("order A2 slow", 30), line("order A3 bad", 40), line("disk bad", 50))
    assert [one.split("  ")[-1] for one in shop("logs", "--level", "error").out.splitlines()] == [
        "order A3 bad",
        "disk bad",
    ]
    assert [one.split("  ")[-1] for one in shop("logs", "-g", r"A\d b|slow$", "-n", "1").out.splitlines()] == [
        "order A3 bad"
    ]
    assert [(query.level, query.limit) for query in shop.asked] == [(40, 200), (0, 10_000)]


def test_nothing_found_is_said_beside_the_output(shop: World) -> None:
    assert shop("logs", "--task", "x", "--since", "5m") == (0, "", "no line matches\n")


def test_a_level_that_is_none_is_wrong_usage(shop: World) -> None:
    assert shop("logs", "--level", "loud").code == 2


@pytest.mark.parametrize("extra", [[], ["--task", "resize"], ["--run", RUN]])
def test_following_begins_where_the_history_ends(shop: World, extra: list[str]) -> None:
    wrote(shop, line("one"), line("two"))
    wrote(shop, line("three"))
    wrote(shop, line("four"), line("boring", 10), projected=False)
    wrote(shop, line("end"), projected=False)

    class Ending(Told):
        """A log that somebody stops following when `end` comes."""

        async def follow_logs(
            self, *, task: str = "*", run: str = "*", after: int | None = None
        ) -> AsyncIterator[LogRow]:
            async for row in super().follow_logs(task=task, run=run, after=after):
                yield row
                if row.line.text == "end":
                    return

    shop.client = Ending
    lines = shop("logs", "-f", "--level", "info", *extra).out.splitlines()
    assert [one.split()[-1] for one in lines] == ["one", "two", "three", "four", "end"]
