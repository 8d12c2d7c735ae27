"""The Python files below a directory, and which of them have been written since.

They are looked at a few times a second, by time and size, where a notifier would be told of every write below the
directory: the data directory, which is there by default, is written all the time, and a virtual environment has more
files than a system lets one watch. It sees changes on mounts and in containers too, of which no notifier hears.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import anyio
from anyio import to_thread

from holdfast.core.model import Seconds

LOOK: Seconds = 0.25
"""Between two looks; longer where a look takes long."""

QUIET: Seconds = 0.1
"""How long nothing has been written when a burst of writes is over: a formatter, a branch that is checked out."""

SHARE = 0.05
"""Of the time may be spent looking."""

_APART = frozenset({"__pycache__", "node_modules"})


class Sources:
    """The files as they were when they were looked at last; begins with how they are now."""

    def __init__(self, base: Path, *, apart: Collection[Path] = ()) -> None:
        """
        Args:
            apart: directories below `base` that are passed over, as hidden ones and virtual environments are.
        """
        self._base = base
        self._apart = frozenset(str(path) for path in apart)
        self._known = self._scan()

    async def watch(self, changed: Callable[[tuple[str, ...]], None]) -> None:
        """Tell of files that were written, are new or gone, a burst of them at once, until cancelled.

        Args:
            changed: gets their paths, relative to the directory.
        """
        pause = LOOK
        while True:
            await anyio.sleep(pause)
            begun = time.monotonic()
            found = await to_thread.run_sync(self._scan)
            pause = max(LOOK, (time.monotonic() - begun) / SHARE)
            if found != self._known:
                found = await self._settled(found)
                before, self._known = self._known, found
                if names := tuple(sorted(self._differing(before, found))):
                    changed(names)

    async def _settled(self, found: Mapping[str, tuple[int, int]]) -> Mapping[str, tuple[int, int]]:
        """The files once nothing is written any more."""
        while True:
            await anyio.sleep(QUIET)
            before, found = found, await to_thread.run_sync(self._scan)
            if found == before:
                return found

    def _differing(self, before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]]) -> Iterator[str]:
        for path in before.keys() | after.keys():
            if before.get(path) != after.get(path):
                yield os.path.relpath(path, self._base)

    def _scan(self) -> Mapping[str, tuple[int, int]]:
        """Time of the last write and size of each file."""
        found: dict[str, tuple[int, int]] = {}
        directories = [str(self._base)]
        while directories:
            for entry in _entries(directories.pop()):
                with suppress(OSError):  # it is gone by now
                    if entry.is_dir(follow_symlinks=False):
                        if self._watched(entry):
                            directories.append(entry.path)
                    elif entry.name.endswith(".py"):
                        status = entry.stat()
                        found[entry.path] = status.st_mtime_ns, status.st_size
        return found

    def _watched(self, entry: os.DirEntry[str]) -> bool:
        if entry.name.startswith(".") or entry.name in _APART or entry.path in self._apart:
            return False
        return not os.path.exists(os.path.join(entry.path, "pyvenv.cfg"))


def _entries(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:
        return []  # it is gone, or not for us
