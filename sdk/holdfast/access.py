"""Access tokens of the HTTP interface: `hf_<project>_<id>_<secret>`, with a secret of 256 random bits.

Only the hash of the text is stored. One round of SHA-256 is enough for it: a random secret can't be guessed from its
hash, however fast hashing is. From the right the parts have fixed lengths, so a project's name may hold `_`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from typing import NamedTuple

from holdfast.core.model import Instant, Rate
from holdfast.errors import ConfigError
from holdfast.wire.api import AccessToken, Scope

LONGEST_NAME = 100

_TEXT = re.compile(r"hf_([a-z0-9][a-z0-9_-]{0,99})_([0-9a-f]{12})_[0-9a-f]{64}", re.ASCII)
_NOBODY = hashlib.sha256(secrets.token_bytes(32)).digest()


class Claimed(NamedTuple):
    """What a token's text says of itself, not yet proved."""

    project: str
    id: str


class Issued(NamedTuple):
    """A new token; its text is nowhere else."""

    text: str
    token: AccessToken


def issue(
    project: str, name: str, scopes: Iterable[str], *, at: Instant, by: str = "", rate: Rate | None = None
) -> Issued:
    """A new token of a project; nothing is stored. Raises: ConfigError: it would allow nothing, or has no name."""
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise ConfigError(f"token: expected a name of 1 to {LONGEST_NAME} printable characters, found {name!r:.120}")
    id = secrets.token_hex(6)
    text = f"hf_{project}_{id}_{secrets.token_hex(32)}"
    token = AccessToken(
        id=id,
        name=name,
        scopes=_scopes(scopes),
        hash=_hash(text),
        created_at=at,
        created_by=by,
        rate=rate,
    )
    return Issued(text, token)


def claimed(text: str) -> Claimed | None:
    """Whose token a text claims to be; None: it is the text of none."""
    match = _TEXT.fullmatch(text)
    return None if match is None else Claimed(match[1], match[2])


def proves(text: str, token: AccessToken | None) -> bool:
    """Whether a text is that of a token which is in force; takes as long where there is no token."""
    fits = hmac.compare_digest(_hash(text), _NOBODY if token is None else token.hash)
    return fits and token is not None and token.revoked_at is None


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _scopes(scopes: Iterable[str]) -> tuple[Scope, ...]:
    wanted = set(scopes)
    if not wanted or wanted - set(Scope):
        found = ", ".join(sorted(wanted)) or "none"
        raise ConfigError(f"token: expected one or more of the scopes {', '.join(Scope)}, found {found:.120}")
    return tuple(scope for scope in Scope if scope in wanted)
