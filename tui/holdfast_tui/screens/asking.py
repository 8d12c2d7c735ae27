"""What changes something: it is asked about, agreed to and sent, and the answer takes the question's place."""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
from textual.worker import Worker

from holdfast.errors import HoldfastError
from holdfast_tui import router, sending
from holdfast_tui.gateway import Lost
from holdfast_tui.message import Message
from holdfast_tui.plan import Plan
from holdfast_tui.screens.keyboard import Keyboard


class Asking(Keyboard):
    """A screen that can change things: what is asked and sent stands in a `Plan`, made when the key is pressed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._sender: Worker[None] | None = None

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
        if self._sender is not None:
            self._sender.cancel()

    async def _send(self, plan: Plan | Message) -> None:
        gateway, made, hit = self.desk.gateway, "", list[str]()
        done, refused, why, stopped, unsure = 0, 0, "", True, False
        try:
            async for target in sending.targets(gateway, plan):
                self.say(plan.progress(done, refused))
                self.paint()
                try:
                    made = await sending.carry_out(gateway, plan, target)
                except Lost as error:
                    refused, why, unsure = refused + 1, str(error), error.unsure
                    break
                except HoldfastError as error:
                    refused, why = refused + 1, str(error)
                else:
                    done += 1
                    hit.append(target)
                    self.window.unmark([target])
                if isinstance(plan, Plan) and plan.deed.rate is not None:
                    await anyio.sleep(1 / plan.deed.rate)
            stopped = False
        except HoldfastError as error:
            refused, why, stopped = refused + 1, str(error), False
        finally:
            self.state, self._pressed_at = router.NORMAL, 0
            self.desk.done(plan, hit)
            self.say(plan.outcome(done, refused, why, stopped=stopped, unsure=unsure), "fail" if refused else "")
            self.refresh_data()
            self.paint()
        if made:
            self.desk.open_made(made, of=plan.targets[0])
