"""Headers of a trigger: read or refused by name, and never passed over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doors import Told, problem, visitor
from holdfast.core.model import Timeouts
from holdfast.triggering import TriggerOptions
from holdfast_daemon.http.options import HEADERS, Options, options_of
from holdfast_daemon.http.problems import Problem

READ: list[tuple[str, str, Options]] = [
    ("Idempotency-Key", "A1", {"idempotency_key": "A1"}),
    ("Idempotency-Key", '"8e03978e-40d5"', {"idempotency_key": "8e03978e-40d5"}),
    ("Holdfast-Delay", "90", {"delay": 90.0}),
    ("Holdfast-Delay", "1.5", {"delay": 1.5}),
    ("Holdfast-Delay", "15m", {"delay": 900.0}),
    ("Holdfast-TTL", "0", {"ttl": 0.0}),
    ("Holdfast-TTL", "2h", {"ttl": 7200.0}),
    ("Holdfast-Priority", "0", {"priority": 0}),
    ("Holdfast-Queue", "bulk", {"queue": "bulk"}),
    ("Holdfast-Tags", "eu, big,eu", {"tags": ["eu", "big"]}),
    ("Holdfast-Metadata", '{"by": "ann", "n": [1]}', {"metadata": {"by": "ann", "n": [1]}}),
    ("Holdfast-Concurrency-Key", "acme", {"concurrency_key": "acme"}),
    ("Holdfast-Debounce", "A1; delay=5s", {"debounce": ("A1", 5.0)}),
    ("Holdfast-Debounce", '"a;b";delay=250ms', {"debounce": ("a;b", 0.25)}),
    ("Holdfast-Timeout-Start-To-Close", "30s", {"timeouts": Timeouts(start_to_close=30)}),
    ("Holdfast-Timeout-Schedule-To-Close", "1h", {"timeouts": Timeouts(schedule_to_close=3600)}),
]

REFUSED = [
    ("Idempotency-Key", ""),
    ("Idempotency-Key", "x" * 256),
    ("Idempotency-Key", "a\x7fb"),
    ("Holdfast-Idempotency-TTL", "1h"),  # of no key
    ("Holdfast-Delay", "soon"),
    ("Holdfast-Delay", "-1"),
    ("Holdfast-Delay", "1e3"),
    ("Holdfast-Delay", "nan"),
    ("Holdfast-Delay", "9" * 400),
    ("Holdfast-Delay", "101000000w"),
    ("Holdfast-TTL", ""),
    ("Holdfast-Priority", "10"),
    ("Holdfast-Priority", "-1"),
    ("Holdfast-Priority", "1.0"),
    ("Holdfast-Priority", "\u0665".encode().decode("latin-1")),
    ("Holdfast-Queue", "a.b"),
    ("Holdfast-Queue", "*"),
    ("Holdfast-Queue", "x" * 101),
    ("Holdfast-Tags", "a,,b"),
    ("Holdfast-Tags", ",".join(map(str, range(101)))),
    ("Holdfast-Metadata", "[1]"),
    ("Holdfast-Metadata", "{"),
    ("Holdfast-Metadata", '{"a": NaN}'),
    ("Holdfast-Metadata", "[" * 5000),
    ("Holdfast-Debounce", "A1"),
    ("Holdfast-Debounce", "A1; delay=0"),
    ("Holdfast-Debounce", "; delay=5s"),
    ("Holdfast-Debounce", "A1; wait=5s"),
    ("Holdfast-Timeout-Start-To-Close", "0"),
    ("Holdfast-Dealy", "5"),
]


def pairs(*headers: tuple[str, str]) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in headers]


@pytest.mark.parametrize(("name", "value", "options"), READ)
def test_a_header_says_what_its_option_does(name: str, value: str, options: Options) -> None:
    assert options_of(pairs((name, value))) == options


@pytest.mark.parametrize(("name", "value"), REFUSED)
async def test_a_header_that_says_something_else_is_refused_by_its_name(name: str, value: str) -> None:
    shop = Told()
    async with visitor(shop) as http:
        answer = await http.post("/v1/tasks/ship/trigger", json={}, headers=[(name.encode(), value.encode("latin-1"))])
    told = problem(answer)
    assert (answer.status_code, str(told["header"]).lower()) == (400, name.lower())
    assert name.lower() in str(told["detail"]).lower()
    assert not shop.touched


def test_a_misspelt_header_is_told_the_nearest_one() -> None:
    with pytest.raises(Problem, match="did you mean Holdfast-Delay"):
        options_of(pairs(("Holdfast-Dealy", "5")))


def test_all_together() -> None:
    found = options_of(
        pairs(
            ("Idempotency-Key", "A1"),
            ("Holdfast-Idempotency-TTL", "1d"),
            ("Holdfast-Timeout-Start-To-Close", "1s"),
            ("Holdfast-Timeout-Schedule-To-Close", "2s"),
            ("Holdfast-Project", "shop"),
            ("Host", "x"),
            ("X-Whatever", "\xff"),
        )
    )
    assert found == {
        "idempotency_key": "A1",
        "idempotency_ttl": 86400.0,
        "timeouts": Timeouts(start_to_close=1, schedule_to_close=2),
    }


@pytest.mark.parametrize("name", [header.name for header in HEADERS.values()])
def test_a_header_that_is_there_twice_is_refused(name: str) -> None:
    with pytest.raises(Problem, match="expected it once, found it twice"):
        options_of(pairs((name, "1"), (name, "2")))


@given(st.sampled_from([header.name for header in HEADERS.values()]), st.binary(max_size=300))
def test_whatever_bytes_come_they_are_read_or_refused(name: str, value: bytes) -> None:
    refused: Problem | None = None
    try:
        options = options_of(pairs((name, value.decode("latin-1"))))
    except Problem as error:
        refused = error
    if refused is None:
        assert len(options) == 1
    else:
        assert (refused.status, refused.more["header"]) == (400, name)


def test_options_that_the_sdk_knows_are_known_here() -> None:
    unsaid = {"retry", "detached", "idempotency_scope"}  # of code: a policy, and of children
    assert TriggerOptions.__annotations__.keys() - unsaid == Options.__annotations__.keys()
