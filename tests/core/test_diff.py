"""Where two runs part, by key."""

from __future__ import annotations

from holdfast.core.diff import Came, diff
from holdfast.core.entries import (
    AttemptStarted,
    ChildEnded,
    ChildTriggered,
    Entry,
    Inherited,
    RunCompleted,
    RunCreated,
    RunDead,
    StepCompleted,
    StepFailed,
    StepStarted,
    StepVolatile,
)
from holdfast.core.lifecycle import Kind, Record
from holdfast.core.model import ErrorInfo

ERROR = ErrorInfo("payments.CardDeclined", "no")
STARTED = AttemptStarted(2.0, 1, "w", "n")


def run(*entries: Entry, payload: bytes = b"\x80", inherited: tuple[Inherited, ...] = ()) -> list[Record]:
    created = RunCreated("R", 1.0, "order", payload)
    told = [Record(1, Kind.LOG, "", (created, *inherited)), Record(2, Kind.LOG, "n", (STARTED,))]
    for seq, entry in enumerate(entries, 3):
        inbox = isinstance(entry, ChildEnded)
        told.append(Record(seq, Kind.IN if inbox else Kind.LOG, "" if inbox else "n", (entry,)))
    return told


def done(key: str, value: bytes = b"\x01", at: float = 3.0) -> StepCompleted:
    return StepCompleted(key, at, 0.5, value)


def keys(left: list[Record], right: list[Record]) -> list[str]:
    """What differs, in order."""
    return [pair.key for pair in diff(left, right).pairs if not pair.same]


def test_runs_that_recorded_the_same_do_not_part_whenever_it_happened() -> None:
    one = run(done("/a#1", at=3.0), done("/b#1"), RunCompleted(4.0, b"\x07"))
    other = run(done("/b#1"), done("/a#1", at=99.0), RunCompleted(100.0, b"\x07"))
    found = diff(one, other)
    assert found.parting is None
    assert [pair.key for pair in found.pairs] == ["payload", "/a#1", "/b#1", "end"]


def test_runs_part_at_the_first_await_that_came_out_otherwise() -> None:
    found = diff(
        run(done("/a#1"), done("/b#1", b"\x01"), done("/c#1", b"\x01"), RunCompleted(4.0, b"\x01")),
        run(done("/a#1"), done("/b#1", b"\x02"), done("/c#1", b"\x02"), RunCompleted(4.0, b"\x02")),
    )
    assert found.parting is not None
    assert found.parting.key == "/b#1"
    assert (found.parting.left.value, found.parting.right.value) == (b"\x01", b"\x02")
    assert [pair.key for pair in found.pairs if not pair.same] == ["/b#1", "/c#1", "end"]


def test_another_payload_comes_before_every_await() -> None:
    assert keys(run(done("/a#1"), payload=b"\x80"), run(payload=b"\x81\xa1a\x01"))[0] == "payload"


def test_awaits_of_one_run_alone_stand_where_they_happened() -> None:
    left = run(done("/a#1"), done("/b#1"))
    right = run(done("/x#1"), done("/a#1"), done("/y#1"), done("/b#1"), done("/z#1"))
    assert [pair.key for pair in diff(left, right).pairs] == [
        "payload",
        "/x#1",
        "/a#1",
        "/y#1",
        "/b#1",
        "/z#1",
        "end",
    ]
    assert keys(left, right) == ["/x#1", "/y#1", "/z#1"]


def test_how_an_await_came_out_is_told() -> None:
    left = run(
        done("/ok#1"),
        StepFailed("/bad#1", 3.0, 0.1, ERROR),
        StepVolatile("/v#1", 3.0, 0.1, "x"),
        StepStarted("/o#1", 3.0),
    )
    came = {pair.key: (pair.left.came, pair.right.came) for pair in diff(left, run()).pairs}
    assert came == {
        "payload": (Came.RETURNED, Came.RETURNED),
        "/ok#1": (Came.RETURNED, Came.ABSENT),
        "/bad#1": (Came.RAISED, Came.ABSENT),
        "/v#1": (Came.VOLATILE, Came.ABSENT),
        "/o#1": (Came.OPEN, Came.ABSENT),
        "end": (Came.OPEN, Came.OPEN),
    }


def test_a_failure_that_ended_a_run_is_compared_too() -> None:
    dead = run(StepFailed("/a#1", 3.0, 0.1, ERROR), RunDead(4.0, ERROR, "aborted", ("/a#1",)))
    assert keys(dead, run(done("/a#1"), RunCompleted(4.0, b"\xc0"))) == ["/a#1", "end"]
    assert keys(dead, dead) == []


def test_a_childs_id_is_no_difference() -> None:
    def parent(child: str, value: bytes) -> list[Record]:
        return run(ChildTriggered("/c#1", 3.0, child, "t"), ChildEnded("/c#1", 4.0, child, "completed", value))

    assert keys(parent("X", b"\x01"), parent("Y", b"\x01")) == []
    assert keys(parent("X", b"\x01"), parent("Y", b"\x02")) == ["/c#1"]


def test_an_inherited_outcome_is_the_same_as_the_one_that_it_comes_from_unless_it_was_edited() -> None:
    origin = run(done("/a#1", b"\x01"), StepFailed("/b#1", 3.0, 0.1, ERROR))
    same = run(inherited=(Inherited("/a#1", 3.0, 0.5, b"\x01"), Inherited("/b#1", 3.0, 0.1, None, ERROR)))
    assert keys(origin, same) == []
    found = diff(origin, run(inherited=(Inherited("/a#1", 3.0, 0.5, b"\x02", edited=True),)))
    assert found.parting is not None
    assert (found.parting.key, found.parting.right.edited) == ("/a#1", True)


def test_values_are_compared_as_the_caller_says() -> None:
    one, other = run(done("/a#1", b"\x01")), run(done("/a#1", b"\x02"))
    assert diff(one, other, same=lambda left, right: True).parting is None
