"""Screen 6: workers: how busy each is, what it uses, what it holds; those that fell silent are shown as lost."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

from holdfast.core.model import Instant
from holdfast.errors import HoldfastError
from holdfast.wire import api
from holdfast_tui import keys
from holdfast_tui.filter import Field, Grammar, Kind, quoted
from holdfast_tui.format import STATES, Cell, age, clean, count, date, ends, plural, rate, short, size, spark, took
from holdfast_tui.gateway import Lost
from holdfast_tui.model.crew import Crew, Mate
from holdfast_tui.model.sorting import Sort
from holdfast_tui.model.window import Listing
from holdfast_tui.plan import Plan, Verb
from holdfast_tui.screens.listed import Listed
from holdfast_tui.screens.page import marked, told
from holdfast_tui.widgets.table import Column

ROLES = {"ok": "", "DRAIN": "warn", "LOST": "dead"}

HELD = 20
"""Runs of the worker under the cursor that are looked at."""

MORE: Grammar = {
    "queue": Field(Kind.NAMES, "names of queues by commas, like queue:emails"),
    "task": Field(Kind.NAMES, "names of tasks by commas, like task:charge_*"),
    "version": Field(Kind.NAMES, "versions by commas, like version:1.2.*"),
}
"""What workers are filtered by besides their columns."""

STATES_OF = Field(Kind.WORDS, "states by commas: ok drain lost", {"ok": "ok", "drain": "DRAIN", "lost": "LOST"})


class Workers(Listed):
    kind = keys.WORKERS
    row_type, noun = api.Presence, "worker"
    sort = Sort("worker")
    columns = (
        Column(
            "WORKER", 12, letter="n", value=lambda mate: mate.seen.worker,
            field=Field(Kind.NAMES, "names by commas, like worker:w-*"),
        ),
        Column("STATE", 6, letter="s", field=STATES_OF, value=lambda mate: mate.state),
        Column(
            "HOST", 9, spare=3, letter="h", value=lambda mate: mate.seen.host,
            field=Field(Kind.NAMES, "names of hosts by commas, like host:ip-10-*"),
        ),
        Column("BUSY", 6, right=True, letter="b", down=True, value=lambda mate: mate.seen.running),
        Column("CPU", 4, right=True, spare=1, letter="c", down=True, value=lambda mate: mate.seen.cpu),
        Column("RSS", 5, right=True, spare=2, letter="m", down=True, value=lambda mate: mate.seen.rss),
        Column("RUN/s", 5, right=True, name="rate", letter="r", down=True, value=lambda mate: mate.seen.done_rate),
        Column("SEEN", 4, right=True, letter="a", value=lambda mate: mate.seen.at),
        Column("QUEUES", 10, flex=True, letter="q", value=lambda mate: mate.seen.queues),
    )  # fmt: skip

    def __init__(self) -> None:
        self.crew = Crew()
        self.listing = Listing[Mate](lambda mate: mate.seen.worker, lambda mate: mate.seen.worker)
        self.faults: Sequence[api.Fault] = ()
        self.held_runs: dict[str, api.RunRow] = {}
        """Those that the worker under the cursor held when it was heard last, as they stand now."""
        self.answered = False
        super().__init__()

    async def read(self) -> None:
        gateway = self.desk.gateway
        presences, self.faults = await gateway.workers(), await gateway.faults()
        self.answered = True
        self.crew.take(presences, self.now)
        self.listing.take(self.crew.mates.values(), hold=self.held)
        self.arrange_rows()
        self.say_lost()
        await self._read_held()

    async def _read_held(self) -> None:
        """How the runs of the worker under the cursor stand; the list does without where the history is not there."""
        mate = self.listing.rows.get(self.window.cursor or "")
        runs = mate.seen.runs[:HELD] if mate is not None else ()
        if not runs:
            self.held_runs = {}
            return
        try:
            page = await self.desk.gateway.runs(api.RunsQuery(keys=runs, limit=HELD))
        except Lost:
            raise
        except HoldfastError:
            return
        self.held_runs = {row.id: row for row in page.runs}

    def moved(self, move: object) -> None:
        assert callable(move)
        move()
        self.refresh_data()

    def arrange_rows(self) -> None:
        given = self.given()
        shown = [name for name, mate in self.listing.rows.items() if self.admits(given, mate, (name, *_texts(mate)))]
        self.window.sync(shown, alive=self.listing.rows)

    @property
    def grammar(self) -> Grammar:
        return {**super().grammar, **MORE}

    def value(self, row: Mate, column: str) -> Any:
        match column:
            case "queue":
                return row.seen.queues
            case "task":
                return row.seen.tasks
            case "version":
                return row.seen.version
        return super().value(row, column)

    async def pages(self) -> AsyncIterator[Sequence[api.Presence]]:
        yield [self.listing.rows[name].seen for name in self.window.keys]

    async def rows(self, keys: Sequence[str]) -> Sequence[api.Presence]:
        return [self.listing.rows[name].seen for name in keys if name in self.listing.rows]

    def key(self, row: api.Presence) -> str:
        return row.worker

    def failed(self, row: Mate) -> bool:
        return row.lost_at is not None

    def shell(self, key: str) -> str:
        return f"holdfast runs list --worker {shlex.quote(key)}"

    def explained(self) -> str:
        mate = self.listing.rows.get(self.window.cursor or "")
        return "" if mate is None else "  ".join(text for text, _ in _standing(mate, self.as_of))

    def cells(self, key: str, widths: Sequence[int]) -> Sequence[Cell]:
        mate = self.listing.rows[key]
        seen = mate.seen
        return (
            (ends(seen.worker, widths[0]), ""),
            (mate.state, ROLES[mate.state]),
            (seen.host, ""),
            (f"{seen.running}/{seen.concurrency}", "run" if seen.running else ""),
            (f"{seen.cpu * 100:.0f}%", ""),
            (size(seen.rss) if seen.rss else "-", ""),
            (rate(seen.done_rate), ""),
            (age(self.as_of - seen.at), "warn" if mate.lost_at is not None else ""),
            (",".join(seen.queues), ""),
        )

    def empty(self) -> Sequence[str]:
        if not self.answered:
            return ["", "  Waiting for the first answer ..."]
        if self.filter and self.listing.rows:
            return ["", f"  0 of {plural(len(self.listing.rows), 'worker')} match; esc clears the filter"]
        return [
            "",
            "  No workers are there: runs wait.",
            "",
            "  Start some from a shell; this screen fills by itself:",
            "",
            "     holdfast up MODULE        a daemon and its workers",
            "     holdfast worker MODULE    one more worker, anywhere",
            *(["", "  Not served, as its module fails:", ""] if self.faults else []),
            *[f"     {clean(line)}" for line in self._faulty()],
        ]

    def _faulty(self) -> list[str]:
        return [error.partition("\n")[0] for fault in self.faults for error in fault.errors]

    def scope(self) -> tuple[list[Cell], list[Cell]]:
        mates = list(self.listing.rows.values())
        there = [mate.seen for mate in mates if mate.lost_at is None]
        shown = len(self.window)
        parts: list[Cell] = [((f"{shown:,} of " if shown != len(mates) else "") + plural(len(mates), "worker"), "")]
        if there:
            busy, slots = sum(seen.running for seen in there), sum(seen.concurrency for seen in there)
            parts.append((f"{count(busy)} of {plural(slots, 'slot')} busy", ""))
        for state, word in (("DRAIN", "draining"), ("LOST", "lost")):
            if number := sum(mate.state == state for mate in mates):
                parts.append((f"{number} {word}", "fail" if state == "LOST" else "warn"))
        if failing := len(self._faulty()):
            parts.append((f"{plural(failing, 'module')} fail{'s' if failing == 1 else ''}", "fail"))
        if self.listing.waiting:
            parts.append((f"{self.listing.waiting} new", "title"))
        left = self.unread() + told(self.filter, parts) + marked(self.window)
        return left, self._versions(there) or (self.told_sort() if mates else [])

    def _versions(self, there: Sequence[api.Presence]) -> list[Cell]:
        """Which versions run, where it is more than one."""
        found = Counter(seen.version or "?" for seen in there)
        if len(found) < 2:
            return []
        return [(f"  {', '.join(f'{clean(version)} x{number}' for version, number in found.most_common(3))}", "warn")]

    def about(self) -> tuple[str, list[Cell]]:
        mate = self.listing.rows.get(self.window.cursor or "")
        if mate is None:
            return "", []
        seen = mate.seen
        return clean(seen.worker), [
            *_standing(mate, self.as_of),
            (f"host {seen.host}   pid {seen.pid}   v{seen.version or '?'}", ""),
            (f"up {took(self.as_of - seen.started_at)}   since {date(seen.started_at)}", ""),
            (f"queues {', '.join(seen.queues) or 'none'}", ""),
            (f"tasks {', '.join(seen.tasks) or 'none'}", ""),
            ("", ""),
            (f"cpu {spark(mate.cpu)} {seen.cpu * 100:.0f}%", ""),
            (f"rss {spark(mate.rss)} {size(seen.rss) if seen.rss else '-'}", ""),
            ("", ""),
            *self._held(mate),
            *self._wrong(),
        ]

    def _held(self, mate: Mate) -> list[Cell]:
        """The runs that it holds, or held when it was heard last, as they stand now."""
        seen = mate.seen
        title = "in flight" if mate.lost_at is None else "in flight when it was heard last; as they stand now"
        found: list[Cell] = [(title, "title")]
        for id in seen.runs[:HELD]:
            row = self.held_runs.get(id)
            if row is None:
                found.append((short(id), ""))
            else:
                word, role = STATES[row.state]
                lasted = "" if row.started_at is None else took((row.finished_at or self.as_of) - row.started_at)
                found.append((f"{short(id)} {word:<6} {clean(row.task)}  {lasted}", role))
        more = seen.running - len(seen.runs[:HELD])
        if more > 0:
            found.append((f"and {more:,} more: enter shows them", ""))
        return found if len(found) > 1 else [(title, "title"), ("nothing", "dim")]

    def _wrong(self) -> list[Cell]:
        if not self.faults:
            return []
        told_ = [(clean(line), "fail") for fault in self.faults for error in fault.errors for line in error.split("\n")]
        return [("", ""), ("modules that fail: their tasks are not served", "title"), *told_]

    # --- what keys do -------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        self.zoom(True)

    def do_open(self) -> None:
        if self.window.cursor is not None:
            self.desk.open_filtered(f"worker:{quoted(self.window.cursor)}")

    def do_output(self) -> None:
        """Output of the runs that it holds, or held last."""
        mate = self.listing.rows.get(self.window.cursor or "")
        if mate is not None and mate.seen.runs:
            self.desk.open_logs_of(mate.seen.runs, mate.seen.worker)
        elif mate is not None:
            self.say(f"{clean(mate.seen.worker)} holds no run: there is no output of it just now")

    def do_rest(self) -> None:
        """Drain what is chosen, or resume it where all of it drains."""
        chosen = [name for name in self.window.chosen() if name in self.listing.rows]
        states = {name: self.listing.rows[name].state for name in chosen}
        if chosen and all(state == "LOST" for state in states.values()):
            self.say(f"{clean(chosen[0])} is lost: nobody is there to be told", "warn")
            return
        drains = any(state == "ok" for state in states.values())
        fit = tuple(name for name, state in states.items() if state == ("ok" if drains else "DRAIN"))
        hidden = self.window.hidden() if self.window.marks else 0
        verb = Verb.REST if drains else Verb.WORK
        self.propose(Plan(verb=verb, targets=fit, hidden=hidden, passed=len(chosen) - len(fit), what="worker"))

    def do_stop_worker(self) -> None:
        """Stop the worker under the cursor; one at a time, by its name."""
        chosen = self.window.chosen()
        if len(chosen) > 1:
            self.say(f"{len(chosen)} are marked: one worker is stopped at a time, as its name is typed", "warn")
            return
        mate = self.listing.rows.get(chosen[0]) if chosen else None
        if mate is None:
            return
        if mate.lost_at is not None:
            self.say(f"{clean(mate.seen.worker)} is lost: nobody is there to be told", "warn")
            return
        name = mate.seen.worker
        self.propose(Plan(verb=Verb.STOP, targets=(name,), before={name: mate.seen.running}, what="worker"))


def _standing(mate: Mate, now: Instant) -> list[Cell]:
    """In the pane: how it stands, and what that means."""
    seen = mate.seen
    if mate.lost_at is not None:
        ago = age(now - seen.at)
        return [
            (f"LOST, heard {ago} ago", "dead"),
            (f"held {plural(seen.running, 'run')}: others go on with them, behind their last checkpoints", ""),
        ]
    if seen.draining:
        return [("DRAIN", "warn"), (f"{plural(seen.running, 'run')} to end; it takes up nothing. Z resumes it", "")]
    return [("ok", "title")]


def _texts(mate: Mate) -> tuple[str, ...]:
    seen = mate.seen
    return mate.state, seen.host, seen.version, *seen.queues, *seen.tasks
