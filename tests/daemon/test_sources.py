"""Which Python files below a directory were written, and which directories are passed over."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from holdfast_daemon.sources import Sources
from worlds import eventually


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A project with what lies about in one."""
    write(tmp_path / "tasks.py")
    write(tmp_path / "shop" / "orders.py")
    for apart in (
        ".venv/lib/x.py",
        "env/lib/y.py",
        "node_modules/z.py",
        "shop/__pycache__/c.py",
        ".git/g.py",
        "data/d.py",
    ):
        write(tmp_path / apart)
    write(tmp_path / "env" / "pyvenv.cfg")
    return tmp_path


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@asynccontextmanager
async def watched(base: Path) -> AsyncIterator[list[tuple[str, ...]]]:
    """What is told of changes made in the block."""
    found: list[tuple[str, ...]] = []
    sources = Sources(base, apart=[base / "data"])
    watching = asyncio.ensure_future(sources.watch(found.append))
    try:
        yield found
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def test_files_that_are_written_new_or_gone_are_told_together(base: Path) -> None:
    async with watched(base) as found:
        write(base / "tasks.py", "x = 1")
        write(base / "shop" / "new" / "deep.py")
        (base / "shop" / "orders.py").unlink()
        await eventually(lambda: bool(found))
    assert {name for names in found for name in names} == {"tasks.py", "shop/new/deep.py", "shop/orders.py"}


async def test_a_file_that_takes_the_place_of_another_of_its_size_is_a_change(base: Path) -> None:
    before = (base / "tasks.py").stat()
    async with watched(base) as found:
        write(base / "tasks.tmp")
        os.utime(base / "tasks.tmp", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        (base / "tasks.tmp").replace(base / "tasks.py")
        await eventually(lambda: found == [("tasks.py",)])


async def test_what_is_written_elsewhere_is_nobodys_business(base: Path) -> None:
    async with watched(base) as found:
        for path in (".venv/lib/x.py", "env/lib/y.py", "node_modules/z.py", "shop/__pycache__/c.py", ".git/g.py"):
            write(base / path, "x = 1")
        write(base / "data" / "d.py", "x = 1")
        write(base / "notes.txt", "x = 1")
        (base / "loop").symlink_to(base)
        write(base / "tasks.py", "last = 1")
        await eventually(lambda: bool(found))
    assert found == [("tasks.py",)]


async def test_what_was_written_between_the_making_and_the_watching_is_told(base: Path) -> None:
    sources, found = Sources(base), list[tuple[str, ...]]()
    write(base / "tasks.py", "x = 1")
    watching = asyncio.ensure_future(sources.watch(found.append))
    await eventually(lambda: found == [("tasks.py",)])
    watching.cancel()
    await asyncio.wait([watching])
