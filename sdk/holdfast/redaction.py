"""Keeps secrets out of what is stored: logs, errors, and recorded values.

In a text for people each secret is replaced by `[secret]`. A recorded value must come back the same, so there:

- A text that *is* a secret becomes a reference to it, by name and version, and is the secret again when it is decoded.
- A text that only *contains* one (`f"Bearer {key}"`) can't be recorded: it would come back as another. `encode` and
  `seal` refuse it with EncodeError, as they do any value without an exact round trip, so such a step is volatile: it
  runs again on resume, shown as such. Where something must be recorded in any case, a run's result, `censor` records
  `Bearer [secret]`.

Secrets of fewer than four characters are not looked for: they are everywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, quote_plus

from msgspec.msgpack import Ext

from holdfast.errors import EncodeError, HoldfastError
from holdfast.wire.references import SecretVersion, has_secrets, secret_extension
from holdfast.wire.texts import Plainly, replaced
from holdfast.wire.values import decode_value, encode_value

MARK = "[secret]"
"""What stands in a text where a secret stood."""

SHORTEST = 4
"""Characters of the shortest secret that is looked for."""

SHORTEST_LINE = 8
"""Characters of the shortest line of a longer secret that is looked for by itself: logs are stored line by line."""


def as_is(text: str) -> str:
    """The text, where there is nothing to redact."""
    return text


class Known(Protocol):
    """Secrets by name and version: a `vault.Vault`."""

    def reference(self, text: str) -> SecretVersion | None:
        """The secret, in its newest version, whose value a text is; None: it is none."""

    def value(self, name: str, version: int | None = None) -> str:
        """A secret's value. Raises: HoldfastError: there is none of this name and version."""


class Redactor:
    """Replaces secrets in what is to be stored, and puts them back in what was."""

    def __init__(self, values: Callable[[], Iterable[str]], known: Known | None = None) -> None:
        """
        Args:
            values: all texts to look for, asked each time; as long as it gives the same object they are prepared once.
            known: what references are made and resolved by; None: every text that is a secret only contains one.
        """
        self._values = values
        self._known = known
        self._prepared = _prepared(())

    def text(self, text: str) -> str:
        """A text for people, with every secret in it replaced, also where it is quoted, escaped or in a URL."""
        pattern = self._needles().pattern
        return text if pattern is None else pattern.sub(MARK, text)

    def holds(self, data: bytes) -> bool:
        """Whether the bytes of an encoded value hold the text of a secret."""
        return any(needle in data for needle in self._needles().whole)

    def encode(self, value: Any, *, name: str = "value") -> bytes:
        """The value as bytes without secrets, from which `decode` makes an equal value.

        Raises:
            EncodeError: as `encode_value`, or a text in it contains a secret and more.
        """
        return self.seal(encode_value(value, name=name), name=name)

    def decode(self, data: bytes) -> Any:
        """The value of bytes that `encode`, `seal` or `encode_value` made.

        Raises:
            HoldfastError: a secret that it refers to is not there any more.
            msgspec.DecodeError: as `decode_value`.
        """
        return decode_value(self.open(data))

    def seal(self, data: bytes, *, name: str = "value") -> bytes:
        """An encoded value with references in place of secrets.

        Raises:
            EncodeError: a text in it contains a secret and more.
        """
        return replaced(data, _Sealer(self, name)) if self.holds(data) else data

    def censor(self, data: bytes) -> bytes:
        """An encoded value with references in place of secrets, and `[secret]` where one is part of a longer text."""
        return replaced(data, _Censor(self)) if self.holds(data) else data

    def open(self, data: bytes) -> bytes:
        """An encoded value with the secrets in place of references. For decoding only: it must not be stored.

        Raises:
            HoldfastError: a secret is not there any more.
        """
        return replaced(data, _Opener(self._known)) if self._known is not None and has_secrets(data) else data

    def reference(self, text: str) -> SecretVersion | None:
        """The secret whose value a text is, or None."""
        return None if self._known is None or len(text) < SHORTEST else self._known.reference(text)

    def _needles(self) -> _Prepared:
        values = self._values()
        if values is not self._prepared.source:
            self._prepared = _prepared(values)
        return self._prepared


def redacted(data: bytes, redact: Callable[[str], str]) -> bytes:
    """An encoded value, or exception, with its texts redacted: for people, it does not come back the same."""
    return replaced(data, Plainly(redact))


class _Prepared(NamedTuple):
    """What is looked for."""

    source: Iterable[str]
    whole: tuple[bytes, ...]
    """Secrets as they stand in the bytes of a value."""
    pattern: re.Pattern[str] | None
    """Secrets as they stand in texts, the longest first; None: there are none."""


def _prepared(values: Iterable[str]) -> _Prepared:
    secrets = {value for value in values if len(value) >= SHORTEST}
    forms = sorted({form for secret in secrets for form in _forms(secret)}, key=lambda form: (-len(form), form))
    pattern = re.compile("|".join(map(re.escape, forms))) if forms else None
    return _Prepared(values, tuple(sorted(secret.encode("utf-8", "surrogatepass") for secret in secrets)), pattern)


def _forms(secret: str) -> Iterable[str]:
    """How a secret may stand in a text: as it is, in the usual escapes, and each of its lines."""
    lines = [line.strip() for line in secret.splitlines()] if "\n" in secret else []
    for text in (secret, secret.strip(), *(line for line in lines if len(line) >= SHORTEST_LINE)):
        if len(text) >= SHORTEST:
            yield from (text, repr(text)[1:-1], json.dumps(text)[1:-1], quote(text, safe=""), quote_plus(text))


class _Censor:
    """Replaces a secret by a reference, or where that can't be by `[secret]`."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def text(self, text: str) -> str | Ext:
        secret = self._redactor.reference(text)
        return self.part(text) if secret is None else secret_extension(secret)

    def part(self, text: str) -> str:
        if not self._redactor.holds(text.encode("utf-8", "surrogateescape")):
            return text
        return self._redactor.text(text)

    def secret(self, secret: SecretVersion) -> Ext:
        return secret_extension(secret)


class _Sealer(_Censor):
    """Replaces a secret by a reference, or refuses the value."""

    def __init__(self, redactor: Redactor, name: str) -> None:
        super().__init__(redactor)
        self._name = name

    def part(self, text: str) -> str:
        if super().part(text) != text:
            raise EncodeError(
                f"{self._name}: expected no secret within a longer text, found one: it is not recorded. "
                "Pass the secret on by itself, and put texts with it together where they are used"
            )
        return text


class _Opener:
    """Puts the secrets back."""

    def __init__(self, known: Known) -> None:
        self._known = known

    def text(self, text: str) -> str:
        return text

    part = text

    def secret(self, secret: SecretVersion) -> str:
        try:
            return self._known.value(*secret)
        except HoldfastError as error:
            raise HoldfastError(f"a recorded value refers to a secret: {error}") from None
