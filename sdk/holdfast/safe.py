"""Sets, rotates and removes the secrets of a project: what `holdfast secrets` does."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from holdfast.bus.ports import Bus
from holdfast.core.model import Instant
from holdfast.errors import ConfigError, Fenced, SecretInUse, UnknownSecret
from holdfast.sealing import SecretKey
from holdfast.vault import SecretState, Vault
from holdfast.wire import api, codec
from holdfast.wire.secrets import LONGEST, PINS, Pin, Pins, PinsQuery, StoredSecret, check_name
from holdfast.wire.subjects import Stream

_decode = msgspec.msgpack.Decoder(StoredSecret).decode


class Safe:
    """The secrets of the project that a bus is bound to, to be changed."""

    def __init__(
        self, bus: Bus, key: SecretKey | None, *, by: str = "", clock: Callable[[], Instant] = time.time
    ) -> None:
        """
        Args:
            key: None: values can't be set here.
            by: who does it, for lists.
        """
        self._bus = bus
        self._key = key
        self._by = by
        self._clock = clock
        self._vault = Vault()

    async def states(self) -> list[SecretState]:
        """The secrets with their versions."""
        await self._vault.load(self._bus, self._key)
        return self._vault.states()

    async def put(self, name: str, value: str, *, rotate: bool = False, latest_on_retry: bool | None = None) -> int:
        """Store a new version of a secret and return its number; runs that have read it keep theirs.

        Args:
            rotate: only where the secret is there.
            latest_on_retry: whether attempts after a failed one read the latest version; None: as it stands, else no.

        Raises:
            UnknownSecret: `rotate`, and there is none; or the secrets here were set with another key.
            ConfigError: the value can't be one, or there is no key.
        """
        check_name(name)
        if not value or len(value) > LONGEST or not _is_unicode(value):
            raise ConfigError(f"secret {name}: expected a text of 1 to {LONGEST:,} characters, found something else")
        if self._key is None:
            raise ConfigError(f"secret {name}: expected a key to encrypt it with, found none: set HOLDFAST_SECRETS_KEY")
        while True:
            stands = {state.name: state for state in await self.states()}
            for state in stands.values():
                self._vault.value(state.name)  # under two keys, no process could read all of them
            if rotate and name not in stands:
                self._vault.latest(name)  # says what there is
            follows = stands[name].latest_on_retry if name in stands else False
            version = self._vault.next_version(name)
            box = self._key.seal(self._bus.subjects.project, name, version, value)
            wanted = follows if latest_on_retry is None else latest_on_retry
            try:
                await self._publish(StoredSecret(name, version, self._clock(), self._by, box, wanted))
            except Fenced:  # somebody else set it just now
                continue
            return version

    async def remove(self, name: str, version: int | None = None) -> tuple[int, ...]:
        """Remove a version, or all; returns which. What runs in flight have read stays.

        Raises:
            UnknownSecret: it is not there.
            SecretInUse: runs in flight go on with it; nothing was removed.
            DaemonUnavailable: nobody knows which runs are in flight.
        """
        stands = next((state for state in await self.states() if state.name == name), None)
        numbers = tuple(stored.version for stored in stands.versions) if stands is not None else ()
        if not numbers or (version is not None and version not in numbers):
            found = ", ".join(map(str, numbers)) or "none"
            raise UnknownSecret(f"secret {name}: expected version {version or 'any'}, found {found}")
        removed = numbers if version is None else (version,)
        if pinned := [pin for pin in await self._pins(name) if pin.version in removed]:
            raise _in_use(name, pinned)
        for number in removed:
            await self._publish(StoredSecret(name, number, self._clock(), self._by))
        await self._delete(name, removed)
        return removed

    async def _publish(self, stored: StoredSecret) -> None:
        subject = self._bus.subjects.secret(stored.name)
        last = await self._bus.last(Stream.SECRETS, subject)
        if stored.box is not None and last is not None and _decode(last.data).version >= stored.version:
            raise Fenced(subject, expected=0, found=last.seq)  # set since we looked
        await self._bus.publish(subject, codec.encode(stored), expect=last.seq if last is not None else 0)

    async def _delete(self, name: str, versions: tuple[int, ...]) -> None:
        """Delete the values; that they are removed stays."""
        for message in await self._bus.read(Stream.SECRETS, self._bus.subjects.secret(name)):
            stored = _decode(message.data)
            if stored.box is not None and stored.version in versions:
                await self._bus.delete(Stream.SECRETS, message.seq)

    async def _pins(self, name: str) -> tuple[Pin, ...]:
        answer = await self._bus.request(self._bus.subjects.api(PINS), codec.encode(PinsQuery(name)))
        return api.decode(answer, Pins).pins


def _in_use(name: str, pinned: list[Pin]) -> SecretInUse:
    shown = ", ".join(f"{pin.run} ({pin.task}, version {pin.version})" for pin in pinned[:20])
    more = f" and {len(pinned) - 20:,} more" if len(pinned) > 20 else ""
    return SecretInUse(
        f"secret {name}: expected no run in flight that has read it, found {shown}{more}: "
        "wait for them or cancel them; nothing was removed",
        runs=tuple(pin.run for pin in pinned),
    )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
