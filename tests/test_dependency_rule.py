"""Who may import whom: DESIGN 6, rules 1 to 3, over the syntax trees of everything that we ship.

Every import counts, at any depth: in functions, under TYPE_CHECKING, relative ones, and `import_module("name")`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "holdfast": ROOT / "sdk" / "holdfast",
    "holdfast_daemon": ROOT / "daemon" / "holdfast_daemon",
    "holdfast_tui": ROOT / "tui" / "holdfast_tui",
}

# --- the rules --------------------------------------------------------------------------------------------------------

PURE = ("holdfast.core", "holdfast.rewrite")
"""Standard library and msgspec only ..."""

# fmt: off
IMPURE = frozenset({
    "asyncio", "concurrent", "logging", "multiprocessing", "os", "posix", "queue", "random",
    "sched", "secrets", "select", "selectors", "shutil", "signal", "socket", "ssl", "subprocess",
    "tempfile", "threading", "time", "uuid", "_thread",
})
# fmt: on
"""... and of the standard library nothing that waits, reads a clock, draws, logs, or asks the system."""

ONLY_IN: dict[str, str | tuple[str, ...]] = {
    "nats": "holdfast.bus",
    "duckdb": ("holdfast_daemon.projection", "holdfast_tui.parquet"),
    "textual": "holdfast_tui",
    "rich": "holdfast_tui",
    "prometheus_client": "holdfast_daemon.http",
    "starlette": "holdfast_daemon.http",
    "uvicorn": "holdfast_daemon.http",
    "cel": "holdfast.expressions",
}
"""One package for each foreign library; DuckDB also writes files for the desk."""

MAY_USE = {
    "holdfast.errors": (),
    "holdfast.core": ("holdfast.errors",),
    "holdfast.rewrite": ("holdfast.core", "holdfast.errors"),
}
"""What these may import of ours, besides themselves: all else is refused."""

ABOVE = ("holdfast.worker", "holdfast.client", "holdfast.task", "holdfast.context", "holdfast.testing", "holdfast.cli")
"""The top of the SDK: what users and processes touch."""

MAY_NOT_USE = {
    "holdfast.wire": ("holdfast.bus", "holdfast.rewrite", *ABOVE),
    "holdfast.bus": ("holdfast.rewrite", *ABOVE),
    "holdfast": ("holdfast_daemon", "holdfast_tui"),
    "holdfast_daemon": ("holdfast_tui", "holdfast.worker"),
    "holdfast_tui": ("holdfast_daemon",),
}
"""Layers from the bottom up; the daemon never runs user code; the ends never meet."""

LAZILY = {"holdfast.cli": ("holdfast_daemon", "holdfast_tui")}
"""The composition root may import these after all, inside functions."""


# --- the checker ------------------------------------------------------------------------------------------------------


class Import(NamedTuple):
    """One import: what, where, and whether only when a function is called."""

    name: str
    line: int
    lazy: bool


class Violation(NamedTuple):
    """An import that the rules refuse."""

    module: str
    line: int
    name: str
    rule: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line}: imports {self.name}: {self.rule}"


def is_in(name: str, packages: str | tuple[str, ...]) -> bool:
    """Whether a dotted name is one of these packages or lies within one."""
    wanted = (packages,) if isinstance(packages, str) else packages
    return any(name == package or name.startswith(package + ".") for package in wanted)


def imports_of(module: str, source: str, *, is_package: bool = False) -> Iterator[Import]:
    """Every import in a module's source, with relative names made absolute."""
    package = module if is_package else module.rpartition(".")[0]

    def visit(node: ast.AST, lazy: bool) -> Iterator[Import]:
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield Import(alias.name, node.lineno, lazy)
            case ast.ImportFrom(module=origin, names=names, level=level):
                base = absolute(package, origin or "", level)
                for alias in names:
                    yield Import(base if alias.name == "*" else f"{base}.{alias.name}", node.lineno, lazy)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module" | "__import__"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                level = len(name) - len(name.lstrip("."))
                yield Import(absolute(package, name.lstrip("."), level), node.lineno, lazy)
        inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    yield from visit(ast.parse(source), False)


def absolute(package: str, name: str, level: int) -> str:
    """A possibly relative name as seen from a package."""
    if level == 0:
        return name
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - level + 1], *([name] if name else [])])


def broken_rules(module: str, found: Import) -> Iterator[str]:
    """The rules that one import of a module breaks."""
    name = found.name
    top = name.partition(".")[0]
    if is_in(module, PURE) and top not in ("msgspec", *PACKAGES):
        if top not in sys.stdlib_module_names:
            yield "pure: standard library and msgspec only"
        elif top in IMPURE:
            yield "pure: no async, clock, random, logging, os"
    for library, home in ONLY_IN.items():
        if is_in(name, library) and not is_in(module, home):
            yield f"{library} only in {home}"
    for package, allowed in MAY_USE.items():
        if is_in(module, package) and top in PACKAGES and not is_in(name, (package, *allowed)):
            yield f"{package} may use {', '.join(allowed) or 'nothing'} of ours"
    for package, forbidden in MAY_NOT_USE.items():
        if is_in(module, package) and is_in(name, forbidden):
            excused = any(found.lazy and is_in(module, root) and is_in(name, to) for root, to in LAZILY.items())
            if not excused:
                yield f"{package} may not use it"


def violations(module: str, source: str, *, is_package: bool = False) -> list[Violation]:
    """Everything in a module's source that the rules refuse."""
    return [
        Violation(module, found.line, found.name, rule)
        for found in imports_of(module, source, is_package=is_package)
        for rule in broken_rules(module, found)
    ]


def modules() -> Iterator[tuple[str, Path]]:
    """Every module that we ship, with its file."""
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join((package, *(part for part in parts if part != "__init__"))), path


# --- what we ship -----------------------------------------------------------------------------------------------------


def test_nothing_that_we_ship_breaks_the_dependency_rule() -> None:
    broken = [
        str(violation)
        for module, path in modules()
        for violation in violations(module, path.read_text("utf-8"), is_package=path.name == "__init__.py")
    ]
    assert broken == []


def test_the_walk_sees_all_three_packages_and_does_not_pass_on_an_empty_one() -> None:
    seen = dict(modules())
    assert len(seen) > 30
    assert {"holdfast", "holdfast.errors", "holdfast.core", "holdfast.core.lifecycle", "holdfast.wire.codec"} <= set(
        seen
    )
    assert {name.partition(".")[0] for name in seen} >= {"holdfast", "holdfast_daemon"}
    assert all(folder.is_dir() for folder in PACKAGES.values())


def test_the_walk_sees_the_imports_of_real_files() -> None:
    found = {
        name.name
        for name in imports_of("holdfast.core.lifecycle", dict(modules())["holdfast.core.lifecycle"].read_text())
    }
    assert {"enum.StrEnum", "holdfast.core.entries.RunCreated", "msgspec.structs.replace"} <= found


# --- planted violations -----------------------------------------------------------------------------------------------

PLANTED = [
    # rule 1: the pure packages
    ("holdfast.core.model", "import asyncio", "asyncio"),
    ("holdfast.core.model", "import anyio", "anyio"),
    ("holdfast.core.model", "import time", "time"),
    ("holdfast.core.model", "from time import monotonic", "time.monotonic"),
    ("holdfast.core.model", "import random", "random"),
    ("holdfast.core.model", "import secrets", "secrets"),
    ("holdfast.core.model", "import logging.handlers", "logging.handlers"),
    ("holdfast.core.model", "import os.path", "os.path"),
    ("holdfast.core.model", "from os import environ", "os.environ"),
    ("holdfast.core.model", "from uuid import uuid4", "uuid.uuid4"),
    ("holdfast.core.model", "import threading", "threading"),
    ("holdfast.core.model", "import enum, time", "time"),
    ("holdfast.core.model", "import time as enum", "time"),
    ("holdfast.core.model", "import pydantic", "pydantic"),
    ("holdfast.core", "import time", "time"),
    ("holdfast.core.deep.er", "import time", "time"),
    ("holdfast.rewrite.transform", "import os", "os"),
    ("holdfast.rewrite.transform", "from anyio import sleep", "anyio.sleep"),
    ("holdfast.core.model", "def f():\n    import time", "time"),
    ("holdfast.core.model", "async def f():\n    if 1:\n        import time", "time"),
    ("holdfast.core.model", "class A:\n    import time", "time"),
    ("holdfast.core.model", "f = lambda: __import__('time')", "time"),
    ("holdfast.core.model", "import importlib\nimportlib.import_module('time')", "time"),
    ("holdfast.core.model", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import asyncio", "asyncio"),
    ("holdfast.core.model", "try:\n    import time\nexcept ImportError:\n    pass", "time"),
    # rule 1: of ours, only what lies below
    ("holdfast.core.model", "from holdfast.wire import codec", "holdfast.wire.codec"),
    ("holdfast.core.model", "from holdfast.rewrite import awaits", "holdfast.rewrite.awaits"),
    ("holdfast.core.model", "import holdfast", "holdfast"),
    ("holdfast.core.model", "from holdfast import task", "holdfast.task"),
    ("holdfast.core.model", "from holdfast import *", "holdfast"),
    ("holdfast.core.model", "from holdfast import core, bus", "holdfast.bus"),
    ("holdfast.core.model", "from ..wire import codec", "holdfast.wire.codec"),
    ("holdfast.core.model", "from .. import wire", "holdfast.wire"),
    ("holdfast.core.model", "from holdfast.errors_extra import x", "holdfast.errors_extra.x"),
    ("holdfast.rewrite.transform", "from ..bus.ports import Bus", "holdfast.bus.ports.Bus"),
    ("holdfast.errors", "from holdfast.core import model", "holdfast.core.model"),
    ("holdfast.errors", "from .core import model", "holdfast.core.model"),
    # rule 2: one package for each foreign library
    ("holdfast.client", "import nats", "nats"),
    ("holdfast.client", "from nats.js import api", "nats.js.api"),
    ("holdfast.worker.worker", "def f():\n    from nats.aio.client import Client", "nats.aio.client.Client"),
    ("holdfast_daemon.router", "import nats.errors", "nats.errors"),
    ("holdfast_tui.gateway", "import nats", "nats"),
    ("holdfast_daemon.query.service", "import duckdb", "duckdb"),
    ("holdfast_daemon.projections", "import duckdb", "duckdb"),
    ("holdfast_tui.writing", "def f():\n    import duckdb", "duckdb"),
    ("holdfast.cli.sql", "def f():\n    import duckdb", "duckdb"),
    ("holdfast.cli", "from textual.app import App", "textual.app.App"),
    ("holdfast.cli", "from rich.table import Table", "rich.table.Table"),
    ("holdfast_daemon.app", "import textual", "textual"),
    ("holdfast_daemon.front", "import prometheus_client", "prometheus_client"),
    ("holdfast_daemon.app", "from starlette.applications import Starlette", "starlette.applications.Starlette"),
    # the layers of the SDK
    ("holdfast.wire.codec", "from holdfast.bus.ports import Bus", "holdfast.bus.ports.Bus"),
    ("holdfast.wire.codec", "from ..bus import ports", "holdfast.bus.ports"),
    ("holdfast.wire.codec", "from holdfast import client", "holdfast.client"),
    ("holdfast.wire.codec", "import holdfast.rewrite.compile", "holdfast.rewrite.compile"),
    ("holdfast.bus.jetstream", "from holdfast.worker import pool", "holdfast.worker.pool"),
    ("holdfast.bus.jetstream", "def f():\n    from holdfast.client import connect", "holdfast.client.connect"),
    ("holdfast.bus.jetstream", "from ..task import Task", "holdfast.task.Task"),
    ("holdfast.bus.jetstream", "from ..rewrite import compile", "holdfast.rewrite.compile"),
    # rule 3: the three distributions
    ("holdfast.worker.pool", "import holdfast_daemon", "holdfast_daemon"),
    ("holdfast.worker.pool", "def f():\n    import holdfast_daemon.app", "holdfast_daemon.app"),
    ("holdfast", "from holdfast_tui.app import Desk", "holdfast_tui.app.Desk"),
    ("holdfast.client", "def f():\n    from holdfast_tui import app", "holdfast_tui.app"),
    ("holdfast.cli", "import holdfast_daemon", "holdfast_daemon"),
    ("holdfast.cli.tui", "from holdfast_tui.app import Desk", "holdfast_tui.app.Desk"),
    ("holdfast.cli.up", "class A:\n    import holdfast_daemon", "holdfast_daemon"),
    ("holdfast.clients", "def f():\n    import holdfast_daemon", "holdfast_daemon"),
    ("holdfast_daemon.app", "import holdfast_tui", "holdfast_tui"),
    ("holdfast_daemon.app", "def f():\n    from holdfast_tui.app import Desk", "holdfast_tui.app.Desk"),
    ("holdfast_tui.app", "from holdfast_daemon.query import sql", "holdfast_daemon.query.sql"),
    ("holdfast_tui.app", "import importlib\nimportlib.import_module('holdfast_daemon.app')", "holdfast_daemon.app"),
    ("holdfast_daemon.conductor", "from holdfast.worker.attempt import run", "holdfast.worker.attempt.run"),
    ("holdfast_daemon.conductor", "from holdfast import worker", "holdfast.worker"),
]
"""Module, source, and the one import in it that must be reported."""


@pytest.mark.parametrize(("module", "source", "name"), PLANTED)
def test_a_planted_violation_is_reported(module: str, source: str, name: str) -> None:
    reported = violations(module, source)
    assert {violation.name for violation in reported} == {name}
    assert {violation.module for violation in reported} == {module}


def test_a_relative_import_counts_from_the_package_itself_in_its_init() -> None:
    assert [v.name for v in violations("holdfast.core", "from ..wire import codec", is_package=True)] == [
        "holdfast.wire.codec"
    ]
    assert violations("holdfast.core", "from . import model", is_package=True) == []
    assert [v.name for v in violations("holdfast", "from .core import model\nimport nats", is_package=True)] == ["nats"]


def test_every_violation_of_a_file_is_reported_with_its_line() -> None:
    source = "import enum\nimport time\n\n\ndef f():\n    import nats\n"
    assert [(v.line, v.name) for v in violations("holdfast.core.model", source)] == [
        (2, "time"),
        (6, "nats"),
        (6, "nats"),
    ]
    assert str(violations("holdfast.core.model", "import time")[0]) == (
        "holdfast.core.model:1: imports time: pure: no async, clock, random, logging, os"
    )


ALLOWED = [
    ("holdfast.core.model", "import ast, dataclasses, datetime, enum, hashlib, msgspec, re"),
    ("holdfast.core.model", "from msgspec.structs import replace\nfrom collections.abc import Callable"),
    ("holdfast.core.model", "from holdfast.core import ids\nfrom holdfast.errors import Abort\nfrom . import retry"),
    ("holdfast.rewrite.transform", "import ast, inspect, textwrap\nfrom holdfast.core.model import Retry"),
    ("holdfast.bus.jetstream", "import nats, asyncio\nfrom nats.aio.client import Client"),
    ("holdfast.bus.jetstream", "from holdfast.wire import codec\nfrom ..core.model import Run"),
    ("holdfast.wire.codec", "from holdfast.core.entries import Batch"),
    ("holdfast.worker.worker", "from holdfast.bus import ports\nfrom holdfast.rewrite import compile\nimport time"),
    ("holdfast_daemon.projection.store", "import duckdb"),
    ("holdfast_daemon.app", "from holdfast.bus.jetstream import JetStream\nfrom holdfast.client import connect"),
    ("holdfast_tui.screens.runs", "import textual\nfrom rich.text import Text\nfrom holdfast.wire import api"),
    ("holdfast.cli.up", "def up():\n    from holdfast_daemon.app import main\n    main()"),
    ("holdfast.cli", "async def tui():\n    import holdfast_tui"),
    ("holdfast.client", "import natsort, duckdb_engine, richer, textually"),
]


@pytest.mark.parametrize(("module", "source"), ALLOWED)
def test_what_the_rules_allow_is_not_reported(module: str, source: str) -> None:
    assert violations(module, source) == []
