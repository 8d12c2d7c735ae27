"""The table of commands, and what is common to all: where they act, what an error prints, and exit codes.

To add a command, add a row to `COMMANDS`: its module is imported when the command is called, never for the help of
the others, so it may import typer, the client and such at its top (holdfast_daemon and holdfast_tui inside functions,
as the dependency rule says). `app` in the module is a `typer.Typer` (`session.group` makes one): with several commands
it is a group, with one it is that command; a group too long for one module takes in the commands of others. A command
that needs the project's client is declared with `session.connected`; any other takes `ctx: typer.Context` and finds the
options given before it in `ctx.obj`, a `Place`.

Exit codes: 0 done, 1 what was asked for failed, 2 wrong usage or configuration, 3 no connection, 130 Ctrl-C, 141 nobody
reads what is printed.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_args

import typer
from typer.core import TyperCommand, TyperGroup

from holdfast.cli.text import visible
from holdfast.errors import ConfigError, ConnectError, HoldfastError

if TYPE_CHECKING:
    from holdfast.client import Client

FAILED, USAGE, NO_CONNECTION, INTERRUPTED, BROKEN_PIPE = 1, 2, 3, 130, 141


class Row(NamedTuple):
    """A command of the table."""

    name: str
    where: str
    """`module:attribute` of its `typer.Typer`."""
    help: str
    more: tuple[str, ...] = ()
    """Where further commands of the same group are, in the same form."""


COMMANDS: tuple[Row, ...] = (
    Row("demo", "holdfast.cli.demo:app", "A real run of everything, in a temporary directory."),
    Row("up", "holdfast.cli.serving:up_app", "Run the server, the daemon and the workers."),
    Row("worker", "holdfast.cli.serving:worker_app", "Run a worker alone, against any server."),
    Row("tui", "holdfast.cli.serving:tui_app", "The operator's desk."),
    Row("trigger", "holdfast.cli.trigger:trigger_app", "Start a run of a task."),
    Row("emit", "holdfast.cli.trigger:emit_app", "Publish an event."),
    Row(
        "runs",
        "holdfast.cli.runs:app",
        "List, show and watch runs, and act on them.",
        (
            "holdfast.cli.steering:app",
            "holdfast.cli.remaking:app",
            "holdfast.cli.transfer:app",
            "holdfast.cli.checking:app",
        ),
    ),
    Row("logs", "holdfast.cli.logs:app", "Print what runs wrote; -f follows."),
    Row("queues", "holdfast.cli.queues:app", "List, pause, resume, limit and purge queues; why a run waits."),
    Row("metrics", "holdfast.cli.metrics:app", "How much was done and how long it took, over time."),
    Row("events", "holdfast.cli.events:app", "List and show events, and route past ones once more."),
    Row("schedules", "holdfast.cli.schedules:app", "List, create, pause, run and preview schedules."),
    Row(
        "dlq",
        "holdfast.cli.dlq:app",
        "Dead letters: list, group, show, retry, drain, purge.",
        ("holdfast.cli.grouping:app",),
    ),
    Row("secrets", "holdfast.cli.secrets:app", "Set, list, rotate and remove secrets."),
    Row("tokens", "holdfast.cli.tokens:app", "Access over HTTP: create, list and revoke tokens."),
    Row("audit", "holdfast.cli.audit:app", "List who paused, retried, cancelled what."),
    Row("workers", "holdfast.cli.workers:workers_app", "List, drain, resume and stop workers."),
    Row("tasks", "holdfast.cli.workers:tasks_app", "List the tasks that workers have declared."),
    Row("verify", "holdfast.cli.verify:app", "Kill a task's worker at every durable write; see what differs."),
    Row("bench", "holdfast.cli.bench:app", "Measure latency, steps and throughput."),
    Row("doctor", "holdfast.cli.doctor:app", "Check versions, configuration, server, daemon and workers."),
)


class Usage(typer.TyperException):
    """Wrong usage: the message says what was expected, what was found and what to do."""

    exit_code = USAGE


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a command acts; None takes the default of `holdfast.connect`."""

    project: str | None = None
    config: str | None = None
    url: str | None = None
    opener: Callable[[Place], AbstractAsyncContextManager[Client]]
    """Connects; tests give their own."""

    def at(self, *, project: str | None, config: str | None, url: str | None) -> Place:
        """The same with what the command's own options say."""
        return replace(self, project=project or self.project, config=config or self.config, url=url or self.url)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Client]:
        """Connect for the time of a command; what it changes is one entry of the audit for each kind of change."""
        async with self.opener(self) as client:
            client.via, client.auditing.missed = "cli", _say
            async with client.auditing.gathering():
                yield client


def connection(place: Place) -> AbstractAsyncContextManager[Client]:
    """A connection to the project that is meant."""
    import logging

    from holdfast.connecting import connect

    for name in ("holdfast", "nats"):  # what goes wrong is said once, by what it makes of the command
        logging.getLogger(name).addHandler(logging.NullHandler())
    return connect(place.url, project=place.project, config=place.config, name="cli")


Project = Annotated[str | None, typer.Option("--project", "-p", metavar="NAME", help="The project meant.")]
Config = Annotated[str | None, typer.Option("--config", metavar="PATH", help="A holdfast.toml.")]
Url = Annotated[str | None, typer.Option("--url", metavar="URL", help="The server, e.g. nats://127.0.0.1:4222.")]


def _say(text: str) -> None:
    print(f"holdfast: {text}", file=sys.stderr, flush=True)


class Later(TyperCommand):
    """A command of which only name and help are known until it is called."""

    def __init__(self, row: Row) -> None:
        super().__init__(row.name, help=row.help, rich_markup_mode=None)
        self._row = row

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """The context of the command itself, loaded now."""
        found = _loaded(self._row.where)
        for where in self._row.more:
            found.commands.update(_loaded(where).commands)
        return found.make_context(*args, **kwargs)


def _loaded(where: str) -> Any:
    """The command or group at `module:attribute`."""
    module, _, attribute = where.partition(":")
    return typer.main.get_command(getattr(importlib.import_module(module), attribute))


class Reader:
    """Reads an option's value where that is plain to do; typer would import pydantic for each, 0.2 s in all.

    Stands where a parameter of typer 0.29 keeps what pydantic would do; other versions pass it over.
    """

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        kind = param.type_descriptor
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        if isinstance(value, str) and (parser := kind.parameter_info.parser):
            return parser(value)
        if not isinstance(value, str | list | tuple):  # a default, and right
            return value
        try:
            if isinstance(value, str):
                return _read(kind.annotation, value, param)
            return [_read(get_args(kind.annotation)[0], one, param) for one in value]
        except (ValueError, TypeError, IndexError):  # wrong, or not plain: typer knows, and says what is wrong
            param._runtime_param = None
            return param.get_runtime_param().coerce(value, param=param, ctx=ctx)

    @classmethod
    def install(cls, params: list[Any]) -> list[Any]:
        """Have these parameters read so."""
        for param in params:
            param._runtime_param = cls()
        return params


def _read(kind: Any, value: str, param: Any) -> Any:
    """The value as that type. Raises: ValueError, TypeError: it is not plainly one."""
    if kind is str or issubclass(kind, Enum):
        return kind(value)
    low, high = param.min, param.max
    if kind is int and (low is None or low <= int(value)) and (high is None or int(value) <= high):
        return int(value)
    raise TypeError(kind)


class Command(TyperCommand):
    """A command that starts fast."""

    def get_params(self, ctx: Any) -> list[Any]:
        return Reader.install(super().get_params(ctx))


class Group(TyperGroup):
    """A group that starts fast, and prints its help where no command is given."""

    def get_params(self, ctx: Any) -> list[Any]:
        return Reader.install(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["--help"])


class Root(Group):
    """The commands of the table."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = {row.name: Later(row) for row in COMMANDS}

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # typer would exit with 1
            raise typer.Exit(BROKEN_PIPE) from None


app = typer.Typer(
    name="holdfast",
    cls=Root,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def root(ctx: typer.Context, project: Project = None, config: Config = None, url: Url = None) -> None:
    """Durable background tasks, operated from a terminal."""
    ctx.obj = ctx.obj.at(project=project, config=config, url=url)


def run(args: Sequence[str], *, opener: Callable[[Place], AbstractAsyncContextManager[Client]] = connection) -> int:
    """Carry out one command line and return its exit code; errors are one line on stderr."""
    try:
        code = _command().main(list(args), prog_name="holdfast", standalone_mode=False, obj=Place(opener=opener))
    except HoldfastError as error:
        return fail(str(error) or type(error).__name__, _code(error))
    except typer.TyperException as error:
        return fail(_usage(error), error.exit_code)
    except typer.Abort:
        return fail("stopped: no answer to the question; `--yes` answers it beforehand", FAILED)
    except SystemExit as stop:
        code = stop.code
    return code if isinstance(code, int) else 0


def main() -> None:
    """The entry point: the command line of this process."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        code = BROKEN_PIPE
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code == BROKEN_PIPE:  # or the interpreter complains when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def fail(message: str, code: int) -> int:
    """Print one line on stderr; returns the code."""
    text = " ".join(line.strip() for line in message.splitlines() if line.strip())
    print(f"holdfast: {visible(text)}", file=sys.stderr)
    return code


@cache
def _command() -> Any:
    return typer.main.get_command(app)


def _code(error: HoldfastError) -> int:
    match error:
        case ConnectError():
            return NO_CONNECTION
        case ConfigError():
            return USAGE
        case _:
            return FAILED


def _usage(error: typer.TyperException) -> str:
    ctx = getattr(error, "ctx", None)
    message = error.format_message().rstrip(".")
    return message if ctx is None else f"{message}; see `{ctx.command_path} --help`"
