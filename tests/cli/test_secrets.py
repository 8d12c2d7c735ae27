"""`holdfast secrets`: values in by stdin or a prompt, never out."""

from __future__ import annotations

import getpass
import io
import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.bus.memory import MemoryBus
from holdfast.client import Client
from holdfast.config import load
from holdfast.sealing import find_key, key_file
from holdfast.vault import Vault
from holdfast.wire import codec
from holdfast.wire.secrets import PINS, Pin, Pins
from holdfast.wire.subjects import Stream

from .conftest import Told

if TYPE_CHECKING:
    from .conftest import Outcome, World

VALUE, NEW = "sk_live_4eC39HqLyjW", "sk_live_rotated____"


class Typed(io.StringIO):
    """A terminal where somebody types."""

    def isatty(self) -> bool:
        return True


class Shell:
    """A shell in a directory of its own, with something on stdin."""

    def __init__(self, world: World, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.directory = directory
        self.patch = monkeypatch
        self.pins: tuple[Pin, ...] = ()
        shell = self

        class Knowing(Told):
            def __init__(self, bus: MemoryBus, world: World) -> None:
                super().__init__(bus, world)
                bus.request = self.asked  # type: ignore[method-assign]

            async def asked(self, subject: str, data: bytes, **_: Any) -> bytes:
                assert subject == self.bus.subjects.api(PINS)
                return codec.encode(Pins(shell.pins))

        world.client = Knowing

    def __call__(self, *args: str, given: str = "") -> Outcome:
        self.patch.setattr("sys.stdin", io.StringIO(given))
        done = self.world("secrets", *args)
        for text in (VALUE, NEW):
            assert text not in done.out + done.err
        return done

    def value(self, name: str, version: int | None = None) -> str:
        async def look(client: Client) -> str:
            vault = Vault()
            await vault.load(client.bus, find_key(load(env={"HOLDFAST_DATA_DIR": str(self.directory)}), "shop"))
            return vault.value(name, version)

        return self.world.do(look)


@pytest.fixture
def shell(shop: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("HOLDFAST_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("HOLDFAST_SECRETS_KEY", raising=False)
    monkeypatch.setattr(getpass, "getuser", lambda: "ann")
    return Shell(shop, tmp_path, monkeypatch)


def test_a_secret_comes_from_stdin_without_its_last_line_end_and_the_key_is_made(shell: Shell) -> None:
    done = shell("set", "STRIPE_KEY", given=f"{VALUE}\n")
    assert (done.code, done.out) == (0, "STRIPE_KEY  version 1\n")
    assert shell.value("STRIPE_KEY") == VALUE
    assert stat.S_IMODE(key_file(shell.directory, "shop").stat().st_mode) == 0o600


@pytest.mark.parametrize(("given", "value"), [("a\nb\n\n", "a\nb\n"), ("word\r\n", "word"), (" key ", " key ")])
def test_nothing_else_of_stdin_is_cut(shell: Shell, given: str, value: str) -> None:
    shell("set", "A", given=given)
    assert shell.value("A") == value


def test_at_a_terminal_the_value_is_asked_for_unseen(shell: Shell) -> None:
    asked: list[str] = []
    shell.patch.setattr(getpass, "getpass", lambda prompt: asked.append(prompt) or VALUE)
    shell.patch.setattr("sys.stdin", Typed())
    assert shell.world("secrets", "set", "STRIPE_KEY").out == "STRIPE_KEY  version 1\n"
    assert asked == ["Value of STRIPE_KEY: "]
    assert shell.value("STRIPE_KEY") == VALUE


def test_rotating_adds_a_version_and_a_wrong_name_sets_nothing(shell: Shell) -> None:
    shell("set", "STRIPE_KEY", given=VALUE)
    assert shell("rotate", "STRIPE_KEY", given=NEW).out == "STRIPE_KEY  version 2\n"
    assert (shell.value("STRIPE_KEY"), shell.value("STRIPE_KEY", 1)) == (NEW, VALUE)
    done = shell("rotate", "STRIPE_KEI", given=NEW)
    assert done.code == 1
    assert "expected one of those that are set (STRIPE_KEY)" in done.err


def test_the_list_shows_names_and_versions_and_no_value(shell: Shell) -> None:
    assert "no secrets yet" in shell("list").err
    shell("set", "STRIPE_KEY", "--latest-on-retry", given=VALUE)
    shell("set", "STRIPE_KEY", given=NEW)
    shell("set", "DB", given="postgres")
    head, *rows = shell("list").out.splitlines()
    assert head.split() == ["NAME", "VERSION", "SET", "BY", "NOTE"]
    assert [row.split()[:2] for row in rows][:2] == [["DB", "1"], ["STRIPE_KEY", "2"]]
    assert rows[1].endswith("ann  latest on retry")
    assert rows[2].split()[0] == "1"
    found = [json.loads(line) for line in shell("list", "--json").out.splitlines()]
    assert [(one["name"], one["latest"], one["latest_on_retry"]) for one in found] == [
        ("DB", 1, False),
        ("STRIPE_KEY", 2, True),
    ]


def test_a_version_that_runs_go_on_with_is_not_removed_and_they_are_listed(shell: Shell) -> None:
    shell("set", "STRIPE_KEY", given=VALUE)
    shell.pins = (Pin("01RUN", "charge", 1),)
    done = shell("remove", "STRIPE_KEY", "--yes")
    assert done.code == 1
    assert "found 01RUN (charge, version 1)" in done.err
    assert shell.value("STRIPE_KEY") == VALUE


def test_removing_takes_one_version_or_all_and_asks(shell: Shell) -> None:
    for value in (VALUE, NEW, "third"):
        shell("set", "STRIPE_KEY", given=value)
    assert shell("remove", "STRIPE_KEY").code == 2  # nobody to ask
    assert shell("remove", "STRIPE_KEY", "--version", "2", "--yes").out == "STRIPE_KEY  removed version 2\n"
    done = shell("remove", "STRIPE_KEY", "--yes", "--json")
    assert json.loads(done.out) == {"name": "STRIPE_KEY", "removed": [1, 3]}
    assert shell("remove", "STRIPE_KEY", "--yes").code == 1


@pytest.mark.parametrize(
    ("args", "given", "code", "said"),
    [
        (("set", "STRIPE_KEY"), "", 2, "expected the value of STRIPE_KEY on stdin"),
        (("set", "no.name"), VALUE, 1, "expected a secret's name"),
        (("set", "STRIPE_KEY", VALUE), "", 2, "found more arguments (not shown)"),
    ],
)
def test_wrong_usage_sets_nothing(shell: Shell, args: tuple[str, ...], given: str, code: int, said: str) -> None:
    done = shell(*args, given=given)
    assert done.code == code
    assert said in done.err

    async def look(client: Client) -> int:
        return await client.bus.last_seq(Stream.SECRETS)

    assert shell.world.do(look) == 0


def test_a_short_secret_is_set_with_a_warning(shell: Shell) -> None:
    done = shell("set", "PIN", given="123")
    assert done.code == 0
    assert "too common to be kept out of logs" in done.err


def test_listing_makes_no_key(shell: Shell) -> None:
    shell("list")
    assert not key_file(shell.directory, "shop").exists()
