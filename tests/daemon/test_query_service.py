"""Questions over the bus, answered from history, journal and gauges."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import anyio
import pytest

from histories import ERROR, T0, Stored, Teller, run_id, store
from holdfast.bus import jetstream
from holdfast.bus.blobs import Blobs
from holdfast.bus.memory import MemoryBus
from holdfast.bus.ports import Bus
from holdfast.client import Client
from holdfast.core.admission import Cause, Hold, QueueLimits
from holdfast.core.entries import (
    AttemptResumed,
    AttemptStarted,
    Compensated,
    HookTriggered,
    Progressed,
    RunCancelled,
    RunCompleted,
    RunDead,
    RunRetried,
    StepCompleted,
    StepStarted,
    Suspended,
    WaitStarted,
)
from holdfast.core.model import ErrorInfo, Hook, Origin, Parent, Progress, Run, State
from holdfast.core.pending import Wait
from holdfast.errors import Refused
from holdfast.wire import api, codec
from holdfast.wire.values import encode_value
from holdfast_daemon.gauges import Gauges, Rule
from holdfast_daemon.projection.projector import Projector
from holdfast_daemon.projection.store import Store
from holdfast_daemon.query.service import QueryService
from servers import NatsServer

TELL = Teller()
A, B, C = run_id(1), run_id(2), run_id(3)
_T = TypeVar("_T")


class Desk(NamedTuple):
    """Everything that answers."""

    bus: Bus
    queries: QueryService
    projector: Projector

    async def ask(self, name: str, query: object, type: type[_T]) -> _T:
        return api.decode(await self.bus.request(self.bus.subjects.api(name), codec.encode(query)), type)


class Slow:
    """A queue with a limit, that holds everything back."""

    def rules_of(self) -> dict[str, Rule]:
        return {"slow": Rule(QueueLimits(concurrency=3), Hold(Cause.QUEUE, 3)), "idle": Rule(hold=Hold(Cause.PAUSED))}

    def why(self, run: Run) -> Hold | None:
        return Hold(Cause.QUEUE, 3) if run.queue == "slow" else None


@asynccontextmanager
async def answering(bus: Bus, path: Path) -> AsyncIterator[Desk]:
    opened = Store.open(path)
    gauges = Gauges()
    projector = Projector(bus, opened, [gauges])
    queries = QueryService(bus, opened, projector, gauges, version="1.2", admissions=Slow(), clock=lambda: T0)
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(projector.run)
            await tasks.start(queries.run)
            yield Desk(bus, queries, projector)
            tasks.cancel_scope.cancel()
    finally:
        opened.close()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """In a task of its own, as a fixture begins and ends in different ones."""
    ready: asyncio.Future[Desk] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def hold() -> None:
        async with answering(MemoryBus("shop"), tmp_path / "h.duckdb") as found:
            ready.set_result(found)
            await over.wait()

    holding = asyncio.create_task(hold())
    yield await ready
    over.set()
    await holding


def started(run: str, worker: str = "w1") -> Stored:
    return TELL.log(run, "n1", AttemptStarted(T0 + 5, 1, worker, "n1"))


def dead(run: str, at: float = T0 + 9, error: ErrorInfo = ERROR) -> Stored:
    return TELL.log(run, "n1", RunDead(at, error, "attempts used up"))


async def test_pages_follow_each_other_without_gap_or_overlap(desk: Desk) -> None:
    runs = [run_id(number) for number in range(25)]
    same = [TELL.created(run, at=T0 + number // 4) for number, run in enumerate(runs)]
    await store(desk.bus, *same)
    seen: list[str] = []
    query = api.RunsQuery(limit=7)
    while True:
        page = await desk.ask(api.RUNS_LIST, query, api.RunsPage)
        seen += [row.id for row in page.runs]
        assert page.total == 25
        if not page.more:
            break
        query = api.RunsQuery(limit=7, before=(page.runs[-1].created_at, page.runs[-1].id))
    assert seen == runs[::-1]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (api.RunsQuery(states=(State.DEAD,)), [B]),
        (api.RunsQuery(states=(State.DEAD, State.RUNNING)), [B, A]),
        (api.RunsQuery(tasks=("pack",)), [C]),
        (api.RunsQuery(queue="mail"), [C]),
        (api.RunsQuery(tag="eu"), [A]),
        (api.RunsQuery(worker="w2"), [B]),
        (api.RunsQuery(text="NO MORE"), [B]),
        (api.RunsQuery(text=A[-3:].lower()), [A]),
        (api.RunsQuery(text="PaC"), [C]),
        (api.RunsQuery(since=T0 + 2, until=T0 + 3), [B]),
        (api.RunsQuery(), [C, B, A]),
    ],
)
async def test_a_query_finds_what_it_means(desk: Desk, query: api.RunsQuery, expected: list[str]) -> None:
    await store(desk.bus, TELL.created(A, tags=("eu",)), TELL.created(B), TELL.created(C, task="pack", queue="mail"))
    await store(desk.bus, started(A), started(B, "w2"), dead(B))
    page = await desk.queries.runs(query)
    assert [row.id for row in page.runs] == expected
    assert page.total == len(expected)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (api.RunsQuery(paused=True), [B]),
        (api.RunsQuery(origin=C.lower()), [A]),
        (api.RunsQuery(code="c1"), [B]),
        (api.RunsQuery(waits="token t-7"), [B]),
        (api.RunsQuery(deadline=T0 + 60), [A]),
        (api.RunsQuery(deadline=T0 + 59), []),
        (api.RunsQuery(paused=True, states=(State.RUNNING,)), []),
    ],
)
async def test_an_operator_finds_what_is_paused_forked_due_or_waiting(
    desk: Desk, query: api.RunsQuery, expected: list[str]
) -> None:
    await store(desk.bus, TELL.created(A, deadline=T0 + 60, origin=Origin(C, "fork", "/a#1")), TELL.created(B))
    claim = AttemptStarted(T0 + 5, 1, "w1", "n1", code="c1d2")
    pause = Suspended(T0 + 6, ("T-7", "pause:/pay#1"), None, "its outcome is not known")
    await store(desk.bus, TELL.log(B, "n1", claim, pause), TELL.created(C))
    assert [row.id for row in (await desk.queries.runs(query)).runs] == expected


async def test_a_paused_run_is_shown_with_what_it_waits_for_and_asks(desk: Desk) -> None:
    created = TELL.created(
        A, metadata={"who": encode_value("ann")}, origin=Origin(B, "replay"), deadline=T0 + 60, expires=T0 + 30
    )
    told = (
        AttemptStarted(T0 + 5, 1, "w1", "n1", code="c1"),
        Progressed(T0 + 5, 3, 10, "resizing"),
        WaitStarted("/await#1", T0 + 6, "T-7", "token", T0 + 50),
        WaitStarted("/event#1", T0 + 6, "/event#1", "event", None, "orders.*", codec.encode({"id": 7})),
        StepStarted("/pay#1", T0 + 6, once=True),
        Suspended(T0 + 7, ("T-7", "/event#1", "pause:/pay#1"), T0 + 50, "its outcome is not known"),
    )
    await store(desk.bus, created, TELL.log(A, "n1", *told))
    view = await desk.ask(api.RUNS_GET, api.RunRef(A), api.RunView)
    assert view.waits == (
        Wait("token", "/await#1", "T-7", T0 + 50),
        Wait("event", "/event#1", "/event#1", None, "orders.*", codec.encode({"id": 7})),
        Wait("pause", "/pay#1", asks="once"),
    )
    assert (view.metadata, view.origin) == ('{\n  "who": "ann"\n}', Origin(B, "replay"))
    row = view.row
    assert (row.paused, row.progress, row.code) == ("its outcome is not known", Progress(3, 10, "resizing"), "c1")
    assert (row.deadline, row.expires, row.origin) == (T0 + 60, T0 + 30, B)
    assert row.waits == "event orders.*, token T-7, pause /pay#1"
    await store(desk.bus, TELL.log(A, "", RunCancelled(T0 + 9)))
    view = await desk.ask(api.RUNS_GET, api.RunRef(A), api.RunView)
    assert (view.waits, view.row.waits, view.row.paused, view.row.state) == ((), "", "", State.CANCELLED)


async def test_a_compensating_run_says_how_it_ends_and_a_followed_one_by_what(desk: Desk) -> None:
    undoable = StepCompleted("/pay#1", T0 + 6, 1.0, b"", b"undo")
    created = TELL.created(A, hooks=(Hook("failure", "alarm"),))
    await store(desk.bus, created, started(A), TELL.log(A, "n1", undoable), dead(A))
    view = await desk.queries.view(api.RunRef(A))
    assert (view.row.state, view.row.ending, view.hook) == (State.COMPENSATING, State.DEAD, "")
    undone = StepCompleted("/pay#1/undo", T0 + 11, 1.0, b"")
    await store(
        desk.bus,
        TELL.log(A, "n2", AttemptResumed(T0 + 10, 1, "w2", "n2"), undone, Compensated(T0 + 12)),
        TELL.inbox(A, HookTriggered("failure", T0 + 13, C)),
    )
    view = await desk.queries.view(api.RunRef(A))
    assert (view.row.state, view.row.ending, view.hook) == (State.DEAD, None, C)


async def test_an_answer_holds_what_the_asker_has_just_done(desk: Desk) -> None:
    for number in range(20):
        await store(desk.bus, TELL.created(run_id(number)))
        assert (await desk.ask(api.RUNS_LIST, api.RunsQuery(limit=1), api.RunsPage)).total == number + 1


async def test_a_run_is_shown_with_everything(desk: Desk) -> None:
    payload, result = encode_value({"order": "Ä1"}), encode_value((1, 2))
    child = TELL.created(B, parent=Parent(A, "/ship#1"), at=T0 + 6)
    await store(desk.bus, TELL.created(A, payload=payload, source="http"), started(A), child)
    await store(desk.bus, TELL.log(A, "n1", StepCompleted("/pay#1", T0 + 6, 1.0, b""), RunCompleted(T0 + 7, result)))
    view = await desk.ask(api.RUNS_GET, api.RunRef(A), api.RunView)
    assert view.payload == '{\n  "order": "Ä1"\n}'
    assert view.result == "[\n  1,\n  2\n]"
    assert (view.row.state, view.row.steps, view.row.last_key, view.row.source) == (
        State.COMPLETED,
        1,
        "/pay#1",
        "http",
    )
    assert [row.id for row in view.children] == [B]
    assert view.error is None


async def test_a_run_is_found_by_the_only_beginning_or_end_that_is_its(desk: Desk) -> None:
    await store(desk.bus, TELL.created(A), TELL.created(B), dead(A))
    assert (await desk.ask(api.RUNS_GET, api.RunRef(A[-6:]), api.RunView)).row.id == A
    assert (await desk.ask(api.RUNS_GET, api.RunRef(B[:12].lower()), api.RunView)).row.id == B


@pytest.mark.parametrize(
    ("ref", "code"),
    [("01HF", "ambiguous"), ("ZZZZ", "not_found"), (C, "not_found"), ("", "bad_request"), ("%' OR 1", "bad_request")],
)
@pytest.mark.parametrize("service", [api.RUNS_GET, api.RUNS_HISTORY])
async def test_a_name_that_means_no_run_is_refused_with_its_reason(
    desk: Desk, service: str, ref: str, code: str
) -> None:
    await store(desk.bus, TELL.created(A), TELL.created(B))
    with pytest.raises(Refused) as refused:
        await desk.bus.request(desk.bus.subjects.api(service), codec.encode(api.RunRef(ref)))
    assert refused.value.code == code


async def test_where_the_history_lags_a_run_is_shown_from_the_journal(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused = Suspended(T0 + 7, ("pause:/pay#1",), None, "why")
    created = TELL.created(A, metadata={"a": b"\x01"}, origin=Origin(B, "fork"))
    await store(desk.bus, created, TELL.created(B), started(A), TELL.log(A, "n1", paused))
    fresh = await desk.queries.view(api.RunRef(A))
    assert fresh.waits

    async def never(*_: object, **__: object) -> bool:
        return False

    monkeypatch.setattr(desk.projector, "reach", never)
    assert await desk.queries.view(api.RunRef(A)) == fresh


async def test_a_history_is_the_runs_messages_as_they_are_stored(desk: Desk) -> None:
    await store(desk.bus, TELL.created(B), TELL.created(A), started(A), dead(A))
    history = await desk.ask(api.RUNS_HISTORY, api.RunRef(A), api.History)
    assert [(stored.seq, stored.kind, stored.writer) for stored in history.messages] == [
        (2, "ready", ""),
        (3, "log", "n1"),
        (4, "log", "n1"),
    ]
    assert history.messages[2].entries == (RunDead(T0 + 9, ERROR, "attempts used up"),)


async def test_a_history_too_large_for_a_reply_comes_without_its_largest_values(desk: Desk) -> None:
    await store(desk.bus, TELL.created(A), started(A))
    for number, size in enumerate((400_000, 10, 500_000, 300_000)):
        await store(desk.bus, TELL.log(A, "n1", StepCompleted(f"/s#{number}", T0, 1.0, bytes(size))))
    history = await desk.ask(api.RUNS_HISTORY, api.RunRef(A), api.History)
    values = [
        entry.value for stored in history.messages for entry in stored.entries if isinstance(entry, StepCompleted)
    ]
    assert [len(value) for value in values] == [400_000, 10, 0, 300_000]


async def test_a_history_of_very_many_messages_comes_in_pages_and_a_client_has_all(desk: Desk) -> None:
    await store(desk.bus, TELL.created(A), started(A))
    keys = (f"/a-step-with-quite-a-long-name-{'x' * 40}#{number}" for number in range(7000))
    await store(desk.bus, *(TELL.log(A, "n1", StepCompleted(key, T0, 1.0, b"\x01")) for key in keys))
    first = await desk.ask(api.RUNS_HISTORY, api.HistoryRef(A[-6:]), api.History)
    assert (first.run, first.more) == (A, True)
    rest = await desk.ask(api.RUNS_HISTORY, api.HistoryRef(A, first.messages[-1].seq), api.History)
    assert [each.seq for each in (*first.messages, *rest.messages)] == list(range(1, 7003))
    assert not rest.more
    assert len((await Client(desk.bus).history(A)).messages) == 7002


async def test_a_value_is_given_by_itself_also_where_the_history_came_without_it(desk: Desk) -> None:
    small, big = encode_value({"n": 1}), encode_value("é" * 300_000)
    apart = await Blobs(desk.bus).keep(encode_value("x" * 2_000_000))
    await store(desk.bus, TELL.created(A), started(A))
    for number, value in enumerate((small, big, apart)):
        await store(desk.bus, TELL.log(A, "n1", StepCompleted(f"/s#{number}", T0, 1.0, value)))
    await store(desk.bus, TELL.log(A, "n1", RunCompleted(T0 + 9, encode_value("done"))))

    async def of(key: str, run: str = A) -> api.Value:
        return await desk.ask(api.RUNS_VALUE, api.ValueRef(run, key), api.Value)

    assert await of("/s#0", A[-6:]) == api.Value(run=A, key="/s#0", json='{\n  "n": 1\n}', size=len(small))
    assert await of("/s#1") == api.Value(run=A, key="/s#1", json='"' + "é" * 300_000 + '"', size=len(big))
    third = await of("/s#2")
    assert (third.whole, third.size > 2_000_000, len(third.json) > 800_000) == (False, True, True)
    assert (await of("/")).json == '"done"'
    assert (await of("")).json == '{\n  "a": 1\n}'


@pytest.mark.parametrize("key", ["/nope#1", "/"])
async def test_a_value_that_is_not_there_is_refused(desk: Desk, key: str) -> None:
    await store(desk.bus, TELL.created(A), started(A))
    with pytest.raises(Refused, match="has no value") as refused:
        await desk.ask(api.RUNS_VALUE, api.ValueRef(A, key), api.Value)
    assert refused.value.code == "not_found"


async def test_letters_are_the_dead_runs_newest_first(desk: Desk) -> None:
    other = ErrorInfo("shop.Declined", "card")
    await store(desk.bus, TELL.created(A), TELL.created(B, queue="mail"), TELL.created(C))
    await store(desk.bus, *map(started, (A, B, C)), dead(A, T0 + 20), dead(B, T0 + 10, other), dead(C, T0 + 30))
    await store(desk.bus, TELL.log(C, "op", RunRetried(T0 + 40)))
    page = await desk.ask(api.LETTERS_LIST, api.LettersQuery(), api.LettersPage)
    assert [letter.run for letter in page.letters] == [A, B]
    first = page.letters[0]
    assert (first.error, first.attempts, first.payload) == (ERROR, 1, b"\x81\xa1a\x01")
    assert (first.first_at, first.last_at, first.reason) == (T0 + 1, T0 + 20, "attempts used up")
    rest = await desk.queries.letters(api.LettersQuery(limit=1, before=(first.last_at, first.run)))
    assert [letter.run for letter in rest.letters] == [B]
    assert [one.run for one in (await desk.queries.letters(api.LettersQuery(error="declined"))).letters] == [B]
    assert (await desk.queries.letters(api.LettersQuery(queue="mail", tasks=("pack",)))).total == 0


async def test_lines_are_the_newest_and_come_oldest_first(desk: Desk) -> None:
    await store(desk.bus, TELL.created(A), TELL.created(B))
    for run, texts in ((A, ("one", "two")), (B, ("three",)), (A, ("four",))):
        lines = tuple(api.LogLine(T0 + len(text), 10 * len(text), "stdout", text) for text in texts)
        batch = api.LogBatch(run, "ship", 1, "w1", lines)
        await bus_output(desk.bus, run, batch)
    page = await desk.ask(api.LOGS_LIST, api.LogsQuery(), api.LogsPage)
    assert [row.line.text for row in page.rows] == ["one", "two", "four", "three"]
    assert page.last_seq == 3
    assert [row.line.text for row in (await desk.queries.lines(api.LogsQuery(limit=2))).rows] == ["four", "three"]
    assert [row.seq for row in (await desk.queries.lines(api.LogsQuery(run=A[-3:]))).rows] == [1, 1, 3]
    assert [row.run for row in (await desk.queries.lines(api.LogsQuery(level=50))).rows] == [B]
    assert [row.line.text for row in (await desk.queries.lines(api.LogsQuery(text="OU"))).rows] == ["four"]


async def test_lines_are_chosen_by_all_that_a_query_says_and_paged_as_they_were_stored(desk: Desk) -> None:
    await store(desk.bus, TELL.created(A), TELL.created(B))
    for number, (task, queue, *texts) in enumerate(
        (
            ("ship", "mail_a", "slow 12 s", "100% done"),
            ("pack", "mailXa", "Slow 7 s"),
            ("ship-far", "bulk", "SLOW but fine", "quick"),
        )
    ):
        told = tuple(api.LogLine(T0 + 10 - number, 10 * (at + 1), "stdout", text) for at, text in enumerate(texts))
        await bus_output(desk.bus, A, api.LogBatch(A, task, 1, "w1", told, queue))

    async def texts(**asked: Any) -> list[str]:
        return [row.line.text for row in (await desk.queries.lines(api.LogsQuery(**asked))).rows]

    assert await texts(stored=True) == ["slow 12 s", "100% done", "Slow 7 s", "SLOW but fine", "quick"]
    assert await texts(tasks=("ship*",), level=20) == ["quick", "100% done"]
    assert await texts(queues=("mail_*", "none")) == ["slow 12 s", "100% done"]
    assert await texts(below=20, stored=True) == ["slow 12 s", "Slow 7 s", "SLOW but fine"]
    assert await texts(words=("slow", "S"), without=("fine",), stored=True) == ["slow 12 s", "Slow 7 s"]
    assert await texts(patterns=(r"^[Ss]low \d+ s$", "12")) == ["slow 12 s"]
    assert await texts(stored=True, after=1, before=(3, 1)) == ["Slow 7 s", "SLOW but fine"]
    page = await desk.queries.lines(api.LogsQuery(stored=True, limit=2))
    assert ([(row.seq, row.number, row.queue) for row in page.rows], page.more) == (
        [(3, 0, "bulk"), (3, 1, "bulk")],
        True,
    )
    rest = await desk.queries.lines(api.LogsQuery(stored=True, before=(3, 0)))
    assert ([(row.seq, row.number) for row in rest.rows], rest.more) == ([(1, 0), (1, 1), (2, 0)], False)


async def test_a_pattern_that_the_history_does_not_know_is_refused_in_words(desk: Desk) -> None:
    with pytest.raises(Refused, match=r"logs.list: invalid perl operator: \(\?="):
        await desk.ask(api.LOGS_LIST, api.LogsQuery(patterns=("(?=look)x",)), api.LogsPage)


async def bus_output(bus: Bus, run: str, batch: api.LogBatch) -> None:
    await bus.publish(bus.subjects.output("ship", run), codec.encode(batch))


async def test_queues_hold_counters_workers_and_limits(desk: Desk) -> None:
    await store(desk.bus, TELL.created(A), TELL.created(B), started(A))
    await desk.bus.put("worker", "broken", b"\xc1")
    beat = api.Presence(
        worker="w1", host="h", pid=1, started_at=T0, at=T0, tasks=(), queues=("default",), concurrency=1, running=1
    )
    await desk.bus.put("worker", "w1", codec.encode(beat))
    default, idle, slow = (await desk.ask(api.QUEUES_LIST, api.Nothing(), api.Queues)).queues
    assert default.oldest_runs == (api.ReadyRun(B, "ship", default.oldest),)
    assert (len(default.depths), default.errors) == (30, ())
    assert (default.name, default.running, default.workers, default.depth) == ("default", 1, 1, 1)
    assert (default.paused, default.limited_by) == (False, "")
    assert (idle.name, idle.paused, idle.limited_by) == ("idle", True, "paused")
    assert (slow.name, slow.limit, slow.paused, slow.limited_by) == ("slow", 3, False, "queue limit")


async def test_why_tells_what_holds_a_run_back_the_weightiest_first(desk: Desk) -> None:
    await store(desk.bus, TELL.created(A, queue="slow"), TELL.created(B), started(B))
    await desk.bus.pause("slow", paused=True)
    found = await desk.ask(api.QUEUES_WHY, api.RunRef(A[-4:]), api.Why)
    assert (found.run, found.task, found.queue, found.state) == (A, "ship", "slow", "queued")
    assert [reason.cause for reason in found.reasons] == ["paused", "no worker", "queue limit"]
    assert "`holdfast queues resume slow`" in found.reasons[0].text
    (running,) = (await desk.ask(api.QUEUES_WHY, api.RunRef(B), api.Why)).reasons
    assert running == api.Reason("running", "it is running: worker w1 has it", T0 + 5)
    with pytest.raises(Refused, match="no run"):
        await desk.ask(api.QUEUES_WHY, api.RunRef(C), api.Why)


async def test_health_says_how_far_the_history_is(desk: Desk) -> None:
    last = await store(desk.bus, TELL.created(A), Stored("hf.shop.j.x.log", b"\xc1"))
    await desk.queries.runs(api.RunsQuery())
    health = await desk.ask(api.HEALTH, api.Nothing(), api.Health)
    assert health == api.Health(
        version="1.2", pid=os.getpid(), started_at=T0, projected=last, journal=last, repairs=0, unreadable=1
    )


async def test_it_is_ready_once_the_history_has_caught_up_and_the_server_answers(desk: Desk) -> None:
    await store(desk.bus, TELL.created(A))
    await desk.queries.runs(api.RunsQuery())
    assert await desk.queries.readiness() == ""
    await desk.bus.close()
    assert await desk.queries.readiness() == "the NATS server does not answer"


@pytest.mark.parametrize(
    ("service", "query"),
    [
        (api.RUNS_LIST, b"\xc1"),
        (api.RUNS_LIST, codec.encode({"limit": "x"})),
        (api.RUNS_LIST, codec.encode(api.RunsQuery(limit=5000))),
        (api.RUNS_LIST, codec.encode(api.RunsQuery(since=float("inf")))),
        (api.RUNS_LIST, codec.encode({"order": "beauty"})),
        (api.RUNS_COUNTS, codec.encode(api.RunsQuery(took_least=-1.0))),
        (api.LETTERS_LIST, codec.encode(api.LettersQuery(order=api.RunsOrder.STEPS))),
        (api.METRICS, codec.encode(api.MetricsQuery(since=T0, until=T0 - 1, step=1.0))),
        (api.LETTERS_LIST, codec.encode(api.LettersQuery(limit=0))),
        (api.LOGS_LIST, codec.encode(api.LogsQuery(limit=10_001))),
        (api.RUNS_GET, b""),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused_in_words(desk: Desk, service: str, query: bytes) -> None:
    with pytest.raises(Refused, match=service.replace(".", r"\.")) as refused:
        await desk.bus.request(desk.bus.subjects.api(service), query)
    assert refused.value.code == "bad_request"


async def test_it_all_holds_over_a_real_server(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats") as nats:
        async with await jetstream.connect(nats.url, project="shop") as bus:
            await bus.ensure_streams()
            async with answering(bus, tmp_path / "h.duckdb") as desk:
                await store(bus, TELL.created(A), started(A), dead(A))
                assert (await desk.ask(api.RUNS_LIST, api.RunsQuery(), api.RunsPage)).runs[0].state is State.DEAD
                with pytest.raises(Refused) as refused:
                    await desk.ask(api.RUNS_GET, api.RunRef(B), api.RunView)
                assert refused.value.code == "not_found"
                assert len((await desk.ask(api.LETTERS_LIST, api.LettersQuery(), api.LettersPage)).letters) == 1
                client = Client(bus)
                assert (await client.run_counts()).states == {State.DEAD: 1}
                (group,) = (await client.letter_groups()).groups
                assert (group.pattern, group.count, group.example) == ("no more of it", 1, A)
                found = await client.metrics(api.MetricsQuery(since=T0, until=T0 + 10, step=5.0))
                assert (found.created, found.failed, found.p95) == ((1, 0), (0, 1), (None, 4.0))
