"""What an operator does to one run from its screen: each action and each refusal, with real keys."""

from __future__ import annotations

import pytest

from holdfast.core.entries import AttemptStarted, Resolved, StepCompleted, WaitStarted
from holdfast.core.lifecycle import Kind
from holdfast.core.model import State
from holdfast.wire import codec
from holdfast.wire.values import encode_value
from holdfast_tui import keys
from holdfast_tui.router import Mode
from holdfast_tui.screens.run import RunTree
from tui.desks import Bench, bench
from tui.test_flows import until
from tui.world import NOW, FakeClient, Trace, failing, questions, queue, run_id, runs, undos_lost

PAUSED, TWICE, UNDO, TIMED_OUT, UNDOING, DEAD = map(run_id, (2797, 2796, 2795, 2794, 2798, 2895))
TOKEN = "01HF8T0000000000000000TKN1"


async def opened(desk: Bench, run: str) -> None:
    desk.app.open_run(run)
    await desk.settle()


def last(desk: Bench) -> list[str]:
    """Rows 23 and 24."""
    return desk.text.splitlines()[-2:]


async def test_a_step_that_happened_is_answered_with_its_result() -> None:
    async with bench() as desk:
        await opened(desk, PAUSED)
        await desk.press("A")
        asked, ways = last(desk)
        assert "00002797 /charge#1: it began and its outcome is not known: did it happen?" in asked
        assert "[h] it happened, with this result  [r] it did not happen: run it  [n/esc] no" in ways
        await desk.press("h")
        assert "what the step returned, as JSON" in last(desk)[0]
        await desk.press(*'{"id":', "space", *'"ch_7"}', "enter")
        assert desk.client.changed == []
        assert 'it happened, with {"id": "ch_7"}?' in last(desk)[0]
        await desk.press("enter", "h")
        assert desk.client.changed == []
        await desk.press("y")
        assert desk.client.changed == [("resolve", PAUSED, "/charge#1", "done", {"id": "ch_7"})]
        assert "answered /charge#1: it happened, with this result" in last(desk)[0]


async def test_a_result_that_is_no_json_stays_to_be_mended_and_escape_sends_nothing() -> None:
    async with bench() as desk:
        await opened(desk, PAUSED)
        await desk.press("A", "h", *"{oops", "enter")
        assert "expected JSON, found {oops" in last(desk)[0]
        assert "JSON> {oops" in last(desk)[1]
        await desk.press("backspace")
        assert "what the step returned" in last(desk)[0]
        await desk.press("ctrl+u", "enter")
        assert "expected JSON, found nothing" in last(desk)[0]
        await desk.press("escape")
        assert "nothing was sent" in last(desk)[0]
        assert desk.page.state.mode is Mode.NORMAL
        await desk.press("A", "h", *"1", "enter", "n")
        assert (desk.client.changed, desk.page.plan) == ([], None)


async def test_long_json_is_shown_by_its_end() -> None:
    async with bench() as desk:
        await opened(desk, PAUSED)
        await desk.press("A", "h", *("[" + "1," * 60 + "2]"))
        assert "JSON> …" in last(desk)[1]
        assert "1,1,2]▏" in last(desk)[1]


async def test_a_step_that_did_not_happen_runs_and_the_run_is_heard_to_go_on() -> None:
    async with bench() as desk:
        await opened(desk, PAUSED)
        await desk.press("A", "r")
        assert desk.client.changed == [("resolve", PAUSED, "/charge#1", "run", None)]
        assert "answered /charge#1: it did not happen: run it" in last(desk)[0]
        answered = Resolved("/charge#1", NOW, "run", "tui")
        desk.client.bus.tell(PAUSED, codec.encode(answered), Kind.IN)
        await desk.later(1)
        assert "A answer" not in last(desk)[1]
        await desk.press("A")
        assert "it asks nothing" in last(desk)[0]


async def test_what_was_meant_at_the_key_press_is_sent_whatever_the_run_asks_meanwhile() -> None:
    async with bench() as desk:
        await opened(desk, TWICE)
        await desk.press("down", "down", "A")
        assert "/charge#1" in last(desk)[0]
        trace = desk.client.traces[TWICE]
        trace.log(AttemptStarted(NOW, 1, "w-03", "n1", "item"), StepCompleted("/charge#1", NOW, 0.1, encode_value(1)))
        for call in desk.client.bus.returned:
            call()
        await desk.later(1)
        await desk.press("r")
        assert desk.client.changed == [("resolve", TWICE, "/charge#1", "run", None)]


async def test_of_two_questions_the_one_under_the_cursor_is_answered() -> None:
    async with bench() as desk:
        await opened(desk, TWICE)
        await desk.press("A")
        assert "2 questions: go to one of /charge#1, /mail#2" in last(desk)[0]
        await desk.press("G", "A")
        asked, ways = last(desk)
        assert "/mail#2: the code took another way than the journal: which one?" in asked
        assert "[g] go on the new way  [l] look again, with the code of now" in ways
        await desk.press("g")
        assert desk.client.changed == [("resolve", TWICE, "/mail#2", "accept", None)]
        await desk.press("A", "l")
        assert desk.client.changed[1:] == [("resolve", TWICE, "/mail#2", "run", None)]


@pytest.mark.parametrize(("letter", "action"), [("r", "run"), ("c", "skip")])
async def test_an_undo_that_failed_runs_again_or_counts_as_done(letter: str, action: str) -> None:
    async with bench() as desk:
        await opened(desk, UNDO)
        await desk.press("down", "A")
        assert "/reserve#1/undo: the undo failed: what now?" in last(desk)[0]
        await desk.press(letter)
        assert desk.client.changed == [("resolve", UNDO, "/reserve#1/undo", action, None)]


async def test_undos_that_took_down_their_workers_run_again() -> None:
    client = FakeClient()
    client.traces[UNDO] = undos_lost(UNDO)
    async with bench(client) as desk:
        await opened(desk, UNDO)
        await desk.press("A")
        assert "its undos took down their workers" in last(desk)[0]
        await desk.press("r")
        assert client.changed == [("resolve", UNDO, "compensation", "run", None)]


async def test_a_refused_answer_says_why() -> None:
    client = FakeClient()
    client.refuse[PAUSED] = f"run {PAUSED} is not paused at /charge#1: it is queued and asks nothing"
    async with bench(client) as desk:
        await opened(desk, PAUSED)
        await desk.press("A", "r")
        assert "refused: run 00002797 is not paused at /charge#1" in last(desk)[0]
        assert client.changed == []


async def test_an_answer_without_an_answer_may_have_arrived() -> None:
    async with bench() as desk:
        await opened(desk, PAUSED)
        desk.client.silent = True
        await desk.press("A", "r")
        assert "no answer, it may have been told: no answer within 5 s" in last(desk)[0]


async def test_a_kill_without_an_answer_may_be_done() -> None:
    async with bench() as desk:
        await opened(desk, PAUSED)
        desk.client.silent = True
        await desk.press("K", *"00002797", "enter")
        assert "0 killed, 1 refused or not answered, it may be done: no answer within 5 s" in last(desk)[0]


async def test_a_lost_link_between_question_and_answer_sends_nothing() -> None:
    async with bench() as desk:
        await opened(desk, PAUSED)
        await desk.press("A", "h", "1", "enter")
        desk.client.bus.connected = False
        await desk.later(10)
        await desk.press("y")
        assert "no link to the server" in last(desk)[0]
        desk.client.bus.connected = True
        assert desk.client.changed == []
        await desk.later(1)
        desk.client.bus.connected = False
        await desk.later(10)
        await desk.press("A")
        assert "A is off: no link" in last(desk)[0]


async def test_a_token_is_completed_with_a_value() -> None:
    async with bench() as desk:
        await opened(desk, PAUSED)
        await desk.press(*["down"] * 5, "T")
        assert f"The value of token {TOKEN}, as JSON" in last(desk)[0]
        await desk.press(*"true", "enter")
        assert "Complete token 0000TKN1 with true?" in last(desk)[0]
        await desk.press("y")
        assert desk.client.changed == [("complete", TOKEN, True)]
        assert "token 0000TKN1 completed" in last(desk)[0]


async def test_a_token_that_was_made_and_is_not_awaited_yet_is_completed_where_the_cursor_is() -> None:
    client = FakeClient()
    trace = client.traces[PAUSED] = Trace(PAUSED)
    trace.log(AttemptStarted(NOW - 9, 1, "w", "n1", "i"), WaitStarted("/token#1", NOW - 8, "T-1", "issued"))
    async with bench(client) as desk:
        await opened(desk, PAUSED)
        await desk.press("T")
        assert "it waits for no token" in last(desk)[0]
        await desk.press("G", "T", "enter", "y")
        assert client.changed == [("complete", "T-1", None)]


async def test_a_token_that_is_taken_is_refused() -> None:
    client = FakeClient()
    client.refuse[TOKEN] = "token was completed by ana; it is completed only once, so this changed nothing"
    async with bench(client) as desk:
        await opened(desk, PAUSED)
        await desk.press("T", *"1", "enter", "y")
        assert "refused: token was completed by ana" in last(desk)[0]
        await opened(desk, DEAD)
        await desk.press("T")
        assert "the run is DEAD: it waits for no token" in last(desk)[0]


async def test_a_signal_is_sent_with_the_name_that_is_waited_for_proposed() -> None:
    async with bench() as desk:
        await opened(desk, TWICE)
        await desk.press("S")
        assert "name> approve" in last(desk)[1]
        await desk.press("enter", "7", "enter")
        assert "Send 00002796 signal approve with 7?" in last(desk)[0]
        await desk.press("y")
        assert desk.client.changed == [("signal", TWICE, "approve", 7)]
        assert "signal approve sent to run 00002796" in last(desk)[0]
        await desk.press("S", "ctrl+u", *"a/b", "enter")
        assert "expected a name without" in last(desk)[0]
        await desk.press("ctrl+u", *"stop", "enter", "enter", "y")
        assert desk.client.changed[1:] == [("signal", TWICE, "stop", None)]


@pytest.mark.parametrize(("run", "word"), [(DEAD, "DEAD"), (UNDOING, "undo")])
async def test_a_run_whose_code_has_ended_takes_no_signal(run: str, word: str) -> None:
    async with bench() as desk:
        await opened(desk, run)
        await desk.press("S")
        assert f"the run is {word}: its code takes no signals any more" in last(desk)[0]


async def test_a_kill_takes_the_runs_id_and_nothing_else() -> None:
    async with bench() as desk:
        await opened(desk, PAUSED)
        await desk.press("K")
        assert "KILL run 00002797: it ends now, without cleanup, without undos" in last(desk)[0]
        await desk.press("y", "enter")
        assert desk.client.changed == []
        await desk.press("backspace", *"00002797", "enter")
        assert desk.client.changed == [("kill", PAUSED)]
        assert "1 killed" in last(desk)[0]


async def test_what_undoes_its_steps_cannot_be_cancelled_but_killed_and_what_has_ended_neither() -> None:
    async with bench() as desk:
        await opened(desk, UNDOING)
        await desk.press("C")
        assert "it can only be killed (K)" in last(desk)[0]
        await desk.press("K", *"00002798", "enter")
        assert desk.client.changed == [("kill", UNDOING)]
        await opened(desk, DEAD)
        for key in "KC":
            await desk.press(key)
            assert "the run is DEAD: only a live run can be" in last(desk)[0]


async def test_a_replay_makes_a_new_run_and_goes_there_even_before_the_daemon_knows_it() -> None:
    async with bench() as desk:
        await opened(desk, DEAD)
        await desk.press("B")
        assert "Begin 00002895 again as a new run: its payload, from the start, today's code?" in last(desk)[0]
        await desk.press("y")
        assert desk.client.changed == [("replay", DEAD)]
        page = desk.page
        assert isinstance(page, RunTree)
        assert page.story.id == run_id(9999)
        assert "this is a new run, made from 00002895" in last(desk)[0]
        assert "Reading run" in desk.text
        desk.client.traces[run_id(9999)] = failing(run_id(9999), dead=False)
        await desk.later(1)
        await until(desk, "└ capture")
        await desk.press("q")
        assert "Runs > 00002895" in desk.text


async def test_a_new_run_that_never_comes_is_missing_in_the_end() -> None:
    async with bench() as desk:
        desk.app.open_made(run_id(9999), of=DEAD)
        await desk.settle()
        assert "no run" not in desk.text
        await desk.later(11)
        assert f"no run {run_id(9999)}" in desk.text


async def test_a_refused_replay_goes_nowhere() -> None:
    client = FakeClient()
    client.refuse[DEAD] = "no run in project demo"
    async with bench(client) as desk:
        await opened(desk, DEAD)
        await desk.press("B", "y")
        assert "0 replayed, 1 refused: no run in project demo" in last(desk)[0]
        assert "Runs > 00002895" in desk.text


async def test_a_run_whose_time_was_up_is_retried() -> None:
    async with bench() as desk:
        await opened(desk, TIMED_OUT)
        assert "R retry" in last(desk)[1]
        await desk.press("R", "y")
        assert desk.client.changed == [("retry", TIMED_OUT, False)]


async def test_a_run_that_is_not_read_yet_is_not_changed() -> None:
    async with bench(FakeClient(full=False)) as desk:
        await opened(desk, PAUSED)
        for key in "ATSKBRC":
            await desk.press(key)
            assert desk.page.state.mode is Mode.NORMAL
            assert last(desk)[0].strip() == "the run is not read yet"


async def test_read_only_takes_the_answers_away_and_says_why() -> None:
    async with bench(read_only=True) as desk:
        await opened(desk, PAUSED)
        assert "A answer" not in last(desk)[1]
        for key in "ATSKB":
            await desk.press(key)
            assert f"{key} is off: read-only session" in last(desk)[0]
        desk.app.command("answer")
        await desk.settle()
        assert "read-only session" in last(desk)[0]
        await desk.press("?", "pagedown", "pagedown")
        assert "off: read-only session" in desk.text


async def test_the_commands_do_what_the_keys_do() -> None:
    async with bench() as desk:
        await opened(desk, PAUSED)
        await desk.press(":", *"ans", "tab", "enter")
        assert "did it happen?" in last(desk)[0]
        await desk.press("n", ":", *"kill", "space", "x", "enter")
        assert "expected a run that a list has shown, or its whole id, found x" in last(desk)[0]
        await desk.press("2", ":", *"kill", "enter")
        assert ":kill is not for this screen: run" in last(desk)[0]
        assert desk.client.changed == []


async def test_the_help_knows_what_can_be_done_to_a_run() -> None:
    async with bench() as desk:
        await opened(desk, PAUSED)
        await desk.press("?")
        for label in ("answer what a run asks", "complete a token", "send a signal", "kill: now", "begin again"):
            assert label in desk.text


async def test_paused_runs_are_marked_in_words_and_found_by_is_paused() -> None:
    client = FakeClient()
    client.run_rows = [*questions(), *runs()]
    async with bench(client) as desk:
        await desk.press("2")
        assert "PAUSED 00002950 charge-card" in desk.text
        assert "PAUSED 00002949 onboard" in desk.text
        assert "3/10 resizing" in desk.text
        assert "signal approve" in desk.text
        await desk.press("/", *"is:paused", "enter")
        await until(desk, "2 runs")
        assert client.asked[-1].paused
        assert "00002950" in desk.text
        assert "00002948" not in desk.text
        await desk.press("enter")
        assert desk.kind == keys.RUN


async def test_the_runs_list_does_not_cancel_what_undoes_its_steps() -> None:
    client = FakeClient()
    client.run_rows = [row for row in questions() if row.state is State.COMPENSATING]
    async with bench(client) as desk:
        await desk.press("2", "C")
        assert "in no state to cancel" in last(desk)[0]


async def test_queues_count_paused_and_undoing_runs_where_there_are_any() -> None:
    client = FakeClient()
    async with bench(client) as desk:
        assert "UNDO" not in desk.text
        client.queue_rows = [queue("billing", paused_runs=3, compensating=1), queue("emails")]
        await desk.later(4)
        head, billing, emails = desk.text.splitlines()[2:5]
        assert head.split()[-3:] == ["UNDO", "PAUSED", "DEAD"]
        assert billing.split()[-3:] == ["1", "3", "0"]
        assert emails.split()[-2:] != ["0", "0"]
        assert "1 undoing  3 paused runs" in desk.text
        client.queue_rows = [queue("billing", compensating=1)]
        await desk.later(4)
        assert desk.text.splitlines()[2].split()[-2:] == ["UNDO", "DEAD"]
