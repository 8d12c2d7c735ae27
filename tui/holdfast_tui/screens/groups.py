"""Dead letters by kind of error: how many, since when, of whom; and what can be done to all of a kind at once."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote
from typing import Any

from holdfast.filters import quoted, without
from holdfast.wire import api
from holdfast_tui import keys
from holdfast_tui.filter import LETTERS, Grammar, letters_query
from holdfast_tui.format import Cell, age, clean, plural
from holdfast_tui.model import letter as letters
from holdfast_tui.model.sorting import Sort
from holdfast_tui.model.window import Listing
from holdfast_tui.screens import triage
from holdfast_tui.screens.listed import Listed
from holdfast_tui.screens.page import told
from holdfast_tui.widgets.table import Column


def name(group: api.LetterGroup) -> str:
    """What a kind is known by."""
    return f"{group.error_type}\n{group.pattern}"


class Groups(Listed):
    kind = keys.GROUPS
    row_type, noun = api.LetterGroup, "kind of error"
    sort = Sort("count", True)
    columns = (
        Column("COUNT", 7, right=True, letter="c", down=True, value=lambda group: group.count),
        Column("FIRST", 6, right=True, letter="f", value=lambda group: group.first_at, down=True),
        Column("LAST", 5, right=True, letter="l", value=lambda group: group.last_at, down=True),
        Column("TASKS", 16, spare=1, letter="t", value=lambda group: group.tasks),
        Column("QUEUES", 12, spare=2, letter="q", value=lambda group: group.queues),
        Column("ERROR", 34, flex=True, letter="e", value=letters.name_of),
    )

    def __init__(self, *, filter: str = "") -> None:
        self.listing = Listing[api.LetterGroup](name, lambda group: (-group.count, name(group)))
        self.total = self.kinds = 0
        self.answered = False
        self._generation = 0
        super().__init__(filter=filter)

    @property
    def crumbs(self) -> str:
        return "Dead > unique errors"

    @property
    def grammar(self) -> Grammar:
        return LETTERS

    def key(self, row: api.LetterGroup) -> str:
        return name(row)

    async def read(self) -> None:
        generation = self._generation
        found = await self.desk.gateway.letter_groups(letters_query(self.given(), self.now))
        if generation == self._generation:
            self.answered, self.total, self.kinds = True, found.total, max(found.kinds, len(found.groups))
            self.listing.take(found.groups, hold=self.held and bool(self.listing.rows))

    def narrowed(self) -> None:
        self._generation += 1
        self._pressed_at = 0
        self.refresh_data()

    def arrange_rows(self) -> None:
        self.window.sync(list(self.listing.rows))

    # --- what is shown ------------------------------------------------------------------------------------------------

    def cells(self, key: str, widths: Sequence[int]) -> Sequence[Cell]:
        group = self.listing.rows[key]
        return (
            (f"{group.count:,}", ""),
            (age(self.as_of - group.first_at), ""),
            (age(self.as_of - group.last_at), ""),
            (", ".join(group.tasks), ""),
            (", ".join(group.queues), ""),
            (letters.name_of(group), ""),
        )

    def empty(self) -> Sequence[str]:
        if not self.answered:
            return ["", "  Waiting for the first answer ..."]
        if self.filter:
            esc = "clears the filter" if self.filter != self.home else "goes back"
            return ["", f"  No dead letter matches {clean(self.filter)}; esc {esc}"]
        return ["", "  No dead letters, so no errors to group."]

    def scope(self) -> tuple[list[Cell], list[Cell]]:
        parts: list[Cell] = [(f"{plural(self.kinds, 'kind')} of error", "")]
        parts.append((f"of {plural(self.total, 'dead letter')}", ""))
        if self.kinds > len(self.listing.rows):
            parts.append((f"the largest {len(self.listing.rows):,}", "warn"))
        return self.unread() + told(self.filter, parts), self.told_sort()

    def about(self) -> tuple[str, list[Cell]]:
        group = self._chosen()
        return ("", []) if group is None else ("kind of error", letters.told_group(group, self.as_of))

    def shell(self, key: str) -> str:
        return f"holdfast dlq list --filter {quote(clean(self._only(self.listing.rows[key])))}"

    def _chosen(self) -> api.LetterGroup | None:
        return self.listing.rows.get(self.window.cursor or "")

    def _only(self, group: api.LetterGroup) -> str:
        """The filter that means the letters of a kind, within this one."""
        terms = [without(self.filter, ("type", "pattern"))]
        terms += [f"type:{quoted(group.error_type)}"] if group.error_type else []
        terms += [f"pattern:{quoted(group.pattern)}"] if group.pattern else []
        return " ".join(filter(None, terms))

    # --- what keys do -------------------------------------------------------------------------------------------------

    def do_open(self) -> None:
        if (group := self._chosen()) is not None:
            self.desk.open_dead(self._only(group))

    def do_explain(self) -> None:
        if (group := self._chosen()) is not None:
            self.show_sheet("kind of error", letters.told_group(group, self.as_of))

    def do_drain(self) -> None:
        """Retry all letters of the kind under the cursor."""
        self._ask(triage.ask_drain)

    def do_purge_letters(self) -> None:
        self._ask(triage.ask_purge)

    def _ask(self, ask: Any) -> None:
        if (group := self._chosen()) is None:
            self.say("nothing is chosen", "warn")
            return
        self._take(triage.ask_about_all(self, self._only(group), ask))
