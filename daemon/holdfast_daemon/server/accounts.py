"""The users of the embedded server: random passwords, made once, kept in files of mode 0600 across restarts.

    <data_dir>/credentials/<project>.json          for clients: holdfast.credentials finds it
    <data_dir>/credentials/<project>.daemon.json   for the daemon
    <data_dir>/credentials/_system.json            for the daemon in the system account

Project names hold no dot and begin with a letter or digit, so these never collide.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct

from holdfast import credentials
from holdfast.credentials import Credentials
from holdfast.errors import ConnectError
from holdfast_daemon.server.settings import Account, User


class Accounts(Struct, frozen=True, kw_only=True):
    """Everyone who may log in to the embedded server."""

    daemon: Mapping[str, Credentials]
    """Project -> the daemon's own user."""
    clients: Mapping[str, Credentials]
    """Project -> the user of its clients and workers."""
    system: Credentials
    """The daemon's user in the system account."""


def issue(data_dir: Path, projects: Iterable[str], *, url: str) -> Accounts:
    """Write the credentials of each project, with the passwords that are there already or new ones.

    Idempotent: files that say the same stay untouched. Those of other projects stay too, as their journals do. Raises
    OSError.
    """
    names = tuple(dict.fromkeys(projects))
    place = data_dir / "credentials"
    return Accounts(
        daemon={name: _issue(place / f"{name}.daemon.json", url, f"{name}.daemon", name) for name in names},
        clients={name: _issue(credentials.file_of(data_dir, name), url, f"{name}.client", name) for name in names},
        system=_issue(place / "_system.json", url, "system", ""),
    )


def listed(accounts: Accounts) -> tuple[Account, ...]:
    """The projects' accounts for the server's settings; the daemon's user is the first of each."""
    return tuple(
        Account(name=project, users=(user_of(accounts.daemon[project]), user_of(accounts.clients[project])))
        for project in accounts.daemon
    )


def user_of(known: Credentials) -> User:
    """The server's side of credentials."""
    return User(name=known.user, password=known.password)


def _issue(path: Path, url: str, user: str, project: str) -> Credentials:
    known = _known(path)
    password = known.password if known is not None and known.password else secrets.token_urlsafe(24)
    wanted = Credentials(url=url, user=user, password=password, project=project)
    if wanted != known:
        credentials.write(path, wanted)
    return wanted


def _known(path: Path) -> Credentials | None:
    try:
        return credentials.read(path)
    except ConnectError:
        return None  # torn by a power loss: clients need a new one anyway
