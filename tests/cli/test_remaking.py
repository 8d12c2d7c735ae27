"""`holdfast runs` replay, fork, diff, export, import: on real journals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from holdfast.client import Client
from holdfast.core.entries import Entry, Inherited, StepCompleted, StepFailed
from holdfast.core.model import Origin, Run
from holdfast.wire import api
from holdfast.wire.values import decode_value, encode_value

from .conftest import AT, DECLINED, Told, completed, row, started

if TYPE_CHECKING:
    from .conftest import World

STEPS = (
    StepCompleted("/reserve#1", AT, 0.1, encode_value({"hold": "h1", "n": 1})),
    StepCompleted("/ship#1", AT, 0.1, encode_value("sent")),
)


def whole(shop: World) -> str:
    return shop.run(1, started(), *STEPS, completed("done"))


def look(shop: World, id: str) -> Run:
    async def status(client: Client) -> Run:
        return await client.run(id).status()

    return shop.do(status)


def inherited(shop: World, id: str) -> dict[str, object]:
    async def read(client: Client) -> list[Entry]:
        return [entry for _, record in await client.journal.messages(id) for entry in record.entries]

    return {e.key: decode_value(e.value or b"") for e in shop.do(read) if isinstance(e, Inherited)}


def test_a_replay_prints_the_new_run(shop: World) -> None:
    id = whole(shop)
    done = shop("runs", "replay", id)
    assert done.code == 0
    run = look(shop, done.out.strip())
    assert (run.origin, run.steps, run.source) == (Origin(id, "replay"), 0, "replay")
    assert json.loads(shop("runs", "replay", id, "--json").out)["origin"] == id


def test_a_fork_keeps_what_came_before_with_the_edits(shop: World) -> None:
    id = whole(shop)
    done = shop("runs", "fork", id, "--from", "/ship#1", "--set", '/reserve#1.hold="h=2"', "--set", "/reserve#1.n=5")
    assert done.code == 0, done.err
    made = done.out.strip()
    assert look(shop, made).origin == Origin(id, "fork", "/ship#1")
    assert inherited(shop, made) == {"/reserve#1": {"hold": "h=2", "n": 5}}
    told = json.loads(shop("runs", "fork", id, "--from", "/ship#1", "--set", "/reserve#1=null", "--json").out)
    assert (told["origin"], told["from"], told["edited"]) == (id, "/ship#1", ["/reserve#1"])
    assert inherited(shop, told["run"]) == {"/reserve#1": None}


def test_a_fork_behind_a_checkpoint_keeps_it_as_it_is_or_is_edited(shop: World) -> None:
    id = whole(shop)
    done = shop("runs", "fork", id, "--behind", "/ship#1", "--set", '/ship#1="by hand"')
    assert done.code == 0, done.err
    assert look(shop, done.out.strip()).origin == Origin(id, "fork", "/ship#1", behind=True)
    kept = inherited(shop, done.out.strip())
    assert (list(kept), kept["/ship#1"]) == (["/reserve#1", "/ship#1"], "by hand")
    told = json.loads(shop("runs", "fork", id, "--behind", "/reserve#1", "--json").out)
    assert told["behind"] == "/reserve#1"
    assert f"fork of {id} behind /reserve#1" in shop("runs", "show", told["run"]).out


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (
            ("--from", "/shp#1"),
            1,
            "/shp#1: expected a checkpoint of the run, found no such one; the nearest is /ship#1",
        ),
        (("--from", "/reserve#1", "--set", "/ship#1=1"), 1, "whose outcome the fork keeps"),
        (("--from", "/ship#1", "--set", "/reserve#1.x=1"), 1, "expected a field of an object, found 'x'"),
        (("--from", "/ship#1", "--set", "/reserve#1=abc"), 2, "a text takes quotes"),
        (("--from", "/ship#1", "--set", "=1"), 2, "expected KEY=JSON"),
        ((), 2, "expected --from KEY or --behind KEY, found neither"),
        (("--from", "/ship#1", "--behind", "/ship#1"), 2, "found both"),
        (("--behind", "/nope#1"), 1, "expected a checkpoint of the run"),
    ],
)
def test_a_fork_that_can_not_be_is_explained_in_a_line(
    shop: World, args: tuple[str, ...], code: int, says: str
) -> None:
    done = shop("runs", "fork", whole(shop), *args)
    assert (done.code, done.out) == (code, "")
    assert says in done.err
    assert done.err.count("\n") == 1


def test_a_key_with_an_equals_sign_can_be_edited(shop: World) -> None:
    key = "/pay:eu=1#1"
    id = shop.run(1, started(), StepCompleted(key, AT, 0.1, encode_value(1)), *STEPS)
    made = shop("runs", "fork", id, "--from", "/ship#1", "--set", f"{key}=2").out.strip()
    assert inherited(shop, made)[key] == 2


class Listing(Told):
    """A daemon that lists runs by their origin."""

    async def runs(self, query: api.RunsQuery | None = None) -> api.RunsPage:
        assert query is not None
        found = tuple(row for row in self.world.rows if row.origin == query.origin)
        return api.RunsPage(found, len(found), False)


def test_a_run_is_shown_with_its_forks(shop: World) -> None:
    shop.client = Listing
    id = whole(shop)
    made = shop("runs", "fork", id, "--from", "/ship#1").out.strip()
    shop.rows.append(msgspec.structs.replace(row(look(shop, made)), origin=id))
    assert "\nmade from it\n" in (shown := shop("runs", "show", id).out)
    assert made in shown
    assert json.loads(shop("runs", "show", id, "--json").out)["made"][0]["id"] == made
    assert "made from it" not in shop("runs", "show", made).out


# --- diff -----------------------------------------------------------------------------------------------------------


def other(shop: World) -> str:
    return shop.run(
        2,
        started(),
        StepCompleted("/reserve#1", AT + 9, 0.1, encode_value({"n": 2, "hold": "h1"})),
        StepFailed("/ship#1", AT, 0.1, DECLINED),
        completed("done"),
    )


def test_a_comparison_names_where_two_runs_part_and_shows_both_sides(shop: World) -> None:
    done = shop("runs", "diff", whole(shop), other(shop))
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "the runs part at payload.order: 1 | 2"
    assert [line.split()[:2] for line in lines[3:]] == [[">", "payload.order"], ["~", "/reserve#1.n"], ["~", "/ship#1"]]
    assert lines[4].split()[2:] == ["1", "2"]
    assert '"sent"' in lines[5]
    assert "payments.CardDeclined: bad currency 'XX'" in lines[5]
    assert "= " not in done.out


def test_a_comparison_for_programs_names_the_parting_first(shop: World) -> None:
    one = whole(shop)
    made = shop("runs", "fork", one, "--from", "/ship#1", "--set", "/reserve#1.n=7").out.strip()
    head, *pairs = [json.loads(line) for line in shop("runs", "diff", one, made, "--json").out.splitlines()]
    assert head == {"left": one, "right": made, "parting": "/reserve#1"}
    assert pairs[0] == {
        "key": "/reserve#1",
        "same": False,
        "left": {"came": "returned", "value": {"hold": "h1", "n": 1}, "error": None, "edited": False},
        "right": {"came": "returned", "value": {"hold": "h1", "n": 7}, "error": None, "edited": True},
    }
    assert [pair["key"] for pair in pairs] == ["/reserve#1", "/ship#1", "end"]


def test_a_run_compared_with_itself_does_not_part(shop: World) -> None:
    id = whole(shop)
    assert shop("runs", "diff", id, id).out == "the runs are the same: 2 awaits, payload and end\n"
    assert len(shop("runs", "diff", id, id, "--all").out.splitlines()) == 7
    assert shop("runs", "diff", id, "01KDZ0A1B2C3D4E5F6G7H80099").code == 1


# --- export, import -------------------------------------------------------------------------------------------------


def test_an_export_is_json_lines_on_stdout_or_in_a_file(shop: World, tmp_path: Path) -> None:
    id = whole(shop)
    lines = shop("runs", "export", id).out.splitlines()
    assert json.loads(lines[0])["run"] == id
    assert json.loads(lines[2])["entries"][1]["value"] == {"hold": "h1", "n": 1}
    file = tmp_path / "run.jsonl"
    assert shop("runs", "export", id, "-o", str(file)).out == f"{file}: 2 messages of run {id}\n"
    assert file.read_text().splitlines() == lines


def test_an_import_is_refused_where_the_run_is_and_done_where_it_is_not(
    shop: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from .conftest import World as Another

    id = whole(shop)
    file = tmp_path / "run.jsonl"
    shop("runs", "export", id, "--output", str(file))
    refused = shop("runs", "import", str(file))
    assert (refused.code, refused.out) == (1, "")
    assert f"project shop has a run {id}: import into another one with --project" in refused.err
    lab = Another(capsys)
    assert lab("runs", "import", str(file)) == (0, f"{id}  completed  2 messages from project shop\n", "")
    assert look(lab, id).queue == "imported"


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [(None, 2, "expected a readable file"), ("", 1, "found an empty file"), ("{}\n", 1, "line 1: expected the header")],
)
def test_what_can_not_be_imported_is_explained(
    shop: World, tmp_path: Path, content: str | None, code: int, says: str
) -> None:
    file = tmp_path / "run.jsonl"
    if content is not None:
        file.write_text(content)
    done = shop("runs", "import", str(file))
    assert (done.code, done.out) == (code, "")
    assert says in done.err


def test_a_file_that_can_not_be_written_is_wrong_usage(shop: World, tmp_path: Path) -> None:
    done = shop("runs", "export", whole(shop), "-o", str(tmp_path / "no" / "run.jsonl"))
    assert done.code == 2
    assert "expected a file that can be written" in done.err
