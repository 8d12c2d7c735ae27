"""What the demo claims, each held against the journal, the history and the file of side effects. Pure.

A check yields what it found wrong, or nothing. It does not trust the story: a run that was never started, or an engine
that repeats, loses or invents a step, makes it fail.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from holdfast.core.entries import (
    AttemptInterrupted,
    AttemptResumed,
    AttemptStarted,
    ChildEnded,
    ChildTriggered,
    Entry,
    RunDead,
    RunRetried,
    StepCompleted,
    StepFailed,
    StepRetried,
    Suspended,
)
from holdfast.core.model import Instant, Run, Seconds, State
from holdfast.core.tree import Tree
from holdfast.demo.tasks import PRICES, Receipt, SupplierClosed
from holdfast.wire.api import Letter, RunRow
from holdfast.wire.values import decode_value


class Act(StrEnum):
    """A part of the story; its run is the first argument of `Evidence.of`."""

    ORDER = "an order"
    KILL = "a killed worker"
    LETTER = "a dead letter"
    EVENT = "an event"


ORDERS: Mapping[Act, tuple[str, tuple[str, ...]]] = {
    Act.ORDER: ("A-1001", ("keyboard", "mouse", "cable")),
    Act.KILL: ("B-1002", ("screen", "lamp", "chair", "cable")),
    Act.EVENT: ("D-1004", ("mouse",)),
}
"""What is ordered in each act: the arguments of `process_order`."""


EXACT: Seconds = 0.005
"""Timers of the event loop tick in milliseconds: so much too early says nothing."""


class Witness(NamedTuple):
    """One run, as it was left."""

    run: Run
    """Folded from the journal."""
    entries: tuple[Entry, ...]
    """The journal's own."""
    tree: Tree
    calls: Counter[str]
    """Lines in the file of side effects, by checkpoint."""
    row: RunRow | None
    """What the daemon's history says of it; None: nothing."""

    @property
    def outcomes(self) -> Counter[str]:
        """How often the journal says that each checkpoint was run, failed tries included."""
        return _outcomes(self.entries)

    @property
    def resumed(self) -> AttemptResumed | None:
        """The claim that took the run up after its worker was lost."""
        return next((entry for entry in self.after(AttemptInterrupted) if isinstance(entry, AttemptResumed)), None)

    @property
    def under_way(self) -> str:
        """The step that the loss of the worker cut short: it may have had its effect and not its record. Or empty."""
        return next((entry.key for entry in _ran(self.after(AttemptInterrupted))), "")

    def before(self, kind: type[Entry]) -> tuple[Entry, ...]:
        """The entries before the first of a kind; none where there is none."""
        at = self._first(kind)
        return () if at is None else self.entries[:at]

    def after(self, kind: type[Entry]) -> tuple[Entry, ...]:
        """The entries after the first of a kind; none where there is none."""
        at = self._first(kind)
        return () if at is None else self.entries[at + 1 :]

    def _first(self, kind: type[Entry]) -> int | None:
        return next((index for index, entry in enumerate(self.entries) if isinstance(entry, kind)), None)


class Kill(NamedTuple):
    """The SIGKILL of a worker."""

    worker: str
    pid: int
    at: Instant


class Recovery(NamedTuple):
    """What followed the kill and when, in seconds after it, by the journal."""

    noticed: Seconds
    """The daemon took the run from the dead worker."""
    resumed: Seconds
    """Another worker took it up."""
    next_step: Seconds
    """The first step that was not recorded yet began."""


class Evidence(NamedTuple):
    """What the story left behind."""

    runs: Mapping[Act, Witness]
    children: Mapping[str, Witness]
    """Child runs by id."""
    kill: Kill | None
    letter: Letter | None
    """As it lay on its subject, between the run's death and its retry."""
    letter_listed: bool
    """Whether the daemon listed it then."""
    letter_left: bool
    """Whether it lies on its subject, or is listed, in the end."""
    troubles: Mapping[Act, str]
    """Why an act did not come to its end."""

    def of(self, act: Act) -> Witness:
        """Raises: Missing: the act has no run."""
        if act in self.troubles:
            raise Missing(f"{act}: {self.troubles[act]}")
        if act not in self.runs:
            raise Missing(f"{act}: it has no run")
        return self.runs[act]

    @property
    def recovery(self) -> Recovery | None:
        """How fast the killed worker's run went on; None where it did not."""
        it = self.runs.get(Act.KILL)
        if it is None or self.kill is None or it.resumed is None:
            return None
        lost = next(entry.at for entry in it.entries if isinstance(entry, AttemptInterrupted))
        first = next(_ran(it.after(AttemptInterrupted)), None)
        if first is None:
            return None
        return Recovery(lost - self.kill.at, it.resumed.at - self.kill.at, first.at - first.took - self.kill.at)


class Missing(Exception):
    """The story did not get so far."""


class Claim(NamedTuple):
    """A claim and what was found against it."""

    says: str
    against: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return not self.against


def judge(seen: Evidence) -> list[Claim]:
    """Every claim, held against the evidence."""
    return [Claim(says, _against(check, seen)) for says, check in CLAIMS]


def _against(check: Callable[[Evidence], Iterator[str]], seen: Evidence) -> tuple[str, ...]:
    try:
        return tuple(check(seen))
    except Missing as missing:
        return (str(missing),)


def _side_by_side(seen: Evidence) -> Iterator[str]:
    _, items = ORDERS[Act.ORDER]
    nodes = [node for _, node in seen.of(Act.ORDER).tree.walk() if node.key.startswith("/gather#1/reserve#")]
    starts = [node.started_at for node in nodes if node.started_at is not None]
    ends = [node.ended_at for node in nodes if node.ended_at is not None]
    if not len(starts) == len(ends) == len(items):
        yield f"expected {len(items)} ended reservations, found {len(starts)} begun and {len(ends)} ended"
    elif max(starts) >= min(ends):
        yield "a reservation began after another had ended"


def _each_turn(seen: Evidence) -> Iterator[str]:
    for act, (_, items) in ORDERS.items():
        done = [entry.key for entry in seen.of(act).entries if isinstance(entry, StepCompleted)]
        found = [key for key in done if key.startswith("/pack#")]
        if found != [f"/pack#{number}" for number in range(1, len(items) + 1)]:
            yield f"{act}: expected {len(items)} checkpoints of pack in order, found {', '.join(found) or 'none'}"


def _flaky(seen: Evidence) -> Iterator[str]:
    it = seen.of(Act.ORDER)
    tries = [entry for entry in _ran(it.entries) if entry.key == "/charge#1"]
    kinds = [type(entry) for entry in tries]
    if kinds != [StepRetried, StepRetried, StepCompleted]:
        found = ", ".join(kind.__name__ for kind in kinds) or "nothing"
        yield f"expected two failed tries and a success, found {found}"
    for earlier, later in pairwise(tries):
        if isinstance(earlier, StepRetried) and later.at - later.took < earlier.due - EXACT:
            yield f"the try after number {earlier.number} began before it was due"
    if it.calls["/charge#1"] != 3:
        yield f"expected 3 calls to the bank, found {it.calls['/charge#1']}"


def _before_flaky(seen: Evidence) -> Iterator[str]:
    it = seen.of(Act.ORDER)
    if it.run.attempt != 1:
        yield f"expected one attempt of the run, found {it.run.attempt}"
    yield from _once(it, (key for key in it.outcomes if key != "/charge#1"))


def _child(seen: Evidence) -> Iterator[str]:
    for act in ORDERS:
        it = seen.of(act)
        begun = [entry for entry in it.entries if isinstance(entry, ChildTriggered)]
        ended = [entry for entry in it.entries if isinstance(entry, ChildEnded)]
        if len(begun) != 1 or len(ended) != 1:
            yield f"{act}: expected one child run, found {len(begun)} begun and {len(ended)} ended"
            continue
        child = seen.children[begun[0].child].run
        if child.parent is None or (child.parent.run, child.parent.key) != (it.run.id, begun[0].key):
            yield f"{act}: the child run does not name its parent"
        if child.state is not State.COMPLETED or ended[0].value != child.result:
            yield f"{act}: the child ended {child.state}, its result is not what the parent was told"
        if not any(isinstance(entry, Suspended) and entry.waits == (begun[0].child,) for entry in it.entries):
            yield f"{act}: the parent held its worker while it waited"


def _goes_on(seen: Evidence) -> Iterator[str]:
    it = seen.of(Act.KILL)
    assert seen.kill is not None
    reasons = [entry.reason for entry in it.entries if isinstance(entry, AttemptInterrupted)]
    if reasons != [f"worker {seen.kill.worker}: killed by signal 9"]:
        yield f"expected one interruption as {seen.kill.worker} was killed, found {reasons}"
    if it.resumed is None:
        yield "the run was not taken up again"
    elif it.resumed.worker == seen.kill.worker:
        yield "the dead worker took it up"
    starts = [entry for entry in it.entries if isinstance(entry, AttemptStarted)]
    if len(starts) != 1 or it.run.spent != 0:
        yield f"expected one attempt and none spent, found {len(starts)} and {it.run.spent}"


def _nothing_again(seen: Evidence) -> Iterator[str]:
    it = seen.of(Act.KILL)
    recorded, later = _outcomes(it.before(AttemptInterrupted)), _outcomes(it.after(AttemptInterrupted))
    if "/pack#1" not in recorded or not later:
        yield "the kill was not in the middle of the loop"
    if recorded.keys() & later.keys():
        yield f"recorded twice: {', '.join(sorted(recorded.keys() & later.keys()))}"
    yield from _once(it, (key for key in recorded if key != "/charge#1"))
    if it.calls["/charge#1"] != 3:
        yield f"expected 3 calls to the bank, found {it.calls['/charge#1']}"


def _results(seen: Evidence) -> Iterator[str]:
    for act, (order, items) in ORDERS.items():
        run = seen.of(act).run
        expected = Receipt(order, sum(PRICES[item] for item in items), f"paid-{order}", f"track-{order}")
        found = decode_value(run.result) if run.result is not None else None
        if run.state is not State.COMPLETED or found != expected:
            yield f"{act}: expected {expected}, found {run.state} {found}"


def _dies(seen: Evidence) -> Iterator[str]:
    it, letter = seen.of(Act.LETTER), seen.letter
    deaths = [entry for entry in it.entries if isinstance(entry, RunDead)]
    if len(deaths) != 1 or deaths[0].reason != "attempts used up":
        yield f"expected one death as attempts are used up, found {[entry.reason for entry in deaths]}"
    if not seen.letter_listed:
        yield "the daemon did not list a dead letter"
    if letter is None:
        yield "no dead letter lay on its subject"
    elif not letter.error.type.endswith(SupplierClosed.__name__) or letter.attempts != 2:
        yield f"expected SupplierClosed after 2 attempts, found {letter.error.type} after {letter.attempts}"


def _retried(seen: Evidence) -> Iterator[str]:
    it = seen.of(Act.LETTER)
    later = it.after(RunRetried)
    if it.run.state is not State.COMPLETED or decode_value(it.run.result or b"") != 7:
        yield f"expected it completed, found {it.run.state}"
    if [entry.attempt for entry in later if isinstance(entry, AttemptStarted)] != [3]:
        yield "expected attempt 3 after the retry, and no other"
    if (keys := list(_outcomes(later))) != ["/buy#1"]:
        yield f"expected only /buy#1 after the retry, found {', '.join(keys) or 'nothing'}"
    if seen.letter_left:
        yield "the dead letter still lies there"
    yield from _once(it, ["/count#1"])


def _by_event(seen: Evidence) -> Iterator[str]:
    source = seen.of(Act.EVENT).run.source
    if source != "event orders.created":
        yield f"expected a run from event orders.created, found one from {source}"


def _calls(seen: Evidence) -> Iterator[str]:
    for it in (*(seen.of(act) for act in Act), *seen.children.values()):
        for key in sorted(it.calls.keys() | it.outcomes.keys()):
            over = it.calls[key] - it.outcomes[key]
            if over and not (over == 1 and key == it.under_way):
                yield f"{it.run.task} {key}: {it.calls[key]} calls, {it.outcomes[key]} outcomes in the journal"


def _history(seen: Evidence) -> Iterator[str]:
    for it in (*(seen.of(act) for act in Act), *seen.children.values()):
        if (journal := _summary(it.run)) != (history := _summary(it.row)):
            yield f"{it.run.task} {it.run.id}: journal says {journal}, history {history}"


CLAIMS: Sequence[tuple[str, Callable[[Evidence], Iterator[str]]]] = (
    ("steps in a gather run side by side", _side_by_side),
    ("each turn of a loop is a checkpoint of its own", _each_turn),
    ("a flaky step failed twice and succeeded by its own retry", _flaky),
    ("the steps around it ran once, in one attempt", _before_flaky),
    ("a child run gave its result to a parent that held no worker meanwhile", _child),
    ("after SIGKILL another worker went on in the same attempt", _goes_on),
    ("no step that was recorded before the kill ran again", _nothing_again),
    ("every order has the result of an undisturbed run", _results),
    ("a run out of attempts became a dead letter with its error", _dies),
    ("retried, it went on behind its last checkpoint; the letter is gone", _retried),
    ("a message from a plain NATS client started a run", _by_event),
    ("every call to the outside is one outcome in the journal", _calls),
    ("the history in DuckDB says what the journal says", _history),
)


def _once(it: Witness, keys: Iterator[str] | Sequence[str]) -> Iterator[str]:
    for key in keys:
        if it.calls[key] != 1:
            yield f"expected one call of {key}, found {it.calls[key]}"


def _summary(run: Run | RunRow | None) -> str:
    """What both keep of a run; times to the millisecond, as the history rounds them to microseconds."""
    if run is None:
        return "nothing"
    lasted = run.finished_at - run.started_at if run.finished_at and run.started_at else math.nan
    return f"{run.state} after {run.steps} steps in attempt {run.attempt}, {lasted:.3f} s"


def _outcomes(entries: Sequence[Entry]) -> Counter[str]:
    return Counter(entry.key for entry in _ran(entries))


def _ran(entries: Sequence[Entry]) -> Iterator[StepCompleted | StepFailed | StepRetried]:
    """The entries that each say: a step was run, and so it ended."""
    return (entry for entry in entries if isinstance(entry, StepCompleted | StepFailed | StepRetried))
