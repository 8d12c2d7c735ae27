"""`holdfast up`, `holdfast worker` and `holdfast tui`: what runs until it is told to stop."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from msgspec.structs import replace

from holdfast.cli.app import INTERRUPTED, Config, Project, Url, Usage
from holdfast.cli.session import group
from holdfast.errors import ConfigError
from holdfast.loops import loop_run

if TYPE_CHECKING:
    from holdfast.config import Config as Settings

up_app = group()
worker_app = group()
tui_app = group()

Modules = Annotated[list[str] | None, typer.Argument(metavar="MODULE", help="Modules that declare tasks.")]


@up_app.command()
def up(
    ctx: typer.Context,
    modules: Modules = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=0, help="Worker processes of each project, always.")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Of the embedded nats-server.")] = None,
    http: Annotated[str | None, typer.Option("--http", metavar="HOST:PORT", help="Of the HTTP interface.")] = None,
    dev: Annotated[
        bool, typer.Option("--dev", help="Begin the workers anew whenever a Python file is written.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what the services do.")] = False,
    project: Project = None,
    config: Config = None,
) -> None:
    """Run the server, the daemon and the workers. Ctrl-C drains and stops them all."""
    _log_to_stderr(logging.INFO if verbose else logging.WARNING)
    place = ctx.obj.at(project=project, config=config, url=None)
    settings = _settings(place.config, place.project)
    if port is not None:
        settings = replace(settings, nats=replace(settings.nats, port=port))
    if http is not None:
        settings = replace(settings, daemon=replace(settings.daemon, http=_address(http)))
    try:
        loop_run()(_up(settings, tuple(modules or ()), workers, dev))
    except BaseExceptionGroup as errors:
        raise first_cause(errors) from None


async def _up(settings: Settings, modules: tuple[str, ...], workers: int | None, dev: bool) -> None:
    """Run until told to stop, then drain. Told while it starts it begins nothing, told twice it waits for nothing."""
    import anyio

    from holdfast_daemon.app import Up, daemon

    state: Up | None = None
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:
            stop = anyio.Event()

            async def heed() -> None:
                async for number in signals:
                    if state is None:
                        tasks.cancel_scope.cancel()
                    elif stop.is_set():
                        _abandon(state.worker_pids().values())
                    else:
                        name = signal.Signals(number).name
                        _say(f"{name}: draining; runs that don't end in time go on at the next start")
                        stop.set()

            tasks.start_soon(heed)
            async with daemon(settings, modules=modules, workers=workers, dev=dev, tell=_say) as state:
                _greet(state, any(modules or settings.project(name).modules for name in state.projects))
                await stop.wait()
            tasks.cancel_scope.cancel()
    if state is None:
        raise typer.Exit(INTERRUPTED)


def _greet(state: Any, served: bool) -> None:
    _say(f"server {state.nats}   http {state.http}   data {state.data_dir}")
    count = len(state.worker_pids())
    _say(
        f"{count} worker process{'' if count == 1 else 'es'}; Ctrl-C stops; look in with `holdfast tui`"
        if served
        else "no workers: name modules, as in `holdfast up tasks`, or run `holdfast worker tasks` elsewhere"
    )


def _abandon(pids: Iterable[int]) -> None:
    """End the workers now: what they run goes on at the next start, behind its last checkpoint."""
    _say("told twice: the workers are ended at once")
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def first_cause(error: BaseException) -> BaseException:
    """The error that matters of a group: what a service could not begin with."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@worker_app.command()
def worker(
    ctx: typer.Context,
    modules: Modules = None,
    concurrency: Annotated[int | None, typer.Option("--concurrency", "-c", min=1, help="Runs at a time.")] = None,
    project: Project = None,
    config: Config = None,
    url: Url = None,
) -> None:
    """Run a worker alone, against any server. SIGTERM or Ctrl-C drains it."""
    from holdfast.worker.process import serve

    _log_to_stderr(logging.INFO)
    place = ctx.obj.at(project=project, config=config, url=url)
    settings = _settings(place.config, place.project)
    if not modules and not settings.project(place.project).modules:
        raise Usage("expected modules that declare tasks, as in `holdfast worker tasks`, or projects.NAME.modules set")
    serve(
        settings,
        modules or (),
        project=place.project,
        url=place.url,
        name=os.environ.get("HOLDFAST_WORKER_ID"),
        concurrency=concurrency,
        ready=lambda name: _say(f"worker {name} serves"),
    )


class Way(StrEnum):
    """How the desk sends its frames (`holdfast_tui.terminal.link.Link`, which may not be imported here)."""

    STOCK = "stock"
    PACED = "paced"
    DIFF = "diff"


@tui_app.command()
def tui(
    ctx: typer.Context,
    read_only: Annotated[bool, typer.Option("--read-only", help="Keys that change things do nothing.")] = False,
    theme: Annotated[
        str,
        typer.Option(
            "--theme",
            help="ansi, dark, light, contrast, or NAME of themes/NAME.toml of your own; as last time, unless given.",
            show_default=False,
        ),
    ] = "",
    ascii_only: Annotated[bool, typer.Option("--ascii", help="Draw with ASCII alone.")] = False,
    mouse: Annotated[bool, typer.Option("--mouse/--no-mouse", help="Leave the mouse to the terminal.")] = True,
    link: Annotated[
        Way, typer.Option("--link", envvar="HOLDFAST_LINK", help="How frames are sent; for when the screen is garbled.")
    ] = Way.DIFF,
    keys: Annotated[bool, typer.Option("--keys", help="Print the table of keys in effect, and end.")] = False,
    project: Project = None,
    config: Config = None,
    url: Url = None,
) -> None:
    """The operator's desk."""
    from holdfast_tui import key_table, run

    home = _home(os.environ)
    if keys:
        table, wrong = key_table(home.config)
        print(table, end="")
        if wrong:
            raise ConfigError(f"in {home.config}: {'; '.join(wrong)}")
        return
    from holdfast.connecting import connect

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Usage("expected a terminal, found none: `holdfast runs list` and its like print the same")
    place = ctx.obj.at(project=project, config=config, url=url)
    settings = _settings(place.config, place.project)

    async def client() -> Any:
        client = await connect(place.url, project=place.project, config=place.config, name="tui").open()
        client.via = "tui"
        return client

    raise typer.Exit(
        run(
            client,
            project=place.project or settings.default_project,
            read_only=read_only,
            env=os.environ,
            config_dir=home.config,
            link=link,
            mouse=mouse,
            theme=theme,
            ascii_only=ascii_only,
            state_dir=home.state,
        )
    )


class Home(NamedTuple):
    """Where a user's own files are; None: nowhere."""

    config: Path | None
    """What they want, such as `keys.toml`."""
    state: Path | None
    """What is kept of them from one session to the next."""


def _home(env: Mapping[str, str]) -> Home:
    """By the XDG base directories (https://specifications.freedesktop.org/basedir-spec); a relative one is ignored."""

    def place(variable: str, *default: str) -> Path | None:
        if (given := Path(env.get(variable, ""))).is_absolute():
            return given / "holdfast"
        return Path(env["HOME"], *default, "holdfast") if env.get("HOME") else None

    return Home(place("XDG_CONFIG_HOME", ".config"), place("XDG_STATE_HOME", ".local", "state"))


def _settings(path: str | None, project: str | None) -> Settings:
    from holdfast.config import load, project_name

    settings = load(Path(path) if path is not None else None, env=os.environ)
    if project is None:
        return settings
    return replace(settings, default_project=project_name(project, what="--project"))


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise Usage(f"--http: expected HOST:PORT such as 127.0.0.1:8377, found {text!r}")
    return text


def _say(text: str) -> None:
    print(f"holdfast: {text}", file=sys.stderr, flush=True)


def _log_to_stderr(level: int) -> None:
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
