"""A plan on its way: each target once, several at the same time, never faster than its rate; it can be stopped.

What was sent is waited for, also when no more is sent: so what is said of the outcome is what happened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio

from holdfast.core.model import Instant
from holdfast.errors import HoldfastError
from holdfast_tui import sending
from holdfast_tui.gateway import Gateway, Lost
from holdfast_tui.message import Message
from holdfast_tui.model.pace import Pace, Tally
from holdfast_tui.plan import Plan

AT_ONCE = 16
"""How many are under way at the same time."""


class Batch:
    """Sends a plan, once."""

    def __init__(self, gateway: Gateway, plan: Plan | Message, *, done: Callable[[str], None] = lambda target: None):
        """
        Args:
            done: told of each target with which it was done.
        """
        self.plan = plan
        rate = plan.pace if isinstance(plan, Plan) else None
        self.tally = Tally(plan.size if isinstance(plan, Plan) else 1, 0.0, rate)
        self.why = ""
        """Why the first one was refused."""
        self.made = ""
        """The run that was made."""
        self.unsure = False
        """Whether one got no answer: it may be done."""
        self.stopped = False
        """Whether the operator wants no more of it to be sent."""
        self._rate = rate
        self._lost = False
        self._gateway = gateway
        self._done = done
        self._stop = anyio.Event()

    def stop(self) -> None:
        """Send no more."""
        self.stopped = True
        self._stop.set()

    @property
    def now(self) -> Instant:
        """As the batch counts: of the loop's clock."""
        return anyio.current_time()

    async def run(self) -> None:
        """Send all of it; never raises for what is refused or lost: that is told."""
        self.tally.begin = self.now
        pace, slots = Pace(self._rate, self.now), anyio.Semaphore(AT_ONCE)
        try:
            async with self._gateway.audited(**self._entry()), anyio.create_task_group() as tasks:
                async for target in sending.targets(self._gateway, self.plan):
                    await self._until(pace.due(self.now))
                    await slots.acquire()
                    if self.stopped or self._lost:
                        break
                    tasks.start_soon(self._send, target, slots)
        except HoldfastError as error:  # the targets could not be read on
            self._note(error)

    def _entry(self) -> dict[str, Any]:
        """What the audit is told besides what was changed: how the targets were chosen, where nobody named them."""
        plan = self.plan
        if not isinstance(plan, Plan) or plan.query is None:
            return {}
        return {
            "action": plan.verb.value,
            "kind": "letter",
            "count": plan.size,
            "filter": plan.whose or "all",
            "command": plan.deed.shell(plan, ""),
        }

    async def _until(self, due: Instant) -> None:
        with anyio.move_on_at(due):
            if due > self.now:
                await self._stop.wait()

    async def _send(self, target: str, slots: anyio.Semaphore) -> None:
        try:
            self.made = await sending.carry_out(self._gateway, self.plan, target) or self.made
        except HoldfastError as error:
            self._note(error)
        else:
            self.tally.took(self.now)
            self._done(target)
        finally:
            slots.release()

    def _note(self, error: HoldfastError) -> None:
        self.tally.refuse(self.now)
        self.why = self.why or str(error)
        if isinstance(error, Lost):
            self._lost = True
            self.unsure = self.unsure or error.unsure
