"""`holdfast schedules`: what operators do to schedules, and what is refused with nothing written."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from holdfast.client import Client
from holdfast.core.schedule import Schedule
from holdfast.ticks import Cron, Every
from holdfast.timetable import Timetable
from holdfast.wire import api, codec
from holdfast.wire.schedules import SCHEDULE, TICK, Dynamic, Fired, Parked, Ticking
from holdfast.wire.subjects import Stream
from holdfast.wire.values import decode_value

if TYPE_CHECKING:
    from .conftest import World


def declare(shop: World, *schedules: Schedule, task: str = "charge-card", takes_tick: bool = False) -> None:
    """What a worker says of its task."""
    card = api.TaskCard(id=task, queue="default", schedules=schedules, takes_tick=takes_tick)
    shop.do(lambda client: client.bus.put("task", task, codec.encode(card)))


@pytest.fixture
def charged(shop: World) -> World:
    """With a task that declares a schedule."""
    declare(shop, Cron("0 9 * * *", tz="Europe/Paris").of("charge-card"))
    return shop


def stands(shop: World, **state: object) -> None:
    """Where the declared schedule stands."""
    kept = Ticking(since=0.0, rhythm="r", **state)  # type: ignore[arg-type]
    shop.do(lambda client: client.bus.put(TICK, "charge-card", codec.encode(kept)))


def written(shop: World) -> int:
    """How much was ever written to the control stream and the journal."""

    async def both(client: Client) -> int:
        return await client.bus.last_seq(Stream.CONTROL) + await client.bus.last_seq(Stream.JOURNAL)

    return shop.do(both)


def parked(shop: World) -> int:
    return len(shop.do(lambda client: client.bus.read(Stream.JOURNAL, "hf.shop.j.*.timer.>")))


# --- list


def test_without_schedules_the_list_says_how_to_get_one(shop: World) -> None:
    done = shop("schedules", "list")
    assert (done.code, done.out) == (0, "")
    assert "no schedules: declare one with @task(schedule=...)" in done.err
    assert shop("schedules", "list", "--json").out == ""


def test_the_list_shows_when_and_how_it_went(charged: World) -> None:
    run = charged.run(7)
    next_ = Parked(4_000_000_000.0, "R2", 4_000_000_012.0, 9)
    stands(charged, next=next_, last=Fired(1_767_340_800.0, run, 1), missed=2, skipped=1234)
    charged("schedules", "create", "mine", "--task", "charge-card", "--every", "30s")
    charged("schedules", "pause", "mine")
    head, first, second = charged("schedules", "list").out.splitlines()
    assert head.split()[:6] == ["SCHEDULE", "TASK", "WHEN", "ZONE", "STATE", "NEXT"]
    assert first.split()[:7] == ["charge-card", "charge-card", "0", "9", "*", "*", "*"]
    assert first.split()[7:11] == ["Europe/Paris", "active", "2096-10-02", "07:06:52Z"]
    assert first.split()[13:] == ["2026-01-02", "08:00:00Z", "queued", "2", "1,234", "task"]
    assert second.split() == ["mine", "charge-card", "every", "30s", "UTC", "paused", "-", "-", "-", "0", "0", "cli"]


def test_the_list_as_json_has_all_fields(charged: World) -> None:
    stands(charged, next=Parked(4_000_000_000.0, "R2", 4_000_000_012.0, 9))
    (found,) = map(json.loads, charged("schedules", "list", "--json").out.splitlines())
    assert found == {
        "name": "charge-card", "task": "charge-card", "when": "0 9 * * *", "tz": "Europe/Paris", "overlap": "skip",
        "catch_up": 3600.0, "jitter": 0.0, "declared": True, "state": "active", "next_at": "2096-10-02T07:06:52.000Z",
        "last_at": None, "last_run": "", "last_state": None, "missed": 0, "skipped": 0, "by": "",
        "every": None, "created_at": None, "paused_at": None,
    }  # fmt: skip


def test_a_schedule_that_nobody_attends_to_says_so(charged: World) -> None:
    assert charged("schedules", "list").out.splitlines()[1].split()[8] == "new"
    stands(charged, next=Parked(1_767_340_800.0, "R2", 1_767_340_800.0, 9))
    done = charged("schedules", "list")
    assert done.out.splitlines()[1].split()[8] == "behind"
    assert "is the daemon running" in done.err


# --- create


def test_a_schedule_is_created_and_its_next_tick_parked_without_a_daemon(charged: World) -> None:
    done = charged(
        "schedules", "create", "eu", "--task", "charge-card", "--cron", "*/5 * * * *", "--tz", "Europe/Paris",
        "--payload", '{"region": "eu"}', "--overlap", "buffer_one", "--catch-up", "2h", "--jitter", "10s", "--queue",
        "slow", "--priority", "7",
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("eu  created, next 2")
    assert parked(charged) == 1
    (timer,) = charged.do(lambda client: client.bus.read(Stream.JOURNAL, "hf.shop.j.*.timer.>"))
    run = codec.decode_entry(timer.data)
    assert (run.task, run.queue, run.priority, decode_value(run.payload)) == (  # type: ignore[union-attr]
        "charge-card", "slow", 7, {"region": "eu"}
    )  # fmt: skip
    row = next(row for row in charged.do(lambda client: client.schedules()) if row.name == "eu")
    assert (row.overlap, row.catch_up, row.jitter, row.declared, row.by) == ("buffer_one", 7200.0, 10.0, False, "cli")


def test_creating_prints_the_schedule_as_json(charged: World) -> None:
    done = charged("schedules", "create", "eu", "--task", "charge-card", "--every", "1h", "--json")
    found = json.loads(done.out)
    assert (found["name"], found["when"], found["state"]) == ("eu", "every 1h", "active")


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (["eu", "--task", "charge-card"], 2, "expected either --cron"),
        (["eu", "--task", "charge-card", "--cron", "@daily", "--every", "1h"], 2, "found both"),
        (["eu", "--task", "charge-card", "--cron", "61 * * * *"], 2, "expected five fields"),
        (["eu", "--task", "charge-card", "--cron", ""], 2, "expected five fields"),
        (["eu", "--task", "charge-card", "--cron", "0 0 30 2 *"], 2, "cron '0 0 30 2 *'"),
        (["eu", "--task", "charge-card", "--cron", "@daily", "--tz", "Europe/Pari"], 2, "did you mean 'Europe/Paris'"),
        (["eu", "--task", "charge-card", "--every", "10ms"], 2, "expected at least 1 s between two ticks, found 0.01"),
        (["eu", "--task", "charge-card", "--every", "soon"], 2, "expected a duration like 90s"),
        (["eu", "--task", "charge-card", "--every", "1h", "--overlap", "queue"], 2, "expected one of skip, buffer_one"),
        (["eu", "--task", "charge-card", "--every", "1h", "--catch-up", "-1"], 2, "expected a duration like 90s"),
        (["eu", "--task", "charge-card", "--every", "1h", "--jitter", "x"], 2, "expected a duration like 90s"),
        (["eu", "--task", "charge-card", "--every", "1h", "--payload", "[1]"], 2, "expected an object of arguments"),
        (["eu", "--task", "charge-card", "--every", "1h", "--payload", "{"], 2, "expected JSON"),
        (["eu", "--task", "charge-card", "--every", "1h", "--payload", "@/nowhere"], 2, "expected a readable file"),
        (["eu", "--task", "charge-card", "--every", "1h", "--queue", "a b"], 2, "queue 'a b': expected letters"),
        (["eu", "--task", "charge-card", "--every", "1h", "--priority", "10"], 2, "should be less than or equal to 9"),
        (["e.u", "--task", "charge-card", "--every", "1h"], 2, "schedule 'e.u': expected letters"),
        (["eu", "--task", "charge card", "--every", "1h"], 2, "task 'charge card': expected letters"),
        (["eu", "--task", "charge-car", "--every", "1h"], 1, "did you mean 'charge-card'?"),
        (["charge-card", "--task", "charge-card", "--every", "1h"], 1, "is declared by task charge-card"),
        (["charge-card", "--task", "charge-card", "--every", "1h", "--replace"], 1, "is declared by task charge-card"),
        (["eu", "--every", "1h"], 2, "--task"),
        (["--task", "charge-card", "--every", "1h"], 2, "NAME"),
    ],
)  # fmt: skip
def test_what_can_not_be_created_is_refused_and_nothing_is_written(
    charged: World, given: list[str], code: int, words: str
) -> None:
    before = written(charged)
    done = charged("schedules", "create", *given)
    assert (done.code, done.out) == (code, "")
    assert words in done.err
    assert len(done.err.splitlines()) == 1
    assert written(charged) == before


def test_a_payload_that_is_too_large_is_refused(charged: World) -> None:
    large = json.dumps({"text": "x" * 300_000})
    done = charged("schedules", "create", "eu", "--task", "charge-card", "--every", "1h", "--payload", large)
    assert done.code == 2
    assert "expected a payload of at most 256 KiB" in done.err
    assert parked(charged) == 0


def test_a_name_is_given_once_unless_it_is_to_be_replaced(charged: World) -> None:
    create = ("schedules", "create", "eu", "--task", "charge-card")
    charged(*create, "--every", "1h")
    done = charged(*create, "--every", "2h")
    assert done.code == 1
    assert "there is a schedule eu: expected another name, or --replace to change it" in done.err
    assert charged(*create, "--every", "2h", "--replace").code == 0
    assert [row.when for row in charged.do(lambda client: client.schedules())] == ["0 9 * * *", "every 2h"]
    assert parked(charged) == 1


# --- pause, resume, delete


def test_a_change_moves_the_ticks_and_keeps_what_runs_are_given(charged: World) -> None:
    create = ("schedules", "create", "extra", "--task", "charge-card", "--every", "2h", "--jitter", "5m")
    assert charged(*create, "--payload", '{"order": 7}', "--priority", "2", "--overlap", "allow").code == 0
    assert charged("schedules", "change", "extra", "--cron", "0 6 * * *", "--tz", "Europe/Paris").code == 0
    (row,) = [row for row in charged.do(lambda client: client.schedules()) if row.name == "extra"]
    assert (row.when, row.tz, row.every, row.overlap, row.jitter) == ("0 6 * * *", "Europe/Paris", None, "allow", 300.0)
    kept = charged.do(lambda client: client.bus.last(Stream.CONTROL, client.bus.subjects.control(SCHEDULE, "extra")))
    assert kept is not None
    changed = api.decode(kept.data, Dynamic).schedule
    assert (decode_value(changed.payload), changed.priority) == ({"order": 7}, 2)
    assert parked(charged) == 1
    assert charged("schedules", "change", "extra", "--jitter", "0s").code == 0
    (row,) = [row for row in charged.do(lambda client: client.schedules()) if row.name == "extra"]
    assert (row.when, row.jitter) == ("0 6 * * *", 0.0)


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("nope", "--every", "5m"), 1, "no schedule 'nope'"),
        (("charge-card", "--every", "5m"), 1, "schedule charge-card is declared by task charge-card: change its code"),
        (("charge-card", "--every", "5m", "--cron", "* * * * *"), 2, "found both"),
        (("charge-card", "--cron", "99 * * * *"), 2, "five fields"),
    ],
)
def test_what_can_not_be_changed_is_refused_and_stays(
    charged: World, args: tuple[str, ...], code: int, words: str
) -> None:
    before = charged.do(lambda client: client.schedules())
    done = charged("schedules", "change", *args)
    assert (done.code, words in done.err) == (code, True), done.err
    assert charged.do(lambda client: client.schedules()) == before


def test_pausing_takes_the_parked_tick_out_and_resuming_puts_one_in(charged: World) -> None:
    charged("schedules", "create", "eu", "--task", "charge-card", "--every", "1h")
    assert charged("schedules", "pause", "eu", "charge-card").out == "eu  paused\ncharge-card  paused\n"
    assert parked(charged) == 0
    assert [row.state for row in charged.do(lambda client: client.schedules())] == ["paused", "paused"]
    done = charged("schedules", "resume", "eu")
    assert done.out.startswith("eu  resumed, next 2")
    assert parked(charged) == 1
    assert charged("schedules", "resume", "eu").code == 0  # it is not paused: nothing to do
    assert parked(charged) == 1


def test_a_schedule_is_deleted_with_all_that_was_known_of_it(charged: World) -> None:
    charged("schedules", "create", "eu", "--task", "charge-card", "--every", "1h")
    charged("schedules", "pause", "eu")
    assert charged("schedules", "delete", "eu").out == "eu  deleted\n"
    assert parked(charged) == 0
    assert charged.do(lambda client: Timetable(client.journal).standing("eu")) == (None, 0)
    assert [row.name for row in charged.do(lambda client: client.schedules())] == ["charge-card"]
    charged("schedules", "create", "eu", "--task", "charge-card", "--every", "1h")
    assert parked(charged) == 1  # a new one of the name is not paused


def test_what_a_task_declares_is_not_deleted(charged: World) -> None:
    before = written(charged)
    done = charged("schedules", "delete", "charge-card")
    assert done.code == 1
    assert "is declared by task charge-card: remove it from the code, or `holdfast schedules pause" in done.err
    assert written(charged) == before


def test_one_that_is_not_understood_here_can_be_deleted(charged: World) -> None:
    odd = {"schedule": {"name": "odd", "task": "t", "cron": "* * * * *", "tz": "Mars/Phobos"}, "by": "", "at": 1.0}
    charged.do(lambda client: client.bus.put(SCHEDULE, "odd", codec.encode(odd)))
    assert charged("schedules", "delete", "odd").code == 0


@pytest.mark.parametrize("command", ["delete", "pause", "resume", "run", "next"])
@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("charge-cart", 1, "no schedule 'charge-cart' in project shop; did you mean 'charge-card'?"),
        ("zzz", 1, "no schedule 'zzz' in project shop; known are: charge-card"),
        ("a b", 2, "schedule 'a b': expected letters, digits, '-' and '_'"),
        ("*", 2, "schedule '*': expected letters"),
        ("", 2, "schedule '': expected letters"),
    ],
)
def test_an_unknown_schedule_is_named(charged: World, command: str, name: str, code: int, words: str) -> None:
    before = written(charged)
    done = charged("schedules", command, name)
    assert (done.code, done.out) == (code, "")
    assert words in done.err
    assert written(charged) == before


@pytest.mark.parametrize("command", ["delete", "pause", "resume", "run", "next"])
def test_a_name_is_needed(charged: World, command: str) -> None:
    assert charged("schedules", command).code == 2


# --- run, next


def test_a_run_by_hand_is_a_run_of_its_own(shop: World) -> None:
    declare(shop, Every(3600).of("charge-card"), takes_tick=True)
    shop("schedules", "pause", "charge-card")
    first, second = shop("schedules", "run", "charge-card"), shop("schedules", "run", "charge-card", "--json")
    runs = [first.out.strip(), json.loads(second.out)["run"]]
    assert len(set(runs)) == 2
    run = shop.do(lambda client: client.journal.load(runs[0]))
    assert (run.source, run.tick, run.state.value) == ("schedule charge-card by hand", None, "queued")
    tick = decode_value(run.payload)["tick"]
    assert (tick.schedule, tick.previous) == ("charge-card", None)
    assert (tick.next.minute, tick.next.second) == (0, 0)


def test_the_next_times_are_told_in_both_zones(charged: World) -> None:
    lines = charged("schedules", "next", "charge-card").out.splitlines()
    assert len(lines) == 5
    for line in lines:
        day, date, clock, offset, zone, *utc = line.split()
        assert (clock, zone in ("CET", "CEST"), len(day)) == ("09:00:00", True, 3)
        assert utc == [date, "08:00:00Z" if offset == "+0100" else "07:00:00Z"]
    found = [
        json.loads(line) for line in charged("schedules", "next", "charge-card", "-n", "3", "--json").out.splitlines()
    ]
    assert len(found) == 3
    assert datetime.fromisoformat(found[0]["local"]) == datetime.fromisoformat(found[0]["at"])


@pytest.mark.parametrize("count", ["0", "-1", "1001", "x"])
def test_how_many_to_look_ahead_is_bounded(charged: World, count: str) -> None:
    done = charged("schedules", "next", "charge-card", "-n", count)
    assert (done.code, done.out) == (2, "")
