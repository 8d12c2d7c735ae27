"""The checkpoint tree as text, line by line."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.cli.output import Style
from holdfast.cli.tree import draw
from holdfast.core.entries import (
    AttemptFailed,
    AttemptInterrupted,
    AttemptResumed,
    AttemptStarted,
    ChildEnded,
    ChildTriggered,
    Compensated,
    Diverged,
    Entry,
    Heartbeat,
    Inherited,
    RunCompleted,
    RunCreated,
    RunDead,
    RunRetried,
    StepCompleted,
    StepFailed,
    StepRetried,
    StepStarted,
    StepVolatile,
    Suspended,
    WaitStarted,
)
from holdfast.core.model import ErrorInfo, Origin, Progress, State
from holdfast.core.pending import Wait
from holdfast.core.tree import Tree
from holdfast.wire.api import RunRow

T = 1_767_355_418.12
TRACEBACK = """\
Traceback (most recent call last):
  File "payments.py", line 212, in capture
    raise CardDeclined(f"bad currency {currency!r}")
payments.CardDeclined: bad currency 'XX'
"""
DECLINED = ErrorInfo("payments.CardDeclined", "bad currency 'XX'", TRACEBACK)
LATE = ErrorInfo("TimeoutError", "no answer")


def tree(*entries: Entry) -> Tree:
    made = Tree()
    for entry in entries:
        made.add(entry)
    return made


def row(state: State, **fields: Any) -> RunRow:
    given = {"created_at": T, "started_at": T, "attempt": 1, **fields}
    return RunRow(
        id="01KDZ0A1B2C3D4E5F6G7H8J9K0", task="charge-card", queue="billing", priority=5, state=state, **given
    )


DEAD = (
    AttemptStarted(T, 1, "w-07", "n"),
    StepCompleted("/validate#1", T + 0.004, 0.004, b""),
    StepCompleted("/gather#1/quote#1", T + 0.081, 0.031, b""),
    StepRetried("/gather#1/quote#2", T + 0.10, 0.05, LATE, 1, T + 0.11),
    StepCompleted("/gather#1/quote#3", T + 0.079, 0.029, b""),
    StepCompleted("/gather#1/quote#2", T + 0.138, 0.028, b""),
    ChildTriggered("/ship#1", T + 0.15, "01KDZ0000000000000Q9K28950", "ship"),
    Suspended(T + 0.16, ("01KDZ0000000000000Q9K28950",)),
    ChildEnded("/ship#1", T + 1.0, "01KDZ0000000000000Q9K28950", "completed"),
    AttemptResumed(T + 1.1, 1, "w-03", "m"),
    StepStarted("/capture#1", T + 1.2),
    AttemptInterrupted(T + 1.5, "worker w-03 was lost"),
    AttemptResumed(T + 2.1, 1, "w-07", "k"),
    StepRetried("/capture#1", T + 2.5, 0.31, DECLINED, 1, T + 2.8),
    StepFailed("/capture#1", T + 3.2, 0.15, DECLINED),
    RunDead(T + 3.21, DECLINED, "attempts used up"),
)


def test_a_dead_run_shows_attempts_steps_tries_and_the_error() -> None:
    lines = draw(tree(*DEAD), row(State.DEAD, finished_at=T + 3.21, reason="attempts used up"), width=86)
    assert (
        "\n".join(lines)
        == """\
charge-card  DEAD  01KDZ0A1B2C3D4E5F6G7H8J9K0
queue billing  created 2026-01-02 12:03:38Z  took 3.21s  attempts used up

attempt 1  w-07  12:03:38.120    160ms  suspended
  resumed  w-03  12:03:39.220    400ms  interrupted  worker w-03 was lost
  resumed  w-07  12:03:40.220    1.11s  dead         CardDeclined: bad currency 'XX'

STEP                       STATE  TRY     AT   TOOK  0 ──────────────────────── 3.21s
charge-card                DEAD     1      0  3.21s  ██········█████·····████████████
├ validate                 ok          +0.00    4ms  █
├ gather (3 parallel)      ok          +0.05   88ms  ██
│ ├ quote                  ok          +0.05   31ms  █
│ ├ quote#2                ok       2  +0.05   88ms  ██
│ │ ├ try 1  TimeoutError  fail        +0.05   50ms  x
│ │ └ try 2                ok          +0.11   28ms   █
│ └ quote#3                ok          +0.05   29ms  █
├ ship → Q9K28950          ok          +0.15  850ms   ·········
└ capture                  FAIL     2  +2.19  1.01s                       ███████████
  ├ try 1  CardDeclined    fail        +2.19  310ms                       xxxx
  └ try 2  CardDeclined    FAIL        +3.05  150ms                                xx

payments.CardDeclined: bad currency 'XX'
  File "payments.py", line 212, in capture
    raise CardDeclined(f"bad currency {currency!r}")"""
    )


def test_a_narrow_terminal_gets_no_bars_and_ascii_no_box_characters() -> None:
    lines = draw(tree(*DEAD), row(State.DEAD, finished_at=T + 3.21), width=60, ascii=True)
    assert (
        "\n".join(lines[:-3])
        == """\
charge-card  DEAD  01KDZ0A1B2C3D4E5F6G7H8J9K0
queue billing  created 2026-01-02 12:03:38Z  took 3.21s

attempt 1  w-07  12:03:38.120    160ms  suspended
  resumed  w-03  12:03:39.220    400ms  interrupted  worker~
  resumed  w-07  12:03:40.220    1.11s  dead         CardDe~

STEP                       STATE  TRY     AT   TOOK
charge-card                DEAD     1      0  3.21s
|-validate                 ok          +0.00    4ms
|-gather (3 parallel)      ok          +0.05   88ms
| |-quote                  ok          +0.05   31ms
| |-quote#2                ok       2  +0.05   88ms
| | |-try 1  TimeoutError  fail        +0.05   50ms
| | `-try 2                ok          +0.11   28ms
| `-quote#3                ok          +0.05   29ms
|-ship -> Q9K28950         ok          +0.15  850ms
`-capture                  FAIL     2  +2.19  1.01s
  |-try 1  CardDeclined    fail        +2.19  310ms
  `-try 2  CardDeclined    FAIL        +3.05  150ms
"""
    )


@pytest.mark.parametrize("width", [55, 60, 70, 80, 100, 140])
def test_no_line_of_the_tree_is_wider_than_asked(width: int) -> None:
    lines = draw(tree(*DEAD), row(State.DEAD, finished_at=T + 3.21), width=width)
    assert max(len(line) for line in lines[:-3]) <= width


def test_a_run_taken_over_by_another_worker_names_who_ran_each_step() -> None:
    entries = (
        AttemptStarted(T, 1, "w-07", "n"),
        StepCompleted("/reserve#1", T + 1.0, 1.0, b""),
        AttemptInterrupted(T + 1.5, "worker w-07 was lost"),
        AttemptResumed(T + 2.0, 1, "w-03", "m"),
        StepCompleted("/ship#1", T + 4.0, 2.0, b""),
        RunCompleted(T + 4.0, b""),
    )
    lines = draw(tree(*entries), row(State.COMPLETED, finished_at=T + 4.0), width=76)
    assert lines[3:] == [
        "attempt 1  w-07  12:03:38.120    1.50s  interrupted  worker w-07 was lost",
        "  resumed  w-03  12:03:40.120    2.00s  completed",
        "",
        "STEP         STATE      TRY     AT   TOOK  WORKER  0 ───────────────── 4.00s",
        "charge-card  completed    1      0  4.00s          ██████████··█████████████",
        "├ reserve    ok              +0.00  1.00s  w-07    ███████",
        "└ ship       ok              +2.00  2.00s  w-03                █████████████",
    ]


def test_a_live_run_is_measured_up_to_now() -> None:
    live = tree(AttemptStarted(T, 1, "w-07", "n"), StepStarted("/resize#1", T + 0.5))
    lines = draw(live, row(State.RUNNING), width=60, now=T + 2.5)
    assert lines[3:] == [
        "attempt 1  w-07  12:03:38.120    2.50s  running",
        "",
        "STEP         STATE    TRY     AT   TOOK  0 ─────────── 2.50s",
        "charge-card  running    1      0  2.50s  ███████████████████",
        "└ resize     run           +0.50  2.00s     ████████████████",
    ]


def test_a_fan_out_without_an_entry_stands_as_its_branches_do() -> None:
    live = tree(
        AttemptStarted(T, 1, "w-07", "n"),
        StepCompleted("/gather#1/a#1", T + 0.2, 0.1, b""),
        StepStarted("/gather#1/b#1", T + 0.1),
    )
    lines = draw(live, row(State.RUNNING), width=40)
    assert lines[7:] == [
        "└ gather     run           +0.10      -",
        "  ├ a        ok            +0.10  100ms",
        "  └ b        run           +0.10      -",
    ]


def test_after_a_retry_from_the_start_times_count_from_the_new_attempt() -> None:
    week = 7 * 86400
    again = tree(
        AttemptStarted(T, 1, "w-07", "n"),
        StepCompleted("/reserve#1", T + 1.0, 1.0, b""),
        RunDead(T + 2.0, DECLINED, "aborted"),
        RunRetried(T + week, from_start=True),
        AttemptStarted(T + week + 1, 2, "w-07", "m"),
        StepCompleted("/reserve#1", T + week + 3, 1.0, b""),
        RunCompleted(T + week + 3, b""),
    )
    lines = draw(again, row(State.COMPLETED, finished_at=T + week + 3, attempt=2), width=78)
    assert lines[3:5] == [
        "attempt 1  w-07  12:03:38.120    2.00s  dead         CardDeclined: bad curren…",
        "attempt 2  w-07  01-09 12:03Z    2.00s  completed",
    ]
    assert lines[7].split()[:5] == ["charge-card", "completed", "2", "0", "2.00s"]
    assert lines[8].split()[:5] == ["└", "reserve", "ok", "+1.00", "1.00s"]


def test_a_run_that_waits_for_its_next_attempt_shows_the_error_and_when() -> None:
    failed = tree(AttemptStarted(T, 1, "w-07", "n"), AttemptFailed(T + 1, LATE, T + 3))
    lines = draw(failed, row(State.RETRYING, due=T + 3), width=80)
    assert lines[1] == "queue billing  created 2026-01-02 12:03:38Z  due 2026-01-02 12:03:41Z"
    assert lines[-1] == "TimeoutError: no answer"


def test_a_run_that_never_started_is_drawn_too() -> None:
    lines = draw(Tree(), row(State.QUEUED, started_at=None, attempt=0), width=80)
    assert lines == [
        "charge-card  queued  01KDZ0A1B2C3D4E5F6G7H8J9K0",
        "queue billing  created 2026-01-02 12:03:38Z",
        "",
        "STEP         STATE   AT  TOOK",
        "charge-card  queued",
    ]


def test_an_error_that_no_attempt_holds_is_taken_from_the_row() -> None:
    poison = tree(AttemptStarted(T, 1, "w-07", "n"), AttemptInterrupted(T + 1, "lost"))
    lines = draw(poison, row(State.DEAD, error_type="holdfast.Poison", error="interrupted 6 times"), width=80)
    assert lines[-1] == "holdfast.Poison: interrupted 6 times"


def test_many_tries_and_attempts_show_the_last_ones() -> None:
    entries: list[Entry] = [AttemptStarted(T, 1, "w", "n")]
    entries += [StepRetried("/poll#1", T + n, 0.1, LATE, n, T + n + 1) for n in range(1, 21)]
    entries += [AttemptFailed(T + 30, LATE, T + 31)]
    for attempt in range(2, 13):
        entries += [AttemptStarted(T + 30 * attempt, attempt, "w", "n"), AttemptFailed(T + 30 * attempt + 1, LATE, T)]
    text = "\n".join(draw(tree(*entries), row(State.RETRYING), width=80))
    assert "\n4 earlier\nattempt 5 " in text
    assert "14 earlier tries" in text
    assert "try 15  TimeoutError" in text
    assert "try 14 " not in text


def test_what_users_named_can_not_move_the_cursor() -> None:
    evil = ErrorInfo("x.Bad\x1b[2J", "two\nlines\x1b]0;title\x07", "  File \x9b31m\n")
    entries = (
        AttemptStarted(T, 1, "w\x1b[1A", "n"),
        StepVolatile("/open\x1b[8m#1", T + 1, 1.0, "a\rb"),
        RunDead(T + 1, evil, "aborted"),
    )
    text = "\n".join(draw(tree(*entries), row(State.DEAD, reason="\x1b[5m"), width=120))
    assert not set(text) & {"\x1b", "\x07", "\r", "\x9b"}
    assert "x.Bad\\x1b[2J: two\nlines\\x1b]0;title\\x07\n  File \\x9b31m" in text


def test_a_wide_letter_takes_two_cells() -> None:
    wide = tree(AttemptStarted(T, 1, "w", "n"), StepCompleted("/注文#1", T + 1, 1.0, b""), RunCompleted(T + 1, b""))
    lines = draw(wide, row(State.COMPLETED, finished_at=T + 1), width=50)
    assert lines[6:] == [
        "charge-card  completed    1      0  1.00s",
        "└ 注文       ok              +0.00  1.00s",
    ]


def test_colours_change_no_width() -> None:
    def paint(piece: str, style: Style | None) -> str:
        return f"\x1b[{style}m{piece}\x1b[0m" if style else piece

    plain = draw(tree(*DEAD), row(State.DEAD, finished_at=T + 3.21), width=86)
    painted = draw(tree(*DEAD), row(State.DEAD, finished_at=T + 3.21), width=86, paint=paint)
    bare = painted[:]
    for style in (*Style, "None"):
        bare = [line.replace(f"\x1b[{style}m", "").replace("\x1b[0m", "") for line in bare]
    assert [line.rstrip() for line in bare] == plain
    assert painted != plain


def test_an_error_of_several_lines_is_not_said_again_below_its_traceback() -> None:
    error = ErrorInfo("ValueError", "bad 7\nmore", '  File "jobs.py", line 9, in boom\nValueError: bad 7\nmore\n')
    died = tree(AttemptStarted(T, 1, "w", "n"), RunDead(T + 1, error, "aborted"))
    lines = draw(died, row(State.DEAD, finished_at=T + 1), width=80)
    assert lines[-3:] == ["ValueError: bad 7", "more", '  File "jobs.py", line 9, in boom']


def test_a_run_that_waits_says_for_what_and_until_when() -> None:
    child, token = "01KDZ0000000000000Q9K28950", "01KT0000000000000000TOKEN1"
    waiting = tree(
        AttemptStarted(T, 1, "w-07", "n"),
        StepCompleted("/reserve#1", T + 1, 0.3, b""),
        ChildTriggered("/ship#1", T + 1, child, "ship"),
        WaitStarted("/for_#1", T + 1, "", "sleep", T + 3600),
        WaitStarted("/await#1", T + 1, token, "token", T + 200_000),
        WaitStarted("/event#1", T + 1, "/event#1", "event", None, "payments.*"),
        WaitStarted("/signal:approve#1", T + 1, "signal:approve#1", "signal", None, "approve"),
        Suspended(T + 2, (child, token, "/event#1", "signal:approve#1"), T + 3600),
    )
    waits = (
        Wait("child", "/ship#1", child),
        Wait("sleep", "/for_#1", "", T + 3600),
        Wait("token", "/await#1", token, T + 200_000),
        Wait("event", "/event#1", "/event#1", None, "payments.*", b"\x81\xa8order.id\x07"),
        Wait("signal", "/signal:approve#1", "signal:approve#1", None, "approve"),
    )
    fields = {"progress": Progress(3, 10, "resizing"), "deadline": T + 86400}
    lines = draw(waiting, row(State.WAITING, **fields), waits, width=78, now=T + 20)
    assert (
        "\n".join(lines[2:])
        == """\
3/10 resizing  deadline 2026-01-03 12:03:38Z

attempt 1  w-07  12:03:38.120    2.00s  suspended

STEP                      STATE    TRY     AT   TOOK  0 ──────────────── 20.0s
charge-card               waiting    1      0  20.0s  ███·····················
├ reserve                 ok            +0.70  300ms  ██
├ ship → Q9K28950         wait          +1.00  19.0s   ·······················
├ for_ (until 13:03:38Z)  wait          +1.00  19.0s   ·······················
├ await → token 00TOKEN1  wait          +1.00  19.0s   ·······················
├ event → payments.*      wait          +1.00  19.0s   ·······················
└ signal:approve          wait          +1.00  19.0s   ·······················

waits for
  /ship#1            child  01KDZ0000000000000Q9K28950
  /for_#1            sleep  until 2026-01-02 13:03:38Z
  /await#1           token  01KT0000000000000000TOKEN1  until 2026-01-04 19:36:58Z
  /event#1           event  payments.*  {"order.id":7}
  /signal:approve#1  signal  approve"""
    )


def test_a_run_that_asks_names_the_commands_that_answer() -> None:
    asking = tree(
        AttemptStarted(T, 1, "w-07", "n", code="3f2a1b99"),
        StepStarted("/charge#1", T + 1, once=True),
        AttemptInterrupted(T + 2, "worker lost"),
        AttemptResumed(T + 3, 1, "w-08", "m", code="9bc1ddd0"),
        Suspended(T + 3, ("pause:/charge#1",), None, "not known"),
    )
    question = Wait("pause", "/charge#1", asks="once")
    lines = draw(asking, row(State.WAITING, paused="not known"), (question,), width=78, now=T + 20)
    assert lines[0] == "charge-card  waiting (paused)  01KDZ0A1B2C3D4E5F6G7H8J9K0"
    assert (
        "\n".join(lines[3:])
        == """\
attempt 1  w-07  12:03:38.120    2.00s  interrupted  worker lost
  resumed  w-08  12:03:41.120      0ms  suspended    code 9bc1ddd  not known

STEP                     STATE   TRY     AT   TOOK  0 ────────────────── 20.0s
charge-card              paused    1      0  20.0s  ████······················
└ charge (at most once)  paused       +1.00  19.0s   ·························

paused: not known
  /charge#1: it happened, with this result
    holdfast runs resolve 01KDZ0A1B2C3D4E5F6G7H8J9K0 '/charge#1' --done JSON
  /charge#1: it did not happen: run it
    holdfast runs resolve 01KDZ0A1B2C3D4E5F6G7H8J9K0 '/charge#1' --not-done"""
    )


def test_undos_stand_below_their_steps_and_their_attempts_say_what_they_do() -> None:
    undone = (
        AttemptStarted(T, 1, "w-07", "n"),
        StepCompleted("/reserve#1", T + 1, 0.5, b"", b"undo"),
        StepCompleted("/charge#1", T + 2, 0.5, b"", b"undo"),
        RunDead(T + 3, DECLINED, "attempts used up"),
        AttemptResumed(T + 4, 1, "w-07", "m"),
        StepCompleted("/charge#1/undo", T + 5, 0.5, b""),
        StepStarted("/reserve#1/undo", T + 6),
    )
    fields = {"ending": State.DEAD, "error_type": DECLINED.type, "error": DECLINED.message}
    lines = draw(tree(*undone), row(State.COMPENSATING, **fields), width=70, now=T + 7)
    assert (
        "\n".join(lines[2:])
        == """\
will be dead when its undos have run

attempt 1  w-07  12:03:38.120    3.00s  dead          CardDeclined: b…
  resumed  w-07  12:03:42.120    3.00s  compensating

STEP         STATE         TRY     AT   TOOK  0 ──────────────── 7.00s
charge-card  compensating    1      0  7.00s  ███████████··███████████
├ reserve    ok                 +0.50  500ms   ███
│ └ undo     run                +6.00  1.00s                      ████
└ charge     undone             +1.50  500ms       ██
  └ undo     ok                 +4.50  500ms                 ███

payments.CardDeclined: bad currency 'XX'"""
    )
    ended = tree(*undone, StepCompleted("/reserve#1/undo", T + 8, 0.5, b""), Compensated(T + 9))
    lines = draw(ended, row(State.DEAD, finished_at=T + 9), width=70)
    assert lines[4].split() == ["resumed", "w-07", "12:03:42.120", "5.00s", "compensated"]


def test_a_tree_shows_another_way_other_code_and_what_a_fork_inherited() -> None:
    parted = tree(
        RunCreated("R", T, "t", b"", origin=Origin("01KDZ0000000000000Q9K28950", "fork", "/c#1")),
        Inherited("/a#1", T - 90, 0.1, b"\x01"),
        Inherited("/b#1", T - 90, 0.1, b"\x02", edited=True),
        AttemptStarted(T, 1, "w-07", "n", code="3f2a1b99"),
        StepCompleted("/c#1", T + 1, 0.5, b""),
        AttemptInterrupted(T + 1, "deploy", polite=True),
        AttemptResumed(T + 3, 1, "w-07", "m", code="9bc1ddd0"),
        Diverged("/x#1", T + 3, ("/c#1",)),
        StepCompleted("/x#1", T + 4, 0.5, b""),
        WaitStarted("/wait_for#1", T + 4, "", "timeout", T + 9),
        StepStarted("/wait_for#1/slow#1", T + 5),
        Heartbeat(T + 6),
    )
    lines = draw(parted, row(State.RUNNING, origin="01KDZ0000000000000Q9K28950"), width=76, now=T + 8)
    assert (
        "\n".join(lines[2:])
        == """\
heartbeat 2s ago  made from 01KDZ0000000000000Q9K28950

attempt 1  w-07  12:03:38.120    1.00s  interrupted  deploy
  resumed  w-07  12:03:41.120    5.00s  running      code 9bc1ddd

STEP                              STATE     TRY     AT   TOOK  0 ───── 8.00s
charge-card                       running     1      0  8.00s  ██··█████████
├ a (from Q9K28950)               ok
├ b (from Q9K28950, edited)       ok
├ c                               orphaned       +0.50  500ms  ██
├ x [code 9bc1ddd] [another way]  ok             +3.50  500ms       ██
└ wait_for (until 12:03:47Z)      run            +5.00  3.00s          █████
  └ slow                          run            +5.00  3.00s          █████"""
    )


def test_nothing_that_a_run_waits_for_can_move_the_cursor() -> None:
    evil = "x\x1b[2J\x9b"
    waits = (
        Wait("event", f"/e{evil}#1", "E", None, evil, b"\x81\xa1\x1b\xa1\x1b"),
        Wait("pause", f"/p{evil}#1", asks="once"),
    )
    fields = {"paused": evil, "progress": Progress(1, 2, evil), "code": evil, "origin": evil}
    waiting = tree(
        AttemptStarted(T, 1, "w", "n"),
        WaitStarted(f"/e{evil}#1", T, "E", "event", None, evil),
        Suspended(T, ("E", f"pause:/p{evil}#1"), None, evil),
        AttemptResumed(T, 1, "w", "n", code=evil),
    )
    text = "\n".join(draw(waiting, row(State.WAITING, **fields), waits, width=200))
    assert not set(text) & {"\x1b", "\x9b"}
