"""Files of rows: three forms, whole or not there, with what was asked for in them."""

from __future__ import annotations

import csv
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import anyio
import duckdb
import msgspec
import pytest

from holdfast.cli import output
from holdfast.wire import api
from holdfast_tui import writing
from tui.world import EVIL, NOW, letters, queues, run_id, runs


async def pages(rows: Sequence[msgspec.Struct], size: int = 25) -> AsyncIterator[Sequence[msgspec.Struct]]:
    for at in range(0, len(rows), size):
        yield rows[at : at + size]


def names(directory: Path) -> list[str]:
    return [file.name for file in directory.iterdir()]


async def wrote(path: Path, rows: Sequence[msgspec.Struct], kind: type[msgspec.Struct]) -> list[int]:
    told: list[int] = []
    assert await writing.write(path, kind, pages(rows), told.append) == len(rows)
    assert names(path.parent) == [path.name]
    return told


async def test_runs_as_csv_have_a_head_and_iso_times(tmp_path: Path) -> None:
    rows = [*runs(), msgspec.structs.replace(runs()[0], error='a "b",\nc', tags=("x", "y"))]
    assert await wrote(tmp_path / "a.csv", rows, api.RunRow) == [25, 50, 61]
    with (tmp_path / "a.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == 61
    assert found[0]["id"] == run_id(2900)
    assert found[0]["created_at"] == "2023-11-14T22:23:43.000Z"
    assert found[0]["finished_at"] == ""
    assert (found[60]["error"], found[60]["tags"]) == ('a "b",\nc', '["x","y"]')


async def test_letters_as_json_lines_hold_what_their_payloads_hold(tmp_path: Path) -> None:
    await wrote(tmp_path / "a.jsonl", letters(3), api.Letter)
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert len(lines) == 3
    second = json.loads(lines[1])
    assert second["payload"] == {"hook": 882, "url": "https://x.example/cb"}
    assert second["error"]["message"] == f"HTTP 410 from {EVIL}"
    assert second["last_at"] == "2023-11-14T22:14:44.000Z"


async def test_parquet_has_the_types_of_the_fields_also_where_there_are_no_rows(tmp_path: Path) -> None:
    (tmp_path / "it's").mkdir()
    full = tmp_path / "it's" / "a.parquet"
    await wrote(full, [msgspec.structs.replace(row, tags=("x",)) for row in runs()], api.RunRow)
    with duckdb.connect(":memory:") as database:
        database.execute("SET TimeZone = 'UTC'")
        file = "'" + str(full).replace("'", "''") + "'"
        assert database.sql(f"SELECT count(*), min(id), any_value(tags) FROM {file}").fetchall() == [
            (60, run_id(2841), ["x"])
        ]
        kinds = {name: kind for name, kind, *_ in database.sql(f"DESCRIBE SELECT * FROM {file}").fetchall()}
        assert (kinds["created_at"], kinds["attempt"]) == ("TIMESTAMP WITH TIME ZONE", "BIGINT")
        assert (kinds["tags"], kinds["state"], kinds["progress"]) == ("VARCHAR[]", "VARCHAR", "JSON")
        epoch = database.sql(f"SELECT epoch(max(created_at)) FROM {file}").fetchall()
        assert epoch == [(NOW - 1,)]
        full.unlink()
        await wrote(full, [], api.RunRow)
        assert database.sql(f"SELECT count(*), count(created_at) FROM {file}").fetchall() == [(0, 0)]


@pytest.mark.parametrize("form", writing.FORMS)
async def test_every_form_takes_queues_and_letters(tmp_path: Path, form: str) -> None:
    await wrote(tmp_path / f"a{form}", queues(), api.QueueRow)
    (tmp_path / f"a{form}").unlink()
    await wrote(tmp_path / f"a{form}", letters(), api.Letter)


async def test_what_is_stopped_or_fails_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("before")

    async def endless() -> AsyncIterator[Sequence[msgspec.Struct]]:
        while True:
            yield runs(5)

    with anyio.CancelScope() as scope:
        await writing.write(file, api.RunRow, endless(), lambda count: scope.cancel() if count > 9 else None)
    assert scope.cancelled_caught

    async def broken() -> AsyncIterator[Sequence[msgspec.Struct]]:
        yield runs(5)
        raise RuntimeError("the link is lost")

    with pytest.raises(RuntimeError, match="lost"):
        await writing.write(file, api.RunRow, broken(), lambda count: None)
    with pytest.raises(ValueError, match="can't be written"):
        await writing.write(tmp_path / "nowhere" / "a.csv", api.RunRow, pages(runs(2)), lambda count: None)
    assert file.read_text() == "before"
    assert names(tmp_path) == ["a.jsonl"]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("", "found nothing"),
        ("a.txt", r"ends in .csv, .jsonl, .parquet, found a.txt"),
        (".csv", "found .csv"),
        ("{here}/dir.csv", "found the directory"),
        ("{here}/none/a.csv", "make it first"),
    ],
)
def test_a_name_that_cannot_be_written_to_says_why(tmp_path: Path, name: str, wrong: str) -> None:
    (tmp_path / "dir.csv").mkdir()
    with pytest.raises(ValueError, match=wrong):
        writing.target(name.format(here=tmp_path))
    assert writing.target(f" {tmp_path}/a.csv ") == tmp_path / "a.csv"


def test_the_instants_are_those_of_the_command_line() -> None:
    assert writing.TIMES == output.TIMES
