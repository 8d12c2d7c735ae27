"""What can be done to a run from its own screen: retried, forked, edited, cancelled, answered.

A question stands with what it means: what a fork keeps and what it runs anew, the lines of a payload that differ.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec

from holdfast.core.lifecycle import UNDO
from holdfast.core.model import FINAL, State
from holdfast.core.pending import Wait
from holdfast.core.tree import Node, NodeState
from holdfast.errors import HoldfastError
from holdfast_tui import message
from holdfast_tui.format import PAUSED, STATES, Cell, clean, plural, short
from holdfast_tui.message import Message, Unclear
from holdfast_tui.model import changes
from holdfast_tui.model.changes import Payload
from holdfast_tui.model.cut import Cut, cut
from holdfast_tui.model.outline import ROOT
from holdfast_tui.model.pages import again, retry
from holdfast_tui.model.run import CANCELLABLE, RETRIABLE
from holdfast_tui.model.sight import PAYLOAD
from holdfast_tui.model.typed import NotJson, read_json
from holdfast_tui.plan import Plan, Verb
from holdfast_tui.screens.editing import edited
from holdfast_tui.screens.running import Running
from holdfast_tui.verbs import cut_of

_OUTCOMES = (NodeState.OK, NodeState.FAILED, NodeState.VOLATILE, NodeState.LOST, NodeState.UNDONE, NodeState.ORPHANED)


class Steering(Running):
    """A screen of a run whose keys change it."""

    def told(self) -> tuple[str, list[Cell]] | None:
        """What is asked about, for the pane; None: nothing that takes more than its line."""
        plan = self.plan
        if not isinstance(plan, Plan) or len(plan.targets) != 1:
            return None
        if plan.verb is Verb.RETRY:
            return "retry", retry(self.story)
        match plan.values.get(plan.targets[0]):
            case Cut() as made:
                return f"fork {'behind' if made.behind else 'before'} {clean(made.key)}", made.told
            case Payload() as payload:
                return "the payload: - was, + will be", list(payload.changed)
        return None

    def idle(self) -> frozenset[str]:
        run = self.story.run
        waits = self.story.waits()
        able = {
            "answer": any(wait.asks for wait in waits),
            "complete": any(wait.kind == "token" for wait in waits),
            "signal": run is not None and run.state in CANCELLABLE,
            "retry": run is not None and run.state in RETRIABLE,
            "edit": run is not None and run.state in RETRIABLE,
            "fork": bool(self.story.tree.roots),
            "cancel": run is not None and run.state in CANCELLABLE,
            "kill": run is not None and not run.final,
            "replay": run is not None,
        }
        return frozenset(id for id, is_able in able.items() if not is_able)

    # --- retry, cancel ------------------------------------------------------------------------------------------------

    def do_retry(self) -> None:
        run = self.story.run
        note = ""
        if run is not None and run.state in RETRIABLE:
            counts = again(self.story)
            note = f"keeps {plural(counts.kept, 'result')}, runs {counts.again} again"
        self._propose(Verb.RETRY, RETRIABLE, "only a dead, failed, timed out or cancelled run can be retried", note)

    def do_cancel(self) -> None:
        undoes = self.story.run is not None and self.story.run.state is State.COMPENSATING
        why = "while it undoes its steps it can only be killed (K)" if undoes else "only a live run can be cancelled"
        self._propose(Verb.CANCEL, CANCELLABLE, why)

    def do_kill(self) -> None:
        self._propose(Verb.KILL, frozenset(State) - FINAL, "only a live run can be killed")

    def do_replay(self) -> None:
        self._propose(Verb.REPLAY, frozenset(State), "")

    def _propose(self, verb: Verb, states: frozenset[State], why: str, note: str = "") -> None:
        run = self.story.run
        if run is None or run.state not in states:
            self._no(why)
            return
        self.propose(Plan(verb=verb, targets=(self.story.id,), note=note))

    def _no(self, why: str) -> None:
        run = self.story.run
        if run is None:
            self.say("the run is not read yet", "warn")
            return
        word, _ = PAUSED if run.paused else STATES[run.state]
        self.say(f"the run is {word}: {why}", "warn")

    # --- fork ---------------------------------------------------------------------------------------------------------

    def do_fork(self) -> None:
        """Ask about a fork before the checkpoint under the cursor; from there its result can be edited."""
        row = self.row()
        if row is None:
            self._no("")
        elif row.node is None:
            self.say("go to a checkpoint to fork there; B begins the whole run again", "warn")
        elif row.node.key.endswith(UNDO):
            self.say("an undo is its run's own: fork at the step that it undoes", "warn")
        else:
            self._ask_fork(row.node)

    def _ask_fork(self, node: Node) -> None:
        try:
            made = cut(self.story, node.key)
        except HoldfastError as error:
            self.say(str(error), "warn")
            return
        made = msgspec.structs.replace(made, editable=_editable(node))
        self.propose(Plan(verb=Verb.FORK, targets=(self.story.id,), values={self.story.id: made}))

    def take_answer(self, option: str) -> None:
        plan = self.plan
        if option == "e" and isinstance(plan, Plan) and plan.verb is Verb.FORK:
            self.plan = None
            self._begin(self._edit_result(cut_of(plan).key))
        else:
            super().take_answer(option)

    async def _edit_result(self, key: str) -> None:
        """Edit what came of a checkpoint, then ask about a fork behind it."""
        node = self.story.tree.node(key)
        if node is None:
            self.say(f"{key} is not there any more", "warn")
            return
        before = "null"
        if node.value is not None:
            found = await self.desk.gateway.value(self.story.id, key)
            if not found.whole:
                self.say(f"its result takes {plural(found.size, 'byte')}: too much to be edited here", "warn")
                return
            before = found.json
        after = await edited(self, f"result of {key}", before, read_json)
        if after is None:
            return
        made = cut(self.story, key, behind=True)
        whole = node.value is None
        edits = {key: read_json(after)} if whole else changes.edits(key, read_json(before), read_json(after))
        if not edits:
            self.say("nothing was changed, nothing is asked")
            return
        shown = changes.told("" if whole else before, after)
        made = msgspec.structs.replace(made, edits=edits, changed=tuple(shown))
        self.propose(Plan(verb=Verb.FORK, targets=(self.story.id,), values={self.story.id: made}))

    # --- edit ---------------------------------------------------------------------------------------------------------

    def do_edit(self) -> None:
        """Edit the payload, then ask about a retry from the start."""
        run = self.story.run
        if run is None or run.state not in RETRIABLE:
            self._no("only a dead, failed, timed out or cancelled run can be retried; F forks any")
            return
        self._begin(self._edit_payload())

    async def _edit_payload(self) -> None:
        run = self.story.id
        found = await self.desk.gateway.value(run, PAYLOAD)
        if not found.whole:
            self.say(f"its payload takes {plural(found.size, 'byte')}: too much to be edited here", "warn")
            return
        if where := changes.unsayable(json.loads(found.json)):
            self.say(f"its payload has a value at {where} that JSON can't say: retry it from code", "warn")
            return
        after = await edited(self, f"payload of {short(run)}", found.json, arguments)
        if after is None:
            return
        if read_json(after) == read_json(found.json):
            self.say("nothing was changed, nothing is asked")
            return
        payload = Payload(arguments=arguments(after), changed=tuple(changes.told(found.json, after)))
        self.propose(Plan(verb=Verb.EDIT, targets=(run,), values={run: payload}))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self.run_worker(self._tried(work), group="edit", exclusive=True, exit_on_error=True)

    async def _tried(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except HoldfastError as error:
            self.say(str(error), "fail")
        self.paint()

    # --- what it waits for --------------------------------------------------------------------------------------------

    def do_answer(self) -> None:
        self._tell(message.answer, self.story.waits())

    def do_complete(self) -> None:
        row = self.row()
        node = row.node if row is not None else None
        if node is not None and node.kind == "issued":
            self._tell(message.completion, [Wait("token", node.key, node.wait)])
        else:
            self._tell(message.completion, self.story.waits())

    def do_signal(self) -> None:
        if self.story.run is None or self.story.run.state not in CANCELLABLE:
            self._no("its code takes no signals any more")
        else:
            self._tell(message.signal, self.story.waits())

    def _tell(self, make: Callable[[str, Sequence[Wait], str], Message], waits: Sequence[Wait]) -> None:
        """Ask what to tell the run about what the cursor is on."""
        row = self.row()
        at = "" if row is None or row.id == ROOT or row.node is None else row.node.key
        try:
            self.propose(make(self.story.id, waits, at))
        except Unclear as error:
            self._no(str(error))


def arguments(text: str) -> dict[str, Any]:
    """A payload that was typed: the arguments by name. Raises: NotJson."""
    found = read_json(text)
    if not isinstance(found, dict):
        raise NotJson(f"expected an object of arguments by name, found {text.strip():.20}")
    return found


def _editable(node: Node) -> bool:
    """Whether a fork can go on behind an await with another result: it has one, or was lost before it had."""
    own = node.started_at is not None or node.ended_at is not None
    return own and node.state in _OUTCOMES
