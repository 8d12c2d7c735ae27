"""Dead letters whose payload is edited, checked against the signature of their task, and retried from the start.

What was changed in the letter under the cursor can be done to all that are marked: part by part, where it fits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import msgspec

from holdfast.errors import HoldfastError
from holdfast.wire import api
from holdfast_tui.format import Cell, clean, lines, plural, short
from holdfast_tui.model import changes
from holdfast_tui.model.changes import Payload
from holdfast_tui.model.mend import Mend, checked, mend
from holdfast_tui.model.merge import Change
from holdfast_tui.model.merge import changes as differences
from holdfast_tui.model.typed import NotJson, read_json
from holdfast_tui.plan import RATE, Plan, Verb
from holdfast_tui.screens.editing import edited
from holdfast_tui.screens.paged import Paged
from holdfast_tui.screens.triage import rate

PAYLOAD = ""
"""What `runs.value` calls a run's payload."""
AT_ONCE = 16
"""Payloads that are read at the same time."""
ASKED = 100
"""Payloads that a worker is asked about at once."""


class Mending(Paged[api.Letter]):
    """A screen of dead letters whose payloads can be edited."""

    def do_edit(self) -> None:
        """Edit the payload of the letter under the cursor, then ask about a retry from the start."""
        letter = self.loaded.get(self.window.cursor or "")
        if letter is None:
            self.say("no dead letter to edit", "warn")
            return
        self.run_worker(self._tried(self._edit(letter)), group="edit", exclusive=True, exit_on_error=True)

    async def _tried(self, work: Any) -> None:
        try:
            await work
        except HoldfastError as error:
            self.say(str(error), "fail")
        self.paint()

    async def _edit(self, letter: api.Letter) -> None:
        run, marks = letter.run, [each for each in self.window.marks if each != letter.run]
        found = await self.desk.gateway.value(run, PAYLOAD)
        if not found.whole:
            self.say(f"its payload takes {plural(found.size, 'byte')}: too much to be edited here", "warn")
            return
        if where := changes.unsayable(json.loads(found.json)):
            self.say(f"its payload has a value at {where} that JSON can't say: retry it from code", "warn")
            return
        await self._edit_text(letter, found.json, found.json, marks)

    async def _edit_text(self, letter: api.Letter, before: str, text: str, marks: Sequence[str]) -> None:
        """Edit, as often as the task refuses it and the operator mends that."""
        after = await edited(self, f"payload of {short(letter.run)} {clean(letter.task)}", text, arguments)
        if after is None:
            return
        made = differences(read_json(before), read_json(after))
        if not made:
            self.say("nothing was changed, nothing is asked")
            return
        refused = await self.desk.gateway.misfits(letter.task, [arguments(after)])
        if refused is not None and refused[0]:
            self._refused(letter, before, after, marks, refused[0])
            return
        shown = changes.told(before, after)
        if marks:
            self._ask_for_whom(letter, after, made, marks, shown, refused is None)
        else:
            self._ask_one(letter, after, shown, refused is None)

    def _refused(self, letter: api.Letter, before: str, after: str, marks: Sequence[str], why: str) -> None:
        def answered(key: str) -> None:
            work = self._edit_text(letter, before, after, marks)
            self.run_worker(self._tried(work), group="edit", exclusive=True, exit_on_error=True)

        self.show_sheet(f"{clean(letter.task)} does not take this payload", [(line, "fail") for line in lines(why)])
        self.pick(lines(why)[0], (("e", "edit it again"),), answered)

    def _ask_for_whom(
        self, letter: api.Letter, after: str, made: Sequence[Change], marks: Sequence[str], shown: list[Cell],
        unchecked: bool,
    ) -> None:  # fmt: skip
        def answered(key: str) -> None:
            if key == "o":
                self._ask_one(letter, after, shown, unchecked)
            else:
                work = self._mend([letter.run, *marks], made, shown)
                self.run_worker(self._tried(work), group="edit", exclusive=True, exit_on_error=True)

        choices = (("o", "only this one"), ("m", f"also the {plural(len(marks), 'other')} that are marked"))
        self.pick("For whom is the change?", choices, answered)
        self.paint()

    def _ask_one(self, letter: api.Letter, after: str, shown: list[Cell], unchecked: bool) -> None:
        payload = Payload(arguments=arguments(after), changed=tuple(shown))
        note = f"no worker of {clean(letter.task)} answers: its signature is not checked" if unchecked else ""
        self._ask_edit({letter.run: payload}, [(note, "warn"), *shown] if note else shown, note)

    async def _mend(self, runs: Sequence[str], made: Sequence[Change], shown: list[Cell]) -> None:
        """Find out to whom the change can be done, then ask about them."""
        found, tasks = await self._payloads(runs)
        result = mend(found, made)
        errors: dict[str, Sequence[str] | None] = {}
        for task in dict.fromkeys(tasks[run] for run in result.fit):
            given = [payload.arguments for run, payload in result.fit.items() if tasks[run] == task]
            errors[task] = await self._misfits(task, given)
        result = checked(result, tasks, errors)
        if not result.fit:
            self.show_sheet("the change fits none of them", result.told)
            self.say("the change fits none of those that are marked: nothing is asked", "warn")
            return
        self._ask_edit(result.fit, [*result.told, ("", ""), *shown], _note(result), left_out=len(result.unfit))

    def _ask_edit(
        self, payloads: Mapping[str, Payload], shown: Sequence[Cell], note: str, *, left_out: int = 0
    ) -> None:
        hidden = len([run for run in payloads if run in self.window.marks and run not in self._matching])
        plan = Plan(
            verb=Verb.EDIT,
            targets=tuple(payloads),
            hidden=hidden,
            passed=left_out,
            values=payloads,
            note=note,
            what="dead run",
        )

        def propose(text: str) -> None:
            self.propose(msgspec.structs.replace(plan, rate=rate(text)))

        if plan.size > 1:
            what = f"Retry {plural(plan.size, 'dead run')} with the new payload"
            self.fill(f"{what}: how many a second?", "rate", f"{RATE:g}", propose)
        else:
            self.propose(plan)
        self.show_sheet("the payload: - was, + will be", shown)

    async def _misfits(self, task: str, given: Sequence[Mapping[str, Any]]) -> Sequence[str] | None:
        found: list[str] = []
        for at in range(0, len(given), ASKED):
            answers = await self.desk.gateway.misfits(task, given[at : at + ASKED])
            if answers is None:
                return None
            found += answers
        return found

    async def _payloads(self, runs: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
        """The payloads and tasks of runs; a text in place of a payload says why it can't be edited."""
        tasks = {row.run: row.task for row in await self.rows(runs)}
        found: dict[str, Any] = {run: "it is no dead letter any more" for run in runs if run not in tasks}
        slots = anyio.Semaphore(AT_ONCE)

        async def one(run: str) -> None:
            async with slots:
                try:
                    value = await self.desk.gateway.value(run, PAYLOAD)
                except HoldfastError as error:
                    found[run] = str(error)
                else:
                    found[run] = json.loads(value.json) if value.whole else "its payload is too large to be edited here"
                self.say(f"reading payloads: {len(found):,} of {len(runs):,}")

        async with anyio.create_task_group() as reading:
            for run in tasks:
                reading.start_soon(one, run)
        return {run: found[run] for run in runs}, tasks

    def take_answer(self, option: str) -> None:
        """A question about an edit stands over its preview, which goes with it."""
        if isinstance(self.plan, Plan) and self.plan.verb is Verb.EDIT:
            self.zoom(False)
        super().take_answer(option)


def _note(found: Mend) -> str:
    return f"not checked by {', '.join(map(clean, found.unchecked))}: no worker answers" if found.unchecked else ""


def arguments(text: str) -> dict[str, Any]:
    """A payload that was typed: the arguments by name. Raises: NotJson."""
    found = read_json(text)
    if not isinstance(found, dict):
        raise NotJson(f"expected an object of arguments by name, found {text.strip():.20}")
    return found
