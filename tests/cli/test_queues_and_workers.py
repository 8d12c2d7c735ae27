"""`holdfast queues`, `holdfast workers` and `holdfast tasks`."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from holdfast.cli import queues
from holdfast.core.admission import QueueLimits
from holdfast.core.model import Rate, State
from holdfast.wire import api, codec
from holdfast.wire.subjects import Stream

from .conftest import AT

if TYPE_CHECKING:
    from holdfast.client import Client

    from .conftest import World


def test_queues_say_what_holds_them_back(shop: World) -> None:
    shop.queues = [
        api.QueueRow(name="billing", depth=3, running=2, workers=1, in_rate=1.25, p95=0.12, oldest=AT - 4),
        api.QueueRow(name="emails", depth=18200, paused=True, limited_by="paused", workers=2, dead=12),
        api.QueueRow(name="etl", depth=6, limit=4, running=4, workers=1, limited_by="queue limit"),
        api.QueueRow(name="hooks", depth=1, limited_by="no worker"),
        api.QueueRow(name="idle", limit=1, key_limit=1, rate=Rate(50, 15), limited_by="queue rate"),
    ]
    head, *lines = shop("queues", "list").out.splitlines()
    assert head.split()[:5] == ["QUEUE", "STATE", "DEPTH", "OLDEST", "RUN"]
    assert lines[0].split() == ["billing", "ok", "3", "4s", "2", *"--0000", "1.2", "0.0", "120ms", "1"]
    assert lines[1].split()[:4] == ["emails", "PAUSED", "18,200", "-"]
    assert lines[2].split()[:3] == ["etl", "AT", "LIMIT"]
    assert lines[3].split()[:3] == ["hooks", "NO", "WORKER"]
    assert lines[4].split()[:8] == ["idle", "ok", "0", "-", "0", "1", "(1/key)", "50/15s"]


def test_queues_count_runs_that_undo_or_wait_for_an_operator_where_there_are_any(shop: World) -> None:
    shop.queues = [api.QueueRow(name="billing", workers=1, paused_runs=1200), api.QueueRow(name="emails", workers=1)]
    head, *lines = shop("queues", "list").out.splitlines()
    assert head.split()[-2:] == ["WORKERS", "PAUSED"]
    assert [line.split()[-2:] for line in lines] == [["1", "1,200"], ["1", "0"]]
    shop.queues = [api.QueueRow(name="billing", workers=1, compensating=2)]
    head, line = shop("queues", "list").out.splitlines()
    assert head.split()[-2:] == ["WORKERS", "UNDO"]
    assert line.split()[-2:] == ["1", "2"]
    shop.queues = [api.QueueRow(name="billing", workers=1)]
    assert shop("queues", "list").out.splitlines()[0].split()[-1] == "WORKERS"


def test_queues_as_json_have_all_fields(shop: World) -> None:
    shop.queues = [api.QueueRow(name="billing", oldest=AT)]
    found = json.loads(shop("queues", "list", "--json").out)
    assert found["name"] == "billing"
    assert found["oldest"] == "2026-01-02T12:03:38.120Z"
    assert set(found) == set(api.QueueRow.__struct_fields__)


def test_a_purge_asks_for_the_name_and_does_nothing_for_another_one(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.waiting = 1200
    questions: list[str] = []
    typed = "bulk"

    async def ask(question: str) -> str:
        questions.append(question)
        return typed

    monkeypatch.setattr(queues, "ask", ask)
    done = shop("queues", "purge", "bulk", "--reason", "hook fixed")
    assert (done.code, done.out) == (0, "bulk  1,200 runs cancelled\n")
    assert questions == ["cancel 1,200 runs that wait in bulk? type its name to do it: "]
    assert shop.asked == [("bulk", "", True), ("bulk", "hook fixed", False)]
    shop.asked.clear()
    typed = "bulks"
    refused = shop("queues", "purge", "bulk")
    assert refused.code == 2
    assert 'nothing was cancelled: expected "bulk", found "bulks"' in refused.err
    assert shop.asked == [("bulk", "", True)]


def test_a_purge_that_need_not_ask_does_not(shop: World) -> None:
    shop.waiting = 3
    assert shop("queues", "purge", "bulk", "--yes").out == "bulk  3 runs cancelled\n"
    assert shop.asked == [("bulk", "", False)]
    shop.asked.clear()
    assert shop("queues", "purge", "bulk", "--dry-run").out == "bulk  3 runs would be cancelled\n"
    assert json.loads(shop("queues", "purge", "bulk", "--dry-run", "--json").out) == {"queue": "bulk", "waiting": 3}
    assert "expected a terminal to ask on (cancel 3 runs that wait in bulk?)" in shop("queues", "purge", "bulk").err
    shop.waiting = 0
    assert json.loads(shop("queues", "purge", "bulk", "--json").out) == {"queue": "bulk", "cancelled": 0}
    assert {call[2] for call in shop.asked} == {True}


def test_queues_are_paused_and_resumed_by_name(shop: World) -> None:
    shop.run(1)
    shop.do(lambda client: client.bus.ensure_consumer("default", 5))

    def paused() -> list[bool]:
        return [one.paused for one in shop.do(lambda client: client.bus.consumers())]

    assert shop("queues", "pause", "default", "emails") == (0, "default  paused\nemails  paused\n", "")
    assert paused() == [True]
    assert json.loads(shop("queues", "resume", "default", "--json").out) == {"queue": "default", "paused": False}
    assert paused() == [False]


def test_limits_are_set_one_by_one_and_taken_back(shop: World) -> None:
    def limits() -> QueueLimits | None:
        return shop.do(lambda client: client.limits("orders"))  # type: ignore[no-any-return]

    assert shop("queues", "limit", "orders") == (0, "orders  as configured\n", "")
    assert shop("queues", "limit", "orders", "--concurrency", "7").out == "orders  7 at once\n"
    told = "orders  7 at once, 1 at once of each key, 100/15s\n"
    assert shop("queues", "limit", "orders", "--per-key", "1", "--rate", "100/15s").out == told
    assert limits() == QueueLimits(concurrency=7, key_concurrency=1, rate=Rate(100, 15), by="cli")
    assert shop("queues", "limit", "orders", "--concurrency", "none", "--rate", "none").code == 0
    assert limits() == QueueLimits(key_concurrency=1, by="cli")
    assert shop("queues", "limit", "orders", "--reset").out == "orders  as configured\n"
    assert limits() is None


def test_limits_that_can_be_none_are_wrong_usage_and_change_nothing(shop: World) -> None:
    for option, value, words in (
        ("--concurrency", "0", "expected a whole number from 1, or none"),
        ("--per-key", "many", "expected a whole number from 1, or none"),
        ("--rate", "50", "expected a rate like"),
        ("--rate", "0/s", "expected a rate like"),
        ("--rate", "5/parsec", "expected a rate like"),
    ):
        done = shop("queues", "limit", "orders", option, value)
        assert done.code == 2
        assert words in done.err
    assert shop("queues", "limit", "orders", "--reset", "--rate", "5/s").code == 2
    assert shop("queues", "limit", "a.b", "--rate", "5/s").code == 2
    assert shop("queues", "limit", "orders").out == "orders  as configured\n"


def test_why_says_what_holds_a_run_back_and_since_when(shop: World) -> None:
    run = shop.run(1)
    reasons = (api.Reason("paused", "queue default is paused", AT), api.Reason("retry", "not due yet", None, AT + 9))
    shop.why = api.Why(run, "ship", "default", State.QUEUED, reasons)
    head, paused, retry = shop("queues", "why", run).out.splitlines()
    assert head == f"run {run}  ship on default  queued"
    assert paused == "  paused        queue default is paused  (since 2026-01-02 12:03:38Z)"
    assert retry == "  retry         not due yet  (until 2026-01-02 12:03:47Z)"
    assert json.loads(shop("queues", "why", run, "--json").out)["reasons"][0]["cause"] == "paused"
    shop.why = api.Why(run, "ship", "default", State.QUEUED, ())
    assert shop("queues", "why", run).out.splitlines()[1] == "  nothing holds it back: it is on its way to a worker"


def test_a_queue_that_can_be_none_is_wrong_usage(shop: World) -> None:
    done = shop("queues", "pause", "a b")
    assert (done.code, done.err) == (2, "holdfast: queue 'a b': expected letters, digits, '-' and '_'\n")


def test_nothing_there_says_what_to_do(shop: World) -> None:
    assert shop("queues", "list") == (0, "", "no queues yet: the first run makes one\n")
    assert shop("workers", "list").err == "no workers: start one with `holdfast up` or `holdfast worker MODULE`\n"
    assert shop("tasks", "list").err == "no tasks yet: a worker declares its own when it starts\n"
    assert shop("workers", "list", "--json") == (0, "", "")


def declare(shop: World) -> None:
    async def put(client: Client) -> None:
        now = time.time()
        presence = api.Presence(
            worker="w-07", host="mill", pid=41, started_at=now - 300, at=now, tasks=("resize",), queues=("images",),
            concurrency=10, running=3, draining=True, version="0.1.0", cpu=0.17, rss=20_000_000, done_rate=1.5,
        )  # fmt: skip
        card = api.TaskCard(id="resize", queue="images", parameters="(id: int)", doc="Make \x1b[8m small.", module="m")
        await client.bus.put("worker", "w-07", codec.encode(presence))
        await client.bus.put("task", "resize", codec.encode(card))

    shop.do(put)


def test_workers_are_listed(shop: World) -> None:
    declare(shop)
    line = shop("workers", "list").out.splitlines()[1]
    assert line.split() == [
        "w-07",
        "draining",
        "3",
        "10",
        "17%",
        "19.1",
        "MiB",
        "1.5",
        "5m",
        "0s",
        "mill",
        "41",
        "images",
        "resize",
        "0.1.0",
    ]
    found = json.loads(shop("workers", "list", "--json").out)
    assert (found["worker"], found["tasks"], found["started_at"][-1]) == ("w-07", ["resize"], "Z")


def test_tasks_are_listed(shop: World) -> None:
    declare(shop)
    assert shop("tasks", "list").out.splitlines()[1] == "resize  images  (id: int)       m       Make \\x1b[8m small."
    assert json.loads(shop("tasks", "list", "--json").out)["parameters"] == "(id: int)"


def test_what_keeps_workers_from_serving_is_said_beside_the_list(shop: World) -> None:
    fault = api.Fault(pool="w1-shop", since=AT, errors=("module b failed to import at b.py:2: KeyError: 'x'",))
    shop.do(lambda client: client.bus.put(api.FAULT, fault.pool, codec.encode(fault)))
    done = shop("workers", "list")
    assert (done.code, done.err.splitlines()[0]) == (0, f"not served: {fault.errors[0]}")
    assert shop("workers", "list", "--json") == (0, "", "")


def beats(shop: World, *names: str, running: int = 2) -> None:
    """Workers of these names."""

    async def put(client: Client) -> None:
        for name in names:
            beat = api.Presence(
                worker=name, host="mill", pid=7, started_at=AT, at=AT, tasks=(), queues=(), concurrency=8,
                running=running,
            )  # fmt: skip
            await client.bus.put("worker", name, codec.encode(beat))

    shop.do(put)


def told(shop: World) -> dict[str, str]:
    """What workers were told, by name."""

    async def read(client: Client) -> dict[str, str]:
        found = await client.bus.latest(Stream.CONTROL, client.bus.subjects.control(api.ORDER, "*"))
        orders = {one.subject.rpartition(".")[2]: api.decode(one.data, api.Order) for one in found}
        assert all(order.by == "cli" for order in orders.values())
        return {name: order.duty.value for name, order in orders.items()}

    return shop.do(read)


def left(shop: World) -> list[api.AuditEntry]:
    async def read(client: Client) -> list[api.AuditEntry]:
        found = await client.bus.read(Stream.AUDIT, client.bus.subjects.audit)
        return [api.decode(message.data, api.AuditEntry) for message in found]

    return shop.do(read)


def test_workers_are_told_by_name_to_drain_to_go_on_and_to_stop(shop: World) -> None:
    beats(shop, "w-01", "w-02")
    done = shop("workers", "drain", "w-01")
    assert done == (0, "w-01  drains, 2 runs to finish or suspend\n", "")
    assert told(shop) == {"w-01": "drain"}
    assert shop("workers", "resume", "w-01").out == "w-01  takes up runs again\n"
    assert shop("workers", "stop", "w-02", "w-01").out == (
        "w-01  stops, 2 runs to finish or give back\nw-02  stops, 2 runs to finish or give back\n"
    )
    assert told(shop) == {"w-01": "stop", "w-02": "stop"}
    drained, resumed, stopped = left(shop)
    assert (drained.action, drained.kind, drained.targets) == ("worker-drain", "worker", ("w-01",))
    assert (drained.filter, drained.command) == ("", "holdfast workers drain w-01")
    assert resumed.action == "worker-resume"
    assert (stopped.targets, stopped.accepted) == (("w-01", "w-02"), 2)


def test_a_pattern_shows_whom_it_means_and_asks(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    beats(shop, "w-01", "w-02", "x-01", running=0)
    asked = shop("workers", "drain", "w-*")
    assert asked.code == 2
    assert "  w-01  on mill  0 runs\n  w-02  on mill  0 runs\n" in asked.err
    assert "expected a terminal to ask on (drain 2 workers with 0 runs?), found none: add --yes" in asked.err

    async def no(question: str) -> str:
        return "n"

    monkeypatch.setattr("holdfast.cli.workers.ask", no)
    assert "no worker was told anything" in shop("workers", "drain", "w-*").err
    assert told(shop) == {}
    assert left(shop) == []
    done = shop("workers", "drain", "w-*", "--yes", "--json")
    assert [json.loads(line) for line in done.out.splitlines()] == [
        {"worker": "w-01", "told": "drain", "running": 0},
        {"worker": "w-02", "told": "drain", "running": 0},
    ]
    assert told(shop) == {"w-01": "drain", "w-02": "drain"}
    (entry,) = left(shop)
    assert (entry.filter, entry.count, entry.command) == ("w-*", 2, "holdfast workers drain 'w-*'")


def test_a_name_means_itself_and_a_star_any_letters(shop: World) -> None:
    beats(shop, "w-1", "w-12", "aw-1")
    assert shop("workers", "drain", "w-1").code == 0
    assert set(told(shop)) == {"w-1"}
    assert shop("workers", "stop", "*-1", "aw-1", "-y").code == 0
    assert told(shop) == {"w-1": "stop", "aw-1": "stop"}


def test_a_name_that_no_worker_has_is_said_with_those_there_are_and_nobody_is_told(shop: World) -> None:
    beats(shop, "w-01", "w-02")
    for name in ("w-03", "v-*"):
        done = shop("workers", "stop", "w-01", name, "--yes")
        assert done.code == 1
        assert f"no worker '{name}' is there" in done.err
        assert "w-01" in done.err
        assert "w-02" in done.err
    assert told(shop) == {}
    assert left(shop) == []
