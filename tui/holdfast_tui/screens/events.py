"""Screen 9: the event stream: what came from outside, and what it became: runs, a dead letter, or nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial

from msgspec.structs import replace

from holdfast.abreast import abreast
from holdfast.core.model import Instant
from holdfast.errors import HoldfastError
from holdfast.wire.events import EventRow, EventsQuery
from holdfast_tui import keys
from holdfast_tui.filter import RUNS as OF_RUNS
from holdfast_tui.filter import Field, Grammar, Kind
from holdfast_tui.format import STATES, Cell, clean, moment, plural, short, size
from holdfast_tui.gateway import Lost
from holdfast_tui.model import span
from holdfast_tui.model.becoming import Becoming
from holdfast_tui.model.event import data_told, headers_told, preview
from holdfast_tui.model.window import Follow, Listing
from holdfast_tui.plan import Plan, Verb
from holdfast_tui.router import Mode
from holdfast_tui.screens.dated import Dated
from holdfast_tui.screens.page import marked, told
from holdfast_tui.widgets.table import Column

HEAD = 100
"""Events of a page."""

MOST = 2000
"""Bytes of each that a page holds; all of it is read of the one under the cursor."""

AT_ONCE = 8
"""Events that are asked about at a time."""

DRY = 200
"""Events that can be routed again at once: it is asked of each what that would do."""

PAGES = ("data", "headers", "runs")

GRAMMAR: Grammar = {
    "subject": Field(
        Kind.NAMES, "a subject, with * for a word and > for the rest: subject:orders.*", leaves_out=False, once=True
    ),
    "last": OF_RUNS["last"],
}


class Events(Dated):
    MOST_ORDERED = 2_000
    kind = keys.EVENTS
    row_type, noun = EventRow, "event"
    columns = (
        Column("TIME", 8, letter="t", down=True, value=lambda event: event.seq),
        Column("SEQ", 7, right=True, spare=2),
        Column("SUBJECT", 20, letter="s", value=lambda event: event.name),
        Column("BYTES", 5, right=True, letter="b", down=True, value=lambda event: event.size),
        Column("BECAME", 22),
        Column("DATA", 10, flex=True),
    )

    def __init__(self) -> None:
        self.listing = Listing[EventRow](lambda event: str(event.seq), lambda event: -event.seq)
        self.becoming = Becoming()
        self.answered = False
        self.whole: dict[int, EventRow] = {}
        """The event under the cursor, whole, where the page has a part of it."""
        self.page = 0
        self._before: int | None = None
        """Where the next older page begins."""
        self._begin = True
        super().__init__(span.LISTED[1])
        self.window.follow = Follow.FIRST

    def asking(self, now: Instant) -> EventsQuery:
        given = self.given()
        subject = next(iter(given.values("subject")), "")
        since = span.since(self.span, now, given)
        return EventsQuery(subject=subject, since=since, limit=HEAD, most=MOST)

    async def read(self) -> None:
        generation, query = self._generation, self.asking(self.now)
        head = await self.desk.gateway.published(query)
        if generation != self._generation:
            return
        self.answered = True
        known = self.listing.rows
        joined = not head.more or any(str(event.seq) in known for event in head.events)
        follows = self.window.follow is Follow.FIRST
        if self._begin or not known or (follows and not joined):
            self._begin, self.more, self._before = False, head.more, head.before
            self.listing.take(head.events)
        elif joined:
            self.listing.take(head.events, hold=self.held and not follows, gone=self.outdated(query.since))
        else:
            self.listing.waiting = HEAD
        self.arrange_rows()
        await self.read_older(query, generation)
        await self._read_cursor()
        await self._ask_runs()

    async def older(self, query: EventsQuery) -> tuple[Sequence[EventRow], bool]:
        page = await self.desk.gateway.published(replace(query, before=self._before))
        self._before = page.before
        return page.events, page.more

    async def _read_cursor(self) -> None:
        event = self.listing.rows.get(self.window.cursor or "")
        if event is None or event.size <= len(event.data) or event.seq in self.whole:
            return
        found = await self.desk.gateway.event(event.seq)
        self.whole = {} if found is None else {event.seq: found}

    async def _ask_runs(self) -> None:
        """What those in view became; the list does without where nobody can say."""
        shown = [self.listing.rows[key] for key in self.window.shown()]
        due = self.becoming.due([(event.seq, event.at) for event in shown], self.now)
        try:
            await abreast((partial(self._ask, seq) for seq in due), AT_ONCE)
        except Lost:
            raise
        except HoldfastError as error:
            self.say(f"what events became is not known: {error}", "warn")

    async def _ask(self, seq: int) -> None:
        self.becoming.take(seq, await self.desk.gateway.event_runs(seq), self.now)

    def arrange_rows(self) -> None:
        given = self.given()
        if given.words or given.without:
            shown = [key for key, event in self.listing.rows.items() if given.matches(*self._texts(event))]
        else:
            shown = list(self.listing.rows)
        self.window.sync(shown)

    @property
    def grammar(self) -> Grammar:
        return GRAMMAR

    async def pages(self) -> AsyncIterator[Sequence[EventRow]]:
        """All that match, with all of their data."""
        given, query = self.given(), replace(self.asking(self.now), most=1 << 30)
        while True:
            page = await self.desk.gateway.published(query)
            yield [event for event in page.events if given.matches(*self._texts(event))]
            if not page.more:
                return
            query = replace(query, before=page.before)

    async def rows(self, keys: Sequence[str]) -> Sequence[EventRow]:
        found = [await self.desk.gateway.event(int(key)) for key in keys]
        return [event for event in found if event is not None]

    def key(self, row: EventRow) -> str:
        return str(row.seq)

    def failed(self, row: EventRow) -> bool:
        return self.becoming.told(row.seq)[1] == "fail" or self.becoming.told(row.seq)[0].startswith("DEAD")

    def shell(self, key: str) -> str:
        return f"holdfast events show {key}"

    def explained(self) -> str:
        event = self.listing.rows.get(self.window.cursor or "")
        return "" if event is None else "  ".join(text.strip() for text, _ in self._runs(event))

    def _texts(self, event: EventRow) -> tuple[str, ...]:
        return event.name, preview(event), self.becoming.told(event.seq)[0], *event.headers, *event.headers.values()

    def narrowed(self) -> None:
        self._generation += 1
        self._begin = True
        self.arrange_rows()
        self.refresh_data()

    def moved(self, move: object) -> None:
        assert callable(move)
        move()
        self.window.follow = Follow.OFF if self.window.position else self.window.follow
        self.refresh_data()

    def cells(self, key: str, widths: Sequence[int]) -> Sequence[Cell]:
        event = self.listing.rows[key]
        return (
            (moment(event.at, self.as_of), "dim"),
            (str(event.seq), "dim"),
            (event.name, ""),
            (size(event.size), ""),
            self.becoming.told(event.seq),
            (preview(event), "dim"),
        )

    def empty(self) -> Sequence[str]:
        if not self.answered:
            return ["", "  Waiting for the first answer ..."]
        within = "" if self.span.seconds is None else f" in {self.within}"
        if self.filter:
            return ["", f"  No event{within} matches {clean(self.filter)}; esc clears the filter"]
        return [
            "",
            f"  No events{within}.",
            "",
            "  Publish one from a shell; this screen fills by itself:",
            "",
            "     holdfast emit orders.created '{\"id\": 7}'",
        ]

    def scope(self) -> tuple[list[Cell], list[Cell]]:
        parts = [self.told_span()]
        if not self.filter:
            parts.append(("all subjects (/)", ""))
        loaded, shown = len(self.listing.rows), len(self.window)
        parts.append((plural(loaded, "event") if shown == loaded else f"{shown:,} of {plural(loaded, 'event')}", ""))
        if self.more:
            parts.append(("and older ones", "dim"))
        if self.window.follow is Follow.FIRST:
            right: list[Cell] = [("FOLLOW", "title")]
        elif self.listing.waiting:
            many = "many" if self.listing.waiting >= HEAD else str(self.listing.waiting)
            right = [(f"{many} new{' above' if self.newest_first else ''} (g)", "title")]
        else:
            right = self.told_sort()
        return self.unread() + told(self.filter, parts) + marked(self.window), right

    def about(self) -> tuple[str, list[Cell]]:
        event = self.listing.rows.get(self.window.cursor or "")
        if event is None:
            return "", []
        page = PAGES[self.page]
        title = " ".join(f"[{name}]" if name == page else name for name in PAGES) + f" ─ event {event.seq}"
        match page:
            case "headers":
                return title, headers_told(event)
            case "runs":
                return title, self._runs(event)
        return title, data_told(self.whole.get(event.seq, event))

    def _runs(self, event: EventRow) -> list[Cell]:
        found = self.becoming.known.get(event.seq)
        if found is None:
            return [("asking ...", "dim")]
        if not found.runs:
            return [("it started no run: no route wants it", ""), ("R routes it once more, by the routes of today", "")]
        told_: list[Cell] = []
        for run in found.runs:
            word, role = STATES[run.state]
            told_.append((f"{short(run.run)} {word:<6} {clean(run.task)}", role))
            told_.append((f"   by {f'route {clean(run.route)}' if run.route else 'the task itself'}", "dim"))
            if run.unmapped:
                told_.append(("   no arguments could be made of it: a dead letter (4)", "fail"))
        return told_

    # --- what keys do -------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        self.page = (self.page + 1) % len(PAGES)

    def do_first(self) -> None:
        """The newest; from here on new ones come in at the top."""
        self.window.follow = Follow.FIRST
        self.window.to(0)
        self._begin = self._begin or self.listing.waiting > 0
        self.refresh_data()

    def do_follow(self) -> None:
        if self.window.follow is Follow.FIRST:
            self.window.follow = Follow.OFF
            self.say("frozen: new events wait above; f or g follows again")
        else:
            self.do_first()

    def do_mark(self) -> None:
        self.window.follow = Follow.OFF
        super().do_mark()

    def do_open(self) -> None:
        """Show the runs that the event started."""
        event = self.listing.rows.get(self.window.cursor or "")
        found = None if event is None else self.becoming.known.get(event.seq)
        if found is None:
            self.say("what it became is not known yet")
        elif not found.runs:
            self.say("it started no run")
        elif len(found.runs) == 1:
            self.desk.open_run(found.runs[0].run)
        else:
            self.desk.open_filtered("id:" + ",".join(run.run for run in found.runs))

    def do_reroute(self) -> None:
        """Ask what routing the chosen ones once more would do, then whether to."""
        chosen = self.window.chosen()
        if len(chosen) > DRY:
            self.say(f"{len(chosen):,} are marked: expected at most {DRY}; more: holdfast events replay", "warn")
            return
        if chosen:
            hidden = self.window.hidden() if self.window.marks else 0
            self.say(f"asking what routing {plural(len(chosen), 'event')} again would do ...")
            self.begin("dry", self._dry_run, tuple(chosen), hidden)

    async def _dry_run(self, chosen: tuple[str, ...], hidden: int) -> None:
        would = dict.fromkeys(("created", "existed", "unmapped", "unwanted"), 0)
        try:
            for seq in chosen:
                found = await self.desk.gateway.routed(int(seq))
                for name in would:
                    would[name] += getattr(found, name)
        except HoldfastError as error:
            self.say(f"nothing was routed: {error}", "fail")
            self.paint()
            return
        if self.is_current and self.state.mode is Mode.NORMAL:
            self._pressed_at = self.now
            self.propose(Plan(verb=Verb.REROUTE, targets=chosen, hidden=hidden, before=would, what="event"))
        self.paint()
