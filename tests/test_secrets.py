"""Secrets: encrypted on the bus, versions kept, pinned by the runs that read them, removed when nobody needs them."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast import context
from holdfast.bus.memory import MemoryBus, MemoryServer
from holdfast.config import load
from holdfast.errors import (
    BusError,
    ConfigError,
    ConnectError,
    DaemonUnavailable,
    HoldfastError,
    SecretInUse,
    UnknownSecret,
)
from holdfast.redaction import Redactor
from holdfast.safe import Safe
from holdfast.sealing import SecretKey, find_key, key_file, make_key
from holdfast.secrets import secrets
from holdfast.vault import Vault
from holdfast.wire import codec
from holdfast.wire.references import SecretVersion
from holdfast.wire.secrets import PINS, Pin, Pins, StoredSecret
from holdfast.wire.subjects import Stream
from worlds import eventually

KEY = SecretKey.random()
VALUE, NEW = "sk_live_4eC39HqLyjW", "sk_live_rotated____"


class Shop:
    """A project in memory, with a daemon that knows the runs it is told."""

    def __init__(self) -> None:
        self.server = MemoryServer()
        self.bus = MemoryBus("shop", self.server)
        self.safe = Safe(self.bus, KEY, by="ann", clock=lambda: 7.0)
        self.pins: tuple[Pin, ...] = ()

    async def serve(self) -> None:
        async def answer(data: bytes) -> bytes:
            return codec.encode(Pins(self.pins))

        await self.bus.serve(self.bus.subjects.api(PINS), answer)

    async def vault(self, key: SecretKey | None = KEY) -> Vault:
        vault = Vault()
        await vault.load(self.bus, key)
        return vault

    async def stored(self) -> bytes:
        return b"".join(message.data for message in await self.bus.read(Stream.SECRETS, ">"))


@pytest.fixture
async def shop() -> Shop:
    shop = Shop()
    await shop.serve()
    return shop


@asynccontextmanager
async def following(vault: Vault) -> AsyncIterator[None]:
    task = asyncio.get_running_loop().create_task(vault.follow())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


# --- versions ---------------------------------------------------------------------------------------------------------


async def test_a_secret_is_read_as_it_was_set_and_nothing_stored_holds_it(shop: Shop) -> None:
    assert await shop.safe.put("STRIPE_KEY", VALUE) == 1
    vault = await shop.vault()
    assert vault.value("STRIPE_KEY") == VALUE
    assert vault.latest("STRIPE_KEY") == 1
    assert VALUE.encode() not in await shop.stored()
    (stored,) = await shop.bus.read(Stream.SECRETS, shop.bus.subjects.secret("STRIPE_KEY"))
    assert stored.subject == "hf.shop.secret.STRIPE_KEY"


async def test_new_ones_are_known_also_after_the_stream_was_away(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("holdfast.vault.AGAIN", 0.0)
    vault, follow, failures = await shop.vault(), shop.bus.follow, [ConnectError("away"), BusError("backwards")]

    def failing(*args: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return follow(*args, **options)

    monkeypatch.setattr(shop.bus, "follow", failing)
    async with following(vault):
        await shop.safe.put("A", "one1")
        await eventually(lambda: vault.newest("A", 1) == ("one1",))
    assert "followed again: away" in caplog.text
    assert "followed again: backwards" in caplog.text


async def test_each_setting_is_a_new_version_and_the_old_ones_stay(shop: Shop) -> None:
    assert [await shop.safe.put("A", value) for value in ("one1", "two2", "three")] == [1, 2, 3]
    vault = await shop.vault()
    assert [vault.value("A", version) for version in (None, 1, 2, 3)] == ["three", "one1", "two2", "three"]
    (state,) = vault.states()
    assert [(one.version, one.at, one.by) for one in state.versions] == [
        (1, 7.0, "ann"),
        (2, 7.0, "ann"),
        (3, 7.0, "ann"),
    ]


async def test_the_same_value_twice_is_encrypted_to_different_bytes(shop: Shop) -> None:
    await shop.safe.put("A", VALUE)
    await shop.safe.put("A", VALUE)
    first, second = await shop.bus.read(Stream.SECRETS, ">")
    assert first.data[-16:] != second.data[-16:]


async def test_two_who_set_a_secret_at_once_make_two_versions(shop: Shop) -> None:
    safes = [Safe(MemoryBus("shop", shop.server), KEY) for _ in range(5)]
    found = await asyncio.gather(*(safe.put("A", f"value-{at}") for at, safe in enumerate(safes)))
    assert sorted(found) == [1, 2, 3, 4, 5]
    vault = await shop.vault()
    assert sorted(vault.value("A", version) for version in found) == [f"value-{at}" for at in range(5)]


@pytest.mark.parametrize("value", ["", "x" * 70_000, "\udc80abc"])
async def test_what_can_not_be_a_secret_is_refused(shop: Shop, value: str) -> None:
    with pytest.raises(ConfigError, match="secret A: expected a text of 1 to 65,536 characters"):
        await shop.safe.put("A", value)
    assert await shop.stored() == b""


@pytest.mark.parametrize("name", ["", "a.b", "a b", "*", "_x", "é", "a" * 101])
async def test_a_name_that_can_not_be_one_is_refused(shop: Shop, name: str) -> None:
    with pytest.raises(UnknownSecret, match="expected a secret's name"):
        await shop.safe.put(name, VALUE)


async def test_rotating_a_secret_that_is_not_there_sets_nothing_and_names_those_that_are(shop: Shop) -> None:
    await shop.safe.put("A", VALUE)
    with pytest.raises(UnknownSecret, match=r"secret B: expected one of those that are set \(A\)"):
        await shop.safe.put("B", NEW, rotate=True)
    assert await shop.safe.put("A", NEW, rotate=True) == 2


# --- following --------------------------------------------------------------------------------------------------------


async def test_a_worker_learns_of_rotations_and_removals_while_it_runs(shop: Shop) -> None:
    await shop.safe.put("A", VALUE)
    vault = await shop.vault()
    async with following(vault):
        await shop.safe.put("A", NEW)
        await shop.safe.put("B", "other")
        await shop.safe.remove("A", 1)
        await eventually(lambda: vault.reference(VALUE) is None and vault.reference("other") is not None)
    assert vault.value("A") == NEW
    with pytest.raises(UnknownSecret, match="expected version 1, which the run has read before, found it removed"):
        vault.value("A", 1)


async def test_a_version_that_a_run_has_pinned_is_looked_up_where_it_is_not_known_yet(shop: Shop) -> None:
    vault = await shop.vault()
    await shop.safe.put("A", VALUE)
    await vault.ready_for({"A": 1})
    assert vault.value("A", 1) == VALUE
    await vault.ready_for({"A": 9})  # nobody has that one: no error before it is read
    with pytest.raises(UnknownSecret):
        vault.value("A", 9)


async def test_the_texts_to_be_redacted_are_one_object_until_they_change(shop: Shop) -> None:
    await shop.safe.put("A", VALUE)
    vault = await shop.vault()
    before = vault.values()
    assert before == {VALUE, KEY.text}
    await vault.catch_up()
    assert vault.values() is before
    await shop.safe.put("A", NEW)
    await shop.safe.remove("A", 1)
    await vault.catch_up()
    assert vault.values() == {VALUE, NEW, KEY.text}  # a running task may still hold the removed one


async def test_an_unreadable_message_is_passed_over(shop: Shop) -> None:
    await shop.bus.publish(shop.bus.subjects.secret("X"), b"\xc1")
    await shop.safe.put("A", VALUE)
    assert (await shop.vault()).value("A") == VALUE


# --- what a run reads -------------------------------------------------------------------------------------------------


async def test_a_run_keeps_the_version_that_it_read_first(shop: Shop) -> None:
    await shop.safe.put("A", VALUE)
    vault = await shop.vault()
    assert vault.pick("A", None) == 1
    await shop.safe.put("A", NEW)
    await vault.catch_up()
    assert [vault.pick("A", pinned) for pinned in (None, 1, 2)] == [2, 1, 2]
    assert vault.pick("A", 1, retried=True) == 1


async def test_an_attempt_after_a_failed_one_reads_the_latest_where_the_secret_says_so(shop: Shop) -> None:
    await shop.safe.put("A", VALUE, latest_on_retry=True)
    await shop.safe.put("A", NEW)  # says nothing: as it stands
    vault = await shop.vault()
    assert vault.pick("A", 1) == 1
    assert vault.pick("A", 1, retried=True) == 2
    await shop.safe.put("A", "third", latest_on_retry=False)
    await vault.catch_up()
    assert vault.pick("A", 1, retried=True) == 1


async def test_a_retry_of_a_run_whose_version_was_removed_reads_the_latest(shop: Shop) -> None:
    await shop.safe.put("A", VALUE)
    await shop.safe.put("A", NEW)
    await shop.safe.remove("A", 1)
    vault = await shop.vault()
    with pytest.raises(UnknownSecret, match="secret A: expected version 1"):
        vault.pick("A", 1)
    assert vault.pick("A", 1, retried=True) == 2


async def test_a_text_refers_to_the_version_that_has_it(shop: Shop) -> None:
    for name, value in (("A", VALUE), ("A", NEW), ("A", VALUE)):
        await shop.safe.put(name, value)
    vault = await shop.vault()
    assert vault.reference(VALUE) == SecretVersion("A", 3)
    assert vault.reference(NEW) == SecretVersion("A", 2)
    assert vault.reference("other") is None
    await shop.safe.remove("A", 3)
    await vault.catch_up()
    assert vault.reference(VALUE) == SecretVersion("A", 1)


async def test_a_recorded_value_is_the_old_secret_after_a_rotation(shop: Shop) -> None:
    await shop.safe.put("A", VALUE)
    vault = await shop.vault()
    redactor = Redactor(vault.values, vault)
    data = redactor.encode({"token": VALUE})
    await shop.safe.put("A", NEW)
    later = await shop.vault()
    assert VALUE.encode() not in data
    assert Redactor(later.values, later).decode(data) == {"token": VALUE}


async def test_the_key_itself_is_redacted_too(shop: Shop) -> None:
    vault = await shop.vault()
    assert Redactor(vault.values, vault).text(f"HOLDFAST_SECRETS_KEY={KEY.text}") == "HOLDFAST_SECRETS_KEY=[secret]"


# --- removing ---------------------------------------------------------------------------------------------------------


async def test_a_version_that_runs_in_flight_go_on_with_is_not_removed_and_they_are_named(shop: Shop) -> None:
    await shop.safe.put("A", VALUE)
    await shop.safe.put("A", NEW)
    shop.pins = (Pin("R1", "charge", 1), Pin("R2", "ship", 1))
    with pytest.raises(SecretInUse, match=r"found R1 \(charge, version 1\), R2 \(ship, version 1\)") as caught:
        await shop.safe.remove("A", 1)
    assert caught.value.runs == ("R1", "R2")
    with pytest.raises(SecretInUse):
        await shop.safe.remove("A")
    assert await shop.safe.remove("A", 2) == (2,)
    vault = await shop.vault()
    assert vault.value("A", 1) == VALUE


async def test_a_removed_value_is_gone_from_the_server_and_its_number_is_not_given_again(shop: Shop) -> None:
    await shop.safe.put("A", VALUE)
    await shop.safe.put("A", NEW)
    assert await shop.safe.remove("A") == (1, 2)
    found = await shop.bus.read(Stream.SECRETS, ">")
    assert all(len(message.data) < 40 for message in found)
    assert await shop.safe.states() == []
    assert await shop.safe.put("A", VALUE) == 3


async def test_what_is_not_there_is_not_removed(shop: Shop) -> None:
    await shop.safe.put("A", VALUE)
    for name, version, found in (("B", None, "none"), ("A", 2, "1")):
        with pytest.raises(UnknownSecret, match=f"found {found}"):
            await shop.safe.remove(name, version)


async def test_nothing_is_removed_while_nobody_knows_which_runs_are_in_flight() -> None:
    alone = Shop()
    await alone.safe.put("A", VALUE)
    with pytest.raises(DaemonUnavailable):
        await alone.safe.remove("A")
    assert (await alone.vault()).value("A") == VALUE


# --- keys -------------------------------------------------------------------------------------------------------------


async def test_with_another_key_a_secret_is_known_by_name_and_says_what_to_do(shop: Shop) -> None:
    await shop.safe.put("A", VALUE)
    vault = await shop.vault(SecretKey.random())
    assert vault.latest("A") == 1
    with pytest.raises(UnknownSecret, match=r"secret A, version 1: .* set HOLDFAST_SECRETS_KEY"):
        vault.value("A")
    with pytest.raises(UnknownSecret, match="found none: set HOLDFAST_SECRETS_KEY"):
        (await shop.vault(None)).value("A")


async def test_nothing_is_set_beside_secrets_of_another_key(shop: Shop) -> None:
    await shop.safe.put("A", VALUE)
    with pytest.raises(UnknownSecret, match="was set with"):
        await Safe(shop.bus, SecretKey.random()).put("B", NEW)
    with pytest.raises(ConfigError, match="expected a key"):
        await Safe(MemoryBus("empty", shop.server), None).put("B", NEW)


async def test_a_value_in_another_secrets_place_is_not_decrypted(shop: Shop) -> None:
    await shop.safe.put("A", VALUE)
    box = KEY.seal("shop", "A", 1, VALUE)
    for project, name, version in (("shop", "B", 1), ("shop", "A", 2), ("other", "A", 1)):
        with pytest.raises(UnknownSecret):
            KEY.open(project, StoredSecret(name, version, 0.0, "", box))
    for damaged in (box[:-1], b"", box[:12], bytes([box[0] ^ 1]) + box[1:]):
        with pytest.raises(UnknownSecret):
            KEY.open("shop", StoredSecret("A", 1, 0.0, "", damaged))


def test_a_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    config = load(env={"HOLDFAST_DATA_DIR": str(tmp_path)})
    assert find_key(config, "shop") is None
    key = make_key(config, "shop")
    path = key_file(tmp_path, "shop")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert make_key(config, "shop").text == key.text == find_key(config, "shop").text  # type: ignore[union-attr]
    assert [one.name for one in path.parent.iterdir()] == ["shop.key"]
    assert make_key(config, "other").text != key.text
    assert key.text not in repr(key)


def test_the_environments_key_goes_before_the_files_and_is_not_shown(tmp_path: Path) -> None:
    config = load(env={"HOLDFAST_DATA_DIR": str(tmp_path), "HOLDFAST_SECRETS_KEY": KEY.text})
    assert make_key(config, "shop").text == KEY.text
    assert not key_file(tmp_path, "shop").exists()
    assert KEY.text not in repr(config)


@pytest.mark.parametrize(
    "text", ["not-a-key", "é" * 44, "A" * 40, KEY.text + "AAAA"], ids=["words", "letters", "short", "long"]
)
def test_what_is_no_key_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    for config in (
        load(env={"HOLDFAST_DATA_DIR": str(tmp_path), "HOLDFAST_SECRETS_KEY": text}),
        load(env={"HOLDFAST_DATA_DIR": str(tmp_path)}),
    ):
        path = key_file(tmp_path, "shop")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        with pytest.raises(ConfigError, match="expected 32 bytes in base 64") as caught:
            find_key(config, "shop")
        assert text not in str(caught.value)


# --- secrets["NAME"] --------------------------------------------------------------------------------------------------


def test_outside_a_run_a_secret_is_a_variable_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_KEY", VALUE)
    monkeypatch.delenv("OTHER", raising=False)
    assert secrets["STRIPE_KEY"] == VALUE
    with pytest.raises(UnknownSecret, match="secret OTHER: expected an environment variable OTHER") as caught:
        secrets["OTHER"]
    assert isinstance(caught.value, HoldfastError)


def test_inside_a_run_the_run_is_asked_and_not_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    class Running:
        def secret(self, name: str) -> str:
            return f"{name} of the run"

    monkeypatch.setenv("STRIPE_KEY", VALUE)
    running: Any = Running()
    token = context.execution.set(running)
    try:
        assert secrets["STRIPE_KEY"] == "STRIPE_KEY of the run"
    finally:
        context.execution.reset(token)


def test_secrets_is_one_of_the_exported_names_and_shows_nothing() -> None:
    assert holdfast.secrets is secrets
    assert repr(secrets) == "secrets"
    assert len(holdfast.__all__) <= 25
    assert VALUE not in os.environ.values()
