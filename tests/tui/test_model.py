"""The plain models: a run heard live, the ring of log lines, the link, filters and plans."""

from __future__ import annotations

from holdfast.core.entries import (
    AttemptInterrupted,
    AttemptResumed,
    AttemptStarted,
    Batch,
    Resolved,
    RunCompleted,
    StepCompleted,
    StepRetried,
    StepStarted,
)
from holdfast.core.lifecycle import Kind
from holdfast.core.model import ErrorInfo, State
from holdfast.wire import api, codec
from holdfast.wire.values import encode_value
from holdfast_tui.model.link import BACKOFF, DOWN, STALE, Link
from holdfast_tui.model.outline import ROOT, NodeRow, Outline
from holdfast_tui.model.run import Story
from holdfast_tui.plan import Plan, Verb
from tui.world import NOW, Trace, asking, failing, run_id, undoing


def rows(story: Story) -> list[NodeRow]:
    outline = Outline(story)
    return [outline.row(key, NOW) for key in outline.keys]


def words(story: Story) -> list[str]:
    return [f"{row.guide}{row.name} {row.state[0]}" for row in rows(story)]


def test_a_run_is_drawn_as_a_tree_with_its_failed_tries() -> None:
    story = Story(run_id(1))
    story.load(failing(run_id(1)).history())
    assert words(story) == [
        "charge-card DEAD",
        "├ validate ok",
        "├ reserve ok",
        "├▾ gather ok",
        "│ ├ quote ok",
        "│ └▾ quote#2 ok",
        "│   ├ try 1  TimeoutError fail",
        "│   └ try 2 ok",
        "└ capture FAIL",
    ]
    quote = rows(story)[5]
    assert quote.tries == 2
    assert quote.took is not None
    assert round(quote.took, 3) == 0.15


def test_a_paused_run_shows_its_waits_its_question_and_where_the_code_parted() -> None:
    story = Story(run_id(1))
    story.load(asking(run_id(1)).history())
    assert [(row.guide + row.name, row.state[0], row.about) for row in rows(story)] == [
        ("onboard", "PAUSED", "3/10 resizing"),
        ("├ reserve", "ok", ""),
        ("├ notify", "orphan", ""),
        ("├ ship", "wait", "→ 00002800"),
        ("├ for_", "wait", "until 23:23:44"),
        ("├ await", "wait", "→ token 0000TKN1  until 11-17 05:57"),
        ("├ event", "wait", "→ orders.*"),
        ("├ charge", "PAUSED", "at most once"),
        ("└ mail", "ok", "◆ another way  Δ code 9bc1ddd"),
    ]
    assert [(wait.kind, wait.key) for wait in story.waits()] == [
        ("child", "/ship#1"),
        ("sleep", "/for_#1"),
        ("token", "/await#1"),
        ("event", "/event#1"),
        ("pause", "/charge#1"),
    ]
    assert all(row.took is None for row in rows(story) if row.state[0] in ("wait", "PAUSED"))


def test_an_answer_that_is_heard_ends_the_question() -> None:
    trace, story = asking(run_id(1)), Story(run_id(1))
    story.load(trace.history())
    answer = Resolved("/charge#1", NOW, "done", "ann", encode_value(1))
    assert story.hear(Kind.IN, codec.encode(answer))
    assert [wait.kind for wait in story.waits() if wait.kind == "pause"] == []
    assert words(story)[7] == "├ charge wait"


def test_a_run_that_is_undone_shows_the_undo_below_each_step() -> None:
    story = Story(run_id(1))
    story.load(undoing(run_id(1)).history())
    assert [(row.guide + row.name, row.state[0], row.about) for row in rows(story)] == [
        ("onboard", "undo", ""),
        ("├ validate", "ok", "from 00002799"),
        ("├ quote", "ok", "from 00002799, edited"),
        ("├▾ reserve", "ok", ""),
        ("│ └ undo", "run", ""),
        ("├▾ charge", "undone", ""),
        ("│ └ undo", "ok", ""),
        ("└ ship", "FAIL", ""),
    ]
    assert [row.start for row in rows(story)[1:3]] == [None, None]


def test_a_fan_out_stands_as_its_branches_do() -> None:
    trace, story = failing(run_id(1), dead=False), Story(run_id(1))
    trace.log(StepStarted("/gather#1/quote#3", NOW))
    story.load(trace.history())
    assert words(story)[3] == "├▾ gather run"


def test_folding_hides_what_is_below_and_says_how_much() -> None:
    story = Story(run_id(1))
    story.load(failing(run_id(1)).history())
    outline = Outline(story)
    outline.fold("/gather#1")
    shown = [outline.row(key, NOW) for key in outline.keys]
    assert [f"{row.guide}{row.name}" for row in shown[3:]] == ["├▸ gather", "└ capture"]
    assert shown[3].folded == 2
    assert outline.parent("/gather#1/quote#2!1") == "/gather#1/quote#2"
    assert outline.parent("/gather#1/quote#2") == "/gather#1"
    assert outline.parent("/gather#1") == ROOT


def test_what_is_heard_before_and_after_the_history_is_taken_in_once() -> None:
    trace, story = Trace(run_id(1)), Story(run_id(1))
    trace.log(AttemptStarted(NOW, 1, "w", "n1", "item"))
    retried = trace.log(StepRetried("/a#1", NOW, 0.1, ErrorInfo("E", ""), 1, NOW + 1))
    history = trace.history()
    later = codec.encode(Batch("n1", (StepCompleted("/a#1", NOW + 1, 0.1, encode_value(1)),)))
    assert not story.hear(Kind.LOG, retried)  # in the history as well
    assert not story.hear(Kind.LOG, later)  # not in it yet
    story.load(history)
    assert words(story) == ["charge-card run", "└▾ a ok", "  ├ try 1  E fail", "  └ try 2 ok"]
    assert not story.hear(Kind.LOG, later)
    assert not story.hear(Kind.LOG, retried)
    assert story.hear(Kind.LOG, codec.encode(Batch("n1", (RunCompleted(NOW + 2, encode_value(None)),))))
    assert (story.final, story.stale) == (True, False)


def test_a_gap_is_noticed_and_the_history_read_again() -> None:
    trace, story = Trace(run_id(1)), Story(run_id(1))
    story.load(trace.history())
    missed = trace.log(AttemptStarted(NOW, 1, "w", "n1", "item"))
    heard = trace.log(StepCompleted("/a#1", NOW, 0.1, encode_value(1)))
    assert missed != heard
    story.hear(Kind.LOG, heard)
    assert story.stale
    story.load(trace.history())
    assert (story.stale, words(story)) == (False, ["charge-card run", "└ a ok"])


def test_what_a_worker_that_lost_the_run_wrote_is_not_in_the_tree() -> None:
    trace, story = Trace(run_id(1)), Story(run_id(1))
    trace.log(AttemptStarted(NOW, 1, "w", "n1", "item"))
    trace.put("log", "n0", StepCompleted("/a#1", NOW, 0.1, encode_value(1)))
    story.load(trace.history())
    assert (words(story), story.stale) == (["charge-card run"], False)


def test_a_claim_that_was_not_heard_is_noticed_by_what_its_worker_writes() -> None:
    trace, story = Trace(run_id(1)), Story(run_id(1))
    trace.log(AttemptStarted(NOW, 1, "w", "n1", "item"))
    story.load(trace.history())
    trace.log(AttemptInterrupted(NOW, "it died"))
    trace.put("log", "n2", AttemptResumed(NOW, 1, "w2", "n2", "item"))
    story.hear(Kind.LOG, trace.put("log", "n2", StepCompleted("/a#1", NOW, 0.1, encode_value(1))))
    assert (words(story), story.stale) == (["charge-card run"], True)
    story.load(trace.history())
    assert (words(story), story.stale) == (["charge-card run", "└ a ok"], False)


def test_a_gap_that_looks_legal_is_noticed_by_the_daemons_count() -> None:
    trace, story = failing(run_id(1), dead=False), Story(run_id(1))
    story.load(trace.history())
    assert story.run is not None
    row = api.RunRow(
        id=run_id(1),
        task="t",
        queue="q",
        priority=5,
        state=State.RUNNING,
        created_at=NOW,
        steps=story.run.steps,
    )
    story.compare(row)
    assert not story.stale
    story.compare(api.RunRow(**{field: getattr(row, field) for field in row.__struct_fields__} | {"steps": 99}))
    assert story.stale


def test_bytes_that_are_no_entry_are_a_gap_and_no_crash() -> None:
    story = Story(run_id(1))
    story.load(Trace(run_id(1)).history())
    assert not story.hear(Kind.LOG, b"\xc1")
    assert story.stale


def test_the_link_goes_from_live_to_stale_to_down_and_refuses_changes() -> None:
    link = Link()
    assert link.cells(NOW)[0][0] == "CONNECTING"
    link.answered(NOW, 0.01)
    assert (link.cells(NOW)[0][0], link.refusal(NOW)) == ("LIVE", "")
    link.answered(NOW, 3.2)
    assert link.cells(NOW)[0][0] == "SLOW 3.2s"
    assert link.cells(NOW + STALE + 9)[0][0] == "STALE 14s"
    assert link.refusal(NOW + STALE + 1)
    link.failed("connection refused\nmore")
    assert "connection refused" in link.refusal(NOW)
    assert link.cells(NOW + DOWN + 61)[0][0] == "DOWN 2m"
    link.answered(NOW, 0.01)
    assert link.live(NOW)


def test_attempts_to_connect_grow_further_apart_and_never_end() -> None:
    link = Link()
    pauses = [link.waits(NOW) for _ in range(10)]
    assert pauses == [*BACKOFF, 15, 15, 15, 15]


def test_a_plan_says_what_it_hits() -> None:
    plan = Plan(verb=Verb.RETRY, targets=(run_id(1), run_id(2)), hidden=1, passed=3)
    question = plan.question()
    assert question.text.startswith("Retry 2 runs from the last checkpoint?  1 hidden by the filter  00000001 00000002")
    assert "3 others" in question.text
    assert plan.answered("s").from_start
    assert plan.answered("s").command(run_id(1)) == f"holdfast runs retry {run_id(1)} --from-start"
    drop = Plan(verb=Verb.DROP, targets=(run_id(1),), what="dead letter").question()
    assert (drop.typed, drop.options[0][0]) == ("1", "y")
    assert "\x1b" not in Plan(verb=Verb.PAUSE, targets=("a\x1b[2J",), what="queue").question().text
