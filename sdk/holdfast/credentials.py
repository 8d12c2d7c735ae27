"""How a process of this machine finds the server and logs in: a file per project that the daemon writes.

`<data_dir>/credentials/<project>.json` holds the URL of the embedded server and the project's user for clients. Who may
read the file may use the project; so it has mode 0600, and a password given for one server is never sent to another.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Struct

from holdfast.config import Config, Tls, project_name
from holdfast.errors import ConfigError, ConnectError


class Credentials(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where the server is and who we are there."""

    url: str
    """Without user and password; several of one cluster separated by commas."""
    user: str = ""
    """Empty where the server asks for none, or `creds` says it."""
    password: str = ""
    project: str
    creds: str = ""
    """Absolute path of a NATS `.creds` file, or empty."""
    tls: Tls | None = None
    """TLS files as absolute paths."""

    def __repr__(self) -> str:
        return f"Credentials(url={self.url!r}, user={self.user!r}, project={self.project!r}, ...)"


def file_of(data_dir: Path, project: str) -> Path:
    """The file with the client credentials of a project."""
    return data_dir / "credentials" / f"{project}.json"


def write(path: Path, credentials: Credentials) -> None:
    """Put the credentials at `path`, readable for the owner only; readers see the old file or the new one, whole.

    Idempotent. Raises OSError.
    """
    data = msgspec.json.format(msgspec.json.encode(credentials)) + b"\n"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise


def read(path: Path) -> Credentials | None:
    """The credentials at `path`, or None if there is no file; ConnectError if it can't be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Credentials)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConnectError(f"{path}: expected a readable credentials file, found: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ConnectError(f"{path}: not a credentials file; delete it and restart the daemon") from None


def resolve(config: Config, project: str | None = None, *, url: str | None = None) -> Credentials:
    """Where to connect for `project` (default: the configured one), from the first of these that says so.

    1. `url`, as given on the command line or to `connect`;
    2. `nats.url`, with `nats.creds`, `nats.user`, `nats.password` and `nats.tls`;
    3. the file that the daemon here wrote.

    A user and password in a URL are honoured. A `url` without them that names the server of 2 or 3 is
    that server, with its credentials.
    Raises ConnectError if nothing says where, ConfigError for what is no URL or project name.
    """
    project = project_name(project or config.default_project, what="project")
    configured = _configured(config, project)
    if url is not None:
        server = _server(url)
        if server.user:
            return _at(server, project, user=server.user, password=server.password)
        known = configured or read(file_of(config.data_dir, project))
        if known is not None and _server(known.url).places == server.places:
            return known
        return _at(server, project)
    if configured is not None:
        return configured
    path = file_of(config.data_dir, project)
    if (found := read(path)) is None:
        raise ConnectError(
            f"no server is running here: expected {path}; start one with `holdfast up` or set HOLDFAST_URL"
        )
    return found


def _configured(config: Config, project: str) -> Credentials | None:
    nats = config.nats
    if nats.url is None:
        return None
    server = _server(nats.url)
    files = {name: str(config.path(value)) for name, value in _paths(nats.tls).items()}
    return Credentials(
        url=server.url,
        user=server.user or nats.user or "",
        password=server.password if server.user else nats.password or "",
        project=project,
        creds=str(config.path(nats.creds)) if nats.creds else "",
        tls=Tls(**files) if files else None,
    )


def _paths(tls: Tls | None) -> dict[str, str]:
    return {name: value for name, value in msgspec.structs.asdict(tls).items() if value} if tls is not None else {}


def _at(server: _Server, project: str, *, user: str = "", password: str = "") -> Credentials:
    return Credentials(url=server.url, user=user, password=password, project=project)


class _Server(NamedTuple):
    """A URL in parts."""

    url: str
    places: frozenset[tuple[str, int]]
    user: str
    password: str


def _server(url: str) -> _Server:
    urls, places, user, password = [], set(), "", ""
    for one in (part.strip() for part in url.split(",")):
        try:
            parts = urlsplit(one if "://" in one else f"nats://{one}")
            host, port = parts.hostname or "", parts.port or 4222
        except ValueError:
            host, port = "", 0
        if not host or parts.scheme not in ("nats", "tls", "ws", "wss"):
            raise ConfigError('url: expected a URL like "nats://127.0.0.1:4222", found something else (not shown)')
        netloc = parts.netloc.rpartition("@")[2]
        urls.append(f"{parts.scheme}://{netloc}{parts.path}")
        places.add(("127.0.0.1" if host == "localhost" else host, port))
        user, password = user or unquote(parts.username or ""), password or unquote(parts.password or "")
    return _Server(",".join(urls), frozenset(places), user, password)
