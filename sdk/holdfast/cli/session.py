"""How a command gets its client: `connected` turns an async function into a command of a group.

The function's first two parameters are the connected client and the output; the others are typer's. The command also
takes `--json`, `--project`, `--config` and `--url`. The connection is closed when the function ends, however it ends.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Concatenate, ParamSpec, TypeAlias

import anyio
import typer

from holdfast.cli.app import Command, Config, Group, Place, Project, Url, Usage
from holdfast.cli.output import Output
from holdfast.client import Client
from holdfast.core import ids

P = ParamSpec("P")
Work: TypeAlias = Callable[Concatenate[Client, Output, P], Awaitable[None]]

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Its id, or a part of it that no other run has.")]
RunNames = Annotated[list[str], typer.Argument(metavar="RUN", help="Ids, or parts that no other run has.")]

SHARED = [
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
    for name, default, annotation in (
        ("json", False, Json),
        ("project", None, Project),
        ("config", None, Config),
        ("url", None, Url),
    )
]


def group(help: str | None = None) -> typer.Typer:
    """An empty group of commands."""
    return typer.Typer(
        cls=Group, help=help, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
    )


def connected(app: typer.Typer, name: str | None = None) -> Callable[[Work[P]], Work[P]]:
    """Register an async function as a command; its docstring is the help."""

    def register(work: Work[P]) -> Work[P]:
        app.command(name, cls=Command)(_blocking(work))
        return work

    return register


def _blocking(work: Work[P]) -> Callable[..., None]:
    def command(ctx: typer.Context, **given: Any) -> None:
        place = ctx.obj.at(project=given.pop("project"), config=given.pop("config"), url=given.pop("url"))
        anyio.run(_work, work, place, Output(json=given.pop("json")), given)

    own = list(inspect.signature(work, eval_str=True).parameters.values())[2:]
    ctx = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    parameters = [ctx, *(one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own), *SHARED]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__name__, command.__doc__ = work.__name__.rstrip("_"), work.__doc__
    return command


async def _work(work: Any, place: Place, out: Output, given: dict[str, Any]) -> None:
    async with place.open() as client:
        await work(client, out, **given)


async def resolve(client: Client, name: str) -> str:
    """The id of a run named by it or by a part; a whole id is taken as it is, without asking the daemon."""
    if ids.is_run_id(name.upper()):
        return name.upper()
    return (await client.get(name)).row.id


async def ask(question: str) -> str:
    """What the person types on a line; Ctrl-C ends the command.

    Raises:
        Usage: there is no person: stdin is no terminal.
    """
    if not sys.stdin.isatty():
        raise Usage(f"expected a terminal to ask on ({question.partition('?')[0]}?), found none: add --yes")
    print(question, end="", file=sys.stderr, flush=True)
    await anyio.wait_readable(sys.stdin)  # or a blocking read would keep Ctrl-C waiting
    if not (line := sys.stdin.readline()):
        raise typer.Abort
    return line.strip()
