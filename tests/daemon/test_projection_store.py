"""The DuckDB file: exactly once, whatever is repeated, killed or damaged."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from msgspec.structs import replace

from histories import ERROR, T0, Stored, Teller, random_history, records, run_id
from holdfast.core.entries import AttemptStarted, RunDead, Suspended
from holdfast.core.lifecycle import apply
from holdfast.core.model import Run, State
from holdfast.errors import ConfigError
from holdfast.wire.subjects import Stream
from holdfast_daemon.ledger import Change
from holdfast_daemon.projection.rows import RunRow, journal_rows
from holdfast_daemon.projection.store import Batch, Cursor, Moved, Rejected, Store, TooSlow, Unavailable

TELL = Teller()
A, B = run_id(1), run_id(2)
TABLES = ("runs", "attempts", "checkpoints")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "history.duckdb")
    yield opened
    opened.close()


def changes_of(messages: list[Stored]) -> list[Change]:
    folded: dict[str, Run | None] = {}
    changes = []
    for run, record in records(messages, TELL.subjects):
        before, after = folded.get(run), apply(folded.get(run), record)
        folded[run] = after
        if after is not None:
            changes.append(Change(run, record, T0 + record.seq, before, after))
    return changes


def batch(changes: list[Change], after: int) -> Batch:
    upto = changes[-1].record.seq
    return Batch(Stream.JOURNAL, after, Cursor(upto, T0 + upto), journal_rows(changes))


def tables(store: Store) -> dict[str, list[object]]:
    """Everything in it, in an order of its own."""
    return {
        name: sorted(store._con.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for name in (*TABLES, "logs")
    }


def project(store: Store, changes: list[Change], size: int) -> None:
    """What is missing in the store, in batches of so many changes."""
    at = store.cursor(Stream.JOURNAL).seq
    missing = [change for change in changes if change.record.seq > at]
    for begin in range(0, len(missing), size):
        some = missing[begin : begin + size]
        assert store.apply(batch(some, at))
        at = some[-1].record.seq


def test_the_rows_of_a_batch_and_its_cursor_are_there_after_a_restart(store: Store) -> None:
    changes = changes_of([TELL.created(A), TELL.log(A, "n1", AttemptStarted(T0, 1, "w1", "n1"))])
    assert store.apply(batch(changes, 0))
    store.reopen()
    assert store.cursor(Stream.JOURNAL) == Cursor(2, T0 + 2)
    assert store._con.execute("SELECT id, state, worker, tags FROM runs").fetchall() == [(A, "running", "w1", [])]


def test_a_batch_that_is_repeated_changes_nothing(store: Store) -> None:
    changes = changes_of(list(random_history(1, 4, TELL)))
    again = batch(changes, 0)
    assert store.apply(again)
    before = tables(store)
    assert not store.apply(again)
    store.reopen()
    assert not store.apply(again)
    assert tables(store) == before


def test_a_batch_that_does_not_begin_at_the_cursor_is_refused(store: Store) -> None:
    changes = changes_of([TELL.created(A), TELL.created(B), TELL.created(run_id(3))])
    with pytest.raises(Moved):
        store.apply(batch(changes[1:], 1))
    store.apply(batch(changes[:2], 0))
    with pytest.raises(Moved):
        store.apply(batch(changes[1:], 1))
    assert store.cursor(Stream.JOURNAL).seq == 2


@pytest.mark.parametrize("seed", range(3))
def test_projecting_any_prefix_crashing_and_projecting_again_gives_the_same_rows(tmp_path: Path, seed: int) -> None:
    changes = changes_of(list(random_history(seed, 5, TELL)))
    whole = Store.open(tmp_path / "whole.duckdb")
    project(whole, changes, len(changes))
    expected = tables(whole)
    whole.close()
    for size, crash in ((1, 60), (7, 5), (50, 1)):
        pieces = Store.open(tmp_path / f"{size}.duckdb")
        for end in range(size * crash, len(changes), size * crash):
            project(pieces, changes[:end], size)
            crash_now(pieces, changes[end:])
        project(pieces, changes, size)
        assert tables(pieces) == expected
        pieces.close()


def crash_now(store: Store, following: list[Change]) -> None:
    """In the middle of a transaction."""
    store._con.begin()
    store._write(store._con, journal_rows(following))
    store.reopen()


CHILD = """
import sys
from pathlib import Path
import test_projection_store as t
from histories import random_history
changes = t.changes_of(list(random_history(7, 40, t.TELL)))
store = t.Store.open(Path(sys.argv[1]))
print("open", flush=True)
t.project(store, changes, 3)
print("done", flush=True)
"""


@pytest.mark.parametrize("after", [0.0, 0.02, 0.05, 0.1, 0.2])
def test_a_projector_that_is_killed_goes_on_and_nothing_is_doubled(tmp_path: Path, after: float) -> None:
    path = tmp_path / "history.duckdb"
    roots = [str(Path(__file__).parents[2] / part) for part in ("sdk", "daemon", "tests", "tests/daemon")]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(roots)},
    )
    assert child.stdout is not None
    child.stdout.readline()
    try:
        child.wait(after)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    changes = changes_of(list(random_history(7, 40, TELL)))
    survivor = Store.open(path)
    project(survivor, changes, 100)
    found = tables(survivor)
    survivor.close()
    whole = Store.open(tmp_path / "whole.duckdb")
    project(whole, changes, len(changes))
    assert found == tables(whole)
    whole.close()


def test_a_run_that_is_created_for_the_second_time_stays_one_row(store: Store) -> None:
    created = changes_of([TELL.created(A, tags=("eu",))])
    store.apply(batch(created, 0))
    again = created[0]._replace(record=created[0].record._replace(seq=5))
    store.apply(Batch(Stream.JOURNAL, 1, Cursor(5, T0), journal_rows([again])))
    assert store._con.execute("SELECT count(*) FROM runs").fetchall() == [(1,)]


def test_values_that_the_file_refuses_write_nothing_and_leave_the_store_usable(store: Store) -> None:
    changes = changes_of([TELL.created(A), TELL.created(B)])
    good = batch(changes, 0)
    bad = good._replace(
        rows=good.rows._replace(created=[good.rows.created[0], good.rows.created[1]._replace(attempt=1 << 70)])
    )
    with pytest.raises(Rejected):
        store.apply(bad)
    assert store.cursor(Stream.JOURNAL).seq == 0
    assert tables(store)["runs"] == []
    assert store.apply(good)
    assert len(tables(store)["runs"]) == 2


def test_live_runs_come_back_as_they_were_folded(store: Store) -> None:
    changes = changes_of(list(random_history(3, 8, TELL)))
    project(store, changes, 11)
    expected = {change.run_id: replace(change.after, payload=b"", result=None) for change in changes}
    assert store.live() == {run: found for run, found in expected.items() if not found.final}


def test_standings_and_queued_runs_are_what_gauges_begin_with(store: Store) -> None:
    dead = TELL.log(B, "n1", AttemptStarted(T0, 1, "w1", "n1"), RunDead(T0, ERROR, "aborted"))
    project(store, changes_of([TELL.created(A), TELL.created(B), dead, TELL.created(run_id(3), queue="mail")]), 10)
    assert sorted(store.standings()) == [
        ("default", State.DEAD, 1, 0),
        ("default", State.QUEUED, 1, 0),
        ("mail", State.QUEUED, 1, 0),
    ]
    assert store.ready() == [(A, "default", T0 + 1, "ship"), (run_id(3), "mail", T0 + 4, "ship")]
    assert store.firsts() == {B: 2}


def test_a_second_daemon_is_refused_the_same_file(store: Store) -> None:
    with pytest.raises(ConfigError, match="another daemon"):
        Store.open(store.path)


def test_a_damaged_log_is_moved_aside_and_the_last_checkpoint_stands(tmp_path: Path) -> None:
    path, kept = tmp_path / "live" / "history.duckdb", tmp_path / "kept"
    changes = changes_of([TELL.created(A), TELL.created(B)])
    store = Store.open(path)
    store.apply(batch(changes[:1], 0))
    store._con.execute("CHECKPOINT").fetchall()
    store.apply(batch(changes[1:], 1))
    subprocess.run(["cp", "-r", str(path.parent), str(kept)], check=True)
    store.close()
    wal = kept / "history.duckdb.wal"
    data = bytearray(wal.read_bytes())
    data[len(data) // 2] ^= 0xFF
    wal.write_bytes(data)
    again = Store.open(kept / "history.duckdb")
    assert again.cursor(Stream.JOURNAL).seq == 1
    project(again, changes, 1)
    assert len(tables(again)["runs"]) == 2
    again.close()
    assert list(kept.glob("*.wal.bad-*"))


def test_a_damaged_file_is_moved_aside_and_begun_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "history.duckdb"
    path.write_bytes(b"this is no database" * 1000)
    store = Store.open(path)
    assert store.cursor(Stream.JOURNAL) == Cursor()
    store.close()
    assert list(tmp_path.glob("*.bad-*"))
    assert "can't be opened" in caplog.text


def test_paused_runs_are_counted_in_their_standings(store: Store) -> None:
    pause = Suspended(T0, ("pause:/pay#1",), None, "its outcome is not known")
    told = TELL.log(A, "n1", AttemptStarted(T0, 1, "w1", "n1"), pause)
    waits = TELL.log(B, "n1", AttemptStarted(T0, 1, "w1", "n1"), Suspended(T0, ("T1",)))
    project(store, changes_of([TELL.created(A), TELL.created(B), told, waits]), 10)
    assert store.standings() == [("default", State.WAITING, 2, 1)]


def test_a_file_of_another_version_is_built_again(tmp_path: Path) -> None:
    path = tmp_path / "history.duckdb"
    store = Store.open(path)
    store.apply(batch(changes_of([TELL.created(A)]), 0))
    store._con.execute("UPDATE projection SET schema_version = 0").fetchall()
    store.close()
    again = Store.open(path)
    assert again.cursor(Stream.JOURNAL) == Cursor()
    assert tables(again)["runs"] == []
    again.close()


def test_the_columns_of_the_tables_are_those_of_the_rows(store: Store) -> None:
    found = store._con.execute(
        "SELECT column_name FROM duckdb_columns() WHERE table_name = 'runs' ORDER BY column_index"
    ).fetchall()
    assert tuple(name for (name,) in found) == RunRow._fields


async def test_a_slow_question_is_interrupted_and_the_next_one_is_answered(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast_daemon.projection.store.QUERY_WITHIN", 0.05)
    store.reopen()
    with pytest.raises(TooSlow):
        await store.query("SELECT sum(sqrt(a.range * b.range)) FROM range(1000000) a, range(1000000) b")
    assert await store.query("SELECT count(*) FROM runs WHERE id = ?", ["x"]) == [(0,)]


async def test_a_wrong_question_is_an_error_and_not_the_end(store: Store) -> None:
    with pytest.raises(Unavailable):
        await store.query("SELECT nonsense")
    for _ in range(5):
        assert await store.query("SELECT 1") == [(1,)]


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="expected a place"):
        Store.open(tmp_path / "file" / "history.duckdb")
    assert duckdb.__version__ >= "2"
