"""What somebody outside does to a run through the client, on the memory bus and without a worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast import remaking
from holdfast.bus.clock import VirtualClock
from holdfast.bus.memory import MemoryBus, MemoryServer
from holdfast.client import Client, RunHandle
from holdfast.core.entries import (
    AttemptStarted,
    ChildEnded,
    ChildTriggered,
    Diverged,
    Entry,
    Inherited,
    Offered,
    Resolved,
    RunCompleted,
    RunCreated,
    RunDead,
    Signalled,
    StepCompleted,
    StepFailed,
    StepStarted,
    Suspended,
    TokenCompleted,
    WaitStarted,
)
from holdfast.core.lifecycle import COMPENSATION
from holdfast.core.model import ErrorInfo, Origin, State
from holdfast.errors import (
    ChildFailed,
    ConfigError,
    EditError,
    Refused,
    RunStateError,
    TokenFailed,
    TokenTaken,
    TooLarge,
    UnknownKey,
    UnknownRun,
    UnknownToken,
)
from holdfast.wire import api, codec
from holdfast.wire.subjects import Stream
from holdfast.wire.values import decode_exception, decode_value, encode_value

AT = 1_767_355_418.0
TOKEN = "R1-a1b2"
ERROR = ErrorInfo("payments.CardDeclined", "no")


class Shop:
    """A project with a client, and runs as a worker would have left them."""

    def __init__(self) -> None:
        self.server = MemoryServer(VirtualClock(AT + 100))
        self.client = self.another("ops")
        self.client.journal.clock = lambda: AT + 100

    def another(self, name: str) -> Client:
        return Client(MemoryBus("shop", self.server), name=name)

    async def run(self, *entries: Entry, id: str = "R1", payload: Any = None) -> RunHandle:
        """A run that a worker holds by the nonce `n`, or has let go of."""
        handle = await self.client.start(self.client.new_run("order", encode_value(payload or {}), id=id))
        if entries:
            await self.client.journal.append(id, 0, "n", (AttemptStarted(AT, 1, "w", "n"), *entries))
        return handle

    async def entries(self, run: str) -> list[Entry]:
        return [entry for _, record in await self.client.journal.messages(run) for entry in record.entries]

    async def told(self, run: str, kind: type[Any]) -> list[Any]:
        return [entry for entry in await self.entries(run) if isinstance(entry, kind)]


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    made = Shop()
    yield made
    await made.client.close()


def waits(*ids: str, paused: str = "") -> Suspended:
    return Suspended(AT + 1, ids, None, paused)


ISSUED = WaitStarted("/token#1", AT, TOKEN, "issued")
AWAITED = (ISSUED, WaitStarted("/completion#1", AT, TOKEN, "token"), waits(TOKEN))


# --- tokens ---------------------------------------------------------------------------------------------------------


async def test_a_completed_token_makes_its_waiting_run_ready_without_the_daemon(shop: Shop) -> None:
    await shop.run(*AWAITED)
    await shop.client.complete(TOKEN, {"ok": True})
    run = await shop.client.run("R1").status()
    assert (run.state, run.offered) == (State.QUEUED, True)
    (told,) = await shop.told("R1", TokenCompleted)
    assert (told.by, told.at, decode_value(told.value), told.error) == ("ops", AT + 100, {"ok": True}, None)
    assert len(await shop.told("R1", Offered)) == 1


async def test_a_token_can_be_completed_before_anybody_waits(shop: Shop) -> None:
    await shop.run(ISSUED)
    assert (await shop.client.complete(TOKEN)).state is State.RUNNING
    assert len(await shop.told("R1", TokenCompleted)) == 1


async def test_a_token_completed_with_an_error_raises_it(shop: Shop) -> None:
    await shop.run(*AWAITED)
    await shop.client.complete(TOKEN, error="not today")
    (told,) = await shop.told("R1", TokenCompleted)
    raised = decode_exception(told.error.value)
    assert (type(raised), str(raised), told.error.type) == (TokenFailed, "not today", "holdfast.errors.TokenFailed")


async def test_an_exception_of_ones_own_can_complete_a_token(shop: Shop) -> None:
    await shop.run(*AWAITED)
    await shop.client.complete(TOKEN, error=LookupError("gone"))
    (told,) = await shop.told("R1", TokenCompleted)
    assert repr(decode_exception(told.error.value)) == "LookupError('gone')"


async def test_only_the_first_completion_counts_and_the_second_learns_whose_it_was(shop: Shop) -> None:
    await shop.run(*AWAITED)
    await shop.client.complete(TOKEN, 1)
    with pytest.raises(TokenTaken, match=r"completed by ops at 2026-01-02 12:05:18Z.*changed nothing") as caught:
        await shop.another("late").complete(TOKEN, 2)
    assert (caught.value.by, caught.value.at) == ("ops", AT + 100)
    assert len(await shop.told("R1", TokenCompleted)) == 1


async def test_of_many_who_complete_a_token_at_once_one_does(shop: Shop) -> None:
    await shop.run(*AWAITED)
    others = [shop.another(f"c{number}") for number in range(10)]
    done = await asyncio.gather(
        *(other.complete(TOKEN, number) for number, other in enumerate(others)), return_exceptions=True
    )
    assert sum(not isinstance(outcome, BaseException) for outcome in done) == 1
    assert all(isinstance(outcome, TokenTaken) for outcome in done if isinstance(outcome, BaseException))
    assert len(await shop.told("R1", TokenCompleted)) == 1


@pytest.mark.parametrize("token", ["R1-other", "R2-a1b2", "nothing", "", "-", "*-a", ">-a", "R1.log-a", f"{TOKEN} "])
async def test_a_token_that_no_run_has_asked_for_is_refused_and_nothing_written(shop: Shop, token: str) -> None:
    await shop.run(*AWAITED)
    before = await shop.client.bus.last_seq(Stream.JOURNAL)
    with pytest.raises(UnknownToken, match="expected the id of a token that a run has asked for"):
        await shop.client.complete(token, "x" * 300_000)
    assert await shop.client.bus.last_seq(Stream.JOURNAL) == before
    assert await shop.client.bus.last_seq(Stream.BLOBS) == 0


async def test_a_big_value_of_a_token_is_kept_apart(shop: Shop) -> None:
    await shop.run(*AWAITED)
    await shop.client.complete(TOKEN, "x" * 300_000)
    (told,) = await shop.told("R1", TokenCompleted)
    assert len(told.value) < 100
    assert decode_value(await shop.client.blobs.full(told.value)) == "x" * 300_000


async def test_a_token_of_a_run_that_has_ended_is_refused(shop: Shop) -> None:
    await shop.run(ISSUED, RunCompleted(AT + 2, b"\xc0"))
    with pytest.raises(RunStateError, match="run R1 has ended completed"):
        await shop.client.complete(TOKEN, 1)
    assert await shop.told("R1", TokenCompleted) == []


# --- signals --------------------------------------------------------------------------------------------------------


async def test_signals_are_stored_in_order_each_with_an_id_of_its_own(shop: Shop) -> None:
    handle = await shop.run(waits("signal:go#1"))
    await handle.signal("go", 1)
    await handle.signal("go", 1)
    first, second = await shop.told("R1", Signalled)
    assert first.id != second.id
    assert [decode_value(each.value) for each in (first, second)] == [1, 1]
    run = await handle.status()
    assert run.state is State.QUEUED
    assert {"signal:go#1", "signal:go#2"} <= run.arrived


async def test_a_signal_for_a_finished_run_is_refused_naming_its_state(shop: Shop) -> None:
    handle = await shop.run(RunCompleted(AT, b"\xc0"))
    with pytest.raises(RunStateError, match=r"signal 'go' was not sent: run R1 has ended completed"):
        await handle.signal("go")
    assert await shop.told("R1", Signalled) == []


async def test_a_signal_that_a_run_ended_before_is_refused_too(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = await shop.run(ISSUED)
    tell = shop.client.journal.tell

    async def late(run: str, entry: Any, *, dedupe: str | None = None) -> int:
        last = (await handle.status()).last
        await shop.client.journal.append(run, last, "n", (RunCompleted(AT + 2, b"\xc0"),))
        return await tell(run, entry, dedupe=dedupe)

    monkeypatch.setattr(shop.client.journal, "tell", late)
    with pytest.raises(RunStateError, match=r"signal 'go' came too late: run R1 has ended completed"):
        await handle.signal("go")


@pytest.mark.parametrize("name", ["", "a/b", "a#1"])
async def test_a_signal_without_a_name_that_a_run_could_wait_for_is_refused(shop: Shop, name: str) -> None:
    handle = await shop.run(ISSUED)
    with pytest.raises(ConfigError, match="expected a name"):
        await handle.signal(name)


@pytest.mark.parametrize("run", ["R9", "*", ">", "R1.log"])
async def test_acting_on_a_run_that_is_not_there_is_refused(shop: Shop, run: str) -> None:
    await shop.run()
    for act in (
        lambda: shop.client.signal(run, "go"),
        lambda: shop.client.resolve(run, "/a#1", "run"),
        lambda: shop.client.replay(run),
        lambda: shop.client.fork(run, "/a#1"),
        lambda: shop.client.run(run).kill(),
    ):
        with pytest.raises(UnknownRun):
            await act()


# --- questions ------------------------------------------------------------------------------------------------------

ONCE = (StepStarted("/pay#1", AT, once=True), waits("pause:/pay#1", paused="its outcome is not known"))


async def test_an_answer_lets_a_paused_run_go_on(shop: Shop) -> None:
    handle = await shop.run(*ONCE)
    await handle.resolve("/pay#1", "done", {"id": 7})
    assert (await handle.status()).state is State.QUEUED
    (told,) = await shop.told("R1", Resolved)
    assert (told.key, told.action, told.by, decode_value(told.value)) == ("/pay#1", "done", "ops", {"id": 7})


async def test_only_what_is_asked_is_answered(shop: Shop) -> None:
    handle = await shop.run(*ONCE)
    with pytest.raises(
        RunStateError, match=r"not paused at /ship#1: it asks about /pay#1 \(its outcome is not known\)"
    ):
        await handle.resolve("/ship#1", "run")
    await handle.resolve("/pay#1", "run")
    with pytest.raises(RunStateError, match=r"not paused at /pay#1: it is queued and asks nothing"):
        await handle.resolve("/pay#1", "run")
    assert len(await shop.told("R1", Resolved)) == 1


@pytest.mark.parametrize(
    ("entries", "key", "right", "wrong"),
    [
        (ONCE, "/pay#1", ("done", "run"), ("skip", "accept", "nonsense")),
        ((waits("pause:/new#1", paused="diverged"),), "/new#1", ("accept", "run"), ("done", "skip")),
        ((Diverged("/new#1", AT, ()), waits("pause:/new#1")), "/new#1", ("accept", "run"), ("done", "skip")),
        ((waits("pause:/pay#1/undo"),), "/pay#1/undo", ("run", "skip"), ("done", "accept")),
        ((waits(f"pause:{COMPENSATION}"),), COMPENSATION, ("run",), ("done", "skip", "accept")),
    ],
)
async def test_each_question_has_its_own_answers(
    shop: Shop, entries: tuple[Entry, ...], key: str, right: tuple[str, ...], wrong: tuple[str, ...]
) -> None:
    for number, action in enumerate((*wrong, *right)):
        handle = await shop.run(*entries, id=f"R{number}")
        if action in right:
            await handle.resolve(key, action)
        else:
            with pytest.raises(RunStateError, match=f"found '{action}': the answers are --"):
                await handle.resolve(key, action)
            assert await shop.told(handle.id, Resolved) == []


# --- kill -----------------------------------------------------------------------------------------------------------


async def test_a_killed_run_is_cancelled_at_once_though_somebody_holds_it(shop: Shop) -> None:
    handle = await shop.run(StepCompleted("/a#1", AT, 0.1, b"\x01", undo=b"u"))
    run = await handle.kill("enough")
    assert (run.state, run.reason, run.holder) == (State.CANCELLED, "enough", None)


# --- replay ---------------------------------------------------------------------------------------------------------


async def test_a_replay_is_a_run_of_its_own_from_the_start(shop: Shop) -> None:
    origin = await shop.run(StepCompleted("/a#1", AT, 0.1, b"\x01"), payload={"order": 1})
    made = await origin.replay()
    run = await made.status()
    assert made.id != origin.id
    assert (run.state, run.origin, run.steps) == (State.QUEUED, Origin("R1", "replay"), 0)
    assert decode_value(run.payload) == {"order": 1}


# --- forks ----------------------------------------------------------------------------------------------------------

STEPS = (
    StepCompleted("/reserve#1", AT, 0.1, encode_value({"hold": "h1", "items": [1, 2]})),
    StepCompleted("/charge#1", AT, 0.1, encode_value(5)),
    StepFailed("/note#1", AT, 0.1, ERROR),
    StepCompleted("/ship#1", AT, 0.1, encode_value("sent")),
)


async def inherited(shop: Shop, handle: RunHandle) -> dict[str, Inherited]:
    return {entry.key: entry for entry in await shop.told(handle.id, Inherited)}


async def test_a_fork_is_one_message_then_a_work_item_and_its_origin_is_untouched(shop: Shop) -> None:
    origin = await shop.run(*STEPS, RunCompleted(AT + 1, b"\xc0"), payload={"order": 1})
    before = await shop.entries("R1")
    made = await origin.fork("/ship#1")
    log, ready = await shop.client.journal.messages(made.id)
    assert [type(entry) for entry in log[1].entries] == [RunCreated, Inherited, Inherited, Inherited]
    assert log[0].seq == made.first
    assert ready[1].entries == (Offered(made.id, made.first, log[0].seq),)
    run = await made.status()
    assert (run.state, run.offered, run.origin) == (State.QUEUED, True, Origin("R1", "fork", "/ship#1"))
    assert decode_value(run.payload) == {"order": 1}
    assert await shop.entries("R1") == before
    assert await shop.client.bus.last(Stream.CONTROL, "hf.shop.ctl.lane.default.5.order") is not None


async def test_an_edit_replaces_a_result_or_a_part_of_one(shop: Shop) -> None:
    origin = await shop.run(*STEPS)
    made = await origin.fork(
        "/ship#1", {"/reserve#1.items.0": 9, "/charge#1": {"any": "thing"}, "/note#1": None, "/reserve#1.hold": "h2"}
    )
    found = await inherited(shop, made)
    assert decode_value(found["/reserve#1"].value or b"") == {"hold": "h2", "items": [9, 2]}
    assert decode_value(found["/charge#1"].value or b"") == {"any": "thing"}
    assert (found["/note#1"].value, found["/note#1"].error) == (b"\xc0", None)
    assert all(entry.edited for entry in found.values())


async def test_what_is_not_edited_is_inherited_as_it_was(shop: Shop) -> None:
    found = await inherited(shop, await (await shop.run(*STEPS)).fork("/ship#1", {"/charge#1": 6}))
    assert found["/note#1"] == Inherited("/note#1", AT, 0.1, None, ERROR)
    assert [entry.edited for entry in found.values()] == [False, True, False]


@pytest.mark.parametrize(
    ("key", "edits", "error", "says"),
    [
        ("/shp#1", {}, UnknownKey, "nearest is /ship#1"),
        ("/charge#1", {"/ship#1": 1}, EditError, "recorded before /charge#1"),
        ("/ship#1", {"/reserve#1.hld": 1}, EditError, "found 'hld': it has hold, items"),
        ("/ship#1", {"/note#1.x": 1}, EditError, "found an exception: set the whole of /note#1"),
    ],
)
async def test_a_fork_that_can_not_be_is_refused_and_nothing_written(
    shop: Shop, key: str, edits: dict[str, Any], error: type[Exception], says: str
) -> None:
    origin = await shop.run(*STEPS)
    before = await shop.client.bus.last_seq(Stream.JOURNAL)
    with pytest.raises(error, match=says):
        await origin.fork(key, edits)
    assert await shop.client.bus.last_seq(Stream.JOURNAL) == before


async def test_a_big_value_is_edited_where_it_is_kept_apart(shop: Shop) -> None:
    big = await shop.client.blobs.keep(encode_value({"text": "x" * 300_000, "n": 1}))
    origin = await shop.run(StepCompleted("/a#1", AT, 0.1, big), StepCompleted("/k#1", AT, 0.1, b"\x01"))
    found = await inherited(shop, await origin.fork("/k#1", {"/a#1.n": 2}))
    value = found["/a#1"].value
    assert value is not None
    assert len(value) < 100
    assert decode_value(await shop.client.blobs.full(value)) == {"text": "x" * 300_000, "n": 2}


async def test_too_much_for_one_message_is_refused(shop: Shop) -> None:
    origin = await shop.run(ISSUED)
    run = await origin.status()
    for number in range(1, 10):
        step = StepCompleted(f"/a#{number}", AT, 0.1, encode_value(b"x" * 1_000_000))
        run = (await shop.client.journal.append("R1", run.last, "n", (step,)), await origin.status())[1]
    await shop.client.journal.append("R1", run.last, "n", (StepCompleted("/k#1", AT, 0.1, b"\x01"),))
    with pytest.raises(TooLarge, match=r"run R1 before /k#1 take 8\.6 MiB: .* fork from an earlier checkpoint"):
        await origin.fork("/k#1")
    assert (await (await origin.fork("/a#5")).status()).steps == 4


async def test_a_childs_failure_is_raised_in_a_fork_as_its_parent_saw_it(shop: Shop) -> None:
    origin = await shop.run(ChildTriggered("/ship#1", AT, "C9", "ship"), StepCompleted("/k#1", AT, 0.1, b"\x01"))
    bus = shop.client.bus
    await bus.publish(bus.subjects.inbox("R1"), codec.encode(ChildEnded("/ship#1", AT, "C9", "dead", None, ERROR)))
    last = (await origin.status()).last
    await shop.client.journal.append("R1", last, "n", (StepCompleted("/z#1", AT, 0.1, b"\x01"),))
    error = (await inherited(shop, await origin.fork("/z#1")))["/ship#1"].error
    assert error is not None
    assert error.value is not None
    assert (error.type, error.message) == (ERROR.type, ERROR.message)
    raised = decode_exception(error.value)
    assert isinstance(raised, ChildFailed)
    assert (raised.run, raised.state, raised.error_type) == ("C9", "dead", "payments.CardDeclined")


async def test_a_dead_run_is_forked_from_the_step_that_failed(shop: Shop) -> None:
    failed = StepFailed("/charge#1", AT, 0.1, ERROR)
    origin = await shop.run(STEPS[0], failed, RunDead(AT, ERROR, "attempts used up", ("/charge#1",)))
    assert list(await inherited(shop, await origin.fork("/charge#1"))) == ["/reserve#1"]


async def test_a_fork_that_a_step_makes_again_after_a_crash_is_the_same_one(shop: Shop) -> None:
    await shop.run(*STEPS)
    made = [await remaking.fork(shop.client.journal, shop.client.blobs, "R1", "/ship#1", "F1", {}) for _ in range(2)]
    assert made[1] == 0
    assert (await shop.client.run("F1").status()).first == made[0]
    assert len(await shop.told("F1", RunCreated)) == 1


# --- queries --------------------------------------------------------------------------------------------------------


async def test_a_query_is_answered_by_whoever_has_the_run(shop: Shop) -> None:
    await shop.run(ISSUED)

    async def answer(data: bytes) -> bytes:
        question = api.decode(data, api.Query)
        if question.name != "add":
            return codec.encode(api.Answer(error=f"run R1 exposes no {question.name!r}; it exposes: add"))
        return codec.encode(api.Answer(encode_value(sum(decode_value(question.args)))))

    stop = await shop.client.bus.serve("hf.shop.api.query.R1", answer)
    assert await shop.client.query("R1", "add", 1, 2) == 3
    with pytest.raises(Refused, match="it exposes: add"):
        await shop.client.query("R1", "sub")
    await stop()


async def test_a_query_of_a_run_that_no_worker_has_says_so(shop: Shop) -> None:
    await shop.run(*AWAITED)
    with pytest.raises(RunStateError, match="run R1 is waiting: no worker has it in memory just now"):
        await shop.client.query("R1", "state")
    with pytest.raises(UnknownRun):
        await shop.client.query("R9", "state")
    with pytest.raises(ConfigError):
        await shop.client.query("*", "state")


# --- the project's time to live -------------------------------------------------------------------------------------


async def test_a_project_says_how_long_runs_live_that_do_not_say_so_themselves(shop: Shop) -> None:
    def expires(client: Client) -> float | None:
        return client.new_run("t", b"\x80").expires

    bus = shop.client.bus
    clock = VirtualClock(AT)
    assert expires(Client(bus, clock=clock, ttl=60.0)) == AT + 60
    assert expires(Client(bus, clock=clock, ttl=0.0)) is None
    assert expires(Client(bus, clock=clock)) is None
