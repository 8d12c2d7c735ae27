"""What a trigger may say about the run that it creates, and the run's first fact made of it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Literal, NamedTuple, TypeAlias, TypedDict, Unpack, get_args

import msgspec

from holdfast.bus.ports import Message
from holdfast.core import ids
from holdfast.core.entries import RunCreated
from holdfast.core.keys import KEPT, MOST, Debounce, check_text, run_id
from holdfast.core.model import (
    DEFAULT_PRIORITY,
    FIRST_PRIORITY,
    LAST_PRIORITY,
    ErrorInfo,
    Hook,
    Instant,
    Key,
    KeyKind,
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

__all__ = ["Debounce", "Order", "Settings", "TriggerOptions", "created", "of_event", "token"]

Scope: TypeAlias = Literal["run", "global"]


class TriggerOptions(TypedDict, total=False):
    """What one trigger may say about its run; what it leaves open is the task's own.

    The options of `Task.options`, `Client.trigger` and of an item of a batch.
    """

    queue: str | None
    delay: float | timedelta | None
    priority: int | None
    """0 (first) to 9."""
    retry: Retry | None
    timeouts: Timeouts | None
    ttl: float | timedelta | None
    """Seconds from when it is ready to its first start; 0: for ever."""
    tags: Iterable[str] | None
    metadata: Mapping[str, Any] | None
    """Named values that are shown with the run, and that its code reads and changes (`run.metadata`)."""
    detached: bool | None
    """Of a child run (`trigger_and_wait`): it goes on when its parent is cancelled."""
    concurrency_key: str | None
    """Runs of one key are limited apart, by the task's `concurrency` and the queue's `key_concurrency`; instead of what
    the task takes from the payload."""
    idempotency_key: str | None
    """Of all triggers of the task with one key one creates a run; the others get its handle, `cached`, whatever their
    payload. The key is free again when the run ended failed, dead, expired or timed out."""
    idempotency_ttl: float | timedelta | None
    """Seconds from the run's creation for which a run that completed or was cancelled keeps the key; default 30 days;
    0: only as long as it lives."""
    idempotency_scope: Scope | None
    """Of a key that is used inside a run: "run" (default): it is that run's own; "global": the project's."""
    debounce: Debounce | tuple[str, float | timedelta] | None
    """Key and delay: as long as the key's run has not become ready, another trigger puts it off instead of creating
    one. Beside an `idempotency_key`, that one decides, and this only delays the run."""


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
    idempotency_key: str | None = None
    idempotency_ttl: Seconds | None = None
    """None: `keys.KEPT`."""
    idempotency_scope: Scope | None = None
    """None: "run"."""
    debounce: Debounce | None = None

    def __post_init__(self) -> None:
        if self.idempotency_key is None:
            for name in ("idempotency_ttl", "idempotency_scope"):
                if (found := getattr(self, name)) is not None:
                    raise ConfigError(f"{name}: expected an idempotency_key beside it, found {name}={found!r} alone")

    def but(
        self, *, hooks: tuple[Hook, ...] = (), limits: Limits | None = None, **options: Unpack[TriggerOptions]
    ) -> Settings:
        """These settings with some changed; None: as it was. Raises: ConfigError: a value or option that can't be."""
        changes: dict[str, Any] = {name: _read(name, value) for name, value in options.items() if value is not None}
        if hooks:
            changes["hooks"] = hooks
        if limits is not None:
            changes["limits"] = limits
        return msgspec.structs.replace(self, **changes)


def _read(name: str, value: Any) -> Any:
    """An option as settings have it. Raises: ConfigError."""
    read = _READ.get(name)
    if read is None:
        near = difflib.get_close_matches(name, _READ, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_READ)}"
        raise ConfigError(f"no option {name!r} of a trigger: {hint}")
    try:
        return read(name, value)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    except (TypeError, AttributeError):
        raise ConfigError(f"{name}: found {value!r:.200}, of the wrong type: see `TriggerOptions`") from None


class Order(NamedTuple):
    """A run to be created: its payload for the journal, and how."""

    payload: bytes
    settings: Settings


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
    within: str = "",
) -> RunCreated:
    """The entry that creates a run.

    Args:
        run: its id, where no key gives it one.
        deadline: the parent's.
        ttl: the project's, where neither trigger nor task names one.
        within: the run whose code triggers it.

    Raises:
        EncodeError: a value of the metadata can't be stored.
    """
    delay = settings.delay if settings.debounce is None else max(settings.delay, settings.debounce.delay)
    due = at + delay if delay > 0 else None
    key = _key(settings, at, within)
    concurrency_key, rate_key = _keys(payload, settings)
    lives = settings.ttl if settings.ttl is not None else ttl
    return RunCreated(
        run=run if key is None else run_id(task, key),
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
        key=key,
        concurrency_key=concurrency_key,
        rate_key=rate_key,
    )


def _key(settings: Settings, at: Instant, within: str) -> Key | None:
    """The key of a run, in its first generation: the idempotency key, else that of its debounce."""
    if (text := settings.idempotency_key) is not None:
        scoped = f"{within}:{text}" if within and settings.idempotency_scope != "global" else text
        kept = KEPT if settings.idempotency_ttl is None else settings.idempotency_ttl
        return Key(KeyKind.IDEMPOTENCY, scoped, until=at + kept)
    if (window := settings.debounce) is not None:
        until = None if window.max_delay is None else at + window.max_delay
        return Key(KeyKind.DEBOUNCE, window.key, until=until, leading=window.mode == "leading")
    return None


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
    return "" if value is MISSING or value is None else str(value)[:MOST]


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


def _priority(name: str, priority: int) -> int:
    if not FIRST_PRIORITY <= priority <= LAST_PRIORITY:
        raise ConfigError(f"priority is from 0 (first) to 9 (last), found {priority}")
    return priority


def _retry(name: str, retry: Retry) -> Retry:
    if retry.retry_if is not None:
        raise ConfigError("a trigger's retry can't carry retry_if, which is a function: declare it on the task")
    return retry


def _tags(name: str, tags: Iterable[str]) -> tuple[str, ...]:
    if isinstance(tags, str):
        raise ConfigError(f"tags: expected a list of texts, found the text {tags!r}: write [{tags!r}]")
    return tuple(tags)


def _text(name: str, text: str) -> str:
    check_text(name, text)
    return text


def _scope(name: str, scope: Scope) -> Scope:
    if scope not in get_args(Scope):
        raise ConfigError(f"idempotency_scope is 'run' or 'global', found {scope!r}")
    return scope


def _debounce(name: str, given: Debounce | tuple[str, float | timedelta]) -> Debounce:
    match given:
        case Debounce():
            return given
        case (str() as key, delay):
            return Debounce(key, delay)  # type: ignore[arg-type]  # which takes a timedelta too
    raise ConfigError(f'debounce: expected a key and a delay like ("A1", 5.0), or a Debounce, found {given!r:.200}')


def _seconds(name: str, value: float | timedelta) -> Seconds:
    return seconds(value, name)


def _of(kind: type[Any]) -> Callable[[str, Any], Any]:
    """A reader of values that are kept as they are."""

    def read(name: str, value: Any) -> Any:
        if not isinstance(value, kind):
            raise TypeError
        return value

    return read


_READ: dict[str, Callable[[str, Any], Any]] = {
    "queue": token,
    "delay": _seconds,
    "priority": _priority,
    "retry": _retry,
    "timeouts": _of(Timeouts),
    "ttl": _seconds,
    "tags": _tags,
    "metadata": _of(Mapping),
    "detached": _of(bool),
    "concurrency_key": _text,
    "idempotency_key": _text,
    "idempotency_ttl": _seconds,
    "idempotency_scope": _scope,
    "debounce": _debounce,
}
"""By name of an option: what its settings are made of."""
