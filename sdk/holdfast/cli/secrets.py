"""`holdfast secrets`: set, list, rotate, remove. Values come from stdin or a prompt, and are never printed."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import anyio
import typer

from holdfast import config as configuration
from holdfast import deeds
from holdfast.cli import text
from holdfast.cli.app import FAILED, Command, Config, Place, Project, Url, Usage
from holdfast.cli.output import Cell, Column, Output, Style
from holdfast.cli.session import Json, ask, group
from holdfast.client import Client
from holdfast.redaction import SHORTEST
from holdfast.safe import Safe
from holdfast.sealing import SecretKey, find_key, make_key
from holdfast.wire.secrets import check_name

app = group("Set, list, rotate and remove secrets.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="As in secrets[NAME].")]
LatestOnRetry = Annotated[
    bool | None,
    typer.Option(
        "--latest-on-retry/--pinned-on-retry",
        help="Whether an attempt after a failed one reads the latest version. Default: the one its run read first.",
    ),
]
Opened: TypeAlias = Callable[[Any, str], SecretKey | None]

_NO_VALUE = {"allow_extra_args": True}
"""Taken, to be refused without being shown."""

COLUMNS = (Column("NAME", cut=True), Column("VERSION", right=True), Column("SET"), Column("BY"), Column("NOTE"))


@app.command("set", cls=Command, context_settings=_NO_VALUE)
def set_(
    ctx: typer.Context,
    name: Name,
    latest_on_retry: LatestOnRetry = None,
    json: Json = False,
    project: Project = None,
    config: Config = None,
    url: Url = None,
) -> None:
    """Set a secret to what stdin holds, or asks for; runs that have read it keep the version they have."""
    place = ctx.obj.at(project=project, config=config, url=url)
    _refuse(ctx.args)
    anyio.run(_put, place, Output(json=json), name, latest_on_retry, False)


@app.command(cls=Command, context_settings=_NO_VALUE)
def rotate(
    ctx: typer.Context,
    name: Name,
    latest_on_retry: LatestOnRetry = None,
    json: Json = False,
    project: Project = None,
    config: Config = None,
    url: Url = None,
) -> None:
    """As `set`, for a secret that is there: a wrong name sets nothing."""
    place = ctx.obj.at(project=project, config=config, url=url)
    _refuse(ctx.args)
    anyio.run(_put, place, Output(json=json), name, latest_on_retry, True)


@app.command("list", cls=Command)
def list_(
    ctx: typer.Context, json: Json = False, project: Project = None, config: Config = None, url: Url = None
) -> None:
    """Names and versions; values are not shown, here or anywhere."""
    anyio.run(_list, ctx.obj.at(project=project, config=config, url=url), Output(json=json))


@app.command(cls=Command)
def remove(
    ctx: typer.Context,
    name: Name,
    version: Annotated[int | None, typer.Option("--version", min=1, help="Only this one; default: all.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
    project: Project = None,
    config: Config = None,
    url: Url = None,
) -> None:
    """Remove a secret, or one version of it. Refused, with the list, where runs in flight go on with it."""
    place = ctx.obj.at(project=project, config=config, url=url)
    anyio.run(_remove, place, Output(json=json), name, version, yes)


async def _put(place: Place, out: Output, name: str, latest_on_retry: bool | None, rotate: bool) -> None:
    value = _value(check_name(name))
    async with _safe(place, make_key) as (client, safe):
        deed = deeds.set_secret(name, rotate=rotate, latest_on_retry=latest_on_retry)
        put = safe.put(name, value, rotate=rotate, latest_on_retry=latest_on_retry)
        version = await client.auditing.note(deed, put)
    if len(value) < SHORTEST:
        out.note(f"fewer than {SHORTEST} characters: too common to be kept out of logs and recorded values")
    if out.json:
        out.record({"name": name, "version": version})
    else:
        out.line(f"{text.visible(name)}  version {version}")


async def _list(place: Place, out: Output) -> None:
    async with _safe(place, find_key) as (_, safe):
        states = await safe.states()
    if out.json:
        out.records(
            {
                "name": state.name,
                "latest": state.versions[-1].version,
                "latest_on_retry": state.latest_on_retry,
                "versions": [{"version": one.version, "at": one.at, "by": one.by} for one in state.versions],
            }
            for state in states
        )
    elif states:
        out.table(COLUMNS, [row for state in states for row in _rows(state)])
    if not states:
        out.note("no secrets yet: `holdfast secrets set NAME` sets one")


def _rows(state: Any) -> list[list[Cell | str]]:
    """The latest version first."""
    *older, latest = state.versions
    note = "latest on retry" if state.latest_on_retry else ""
    first: list[Cell | str] = [state.name, str(latest.version), text.stamp(latest.at), latest.by, note]
    dim = Style.DIM
    return [first] + [
        ["", Cell(str(one.version), dim), Cell(text.stamp(one.at), dim), Cell(one.by, dim), ""]
        for one in reversed(older)
    ]


async def _remove(place: Place, out: Output, name: str, version: int | None, yes: bool) -> None:
    what = text.visible(f"version {version} of {name}" if version is not None else f"all versions of {name}")
    if not yes and (await ask(f"Remove {what}? It can't be had back. [y/N] ")).lower() not in ("y", "yes"):
        out.note("nothing was removed")
        raise typer.Exit(FAILED)
    async with _safe(place, find_key) as (client, safe):
        removed = await client.auditing.note(deeds.remove_secret(name, version), safe.remove(name, version))
    if out.json:
        out.record({"name": name, "removed": list(removed)})
    else:
        out.line(f"{text.visible(name)}  removed version {', '.join(map(str, removed))}")


@asynccontextmanager
async def _safe(place: Place, key: Opened) -> AsyncIterator[tuple[Client, Safe]]:
    """A client of the project, and its safe, with the key that is here or made here."""
    settings = configuration.load(Path(place.config) if place.config else None, env=os.environ)
    async with place.open() as client:
        found = key(settings, client.bus.subjects.project)
        yield client, Safe(client.bus, found, by=getpass.getuser())


def _refuse(arguments: list[str]) -> None:
    """Raises: Usage: there is a value among the arguments, where others see it: in `ps`, in the shell's history."""
    if arguments:
        raise Usage("expected the value on stdin, found more arguments (not shown): a value there is seen by others")


def _value(name: str) -> str:
    """What stdin holds without its last line end, or what the person types unseen."""
    if sys.stdin.isatty():
        value = getpass.getpass(f"Value of {name}: ")
    else:
        value = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    if not value:
        raise Usage(f"expected the value of {name} on stdin, found nothing: holdfast secrets set {name} < FILE")
    return value
