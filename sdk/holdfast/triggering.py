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
    Hook,
    Instant,
    Origin,
    Parent,
    Retry,
    Seconds,
    Timeouts,
    seconds,
)
from holdfast.errors import ConfigError
from holdfast.wire.events import payload_of
from holdfast.wire.subjects import TOKEN
from holdfast.wire.values import encode_value


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
            }
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return msgspec.structs.replace(self, **{name: value for name, value in changes.items() if value is not None})


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
    )


def of_event(event: Message, name: str, task: str, settings: Settings) -> RunCreated:
    """The entry that creates the run of an event: its id says which event and task, so it comes about once.

    Args:
        name: of the event, as tasks and waits name it.
    """
    return created(
        task,
        payload_of(event.data),
        settings,
        run=ids.derive(event.time, "event", event.subject, str(event.seq), task),
        at=event.time,
        source=f"event {name}",
    )


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
