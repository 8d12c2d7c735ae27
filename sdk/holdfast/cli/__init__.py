"""The command line: `holdfast`. `app` holds the table of commands; each is loaded when it is called."""

from __future__ import annotations

from holdfast.cli.app import main

__all__ = ["main"]
