"""A task run once for each of its durable writes, with the worker killed there: does it come out the same?

The task is first run twice undisturbed, at different times: what differs between those two (a random value that a step
returned, a time) says nothing of crashes and is not compared by value. Then, for each write of the worker into the
journal, a world is made in which the worker dies just before it is stored, and one in which it dies just after. Another
worker goes on. A task that is right ends the same in all of them.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from uuid import UUID

import msgspec

from holdfast.core import ids
from holdfast.core.diff import END, PAYLOAD, Came, Pair, Side, diff
from holdfast.core.entries import Diverged, StepFailed
from holdfast.core.lifecycle import Record, story
from holdfast.core.model import Instant, Run
from holdfast.core.outcomes import Outcomes
from holdfast.errors import RunStuck
from holdfast.handle import RunHandle
from holdfast.task import Task
from holdfast.testing.line import Moment
from holdfast.testing.world import PROJECT, Settings, World
from holdfast.testing.writes import Write, write_of
from holdfast.wire.subjects import Subjects
from holdfast.wire.values import decode_value, encode_value
from holdfast.worker.execution import CUT

if TYPE_CHECKING:
    from holdfast.testing.harness import Harness

LATER: float = 100_003.0
"""Seconds by which the second undisturbed run begins later: what depends on the time differs then."""

MOST_HELP = 1000
"""How often `meanwhile` is asked in one world."""

IDEMPOTENT = "let the outside tell a repetition by run.idempotency_key, or use @step(at_most_once=True, verify=...)"
RAN = "ran "
"""Begins what is noted of a step that ran more often than undisturbed."""

CAPTURE = "take time and chance from run.now(), run.random(), run.uuid(), or from within a step"

Meanwhile: TypeAlias = "Callable[[Harness, RunHandle], Awaitable[None]]"
"""Does what others do while the run waits."""


class Boundary(msgspec.Struct, frozen=True):
    """A place at which the worker was killed."""

    number: int
    """Of the write, from 1."""
    moment: Moment
    write: Write

    def __str__(self) -> str:
        return f"killed {self.moment} write {self.number} ({self.write})"


Progress: TypeAlias = Callable[[int, int, Boundary], None]
"""Told how many of how many crashes were made, and the last one."""


class What(StrEnum):
    """What differs."""

    END = "end"
    """The run's final state, result or error."""
    OUTCOME = "outcome"
    """What was recorded of an await."""
    RUNS = "runs"
    """Which other runs there were, and how they ended."""
    EFFECTS = "effects"
    """What was done to the world outside."""
    REPEATED = "repeated"
    """A step whose outcome was recorded ran again."""
    ARGUMENTS = "arguments"
    """The code that was run again came to the same await with something else."""
    DIVERGED = "diverged"
    """The code that was run again took another way."""
    STUCK = "stuck"
    """The run does not end any more."""
    VARIES = "varies"
    """Two undisturbed runs differ, and no recorded outcome says why."""


class Difference(msgspec.Struct, frozen=True):
    """Something that is not as in the undisturbed run."""

    what: What
    key: str
    """The checkpoint; empty where it is about the run."""
    expected: str
    found: str
    advice: str = ""
    boundaries: tuple[Boundary, ...] = ()
    """Where it shows; none: without any crash."""

    def __str__(self) -> str:
        where = str(self.boundaries[0]) if self.boundaries else "undisturbed"
        more = f", and {len(self.boundaries) - 1} more" if len(self.boundaries) > 1 else ""
        about = f"{self.what} {self.key}".rstrip()
        lines = [f"{about}: expected {self.expected}, found {self.found}", f"    {where}{more}"]
        return "\n".join([*lines, f"    {self.advice}"] if self.advice else lines)


class Note(msgspec.Struct, frozen=True):
    """Something to know that is as it must be: a step that ran twice, a question to an operator."""

    key: str
    text: str
    boundaries: tuple[Boundary, ...]


class CrashReport(msgspec.Struct, frozen=True):
    """What came of killing the worker at every boundary."""

    task: str
    writes: tuple[Write, ...]
    """Of the undisturbed run, in order; the worker was killed before and after each."""
    differences: tuple[Difference, ...]
    notes: tuple[Note, ...]

    @property
    def crashes(self) -> int:
        """How many runs were made with a crash in them."""
        return 2 * len(self.writes)

    @property
    def classes(self) -> dict[str, int]:
        """How many writes there are of each class."""
        return dict(Counter(write.kind for write in self.writes))

    def __str__(self) -> str:
        found = len(self.differences)
        verdict = "no difference" if not found else f"{found} difference{'s' if found > 1 else ''}"
        head = f"{self.task}: {len(self.writes)} durable writes, {self.crashes} crashes, {verdict}"
        return "\n".join([head, *map(str, self.differences), *self.told])

    @property
    def told(self) -> list[str]:
        """The notes in lines."""
        texts = dict.fromkeys(note.text for note in self.notes)
        lines = [f"{', '.join(one.key for one in self.notes if one.text == text)}: {text}" for text in texts]
        if any(note.text.startswith(RAN) for note in self.notes):
            lines.append(f"where that matters: {IDEMPOTENT}")
        return [f"note: {line}" for line in lines]


async def crash_everywhere(
    settings: Settings,
    task: Task[..., Any],
    payload: Mapping[str, Any],
    *,
    harness: Callable[[Settings, World], Harness],
    effects: Callable[[], Any] | None = None,
    reset: Callable[[], Any] | None = None,
    meanwhile: Meanwhile | None = None,
    progress: Progress | None = None,
) -> CrashReport:
    """As `Harness.crash_at_every_boundary`."""
    play = _Play(settings, task, payload, harness, effects, reset, meanwhile)
    model = await play.undisturbed(settings.start)
    other = await play.undisturbed(settings.start + LATER)
    judge = _Judge(model, other)
    total = 2 * len(model.writes)
    for number in range(1, len(model.writes) + 1):
        for moment in Moment:
            fate = _Fate(number, moment)
            played = await play.world(settings.start, fate)
            at = Boundary(number, moment, fate.write or model.writes[number - 1])
            judge.hear(at, played, crashed=fate.write is not None)
            if progress is not None:
                progress(2 * number - (moment is Moment.BEFORE), total, at)
    return CrashReport(task.id, tuple(model.writes), tuple(judge.differences), tuple(judge.notes))


# --- one run ----------------------------------------------------------------------------------------------------------


class _Fate:
    """Dies once, at a write; counts them all."""

    def __init__(self, number: int = 0, moment: Moment = Moment.BEFORE) -> None:
        self.writes_made: list[Write] = []
        self.write: Write | None = None
        """At which it died."""
        self._number = number
        self._moment = moment
        self._subjects = Subjects(PROJECT)

    def writes(self, subject: str, data: bytes) -> Moment | None:
        write = write_of(self._subjects, subject, data)
        self.writes_made.append(write)
        if len(self.writes_made) != self._number:
            return None
        self.write = write
        return self._moment


class _Watch:
    """Counts what was run, and notices what must not be: an `Observer`."""

    def __init__(self) -> None:
        self.ran: Counter[tuple[str, str]] = Counter()
        self.repeated: set[tuple[str, str]] = set()
        self.changed: dict[tuple[str, str], tuple[bytes, bytes]] = {}
        self.world: World | None = None
        self._given: dict[tuple[str, int, str], bytes] = {}

    def comes_to(self, run: str, key: str, given: Mapping[Any, Any]) -> None:
        try:
            data = encode_value({str(name): value for name, value in given.items()})
        except Exception:  # whatever a user's class does on being encoded: it is not compared then
            return
        assert self.world is not None
        found = self.world.steward.runs[run]
        before = self._given.setdefault((run, found.attempt + found.fresh, key), data)
        if before != data and not _equal(before, data):
            self.changed[run, key] = before, data

    def runs(self, run: str, key: str) -> None:
        self.ran[run, key] += 1
        assert self.world is not None
        if self.ran[run, key] == 1:
            return
        mark = Outcomes(story(self.world.steward.records[run])).standing.get(key)
        if mark is not None and not (isinstance(mark.entry, StepFailed) and mark.entry.error.type == CUT):
            self.repeated.add((run, key))

    def drawn(self, run: str, key: str, make: Callable[[], Any]) -> Any:
        """The same in every world, so that worlds can be compared."""
        chance = Random(f"{run}{key}")
        match key.rpartition("/")[2].partition("#")[0]:
            case "random":
                return chance.random()
            case "uuid":
                return UUID(int=chance.getrandbits(128), version=4)
        return make()


class _Played(NamedTuple):
    """What a world was like in the end."""

    run: Run
    records: list[Record]
    others: Counter[str]
    """The other runs, as `task state`."""
    tasks: dict[str, str]
    """By run: its task."""
    watch: _Watch
    writes: list[Write]
    effects: Any
    diverged: list[Diverged]
    stuck: str


class _Play:
    """Makes worlds and runs the task in them."""

    def __init__(
        self,
        settings: Settings,
        task: Task[..., Any],
        payload: Mapping[str, Any],
        harness: Callable[[Settings, World], Harness],
        effects: Callable[[], Any] | None,
        reset: Callable[[], Any] | None,
        meanwhile: Meanwhile | None,
    ) -> None:
        self._settings = settings
        self._task = task
        self._payload = task.signature.encode((), payload)
        self._harness = harness
        self._effects = effects
        self._reset = reset
        self._meanwhile = meanwhile
        self._id = ids.derive(settings.start, "crashes", task.id)

    async def undisturbed(self, start: Instant) -> _Played:
        """Raises: RunStuck: the run does not end."""
        played = await self.world(start, _Fate())
        if played.stuck:
            raise RunStuck(f"{played.stuck}; what others do to it is said by meanwhile=")
        return played

    async def world(self, start: Instant, fate: _Fate) -> _Played:
        """Run the task in a world of its own."""
        if self._reset is not None:
            await _called(self._reset)
        watch = _Watch()
        world = watch.world = World(self._settings, fate=fate, observer=watch, start=start)
        try:
            await world.open()
            stuck = await self._until_over(world)
            return await self._seen(world, watch, fate, stuck)
        finally:
            await world.close()

    async def _until_over(self, world: World) -> str:
        """Go on until nothing goes on; why the run does not end, or nothing."""
        client = world.client
        handle = await client.start(client.new_run(self._task.id, self._payload, self._task.settings, id=self._id))
        for _ in range(MOST_HELP):
            try:
                await world.until_ended(self._id)
                await world.until(lambda: not any(world.steward.live), self._id)
            except RunStuck as error:
                if self._run(world).final:
                    return ""
                if self._meanwhile is None or self._run(world).paused:
                    return str(error)
                before = world.steward.length
                await self._meanwhile(self._harness(self._settings, world), handle)
                await world.settle()
                if world.steward.length == before:
                    return str(error)
            else:
                return ""
        return f"run {self._id} waits again and again"

    def _run(self, world: World) -> Run:
        return world.steward.runs[self._id]

    async def _seen(self, world: World, watch: _Watch, fate: _Fate, stuck: str) -> _Played:
        steward = world.steward
        entries = (entry for records in steward.records.values() for entry in story(records))
        return _Played(
            self._run(world),
            list(steward.records[self._id]),
            Counter(f"{run.task} {run.state}" for run in steward.runs.values() if run.id != self._id),
            {run.id: run.task for run in steward.runs.values()},
            watch,
            fate.writes_made,
            None if self._effects is None else _frozen(await _called(self._effects)),
            [entry for entry in entries if isinstance(entry, Diverged)],
            stuck,
        )


async def _called(function: Callable[[], Any]) -> Any:
    found = function()
    return await found if inspect.isawaitable(found) else found


def _frozen(value: Any) -> Any:
    """The value as it is now, should it be changed later."""
    try:
        return decode_value(encode_value(value))
    except Exception:
        return value


# --- judged -----------------------------------------------------------------------------------------------------------


class _Judge:
    """Compares worlds with the undisturbed one."""

    def __init__(self, model: _Played, other: _Played) -> None:
        self._model = model
        self._differences: dict[tuple[str, ...], Difference] = {}
        self._notes: dict[tuple[str, str], Note] = {}
        pairs = [pair for pair in _compared(model, other) if not pair.same]
        self._varying = {pair.key for pair in pairs if pair.left.came is pair.right.came}
        """What differs between undisturbed runs; its value is not compared."""
        self._arguments: dict[str, tuple[str, str]] = {}
        """By key: the first that differed."""
        self._compares_effects = model.effects == other.effects
        ways = [pair for pair in pairs if pair.key not in self._varying]
        for pair in ways:
            self._differ(What.VARIES, pair.key, _side(pair.left), _side(pair.right), CAPTURE)
        if self._varying == {END} and not ways and model.run.state is other.run.state:
            pair = next(pair for pair in pairs if pair.key == END)
            self._differ(What.VARIES, "", _side(pair.left), _side(pair.right), CAPTURE)
        if not self._compares_effects:
            self._note("effects", "differ between undisturbed runs, so they were not compared")

    @property
    def differences(self) -> Iterator[Difference]:
        return iter(self._differences.values())

    @property
    def notes(self) -> Iterator[Note]:
        return iter(self._notes.values())

    def hear(self, at: Boundary, played: _Played, *, crashed: bool) -> None:
        """Take in what came of a crash, or of a run that did not come so far."""
        if not crashed:
            self._note("writes", "are fewer in some runs, so not every crash came about", at)
        for _, key in sorted(played.watch.repeated):
            self._differ(What.REPEATED, key, "its recorded outcome", "that it ran again", "", at)
        for (_, key), (before, after) in sorted(played.watch.changed.items()):
            first = self._arguments.setdefault(key, (_short(before), _short(after)))
            self._differ(What.ARGUMENTS, key, *first, CAPTURE, at)
        for entry in played.diverged:
            missing = ", ".join(entry.missing[:3])
            self._differ(What.DIVERGED, entry.key, f"to come to {missing}", "another await", CAPTURE, at)
        self._count(at, played)
        if played.run.paused:
            self._note(_asked(played.run), f"the run pauses for an operator here: {played.run.paused}", at)
        elif played.stuck:
            self._differ(What.STUCK, "", "the run's end", played.stuck, "", at)
        else:
            self._compare(at, played)

    def _compare(self, at: Boundary, played: _Played) -> None:
        model = self._model
        for pair in _compared(model, played):
            if pair.same or (pair.key in self._varying and pair.left.came is pair.right.came):
                continue
            what = What.END if pair.key == END else What.OUTCOME
            key = "" if pair.key == END else pair.key
            self._differ(what, key, _side(pair.left), _side(pair.right), "", at)
        if model.run.state is not played.run.state:
            self._differ(What.END, "", model.run.state, played.run.state, "", at)
        if model.others != played.others:
            self._differ(What.RUNS, "", _runs(model.others), _runs(played.others), "", at)
        if self._compares_effects and model.effects != played.effects:
            self._differ(What.EFFECTS, "", f"{model.effects!r:.200}", f"{played.effects!r:.200}", IDEMPOTENT, at)

    def _count(self, at: Boundary, played: _Played) -> None:
        """Note the steps that ran more often than undisturbed."""
        for (run, key), times in sorted(played.watch.ran.items()):
            usual = self._model.watch.ran[run, key]
            if times > usual and not key.rpartition("/")[2].startswith("sleep#"):
                often = "twice" if times == 2 else f"{times} times, not {usual},"
                text = f"{RAN}{often} when killed between its effect and its record"
                self._note(self._named(run, key), text, at)

    def _named(self, run: str, key: str) -> str:
        """A checkpoint; of another run with its task."""
        return key if run == self._model.run.id else f"{key} of {self._model.tasks.get(run, run)}"

    def _differ(self, what: What, key: str, expected: str, found: str, advice: str, at: Boundary | None = None) -> None:
        known = self._differences.get((what, key, expected, found))
        places = (*(known.boundaries if known else ()), *((at,) if at else ()))
        self._differences[what, key, expected, found] = Difference(what, key, expected, found, advice, places)

    def _note(self, key: str, text: str, at: Boundary | None = None) -> None:
        known = self._notes.get((key, text))
        self._notes[key, text] = Note(key, text, (*(known.boundaries if known else ()), *((at,) if at else ())))


def _compared(left: _Played, right: _Played) -> list[Pair]:
    pairs = diff(left.records, right.records, same=_equal).pairs
    return [pair for pair in pairs if pair.key != PAYLOAD]


def _equal(left: bytes, right: bytes) -> bool:
    """Whether two stored values are the same, however their sets are ordered."""
    try:
        return bool(decode_value(left) == decode_value(right))
    except Exception:  # whatever a user's class does on being made again
        return False


def _side(side: Side) -> str:
    if side.error is not None:
        return f"{side.error.type}: {side.error.message:.100}" if side.error.type else side.error.message
    if side.came is Came.RETURNED:
        return _short(side.value or b"\xc0")
    return {Came.ABSENT: "nothing", Came.OPEN: "no outcome"}.get(side.came, side.came)


def _short(data: bytes) -> str:
    try:
        return f"{decode_value(data)!r:.120}"
    except Exception:
        return f"{data!r:.60}"


def _runs(others: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(others.items())) or "no other run"


def _asked(run: Run) -> str:
    return ", ".join(sorted(wait.partition(":")[2] for wait in run.waits if wait.startswith("pause:")))
