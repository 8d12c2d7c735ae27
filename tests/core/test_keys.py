"""Keys of runs: their ids, what frees them, what puts a run off; expectations by hand from BEHAVIOURS "Idempotency"."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from holdfast.core import ids
from holdfast.core.entries import Postponed, RunCreated
from holdfast.core.keys import Debounce, holds, in_generation, postponed, run_id
from holdfast.core.lifecycle import Kind, Record, fold
from holdfast.core.model import Key, KeyKind, Run, State

AT = 1_000_000.0
DAY = 86_400.0


def of_state(state: State, until: float | None = AT + DAY) -> Run:
    key = Key(KeyKind.IDEMPOTENCY, "A1", until=until)
    return Run(id="r", task="ship", queue="default", priority=5, state=state, created_at=AT, key=key)


HELD = [
    # state, while the key's time is not over, once it is over
    ("delayed", True, True),
    ("queued", True, True),
    ("running", True, True),
    ("waiting", True, True),
    ("retrying", True, True),
    ("compensating", True, True),
    ("completed", True, False),
    ("cancelled", True, False),
    ("failed", False, False),
    ("dead", False, False),
    ("expired", False, False),
    ("timed_out", False, False),
]


@pytest.mark.parametrize(("state", "before", "after"), HELD)
def test_a_live_run_has_its_key_and_an_ended_one_as_its_end_says(state: str, before: bool, after: bool) -> None:
    run = of_state(State(state))
    assert holds(run, AT + DAY - 0.001) is before
    assert holds(run, AT + DAY) is after
    assert holds(of_state(State(state), until=None), AT + 100 * 365 * DAY) is before


def test_every_state_is_in_the_table() -> None:
    assert {state for state, *_ in HELD} == {state.value for state in State}


def test_the_id_says_task_kind_key_and_generation_and_nothing_else() -> None:
    one = run_id("ship", Key(KeyKind.IDEMPOTENCY, "A1", until=3.0))
    assert ids.is_run_id(one)
    assert one == run_id("ship", Key(KeyKind.IDEMPOTENCY, "A1", until=4.0, leading=True))
    others = [
        run_id("bill", Key(KeyKind.IDEMPOTENCY, "A1")),
        run_id("ship", Key(KeyKind.DEBOUNCE, "A1")),
        run_id("ship", Key(KeyKind.IDEMPOTENCY, "A2")),
        run_id("ship", Key(KeyKind.IDEMPOTENCY, "A1", generation=1)),
        run_id("ship", Key(KeyKind.IDEMPOTENCY, "A", generation=11)),
        run_id("shipA", Key(KeyKind.IDEMPOTENCY, "1")),
    ]
    assert len({one, *others}) == 7


# --- debounce -------------------------------------------------------------------------------------------------------


def triggered(at: float, delay: float = 5.0, *, payload: bytes = b"p", latest: float | None = None) -> RunCreated:
    key = Key(KeyKind.DEBOUNCE, "A1", until=latest)
    return in_generation(RunCreated("", at, "ship", payload, due=at + delay, key=key), 0)


def window(at: float = AT, delay: float = 5.0, latest: float | None = None) -> Run:
    run = fold([Record(1, Kind.LOG, "", (triggered(at, delay, payload=b"first", latest=latest),))])
    assert run is not None
    return run


@pytest.mark.parametrize(
    ("run", "again", "due"),
    [
        (window(), triggered(AT + 3), AT + 8),
        (window(delay=60), triggered(AT + 3), AT + 60),  # only later
        (window(), triggered(AT + 4.999, 0.001), AT + 5),
        (window(latest=AT + 7), triggered(AT + 1), AT + 6),
        (window(latest=AT + 7), triggered(AT + 3), AT + 7),  # no later than that
        (window(latest=AT + 7), triggered(AT + 6.999), AT + 7),
        (window(latest=AT + 7), triggered(AT + 7), None),  # its time is over: a new window
        (window(), triggered(AT + 6), AT + 11),  # its timer is late: it is put off all the same
        (window(delay=60, latest=AT + 30), triggered(AT + 3), AT + 60),  # the first delay stands
    ],
)
def test_a_window_is_put_off_from_each_trigger_on_up_to_its_end(run: Run, again: RunCreated, due: float | None) -> None:
    expected = None if due is None else Postponed(again.at, due, b"p")
    assert postponed(run, again) == expected


def test_a_trailing_trigger_gives_the_run_its_payload_and_a_leading_one_leaves_it() -> None:
    trailing = triggered(AT + 1)
    leading = in_generation(
        RunCreated("", AT + 1, "ship", b"p", due=AT + 6, key=Key(KeyKind.DEBOUNCE, "A1", leading=True)), 0
    )
    for again, payload in ((trailing, b"p"), (leading, b"first")):
        entry = postponed(window(), again)
        assert entry is not None
        moved = fold([Record(2, Kind.LOG, "", (entry,))], window())
        assert moved is not None
        assert (moved.payload, moved.due) == (payload, AT + 6)


@pytest.mark.parametrize("state", [state for state in State if state is not State.DELAYED])
def test_a_run_that_is_not_delayed_any_more_ends_its_window(state: State) -> None:
    assert postponed(replace(window(), state=state), triggered(AT + 1)) is None


def test_a_run_whose_end_was_asked_for_ends_its_window() -> None:
    assert postponed(replace(window(), cancel_requested=True), triggered(AT + 1)) is None


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0.01, 30)), max_size=8), st.floats(1, 40) | st.none())
def test_a_window_never_comes_sooner_nor_later_than_its_end(
    triggers: list[tuple[float, float]], most: float | None
) -> None:
    latest = None if most is None else AT + most
    run = window(delay=1.0, latest=latest)
    at, seq = AT, 1
    for after, delay in triggers:
        at, seq, before = at + after, seq + 1, run.due
        entry = postponed(run, triggered(at, delay))
        if entry is None:
            assert latest is not None
            assert at >= latest
            continue
        moved = fold([Record(seq, Kind.LOG, "", (entry,))], run)
        assert moved is not None
        run = moved
        assert run.due is not None
        assert before is not None
        assert run.due >= before
        assert run.due >= min(at + delay, latest or at + delay)
        assert latest is None or run.due <= latest


def test_a_debounce_takes_its_times_as_seconds_or_timedelta() -> None:
    assert Debounce("A1", timedelta(seconds=5), timedelta(minutes=1)) == Debounce("A1", 5.0, 60.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Debounce("", 5.0), "debounce: key: expected a text of 1 to 256 characters, found ''"),
        (lambda: Debounce("x" * 257, 5.0), "debounce: key: expected a text of 1 to 256 characters"),
        (lambda: Debounce("\udc80", 5.0), "debounce: key: expected a text that can be written as UTF-8"),
        (lambda: Debounce("A1", 0.0), "debounce: delay: expected more than 0 seconds, found 0"),
        (lambda: Debounce("A1", -1.0), "debounce: delay: expected seconds from 0 on"),
        (lambda: Debounce("A1", 5.0, 4.0), "debounce: max_delay: expected 5 s, its delay, or more, found 4 s"),
        (lambda: Debounce("A1", 5.0, mode="both"), "debounce: mode is 'trailing' or 'leading', found 'both'"),  # type: ignore[arg-type]
    ],
)
def test_a_debounce_that_can_not_be_says_what_is_wrong(make: object, says: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()  # type: ignore[operator]
    assert str(caught.value).startswith(says)
