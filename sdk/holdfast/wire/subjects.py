"""The subjects of a project, made and read in one place. DESIGN: section "Messages of a project".

hf.<p>.j.<run>.ready.<queue>.<priority>    work items of new runs: RunCreated itself
hf.<p>.j.<run>.again.<queue>.<priority>    work items of runs that go on: they are older, so they come first
hf.<p>.j.<run>.go.<queue>                  work items of runs that got a slot of a queue with limits
hf.<p>.j.<run>.log                         the run's entries, compare-and-set on the last one
hf.<p>.j.<run>.in                          what others tell the run
hf.<p>.j.<run>.timer.<name>                message schedules whose target is ready or in
hf.<p>.dlq.<queue>.<run>                   dead letters
hf.<p>.evt.<name...>                       events, from anyone
hf.<p>.log.<task>.<run>                    output of user code
hf.<p>.ctl.<what>.<name...>                settings and presence, one message a subject
hf.<p>.blob.<digest>.<number>              the pieces of values that are too big for the journal
hf.<p>.secret.<name>                       secrets, encrypted, one message a version
hf.<p>.audit                               what operators did, one message a change
hf.<p>.lead                                which daemon conducts; admissions are fenced by its sequence
hf.<p>.live.<run>.<log|in>                 the journal's log and in messages again, at most once
hf.<p>.live.<news>                         what daemons tell each other and live screens, not stored
hf.<p>.api.<name>                          the daemon's services
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from holdfast.core.lifecycle import Kind

TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\Z")
"""What may stand between two dots: ids of tasks, queues, projects, workers."""

EVENT = re.compile(r"(?:[A-Za-z0-9_-]+|\*)(?:\.(?:[A-Za-z0-9_-]+|\*))*(?:\.>)?\Z|>\Z")
"""An event subject with NATS wildcards, as a task or a wait names it."""

_PRIORITIES = frozenset("0123456789")


class Stream(StrEnum):
    """A project's streams; the value is the suffix of `HF_<project>`."""

    JOURNAL = ""
    EVENTS = "_EVENTS"
    LOGS = "_LOGS"
    CONTROL = "_CONTROL"
    BLOBS = "_BLOBS"
    SECRETS = "_SECRETS"
    AUDIT = "_AUDIT"

    def of(self, project: str) -> str:
        """The stream's name on the server."""
        return f"HF_{project}{self.value}"


class Lane(StrEnum):
    """Where work items come from; the value is a token of their subject, and begins the name of their consumer."""

    READY = "ready"
    """New runs."""
    AGAIN = "again"
    """Runs that go on: resumed, retried, offered once more."""
    GO = "go"
    """Runs that got a slot of a queue with limits."""


class Parsed(NamedTuple):
    """A journal subject, read."""

    run: str
    kind: Kind
    queue: str = ""
    priority: int = -1


class Subjects:
    """The subjects of one project."""

    def __init__(self, project: str) -> None:
        self.project = project
        self.root = f"hf.{project}"
        self.journal = f"{self.root}.j.>"
        self.events = f"{self.root}.evt.>"
        self.letters = f"{self.root}.dlq.>"
        self.blobs = f"{self.root}.blob.>"
        self.secrets = f"{self.root}.secret.>"
        self.audit = f"{self.root}.audit"
        self.lead = f"{self.root}.lead"
        self._j = f"{self.root}.j."
        self._skip = len(self._j)

    def of_run(self, run: str) -> str:
        """Everything of one run."""
        return f"{self._j}{run}.>"

    def ready(self, run: str, queue: str, priority: int) -> str:
        return f"{self._j}{run}.ready.{queue}.{priority}"

    def again(self, run: str, queue: str, priority: int) -> str:
        return f"{self._j}{run}.again.{queue}.{priority}"

    def go(self, run: str, queue: str) -> str:
        return f"{self._j}{run}.go.{queue}"

    def log(self, run: str) -> str:
        return f"{self._j}{run}.log"

    def inbox(self, run: str) -> str:
        return f"{self._j}{run}.in"

    def timer(self, run: str, name: str) -> str:
        return f"{self._j}{run}.timer.{name}"

    def items(self, queue: str, priority: int, lane: Lane = Lane.READY) -> str:
        """The work items of one queue and priority in a lane: the filter of its consumer."""
        return self.go("*", queue) if lane is Lane.GO else f"{self._j}*.{lane}.{queue}.{priority}"

    def letter(self, queue: str, run: str) -> str:
        return f"{self.root}.dlq.{queue}.{run}"

    def event(self, name: str) -> str:
        return f"{self.root}.evt.{name}"

    def event_name(self, subject: str) -> str:
        """How tasks and waits name the events of a subject; one from elsewhere keeps its own."""
        return subject.removeprefix(self.event(""))

    def output(self, task: str, run: str) -> str:
        """Log lines of user code; `*` for either gives the filter."""
        return f"{self.root}.log.{task}.{run}"

    def control(self, what: str, name: str) -> str:
        return f"{self.root}.ctl.{what}.{name}"

    def blob(self, digest: str, number: int) -> str:
        """A piece of a big value, from 1."""
        return f"{self.root}.blob.{digest}.{number}"

    def pieces(self, digest: str) -> str:
        """All pieces of a big value."""
        return f"{self.root}.blob.{digest}.*"

    def secret(self, name: str) -> str:
        return f"{self.root}.secret.{name}"

    def live(self, run: str, kind: Kind) -> str:
        """Where a log or in message is published again as it is stored, at most once."""
        return f"{self.root}.live.{run}.{kind}"

    def news(self, name: str) -> str:
        """What is told to whoever listens just now."""
        return f"{self.root}.live.{name}"

    def api(self, name: str) -> str:
        return f"{self.root}.api.{name}"

    def parse(self, subject: str) -> Parsed:
        """Read a journal subject.

        Raises:
            ValueError: it is none of this project's.
        """
        if not subject.startswith(self._j):
            raise ValueError(f"expected a subject under {self._j[:-1]}, found {subject}")
        tokens = subject[self._skip :].split(".")
        match tokens:
            case [run, *_] if not TOKEN.match(run):
                pass
            case [run, "log"]:
                return Parsed(run, Kind.LOG)
            case [run, "in"]:
                return Parsed(run, Kind.IN)
            case [run, "ready" | "again", queue, priority] if TOKEN.match(queue) and priority in _PRIORITIES:
                return Parsed(run, Kind.READY, queue, int(priority))
            case [run, "go", queue] if TOKEN.match(queue):
                return Parsed(run, Kind.GO, queue)
            case [run, "timer", name] if TOKEN.match(name):
                return Parsed(run, Kind.TIMER)
        raise ValueError(f"expected a journal subject, found {subject}")
