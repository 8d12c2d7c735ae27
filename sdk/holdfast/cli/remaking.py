"""`holdfast runs replay`, `fork` and `diff`: runs made from others, and where two runs part."""

from __future__ import annotations

import json
from typing import Annotated, Any, NamedTuple

import typer

from holdfast.cli import given
from holdfast.cli.app import Usage
from holdfast.cli.output import Cell, Column, Output, Style, plain, stored
from holdfast.cli.session import RunName, RunNames, connected, group, resolve
from holdfast.cli.text import clip, visible
from holdfast.client import Client
from holdfast.core.diff import Came, Diff, Pair, Side, diff
from holdfast.core.lifecycle import Record
from holdfast.errors import UnknownRun
from holdfast.wire.parts import alike

app = group()

VALUE = 64
"""Cells that a value takes at most in the comparison."""


@connected(app)
async def replay(client: Client, out: Output, run: RunNames) -> None:
    """Start runs like others. They have the same payload and settings, and run from the start, with today's code."""
    for name in run:
        origin = await resolve(client, name)
        made = await client.replay(origin)
        out.record({"run": made.id, "origin": origin}) if out.json else out.line(made.id)


@connected(app)
async def fork(
    client: Client,
    out: Output,
    run: RunName,
    key: Annotated[
        str, typer.Option("--from", metavar="KEY", help="The checkpoint from which on it runs anew, e.g. /ship#1.")
    ] = "",
    behind: Annotated[
        str, typer.Option("--behind", metavar="KEY", help="Or the one that it keeps, and goes on behind.")
    ] = "",
    edits: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY[.path]=JSON", help="Another result, or a part of one; may be repeated."),
    ] = None,
) -> None:
    """Start a run from a checkpoint of another one. It keeps what that one recorded before; that one stays as it is."""
    if bool(key) == bool(behind):
        found = "both" if key else "neither"
        raise Usage(f"expected --from KEY or --behind KEY, found {found}: see `holdfast runs tree {run}` for the keys")
    changes = dict(_edit(text) for text in edits or ())
    origin = await resolve(client, run)
    made = await client.fork(origin, key or behind, changes, behind=bool(behind))
    if out.json:
        place = {"from": key} if key else {"behind": behind}
        out.record({"run": made.id, "origin": origin, **place, "edited": list(changes)})
    else:
        out.line(made.id)


def _edit(text: str) -> tuple[str, Any]:
    """What `--set` says: a key may have `=` in it, so the first one that JSON follows divides. Raises: Usage."""
    for at, letter in enumerate(text):
        if letter == "=" and at and _is_json(text[at + 1 :]):
            return text[:at], given.json_of(text[at + 1 :], f"--set {text[:at]}")
    raise Usage(
        f"--set: expected KEY=JSON or KEY.path.to.field=JSON, found {text!r}: a text takes quotes, like '\"eu\"'"
    )


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return text.startswith("@") and len(text) > 1
    except RecursionError:  # it is, and will be refused
        return True
    return True


@connected(app, "diff")
async def diff_(
    client: Client,
    out: Output,
    left: Annotated[str, typer.Argument(metavar="A", help="A run.")],
    right: Annotated[str, typer.Argument(metavar="B", help="Another one, e.g. its fork.")],
    all: Annotated[bool, typer.Option("--all", help="Also what is the same in both.")] = False,
) -> None:
    """Compare two runs, await by await. Says where they part first, and what each recorded."""
    runs = [await resolve(client, name) for name in (left, right)]
    ours, theirs = [await _records(client, id) for id in runs]
    found = diff(ours, theirs, same=alike)
    if out.json:
        parting = found.parting
        out.record({"left": runs[0], "right": runs[1], "parting": None if parting is None else parting.key})
        out.records(_record(pair) for pair in found.pairs if all or not pair.same)
        return
    _print(found, runs, out, all=all)


async def _records(client: Client, run: str) -> list[Record]:
    records = [record for _, record in await client.journal.messages(run)]
    if not records:
        raise UnknownRun(f"no run {run} in project {client.bus.subjects.project}: see `holdfast runs list`")
    return records


def _record(pair: Pair) -> dict[str, Any]:
    sides = {"left": pair.left, "right": pair.right}
    return {
        "key": pair.key,
        "same": pair.same,
        **{
            name: {
                "came": side.came.value,
                "value": plain(side.value) if side.value is not None else None,
                "error": plain(side.error),
                "edited": side.edited,
            }
            for name, side in sides.items()
        },
    }


def _print(found: Diff, runs: list[str], out: Output, *, all: bool) -> None:
    parting = found.parting
    if parting is None:
        out.line(f"the runs are the same: {len(found.pairs) - 2:,} awaits, payload and end")
    else:
        path, left, right = _differing(parting)
        sides = f"{_said(parting.left, left)} | {_said(parting.right, right)}"
        out.line(visible(f"the runs part at {parting.key}{path}: {sides}"))
    rows = [pair for pair in found.pairs if all or not pair.same]
    if rows:
        out.line()
        columns = (Column(""), Column("KEY"), Column(runs[0], cut=True), Column(runs[1], cut=True))
        out.table(columns, [_row(pair, first=pair is parting) for pair in rows])


def _row(pair: Pair, *, first: bool) -> list[Cell | str]:
    mark = Cell("=", Style.DIM) if pair.same else Cell(">" if first else "~", Style.WARN)
    differing = _differing(pair)
    return [mark, f"{pair.key}{differing.path}", _cell(pair.left, differing.left), _cell(pair.right, differing.right)]


class Differing(NamedTuple):
    """The innermost part of two results that all of their difference lies in."""

    path: str
    left: object
    right: object


def _differing(pair: Pair) -> Differing:
    """Where two results differ, as `fork --set` would name it; the whole where they differ in several places."""
    found = Differing("", *(stored(side.value or b"") for side in (pair.left, pair.right)))
    while not pair.same and (step := _step(found.left, found.right)) is not None:
        found = Differing(f"{found.path}.{step.path}", step.left, step.right)
    return found


def _step(left: object, right: object) -> Differing | None:
    """The one part in which two values differ that are otherwise the same; None: there is no such."""
    if isinstance(left, dict) and isinstance(right, dict) and left.keys() == right.keys():
        parts = [Differing(str(key), left[key], right[key]) for key in left if left[key] != right[key]]
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        pairs = enumerate(zip(left, right, strict=True))
        parts = [Differing(str(place), *both) for place, both in pairs if both[0] != both[1]]
    else:
        return None
    return parts[0] if len(parts) == 1 else None


def _cell(side: Side, value: object) -> Cell:
    styles = {Came.RAISED: Style.BAD, Came.OPEN: Style.BUSY, Came.ABSENT: Style.DIM, Came.VOLATILE: Style.WARN}
    return Cell(_said(side, value), styles.get(side.came))


def _said(side: Side, value: object) -> str:
    """What one run recorded, short."""
    match side.came:
        case Came.RETURNED:
            shown = clip(json.dumps(value, ensure_ascii=False), VALUE)
            return f"{shown} (edited)" if side.edited else shown
        case Came.RAISED if side.error is not None:
            first = side.error.message.split("\n", 1)[0]
            return clip(f"{side.error.type}: {first}" if first else side.error.type, VALUE)
        case Came.OPEN if side.error is not None:
            return side.error.message
    return {Came.VOLATILE: "value not kept", Came.OPEN: "no outcome", Came.ABSENT: "-"}.get(side.came, "")
