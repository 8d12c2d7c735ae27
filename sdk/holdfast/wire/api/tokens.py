"""Access tokens of the HTTP interface."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from holdfast.core.model import Instant, Rate


class Scope(StrEnum):
    """What an access token allows."""

    TRIGGER = "trigger"
    """To start runs and publish events."""
    READ = "read"
    """To look at runs and metrics."""
    OPERATE = "operate"
    """To cancel and retry runs, and to send them signals."""


class AccessToken(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody's access to the project over HTTP: control value `token`. Its text is known to its bearer only."""

    id: str
    name: str
    """For whom or what it was made."""
    scopes: tuple[Scope, ...]
    hash: bytes
    """SHA-256 of its text (`holdfast.access`)."""
    created_at: Instant
    created_by: str = ""
    rate: Rate | None = None
    """Of requests; None: as configured."""
    revoked_at: Instant | None = None
    """It stays as a value, so that whoever follows them learns that it is no longer one."""
