"""What came of killing a task's worker at each of its writes, as values and in words."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

import msgspec

from holdfast.testing.line import Moment
from holdfast.testing.writes import Write

IDEMPOTENT = "let the outside tell a repetition by run.idempotency_key, or use @step(at_most_once=True, verify=...)"
"""Advice where an effect is done twice."""

CAPTURE = "take time and chance from run.now(), run.random(), run.uuid(), or from within a step"
"""Advice where code takes something from outside that no checkpoint holds."""

SHOWN = 8
"""Checkpoints that a line names."""

RAN = "ran "
"""Begins what is noted of a step that ran more often than undisturbed."""


class Boundary(msgspec.Struct, frozen=True):
    """A place at which the worker was killed."""

    number: int
    """Of the write, from 1."""
    moment: Moment
    write: Write

    def __str__(self) -> str:
        return f"killed {self.moment} write {self.number} ({self.write})"


class What(StrEnum):
    """What differs."""

    END = "end"
    """The run's final state, result or error."""
    OUTCOME = "outcome"
    """What was recorded of an await."""
    RUNS = "runs"
    """Which other runs there were, and how they ended."""
    EFFECTS = "effects"
    """What was done to the world outside."""
    REPEATED = "repeated"
    """A step whose outcome was recorded ran again."""
    ARGUMENTS = "arguments"
    """The code that was run again came to the same await with something else."""
    DIVERGED = "diverged"
    """The code that was run again took another way."""
    STUCK = "stuck"
    """The run does not end any more."""
    VARIES = "varies"
    """Two undisturbed runs differ, and no recorded outcome says why."""


class Difference(msgspec.Struct, frozen=True):
    """Something that is not as in the undisturbed run."""

    what: What
    key: str
    """The checkpoint; empty where it is about the run."""
    expected: str
    found: str
    advice: str = ""
    boundaries: tuple[Boundary, ...] = ()
    """Where it shows; none: without any crash."""

    def __str__(self) -> str:
        where = str(self.boundaries[0]) if self.boundaries else "undisturbed"
        more = f", and {len(self.boundaries) - 1} more" if len(self.boundaries) > 1 else ""
        about = f"{self.what} {self.key}".rstrip()
        lines = [f"{about}: expected {self.expected}, found {self.found}", f"    {where}{more}"]
        return "\n".join([*lines, f"    {self.advice}"] if self.advice else lines)


class Note(msgspec.Struct, frozen=True):
    """Something to know that is as it must be: a step that ran twice, a question to an operator."""

    key: str
    text: str
    boundaries: tuple[Boundary, ...]


class CrashReport(msgspec.Struct, frozen=True):
    """What came of killing the worker at every boundary."""

    task: str
    writes: tuple[Write, ...]
    """Of the undisturbed run, in order; the worker was killed before and after each."""
    differences: tuple[Difference, ...]
    notes: tuple[Note, ...]

    @property
    def crashes(self) -> int:
        """How many runs were made with a crash in them."""
        return 2 * len(self.writes)

    @property
    def classes(self) -> dict[str, int]:
        """How many writes there are of each class."""
        return dict(Counter(write.kind for write in self.writes))

    def __str__(self) -> str:
        found = len(self.differences)
        verdict = "no difference" if not found else f"{found} difference{'s' if found > 1 else ''}"
        head = f"{self.task}: {len(self.writes)} durable writes, {self.crashes} crashes, {verdict}"
        return "\n".join([head, *map(str, self.differences), *self.told])

    @property
    def told(self) -> list[str]:
        """The notes in lines."""
        texts = dict.fromkeys(note.text for note in self.notes)
        lines = [f"{_listed([one.key for one in self.notes if one.text == text])}: {text}" for text in texts]
        if any(note.text.startswith(RAN) for note in self.notes):
            lines.append(f"where that matters: {IDEMPOTENT}")
        return [f"note: {line}" for line in lines]


def _listed(keys: list[str]) -> str:
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return ", ".join(keys[:SHOWN]) + more
