"""One run: its tree of checkpoints, growing while the run is open, and what is known of the one under the cursor."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from holdfast.core.lifecycle import Kind
from holdfast.core.model import FINAL, ErrorInfo, Instant, Run, State
from holdfast.core.pending import Wait, answers
from holdfast.core.tree import WAITS, Node, NodeState, Tree
from holdfast.errors import HoldfastError, Refused
from holdfast.wire import api
from holdfast_tui import keys, message
from holdfast_tui.format import (
    NODES,
    PAUSED,
    STATES,
    Cell,
    bar,
    clean,
    clock,
    date,
    error_name,
    lines,
    offset,
    progress,
    short,
    took,
    value,
)
from holdfast_tui.message import Message, Unclear
from holdfast_tui.model.run import CANCELLABLE, CODE, RETRIABLE, ROOT, NodeRow, Story
from holdfast_tui.plan import Plan, Verb
from holdfast_tui.screens.page import Page
from holdfast_tui.widgets.table import Column

PAGES = ("error", "value", "waits", "attempts", "input", "about")
"""What tab turns to in the pane."""
REPAINT = 0.1
"""Seconds between repaints while live entries come in."""
CHECK: float = 3.0
"""Seconds between looks at what the daemon has counted, while the run is open."""
NEW: float = 10.0
"""For so many seconds the daemon need not know a run that was made just now."""


class RunTree(Page):
    kind = keys.RUN
    columns = (
        Column("STEP", 20, flex=True),
        Column("STATE", 6),
        Column("TRY", 3, right=True, spare=1),
        Column("AT", 7, right=True, spare=2),
        Column("TOOK", 6, right=True),
        Column("", 14, spare=3),
    )

    def __init__(self, run: str, *, new: bool = False) -> None:
        """
        Args:
            new: it was made just now.
        """
        self.story = Story(run)
        self.new = new
        self._opened_at: Instant | None = None
        self.view: api.RunView | None = None
        self.page = 0
        self.turned = False
        """Whether the operator has chosen a page; until then it is the error, where there is one."""
        self.missing = ""
        """Why there is nothing to show."""
        self._rows: dict[str, NodeRow] = {}
        self._stop: Callable[[], Awaitable[None]] | None = None
        self._checked_at: Instant = 0
        self._stirred = False
        super().__init__()

    @property
    def crumbs(self) -> str:
        return f"Runs > {short(self.story.id)}"

    def on_mount(self) -> None:
        self.set_interval(REPAINT, self._grow)

    async def read(self) -> None:
        """Listen before reading, so that nothing falls between; read the history again where something was missed."""
        gateway = self.desk.gateway
        try:
            if self.view is None or (self.now - self._checked_at >= CHECK and not self._settled):
                self.view = await gateway.get(self.story.id)
                self.story.id = self.view.row.id
                self._checked_at = self.now
            if self._stop is None:
                self._stop = await gateway.watch(self.story.id, self._heard, self.story.missed)
                self.story.stale = True
            self.story.compare(self.view.row)
            if self.story.stale:
                self.story.load(await gateway.history(self.story.id))
        except Refused as error:
            if self.new and error.code == "not_found" and self._just_opened:
                return
            self.missing = str(error)
            raise

    @property
    def _just_opened(self) -> bool:
        if self._opened_at is None:
            self._opened_at = self.now
        return self.now - self._opened_at < NEW

    @property
    def _settled(self) -> bool:
        """Whether nothing is expected to change: it has ended, and the daemon knows."""
        return self.story.final and self.view is not None and self.view.row.finished_at is not None

    def _heard(self, kind: Kind, data: bytes) -> None:
        if self.story.hear(kind, data):
            self._stirred = True
            if self.story.final:
                self._checked_at = 0

    def _grow(self) -> None:
        """What came in live, at most ten times a second."""
        if self._stirred and self.is_current:
            self._stirred = False
            self.paint()

    async def on_screen_suspend(self) -> None:
        """While another page is shown nothing is heard; what was missed is read when this one is shown again."""
        if isinstance(next(reversed(self.app.screen_stack), None), Page):
            await self._stop_listening()

    async def on_unmount(self) -> None:
        await self._stop_listening()

    async def _stop_listening(self) -> None:
        if self._stop is not None:
            stop, self._stop = self._stop, None
            try:
                await stop()
            except HoldfastError:  # the connection is gone, and with it what was listened to
                return

    def arrange_rows(self) -> None:
        rows = self.story.rows(self.as_of)
        self._rows = {row.id: row for row in rows}
        self.window.sync(list(self._rows))

    def cells(self, key: str, widths: Sequence[int]) -> Sequence[Cell]:
        row, now = self._rows[key], self.as_of
        start, total = self.story.span(now)
        ran = row.took if row.took is not None or row.start is None else now - row.start
        begun, block = (row.start or start) - start, "·" if _waits(row) else "█"
        stretch = "" if row.start is None else bar(begun, begun + (ran or 0), total, widths[5], block)
        about = f"  {row.about}" if row.about else ""
        more = f"  ({row.folded} folded)" if row.folded else ""
        return (
            (row.guide + row.name + about + more, "title" if row.id == ROOT else ""),
            row.state,
            (str(row.tries or ""), ""),
            ("0" if row.id == ROOT else offset(None if row.start is None else row.start - start), ""),
            (took(ran) + ("" if row.took is not None or row.start is None else "."), ""),
            (stretch, row.state[1].replace("dead", "fail") or "dim"),
        )

    def empty(self) -> Sequence[str]:
        if self.missing:
            return ["", f"  {clean(self.missing)}", "", "  q goes back; 2 shows all runs"]
        return ["", f"  Reading run {clean(self.story.id)} ..."]

    def scope(self) -> tuple[list[Cell], list[Cell]]:
        run = self.story.run
        if run is None:
            return [], []
        word, role = PAUSED if run.paused else STATES[run.state]
        _, total = self.story.span(self.as_of)
        most = f"/{run.retry.max_attempts}" if run.retry is not None else ""
        asked = "  cancel asked" if run.cancel_requested and not run.final else ""
        left: list[Cell] = [
            (clean(run.task) + "  ", "title"),
            (word, role),
            (f"  {clean(run.queue)}  try {run.attempt}{most}  started {clock(run.started_at, millis=True)}", ""),
            (f"  took {took(total)}" if run.final else f"  for {took(total)}", ""),
            (asked, "warn"),
            (f"  will be {STATES[run.ending][0]}" if run.ending is not None else "", "warn"),
        ]
        return left, []

    # --- pane ---------------------------------------------------------------------------------------------------------

    def detail(self) -> tuple[str, list[Cell]]:
        row = self._rows.get(self.window.cursor or "")
        if row is None:
            return "", []
        page = PAGES[self.page] if self.turned else self._first(row)
        names = " ".join(f"[{name}]" if name == page else name for name in self._pages)
        title = f"{names} ─ {clean(row.name)}"
        return title, getattr(self, f"_{page}")(row) or [(f"no {page}", "dim")]

    @property
    def _pages(self) -> Sequence[str]:
        """The pages that there are: `waits` only where the run waits for something."""
        waits = bool(self.story.waits())
        return [page for page in PAGES if waits or page != "waits"]

    def _first(self, row: NodeRow) -> str:
        """The page of a row that the operator has not turned: what it asks, its error, what it waits for, its value."""
        run = self.story.run
        asks = row.state == PAUSED
        if asks or (row.error is None and (_waits(row) or (row.id == ROOT and run is not None and run.waits))):
            return "waits"
        return "error" if row.error is not None else "value"

    def _error(self, row: NodeRow) -> list[Cell]:
        return told_error(row.error)

    def _waits(self, row: NodeRow) -> list[Cell]:
        """What the run, or the await under the cursor, waits for; a question with the commands that answer it."""
        run = self.story.run
        key = "" if row.id == ROOT else row.id.partition("!")[0]
        found = [wait for wait in self.story.waits() if not key or f"{wait.key}/".startswith(f"{key}/")]
        asked = run is not None and run.paused and any(wait.asks for wait in found)
        cells: list[Cell] = [(clean(run.paused), "warn")] if asked and run is not None else []
        for wait in sorted(found, key=lambda wait: not wait.asks):
            cells += told_answers(self.story.id, wait) if wait.asks else [(told_wait(wait), "")]
        return cells

    def _value(self, row: NodeRow) -> list[Cell]:
        if row.id == ROOT:
            run = self.story.run
            text = self.view.result if self.view is not None and self.view.result else ""
            text = text or value(run.result if run is not None else None)
        elif "!" in row.id or row.node is None:
            text = ""
        else:
            text = value(row.node.value) or row.node.note
        return [(line, "") for line in lines(text)] if text else []

    def _attempts(self, row: NodeRow) -> list[Cell]:
        if row.node is not None:
            return [
                (f"{each.number}  {clock(each.at, millis=True)}  {took(each.took)}  {told_short(each.error)}", "")
                for each in row.node.tries
            ]
        return [
            (
                f"{span.attempt}{' again' if span.resumed else ''}  {clock(span.started_at, millis=True)}  "
                f"{clean(span.worker)}  {span.outcome or 'under way'} "
                f"{clean(error_name(span.error.type) if span.error is not None else span.reason)}"
                f"{f'  code {clean(span.code[:CODE])}' if span.code else ''}",
                "fail" if span.error is not None else "",
            )
            for span in self.story.tree.attempts
        ]

    def _input(self, row: NodeRow) -> list[Cell]:
        run = self.story.run
        text = self.view.payload if self.view is not None else value(run.payload if run is not None else None)
        return [(line, "") for line in lines(text)]

    def _about(self, row: NodeRow) -> list[Cell]:
        run = self.story.run
        if run is None:
            return []
        cells: list[Cell] = []
        if row.node is not None:
            word, note = NODES[row.node.stands][0], row.node.note
            cells.append((clean(f"{row.node.key}  {word}  {note}  recorded in try {row.node.attempt}"), ""))
            cells += [(clean(f"{name} {said}"), "") for name, said in _facts_of_node(row.node) if said]
        cells.append((f"run {run.id}   created {date(run.created_at)}   from {run.source}", ""))
        held = "nobody" if run.holder is None else run.holder.worker
        cells.append((f"held by {held}   priority {run.priority}   last checkpoint {run.last_key or '-'}", ""))
        if run.tags:
            cells.append(("tags " + " ".join(run.tags), ""))
        if run.parent is not None:
            cells.append((f"child of {run.parent.run}", ""))
        if run.reason:
            cells.append((f"because: {clean(run.reason)}", ""))
        cells += [(clean(f"{name} {said}"), "") for name, said in _facts_of_run(run, self.story.tree) if said]
        if self.view is not None and self.view.hook:
            cells.append((f"followed by {clean(self.view.hook)}", ""))
        cells += [(clean(f"metadata {name} {value(data)}"), "") for name, data in sorted(run.metadata.items())]
        children = self.view.children if self.view is not None else ()
        return cells + [(f"child {short(child.id)}  {child.task}  {STATES[child.state][0]}", "") for child in children]

    # --- what keys do -------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        if not self.turned:
            row = self._rows.get(self.window.cursor or "")
            self.page = PAGES.index(self._first(row)) if row is not None else 1
        self.turned = True
        shown, page = self._pages, PAGES[self.page]
        following = shown[(shown.index(page) + 1) % len(shown)] if page in shown else shown[0]
        self.page = PAGES.index(following)

    def do_zoom(self) -> None:
        row = self._rows.get(self.window.cursor or "")
        if row is not None and row.node is not None and row.node.child and "!" not in row.id:
            self.desk.open_run(row.node.child)
        else:
            self.zoom(not self.has_class("-zoom"))

    def do_fold(self) -> None:
        """Fold the branch; on a line without one go up to its parent."""
        row = self._rows.get(self.window.cursor or "")
        if row is None:
            return
        below = row.id == ROOT or (row.node is not None and "!" not in row.id and (row.node.children or row.node.tries))
        if below and row.id not in self.story.folded:
            self.story.fold(row)
        else:
            self.window.go(self.story.parent(row.id))
        self.arrange_rows()

    def do_unfold(self) -> None:
        row = self._rows.get(self.window.cursor or "")
        if row is not None:
            self.story.unfold(row)
            self.arrange_rows()

    def narrowed(self) -> None:
        """Go to the first line that has the text."""
        text = self.filter.lower()
        found = next((row.id for row in self._rows.values() if text and text in row.name.lower()), None)
        if found is not None:
            self.window.go(found)

    def do_output(self) -> None:
        self.desk.open_logs(self.story.id)

    def idle(self) -> frozenset[str]:
        run = self.story.run
        if run is None:
            return frozenset(action.id for action in keys.on(self.kind) if action.changes)
        waits = self.story.waits()
        able = {
            "answer": any(wait.asks for wait in waits),
            "complete": any(wait.kind == "token" for wait in waits),
            "signal": run.state in CANCELLABLE,
            "retry": run.state in RETRIABLE,
            "cancel": run.state in CANCELLABLE,
            "kill": not run.final,
        }
        return frozenset(id for id, is_able in able.items() if not is_able)

    def do_retry(self) -> None:
        self._propose(Verb.RETRY, RETRIABLE, "only a dead, failed, timed out or cancelled run can be retried")

    def do_cancel(self) -> None:
        undoes = self.story.run is not None and self.story.run.state is State.COMPENSATING
        why = "while it undoes its steps it can only be killed (K)" if undoes else "only a live run can be cancelled"
        self._propose(Verb.CANCEL, CANCELLABLE, why)

    def do_kill(self) -> None:
        self._propose(Verb.KILL, frozenset(State) - FINAL, "only a live run can be killed")

    def do_replay(self) -> None:
        self._propose(Verb.REPLAY, frozenset(State), "")

    def _propose(self, verb: Verb, states: frozenset[State], why: str) -> None:
        run = self.story.run
        if run is None or run.state not in states:
            self._no(why)
            return
        self.propose(Plan(verb=verb, targets=(self.story.id,)))

    def _no(self, why: str) -> None:
        run = self.story.run
        if run is None:
            self.say("the run is not read yet", "warn")
            return
        word, _ = PAUSED if run.paused else STATES[run.state]
        self.say(f"the run is {word}: {why}", "warn")

    def do_answer(self) -> None:
        self._tell(message.answer, self.story.waits())

    def do_complete(self) -> None:
        row = self._rows.get(self.window.cursor or "")
        node = row.node if row is not None else None
        if node is not None and node.kind == "issued":
            self._tell(message.completion, [Wait("token", node.key, node.wait)])
        else:
            self._tell(message.completion, self.story.waits())

    def do_signal(self) -> None:
        if self.story.run is None or self.story.run.state not in CANCELLABLE:
            self._no("its code takes no signals any more")
        else:
            self._tell(message.signal, self.story.waits())

    def _tell(self, make: Callable[[str, Sequence[Wait], str], Message], waits: Sequence[Wait]) -> None:
        """Ask what to tell the run about what the cursor is on."""
        at = (self.window.cursor or "").partition("!")[0]
        try:
            self.propose(make(self.story.id, waits, "" if at == ROOT else at))
        except Unclear as error:
            self._no(str(error))


def _waits(row: NodeRow) -> bool:
    """Whether the row is of a wait: of time in which nothing ran."""
    node = row.node
    if node is None or "!" in row.id:
        return False
    return bool(node.child) or node.kind in WAITS or node.stands in (NodeState.WAITING, NodeState.PAUSED)


def _facts_of_node(node: Node) -> Sequence[tuple[str, str]]:
    return (
        ("waits for", f"{node.kind} {node.subject} {node.wait}".strip() if node.wait else ""),
        ("until", date(node.due) if node.due is not None else ""),
        ("from run", node.origin),
        ("code", node.code),
    )


def _facts_of_run(run: Run, tree: Tree) -> Sequence[tuple[str, str]]:
    origin = run.origin
    parts = f" before {origin.key}" if origin is not None and origin.key else ""
    return (
        ("progress", progress(run.progress)),
        ("last heartbeat", date(tree.heartbeat_at) if tree.heartbeat_at is not None else ""),
        ("deadline", date(run.deadline) if run.deadline is not None else ""),
        ("expires", date(run.expires) if run.expires is not None and run.started_at is None else ""),
        ("made from", f"{origin.run} by {origin.how}{parts}" if origin is not None else ""),
        ("code", run.code),
    )


def told_wait(wait: Wait) -> str:
    """A wait on one line, its id whole: a token is completed by it."""
    parts = (
        wait.key,
        wait.kind,
        wait.subject,
        wait.id if wait.kind in ("token", "child") else "",
        " ".join(value(wait.match).split()) if wait.match else "",
        f"until {date(wait.due)}" if wait.due is not None else "",
    )
    return clean("  ".join(part for part in parts if part))


def told_answers(run: str, wait: Wait) -> list[Cell]:
    """The commands that answer a question, each below what it means."""
    cells: list[Cell] = []
    for answer in answers(run, wait):
        cells += [(clean(f"{wait.key}: {answer.means}"), ""), (clean(f"  {answer.command}"), "title")]
    return cells


def told_error(error: ErrorInfo | None) -> list[Cell]:
    """An error with its traceback, for a pane."""
    if error is None:
        return []
    head: list[Cell] = [(line, "fail") for line in lines(f"{error.type}: {error.message}".removesuffix(": "))]
    return head + [(line, "") for line in lines(error.traceback.rstrip()) if error.traceback]


def told_short(error: ErrorInfo) -> str:
    """An error on one line."""
    return clean(f"{error_name(error.type)}: {error.message}")
