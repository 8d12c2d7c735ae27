"""When a failed attempt is tried again: BEHAVIOURS "Retry", with the delays computed by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from holdfast.core.model import Retry
from holdfast.core.retry import Again, Stop, decide, delay
from holdfast.errors import Abort, PayloadError, RetryAfter, Snooze

RUN = "01ARYZ6S41TSV4RRFFQ69G5FAV"
EXACT = Retry(jitter=False)


def delays(policy: Retry, count: int, seed: str = RUN) -> list[float]:
    return [delay(policy, number, seed) for number in range(1, count + 1)]


# --- the delay --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Retry(jitter=False), [1, 2, 4, 8, 16, 32, 60, 60]),
        (Retry(jitter=False, min_timeout=0.1, factor=10, max_timeout=60), [0.1, 1, 10, 60, 60]),
        (Retry(jitter=False, factor=1, min_timeout=5), [5, 5, 5, 5]),
        (Retry(jitter=False, factor=1.5, min_timeout=2, max_timeout=10), [2, 3, 4.5, 6.75, 10, 10]),
        (Retry(jitter=False, factor=0.5, min_timeout=8), [8, 4, 2, 1, 0.5]),
        (Retry(jitter=False, min_timeout=60), [60, 60, 60]),
        (Retry(jitter=False, min_timeout=0), [0, 0, 0, 0]),
        (Retry(jitter=False, min_timeout=0, max_timeout=0), [0, 0, 0]),
    ],
)
def test_the_delay_grows_by_the_factor_up_to_the_cap(policy: Retry, expected: list[float]) -> None:
    assert delays(policy, len(expected)) == pytest.approx(expected)


def test_the_defaults_are_three_attempts_doubling_from_one_second_to_a_minute_with_jitter() -> None:
    assert Retry() == Retry(max_attempts=3, factor=2.0, min_timeout=1.0, max_timeout=60.0, jitter=True)


def test_a_partly_given_policy_keeps_the_other_defaults() -> None:
    assert Retry(max_attempts=9) == Retry(max_attempts=9, factor=2.0, min_timeout=1.0, max_timeout=60.0, jitter=True)


def test_the_jitter_is_the_same_for_ever() -> None:
    """By hand: `printf '<run>:<n>' | b2sum -l 48` for n from 1, over 2**48."""
    assert delays(Retry(), 3) == [
        1 * (1 + 0xD9BBB83DCD99 / 2**48),
        2 * (1 + 0x91736CA8FEAB / 2**48),
        4 * (1 + 0x84CA39B30E18 / 2**48),
    ]


def test_jitter_stretches_each_delay_to_less_than_twice_and_never_shortens_it() -> None:
    for number, (least, below) in enumerate([(1, 2), (2, 4), (4, 8), (8, 16), (16, 32)], start=1):
        for seed in range(200):
            assert least <= delay(Retry(), number, f"run-{seed}") < below


def test_jitter_never_goes_beyond_the_cap() -> None:
    for seed in range(200):
        assert 32 <= delay(Retry(), 6, f"run-{seed}") <= 60
        assert delay(Retry(), 7, f"run-{seed}") == 60


def test_jitter_spreads_runs_that_failed_together() -> None:
    first = [delay(Retry(), 1, f"run-{seed}") for seed in range(1000)]
    assert len(set(first)) == 1000
    assert 1.45 < sum(first) / 1000 < 1.55
    assert min(first) < 1.02
    assert max(first) > 1.98


def test_jitter_differs_from_attempt_to_attempt() -> None:
    assert len(set(delays(Retry(factor=1), 50))) == 50


def test_whoever_computes_the_jitter_gets_the_same() -> None:
    assert delays(Retry(), 5) == delays(Retry(), 5)
    assert delays(Retry(), 5) != delays(Retry(), 5, seed="another run")


def test_a_huge_factor_ends_at_the_cap() -> None:
    assert delays(Retry(max_attempts=250, factor=1e300, jitter=False), 4) == [1, 60, 60, 60]
    assert delay(Retry(max_attempts=250, factor=1e6), 249, RUN) == 60


def test_a_policy_without_a_delay_has_none_however_huge_its_factor() -> None:
    policy = Retry(max_attempts=250, factor=1e300, min_timeout=0)
    assert delays(policy, 4) == [0, 0, 0, 0]
    assert delay(policy, 249, RUN) == 0


# --- what a policy may be ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 250])
def test_a_policy_has_from_one_to_two_hundred_and_fifty_attempts(count: int) -> None:
    assert Retry(max_attempts=count).max_attempts == count


@pytest.mark.parametrize("count", [-1, 0, 251])
def test_another_number_of_attempts_is_refused_by_name(count: int) -> None:
    with pytest.raises(ValueError, match=f"max_attempts .* found {count}"):
        Retry(max_attempts=count)


@pytest.mark.parametrize("factor", [0, -1.0, float("nan"), float("inf"), float("-inf")])
def test_a_factor_that_is_not_a_positive_number_is_refused(factor: float) -> None:
    with pytest.raises(ValueError, match="factor is a number above 0"):
        Retry(factor=factor)


@pytest.mark.parametrize(("least", "most"), [(-1, 60), (61, 60), (1, 0), (float("nan"), 60)])
def test_time_outs_in_the_wrong_order_are_refused(least: float, most: float) -> None:
    with pytest.raises(ValueError, match="min_timeout <= max_timeout"):
        Retry(min_timeout=least, max_timeout=most)


# --- the decision -----------------------------------------------------------------------------------------------------


def after(
    error: BaseException,
    *,
    failed: int = 1,
    policy: Retry = EXACT,
    retry_if: Callable[[BaseException], bool] | None = None,
) -> Again | Stop:
    return decide(error, policy=replace(policy, retry_if=retry_if), failed=failed, seed=RUN)


def never(error: BaseException) -> bool:
    return False


def always(error: BaseException) -> bool:
    return True


@pytest.mark.parametrize(
    ("failed", "expected"), [(1, Again(1)), (2, Again(2)), (3, Stop("attempts used up")), (4, Stop("attempts used up"))]
)
def test_an_ordinary_error_follows_the_policy(failed: int, expected: Again | Stop) -> None:
    assert after(ValueError("no"), failed=failed) == expected


def test_one_attempt_means_no_retry() -> None:
    policy = Retry(max_attempts=1)
    assert after(ValueError("no"), policy=policy) == Stop("attempts used up")
    assert after(RetryAfter(5), policy=policy) == Stop("attempts used up")


def test_a_delay_of_zero_is_a_delay_and_not_a_stop() -> None:
    assert after(ValueError("no"), policy=Retry(min_timeout=0)) == Again(0, spent=True)
    assert after(RetryAfter(0)) == Again(0, spent=True)
    assert after(Snooze(0)) == Again(0, spent=False)


def test_the_last_failure_waits_for_nothing() -> None:
    assert isinstance(after(ValueError("no"), failed=250, policy=Retry(max_attempts=250)), Stop)


@pytest.mark.parametrize(("error", "reason"), [(Abort("stolen"), "aborted"), (PayloadError("no"), "payload")])
def test_an_abort_and_a_payload_that_does_not_validate_are_not_retried_whatever_retry_if_says(
    error: Exception, reason: str
) -> None:
    assert after(error) == Stop(reason)
    assert after(error, retry_if=always) == Stop(reason)
    assert after(error, retry_if=never) == Stop(reason)
    assert after(error, failed=99) == Stop(reason)


def test_retry_if_is_not_asked_about_an_abort() -> None:
    asked: list[BaseException] = []
    after(Abort("stolen"), retry_if=lambda error: bool(asked.append(error)))
    after(PayloadError("no"), retry_if=lambda error: bool(asked.append(error)))
    assert asked == []


def test_retry_if_false_stops_an_ordinary_error_at_once() -> None:
    assert after(ValueError("no"), retry_if=never) == Stop("not retried")


def test_retry_if_false_comes_before_retry_after() -> None:
    assert after(RetryAfter(5), retry_if=never) == Stop("not retried")


def test_retry_if_false_comes_before_a_snooze() -> None:
    assert after(Snooze(5), retry_if=never) == Stop("not retried")
    assert after(Snooze(5), retry_if=always) == Again(5, spent=False)


def test_retry_if_true_adds_no_attempts() -> None:
    assert after(ValueError("no"), failed=2, retry_if=always) == Again(2)
    assert after(ValueError("no"), failed=3, retry_if=always) == Stop("attempts used up")


def test_retry_if_sees_the_error_itself() -> None:
    def only_timeouts(error: BaseException) -> bool:
        return isinstance(error, TimeoutError)

    assert after(TimeoutError(), retry_if=only_timeouts) == Again(1)
    assert after(KeyError(), retry_if=only_timeouts) == Stop("not retried")


def test_retry_after_names_its_own_time_beyond_the_cap_and_is_spent() -> None:
    assert after(RetryAfter(3600), policy=Retry(max_timeout=60)) == Again(3600, spent=True)
    assert after(RetryAfter(0.5), failed=2) == Again(0.5, spent=True)


def test_retry_after_does_not_add_attempts() -> None:
    assert after(RetryAfter(5), failed=3) == Stop("attempts used up")


@pytest.mark.parametrize("failed", [1, 3, 250])
def test_a_snooze_gives_the_attempt_back_however_many_have_failed(failed: int) -> None:
    assert after(Snooze(86400), failed=failed) == Again(86400, spent=False)


def test_a_subclass_of_the_users_own_decides_like_its_base() -> None:
    class CardStolen(Abort):
        pass

    class Later(RetryAfter):
        pass

    assert after(CardStolen("no")) == Stop("aborted")
    assert after(Later(7)) == Again(7)
