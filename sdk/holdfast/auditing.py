"""Who did what: each change by whoever operates a project leaves one entry in its audit stream.

A method of the client that changes something says what it does (`noted`); the entry is stored when it is done, also
where it was refused. Changes to many things are one entry: what is done inside of `Auditor.batch` counts in that. What
tasks do is no part of it. An entry that can't be stored makes nothing fail: it is missed, and that is said.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar

import anyio
from msgspec.structs import replace

from holdfast import context
from holdfast.bus.ports import Bus
from holdfast.core.model import Instant, Seconds
from holdfast.deeds import Deed, shell
from holdfast.errors import ConfigError, ConnectError, EncodeError, HoldfastError, PayloadError, UnknownToken
from holdfast.wire import codec
from holdfast.wire.api import AuditEntry

log = logging.getLogger("holdfast.audit")

TARGETS_MOST = 100
"""So many targets of an entry are kept by name."""

TEXT_MOST = 2_000
"""Characters of a filter, a reason, a refusal or a command that are kept."""

WITHIN: Seconds = 5.0
"""How long an entry may take to be stored."""

SDK, CLI, TUI, HTTP = "sdk", "cli", "tui", "http"
"""What things are done with (`AuditEntry.via`)."""

BY_PERSONS = frozenset({CLI, TUI, HTTP})
"""With these, also what programs do all day is noted."""

LOST = "stopped before an answer came: it may have been done"

_NOTHING_DONE = (ConfigError, ConnectError, EncodeError, PayloadError, UnknownToken)
"""Where a method raises these it has not come to what it is for. Anybody may guess at tokens over HTTP: that is not to
fill the audit."""

P = ParamSpec("P")
R = TypeVar("R")


class Actor(NamedTuple):
    """Somebody who does things."""

    who: str
    host: str = ""
    address: str = ""
    """As `AuditEntry.address`."""

    @classmethod
    def here(cls, env: Mapping[str, str]) -> Actor:
        """The user that this process belongs to."""
        try:
            import pwd

            who = pwd.getpwuid(os.getuid()).pw_name
        except (ImportError, KeyError):  # no such file on this system, or a container's user without a name
            who = env.get("USER") or env.get("USERNAME") or "unknown"
        return cls(who, socket.gethostname(), env.get("SSH_CONNECTION", "").partition(" ")[0])


_actor: ContextVar[Actor | None] = ContextVar("holdfast_actor", default=None)


@contextlib.contextmanager
def acting_as(actor: Actor) -> Iterator[None]:
    """What is done inside is done by somebody else than this process's user: by whoever it serves."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


class Batch:
    """A change to many things, and what became of each; made by `Auditor.batch`."""

    def __init__(self, entry: AuditEntry, count: int | None) -> None:
        self._entry = entry
        self._count = count
        self._targets: list[str] = []
        self.accepted = 0
        self.refused = 0
        self.lost = 0
        """Stopped before it was known what became of them."""
        self.why = ""
        """Why the first one was refused, or lost."""

    def took(self, target: str, count: int = 1) -> None:
        """One was done, or as many in one go as `count` says."""
        self.accepted += count
        if count:
            self._name(target)

    def refuse(self, target: str, why: str) -> None:
        """One could not be done; the others go on."""
        self.refused += 1
        self.why = self.why or why
        self._name(target)

    def lose(self, target: str) -> None:
        """One was stopped while it was under way."""
        self.lost += 1
        self.why = self.why or LOST
        self._name(target)

    def _name(self, target: str) -> None:
        if len(self._targets) < TARGETS_MOST:
            self._targets.append(target)

    @property
    def entry(self) -> AuditEntry | None:
        """What is to be stored; None where nothing was even tried."""
        tried = self.accepted + self.refused + self.lost
        if not tried:
            return None
        count = tried if self._count is None else max(self._count, tried)
        done = {"accepted": self.accepted, "refused": self.refused, "why": self.why, "count": count}
        return replace(self._entry, targets=tuple(self._targets), **done)

    def of(self, deed: Deed) -> Batch:
        return self


class _Gathering:
    """Changes that are alike are one entry each: those of one command."""

    def __init__(self) -> None:
        self._batches: dict[Deed, Batch] = {}

    def of(self, deed: Deed) -> Batch:
        return self._batches.setdefault(deed._replace(target=""), Batch(_entry(deed), None))

    @property
    def entries(self) -> list[AuditEntry]:
        found = ((batch.entry, deed) for deed, batch in self._batches.items())
        return [
            replace(entry, command=shell(deed.words, dict.fromkeys(entry.targets), deed.options))
            for entry, deed in found
            if entry is not None
        ]


class _Passing:
    """What a noted method does on its way is a part of it."""

    def of(self, deed: Deed) -> Batch:
        return Batch(_entry(deed), None)


class _Collector(Protocol):
    """What changes are part of, while it is under way."""

    def of(self, deed: Deed) -> Batch:
        """Where a change counts."""


class _Account:
    """Where the changes of a client count just now; tasks that go on after its end count for themselves."""

    def __init__(self, auditor: Auditor, collector: _Collector) -> None:
        self.auditor = auditor
        self.collector = collector
        self.open = True


_account: ContextVar[_Account | None] = ContextVar("holdfast_audit", default=None)


class Auditor:
    """Stores the entries of one client."""

    def __init__(self, bus: Bus, clock: Callable[[], Instant]) -> None:
        self._bus = bus
        self._clock = clock
        self.via = SDK
        """What the client is used with; empty: nothing is noted (a worker's)."""
        self.missed: Callable[[str], None] = log.warning
        """Told why an entry could not be stored."""

    async def store(self, entry: AuditEntry) -> None:
        """Store an entry; what it leaves open (who, with what, where, when) is filled in. Raises nothing."""
        actor = _actor.get() or _here()
        whole = replace(
            entry,
            seq=0,
            at=entry.at or self._clock(),
            who=entry.who or actor.who,
            via=entry.via or self.via,
            host=entry.host or actor.host or _here().host,
            address=entry.address or actor.address,
            targets=tuple(_clipped(target) for target in entry.targets[:TARGETS_MOST]),
            why=_clipped(entry.why),
            filter=_clipped(entry.filter),
            reason=_clipped(entry.reason),
            command=_clipped(entry.command),
        )
        try:
            with anyio.CancelScope(shield=True), anyio.fail_after(WITHIN):
                await self._bus.publish(
                    self._bus.subjects.audit, codec.encode(whole), dedupe=f"audit-{secrets.token_hex(8)}"
                )
        except (HoldfastError, TimeoutError) as error:
            what = f"{whole.action} of {whole.kind} {', '.join(whole.targets[:3])}"
            self.missed(f"the audit has no entry of this {what}, it could not be stored: {error}")

    @contextlib.asynccontextmanager
    async def batch(self, entry: AuditEntry, count: int | None = None) -> AsyncIterator[Batch]:
        """What is changed inside, also in tasks that are begun there, is one entry, stored at the end, however it ends.

        Args:
            entry: what is known before: action and kind, filter, reason and command.
            count: how many things are meant; None: as many as are tried.
        """
        batch = Batch(entry, count)
        with self._collecting(batch):
            try:
                yield batch
            finally:
                if batch.entry is not None and not self.silent:
                    await self.store(batch.entry)

    @contextlib.asynccontextmanager
    async def gathering(self) -> AsyncIterator[None]:
        """What is changed inside is stored at the end: one entry for all changes that are alike but for the target."""
        gathering = _Gathering()
        with self._collecting(gathering):
            try:
                yield
            finally:
                for entry in gathering.entries:
                    await self.store(entry)

    @property
    def silent(self) -> bool:
        """Whether nothing is noted just now: what tasks do, they do not do as operators."""
        return not self.via or context.execution.get() is not None

    async def note(self, deed: Deed, change: Awaitable[R]) -> R:
        """Make a change, and leave its entry."""
        account = _account.get()
        inside = account.collector if account is not None and account.open and account.auditor is self else None
        if self.silent or isinstance(inside, _Passing) or (deed.by_hand and self.via not in BY_PERSONS):
            return await change
        batch = Batch(_entry(deed), None) if inside is None else inside.of(deed)
        try:
            with self._collecting(_Passing()):
                done = await change
            batch.took(deed.target)
            return done
        except _NOTHING_DONE:
            raise
        except HoldfastError as error:
            batch.refuse(deed.target, str(error) or type(error).__name__)
            raise
        except BaseException:
            batch.lose(deed.target)
            raise
        finally:
            if inside is None and batch.entry is not None:
                await self.store(batch.entry)

    @contextlib.contextmanager
    def _collecting(self, collector: _Collector) -> Iterator[None]:
        account = _Account(self, collector)
        token = _account.set(account)
        try:
            yield
        finally:
            account.open = False
            _account.reset(token)


class _Audited(Protocol):
    auditing: Auditor


C = TypeVar("C", bound=_Audited)


def noted(
    describe: Callable[P, Deed],
) -> Callable[[Callable[Concatenate[C, P], Awaitable[R]]], Callable[Concatenate[C, P], Coroutine[Any, Any, R]]]:
    """A method of a client that leaves an entry.

    Args:
        describe: what it does, with its own parameters.
    """

    def decorate(
        method: Callable[Concatenate[C, P], Awaitable[R]],
    ) -> Callable[Concatenate[C, P], Coroutine[Any, Any, R]]:
        @functools.wraps(method)
        async def change(client: C, /, *args: P.args, **kwargs: P.kwargs) -> R:
            return await client.auditing.note(describe(*args, **kwargs), method(client, *args, **kwargs))

        return change

    return decorate


def _entry(deed: Deed) -> AuditEntry:
    return AuditEntry(
        action=deed.action,
        kind=deed.kind,
        reason=deed.reason,
        command=shell(deed.words, (deed.target,), deed.options),
    )


def _clipped(text: str) -> str:
    return text if len(text) <= TEXT_MOST else f"{text[: TEXT_MOST - 1]}…"


@functools.cache
def _here() -> Actor:
    return Actor.here(os.environ)
