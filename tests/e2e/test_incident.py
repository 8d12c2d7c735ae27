"""Two at night, over SSH, keys only: a task raises, 300 runs are dead; it is found, mended and drained within 20 keys.

The real program against a real daemon, within a real tmux where there is one, else in a terminal of its own.
"""

from __future__ import annotations

import asyncio
import shlex
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deployment import HOLDFAST, Deployment, until
from holdfast.connecting import connect
from tui.terminals import Terminal, terminal

TASKS = """
from holdfast import Retry, step, task

SUPPORTED = {"EUR", "USD"}

@step
async def validate(amount: int) -> bool:
    return amount > 0

@step
async def capture(amount: int, currency: str) -> str:
    if currency not in SUPPORTED:
        raise ValueError(f"bad currency {currency!r}")
    return f"{amount} {currency}"

@task(queue="billing", retry=Retry(max_attempts=1))
async def charge(user: int, amount: int, currency: str) -> str:
    await validate(amount)
    return await capture(amount, currency)

@task(queue="emails")
async def welcome(user: int) -> None: ...
"""
LETTERS = 300
MOST_KEYS = 20
SIZE = (120, 36)


class Operator:
    """Somebody at a terminal, whose keys are counted."""

    def __init__(self, outside: Terminal) -> None:
        self.outside = outside
        self.keys = 0

    def press(self, *keys: str) -> None:
        for key in keys:
            self.keys += 1
            self.outside.type(key)

    def sees(self, *texts: str) -> None:
        for text in texts:
            self.outside.shows(text)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Deployment(tmp_path_factory.mktemp("incident") / "home", TASKS, workers=2) as deployment:
        yield deployment


async def trigger(there: Deployment) -> list[str]:
    """The runs that will be dead letters, and some that will not."""
    async with connect(config=there.home / "holdfast.toml") as client:
        payloads = [{"user": user, "amount": 1999, "currency": "XX"} for user in range(LETTERS)]
        handles = [await client.trigger("charge", payload) for payload in payloads]
        await client.trigger("welcome", {"user": 1})
        return [handle.id for handle in handles]


@contextmanager
def desk(there: Deployment, editor: Path) -> Iterator[Operator]:
    """`holdfast tui` for a user who has never been there."""
    empty = there.home / "user"
    env = there.env | {
        "HOME": str(empty),
        "VISUAL": str(editor),
        "EDITOR": "",
        "XDG_CONFIG_HOME": "",
        "XDG_STATE_HOME": "",
    }
    program, name = [*HOLDFAST, "tui"], f"holdfast-{uuid.uuid4().hex[:8]}"
    within_tmux = shutil.which("tmux") is not None
    if within_tmux:
        told = shlex.join(["env", *(f"{key}={value}" for key, value in env.items() if key != "TERM"), *program])
        program = ["tmux", "-L", name, "-f", "/dev/null", "new-session", told]
    try:
        with terminal(program, size=(SIZE[0], SIZE[1] + within_tmux), env=env) as outside:  # tmux has a line of its own
            yield Operator(outside)
    finally:
        if within_tmux:
            subprocess.run(["tmux", "-L", name, "kill-server"], capture_output=True, check=False)


def test_an_incident_is_found_mended_and_drained_in_under_twenty_keys(there: Deployment, tmp_path: Path) -> None:
    runs = asyncio.run(trigger(there))
    until(lambda: len(there.json("dlq", "list", "--limit", "1000")) == LETTERS, there.log, within=60)
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i \'s/"XX"/"EUR"/\' "$1"\n')
    editor.chmod(0o755)
    with desk(there, editor) as operator:
        operator.sees("> billing", "300 dead")
        operator.press("4")
        operator.sees("300 dead letters", "ValueError: bad currency 'XX'", "tasks.py:13 in capture", '"currency": "XX"')
        operator.press("a")
        operator.sees("300 marked")
        operator.press("E")
        operator.sees("capitals change things and ask first")
        operator.press("E")
        operator.sees("ctrl+s takes it")
        operator.press("\x0f")
        operator.sees('"currency": "EUR"')
        operator.press("\x13")
        operator.sees("[m] also the 299 others that are marked")
        operator.press("m")
        operator.sees("Retry 300 dead runs with the new payload: how many a second?", "300 payloads fit", '"EUR"')
        operator.press("\r")
        operator.sees("Retry 300 dead runs from the start, edited at 10/s")
        operator.press("y")
        operator.sees("left", "10/s")
        operator.sees("300 retried with the new payload", "No dead letters")
        operator.press("1")
        operator.sees("> billing", "0 dead")
        operator.press("P")
        operator.sees("Pause 1 queue?  billing")
        operator.press("y")
        operator.sees("1 paused", "PAUSED")
        assert [row["paused"] for row in there.json("queues", "list") if row["name"] == "billing"] == [True]
        operator.press("P", "y")
        operator.sees("1 resumed")
        assert operator.keys < MOST_KEYS
        operator.press("\x03")
        operator.outside.ends()
    ended = {row["id"]: row["state"] for row in there.json("runs", "list", "--limit", "1000")}
    assert {ended[run] for run in runs} == {"completed"}
    noted = [(row["action"], row["accepted"], row["via"]) for row in there.json("audit")]
    assert noted[::-1] == [("edit", LETTERS, "tui"), ("pause", 1, "tui"), ("resume", 1, "tui")]
