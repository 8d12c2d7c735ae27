"""Dead letters: what is hit is what was asked about, exactly; with real keys over the fake world."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from holdfast.wire import api
from holdfast.wire.api import Value
from holdfast.wire.render import render_json
from holdfast.wire.values import encode_value
from holdfast_tui import keys
from holdfast_tui.batch import AT_ONCE
from holdfast_tui.gateway import Gateway
from holdfast_tui.model.window import Follow
from holdfast_tui.router import Mode
from holdfast_tui.screens.dead import Dead
from tui.desks import Bench, bench
from tui.test_flows import until
from tui.world import NOW, FakeClient, letters, run_id


def dead(desk: Bench) -> Dead:
    assert isinstance(desk.page, Dead)
    return desk.page


def first(client: FakeClient, **fields: Any) -> None:
    """Give the newest letter other fields."""
    client.letter_rows[0] = msgspec.structs.replace(client.letter_rows[0], **fields)


def with_payloads(client: FakeClient) -> FakeClient:
    """Answer with the letters' payloads, also of runs whose history has another."""
    for letter in client.letter_rows:
        shown, size = render_json(letter.payload), len(letter.payload)
        client.values[letter.run, ""] = Value(run=letter.run, key="", json=shown, size=size)
    return client


async def typed(desk: Bench, *lines: str) -> None:
    """Put a text in the editor in place of what is there, and take it."""
    for _ in range(50):
        if hasattr(desk.app.screen, "buffer"):
            break
        await desk.settle()
    desk.app.screen.buffer.replace("\n".join(lines))  # type: ignore[attr-defined]
    await desk.press("ctrl+s")


async def test_letters_are_retried_as_they_were_when_the_key_was_pressed_and_failed_ones_keep_their_marks() -> None:
    client = FakeClient()
    client.refuse[run_id(2892)] = "run is running: it was not retried"
    async with bench(client) as desk:
        await desk.press("4", "space", "space", "R")
        client.letter_rows = client.letter_rows[3:]
        await desk.later(5)
        await desk.press("s")
        await until(desk, "1 retried, 1 refused: run is running")
        assert client.changed == [("retry", run_id(2895), True)]
        assert list(desk.page.window.marks) == [run_id(2892)]


async def test_a_question_counts_and_names_what_the_filter_hides() -> None:
    async with bench() as desk:
        await desk.press("4", "space", "space", "/", *"webhook", "enter")
        await until(desk, "13 dead letters")
        assert "2 marked, 1 hidden" in desk.text
        await desk.press("R")
        assert "Retry 2 dead runs from the last checkpoint?  1 hidden by the filter  00002895" in desk.text


async def test_dropping_takes_the_number_and_nothing_else() -> None:
    client = FakeClient()
    client.refuse[run_id(2892)] = "somebody was first"
    async with bench(client) as desk:
        await desk.press("4", "a")
        await until(desk, "40 dead letters marked")
        await desk.press("D")
        assert "DROP 40 dead letters" in desk.text
        await desk.press("y", "enter")
        assert desk.page.state.mode is Mode.TYPED
        await desk.press("backspace", "4", "0", "enter")
        await until(desk, "39 dropped, 1 refused: somebody was first")
        assert len(client.changed) == 39
        assert list(desk.page.window.marks) == [run_id(2892)]


async def test_a_purge_drops_what_matches_and_not_what_dies_meanwhile() -> None:
    client = FakeClient()
    async with bench(client) as desk:
        await desk.press("4", "/", *"queue:billing", "enter")
        await until(desk, "13 dead letters")
        await desk.press("X")
        await until(desk, "PURGE: drop 13 dead letters that match queue:billing")
        late = msgspec.structs.replace(letters(3)[2], run=run_id(2999), last_at=NOW)
        client.letter_rows.append(late)
        await desk.press("1", "3", "enter")
        await until(desk, "13 dropped")
        assert len(client.changed) == 13
        assert ("drop", run_id(2999)) not in client.changed
        assert {letter.queue for letter in client.letter_rows} == {"emails", "webhooks", "billing"}


async def test_a_drain_asks_its_rate_shows_its_progress_stops_at_escape_and_a_second_one_takes_the_rest() -> None:
    client = FakeClient()
    async with bench(client) as desk:
        await desk.press("4", "Z")
        await until(desk, "Drain 40 dead letters: how many a second?")
        await desk.press("backspace", "backspace", *"fast", "enter")
        assert "expected how many a second, up to 1,000" in desk.text
        await desk.press(*["backspace"] * 4, *"5", "enter")
        assert "Drain 40 dead letters of all queues at 5/s (7.8s)" in desk.text
        await desk.press("y")
        await until(desk, "2 done")
        assert "left" in desk.text
        await desk.press("j", "escape")
        await until(desk, "stopped by you")
        sent = len(client.changed)
        assert 2 <= sent < 10
        await desk.press("Z")
        await until(desk, f"Drain {40 - sent} dead letters")
        await desk.press("backspace", "backspace", *"1000", "enter", "y")
        await until(desk, f"{40 - sent} retried")
        assert len({run for _, run, _ in client.changed}) == 40
        first, second = ({"count": 40, "rate": "5/s"}, {"count": 40 - sent, "rate": "1000/s"})
        for (action, kind, told), of in zip(client.batches, (first, second), strict=True):
            assert (action, kind, told["count"], told["filter"]) == ("drain", "letter", of["count"], "all")
            assert told["command"] == f"holdfast dlq drain --rate {of['rate']}"


async def test_a_drain_of_three_hundred_is_not_slowed_by_its_answers_and_leaves_the_keys_alone() -> None:
    client = FakeClient()
    client.letter_rows = letters(300)
    retry, under_way, most = Gateway.retry, 0, 0

    async def slow(self: Gateway, run: str, **options: Any) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.02)  # an answer takes as long as four are apart
        await retry(self, run, **options)
        under_way -= 1

    async with bench(client) as desk:
        desk.app.gateway.retry = slow.__get__(desk.app.gateway)  # type: ignore[method-assign]
        await desk.press("4", "Z")
        await until(desk, "how many a second?")
        await desk.press("backspace", "backspace", *"200", "enter", "y")
        await until(desk, "left")
        assert desk.page.window.follow is Follow.FIRST
        await desk.press("j")
        assert desk.page.window.follow is Follow.OFF
        await until(desk, "300 retried", tries=1000)
        assert len(client.changed) == 300
        assert 1 < most <= AT_ONCE


async def test_unique_errors_show_how_many_since_when_of_whom_and_open_their_letters() -> None:
    client = FakeClient()
    async with bench(client) as desk:
        await desk.press("4", "u")
        await until(desk, "3 kinds of error")
        assert desk.kind == keys.GROUPS
        assert "14" in desk.text
        await desk.press("j", "enter")
        await until(desk, "13 dead letters")
        assert desk.kind == keys.DEAD
        shown = desk.page.filter
        await desk.press("Z")
        await until(desk, "Drain 13 dead letters: how many a second?")
        await desk.press("escape", "q")
        assert desk.kind == keys.GROUPS
        await desk.press("X")
        await until(desk, "PURGE: drop 13 dead letters")
        await desk.press("1", "3", "enter")
        await until(desk, "13 dropped")
        assert "pattern:" in shown
        assert len(client.letter_rows) == 27


async def test_the_payload_is_edited_checked_shown_and_retried_from_the_start() -> None:
    client = with_payloads(FakeClient())
    async with bench(client) as desk:
        await desk.press("4", "E")
        await typed(desk, '{"hook": "x", "url": "u"}')
        await until(desk, "argument 'hook': expected int")
        await desk.press("e")
        await typed(desk, '{"hook": 7, "url": "u"}')
        await until(desk, "Retry 1 dead run from the start, edited?")
        await until(desk, '+ {"hook": 7, "url": "u"}')
        await desk.press("n")
        assert client.changed == []
        await desk.press("escape", "E")
        await typed(desk, '{"hook": 7, "url": "u"}')
        await until(desk, "from the start, edited?")
        await desk.press("y")
        await until(desk, "1 retried with the new payload")
        assert client.changed == [("retry", run_id(2895), True, {"hook": 7, "url": "u"})]


async def test_what_no_worker_checks_is_said_before_it_is_sent() -> None:
    client = with_payloads(FakeClient())
    client.served = False
    async with bench(client) as desk:
        await desk.press("4", "E")
        await typed(desk, '{"hook": "anything"}')
        await until(desk, "no worker of send-email answers")
        await desk.press("y")
        await until(desk, "1 retried with the new payload")


async def test_the_edit_of_one_is_done_to_all_that_are_marked_and_fit() -> None:
    client = FakeClient()
    rows = client.letter_rows
    rows[1] = msgspec.structs.replace(rows[1], payload=encode_value({"hook": 1}))
    rows[2] = msgspec.structs.replace(rows[2], payload=encode_value({"hook": b"raw"}))
    with_payloads(client)
    async with bench(client) as desk:
        await desk.press("4", "space", "space", "space", "g", "E")
        await typed(desk, '{"hook": 881, "url": "https://y.example"}')
        await until(desk, "[m] also the 2 others that are marked")
        await desk.press("m")
        await until(desk, "Retry 1 dead run from the start")
        assert "2 others can't be" in desk.text
        await until(desk, "expected url, found no such part")
        assert "that JSON can't say" in desk.text
        await desk.press("y")
        await until(desk, "1 retried with the new payload")
        assert client.changed == [("retry", rows[0].run, True, {"hook": 881, "url": "https://y.example"})]
        assert len(desk.page.window.marks) == 2


async def test_an_edit_of_many_asks_its_rate() -> None:
    client = FakeClient()
    for number in (0, 1):
        client.letter_rows[number] = msgspec.structs.replace(
            client.letter_rows[number], payload=encode_value({"hook": number, "url": "x"})
        )
    with_payloads(client)
    async with bench(client) as desk:
        await desk.press("4", "space", "space", "g", "E")
        await typed(desk, '{"hook": 0, "url": "y"}')
        await until(desk, "[m] also the 1 other")
        await desk.press("m")
        await until(desk, "Retry 2 dead runs with the new payload: how many a second?")
        await desk.press("backspace", "backspace", *"100", "enter")
        await until(desk, "Retry 2 dead runs from the start, edited at 100/s (10ms)?")
        assert "2 payloads fit" in desk.text
        await desk.press("y")
        await until(desk, "2 retried with the new payload")
        assert [payload for _, _, _, payload in client.changed] == [{"hook": 0, "url": "y"}, {"hook": 1, "url": "y"}]


async def test_everything_of_a_letter_is_in_one_place_and_enter_opens_the_run_where_it_failed() -> None:
    client = FakeClient()
    first(client, task="charge-card")
    async with bench(client, size=(120, 36)) as desk:
        await desk.press("4")
        await until(desk, "steps kept")
        for part in ("dead 2m ago", "smtp.example:25", "payload (edit: E)", '"hook": 881', "from start: all", "try 1"):
            assert part in desk.text, part
        await until(desk, "14  TimeoutError: smtp.example:*")
        await desk.press("tab")
        assert "[error]" in desk.text
        await desk.press("enter")
        await until(desk, "reserve")
        assert desk.page.window.cursor == "/capture#1"


async def test_a_letter_is_explained_over_the_whole_of_a_small_screen() -> None:
    async with bench() as desk:
        await desk.press("4", "e")
        await until(desk, "what a retry does")
        await desk.press("escape")
        await until(desk, "40 dead letters")


async def test_a_filter_that_cannot_be_read_drains_nothing() -> None:
    async with bench() as desk:
        await desk.press("4", "/", *"tries:many x", "enter", "Z")
        await until(desk, "the filter can't be read")
        assert desk.client.changed == []


async def test_in_read_only_nothing_is_offered_and_nothing_is_sent() -> None:
    async with bench(read_only=True) as desk:
        for key in "RDZXE":
            await desk.press("4", key)
            assert f"{key} is off" in desk.text
        assert desk.client.changed == []


async def test_the_kinds_of_errors_are_read_when_there_are_more_or_fewer_letters_and_now_and_then() -> None:
    client, asked = FakeClient(), list[float]()
    read = client.letter_groups

    async def counted(query: api.LettersQuery | None = None) -> api.LetterGroups:
        asked.append(desk.clock.now)
        return await read(query)

    client.letter_groups = counted  # type: ignore[method-assign]
    async with bench(client, size=(120, 36)) as desk:
        await desk.press("4")
        assert len(asked) == 1
        for _ in range(3):
            await desk.later(1)
        assert len(asked) == 1
        client.letter_rows = client.letter_rows[1:]
        await desk.later(1)
        assert len(asked) == 2
        await desk.later(4)
        assert len(asked) == 2
        await desk.later(1)
        assert len(asked) == 3
