"""Encryption of secrets with a key of the project: AES-256-GCM (NIST SP 800-38D) under a random nonce of 12 bytes.

Project, name and version are authenticated with each value, so none can be put in another's place. The key is 32 bytes
in base 64, in `<data_dir>/credentials/<project>.key` (mode 0600), or given by HOLDFAST_SECRETS_KEY. Who has the key and
the project's messages has the secrets; without the key they are lost.
"""

from __future__ import annotations

import os
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from holdfast.config import Config
from holdfast.errors import ConfigError, UnknownSecret
from holdfast.wire.secrets import StoredSecret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12


class SecretKey:
    """The key of a project's secrets."""

    def __init__(self, text: str, *, where: str = "the key of the secrets") -> None:
        """Raises: ConfigError: it is none; the message says `where` it was given."""
        self.text = text.strip()
        """As it is handed on to workers."""
        try:
            self._key = urlsafe_b64decode(self.text)
        except (NotBase64, ValueError):
            self._key = b""
        if len(self._key) != 32 or urlsafe_b64encode(self._key).decode() != self.text:
            raise ConfigError(f"{where}: expected 32 bytes in base 64, found something else (not shown)")

    @classmethod
    def random(cls) -> Self:
        return cls(urlsafe_b64encode(secrets.token_bytes(32)).decode())

    def __repr__(self) -> str:
        return "SecretKey(...)"

    def seal(self, project: str, name: str, version: int, value: str) -> bytes:
        """A value encrypted for its place."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + _cipher(self._key).encrypt(nonce, value.encode(), _place(project, name, version))

    def open(self, project: str, stored: StoredSecret) -> str:
        """The value of a stored version. Raises: UnknownSecret: it was encrypted with another key, or is damaged."""
        from cryptography.exceptions import InvalidTag

        box = stored.box or b""
        place = _place(project, stored.name, stored.version)
        try:
            return _cipher(self._key).decrypt(box[:_NONCE], box[_NONCE:], place).decode()
        except (InvalidTag, ValueError):
            raise UnknownSecret(
                f"secret {stored.name}, version {stored.version}: expected one that was encrypted with the key here, "
                "found another: set HOLDFAST_SECRETS_KEY to the key that it was set with"
            ) from None


def key_file(data_dir: Path, project: str) -> Path:
    """Where a project's key is kept."""
    return data_dir / "credentials" / f"{project}.key"


def find_key(config: Config, project: str) -> SecretKey | None:
    """The key of a project, from the environment, else from the file; None: there is neither.

    Raises:
        ConfigError: what is there is no key, or can't be read.
    """
    if config.secrets_key:
        return SecretKey(config.secrets_key, where="HOLDFAST_SECRETS_KEY")
    path = key_file(config.data_dir, project)
    try:
        return SecretKey(path.read_text(), where=str(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected a readable key file, found: {error}") from None


def make_key(config: Config, project: str) -> SecretKey:
    """The key of a project; where there is none one is made, once, also by several processes at a time."""
    found = find_key(config, project)
    if found is None:
        _write_new(key_file(config.data_dir, project), SecretKey.random().text)
        found = find_key(config, project)
        assert found is not None
    return found


def _write_new(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all; one that is there stays. Raises: OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(new, path)
    finally:
        with suppress(OSError):
            new.unlink()


def _cipher(key: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # 20 ms that only who has secrets pays

    return AESGCM(key)


def _place(project: str, name: str, version: int) -> bytes:
    return f"{project}/{name}/{version}".encode()
