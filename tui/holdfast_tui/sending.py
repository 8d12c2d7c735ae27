"""How what was asked and agreed to is carried out: one call to the gateway for each target of a plan or message."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from holdfast.wire import api
from holdfast_tui.gateway import Gateway
from holdfast_tui.message import Message, To
from holdfast_tui.plan import Plan


async def targets(gateway: Gateway, plan: Plan | Message) -> AsyncIterator[str]:
    """Whom it is for; for a drain page by page, from when it was asked back in time, so each comes once."""
    for target in plan.targets:
        yield target
    query = plan.query if isinstance(plan, Plan) else None
    while query is not None and isinstance(plan, Plan):
        page = await gateway.letters(query)
        for letter in page.letters:
            if matches(plan, letter):
                yield letter.run
        if not page.more or not page.letters:
            return
        query = with_before(query, page.letters[-1])


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


def matches(plan: Plan, letter: api.Letter) -> bool:
    return plan.filter.matches(letter.run, letter.task, letter.queue, letter.error.type, letter.error.message)


def with_before(query: api.LettersQuery, last: api.Letter) -> api.LettersQuery:
    """The query for the page behind a letter."""
    return msgspec.structs.replace(query, before=(last.last_at, last.run))
