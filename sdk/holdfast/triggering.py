"""What a trigger may say about the run that it creates, and the run's first fact made of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import msgspec

from holdfast.bus.ports import Message
from holdfast.core import ids
from holdfast.core.entries import RunCreated
from holdfast.core.model import (
    DEFAULT_PRIORITY,
    FIRST_PRIORITY,
    LAST_PRIORITY,
    ErrorInfo,
    Hook,
    Instant,
    Limits,
    Origin,
    Parent,
    Retry,
    Seconds,
    Timeouts,
    seconds,
)
from holdfast.core.routing import MISSING, field
from holdfast.errors import ConfigError, EventError
from holdfast.wire import headers
from holdfast.wire.api import TaskCard
from holdfast.wire.subjects import TOKEN
from holdfast.wire.values import decode_value, encode_value


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a run is to be triggered: the task's own settings, changed by those of one trigger."""

    queue: str = "default"
    priority: int = DEFAULT_PRIORITY
    delay: Seconds = 0.0
    retry: Retry | None = None
    """None: the task's own, as its worker has it."""
    timeouts: Timeouts | None = None
    ttl: Seconds | None = None
    """From when it is ready to its first start; None: the project's default; 0: for ever."""
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = {}
    hooks: tuple[Hook, ...] = ()
    detached: bool = False
    """Of a child run: it goes on when its parent is cancelled."""
    concurrency_key: str | None = None
    """Under which the run is limited apart; None: what the task's `limits` say."""
    limits: Limits = Limits()
    """The task's."""

    def but(
        self,
        *,
        queue: str | None = None,
        priority: int | None = None,
        delay: float | timedelta | None = None,
        retry: Retry | None = None,
        timeouts: Timeouts | None = None,
        ttl: float | timedelta | None = None,
        tags: Iterable[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        hooks: tuple[Hook, ...] | None = None,
        detached: bool | None = None,
        concurrency_key: str | None = None,
        limits: Limits | None = None,
    ) -> Settings:
        """These settings with some changed; None: as it was. Raises: ConfigError: a value that can't be."""
        try:
            changes = {
                "queue": None if queue is None else token("queue", queue),
                "priority": None if priority is None else _priority(priority),
                "delay": None if delay is None else seconds(delay, "delay"),
                "retry": None if retry is None else _retry(retry),
                "timeouts": timeouts,
                "ttl": None if ttl is None else seconds(ttl, "ttl"),
                "tags": None if tags is None else _tags(tags),
                "metadata": metadata,
                "hooks": hooks,
                "detached": detached,
                "concurrency_key": None if concurrency_key is None else _key("concurrency_key", concurrency_key),
                "limits": limits,
            }
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return msgspec.structs.replace(self, **{name: value for name, value in changes.items() if value is not None})


def card_settings(card: TaskCard) -> Settings:
    """How runs of a declared task are triggered."""
    return Settings(
        queue=card.queue,
        priority=card.priority,
        timeouts=card.timeouts,
        ttl=card.ttl,
        hooks=card.hooks,
        limits=card.limits,
    )


def created(
    task: str,
    payload: bytes,
    settings: Settings,
    *,
    run: str,
    at: Instant,
    source: str,
    parent: Parent | None = None,
    deadline: Instant | None = None,
    origin: Origin | None = None,
    ttl: Seconds | None = None,
) -> RunCreated:
    """The entry that creates a run.

    Args:
        deadline: the parent's.
        ttl: the project's, where neither trigger nor task names one.

    Raises:
        EncodeError: a value of the metadata can't be stored.
    """
    due = at + settings.delay if settings.delay > 0 else None
    concurrency_key, rate_key = _keys(payload, settings)
    lives = settings.ttl if settings.ttl is not None else ttl
    return RunCreated(
        run=run,
        at=at,
        task=token("task", task),
        payload=payload,
        queue=settings.queue,
        priority=settings.priority,
        due=due,
        retry=settings.retry,
        parent=parent,
        source=source,
        tags=settings.tags,
        expires=(due or at) + lives if lives else None,
        timeouts=settings.timeouts,
        deadline=deadline,
        metadata={name: encode_value(value) for name, value in settings.metadata.items()},
        hooks=settings.hooks,
        origin=origin,
        concurrency_key=concurrency_key,
        rate_key=rate_key,
    )


KEY_MOST = 256
"""Characters of a concurrency or rate key."""


def _keys(payload: bytes, settings: Settings) -> tuple[str, str]:
    """Under which the run is limited apart, and its start counted: what the trigger names, else the payload."""
    limits, named = settings.limits, settings.concurrency_key
    rate_path = limits.rate.key if limits.rate is not None else None
    paths = (None if named is not None else limits.concurrency_key, rate_path)
    if paths == (None, None):
        return named or "", ""
    values = decode_value(payload)
    found = tuple("" if path is None else _shown(field(values, path)) for path in paths)
    return named or found[0], found[1]


def _shown(value: object) -> str:
    """A payload's value as a key; a run without one shares the empty key with others."""
    return "" if value is MISSING or value is None else str(value)[:KEY_MOST]


def _key(what: str, text: str) -> str:
    if not isinstance(text, str) or not text.strip() or len(text) > KEY_MOST:
        raise ConfigError(f"{what}: expected a text of 1 to {KEY_MOST} characters, found {text!r:.300}")
    return text


def of_event(
    event: Message,
    name: str,
    task: str,
    payload: bytes,
    settings: Settings,
    *,
    route: str = "",
    ttl: Seconds | None = None,
    again: str = "",
    now: Instant | None = None,
) -> RunCreated:
    """The entry that creates the run of an event: its id says which event and route, so it comes about once.

    Args:
        name: of the event, as tasks and waits name it.
        route: default: the task itself, which asks for the event.
        ttl: the project's, where neither route nor task names one.
        again: makes another run of the same event and route: one for each of these texts and instants.
        now: when it is created, where that is later than the event.
    """
    parts = ("event", event.subject, str(event.seq), route or task)
    at = event.time if now is None else now
    made = created(
        task,
        payload,
        settings,
        run=ids.derive(at, *parts, again) if again else ids.derive(event.time, *parts),
        at=at,
        source=f"event {name}",
        ttl=ttl,
    )
    trace = headers.trace(headers.parse(event.headers)) if event.headers else ""
    return msgspec.structs.replace(made, trace=trace) if trace else made


def unmapped(event: Message, error: EventError) -> ErrorInfo:
    """Why the run of an event is dead from the start."""
    text = f"event {event.seq} on {event.subject}, {len(event.data):,} bytes: {error}"
    return ErrorInfo(type=f"{EventError.__module__}.{EventError.__qualname__}", message=text)


def token(kind: str, text: str) -> str:
    """`text`, if it may stand in a subject. Raises: ConfigError."""
    if not TOKEN.match(text):
        raise ConfigError(f"{kind} {text!r}: expected letters, digits, '-' and '_'")
    return text


def _priority(priority: int) -> int:
    if not FIRST_PRIORITY <= priority <= LAST_PRIORITY:
        raise ConfigError(f"priority is from 0 (first) to 9 (last), found {priority}")
    return priority


def _retry(retry: Retry) -> Retry:
    if retry.retry_if is not None:
        raise ConfigError("a trigger's retry can't carry retry_if, which is a function: declare it on the task")
    return retry


def _tags(tags: Iterable[str]) -> tuple[str, ...]:
    if isinstance(tags, str):
        raise ConfigError(f"tags: expected a list of texts, found the text {tags!r}: write [{tags!r}]")
    return tuple(tags)
