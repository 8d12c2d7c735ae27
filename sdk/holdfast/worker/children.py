"""The child runs that a run awaits: created, or found by their key, and joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import msgspec

from holdfast import context
from holdfast.bus.keyed import Found, Keyed
from holdfast.core import ids
from holdfast.core.entries import ChildTriggered, RunCreated
from holdfast.core.model import Instant, Parent
from holdfast.core.recall import Outcome
from holdfast.errors import ChildFailed, ConnectError, EncodeError, HoldfastError, RunStateError, Unanswered
from holdfast.triggering import Order, Settings, created
from holdfast.worker.checkpoints import Checkpoints, was_cut


class Children(Checkpoints):
    """The child runs of a run in one worker, each a checkpoint."""

    @cached_property
    def _keyed(self) -> Keyed:
        return Keyed(self._journal)

    async def _child(self, key: str, task: str, payload: bytes, settings: Settings) -> Any:
        outcome = await self.known(key)
        if outcome is None:
            await self.ready(key)
            if self.recall.child(key) is None:
                order = Order(await self.stored.keep(payload), settings)
                for failure in (await self._trigger({key: order}, task)).values():
                    raise failure
            with self.cuttable(key, self.now()):
                outcome = await self._child_ended(key)
        return await self.recalled(key, outcome)

    async def _children(self, key: str, task: str, orders: Sequence[Order | Exception]) -> list[Any]:
        """Several children, created together; each a checkpoint below this one."""
        started = self.now()
        keys = [f"{key}/{task}#{number}" for number in range(1, len(orders) + 1)]
        begun = await self._created_children(key, dict(zip(keys, orders, strict=True)), task)
        with self.cuttable(key, started):
            for each in reversed(keys):  # the last one ends last, as a rule: one suspension for all
                if each not in begun:
                    begun[each] = await self._child_result(each)
        return [begun[each] for each in keys]

    async def _created_children(self, key: str, orders: Mapping[str, Order | Exception], task: str) -> dict[str, Any]:
        """Create those of the children that there are not; what can't be created is its error, by key."""
        outcome = self._take(key)
        if outcome is not None and was_cut(outcome):
            await self._cut_again(key, outcome)
        new, failures = dict[str, Order](), dict[str, Any]()
        for each, order in orders.items():
            self._take(each)  # the code has come to them all
            if isinstance(order, Exception):
                failures[each] = order
            elif self.recall.child(each) is None:
                try:
                    new[each] = order._replace(payload=await self.stored.keep(order.payload))
                except EncodeError as error:
                    failures[each] = error
        if new:
            await self.known(key)
            await self.ready(key)
            failures |= await self._trigger(new, task)
        return failures

    async def _child_result(self, key: str) -> Any:
        """What came of a child: its result, or its failure as a value."""
        try:
            return await self.recalled(key, await self._child_ended(key))
        except (ChildFailed, HoldfastError) as error:
            return error

    async def _child_ended(self, key: str) -> Outcome:
        ended: Outcome | None = await self.waits.arrival(
            key, lambda: self.recall.take(key), wait=lambda: self.recall.child(key) or ""
        )
        assert ended is not None
        return ended

    async def _trigger(self, orders: Mapping[str, Order], task: str) -> dict[str, Exception]:
        """Create child runs, by the key of each; those that exist already are taken as they are.

        Returns:
            By key: why one could not be created.
        """
        now = self.now()
        children, failures = dict[str, RunCreated](), dict[str, Exception]()
        for key, order in orders.items():
            try:
                children[key] = self._new_child(key, task, order, now)
            except EncodeError as error:  # of its metadata
                failures[key] = error
        made = await self._journal.insist(lambda: self._created(children))
        failures |= {key: child for key, child in made.items() if isinstance(child, Exception)}
        begun = {key: child for key, child in made.items() if not isinstance(child, Exception)}
        entries = [
            ChildTriggered(key, now, child.run, task, orders[key].settings.detached or child.shared)
            for key, child in begun.items()
        ]
        for entry in entries:
            self.recall.add(entry)
        if entries:
            await self.writer.durable(*self.passed_over(), *entries)
        return failures

    def _new_child(self, key: str, task: str, order: Order, now: Instant) -> RunCreated:
        run, settings = self.writer.run, order.settings
        if run.priority != settings.priority and settings.priority == Settings().priority:
            settings = msgspec.structs.replace(settings, priority=run.priority)  # a child goes where its parent goes
        return created(
            task,
            order.payload,
            settings,
            run=ids.derive(run.created_at, run.id, key, str(self.attempt)),
            at=now,
            source="child",
            parent=Parent(run.id, key),
            deadline=run.deadline,
            ttl=context.client().ttl,
            within=run.id,
        )

    async def _created(self, runs: Mapping[str, RunCreated]) -> dict[str, _Child | Exception]:
        """Create runs, or find those that have their keys, by the key of each await."""
        outcomes = dict(zip(runs, await self._keyed.create_all(list(runs.values())), strict=True))
        for key, outcome in list(outcomes.items()):
            if isinstance(outcome, Unanswered | ConnectError):
                raise outcome  # to be repeated, all of them: create-only
            if isinstance(outcome, Found) and outcome.run.id == self.id:
                outcomes[key] = RunStateError(f"run {self.id} would wait for itself: it has this trigger's key")
        found = {key: outcome.run for key, outcome in outcomes.items() if isinstance(outcome, Found)}
        strange = {key: run for key, run in found.items() if run.parent != Parent(self.id, key)}
        untold = strange | {key: run for key, run in found.items() if run.final}
        await self._keyed.join([(run, Parent(self.id, key)) for key, run in untold.items()])
        return {
            key: outcome
            if isinstance(outcome := outcomes[key], Exception)
            else _Child(found[key].id if key in found else run.run, shared=key in strange)
            for key, run in runs.items()
        }


class _Child(NamedTuple):
    """A run that this one awaits."""

    run: str
    shared: bool = False
    """It was found by its key: its parent, if any, is another await."""
