"""What can be done to dead letters: retried, drained, dropped, purged; on the marked ones, or on all that match."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from holdfast.core.model import Seconds
from holdfast.quantities import pace
from holdfast.wire.api import LettersQuery
from holdfast_tui.filter import LETTERS, letters_query, read
from holdfast_tui.format import plural
from holdfast_tui.plan import RATE, Plan, Verb
from holdfast_tui.screens.listed import Listed

FASTEST = 1000.0
"""Letters a second."""
PAGE = 200
"""Letters that are read at a time while they are sent."""
AFTER: Seconds = 1e-6
"""The history tells times apart to the microsecond."""

Ask: TypeAlias = Callable[[Listed, LettersQuery, str, int], None]
"""Asks about a query, made of a filter, of so many letters."""


def rate(text: str) -> float:
    """How many a second, of `10`, `10/s`, `600/m`. Raises: ValueError."""
    try:
        found = pace(text)
    except ValueError:
        found = 0.0
    if not 0 < found <= FASTEST:
        raise ValueError(f"expected how many a second, up to {FASTEST:,.0f}, like 10, 50/s or 600/m, found {text!r}")
    return found


def retry(targets: Sequence[str], hidden: int, note: str = "") -> Plan:
    return Plan(verb=Verb.RETRY, targets=tuple(targets), hidden=hidden, what="dead run", note=note)


def drop(targets: Sequence[str], hidden: int) -> Plan:
    return Plan(verb=Verb.DROP, targets=tuple(targets), hidden=hidden, what="dead letter")


async def ask_about_all(page: Listed, filter: str, ask: Ask) -> None:
    """Ask about all dead letters that a filter means, as many as there are this moment.

    What dies later is not meant: the newest letter that there is bounds the query, not a clock, of which each worker
    has its own. Raises: HoldfastError.
    """
    given = read(filter, LETTERS)
    if wrong := given.wrong or given.half:
        page.say(f"the filter can't be read, so it is not known what it means: {wrong}", "warn")
        return
    query = letters_query(given, page.now, limit=1)
    newest = (await page.desk.gateway.letters(query)).letters
    until = newest[0].last_at + AFTER if newest else page.now
    query = msgspec.structs.replace(query, until=until, limit=PAGE)
    total = (await page.desk.gateway.letters(query)).total if newest else 0
    if not total:
        page.say("no dead letter matches: there is nothing to send", "warn")
    else:
        ask(page, query, filter, total)


def ask_purge(page: Listed, query: LettersQuery, whose: str, total: int) -> None:
    """Ask for the number of what matches, to drop it."""
    page.propose(Plan(verb=Verb.DISCARD, query=query, whose=whose, total=total, what="dead letter"))


def ask_drain(page: Listed, query: LettersQuery, whose: str, total: int) -> None:
    """Ask at which rate to drain what matches, then for the yes."""

    def propose(text: str) -> None:
        drain = Plan(verb=Verb.DRAIN, query=query, whose=whose, total=total, rate=rate(text), what="dead letter")
        page.propose(drain)

    page.fill(f"Drain {plural(total, 'dead letter')}: how many a second?", "rate", f"{RATE:g}", propose)
