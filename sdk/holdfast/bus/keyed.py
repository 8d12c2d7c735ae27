"""Runs with a key: of all who trigger with one, whoever comes first creates the run, and the others find it.

The first fact of such a run goes to its log, create-only under the id that follows from task, key and generation; its
work item or timer follows as an effect, which the conductor, or the next trigger with the key, carries out where the
one that created it died before. A conflict says that the key is known: its newest generation is looked for, and
decides. What is refused is looked at again, so every caller ends with a run that had the key at one moment of its call.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import anyio

from holdfast.bus.journal import Journal, nonce
from holdfast.bus.ports import Publication
from holdfast.core.effects import effects
from holdfast.core.entries import Batch, RunCreated
from holdfast.core.keys import holds, in_generation, postponed
from holdfast.core.lifecycle import Kind, Record, fold
from holdfast.core.model import KeyKind, Run, State
from holdfast.errors import ConnectError, Fenced, HoldfastError, Unanswered
from holdfast.wire import codec
from holdfast.wire.subjects import Stream

log = logging.getLogger("holdfast.journal")

AT_ONCE = 32
"""Keys of a batch that are looked after one by one at a time."""


_LEFT = "run %s is durable; its work item is left to the conductor: %s"


class Found(NamedTuple):
    """The run that a trigger with a key gets."""

    run: str
    first: int
    """Its first sequence."""
    cached: bool
    """Whether it was there before."""


class Keyed:
    """Creates runs with a key, in the project of a journal. Every call may be repeated: that is what keys are for."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._bus = journal.bus

    async def create(self, created: RunCreated) -> Found:
        """The run of a key: created, found, or put off.

        Args:
            created: its first fact, in the key's first generation.

        Raises:
            ConnectError, Unanswered: whether there is a run is unknown; trigger again.
        """
        await self._journal.announce([created])
        fresh = created
        while (run := await self._made(fresh)) is None:
            newest = await self._newest(fresh)
            if (found := await self._taken(newest, created)) is not None:
                return found
            fresh = in_generation(created, _generation(newest) + 1)
        return Found(run.id, run.first, cached=False)

    async def create_many(self, runs: Sequence[RunCreated]) -> list[Found | Exception]:
        """The same of several, in order, pipelined as far as their keys are new; what went wrong in place of a run."""
        await self._journal.announce(runs)
        new = [number for number, run in enumerate(runs) if run.key and run.key.kind is KeyKind.IDEMPOTENCY]
        made = await self._made_many([runs[number] for number in new])
        outcomes = {number: outcome for number, outcome in zip(new, made, strict=True) if outcome is not None}
        known = defaultdict[str, list[int]](list)
        for number, run in enumerate(runs):
            if number not in outcomes:
                known[run.run].append(number)
        limit = anyio.CapacityLimiter(AT_ONCE)
        async with anyio.create_task_group() as tasks:
            for same in known.values():
                tasks.start_soon(self._create_in_turn, runs, same, outcomes, limit)
        return [outcomes[number] for number in range(len(runs))]

    async def _create_in_turn(
        self,
        runs: Sequence[RunCreated],
        same: list[int],
        into: dict[int, Found | Exception],
        limit: anyio.CapacityLimiter,
    ) -> None:
        """Create those of one key one after the other: the last one counts."""
        async with limit:
            for number in same:
                try:
                    into[number] = await self.create(runs[number])
                except HoldfastError as error:
                    into[number] = error

    # --- a new run --------------------------------------------------------------------------------------------------

    async def _made(self, created: RunCreated) -> Run | None:
        """The run, with what follows from its creation done; None where there is one of its id."""
        mark = nonce()
        try:
            seq = await self._journal.append(created.run, 0, mark, [created], insist=False)
        except Fenced:
            return None
        run = _folded(created, mark, seq)
        await self._follow_up(run)
        return run

    async def _made_many(self, runs: Sequence[RunCreated]) -> list[Found | Exception | None]:
        """Those of the runs that are new; None where there is one of its id, or that is not known."""
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
        return [_outcome(run, outcome) for run, outcome in zip(runs, outcomes, strict=True)]

    async def _follow_up(self, run: Run) -> None:
        """Do what follows from where a run stands that has not started; what can't be done now, the conductor does."""
        try:
            while run.attempt == 0 and run.state in (State.QUEUED, State.DELAYED) and effects(run):
                await self._journal.act(run, insist=False)
                if run.state is State.QUEUED:
                    return
                run = await self._load(run.id, run.first)  # where it was put off meanwhile, its timer must say so too
        except Fenced:
            pass  # somebody else moved it on
        except (ConnectError, Unanswered) as error:
            log.warning(_LEFT, run.id, error)

    # --- a known key ------------------------------------------------------------------------------------------------

    async def _newest(self, created: RunCreated) -> Run:
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
        return await self._load(in_generation(created, low).run)

    async def _exists(self, created: RunCreated, generation: int) -> bool:
        subject = self._bus.subjects.log(in_generation(created, generation).run)
        return await self._bus.last(Stream.JOURNAL, subject) is not None

    async def _load(self, run: str, first: int = 0) -> Run:
        """A run as it stands. Where it begins is asked first: reading it from the stream's beginning would be slow."""
        if not first:
            begin = await self._bus.read(Stream.JOURNAL, self._bus.subjects.log(run), limit=1)
            first = begin[0].seq if begin else 1
        return await self._journal.load(run, first)

    async def _taken(self, run: Run, again: RunCreated) -> Found | None:
        """The run, where it has the key; None: the key is free, or the window over."""
        assert again.key is not None
        if again.key.kind is KeyKind.DEBOUNCE:
            return await self._put_off(run, again)
        if not holds(run, self._journal.clock()):
            return None
        await self._follow_up(run)  # whoever created it may have died before
        return Found(run.id, run.first, cached=True)

    async def _put_off(self, run: Run, again: RunCreated) -> Found | None:
        """Put a run off; None: it is ready, and its window over.

        Its timer may fire at any moment, which is not seen on its log: whether the run was put off shows afterwards.
        """
        while (entry := postponed(run, again)) is not None:
            try:
                seq = await self._journal.append(run.id, run.last, nonce(), [entry], insist=False)
            except Fenced:
                run = await self._load(run.id, run.first)
                continue
            records = [record for _, record in await self._journal.messages(run.id, run.first)]
            then = fold(record for record in records if record.seq <= seq)
            now = fold(records)
            assert then is not None
            assert now is not None
            if then.moved != seq:
                return None
            await self._follow_up(now)
            return Found(run.id, run.first, cached=True)
        return None


def _generation(run: RunCreated | Run) -> int:
    assert run.key is not None
    return run.key.generation


def _folded(created: RunCreated, writer: str, seq: int) -> Run:
    """A run as its first fact leaves it."""
    run = fold([Record(seq, Kind.LOG, writer, (created,))])
    assert run is not None
    return run


def _outcome(run: RunCreated, outcome: int | Exception) -> Found | Exception | None:
    """What storing the first fact of a run came to; None: it is there, or that is unknown, so it is looked at."""
    match outcome:
        case int(seq):
            return Found(run.run, seq, cached=False)
        case Fenced() | Unanswered():
            return None
        case error:
            return error
