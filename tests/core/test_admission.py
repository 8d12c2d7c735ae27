"""Admission: no limit is ever exceeded, nobody waits who could go, and keys take turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from holdfast.core.admission import Admission, Cause, Hold, QueueLimits, wants
from holdfast.core.model import Holder, Limits, Rate, Run, State

NOW = 1000.0


def run(number: int, *, task: str = "ship", queue: str = "q", priority: int = 5, key: str = "", rate: str = "") -> Run:
    return Run(
        id=f"R{number}",
        task=task,
        queue=queue,
        priority=priority,
        state=State.QUEUED,
        created_at=NOW,
        first=number,
        concurrency_key=key,
        rate_key=rate,
    )


def admission(limits: QueueLimits | None = None, *, tasks: dict[str, Limits] | None = None) -> Admission:
    made = Admission()
    made.govern("q", limits or QueueLimits())
    for task, of_task in (tasks or {"ship": Limits()}).items():
        made.declare(task, of_task)
    made.serve(frozenset(tasks or {"ship": Limits()}))
    return made


def queued(made: Admission, runs: Iterable[Run]) -> None:
    for each in runs:
        made.note(each, NOW)


def begin(made: Admission, one: Run, at: float = NOW) -> Run:
    """The journal tells of its admission, then of its start."""
    admitted = replace(one, admitted=True, offered=True)
    made.note(admitted, at, told=True)
    begun = replace(admitted, state=State.RUNNING, attempt=one.attempt + 1, fresh=False, holder=Holder("w", "n", "i"))
    made.note(begun, at, started=True)
    return begun


def end(made: Admission, one: Run, at: float = NOW) -> None:
    made.note(replace(one, state=State.COMPLETED, holder=None, admitted=False), at)


def ids(runs: Iterable[Run]) -> list[str]:
    return [each.id for each in runs]


def test_as_many_are_admitted_as_may_run_at_once_and_the_next_when_one_has_ended() -> None:
    made = admission(QueueLimits(concurrency=2))
    queued(made, [run(n) for n in range(1, 5)])
    first, second = made.take(NOW)
    assert ids([first, second]) == ["R1", "R2"]
    assert made.take(NOW) == []
    one = begin(made, first)
    assert made.take(NOW) == []
    end(made, one)
    assert ids(made.take(NOW)) == ["R3"]


def test_a_promised_slot_counts_until_its_admission_is_told_or_withdrawn() -> None:
    made = admission(QueueLimits(concurrency=1))
    queued(made, [run(1), run(2)])
    (first,) = made.take(NOW)
    made.note(replace(first, cancel_requested=False), NOW)  # something else is told of it
    assert made.take(NOW) == []
    made.withdraw(first.id)
    assert ids(made.take(NOW)) == ["R1"]


def test_an_admission_that_came_too_late_frees_the_slot() -> None:
    made = admission(QueueLimits(concurrency=1))
    queued(made, [run(1), run(2)])
    (first,) = made.take(NOW)
    cancelled = replace(first, state=State.CANCELLED)
    made.note(cancelled, NOW)
    assert ids(made.take(NOW)) == ["R2"]


@pytest.mark.parametrize(
    "left",
    [
        {"state": State.WAITING, "holder": None, "admitted": False},
        {"state": State.RETRYING, "holder": None, "admitted": False, "fresh": True},
        {"state": State.DEAD, "holder": None, "admitted": False},
    ],
    ids=lambda left: str(left["state"]),
)
def test_who_waits_fails_or_ends_has_no_slot(left: dict[str, object]) -> None:
    made = admission(QueueLimits(concurrency=1))
    queued(made, [run(1), run(2)])
    (first,) = made.take(NOW)
    begun = begin(made, first)
    made.note(replace(begun, **left), NOW)
    assert ids(made.take(NOW)) == ["R2"]


def test_who_was_interrupted_keeps_its_slot_for_the_next_worker() -> None:
    made = admission(QueueLimits(concurrency=1))
    queued(made, [run(1), run(2)])
    (first,) = made.take(NOW)
    begun = begin(made, first)
    made.note(replace(begun, state=State.QUEUED, holder=None), NOW)
    assert made.take(NOW) == []
    assert made.slots("q") == 1


def test_a_resumed_run_goes_before_those_that_came_about_later() -> None:
    made = admission(QueueLimits(concurrency=1))
    queued(made, [run(n) for n in range(1, 4)])
    (first,) = made.take(NOW)
    begun = begin(made, first)
    waiting = replace(begun, state=State.WAITING, holder=None, admitted=False)
    made.note(waiting, NOW)
    (second,) = made.take(NOW)
    made.note(replace(waiting, state=State.QUEUED, offered=True), NOW)
    end(made, begin(made, second))
    assert ids(made.take(NOW)) == ["R1"]


def test_priorities_go_first_to_last_and_within_one_by_age() -> None:
    made = admission(QueueLimits(concurrency=1))
    queued(made, [run(1, priority=9), run(2), run(3, priority=0), run(4), run(5, priority=0)])
    order = []
    while taken := made.take(NOW):
        order += ids(taken)
        end(made, begin(made, taken[0]))
    assert order == ["R3", "R5", "R2", "R4", "R1"]


def test_each_key_has_its_own_bound_and_the_queue_a_cap_over_all() -> None:
    made = admission(QueueLimits(concurrency=5, key_concurrency=2))
    queued(made, [run(n, key="abc"[n % 3]) for n in range(1, 20)])
    taken = made.take(NOW)
    assert sorted(Counter(each.concurrency_key for each in taken).values()) == [1, 2, 2]
    assert made.take(NOW) == []


def test_a_key_with_a_long_backlog_does_not_starve_the_others() -> None:
    made = admission(QueueLimits(concurrency=4))
    queued(made, [run(n, key="hog") for n in range(1, 10_001)])
    queued(made, [run(n, key=f"k{n}") for n in range(10_001, 10_101)])
    served: list[str] = []
    while len(served) < 202:
        for each in made.take(NOW):
            served.append(each.concurrency_key)
            end(made, begin(made, each))
    assert len(set(served[:101])) == 101, "each key has had its turn once"
    assert set(served[101:]) == {"hog"}


def test_a_thousand_keys_at_their_limit_are_not_looked_at_again_and_again() -> None:
    made = admission(QueueLimits(key_concurrency=1))
    queued(made, [run(2 * n + m, key=f"k{n}") for n in range(1000) for m in range(2)])
    running = {each.concurrency_key: begin(made, each) for each in made.take(NOW, 5000)}
    assert len(running) == 1000
    looked: list[str] = []
    block = made._block
    made._block = lambda queue, one, now: looked.append(one.id) or block(queue, one, now)  # type: ignore[func-returns-value]
    for key in ("k7", "k500", "k999"):
        end(made, running[key])
        assert [each.concurrency_key for each in made.take(NOW)] == [key]
    assert len(looked) < 20


def test_a_task_is_limited_over_all_queues() -> None:
    made = admission(tasks={"ship": Limits(concurrency=2), "pack": Limits()})
    made.govern("p", QueueLimits())
    queued(made, [run(1), run(2, queue="p"), run(3), run(4, task="pack")])
    taken = made.take(NOW)
    assert Counter(each.task for each in taken) == {"ship": 2, "pack": 1}
    assert made.take(NOW) == []


def test_when_a_task_of_two_queues_ends_in_one_the_other_goes_on() -> None:
    made = admission(tasks={"ship": Limits(concurrency=1)})
    made.govern("p", QueueLimits())
    queued(made, [run(1), run(2, queue="p")])
    (first,) = made.take(NOW)
    assert made.take(NOW) == []
    end(made, begin(made, first))
    assert len(made.take(NOW)) == 1


def test_what_no_worker_serves_waits_and_holds_nobody_up() -> None:
    made = admission(QueueLimits(concurrency=1), tasks={"ship": Limits(), "pack": Limits()})
    made.serve(frozenset({"pack"}))
    queued(made, [run(1), run(2, task="pack")])
    assert ids(made.take(NOW)) == ["R2"]
    assert made.why(run(1), NOW) == Hold(Cause.UNSERVED)
    made.govern("q", QueueLimits())
    made.serve(frozenset({"ship"}))
    assert ids(made.take(NOW)) == ["R1"]


def test_a_paused_queue_admits_nobody_until_it_is_resumed() -> None:
    made = admission()
    queued(made, [run(1)])
    made.pause(frozenset({"q"}))
    assert made.take(NOW) == []
    assert made.why(run(1), NOW) == Hold(Cause.PAUSED)
    made.pause(frozenset())
    assert ids(made.take(NOW)) == ["R1"]


def test_limits_change_while_runs_run() -> None:
    made = admission(QueueLimits(concurrency=3))
    queued(made, [run(n) for n in range(1, 8)])
    running = [begin(made, each) for each in made.take(NOW)]
    made.govern("q", QueueLimits(concurrency=1))
    end(made, running[0])
    end(made, running[1])
    assert made.take(NOW) == []
    end(made, running[2])
    assert ids(made.take(NOW)) == ["R4"]
    made.govern("q", QueueLimits(concurrency=3))
    assert ids(made.take(NOW)) == ["R5", "R6"]
    made.govern("q", QueueLimits())
    assert ids(made.take(NOW)) == ["R7"]


def test_a_rate_counts_starts_in_a_sliding_window_however_late_they_come() -> None:
    made = admission(QueueLimits(rate=Rate(2, 10)))
    queued(made, [run(n) for n in range(1, 9)])
    first, second = made.take(NOW)
    begin(made, first, NOW + 1)
    assert made.take(NOW + 10.9) == []
    (third,) = made.take(NOW + 11.5)
    assert third.id == "R3"
    begin(made, second, NOW + 12)
    begin(made, third, NOW + 13)
    assert made.take(NOW + 21.9) == []
    assert made.wake_at() == pytest.approx(NOW + 22, abs=0.1)
    assert ids(made.take(NOW + 22.1)) == ["R4"]
    assert made.take(NOW + 22.9) == []
    assert ids(made.take(NOW + 23.1)) == ["R5"]


def test_a_rate_of_a_task_counts_each_key_apart() -> None:
    made = admission(tasks={"ship": Limits(rate=Rate(1, 10, "to"))})
    queued(made, [run(n, rate="ab"[n % 2]) for n in range(1, 7)])
    taken = made.take(NOW)
    assert sorted(each.rate_key for each in taken) == ["a", "b"]
    for each in taken:
        begin(made, each, NOW + (0 if each.rate_key == "a" else 5))
    assert made.take(NOW + 9) == []
    assert [each.rate_key for each in made.take(NOW + 11)] == ["a"]


def test_a_resumed_run_is_no_start() -> None:
    made = admission(tasks={"ship": Limits(rate=Rate(1, 10))})
    queued(made, [run(1), replace(run(2), attempt=1, fresh=False), replace(run(3), attempt=1, fresh=False)])
    assert ids(made.take(NOW)) == ["R1", "R2", "R3"]


def test_what_is_held_or_about_to_be_cancelled_is_not_admitted() -> None:
    made = admission()
    queued(made, [replace(run(1), held="overlap"), replace(run(2), cancel_requested=True)])
    assert made.take(NOW) == []


def test_why_names_the_limit_that_holds_a_run_back() -> None:
    tasks = {"ship": Limits(concurrency=1, rate=Rate(1, 60))}
    made = admission(QueueLimits(concurrency=9, key_concurrency=1), tasks=tasks)
    queued(made, [run(1, key="a"), run(2, key="a")])
    (first,) = made.take(NOW)
    begun = begin(made, first)
    assert made.why(run(2, key="a"), NOW) == Hold(Cause.KEY, 1)
    end(made, begun)
    hold = made.why(run(2, key="a"), NOW)
    assert hold is not None
    assert (hold.cause, hold.bound, hold.per) == (Cause.TASK_RATE, 1, 60.0)
    assert hold.until == pytest.approx(NOW + 60, abs=0.1)


# --- whatever happens


class Model:
    """A queue played at random, with the counting done by hand."""

    def __init__(self, limits: QueueLimits, tasks: dict[str, Limits]) -> None:
        self.limits, self.tasks = limits, tasks
        self.made = admission(limits, tasks=tasks)
        self.now = NOW
        self.runs: dict[str, Run] = {}
        self.promised: set[str] = set()
        self.starts: list[tuple[float, Run]] = []

    def slots(self) -> list[Run]:
        return [each for each in self.runs.values() if each.holder or each.admitted or each.id in self.promised]

    def check(self) -> None:
        slots = self.slots()
        assert len(slots) <= (self.limits.concurrency or 10**9)
        for key, count in Counter(each.concurrency_key for each in slots).items():
            assert not key or count <= (self.limits.key_concurrency or 10**9)
        for (task, _), count in Counter((each.task, each.concurrency_key) for each in slots).items():
            assert count <= (self.tasks[task].concurrency or 10**9)
        self.check_rate(self.limits.rate, [at for at, _ in self.starts])
        for task, limits in self.tasks.items():
            for key in {each.rate_key for _, each in self.starts}:
                mine = [at for at, each in self.starts if each.task == task and each.rate_key == key]
                self.check_rate(limits.rate, mine)

    @staticmethod
    def check_rate(rate: Rate | None, starts: list[float]) -> None:
        if rate is not None:
            for begin in starts:
                assert sum(begin <= at < begin + rate.per for at in starts) <= rate.limit

    def could_go(self, one: Run) -> bool:
        """Whether no limit is in the way of a run, counted from scratch."""
        slots, limits = self.slots(), self.tasks[one.task]
        key = one.concurrency_key
        if self.limits.concurrency is not None and len(slots) >= self.limits.concurrency:
            return False
        of_key = [each for each in slots if each.concurrency_key == key]
        if self.limits.key_concurrency is not None and key and len(of_key) >= self.limits.key_concurrency:
            return False
        if limits.concurrency is not None and sum(e.task == one.task for e in of_key) >= limits.concurrency:
            return False
        of_task = self.has_room(limits.rate, lambda each: (each.task, each.rate_key) == (one.task, one.rate_key))
        return self.has_room(self.limits.rate, lambda _: True) and (of_task or not one.fresh)

    def has_room(self, rate: Rate | None, counts: object) -> bool:
        if rate is None:
            return True
        open_ = [e for e in self.slots() if e.fresh and e.holder is None and counts(e)]  # type: ignore[operator]
        recent = [at for at, e in self.starts if at + rate.per + 0.02 > self.now and counts(e)]  # type: ignore[operator]
        return len(open_) + len(recent) < rate.limit


BOUND = st.none() | st.integers(1, 3)
RATES = st.none() | st.builds(Rate, st.integers(1, 3), st.sampled_from([1.0, 5.0]))
QUEUE_LIMITS = st.builds(QueueLimits, concurrency=BOUND, key_concurrency=BOUND, rate=RATES)
TASKS = st.fixed_dictionaries({name: st.builds(Limits, concurrency=BOUND, rate=RATES) for name in ("ship", "pack")})
MOVES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 999)), max_size=80)


@settings(max_examples=400, deadline=None)
@given(QUEUE_LIMITS, TASKS, MOVES)
def test_no_limit_is_exceeded_and_nobody_waits_who_could_go(
    limits: QueueLimits, tasks: dict[str, Limits], moves: list[tuple[int, int]]
) -> None:
    model = Model(limits, tasks)
    for move, which in moves:
        play(model, move, which)
        for each in model.made.take(model.now):
            assert model.could_go(each), each
            model.promised.add(each.id)
            model.check()
        idle = [each for each in model.runs.values() if wants(each) and each not in model.slots()]
        assert not [each.id for each in idle if model.could_go(each)]
        model.check()


def play(model: Model, move: int, which: int) -> None:
    """One thing happens: a run comes, an admission is told, one starts, waits, goes on, is interrupted, ends."""
    made, now = model.made, model.now
    everybody = list(model.runs.values())

    def pick(*, held: bool | None = None, admitted: bool | None = None, promised: bool = False) -> Run | None:
        found = [
            each
            for each in everybody
            if (held is None or (each.holder is not None) is held)
            and (admitted is None or each.admitted is admitted)
            and (not promised or each.id in model.promised)
        ]
        return found[which % len(found)] if found else None

    def now_is(one: Run, *, told: bool = False, started: bool = False) -> None:
        model.runs[one.id] = one
        if one.final:
            del model.runs[one.id]
        if told:
            model.promised.discard(one.id)
        made.note(one, now, told=told, started=started)

    match move:
        case 0 | 1:
            number = len(model.runs) + len(model.starts) * 100 + which * 100_000
            task, key = ("ship", "pack")[which % 2], ("", "a", "b")[which % 3]
            new = run(number, task=task, key=key, rate=("", "x")[which % 2], priority=which % 3)
            if new.id not in model.runs:
                now_is(new)
        case 2 if one := pick(promised=True):
            now_is(replace(one, admitted=True, offered=True), told=True)
        case 3 if (one := pick(held=False, admitted=True)) and one.fresh:
            model.starts.append((now, one))
            begun = replace(one, state=State.RUNNING, fresh=False, attempt=1, holder=Holder("w", "n", "i"))
            now_is(begun, started=True)
        case 4 if one := pick(held=True):
            now_is(replace(one, state=State.COMPLETED, holder=None, admitted=False))
        case 5 if one := pick(held=True):
            waiting = replace(one, state=State.WAITING, holder=None, admitted=False)
            now_is(waiting)
            if which % 2:
                now_is(replace(waiting, state=State.QUEUED))
        case 6 if one := pick(held=False, admitted=True):
            now_is(replace(one, state=State.CANCELLED, admitted=False))
        case 7:
            model.now += which / 400
