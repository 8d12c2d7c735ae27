"""`holdfast tokens`: create, list, revoke. A token's text is printed once, when it is made, and is nowhere else."""

from __future__ import annotations

from typing import Annotated

import typer

from holdfast.cli import text
from holdfast.cli.output import Cell, Column, Output
from holdfast.cli.session import connected, group
from holdfast.client import Client
from holdfast.core.model import Rate
from holdfast.quantities import rate, readable_rate
from holdfast.wire.api import AccessToken, Scope

app = group("Access over HTTP: create, list and revoke tokens.")

COLUMNS = (
    Column("ID"),
    Column("NAME", cut=True),
    Column("SCOPES"),
    Column("RATE", right=True),
    Column("CREATED"),
    Column("BY"),
)


def _rate(value: str) -> Rate:
    try:
        return rate(value)
    except ValueError as error:
        raise typer.BadParameter(f'expected {error}, found "{value}"') from None


@connected(app)
async def create(
    client: Client,
    out: Output,
    name: Annotated[str, typer.Option("--name", "-n", help="For whom or what it is.")],
    scope: Annotated[
        list[Scope], typer.Option("--scope", "-s", help="What it allows; may be repeated.", case_sensitive=False)
    ],
    rate: Annotated[
        Rate | None,
        typer.Option("--rate", parser=_rate, metavar="N/UNIT", help="Its requests, e.g. 100/s. Default: http.rate."),
    ] = None,
) -> None:
    """Create a token of the project and print it. It can't be shown again."""
    written, token = await client.create_token(name, scope, rate=rate)
    if out.json:
        out.record({**_shown(token), "token": written})
    else:
        out.line(written)
        out.note(f"token {token.id} ({', '.join(token.scopes)}): keep it now, it can't be shown again")


@connected(app, "list")
async def list_(client: Client, out: Output) -> None:
    """The tokens that are in force, without their texts."""
    tokens = sorted(await client.tokens(), key=lambda token: token.created_at)
    if out.json:
        out.records(_shown(token) for token in tokens)
    elif tokens:
        out.table(COLUMNS, [_row(token) for token in tokens])
    if not tokens:
        out.note("no tokens: `holdfast tokens create --name NAME --scope trigger` creates one")


@connected(app)
async def revoke(
    client: Client, out: Output, id: Annotated[list[str], typer.Argument(metavar="ID", help="As `tokens list` shows.")]
) -> None:
    """End tokens: the daemon refuses them within moments."""
    for one in id:
        token = await client.revoke_token(one)
        if out.json:
            out.record({"id": token.id, "name": token.name, "revoked": True})
        else:
            out.line(f"{token.id}  {text.visible(token.name)}  revoked")


def _shown(token: AccessToken) -> dict[str, object]:
    return {
        "id": token.id,
        "name": token.name,
        "scopes": list(token.scopes),
        "rate": None if token.rate is None else readable_rate(token.rate),
        "created_at": token.created_at,
        "created_by": token.created_by,
    }


def _row(token: AccessToken) -> list[Cell | str]:
    rate = "" if token.rate is None else readable_rate(token.rate)
    return [token.id, token.name, ", ".join(token.scopes), rate, text.stamp(token.created_at), token.created_by]
