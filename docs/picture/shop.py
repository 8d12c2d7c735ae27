"""The tasks in the README's pictures."""

from __future__ import annotations

import asyncio

from holdfast import Retry, step, task


async def reserve(item: str) -> str:
    await asyncio.sleep(0.05 + 0.03 * len(item) % 0.1)
    return f"shelf {len(item)}"


declined = iter(("gateway timeout", "gateway timeout"))


@step(retry=Retry(max_attempts=5, min_timeout=0.15, jitter=False))
async def charge(order_id: str, cents: int) -> dict[str, str | int]:
    await asyncio.sleep(0.06)
    for reason in declined:
        raise ConnectionError(reason)
    return {"receipt": f"R-{order_id}", "cents": cents}


async def pack(item: str) -> None:
    print(f"packing {item}")  # noqa: T201
    await asyncio.sleep(0.12)


@task(queue="shipping")
async def ship(order_id: str) -> str:
    await asyncio.sleep(0.25)
    return f"track-{order_id}"


@task(queue="orders", retry=Retry(max_attempts=2, min_timeout=0.05, jitter=False))
async def process_order(order_id: str, items: list[str]) -> str:
    await asyncio.gather(*[reserve(item) for item in items])
    receipt = await charge(order_id, 12_900)
    for item in items:
        await pack(item)
    tracking = await ship.trigger_and_wait(order_id)
    await confirm(order_id, tracking)
    return f"{receipt['receipt']} {tracking}"


async def confirm(order_id: str, tracking: str) -> None:
    await asyncio.sleep(0.04)


@task(queue="mail", retry=Retry(max_attempts=1))
async def send_mail(to: str, template: str) -> None:
    await asyncio.sleep(0.03)
    if "@" not in to:
        raise ValueError(f"expected an address, found {to!r}")
    if template == "promo":
        raise ConnectionError(f"HTTP 503 from relay {len(to)}")


@task(queue="images")
async def resize(image: str) -> str:
    await asyncio.sleep(0.08 + 0.02 * (len(image) % 7))
    return image
