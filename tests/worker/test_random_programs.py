"""Random programs under random perils, the whole engine in process: they end as foreseen by hand, and nothing is left.

pytest tests/worker/test_random_programs.py --minutes 20
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast import context
from holdfast.core.entries import (
    HOLDERS_OWN,
    AttemptResumed,
    AttemptStarted,
    CancelRequested,
    RunCancelled,
    RunRetried,
    StepCompleted,
    StepFailed,
)
from holdfast.core.lifecycle import UNDO, Kind, Record, fold, story, taken
from holdfast.core.model import Run, State, Timeouts
from holdfast.core.outcomes import Outcomes
from holdfast.core.recall import Recall
from holdfast.core.tree import Tree
from holdfast.errors import RunStateError
from holdfast.testing.world import PROJECT, Settings
from holdfast.wire.values import decode_value, encode_value
from holdfast.worker.checkpoints import CUT
from perils import STOPS, Peril, PerilousWorld, Strike, here
from programs import PROGRAMS, Outside, Program, block, foreseen, has, outside

LATER = 200.0
"""Seconds for which a world goes on after its runs have ended: warm code is let go by then."""


class Case(NamedTuple):
    """A program, where it runs, and what comes in its way."""

    program: Program
    workers: int = 1
    concurrency: int = 100
    warm: int = 100
    rests: bool = True
    conducts: bool = True
    strikes: tuple[Strike, ...] = ()
    ending: str = ""
    """What somebody does to the run: cancel it, kill it, or give it a deadline."""
    at: int = 0
    """At which write, or after how many tenths of a second."""


STRIKES = st.lists(
    st.builds(
        Strike,
        st.integers(1, 9),
        st.sampled_from([*Peril, Peril.DIES_BEFORE, Peril.DIES_AFTER, Peril.STOPS_BEFORE]),
        st.sampled_from([0.1, 1.0, 7.0, 15.0, 60.0]),
    ),
    max_size=8,
).map(tuple)

HOUSES = {
    "workers": st.sampled_from([1, 1, 2]),
    "concurrency": st.sampled_from([1, 2, 100]),
    "warm": st.sampled_from([0, 1, 100]),
    "rests": st.booleans(),
    "conducts": st.booleans(),
}

PERILOUS = st.builds(Case, PROGRAMS, strikes=STRIKES, ending=st.just(""), at=st.just(0), **HOUSES)
ENDED = st.builds(
    Case,
    PROGRAMS,
    strikes=STRIKES,
    ending=st.sampled_from(["cancel", "cancel", "kill", "deadline"]),
    at=st.integers(1, 30),
    **HOUSES,
)


# --- playing ----------------------------------------------------------------------------------------------------------


class Watch:
    """Notices steps that run although their outcome is recorded: an `Observer`."""

    def __init__(self) -> None:
        self.repeated: list[tuple[str, str]] = []
        self.world: PerilousWorld | None = None

    def comes_to(self, run: str, key: str, given: Any) -> None:
        """Of no interest."""

    def runs(self, run: str, key: str) -> None:
        assert self.world is not None
        if not self.has(run):
            return
        mark = Outcomes(story(self.world.steward.records[run])).standing.get(key)
        if isinstance(mark and mark.entry, StepCompleted) or (
            mark is not None and isinstance(mark.entry, StepFailed) and mark.entry.error.type != CUT
            and not key.endswith(UNDO)
        ):  # fmt: skip
            self.repeated.append((run, key))

    def has(self, run: str) -> bool:
        """Whether the worker whose code this is has the run."""
        assert self.world is not None
        holder, life = self.world.steward.runs[run].holder, here()
        return holder is not None and life is not None and holder.worker == life.name

    def drawn(self, run: str, key: str, make: Callable[[], Any]) -> Any:
        return make()


class Play:
    """One case, played."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.watch = Watch()
        self.out = Outside()
        self.world = PerilousWorld(
            Settings({block.id: block}, concurrency=case.concurrency, warm=case.warm),
            list(case.strikes),
            workers=case.workers,
            rests=case.rests,
            conducts=case.conducts,
            observer=self.watch,
        )
        self.watch.world = self.world
        self.out.has = self.watch.has
        self.out.ask = self._asked
        self._sent: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._refused: list[tuple[str, str, int, str]] = []

    # --- what others do ---

    def _asked(self, run: str, kind: str, n: int, id: str, delay: float) -> None:
        clock = self.world.clock
        if delay == 0:
            self.world.spawn(self._answer(run, kind, n, id))
        else:
            clock.call_at(clock.now() + delay, lambda: self.world.spawn(self._answer(run, kind, n, id)))

    async def _answer(self, run: str, kind: str, n: int, id: str) -> None:
        client = self.world.client
        try:
            match kind:
                case "token":
                    await client.complete(id, ["token", n])
                case "event":
                    await client.emit(id, {"run": run, "value": ["event", n]})
                case "signal":
                    await client.signal(run, id, ["signal", n, self._sent[run, id] + 1])
                    self._sent[run, id] += 1
        except RunStateError:  # it has ended; should it be retried, it is told again
            self._refused.append((run, kind, n, id))

    def _end(self, writes: int) -> None:
        if writes == self.case.at and self.case.ending in ("cancel", "kill"):
            self.world.spawn(self._ended(self.case.ending))

    async def _ended(self, how: str) -> None:
        handle = self.world.client.run(self.id)
        with contextlib.suppress(RunStateError):  # it has ended by itself
            await (handle.cancel("enough") if how == "cancel" else handle.kill("enough"))

    # --- the play ---

    async def run(self) -> None:
        world, case = self.world, self.case
        token, entered = outside.set(self.out), context.enter(world.client)
        try:
            await world.open()
            world.on_write = self._end
            limit = Timeouts(schedule_to_close=case.at / 2) if case.ending == "deadline" else None
            payload = encode_value({"program": case.program, "label": "r"})
            settings = block.settings if limit is None else block.settings.but(timeouts=limit)
            created = world.client.new_run(block.id, payload, settings)
            self.id = created.run
            await world.client.start(created)
            await self._until_over()
            self._judge()
            if world.steward.runs[self.id].state in (State.DEAD, State.CANCELLED, State.TIMED_OUT):
                await self._again()
            await self._judge_what_is_left()
        finally:
            await world.close()
            context.leave(world.client, entered)
            outside.reset(token)

    async def _until_over(self) -> None:
        world = self.world
        await world.until_ended(self.id)
        for id in list(world.steward.runs):
            await world.until_ended(id)
        await world.until(lambda: not any(world.steward.live), self.id)

    async def _again(self) -> None:
        """Retry what has ended badly: it comes to its end."""
        before = self.world.steward.runs[self.id]
        self.world.on_write = lambda number: None
        self.out.shown.clear()  # what was undone is done anew
        await self.world.client.retry(self.id)
        refused, self._refused = self._refused, []
        for each in refused:
            await self._answer(*each)
        await self._until_over()
        run = self.world.steward.runs[self.id]
        self._judge_every_run()
        model = foreseen(self.case.program, first=before.attempt + 1)
        cut_off = before.state is not State.DEAD and has(self.case.program, "child", "children")
        if cut_off or run.state is State.TIMED_OUT:
            return  # what became of the children counts; time is over again
        self._judge_end(run, model)

    # --- the judgement ---

    def _judge(self) -> None:
        run, model = self.world.steward.runs[self.id], foreseen(self.case.program)
        self._judge_every_run()
        if self.case.ending and run.state in (State.CANCELLED, State.TIMED_OUT):
            return
        self._judge_end(run, model)
        effects = [(one.label, one.key) for one in self.out.effects]
        missing = model.must - set(effects)
        assert not missing, f"not done: {missing}"
        if not self.case.ending:
            surplus = set(effects) - model.must - model.may
            assert not surplus, f"done, and not foreseen: {surplus}"
            self._judge_order(model.before)

    def _judge_end(self, run: Run, model: Any) -> None:
        assert run.state == model.state, (run.state, run.reason, run.error)
        if run.state is State.COMPLETED:
            assert run.result is not None
            result = decode_value(run.result)
            assert self._plain(result) == model.result
            metadata = {name: decode_value(data) for name, data in run.metadata.items() if name not in model.vague}
            assert metadata == {name: value for name, value in model.metadata.items() if name not in model.vague}
        else:
            assert run.error is not None
            assert run.error.type.rpartition(".")[2] == model.error

    def _judge_order(self, before: list[tuple[frozenset[Any], frozenset[Any]]]) -> None:
        places: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for number, effect in enumerate(self.out.effects):
            if effect.counts:
                places[effect.label, effect.key].append(number)
        for earlier, later in before:
            last = max((place for each in earlier for place in places[each]), default=-1)
            first = min((place for each in later for place in places[each]), default=math.inf)
            assert last < first, f"{earlier} before {later}"

    def _plain(self, value: Any) -> Any:
        """A result without what differs from run to run, which is checked here."""
        match value:
            case ["ran", n, key, serial]:
                effect = self.out.effects[serial]
                assert effect.key == key
                standing = self._standing(effect.run).get(key)
                assert standing is None or decode_value(standing) == value or effect.what == "pay", (key, value)
                return ["ran", n, key]
            case ["taken", *_]:
                return ["taken"]
            case ["completed", came]:
                return ["completed", sorted((self._plain(each) for each in came), key=str)]
            case ["signal", n, _]:
                return ["signal", n]
            case {"value": given}:
                return given
            case list():
                return [self._plain(each) for each in value]
        return value

    def _standing(self, run: str) -> dict[str, bytes]:
        marks = Outcomes(story(self.world.steward.records[run])).standing
        return {key: mark.entry.value for key, mark in marks.items() if isinstance(mark.entry, StepCompleted)}

    def _judge_every_run(self) -> None:
        assert self.watch.repeated == []
        for id, records in self.world.steward.records.items():
            run = self.world.steward.runs[id]
            judge_journal(run, records)
            self._judge_undos(run, records)
            self._judge_signals(records)
        if not any(strike.peril in STOPS for strike in self.case.strikes):
            paid = [(one.run, one.key) for one in self.out.effects if one.what == "pay"]
            assert len(paid) == len(set(paid)), paid
        counted = [(one.run, one.key) for one in self.out.effects if one.what == "pay" and one.counts]
        assert len(counted) == len(set(counted)), counted
        for (run_id, place), values in self.out.shown.items():
            assert all(encode_value(value) == encode_value(values[0]) for value in values), (run_id, place, values)

    def _judge_undos(self, run: Run, records: list[Record]) -> None:
        """What completed last is undone first, once; and all of it where the run was not killed."""
        owed: list[str] = []
        undone: set[str] = set()
        killed = False
        for entry in story(records):
            match entry:
                case StepCompleted(undo=bytes()):
                    owed.append(entry.key)
                case StepCompleted() if entry.key.endswith(UNDO):
                    assert owed.pop() == entry.key.removesuffix(UNDO)
                    undone.add(entry.key)
                case RunCancelled() | CancelRequested():
                    killed |= getattr(entry, "killed", False) or getattr(entry, "kill", False)
                case RunRetried():
                    killed = False
        assert run.state is State.COMPLETED or killed or not owed
        assert {one.key for one in self.out.undone if one.run == run.id and one.counts} >= undone

    def _judge_signals(self, records: list[Record]) -> None:
        got: defaultdict[str, list[int]] = defaultdict(list)
        for entry in story(records):
            if isinstance(entry, StepCompleted) and "/signal:" in entry.key:
                got[entry.key.rpartition("/")[2].partition("#")[0]].append(decode_value(entry.value)[2])
        for name, numbers in got.items():
            assert numbers == list(range(1, len(numbers) + 1)), (name, numbers)

    async def _judge_what_is_left(self) -> None:
        world = self.world
        await world.advance(LATER)
        while world._due < math.inf:
            world.clock.advance(max(0.0, world._due - world.clock.now()))
            await world.settle()
        for run in world.steward.runs.values():
            assert run.final
            assert (run.holder, run.offered, run.armed, run.waits) == (None, False, False, frozenset()), run
        for consumer in world.server.project(PROJECT).consumers.values():
            assert consumer.state.pending == 0
            assert not [seq for seq in consumer._waits if consumer._stream.get(seq) is not None]
        for one in world.staff:
            worker = one.worker
            assert worker._attempts == {}
            assert worker._parked == {}
            assert worker._items == set()
            assert worker._waiting == []
            left = [task for task in one.life.tasks if not task.done()]
            assert len(left) <= 3, left


pytestmark = pytest.mark.filterwarnings(
    # A worker is killed by dropping every further step of its code: what that had just made is never awaited.
    "ignore:Exception ignored in. <coroutine object:pytest.PytestUnraisableExceptionWarning",
    "ignore:coroutine .* was never awaited:RuntimeWarning",
)


def judge_journal(run: Run, records: list[Record]) -> None:
    """What must hold of any journal."""
    assert fold(records) == run
    for cut in range(1, len(records)):
        assert fold(records[cut:], fold(records[:cut])) == run
    recall, tree = Recall(), Tree()
    claims: set[str] = set()
    holder, attempt = "", 0
    before: Run | None = None
    for record in records:
        for entry, after in taken(before, record):
            recall.add(entry)
            tree.add(entry)
            list(tree.walk())
            match entry:
                case AttemptStarted():
                    assert entry.attempt == attempt + 1
                    attempt = entry.attempt
            if isinstance(entry, AttemptStarted | AttemptResumed):
                assert not holder
                assert entry.nonce not in claims
                claims.add(entry.nonce)
                holder = entry.nonce
            elif isinstance(entry, HOLDERS_OWN):
                assert record.writer == holder, (entry, record.writer, holder)
            holder = holder if after.holder is not None else ""
            before = after
        before = fold([record], before)
    assert len([record for record in records if record.kind is Kind.LOG]) <= run.last


# --- the tests --------------------------------------------------------------------------------------------------------


@pytest.fixture
def minutes(request: pytest.FixtureRequest) -> float:
    return float(request.config.getoption("--minutes"))


def explore(cases: st.SearchStrategy[Case], minutes: float, examples: int) -> None:
    """Play cases that are drawn: so many, and for a long run as many again until its time is over."""

    @settings(max_examples=examples, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))
    @given(cases)
    def play(case: Case) -> None:
        asyncio.run(Play(case).run())

    until = time.monotonic() + minutes * 60
    play()
    while time.monotonic() < until:
        play()


def test_programs_end_as_foreseen_whatever_happens_to_their_workers(minutes: float) -> None:
    explore(PERILOUS, minutes / 2, 90)


def test_programs_that_somebody_ends_undo_what_they_did_and_come_to_their_end_when_retried(minutes: float) -> None:
    explore(ENDED, minutes / 2, 60)
