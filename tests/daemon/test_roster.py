"""What is known of tokens, tasks and hooks' secrets follows what is stored, at once and over losses."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from holdfast.access import proves
from holdfast.bus.memory import MemoryBus
from holdfast.bus.ports import Bus
from holdfast.client import Client
from holdfast.errors import BusError
from holdfast.safe import Safe
from holdfast.sealing import SecretKey
from holdfast.wire import codec
from holdfast.wire.api import Scope, TaskCard
from holdfast_daemon import roster as rosters
from holdfast_daemon.roster import Roster
from stage import Stage
from worlds import eventually


@asynccontextmanager
async def following(bus: Bus, key: SecretKey | None = None) -> AsyncIterator[Roster]:
    roster = Roster(bus, key)
    async with anyio.create_task_group() as tasks:
        await tasks.start(roster.run)
        yield roster
        tasks.cancel_scope.cancel()


async def test_what_was_stored_is_known_from_the_start_and_what_is_stored_later_soon(stage: Stage) -> None:
    client = stage.client
    text, first = await client.create_token("first", [Scope.READ])
    await client.bus.put("task", "ship", codec.encode(TaskCard(id="ship", queue="default")))
    async with following(client.bus) as roster:
        assert proves(text, roster.tokens[first.id])
        assert set(roster.cards) == {"ship"}
        later, second = await client.create_token("second", [Scope.TRIGGER])
        await eventually(lambda: second.id in roster.tokens)
        assert proves(later, roster.tokens[second.id])
        await client.revoke_token(first.id)
        await eventually(lambda: not proves(text, roster.tokens[first.id]))
        assert proves(later, roster.tokens[second.id])


async def test_a_revoked_token_is_none_for_a_roster_that_begins_later(stage: Stage) -> None:
    text, token = await stage.client.create_token("first", [Scope.READ])
    await stage.client.revoke_token(token.id)
    async with following(stage.client.bus) as roster:
        assert not proves(text, roster.tokens[token.id])


async def test_the_two_latest_versions_of_a_secret_are_good_and_removed_ones_are_not(stage: Stage) -> None:
    key = SecretKey.random()
    safe = Safe(stage.client.bus, key)
    async with following(stage.client.bus, key) as roster:
        assert roster.secret("HOOK") == ()
        for number in (1, 2, 3):
            await safe.put("HOOK", f"value {number}")
        await eventually(lambda: roster.secret("HOOK") == ("value 3", "value 2"))
        assert roster.secret("OTHER") == ()
    async with following(stage.client.bus) as roster:  # no hook needs them: they are not even read
        assert roster.secret("HOOK") == ()


async def test_values_of_a_strangers_hand_are_passed_over(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    await stage.client.bus.put("token", "junk", b"\xc1")
    _, token = await stage.client.create_token("first", [Scope.READ])
    async with following(stage.client.bus) as roster:
        assert set(roster.tokens) == {token.id}
    assert "passed over an unreadable control value" in caplog.text


async def test_after_a_loss_all_is_read_again_and_what_is_gone_is_gone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rosters, "AGAIN", 0.01)
    caplog.set_level(logging.WARNING)
    bus = MemoryBus("shop")
    client = Client(bus)
    _, kept = await client.create_token("kept", [Scope.READ])
    _, gone = await client.create_token("gone", [Scope.READ])
    follow = bus.follow
    lose = anyio.Event()

    async def losing(*args: object, **kwargs: object) -> AsyncIterator[list[object]]:
        news = follow(*args, **kwargs)  # type: ignore[arg-type]
        async for messages in news:
            yield messages  # type: ignore[misc]
            if not lose.is_set() and not messages:
                await lose.wait()
                raise BusError("the stream went backwards")

    monkeypatch.setattr(bus, "follow", losing)
    async with following(bus) as roster:
        assert set(roster.tokens) == {kept.id, gone.id}
        await bus.purge(rosters.Stream.CONTROL, bus.subjects.control("token", gone.id))
        lose.set()
        await eventually(lambda: set(roster.tokens) == {kept.id})
    assert "token values are followed again: the stream went backwards" in caplog.text
