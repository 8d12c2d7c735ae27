"""Identifiers of runs: ULIDs (https://github.com/ulid/spec), 26 characters of Crockford's base 32, time first.

Time-ordered ids keep the history's files sorted; derived ids make a repeated trigger create nothing. Those of runs with
a key (`keys.run_id`) have time 0: whoever has the key need not know when the run was created.
"""

from __future__ import annotations

from hashlib import blake2b

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH = 26
_PAIRS = tuple(first + second for first in ALPHABET for second in ALPHABET)
_SHIFTS = range(120, -1, -10)
_VALUES = {letter: value for value, letter in enumerate(ALPHABET)}


def make(at: float, entropy: bytes) -> str:
    """A ULID of an instant (seconds since the epoch) and 10 bytes of randomness."""
    if len(entropy) != 10:
        raise ValueError(f"a ULID takes 10 bytes of randomness, found {len(entropy)}")
    number = (round(at * 1000) & (1 << 48) - 1) << 80 | int.from_bytes(entropy)
    return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])


def derive(at: float, *parts: str) -> str:
    """The ULID of an instant and a cause: the same parts at the same instant give the same id."""
    told_apart = "".join(f"{len(part)}:{part}" for part in parts)
    return make(at, blake2b(told_apart.encode(), digest_size=10).digest())


def digest(*parts: str) -> str:
    """A cause as 10 hexadecimal digits: the same parts give the same ones."""
    told_apart = "".join(f"{len(part)}:{part}" for part in parts)
    return blake2b(told_apart.encode(), digest_size=5).hexdigest()


def instant(run: str) -> float:
    """When an id was made, in seconds since the epoch, to the millisecond."""
    number = 0
    for letter in run[:10]:
        number = number << 5 | _VALUES[letter]
    return (number & (1 << 48) - 1) / 1000


def is_run_id(text: str) -> bool:
    """Whether the text has the form of a run's id."""
    return len(text) == LENGTH and text[0] <= "7" and all(letter in _VALUES for letter in text)
