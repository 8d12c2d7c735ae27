"""What operators do."""

from __future__ import annotations

import msgspec

from holdfast.core.model import Instant

AUDIT_LIST = "audit.list"
"""`AuditQuery` → `AuditPage`."""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody did who operates the project; a change to many things at once is one. Stored on `hf.<p>.audit`.

    It holds names only: never a payload, nor the value of a secret.
    """

    seq: int = 0
    """Its sequence in the audit stream; 0 where it is not stored yet."""
    at: Instant = 0.0
    who: str = ""
    """The user of the operating system; over HTTP the name of the access token."""
    via: str = ""
    """`tui`, `cli`, `http` or `sdk`."""
    host: str = ""
    """The machine that it was done on."""
    action: str
    """A stable word: `pause`, `resume`, `limit`, `retry`, `cancel`, ..."""
    kind: str
    """What the targets are: `run`, `queue`, `schedule`, `worker`, `secret`, `token`, `letter` or `event`."""
    targets: tuple[str, ...] = ()
    """The first 100, by name or id."""
    count: int = 1
    """How many things were meant; more than `accepted` and `refused` where it was stopped half way."""
    accepted: int = 0
    refused: int = 0
    why: str = ""
    """Why the first one was refused."""
    filter: str = ""
    """How they were chosen, where they were not named."""
    reason: str = ""
    """What for, in the words of whoever did it."""
    command: str = ""
    """The same from a shell; values that are not kept are words in capitals."""
    address: str = ""
    """Where the session came from: the client's address of SSH or HTTP; empty on the machine itself."""


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries, newest first. Empty fields do not filter."""

    since: Instant | None = None
    until: Instant | None = None
    who: str = ""
    via: str = ""
    action: str = ""
    """`*` stands for any letters, as in `schedule-*`; so in `who` and `target`."""
    target: str = ""
    """Of these, one of the first 100."""
    text: str = ""
    """Part of a target, the filter, the reason, the refusal or the command."""
    before: int | None = None
    """Where the page before ended: `seq` of its last entry."""
    limit: int = 100
    """At most 1,000."""


class AuditPage(msgspec.Struct, frozen=True):
    entries: tuple[AuditEntry, ...]
    """Newest first."""
    total: int
    """How many match in all."""
    more: bool
