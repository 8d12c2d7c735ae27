"""Signed webhooks: only what was signed with the secret, and lately, becomes an event, and once."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doors import NOW, Hand, Told, problem, visitor
from holdfast.bus.ports import EVENTS_DUPLICATE_WINDOW
from holdfast.config import LONGEST_TOLERANCE, HookStyle, Http, Webhook
from holdfast.core.model import Rate
from holdfast.errors import Unanswered
from holdfast_daemon.http.bodies import MOST
from holdfast_daemon.http.signatures import AHEAD, BadSignature, verify

SECRET, OLD = "whsec_5f2b", "whsec_old"

STYLES = list(HookStyle)


def mac(secret: str, covered: bytes) -> str:
    return hmac.new(secret.encode(), covered, hashlib.sha256).hexdigest()


def signed(style: HookStyle, body: bytes, *, secret: str = SECRET, at: float = NOW) -> dict[str, str]:
    """The headers that each sender's own documentation asks for."""
    stamp = str(int(at))
    match style:
        case HookStyle.GENERIC:
            signature = mac(secret, f"{stamp}.".encode() + body)
            return {"Holdfast-Timestamp": stamp, "Holdfast-Signature": f"sha256={signature}"}
        case HookStyle.GITHUB:
            return {"X-Hub-Signature-256": f"sha256={mac(secret, body)}"}
        case HookStyle.STRIPE:
            return {"Stripe-Signature": f"t={stamp},v0=ff,v1={mac(secret, f'{stamp}.'.encode() + body)}"}


def hooks(tolerance: float = 300.0) -> list[Webhook]:
    return [
        Webhook(name=style.value, style=style, secret="HOOK", subject=f"hooks.{style.value}", tolerance=tolerance)
        for style in HookStyle
    ]


@pytest.fixture
def shop() -> Told:
    told = Told()
    told.secrets["HOOK"] = (SECRET, OLD)
    return told


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("secret", [SECRET, OLD])
async def test_a_signed_body_becomes_an_event_as_it_is(shop: Told, style: HookStyle, secret: str) -> None:
    body = b'{"a": "\xc3\xa4"}\n'
    async with visitor(shop, hooks=hooks(), token=None) as http:
        answer = await http.post(f"/v1/hooks/{style}", content=body, headers=signed(style, body, secret=secret))
    assert (answer.status_code, answer.json()) == (202, {"seq": 1})
    ((subject, data, dedupe),) = shop.published
    assert (subject, data) == (f"hooks.{style}", body)
    assert dedupe is not None


async def test_the_documented_examples_of_github_and_stripe_are_taken() -> None:
    # docs.github.com, "Validating webhook deliveries": testing the webhook payload validation
    github = {"x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}
    assert verify(HookStyle.GITHUB, github, b"Hello, World!", [b"It's a Secret to Everybody"], NOW, 300)
    # two secrets during a roll, and a scheme for test mode: docs.stripe.com/webhooks/signature
    stamp = f"t={int(NOW)}"
    good = mac(SECRET, f"{int(NOW)}.{{}}".encode())
    stripe = {"stripe-signature": f"{stamp},v1={'0' * 64},v1={good},v0={'f' * 64}"}
    assert verify(HookStyle.STRIPE, stripe, b"{}", [SECRET.encode()], NOW, 300)


@pytest.mark.parametrize("style", STYLES)
async def test_the_same_again_stores_nothing_again(shop: Told, style: HookStyle) -> None:
    body, headers = b"{}", signed(style, b"{}")
    async with visitor(shop, hooks=hooks(), token=None) as http:
        for extra in ({}, {"Idempotency-Key": "other"}, {"X-GitHub-Delivery": "other"}):
            answer = await http.post(f"/v1/hooks/{style}?again", content=body, headers={**headers, **extra})
            assert answer.json() == {"seq": 1}
        assert len(shop.published) == 1
        await http.post(f"/v1/hooks/{style}", content=b"[]", headers=signed(style, b"[]"))
        assert len(shop.published) == 2


@pytest.mark.parametrize(("style", "stored"), [(HookStyle.GENERIC, 2), (HookStyle.GITHUB, 1), (HookStyle.STRIPE, 1)])
async def test_a_sender_that_tries_again_later_is_known_by_the_body_where_he_signs_anew(
    shop: Told, style: HookStyle, stored: int
) -> None:
    hand = Hand()
    async with visitor(shop, hooks=hooks(), token=None, hand=hand) as http:
        for _ in range(2):
            answer = await http.post(f"/v1/hooks/{style}", content=b"{}", headers=signed(style, b"{}", at=hand.at))
            assert answer.status_code == 202
            hand.at += 60
    assert len(shop.published) == stored


async def test_two_hooks_do_not_take_each_others_repetitions(shop: Told) -> None:
    two = [Webhook(name=name, style=HookStyle.GITHUB, secret="HOOK", subject=name) for name in ("a", "b")]
    async with visitor(shop, hooks=two, token=None) as http:
        for name in ("a", "b", "a"):
            await http.post(f"/v1/hooks/{name}", content=b"{}", headers=signed(HookStyle.GITHUB, b"{}"))
    assert [subject for subject, _, _ in shop.published] == ["a", "b"]


@pytest.mark.parametrize("style", [HookStyle.GENERIC, HookStyle.STRIPE])
@pytest.mark.parametrize(("late", "status"), [(299, 202), (302, 401), (1e6, 401), (-59, 202), (-62, 401)])
async def test_outside_its_window_a_request_is_refused(shop: Told, style: HookStyle, late: float, status: int) -> None:
    headers = signed(style, b"{}")
    async with visitor(shop, hooks=hooks(), token=None, hand=Hand(NOW + late)) as http:
        answer = await http.post(f"/v1/hooks/{style}", content=b"{}", headers=headers)
    assert answer.status_code == status
    assert len(shop.published) == (status == 202)
    if status == 401:
        assert "timestamp" in str(problem(answer)["detail"])


def test_as_long_as_a_request_is_good_its_repetition_is_known() -> None:
    assert LONGEST_TOLERANCE + AHEAD < EVENTS_DUPLICATE_WINDOW


def wrong(style: HookStyle, body: bytes) -> list[dict[str, str]]:
    right = signed(style, body)
    *_, name = right
    return [
        {},
        {name: ""},
        {**right, name: right[name].replace("sha256=", "").replace("v1=", "v2=")},
        {**right, name: right[name][:-1]},
        {**right, name: right[name].upper()},
        signed(style, body, secret="other"),
        signed(style, body, secret=""),
        signed(style, body + b" "),
        {key: value for key, value in right.items() if key != name},
    ] + [
        {**right, "Holdfast-Timestamp": str(stamp)}
        for stamp in ("", "x", int(NOW) + 1, f"0{int(NOW)}", f"+{int(NOW)}", f"{int(NOW)}.0", "9" * 500)
        if style is HookStyle.GENERIC
    ]


@pytest.mark.parametrize("style", STYLES)
async def test_a_wrong_signature_writes_nothing(shop: Told, style: HookStyle) -> None:
    body = b'{"amount": 1}'
    settings = Http(failures=Rate(1000, 1.0))
    async with visitor(shop, hooks=hooks(), token=None, settings=settings) as http:
        for headers in wrong(style, body):
            answer = await http.post(f"/v1/hooks/{style}", content=body, headers=headers)
            told = problem(answer)
            assert (answer.status_code, SECRET in answer.text) == (401, False), (headers, told)
            assert answer.headers["www-authenticate"]
        for other in STYLES:
            if other is not style:
                answer = await http.post(f"/v1/hooks/{style}", content=body, headers=signed(other, body))
                assert answer.status_code == 401
    assert not shop.touched


HEADER_VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=120)
PIECES = st.lists(
    st.sampled_from(
        ["t=", "v1=", "v0=", ",", "sha256=", "=", str(int(NOW)), "f" * 64, "0" * 63, " ", "-1", "\xb2", "9" * 30]
    )
).map("".join)
GOOD = {style: signed(style, b"{}") for style in HookStyle}


@given(
    st.sampled_from(STYLES),
    st.dictionaries(
        st.sampled_from(["holdfast-timestamp", "holdfast-signature", "x-hub-signature-256", "stripe-signature"]),
        HEADER_VALUES | PIECES,
    ),
    st.binary(max_size=50),
)
def test_no_invented_signature_is_good(style: HookStyle, headers: Mapping[str, str], body: bytes) -> None:
    with pytest.raises(BadSignature):
        verify(style, headers, body, [SECRET.encode(), OLD.encode()], NOW, 300)


@given(st.sampled_from(STYLES), st.integers(0, 200), st.sampled_from("0af,=tv.- 9"), st.sampled_from([b"{}", b"{} "]))
def test_a_right_signature_with_one_character_changed_is_wrong(
    style: HookStyle, at: int, other: str, body: bytes
) -> None:
    headers = {name.lower(): value for name, value in GOOD[style].items()}
    name = sorted(headers)[at % len(headers)]
    value = headers[name]
    place = at % len(value)
    changed = {**headers, name: value[:place] + other + value[place + 1 :]}
    try:
        verify(style, changed, body, [SECRET.encode()], NOW, 300)
    except BadSignature:
        return
    # What of a Stripe header is not `t` or `v1` is not signed, and not looked at.
    unsigned = style is HookStyle.STRIPE and value.index(",v0") < place < value.index(",v1")
    assert body == b"{}"
    assert changed == headers or unsigned


@given(st.binary(max_size=200), st.binary(max_size=200), st.sampled_from(STYLES))
def test_what_is_known_as_a_repetition_is_one(one: bytes, other: bytes, style: HookStyle) -> None:
    def known(body: bytes) -> str:
        headers = {name.lower(): value for name, value in signed(style, body).items()}
        return verify(style, headers, body, [SECRET.encode()], NOW, 300)

    assert (known(one) == known(other)) == (one == other)


async def test_an_unknown_hook_is_not_found_and_one_without_its_secret_says_so(
    shop: Told, caplog: pytest.LogCaptureFixture
) -> None:
    headers = signed(HookStyle.GENERIC, b"{}")
    async with visitor(shop, hooks=hooks(), token=None) as http:
        for name in ("nobody", "a.b", "x" * 300, "%00"):
            assert problem(await http.post(f"/v1/hooks/{name}", content=b"{}", headers=headers))["status"] == 404
        shop.secrets.clear()
        answer = await http.post("/v1/hooks/generic", content=b"{}", headers=headers)
    assert problem(answer)["detail"] == "hook generic: its secret is not set"
    assert answer.status_code == 503
    assert "secret HOOK is not set" in caplog.text
    assert not shop.touched


async def test_too_large_bodies_other_methods_and_lost_answers(shop: Told) -> None:
    large = b"x" * (MOST + 1)
    async with visitor(shop, hooks=hooks(), token=None) as http:
        answer = await http.post("/v1/hooks/generic", content=large, headers=signed(HookStyle.GENERIC, large))
        assert answer.status_code == 413
        assert (await http.get("/v1/hooks/generic")).status_code == 405
        shop.failure = Unanswered("late")
        answer = await http.post("/v1/hooks/generic", content=b"{}", headers=signed(HookStyle.GENERIC, b"{}"))
        assert problem(answer)["outcome"] == "unknown"
    assert not shop.touched


async def test_who_signs_wrongly_too_often_is_told_to_wait_and_who_signs_rightly_never_is(shop: Told) -> None:
    settings = Http(failures=Rate(2, 60.0))
    right, bad = signed(HookStyle.GITHUB, b"{}"), signed(HookStyle.GITHUB, b"{}", secret="other")
    async with visitor(shop, hooks=hooks(), token=None, settings=settings) as http:
        tried = [(await http.post("/v1/hooks/github", content=b"{}", headers=bad)).status_code for _ in range(3)]
        assert tried == [401, 401, 429]
        assert (await http.post("/v1/hooks/github", content=b"{}", headers=right)).status_code == 202


async def test_a_hook_publishes_to_its_own_project(shop: Told) -> None:
    other = Told("other")
    other.secrets["HOOK"] = ("else",)
    mine = Webhook(name="pay", style=HookStyle.GITHUB, secret="HOOK", subject="pay", project="other")
    async with visitor(shop, other, hooks=[mine], token=None) as http:
        for secret, status in ((SECRET, 401), ("else", 202)):
            headers = signed(HookStyle.GITHUB, b"{}", secret=secret)
            assert (await http.post("/v1/hooks/pay", content=b"{}", headers=headers)).status_code == status
    assert (len(shop.published), len(other.published)) == (0, 1)


def test_both_secrets_are_always_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bool] = []
    real = hmac.compare_digest

    def counting(one: str, other: str) -> bool:
        compared.append(real(one, other))
        return compared[-1]

    monkeypatch.setattr(hmac, "compare_digest", counting)
    headers = {name.lower(): value for name, value in GOOD[HookStyle.GITHUB].items()}
    verify(HookStyle.GITHUB, headers, b"{}", [SECRET.encode(), OLD.encode()], NOW, 300)
    assert compared == [True, False]


async def test_a_burst_of_repetitions_at_once_stores_one(shop: Told) -> None:
    headers = signed(HookStyle.GENERIC, b"{}")
    answers: list[httpx.Response] = []
    async with visitor(shop, hooks=hooks(), token=None) as http, anyio.create_task_group() as tasks:

        async def post() -> None:
            answers.append(await http.post("/v1/hooks/generic", content=b"{}", headers=headers))

        for _ in range(20):
            tasks.start_soon(post)
    assert {answer.status_code for answer in answers} == {202}
    assert len(shop.published) == 1
