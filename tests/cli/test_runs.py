"""`holdfast runs`, on a real journal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from holdfast.core.entries import (
    AttemptInterrupted,
    AttemptResumed,
    ChildTriggered,
    Progressed,
    RunDead,
    StepCompleted,
    StepRetried,
    StepStarted,
    Suspended,
    WaitStarted,
)
from holdfast.core.model import State
from holdfast.wire import api
from holdfast.wire.values import encode_value

from .conftest import AT, DECLINED, Told, completed, died, row, started

if TYPE_CHECKING:
    from .conftest import World


class Silent(Told):
    """A client whose daemon is not there."""

    async def get(self, run: str) -> api.RunView:
        raise AssertionError("the daemon was asked")


def rows_of(shop: World, *ids: str) -> None:
    """Have the daemon list these runs."""
    for id in ids:
        shop.rows.append(row(shop.do(lambda client, id=id: client.run(id).status())))  # type: ignore[misc]
    shop.rows.sort(key=lambda one: (-one.created_at, one.id))


def test_a_list_shows_whole_ids_outside_a_terminal_and_what_is_wrong(shop: World) -> None:
    rows_of(shop, shop.run(1, started(), died()))
    done = shop("runs", "list")
    assert done.code == 0
    head, line = done.out.splitlines()
    assert head.split() == ["RUN", "TASK", "STATE", "QUEUE", "TRY", "STEPS", "AGE", "TOOK", "ABOUT"]
    assert line.split()[:6] == ["01KDZ0A1B2C3D4E5F6G7H80001", "charge-card", "dead", "default", "1", "-"]
    assert line.endswith("1.00s  CardDeclined: bad currency 'XX'")


UNKNOWN = (started(), StepStarted("/charge#1", AT, once=True), AttemptInterrupted(AT + 1, "lost"))
RESUMED = AttemptResumed(AT + 2, 1, "w-08", "n")


FAR = AT + 315_576_000
"""2036-01-03 00:03:38 UTC: not due while tests run."""


def fields(out: str) -> dict[str, str]:
    """What `show` says, by name."""
    lines = [line.partition("  ") for line in out.split("\n\n")[0].splitlines()]
    return {name: value.strip() for name, _, value in lines}


def paused_run(shop: World, number: int = 1) -> str:
    pause = Suspended(AT + 2, ("pause:/charge#1",), None, "the outcome of /charge#1 is not known")
    return shop.run(number, *UNKNOWN, RESUMED, pause)


def test_a_list_says_in_words_which_runs_are_paused_and_how_far_others_are(shop: World) -> None:
    ask = paused_run(shop, 1)
    work = shop.run(2, started(), Progressed(AT, 3, 10, "resizing"))
    wait = shop.run(3, started(), Suspended(AT, ("T-7",)))
    rows_of(shop, ask, work, wait)
    lines = {line.split()[0]: line for line in shop("runs", "list").out.splitlines()[1:]}
    assert "  waiting (paused)  " in lines[ask]
    assert lines[ask].endswith("  the outcome of /charge#1 is not known")
    assert lines[work].endswith("  3/10 resizing on w-07")
    assert lines[wait].endswith("  token T-7")


def test_an_operator_asks_for_what_is_paused_forked_or_waits(shop: World) -> None:
    assert shop("runs", "list", "--paused", "--origin", "01K", "--code", "3f2a", "--waits", "T-7").code == 0
    (query,) = shop.asked
    assert (query.paused, query.origin, query.code, query.waits) == (True, "01K", "3f2a", "T-7")


def test_a_paused_run_is_shown_with_the_commands_that_answer(shop: World) -> None:
    id = paused_run(shop)
    out = shop("runs", "show", "0001").out
    assert (fields(out)["state"], fields(out)["paused"]) == (
        "waiting (paused)",
        "the outcome of /charge#1 is not known",
    )
    assert out.endswith(
        f"""
/charge#1: it happened, with this result
  holdfast runs resolve {id} '/charge#1' --done JSON

/charge#1: it did not happen: run it
  holdfast runs resolve {id} '/charge#1' --not-done
"""
    )


def test_a_waiting_run_is_shown_with_ids_and_ends(shop: World) -> None:
    event = WaitStarted("/event#1", AT, "E-1", "event", None, "orders.*", b"\x81\xa2id\x07")
    shop.run(1, started(), event, Suspended(AT, ("T-7", "E-1"), FAR))
    lines = shop("runs", "show", "0001").out.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("WAITS FOR"))
    assert [line.split() for line in lines[head:]] == [
        ["WAITS", "FOR", "AT", "ID", "WHAT", "UNTIL"],
        ["event", "/event#1", "E-1", "orders.*", '{"id":7}', "-"],
        ["token", "T-7", "-"],
    ]
    assert fields("\n".join(lines))["due"] == "2036-01-03 00:03:38Z"


def test_a_run_that_compensates_says_how_it_will_end(shop: World) -> None:
    shop.run(1, started(), StepCompleted("/a#1", AT, 0.1, b"\x01", b"u"), RunDead(AT + 1, DECLINED, "attempts used up"))
    out = shop("runs", "show", "0001").out
    assert fields(out)["ending"] == "dead when its undos have run"


def test_the_tree_of_a_waiting_run_names_tokens_whole(shop: World) -> None:
    token = "01KT0000000000000000TOKEN1"
    waits = (WaitStarted("/await#1", AT, token, "token", FAR), ChildTriggered("/pack#1", AT, "C-1", "pack"))
    shop.run(1, started(), *waits, Suspended(AT, (token, "C-1"), FAR))
    lines = shop("runs", "tree", "0001").out.splitlines()
    assert any(line.startswith("├ await → token 00TOKEN1") for line in lines)
    assert lines[-3:] == [
        "waits for",
        f"  /await#1  token  {token}  until 2036-01-03 00:03:38Z",
        "  /pack#1   child  C-1",
    ]


def test_a_list_of_many_turns_the_pages(shop: World) -> None:
    shop.rows = [
        api.RunRow(id=f"{n:026}", task="t", queue="q", priority=5, state=State.QUEUED, created_at=AT - n)
        for n in range(1500)
    ]
    done = shop("runs", "list", "--json", "--limit", "1200")
    assert [json.loads(line)["id"] for line in done.out.splitlines()] == [f"{n:026}" for n in range(1200)]
    assert [query.limit for query in shop.asked] == [1000, 200]
    assert [query.before for query in shop.asked] == [None, (AT - 999, f"{999:026}")]


def test_a_filter_is_read_as_in_the_desk_and_what_is_wrong_is_said_with_its_place(shop: World) -> None:
    assert shop("runs", "list", "--filter", "state:dead,fail took:>2s -x word", "--queue", "q").code == 0
    asked = shop.asked[-1]
    assert isinstance(asked, api.RunsQuery)
    assert (asked.states, asked.took_least) == ((State.FAILED, State.DEAD), 2.0)
    assert (asked.without, asked.words, asked.queue) == (("x",), ("word",), "q")
    wrong = shop("runs", "list", "--filter", "word took:2s")
    assert wrong.code == 2
    assert "--filter: expected longer or shorter than how long, like" in wrong.err
    assert 'found 2s, at "took:2s"' in wrong.err
    twice = shop("runs", "list", "--filter", "queue:a", "--queue", "b")
    assert twice.code == 2
    assert "expected queue either there or as an option, found both" in twice.err


def test_the_filters_of_a_list_are_asked_of_the_daemon(shop: World) -> None:
    done = shop(
        "runs", "list", "--state", "dead", "-s", "failed", "--task", "a", "-t", "b", "--queue", "q", "--tag", "eu",
        "--since", "1h", "-n", "7",
    )  # fmt: skip
    assert (done.code, done.out, done.err) == (0, "", "no run matches\n")
    (query,) = shop.asked
    assert (query.states, query.tasks) == ((State.DEAD, State.FAILED), ("a", "b"))
    assert (query.queue, query.tag, query.limit) == ("q", "eu", 7)
    assert query.since is not None


def test_a_list_in_another_order_goes_on_behind_what_it_is_ordered_by(shop: World) -> None:
    shop.rows = [
        api.RunRow(
            id=f"{n:026}", task="t", queue="q", priority=5, state=State.DEAD, created_at=AT - n,
            started_at=AT, finished_at=AT + 2.5,
        )
        for n in range(1000)
    ]  # fmt: skip
    done = shop("runs", "list", "--order", "took", "--ascending", "-e", "HTTP 410", "--error", "gone", "-n", "1001")
    assert done.code == 0
    first = shop.asked[0]
    assert (first.order, first.descending, first.errors) == (api.RunsOrder.TOOK, False, ("HTTP 410", "gone"))
    shop.asked.clear()
    shop.rows = [*shop.rows, shop.rows[-1]]
    shop("runs", "list", "--order", "attempts", "-n", "1001")
    assert [query.before for query in shop.asked] == [None, (0, f"{999:026}")]
    wrong = shop("runs", "list", "--order", "beauty")
    assert wrong.code == 2
    assert "'took'" in wrong.err


def test_a_run_is_shown_with_payload_and_error(shop: World) -> None:
    id = shop.run(1, started(), died())
    done = shop("runs", "show", "0001")
    assert done.code == 0
    assert done.out.splitlines()[:4] == [
        f"run       {id}",
        "task      charge-card",
        "state     dead",
        "reason    attempts used up",
    ]
    assert '\npayload\n  {\n    "order": 1\n  }\n' in done.out
    assert done.out.endswith(
        "\nerror\n    File \"payments.py\", line 212, in capture\n  payments.CardDeclined: bad currency 'XX'\n"
    )


def test_a_run_shown_as_json_holds_its_payload_as_json(shop: World) -> None:
    id = shop.run(1, started(), died())
    found = json.loads(shop("runs", "show", id, "--json").out)
    assert found["row"]["id"] == id
    assert found["row"]["state"] == "dead"
    assert found["row"]["started_at"] == "2026-01-02T12:03:38.120Z"
    assert found["payload"] == {"order": 1}
    assert found["result"] is None
    assert found["error"]["message"] == "bad currency 'XX'"


def test_a_part_that_names_no_run_fails(shop: World) -> None:
    done = shop("runs", "show", "NOPE")
    assert (done.code, done.out, done.err) == (1, "", "holdfast: no run NOPE: found 0\n")


def test_the_tree_is_drawn(shop: World) -> None:
    shop.run(1, started(), StepCompleted("/reserve#1", AT + 0.5, 0.25, encode_value(1)), completed("ok"))
    lines = shop("runs", "tree", "0001").out.splitlines()
    assert lines[0] == "charge-card  completed  01KDZ0A1B2C3D4E5F6G7H80001"
    assert lines[3] == "attempt 1  w-07  12:03:38.120    1.00s  completed"
    assert lines[7].split()[:5] == ["└", "reserve", "ok", "+0.25", "250ms"]


def test_what_a_worker_that_lost_the_run_wrote_is_in_its_history_but_not_in_its_tree(shop: World) -> None:
    id = shop.run(1, started())
    late = StepCompleted("/reserve#1", AT + 0.5, 0.25, encode_value(1))
    shop.do(lambda client: client.journal.append(id, 2, "zombie", [late]))
    assert shop("runs", "tree", id, "--json").out == ""
    assert shop("runs", "history", id).out.splitlines()[-1].split()[2:4] == ["StepCompleted", "/reserve#1"]


def test_the_tree_as_json_has_a_node_a_line(shop: World) -> None:
    failed = StepRetried("/a#1/b#1", AT, 0.1, DECLINED, 1, AT + 1)
    shop.run(1, started(), failed, StepCompleted("/a#1/b#1", AT, 0.1, encode_value({"x": 1})))
    first, second = (json.loads(line) for line in shop("runs", "tree", "0001", "--json").out.splitlines())
    assert (first["depth"], first["key"], second["depth"], second["key"]) == (0, "/a#1", 1, "/a#1/b#1")
    assert (second["name"], second["state"], second["value"]) == ("b", "ok", {"x": 1})
    assert second["tries"][0]["at"] == "2026-01-02T12:03:38.120Z"
    assert "children" not in second


def test_the_history_is_the_journal_entry_by_entry(shop: World) -> None:
    shop.run(
        1, started(), StepCompleted("/reserve#1", AT + 0.5, 0.25, encode_value({"hold": "h\x1b[2J"})), completed("ok")
    )
    created, *lines = shop("runs", "history", "01KDZ0A1B2C3D4E5F6G7H80001").out.splitlines()
    assert created.endswith('RunCreated          charge-card on default  priority 5  from cli  {"order":1}')
    assert lines == [
        "2  12:03:38.120  AttemptStarted      attempt 1 by w-07",
        '2  12:03:38.620  StepCompleted       /reserve#1  250ms  {"hold":"h\\u001b[2J"}',
        '2  12:03:39.120  RunCompleted        "ok"',
    ]


def test_the_history_as_json_has_the_entrys_fields(shop: World) -> None:
    shop.run(1, started(), completed({"n": 1}))
    lines = shop("runs", "history", "01KDZ0A1B2C3D4E5F6G7H80001", "--json").out.splitlines()
    assert json.loads(lines[-1]) == {
        "seq": 2,
        "time": "2026-01-02T12:03:38.120Z",
        "kind": "log",
        "writer": "n",
        "entry": "RunCompleted",
        "at": "2026-01-02T12:03:39.120Z",
        "result": {"n": 1},
    }


@pytest.mark.parametrize(("end", "code", "word"), [(completed("ok"), 0, "completed"), (died(), 1, "dead")])
def test_watching_prints_to_the_end_and_tells_how_it_ended(shop: World, end: object, code: int, word: str) -> None:
    id = shop.run(1, started(), end)  # type: ignore[arg-type]
    done = shop("runs", "watch", id)
    assert (done.code, done.err) == (code, "")
    lines = done.out.splitlines()
    assert [line.split()[1] for line in lines[:-1]] == ["RunCreated", "AttemptStarted", type(end).__name__]
    assert lines[-1] == f"{id}  {word}"


def test_watching_as_json_prints_entries_only(shop: World) -> None:
    id = shop.run(1, started(), completed("ok"))
    lines = [json.loads(line) for line in shop("runs", "watch", id, "--json").out.splitlines()]
    assert [line["entry"] for line in lines] == ["RunCreated", "AttemptStarted", "RunCompleted"]


def test_watching_a_run_that_is_not_there_fails_at_once(shop: World) -> None:
    done = shop("runs", "watch", "01KDZ0A1B2C3D4E5F6G7H89999")
    assert done.code == 1
    assert done.err.startswith("holdfast: no run 01KDZ0A1B2C3D4E5F6G7H89999 in project shop")


def test_cancelling_needs_no_daemon_for_a_whole_id(shop: World) -> None:
    id = shop.run(1)
    shop.client = Silent
    assert shop("runs", "cancel", id.lower(), "--reason", "not needed") == (0, f"{id}  cancelled\n", "")
    assert shop.state(id) == "cancelled"


def test_cancelling_a_running_run_asks_its_worker(shop: World) -> None:
    id = shop.run(1, started())
    assert shop("runs", "cancel", "0001").out == f"{id}  running, asked to end\n"
    done = shop("runs", "cancel", "0001", "--json")
    assert json.loads(done.out) == {"run": id, "state": "running", "cancel_requested": True}


def test_cancelling_an_ended_run_is_refused(shop: World) -> None:
    id = shop.run(1, started(), completed(1))
    done = shop("runs", "cancel", "0001")
    assert (done.code, done.err) == (
        1,
        f"holdfast: run {id} has ended completed: only a live run can be cancelled\n",
    )


def test_a_retried_run_goes_on_behind_its_checkpoint_with_another_payload(shop: World) -> None:
    id = shop.run(1, started(), StepCompleted("/a#1", AT, 0.1, encode_value(1)), died())
    done = shop("runs", "retry", "0001", "--payload", '{"order": 2}')
    assert done == (0, f"{id}  queued\n", "")
    run = shop.do(lambda client: client.run(id).status())
    assert (run.steps, run.payload) == (1, encode_value({"order": 2}))


def test_a_run_retried_from_the_start_forgets_its_steps(shop: World) -> None:
    id = shop.run(1, started(), StepCompleted("/a#1", AT, 0.1, encode_value(1)), died())
    assert json.loads(shop("runs", "retry", id, "--from-start", "--json").out) == {"run": id, "state": "queued"}
    assert shop.do(lambda client: client.run(id).status()).steps == 0


def test_a_bad_payload_changes_nothing(shop: World) -> None:
    id = shop.run(1, started(), died())
    done = shop("runs", "retry", id, "--payload", "[1]")
    assert done.code == 2
    assert done.err == (
        'holdfast: --payload: expected an object of arguments by name like {"order_id": 1}, found a list\n'
    )
    assert shop.state(id) == "dead"
