"""`holdfast dlq`, on a real journal."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import anyio
import msgspec.structs
import pytest

from holdfast.cli import bulk, dlq, given
from holdfast.cli.output import Output
from holdfast.errors import ConnectError, RunStateError
from holdfast.wire import api

from .conftest import AT, Told

if TYPE_CHECKING:
    from .conftest import World


def dead(shop: World, count: int) -> list[str]:
    return [shop.dead(number) for number in range(1, count + 1)]


def test_letters_are_listed_newest_first_over_all_pages(shop: World) -> None:
    ids = dead(shop, 5)
    lines = shop("dlq", "list").out.splitlines()
    assert lines[0].split() == ["RUN", "TASK", "QUEUE", "TRY", "AGE", "CHECKPOINT", "ERROR"]
    assert [line.split()[0] for line in lines[1:]] == ids[::-1]
    assert lines[1].endswith("/reserve#1  CardDeclined: bad currency 'XX'")


def test_a_letter_as_json_holds_everything(shop: World) -> None:
    (id,) = dead(shop, 1)
    letter = {
        "run": id,
        "task": "charge-card",
        "queue": "default",
        "payload": {"order": 1},
        "error": {
            "type": "payments.CardDeclined",
            "message": "bad currency 'XX'",
            "traceback": "  File \"payments.py\", line 212, in capture\npayments.CardDeclined: bad currency 'XX'\n",
        },
        "reason": "attempts used up",
        "attempts": 1,
        "last_key": "/reserve#1",
        "first_at": "2026-01-02T12:03:38.120Z",
        "last_at": "2026-01-02T12:03:39.120Z",
    }
    assert json.loads(shop("dlq", "list", "--json").out) == letter
    shown = json.loads(shop("dlq", "show", "0001", "--json").out)
    assert {**shown, "first_at": letter["first_at"]} == letter


def test_a_letter_is_shown_with_what_a_retry_keeps(shop: World) -> None:
    dead(shop, 1)
    out = shop("dlq", "show", "0001").out
    assert "checkpoint  /reserve#1\nretry       keeps 1 step; --from-start repeats all\n" in out
    assert '\npayload\n  {\n    "order": 1\n  }\n' in out


def test_a_run_that_is_not_dead_has_no_letter(shop: World) -> None:
    id = shop.run(1)
    done = shop("dlq", "show", id)
    assert (done.code, done.err) == (
        1,
        f"holdfast: run {id} is queued: expected a dead one, so it has no dead letter\n",
    )


def test_named_letters_are_retried_without_a_question(shop: World) -> None:
    one, two, three = dead(shop, 3)
    assert shop("dlq", "retry", "0001", two, two) == (0, "2: 2 retried, 0 refused\n", "")
    assert [shop.state(id) for id in (one, two, three)] == ["queued", "queued", "dead"]


def test_a_named_letter_that_is_answered_already_is_refused_and_fails(shop: World) -> None:
    one, two = dead(shop, 2)
    shop("dlq", "retry", one)
    done = shop("dlq", "retry", one, two)
    assert done.code == 1
    assert done.out == (
        f"refused {one}  run {one} is queued: expected one that is cancelled, dead, failed, timed_out, "
        "so it was not retried\n"
        "2: 1 retried, 1 refused\n"
    )
    assert shop.state(two) == "queued"


def test_of_a_selection_one_that_is_answered_already_is_only_counted(shop: World) -> None:
    one, *_ = dead(shop, 3)
    shop("dlq", "retry", one)  # its letter is still in the daemon's list
    done = shop("dlq", "retry", "--all", "--yes")
    assert done.code == 0
    assert done.out.endswith("\n3: 2 retried, 1 refused\n")


def test_a_retry_may_change_the_payload_and_begin_anew(shop: World) -> None:
    (id,) = dead(shop, 1)
    done = shop("dlq", "retry", "--task", "charge-card", "--yes", "--from-start", "--payload", '{"order": 9}', "--json")
    assert json.loads(done.out) == {"run": id, "outcome": "retried", "message": ""}
    assert shop.asked[0].tasks == ("charge-card",)
    run = shop.do(lambda client: client.run(id).status())
    assert run.steps == 0


HOW = "name runs, or select with --task --error --since, or --all"
NONE = "found none: add --yes"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["retry"], f"expected what to retry, found nothing: {HOW}"),
        (["purge"], f"expected what to purge, found nothing: {HOW}"),
        (["retry", "0001", "--all"], "expected runs to retry or a selection, found both: leave out one of them"),
        (["retry", "--all"], f"expected a terminal to ask on (retry 1 dead letter?), {NONE}"),
        (["purge", "--error", "X"], f"expected a terminal to ask on (drop 1 dead letter for good?), {NONE}"),
    ],
)  # fmt: skip
def test_a_selection_that_is_not_clear_changes_nothing(shop: World, args: list[str], said: str) -> None:
    (id,) = dead(shop, 1)
    assert shop("dlq", *args) == (2, "", f"holdfast: {said}\n")
    assert shop.state(id) == "dead"


@pytest.mark.parametrize(("typed", "code", "state"), [("2", 0, "failed"), ("yes", 2, "dead"), ("", 2, "dead")])
def test_a_purge_wants_the_number_typed(
    shop: World, monkeypatch: pytest.MonkeyPatch, typed: str, code: int, state: str
) -> None:
    questions = []

    async def ask(question: str) -> str:
        questions.append(question)
        return typed

    monkeypatch.setattr(dlq, "ask", ask)
    ids = dead(shop, 2)
    done = shop("dlq", "purge", "--all")
    assert questions == ["drop 2 dead letters for good? type 2 to do it: "]
    assert done.code == code
    assert [shop.state(id) for id in ids] == [state, state]


def test_a_named_purge_with_yes_drops(shop: World) -> None:
    one, two = dead(shop, 2)
    assert shop("dlq", "purge", "0001", "--yes").out == "1: 1 dropped, 0 refused\n"
    assert (shop.state(one), shop.state(two)) == ("failed", "dead")


def test_a_dry_run_counts_and_touches_nothing(shop: World) -> None:
    ids = dead(shop, 5)
    assert shop("dlq", "drain", "--dry-run", "--rate", "60/m").out == (
        "5 letters would be retried, at 1/s, in 4.00s\n"
        "LETTERS  TASK         ERROR\n"
        "      5  charge-card  payments.CardDeclined\n"
    )
    assert {shop.state(id) for id in ids} == {"dead"}


def test_a_drain_retries_all_that_match(shop: World) -> None:
    ids = dead(shop, 5)
    assert shop("dlq", "drain", "--rate", "1000").out == "5: 5 retried, 0 refused\n"
    assert {shop.state(id) for id in ids} == {"queued"}


def test_a_drain_of_nothing_is_done(shop: World) -> None:
    assert shop("dlq", "drain") == (0, "", "no dead letter matches\n")


def test_a_lost_connection_stops_a_drain_and_says_how_far_it_got(shop: World) -> None:
    ids = dead(shop, 5)

    class Losing(Told):
        def run(self, id: str) -> object:  # type: ignore[override]
            if id == ids[2]:
                raise ConnectError("the server is gone")
            return super().run(id)

    shop.client = Losing
    done = shop("dlq", "drain", "--rate", "100")
    assert done.code == 3
    assert done.err == "holdfast: the server is gone\n"
    assert done.out == "5: 2 retried, 0 refused; 3 letters left, the same command goes on there\n"
    assert [shop.state(id) for id in ids[:2]] == ["dead", "dead"]


async def test_no_more_than_so_many_start_in_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    last = 0.0

    async def act(run: str) -> None:
        nonlocal last
        last = anyio.current_time()

    runs = [str(number) for number in range(6)]
    begun = anyio.current_time()
    await bulk.answer(runs, act, bulk.Answers(6, "retried", Output()), per_second=100)
    assert last - begun >= 0.05


async def test_a_drain_that_is_stopped_says_how_far_it_got(capsys: pytest.CaptureFixture[str]) -> None:
    with anyio.CancelScope() as scope:

        async def act(run: str) -> None:
            if run == "2":
                scope.cancel()
                await anyio.sleep_forever()
            if run == "1":
                raise RunStateError("run 1 is queued")

        await bulk.answer(["0", "1", "2", "3"], act, bulk.Answers(4, "retried", Output()), per_second=1000)
    assert capsys.readouterr().out == (
        "refused 1  run 1 is queued\n4: 1 retried, 1 refused; 2 letters left, the same command goes on there\n"
    )


@pytest.mark.parametrize(("typed", "per_second"), [("10/s", 10), ("600/m", 10), ("2.5", 2.5), ("36/h", 0.01)])
def test_rates_are_read(typed: str, per_second: float) -> None:
    assert given.rate(typed) == per_second


def test_the_time_of_death_orders_the_letters(shop: World) -> None:
    dead(shop, 2)
    assert [letter.last_at for letter in shop.letters] == [AT + 2, AT + 1]


def test_letters_of_one_kind_are_one_line_with_how_many_they_are(shop: World) -> None:
    group = api.LetterGroup(
        error_type="payments.CardDeclined", pattern="bad currency *", count=1223, first_at=time.time() - 900_000,
        last_at=time.time() - 260_000, tasks=("charge-card", "refund"), queues=("billing",), example="R" * 26,
    )  # fmt: skip
    unnamed = msgspec.structs.replace(group, error_type="", pattern="lost \x1b[31m", count=1, tasks=("pack",))
    shop.groups = api.LetterGroups((group, unnamed), 1224, 2)
    head, *lines = shop("dlq", "groups", "--task", "charge-card", "--since", "1h").out.splitlines()
    assert head.split() == ["LETTERS", "ERROR", "TASK", "QUEUE", "FIRST", "LAST", "NEWEST"]
    assert lines[0].split() == [
        "1,223", "CardDeclined:", "bad", "currency", "*", "charge-card", "+1", "billing", "10d", "3d", "R" * 26,
    ]  # fmt: skip
    assert "lost \\x1b[31m" in lines[1]
    (query,) = shop.asked
    assert query.tasks == ("charge-card",)
    assert query.since is not None
    (one, _) = (json.loads(line) for line in shop("dlq", "groups", "--json").out.splitlines())
    assert (one["pattern"], one["count"], one["tasks"]) == ("bad currency *", 1223, ["charge-card", "refund"])


def test_no_group_says_so(shop: World) -> None:
    done = shop("dlq", "groups")
    assert (done.code, done.out, done.err) == (0, "", "no dead letter matches\n")


def test_a_filter_of_the_desk_chooses_the_same_letters(shop: World) -> None:
    dead(shop, 1)
    shop("dlq", "drain", "--filter", 'queue:emails tries:>2 pattern:"HTTP * from *" -health', "--dry-run")
    asked = shop.asked[-1]
    assert isinstance(asked, api.LettersQuery)
    assert (asked.queue, asked.attempts_least, asked.pattern) == ("emails", 3, "HTTP * from *")
    assert asked.without == ("health",)


@pytest.mark.parametrize(
    ("filter", "more", "said"),
    [
        ("tries:many x", (), "--filter: "),
        ("queue:a", ("--queue", "b"), "expected queue either there or as an option, found both"),
    ],
)
def test_a_filter_that_cannot_be_read_chooses_nothing(
    shop: World, filter: str, more: tuple[str, ...], said: str
) -> None:
    told = shop("dlq", "purge", "--filter", filter, *more)
    assert told.code == 2
    assert said in told.err
    assert not shop.asked
