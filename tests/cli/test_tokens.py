"""`holdfast tokens`: a text that is shown once, and stored nowhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from holdfast import access
from holdfast.client import Client
from holdfast.wire.subjects import Stream

if TYPE_CHECKING:
    from .conftest import World


def stored(shop: World) -> list[bytes]:
    """All that is stored about tokens."""

    async def read(client: Client) -> list[bytes]:
        return [message.data for message in await client.bus.read(Stream.CONTROL, "hf.shop.ctl.token.>")]

    return shop.do(read)


def test_a_token_is_printed_alone_and_stored_as_a_hash(shop: World) -> None:
    done = shop("tokens", "create", "--name", "shop front", "--scope", "trigger", "-s", "read", "--rate", "100/s")
    text = done.out.strip()
    claimed = access.claimed(text)
    assert done.code == 0
    assert claimed is not None
    assert claimed.project == "shop"
    assert "keep it now" in done.err
    assert text not in done.err
    (data,) = stored(shop)
    assert text.rpartition("_")[2].encode() not in data
    listed = shop("tokens", "list")
    assert listed.out.splitlines()[1].split()[:6] == [claimed.id, "shop", "front", "trigger,", "read", "100/s"]
    assert text.rpartition("_")[2] not in listed.out


def test_json_has_the_text_at_creation_only(shop: World) -> None:
    made = json.loads(shop("tokens", "create", "--name", "ci", "--scope", "operate", "--json").out)
    assert access.claimed(made["token"]) == ("shop", made["id"])
    (listed,) = [json.loads(line) for line in shop("tokens", "list", "--json").out.splitlines()]
    assert listed == {name: value for name, value in made.items() if name != "token"}
    assert (listed["scopes"], listed["rate"], listed["created_by"]) == (["operate"], None, "cli")


def test_a_revoked_token_is_listed_no_more_and_is_revoked_once(shop: World) -> None:
    made = json.loads(shop("tokens", "create", "--name", "ci", "--scope", "read", "--json").out)
    assert shop("tokens", "revoke", made["id"]).out == f"{made['id']}  ci  revoked\n"
    assert "no tokens" in shop("tokens", "list").err
    again = shop("tokens", "revoke", made["id"])
    assert again.code == 1
    assert "expected the id of one in force" in again.err


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("create", "--name", "x"), 2, "--scope"),
        (("create", "--scope", "read"), 2, "--name"),
        (("create", "--name", "", "--scope", "read"), 2, "expected a name of 1 to 100 printable characters"),
        (("create", "--name", "a\nb", "--scope", "read"), 2, "printable"),
        (("create", "--name", "x", "--scope", "root"), 2, "root"),
        (("create", "--name", "x", "--scope", "read", "--rate", "fast"), 2, 'found "fast"'),
        (("create", "--name", "x", "--scope", "read", "--rate", "0/s"), 2, 'found "0/s"'),
        (("revoke", "no.such"), 1, "expected the id of one in force"),
        (("revoke", "0123456789ab"), 1, "expected the id of one in force"),
    ],
)
def test_wrong_usage_creates_and_revokes_nothing(shop: World, args: tuple[str, ...], code: int, said: str) -> None:
    done = shop("tokens", *args)
    assert (done.code, said in done.err) == (code, True), done
    assert stored(shop) == []
