"""An action as it was meant when its key was pressed: what is hit stands in it, whatever the screen shows later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from holdfast.wire.api import LettersQuery
from holdfast_tui.filter import Filter
from holdfast_tui.format import clean, short
from holdfast_tui.router import Question
from holdfast_tui.verbs import DEEDS, RATE, Deed, Verb

__all__ = ["RATE", "Plan", "Verb"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What will be sent if the operator says yes. What its verb does and asks is in `verbs.DEEDS`."""

    verb: Verb
    targets: tuple[str, ...] = ()
    """Ids of runs, or names of queues; empty for a drain, which finds them by `query` and `filter`."""
    hidden: int = 0
    """How many of them the filter hides."""
    passed: int = 0
    """How many were chosen and are not in a state that allows it."""
    from_start: bool = False
    query: LettersQuery | None = None
    """Where the targets are found while it is sent."""
    filter: Filter = Filter()
    total: int = 0
    """How many a drain will find, as far as is known."""
    more: bool = False
    """Whether a drain may find more than `total`."""
    what: str = "run"
    values: Mapping[str, Any] = {}
    """By target: what goes with it, such as the limit that a queue gets."""
    note: str = ""
    """What else its question says."""
    before: Mapping[str, Any] = {}
    """By target: what stood there when the key was pressed, for what takes it back."""
    undoes: Plan | None = None
    """What it takes back."""

    @property
    def deed(self) -> Deed:
        return DEEDS[self.verb]

    @property
    def size(self) -> int:
        return self.total if self.query is not None else len(self.targets)

    def answered(self, option: str) -> Plan:
        """The plan after the answer: `s` is from the start."""
        return msgspec.structs.replace(self, from_start=True) if option == "s" else self

    def question(self) -> Question:
        question = self.deed.ask(self)
        return question if question.typed else msgspec.structs.replace(question, dry=self.dry())

    def dry(self) -> str:
        """What would be sent, as the commands that do the same."""
        if self.query is not None:
            return f"dry run, nothing sent: {self.deed.shell(self, '')} would take {self.total:,} {self.matching()}"
        more = f"  and {self.size - 1:,} more like it" if self.size > 1 else ""
        return f"dry run, nothing sent: {self.command(self.targets[0])}{more}" if self.targets else ""

    def undone(self) -> Plan | None:
        """What takes it back; None: nothing does."""
        if self.deed.undo is None:
            return None
        return msgspec.structs.replace(self.deed.undo(self), undoes=self)

    def which(self) -> str:
        """The first three targets, how many the filter hides and how many were passed over, for a question."""
        name = short if self.what.endswith(("run", "letter")) else clean
        named = " ".join(name(target) for target in self.targets[:3])
        text = f"  {named}" + (" ..." if len(self.targets) > 3 else "")
        if self.hidden:
            text += f"  {self.hidden} hidden by the filter"
        text += f"  ({self.passed} others can't be)" if self.passed else ""
        return text + (f"  {self.note}" if self.note else "")

    def matching(self) -> str:
        """What a drain looks for, for its question."""
        assert self.query is not None
        fields = [f"queue:{self.query.queue}"] if self.query.queue else []
        fields += [f"task:{task}" for task in self.query.tasks]
        told = clean(" ".join((*fields, *self.filter.words)))
        return f"that match {told}" if told else "of all queues"

    def progress(self, done: int, refused: int) -> str:
        return f"{self.verb} {self.size:,}: {done:,} done, {refused:,} refused  (esc stops sending)"

    def outcome(self, done: int, refused: int, why: str, *, stopped: bool, unsure: bool = False) -> str:
        """The answer that takes the question's place.

        Args:
            unsure: the last one that was refused got no answer: it may be done.
        """
        text = f"{done:,} {self.deed.done}"
        if refused:
            text += f", {refused:,} refused{' or not answered, it may be done' if unsure else ''}: {why}"
        return text + (", stopped by you" if stopped else "")

    def command(self, target: str) -> str:
        """The same from a shell, for one target."""
        return self.deed.shell(self, target)
