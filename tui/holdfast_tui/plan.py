"""An action as it was meant when its key was pressed: what is hit stands in it, whatever the screen shows later."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from holdfast.wire.api import LettersQuery
from holdfast_tui.filter import Filter
from holdfast_tui.format import clean, plural, short
from holdfast_tui.router import Question

RATE = 10
"""Dead letters drained per second."""


class Verb(StrEnum):
    """What an operator can do to runs and queues."""

    RETRY = "retry"
    CANCEL = "cancel"
    KILL = "kill"
    REPLAY = "replay"
    DROP = "drop"
    DRAIN = "drain"
    """Retry every dead letter that matches, at `RATE`."""
    PAUSE = "pause"
    RESUME = "resume"


DONE = {
    Verb.RETRY: "retried",
    Verb.CANCEL: "asked to cancel",
    Verb.KILL: "killed",
    Verb.REPLAY: "replayed",
    Verb.DROP: "dropped",
    Verb.DRAIN: "retried",
    Verb.PAUSE: "paused",
    Verb.RESUME: "resumed",
}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What will be sent if the operator says yes."""

    verb: Verb
    targets: tuple[str, ...] = ()
    """Ids of runs, or names of queues; empty for a drain, which finds them by `query` and `filter`."""
    hidden: int = 0
    """How many of them the filter hides."""
    passed: int = 0
    """How many were chosen and are not in a state that allows it."""
    from_start: bool = False
    query: LettersQuery | None = None
    filter: Filter = Filter()
    total: int = 0
    """How many a drain will find, as far as is known."""
    more: bool = False
    """Whether a drain may find more than `total`."""
    what: str = "run"

    @property
    def size(self) -> int:
        return self.total if self.verb is Verb.DRAIN else len(self.targets)

    def answered(self, option: str) -> Plan:
        """The plan after the answer: `s` is from the start."""
        return msgspec.structs.replace(self, from_start=True) if option == "s" else self

    def question(self) -> Question:
        match self.verb:
            case Verb.RETRY:
                text = f"Retry {plural(self.size, self.what)} from the last checkpoint?{self._which()}"
                return Question(text=text, options=(("y", "yes"), ("s", "from start instead")))
            case Verb.DRAIN:
                what = plural(self.total, "dead letter") + (" or more" if self.more else "")
                text = f"Drain: retry {what} {self._matching()}, {RATE} a second, from the last checkpoint?"
                return Question(text=text, options=(("y", "yes"), ("s", "from start instead")))
            case Verb.DROP:
                text = f"DROP {plural(self.size, self.what)} for good.{self._which()}  Type the number of letters"
                return Question(text=text, typed=str(self.size))
            case Verb.KILL:
                end = short(self.targets[0])
                text = f"KILL run {end}: it ends now, without cleanup, without undos. Type its id"
                return Question(text=text, typed=end)
            case Verb.REPLAY:
                text = f"Begin {short(self.targets[0])} again as a new run: its payload, from the start, today's code?"
                return Question(text=text)
            case Verb.CANCEL | Verb.PAUSE | Verb.RESUME:
                return Question(text=f"{self.verb.capitalize()} {plural(self.size, self.what)}?{self._which()}")

    def _which(self) -> str:
        name = clean if self.what == "queue" else short
        named = " ".join(name(target) for target in self.targets[:3])
        text = f"  {named}" + (" ..." if len(self.targets) > 3 else "")
        if self.hidden:
            text += f"  {self.hidden} hidden by the filter"
        return text + (f"  ({self.passed} others can't be)" if self.passed else "")

    def _matching(self) -> str:
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
        text = f"{done:,} {DONE[self.verb]}"
        if refused:
            text += f", {refused:,} refused{' or not answered, it may be done' if unsure else ''}: {why}"
        return text + (", stopped by you" if stopped else "")

    def command(self, target: str) -> str:
        """The same from a shell, for one target."""
        start = " --from-start" if self.from_start else ""
        return {
            Verb.RETRY: f"holdfast runs retry {target}{start}",
            Verb.CANCEL: f"holdfast runs cancel {target}",
            Verb.KILL: f"holdfast runs cancel --kill {target}",
            Verb.REPLAY: f"holdfast runs replay {target}",
            Verb.DROP: f"holdfast dlq purge {target}",
            Verb.DRAIN: f"holdfast dlq drain{start}",
            Verb.PAUSE: f"holdfast queues pause {target}",
            Verb.RESUME: f"holdfast queues resume {target}",
        }[self.verb]
