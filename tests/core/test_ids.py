"""Run ids against the ULID specification (https://github.com/ulid/spec) and its own example values."""

from __future__ import annotations

import pytest

from holdfast.core.ids import ALPHABET, derive, instant, is_run_id, make

NOTHING = bytes(10)
ALL = b"\xff" * 10

SPEC = [
    ("0000000000", 0.0),
    ("0000000001", 0.001),
    ("000000000Z", 0.031),
    ("0000000010", 0.032),
    ("01ARYZ6S41", 1469918176.385),
    ("01ARZ3NDEK", 1469922850.259),
    ("7ZZZZZZZZZ", 281474976710.655),
]
"""The first ten characters and the instant: the spec's examples, its largest instant, and small numbers by hand."""


def test_the_alphabet_is_crockfords_without_i_l_o_and_u() -> None:
    assert ALPHABET == "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@pytest.mark.parametrize(("text", "at"), SPEC)
def test_an_instant_is_written_as_the_specification_says(text: str, at: float) -> None:
    assert make(at, NOTHING) == text + "0000000000000000"
    assert make(at, ALL) == text + "ZZZZZZZZZZZZZZZZ"


@pytest.mark.parametrize(("text", "at"), SPEC)
def test_the_instant_is_read_back_to_the_millisecond(text: str, at: float) -> None:
    assert instant(text + "0000000000000000") == at
    assert instant(text + "TSV4RRFFQ69G5FAV") == at


@pytest.mark.parametrize("at", [0.001, 1.001, 1.009, 4.035, 1700000000.001, 1700000000.999])
def test_a_millisecond_is_never_lost_to_the_fractions_of_a_float(at: float) -> None:
    assert instant(make(at, NOTHING)) == at


def test_the_randomness_is_the_last_sixteen_characters() -> None:
    entropy = bytes([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    assert make(1469922850.259, entropy) == "01ARZ3NDEK" + "041061050R3GG28A"


@pytest.mark.parametrize("size", [0, 9, 11, 16])
def test_another_amount_of_randomness_than_ten_bytes_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"10 bytes of randomness, found {size}"):
        make(1.0, bytes(size))


def test_ids_sort_as_text_in_the_order_of_their_instants_whatever_the_randomness() -> None:
    instants = [0.0, 0.001, 1.0, 1469918176.385, 1469918176.386, 1700000000.0, 1700000000.001, 4102444800.0]
    earlier_is_largest = [make(at, ALL if number % 2 == 0 else NOTHING) for number, at in enumerate(instants)]
    assert earlier_is_largest == sorted(earlier_is_largest)


def test_a_derived_id_is_the_same_for_ever() -> None:
    """By hand: `printf '3:pay2:A11:1' | b2sum -l 80` is 12c08ca74a1eb233d71b; in base 32 below."""
    assert derive(1469922850.259, "pay", "A1", "1") == "01ARZ3NDEK" + "2B08S9TA3TS37NRV"


def test_the_same_cause_at_the_same_instant_makes_the_same_id_and_any_other_another() -> None:
    same = derive(1.0, "task", "key", "1")
    others = {
        derive(2.0, "task", "key", "1"),
        derive(1.0, "task", "key", "2"),
        derive(1.0, "task", "key"),
        derive(1.0, "key", "task", "1"),
        derive(1.0, "taskkey", "1"),
        derive(1.0, "task", "key1"),
        derive(1.0, "task\0key\0001"),
        derive(1.0, "task\0key", "1"),
        derive(1.0, "task3:key", "1"),
        derive(1.0, "4:task3:key1:1"),
        derive(1.0, "task", "key", "1", ""),
    }
    assert derive(1.0, "task", "key", "1") == same
    assert same not in others
    assert len(others) == 11


def test_a_derived_id_is_an_id_of_its_instant() -> None:
    run = derive(1469922850.259, "schedule", "nightly")
    assert is_run_id(run)
    assert instant(run) == 1469922850.259


@pytest.mark.parametrize(
    "text",
    ["01ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARYZ6S41TSV4RRFFQ69G5FAV", "00000000000000000000000000", "7" + "Z" * 25],
)
def test_a_ulid_has_the_form_of_a_runs_id(text: str) -> None:
    assert is_run_id(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "01ARZ3NDEKTSV4RRFFQ69G5FA",
        "01ARZ3NDEKTSV4RRFFQ69G5FAVV",
        "01arz3ndektsv4rrffq69g5fav",
        "01ARZ3NDEKTSV4RRFFQ69G5FAI",
        "01ARZ3NDEKTSV4RRFFQ69G5FAL",
        "01ARZ3NDEKTSV4RRFFQ69G5FAO",
        "01ARZ3NDEKTSV4RRFFQ69G5FAU",
        "01ARZ3NDEK.TSV4RRFFQ69G5FA",
        "01ARZ3NDEKTSV4RRFFQ69G5FA*",
        "01ARZ3NDEKTSV4RRFFQ69G5FA\n",
        "8" + "0" * 25,
        "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
        "ZZZZZZZZZZZZZZZZZZZZZZZZZZ",
    ],
)
def test_anything_else_has_not(text: str) -> None:
    assert not is_run_id(text)
