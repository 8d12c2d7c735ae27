"""Dead letters, one by one and by kind of error."""

from __future__ import annotations

import msgspec

from holdfast.core.model import ErrorInfo, Instant
from holdfast.wire.api.runs import RunsOrder

LETTERS_LIST = "dlq.list"
"""`LettersQuery` → `LettersPage`."""
LETTERS_GROUPS = "dlq.groups"
"""`LettersQuery` → `LetterGroups`."""


class LettersQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which dead letters, newest first unless another order is asked for. Empty fields do not filter.

    In the names of tasks and queues a `*` stands for any characters.
    """

    tasks: tuple[str, ...] = ()
    queue: str = ""
    error: str = ""
    """Part of the error's type or message."""
    since: Instant | None = None
    """When it died, as `until`."""
    before: tuple[float | None, str] | None = None
    """Where the page before ended: what its last letter is ordered by and its run; see `behind`."""
    limit: int = 50
    until: Instant | None = None
    order: RunsOrder = RunsOrder.ENDED
    """By when it died (`ended`), when its run was `created`, or its `attempts`; by nothing else."""
    descending: bool = True
    error_type: str = ""
    """The error's type, all of it."""
    pattern: str = ""
    """The error's pattern, as `LetterGroup.pattern`."""
    queues: tuple[str, ...] = ()
    """Any of these, besides `queue`."""
    errors: tuple[str, ...] = ()
    """Any of these is part of the error's type or message."""
    text: str = ""
    """Part of the run's id, the task or the error's message."""
    without: tuple[str, ...] = ()
    """None of these is part of the run's id, the task, the error's type or its message."""
    words: tuple[str, ...] = ()
    """Each of these is part of one of them."""
    keys: tuple[str, ...] = ()
    """Ids of runs, of any of these; at most 1,000."""
    attempts_least: int = 0

    def behind(self, last: Letter) -> LettersQuery:
        """The query for the page behind a page's last letter."""
        return msgspec.structs.replace(self, before=(last.ordered(self.order), last.run))


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter: everything for triage without opening anything else. Stored on `hf.<p>.dlq.<queue>.<run>`."""

    run: str
    task: str
    queue: str
    payload: bytes
    """In the value codec."""
    error: ErrorInfo
    reason: str
    attempts: int
    last_key: str
    """The checkpoint recorded last: where it stopped; empty where there is none."""
    first_at: Instant
    """When the run was created."""
    last_at: Instant
    """When it died."""

    def ordered(self, order: RunsOrder) -> float:
        """What it is ordered by; by what it can't be, as by when it died."""
        match order:
            case RunsOrder.CREATED:
                return self.first_at
            case RunsOrder.ATTEMPTS:
                return self.attempts
        return self.last_at


class LettersPage(msgspec.Struct, frozen=True):
    letters: tuple[Letter, ...]
    total: int
    more: bool


class LetterGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters of one kind of error."""

    error_type: str
    pattern: str
    """The message's first line with `*` for what varies: numbers, ids, quoted texts. Of a run that died of no error:
    why it did."""
    count: int
    first_at: Instant
    """When the first of them died."""
    last_at: Instant
    """When the last of them died."""
    tasks: tuple[str, ...]
    """By name; at most 20."""
    queues: tuple[str, ...]
    """By name; at most 20."""
    example: str
    """Id of the run that died last."""


class LetterGroups(msgspec.Struct, frozen=True):
    """Dead letters by kind of error; a query's order, page and limit do not count."""

    groups: tuple[LetterGroup, ...]
    """The largest first, at most 200."""
    total: int
    """How many letters match in all."""
    kinds: int = 0
    """How many groups there are in all."""
