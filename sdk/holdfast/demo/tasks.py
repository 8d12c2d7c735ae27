"""An order pipeline: the tasks of `holdfast demo`, written as you would write yours.

There is no word about crashes in it, and yet no crash repeats what was done: each `await` in a task is a checkpoint.
Its outcome is recorded before the next line runs, and a worker that takes the run over goes on behind the last one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from holdfast import Retry, step, task
from holdfast.demo import outside

PRICES = {"keyboard": 8900, "mouse": 3900, "cable": 900, "screen": 24900, "lamp": 4900, "chair": 19900}
"""In cents."""


@dataclass(frozen=True)
class Receipt:
    """What the customer gets in the end; checkpoints and results keep their type."""

    order: str
    cents: int
    payment: str
    tracking: str


class SupplierClosed(Exception):
    """The supplier takes no orders just now."""


@task(queue="orders", on="orders.created")  # an event on this subject starts a run, from any NATS client
async def process_order(order: str, items: list[str]) -> Receipt:
    """Take an order from the warehouse's shelves to the customer's door."""
    prices = await asyncio.gather(*(reserve(item) for item in items))  # side by side, each a checkpoint
    payment = await charge(order, sum(prices))
    for item in items:
        await pack(item)
    tracking = await ship.trigger_and_wait(order)  # a run of its own; this one holds no worker meanwhile
    await notify(order, tracking)
    return Receipt(order, sum(prices), payment, tracking)


async def reserve(item: str) -> int:
    """Put an item aside; its price in cents."""
    await outside.call(f"warehouse: reserve a {item}", takes=0.08)
    return PRICES[item]


@step(retry=Retry(max_attempts=5, min_timeout=0.1, jitter=False))  # a policy of its own: the task knows nothing of it
async def charge(order: str, cents: int) -> str:
    """Take the money. The bank's line is bad: the first two calls for each order fail."""
    number = await outside.call(f"bank: charge {cents} cents for {order}")
    if number <= 2:
        raise ConnectionError("the bank's line is busy")
    return f"paid-{order}"


async def pack(item: str) -> None:
    """Put an item into the parcel."""
    await outside.call(f"warehouse: pack a {item}", takes=0.1)


@task(queue="orders")
async def ship(order: str) -> str:
    """Hand the parcel over; its tracking number."""
    await label(order)
    return await collect(order)


async def label(order: str) -> None:
    """Print the parcel's label."""
    await outside.call(f"carrier: label for {order}", takes=0.1)


async def collect(order: str) -> str:
    """Have the parcel collected."""
    await outside.call(f"carrier: collect {order}", takes=0.1)
    return f"track-{order}"


async def notify(order: str, tracking: str) -> None:
    """Tell the customer."""
    await outside.call(f"mail: {order} is on its way, {tracking}")


@task(queue="stock", retry=Retry(max_attempts=2, min_timeout=0.1, jitter=False))  # then it is a dead letter
async def restock(item: str, wanted: int) -> int:
    """Buy what is missing on a shelf; how many were bought."""
    there = await count(item)
    await buy(item, wanted - there)
    return wanted - there


async def count(item: str) -> int:
    """How many are on the shelf."""
    await outside.call(f"warehouse: count every {item}")
    return 3


async def buy(item: str, number: int) -> None:
    """Order from the supplier."""
    await outside.call(f"supplier: buy {number} of {item}")
    if outside.supplier_is_closed():
        raise SupplierClosed("closed for stocktaking")
