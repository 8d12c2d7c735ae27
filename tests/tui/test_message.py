"""What an operator tells a run: which question, token or signal is meant, what is typed, what is asked before."""

from __future__ import annotations

import pytest

from holdfast import telling
from holdfast.core.pending import OPTIONS, Wait
from holdfast_tui import message
from holdfast_tui.message import ASKED, WAYS, Message, To, Unclear
from tui.world import asking, asking_twice, run_id

RUN = run_id(2797)
CHARGE = Wait("pause", "/charge#1", asks="once")
MAIL = Wait("pause", "/gather#1/mail#2", asks="divergence")
TOKEN = Wait("token", "/await#1", "01HF8T0000000000000000TKN1")
NAMED = Wait("signal", "/for_#1", "signal:approve#1", None, "approve")


def test_the_ways_to_answer_are_those_that_the_engine_takes_in_the_order_of_their_words() -> None:
    assert set(WAYS) == set(ASKED) == set(OPTIONS)
    for asks, ways in WAYS.items():
        assert tuple(way.action for way in ways) == telling.ANSWERS[asks]
        assert len({way.letter for way in ways} - {"n", "q", "y"}) == len(ways), asks
        for way, (means, _) in zip(ways, OPTIONS[asks], strict=True):
            assert means.split()[0][0] == way.letter or f" {way.letter}" in f" {means}", "a letter of its words"


@pytest.mark.parametrize("asks", OPTIONS)
def test_a_question_and_its_answers_fit_on_a_line_of_80(asks: str) -> None:
    question = Message(run=RUN, to=To.QUESTION, name="/charge#1", asks=asks).question()
    line = " " + "  ".join(f"[{key}] {word}" for key, word in (*question.options, ("n/esc", "no")))
    assert len(line) <= 80
    assert len(question.text) <= 79


@pytest.mark.parametrize(
    ("at", "found"),
    [("/charge#1", "/charge#1"), ("/gather#1", "/gather#1/mail#2"), ("/gather#1/mail#2", "/gather#1/mail#2")],
)
def test_the_question_under_the_cursor_is_meant_or_the_one_below_it(at: str, found: str) -> None:
    assert message.answer(RUN, [CHARGE, TOKEN, MAIL], at).name == found


@pytest.mark.parametrize("at", ["", "/charge#1", "/elsewhere#1"])
def test_a_single_question_is_meant_wherever_the_cursor_is(at: str) -> None:
    asked = message.answer(RUN, [TOKEN, CHARGE, NAMED], at)
    assert (asked.run, asked.name, asked.asks) == (RUN, "/charge#1", "once")


def test_of_several_questions_none_is_guessed() -> None:
    for at in ("", "/ship#1"):
        with pytest.raises(Unclear, match="2 questions: go to one of /charge#1, /gather#1/mail#2"):
            message.answer(RUN, [CHARGE, MAIL], at)


def test_where_there_is_nothing_to_tell_it_says_so() -> None:
    with pytest.raises(Unclear, match="asks nothing"):
        message.answer(RUN, [TOKEN, NAMED], "")
    with pytest.raises(Unclear, match="waits for no token"):
        message.completion(RUN, [CHARGE, NAMED], "")


def test_a_step_that_happened_takes_its_value_and_then_a_yes() -> None:
    asked = message.answer(RUN, [CHARGE], "")
    assert asked.blank is None
    chosen = asked.answered("h")
    assert not chosen.agreed
    assert chosen.blank is not None
    filled = chosen.filled(' {"id": "ch_7"} ')
    assert (filled.blank, filled.agreed) == (None, False)
    assert '{"id": "ch_7"}' in filled.question().text
    sent = filled.answered("y")
    assert (sent.agreed, sent.action, sent.value) == (True, "done", {"id": "ch_7"})


def test_an_answer_without_a_value_needs_its_letter_only() -> None:
    sent = message.answer(RUN, [CHARGE], "").answered("r")
    assert (sent.agreed, sent.action, sent.value) == (True, "run", None)
    assert sent.outcome(1, 0, "", stopped=False) == "answered /charge#1: it did not happen: run it"


@pytest.mark.parametrize("typed", ["", "  ", "{", "nope", "NaN", "[" * 100_000])
def test_what_is_no_json_is_no_result(typed: str) -> None:
    chosen = message.answer(RUN, [CHARGE], "").answered("h")
    with pytest.raises(ValueError, match="expected JSON"):
        chosen.filled(typed)


def test_a_token_takes_its_value_and_nothing_is_null() -> None:
    asked = message.completion(RUN, [TOKEN], "")
    assert asked.name == TOKEN.id
    assert asked.filled("").value is None
    assert asked.filled("").blank is None
    assert asked.filled("[1, 2]").value == [1, 2]
    with pytest.raises(ValueError, match="expected JSON"):
        asked.filled("yes")


def test_a_signal_takes_a_name_then_a_value_and_proposes_the_one_that_is_waited_for() -> None:
    named = message.signal(RUN, [NAMED, CHARGE], "")
    assert named.blank is not None
    assert (named.blank.name, named.blank.start) == ("name", "approve")
    valued = named.filled("approve")
    assert valued.blank is not None
    assert valued.blank.name == "JSON"
    assert (valued.filled("7").value, valued.filled("7").blank) == (7, None)
    other = message.signal(RUN, [], "").blank
    assert other is not None
    assert other.start == ""
    for wrong in ("", "a/b", "a#1"):
        with pytest.raises(ValueError, match="a name without"):
            named.filled(wrong)


def test_a_refusal_is_told_with_the_run_as_lists_show_it() -> None:
    sent = message.answer(RUN, [CHARGE], "").answered("r")
    assert sent.outcome(0, 1, f"run {RUN} is not paused", stopped=False) == "refused: run 00002797 is not paused"
    assert "may have been sent" in sent.outcome(0, 0, "", stopped=True)


def test_what_comes_from_outside_is_made_visible() -> None:
    evil = Wait("pause", "/a\x1b[2J#1", asks="once")
    assert "\x1b" not in message.answer(RUN, [evil], "").question().text
    token = message.completion(RUN, [Wait("token", "", "\x1b]0;x")], "")
    assert token.blank is not None
    assert "\x1b" not in token.blank.text


def test_the_worlds_runs_ask_what_the_tests_say() -> None:
    for make, count in ((asking, 1), (asking_twice, 2)):
        view = make(RUN).view()
        assert view.row.paused, count
