"""Token buckets: how much is admitted, whatever the times."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.model import Rate
from holdfast_daemon.http.limits import Bucket, Limits, client_key

ALLOWANCES = st.builds(Rate, st.integers(1, 1000), st.sampled_from([1.0, 60.0, 3600.0]))
GAPS = st.lists(st.floats(0, 100, allow_nan=False), max_size=200)


@given(ALLOWANCES, GAPS)
def test_no_stretch_of_time_sees_more_than_a_full_bucket_and_what_drips_in(allowance: Rate, gaps: list[float]) -> None:
    bucket, now = Bucket(allowance, 0.0), 0.0
    admitted: list[float] = []
    for gap in gaps:
        now += gap
        if bucket.take(now) == 0:
            admitted.append(now)
    for first in range(len(admitted)):
        for last in range(first, len(admitted)):
            most = allowance.limit + (admitted[last] - admitted[first]) * allowance.limit / allowance.per
            assert last - first + 1 <= most + 1e-6


@given(ALLOWANCES, GAPS)
def test_whoever_waits_as_long_as_he_is_told_is_admitted(allowance: Rate, gaps: list[float]) -> None:
    bucket, now = Bucket(allowance, 0.0), 0.0
    for gap in gaps:
        now += gap
        wait = bucket.take(now)
        assert 0 <= wait <= allowance.per / allowance.limit + 1e-6
        if wait:
            assert bucket.look(now) == pytest.approx(wait)
            now += wait * (1 + 1e-9) + 1e-9
            assert bucket.take(now) == 0


@given(ALLOWANCES, st.integers(1, 300))
def test_a_steady_caller_within_the_rate_is_never_refused(allowance: Rate, times: int) -> None:
    bucket = Bucket(allowance, 0.0)
    assert all(bucket.take(n * allowance.per / allowance.limit) == 0 for n in range(times))


@given(ALLOWANCES, st.lists(st.floats(-1e6, 1e6, allow_nan=False), max_size=50))
def test_a_clock_that_goes_back_admits_no_more(allowance: Rate, times: list[float]) -> None:
    bucket = Bucket(allowance, 0.0)
    admitted = sum(bucket.take(now) == 0 for now in times)
    assert admitted <= allowance.limit + max([0.0, *times]) * allowance.limit / allowance.per + 1e-6


@given(ALLOWANCES)
def test_looking_takes_nothing(allowance: Rate) -> None:
    bucket = Bucket(allowance, 0.0)
    for _ in range(3 * allowance.limit):
        assert bucket.look(0.0) == 0
    assert sum(bucket.take(0.0) == 0 for _ in range(2 * allowance.limit)) == allowance.limit


@given(st.lists(st.integers(0, 50), max_size=300))
def test_no_more_keys_are_kept_than_there_is_room_for(keys: list[int]) -> None:
    limits = Limits(keys_most=10)
    for key in keys:
        limits.of(str(key), Rate(1, 60.0), 0.0).take(0.0)
        assert len(limits) <= 10


def test_who_asked_last_is_remembered() -> None:
    limits, one = Limits(keys_most=2), Rate(1, 60.0)
    assert limits.of("a", one, 0.0).take(0.0) == 0
    limits.of("b", one, 0.0)
    assert limits.of("a", one, 0.0).take(0.0) > 0
    limits.of("c", one, 0.0)
    assert limits.of("a", one, 0.0).take(0.0) > 0
    assert math.isclose(limits.of("a", one, 30.0).look(30.0), 30.0)


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("x" * 1000, "x" * 100),
    ],
)
def test_a_client_has_one_key_however_many_addresses_it_has(host: str, key: str) -> None:
    assert client_key(host) == key
