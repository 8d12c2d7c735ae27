"""Waits of a run: durable sleeps, tokens and events. The run's slot is free meanwhile, and no process is needed.

await wait.for_(hours=6)
payment = await wait.event("payments.settled", match={"order_id": order_id}, timeout=3600)
token = wait.token(timeout=86400); send_link(token.url); decision = await token
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Generator, Mapping
from datetime import datetime, timedelta
from typing import Any

import anyio

from holdfast import context
from holdfast.core.model import Instant, Seconds, seconds
from holdfast.errors import HoldfastError
from holdfast.wire.subjects import EVENT

LOOKBACK: Seconds = 60.0
"""How long before a wait for an event began one may have been published that still satisfies it."""


_SECONDS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86_400, "weeks": 604_800}


class Token:
    """Something that somebody outside completes, once: by CLI, TUI, HTTP or `Client.complete`. Awaiting it gives the
    value; many awaits may wait for one token."""

    def __init__(self, id: str, url: str, waiter: context.Execution, due: Instant | None) -> None:
        self.id = id
        self.url = url
        """Where it is completed over HTTP: `POST` with a JSON body."""
        self.due = due
        """When awaits of it give up with `WaitTimeout`; None: never."""
        self._waiter = waiter

    def __repr__(self) -> str:
        return f"<token {self.id}>"

    def wait(self) -> Awaitable[Any]:
        """An await of it: a checkpoint of its own."""
        return self._waiter.token_wait(self)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.wait().__await__()


class Wait(context.Inside):
    """The waits that a run can make: `holdfast.wait`."""

    def for_(
        self,
        duration: float | timedelta = 0.0,
        *,
        seconds: float = 0.0,
        minutes: float = 0.0,
        hours: float = 0.0,
        days: float = 0.0,
        weeks: float = 0.0,
    ) -> Awaitable[None]:
        """Sleep so long, measured from the first start of this wait, whatever restarts come between.

        Outside a run it is a plain sleep.

        Raises:
            HoldfastError: not finite numbers from 0 on.
        """
        units = {"seconds": seconds, "minutes": minutes, "hours": hours, "days": days, "weeks": weeks}
        for unit, number in units.items():
            if not (isinstance(number, int | float) and 0 <= number < math.inf):
                raise HoldfastError(f"wait.for_: expected a number of {unit} from 0 on, found {number!r}")
        more = sum(number * _SECONDS[unit] for unit, number in units.items())
        length = _duration(_duration(duration, "wait.for_") + more, "wait.for_")
        current = context.execution.get()
        return anyio.sleep(length) if current is None else current.sleep(lambda now: now + length)

    def until(self, when: datetime | Instant) -> Awaitable[None]:
        """Sleep until an instant: a datetime with a time zone, or seconds since the epoch; past ones are over at once.

        Raises:
            HoldfastError: a datetime without a time zone, or no instant at all.
        """
        if isinstance(when, datetime):
            if when.tzinfo is None:
                raise HoldfastError(f"wait.until: expected a datetime with a time zone, found {when!r}: add tzinfo=")
            when = when.timestamp()
        if not (isinstance(when, int | float) and math.isfinite(when)):
            raise HoldfastError(f"wait.until: expected a datetime or seconds since the epoch, found {when!r}")
        due = float(when)
        current = context.execution.get()
        if current is None:
            return anyio.sleep(max(0.0, due - time.time()))
        return current.sleep(lambda now: due)

    def token(self, *, timeout: float | timedelta | None = None) -> Token:
        """Make a token that somebody outside completes; its time runs from now on."""
        length = None if timeout is None else _duration(timeout, "wait.token: timeout")
        return _inside("wait.token").token(length)

    def event(
        self,
        subject: str,
        *,
        match: Mapping[str, Any] | None = None,
        timeout: float | timedelta | None = None,
        lookback: float | timedelta = LOOKBACK,
    ) -> Awaitable[Any]:
        """Wait for an event; gives its data.

        Args:
            subject: as events are emitted, with NATS wildcards.
            match: what fields of its JSON object must be equal to, by dotted path: `{"order.id": 7}`.
            timeout: then it raises `WaitTimeout`.
            lookback: an event published up to so long before the wait began satisfies it too.

        Raises:
            HoldfastError: a subject or match that can't be.
        """
        if not EVENT.match(subject):
            raise HoldfastError(
                f"wait.event: expected a subject such as 'orders.paid' or 'orders.*', found {subject!r}"
            )
        length = None if timeout is None else _duration(timeout, "wait.event: timeout")
        before = _duration(lookback, "wait.event: lookback")
        return _inside("wait.event").event(subject, dict(match or {}), length, before)


def _inside(what: str) -> context.Execution:
    current = context.execution.get()
    if current is None:
        raise HoldfastError(f"{what} is there only inside a run: this code was called outside of one")
    return current


def _duration(value: float | timedelta, what: str) -> Seconds:
    try:
        return seconds(value, what)
    except ValueError as error:
        raise HoldfastError(str(error)) from None


wait = Wait()
