"""`holdfast bench`: how fast this machine does it, on a real deployment in a temporary directory."""

from __future__ import annotations

import os
import platform
import signal
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from holdfast import __version__
from holdfast.bench.deployment import deploy, filesystem
from holdfast.bench.figures import Measure
from holdfast.bench.workloads import WORKLOADS
from holdfast.cli.output import Column, Output
from holdfast.cli.session import Json, group
from holdfast.config import Durability
from holdfast.loops import loop_run

app = group("Measure this machine, with a server, a daemon and workers of their own in a temporary directory.")

IN_MEMORY = frozenset({"tmpfs", "ramfs"})
"""File systems on which an fsync costs nothing."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A measured figure with all that one must know to compare it."""

    workload: str
    durability: Durability
    figure: str
    unit: str
    value: float
    samples: int
    """How many runs, steps or kills it was made from."""
    versions: Mapping[str, str]
    cpus: int
    """Processors that this process may use."""
    disk: str
    """Kind of file system that the journal was on; empty where the machine does not say."""


Level = Annotated[
    Durability | None, typer.Option("--durability", help="Of the server; both unless given.", show_default=False)
]
Runs = Annotated[
    int | None,
    typer.Option("--runs", "-n", min=1, metavar="N", help="How many runs, steps, children, kills.", show_default=False),
]
Directory = Annotated[
    Path | None,
    typer.Option("--dir", exists=True, file_okay=False, help="Put the temporary directory there, on the disk meant."),
]


def _command(name: str, workloads: Sequence[str], help: str) -> None:
    def command(durability: Level = None, runs: Runs = None, dir: Directory = None, json: Json = False) -> None:
        levels = tuple(Durability) if durability is None else (durability,)
        loop_run()(_bench(workloads, levels, runs, dir, Output(json=json)))

    app.command(name, help=help)(command)


for _name, _workload in WORKLOADS.items():
    _command(_name, [_name], _workload.help)
_command("all", list(WORKLOADS), "All of them, one after the other.")


async def _bench(
    workloads: Sequence[str], levels: Sequence[Durability], runs: int | None, directory: Path | None, out: Output
) -> None:
    from holdfast_daemon.child import spawn
    from holdfast_daemon.projection.sample import fill

    # SIGTERM ends us as Ctrl-C does, by cancelling: the deployment is stopped and its directory removed.
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    disk = filesystem(directory)
    if disk in IN_MEMORY:
        out.note(f"the journal is in memory ({disk}), where an fsync costs nothing: name a disk by --dir")
    for name in workloads:
        workload = WORKLOADS[name]
        found: dict[Durability, list[Measure]] = {}
        for level in levels:
            out.note(f"{name}, {level} ...")
            deployed = partial(deploy, level, spawn=spawn, fill=fill, directory=directory)
            found[level] = await workload.measure(deployed, runs or workload.runs)
            if out.json:
                out.records(_figure(name, level, measure, disk) for measure in found[level])
        if not out.json:
            _table(found, out)


def _table(found: Mapping[Durability, Sequence[Measure]], out: Output) -> None:
    """A line for each figure, a column for each durability."""
    columns = [Column("FIGURE"), *(Column(level.upper(), right=True) for level in found), Column("UNIT")]
    out.table(
        [*columns, Column("SAMPLES", right=True)],
        [
            [same[0].figure, *(_number(measure.value) for measure in same), same[0].unit, str(same[0].samples)]
            for same in zip(*found.values(), strict=True)
        ],
    )


def _number(value: float) -> str:
    """Three digits that count, and no exponent."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{digits}f}"


def _figure(workload: str, level: Durability, measure: Measure, disk: str) -> Figure:
    return Figure(
        workload=workload,
        durability=level,
        figure=measure.figure,
        unit=measure.unit,
        value=round(measure.value, 4),
        samples=measure.samples,
        versions=_versions(),
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        disk=disk,
    )


def _versions() -> dict[str, str]:
    from holdfast_daemon.server import binary

    server = ".".join(map(str, binary.find().version))
    return {
        "holdfast": __version__,
        "nats-server": server,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
