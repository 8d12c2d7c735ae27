"""How many processes a pool wants, by hand and in a world of its own; time is a parameter."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast_daemon.scaling import Backlog, Demand, Scaler

LOOK = 0.5


def scaler(size: int = 1, **other: Any) -> Scaler:
    options: dict[str, Any] = {"least": 1, "most": 8, "concurrency": 10, "up_after": 2.0, "idle_after": 60.0}
    return Scaler(**{**options, **other}, size=size)


def waits(ready: int, age: float = 0.0, *, taken: int = 0, queue: str = "orders", **other: Any) -> Backlog:
    return Backlog(queue=queue, ready=ready, age=age, taken=taken, **other)


def asks(*backlogs: Backlog, serving: int = 1, busy: int = 0, **other: Any) -> Demand:
    """What is asked of so many processes, of which the first has all the runs."""
    return Demand(backlogs=backlogs, runs={str(one): 0 if one else busy for one in range(serving)}, **other)


def sizes(of: Scaler, demand: Callable[[float, int], Demand], *, until: float, since: float = 0.0) -> list[int]:
    """What is decided at each look."""
    looks = [since + LOOK * number for number in range(int((until - since) / LOOK) + 1)]
    return [of.decide(now, demand(now, of.size)) for now in looks]


def full(
    ready: int, age: Callable[[float], float] = lambda now: now, pace: float = 0.0
) -> Callable[[float, int], Demand]:
    """All slots taken and so many runs ready, whatever the size."""
    return lambda now, size: asks(waits(ready, age(now), taken=int(now * pace)), serving=size, busy=10 * size)


# --- more -------------------------------------------------------------------------------------------------------------


def test_nothing_to_do_changes_nothing() -> None:
    assert set(sizes(scaler(), lambda now, size: asks(serving=size), until=600)) == {1}


def test_full_slots_and_a_long_wait_double_the_processes_up_to_the_most() -> None:
    found = sizes(scaler(), full(1000), until=12)
    assert sorted(set(found)) == [1, 2, 4, 8]
    assert found == sorted(found)
    assert found[-1] == 8


def test_no_more_processes_than_the_runs_have_use_for() -> None:
    of = scaler()
    assert set(sizes(of, lambda now, size: asks(waits(13, now), serving=size, busy=10), until=12)) == {1, 2, 3}
    assert of.size == 3


def test_what_is_worked_off_in_time_makes_no_process() -> None:
    """Forty runs, a hundred of which are taken up each second: a busy pool, and nobody waits."""
    assert set(sizes(scaler(), full(40, age=lambda now: 0.4, pace=100), until=120)) == {1}


def test_runs_that_will_wait_too_long_make_one_before_they_have() -> None:
    of = scaler()
    found = sizes(of, full(400, age=lambda now: 0.0, pace=40), until=3)
    assert found[:2] == [1, 1]
    assert found[-1] > 1
    assert of.why.startswith("400 runs of orders are ready, ")


def test_a_burst_that_is_gone_at_the_next_look_makes_none() -> None:
    of = scaler()
    assert of.decide(0, asks(waits(500), busy=10)) == 1
    assert of.decide(LOOK, asks(waits(0, taken=500), busy=10)) == 1
    assert of.decide(2 * LOOK, asks(waits(500, taken=500), busy=10)) == 1


def test_no_more_are_started_before_those_that_are_starting_serve() -> None:
    of = scaler()
    found = sizes(of, lambda now, size: asks(waits(1000, now), serving=1, busy=10), until=60)
    assert set(found) == {1, 2}


def test_the_reason_is_said_in_words() -> None:
    of = scaler(size=2)
    for look in range(8):
        of.decide(LOOK * look, asks(waits(318, 12.0), waits(1, 0.1, queue="mail"), serving=2, busy=20))
    assert (of.size, of.why) == (4, "318 runs of orders are ready, the oldest for 12 s")


def test_where_slots_are_free_and_runs_wait_all_the_same_one_more_is_tried_once() -> None:
    found = sizes(scaler(), lambda now, size: asks(waits(6, now), serving=size), until=40)
    assert set(found) == {1, 2}


def test_it_is_tried_again_only_when_nothing_has_waited_meanwhile() -> None:
    of = scaler()
    assert sizes(of, lambda now, size: asks(waits(6, now), serving=size), until=40)[-1] == 2
    of.decide(41, asks(waits(0), serving=2))
    assert sizes(of, lambda now, size: asks(waits(6, now - 41), serving=size), since=42, until=60)[-1] == 3


# --- what does not count ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "held",
    [waits(900, 500.0, paused=True), waits(900, 500.0, room=0), waits(900, 500.0, room=-1), waits(0, 500.0)],
    ids=["paused", "at its limit", "above its limit", "nothing ready"],
)
def test_what_nobody_could_take_up_makes_no_process(held: Backlog) -> None:
    for size in (0, 1, 2):
        of = scaler(size=size, least=0)
        assert max(sizes(of, lambda now, size: asks(held, serving=size, busy=10 * size), until=600)) == size


def test_a_limited_queue_between_the_end_of_one_run_and_the_start_of_the_next_makes_none() -> None:
    def demand(now: float, size: int) -> Demand:
        return asks(waits(900, 500.0, room=1, taken=int(20 * now)), serving=size, busy=9 * size)

    assert set(sizes(scaler(), demand, until=600)) == {1}


def test_room_under_a_limit_that_nobody_has_a_slot_for_makes_some() -> None:
    def demand(now: float, size: int) -> Demand:
        return asks(waits(900, 500.0, room=25), serving=size, busy=10 * size)

    assert set(sizes(scaler(), demand, until=60)) == {1, 2, 4, 7, 8}


# --- none -------------------------------------------------------------------------------------------------------------


def test_the_first_ready_run_makes_the_first_process_at_once() -> None:
    of = scaler(size=0, least=0)
    assert of.decide(0, asks(serving=0)) == 0
    assert of.decide(LOOK, asks(waits(1), serving=0)) == 1
    assert of.why == "1 run of orders is ready and no worker is there"


def test_where_others_serve_the_tasks_too_the_first_one_comes_when_runs_wait() -> None:
    of = scaler(size=0, least=0)
    assert of.decide(0, asks(waits(3, 0.1), serving=0, elsewhere=True)) == 0
    assert of.decide(LOOK, asks(waits(3, 2.1), serving=0, elsewhere=True)) == 1


def test_none_is_left_when_nothing_ran_for_a_while_and_not_sooner() -> None:
    of = scaler(least=0)
    assert sizes(of, lambda now, size: asks(waits(0), serving=size), until=61)[-1] == 0
    of = scaler(least=0)
    assert set(sizes(of, lambda now, size: asks(waits(0, taken=int(now / 30)), serving=size), until=600)) == {1}


def test_drained_processes_have_no_slots_and_the_others_are_full_without_them() -> None:
    def one_is_idle(drained: int) -> list[int]:
        return sizes(
            scaler(size=2),
            lambda now, size: asks(waits(500, now), serving=size, busy=10 * (size - 1), drained=drained),
            until=3,
        )

    assert max(one_is_idle(drained=1)) > max(one_is_idle(drained=0)) == 3


def test_while_all_are_drained_none_is_begun_in_their_place() -> None:
    of = scaler(size=2)
    assert set(sizes(of, lambda now, size: asks(waits(500, now), serving=size, drained=2), until=60)) == {2}
    assert sizes(of, lambda now, size: asks(waits(500, now), serving=size), since=60, until=70)[-1] == 3


# --- fewer ------------------------------------------------------------------------------------------------------------


def test_processes_are_given_up_one_by_one_each_after_a_calm_time() -> None:
    found = sizes(scaler(size=4), lambda now, size: asks(serving=size), until=300)
    changes = [LOOK * look for look in range(1, len(found)) if found[look] != found[look - 1]]
    assert changes == [60.0, 120.5, 181.0]
    assert found[-1] == 1


def test_a_moment_of_work_begins_the_calm_time_anew() -> None:
    def demand(now: float, size: int) -> Demand:
        return asks(serving=size, busy=10 if now % 50 == 0 else 0)

    assert set(sizes(scaler(size=2), demand, until=600)) == {2}


def test_none_is_given_up_that_the_others_would_be_full_without() -> None:
    assert set(sizes(scaler(size=2), lambda now, size: asks(serving=size, busy=9), until=600)) == {2}
    assert sizes(scaler(size=2), lambda now, size: asks(serving=size, busy=8), until=600)[-1] == 1


def test_the_reason_for_fewer_is_said_too() -> None:
    of = scaler(size=2)
    sizes(of, lambda now, size: asks(serving=size), until=61)
    assert (of.size, of.why) == (1, "1 would have done for 60 s")


# --- in a world -------------------------------------------------------------------------------------------------------


class World:
    """Processes with slots, that do so many runs per second at most, and a constant stream of runs."""

    def __init__(self, of: Scaler, *, arriving: float, lasts: float, pace: float, slots: int) -> None:
        self.of = of
        self._arriving, self._lasts, self._pace, self._slots = arriving, lasts, pace, slots
        self._serving = of.size
        self._now = self._owed = self._done = 0.0
        self._ready: deque[float] = deque()
        self._running: deque[float] = deque()
        """When each may end at the soonest."""
        self._taken = 0

    def live(self, looks: int) -> list[int]:
        """The size at each look."""
        return [self.look() for _ in range(looks)]

    def look(self) -> int:
        """One look: a process that was begun at one serves at the next but one."""
        now = self._now = self._now + LOOK
        self._work(now)
        backlog = waits(len(self._ready), now - self._ready[0] if self._ready else 0.0, taken=self._taken)
        before, serving = self.of.size, self._serving
        size = self.of.decide(now, asks(backlog, serving=serving, busy=min(len(self._running), serving * self._slots)))
        self._serving = min(before, size)
        return size

    def _work(self, now: float) -> None:
        self._owed += self._arriving * LOOK
        while self._owed >= 1:
            self._owed -= 1
            self._ready.append(now)
        self._done = min(self._done + self._pace * self._serving * LOOK, self._pace * self._serving * LOOK)
        while self._done >= 1:
            while self._ready and len(self._running) < self._serving * self._slots:
                self._ready.popleft()
                self._running.append(now + self._lasts)
                self._taken += 1
            if not self._running or self._running[0] > now:
                break
            self._running.popleft()
            self._done -= 1


def test_a_world_that_is_out_of_breath_grows_and_keeps_what_it_needs() -> None:
    """A process does twelve runs a second at most, and fifteen come: two are needed, though nearly no slot is used."""
    world = World(scaler(), arriving=15, lasts=0.01, pace=12, slots=10)
    assert world.live(120)[-1] == 2
    assert set(world.live(7000)) == {2}


@settings(max_examples=100, deadline=None)
@given(
    least=st.integers(0, 3),
    more=st.integers(0, 6),
    slots=st.integers(1, 12),
    arriving=st.floats(0, 25),
    lasts=st.floats(0.01, 5),
    pace=st.floats(2, 40),
    begun=st.integers(0, 9),
)
def test_for_a_constant_stream_of_runs_no_process_that_was_given_up_is_started_again(
    least: int, more: int, slots: int, arriving: float, lasts: float, pace: float, begun: int
) -> None:
    most = max(1, least + more)
    of = scaler(
        size=min(max(begun, least), most), least=least, most=most, concurrency=slots, up_after=2.0, idle_after=10.0
    )
    world = World(of, arriving=arriving, lasts=lasts, pace=pace, slots=slots)
    found = world.live(800)
    assert set(found) <= set(range(least, most + 1))
    late = world.live(800)
    if arriving == 0 or arriving * 10 > 1:  # else it is none for most of the time, where none is allowed
        given_up = next((at for at in range(1, len(late)) if late[at] < late[at - 1]), len(late))
        rest = late[given_up:]
        assert rest == sorted(rest, reverse=True)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 300), st.floats(0, 100), st.integers(0, 50), st.booleans(), st.none() | st.integers(-2, 20)
        ),
        max_size=80,
    ),
    st.integers(0, 3),
    st.integers(0, 5),
)
def test_whatever_is_asked_the_size_stays_within_its_bounds(looks: list[Any], least: int, more: int) -> None:
    of = scaler(size=least, least=least, most=least + more, idle_after=3.0)
    for number, (ready, age, busy, paused, room) in enumerate(looks):
        before = of.size
        demand = asks(waits(ready, age, paused=paused, room=room), serving=before, busy=busy)
        size = of.decide(number * LOOK, demand)
        assert least <= size <= least + more
        assert before - 1 <= size <= max(1, 2 * before)
