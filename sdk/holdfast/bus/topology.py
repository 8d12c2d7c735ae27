"""The streams of a project, as they must stand on the server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from holdfast.bus.api import NAME_TAKEN, OVERLAPS, Account, Api, ApiError, Names, StreamInfo
from holdfast.bus.layout import Layout
from holdfast.bus.ports import duplicate_window
from holdfast.core.model import Seconds
from holdfast.errors import BusError, ServerError
from holdfast.wire.subjects import Stream, Subjects

OLDEST = (2, 12)
"""The first server version with message schedules."""


def streams(subjects: Subjects, layout: Layout) -> dict[str, dict[str, Any]]:
    """The configuration of each stream, by name, in JetStream's terms.

    The journal's `republish` pattern matches its log and in subjects and no other: four tokens behind `hf`.
    The journal has no bound: a stream with schedules can't refuse what is too much (`discard: new`, code 10052), and
    this one must not drop what is old. The account's `max_file` bounds it, and then publishes are refused.
    The logs are not worth an fsync: `persist_mode: async` stores 60,000 messages a second whatever the durability (else
    4,000 with `sync: always`) in a third of what a stream in memory takes, and a killed server loses the last few only.
    Servers refuse it on replicated streams.
    The control stream has no delete markers: a marker is a message, and create-only would fail until it is gone.
    Blobs and secrets are what the journal refers to, so they have no bound either. The audit is bounded by age alone: a
    bound in bytes would let whoever does much wipe out what he did before.
    """
    root, of = subjects.root, subjects.project
    unsynced = {"persist_mode": "async"} if layout.replicas == 1 else {}
    plain: dict[str, Any] = {
        "retention": "limits",
        "storage": "file",
        "num_replicas": layout.replicas,
        "allow_direct": True,
        "max_consumers": -1,
        "max_msgs": -1,
        "max_bytes": -1,
        "max_age": 0,
        "max_msgs_per_subject": -1,
        "max_msg_size": -1,
        "discard": "old",
    }
    own: dict[Stream, dict[str, Any]] = {
        Stream.JOURNAL: {
            "subjects": [subjects.journal, subjects.letters, subjects.lead],
            "allow_msg_schedules": True,
            "allow_msg_ttl": True,
            "allow_rollup_hdrs": True,
            "republish": {"src": f"{root}.j.*.*", "dest": f"{root}.live.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}"},
        },
        Stream.EVENTS: {
            "subjects": [subjects.events, *layout.events_subjects],
            "max_age": _ns(layout.events_age),
            "max_bytes": layout.events_bytes,
        },
        Stream.LOGS: {
            "subjects": [f"{root}.log.>"],
            "max_age": _ns(layout.logs_age),
            "max_bytes": layout.logs_bytes,
            **unsynced,
        },
        Stream.CONTROL: {"subjects": [f"{root}.ctl.>"], "max_msgs_per_subject": 1, "allow_msg_ttl": True},
        Stream.BLOBS: {"subjects": [subjects.blobs]},
        Stream.SECRETS: {"subjects": [subjects.secrets]},
        Stream.AUDIT: {"subjects": [subjects.audit], "max_age": _ns(layout.audit_age)},
    }
    return {
        stream.of(of): plain | {"name": stream.of(of), "duplicate_window": _window(stream, config)} | config
        for stream, config in own.items()
    }


def _window(stream: Stream, config: dict[str, Any]) -> int:
    """How long ids are remembered; servers refuse to remember them for longer than the messages."""
    wanted, age = _ns(duplicate_window(stream)), int(config.get("max_age", 0))
    return min(wanted, age) if age else wanted


async def ensure(api: Api, subjects: Subjects, layout: Layout, *, version: str) -> None:
    """Create the project's streams, or change those that stand with another configuration. Idempotent.

    Args:
        version: of the server, as it calls itself.

    Raises:
        ServerError: the server is too old, has no JetStream, or refuses a stream.
    """
    check_version(version)
    await _check_jetstream(api)
    for name, config in streams(subjects, layout).items():
        try:
            await _ensure(api, name, config)
        except ApiError as error:
            if error.err_code == OVERLAPS and name == Stream.EVENTS.of(subjects.project):
                raise ServerError(await _stored_elsewhere(api, name, layout.events_subjects)) from error
            raise ServerError(f"the server refused the stream {name}: {error}") from error


async def _stored_elsewhere(api: Api, name: str, subjects: Sequence[str]) -> str:
    """Which of these subjects another stream stores."""
    for subject in subjects:
        found: Names = await api.call("STREAM.NAMES", {"subject": subject}, answer=Names)
        if others := [other for other in found.streams or () if other != name]:
            return (
                f"expected the subject {subject} to be stored by no stream but {name}, found {', '.join(others)}: a "
                "message is stored once; take it out of `sources` and routes, or delete that stream"
            )
    return f"expected {', '.join(subjects)} to be stored by no other stream, found one that overlaps"


def check_version(version: str) -> None:
    """Raises: ServerError: a server of this version can't hold the streams."""
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < OLDEST:
        needed = ".".join(map(str, OLDEST))
        raise ServerError(
            f"expected nats-server {needed} or newer (message schedules), found {version or 'an unknown version'}: "
            "update it, or use the embedded one"
        )


async def remove(api: Api, subjects: Subjects) -> None:
    """Delete the project's streams with all that they hold."""
    for name in streams(subjects, Layout()):
        try:
            await api.call(f"STREAM.DELETE.{name}")
        except ApiError as error:
            if error.err_code != 10059:
                raise


async def _check_jetstream(api: Api) -> None:
    try:
        await api.call("INFO", answer=Account)
    except BusError as error:
        raise ServerError(
            f"JetStream is not enabled on the server or for this account ({error}): "
            "add a `jetstream` block to its configuration"
        ) from error


async def _ensure(api: Api, name: str, config: dict[str, Any]) -> None:
    try:
        await api.call(f"STREAM.CREATE.{name}", config)
    except ApiError as error:
        if error.err_code != NAME_TAKEN:
            raise
        found: StreamInfo = await api.stream(name)
        await api.call(f"STREAM.UPDATE.{name}", _changed(found.config, config))


def _changed(found: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """What a standing stream shall become; its persist mode can't be changed, and `async` allows one replica only."""
    changed = found | config
    changed.pop("persist_mode", None)
    if "persist_mode" in found:
        changed |= {"persist_mode": found["persist_mode"], "num_replicas": 1}
    return changed


def _ns(seconds: Seconds) -> int:
    return int(seconds * 1e9)
