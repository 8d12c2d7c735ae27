"""A session that is recorded and replayed shows the same, without a server; a file that can't be read says so."""

from __future__ import annotations

import inspect
import re
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import anyio
import msgspec
import pytest

from holdfast.client import Client
from holdfast.core.entries import StepCompleted
from holdfast.core.model import State
from holdfast.errors import HoldfastError, Refused, RunStateError
from holdfast.wire import api
from holdfast.wire.values import encode_value
from holdfast_tui import gateway, tape
from holdfast_tui.hiding import LEFT_OUT, hidden
from holdfast_tui.recording import Recorder
from holdfast_tui.replaying import Replay
from tui.desks import Bench, Clock, frame, over
from tui.world import NOW, FakeClient, failing, log_line, run_id

SECRET = "8812"
"""Of the payload of every run of the fake world."""


async def act(desk: Bench, clock: Clock, frames: list[str], *steps: tuple[str, ...]) -> None:
    """Press keys, a second between the steps, and keep what is on the screen after each."""
    for keys in steps:
        await desk.press(*keys)
        clock.now += 1
        desk.app.tick()
        await desk.settle()
        frames.append(frame(desk.app))


STEPS = ((), ("j",), ("enter",), ("q",), ("2",), ("j", "j", "j", "j", "j", "enter"), ("q",), ("4",), ("tab",), ("3",))


async def recorded(path: Path, *steps: tuple[str, ...], values: bool = True, most: int = 64 << 20) -> list[str]:
    client, clock, frames = FakeClient(), Clock(), list[str]()
    with Recorder(path, project="demo", values=values, most=most, clock=clock) as recorder:
        async with over(recorder.around(lambda: given(client)), client, clock) as desk:
            await act(desk, clock, frames, *steps)
    return frames


async def given(client: FakeClient) -> Client:
    return client.real


async def replayed(path: Path) -> list[str]:
    clock, frames = Clock(), list[str]()
    played = Replay(tape.read(path), clock=clock)
    async with over(played.client, FakeClient(full=False), clock) as desk:
        await act(desk, clock, frames, *STEPS)
    return frames


async def test_a_replay_shows_what_was_shown(tmp_path: Path) -> None:
    frames = await recorded(tmp_path / "session", *STEPS)
    again = await replayed(tmp_path / "session")
    for number, (first, second) in enumerate(zip(frames, again, strict=True)):
        assert first == second, STEPS[number]
    assert "emails" in frames[0]
    assert "capture" in frames[5]


async def test_an_answer_that_is_as_before_is_not_written_again(tmp_path: Path) -> None:
    await recorded(tmp_path / "session", ("2",), ())
    queues = [record for record in tape.read(tmp_path / "session").records if getattr(record, "ask", "") == "queues"]
    assert len(queues) == 1


async def test_values_are_left_out_and_the_desk_is_replayed_nevertheless(tmp_path: Path) -> None:
    frames = await recorded(tmp_path / "session", *STEPS, values=False)
    text = (tmp_path / "session").read_text()
    assert "charge-card" in text
    for told in (SECRET, "bad currency", "sent template", "smtp.example"):
        assert told not in text, told
    again = await replayed(tmp_path / "session")
    assert len(again) == len(frames)
    assert "capture" in again[5]
    assert "CurrencyError: (left out)" in again[7]


async def test_nobody_but_its_owner_reads_the_file(tmp_path: Path) -> None:
    await recorded(tmp_path / "session", ("2",), ())
    assert (tmp_path / "session").stat().st_mode & 0o777 == 0o600
    with pytest.raises(tape.TapeError, match="expected a file that is not there yet"), _recorder(tmp_path / "session"):
        pass
    with pytest.raises(tape.TapeError, match="can't be written"), _recorder(tmp_path / "no" / "session"):
        pass


async def test_a_full_file_takes_no_more_and_says_so(tmp_path: Path) -> None:
    await recorded(tmp_path / "session", *STEPS[:5], most=20_000)
    assert (tmp_path / "session").stat().st_size <= 20_100
    assert isinstance(tape.read(tmp_path / "session").records[-1], tape.Full)


def _recorder(path: Path) -> Recorder:
    return Recorder(path, project="demo", clock=lambda: NOW)


def _client(recorder: Recorder, client: FakeClient) -> Any:
    async def made() -> Any:
        return await recorder.around(lambda: given(client))()

    return made()


async def test_changes_are_recorded_without_what_they_were_told(tmp_path: Path) -> None:
    client = FakeClient()
    client.refuse["billing"] = "it is not to be paused"
    with _recorder(tmp_path / "session") as recorder:
        asked = await _client(recorder, client)
        await asked.run("r1").cancel("because of hunter2")
        await asked.complete("t1", {"password": "hunter2"})
        with pytest.raises(RunStateError):
            await asked.pause("billing")
    assert b"hunter2" not in (tmp_path / "session").read_bytes()
    changes = [record for record in tape.read(tmp_path / "session").records if isinstance(record, tape.Change)]
    assert [(change.ask, change.target, change.refused) for change in changes] == [
        ("run.cancel", "r1", ""),
        ("complete", "t1", ""),
        ("pause", "billing", "it is not to be paused"),
    ]


def test_a_value_that_was_read_alone_is_left_out_too() -> None:
    kept = hidden(api.Value(run="r1", key="/a#1", json=SECRET, size=4))
    assert (kept.key, kept.json, kept.size) == ("/a#1", LEFT_OUT, 4)


async def test_what_was_refused_or_not_answered_is_so_again(tmp_path: Path) -> None:
    client, clock = FakeClient(), Clock()
    with Recorder(tmp_path / "session", project="demo", clock=clock) as recorder:
        asked = await _client(recorder, client)
        with pytest.raises(Refused):
            await asked.get("nobody")
        await asked.queues()
        clock.now += 10
        client.down = True
        with pytest.raises(HoldfastError):
            await asked.queues()
        clock.now += 10
        client.down, client.queue_rows = False, []
        await asked.queues()
    clock = Clock()
    again = await Replay(tape.read(tmp_path / "session"), clock=clock).client()
    with pytest.raises(Refused, match="no run nobody"):
        await again.get("nobody")
    assert len((await again.queues()).queues) == 8
    clock.now += 11
    with pytest.raises(HoldfastError, match="nobody answers"):
        await again.queues()
    clock.now += 11
    assert (await again.queues()).queues == ()
    with pytest.raises(Refused, match="not in the recording"):
        await again.history("r1")
    with pytest.raises(AttributeError, match="drop_letter"):
        await again.drop_letter("r1")


async def test_a_question_is_known_by_what_it_asks_and_not_by_its_times(tmp_path: Path) -> None:
    client = FakeClient()
    with _recorder(tmp_path / "session") as recorder:
        asked = await _client(recorder, client)
        await asked.runs(api.RunsQuery(states=(State.DEAD,), since=NOW - 60))
    again = await Replay(tape.read(tmp_path / "session")).client()
    assert (await again.runs(api.RunsQuery(states=(State.DEAD,), since=NOW - 30))).total == 7
    with pytest.raises(Refused):
        await again.runs(api.RunsQuery(states=(State.DEAD,), before=(NOW, "x")))


async def test_what_was_heard_and_a_lost_link_come_again_in_their_time(tmp_path: Path) -> None:
    client, clock, heard = FakeClient(), Clock(), list[bytes]()
    trace = failing(run_id(2900), dead=False)
    data = trace.log(StepCompleted("/ship#1", NOW, 0.5, encode_value(SECRET)))
    subject = client.bus.subjects.live(run_id(2900), gateway.Kind.LOG)
    with Recorder(tmp_path / "session", project="demo", values=False, clock=clock) as recorder:
        asked = await _client(recorder, client)
        stop = await asked.bus.listen(subject, lambda _subject, data: heard.append(data))
        clock.now += 1
        client.bus.tell(run_id(2900), data)
        clock.now += 1
        client.bus.connected = False
        assert not asked.bus.connected
        clock.now += 1
        client.bus.connected = True
        asked.bus.on_reconnect(lambda: heard.append(b"back"))
        for call in client.bus.returned:
            call()
        await stop()
    assert heard == [data, b"back"]
    assert SECRET.encode() not in (tmp_path / "session").read_bytes()
    clock, heard = Clock(), list[bytes]()
    again = cast(Any, await Replay(tape.read(tmp_path / "session"), clock=clock).client())
    stop = await again.bus.listen(subject, lambda _subject, data: heard.append(data))
    again.bus.on_reconnect(lambda: heard.append(b"back"))
    assert again.bus.connected
    for seconds, count, connected in ((1, 1, True), (1, 1, False), (1, 2, True)):
        clock.now += seconds
        with anyio.fail_after(5):
            while len(heard) < count:  # noqa: ASYNC110 - what plays looks at the clock by itself
                await anyio.sleep(0.01)
        assert again.bus.connected is connected
    assert gateway.Kind.LOG in subject
    assert heard[1] == b"back"
    assert msgspec.msgpack.decode(heard[0])
    await stop()
    await again.close()


async def test_log_lines_come_again_and_those_of_a_run_are_part_of_all(tmp_path: Path) -> None:
    client, clock = FakeClient(), Clock()
    client.stream.write(*(log_line(number) for number in (201, 202, 203)))
    with Recorder(tmp_path / "session", project="demo", clock=clock) as recorder:
        asked = await _client(recorder, client)
        async with aclosing(asked.follow_output(run="*", after=100)) as rows:
            await anext(rows)
    again = cast(Any, await Replay(tape.read(tmp_path / "session"), clock=clock).client())
    async with aclosing(again.follow_output(run=run_id(2802), after=201)) as rows:
        assert [row.seq for row in await anext(rows)] == [202]


async def test_time_stands_still_at_the_end_and_goes_as_fast_as_asked(tmp_path: Path) -> None:
    await recorded(tmp_path / "session", ("2",), ())
    clock = Clock()
    played = Replay(tape.read(tmp_path / "session"), speed=4, clock=clock)
    assert played.clock() == NOW
    clock.now += 0.25
    assert played.clock() == NOW + 1
    clock.now += 100
    assert played.clock() == NOW + 2
    with pytest.raises(tape.TapeError, match="--speed: expected a number above 0"):
        Replay(played.tape, speed=0)


async def test_a_file_that_cannot_be_read_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    await recorded(tmp_path / "session", ("2",), ())
    good = (tmp_path / "session").read_bytes()
    first, second, *rest = good.split(b"\n")

    def wrong(data: bytes) -> str:
        (tmp_path / "bad").write_bytes(data)
        with pytest.raises(tape.TapeError) as error:
            tape.read(tmp_path / "bad")
        return str(error.value)

    with pytest.raises(tape.TapeError, match="found: No such file"):
        tape.read(tmp_path / "none")
    assert "found 'nothing' at its start" in wrong(b"")
    assert "found '{\"id\": 1}' at its start" in wrong(b'{"id": 1}\n')
    newer = first.replace(b'"recording":1', b'"recording":2').replace(b'"version":"', b'"version":"9')
    assert "found format 2, of holdfast 9" in wrong(newer + b"\n" + second)
    assert "line 3: expected a record, found 'garbage\\x00'" in wrong(b"\n".join([first, second, b"garbage\0", *rest]))
    assert "cut the file before this line" in wrong(b"\n".join([first, b'{"is":"dream","at":1}', *rest]))
    (tmp_path / "cut").write_bytes(good[:-20])
    assert len(tape.read(tmp_path / "cut").records) == len(tape.read(tmp_path / "session").records) - 1


def test_every_look_of_the_gateway_is_one_that_is_recorded_and_its_answer_can_be_read() -> None:
    asked = set(re.findall(r"self\._asked\(lambda client: client\.(\w+)\(", inspect.getsource(gateway)))
    assert asked
    assert asked <= {*tape.LOOKS, *tape.BEFORE_CHANGES}
    for name in tape.LOOKS:
        assert inspect.iscoroutinefunction(getattr(Client, name)), name
        tape.answers(name)
