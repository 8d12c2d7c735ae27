"""References: what stands in a value for what is kept elsewhere."""

from __future__ import annotations

import pytest
from msgspec import DecodeError
from msgspec.msgpack import Encoder, Ext

from holdfast.wire.references import (
    Kept,
    SecretVersion,
    decode_kept,
    encode_kept,
    has_secrets,
    is_kept,
    secret_extension,
)
from holdfast.wire.render import render, render_json
from holdfast.wire.values import decode_value, encode_value

DIGEST = bytes(range(32))
encode = Encoder().encode


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65_536, 64 << 20, 1 << 40])
def test_a_reference_to_a_big_value_is_told_from_values_and_read_again(size: int) -> None:
    data = encode_kept(Kept(DIGEST, size))
    assert is_kept(data)
    assert decode_kept(data) == Kept(DIGEST, size)


def test_a_reference_to_a_big_value_has_these_bytes() -> None:
    assert encode_kept(Kept(DIGEST, 3)) == b"\xc7\x24\x28\x92\xc4\x20" + DIGEST + b"\x03"


@pytest.mark.parametrize("value", [None, 1, "x", [1, 2], {"a": 1}, (1, 2), b"\xc7\x24\x28", "\xc7" * 20, {1, 2}])
def test_no_value_is_taken_for_a_reference(value: object) -> None:
    assert not is_kept(encode_value(value))


@pytest.mark.parametrize(
    "data",
    [encode(Ext(41, b"\x90")), encode(Ext(40, encode([b"short", 1]))), encode(Ext(40, encode([DIGEST]))), b"\xc0"],
)
def test_bytes_that_are_no_reference_are_not_read_as_one(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_kept(data)


def test_decoding_a_big_value_that_was_not_fetched_says_so() -> None:
    with pytest.raises(DecodeError, match=r"<12\.3 MiB, kept apart>: have `Blobs\.full` fetch its bytes first"):
        decode_value(encode_kept(Kept(DIGEST, 12_900_000)))


def test_screens_show_the_size_of_a_value_that_is_kept_apart() -> None:
    data = encode_kept(Kept(DIGEST, 12_900_000))
    assert render(data) == "<12.3 MiB, kept apart>"
    assert render_json(data) == '"<12.3 MiB, kept apart>"'


def test_where_a_secret_stood_a_reader_without_it_gets_a_text_that_says_so() -> None:
    data = encode({"key": secret_extension(SecretVersion("STRIPE_KEY", 3)), "n": 1})
    assert decode_value(data) == {"key": "[secret STRIPE_KEY]", "n": 1}
    assert render(data) == {"key": "[secret STRIPE_KEY]", "n": 1}


@pytest.mark.parametrize("name", ["K", "KEY", "A" * 5, "A" * 6, "A" * 100, "A" * 300])
def test_a_reference_to_a_secret_is_seen_wherever_it_stands(name: str) -> None:
    for version in (1, 200, 70_000):
        data = encode(["x", {"key": [secret_extension(SecretVersion(name, version))]}])
        assert has_secrets(data)
    assert not has_secrets(encode_value(["secret", name, 1, {"secret": ("secret", 3)}]))
