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

from holdfast.client import Client, RunHandle, connect
from holdfast.context import run
from holdfast.core.model import Retry, State
from holdfast.errors import (
    Abort,
    ChildFailed,
    ConnectError,
    HoldfastError,
    PayloadError,
    RetryAfter,
    RunFailed,
    RunWasCancelled,
    Snooze,
)
from holdfast.task import Step, Task, step, task

__version__ = "0.1.0"

__all__ = [
    "Abort",
    "ChildFailed",
    "Client",
    "ConnectError",
    "HoldfastError",
    "PayloadError",
    "Retry",
    "RetryAfter",
    "RunFailed",
    "RunHandle",
    "RunWasCancelled",
    "Snooze",
    "State",
    "Step",
    "Task",
    "connect",
    "run",
    "step",
    "task",
]
