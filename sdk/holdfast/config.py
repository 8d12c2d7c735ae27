"""The configuration: `holdfast.toml` and the `HOLDFAST_` variables, decoded into one tree of frozen structs.

`load` finds the file, lets the variables override it, and refuses what it does not know. config.example.toml documents
every key; the docstrings here say what each one promises. A process loads once at its edge and hands each part of the
code its own section; nothing else reads the environment.

    Config
    ├── nats        the server: embedded, or yours by `url`
    ├── daemon      where it keeps its data, where it listens
    ├── http        who may ask there, and how much
    ├── projects    NAME -> modules, workers, environment
    ├── queues      NAME -> limits
    ├── hooks       signed webhooks that become events
    ├── routes      events that start runs, beside those that tasks ask for
    └── retention   how long things are kept
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from holdfast.core.model import FIRST_PRIORITY, LAST_PRIORITY, Rate
from holdfast.core.routing import covers, overlap
from holdfast.decoding import Decoder, nearest
from holdfast.errors import ConfigError
from holdfast.quantities import duration, rate, size
from holdfast.wire.subjects import EVENT, TOKEN

FILE = "holdfast.toml"
"""The name that `load` looks for in the current directory and above it."""

LONGEST_TOLERANCE = 600.0
"""Seconds that a webhook's timestamp may be old at most: what is repeated later must still be known as a repetition."""

VARIABLES: Mapping[str, str] = {
    "HOLDFAST_CONFIG": "path of the configuration file, relative to the current directory",
    "HOLDFAST_URL": "nats.url; turns the embedded server off",
    "HOLDFAST_PROJECT": "the project meant where none is named",
    "HOLDFAST_DATA_DIR": "daemon.data_dir, relative to the current directory",
    "HOLDFAST_HTTP": "daemon.http",
    "HOLDFAST_DURABILITY": "nats.durability",
    "HOLDFAST_SECRETS_KEY": "the key of the project's secrets, instead of the file in the data directory",
    "HOLDFAST_LINK": "how the desk sends its frames: stock, paced or diff",
    "HOLDFAST_WORKER_ID": "internal: set by the pool supervisor for its worker processes",
    "HOLDFAST_READY_FD": "internal: where such a worker says that it serves",
}
"""Every variable that may be set, and what it does. An empty one counts as unset."""


class Durability(StrEnum):
    """What an acknowledgement of the embedded server means. An external server decides for itself."""

    ALWAYS = "always"
    """Fsynced: nothing acknowledged is ever lost."""
    INTERVAL = "interval"
    """Fsynced within 0.1 s: a crash of any process loses nothing, a power loss at most the last 0.1 s."""


class Auth(StrEnum):
    """Whether the HTTP interface asks who is there."""

    REQUIRED = "required"
    """An access token is needed for all that reads or changes anything."""
    OFF = "off"
    """Whoever reaches the address may do everything; only on loopback."""


class HookStyle(StrEnum):
    """Whose way of signing webhooks."""

    GENERIC = "generic"
    """`Holdfast-Signature` over `Holdfast-Timestamp`, a dot and the body."""
    GITHUB = "github"
    """`X-Hub-Signature-256` over the body."""
    STRIPE = "stripe"
    """`Stripe-Signature` over its own timestamp, a dot and the body."""


class Address(NamedTuple):
    """A host and port to listen on."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def _name(value: object) -> object:
    """A name that becomes a NATS subject token, an account and a file name."""
    letters = set("abcdefghijklmnopqrstuvwxyz0123456789")
    if not isinstance(value, str) or not value or value[0] not in letters or set(value) - letters - set("_-"):
        raise ValueError("a name of a-z, 0-9, '-' and '_' that begins with a letter or digit")
    return value


def _address(value: object) -> object:
    """A `host:port` to listen on; IPv6 hosts in brackets."""
    try:
        parts = urlsplit(f"//{value}")
        if isinstance(value, str) and parts.hostname and parts.port is not None and parts.netloc == value:
            return value
    except ValueError:
        pass  # said below, in our words
    raise ValueError('an address like "127.0.0.1:8377"')


def _url(value: object) -> object:
    """One NATS URL or several of one cluster, separated by commas."""
    expected = 'a URL like "nats://127.0.0.1:4222"'
    if not isinstance(value, str):
        raise ValueError(expected)
    for url in value.split(","):
        try:
            parts = urlsplit(url.strip() if "://" in url else f"nats://{url.strip()}")
            if not parts.hostname or parts.port == 0 or parts.scheme not in ("nats", "tls", "ws", "wss"):
                raise ValueError(expected)
        except ValueError:
            raise ValueError(expected) from None
    return value


def _event(value: object) -> object:
    """An event subject without wildcards."""
    from holdfast.wire.subjects import TOKEN

    if isinstance(value, str) and all(TOKEN.match(part) for part in value.split(".")):
        return value
    raise ValueError('an event subject like "payments.settled": words of letters, digits, - and _ with dots between')


def _secret_name(value: object) -> object:
    """The name of a secret."""
    from holdfast.errors import UnknownSecret
    from holdfast.wire.secrets import check_name

    try:
        return check_name(str(value))
    except UnknownSecret:
        raise ValueError('the NAME of a secret that `holdfast secrets set NAME` sets, like "STRIPE_HOOK"') from None


def _networks(value: object) -> object:
    """Addresses of proxies."""
    try:
        if isinstance(value, list | tuple):
            return tuple(str(ip_network(str(one))) for one in value)
    except ValueError:
        pass  # said below, in our words
    raise ValueError('a list of addresses or networks like ["10.0.0.7", "10.1.0.0/16"]')


_SOURCE = re.compile(r"(?:[^\s.*>$]+|\*)(?:\.(?:[^\s.*>]+|\*))*(?:\.>)?\Z")
_RESERVED = ("hf.>", "_INBOX.>")


def _token(value: object) -> object:
    """A name that becomes a token of a subject, such as a task's or a queue's."""
    if not isinstance(value, str) or not TOKEN.match(value):
        raise ValueError("letters, digits, '-' and '_'")
    return value


def _events(value: object) -> object:
    """The names of events, as tasks name them."""
    if not isinstance(value, str) or not EVENT.match(value):
        raise ValueError("a subject like 'orders.created' or 'orders.*', below `hf.<project>.evt.`")
    return value


def _source(value: object) -> object:
    """A subject of somebody else."""
    if not isinstance(value, str) or not _SOURCE.match(value):
        raise ValueError("a NATS subject like 'shop.orders.>'")
    if any(overlap(value, reserved) for reserved in _RESERVED):
        raise ValueError("a subject that takes in none of `hf.>` and `_INBOX.>`, which are holdfast's and NATS's own")
    return value


def _sources(value: object) -> object:
    """Several of them."""
    if not isinstance(value, list):
        raise ValueError('a list of NATS subjects like ["shop.orders.>"]')
    return [_source(one) for one in value]


def _expression(value: object) -> object:
    """A filter or a map, that can be compiled."""
    if not isinstance(value, str):
        raise ValueError('an expression like "event.amount > 100"')
    from holdfast.expressions import Expression  # only where there is one

    Expression(value)
    return value


# How each kind of leaf is read; `extra` is explained in holdfast.decoding.
Name = Annotated[str, Meta(extra={"read": _name})]
Url = Annotated[str, Meta(extra={"read": _url, "secret": True})]
Secret = Annotated[str, Meta(description="a string", extra={"secret": True})]
Duration = Annotated[float, Meta(extra={"read": duration})]
Size = Annotated[int, Meta(extra={"read": size})]
Port = Annotated[int, Meta(ge=0, le=65535, description="a port from 0 to 65535")]
Count = Annotated[int, Meta(ge=0, description="a whole number from 0")]
Positive = Annotated[int, Meta(ge=1, description="a whole number from 1")]
Replicas = Annotated[int, Meta(ge=1, le=5, description="1 to 5 replicas")]
RateLimit = Annotated[Rate, Meta(extra={"read": rate})]
EventSubject = Annotated[str, Meta(extra={"read": _event})]
SecretName = Annotated[str, Meta(extra={"read": _secret_name, "secret": True})]
Networks = Annotated[tuple[str, ...], Meta(extra={"read": _networks})]
Token = Annotated[str, Meta(extra={"read": _token})]
EventNames = Annotated[str, Meta(extra={"read": _events})]
Source = Annotated[str, Meta(extra={"read": _source})]
Sources = Annotated[tuple[str, ...], Meta(extra={"read": _sources})]
ExpressionText = Annotated[str, Meta(extra={"read": _expression})]
Text = Annotated[str, Meta(min_length=1, max_length=256, description="a text of 1 to 256 characters")]
Priority = Annotated[
    int, Meta(ge=FIRST_PRIORITY, le=LAST_PRIORITY, description="a priority from 0 (first) to 9 (last)")
]
ListenAddress = Annotated[str, Meta(extra={"read": _address})]


class Tls(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files in PEM format for TLS to your own server; the embedded one listens on loopback without it."""

    ca: str | None = None
    """Certificates to trust, instead of the system's."""
    cert: str | None = None
    """The client's certificate, where the server asks for one."""
    key: str | None = None
    """The private key of `cert`."""

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key together")


class Nats(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The NATS server: a child of the daemon by default, or your own."""

    embedded: bool = True
    """The daemon runs the server itself; false as soon as `url` is given."""
    port: Port = 4222
    """Port of the embedded server on 127.0.0.1; 0 takes any free one."""
    binary: str | None = None
    """Path of a nats-server executable (2.12 or newer), instead of the installed one."""
    durability: Durability = Durability.ALWAYS
    """What an acknowledgement of the embedded server means."""
    replicas: Replicas = 1
    """Copies of each stream; more than 1 needs a cluster."""
    url: Url | None = None
    """Your own server, or several of a cluster separated by commas."""
    creds: str | None = None
    """A NATS `.creds` file for `url`."""
    user: str | None = None
    """User name for `url`."""
    password: Secret | None = None
    """Password of `user`."""
    tls: Tls | None = None
    """TLS files for `url`."""

    def __post_init__(self) -> None:
        if self.embedded and self.url is not None:
            raise ValueError("either embedded = true or a url, not both")
        if not self.embedded and self.url is None:
            raise ValueError("a url, as embedded is false")
        if self.url is None and (self.creds or self.user or self.password or self.tls):
            raise ValueError("a url, as creds, user, password and tls are for your own server")
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password together")
        if self.embedded and self.replicas > 1:
            raise ValueError("replicas = 1, as the embedded server is a single one")

    def __repr__(self) -> str:
        return f"Nats(embedded={self.embedded}, port={self.port}, durability={self.durability.value!r}, ...)"


class Daemon(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The daemon's own place on this machine."""

    data_dir: str = ".holdfast"
    """Directory of journal, history and credentials; see `Config.data_dir` for the resolved path."""
    http: ListenAddress = "127.0.0.1:8377"
    """Address of the HTTP API."""

    @property
    def address(self) -> Address:
        """`http` in parts."""
        parts = urlsplit(f"//{self.http}")
        return Address(parts.hostname or "", parts.port or 0)


class Http(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HTTP interface of the daemon; where it listens is `daemon.http`."""

    auth: Auth = Auth.REQUIRED
    """Whether access tokens are asked for."""
    rate: RateLimit = Rate(1000, 1.0)
    """Requests of an access token that has no rate of its own."""
    failures: RateLimit = Rate(30, 60.0)
    """Requests of a client address that prove nothing: wrong tokens, wrong signatures."""
    timeout: Duration = 10.0
    """Seconds that a client may take to send the head of a request, then its body, and to take an answer."""
    connections: Positive = 1000
    """Connections at once; further ones are closed."""
    proxies: Networks = ()
    """Reverse proxies whose `X-Forwarded-For` is believed."""

    def __post_init__(self) -> None:
        if self.timeout <= 0:
            raise ValueError("a timeout above 0")


class Webhook(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A signed webhook: what is posted to `/v1/hooks/NAME` becomes an event."""

    name: Name = ""
    """Of the hook, in its URL."""
    style: HookStyle = HookStyle.GENERIC
    """How it is signed."""
    secret: SecretName = ""
    """Name of the project's secret that it is signed with; its two latest versions are good."""
    subject: EventSubject = ""
    """Event subject that the body is published under."""
    tolerance: Duration = 300.0
    """Seconds that its timestamp may be old."""
    project: Name | None = None
    """None: the default project."""

    def __post_init__(self) -> None:
        if not (self.name and self.secret and self.subject):
            raise ValueError("a name, a secret and a subject")
        if not 0 < self.tolerance <= LONGEST_TOLERANCE:
            raise ValueError(f"a tolerance above 0 and of at most {LONGEST_TOLERANCE:g} s")


class Workers(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The worker processes that the daemon keeps for a project."""

    min: Count = 2
    """Processes that run even when there is nothing to do; with two, one goes on at once where the other dies."""
    max: Count | None = None
    """Processes at most, as the queues ask for them; None: as many as `min`, always."""
    concurrency: Positive = 100
    """Runs at once in each process."""
    scale_up_after: Duration = 2.0
    """Seconds that ready runs wait, or will at the present pace, before there are more processes."""
    idle_after: Duration = 60.0
    """Seconds that one process less would have done before there is one less."""

    def __post_init__(self) -> None:
        if self.most < self.min:
            raise ValueError("a max of at least min")

    @property
    def most(self) -> int:
        """`max`, or what stands for it."""
        return self.min if self.max is None else self.max


class Project(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One project: an account of its own on the server, its own journal and workers."""

    modules: tuple[str, ...] = ()
    """Python modules that define its tasks."""
    workers: Workers = Workers()
    """Its worker processes."""
    drain: Duration = 10.0
    """Seconds that running runs get to end when a worker is told to stop."""
    ttl: Duration = 0.0
    """Seconds within which a run must have started once it is ready, where neither its trigger nor its task says so; 0:
    for ever."""
    sources: Sources = ()
    """Subjects of others that are stored as events too, under their own names."""
    env: dict[str, Secret] = {}
    """Variables added to the environment of its workers."""

    def __repr__(self) -> str:
        return f"Project(modules={self.modules!r}, workers={self.workers!r}, drain={self.drain!r}, ...)"


class Queue(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of one queue."""

    concurrency: Positive | None = None
    """Runs of this queue at once over all workers; None sets no limit."""
    key_concurrency: Positive | None = None
    """The same of each concurrency key."""
    rate: RateLimit | None = None
    """Starts in any window of that length."""


class Bounds(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of a stream is kept: whichever bound is met first drops the oldest."""

    age: Duration = 7 * 86400.0
    """Seconds."""
    bytes: Size = 1_000_000_000
    """Bytes on disk."""


class Age(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long something is kept, however much it is."""

    age: Duration = 365 * 86400.0
    """Seconds."""


class Retention(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long things are kept. The journal is the truth: it is kept whole."""

    events: Bounds = Bounds()
    """Events as they were published."""
    logs: Bounds = Bounds()
    """Output of the runs; the history keeps it as long."""
    audit: Age = Age()
    """Who paused, retried, cancelled what; the history keeps it as long."""


class Route(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Events that start runs of a task, beside those that the task asks for itself."""

    task: Token
    """Its id; runs of one that nobody has declared wait for a worker that does."""
    subject: EventNames | None = None
    """Which events, by their names, NATS wildcards."""
    source: Source | None = None
    """Instead: a subject of others, stored as events from the next start on."""
    filter: ExpressionText | None = None
    """Of these only those for which this is true."""
    map: ExpressionText | None = None
    """The run's arguments by name; else they are the members of the event's JSON object."""
    name: Token | None = None
    """Under which an event starts one run, whatever else is changed here; default: `<subject>:<task>`."""
    project: Name | None = None
    """Whose; default: the default project."""
    queue: Token | None = None
    """Instead of the task's own, as the following."""
    priority: Priority | None = None
    delay: Duration | None = None
    """Seconds from the event on."""
    ttl: Duration | None = None
    """Seconds within which the run must have started."""
    concurrency_key: Text | None = None

    def __post_init__(self) -> None:
        if (self.subject is None) == (self.source is None):
            raise ValueError("either a subject, of events by their names, or a source, of somebody else's messages")

    @property
    def pattern(self) -> str:
        """The subject or source."""
        return self.subject or self.source or ""

    @property
    def identity(self) -> str:
        """Its name, given or default."""
        return self.name or f"{self.pattern}:{self.task}"


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole configuration. `base`, `file`, `default_project` and `secrets_key` are no keys of the file."""

    nats: Nats = Nats()
    daemon: Daemon = Daemon()
    http: Http = Http()
    projects: dict[Name, Project] = {}
    queues: dict[Name, Queue] = {}
    hooks: tuple[Webhook, ...] = ()
    routes: tuple[Route, ...] = ()
    retention: Retention = Retention()
    base: Path
    """Directory that relative paths of the file are relative to: the file's own, or the current one without a file."""
    file: Path | None = None
    """The file that was read."""
    default_project: Name = "default"
    """The project meant where none is named."""
    secrets_key: str = ""
    """The key that secrets are encrypted with, where the environment gave it; see `sealing.find_key`."""

    def __repr__(self) -> str:
        return f"Config(file={str(self.file or '')!r}, default_project={self.default_project!r}, ...)"

    @property
    def data_dir(self) -> Path:
        """Absolute path of `daemon.data_dir`."""
        return self.path(self.daemon.data_dir)

    def path(self, value: str) -> Path:
        """A path of the file made absolute; `~` is the home directory."""
        return self.base / Path(value).expanduser()

    def check(self) -> None:
        """Whether sections that are right one by one fit together, for a daemon: others know other projects.

        Raises:
            ConfigError: they do not.
        """
        address, age = self.daemon.http, self.retention.events.age
        if self.http.auth is Auth.OFF and not self.daemon.address.loopback:
            expected = f'"required", as daemon.http = "{address}" is reached from other machines'
            raise self._unfit("http.auth", expected, '"off"')
        if self.hooks and age < 2 * LONGEST_TOLERANCE:
            expected = f"at least {2 * LONGEST_TOLERANCE:g} s, as a webhook that is repeated must be known"
            raise self._unfit("retention.events.age", expected, f"{age:g}")
        served = tuple(dict.fromkeys((self.default_project, *self.projects)))
        for index, hook in enumerate(self.hooks):
            if hook.name in (other.name for other in self.hooks[:index]):
                raise self._unfit(f"hooks[{index}].name", "a name of its own", f'"{hook.name}" a second time')
            if hook.project is not None and hook.project not in served:
                found = f'"{hook.project}"{nearest(hook.project, served)}'
                raise self._unfit(f"hooks[{index}].project", f"one of {', '.join(served)}", found)

        self._check_routes(served)

    def _check_routes(self, served: Sequence[str]) -> None:
        known: dict[tuple[str, str], int] = {}
        for place, route in enumerate(self.routes):
            project = route.project or self.default_project
            if project not in served:
                found = f'"{project}"{nearest(project, served)}'
                raise self._unfit(f"routes[{place}].project", f"one of {', '.join(served)}", found)
            if (first := known.setdefault((project, route.identity), place)) != place:
                expected = f"another name than that of routes[{first}]"
                raise self._unfit(f"routes[{place}]", expected, f'"{route.identity}": give one of them a name')
        for project in served:
            self._check_sources(project)

    def _check_sources(self, project: str) -> None:
        """A stream takes no two subjects of which one message could have both."""
        sources = self.sources_of(project)
        for place, one in enumerate(sources):
            for other in sources[:place]:
                if overlap(one, other):
                    found = f'"{other}" and "{one}": name one that takes in both instead'
                    raise self._unfit(f"sources of project {project}", "subjects that do not overlap", found)

    def _unfit(self, where: str, expected: str, found: str) -> ConfigError:
        return ConfigError(f"{self.file or FILE}: {where}: expected {expected}, found {found}")

    def project(self, name: str | None = None) -> Project:
        """The section of a project, or of the default one; defaults where the file has none."""
        return self.projects.get(name or self.default_project, Project())

    def routes_of(self, project: str) -> tuple[Route, ...]:
        """The routes of a project, in the order of the file."""
        return tuple(route for route in self.routes if (route.project or self.default_project) == project)

    def sources_of(self, project: str) -> tuple[str, ...]:
        """The subjects of others that are stored as events of a project; none takes in another."""
        named = (*self.project(project).sources, *(route.source for route in self.routes_of(project) if route.source))
        all_ = tuple(dict.fromkeys(named))
        return tuple(one for one in all_ if not any(covers(other, one) for other in all_ if other != one))

    def queue(self, name: str) -> Queue:
        """The section of a queue; defaults where the file has none."""
        return self.queues.get(name, Queue())


_HIDDEN = ("base", "file", "default_project", "secrets_key")


def load(path: Path | None = None, *, env: Mapping[str, str]) -> Config:
    """Read the configuration: the file at `path`, else HOLDFAST_CONFIG, else the nearest holdfast.toml, else defaults.

    A file that is named must exist; one that is searched for (current directory, then its parents) need not. `env` is
    the caller's environment; of it only `VARIABLES` are read. Raises ConfigError, one line: where, what was expected,
    what was found.
    """
    variables = _variables(env)
    named = path if path is not None else Path(variables["HOLDFAST_CONFIG"]) if "HOLDFAST_CONFIG" in variables else None
    file = named.expanduser().absolute() if named is not None else _nearest(Path.cwd())
    tree = _parse(file) if file is not None else {}
    origins = _override(tree, variables)
    fields = Decoder(str(file or FILE), origins).fields(Config, tree, hidden=_HIDDEN)
    project = project_name(variables.get("HOLDFAST_PROJECT", "default"), what="HOLDFAST_PROJECT")
    return Config(
        **fields,
        base=file.parent if file else Path.cwd(),
        file=file,
        default_project=project,
        secrets_key=variables.get("HOLDFAST_SECRETS_KEY", ""),
    )


def project_name(value: str, *, what: str) -> str:
    """`value`, if it can name a project or queue; else ConfigError. `what` says where it was given: `--project`."""
    checked: str = Decoder(what).leaf(Name, value, "")
    return checked


def _variables(env: Mapping[str, str]) -> dict[str, str]:
    ours = {key: value for key, value in env.items() if key.startswith("HOLDFAST_") and value}
    for key in sorted(ours.keys() - VARIABLES.keys()):
        known = ", ".join(variable for variable in VARIABLES if variable != "HOLDFAST_WORKER_ID")
        raise ConfigError(f"{key}: expected one of {known}, found an unknown variable{nearest(key, VARIABLES)}")
    return ours


def _nearest(directory: Path) -> Path | None:
    return next((file for here in (directory, *directory.parents) if (file := here / FILE).is_file()), None)


def _parse(file: Path) -> dict[str, Any]:
    text = ""
    try:
        text = file.read_bytes().decode("utf-8-sig")
        return tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigError(f"{file}: expected a configuration file, found none") from None
    except OSError as error:
        raise ConfigError(f"{file}: expected a readable file, found: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: expected UTF-8 text, found byte {error.start} to be something else") from None
    except tomllib.TOMLDecodeError as error:
        what, _, where = str(error).removesuffix(")").rpartition(" (at ")
        if where == "end of document":
            where = f"line {text.count(chr(10)) + 1}, column {len(text) - text.rfind(chr(10))}"
        raise ConfigError(f"{file}: {where}: expected TOML, found: {what[:1].lower()}{what[1:]}") from None


def _override(tree: dict[str, Any], variables: Mapping[str, str]) -> dict[str, str]:
    """Put the variables into the tree; returns key path -> variable, for messages."""
    keys = {
        "HOLDFAST_URL": ("nats", "url"),
        "HOLDFAST_DURABILITY": ("nats", "durability"),
        "HOLDFAST_DATA_DIR": ("daemon", "data_dir"),
        "HOLDFAST_HTTP": ("daemon", "http"),
    }
    origins: dict[str, str] = {}
    for variable, (section, key) in keys.items():
        if variable in variables and isinstance(table := tree.setdefault(section, {}), dict):
            table[key] = variables[variable]
            origins[f"{section}.{key}"] = variable
    if "daemon.data_dir" in origins:  # typed in a shell, so relative to where the shell is
        tree["daemon"]["data_dir"] = str(Path(variables["HOLDFAST_DATA_DIR"]).expanduser().absolute())
    nats = tree.get("nats")
    if isinstance(nats, dict) and "url" in nats:
        if "nats.url" in origins:
            nats["embedded"] = False
        nats.setdefault("embedded", False)
    return origins
