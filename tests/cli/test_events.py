"""`holdfast events`, and what `holdfast emit` says beside the data."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.client import Client
from holdfast.config import Route
from holdfast.core.model import State
from holdfast.errors import DaemonUnavailable
from holdfast.wire import api
from holdfast.wire.subjects import Stream
from holdfast_daemon.registrar import Registrar
from holdfast_daemon.replays import Replays
from holdfast_daemon.routebook import Routebook

from .conftest import Told, World

ROUTES = (
    Route(subject="orders.*", task="ship", filter="event.n > 0"),
    Route(subject="orders.*", task="audit", name="a"),
)


class Daemon(Told):
    """A client whose daemon routes by `ROUTES`."""

    @property
    def replays(self) -> Replays:
        return Replays(self.journal, Routebook(ROUTES), Registrar(self.journal))

    async def replay_events(self, asked: api.EventsReplay) -> api.EventsReplayed:
        self.world.asked.append(asked)
        return await self.replays.replay(asked)

    async def event_runs(self, seq: int) -> tuple[api.EventRun, ...]:
        return (await self.replays.runs(api.EventRef(seq))).runs


class Down(Told):
    """A client whose daemon is not there."""

    async def replay_events(self, asked: api.EventsReplay) -> api.EventsReplayed:
        raise DaemonUnavailable("nobody answers")

    async def event_runs(self, seq: int) -> tuple[api.EventRun, ...]:
        raise DaemonUnavailable("nobody answers")


@pytest.fixture
def events(shop: World) -> World:
    """Six events in the stream, the second a foreign one."""

    async def publish(client: Client) -> None:
        await client.emit("orders.created", {"n": 0}, id="order-0")
        client.bus._project.filters[Stream.EVENTS].append("shop.>")  # type: ignore[attr-defined]
        await client.bus.publish("shop.paid", b"\xff\x00 raw")
        for n in range(1, 4):
            await client.emit("orders.created", {"n": n}, headers={"X-Shop": "north"})
        await client.emit("stock.low", "text\x1b[31m")

    shop.do(publish)
    shop.client = Daemon
    return shop


def rows(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


# --- list


def test_events_are_listed_newest_first(events: World) -> None:
    done = events("events", "list")
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()] == ["SEQ", "6", "5", "4", "3", "2", "1"]
    assert "order-0" in done.out
    assert "\x1b" not in done.out


def test_events_are_listed_for_programs(events: World) -> None:
    found = rows(events("events", "list", "--json").out)
    assert [row["seq"] for row in found] == [6, 5, 4, 3, 2, 1]
    assert found[1]["data"] == {"n": 3}
    assert found[1]["headers"] == {"X-Shop": "north"}
    assert found[4]["subject"] == found[4]["published_on"] == "shop.paid"
    assert found[4]["data"]["$type"] == "bytes"
    assert (found[5]["subject"], found[5]["published_on"]) == ("orders.created", "hf.shop.evt.orders.created")


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("--subject", "orders.*"), [5, 4, 3, 1]),
        (("--subject", "shop.paid"), [2]),
        (("--subject", ">", "-n", "2"), [6, 5]),
        (("--since", "1h", "-n", "1"), [6]),
        (("--subject", "none"), []),
    ],
)
def test_a_selection_is_listed(events: World, args: tuple[str, ...], expected: list[int]) -> None:
    assert [row["seq"] for row in rows(events("events", "list", "--json", *args).out)] == expected


def test_of_many_events_the_newest_are_found_however_far_back(shop: World) -> None:
    async def publish(client: Client) -> None:
        await client.emit("rare", {})
        for n in range(1200):
            await client.emit("often", n)

    shop.do(publish)
    assert [row["seq"] for row in rows(shop("events", "list", "--subject", "rare", "--json").out)] == [1]
    assert [row["seq"] for row in rows(shop("events", "list", "-n", "600", "--json").out)] == list(range(1201, 601, -1))


def test_where_there_is_none_that_is_said(shop: World) -> None:
    assert shop("events", "list").err == "no event matches\n"
    done = shop("events", "list", "--subject", "a..b")
    assert (done.code, "expected a subject" in done.err) == (2, True)


# --- show


def test_an_event_is_shown_with_its_runs(events: World) -> None:
    assert events("events", "replay", "4").code == 0
    done = events("events", "show", "4")
    assert done.code == 0
    for shown in ("orders.created", "hf.shop.evt.orders.created", "X-Shop: north", '"n": 2', "audit", "queued"):
        assert shown in done.out
    (row,) = rows(events("events", "show", "4", "--json").out)
    assert [(run["task"], run["route"], run["state"]) for run in row["runs"]] == [
        ("ship", "orders.*:ship", "queued"),
        ("audit", "a", "queued"),
    ]


def test_bytes_that_are_no_text_are_shown_as_escapes(events: World) -> None:
    assert "  \\xff\\x00 raw" in events("events", "show", "2").out


def test_an_event_that_started_no_run_says_so(events: World) -> None:
    assert "it started no run" in events("events", "show", "6").err


def test_an_event_is_shown_without_a_daemon_too(events: World) -> None:
    events.client = Down
    done = events("events", "show", "1")
    assert done.code == 0
    assert "Nats-Msg-Id: order-0" in done.out
    assert "which runs it started is not known" in done.err


def test_an_event_that_is_not_there_is_said(events: World) -> None:
    done = events("events", "show", "99")
    assert (done.code, "no event 99: the last one is 6" in done.err) == (1, True)


# --- replay


def test_events_are_replayed_once(events: World) -> None:
    first = events("events", "replay", "--all")
    assert (first.code, first.out) == (
        0, "6 events: 7 runs created, 0 there already, 2 unwanted\n",
    )  # fmt: skip
    again = events("events", "replay", "--all", "--json")
    (row,) = rows(again.out)
    assert row == {
        "events": 6, "created": 0, "existed": 7, "unwanted": 2, "unmapped": 0, "refused": 0, "finished": True,
        "next": 7,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("args", "created"),
    [
        (("3",), 2),
        (("3", "4", "3"), 4),
        (("--subject", "orders.*"), 7),
        (("--since", "1h", "--task", "audit"), 4),
        (("--first", "4"), 4),
        (("--until", "1h"), 0),
        (("--all", "--route", "a"), 4),
    ],
)
def test_a_selection_is_replayed(events: World, args: tuple[str, ...], created: int) -> None:
    (row,) = rows(events("events", "replay", "--json", *args).out)
    assert (row["created"], row["finished"]) == (created, True)


def test_again_makes_other_runs_and_one_command_makes_each_once(events: World) -> None:
    for expected in (7, 7):
        (row,) = rows(events("events", "replay", "--all", "--again", "--json").out)
        assert (row["created"], row["existed"]) == (expected, 0)
    tokens = {asked.again for asked in events.asked}
    assert len(tokens) == 2
    assert all(len(token) == 16 for token in tokens)


def test_a_dry_run_creates_nothing(events: World) -> None:
    done = events("events", "replay", "--all", "--dry-run")
    assert done.out == "6 events: 7 runs would be created, 0 there already, 2 unwanted\n"
    assert rows(events("events", "replay", "--all", "--json").out)[0]["created"] == 7


def test_events_that_cannot_be_read_are_told(events: World) -> None:
    async def publish(client: Client) -> None:
        await client.emit("orders.created", {"m": 1})

    events.do(publish)
    done = events("events", "replay", "7")
    assert done.code == 0
    assert done.out == "1 event: 1 run created, 0 there already, 0 unwanted, 1 dead letters (see `holdfast dlq list`)\n"


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        ((), 2, "expected which events to replay"),
        (("3", "--all"), 2, "found both"),
        (("99",), 1, "no event 99"),
        (("--all", "--route", "none"), 1, "no route is named none"),
        (("--subject", "a b"), 2, "expected a subject"),
    ],
)
def test_what_cannot_be_replayed_is_said(events: World, args: tuple[str, ...], code: int, said: str) -> None:
    done = events("events", "replay", *args)
    assert (done.code, said in done.err) == (code, True), done


def test_without_a_daemon_nothing_is_replayed(events: World) -> None:
    events.client = Down
    done = events("events", "replay", "--all")
    assert done.code == 3
    assert "stopped" in done.out


# --- emit


def test_an_event_is_published_with_id_and_headers(shop: World) -> None:
    for _ in range(2):
        assert shop("emit", "orders.created", "{}", "--id", "order-1", "--header", "X-Shop=a=b").out == "1\n"
    (row,) = rows(shop("events", "list", "--json").out)
    assert row["headers"] == {"Nats-Msg-Id": "order-1", "X-Shop": "a=b"}


def test_a_header_that_is_none_is_refused(shop: World) -> None:
    assert shop("emit", "orders.created", "{}", "--header", "X-Shop").code == 2
    done = shop("emit", "orders.created", "{}", "--header", "Nats-Rollup=all")
    assert (done.code, "the server's own" in done.err) == (1, True)


# --- dead letters of events


def test_the_dead_letter_of_an_event_shows_its_bytes_and_where_it_is(events: World) -> None:
    async def publish(client: Client) -> None:
        await client.bus.publish(client.bus.subjects.event("orders.created"), b"\xff\xfe broken {")

    events.do(publish)
    events("events", "replay", "7")
    (dead, _) = rows(events("events", "show", "7", "--json").out)[0]["runs"]
    assert dead["state"] == State.DEAD
    done = events("dlq", "show", dead["run"])
    assert done.code == 0
    assert "  \\xff\\xfe broken {\n" in done.out
    assert "event 7 on hf.shop.evt.orders.created, 11 bytes: filter event.n > 0:" in done.out
    retried = events("dlq", "retry", dead["run"], "--payload", '{"n": 1}')
    assert retried.code == 0
    assert events.state(dead["run"]) == "queued"
