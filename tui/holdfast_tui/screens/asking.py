"""What changes something: it is asked about, agreed to and sent, and the answer takes the question's place."""

from __future__ import annotations

from typing import Any

import msgspec
from textual.worker import Worker

from holdfast_tui import router
from holdfast_tui.batch import Batch
from holdfast_tui.message import Message
from holdfast_tui.plan import Plan
from holdfast_tui.screens.keyboard import Keyboard

PROGRESS = 0.1
"""Seconds between two looks at how far a batch is."""


class Asking(Keyboard):
    """A screen that can change things: what is asked and sent stands in a `Plan`, made when the key is pressed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._sender: Worker[None] | None = None
        self._batch: Batch | None = None
        """What is being sent."""

    def propose(self, plan: Plan | Message) -> None:
        """Ask about a plan; what it says is what will be sent, whatever moves meanwhile."""
        if isinstance(plan, Plan) and not plan.size:
            why = f"what is chosen is in no state to {plan.verb}" if plan.passed else "nothing is chosen"
            self.say(why, "warn")
            return
        self._then = None
        blank = plan.blank if isinstance(plan, Message) else None
        self.plan, self.state = plan, router.ask(plan.question()) if blank is None else router.fill(blank)

    def take_text(self, text: str) -> None:
        """Take what was typed, and go on to what is open still; what can't be taken may be mended."""
        assert isinstance(self.plan, Message)
        try:
            self.propose(self.plan.filled(text))
        except ValueError as error:
            self.state = msgspec.structs.replace(self.state, wrong=str(error))

    def take_answer(self, option: str) -> None:
        plan, self.plan = self.plan, None
        if plan is None or not option:
            return
        plan = plan.answered(option)
        if isinstance(plan, Message) and not plan.agreed:
            self.propose(plan)
            return
        refusal = self.desk.gateway.refusal()
        if refusal:
            self.say(refusal, "fail")
            return
        self.state = router.sending()
        self._sender = self.run_worker(self._send(plan), group="send", exit_on_error=True)

    def do_undo(self) -> None:
        """Ask about taking back the last of what was done in this session that can be."""
        for plan in reversed(self.desk.deeds):
            undone = plan.undone()
            if undone is not None:
                self.propose(undone)
                return
        self.say("nothing to undo: a pause, limit or drain of this session can be", "warn")

    def stop_sending(self) -> None:
        """Send no more of it; what is under way is waited for, unless this is asked for again."""
        if self._batch is not None and not self._batch.stopped:
            self._batch.stop()
        elif self._sender is not None:
            self._sender.cancel()

    async def _send(self, plan: Plan | Message) -> None:
        hit: list[str] = []

        def did(target: str) -> None:
            hit.append(target)
            self.window.unmark([target])

        batch = self._batch = Batch(self.desk.gateway, plan, done=did)
        ticking = self.set_interval(PROGRESS, lambda: self._tell_progress(batch))
        self._tell_progress(batch)
        try:
            await batch.run()
        finally:
            ticking.stop()
            self._batch, self.state, self._pressed_at = None, router.NORMAL, 0
            self.desk.done(plan, hit)
            tally = batch.tally
            told = plan.outcome(tally.done, tally.refused, batch.why, stopped=batch.stopped, unsure=batch.unsure)
            self.say(told, "fail" if tally.refused else "")
            self.refresh_data()
            self.paint()
        if batch.made:
            self.desk.open_made(batch.made, of=plan.targets[0])

    def _tell_progress(self, batch: Batch) -> None:
        self.say(batch.plan.progress(batch.tally, batch.now))
        self.paint()
