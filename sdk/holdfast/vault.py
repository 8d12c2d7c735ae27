"""The secrets of a project, decrypted, in the memory of a worker: read at its start, followed from then on.

    vault = Vault()
    await vault.load(bus, key)          # then, in a task: await vault.follow()
    version = vault.pick("STRIPE_KEY", pinned=recall.pins.get("STRIPE_KEY"))
    vault.value("STRIPE_KEY", version)

Reading a secret is a look into memory, so that `secrets["STRIPE_KEY"]` needs no await.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from typing import NamedTuple

import msgspec

from holdfast.bus.ports import Bus, Message
from holdfast.core.model import Seconds
from holdfast.errors import BusError, ConnectError, UnknownSecret
from holdfast.sealing import SecretKey
from holdfast.wire.references import SecretVersion
from holdfast.wire.secrets import StoredSecret
from holdfast.wire.subjects import Stream

log = logging.getLogger("holdfast.vault")

AGAIN: Seconds = 1.0
"""After the following of new secrets failed."""

_decode = msgspec.msgpack.Decoder(StoredSecret).decode


class SecretState(NamedTuple):
    """A secret as lists show it."""

    name: str
    versions: tuple[StoredSecret, ...]
    """Those that are there, oldest first; their values stay encrypted."""
    latest_on_retry: bool


class _Secret:
    """What is known of one secret."""

    def __init__(self) -> None:
        self.highest = 0
        self.versions: dict[int, StoredSecret] = {}
        self.values: dict[int, str] = {}


class Vault:
    """The secrets of one project."""

    def __init__(self) -> None:
        self._bus: Bus | None = None
        self._key: SecretKey | None = None
        self._seq = 0
        self._secrets: dict[str, _Secret] = {}
        self._texts: frozenset[str] = frozenset()
        self._references: dict[str, SecretVersion] = {}

    async def load(self, bus: Bus, key: SecretKey | None) -> None:
        """Read all secrets. Without a key, or with another's, they are known by name only.

        Raises:
            BusError, ConnectError: they could not be read.
        """
        self._bus, self._key = bus, key
        if key is not None:
            self._remember(key.text)
        await self.catch_up()

    async def catch_up(self) -> None:
        """Take in what was stored since."""
        assert self._bus is not None, "load it first"
        self._take(await self._bus.read(Stream.SECRETS, self._bus.subjects.secrets, first=self._seq + 1))

    async def follow(self) -> None:
        """Take in what is stored from now on, for ever; also when the stream was away for a while."""
        while True:
            try:
                await self._follow()
            except (BusError, ConnectError) as error:
                log.warning("secrets are followed again: %s", error)
                await asyncio.sleep(AGAIN)

    async def _follow(self) -> None:
        assert self._bus is not None, "load it first"
        news = self._bus.follow(Stream.SECRETS, self._bus.subjects.secrets, first=self._seq + 1, idle=5.0)
        async with aclosing(news):
            async for messages in news:
                self._take(messages)

    async def ready_for(self, pins: Mapping[str, int]) -> None:
        """Make sure that the versions which a run has pinned are known here as far as they are stored.

        A run may come from a worker that learnt of a version a moment before this one does.
        """
        if any(version not in self._known(name).versions for name, version in pins.items()):
            await self.catch_up()

    def value(self, name: str, version: int | None = None) -> str:
        """A version's value; without a version the latest one's.

        Raises:
            UnknownSecret: it is not there, or can't be decrypted here.
        """
        version = self.latest(name) if version is None else version
        secret = self._known(name)
        if version in secret.values:
            return secret.values[version]
        stored = secret.versions.get(version)
        if stored is None:
            raise _unknown(name, self._secrets, version)
        if self._key is None:
            raise UnknownSecret(
                f"secret {name}: expected a key to decrypt it with, found none: set HOLDFAST_SECRETS_KEY for this "
                "process to the content of <data_dir>/credentials/<project>.key where the secret was set"
            )
        return self._key.open(self._project, stored)

    def latest(self, name: str) -> int:
        """The number of the latest version. Raises: UnknownSecret: there is none."""
        versions = self._known(name).versions
        if not versions:
            raise _unknown(name, self._secrets, None)
        return max(versions)

    def newest(self, name: str, count: int) -> tuple[str, ...]:
        """The values of the latest versions that can be decrypted here, newest first."""
        values = self._known(name).values
        return tuple(values[number] for number in sorted(values, reverse=True)[:count])

    def pick(self, name: str, pinned: int | None, *, retried: bool = False) -> int:
        """The version that a run reads.

        Args:
            pinned: the one that it read before (`Recall.pins`); None: it reads this secret for the first time.
            retried: whether that was in an attempt that has ended (`Recall.earlier_pins`).

        Raises:
            UnknownSecret: there is no such secret, or the pinned version was removed.
        """
        secret = self._known(name)
        if pinned is None or (retried and (pinned not in secret.versions or self._latest_on_retry(secret))):
            return self.latest(name)
        if pinned not in secret.versions:
            raise _unknown(name, self._secrets, pinned)
        return pinned

    def reference(self, text: str) -> SecretVersion | None:
        """The secret whose value a text is, in the newest version that has this value; None: it is none."""
        return self._references.get(text)

    def values(self) -> frozenset[str]:
        """All values that this process has seen, removed ones too, and the key: what must not get out.

        The same object as long as nothing changes.
        """
        return self._texts

    def states(self) -> list[SecretState]:
        """The secrets that have a version, by name."""
        return [
            SecretState(
                name,
                tuple(secret.versions[number] for number in sorted(secret.versions)),
                self._latest_on_retry(secret),
            )
            for name, secret in sorted(self._secrets.items())
            if secret.versions
        ]

    def next_version(self, name: str) -> int:
        """The number of a version that is set now."""
        return self._known(name).highest + 1

    @property
    def _project(self) -> str:
        assert self._bus is not None
        return self._bus.subjects.project

    def _known(self, name: str) -> _Secret:
        return self._secrets.get(name) or _Secret()

    @staticmethod
    def _latest_on_retry(secret: _Secret) -> bool:
        return secret.versions[max(secret.versions)].latest_on_retry

    def _take(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self._seq = max(self._seq, message.seq)
            try:
                stored = _decode(message.data)
            except msgspec.DecodeError as error:
                log.warning("passed over an unreadable secret: seq=%d %s: %s", message.seq, message.subject, error)
                continue
            secret = self._secrets.setdefault(stored.name, _Secret())
            secret.highest = max(secret.highest, stored.version)
            if stored.box is None:
                self._remove(secret, stored)
            else:
                self._add(secret, stored)

    def _add(self, secret: _Secret, stored: StoredSecret) -> None:
        secret.versions[stored.version] = stored
        if self._key is None:
            return
        try:
            value = self._key.open(self._project, stored)
        except UnknownSecret as error:
            log.warning("%s", error)
            return
        secret.values[stored.version] = value
        self._references[value] = SecretVersion(stored.name, stored.version)
        self._remember(value)

    def _remove(self, secret: _Secret, stored: StoredSecret) -> None:
        secret.versions.pop(stored.version, None)
        secret.values.pop(stored.version, None)
        gone = SecretVersion(stored.name, stored.version)
        self._references = {text: known for text, known in self._references.items() if known != gone}
        for number, value in sorted(secret.values.items()):  # an older version may have had the same value
            self._references.setdefault(value, SecretVersion(stored.name, number))

    def _remember(self, text: str) -> None:
        if text not in self._texts:
            self._texts |= {text}


def _unknown(name: str, secrets: Mapping[str, _Secret], version: int | None) -> UnknownSecret:
    if version is not None:
        return UnknownSecret(
            f"secret {name}: expected version {version}, which the run has read before, found it removed: "
            f"retry the run from its start, which reads the latest"
        )
    known = ", ".join(sorted(one for one, secret in secrets.items() if secret.versions)) or "none"
    return UnknownSecret(
        f"secret {name}: expected one of those that are set ({known}): set it with `holdfast secrets set {name}`"
    )
