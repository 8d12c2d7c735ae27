"""`holdfast verify` and `holdfast runs check`, as typed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from holdfast.core.entries import StepCompleted, Suspended
from holdfast.core.model import State
from holdfast.errors import DaemonUnavailable
from holdfast.wire import api
from holdfast.wire.values import encode_value

from .conftest import Told, World, started

TASKS = """
import asyncio, random
from holdfast import task, wait

calls = []

def seen():
    return list(calls)

def clear():
    calls.clear()

async def charge(n):
    calls.append(n)
    print("charging")
    return n

@task
async def right(n: int = 1) -> int:
    return await charge(n)

@task
async def wrong(n: int = 1) -> None:
    chance = random.random()
    await charge(n)
    await charge(chance)

@task(id="charge-card")
async def charge_card(order: int) -> int:
    await charge(order)
    await wait.for_(days=1)
    return order
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of the user's, in the current directory."""
    name = f"tasks_{uuid4().hex[:8]}"
    (tmp_path / f"{name}.py").write_text(TASKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield name
    sys.modules.pop(name, None)


def test_a_right_task_is_verified_by_classes_of_writes(shop: World, module: str) -> None:
    found = shop("verify", f"{module}:right", "--payload", '{"n": 3}')
    assert found.code == 0
    assert found.out.splitlines()[0].split() == ["WRITES", "OF", "WRITES", "CRASHES", "DIFFER"]
    assert ["outcome", "1", "2", "-"] in [line.split() for line in found.out.splitlines()]
    assert found.out.splitlines()[-1] == "right: 6 crashes at 3 durable writes, no difference"
    assert "charging" not in found.out
    assert "/charge#1: ran twice when killed between its effect and its record" in found.out


def test_a_wrong_task_is_told_with_advice_and_exit_1(shop: World, module: str) -> None:
    found = shop("verify", f"{module}:wrong")
    assert found.code == 1
    assert "arguments /charge#2" in found.out
    assert "run.random()" in found.out


def test_effects_are_compared_where_the_module_tells_them(shop: World, module: str) -> None:
    found = shop("verify", f"{module}:right", "--effects", "seen", "--reset", "clear", "--json")
    assert found.code == 1
    records = [json.loads(line) for line in found.out.splitlines()]
    (difference,) = [record for record in records if record["type"] == "difference"]
    assert (difference["what"], difference["expected"], difference["found"]) == ("effects", "[1]", "[1, 1]")
    assert records[-1] == {"type": "report", "task": "right", "writes": 3, "crashes": 6, "differences": 1}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("{module}",), "expected MODULE:TASK"),
        (("{module}:nothing",), "expected a task of {module}, found 'nothing': known are charge-card, right, wrong"),
        (("{module}:right", "--effects", "nix"), "--effects: expected a function of {module}, found 'nix'"),
        (("{module}:right", "--payload", "[1]"), "--payload: expected an object of arguments by name"),
    ],
)
def test_wrong_usage_says_what_is_right(shop: World, module: str, args: tuple[str, ...], says: str) -> None:
    found = shop("verify", *(arg.format(module=module) for arg in args))
    assert found.code == 2
    assert says.format(module=module) in found.err


def test_a_payload_that_does_not_fit_and_a_module_that_is_not_there_are_errors(shop: World, module: str) -> None:
    assert shop("verify", f"{module}:right", "--payload", '{"n": "x"}').code == 1
    found = shop("verify", "nowhere:right")
    assert found.code == 1
    assert "no module 'nowhere'" in found.err


class Alone(Told):
    """A client without a daemon."""

    async def runs(self, query: api.RunsQuery | None = None) -> api.RunsPage:
        raise DaemonUnavailable("nobody answers")


def _suspended(shop: World, number: int, key: str, task: str = "charge-card") -> str:
    value = StepCompleted(key, 1.0, 0.1, encode_value(number))
    return shop.run(number, started(), value, Suspended(2.0, (), 9e9), task=task)


@pytest.mark.parametrize("client", [Told, Alone])
def test_runs_in_flight_are_held_against_the_code(shop: World, module: str, client: type[Told]) -> None:
    shop.client = client
    fits = _suspended(shop, 1, "/charge#1")
    parts = _suspended(shop, 2, "/refund#1")
    unknown = _suspended(shop, 3, "/charge#1", task="other")
    ended = shop.dead(4)
    if client is Told:
        shop.rows += [_row(id) for id in (fits, parts, unknown, ended)]
    found = shop("runs", "check", module)
    assert found.code == 1
    assert found.out.splitlines() == [
        f"{fits}  charge-card  ok",
        f"{parts}  charge-card  diverges at /refund#1 (recorded: 2, code: /charge#1)",
        f"{unknown}  other  can't say (no task other in these modules)",
    ]
    assert "3 runs in flight: 1 ok, 1 diverges, 1 can't say" in found.err


def test_the_check_is_limited_to_a_task_and_printed_for_programs(shop: World, module: str) -> None:
    shop.client = Alone
    fits = _suspended(shop, 1, "/charge#1")
    _suspended(shop, 2, "/charge#1", task="other")
    found = shop("runs", "check", module, "--task", "charge-card", "--json")
    assert found.code == 0
    (record,) = [json.loads(line) for line in found.out.splitlines()]
    assert (record["run"], record["verdict"]) == (fits, "ok")


def test_the_modules_are_those_of_the_configuration(shop: World, module: str, tmp_path: Path) -> None:
    shop.client = Alone
    (tmp_path / "holdfast.toml").write_text(f'[projects.default]\nmodules = ["{module}"]\n')
    _suspended(shop, 1, "/charge#1")
    assert shop("runs", "check").code == 0


def _row(id: str) -> api.RunRow:
    return api.RunRow(id=id, task="charge-card", queue="default", priority=5, state=State.WAITING, created_at=1.0)
