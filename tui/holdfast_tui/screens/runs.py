"""Screen 2: runs, newest first, narrowed by the daemon: by state, queue, task and words."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from textual.timer import Timer

from holdfast.core.model import FINAL, State
from holdfast.wire import api
from holdfast_tui import filter, keys
from holdfast_tui.format import (
    PAUSED,
    STATES,
    Cell,
    age,
    clean,
    clock,
    date,
    error_name,
    lines,
    plural,
    progress,
    short,
    took,
)
from holdfast_tui.model.run import CANCELLABLE, RETRIABLE
from holdfast_tui.model.window import Follow, Listing
from holdfast_tui.plan import Plan, Verb
from holdfast_tui.screens.page import Page, marked, told
from holdfast_tui.widgets.table import Column

HEAD = 100
"""How many of the newest are read each second."""
DEBOUNCE = 0.06
"""Seconds without a key before the daemon is asked with the new filter."""


class Runs(Page):
    kind = keys.RUNS
    columns = (
        Column("STATE", 6),
        Column("ID", 8),
        Column("TASK", 16),
        Column("QUEUE", 8, spare=3),
        Column("TRY", 3, right=True, spare=2),
        Column("STARTED", 8, spare=4),
        Column("TOOK", 6, right=True, spare=1),
        Column("AT STEP / ERROR", 10, flex=True),
    )

    def __init__(self, *, filter: str = "") -> None:
        self.listing = Listing[api.RunRow](lambda row: row.id, lambda row: (-row.created_at, row.id))
        self.total = 0
        self.more = False
        """Whether there are older ones than the last that is loaded."""
        self.answered = False
        self._generation = 0
        self._begin = True
        """Whether the next answer begins a new list."""
        self._debounce: Timer | None = None
        super().__init__(filter=filter)
        self.window.follow = Follow.FIRST

    def asking(self) -> api.RunsQuery:
        given = filter.read(self.filter)
        return api.RunsQuery(
            states=given.states,
            tasks=given.tasks,
            queue=given.queue,
            tag=given.tag,
            worker=given.worker,
            paused=given.paused,
            text=given.text,
            limit=HEAD,
        )

    async def read(self) -> None:
        """The newest, and again those in view; where the cursor nears the end, the next older ones."""
        generation = self._generation
        query = self.asking()
        head = await self.desk.gateway.runs(query)
        if generation != self._generation:
            return
        self.answered, self.total = True, head.total
        known, follows = self.listing.rows, self.window.follow is Follow.FIRST
        joined = not head.more or any(row.id in known for row in head.runs)
        if self._begin or not known or (follows and not joined):  # not joined: more came than one page holds
            self._begin, self.more = False, head.more
            self.listing.take(head.runs)
        elif joined:
            self.listing.take(head.runs, hold=self.held and not follows, gone=self._gone(head))
        else:
            self.listing.waiting = HEAD
        self.arrange_rows()
        await self._read_view(query, generation)

    def _gone(self, head: api.RunsPage) -> set[str]:
        """Loaded runs that the page should have and has not: they match no more."""
        read = {row.id for row in head.runs}
        oldest = head.runs[-1].created_at if head.more and head.runs else 0.0
        return {id for id, row in self.listing.rows.items() if id not in read and row.created_at > oldest}

    async def _read_view(self, query: api.RunsQuery, generation: int) -> None:
        first, last = self.window.top, self.window.top + self.window.height
        rows = list(self.listing.rows.values())
        if self.more and last + self.window.height > len(rows) and rows:
            await self._read_behind(query, rows[-1], generation)
        elif first > HEAD // 2 and len(rows) > first:
            before = rows[first - 1]
            view = msgspec.structs.replace(query, before=(before.created_at, before.id), limit=self.window.height)
            page = await self.desk.gateway.runs(view)
            for row in page.runs if generation == self._generation else ():
                self.listing.put(row)

    async def _read_behind(self, query: api.RunsQuery, last: api.RunRow, generation: int) -> None:
        behind = msgspec.structs.replace(query, before=(last.created_at, last.id), limit=200)
        page = await self.desk.gateway.runs(behind)
        if generation == self._generation:
            self.listing.take(page.runs, gone=())
            self.more = page.more

    def arrange_rows(self) -> None:
        self.window.sync(list(self.listing.rows))

    def narrowed(self) -> None:
        self._generation += 1
        if self._debounce is not None:
            self._debounce.stop()
        self._debounce = self.set_timer(DEBOUNCE, self._anew)

    def _anew(self) -> None:
        """Read a new list; the cursor stays on its run where that is in it."""
        self._begin = True
        self.window.follow = Follow.FIRST if self.window.position == 0 else Follow.OFF
        self.refresh_data()

    def moved(self, move: object) -> None:
        assert callable(move)
        move()
        if self.window.position:
            self.window.follow = Follow.OFF
        if self.more and self.window.position > len(self.window) - 2 * self.window.height:
            self.refresh_data()

    def do_first(self) -> None:
        """The newest; from here on new ones come in at the top."""
        self.window.follow = Follow.FIRST
        self.window.to(0)
        self._begin = self._begin or self.listing.waiting > 0
        self.refresh_data()

    def do_follow(self) -> None:
        if self.window.follow is Follow.FIRST:
            self.window.follow = Follow.OFF
            self.say("frozen: new runs wait above; f or g follows again")
        else:
            self.do_first()

    def cells(self, key: str, widths: Sequence[int]) -> Sequence[Cell]:
        row = self.listing.rows[key]
        return (
            standing(row),
            (short(row.id), ""),
            (row.task, ""),
            (row.queue, ""),
            (str(row.attempt or ""), ""),
            (clock(row.started_at or row.created_at), "" if row.started_at else "dim"),
            (lasted(row, self.as_of), ""),
            (doing(row, self.as_of), "fail" if row.error_type and row.state in FINAL else "warn" if row.paused else ""),
        )

    def empty(self) -> Sequence[str]:
        if not self.answered:
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
        given = filter.read(self.filter)
        parts: list[Cell] = [(given.wrong, "warn")] if given.wrong else []
        if not self.filter:
            parts.append(("all states  all queues", ""))
        parts.append((plural(self.total, "run"), ""))
        if self.window.follow is Follow.FIRST:
            right: list[Cell] = [("FOLLOW", "title")]
        elif self.listing.waiting >= HEAD:
            right = [("many new above (g)", "title")]
        else:
            above = self.listing.waiting
            right = [(f"{above} new above (g)" if above else "newest first", "title" if above else "")]
        return told(self.filter, parts) + marked(self.window), right

    def detail(self) -> tuple[str, list[Cell]]:
        row = self.listing.rows.get(self.window.cursor or "")
        return ("", []) if row is None else (f"{short(row.id)}  {clean(row.task)}", about(row, self.as_of))

    # --- what keys do -------------------------------------------------------------------------------------------------

    def do_open(self) -> None:
        if self.window.cursor is not None:
            self.desk.open_run(self.window.cursor)

    def do_output(self) -> None:
        if self.window.cursor is not None:
            self.desk.open_logs(self.window.cursor)

    def do_retry(self) -> None:
        self._propose(Verb.RETRY, RETRIABLE)

    def do_cancel(self) -> None:
        self._propose(Verb.CANCEL, CANCELLABLE)

    def _propose(self, verb: Verb, states: frozenset[State]) -> None:
        chosen = self.window.chosen()
        rows = self.listing.rows
        fit = tuple(run for run in chosen if run not in rows or rows[run].state in states)
        hidden = self.window.hidden() if self.window.marks else 0
        self.propose(Plan(verb=verb, targets=fit, hidden=hidden, passed=len(chosen) - len(fit)))


def standing(row: api.RunRow) -> Cell:
    """A run's state; where it waits for an operator, that."""
    return PAUSED if row.paused else STATES[row.state]


def lasted(row: api.RunRow, now: float) -> str:
    """From start to end, or so far."""
    if row.started_at is None:
        return "-"
    return took((row.finished_at if row.finished_at is not None else now) - row.started_at)


def doing(row: api.RunRow, now: float) -> str:
    """What a run asks or does just now, or how it ended."""
    if row.paused:
        return row.paused
    if row.state is State.RETRYING:
        due = "" if row.due is None else f"in {age(row.due - now)} "
        return f"{due}{error_name(row.error_type)}: {row.error}"
    if row.error_type and row.state is not State.RUNNING:
        return f"{error_name(row.error_type)}: {row.error}"
    if row.reason:
        return row.reason
    if row.state is State.DELAYED and row.due is not None:
        return f"due in {age(row.due - now)}"
    if row.state in FINAL:
        return ""
    last = row.last_key.rpartition("/")[2].removesuffix("#1")
    step = f"step {row.steps} {last}" if row.steps else ""
    made = progress(row.progress)
    return made or step if row.state is State.RUNNING else row.waits or made or step


def about(row: api.RunRow, now: float) -> list[Cell]:
    """A run in the pane."""
    word, role = STATES[row.state]
    cells: list[Cell] = [("PAUSED: it waits for an operator", "warn"), (row.paused, "")] if row.paused else []
    cells += [
        (word, role or "title"),
        (f"queue {row.queue}   priority {row.priority}", ""),
        (f"worker {row.worker or '-'}", ""),
        (f"created {date(row.created_at)}", ""),
        (f"started {clock(row.started_at, millis=True)}   took {lasted(row, now)}", ""),
        (f"try {row.attempt}   steps {row.steps}   from {row.source or '-'}", ""),
    ]
    if row.progress is not None and row.state not in FINAL:
        cells.append((f"progress {progress(row.progress)}", ""))
    if row.waits:
        cells.append((f"waits for {row.waits}", ""))
    if row.last_key:
        cells.append((f"last checkpoint {row.last_key}", ""))
    if row.tags:
        cells.append(("tags " + " ".join(row.tags), ""))
    if row.parent:
        cells.append((f"child of {row.parent}", ""))
    if row.error_type:
        cells += [("", ""), ("error", "title"), *((line, "fail") for line in lines(f"{row.error_type}: {row.error}"))]
    if row.reason:
        cells += [("", ""), (f"because: {row.reason}", "")]
    return [*cells, ("", ""), (row.id, "dim")]
