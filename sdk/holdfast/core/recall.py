"""What a resumed attempt already knows: recorded outcomes by key, and the keys of new awaits.

A key is a path of names with the occurrence of each within its scope: `/charge#1`, `/gather#1/ship#3`. The occurrence
is taken when the awaitable is created, so no key depends on timing, and keys survive moved lines.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple, Self, TypeAlias

from holdfast.core.entries import (
    AttemptFailed,
    AttemptResumed,
    AttemptStarted,
    CancelRequested,
    ChildEnded,
    ChildTriggered,
    Diverged,
    Entry,
    EventArrived,
    Heartbeat,
    Inherited,
    MetadataChanged,
    Resolved,
    RunDead,
    RunRetried,
    RunTimedOut,
    SecretPinned,
    Signalled,
    StepCompleted,
    StepFailed,
    StepRetried,
    StepStarted,
    StepVolatile,
    Suspended,
    TokenCompleted,
    WaitStarted,
)
from holdfast.core.lifecycle import PAUSE, UNDO
from holdfast.core.model import ErrorInfo, Instant

Arrival: TypeAlias = ChildEnded | TokenCompleted | EventArrived
"""How something outside that was waited for came out."""

Outcome: TypeAlias = StepCompleted | StepFailed | Arrival
"""What is known of an await for good."""


SIGNAL = "signal:"
"""Begins the name of a checkpoint that takes a signal; the signal's name follows."""


class Tried(NamedTuple):
    """How far a step's own retries had come."""

    failed: int = 0
    due: Instant = 0.0
    since: Instant | None = None
    """When its first try began; None: it was not tried yet."""


class Recall:
    """The outcomes of a run so far; feed it entries in journal order with `add`, then ask by key."""

    def __init__(self) -> None:
        self.heartbeat: bytes | None = None
        """The details of the last heartbeat, in the value codec."""
        self.pins: dict[str, int] = {}
        """By name: the version of each secret that the run has read."""
        self.earlier_pins: frozenset[str] = frozenset()
        """The secrets that were last read in an attempt that has ended."""
        self.removed: frozenset[str] = frozenset()
        """The metadata that the code removed."""
        self._outcomes: dict[str, StepCompleted | StepFailed] = {}
        self._awaited: dict[str, str] = {}
        """By key: the id of the child, token or event that it waits for."""
        self._keys: defaultdict[str, set[str]] = defaultdict(set)
        """By id of a wait: the keys that wait for it."""
        self._arrived: dict[str, Arrival] = {}
        """What came of a wait, by its id: an earlier child's end is no outcome of the one that follows it."""
        self._waits: dict[str, WaitStarted] = {}
        self._tried: dict[str, Tried] = {}
        self._began: set[str] = set()
        """Steps that must run at most once and began."""
        self._volatile: set[str] = set()
        self._forgotten: set[str] = set()
        """What had an outcome that does not count any more."""
        self._cleaning = False
        """Whether the run was told to end: what its code awaits then it need not come to again."""
        self._answers: dict[str, Resolved] = {}
        self._signals: defaultdict[str, list[Signalled]] = defaultdict(list)
        self._signal_ids: set[str] = set()
        self._delivered: Counter[str] = Counter()
        """By name: how many signals were taken."""
        self._unseen: set[str] = set()
        self._come_to: set[str] = set()
        """Keys that the code has come to: what comes of them from now on is no outcome that it has not come to."""
        self._passed: set[str] = set()
        """Those of them that were recalled: nor is what comes of anything within them."""
        self._below: defaultdict[str, set[str]] = defaultdict(set)
        """By key: the recorded outcomes of what was awaited within it."""
        self._counts: Counter[tuple[str, str]] = Counter()

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Self:
        """What these entries tell, in journal order."""
        recall = cls()
        for entry in entries:
            recall.add(entry)
        return recall

    def add(self, entry: Entry) -> None:
        """Take in one entry; those that say nothing about awaits are passed over."""
        match entry:
            case StepCompleted():
                self._deliver(entry.key)
                self._record(entry)
            case StepFailed():
                self._answers.pop(entry.key, None)  # that answer has been acted on
                self._record(entry)
            case Inherited(error=None):  # the signals that its origin took were never sent to the fork
                self._record(StepCompleted(entry.key, entry.at, entry.took, entry.value or b"\xc0"))
            case Inherited(error=error):
                assert error is not None
                self._record(StepFailed(entry.key, entry.at, entry.took, error))
            case ChildTriggered():
                self._await(entry.key, entry.child)
            case WaitStarted():
                self._waits[entry.key] = entry
                if entry.kind in ("token", "event"):
                    self._await(entry.key, entry.wait)
            case ChildEnded():
                self._arrive(entry.child, entry)
            case TokenCompleted():
                self._arrive(entry.token, entry)
            case EventArrived():
                self._arrive(entry.wait, entry)
            case Signalled() if entry.id not in self._signal_ids:
                self._signal_ids.add(entry.id)
                self._signals[entry.name].append(entry)
            case StepStarted():
                if entry.once:
                    self._began.add(entry.key)
                    self._answers.pop(entry.key, None)  # an answer counts once: it begins again
                if self.tried(entry.key).since is None:
                    self._tried[entry.key] = self.tried(entry.key)._replace(since=entry.at)
            case StepVolatile():
                self._volatile.add(entry.key)
            case StepRetried():
                since = self.tried(entry.key).since
                self._tried[entry.key] = Tried(
                    entry.number, entry.due, entry.at - entry.took if since is None else since
                )
                self._rewind(entry.key)
            case Heartbeat():
                self.heartbeat = entry.details
            case MetadataChanged():
                kept = {name for name, value in entry.changes.items() if value is not None}
                self.removed = (self.removed | entry.changes.keys()) - kept
            case SecretPinned():
                self.pins[entry.name] = entry.version
                self.earlier_pins -= {entry.name}
            case Suspended():
                for wait in entry.waits:
                    self._answers.pop(wait.removeprefix(PAUSE), None)  # answers to earlier questions
            case Resolved():
                self._answers[entry.key] = entry
            case Diverged():
                self._unseen.difference_update(entry.missing)
                self._answers.pop(entry.key, None)
            case CancelRequested():
                self._cleaning = True
            case AttemptStarted() | AttemptResumed():
                self._cleaning = False
            case AttemptFailed() | RunDead() | RunTimedOut():
                self._excuse(entry.fatal)
                self._forget(entry.fatal)
                self.earlier_pins = frozenset(self.pins)
            case RunRetried():
                self._retry(entry)

    def _record(self, entry: StepCompleted | StepFailed) -> None:
        if not self._is_news(entry):
            return
        self._outcomes[entry.key] = entry
        self._know(entry.key)
        self.settle(entry.key)
        if isinstance(entry, StepCompleted):
            self._began.discard(entry.key)
            if entry.key.endswith(UNDO):  # what was undone runs again, should the run be retried
                self._forget(_path(entry.key.removesuffix(UNDO)))

    def learn(self, entry: StepCompleted | StepFailed) -> None:
        """Take in an outcome that the code has just had: should what it lies within run again, it is recalled."""
        self._record(entry)
        self._unseen.discard(entry.key)

    def _rewind(self, key: str) -> None:
        """A step is to run again: within it what came out well is recalled, what failed is tried again."""
        within = f"{key}/"
        failed = (each for each, outcome in self._outcomes.items() if isinstance(outcome, StepFailed))
        self._forget([each for each in failed if each.startswith(within)])
        for scope, name in [each for each in self._counts if f"{each[0]}/".startswith(within)]:
            del self._counts[scope, name]

    def _is_news(self, entry: StepCompleted | StepFailed) -> bool:
        """The first outcome counts; but an undo that failed is tried again when an operator says so."""
        known = self._outcomes.get(entry.key)
        return known is None or (entry.key.endswith(UNDO) and isinstance(known, StepFailed))

    def _deliver(self, key: str) -> None:
        """Count the signal that was taken where this outcome is one."""
        name = key.rpartition("/")[2].rpartition("#")[0]
        if name.startswith(SIGNAL) and key not in self._outcomes:
            self._delivered[name.removeprefix(SIGNAL)] += 1

    def _await(self, key: str, wait: str) -> None:
        self._keys[self._awaited.get(key, "")].discard(key)
        self._awaited[key] = wait
        self._keys[wait].add(key)
        if wait in self._arrived:
            self._know(key)

    def _arrive(self, wait: str, entry: Arrival) -> None:
        if wait not in self._arrived:
            self._arrived[wait] = entry
            for key in self._keys.get(wait, ()):
                self._know(key)

    def _know(self, key: str) -> None:
        above = _path(key)[1:]
        if key in self._come_to or not self._passed.isdisjoint(above):
            return
        if self._cleaning:
            return
        self._unseen.add(key)
        for each in above:
            self._below[each].add(key)

    def _excuse(self, fatal: tuple[str, ...]) -> None:
        """What was done about a failure need not be come to again: the next attempt may not fail."""
        known = list(self._outcomes)
        first = min((known.index(key) for key in fatal if key in self._outcomes), default=len(known))
        self._unseen.difference_update(known[first:])

    def _forget(self, keys: tuple[str, ...] | list[str]) -> None:
        self._forgotten.update(keys)
        for key in keys:
            self._outcomes.pop(key, None)
            self._keys[self._awaited.pop(key, "")].discard(key)
            self._waits.pop(key, None)
            self._tried.pop(key, None)
            self._unseen.discard(key)
            self._come_to.discard(key)
            self._passed.discard(key)

    def _retry(self, entry: RunRetried) -> None:
        if entry.from_start:
            self._forget([*self._outcomes, *self._awaited, *self._waits, *self._tried])
            self._began.clear()
            self._delivered.clear()
            self.heartbeat = None
            self.pins.clear()
        self.earlier_pins = frozenset(self.pins)
        self._forget([key for key in self._outcomes if key.endswith(UNDO)])
        self._tried.clear()
        self._answers.clear()

    def key(self, scope: str, name: str) -> str:
        """The key of a new awaitable in a scope ("" for the task's own body)."""
        self._counts[scope, name] += 1
        return f"{scope}/{name}#{self._counts[scope, name]}"

    def made(self, key: str) -> bool:
        """Whether the code has made this await, come to or not."""
        scope, _, last = key.rpartition("/")
        name, _, number = last.rpartition("#")
        return key in self._come_to or (number.isdigit() and self._counts[scope, name] >= int(number))

    def take(self, key: str) -> Outcome | None:
        """The recorded outcome of an await that the code has come to, or None."""
        self._come_to.add(key)
        outcome = self._known(key)
        if outcome is not None:
            self._passed.add(key)
            self._unseen.discard(key)
            self._unseen -= self._below.pop(key, set())  # what happened within it is not come to again
        return outcome

    def child(self, key: str) -> str | None:
        """The child run, token or event that this await waits for, or None."""
        return self._awaited.get(key)

    def wait(self, key: str) -> WaitStarted | None:
        """How the wait of this await began, or None."""
        return self._waits.get(key)

    def waiting(self, wait: str) -> frozenset[str]:
        """The keys that wait for a child, token or event."""
        return frozenset(self._keys.get(wait, ()))

    def arrival(self, wait: str) -> Arrival | None:
        """What came of a wait, by its id."""
        return self._arrived.get(wait)

    def begun(self, key: str) -> bool:
        """Whether the code came to this await before, and it had no outcome yet."""
        known = key in self._waits or key in self._awaited or key in self._tried or key in self._began
        known = known or key in self._forgotten
        return known or bool(self._below.get(key))

    def began(self, key: str) -> bool:
        """Whether a step that must run at most once began, and its outcome is not known."""
        return key in self._began and key not in self._outcomes

    def volatile(self, key: str) -> bool:
        """Whether an await, or one that it lies within, ran before and its value could not be kept."""
        return any(key == each or key.startswith(f"{each}/") for each in self._volatile)

    def completed(self, key: str) -> StepCompleted | None:
        """The recorded outcome of an await that returned, or None; the code has not come to it by this."""
        outcome = self._outcomes.get(key)
        return outcome if isinstance(outcome, StepCompleted) else None

    def came_from(self, key: str) -> tuple[str, ...]:
        """The awaits within a failed one whose exception it passed on: to run it again is to run these again."""
        failed = self._outcomes.get(key)
        if not isinstance(failed, StepFailed):
            return ()
        within = (each for each in {**self._outcomes, **self._awaited} if each.startswith(f"{key}/"))
        return tuple(each for each in within if _tells(self._known(each), failed.error))

    def _known(self, key: str) -> Outcome | None:
        return self._outcomes.get(key) or self._arrived.get(self._awaited.get(key, ""))

    def failed(self, key: str) -> StepFailed | None:
        """The recorded outcome of an await that raised, or None; the code has not come to it by this."""
        outcome = self._outcomes.get(key)
        return outcome if isinstance(outcome, StepFailed) else None

    def answer(self, key: str) -> Resolved | None:
        """What an operator answered since the run paused at this checkpoint the last time, until it is acted on."""
        return self._answers.get(key)

    def answered(self, key: str) -> None:
        """The answer was taken: it counts once, another question wants another one."""
        self._answers.pop(key, None)

    def settle(self, key: str) -> None:
        """An await has an outcome: its tries are over, and so are the questions about it."""
        self._tried.pop(key, None)
        self._answers.pop(key, None)

    def next_signal(self, name: str) -> str:
        """The id of the wait for the first signal of a name that was not taken."""
        return f"{SIGNAL}{name}#{self._delivered[name] + 1}"

    def came_before(self, signals: Iterable[Signalled]) -> None:
        """These were sent before any that was taken in so far, in this order. To be told before one is taken."""
        earlier: defaultdict[str, list[Signalled]] = defaultdict(list)
        for signal in signals:
            earlier[signal.name].append(signal)
            self._signal_ids.add(signal.id)
        for name, found in earlier.items():
            ids = {signal.id for signal in found}
            self._signals[name] = [*found, *(known for known in self._signals[name] if known.id not in ids)]

    def take_signal(self, name: str) -> Signalled | None:
        """The first signal of a name that was not taken, or None; whoever takes it records that as an outcome."""
        taken = self._delivered[name]
        if taken >= len(self._signals[name]):
            return None
        self._delivered[name] += 1
        return self._signals[name][taken]

    def tried(self, key: str) -> Tried:
        """How far the step's own retries had come."""
        return self._tried.get(key, Tried())

    @property
    def unseen(self) -> frozenset[str]:
        """Recorded outcomes that the code has not come to."""
        return frozenset(self._unseen)

    @property
    def caught_up(self) -> bool:
        """Whether the code has come to every recorded outcome."""
        return not self._unseen


def _tells(outcome: Outcome | None, error: ErrorInfo) -> bool:
    """Whether this outcome raised that error where it was awaited."""
    match outcome:
        case StepFailed(error=own) | TokenCompleted(error=ErrorInfo() as own):
            return (own.type, own.message) == (error.type, error.message)
        case ChildEnded(error=ErrorInfo()):
            return outcome.child in error.message
    return False


def _path(key: str) -> list[str]:
    """A key and those that it lies within, innermost first."""
    path = []
    while key:
        path.append(key)
        key = key.rpartition("/")[0]
    return path
