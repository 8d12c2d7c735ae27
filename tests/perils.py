"""A project in memory whose workers are killed, stopped and continued, and whose work items come late and twice.

Everything happens by the count of durable writes and on the virtual clock, so that a peril comes again where the case
does. What is told here of a worker's death is told as in life: its heartbeat ends, its work items come to another one,
and a conductor takes its runs from it, or leaves that to whoever gets the item.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from holdfast import context
from holdfast.bus.ports import Handler, Item, Puller
from holdfast.core.entries import Offered
from holdfast.core.lifecycle import Kind
from holdfast.core.model import Seconds
from holdfast.sealing import SecretKey
from holdfast.testing.life import Life, _life
from holdfast.testing.line import Immortal, Line
from holdfast.testing.world import PROJECT, Settings, World, _Employed
from holdfast.wire import codec
from holdfast.wire.api import Presence
from holdfast.wire.subjects import Stream
from holdfast.worker.pool import Worker

T = TypeVar("T")


class Peril(StrEnum):
    """What happens at a write."""

    DIES_BEFORE = "dies before"
    DIES_AFTER = "dies after"
    STOPS_BEFORE = "stops before"
    """As by SIGSTOP; it is continued, and by then another worker may have its runs."""
    STOPS_AFTER = "stops after"
    DIES_SOON = "dies soon"
    """A moment later, in the middle of whatever it does then."""
    STOPS_SOON = "stops soon"
    AGAIN = "again"
    """A work item that is held is delivered once more."""
    OLD = "old"
    """A work item that was offered before is offered again."""
    LATE = "late"
    """The next work item is delivered late."""
    DRAINS = "drains"
    """A worker is stopped politely."""


STOPS = frozenset({Peril.STOPS_BEFORE, Peril.STOPS_AFTER, Peril.STOPS_SOON})


class Strike(NamedTuple):
    """A peril, so many writes after the one before."""

    gap: int
    peril: Peril
    seconds: Seconds
    """For how long a worker is stopped; how late an item is."""


SOON: Seconds = 0.7

ACK_WAIT: Seconds = 30.0

MOST_BEATS = 400
"""For how many ack waits an item may be held."""

DETECTED: Seconds = 10.0
"""After so long a worker that is stopped counts as dead."""


class MortalLife(Life):
    """A life that can be held up and go on."""

    def __init__(self, clock: Any, name: str) -> None:
        super().__init__(clock)
        self.name = name
        self.frozen = False
        self.buried = False
        """Whether others have taken what it had."""
        self._late: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        if self.frozen:
            self._late.append((function, args))
            return None
        return super().call(function, *args)

    def freeze(self) -> None:
        self.end()
        self.frozen = True

    def thaw(self) -> None:
        loop = asyncio.get_running_loop()
        self.ended = self.frozen = False
        dropped, self._dropped = self._dropped, []
        for callback, args, scope in dropped:
            loop.call_soon(callback, *args, context=scope)
        late, self._late = self._late, []
        for function, given in late:
            self.call(function, *given)


def here() -> MortalLife | None:
    """The life of the worker whose code runs just now."""
    life = _life.get()
    return life if isinstance(life, MortalLife) else None


class PerilousLine(Line):
    """A worker's bus, on which perils come."""

    def __init__(self, world: PerilousWorld, life: MortalLife) -> None:
        super().__init__(PROJECT, world.server, life, Immortal())
        self._world = world
        self._mortal = life

    async def _write(self, subject: str, data: bytes, store: Callable[[], Awaitable[T]]) -> T:
        if not subject.startswith((self.subjects.journal[:-1], self.subjects.letters[:-1])):
            return await store()
        strike = self._world.strikes()
        match strike and strike.peril:
            case Peril.DIES_BEFORE:
                await self._die()
            case Peril.STOPS_BEFORE:
                assert strike is not None
                await self._stop(strike.seconds)
        stored = await store()
        match strike and strike.peril:
            case Peril.DIES_AFTER:
                await self._die()
            case Peril.STOPS_AFTER:
                assert strike is not None
                await self._stop(strike.seconds)
        return stored

    async def _stop(self, seconds: Seconds) -> None:
        self._world.freeze(self._mortal, seconds)
        await asyncio.sleep(0)

    async def pull(self, consumer: str, handler: Handler) -> Puller:
        def deliver(item: Item) -> None:
            self.items.add(item.token)
            self._world.expire(item.token)
            late = self._world.late()
            if late:
                self._world.clock.call_at(self._world.clock.now() + late, lambda: self._life.call(handler, item))
            else:
                self._life.call(handler, item)

        return await super(Line, self).pull(consumer, deliver)


class PerilousEmployed(_Employed):
    """A worker with a line of perils."""

    def __init__(self, name: str, life: MortalLife, world: PerilousWorld, key: SecretKey) -> None:
        settings = world.settings
        self.name = name
        self.life = self.mortal = life
        self.line = PerilousLine(world, life)
        self.stop = asyncio.Event()
        self.worker = self._worker = Worker(
            self.line,
            settings.tasks,
            name=name,
            concurrency=settings.concurrency,
            clock=life.time,
            key=key,
            grace=settings.grace,
            warm=settings.warm,
            drain=0.0,
            background=False,
        )
        self._task = asyncio.get_running_loop().create_task(self._worker.run(self.stop), context=life.context)

    @property
    def gone(self) -> bool:
        """Whether it has drained."""
        return self._task.done()

    @property
    def serves(self) -> bool:
        return not self.life.ended and not self._task.done()


class PerilousWorld(World):
    """The project; time moves as in a harness."""

    def __init__(
        self, settings: Settings, strikes: list[Strike], *, workers: int = 1, rests: bool = True, conducts: bool = True,
        observer: Any = None,
    ) -> None:  # fmt: skip
        """
        Args:
            rests: runs that only wait are suspended at once, else after they have lingered.
            conducts: whoever notices a death takes the runs of the dead; else whoever gets an item does.
        """
        super().__init__(settings, observer=observer)
        self.writes = 0
        """How many there were."""
        self.met: list[str] = []
        """The perils that came."""
        self.deaths = 0
        self.on_write: Callable[[int], None] = lambda number: None
        self._strikes = list(strikes)
        self._since = 0
        self._late: Seconds = 0.0
        self._rests = rests
        self._conducts = conducts
        self._wanted = workers
        self._own = contextvars.copy_context()
        self._spawned: list[asyncio.Task[Any]] = []
        self._staff: list[PerilousEmployed] = []
        self._hired = 0
        self._todo: list[Callable[[], Awaitable[None]]] = []

    # --- workers ----------------------------------------------------------------------------------------------------

    async def _employ(self) -> None:
        while sum(one.serves or one.mortal.frozen for one in self._staff) < self._wanted or not any(
            one.serves for one in self._staff
        ):
            self._hired += 1
            life = MortalLife(self.clock, f"w{self._hired}")
            if self._observer is not None:
                life.context.run(context.observer.set, self._observer)
                life.context.run(context.execution.set, None)
            employed = PerilousEmployed(life.name, life, self, self._key)
            self._staff.append(employed)
            self._workers.append(employed)
            await self._beat(life.name)
            await self._quiet()
            employed.check()

    async def _beat(self, name: str) -> None:
        presence = Presence(
            worker=name, host="h", pid=1, started_at=0.0, at=0.0, tasks=(), queues=(), concurrency=1, running=0
        )
        await self.bus.put("worker", name, codec.encode(presence))

    @property
    def staff(self) -> list[PerilousEmployed]:
        """The workers that live."""
        return [one for one in self._staff if one.serves]

    async def settle(self) -> None:
        while True:
            await self._quiet()
            self._look_at_spawned()
            for one in self._staff:
                one.check()
            if await self._bury():
                continue
            while self._todo:
                await self._todo.pop(0)()
            before = self.steward.length
            attended = await self.steward.attend()
            for one in self.staff:
                await one.worker.look()
                if self._rests:
                    one.life.call(one.worker.rest)
            await self._quiet()
            if not attended and self.steward.length == before and not await self._bury():
                self._look_at_spawned()
                return

    async def _bury(self) -> bool:
        """Take what the dead had; whether somebody died."""
        dead = [one for one in self._staff if not one.mortal.buried and (self._is_dead(one) or one.gone)]
        for one in dead:
            one.mortal.buried = True
            await one.line.close()
            await self._lose(one)
        if dead or not self.staff:
            await self._employ()
            return True
        return False

    def _is_dead(self, one: PerilousEmployed) -> bool:
        return one.life.ended and not one.mortal.frozen

    async def _lose(self, one: PerilousEmployed) -> None:
        await self.bus.purge(Stream.CONTROL, self.bus.subjects.control("worker", one.name))
        if self._conducts:
            self.steward.lose(one.name)
            while await self.steward.attend():
                pass
        for token in sorted(one.line.items):
            self.bus.release(token)

    # --- perils -----------------------------------------------------------------------------------------------------

    def strikes(self) -> Strike | None:
        """A worker is about to store something: what strikes it just then."""
        self.writes += 1
        self._since += 1
        self.on_write(self.writes)
        if not self._strikes or self._since < self._strikes[0].gap:
            return None
        strike, self._since, life = self._strikes.pop(0), 0, here()
        self.met.append(strike.peril)
        match strike.peril:
            case Peril.AGAIN:
                self._deliver_again()
            case Peril.OLD:
                self._offer_old(strike.seconds)
            case Peril.LATE:
                self._late = strike.seconds
            case Peril.DIES_SOON | Peril.STOPS_SOON:
                assert life is not None
                self.clock.call_at(self.clock.now() + SOON, lambda: self._strike_down(life, strike))
            case Peril.DRAINS:
                next(one for one in self._staff if one.life is life).stop.set()
        return strike

    def _strike_down(self, life: MortalLife, strike: Strike) -> None:
        """In the middle of whatever it does."""
        if life.ended:
            return
        if strike.peril is Peril.DIES_SOON:
            life.end()
        else:
            self.freeze(life, strike.seconds)

    def late(self) -> Seconds:
        late, self._late = self._late, 0.0
        return late

    def expire(self, token: str, times: int = 0) -> None:
        """Deliver an item again that nobody acknowledges: in time its worker's heartbeat says that it has it."""

        def look() -> None:
            found = self.bus._delivered(token)
            if found is None or found.seq not in found.consumer._waits:
                return
            if any(token in one.worker._items for one in self.staff):
                if times < MOST_BEATS:
                    self.expire(token, times + 1)
            else:
                self.bus.release(token)

        self.clock.call_at(self.clock.now() + ACK_WAIT, look)

    def _deliver_again(self) -> None:
        items = sorted(token for one in self.staff for token in one.line.items)
        if items:
            self.bus.release(items[-1])

    def _offer_old(self, seconds: Seconds) -> None:
        """Offer again what was offered for some run before."""
        offers = [
            (entry, run.queue, run.priority)
            for run in self.steward.runs.values()
            for record in self.steward.records[run.id]
            if record.kind is Kind.READY
            for entry in record.entries
            if isinstance(entry, Offered)
        ]
        if offers:
            entry, queue, priority = offers[int(seconds * 7) % len(offers)]
            self.spawn(self.bus.publish(self.bus.subjects.ready(entry.run, queue, priority), codec.encode(entry)))

    def freeze(self, life: MortalLife, seconds: Seconds) -> None:
        life.freeze()
        one = next(one for one in self._staff if one.life is life)
        self.clock.call_at(self.clock.now() + DETECTED, lambda: self._todo.append(lambda: self._missed(one)))
        self.clock.call_at(self.clock.now() + seconds, lambda: self._todo.append(lambda: self._continued(one)))

    async def _missed(self, one: PerilousEmployed) -> None:
        if one.mortal.frozen:
            await self._lose(one)

    async def _continued(self, one: PerilousEmployed) -> None:
        if one.mortal.frozen:
            self.steward.dead.discard(one.name)
            await self._beat(one.name)
            one.mortal.thaw()

    # --- what others do ---------------------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Have somebody do something beside the workers."""
        task = asyncio.get_running_loop().create_task(work, context=self._own.copy())
        self._spawned.append(task)

    def _look_at_spawned(self) -> None:
        """Raises: what went wrong there."""
        for task in self._spawned:
            if task.done():
                task.result()
        self._spawned = [task for task in self._spawned if not task.done()]

    async def close(self) -> None:
        for one in self._staff:
            one.mortal.frozen = False
        await super().close()
