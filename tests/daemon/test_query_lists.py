"""What the history alone knows, asked of a real file: orders, filters, counts, groups, metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from histories import T0, Stored, Teller, random_history, records, run_id
from holdfast.core.entries import (
    AttemptFailed,
    AttemptStarted,
    Entry,
    RunCancelled,
    RunCompleted,
    RunDead,
    RunRetried,
    StepCompleted,
)
from holdfast.core.lifecycle import apply
from holdfast.core.model import ErrorInfo, Run, State
from holdfast.filters import read, runs_query
from holdfast.wire import api
from holdfast.wire.api import LettersQuery, MetricsQuery, RunsOrder, RunsQuery
from holdfast.wire.subjects import Stream
from holdfast_daemon.gauges import Gauges
from holdfast_daemon.ledger import Change
from holdfast_daemon.projection.rows import journal_rows
from holdfast_daemon.projection.store import Batch, Cursor, Store, Unavailable
from holdfast_daemon.query.lists import Lists
from holdfast_daemon.query.recent import Recent
from holdfast_daemon.query.sql import Statement
from holdfast_tui.reading import Page, Reader

TELL = Teller()
A, B, C, D = (run_id(number) for number in range(1, 5))


class History:
    """A file and the lists that it answers."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = T0 + 3600
        self.lists = Lists(store, self._fresh, lambda: self.now)
        self.gauges = Gauges()
        self._folded: dict[str, Run] = {}
        self._seq = 0

    async def _fresh(self) -> None:
        pass

    def hold(self, *messages: Stored, at: Callable[[int], float] = lambda seq: T0 + seq) -> None:
        """Project these messages too, stored at these times."""
        changes = []
        for run, record in records(list(messages), TELL.subjects):
            one = record._replace(seq=self._seq + record.seq)
            before, after = self._folded.get(run), apply(self._folded.get(run), one)
            if after is not None:
                self._folded[run] = after
                changes.append(Change(run, one, at(one.seq), before, after))
        before_all, self._seq = self._seq, self._seq + len(messages)
        self.gauges.take(changes)
        self.store.apply(Batch(Stream.JOURNAL, before_all, Cursor(self._seq, T0 + self._seq), journal_rows(changes)))

    async def ids(self, query: RunsQuery) -> list[str]:
        page = await self.lists.runs(query)
        assert page.total == len(page.runs)
        return [row.id for row in page.runs]


@pytest.fixture
async def past(tmp_path: Path) -> AsyncIterator[History]:
    store = Store.open(tmp_path / "h.duckdb")
    yield History(store)
    store.close()


def told(run: str, *entries: Entry) -> Stored:
    return TELL.log(run, "n1", *entries)


def begun(at: float, worker: str = "w1", attempt: int = 1) -> AttemptStarted:
    return AttemptStarted(at, attempt, worker, "n1")


def lasting(run: str, start: float, took: float) -> Stored:
    return told(run, begun(start), RunCompleted(start + took, b""))


def dead(run: str, at: float, type: str = "shop.Gone", message: str = "HTTP 410") -> Stored:
    return told(run, begun(at - 1), RunDead(at, ErrorInfo(type, message), "attempts used up"))


# --- orders ---------------------------------------------------------------------------------------------------------


async def test_pages_of_every_order_hold_each_run_once_with_those_without_a_value_last(past: History) -> None:
    past.hold(*random_history(7, 40, TELL))
    past.hold(*_same(20))
    for order in RunsOrder:
        for descending in (True, False):
            await _paged(past, order, descending)


async def test_the_desk_reads_every_order_backwards_from_its_end(past: History) -> None:
    past.hold(*random_history(7, 40, TELL))
    past.hold(*_same(20))

    async def ask(query: RunsQuery) -> Page[api.RunRow]:
        page = await past.lists.runs(query)
        return Page(page.runs, page.total, page.more)

    reader = Reader[api.RunRow](ask, lambda row: row.id)
    for order in RunsOrder:
        for descending in (True, False):
            query = RunsQuery(order=order, descending=descending)
            found: list[api.RunRow] = []
            more = True
            while more:
                page = await reader.before(query, found[0] if found else None, limit=9)
                found, more = [*page.rows, *found], page.more
            whole = await past.lists.runs(msgspec.structs.replace(query, limit=1000))
            assert [row.id for row in found] == [row.id for row in whole.runs], (order, descending)


async def _paged(past: History, order: RunsOrder, descending: bool) -> None:
    whole = await past.lists.runs(RunsQuery(order=order, descending=descending, limit=1000))
    known = [row for row in whole.runs if row.ordered(order) is not None]
    keys = [(row.ordered(order), row.id) for row in known]
    assert keys == sorted(keys, reverse=descending)
    rest = [row.id for row in whole.runs[len(known) :]]
    assert rest == sorted(rest, reverse=descending)
    assert len({row.id for row in whole.runs}) == len(whole.runs) == whole.total > 50
    found: list[str] = []
    query = RunsQuery(order=order, descending=descending, limit=9)
    while True:
        page = await past.lists.runs(query)
        found += [row.id for row in page.runs]
        if not page.more:
            break
        query = query.behind(page.runs[-1])
    assert found == [row.id for row in whole.runs]


def _same(count: int) -> list[Stored]:
    """Runs that share everything by which runs are ordered, but their ids."""
    ids = [run_id(900 + number) for number in range(count)]
    return [message for id in ids for message in (TELL.created(id, at=T0 + 900), lasting(id, T0 + 901, 1.5))]


async def test_the_longest_are_those_that_have_ended_and_a_key_is_exact_to_the_microsecond(past: History) -> None:
    for number, took in enumerate((0.000001, 0.000002, 0.000003)):
        run = run_id(number)
        past.hold(TELL.created(run), lasting(run, T0 + 100 + number, took))
    past.hold(TELL.created(run_id(8)), told(run_id(8), begun(T0 + 1)))
    query = RunsQuery(order=RunsOrder.TOOK, limit=1)
    seen = []
    while (page := await past.lists.runs(query)).more:
        seen.append(page.runs[0].took)
        query = query.behind(page.runs[0])
    assert seen == [0.000003, 0.000002, 0.000001]
    assert page.runs[0].id == run_id(8)


async def test_letters_are_ordered_by_death_creation_or_attempts(past: History) -> None:
    past.hold(TELL.created(A), TELL.created(B), TELL.created(C))
    retried = AttemptFailed(T0 + 11, ErrorInfo("x", "y"), T0 + 12)
    past.hold(told(A, begun(T0 + 10), retried), TELL.offered(A))
    past.hold(told(A, begun(T0 + 29, attempt=2), RunDead(T0 + 30, ErrorInfo("x", "y"), "")))
    past.hold(dead(B, T0 + 50), dead(C, T0 + 40))

    async def order(by: RunsOrder, descending: bool = True) -> list[str]:
        query, found = LettersQuery(order=by, descending=descending, limit=1), []
        while True:
            page = await past.lists.letters(query)
            found += [letter.run for letter in page.letters]
            if not page.more:
                return found
            query = query.behind(page.letters[-1])

    assert await order(RunsOrder.ENDED) == [B, C, A]
    assert await order(RunsOrder.ENDED, False) == [A, C, B]
    assert await order(RunsOrder.CREATED) == [C, B, A]
    assert await order(RunsOrder.ATTEMPTS) == [A, C, B]
    assert await order(RunsOrder.ATTEMPTS, False) == [B, C, A]


# --- filters --------------------------------------------------------------------------------------------------------


FOUND = [
    (RunsQuery(tasks=("charge_*",)), [B, A]),
    (RunsQuery(tasks=("charge_card", "ship*")), [C, A]),
    (RunsQuery(tasks=("chargeX*",)), []),
    (RunsQuery(queue="e*s"), [C, A]),
    (RunsQuery(queues=("emails", "bulk")), [B, A]),
    (RunsQuery(queue="*", queues=("bulk",)), [B]),
    (RunsQuery(worker="w-*"), [B]),
    (RunsQuery(errors=("HTTP 410", "nothing such")), [A]),
    (RunsQuery(errors=("gone", "BROKEN")), [B, A]),
    (RunsQuery(error_type="shop.Gone"), [A]),
    (RunsQuery(error_type="shop"), []),
    (RunsQuery(pattern="HTTP * from host-*"), [A]),
    (RunsQuery(without=("410",)), [C, B]),
    (RunsQuery(without=("410", "ship")), [B]),
    (RunsQuery(attempts_least=2), [B]),
    (RunsQuery(took_least=5.0), [B, A]),
    (RunsQuery(took_least=5.0, took_most=100.0), [A]),
    (RunsQuery(took_most=4.9), []),
    (RunsQuery(priority=3), [C]),
    (RunsQuery(schedule="nightly"), [C, B]),
    (RunsQuery(schedule="night"), []),
    (RunsQuery(schedule="ni*"), [C, B]),
    (RunsQuery(source="schedule"), [C, B]),
    (RunsQuery(source="*hand"), [B]),
    (RunsQuery(source="event"), [A]),
    (RunsQuery(keys=(A.lower(), C, run_id(99))), [C, A]),
    (RunsQuery(words=("charge", "410")), [A]),
    (RunsQuery(words=("CHARGE", "ship")), []),
    (RunsQuery(words=("shop.",)), [B, A]),
]
"""Queries and what they find of the same runs."""

READ = [
    ("state:dead,retry task:charge_*", [A]),
    ("state:run queue:b*,emails", [B]),
    ("-state:dead charge", [B]),
    ('error:"HTTP 410" gone', [A]),
    ("tries:>1", [B]),
    ("took:>5s took:<1m", [A]),
    ("-410 -ship", [B]),
    (f"id:{A},{B}", [B, A]),
    (f"id:{C[-6:]}", [C]),
    ("schedule:nightly prio:3", [C]),
    ("source:event", [A]),
    ('type:shop.Gone pattern:"HTTP * from host-*"', [A]),
    ("last:30m", []),
    ("since:2h", [C, B, A]),
]
"""Filters as people write them, and what they find of these."""


async def test_a_query_finds_what_it_means(past: History) -> None:
    past.hold(TELL.created(A, task="charge_card", queue="emails", source="event orders.paid"))
    past.hold(told(A, begun(T0 + 5, "a-1"), RunDead(T0 + 10, ErrorInfo("shop.Gone", "HTTP 410 from host-7"), "")))
    past.hold(TELL.created(B, task="charge_all", queue="bulk", source="schedule nightly by hand"))
    past.hold(told(B, begun(T0 + 5), AttemptFailed(T0 + 6, ErrorInfo("shop.Broken", "x"), T0 + 7)), TELL.offered(B))
    past.hold(told(B, begun(T0 + 8, "w-2", 2)))
    past.hold(TELL.created(C, task="ship", queue="etls", source="schedule nightly", priority=3))
    found = [(query, await past.ids(query)) for query, _ in FOUND]
    assert found == FOUND
    shown = [(text, await past.ids(runs_query(read(text), past.now))) for text, _ in READ]
    assert shown == READ


async def test_stars_stand_for_anything_and_nothing_else_does(past: History) -> None:
    for number, name in enumerate(("a_b", "axb", "a%b", "a\\b")):
        past.hold(TELL.created(run_id(number), task="t", queue="q", source=name))
    for number, name in enumerate(("a_b", "axb", "a%b", "a\\b")):
        assert await past.ids(RunsQuery(source=f"{name}*")) == [run_id(number)]


LETTERS = [
    (LettersQuery(since=T0 + 20), [C, B]),
    (LettersQuery(until=T0 + 20), [A]),
    (LettersQuery(queues=("mail",)), [C]),
    (LettersQuery(error_type="shop.Gone", pattern="HTTP *"), [B, A]),
    (LettersQuery(errors=("410", "timeout")), [C, A]),
    (LettersQuery(error="shop.g"), [B, A]),
    (LettersQuery(error="shop.g", errors=("410",)), [A]),
    (LettersQuery(text="TIMEOUT"), [C]),
    (LettersQuery(without=("404",)), [C, A]),
    (LettersQuery(keys=(B,)), [B]),
    (LettersQuery(attempts_least=2), []),
]
"""Queries and whose letters they find."""


async def test_letters_are_found_by_what_their_query_means(past: History) -> None:
    past.hold(TELL.created(A), TELL.created(B), TELL.created(C, queue="mail"), TELL.created(D))
    past.hold(dead(A, T0 + 10), dead(B, T0 + 20, message="HTTP 404"), dead(C, T0 + 30, "shop.Slow", "timeout"))
    pages = [(query, await past.lists.letters(query)) for query, _ in LETTERS]
    assert [(query, [letter.run for letter in page.letters]) for query, page in pages] == LETTERS
    assert [page.total for _, page in pages] == [len(expected) for _, expected in LETTERS]


# --- counts and groups ----------------------------------------------------------------------------------------------


async def test_runs_are_counted_by_state_whatever_page_is_asked_for(past: History) -> None:
    past.hold(*[TELL.created(run) for run in (A, B, C, D)], dead(A, T0 + 9), dead(B, T0 + 9), told(C, begun(T0 + 5)))
    counts = await past.lists.counts(RunsQuery(limit=1, before=(T0, A), order=RunsOrder.TOOK))
    assert counts == api.RunsCounts({State.DEAD: 2, State.QUEUED: 1, State.RUNNING: 1}, 4)
    assert await past.lists.counts(RunsQuery(errors=("410",))) == api.RunsCounts({State.DEAD: 2}, 2)
    assert await past.lists.counts(RunsQuery(queue="none")) == api.RunsCounts({}, 0)


async def test_letters_of_one_error_are_one_group_whatever_varies_in_them(past: History) -> None:
    runs = [run_id(number) for number in range(6)]
    for number, run in enumerate(runs):
        past.hold(TELL.created(run, task=f"t{number % 2}", queue="mail" if number == 5 else "default"))
    for number, run in enumerate(runs[:4]):
        past.hold(dead(run, T0 + 10 + number, message=f"HTTP 410 for order '{number}'"))
    past.hold(dead(runs[4], T0 + 20, message=""), dead(runs[5], T0 + 30, "shop.Slow", "timeout after 5 s"))
    found = await past.lists.groups(LettersQuery())
    assert (found.total, found.kinds) == (6, 3)
    assert found.groups[0] == api.LetterGroup(
        error_type="shop.Gone",
        pattern="HTTP * for order *",
        count=4,
        first_at=T0 + 10,
        last_at=T0 + 13,
        tasks=("t0", "t1"),
        queues=("default",),
        example=runs[3],
    )
    assert [(group.error_type, group.pattern, group.count) for group in found.groups[1:]] == [
        ("shop.Gone", "(no message)", 1),
        ("shop.Slow", "timeout after * s", 1),
    ]
    for group in found.groups:  # each leads to its letters
        query = LettersQuery(error_type=group.error_type, pattern=group.pattern)
        assert (await past.lists.letters(query)).total == group.count
    assert (await past.lists.groups(LettersQuery(queue="mail"))).total == 1
    past.hold(told(runs[5], RunRetried(T0 + 40)))
    assert (await past.lists.groups(LettersQuery())).kinds == 2
    assert await past.lists.groups(LettersQuery(queue="none")) == api.LetterGroups((), 0, 0)


async def test_a_run_that_died_of_no_error_is_grouped_by_why_it_did(past: History) -> None:
    past.hold(TELL.created(A), told(A, RunDead(T0 + 9, ErrorInfo("", "held by 3 workers that were lost"), "lost")))
    (group,) = (await past.lists.groups(LettersQuery())).groups
    assert (group.error_type, group.pattern) == ("", "held by * workers that were lost")


async def test_the_largest_200_groups_are_given_and_all_of_them_counted(past: History) -> None:
    runs = [run_id(number) for number in range(203)]
    past.hold(*[TELL.created(run, task=f"t{number}") for number, run in enumerate(runs)])
    past.hold(*[dead(run, T0 + 300, f"shop.E{min(number, 201)}", "x") for number, run in enumerate(runs)])
    found = await past.lists.groups(LettersQuery())
    assert (len(found.groups), found.kinds, found.total) == (200, 202, 203)
    assert (found.groups[0].error_type, found.groups[0].count) == ("shop.E201", 2)


async def test_a_group_names_twenty_of_its_tasks_at_most(past: History) -> None:
    runs = [run_id(number) for number in range(30)]
    past.hold(*[TELL.created(run, task=f"t{number:02}") for number, run in enumerate(runs)])
    past.hold(*[dead(run, T0 + 40) for run in runs])
    (group,) = (await past.lists.groups(LettersQuery())).groups
    assert group.tasks == tuple(f"t{number:02}" for number in range(20))


# --- metrics --------------------------------------------------------------------------------------------------------


async def test_what_was_done_is_counted_in_buckets_and_what_stood_at_their_ends(past: History) -> None:
    early, failed, gone = run_id(0, T0 - 5), run_id(12), run_id(13)
    past.hold(TELL.created(early), TELL.created(A, at=T0 + 1), TELL.created(B, at=T0 + 2, queue="mail"))
    past.hold(TELL.created(failed, at=T0 + 12), TELL.created(gone, at=T0 + 13))
    past.hold(lasting(A, T0 + 3, 4.0), lasting(B, T0 + 11, 7.5), lasting(early, T0 + 4, 20.0))
    past.hold(told(failed, begun(T0 + 14), RunDead(T0 + 15, ErrorInfo("x", "y"), "")))
    past.hold(told(gone, RunCancelled(T0 + 25)))
    found = await past.lists.metrics(MetricsQuery(since=T0, until=T0 + 30, step=10.0))
    assert found == api.Metrics(
        at=(T0, T0 + 10, T0 + 20),
        step=10.0,
        created=(2, 2, 0),
        started=(2, 2, 0),
        ended=(1, 2, 2),
        failed=(0, 1, 0),
        waiting=(1, 1, 0),
        running=(1, 1, 0),
        p50=(4.0, 1.0, 20.0),
        p95=(4.0, 7.5, 20.0),
        worst=(("default", 20.0), ("mail", 7.5)),
    )
    mail = await past.lists.metrics(MetricsQuery(since=T0, until=T0 + 30, step=10.0, queue="m*l"))
    assert (mail.created, mail.waiting, mail.worst) == ((1, 0, 0), (1, 0, 0), (("mail", 7.5),))
    none = await past.lists.metrics(MetricsQuery(since=T0, until=T0 + 30, step=10.0, task="none"))
    assert (none.created, none.p50, none.worst) == ((0,) * 3, (None,) * 3, ())


async def test_buckets_begin_exactly_where_they_say_and_the_last_one_ends_with_the_time(past: History) -> None:
    step = 0.1
    for number in range(7):
        past.hold(TELL.created(run_id(number), at=T0 + number * step))
    found = await past.lists.metrics(MetricsQuery(since=T0, until=T0 + 0.55, step=step))
    assert found.created == (1,) * 6
    assert found.waiting == (1, 2, 3, 4, 5, 6)
    assert [round(later - earlier, 6) for earlier, later in pairwise(found.at)] == [step] * 5


async def test_a_delayed_run_waits_from_when_it_is_due(past: History) -> None:
    due, later = run_id(1), run_id(2)
    past.hold(TELL.delayed(due, T0 + 15, at=T0 + 1), TELL.delayed(later, T0 + 500, at=T0 + 2))
    past.hold(TELL.created(run_id(3), at=T0 + 3))
    found = await past.lists.metrics(MetricsQuery(since=T0, until=T0 + 30, step=10.0))
    assert found.created == (3, 0, 0)
    assert found.waiting == (_ready(past, T0 + 10), _ready(past, T0 + 20), _ready(past, T0 + 30))
    past.hold(TELL.offered(due), lasting(due, T0 + 22, 1.0))
    found = await past.lists.metrics(MetricsQuery(since=T0 + 10, until=T0 + 30, step=10.0))
    assert found.waiting == (_ready(past, T0 + 20), _ready(past, T0 + 30))


def _ready(past: History, at: float) -> int:
    """How many runs are ready and have not started by then, told from their folds."""
    return sum(
        max(run.created_at, run.scheduled_at) < at and (run.started_at is None or run.started_at >= at)
        for run in past._folded.values()
    )


async def test_what_stood_before_the_time_is_where_it_begins_and_a_retried_run_has_not_ended(past: History) -> None:
    past.hold(TELL.created(A), TELL.created(B), told(A, begun(T0 + 2)), dead(B, T0 + 12))
    query = MetricsQuery(since=T0 + 10, until=T0 + 20, step=10.0)
    found = await past.lists.metrics(query)
    assert (found.waiting, found.running, found.ended) == ((0,), (1,), (1,))
    past.hold(told(B, RunRetried(T0 + 15)))
    found = await past.lists.metrics(query)
    assert (found.running, found.ended, found.failed) == ((2,), (0,), (0,))


@pytest.mark.parametrize("seed", range(3))
async def test_metrics_agree_with_what_the_runs_say_of_themselves(past: History, seed: int) -> None:
    past.hold(*random_history(seed, 40, TELL))
    runs = list(past._folded.values())
    since, until = min(run.created_at for run in runs) + 7, max(run.created_at for run in runs) + 5
    found = await past.lists.metrics(MetricsQuery(since=since, until=until, step=3.0))

    def counted(times: list[float | None]) -> tuple[int, ...]:
        ends = [min(at + 3.0, until) for at in found.at]
        return tuple(
            sum(at is not None and begin <= at < end for at in times) for begin, end in zip(found.at, ends, strict=True)
        )

    assert found.created == counted([run.created_at for run in runs])
    assert found.started == counted([run.started_at for run in runs])
    assert found.ended == counted([run.finished_at for run in runs])
    bad = (State.DEAD, State.FAILED, State.TIMED_OUT)
    assert found.failed == counted([run.finished_at for run in runs if run.state in bad])


# --- what queues were ------------------------------------------------------------------------------------------------


async def test_queues_tell_their_depth_by_the_minute_and_the_errors_of_the_last_hour(past: History) -> None:
    now = T0 - T0 % 60 + 3600.0
    runs = [run_id(number, now - 200) for number in range(8)]
    for number, run in enumerate(runs):
        past.hold(TELL.created(run, at=now - 200 + 60 * (number % 3)), at=lambda _: now - 200)
    trace = '  File "/srv/resize.py", line 88, in f\n'
    for number, run in enumerate(runs[:4]):
        error = ErrorInfo("shop.Timeout", "after 5 s", trace) if number < 3 else ErrorInfo("OSError", "disk 28 full")
        past.hold(told(run, begun(now - 30), RunDead(now - 29, error, "")), at=lambda _: now - 29)
    asked: list[Statement] = []

    async def ask(statement: Statement) -> list[tuple[object, ...]]:
        asked.append(statement)
        return await past.store.query(*statement)

    recent = Recent(ask)
    (row,) = (await recent.add(past.gauges.queues(now))).queues
    assert row.depths == (0,) * 26 + (3, 6, 8, 4)
    assert row.errors == ((3, "shop.Timeout", "resize.py:88"), (1, "OSError", "disk * full"))
    assert await recent.add(past.gauges.queues(now + 4)) != past.gauges.queues(now + 4)
    assert len(asked) == 2  # of both answers, for a while
    await recent.add(past.gauges.queues(now + 6))
    assert len(asked) == 3
    (row,) = (await recent.add(past.gauges.queues(now + 3700))).queues
    assert (row.depths, row.errors) == ((4,) * 30, ())


async def test_queues_are_told_without_their_past_where_the_history_cannot_say(past: History) -> None:
    past.hold(TELL.created(A))

    async def ask(statement: Statement) -> list[tuple[object, ...]]:
        raise Unavailable("the disk is full")

    assert await Recent(ask).add(past.gauges.queues(T0)) == past.gauges.queues(T0)


async def test_a_run_with_steps_is_found_by_how_many_it_has(past: History) -> None:
    past.hold(TELL.created(A), TELL.created(B))
    past.hold(told(A, begun(T0 + 5), *[StepCompleted(f"/s#{n}", T0 + 6, 1.0, b"") for n in range(3)]), TELL.offered(B))
    assert await past.ids(RunsQuery(order=RunsOrder.STEPS)) == [A, B]
