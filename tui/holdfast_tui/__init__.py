"""The operator's desk: queues, runs, checkpoints, logs and dead letters in a terminal. Others import `run`, only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.client import Client

__all__ = ["run"]


def run(
    client_factory: Callable[[], Awaitable[Client]],
    *,
    project: str,
    read_only: bool = False,
    env: Mapping[str, str],
) -> int:
    """Show the desk until the operator quits; returns the exit code. Heavy imports happen here, not before.

    Args:
        client_factory: connects to the project; called again, with a growing pause, until it succeeds. The desk closes
            the client that it gave.
        project: the name to show.
        read_only: no key changes anything, and nothing that changes is sent.
        env: the operator's environment: which terminal, which editor.
    """
    from holdfast_tui.app import operate

    return operate(client_factory, project=project, read_only=read_only, env=env)
