"""One run of a task in a world of its own, whose worker dies at one of its writes, or at none; what was seen of it."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from uuid import UUID

from holdfast.core import ids
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
from holdfast.worker.checkpoints import CUT

if TYPE_CHECKING:
    from holdfast.testing.harness import Harness

MOST_HELP = 1000
"""How often `meanwhile` is asked in one world."""

Meanwhile: TypeAlias = "Callable[[Harness, RunHandle], Awaitable[None]]"
"""Does what others do while the run waits."""


class OneDeath:
    """The fate of a worker that dies at one write, whoever comes after it lives on; counts them all."""

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


class Watch:
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
        if before != data and not equal(before, data):
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


class Played(NamedTuple):
    """What a world was like in the end."""

    run: Run
    records: list[Record]
    others: Counter[str]
    """The other runs, as `task state`."""
    tasks: dict[str, str]
    """By run: its task."""
    watch: Watch
    writes: list[Write]
    effects: Any
    diverged: list[Diverged]
    stuck: str


class Play:
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

    async def undisturbed(self, start: Instant) -> Played:
        """Raises: RunStuck: the run does not end."""
        played = await self.world(start, OneDeath())
        if played.stuck:
            raise RunStuck(f"{played.stuck}; what others do to it is said by meanwhile=")
        return played

    async def world(self, start: Instant, fate: OneDeath) -> Played:
        """Run the task in a world of its own."""
        if self._reset is not None:
            await _called(self._reset)
        watch = Watch()
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

    async def _seen(self, world: World, watch: Watch, fate: OneDeath, stuck: str) -> Played:
        steward = world.steward
        entries = (entry for records in steward.records.values() for entry in story(records))
        return Played(
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


def equal(left: bytes, right: bytes) -> bool:
    """Whether two stored values are the same, however their sets are ordered."""
    try:
        return bool(decode_value(left) == decode_value(right))
    except Exception:  # whatever a user's class does on being made again
        return False
