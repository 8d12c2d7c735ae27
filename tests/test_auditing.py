"""What leaves an entry in the audit, what is in it, and what never is."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import shlex
from collections.abc import AsyncIterator
from datetime import timedelta

import anyio
import pytest

from holdfast import deeds, task
from holdfast.auditing import TARGETS_MOST, TEXT_MOST, Actor, Auditor
from holdfast.bus.memory import MemoryBus
from holdfast.client import Client
from holdfast.core.admission import QueueLimits
from holdfast.core.model import Rate
from holdfast.errors import BusError, ConfigError, Refused, RunStateError, UnknownRun, UnknownSchedule, UnknownToken
from holdfast.ticks import Cron, Every
from holdfast.wire import api, codec
from holdfast.wire.subjects import Stream
from stage import stage


@task
async def approve(amount: int) -> int:
    return amount


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    bus = MemoryBus("shop")
    yield Client(bus)  # type: ignore[arg-type]
    await bus.close()


async def entries(client: Client) -> list[api.AuditEntry]:
    found = await client.bus.read(Stream.AUDIT, client.bus.subjects.audit)
    return [api.decode(message.data, api.AuditEntry) for message in found]


async def run_of(client: Client, payload: dict[str, int] | None = None) -> str:
    return (await client.trigger(approve, payload or {"amount": 1})).id


async def test_each_change_says_the_same_from_a_shell(client: Client) -> None:
    run = await run_of(client)
    await client.run(run).cancel("twice, I'm afraid")
    await client.retry(run)
    await client.run(run).kill()
    await client.retry(run, from_start=True, payload={"amount": 667})
    await client.replay(run)
    await client.limit("emails", QueueLimits(concurrency=3, rate=Rate(50, 15)))
    await client.limit("emails", None)
    await client.pause("emails", paused=False)
    _, token = await client.create_token("ci", ["trigger", "read"])
    await client.revoke_token(token.id)
    told = [(entry.action, entry.kind, entry.targets[0], entry.command) for entry in await entries(client)]
    assert told == [
        ("cancel", "run", run, f"holdfast runs cancel {run} --reason 'twice, I'\"'\"'m afraid'"),
        ("retry", "run", run, f"holdfast runs retry {run}"),
        ("kill", "run", run, f"holdfast runs cancel {run} --kill"),
        ("edit", "run", run, f"holdfast runs retry {run} --from-start --payload JSON"),
        ("replay", "run", run, f"holdfast runs replay {run}"),
        ("limit", "queue", "emails", "holdfast queues limit emails --concurrency 3 --per-key none --rate 50/15s"),
        ("limit", "queue", "emails", "holdfast queues limit emails --reset"),
        ("resume", "queue", "emails", "holdfast queues resume emails"),
        ("token-create", "token", "ci", "holdfast tokens create --name ci --scope trigger --scope read"),
        ("token-revoke", "token", token.id, f"holdfast tokens revoke {token.id}"),
    ]
    assert (await entries(client))[0].reason == "twice, I'm afraid"


async def test_payloads_are_in_no_entry(client: Client) -> None:
    run = await run_of(client)
    await client.run(run).kill()
    await client.retry(run, payload={"amount": 90210})
    client.via = "tui"
    with pytest.raises(RunStateError):
        await client.signal(await _ended(client), "approved", 90210)
    found = await client.bus.read(Stream.AUDIT, client.bus.subjects.audit)
    assert len(found) == 4
    assert not any(b"90210" in message.data for message in found)


async def _ended(client: Client) -> str:
    run = await run_of(client)
    await client.run(run).kill()
    return run


async def test_what_was_refused_is_noted_with_why_and_raised(client: Client) -> None:
    run = await _ended(client)
    with pytest.raises(RunStateError) as refused:
        await client.run(run).cancel()
    with pytest.raises(UnknownSchedule):
        await client.pause_schedule("nightly")
    _, cancel, pause = await entries(client)
    assert (cancel.action, cancel.accepted, cancel.refused, cancel.why) == ("cancel", 0, 1, str(refused.value))
    assert (pause.action, pause.targets, pause.refused) == ("schedule-pause", ("nightly",), 1)


async def test_what_never_came_to_anything_is_not_noted(client: Client) -> None:
    with pytest.raises(ConfigError):
        await client.pause("a.b")
    with pytest.raises(UnknownToken):  # anybody may guess at one
        await client.complete("01KDZ0A1B2C3D4E5F6G7H80001-ab", 90210)
    assert await entries(client) == []


async def test_programs_that_trigger_and_signal_are_no_operators(client: Client) -> None:
    run = await run_of(client)
    await client.signal(run, "approved")
    await client.emit("orders.created")
    assert await entries(client) == []
    client.via = "cli"
    await client.signal(run, "approved")
    assert [entry.command for entry in await entries(client)] == [f"holdfast runs signal {run} approved"]


async def test_what_tasks_do_leaves_no_entry(client: Client) -> None:
    ended: list[str] = []

    @task
    async def janitor(stale: str) -> None:
        from holdfast import context

        await context.client().run(stale).cancel("stale")
        await Client(client.bus).pause("emails")
        ended.append(stale)

    async def make() -> MemoryBus:
        return MemoryBus("shop", client.bus.server)  # type: ignore[attr-defined]

    stale = await run_of(client)
    async with stage(make) as on, on.worker(janitor):
        await (await janitor.trigger(stale=stale)).result(10)
    assert ended == [stale]
    assert await entries(client) == []


async def test_a_change_to_many_things_is_one_entry_that_names_the_first_hundred(client: Client) -> None:
    runs = [await run_of(client) for _ in range(TARGETS_MOST + 3)]
    await client.run(runs[1]).kill()
    async with client.audit_as(
        "cancel", "run", filter="queue:default", reason="rollback", command="holdfast ..."
    ) as it:
        for run in runs:
            with contextlib.suppress(RunStateError):
                await client.run(run).cancel()
    assert (it.accepted, it.refused) == (TARGETS_MOST + 2, 1)
    _, entry = await entries(client)
    assert (entry.count, entry.accepted, entry.refused) == (TARGETS_MOST + 3, TARGETS_MOST + 2, 1)
    assert entry.targets == tuple(runs[:TARGETS_MOST])
    assert "has ended" in entry.why or "cancelled" in entry.why
    assert (entry.filter, entry.reason, entry.command) == ("queue:default", "rollback", "holdfast ...")


async def test_what_is_begun_inside_a_change_to_many_things_counts_in_it(client: Client) -> None:
    async with client.audit_as("pause", "queue") as batch, anyio.create_task_group() as tasks:
        for name in ("a", "b", "c"):
            tasks.start_soon(client.pause, name)
    assert batch.accepted == 3
    (entry,) = await entries(client)
    assert sorted(entry.targets) == ["a", "b", "c"]


async def test_what_goes_on_after_a_change_to_many_things_counts_for_itself(client: Client) -> None:
    ended = asyncio.Event()

    async def later() -> None:
        await ended.wait()
        await client.pause("b")

    async with client.audit_as("pause", "queue"):
        going_on = asyncio.create_task(later())
        await client.pause("a")
    ended.set()
    await going_on
    assert [entry.targets for entry in await entries(client)] == [("a",), ("b",)]


async def test_another_client_keeps_its_own_account(client: Client) -> None:
    other = Client(MemoryBus("shop", client.bus.server))  # type: ignore[arg-type,attr-defined]
    async with client.audit_as("pause", "queue") as batch:
        await client.pause("a")
        await other.pause("b")
    assert batch.accepted == 1
    assert sorted(entry.targets for entry in await entries(client)) == [("a",), ("b",)]


async def test_many_things_that_are_done_in_one_go_are_counted_and_named_together(client: Client) -> None:
    async with client.audit_as("purge", "queue", command="holdfast queues purge emails") as batch:
        batch.took("emails", 1_100)
    async with client.audit_as("purge", "queue") as batch:
        batch.took("idle", 0)
    (entry,) = await entries(client)
    assert (entry.targets, entry.count, entry.accepted) == (("emails",), 1_100, 1_100)


async def test_a_purge_is_one_entry_with_how_many_runs_it_cancelled_or_why_it_was_refused(client: Client) -> None:
    subject = client.bus.subjects.api(api.QUEUES_PURGE)

    async def page(data: bytes) -> bytes:
        asked = api.decode(data, api.QueuePurge)
        if asked.queue == "behind":
            raise Refused("the history is behind", code="unavailable")
        done = asked.dry_run or asked.queue == "empty" or asked.after > 0
        cancelled = 0 if asked.queue == "empty" else 600
        return codec.encode(api.QueuePurged(cancelled=cancelled, after=9, upto=9, done=done))

    stop = await client.bus.serve(subject, page)
    assert await client.purge_queue("emails", dry_run=True) == 600
    assert await client.purge_queue("empty") == 0
    assert await entries(client) == []
    assert await client.purge_queue("emails", reason="hook fixed") == 1200
    with pytest.raises(Refused):
        await client.purge_queue("behind")
    await stop()
    done, refused = await entries(client)
    assert (done.action, done.kind, done.targets) == ("purge", "queue", ("emails",))
    assert (done.count, done.accepted, done.refused, done.reason) == (1200, 1200, 0, "hook fixed")
    assert done.command == "holdfast queues purge emails --reason 'hook fixed'"
    assert (refused.targets, refused.accepted, refused.refused) == (("behind",), 0, 1)
    assert "the history is behind" in refused.why


async def test_where_nothing_was_tried_there_is_no_entry(client: Client) -> None:
    async with client.audit_as("cancel", "run", count=0):
        pass
    assert await entries(client) == []


async def test_changes_that_are_alike_are_gathered_by_what_they_do(client: Client) -> None:
    async with client.auditing.gathering():
        await client.pause("a")
        await client.pause("b")
        await client.pause("a", paused=False)
        with pytest.raises(UnknownRun):
            await client.run("01KDZ0A1B2C3D4E5F6G7H80001").cancel()
    paused, resumed, cancelled = await entries(client)
    assert (paused.count, paused.targets, paused.command) == (2, ("a", "b"), "holdfast queues pause a b")
    assert (resumed.count, resumed.command) == (1, "holdfast queues resume a")
    assert (cancelled.accepted, cancelled.refused) == (0, 1)


async def test_an_operation_that_was_done_is_done_whatever_becomes_of_its_entry(client: Client) -> None:
    class Full(MemoryBus):
        async def publish(self, subject: str, data: bytes, **options: object) -> int:
            if subject == self.subjects.audit:
                raise BusError("no room")
            return await super().publish(subject, data, **options)  # type: ignore[arg-type]

    bus, missed = Full("shop", client.bus.server), list[str]()  # type: ignore[attr-defined]
    full = Client(bus)  # type: ignore[arg-type]
    full.auditing.missed = missed.append
    run = await run_of(client)
    assert (await full.run(run).cancel()).id == run
    assert missed == [f"the audit has no entry of this cancel of run {run}, it could not be stored: no room"]


async def test_long_texts_are_cut(client: Client) -> None:
    await client.run(await run_of(client)).cancel("x" * 100_000)
    (entry,) = await entries(client)
    assert len(entry.reason) == len(entry.command) == TEXT_MOST
    assert entry.reason.endswith("…")


async def test_an_entry_written_by_hand_keeps_what_it_says(client: Client) -> None:
    client.via = "tui"
    await client.audited(api.AuditEntry(action="export", kind="run", who="bo", accepted=1, at=12.5))
    (entry,) = await entries(client)
    assert (entry.who, entry.at, entry.via) == ("bo", 12.5, "tui")
    assert entry.host == Actor.here({}).host


def test_who_acts_is_the_user_and_where_his_session_came_from() -> None:
    here = Actor.here({"SSH_CONNECTION": "10.1.2.3 51515 10.0.0.1 22", "USER": "somebody"})
    assert here.address == "10.1.2.3"
    assert here.who
    assert Actor.here({}).address == ""


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, one in vars(deeds).items()
        if inspect.isfunction(one)
        and one.__module__ == deeds.__name__
        and not name.startswith("_")
        and name != "shell"
        and "secret" not in name
    ],
)
def test_each_deed_is_a_method_of_the_client_with_the_same_parameters(name: str) -> None:
    described = list(inspect.signature(getattr(deeds, name)).parameters.values())
    done = list(inspect.signature(getattr(Client, name)).parameters.values())[1:]
    assert [(one.name, one.kind, one.default) for one in described] == [
        (one.name, one.kind, one.default) for one in done
    ]


@pytest.mark.parametrize(
    ("when", "options"),
    [
        (Cron("*/5 * * * *"), "--cron '*/5 * * * *'"),
        (Cron("@daily", tz="Europe/Paris", jitter=30), "--cron @daily --tz Europe/Paris --jitter 30s"),
        (Every(timedelta(minutes=2), overlap="allow", catch_up=60), "--every 120s --overlap allow --catch-up 60s"),
    ],
)
def test_a_created_schedule_says_its_times_as_the_command_takes_them(when: Cron | Every, options: str) -> None:
    deed = deeds.create_schedule("nightly", "etl", when, {"secret": 1}, priority=3, replace=True)
    command = deeds.shell(deed.words, (deed.target,), deed.options)
    assert command == f"holdfast schedules create nightly --task etl {options} --payload JSON --priority 3 --replace"
    assert shlex.split(command)[0] == "holdfast"


def test_a_worker_notes_nothing_of_its_own() -> None:
    auditor = Auditor(MemoryBus("shop"), lambda: 0.0)  # type: ignore[arg-type]
    assert not auditor.silent
    auditor.via = ""
    assert auditor.silent
