"""Workers: who they are, which tasks they have, what they are told, and what ails them."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from holdfast.core.model import DEFAULT_PRIORITY, Hook, Instant, Limits, Seconds, Timeouts
from holdfast.core.schedule import Schedule


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's heartbeat: control value `worker`, ended by its TTL."""

    worker: str
    host: str
    pid: int
    started_at: Instant
    at: Instant
    tasks: tuple[str, ...]
    queues: tuple[str, ...]
    concurrency: int
    running: int
    runs: tuple[str, ...] = ()
    """Up to 100 of the runs that it holds."""
    draining: bool = False
    """It takes up nothing; until it is resumed, where it does not stop."""
    version: str = ""
    cpu: float = 0.0
    """Share of a core that it used since the beat before: 0.17 is 17 %."""
    rss: int = 0
    """Bytes of memory that it has; 0 where the system does not say."""
    done_rate: float = 0.0
    """Runs ended per second, over the last 10 s."""


ORDER = "order"
"""The control value that tells a worker what to do."""


class Duty(StrEnum):
    """What a worker is told to do."""

    DRAIN = "drain"
    """Finish or suspend what it has, give back what waits, take up nothing; until it is resumed."""
    RESUME = "resume"
    """Take up runs again."""
    STOP = "stop"
    """Drain for the drain time at most, then exit."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator tells a worker: control value `order`. One of the same name that begins later is not meant."""

    duty: Duty
    at: Instant
    by: str = ""


FAULT = "fault"
"""The control value that a pool of workers shows while one of its modules is wrong."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps the workers of a pool from serving all its tasks: control value `fault`, ended by its TTL."""

    pool: str
    since: Instant = 0.0
    errors: tuple[str, ...] = ()
    """What each module that fails says, with the place; empty: it is mended."""


class TaskCard(msgspec.Struct, frozen=True, kw_only=True):
    """A task as its workers declare it: control value `task`."""

    id: str
    queue: str
    on: tuple[str, ...] = ()
    """Event subjects (below `hf.<p>.evt.`, NATS wildcards) that trigger it."""
    doc: str = ""
    """First line of its docstring."""
    parameters: str = ""
    """Its signature as text."""
    module: str = ""
    code: str = ""
    priority: int = DEFAULT_PRIORITY
    timeouts: Timeouts | None = None
    ttl: Seconds | None = None
    hooks: tuple[Hook, ...] = ()
    limits: Limits = Limits()
    schema: bytes = b""
    """JSON Schema of its arguments by name, as JSON; empty where it says nothing."""
    schedules: tuple[Schedule, ...] = ()
    """Those that the task declares."""
    takes_tick: bool = False
    """Whether it has a parameter `tick`, in which a scheduled run is told its time."""
    filter: str = ""
    """An expression for which of these events; empty: all, or `asks`."""
    map: str = ""
    """An expression for the arguments; empty: the members of the event's JSON object, or `asks`."""
    asks: bool = False
    """Its filter or map is a function: its workers are asked (`ROUTE`)."""
