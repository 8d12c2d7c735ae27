"""What errors have in common."""

import pytest

from holdfast_daemon.projection.patterns import NO_MESSAGE, PATTERN_MOST, pattern, place

UUID = "123e4567-e89b-12d3-a456-426614174000"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("HTTP 410 from host-77", "HTTP * from host-*"),
        ("timeout after 5.0s", "timeout after *s"),
        ("bad currency 'XX'", "bad currency *"),
        ('no column "a b"', "no column *"),
        ("no column `a`", "no column *"),
        ("can't find user's key", "can't find user's key"),
        ("no run 01JDXYZABC1234567890ABCDEF here", "no run * here"),
        (f"id {UUID} is gone", "id * is gone"),
        (f"id {UUID.upper()} is gone", "id * is gone"),
        ("object at 0x7ffdeadbeef", "object at *"),
        ("object at 0xab", "object at *"),
        ("connect to 10.0.0.1:5432 failed", "connect to * failed"),
        ("balance is -5", "balance is *"),
        ("rows [1, 2, 3] of 7", "rows [*] of *"),
        ("user_8812 has order_12ab", "user_* has order_*ab"),
        ("commit 9fceb02d0ae598e95dc970b74767f19372d61af8", "commit *"),
        ("deadlock detected", "deadlock detected"),
        ("first 1\nsecond 2", "first *"),
        ("\n  indented   and\twide", "indented and wide"),
        ("Ärger mit Zeile 3", "Ärger mit Zeile *"),
        ("", NO_MESSAGE),
        (" \n ", NO_MESSAGE),
    ],
)
def test_what_varies_in_a_message_is_a_star(message: str, expected: str) -> None:
    assert pattern(message) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("order 7 of 'ann' failed", "order 8812 of 'bob' failed"),
        ("values [1, 2] missing", "values [3] missing"),
        ("at 2026-01-02T12:03:38.12Z", "at 1999-10-11T01:00:00.00Z"),
        ("peer 10.0.0.1 is away", "peer 192.168.17.4 is away"),
        ("no more of sku A1B2C3", "no more of sku ZZ99XX"),
        ("off by 3", "off by -2.5"),
    ],
)
def test_messages_of_one_cause_have_one_pattern(one: str, other: str) -> None:
    assert pattern(one) == pattern(other)


def test_a_pattern_is_short_however_long_the_message_is() -> None:
    for text in ("x" * 100_000, "1a" * 50_000, "'" * 100_001, "a1_" * 30_000, "' " * 50_000):
        assert 0 < len(pattern(text)) <= PATTERN_MOST


@pytest.mark.parametrize(
    ("traceback", "expected"),
    [
        ('  File "/srv/shop/pay.py", line 12, in a\n  File "/srv/shop/card.py", line 88, in b\nX: y\n', "card.py:88"),
        ('  File "C:\\shop\\pay.py", line 7, in a\nX: y\n', "pay.py:7"),
        ('File "a.py", line 1, in x\nX: 1\n\nThe above ...\n\n  File "b.py", line 2, in y\nY: 2', "b.py:2"),
        ('  File "cut', ""),
        ("Traceback ...", ""),
        ("", ""),
    ],
)
def test_the_place_of_an_error_is_its_last_frame(traceback: str, expected: str) -> None:
    assert place(traceback) == expected
