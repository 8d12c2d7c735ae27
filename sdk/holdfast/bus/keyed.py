"""Runs with a key: of all who trigger with one, whoever comes first creates the run, and the others find it.

The first fact of such a run goes to its log, create-only under the id that follows from task, key and generation; its
work item or timer follows as an effect, which the conductor, or the next trigger with the key, carries out where the
one that created it died before. A conflict says that the key is known: its newest generation is looked for, and
decides. What is refused is looked at again, so every caller ends with a run that had the key at one moment of its call.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from msgspec.structs import replace

from holdfast.abreast import abreast
from holdfast.bus.journal import Journal, nonce
from holdfast.bus.ports import Publication
from holdfast.core import ids
from holdfast.core.effects import effects
from holdfast.core.entries import Awaited, Batch, RunCreated
from holdfast.core.keys import holds, in_generation, postponed, run_id
from holdfast.core.lifecycle import Kind, Record, fold
from holdfast.core.model import KeyKind, Parent, Run, State
from holdfast.errors import ConnectError, Fenced, HoldfastError, Unanswered, UnknownRun
from holdfast.wire import codec
from holdfast.wire.subjects import Stream

log = logging.getLogger("holdfast.journal")

AT_ONCE = 32
"""Keys of a batch that are looked after one by one at a time."""


_UNDECIDED = (Fenced, Unanswered)
"""Why a run was not created that is looked for one by one."""

WINDOWS = 256
"""Debounce keys whose runs are remembered."""

_LEFT = "run %s is durable; its work item is left to the conductor: %s"


class Found(NamedTuple):
    """The run that a trigger with a key gets."""

    run: Run
    """As it stood then."""
    cached: bool
    """Whether it was there before."""


class Seen(NamedTuple):
    """A run as far as it was read."""

    run: Run
    seq: int
    """Everything up to this sequence is taken in."""

    def on(self, records: Sequence[Record]) -> Seen:
        """The run after what was stored since."""
        run = fold(records, self.run)
        assert run is not None
        return Seen(run, records[-1].seq if records else self.seq)


class Keyed:
    """Creates runs with a key, in the project of a journal. Every call may be repeated: that is what keys are for."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._bus = journal.bus
        self._windows: OrderedDict[str, Seen] = OrderedDict()
        """By id of the first generation's run: the newest run of a debounce key; those used last."""

    async def create(self, created: RunCreated, *, known: bool = False) -> Found:
        """The run of a key: created, found, or put off.

        Args:
            created: its first fact, in the key's first generation.
            known: that there is a run of this generation.

        Raises:
            ConnectError, Unanswered: whether there is a run is unknown; trigger again.
        """
        await self._journal.announce([created])
        newest, fresh = await (self._newest(created) if known else self._remembered(created)), created
        while True:
            if newest is not None:
                if (found := await self._taken(newest, created)) is not None:
                    return found
                fresh = in_generation(created, _generation(newest.run) + 1)
            if (run := await self._made(fresh)) is not None:
                return Found(run, cached=False)
            newest = await self._newest(fresh)

    async def create_many(self, runs: Sequence[RunCreated]) -> list[Found | Exception]:
        """The same of several, in order, pipelined as far as their keys are new; what went wrong in place of a run."""
        await self._journal.announce(runs)
        new = [number for number, run in enumerate(runs) if run.key and run.key.kind is KeyKind.IDEMPOTENCY]
        outcomes = dict(zip(new, await self._made_many([runs[number] for number in new]), strict=True))
        left = defaultdict[str, list[int]](list)
        for number, run in enumerate(runs):
            if number not in outcomes or isinstance(outcomes[number], _UNDECIDED):
                left[run.run].append(number)
        await abreast((partial(self._create_in_turn, runs, same, outcomes) for same in left.values()), AT_ONCE)
        return [outcomes[number] for number in range(len(runs))]

    async def _create_in_turn(
        self, runs: Sequence[RunCreated], same: list[int], into: dict[int, Found | Exception]
    ) -> None:
        """Create those of one key one after the other: the last one counts."""
        for number in same:
            try:
                into[number] = await self.create(runs[number], known=isinstance(into.get(number), Fenced))
            except HoldfastError as error:
                into[number] = error

    async def create_all(self, runs: Sequence[RunCreated]) -> list[int | Found | Exception]:
        """The same of runs with a key and of such as have none, in order; of these as `Journal.create_many`."""
        plain_runs = [run for run in runs if run.key is None]
        keyed_runs = [run for run in runs if run.key is not None]
        plain = iter(await self._journal.create_many(plain_runs) if plain_runs else [])
        keyed = iter(await self.create_many(keyed_runs) if keyed_runs else [])
        return [next(plain if run.key is None else keyed) for run in runs]

    async def join(self, found: Sequence[tuple[Run, Parent]]) -> None:
        """Have runs tell others of their end, too; where one has ended already, it is told now. May be repeated.

        Raises:
            ConnectError, Unanswered: some may not have been told.
        """
        import asyncio  # 20 ms, for who only imports a task or the configuration

        for begin in range(0, len(found), AT_ONCE):
            await asyncio.gather(*(self._join(run, parent) for run, parent in found[begin : begin + AT_ONCE]))

    async def _join(self, run: Run, parent: Parent) -> None:
        mark = ids.digest(parent.run, parent.key)
        entry = Awaited(parent.run, self._journal.clock(), parent.key)
        await self._journal.tell(run.id, entry, dedupe=f"{run.id}-awaited-{mark}")
        stands = await self._journal.load(run.id, run.first)  # it tells of an end that comes after the entry
        if stands.final:
            await self._journal.tell_end(stands, parent, again=True)

    # --- a new run --------------------------------------------------------------------------------------------------

    async def _made(self, created: RunCreated) -> Run | None:
        """The run, with what follows from its creation done; None where there is one of its id."""
        mark = nonce()
        try:
            seq = await self._journal.append(created.run, 0, mark, [created], insist=False)
        except Fenced:
            return None
        seen = await self._follow_up(Seen(_folded(created, mark, seq), seq))
        self._remember(seen)
        return seen.run

    async def _made_many(self, runs: Sequence[RunCreated]) -> list[Found | Exception]:
        """Those of the runs that are new; why others were not created, `Fenced` where there is one of its id."""
        marks = [nonce() for _ in runs]
        publications = [
            Publication(self._bus.subjects.log(run.run), codec.encode(Batch(mark, (run,))), 0)
            for run, mark in zip(runs, marks, strict=True)
        ]
        outcomes = await self._bus.publish_many(publications)
        made = [
            _folded(run, mark, seq)
            for run, mark, seq in zip(runs, marks, outcomes, strict=True)
            if isinstance(seq, int)
        ]
        for run, outcome in zip(made, await self._journal.ready_many(made) if made else [], strict=True):
            if isinstance(outcome, Exception):
                log.warning(_LEFT, run.id, outcome)
        created = {run.id: Found(run, cached=False) for run in made}
        return [
            created[run.run] if isinstance(outcome, int) else outcome
            for run, outcome in zip(runs, outcomes, strict=True)
        ]

    async def _follow_up(self, seen: Seen) -> Seen:
        """Do what follows from where a run stands that has not started; what can't be done now, the conductor does."""
        try:
            while (run := seen.run).attempt == 0 and run.state in (State.QUEUED, State.DELAYED) and effects(run):
                await self._journal.act(run, insist=False)
                if run.state is State.QUEUED:
                    break
                seen = await self._read_on(seen)  # where it was put off meanwhile, its timer must say so too
        except Fenced:
            pass  # somebody else moved it on
        except (ConnectError, Unanswered) as error:
            log.warning(_LEFT, run.id, error)
        return seen

    # --- a known key ------------------------------------------------------------------------------------------------

    async def _newest(self, created: RunCreated) -> Seen:
        """The run of the newest generation of a key; there is one of this generation."""
        low, step = _generation(created), 1
        while await self._exists(created, low + step):
            low, step = low + step, step * 2
        high = low + step
        while high - low > 1:
            middle = (low + high) // 2
            if await self._exists(created, middle):
                low = middle
            else:
                high = middle
        return await self._read(in_generation(created, low).run)

    async def _exists(self, created: RunCreated, generation: int) -> bool:
        subject = self._bus.subjects.log(in_generation(created, generation).run)
        return await self._bus.last(Stream.JOURNAL, subject) is not None

    async def _read(self, run: str) -> Seen:
        """A run as it stands."""
        records = [record for _, record in await self._journal.scattered(run)]
        found = fold(records)
        if found is None:
            raise UnknownRun(f"expected the first fact of run {run} on its log, found none: its key can't be told")
        return Seen(found, records[-1].seq)

    async def _read_on(self, seen: Seen) -> Seen:
        return seen.on([record for _, record in await self._journal.scattered(seen.run.id, seen.seq + 1)])

    async def _taken(self, newest: Seen, again: RunCreated) -> Found | None:
        """The run, where it has the key; None: the key is free, or the window over."""
        assert again.key is not None
        if again.key.kind is KeyKind.DEBOUNCE:
            return await self._put_off(newest, again)
        run = newest.run
        if not holds(run, self._journal.clock()):
            return None
        await self._follow_up(newest)  # whoever created it may have died before
        return Found(run, cached=True)

    async def _put_off(self, seen: Seen, again: RunCreated) -> Found | None:
        """Put a run off; None: it is ready, and its window over.

        Its timer may fire at any moment, which is not seen on its log: whether the run was put off shows afterwards.
        """
        while (entry := postponed(seen.run, again)) is not None:
            run = seen.run
            try:
                seq = await self._journal.append(run.id, run.last, nonce(), [entry], insist=False)
            except Fenced:
                seen = await self._read_on(seen)
                continue
            records = [record for _, record in await self._journal.scattered(run.id, seen.seq + 1)]
            then = seen.on([record for record in records if record.seq <= seq])
            if then.run.moved != seq:
                return None
            seen = await self._follow_up(seen.on(records))
            self._remember(seen)
            return Found(seen.run, cached=True)
        return None

    # --- windows that were seen -------------------------------------------------------------------------------------

    async def _remembered(self, created: RunCreated) -> Seen | None:
        """The newest known run of a debounce key, as it stands: one that is put off often has a long log."""
        assert created.key is not None
        name = created.run
        seen = self._windows.get(name)
        if seen is None:
            return None
        self._windows.move_to_end(name)
        return await self._read_on(seen)

    def _remember(self, seen: Seen) -> None:
        key = seen.run.key
        assert key is not None
        if key.kind is KeyKind.DEBOUNCE:
            self._windows[run_id(seen.run.task, replace(key, generation=0))] = seen
            if len(self._windows) > WINDOWS:
                self._windows.popitem(last=False)


def _generation(run: RunCreated | Run) -> int:
    assert run.key is not None
    return run.key.generation


def _folded(created: RunCreated, writer: str, seq: int) -> Run:
    """A run as its first fact leaves it."""
    run = fold([Record(seq, Kind.LOG, writer, (created,))])
    assert run is not None
    return run
