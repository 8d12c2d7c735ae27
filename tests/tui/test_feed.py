"""Output is followed without gaps and doubles, whatever a bus loses and repeats."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import Refused
from holdfast.wire.api import LogLine, LogRow, LogsPage, LogsQuery
from holdfast_tui.feed import Feed
from holdfast_tui.gateway import Lost
from holdfast_tui.model.tail import Gap, Tail


def row(seq: int, number: int = 0, text: str = "") -> LogRow:
    return LogRow(seq, "R", "t", 1, LogLine(float(seq), 20, "stdout", text or f"{seq}.{number}"), number)


def message(seq: int) -> list[LogRow]:
    return [row(seq, number) for number in range(1 + seq % 3)]


def rows(*seqs: int) -> list[LogRow]:
    return [line for seq in seqs for line in message(seq)]


class Ended(Exception):
    """The script is over."""


class Bus:
    """A stream of which each following delivers as its script says, and the daemon's history of it."""

    def __init__(self, stream: Sequence[int], scripts: Sequence[Sequence[str]], *, gone: Sequence[int] = ()) -> None:
        self.stream = stream
        self.gone = set(gone)
        """What the stream does not have any more."""
        self.history = True
        self.scripts = [list(script) for script in scripts]
        self.idle = 0
        """How often it was followed since the scripts were over."""

    async def follow_output(self, *, run: str, after: int) -> AsyncGenerator[list[LogRow], None]:
        script = self.scripts.pop(0) if self.scripts else []
        at = [seq for seq in self.stream if seq > after and seq not in self.gone]
        for step in script:
            if step == "lost" or not at:
                break
            if step == "skip":
                at.pop(0)
            elif step == "again":
                yield rows(*[seq for seq in self.stream if seq not in self.gone and seq <= at[0]][-3:])
            elif step == "whole":
                yield rows(*at)
                at = []
            else:
                yield rows(at.pop(0))
        self.idle += script == []
        if self.idle > 4 + 3 * len(self.stream):
            raise Ended
        if not script:
            yield rows(*at)
        raise Lost("the server is gone")

    async def logs(self, query: LogsQuery) -> LogsPage:
        assert query.before is not None
        assert query.after is not None
        if not self.history:
            raise Refused("no history", code="unavailable")
        found = [
            line
            for seq in self.stream
            for line in message(seq)
            if seq > query.after and (line.seq, line.number) < query.before
        ]
        return LogsPage(tuple(found[-query.limit :]), self.stream[-1], len(found) > query.limit)


async def taken(bus: Bus, *, whole: bool = True) -> tuple[list[LogRow], Feed]:
    got: list[LogRow] = []
    feed = Feed(bus, Tail(0, whole=whole), got.extend, pause=0)
    with suppress(Ended):
        await feed.follow()
    return got, feed


SCRIPTS = st.lists(
    st.lists(st.sampled_from(["one", "skip", "again", "lost", "whole"]), min_size=1, max_size=8), max_size=6
)


@given(st.integers(1, 20), SCRIPTS)
def test_each_line_comes_once_and_in_order_over_losses_and_repetitions(last: int, scripts: list[list[str]]) -> None:
    stream = range(1, last + 1)
    got, feed = asyncio.run(taken(Bus(stream, scripts)))
    assert got == rows(*stream)
    assert feed.missing == 0


@given(st.integers(2, 20), st.data())
def test_what_the_stream_has_dropped_is_read_of_the_history(last: int, data: st.DataObject) -> None:
    gone = data.draw(st.sets(st.integers(1, last - 1)))
    stream = range(1, last + 1)
    got, feed = asyncio.run(taken(Bus(stream, [], gone=sorted(gone))))
    assert got == rows(*stream)
    assert feed.missing == 0


async def test_what_is_nowhere_is_counted_and_passed_over() -> None:
    bus = Bus(range(1, 10), [], gone=[4, 5])
    bus.history = False
    got, feed = await taken(bus)
    assert got == rows(1, 2, 3, 6, 7, 8, 9)
    assert feed.missing == 2


async def test_the_feed_of_one_run_has_no_gaps_to_find() -> None:
    got, feed = await taken(Bus([3, 9, 20], [["one", "again", "lost"]]), whole=False)
    assert (got, feed.missing) == (rows(3, 9, 20), 0)


def test_a_stream_that_lost_its_end_gives_its_sequences_again() -> None:
    tail = Tail(0, whole=True)
    assert tail.take(rows(1, 2, 3)).rows == rows(1, 2, 3)
    assert tail.take(rows(2, 3)).rows == []
    other = row(3, text="after the crash")
    assert tail.take([other]).rows == [other]
    assert tail.take([other, *rows(4)]).rows == rows(4)
    assert (tail.repeated, tail.rewound) == (3, 1)


def test_nothing_behind_a_gap_is_taken_before_it_is_closed() -> None:
    tail = Tail(5, whole=True)
    taken = tail.take(rows(6, 8, 9))
    assert (taken.rows, taken.gap) == (rows(6), Gap(6, 8))
    assert tail.take(rows(7, 8)).rows == rows(7, 8)
    assert tail.take(rows(11)).gap == Gap(8, 11)
    tail.excuse(Gap(8, 11))
    assert tail.take(rows(11)).rows == rows(11)
