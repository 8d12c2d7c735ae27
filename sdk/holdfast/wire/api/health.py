"""How the daemon is."""

from __future__ import annotations

import msgspec

from holdfast.core.model import Instant

HEALTH = "health"
"""`Nothing` → `Health`."""


class Nothing(msgspec.Struct, frozen=True):
    """A request without arguments."""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The daemon's state."""

    version: str
    pid: int
    started_at: Instant
    projected: int
    """Last journal sequence in the projection."""
    journal: int
    """Last journal sequence stored."""
    repairs: int = 0
    """How often something had to be done for somebody who did not."""
    unreadable: int = 0
    """Journal messages that could not be read and were passed over."""
    repaired: dict[str, int] = {}
    """`repairs` by kind."""
    routed: int = 0
    """Runs created from events, since its start, as the following."""
    unwanted: int = 0
    """Events that no route wants."""
    refused: int = 0
    """Runs of events that the server does not take, being too large."""
    unmapped: int = 0
    """Events of which no arguments could be made: their runs are dead letters."""
