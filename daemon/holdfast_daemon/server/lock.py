"""One daemon per data directory, and one nats-server per store: locks that the kernel drops when their holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import TracebackType

from holdfast.errors import ServerError


class DataDirLock:
    """Held by the daemon for as long as it uses its data directory: `with DataDirLock(data_dir) as lock: ...`.

    Entering creates the directory (mode 0700, kept out of git) and locks `daemon.lock` in it, or raises ServerError:
    the directory can't be written, or another daemon holds it. The lock is a flock, so the file that a dead daemon
    leaves behind means nothing. Not re-entrant.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        """The directory that it guards."""
        self._file: int | None = None

    @property
    def held(self) -> bool:
        """Whether it is locked by this object."""
        return self._file is not None

    def check(self) -> None:
        """Whether it could be entered as far as that shows without writing anything. Raises: ServerError."""
        with suppress(OSError), opened(self._path, create=False) as file:
            self._try(file)

    def __enter__(self) -> DataDirLock:
        if self.held:
            raise RuntimeError("this lock is held already")
        try:
            _create(self.data_dir)
            file = _open(self._path)
        except OSError as error:
            raise ServerError(
                f"{self.data_dir}: expected a directory that can be written, found: {error.strerror}; "
                "make it one, or set daemon.data_dir"
            ) from None
        try:
            self._try(file)
        except ServerError:
            os.close(file)
            raise
        sign(file, os.getpid())
        self._file = file
        return self

    @property
    def _path(self) -> Path:
        return self.data_dir / "daemon.lock"

    def _try(self, file: int) -> None:
        if not try_lock(file):
            raise ServerError(
                f"{self.data_dir} is used by another daemon (pid {holder_of(file)}): stop it, "
                "or set daemon.data_dir to another"
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def opened(path: Path, *, create: bool = True) -> AbstractContextManager[int]:
    """A lock file, not locked yet, as a descriptor; the end of the `with` drops the lock unless a child inherited it.

    Raises OSError at the call.
    """
    return _closing(_open(path, create=create))


@contextmanager
def _closing(file: int) -> Iterator[int]:
    try:
        yield file
    finally:
        os.close(file)


def try_lock(file: int) -> bool:
    """Whether the lock is ours now; never blocks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sign(file: int, pid: int) -> None:
    """Write the holder's pid into a lock file, for messages and for people."""
    os.ftruncate(file, 0)
    os.pwrite(file, f"{pid}\n".encode(), 0)


def holder_of(file: int) -> str:
    """The pid in a lock file, or "unknown": the holder may not have signed yet."""
    return os.pread(file, 32, 0).decode("ascii", "replace").strip() or "unknown"


def _open(path: Path, *, create: bool = True) -> int:
    return os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o600)


def _create(directory: Path) -> None:
    if directory.is_dir():
        return
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    (directory / ".gitignore").write_text("*\n")  # it will hold passwords
