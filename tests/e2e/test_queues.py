"""Queues with limits under real workers that are killed: as the tasks themselves see it, no limit is ever exceeded."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest

from deployment import Deployment
from holdfast.bus.jetstream import connect
from holdfast.client import Client
from holdfast.credentials import file_of, read
from holdfast.dial import dial
from holdfast.handle import RunHandle
from holdfast.wire.api import decode
from holdfast.wire.subjects import Stream
from holdfast_daemon.leadership import Reign
from servers import NatsServer

TASKS = """
import asyncio, os, random, time
from pathlib import Path
from holdfast import Rate, run, task

HERE = Path(os.environ["EFFECTS"]).parent / "running"
HERE.mkdir(exist_ok=True)

def say(line):
    file = os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{line}\\n".encode())
    os.close(file)

def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False

def others():
    return sum(alive(name.partition("-")[0]) for name in os.listdir(HERE))

@task(queue="seven", max_interruptions=1000)
async def limited(n: int) -> int:
    mine = HERE / f"{os.getpid()}-{run.id}"
    mine.touch()
    say(f"limited {others()}")
    try:
        await asyncio.sleep(random.uniform(0.01, 0.08))
        say(f"limited {others()}")
    finally:
        mine.unlink(missing_ok=True)
    return n

@task(queue="rated", rate=Rate(50))
async def rated(n: int) -> int:
    say(f"rated {time.monotonic()}")
    return n

@task(queue="keys", concurrency=1, concurrency_key="key")
async def keyed(key: str) -> str:
    say(f"begin {key} {run.id}")
    await asyncio.sleep(0.001)
    say(f"end {key} {run.id}")
    return key
"""


@pytest.fixture
def house(tmp_path: Path) -> Deployment:
    made = Deployment(tmp_path, TASKS, workers=4)
    config = tmp_path / "holdfast.toml"
    config.write_text(config.read_text() + "[queues.seven]\nconcurrency = 7\n")
    return made


async def client_of(house: Deployment) -> Client:
    return Client(await dial(read(file_of(house.home / ".holdfast", "default")), name="test"))


async def start(client: Client, task: str, payloads: list[dict[str, object]]) -> list[RunHandle]:
    card = await client.card(task)
    assert card is not None
    from holdfast.client import card_settings, encode_payload

    made = [client.new_run(task, encode_payload(payload), card_settings(card)) for payload in payloads]
    started = await client.start_many(made)
    assert all(isinstance(one, RunHandle) for one in started), started
    return [one for one in started if isinstance(one, RunHandle)]


async def test_never_one_more_than_the_limit_runs_though_workers_and_daemon_are_killed(house: Deployment) -> None:
    chance = random.Random(4)
    with house:
        client = await client_of(house)
        handles = await start(client, "limited", [{"n": n} for n in range(160)])
        for number in range(5):
            await asyncio.sleep(chance.uniform(0.2, 0.6))
            if number == 2:
                house.kill()
                house.start()
            elif workers := list(house.workers().values()):
                os.kill(chance.choice(workers), signal.SIGKILL)
        for n, handle in enumerate(handles):
            assert await handle.result(timeout=60) == n
        await client.close()
    counts = [int(line.split()[1]) for line in house.lines() if line.startswith("limited")]
    assert max(counts) <= 7
    assert counts.count(7) > 10, "it is not slower than need be"


async def test_a_rate_holds_in_every_window_over_four_workers(house: Deployment) -> None:
    with house:
        client = await client_of(house)
        for handle in await start(client, "rated", [{"n": n} for n in range(220)]):
            await handle.result(timeout=60)
        await client.close()
    starts = sorted(float(line.split()[1]) for line in house.lines() if line.startswith("rated"))
    assert len(starts) == 220
    most = max(sum(begin <= at < begin + 1 for at in starts[i : i + 80]) for i, begin in enumerate(starts))
    assert most <= 50
    assert starts[-1] - starts[0] < 12


async def test_a_backlog_of_one_key_does_not_hold_up_fifty_others(house: Deployment) -> None:
    with house:
        client = await client_of(house)
        hog = await start(client, "keyed", [{"key": "hog"}] * 300)
        others = await start(client, "keyed", [{"key": f"k{n}"} for n in range(50)])
        for handle in others:
            await handle.result(timeout=60)
        left = sum([not (await handle.status()).final for handle in hog[-30:]])
        for handle in hog:
            await handle.result(timeout=60)
        await client.close()
    assert left > 0, "the others came before the hog's last ones"
    running: dict[str, str] = {}
    for line in house.lines():
        what, key, run = line.split()
        if what == "begin":
            assert key not in running, line
            running[key] = run
        else:
            assert running.pop(key) == run


def joined(home: Path, server: NatsServer) -> Deployment:
    """A daemon with workers on a server of its own."""
    made = Deployment(home, TASKS, workers=2)
    (home / "holdfast.toml").write_text(
        f'[nats]\nurl = "{server.url}"\n[daemon]\nhttp = "{made.http.removeprefix("http://")}"\n'
        '[projects.default]\nmodules = ["tasks"]\ndrain = 2\n[queues.seven]\nconcurrency = 7\n'
    )
    made.effects = home.parent / "effects.txt"
    return made


async def test_of_two_daemons_the_other_goes_on_when_the_one_that_conducts_is_killed(tmp_path: Path) -> None:
    with (
        NatsServer(tmp_path / "nats") as server,
        joined(tmp_path / "one", server) as first,
        joined(tmp_path / "two", server) as second,
    ):
        client = Client(await connect(server.url, project="default"), name="test")

        async def conducts() -> str:
            record = await client.bus.last(Stream.JOURNAL, client.bus.subjects.lead)
            assert record is not None
            return decode(record.data, Reign).daemon

        before = await conducts()
        handles = await start(client, "limited", [{"n": n} for n in range(60)])
        assert await handles[10].result(timeout=60) == 10
        first.kill()
        for n, handle in enumerate(handles):
            assert await handle.result(timeout=60) == n
        assert await conducts() != before
        first.start()
        late = await start(client, "limited", [{"n": n} for n in range(30)])
        os.kill(second.pid, signal.SIGSTOP)  # it conducts, and does not know that it does no more
        for n, handle in enumerate(late):
            assert await handle.result(timeout=60) == n
        os.kill(second.pid, signal.SIGCONT)
        (last,) = await start(client, "limited", [{"n": 7}])
        assert await last.result(timeout=60) == 7
        await client.close()
    counts = [int(line.split()[1]) for line in first.lines()]
    assert max(counts) <= 7
