"""Durable background tasks: put `@task` on an `async def`, and every `await` in it becomes a checkpoint.

from holdfast import task, connect

@task
async def process_order(order_id: str) -> str:
    charge = await charge_card(order_id)
    await ship(order_id, charge)
    return charge

async with connect():
    handle = await process_order.trigger(order_id="A1")
    print(await handle.result())
"""

from holdfast.connecting import connect
from holdfast.context import run
from holdfast.core.model import Rate, Retry, State, Timeouts
from holdfast.errors import (
    Abort,
    ChildFailed,
    HoldfastError,
    RetryAfter,
    RunFailed,
    Snooze,
    TimedOut,
    WaitTimeout,
)
from holdfast.handle import RunHandle
from holdfast.secrets import secrets
from holdfast.step import Done, NotDone, Unknown, step
from holdfast.task import task
from holdfast.ticks import Cron, Every
from holdfast.waiting import wait
from holdfast.wire.ended import Ended

__version__ = "0.1.0"

__all__ = [
    "Abort",
    "ChildFailed",
    "Cron",
    "Done",
    "Ended",
    "Every",
    "HoldfastError",
    "NotDone",
    "Rate",
    "Retry",
    "RetryAfter",
    "RunFailed",
    "RunHandle",
    "Snooze",
    "State",
    "TimedOut",
    "Timeouts",
    "Unknown",
    "WaitTimeout",
    "connect",
    "run",
    "secrets",
    "step",
    "task",
    "wait",
]
