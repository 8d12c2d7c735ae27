"""The command line: what it offers, how it completes, and what the desk keeps of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast_tui import command, keys, vocabulary
from holdfast_tui.command import Known, Offer
from holdfast_tui.memory import KEPT, Memory
from tui.desks import bench
from tui.world import FakeClient, letters, queues, run_id, runs

KNOWN = Known(
    queues=("emails", "emails-bulk", "images"),
    runs=(run_id(2895), run_id(2896)),
    views=("late",),
    fields={"state": ("dead", "delay", "ok"), "queue": ("emails",)},
)


def lines(text: str, screen: str = keys.QUEUES, **options: object) -> list[str]:
    words = command.words(screen, **options)  # type: ignore[arg-type]
    return [offer.line for offer in command.offers(text, words, KNOWN, {})]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("que", ["queues "]),
        ("queue em", ["queue emails", "queue emails-bulk"]),
        ("queues emails", ["queues emails-bulk"]),
        ("run 0000289", ["run 00002895", "run 00002896"]),
        (f"run {run_id(2895)[:-4]}", [f"run {run_id(2895)}", f"run {run_id(2896)}"]),
        ("cancel 00002895 0000289", ["cancel 00002895 00002895", "cancel 00002895 00002896"]),
        ("runs st", ["runs state:"]),
        ("runs state:de", ["runs state:dead", "runs state:delay"]),
        ("runs word state:ok,dea", ["runs word state:ok,dead"]),
        ("runs nothing:x", []),
        ("runs ", []),
        ("qui", ["quit"]),
        ("help x", []),
        ("nothing ", []),
    ],
)
def test_a_line_is_completed_with_what_is_there(text: str, found: list[str]) -> None:
    assert lines(text) == found


def test_words_that_a_screen_carries_out_are_offered_where_it_does() -> None:
    assert lines("exp") == []
    assert lines("exp", hooks=("export",)) == ["export "]
    assert lines("view", hooks=("view",)) == ["view "]
    assert lines("view l", hooks=("view",)) == ["view late"]
    assert lines("limit em", hooks=("limit",)) == ["limit emails", "limit emails-bulk"]


def test_read_only_offers_nothing_that_changes_and_sections_that_are_not_there_are_not_offered() -> None:
    assert {"pause ", "cancel ", "undo"} <= set(lines(""))
    assert not {"pause ", "resume ", "cancel ", "kill ", "drain ", "undo", "limit "} & set(lines("", read_only=True))
    assert lines("audit", sections=(keys.QUEUES,)) == []


def test_the_palette_says_what_a_word_takes_does_and_which_key_does_the_same() -> None:
    named = {"runs": "2", "quit": "ctrl+c"}
    words = command.words(keys.QUEUES)
    assert command.offers("runs", words, KNOWN, named) == [Offer("runs ", "runs FILTER  the runs (2)")]
    assert command.offers("rw", words, KNOWN, named) == [Offer("rw", "rw  leave read-only")]


@pytest.mark.parametrize(
    ("text", "said"),
    [("rnus", "no command 'rnus': one of queues runs run"), ("quit now", ":quit takes no words, found 'now'")],
)
def test_what_cannot_be_read_is_said(text: str, said: str) -> None:
    found = command.read(text)
    assert isinstance(found, command.Wrong)
    assert found.text.startswith(said)


def test_names_are_gathered_from_the_rows_that_lists_have() -> None:
    found = vocabulary.known([*queues(), *runs(9), *letters(3)])
    assert "thumbs" in found.queues
    assert "push" in found.queues
    assert found.runs[0] == run_id(2900)
    assert "post-webhook" in found.fields["task"]
    assert found.fields["worker"] == ["w-07"]


def test_a_run_is_named_by_the_end_of_its_id_or_all_of_it() -> None:
    seen = [run_id(2895), run_id(12895)]
    assert vocabulary.run_named("12895", seen) == run_id(12895)
    assert vocabulary.run_named(run_id(7), seen) == run_id(7)
    with pytest.raises(ValueError, match="expected more of the id: 2 runs end with 2895"):
        vocabulary.run_named("2895", seen)
    with pytest.raises(ValueError, match="or its whole id, found 7"):
        vocabulary.run_named("7", seen)


def test_commands_are_kept_from_one_session_to_the_next_the_last_ones_each_once(tmp_path: Path) -> None:
    memory, other = Memory(tmp_path / "desk"), Memory(tmp_path / "desk")
    memory.given("runs  a")
    other.given("dead")
    memory.given("queues")
    memory.given("runs a")
    assert memory.commands == ["queues", "runs a"]
    assert Memory(tmp_path / "desk").commands == ["dead", "queues", "runs a"]
    for number in range(KEPT + 5):
        memory.given(f"run {number}")
    assert len(Memory(tmp_path / "desk").commands) == KEPT
    assert (tmp_path / "desk" / "history").stat().st_mode & 0o077 == 0


def test_a_lesson_is_due_once_for_a_user(tmp_path: Path) -> None:
    assert Memory(tmp_path).once("capitals")
    assert not Memory(tmp_path).once("capitals")
    assert not Memory(explained=("capitals",)).once("capitals")


def test_where_nothing_can_be_kept_the_session_goes_on_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    memory = Memory(tmp_path / "file")
    memory.given("runs")
    assert memory.commands == ["runs"]
    assert str(tmp_path / "file") in memory.wrong
    (tmp_path / "history").write_bytes(b"\xff\xfe")
    assert "history" in Memory(tmp_path).wrong


async def test_the_command_line_shows_what_there_is_completes_it_and_goes_there(tmp_path: Path) -> None:
    async with bench(memory=Memory(tmp_path)) as desk:
        await desk.press(":", *"ru")
        assert "\n :ru▏ns\n" in desk.text
        assert "runs FILTER  the runs (2)   run RUN  open a run" in desk.text
        await desk.press("tab", *"queue:ima", "tab")
        assert ":runs queue:images▏" in desk.text
        await desk.press("enter")
        assert (desk.kind, desk.page.filter) == (keys.RUNS, "queue:images")
        await desk.press(":", "up")
        assert ":runs queue:images▏" in desk.text
    assert Memory(tmp_path).commands == ["runs queue:images"]


async def test_a_run_that_is_named_is_asked_about_from_any_screen() -> None:
    async with bench() as desk:
        await desk.press("2", "4", ":", *"cancel", "space", *"00002900", "enter")
        assert "Cancel 1 run?  00002900" in desk.text
        await desk.press("y")
        assert desk.client.changed == [("cancel", run_id(2900))]
        await desk.press(":", *"cancel", "space", *"zz", "enter")
        assert "expected a run that a list has shown, or its whole id, found zz" in desk.text
        await desk.press("2", "enter", ":", *"export", "space", "x", "enter")
        assert ":export is not for this screen" in desk.text


async def test_names_from_outside_are_shown_clean_in_the_palette() -> None:
    client = FakeClient()
    client.queue_rows = [type(client.queue_rows[0])(name="a\x1b[2J")]
    async with bench(client) as desk:
        await desk.press(":", *"queue", "space")
        assert "\x1b" not in desk.text
        assert "a␛[2J" in desk.text
