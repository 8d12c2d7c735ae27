"""The world outside of the demo's tasks: each call to it is a side effect, and leaves a line in a file.

A line is `idempotency key <tab> process <tab> what`. The key names run and checkpoint, so the file can be held against
the journal: how often was each step really run, and how often does the journal say so? Both files lie in the worker's
current directory, which is that of its holdfast.toml.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

from holdfast import run
from holdfast.core.model import Seconds

CALLS = "calls.log"
CLOSED = "supplier-closed"
"""While this file is there, the supplier is closed."""


async def call(what: str, *, takes: Seconds = 0.04) -> int:
    """Call somebody, who takes a while and then does it; how often this step has called by now."""
    await asyncio.sleep(takes)
    return _write(run.idempotency_key, what)


def supplier_is_closed() -> bool:
    return Path(CLOSED).exists()


def counted(directory: Path) -> Counter[tuple[str, str]]:
    """The calls that were made, by run and checkpoint."""
    path = directory / CALLS
    lines = path.read_text().splitlines() if path.exists() else []
    keys = (line.partition("\t")[0].partition(":") for line in lines)
    return Counter((run_id, key) for run_id, _, key in keys)


def _write(key: str, what: str) -> int:
    """Append one line, whole or not at all, whoever else appends; how many lines have the key then."""
    file = os.open(CALLS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{key}\t{os.getpid()}\t{what}\n".encode())
    finally:
        os.close(file)
    return sum(line.startswith(f"{key}\t") for line in Path(CALLS).read_text().splitlines())
