"""Redaction: secrets neither in texts for people nor in recorded values, which come back the same all the same."""

from __future__ import annotations

import enum
import json
import uuid
from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import msgspec
import pydantic
import pytest

from holdfast.errors import EncodeError, HoldfastError
from holdfast.redaction import MARK, Redactor, as_is, redacted
from holdfast.wire.references import SecretVersion, has_secrets
from holdfast.wire.values import decode_exception, decode_value, encode_exception, encode_value

KEY = "sk_live_4eC39HqLyjW"
OLD = "sk_live_0000000000x"
PIN = "9 7'\"\\\n6"
PEM = "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA7\nq9v\n-----END KEY-----"


class Two:
    """Two versions of one secret, and what else is given."""

    def __init__(self, **others: str) -> None:
        self.all = {("STRIPE_KEY", 1): OLD, ("STRIPE_KEY", 2): KEY} | {(n, 1): text for n, text in others.items()}

    def reference(self, text: str) -> SecretVersion | None:
        return next((SecretVersion(*at) for at, value in self.all.items() if value == text), None)

    def value(self, name: str, version: int | None = None) -> str:
        if (name, version or 1) not in self.all:
            raise HoldfastError(f"no version {version} of {name}")
        return self.all[name, version or 1]


def redactor(**others: str) -> Redactor:
    known = Two(**others)
    values = tuple(known.all.values())
    return Redactor(lambda: values, known)


class Pair(NamedTuple):
    left: Any
    right: Any


@dataclass
class Account:
    token: Any
    owner: str = "ann"


class Struct(msgspec.Struct):
    token: Any


class Model(pydantic.BaseModel):
    token: str


class Colour(enum.Enum):
    RED = 1


class Declined(Exception):
    def __init__(self, message: str, token: str) -> None:
        super().__init__(message)
        self.token = token


# --- texts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"key is {KEY}.", "key is [secret]."),
        (f"{KEY}{OLD} {KEY}", "[secret][secret] [secret]"),
        ("nothing here", "nothing here"),
        ("", ""),
        (KEY[:-1], KEY[:-1]),
    ],
)
def test_each_secret_in_a_text_is_replaced(text: str, expected: str) -> None:
    assert redactor().text(text) == expected


@pytest.mark.parametrize("form", [PIN, repr(PIN), json.dumps(PIN), f"https://x/?pin={PIN.encode().hex()}&q="])
def test_a_secret_that_is_quoted_or_escaped_is_replaced(form: str) -> None:
    found = redactor(PIN=PIN).text(f"<{form}>")
    assert PIN not in found
    assert (MARK in found) is not form.startswith("https")  # an encoding that nobody knows is not seen through


def test_a_secret_in_a_url_is_replaced() -> None:
    assert redactor(DB="p@ss/w rd").text("postgres://u:p%40ss%2Fw%20rd@db?x=p%40ss%2Fw+rd") == (
        "postgres://u:[secret]@db?x=[secret]"
    )


def test_the_lines_of_a_long_secret_are_replaced_one_by_one() -> None:
    texts = redactor(PEM=PEM)
    assert [texts.text(line) for line in PEM.splitlines()] == [MARK, MARK, "q9v", MARK]
    assert texts.text(repr(PEM)) == f"'{MARK}'"


def test_of_two_secrets_that_begin_alike_the_longer_one_is_replaced() -> None:
    assert redactor(SHORT="sk_live").text(f"{KEY} sk_live_1") == "[secret] [secret]_1"


def test_secrets_of_three_characters_are_not_looked_for() -> None:
    few = redactor(ABC="abc", ABCD="abcd")
    assert few.text("abc abcd") == "abc [secret]"
    assert few.encode("abc") == encode_value("abc")


def test_new_values_are_looked_for_as_soon_as_they_are_there() -> None:
    values: list[tuple[str, ...]] = [()]
    asked = Redactor(lambda: values[-1])
    assert asked.text(KEY) == KEY
    values.append((KEY,))
    assert asked.text(KEY) == MARK
    assert asked.holds(encode_value(KEY))


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        KEY,
        OLD,
        {"key": KEY, "n": [1, 2.5, None, True, b"x", "text"]},
        [KEY, [KEY, (KEY, {KEY})]],
        {("a", KEY): 1},
        OrderedDict(a=KEY),
        deque([KEY], 3),
        defaultdict(list, a=[KEY]),
        frozenset({KEY, "x"}),
        Pair(KEY, 1 << 80),
        Account(KEY),
        Account(Account(KEY)),
        Struct(KEY),
        Model(token=KEY),
        PurePosixPath(KEY),
        [Decimal("1.5"), uuid.UUID(int=5), Colour.RED, range(3), KEY, "\udc80", -(1 << 70)],
    ],
)
def test_a_value_with_a_secret_in_it_comes_back_the_same_and_its_bytes_do_not_hold_it(value: Any) -> None:
    texts = redactor()
    data = texts.encode(value)
    assert KEY.encode() not in data
    assert OLD.encode() not in data
    assert has_secrets(data)
    found = texts.decode(data)
    assert found == value
    assert type(found) is type(value)


def test_the_version_that_is_recorded_is_the_one_whose_value_it_was() -> None:
    assert decode_value(redactor().encode([OLD])) == ["[secret STRIPE_KEY]"]
    assert redactor().decode(redactor().encode([OLD, KEY])) == [OLD, KEY]


@pytest.mark.parametrize("value", [None, 1, "text", [1, {"a": (1, 2)}], Account("x"), b"\x00\xff", {1, 2}])
def test_a_value_without_secrets_has_the_bytes_that_it_always_had(value: Any) -> None:
    texts = redactor()
    assert texts.encode(value) == encode_value(value)
    assert texts.decode(encode_value(value)) == value


@pytest.mark.parametrize(
    "value",
    [
        f"Bearer {KEY}",
        [f"Bearer {KEY}"],
        {KEY: 1},
        KEY.encode(),
        bytearray(b"x" + KEY.encode()),
        Account(f"{KEY}\n"),
        PurePosixPath("/run") / KEY,
        f"\udc80{KEY}",
    ],
)
def test_a_text_that_only_contains_a_secret_makes_the_value_one_that_is_not_recorded(value: Any) -> None:
    with pytest.raises(EncodeError, match="result: expected no secret within a longer text") as caught:
        redactor().encode(value, name="result")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"Bearer {KEY}", "Bearer [secret]"),
        ({"a": [KEY, f"x{KEY}"]}, {"a": ["[secret STRIPE_KEY]", "x[secret]"]}),
        ({KEY: 1}, {"[secret]": 1}),
        (KEY.encode() + b"\xff", b"[secret]\xff"),
        (f"\udc80{KEY}", "\udc80[secret]"),
        (Account(KEY + KEY), Account("[secret][secret]")),
    ],
)
def test_what_must_be_recorded_is_recorded_without_the_secret(value: Any, expected: Any) -> None:
    data = redactor().censor(encode_value(value))
    assert KEY.encode() not in data
    assert decode_value(data) == expected


def test_classes_and_fields_that_are_called_like_a_secret_keep_their_names() -> None:
    texts = redactor(FIELD="token", MODULE=__name__, MEMBER="Colour", OWNER="ann!")
    for value in (Account("x"), Struct(1), Model(token="y"), Pair(1, 2), Colour.RED):
        assert texts.decode(texts.encode(value)) == value


def test_ids_and_numbers_that_look_like_a_secret_stay_what_they_are() -> None:
    texts = redactor(WORD="abcdefgh")
    for value in (uuid.UUID(bytes=b"abcdefgh" * 2), int.from_bytes(b"\x7fabcdefghabcdefgh"), {"n": 1 << 90}):
        assert texts.decode(texts.encode(value)) == value


def test_sealed_bytes_stay_as_they_are_when_they_are_sealed_again() -> None:
    texts = redactor()
    data = texts.encode({"a": KEY, "b": "c"})
    assert texts.seal(data) == data
    assert texts.censor(data) == data
    assert redacted(data, texts.text) == data


def test_a_secret_that_is_gone_is_named_when_it_is_decoded() -> None:
    data = redactor(GONE="gone-gone").encode({"a": "gone-gone"})
    with pytest.raises(HoldfastError, match="a recorded value refers to a secret: no version 1 of GONE"):
        redactor().decode(data)


def test_without_a_vault_no_secret_is_recorded_either() -> None:
    blind = Redactor(lambda: (KEY,))
    with pytest.raises(EncodeError):
        blind.encode({"a": KEY})
    assert decode_value(blind.censor(encode_value({"a": KEY}))) == {"a": MARK}
    assert blind.decode(encode_value(1)) == 1


def test_values_are_looked_at_quickly_where_there_are_no_secrets() -> None:
    none = Redactor(tuple)
    data = encode_value("x")
    assert not none.holds(data)
    assert none.seal(data) is data
    assert none.open(data) is data


# --- exceptions -------------------------------------------------------------------------------------------------------


def declined() -> BaseException:
    try:
        try:
            raise KeyError(KEY)
        except KeyError as cause:
            error = Declined(f"no: {KEY}", KEY)
            error.add_note(f"with {OLD}")
            raise error from cause
    except Declined as error:
        return error


def test_an_exception_is_recorded_without_secrets_and_with_its_class() -> None:
    data = redacted(encode_exception(declined()), redactor().text)
    assert KEY.encode() not in data
    assert OLD.encode() not in data
    found = decode_exception(data)
    assert isinstance(found, Declined)
    assert (str(found), found.token, found.__notes__) == ("no: [secret]", "[secret]", ["with [secret]"])
    assert isinstance(found.__cause__, KeyError)
    assert found.__cause__.args == ("[secret]",)


def test_nothing_is_redacted_where_there_is_nothing_to_redact() -> None:
    data = encode_exception(declined())
    assert redacted(data, as_is) == data
