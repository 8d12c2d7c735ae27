"""`holdfast trigger` and `holdfast emit`."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from holdfast.core.model import Retry, Timeouts
from holdfast.wire import api, codec
from holdfast.wire.subjects import Stream
from holdfast.wire.values import decode_value, encode_value

from .conftest import AT, AttemptStarted, completed, died

if TYPE_CHECKING:
    from holdfast.client import Client
    from holdfast.core.model import Run

    from .conftest import World


def declare(shop: World, task: str, queue: str = "default") -> None:
    async def put(client: Client) -> None:
        await client.bus.put("task", task, codec.encode(api.TaskCard(id=task, queue=queue)))

    shop.do(put)


def look(shop: World, id: str) -> Run:
    return shop.do(lambda client: client.run(id).status())


def test_a_triggered_run_is_printed_by_its_id(shop: World) -> None:
    declare(shop, "resize", "images")
    done = shop("trigger", "resize", '{"id": 1234567890123456789012}', "--tag", "eu", "--tag", "vip", "--priority", "0")
    assert (done.code, done.err) == (0, "")
    run = look(shop, done.out.strip())
    assert (run.task, run.queue, run.priority, run.tags, run.source) == ("resize", "images", 0, ("eu", "vip"), "cli")
    assert decode_value(run.payload) == {"id": 1234567890123456789012}


def test_a_delayed_run_waits_in_the_queue_that_is_named(shop: World) -> None:
    declare(shop, "resize")
    done = shop("trigger", "resize", "--queue", "bulk", "--delay", "1h", "--json")
    run = look(shop, json.loads(done.out)["run"])
    assert (run.queue, run.state.value, decode_value(run.payload)) == ("bulk", "delayed", {})


def test_a_trigger_may_say_how_long_things_may_take_and_what_the_run_is_called_by(shop: World) -> None:
    declare(shop, "resize")
    done = shop(
        "trigger", "resize", "--ttl", "90s", "--metadata", '{"customer": "acme", "n": 1}',
        "--timeout-schedule-to-close", "1h", "--timeout-start-to-close", "30",
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    run = look(shop, done.out.strip())
    assert run.expires == run.created_at + 90
    assert run.timeouts == Timeouts(schedule_to_close=3600, start_to_close=30)
    assert {name: decode_value(value) for name, value in run.metadata.items()} == {"customer": "acme", "n": 1}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--ttl", "soon"), "expected a duration like 90s"),
        (("--metadata", "[1]"), "--metadata: expected an object of values by name"),
        (("--metadata", "{"), "--metadata: expected JSON"),
        (("--timeout-start-to-close", "0"), "start_to_close: expected more than 0 seconds"),
    ],
)
def test_wrong_settings_of_a_trigger_are_wrong_usage(shop: World, args: tuple[str, ...], says: str) -> None:
    declare(shop, "resize")
    done = shop("trigger", "resize", *args)
    assert (done.code, done.out) == (2, "")
    assert says in done.err


def test_a_task_that_nobody_declared_is_not_triggered_unless_asked(shop: World) -> None:
    declare(shop, "resize-image")
    done = shop("trigger", "resize-imgae")
    assert (done.code, done.out) == (1, "")
    assert "resize-imgae" in done.err
    assert "resize-image'?" in done.err
    done = shop("trigger", "resize-imgae", "--undeclared")
    assert (done.code, look(shop, done.out.strip()).state.value) == (0, "queued")


def test_a_payload_comes_from_a_file_or_stdin(shop: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(shop, "resize")
    (tmp_path / "order.json").write_text('{"n": 1}')
    done = shop("trigger", "resize", f"@{tmp_path}/order.json")
    assert decode_value(look(shop, done.out.strip()).payload) == {"n": 1}
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"n": 2}')))
    done = shop("trigger", "resize", "-")
    assert decode_value(look(shop, done.out.strip()).payload) == {"n": 2}


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (
            "{n: 1}",
            "payload: expected JSON, @file or -, found '{n: 1}': "
            "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        ('"A1"', 'payload: expected an object of arguments by name like {"order_id": 1}, found a string'),
        ("NaN", "payload: expected JSON, @file or -, found 'NaN': NaN is not JSON"),
        ("@/no/such", "payload: expected a readable file /no/such, found: No such file or directory"),
    ],
)
def test_a_bad_payload_is_wrong_usage_and_triggers_nothing(shop: World, payload: str, said: str) -> None:
    assert shop("trigger", "resize", payload) == (2, "", f"holdfast: {said}\n")
    assert shop.do(lambda client: client.bus.last_seq(Stream.JOURNAL)) == 0


def test_a_priority_out_of_range_is_wrong_usage(shop: World) -> None:
    done = shop("trigger", "resize", "--priority", "10")
    assert done.code == 2
    assert "--priority" in done.err


def test_a_task_that_can_be_no_id_is_wrong_usage(shop: World) -> None:
    done = shop("trigger", "a.b")
    assert done.code == 2
    assert done.err == "holdfast: task 'a.b': expected letters, digits, '-' and '_'\n"


def end_with(shop: World, *end: object) -> None:
    """Have every triggered run end so at once, as a worker would."""

    class Quick(shop.client):  # type: ignore[name-defined,misc]
        async def trigger(self, task: str, payload: object = None, **options: object) -> object:
            handle = await super().trigger(task, payload, **options)
            await self.journal.append(handle.id, 0, "n", [AttemptStarted(AT, 1, "w", "n"), *end])
            return handle

    shop.client = Quick


def test_waiting_prints_the_result_alone_on_stdout(shop: World) -> None:
    declare(shop, "resize")
    end_with(shop, completed({"sizes": [1, 2], "by": "w\x1b"}))
    done = shop("trigger", "resize", "--wait")
    assert done.code == 0
    assert json.loads(done.out) == {"sizes": [1, 2], "by": "w\x1b"}
    assert "\x1b" not in done.out
    assert done.err.startswith("run 0")


def test_waiting_for_a_run_that_dies_fails_with_its_error(shop: World) -> None:
    declare(shop, "resize")
    end_with(shop, died())
    done = shop("trigger", "resize", "--wait")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[1].endswith("of resize ended dead: payments.CardDeclined: bad currency 'XX'")


@pytest.mark.parametrize(("end", "code", "state"), [(completed(7), 0, "completed"), (died(), 1, "dead")])
def test_waiting_as_json_prints_state_result_and_error(shop: World, end: object, code: int, state: str) -> None:
    declare(shop, "resize")
    end_with(shop, end)
    done = shop("trigger", "resize", "--wait", "--json")
    found = json.loads(done.out)
    assert (done.code, found["state"]) == (code, state)
    assert found["result"] == (7 if code == 0 else None)
    assert (found["error"] is None) == (code == 0)


def test_waiting_too_long_leaves_the_run_alone(shop: World) -> None:
    declare(shop, "resize")
    done = shop("trigger", "resize", "--wait", "--timeout", "50ms")
    assert (done.code, done.out) == (1, "")
    note, error = done.err.splitlines()
    id = note.removeprefix("run ")
    assert error == f"holdfast: run {id} has not ended within 0.05 s; it goes on: see `holdfast runs watch {id}`"
    assert look(shop, id).state.value == "queued"


def test_an_event_is_published_as_json(shop: World) -> None:
    assert shop("emit", "orders.created", '{"id": "A1"}') == (0, "1\n", "")
    assert json.loads(shop("emit", "orders.created", "--json").out) == {"subject": "orders.created", "seq": 2}

    async def read(client: Client) -> list[tuple[str, bytes]]:
        return [(one.subject, one.data) for one in await client.bus.read(Stream.EVENTS, "hf.shop.evt.>")]

    assert shop.do(read) == [
        ("hf.shop.evt.orders.created", b'{"id":"A1"}'),
        ("hf.shop.evt.orders.created", b"null"),
    ]


def test_an_event_on_a_wrong_subject_is_wrong_usage(shop: World) -> None:
    assert shop("emit", "orders.*").code == 2


def test_values_of_the_value_codec_are_kept(shop: World) -> None:
    assert decode_value(encode_value({"order": 1})) == {"order": 1}


def test_a_trigger_with_a_key_that_is_taken_prints_the_run_that_is_there_and_says_so(shop: World) -> None:
    declare(shop, "resize")
    first = shop("trigger", "resize", '{"n": 1}', "--idempotency-key", "A1", "--idempotency-ttl", "2h")
    assert (first.code, first.err) == (0, "")
    again = shop("trigger", "resize", '{"n": 2}', "--idempotency-key", "A1")
    assert (again.code, again.out) == (0, first.out)
    assert again.err == f"run {first.out.strip()}, which was there: it has the key\n"
    told = json.loads(shop("trigger", "resize", "--idempotency-key", "A1", "--json").out)
    assert told == {"run": first.out.strip(), "cached": True}
    run = look(shop, first.out.strip())
    assert run.key is not None
    assert (run.key.text, run.key.until, decode_value(run.payload)) == ("A1", run.created_at + 7200, {"n": 1})


def test_a_trigger_that_debounces_puts_the_run_off(shop: World) -> None:
    declare(shop, "resize")
    first = shop("trigger", "resize", '{"n": 1}', "--debounce", "user:7:30s", "--debounce-max-delay", "2m")
    again = shop("trigger", "resize", '{"n": 2}', "--debounce", "user:7:1m")
    assert first.out == again.out
    run = look(shop, first.out.strip())
    assert run.key is not None
    assert (run.state.value, run.key.text, run.key.until) == ("delayed", "user:7", run.created_at + 120)
    assert run.due is not None
    assert 60 <= run.due - run.created_at < 90
    assert decode_value(run.payload) == {"n": 2}
    shop("trigger", "resize", '{"n": 3}', "--debounce", "user:7:1m", "--debounce-leading")
    assert decode_value(look(shop, run.id).payload) == {"n": 2}


def test_a_trigger_may_say_how_often_it_is_tried_and_under_which_key_it_is_limited(shop: World) -> None:
    declare(shop, "resize")
    done = shop(
        "trigger", "resize", "--retry", '{"max_attempts": 7, "min_timeout": 2, "jitter": false}',
        "--timeout-schedule-to-start", "30", "--timeout-heartbeat", "10s", "--concurrency-key", "acme",
    )  # fmt: skip
    run = look(shop, done.out.strip())
    assert run.retry == Retry(max_attempts=7, min_timeout=2.0, jitter=False)
    assert run.timeouts == Timeouts(schedule_to_start=30, heartbeat=10)
    assert run.concurrency_key == "acme"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--debounce", "A1"), "--debounce: expected KEY:DELAY like user-7:30s, found 'A1'"),
        (("--debounce", "A1:soon"), "--debounce: expected KEY:DELAY like user-7:30s, found 'A1:soon': expected a dur"),
        (("--debounce", "A1:0"), "debounce: delay: expected more than 0 seconds"),
        (("--debounce", ":5s"), "debounce: key: expected a text of 1 to 256 characters"),
        (("--debounce-leading",), "expected --debounce KEY:DELAY beside them"),
        (("--debounce", "A1:9s", "--debounce-max-delay", "3s"), "max_delay: expected 9 s, its delay, or more"),
        (("--idempotency-ttl", "3s"), "idempotency_ttl: expected an idempotency_key beside it"),
        (("--idempotency-key", " "), "idempotency_key: expected a text of 1 to 256 characters"),
        (("--retry", "5"), "--retry: expected an object of settings"),
        (("--retry", '{"max_attempts": 0}'), "--retry: Retry: max_attempts is from 1"),
        (("--retry", '{"attempts": 3}'), "--retry: expected max_attempts, factor, min_timeout, max_timeout, jitter"),
        (("--retry", '{"max_attempts": "many"}'), "--retry: Expected `int`, got `str`"),
    ],
)  # fmt: skip
def test_keys_and_policies_that_can_not_be_are_wrong_usage(shop: World, args: tuple[str, ...], says: str) -> None:
    declare(shop, "resize")
    done = shop("trigger", "resize", *args)
    assert (done.code, done.out) == (2, "")
    assert says in done.err
