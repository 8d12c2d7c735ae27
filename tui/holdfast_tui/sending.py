"""How what was asked and agreed to is carried out: one call to the gateway for each target of a plan or message."""

from __future__ import annotations

from collections.abc import AsyncIterator

from holdfast_tui.gateway import Gateway
from holdfast_tui.message import Message, To
from holdfast_tui.plan import Plan


async def targets(gateway: Gateway, plan: Plan | Message) -> AsyncIterator[str]:
    """Whom it is for; where they are found by a query page by page, from when it was asked back in time."""
    for target in plan.targets:
        yield target
    query = plan.query if isinstance(plan, Plan) else None
    while query is not None:
        page = await gateway.letters(query)
        for letter in page.letters:
            yield letter.run
        if not page.more or not page.letters:
            return
        query = query.behind(page.letters[-1])


async def carry_out(gateway: Gateway, plan: Plan | Message, target: str) -> str:
    """Do it to one target. Returns the run that was made by it, or empty. Raises: HoldfastError: refused, or lost."""
    if isinstance(plan, Message):
        await _tell(gateway, plan)
        return ""
    return await plan.deed.send(gateway, plan, target) or ""


async def _tell(gateway: Gateway, message: Message) -> None:
    match message.to:
        case To.QUESTION:
            await gateway.resolve(message.run, message.name, message.action, message.value)
        case To.TOKEN:
            await gateway.complete(message.name, message.value)
        case To.SIGNAL:
            await gateway.signal(message.run, message.name, message.value)
