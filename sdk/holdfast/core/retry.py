"""When a failed attempt is tried again. The formula stands in `model.Retry`; the decision's order in `decide`."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from holdfast.core.model import Retry, Seconds
from holdfast.errors import Abort, PayloadError, RetryAfter, Snooze


def delay(policy: Retry, failed: int, seed: str) -> Seconds:
    """How long to wait after failed attempt `failed` (from 1).

    The jitter is a function of `seed` and `failed`, so that whoever computes it gets the same; the seed is the run's
    id, for a step with its key.
    """
    spread = 1.0 + _fraction(f"{seed}:{failed}") if policy.jitter else 1.0
    if policy.min_timeout == 0:
        return 0.0
    try:
        raw = spread * policy.min_timeout * policy.factor ** (failed - 1)
    except OverflowError:
        return policy.max_timeout
    return min(policy.max_timeout, raw)


def _fraction(text: str) -> float:
    return int.from_bytes(blake2b(text.encode(), digest_size=6).digest()) / 2**48


class Again(NamedTuple):
    """Try again after `after` seconds; a snooze (`spent` false) does not count."""

    after: Seconds
    spent: bool = True


class Stop(NamedTuple):
    """Do not try again, with the reason in the words of `entries.RunDead.reason`."""

    reason: str


def decide(
    error: BaseException,
    *,
    policy: Retry,
    failed: int,
    seed: str,
) -> Again | Stop:
    """What follows a failed attempt (`failed` counts it, from 1).

    In this order: `Abort`, a payload that does not fit and `retry_if` false never retry; `RetryAfter` and `Snooze` name
    their own time, whatever the policy's cap; then the policy.
    """
    match error:
        case Abort():
            return Stop("aborted")
        case PayloadError():
            return Stop("payload")
    if policy.retry_if is not None and not policy.retry_if(error):
        return Stop("not retried")
    if isinstance(error, Snooze):
        return Again(error.seconds, spent=False)
    if isinstance(error, RetryAfter) and failed < policy.max_attempts:
        return Again(error.seconds)
    if failed >= policy.max_attempts:
        return Stop("attempts used up")
    return Again(delay(policy, failed, seed))
