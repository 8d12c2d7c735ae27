"""Secrets as they are stored and asked about: one message for each version, with the value encrypted.

A version is removed by a message that says so, before the one with its value is deleted: whoever follows learns of it,
and its number is not given again.
"""

from __future__ import annotations

import re

import msgspec

from holdfast.core.model import Instant
from holdfast.errors import UnknownSecret

PINS = "secrets.pins"
"""`PinsQuery` → `Pins`, served by the daemon under `hf.<p>.api.`."""

LONGEST = 64 << 10
"""Characters of the longest secret."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}\Z")


class StoredSecret(msgspec.Struct, frozen=True, array_like=True):
    """A version of a secret."""

    name: str
    version: int
    """From 1; never given twice."""
    at: Instant
    by: str = ""
    """Who set or removed it."""
    box: bytes | None = None
    """Its value, encrypted (`sealing`); None: the version is removed."""
    latest_on_retry: bool = False
    """Whether an attempt after a failed one reads the latest version, not the one that the run read before."""


class PinsQuery(msgspec.Struct, frozen=True):
    """Which runs in flight have read a secret?"""

    name: str


class Pin(msgspec.Struct, frozen=True):
    """A run in flight that goes on with a version of a secret."""

    run: str
    task: str
    version: int


class Pins(msgspec.Struct, frozen=True):
    """All of them."""

    pins: tuple[Pin, ...]


def check_name(name: str) -> str:
    """The name. Raises: UnknownSecret: no secret can be called so."""
    if not _NAME.match(name):
        raise UnknownSecret(
            f"expected a secret's name of letters, digits, '_' and '-' (100 at most), found {name!r:.120}"
        )
    return name
