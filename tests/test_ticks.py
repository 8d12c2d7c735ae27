"""When ticks are: against every minute of the clock around real changes of it, and by hand where a rule says so."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import Cron, Every
from holdfast.core.schedule import Schedule
from holdfast.errors import DefinitionError
from holdfast.ticks import Scheduled, after, tell
from holdfast.wire.values import decode_value, encode_value

DAY = 86400


def at(zone: str, *parts: int, fold: int = 0) -> float:
    return datetime(*parts, tzinfo=ZoneInfo(zone), fold=fold).timestamp()  # type: ignore[arg-type, misc]


def cron(text: str, zone: str = "UTC") -> Schedule:
    return Cron(text, tz=zone).of("t")


def between(schedule: Schedule, since: float, until: float) -> list[float]:
    return list(takewhile(lambda tick: tick <= until, after(schedule, since)))


def shown(ticks: list[float], zone: str) -> list[str]:
    return [f"{datetime.fromtimestamp(tick, ZoneInfo(zone)):%d %H:%M %z}" for tick in ticks]


# --- a change of the clocks, by hand


def test_a_local_time_that_does_not_exist_is_skipped() -> None:
    since = at("Europe/Paris", 2027, 3, 27)
    found = between(cron("30 2 * * *", "Europe/Paris"), since, since + 3 * DAY)
    assert shown(found, "Europe/Paris") == ["27 02:30 +0100", "29 02:30 +0200"]


def test_a_local_time_that_exists_twice_ticks_twice() -> None:
    since = at("Europe/Paris", 2027, 10, 30)
    found = between(cron("30 2 * * *", "Europe/Paris"), since, since + 2 * DAY)
    assert shown(found, "Europe/Paris") == ["30 02:30 +0200", "31 02:30 +0200", "31 02:30 +0100"]


def test_an_expression_with_stars_ticks_through_the_repeated_hour() -> None:
    since = at("America/New_York", 2027, 11, 7, 0, 59)
    found = between(cron("*/30 * * * *", "America/New_York"), since, since + 3 * 3600)
    assert shown(found, "America/New_York") == [
        "07 01:00 -0400", "07 01:30 -0400", "07 01:00 -0500", "07 01:30 -0500", "07 02:00 -0500", "07 02:30 -0500",
    ]  # fmt: skip


def test_half_an_hour_is_repeated_on_lord_howe() -> None:
    since = at("Australia/Lord_Howe", 2027, 4, 4)
    found = between(cron("*/15 1,2 * * *", "Australia/Lord_Howe"), since, since + 4 * 3600)
    assert shown(found, "Australia/Lord_Howe") == [
        "04 01:00 +1100", "04 01:15 +1100", "04 01:30 +1100", "04 01:45 +1100", "04 01:30 +1030", "04 01:45 +1030",
        "04 02:00 +1030", "04 02:15 +1030", "04 02:30 +1030", "04 02:45 +1030",
    ]  # fmt: skip


def test_a_day_that_samoa_skipped_has_no_ticks() -> None:
    since = at("Pacific/Apia", 2011, 12, 28, 12)
    found = between(cron("0 9 * * *", "Pacific/Apia"), since, since + 4 * DAY)
    assert shown(found, "Pacific/Apia") == ["29 09:00 -1000", "31 09:00 +1400", "01 09:00 +1400", "02 09:00 +1400"]


def test_the_second_pass_is_found_from_within_the_first() -> None:
    first, second = (at("Europe/Paris", 2027, 10, 31, 2, 30, fold=fold) for fold in (0, 1))
    schedule = cron("30 2 * * *", "Europe/Paris")
    for since in (first, first + 60, second - 60, second - 1):
        assert next(after(schedule, since)) == second
    assert next(after(schedule, first - 1)) == first
    assert next(after(schedule, second)) == at("Europe/Paris", 2027, 11, 1, 2, 30)


# --- against the clock, minute by minute

CHANGES = [
    ("Europe/Paris", (2027, 3, 28)), ("Europe/Paris", (2027, 10, 31)), ("America/New_York", (2027, 3, 14)),
    ("America/New_York", (2027, 11, 7)), ("Australia/Lord_Howe", (2027, 4, 4)), ("Australia/Lord_Howe", (2027, 10, 3)),
    ("Pacific/Apia", (2011, 12, 30)), ("Pacific/Kwajalein", (1993, 8, 21)), ("Africa/Casablanca", (2027, 2, 7)),
    ("America/Sao_Paulo", (2018, 11, 4)), ("Asia/Kathmandu", (2027, 1, 1)), ("Antarctica/Troll", (2027, 3, 28)),
    ("Antarctica/Troll", (2027, 10, 31)), ("UTC", (2028, 2, 29)), ("Pacific/Kwajalein", (1969, 9, 30)),
]  # fmt: skip
NUMBERS = st.frozensets(st.integers(0, 59), min_size=1, max_size=4)
HOURS = st.frozensets(st.integers(0, 23), min_size=1, max_size=24)
WEEKDAYS = st.none() | st.frozensets(st.integers(0, 6), min_size=1, max_size=6)


def by_the_clock(zone: str, since: float, until: float, minutes: frozenset[int], hours: frozenset[int],
                 weekdays: frozenset[int] | None) -> Iterator[float]:  # fmt: skip
    """Each minute that passes, and whether the clock on the wall shows what is meant."""
    tz, minute = ZoneInfo(zone), (math.floor(since) // 60 + 1) * 60
    while minute <= until:
        wall = datetime.fromtimestamp(minute, tz)
        day = wall.isoweekday() % 7
        if wall.minute in minutes and wall.hour in hours and (weekdays is None or day in weekdays):
            yield float(minute)
        minute += 60


def listed(numbers: frozenset[int] | None) -> str:
    return "*" if numbers is None else ",".join(map(str, sorted(numbers)))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(CHANGES), NUMBERS, HOURS, WEEKDAYS, st.integers(-36 * 60, 30 * 60), st.floats(0, 59.9))
def test_ticks_are_when_the_clock_on_the_wall_shows_them(
    change: tuple[str, tuple[int, int, int]],
    minutes: frozenset[int],
    hours: frozenset[int],
    weekdays: frozenset[int] | None,
    start: int,
    second: float,
) -> None:
    zone, day = change
    since = datetime(*day, tzinfo=UTC).timestamp() + start * 60 + second
    until = since + 60 * 3600
    schedule = cron(f"{listed(minutes)} {listed(hours)} * * {listed(weekdays)}", zone)
    assert between(schedule, since, until) == list(by_the_clock(zone, since, until, minutes, hours, weekdays))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(CHANGES), NUMBERS, HOURS, st.integers(-36 * 60, 30 * 60))
def test_looking_again_after_each_tick_finds_the_same_ticks(
    change: tuple[str, tuple[int, int, int]], minutes: frozenset[int], hours: frozenset[int], start: int
) -> None:
    zone, day = change
    since = datetime(*day, tzinfo=UTC).timestamp() + start * 60
    schedule = cron(f"{listed(minutes)} {listed(hours)} * * *", zone)
    in_one_go = list(islice(after(schedule, since), 30))
    one_by_one = [since]
    while len(one_by_one) <= 30:
        one_by_one.append(next(after(schedule, one_by_one[-1])))
    assert one_by_one[1:] == in_one_go
    assert all(earlier < later for earlier, later in pairwise(in_one_go))


# --- every


def test_every_half_minute_is_on_the_half_minute_whoever_asks() -> None:
    assert list(islice(after(Every(30).of("t"), 1_800_000_001.5), 3)) == [
        1_800_000_030.0,
        1_800_000_060.0,
        1_800_000_090.0,
    ]
    assert next(after(Every(30).of("t"), 1_800_000_030.0)) == 1_800_000_060.0
    assert next(after(Every(timedelta(hours=1)).of("t"), 1_800_000_000.0)) == 1_800_003_600.0


@given(st.floats(1, 1e6), st.floats(0, 4e9))
def test_every_tick_is_behind_the_instant_and_none_is_left_out(every: float, since: float) -> None:
    first, second = islice(after(Every(every).of("t"), since), 2)
    assert since < first < second
    assert first - every <= since + 1e-5
    assert next(after(Every(every).of("t"), first)) == second


# --- expressions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@hourly", ["01 01:00", "01 02:00"]),
        ("@daily", ["02 00:00", "03 00:00"]),
        ("@weekly", ["03 00:00", "10 00:00"]),
        ("0 12 L * *", ["31 12:00", "28 12:00"]),
        ("30 8 * * MON-FRI", ["01 08:30", "04 08:30"]),
        ("0 0 13 * FRI", ["08 00:00", "13 00:00"]),
        ("0 0 29 2 *", ["29 00:00", "29 00:00"]),
    ],
)
def test_expressions_mean_what_they_mean_in_cron(text: str, expected: list[str]) -> None:
    found = list(islice(after(cron(text), at("UTC", 2027, 1, 1) + 0.5), 2))
    assert [f"{datetime.fromtimestamp(tick, UTC):%d %H:%M}" for tick in found] == expected


def test_six_fields_begin_with_seconds() -> None:
    found = list(islice(after(cron("*/20 * * * * *"), 1_800_000_000.0), 3))
    assert found == [1_800_000_020.0, 1_800_000_040.0, 1_800_000_060.0]


@pytest.mark.parametrize(
    "text", ["", "* * * *", "61 * * * *", "* 24 * * *", "a b c d e", "*/0 * * * *", "5-1 * * * *", "0 0 30 2 *",
             "L/2 * * * *", "@often", "0 0 31 4 *", "* * * * 8L", "1,,2 * * * *", "٣ * * * *"],
)  # fmt: skip
def test_what_is_no_expression_is_refused_in_words(text: str) -> None:
    with pytest.raises(DefinitionError, match=r"expected five fields .* or six"):
        Cron(text)


@pytest.mark.parametrize("value", [None, 5, b"* * * * *"])
def test_an_expression_is_a_text(value: object) -> None:
    with pytest.raises(DefinitionError, match="expected a cron expression, found"):
        Cron(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("zone", ["Europe/Pris", "Europe", "", "../UTC", "/etc/passwd", "Mars", "utc+1", 3, None])
def test_an_unknown_zone_is_refused(zone: object) -> None:
    with pytest.raises(DefinitionError, match="expected the name of a time zone"):
        Cron("* * * * *", tz=zone)  # type: ignore[arg-type]


def test_a_mistyped_zone_names_the_nearest() -> None:
    with pytest.raises(DefinitionError, match="did you mean 'Europe/Paris'"):
        Cron("* * * * *", tz="Europe/Pariss")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"overlap": "queue"},
            "overlap: expected one of skip, buffer_one, buffer_all, cancel_other, allow, found 'queue'",
        ),
        ({"catch_up": -1}, "catch_up: expected seconds from 0 on"),
        ({"catch_up": math.inf}, "catch_up: expected seconds from 0 on"),
        ({"jitter": "1m"}, "jitter: expected seconds from 0 on or a timedelta, found '1m'"),
        ({"jitter": math.nan}, "jitter: expected seconds from 0 on"),
    ],
)
def test_an_option_that_can_not_be_is_refused(options: dict[str, object], words: str) -> None:
    for make in (lambda **given: Cron("* * * * *", **given), lambda **given: Every(30, **given)):
        with pytest.raises(DefinitionError, match=words):
            make(**options)


@pytest.mark.parametrize("value", [0, 0.5, -30, math.inf, math.nan, "30", None, True])
def test_ticks_are_at_least_a_second_apart(value: object) -> None:
    with pytest.raises(DefinitionError, match="Every: "):
        Every(value)  # type: ignore[arg-type]


def test_durations_may_be_timedeltas() -> None:
    made = Every(timedelta(minutes=1), catch_up=timedelta(hours=2), jitter=timedelta(seconds=5)).of("t")
    assert (made.every, made.catch_up, made.jitter) == (60.0, 7200.0, 5.0)


# --- what a task is told


def test_a_tick_is_told_in_its_zone_and_comes_back_the_same_from_the_journal() -> None:
    first, second = (at("Europe/Paris", 2027, 10, 31, 2, 30, fold=fold) for fold in (0, 1))
    told = tell(cron("30 2 * * *", "Europe/Paris"), second, first, None)
    assert told.at == datetime(2027, 10, 31, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Paris"))
    assert (told.at.fold, told.previous.fold if told.previous else None, told.next) == (1, 0, None)
    back = decode_value(encode_value({"tick": told}))["tick"]
    assert isinstance(back, Scheduled)
    assert back == told
    assert (back.at.fold, back.at.timestamp(), back.schedule) == (1, second, "t")
