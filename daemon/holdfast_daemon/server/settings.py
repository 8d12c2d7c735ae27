"""The embedded server's configuration as nats-server reads it. Pure: a struct in, text out.

Each project is an account of its own: on a stream with schedules, subject permissions alone isolate nobody.
Format: https://docs.nats.io/running-a-nats-service/configuration, checked against nats-server 2.15.1.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from holdfast.config import Durability

SYNC_INTERVAL = {Durability.ALWAYS: "always", Durability.INTERVAL: "100ms"}
"""`always`: fsync before each acknowledgement. Otherwise the longest time that a power loss can take (NATS.md 8)."""

PING_EVERY, PINGS_UNANSWERED = 2, 2
"""A client that leaves so many pings unanswered, so many seconds apart, is disconnected with the next: within 6 s.

What a worker had asked for when it was stopped (SIGSTOP, a machine that sleeps) goes to others from then on, not into
a socket that nobody reads. This must be less than the ten seconds after which such an item comes again, or it may come
to the same worker again. A live client answers whatever it does, except while code blocks its event loop. A worker
whose loop is blocked for longer keeps its runs: its heart beats on a connection of its own, and the other one comes
back by itself as soon as the loop goes on, with all that was asked for.
"""


class User(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may log in. User names are unique over all accounts of a server."""

    name: str
    password: str

    def __repr__(self) -> str:
        return f"User({self.name!r}, ...)"


class Account(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A project's namespace of subjects, streams and consumers; all its users may do everything in it."""

    name: str
    users: tuple[User, ...]


class ServerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can differ between two embedded servers."""

    name: str
    """The server names itself so; the readiness check knows our own server by it."""
    port: int
    """On 127.0.0.1."""
    store_dir: Path
    """The server appends `jetstream/`."""
    durability: Durability
    system: User
    """The daemon's user in the system account: server events, kicks, reloads."""
    accounts: tuple[Account, ...]
    host: str = "127.0.0.1"


def render(settings: ServerSettings) -> str:
    """The text of server.conf. It holds passwords: mode 0600, never in a log."""
    accounts = "\n".join(_account(account) for account in settings.accounts)
    return f"""\
# Written by holdfast at each start: changes are lost. Set [nats] in holdfast.toml instead.
server_name: {_quoted(settings.name)}
host: {_quoted(settings.host)}
port: {settings.port}
max_payload: 8MB
# Only SIGUSR2 begins a lame duck; the shortest that nats-server accepts.
lame_duck_duration: "30s"
ping_interval: "{PING_EVERY}s"
ping_max: {PINGS_UNANSWERED}

jetstream {{
  store_dir: {_quoted(str(settings.store_dir))}
  sync_interval: {_quoted(SYNC_INTERVAL[settings.durability])}
  # Without this it is 75 % of what is free at the start, which a grown journal may already exceed.
  max_file_store: 1PB
}}

accounts {{
  SYS {{ users: [ {_user(settings.system)} ] }}
{accounts}
}}
system_account: SYS
"""


def _account(account: Account) -> str:
    users = ", ".join(_user(user) for user in account.users)
    return f"  {_quoted(account.name)} {{ jetstream: enabled, users: [ {users} ] }}"


def _user(user: User) -> str:
    return f"{{ user: {_quoted(user.name)}, password: {_quoted(user.password)} }}"


def _quoted(text: str) -> str:
    """A string of the format: unquoted ones may be read as a variable, a number or a boolean."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escapes.get(character, character) for character in text) + '"'
