"""What an operator tells one run: the answer to what it asks, a token's value, a signal; filled in as it is typed.

Whom it is for stands in it from the key press on. Blanks are filled and questions answered, one after the other, until
it is agreed to; then it is sent.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

import msgspec

from holdfast.core.model import Instant
from holdfast.core.pending import OPTIONS, Wait
from holdfast_tui.format import clean, short
from holdfast_tui.model.pace import Tally
from holdfast_tui.router import Blank, Question


class Unclear(Exception):
    """There is nothing to tell a run here, or more than one thing; the message says so."""


class To(StrEnum):
    """What of a run a message is for."""

    QUESTION = "question"
    TOKEN = "token"
    SIGNAL = "signal"


class Way(NamedTuple):
    """One way to answer a question."""

    letter: str
    action: str
    """As `Client.resolve` takes it."""


WAYS = MappingProxyType(
    {
        "once": (Way("h", "done"), Way("r", "run")),
        "undo": (Way("r", "run"), Way("c", "skip")),
        "divergence": (Way("g", "accept"), Way("l", "run")),
        "compensation": (Way("r", "run"),),
    }
)
"""By what is asked: the ways to answer, in the order of `pending.OPTIONS`, which has the words."""

ASKED = MappingProxyType(
    {
        "once": "it began and its outcome is not known: did it happen?",
        "undo": "the undo failed: what now?",
        "divergence": "the code took another way than the journal: which one?",
        "compensation": "its undos took down their workers: what now?",
    }
)
"""By what is asked: the question, behind the checkpoint."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What will be told if the operator says so."""

    run: str
    to: To
    name: str = ""
    """The checkpoint that asks, the token's id, or the signal's name; empty: yet to be typed."""
    asks: str = ""
    """Of a question: as `Wait.asks`."""
    likely: str = ""
    """The name of the signal that the run waits for."""
    action: str = ""
    """The way that was chosen to answer a question."""
    json: str | None = None
    """The value as it was typed; None: not typed."""
    agreed: bool = False
    """Whether it may be sent."""

    @property
    def targets(self) -> tuple[str, ...]:
        return (self.run,)

    @property
    def size(self) -> int:
        return 1

    @property
    def value(self) -> Any:
        return value_of(self.json or "")

    @property
    def means(self) -> str:
        """What the chosen answer means, in plain words."""
        ways = zip(WAYS[self.asks], OPTIONS[self.asks], strict=True)
        return next((means for way, (means, _) in ways if way.action == self.action), "")

    @property
    def blank(self) -> Blank | None:
        """What is to be typed next, if anything."""
        where = f"{short(self.run)} {clean(self.name)}"
        match self.to:
            case To.SIGNAL if not self.name:
                return Blank(text=f"Signal to run {short(self.run)}: its name", name="name", start=self.likely)
            case To.QUESTION if self.action != "done" or self.json is not None:
                return None
            case To.QUESTION:
                return Blank(text=f"{where}: what the step returned, as JSON", name="JSON")
            case _ if self.json is None:
                what = "signal" if self.to is To.SIGNAL else "token"
                return Blank(text=f"The value of {what} {clean(self.name)}, as JSON; nothing is null", name="JSON")
        return None

    def filled(self, text: str) -> Message:
        """The message with what was typed in its blank. Raises: ValueError: that can't be taken."""
        if self.to is To.SIGNAL and not self.name:
            return msgspec.structs.replace(self, name=_signal_name(text))
        if self.to is To.QUESTION and not text.strip():
            raise ValueError("expected JSON, found nothing: a step that returned nothing returned null")
        value_of(text)
        return msgspec.structs.replace(self, json=text.strip() or "null")

    def question(self) -> Question:
        where = f"{short(self.run)} {clean(self.name)}"
        match self.to:
            case To.QUESTION if not self.action:
                ways = zip(WAYS[self.asks], OPTIONS[self.asks], strict=True)
                options = tuple((way.letter, means) for way, (means, _) in ways)
                return Question(text=f"{where}: {ASKED[self.asks]}", options=options)
            case To.QUESTION:
                return Question(text=f"{where}: it happened, with {clean(self.json or '')}?")
            case To.TOKEN:
                return Question(text=f"Complete token {short(self.name)} with {clean(self.json or '')}?")
            case To.SIGNAL:
                return Question(text=f"Send {short(self.run)} signal {clean(self.name)} with {clean(self.json or '')}?")

    def answered(self, option: str) -> Message:
        """The message after the answer to its question; an answer without a value may then be sent."""
        if self.to is To.QUESTION and not self.action:
            action = next(way.action for way in WAYS[self.asks] if way.letter == option)
            return msgspec.structs.replace(self, action=action, agreed=action != "done")
        return msgspec.structs.replace(self, agreed=True)

    def progress(self, tally: Tally, now: Instant) -> str:
        return f"telling run {short(self.run)} ...  (esc stops waiting)"

    def outcome(self, done: int, refused: int, why: str, *, stopped: bool, unsure: bool = False) -> str:
        """The answer that takes the question's place; as `Plan.outcome`."""
        if stopped:
            return "stopped by you: it may have been sent"
        if unsure:
            return f"no answer, it may have been told: {why}"
        if refused:
            return f"refused: {why.replace(self.run, short(self.run))}"
        match self.to:
            case To.QUESTION:
                return f"answered {clean(self.name)}: {self.means}"
            case To.TOKEN:
                return f"token {short(self.name)} completed"
            case To.SIGNAL:
                return f"signal {clean(self.name)} sent to run {short(self.run)}"


def answer(run: str, waits: Sequence[Wait], at: str) -> Message:
    """The answer to the question at a checkpoint or below it, or to the only one. Raises: Unclear."""
    asked = [wait for wait in waits if wait.asks]
    wait = _meant(asked, at, "it asks nothing", "questions")
    return Message(run=run, to=To.QUESTION, name=wait.key, asks=wait.asks)


def completion(run: str, waits: Sequence[Wait], at: str) -> Message:
    """The completion of the token at a checkpoint or below it, or of the only one. Raises: Unclear."""
    tokens = [wait for wait in waits if wait.kind == "token"]
    wait = _meant(tokens, at, "it waits for no token", "tokens")
    return Message(run=run, to=To.TOKEN, name=wait.id)


def signal(run: str, waits: Sequence[Wait], at: str) -> Message:
    """A signal; the one that is waited for there is proposed."""
    names = {wait.subject for wait in _near([wait for wait in waits if wait.kind == "signal"], at)}
    return Message(run=run, to=To.SIGNAL, likely=names.pop() if len(names) == 1 else "")


def value_of(text: str) -> Any:
    """A value that was typed as JSON; nothing is null. Raises: ValueError: it is no JSON."""
    try:
        return json.loads(text, parse_constant=_constant) if text.strip() else None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected JSON, found {text:.20}: {error}") from None


def _meant(waits: Sequence[Wait], at: str, none: str, many: str) -> Wait:
    found = _near(waits, at)
    if not found:
        raise Unclear(none)
    if len(found) > 1:
        raise Unclear(f"{len(found)} {many}: go to one of {', '.join(wait.key or wait.id for wait in found)}")
    return found[0]


def _near(waits: Sequence[Wait], at: str) -> Sequence[Wait]:
    """Those at a checkpoint, or below it; or all, where there are none."""
    exact = [wait for wait in waits if at and wait.key == at]
    below = [wait for wait in waits if wait.key.startswith(f"{at}/")] if at else []
    return exact or below or waits


def _signal_name(text: str) -> str:
    name = text.strip()
    if not name or "/" in name or "#" in name:
        raise ValueError(f"expected a name without '/' and '#', found {name or 'nothing'}")
    return name


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
