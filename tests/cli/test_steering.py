"""`holdfast runs` cancel, complete, signal, resolve, query: on a real journal."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.client import Client
from holdfast.core.entries import (
    Entry,
    Resolved,
    Signalled,
    StepStarted,
    Suspended,
    TokenCompleted,
    WaitStarted,
)
from holdfast.core.model import Run
from holdfast.errors import RunStateError
from holdfast.wire.values import decode_value

from .conftest import AT, completed, died, started

if TYPE_CHECKING:
    from .conftest import World


def waiting(shop: World, number: int, *waits: str, before: tuple[Entry, ...] = (), paused: str = "") -> str:
    return shop.run(number, started(), *before, Suspended(AT, waits, None, paused))


def told(shop: World, id: str, kind: type[Any]) -> list[Any]:
    async def look(client: Client) -> list[Any]:
        messages = await client.journal.messages(id)
        return [entry for _, record in messages for entry in record.entries if isinstance(entry, kind)]

    return shop.do(look)


def token_of(number: int) -> str:
    return f"01KDZ0A1B2C3D4E5F6G7H8{number:04}-a1b2"


def asking(shop: World, number: int = 1) -> str:
    """A run that waits for a token."""
    token = token_of(number)
    before = (WaitStarted("/token#1", AT, token, "issued"), WaitStarted("/completion#1", AT, token, "token"))
    return waiting(shop, number, token, before=before)


# --- complete -------------------------------------------------------------------------------------------------------


def test_a_token_is_completed_with_json_and_the_run_goes_on(shop: World) -> None:
    id = asking(shop)
    done = shop("runs", "complete", token_of(1), '{"ok": true}')
    assert done == (0, f"{id}  queued\n", "")
    (entry,) = told(shop, id, TokenCompleted)
    assert (decode_value(entry.value), entry.by) == ({"ok": True}, "cli")


def test_a_token_is_completed_with_nothing_or_an_error(shop: World) -> None:
    for number, args in ((1, ()), (2, ("--error", "not today"))):
        id = asking(shop, number)
        assert shop("runs", "complete", token_of(number), *args, "--json").out == f'{{"run":"{id}","state":"queued"}}\n'
    assert decode_value(told(shop, asking_id(1), TokenCompleted)[0].value) is None
    assert told(shop, asking_id(2), TokenCompleted)[0].error.message == "not today"


def asking_id(number: int) -> str:
    return token_of(number).partition("-")[0]


def test_a_value_may_come_from_stdin(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    id = asking(shop)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"[1]")))
    assert shop("runs", "complete", token_of(1), "-").code == 0
    assert decode_value(told(shop, id, TokenCompleted)[0].value) == [1]


def test_a_second_completion_fails_and_says_who_was_first(shop: World) -> None:
    asking(shop)
    shop("runs", "complete", token_of(1))
    done = shop("runs", "complete", token_of(1), "2")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"holdfast: token {token_of(1)} was completed by cli at 20")


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("nothing",), 1, "expected the id of a token that a run has asked for"),
        ((token_of(1), "{"), 2, "value: expected JSON"),
        ((token_of(1), "1", "--error", "x"), 2, "expected a value or --error, found both"),
        ((), 2, "Missing argument"),
    ],
)
def test_wrong_completions_are_explained_in_a_line(shop: World, args: tuple[str, ...], code: int, says: str) -> None:
    id = asking(shop)
    done = shop("runs", "complete", *args)
    assert (done.code, done.out) == (code, "")
    assert says in done.err
    assert done.err.count("\n") == 1
    assert told(shop, id, TokenCompleted) == []


# --- signal ---------------------------------------------------------------------------------------------------------


def test_a_signal_is_sent_with_its_value(shop: World) -> None:
    id = waiting(shop, 1, "signal:go#1")
    assert shop("runs", "signal", id, "go", '{"n": 1}') == (0, f"{id}  queued\n", "")
    (entry,) = told(shop, id, Signalled)
    assert (entry.name, decode_value(entry.value), entry.by) == ("go", {"n": 1}, "cli")


def test_a_signal_for_a_finished_run_fails_naming_its_state(shop: World) -> None:
    id = shop.run(1, started(), completed(1))
    done = shop("runs", "signal", id, "go")
    assert (done.code, done.err) == (1, f"holdfast: signal 'go' was not sent: run {id} has ended completed\n")


# --- resolve --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "args", "action", "value"),
    [
        ("/pay#1", ("--done", '{"id": 7}'), "done", {"id": 7}),
        ("/pay#1", ("--not-done",), "run", None),
        ("/pay#1/undo", ("--run-again",), "run", None),
        ("/pay#1/undo", ("--skip",), "skip", None),
        ("/new#1", ("--accept",), "accept", None),
        ("/new#1", ("--retry",), "run", None),
        ("compensation", ("--run-again",), "run", None),
    ],
)
def test_an_answer_becomes_its_action(shop: World, key: str, args: tuple[str, ...], action: str, value: object) -> None:
    before = (StepStarted("/pay#1", AT, once=True),) if key == "/pay#1" else ()
    id = waiting(shop, 1, f"pause:{key}", before=before, paused="why")
    assert shop("runs", "resolve", id, key, *args) == (0, f"{id}  queued\n", "")
    (entry,) = told(shop, id, Resolved)
    assert (entry.key, entry.action, entry.by) == (key, action, "cli")
    assert (entry.value is None) is (action != "done")
    assert entry.value is None or decode_value(entry.value) == value


def test_the_key_may_be_left_out_where_there_is_one_question(shop: World) -> None:
    id = waiting(shop, 1, "pause:/new#1", token_of(1), paused="why")
    assert shop("runs", "resolve", id, "--accept").code == 0
    assert told(shop, id, Resolved)[0].key == "/new#1"


@pytest.mark.parametrize(
    ("waits", "args", "code", "says"),
    [
        (("pause:/a#1", "pause:/b#1"), ("--accept",), 2, "asks 2 questions: name one of /a#1, /b#1"),
        ((token_of(1),), ("--accept",), 1, "is not paused: it is waiting and asks nothing"),
        (("pause:/a#1",), ("/b#1", "--accept"), 1, "is not paused at /b#1: it asks about /a#1 (why)"),
        (("pause:/a#1",), ("--skip",), 1, "the answers are --accept (go on the new way); --retry"),
        (("pause:/a#1",), ("--run-again",), 1, "found '--run-again': the answers are --accept"),
        (("pause:/a#1/undo",), ("--done", "1"), 1, "an undo that failed, found '--done'"),
        (("pause:/a#1/undo",), ("--not-done",), 1, "an undo that failed, found '--not-done'"),
        (("pause:/a#1",), (), 2, "expected one answer of --done JSON, --not-done"),
        (("pause:/a#1",), ("--skip", "--accept"), 2, "found --skip and --accept"),
        (("pause:/a#1",), ("--done", "{"), 2, "--done: expected JSON"),
    ],
)
def test_wrong_answers_are_explained(
    shop: World, waits: tuple[str, ...], args: tuple[str, ...], code: int, says: str
) -> None:
    id = waiting(shop, 1, *waits, paused="why")
    done = shop("runs", "resolve", id, *args)
    assert (done.code, done.out) == (code, "")
    assert says in done.err
    assert told(shop, id, Resolved) == []


# --- cancel, query --------------------------------------------------------------------------------------------------


def test_a_killed_run_is_cancelled_at_once(shop: World) -> None:
    id = shop.run(1, started())
    assert shop("runs", "cancel", id).out == f"{id}  running, asked to end\n"
    assert shop("runs", "cancel", id, "--kill", "--reason", "stuck") == (0, f"{id}  cancelled\n", "")

    async def look(client: Client) -> Run:
        return await client.run(id).status()

    assert shop.do(look).reason == "stuck"


def test_a_query_that_nobody_can_answer_fails(shop: World) -> None:
    id = asking(shop)
    done = shop("runs", "query", id, "state")
    assert done.code == 1
    assert "no worker has it in memory just now" in done.err


def test_a_query_prints_the_answer(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    id = shop.run(1, started())

    async def query(self: Client, run: str, name: str, *args: object) -> object:
        return {"run": run == id, "name": name, "args": args}

    monkeypatch.setattr(Client, "query", query)
    assert json.loads(shop("runs", "query", id, "state", "[1, 2]").out) == {
        "run": True,
        "name": "state",
        "args": [1, 2],
    }
    assert json.loads(shop("runs", "query", id, "state", '{"a": 1}', "--json").out) == {
        "run": id,
        "query": "state",
        "answer": {"run": True, "name": "state", "args": [{"a": 1}]},
    }
    assert json.loads(shop("runs", "query", id, "state").out)["args"] == []


def test_retry_still_takes_up_a_dead_run(shop: World) -> None:
    id = shop.run(1, started(), died())
    assert shop("runs", "retry", id) == (0, f"{id}  queued\n", "")
    with pytest.raises(RunStateError):
        shop.do(lambda client: client.run(id).retry())
