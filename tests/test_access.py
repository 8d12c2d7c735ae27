"""Access tokens: what their texts say and prove."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import access
from holdfast.access import claimed, issue, proves
from holdfast.bus.memory import MemoryBus
from holdfast.client import Client
from holdfast.core.model import Rate
from holdfast.errors import ConfigError, UnknownToken
from holdfast.quantities import rate, readable_rate
from holdfast.wire.api import AccessToken, Scope
from holdfast.wire.codec import encode

PROJECTS = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,30}", fullmatch=True)


def made(project: str = "shop") -> access.Issued:
    return issue(project, "ci", ["read"], at=1.0)


@given(PROJECTS)
def test_a_text_names_its_project_and_id_whatever_the_project_is_called(project: str) -> None:
    text, token = made(project)
    assert claimed(text) == (project, token.id)
    assert proves(text, token)


@given(st.text())
def test_no_other_text_claims_or_proves_anything(text: str) -> None:
    assert claimed(text) is None
    assert not proves(text, made().token)
    assert not proves(text, None)


@given(st.integers(min_value=0), st.sampled_from("0123456789abcdefg_ \n"))
def test_a_text_that_differs_in_one_character_proves_nothing(at: int, other: str) -> None:
    text, token = made()
    at %= len(text)
    changed = text[:at] + other + text[at + 1 :]
    assert proves(changed, token) == (changed == text)


def test_a_text_of_another_project_proves_nothing_even_with_the_same_secret() -> None:
    text, token = made("shop")
    assert not proves(text.replace("hf_shop_", "hf_shap_"), token)


def test_scopes_are_known_ones_each_once_and_at_least_one() -> None:
    assert issue("shop", "ci", ["read", "trigger", "read"], at=1.0).token.scopes == (Scope.TRIGGER, Scope.READ)
    for wrong in ([], ["root"], ["read", "write"]):
        with pytest.raises(ConfigError, match="expected one or more of the scopes trigger, read, operate"):
            issue("shop", "ci", wrong, at=1.0)


def test_two_tokens_have_nothing_in_common() -> None:
    texts = {made().text for _ in range(50)}
    assert (
        len(texts) == len({text.rpartition("_")[2] for text in texts}) == len({claimed(text) for text in texts}) == 50
    )


def test_nothing_of_the_secret_is_stored() -> None:
    text, token = made()
    secret = text.rpartition("_")[2]
    assert secret.encode() not in encode(token)
    assert bytes.fromhex(secret) not in encode(token)
    assert secret not in repr(token)


async def test_a_client_creates_lists_and_revokes() -> None:
    async with MemoryBus("shop") as bus:
        client = Client(bus, name="sdk")
        text, token = await client.create_token("ci", [Scope.READ], rate=Rate(5, 60.0))
        assert await client.tokens() == [token]
        assert (token.rate, token.created_by) == (Rate(5, 60), "sdk")
        revoked = await client.revoke_token(token.id)
        assert revoked.revoked_at is not None
        assert not proves(text, revoked)
        assert await client.tokens() == []
        for id in (token.id, "nothing", "a.b", "*", ""):
            with pytest.raises(UnknownToken):
                await client.revoke_token(id)


async def test_two_who_revoke_at_once_end_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with MemoryBus("shop") as bus:
        client, other = Client(bus), Client(bus)
        _, token = await client.create_token("ci", [Scope.READ])
        publish = bus.publish

        async def raced(*args: object, **kwargs: object) -> int:
            monkeypatch.setattr(bus, "publish", publish)
            await other.revoke_token(token.id)
            return await publish(*args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(bus, "publish", raced)
        with pytest.raises(UnknownToken):
            await client.revoke_token(token.id)


def test_an_older_token_without_later_fields_is_read() -> None:
    old = AccessToken(id="0", name="n", scopes=(Scope.READ,), hash=b"", created_at=1.0)
    assert (old.rate, old.revoked_at, old.created_by) == (None, None, "")


@pytest.mark.parametrize(("text", "found"), [("100/s", (100, 1.0)), ("600/m", (600, 60.0)), ("5/h", (5, 3600.0))])
def test_a_rate_is_read_and_shown_alike(text: str, found: tuple[int, float]) -> None:
    assert rate(text) == Rate(*found)
    assert readable_rate(rate(text)) == text
