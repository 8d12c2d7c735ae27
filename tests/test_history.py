"""The exported history of a run: written, read, refused, and put into another project."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.bus.memory import MemoryBus, MemoryServer
from holdfast.client import Client
from holdfast.core.effects import Offer, Tell, TriggerHook, effects
from holdfast.core.entries import (
    AttemptFailed,
    AttemptResumed,
    AttemptStarted,
    Batch,
    CancelRequested,
    Entry,
    Offered,
    RunCompleted,
    RunCreated,
    RunDead,
    StepCompleted,
    Suspended,
)
from holdfast.core.lifecycle import Record, fold, story
from holdfast.core.model import ErrorInfo, Hook, Origin, Parent, State
from holdfast.errors import HistoryError, RunStateError, UnknownRun
from holdfast.history import History
from holdfast.importing import QUEUE, import_run
from holdfast.wire import codec
from holdfast.wire.subjects import Stream
from holdfast.wire.values import decode_value, encode_value

AT = 1_767_355_418.0
ERROR = ErrorInfo("payments.CardDeclined", "no")
HOOK = Hook("success", "thanks")


class Two:
    """A project `shop` with runs, and an empty one `lab` whose sequences are others."""

    def __init__(self) -> None:
        self.server = MemoryServer()
        self.shop = Client(MemoryBus("shop", self.server), name="ops")
        self.lab = Client(MemoryBus("lab", self.server), name="ops")

    async def run(self, *groups: tuple[Entry, ...], **more: Any) -> str:
        """A run `R1`; each group of entries is a message by the holder `n`, an `Offered` one of its own."""
        created = RunCreated("R1", AT, "order", encode_value({"a": 1}), **more)
        await self.shop.journal.create(created)
        for group in groups:
            last = (await self.shop.run("R1").status()).last
            if isinstance(group[0], Offered):
                bus = self.shop.bus
                await bus.publish(bus.subjects.ready("R1", "default", 5), codec.encode(group[0]))
            else:
                await self.shop.journal.append("R1", last, "n", group)
        return "R1"

    async def exported(self) -> History:
        return await History.of(self.shop.journal, "R1")

    async def carried(self) -> History:
        """The history as it comes out of its file."""
        lines = (await self.exported()).lines(lambda entry: {"entry": type(entry).__name__})
        return History.parse("\n".join(lines).encode(), "run.jsonl")

    async def imported(self) -> list[Record]:
        await import_run(self.lab.journal, await self.carried())
        return [record for _, record in await self.lab.journal.messages("R1")]


@pytest.fixture
async def two() -> AsyncIterator[Two]:
    made = Two()
    for number in range(7):
        await made.lab.emit("noise", number)
    yield made
    await made.shop.close()
    await made.lab.close()


def started(attempt: int = 1, **more: Any) -> AttemptStarted:
    return AttemptStarted(AT, attempt, "w", "n", **more)


def done(key: str, value: object = 1) -> StepCompleted:
    return StepCompleted(key, AT, 0.1, encode_value(value))


END = RunCompleted(AT + 1, encode_value("done"))


# --- the file -------------------------------------------------------------------------------------------------------


async def test_a_file_holds_every_message_for_people_and_for_programs(two: Two) -> None:
    await two.run((started(), done("/a#1")), (END,))
    lines = list((await two.exported()).lines(lambda entry: {"entry": type(entry).__name__}))
    header, *messages = [json.loads(line) for line in lines]
    assert header == {"holdfast": "history", "version": 1, "project": "shop", "run": "R1"}
    assert [message["kind"] for message in messages] == ["ready", "log", "log"]
    assert messages[1]["entries"] == [{"entry": "AttemptStarted"}, {"entry": "StepCompleted"}]
    assert codec.decode_batch(b64decode(messages[1]["data"])) == Batch("n", (started(), done("/a#1")))


async def test_a_file_read_again_is_the_same_history(two: Two, tmp_path: Path) -> None:
    await two.run((started(), done("/a#1")), (END,))
    exported = await two.exported()
    file = tmp_path / "run.jsonl"
    file.write_text("\n".join(exported.lines(str)) + "\n")
    assert History.load(file) == exported
    run = fold(History.load(file).records())
    assert run is not None
    assert run.state is State.COMPLETED


async def test_a_run_that_is_not_there_is_not_exported(two: Two) -> None:
    with pytest.raises(UnknownRun):
        await History.of(two.shop.journal, "R9")


Break = Callable[[list[str]], list[str]]


def changed(line: str, **more: Any) -> str:
    return json.dumps({**json.loads(line), **more})


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda lines: [], r"run.jsonl: expected an exported history .* found an empty file"),
        (lambda lines: lines[1:], r"line 1: expected the header of an exported history, found"),
        (lambda lines: ["hello", *lines[1:]], r"line 1: expected the header .* found 'hello'"),
        (lambda lines: [changed(lines[0], run="*"), *lines[1:]], r"line 1: expected the header"),
        (lambda lines: [changed(lines[0], version=2), *lines[1:]], r"version 1, found 2: upgrade"),
        (lambda lines: [changed(lines[0], run="R2"), *lines[1:]], r"line 2: expected entries of run R2"),
        (lambda lines: [lines[0], "{", *lines[2:]], r"line 2: expected a message as JSON"),
        (lambda lines: [lines[0], lines[1][:-30], *lines[2:]], r"line 2: expected a message as JSON"),
        (lambda lines: [lines[0], changed(lines[1], data="!"), *lines[2:]], r"line 2: expected base64"),
        (lambda lines: [*lines[:2], changed(lines[2], data="AAAA"), lines[3]], r"line 3: expected entries of run R1"),
        (lambda lines: [*lines[:2], changed(lines[2], kind="odd"), lines[3]], r"line 3: expected a message"),
        (lambda lines: [*lines[:2], changed(lines[2], kind=None), lines[3]], r"line 3: expected a message with a kind"),
        (lambda lines: [lines[0], lines[2], lines[1], lines[3]], r"line 3: .* sequence above"),
        (lambda lines: [lines[0], *lines[2:]], r"expected the messages of run R1, found none that creates it"),
        (
            lambda lines: [*lines, changed(lines[1], value="00" * 16)],
            r"line 5: expected the value 00.* found other bytes",
        ),
    ],
)
async def test_a_damaged_file_is_refused_with_the_line_and_nothing_is_written(
    two: Two, spoil: Break, says: str
) -> None:
    await two.run((started(), done("/a#1")), (END,))
    lines = list((await two.exported()).lines(str))
    with pytest.raises(HistoryError, match=says):
        History.parse("\n".join(spoil(lines)).encode(), "run.jsonl")


async def test_a_history_whose_end_does_not_count_is_imported_as_unfinished(two: Two) -> None:
    await two.run((started(), done("/a#1")), (END,))
    history = await two.carried()
    first, claim, end = history.messages
    late = end._replace(record=end.record._replace(writer="x"))  # by nobody who held it
    for messages in ((first, claim, late), (first, end)):
        run = await import_run(two.lab.journal, history._replace(messages=messages))
        assert (run.state, run.reason) == (State.CANCELLED, "imported unfinished")
        await two.lab.bus.purge(Stream.JOURNAL, "hf.lab.j.R1.>")


# --- importing --------------------------------------------------------------------------------------------------------


async def test_an_imported_run_has_the_same_id_story_and_end(two: Two) -> None:
    await two.run((started(), done("/a#1", {"x": 1})), (END,))
    await two.imported()
    run = await two.lab.run("R1").status()
    assert (run.state, run.queue, run.steps, run.origin) == (State.COMPLETED, QUEUE, 1, Origin("R1", "import"))
    assert decode_value(run.result or b"") == "done"
    assert decode_value(run.payload) == {"a": 1}


async def test_a_run_with_resumes_and_retries_folds_to_the_same_though_its_sequences_are_others(two: Two) -> None:
    await two.run(
        (started(), Suspended(AT, ("T",), AT + 9)),
        (Offered("R1", 1, 2),),
        (AttemptResumed(AT, 1, "w", "n"), done("/a#1"), AttemptFailed(AT, ERROR, AT + 1)),
        (Offered("R1", 1, 2),),  # late: the run has moved since
        (Offered("R1", 1, 4),),
        (started(2), done("/b#1"), END),
    )
    origin = [record for _, record in await two.shop.journal.messages("R1")]
    records = await two.imported()
    named = [[type(entry).__name__ for entry in story(each)] for each in (origin, records)]
    assert [name for name in named[0] if name != "Offered"] == [name for name in named[1] if name != "Offered"]
    run, imported = fold(origin), fold(records)
    assert run is not None
    assert imported is not None
    assert (imported.state, imported.steps, imported.attempt) == (run.state, run.steps, run.attempt)
    assert imported.state is State.COMPLETED


async def test_no_worker_takes_an_imported_run_and_nothing_follows_from_it(two: Two) -> None:
    await two.run((started(hooks=(HOOK,)),), (END,), parent=Parent("P", "/x#1"), hooks=(HOOK,))
    await two.imported()
    bus = two.lab.bus
    assert await bus.latest(Stream.CONTROL, "hf.lab.ctl.lane.*.*.*") == []
    assert {message.subject for message in await bus.read(Stream.JOURNAL, "hf.lab.>")} == {
        "hf.lab.j.R1.ready.imported.5",
        "hf.lab.j.R1.log",
    }
    run = await two.lab.run("R1").status()
    assert run.parent is None
    assert not any(isinstance(effect, Tell | TriggerHook | Offer) for effect in effects(run))


@pytest.mark.parametrize(
    "groups",
    [(), ((started(),),), ((started(), Suspended(AT, ("T",))),), ((started(), AttemptFailed(AT, ERROR, AT + 1)),)],
)
async def test_a_run_that_had_not_ended_is_cancelled_behind_its_last_message(
    two: Two, groups: tuple[tuple[Entry, ...], ...]
) -> None:
    await two.run(*groups)
    await two.imported()
    run = await two.lab.run("R1").status()
    assert (run.state, run.reason) == (State.CANCELLED, "imported unfinished")


async def test_a_delayed_run_is_imported_cancelled(two: Two) -> None:
    await two.run(due=AT + 10**9)
    records = await two.imported()
    assert [record.kind.value for record in records] == ["ready", "log"]
    assert (await two.lab.run("R1").status()).state is State.CANCELLED


async def test_a_run_that_was_cancelled_before_it_began_is_imported(two: Two) -> None:
    await two.run()
    await two.shop.run("R1").cancel("no")
    await two.imported()
    run = await two.lab.run("R1").status()
    assert (run.state, run.reason, run.queue) == (State.CANCELLED, "no", QUEUE)


async def test_a_fork_is_imported_with_what_it_inherited_and_keeps_its_origin(two: Two) -> None:
    await two.run((started(), done("/a#1"), done("/k#1")), (END,))
    made = await two.shop.fork("R1", "/k#1")
    history = await History.of(two.shop.journal, made.id)
    run = await import_run(two.lab.journal, history)
    assert (run.state, run.steps, run.origin) == (State.CANCELLED, 1, Origin("R1", "fork", "/k#1"))


async def test_a_run_is_not_imported_where_there_is_one_of_its_id(two: Two) -> None:
    await two.run((started(),), (END,))
    history = await two.carried()
    with pytest.raises(RunStateError, match=r"project shop has a run R1: import into another one with --project"):
        await import_run(two.shop.journal, history)
    await import_run(two.lab.journal, history)
    before = await two.lab.bus.last_seq(Stream.JOURNAL)
    with pytest.raises(RunStateError):
        await import_run(two.lab.journal, history)
    assert await two.lab.bus.last_seq(Stream.JOURNAL) == before


async def test_what_the_server_takes_only_in_part_is_removed_again(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    await two.run((started(),), (END,))
    history = await two.carried()

    async def refused(messages: list[Any]) -> list[int | Exception]:
        stored = await publish_many(messages[:1])
        return [*stored, *(OSError("disk full") for _ in messages[1:])]

    publish_many = two.lab.bus.publish_many
    monkeypatch.setattr(two.lab.bus, "publish_many", refused)
    with pytest.raises(Exception, match="run R1 was not imported, the server refused a message of it: disk full"):
        await import_run(two.lab.journal, history)
    assert await two.lab.journal.messages("R1") == []


async def test_values_that_are_kept_apart_come_along(two: Two) -> None:
    big = await two.shop.blobs.keep(encode_value("x" * 300_000))
    await two.run((started(), StepCompleted("/a#1", AT, 0.1, big)), (RunCompleted(AT, big),))
    history = await two.carried()
    assert len(history.values) == 1
    await import_run(two.lab.journal, history)
    result = (await two.lab.run("R1").status()).result
    assert result is not None
    assert decode_value(await two.lab.blobs.full(result)) == "x" * 300_000
    assert await two.lab.run("R1").result(timeout=5) == "x" * 300_000


async def test_a_value_that_was_changed_in_the_file_is_refused(two: Two) -> None:
    big = await two.shop.blobs.keep(encode_value("x" * 300_000))
    await two.run((started(), StepCompleted("/a#1", AT, 0.1, big)), (END,))
    lines = list((await two.exported()).lines(str))
    lines[1] = changed(lines[1], data=b64encode(encode_value("y" * 300_000)).decode())
    with pytest.raises(HistoryError, match="line 2: expected the value"):
        History.parse("\n".join(lines).encode(), "run.jsonl")


async def test_what_others_told_the_run_comes_along(two: Two) -> None:
    await two.run((started(),))
    await two.shop.journal.tell("R1", CancelRequested(AT, "ops"))
    await two.shop.journal.append("R1", (await two.shop.run("R1").status()).last, "n", (RunDead(AT, ERROR, "x"),))
    await two.imported()
    run = await two.lab.run("R1").status()
    assert (run.state, run.cancel_requested) == (State.CANCELLED, True)
