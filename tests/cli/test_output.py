"""What is printed: text made visible, tables aligned, JSON by field name."""

from __future__ import annotations

import io
import json
from typing import Any

import msgspec
import pytest

from holdfast.cli import text
from holdfast.cli.output import TIMES, Cell, Column, Output, Style, plain
from holdfast.core import entries
from holdfast.core.model import ErrorInfo, State
from holdfast.core.tree import AttemptSpan, Node, Try
from holdfast.wire import api
from holdfast.wire.values import encode_value


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain", "plain"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x9b2J\x7f\x00", "\\x9b2J\\x7f\\x00"),
        ("user\u202egpj.exe", "user\\u202egpj.exe"),
        ("half \ud83d", "half \\ud83d"),
        ("naïve 注文 🙂", "naïve 注文 🙂"),
    ],
)
def test_control_characters_are_made_visible(raw: str, shown: str) -> None:
    assert text.visible(raw) == shown


@pytest.mark.parametrize(
    ("raw", "width", "cut"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdef", 5, "abcd…"),
        ("注文注文", 5, "注文…"),
        ("注文注文", 4, "注…"),
        ("abc", 1, "…"),
    ],
)
def test_text_is_cut_by_cells(raw: str, width: int, cut: str) -> None:
    assert text.clip(raw, width) == cut
    assert text.cells(cut) <= width


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0ms"), (0.004, "4ms"), (0.9994, "999ms"), (0.9996, "1.00s"), (3.214, "3.21s"), (9.996, "10.0s"),
        (41.26, "41.3s"), (59.96, "1m 00s"), (124, "2m 04s"), (3599.6, "1h 00m"), (11100, "3h 05m"), (187200, "2d 04h"),
    ],
)  # fmt: skip
def test_durations_read_easily(seconds: float, words: str) -> None:
    assert text.took(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(-1, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (200000, "2d")]
)
def test_ages_have_one_unit(seconds: float, words: str) -> None:
    assert text.age(seconds) == words


def test_instants_are_iso_8601_in_utc_and_carry() -> None:
    assert text.iso(1_767_355_418.12) == "2026-01-02T12:03:38.120Z"
    assert text.iso(1_767_355_418.9999) == "2026-01-02T12:03:39.000Z"
    assert text.clock(1_767_355_418.12) == "12:03:38.120"
    assert text.stamp(1_767_355_418.12) == "2026-01-02 12:03:38Z"


TABLE = (Column("NAME", cut=True), Column("N", right=True), Column("ABOUT", cut=True))
ROWS = [("images", "24", "resize the large ones"), ("注文", "3", Cell("bad\x1b[0m", Style.BAD))]


def test_a_table_is_aligned_and_whole_where_there_is_no_terminal() -> None:
    out = io.StringIO()
    Output(out).table(TABLE, ROWS)
    assert out.getvalue() == (
        "NAME     N  ABOUT\n"
        "images  24  resize the large ones\n"
        "注文     3  bad\\x1b[0m\n"
    )  # fmt: skip


def test_a_table_on_a_terminal_is_cut_to_its_width() -> None:
    lines = Output(Terminal(), colour=False, width=22).table_lines(TABLE, ROWS)
    assert lines == ["NAME     N  ABOUT", "images  24  resize th…", "注文     3  bad\\x1b[0m"]


def test_colours_need_a_terminal_and_respect_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert Output(Terminal()).paint("dead", Style.BAD) == "\x1b[31mdead\x1b[0m"
    assert Output(io.StringIO()).paint("dead", Style.BAD) == "dead"
    monkeypatch.setenv("NO_COLOR", "1")
    assert Output(Terminal()).paint("dead", Style.BAD) == "dead"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert Output(Terminal()).paint("dead", Style.BAD) == "dead"


def test_box_characters_are_used_where_the_encoding_has_them() -> None:
    assert Output(io.TextIOWrapper(io.BytesIO(), encoding="ascii")).ascii
    assert Output(io.TextIOWrapper(io.BytesIO(), encoding="latin-1")).ascii
    assert not Output(io.TextIOWrapper(io.BytesIO(), encoding="utf-8")).ascii


def record(value: object) -> tuple[str, Any]:
    out = io.StringIO()
    Output(out, json=True).record(value)
    assert out.getvalue().count("\n") == 1
    return out.getvalue(), json.loads(out.getvalue())


def test_json_has_field_names_iso_times_and_stored_values_as_json() -> None:
    letter = api.Letter(
        run="R", task="t", queue="q", payload=encode_value({"ids": (1, 2)}), error=ErrorInfo("E", "m", "tb", b"raw"),
        reason="aborted", attempts=2, last_key="/a#1", first_at=1_767_355_418.12, last_at=1_767_355_419.0,
    )  # fmt: skip
    assert record(letter)[1] == {
        "run": "R",
        "task": "t",
        "queue": "q",
        "payload": {"ids": [1, 2]},
        "error": {"type": "E", "message": "m", "traceback": "tb"},
        "reason": "aborted",
        "attempts": 2,
        "last_key": "/a#1",
        "first_at": "2026-01-02T12:03:38.120Z",
        "last_at": "2026-01-02T12:03:39.000Z",
    }


def test_json_on_a_terminal_can_not_move_the_cursor_and_says_the_same() -> None:
    raw = "a\x1b[2J\x9b31m\u202e\x7f \ud800 注文"
    printed, value = record({"text": raw, "state": State.DEAD})
    assert not set(printed) & {"\x1b", "\x9b", "\u202e", "\x7f", "\ud800"}
    assert value == {"text": raw, "state": "dead"}


def test_every_instant_that_goes_over_the_wire_is_printed_as_a_time() -> None:
    shown = [Try, Node, AttemptSpan, *entries.ENTRIES]
    shown += [kind for kind in vars(api).values() if isinstance(kind, type) and issubclass(kind, msgspec.Struct)]
    named = {
        name
        for kind in shown
        if not kind.__name__.endswith("Query")
        for name, annotation in kind.__annotations__.items()
        if "Instant" in str(annotation)
    }
    assert named >= {"created_at", "due", "oldest"}
    assert named <= TIMES


def test_a_duration_stays_a_number() -> None:
    assert plain(entries.StepCompleted("/a#1", 1_767_355_418.0, 0.25, encode_value(None)))["took"] == 0.25
