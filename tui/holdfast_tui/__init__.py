"""The operator's desk: queues, runs, checkpoints, logs and dead letters in a terminal. Others import what is in
`__all__`, only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.client import Client

__all__ = ["key_table", "run"]


def run(
    client_factory: Callable[[], Awaitable[Client]],
    *,
    project: str,
    read_only: bool = False,
    env: Mapping[str, str],
    config_dir: Path | None = None,
    state_dir: Path | None = None,
    link: str = "diff",
    mouse: bool = True,
    theme: str = "",
    ascii_only: bool = False,
) -> int:
    """Show the desk until the operator quits; returns the exit code. Heavy imports happen here, not before.

    Args:
        client_factory: connects to the project; called again, with a growing pause, until it succeeds. The desk closes
            the client that it gave.
        project: the name to show.
        read_only: no key changes anything, and nothing that changes is sent.
        env: the operator's environment: which terminal, which editor.
        config_dir: where `keys.toml`, `views.toml` and `themes` are, if there are any.
        state_dir: where commands given and the like are kept from one session to the next; None: nowhere.
        link: what is done for a slow way to the terminal: stock, paced or diff (`terminal.link.Link`).
        mouse: whether the terminal's mouse is the desk's.
        theme: ansi, dark, light, contrast, or one of the user's own in `config_dir`; empty: that of the last session.
        ascii_only: draw with ASCII alone.

    Raises:
        ConfigError: there is no such theme, or it is wrong.
    """
    from holdfast_tui.app import operate

    return operate(
        client_factory,
        project=project,
        read_only=read_only,
        env=env,
        config_dir=config_dir,
        state_dir=state_dir,
        link=link,
        mouse=mouse,
        theme=theme,
        ascii_only=ascii_only,
    )


def key_table(config_dir: Path | None) -> tuple[str, tuple[str, ...]]:
    """The table of keys in effect as text, and what is wrong with the user's own, one line each; opens no desk."""
    from holdfast_tui import keymap

    mapped = keymap.load(config_dir)
    return keymap.table(mapped.actions), mapped.wrong
