"""Whether a webhook was signed by who has the secret, and lately: HMAC-SHA256, pure.

    generic   Holdfast-Timestamp: 1767355418, Holdfast-Signature: sha256=<hex>     over `<timestamp>.<body>`
    github    X-Hub-Signature-256: sha256=<hex>                                    over the body
    stripe    Stripe-Signature: t=1767355418,v1=<hex>[,v1=<hex>]                   over `<t>.<body>`

GitHub: docs.github.com, "Validating webhook deliveries". Stripe: docs.stripe.com/webhooks, "Verify webhook signatures
manually". Nothing that is not signed decides anything, so a repeated request is known by what its signature covers:
whatever else of it was changed, it is the same.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, assert_never

from holdfast.config import HookStyle
from holdfast.core.model import Instant, Seconds

AHEAD: Seconds = 60.0
"""How far a signer's clock may be ahead of ours."""

SIGNATURES_MOST = 8
"""Signatures of one request that are looked at: a signer whose secret is being changed sends two."""

HEADERS = {
    HookStyle.GENERIC: ("holdfast-timestamp", "holdfast-signature"),
    HookStyle.GITHUB: ("x-hub-signature-256",),
    HookStyle.STRIPE: ("stripe-signature",),
}
"""What is read of a request, by style; in lower case."""

_TIMESTAMP = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)


class BadSignature(Exception):
    """It was not signed with a secret that is known here, or not lately; the message says what was expected."""


class Signed(NamedTuple):
    """What the headers say of the signature."""

    timestamp: str
    """As it is signed; empty where the style has none."""
    signatures: tuple[str, ...]


def verify(
    style: HookStyle,
    headers: Mapping[str, str],
    body: bytes,
    secrets: Sequence[bytes],
    now: Instant,
    tolerance: Seconds,
) -> str:
    """What this request is known by when it is repeated: a digest of what was signed.

    GitHub and Stripe send an event again with the same body, Stripe under a new timestamp: that is a repetition too.

    Args:
        headers: by name in lower case.
        secrets: any of them is good.

    Raises:
        BadSignature
    """
    signed = read(style, headers)
    covered = f"{signed.timestamp}.".encode() + body if signed.timestamp else body
    # All are compared, in constant time: how long it takes tells nothing about which one fits, or how far.
    fits = [
        hmac.compare_digest(hmac.digest(secret, covered, "sha256").hex(), signature)
        for secret in secrets
        for signature in signed.signatures
    ]
    if not any(fits):
        raise BadSignature(f"expected a body signed with the hook's secret in {_named(style)}, found another signature")
    if signed.timestamp:
        _check_age(now - int(signed.timestamp), tolerance)
    return hashlib.sha256(covered if style is HookStyle.GENERIC else body).hexdigest()


def read(style: HookStyle, headers: Mapping[str, str]) -> Signed:
    """What the headers say. Raises: BadSignature: they are not there, or say something else."""
    match style:
        case HookStyle.GENERIC:
            signed = Signed(headers.get("holdfast-timestamp", ""), (_hex_of(headers.get("holdfast-signature", "")),))
        case HookStyle.GITHUB:
            signed = Signed("", (_hex_of(headers.get("x-hub-signature-256", "")),))
        case HookStyle.STRIPE:
            signed = _stripe(headers.get("stripe-signature", ""))
        case _:
            assert_never(style)
    timed = style is HookStyle.GITHUB or _TIMESTAMP.fullmatch(signed.timestamp) is not None
    if not timed or not signed.signatures or not all(_HEX.fullmatch(one) for one in signed.signatures):
        raise BadSignature(f"expected {_form(style)}, found something else")
    return signed


def _stripe(value: str) -> Signed:
    """Other schemes than `v1` are passed over, as Stripe asks for."""
    parts = [part.partition("=") for part in value.split(",")]
    stamps = [given for name, _, given in parts if name.strip() == "t"]
    signatures = [given for name, _, given in parts if name.strip() == "v1"]
    return Signed(stamps[0] if len(stamps) == 1 else "", tuple(signatures[:SIGNATURES_MOST]))


def _hex_of(value: str) -> str:
    return value.removeprefix("sha256=") if value.startswith("sha256=") else ""


def _check_age(age: Seconds, tolerance: Seconds) -> None:
    if age > tolerance:
        raise BadSignature(f"expected a timestamp at most {tolerance:g} s old, found one of {age:.0f} s ago")
    if age < -AHEAD:
        raise BadSignature(
            f"expected a timestamp at most {AHEAD:g} s ahead, found one {-age:.0f} s ahead: set the clock"
        )


def _named(style: HookStyle) -> str:
    return " and ".join(name.title() for name in HEADERS[style])


def _form(style: HookStyle) -> str:
    match style:
        case HookStyle.GENERIC:
            return "Holdfast-Timestamp: <seconds since 1970> and Holdfast-Signature: sha256=<64 hexadecimal digits>"
        case HookStyle.GITHUB:
            return "X-Hub-Signature-256: sha256=<64 hexadecimal digits>"
        case HookStyle.STRIPE:
            return "Stripe-Signature: t=<seconds since 1970>,v1=<64 hexadecimal digits>"
        case _:
            assert_never(style)
