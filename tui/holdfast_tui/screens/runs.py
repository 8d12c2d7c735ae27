"""Screen 2: runs, newest first; the daemon narrows and orders them, and only those near the cursor are loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
from textual.timer import Timer

from holdfast.core.model import FINAL, State
from holdfast.errors import HoldfastError
from holdfast.filters import quoted, without
from holdfast.wire import api
from holdfast.wire.api import RunsOrder
from holdfast_tui import keys
from holdfast_tui.filter import RUNS, Grammar, letters_query, runs_query
from holdfast_tui.format import Cell, clean, clock, error_name, plural, short
from holdfast_tui.model.columns import Layout
from holdfast_tui.model.glance import STEPS_MOST, glance
from holdfast_tui.model.row import FAILED, about, doing, explained, grouped, lasted, standing
from holdfast_tui.model.run import CANCELLABLE, RETRIABLE
from holdfast_tui.model.sorting import Sort
from holdfast_tui.plan import Plan, Verb
from holdfast_tui.reading import Page
from holdfast_tui.screens.page import marked, told
from holdfast_tui.screens.paged import Paged
from holdfast_tui.widgets.table import Column

RESTED = 0.08
"""Seconds without a move before more is read of the run under the cursor."""

NEWEST = Sort("created", True)
ORDERS: Mapping[str, RunsOrder] = MappingProxyType(
    {
        "created": RunsOrder.CREATED,
        "started": RunsOrder.STARTED,
        "ended": RunsOrder.ENDED,
        "took": RunsOrder.TOOK,
        "try": RunsOrder.ATTEMPTS,
        "steps": RunsOrder.STEPS,
    }
)
"""By column: what the daemon orders by."""


class Runs(Paged[api.RunRow]):
    kind = keys.RUNS
    row_type, noun = api.RunRow, "run"
    sort = NEWEST
    columns = (
        Column("STATE", 6),
        Column("ID", 8),
        Column("TASK", 16),
        Column("QUEUE", 8, spare=3),
        Column("TRY", 3, right=True, spare=2, letter="a", down=True),
        Column("STARTED", 8, spare=4, letter="s", down=True),
        Column("TOOK", 6, right=True, spare=1, letter="t", down=True),
        Column("CREATED", 8, spare=9, letter="c", down=True),
        Column("ENDED", 8, spare=9, letter="e", down=True),
        Column("STEPS", 5, right=True, spare=9, letter="p", down=True),
        Column("PRIO", 4, right=True, spare=9),
        Column("WORKER", 10, spare=9),
        Column("SOURCE", 10, spare=9),
        Column("TAGS", 12, spare=9),
        Column("AT STEP / ERROR", 10, flex=True, name="about"),
    )
    layout_at_first = Layout(hidden=frozenset({"created", "ended", "steps", "prio", "worker", "source", "tags"}))

    def __init__(self, *, filter: str = "") -> None:
        super().__init__(filter=filter)
        self._looked_at: api.RunRow | None = None
        """The row for which more was asked last."""
        self.looking = False
        """Whether the answer to that is yet to come."""
        self._seen_of, self._seen = "", list[Cell]()
        """What was read of a run, and of which."""
        self._resting: Timer | None = None

    @property
    def grammar(self) -> Grammar:
        return RUNS

    def key(self, row: api.RunRow) -> str:
        return row.id

    def asking(self) -> api.RunsQuery:
        """What the daemon is asked: the filter and the order."""
        sort = self.table.sort
        return runs_query(self.given(), self.now, order=ORDERS[sort.column], descending=sort.down)

    async def ask(self, query: api.RunsQuery) -> Page[api.RunRow]:
        page = await self.desk.gateway.runs(query)
        return Page(page.runs, page.total, page.more)

    def by_keys(self, keys: Sequence[str]) -> api.RunsQuery:
        return api.RunsQuery(keys=tuple(keys), limit=len(keys))

    def failures(self) -> api.RunsQuery | None:
        query = self.asking()
        states = tuple(state for state in FAILED if not query.states or state in query.states)
        return msgspec.structs.replace(query, states=states) if states else None

    def failed(self, row: api.RunRow) -> bool:
        return row.state in FAILED

    # --- what is shown ------------------------------------------------------------------------------------------------

    def cells(self, key: str, widths: Sequence[int]) -> Sequence[Cell]:
        row, now = self.loaded[key], self.as_of
        role = "fail" if row.error_type and row.state in FINAL else "warn" if row.paused else ""
        return (
            standing(row),
            (short(row.id), ""),
            (row.task, ""),
            (row.queue, ""),
            (str(row.attempt or ""), ""),
            (clock(row.started_at or row.created_at), "" if row.started_at else "dim"),
            (lasted(row, now), ""),
            (clock(row.created_at), ""),
            (clock(row.finished_at), ""),
            (str(row.steps or ""), ""),
            (str(row.priority), ""),
            (row.worker, ""),
            (row.source, ""),
            (" ".join(row.tags), ""),
            (doing(row, now), role),
        )

    def empty(self) -> Sequence[str]:
        if not self.reader.answered:
            return ["", "  Waiting for the first answer ..."]
        if self.filter:
            esc = "clears the filter" if self.filter != self.home else "goes back"
            return ["", f"  No run matches {clean(self.filter)}; esc {esc}"]
        return [
            "",
            "  No runs yet.",
            "",
            "  Start one from a shell; this screen fills by itself:",
            "",
            "     holdfast demo             runs, retries and a dead letter to look at",
            "     holdfast trigger TASK     one run of a task of yours",
        ]

    def scope(self) -> tuple[list[Cell], list[Cell]]:
        parts: list[Cell] = [] if self.filter else [("all states  all queues", "")]
        parts.append((plural(self.reader.total, "run"), ""))
        first = self.reader.segment.first
        if first is not None and len(self.window) and self.size.width >= 110:
            parts.append((f"row {first + self.window.position + 1:,}", ""))
        left = self.unread() + told(self.filter, parts) + marked(self.window, self.hidden())
        return left, [*self.told_new(), *self.told_sort()]

    def told_sort(self) -> list[Cell]:
        return [("newest first (s)", "")] if self.table.sort == NEWEST else super().told_sort()

    def about(self) -> tuple[str, list[Cell]]:
        row = self.loaded.get(self.window.cursor or "")
        if row is None:
            return "", []
        if row != self._looked_at:
            self._look(row)
        more = self._seen if row.id == self._seen_of else []
        return f"{short(row.id)}  {clean(row.task)}", about(row, self.as_of, more)

    def _look(self, row: api.RunRow) -> None:
        """Read more of a run once the cursor has rested on it, and again when its row has changed."""
        self._looked_at, self.looking = row, True
        if self._resting is not None:
            self._resting.stop()
        self._resting = self.set_timer(RESTED, lambda: self.begin("look", self._glance, row))

    async def _glance(self, row: api.RunRow) -> None:
        try:
            view = await self.desk.gateway.get(row.id)
            few = row.steps <= STEPS_MOST
            history = await self.desk.gateway.history(row.id) if few else None
            self._seen_of, self._seen = row.id, glance(view, history)
        except HoldfastError:  # the row itself says enough; that the link is lost is said by what reads the list
            return
        finally:
            self.looking = row is not self._looked_at
        self.paint()

    def shell(self, key: str) -> str:
        return f"holdfast runs show {key}"

    # --- what keys do -------------------------------------------------------------------------------------------------

    def do_open(self) -> None:
        if self.window.cursor is not None:
            self.desk.open_run(self.window.cursor)

    def do_open_timeline(self) -> None:
        if self.window.cursor is not None:
            self.desk.open_timeline(self.window.cursor)

    def do_output(self) -> None:
        if self.window.cursor is not None:
            self.desk.open_logs(self.window.cursor)

    def do_explain(self) -> None:
        """Ask why the run under the cursor does not run."""
        if self.window.cursor is None:
            self.say("no run to explain", "warn")
        else:
            self._take(self._explain(self.window.cursor))

    async def _explain(self, run: str) -> None:
        why = await self.desk.gateway.why(run)
        if self.undisturbed:
            self.show_sheet(f"why {short(run)} does not run", explained(why))

    def do_unique(self) -> None:
        """Show the kinds of errors that runs died of, within the filter; a digit narrows to one."""
        self._take(self._unique())

    async def _unique(self) -> None:
        kinds = await self.desk.gateway.letter_groups(letters_query(self.given(), self.now))
        if not self.undisturbed:
            return
        if not kinds.groups:
            self.say("no dead run matches: there are no errors to group")
            return
        count = max(kinds.kinds, len(kinds.groups))
        self.show_sheet(f"errors of {plural(kinds.total, 'dead run')}: {plural(count, 'kind')}", grouped(kinds))
        first = {str(number): group for number, group in enumerate(kinds.groups[:9], 1)}
        choices = tuple((digit, error_name(group.error_type) or group.pattern[:20]) for digit, group in first.items())
        self.pick("which error? its digit shows its runs", choices, lambda digit: self._only(first[digit]))

    def _only(self, group: api.LetterGroup) -> None:
        """Narrow to the runs that died of one kind of error."""
        rest = without(self.filter, ("state", "type", "pattern"))
        terms = ["state:dead", f"type:{quoted(group.error_type)}" if group.error_type else ""]
        terms.append(f"pattern:{quoted(group.pattern)}" if group.pattern else "")
        self.zoom(False)
        self.filter = " ".join(filter(None, (rest, *terms)))
        self.narrowed()

    def do_retry(self) -> None:
        self._propose(Verb.RETRY, RETRIABLE)

    def do_cancel(self) -> None:
        self._propose(Verb.CANCEL, CANCELLABLE)

    def _propose(self, verb: Verb, states: frozenset[State]) -> None:
        chosen, rows = self.window.chosen(), self.loaded
        fit = tuple(run for run in chosen if run not in rows or rows[run].state in states)
        hidden = self.hidden() if self.window.marks else 0
        self.propose(Plan(verb=verb, targets=fit, hidden=hidden, passed=len(chosen) - len(fit)))

    def value(self, row: api.RunRow, column: str) -> Any:
        return row.ordered(ORDERS[column]) if column in ORDERS else None
