"""The DuckDB file: opened whatever state a crash left it in, written by one, read by a few.

The file is disposable. Where it can't be opened, its write-ahead log and then the file itself are moved aside, and the
journal fills a new one. A batch and the sequence up to which it goes commit in one transaction, which refuses what it
has already: so each message counts exactly once, whatever is repeated. Nothing else imports duckdb.

All methods but `query` block: call them in a thread, one at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import queue
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import resources
from pathlib import Path
from sys import intern
from typing import IO, Any, NamedTuple, TypeVar

import anyio
import duckdb
import msgspec
from anyio import to_thread

from holdfast.core.model import FINAL, ErrorInfo, Instant, Run, Seconds, State
from holdfast.errors import ConfigError, HoldfastError
from holdfast.wire.subjects import Stream
from holdfast_daemon.projection.rows import (
    FIXED,
    KEPT,
    AttemptRow,
    AuditRow,
    CheckpointRow,
    LogLineRow,
    Ready,
    Rows,
    RunRow,
    Standing,
    unpack,
    utc,
)

log = logging.getLogger("holdfast.projection")

SCHEMA_VERSION = 4
"""Of schema.sql; a file of another version is moved aside and built again."""

QUERY_WITHIN: Seconds = 5.0
"""A question that takes longer is interrupted."""

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "threads": "2",
    "checkpoint_threshold": "64MB",  # each checkpoint stalls the writer and is a window for a torn write
    "max_temp_directory_size": "2GB",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
}
_NAMES = {Stream.JOURNAL: "journal", Stream.LOGS: "logs", Stream.AUDIT: "audit"}
_DATES = {Stream.LOGS: "written_at", Stream.AUDIT: "done_at"}
"""Of the tables that are kept for a time only: the column that tells of when a row is."""

_T = TypeVar("_T")


class Rejected(HoldfastError):
    """The file refuses the values of a batch: another attempt would end the same."""


class Unavailable(HoldfastError):
    """The file can't be read or written just now: disk full, damaged, or closed."""


class Moved(HoldfastError):
    """The history does not end where the batch begins: something was lost, or somebody else wrote."""


class TooSlow(HoldfastError):
    """A question took longer than `QUERY_WITHIN` and was interrupted."""


class Cursor(NamedTuple):
    """How far a stream is projected."""

    seq: int = 0
    time: Instant = 0.0
    """When that message was stored."""


class Batch(NamedTuple):
    """What one transaction adds: the messages of a stream behind `after`, up to `upto`, as rows."""

    stream: Stream
    after: int
    """The cursor that the history must have."""
    upto: Cursor
    rows: Rows


class Store:
    """An open projection; `open` makes one, `close` ends it."""

    def __init__(self, path: Path, lock: IO[str], readers: int, memory: str) -> None:
        self.path = path
        self._lock = lock
        self._config = {**_CONFIG, "memory_limit": memory}
        self._wanted = readers
        self._readers: list[duckdb.DuckDBPyConnection] = []
        self._free: queue.SimpleQueue[duckdb.DuckDBPyConnection] = queue.SimpleQueue()
        self._limit = anyio.CapacityLimiter(readers)
        self._cursors: dict[str, Cursor] = {}
        self._connect()

    @classmethod
    def open(cls, path: Path, *, readers: int = 2, memory: str = "512MB") -> Store:
        """Open or create the file, mending what a crash did to it.

        Raises:
            ConfigError: another process has it open.
            Unavailable: the directory can't be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Our own lock: DuckDB's is lost as soon as this process opens and closes the file once more.
            lock = Path(f"{path}.lock").open("w")  # noqa: SIM115 (kept open as long as the store)
        except OSError as error:
            raise Unavailable(f"{path}: expected a place to write the history, found: {error}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return cls(path, lock, readers, memory)
        except BlockingIOError:
            lock.close()
            raise ConfigError(
                f"{path}: another daemon has this history open; stop it, or give this one its own daemon.data_dir"
            ) from None
        except BaseException:
            lock.close()
            raise

    def close(self) -> None:
        """Close everything. Idempotent."""
        self._disconnect()
        self._lock.close()

    def reopen(self) -> None:
        """Close and open again after `Unavailable`; the cursors may have gone back.

        Raises:
            Unavailable: it still can't be opened.
        """
        self._disconnect()
        self._connect()

    def set_aside(self, reason: str) -> None:
        """Move the file away and begin an empty one."""
        self._disconnect()
        moved = _move_aside(self.path)
        log.error("the history begins anew: %s; what it held was moved to %s", reason, moved)
        self._connect()

    # --- writing ----------------------------------------------------------------------------------------------------

    def cursor(self, stream: Stream) -> Cursor:
        """How far a stream is projected; does not touch the file."""
        return self._cursors[_NAMES[stream]]

    def apply(self, batch: Batch) -> bool:
        """Commit a batch with its cursor; False where it was committed before, and nothing is done.

        Raises:
            Rejected: the values are not storable. Nothing was written.
            Unavailable: the file can't be written now. Nothing was written, or all of it was: repeat the same batch.
            Moved: the cursor is not the batch's `after`. Nothing was written.
        """
        name = _NAMES[batch.stream]
        with self._transaction() as con:
            found = _read_cursor(con, name).seq
            if found >= batch.upto.seq:
                return False
            if found != batch.after:
                raise Moved(
                    f"{name}: expected a batch behind {found}, found one from {batch.after} to {batch.upto.seq}"
                )
            self._write(con, batch.rows)
            con.execute(
                "UPDATE projection SET last_seq = $1, last_time = $2 WHERE stream = $3", [*batch.upto, name]
            ).fetchall()
        self._cursors[name] = batch.upto
        return True

    def load(self, statement: str, parameters: Sequence[object]) -> None:
        """Have the database make rows itself, in one transaction. Raises: Rejected; Unavailable: nothing was made."""
        with self._transaction() as con:
            con.execute(statement, list(parameters)).fetchall()

    def rewind(self, stream: Stream) -> None:
        """Follow a stream from its beginning again; `Cursor.time` stays, what is stored stays."""
        name = _NAMES[stream]
        with self._transaction() as con:
            con.execute("UPDATE projection SET last_seq = 0 WHERE stream = $1", [name]).fetchall()
        self._cursors[name] = Cursor(0, self._cursors[name].time)

    def forget(self, stream: Stream, before: Instant) -> None:
        """Delete what is older of a stream that is not kept whole.

        Raises:
            Rejected, Unavailable: nothing was deleted.
        """
        with self._transaction() as con:
            con.execute(f"DELETE FROM {_NAMES[stream]} WHERE {_DATES[stream]} < $1", [utc(before)]).fetchall()

    def _write(self, con: duckdb.DuckDBPyConnection, rows: Rows) -> None:
        created, changed = rows.created, rows.changed
        known = _known(con, created)
        if known:  # created for the second time: a timer fired that had been projected, or a run id used twice
            changed = [*changed, *(row for row in created if row.id in known)]
            created = [row for row in created if row.id not in known]
        tables: tuple[Sequence[Sequence[Any]], ...] = (
            created,
            changed,
            rows.attempts,
            rows.checkpoints,
            rows.logs,
            rows.audit,
        )
        for appender, data in zip(self._appenders, tables, strict=True):
            if data:
                appender.append_rows(data)
                appender.flush()

    @contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        con = self._con
        try:
            con.begin()
            yield con
            con.commit()  # of a transaction that a swallowed error aborted, this would roll back and say nothing
        except BaseException as error:
            self._undo()
            if isinstance(error, _REJECTING):
                raise Rejected(str(error)) from error
            if isinstance(error, duckdb.Error):
                raise Unavailable(f"{self.path}: {error}") from error
            raise

    def _undo(self) -> None:
        with contextlib.suppress(duckdb.Error):  # a failed COMMIT has rolled back already
            self._con.rollback()
        for appender in self._appenders:  # they keep the rows before a bad one
            with contextlib.suppress(duckdb.Error):
                appender.clear()

    # --- what a start needs -----------------------------------------------------------------------------------------

    def live(self) -> dict[str, Run]:
        """The live runs as folded up to the journal's cursor, without payloads.

        Raises:
            Rejected: they were folded by another version; the history has to be built again.
        """
        sql = f"SELECT id, fold, tags, error_type, error, traceback, error_value FROM runs WHERE state NOT IN {_OVER}"
        try:
            return {
                run: unpack(fold, tags=tags, error=ErrorInfo(*error) if error[0] or error[1] else None)
                for run, fold, tags, *error in self._all(sql)
            }
        except (msgspec.DecodeError, TypeError) as error:
            raise Rejected(f"a live run's fold can't be read: {error}") from error

    def standings(self) -> list[Standing]:
        """How many runs are in each state that asks for something, by queue."""
        sql = (
            "SELECT queue, state, count(*), count(*) FILTER (paused <> '') FROM runs"
            f" WHERE state NOT IN {_OVER} OR state = 'dead' GROUP BY ALL"
        )
        return [Standing(name, State(state), runs, paused) for name, state, runs, paused in self._all(sql)]

    def ready(self) -> list[Ready]:
        """The queued runs, those that wait longest first."""
        sql = "SELECT id, queue, epoch_us(moved_at), task FROM runs WHERE state = 'queued' ORDER BY moved_at, id"
        return [Ready(run, name, since / 1e6, intern(task)) for run, name, since, task in self._all(sql)]

    def firsts(self) -> dict[str, int]:
        """Where reading each dead run begins."""
        return dict(self._all("SELECT id, first FROM runs WHERE state = 'dead'"))

    def _all(self, sql: str) -> list[Any]:
        try:
            return self._con.execute(sql).fetchall()
        except duckdb.Error as error:
            raise Unavailable(f"{self.path}: {error}") from error

    # --- reading ----------------------------------------------------------------------------------------------------

    async def query(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Ask, beside the writer and never blocked by it. The statement limits its rows itself.

        Raises:
            TooSlow: interrupted after `QUERY_WITHIN`.
            ValueError: a parameter is none that the statement can work with, such as a broken pattern.
            Unavailable: the file can't be read now.
        """
        question = _Question(self._free, sql, parameters)
        try:
            return await to_thread.run_sync(question.answer, abandon_on_cancel=True, limiter=self._limit)
        except anyio.get_cancelled_exc_class():
            question.interrupt()
            raise

    # --- opening ----------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        self._con = con = _connect(self.path, self._config)
        try:
            if not _ours(con):
                con.close()
                moved = _move_aside(self.path)
                log.warning("the history is of another version and is built again; the old one is %s", moved)
                self._con = con = _connect(self.path, self._config)
            _create(con)
            self._cursors = {name: _read_cursor(con, name) for name in _NAMES.values()}
            self._appenders = [
                con.appender("runs", columns=list(RunRow._fields)),
                con.query_appender(_update(), _types(con, "runs")),
                con.appender("attempts", columns=list(AttemptRow._fields)),
                con.appender("checkpoints", columns=list(CheckpointRow._fields)),
                con.appender("logs", columns=list(LogLineRow._fields)),
                con.appender("audit", columns=list(AuditRow._fields)),
            ]
            for _ in range(self._wanted):
                reader = con.cursor()
                self._readers.append(reader)
                reader.execute(f"SET max_execution_time = {round(QUERY_WITHIN * 1000)}").fetchall()
                self._free.put(reader)
        except duckdb.Error as error:
            self._disconnect()
            raise Unavailable(f"{self.path}: {error}") from error

    def _disconnect(self) -> None:
        for reader in self._readers:
            with contextlib.suppress(duckdb.Error):
                reader.interrupt()
        for _ in range(len(self._readers)):
            with contextlib.suppress(queue.Empty):
                self._free.get(timeout=QUERY_WITHIN)
        self._appenders = []
        for con in (*self._readers, self._con):
            with contextlib.suppress(duckdb.Error):
                con.close()
        self._readers = []


class _Question:
    """One query on its way; may be interrupted from another thread."""

    def __init__(
        self, free: queue.SimpleQueue[duckdb.DuckDBPyConnection], sql: str, parameters: Sequence[object]
    ) -> None:
        self._free = free
        self._sql = sql
        self._parameters = parameters
        self._reader: duckdb.DuckDBPyConnection | None = None
        self._dropped = False

    def answer(self) -> list[tuple[Any, ...]]:
        try:
            reader = self._free.get(timeout=QUERY_WITHIN)
        except queue.Empty:
            raise Unavailable("the history is being opened again; ask once more in a moment") from None
        try:
            self._reader = reader
            return [] if self._dropped else self._fetched(reader)
        except duckdb.InterruptException:
            raise TooSlow(f"the question took longer than {QUERY_WITHIN:g} s; narrow its time or its text") from None
        except duckdb.InvalidInputException as error:  # of the question: a pattern that is none
            raise ValueError(str(error).removeprefix("Invalid Input Error: ")) from error
        except duckdb.Error as error:
            raise Unavailable(str(error)) from error
        finally:
            self._reader = None
            with contextlib.suppress(duckdb.Error):
                reader.abort()  # an undrained result pins its snapshot: the log grows and nothing is vacuumed
            self._free.put(reader)

    def _fetched(self, reader: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
        reader.execute(self._sql, list(self._parameters))
        rows: list[tuple[Any, ...]] = []
        while some := reader.fetchmany(500):  # the GIL is held while rows are made: not for long
            rows += some
        return rows

    def interrupt(self) -> None:
        self._dropped = True
        if (reader := self._reader) is not None:
            with contextlib.suppress(duckdb.Error):
                reader.interrupt()


_REJECTING = (
    duckdb.DataError,
    duckdb.IntegrityError,
    duckdb.InvalidInputException,
    duckdb.NotSupportedError,
    OverflowError,
    TypeError,
    UnicodeError,
)
"""Errors that lie in the values."""

_OVER = str(tuple(state.value for state in FINAL))


def _connect(path: Path, config: dict[str, Any]) -> duckdb.DuckDBPyConnection:
    """Open the file; what can't be opened is moved aside, first the write-ahead log, then all of it."""
    try:
        return duckdb.connect(path, config=config)
    except duckdb.Error as error:
        if "Could not set lock" in str(error):
            raise ConfigError(f"{path}: another program has this history open; close it: {error}") from error
        if not path.exists() or isinstance(error, duckdb.PermissionException) or "Permission denied" in str(error):
            raise Unavailable(f"{path}: {error}") from error
        damage = error
    wal = Path(f"{path}.wal")
    if "WAL" in str(damage) and wal.exists():
        moved = _set_name_aside(wal)
        log.error("the history's write-ahead log is damaged and was moved to %s: %s", moved, damage)
        with contextlib.suppress(duckdb.Error):
            return duckdb.connect(path, config=config)
    moved = _move_aside(path)
    log.error("the history can't be opened, was moved to %s and is built again from the journal: %s", moved, damage)
    try:
        return duckdb.connect(path, config=config)
    except duckdb.Error as error:
        raise Unavailable(f"{path}: {error}") from error


def _move_aside(path: Path) -> Path:
    wal = Path(f"{path}.wal")
    if wal.exists():
        _set_name_aside(wal)
    return _set_name_aside(path) if path.exists() else path


def _set_name_aside(path: Path) -> Path:
    stamp, number = time.strftime("%Y%m%d-%H%M%S", time.gmtime()), 0
    while (target := path.with_name(f"{path.name}.bad-{stamp}{f'-{number}' if number else ''}")).exists():
        number += 1
    return path.rename(target)


@cache
def _schema() -> str:
    return resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")


def _ours(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether the file is empty or of this version."""
    tables = con.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    if not tables:
        return True
    if ("projection",) not in tables:
        return False
    columns = con.execute("SELECT column_name FROM duckdb_columns() WHERE table_name = 'projection'").fetchall()
    if ("schema_version",) not in columns:
        return False
    versions = con.execute("SELECT DISTINCT schema_version FROM projection").fetchall()
    return versions in ([], [(SCHEMA_VERSION,)])


def _create(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(_schema()).fetchall()
    known = {name for (name,) in con.execute("SELECT stream FROM projection").fetchall()}
    for name in _NAMES.values():
        if name not in known:
            con.execute("INSERT INTO projection VALUES ($1, 0, 0, $2)", [name, SCHEMA_VERSION]).fetchall()
    con.execute("CHECKPOINT").fetchall()  # DDL is replayed from no log


def _read_cursor(con: duckdb.DuckDBPyConnection, name: str) -> Cursor:
    found = con.execute("SELECT last_seq, last_time FROM projection WHERE stream = $1", [name]).fetchall()
    return Cursor(*found[0])


def _known(con: duckdb.DuckDBPyConnection, created: Sequence[RunRow]) -> set[str]:
    """Which of these runs have a row already. The time of their creation says where to look: ids of runs with a key are
    strewn all over the table."""
    if not created:
        return set()
    sql = (
        "SELECT runs.id FROM runs JOIN (SELECT unnest($1::VARCHAR[]) AS id) USING (id)"
        " WHERE runs.created_at BETWEEN $2 AND $3"
    )
    times = [row.created_at for row in created]
    found = con.execute(sql, [[row.id for row in created], min(times), max(times)]).fetchall()
    return {run for (run,) in found}


def _types(con: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    sql = "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = $1 ORDER BY column_index"
    return dict(con.execute(sql, [table]).fetchall())


def _update() -> str:
    columns = [name for name in RunRow._fields if name not in FIXED]
    sets = (f"{name} = coalesce(s.{name}, runs.{name})" if name in KEPT else f"{name} = s.{name}" for name in columns)
    bounds = (f"(SELECT {end}(created_at) FROM appender_data)" for end in ("min", "max"))
    return (
        f"UPDATE runs SET {', '.join(sets)} FROM appender_data s WHERE runs.id = s.id"
        f" AND runs.created_at BETWEEN {' AND '.join(bounds)}"
    )
