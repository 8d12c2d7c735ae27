"""`holdfast runs export` and `import`: the history of one run as a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli import entries
from holdfast.cli.app import Usage
from holdfast.cli.output import Output
from holdfast.cli.session import RunName, connected, group, resolve
from holdfast.cli.text import count
from holdfast.client import Client
from holdfast.deeds import shell
from holdfast.history import History
from holdfast.importing import import_run
from holdfast.wire.api import AuditEntry

app = group()


@connected(app)
async def export(
    client: Client,
    out: Output,
    run: RunName,
    to: Annotated[str, typer.Option("-o", "--output", metavar="FILE", help="Instead of printing it.")] = "",
) -> None:
    """Print a run's whole history. It is JSON lines, to be kept, sent, imported, or replayed in a test."""
    history = await History.of(client.journal, await resolve(client, run))
    lines = list(history.lines(entries.record))
    if not to:
        out.lines(lines)
        return
    _write(to, lines)
    if out.json:
        out.record({"run": history.run, "file": to, "messages": len(history.messages)})
    else:
        out.line(f"{to}: {count(len(history.messages), 'message')} of run {history.run}")


def _write(file: str, lines: list[str]) -> None:
    try:
        Path(file).expanduser().write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise Usage(f"--output: expected a file that can be written, found {file}: {error.strerror}") from None


@connected(app, "import")
async def import_(
    client: Client,
    out: Output,
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="What `export` wrote; - reads stdin.")],
) -> None:
    """Put an exported run into the project. It is to be looked at: no worker takes it, nothing follows from it."""
    history = History.parse(*_read(file))
    run = await import_run(client.journal, history)
    command = shell(("runs", "import"), (file,))
    await client.audited(AuditEntry(action="import", kind="run", targets=(run.id,), accepted=1, command=command))
    if out.json:
        out.record({"run": run.id, "state": run.state, "messages": len(history.messages), "from": history.project})
    else:
        told = count(len(history.messages), "message")
        out.line(f"{run.id}  {run.state.value}  {told} from project {history.project}")


def _read(file: str) -> tuple[bytes, str]:
    if file == "-":
        return sys.stdin.buffer.read(), "stdin"
    try:
        return Path(file).expanduser().read_bytes(), file
    except OSError as error:
        raise Usage(f"import: expected a readable file, found {file}: {error.strerror}") from None
