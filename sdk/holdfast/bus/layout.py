"""How much a project's streams keep, and how safely."""

from __future__ import annotations

import msgspec

from holdfast.core.model import Seconds


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """What may differ between the streams of two projects."""

    replicas: int = 1
    """Servers that hold each message: 1, 3 or 5."""
    events_age: Seconds = 7 * 86400.0
    events_bytes: int = 1 << 30
    """At this size the oldest events go."""
    events_subjects: tuple[str, ...] = ()
    """Further subjects to store as events, beside the project's own."""
    logs_age: Seconds = 7 * 86400.0
    logs_bytes: int = 256 << 20
    audit_age: Seconds = 365 * 86400.0
