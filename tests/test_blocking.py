"""The client for code that does not await: threads, a WSGI app, forks, interruptions."""

from __future__ import annotations

import asyncio
import inspect
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest

from holdfast import Retry, RunFailed, connect, run, task, wait
from holdfast.blocking import BlockingClient, BlockingHandle
from holdfast.client import Client
from holdfast.errors import ConnectError, HoldfastError, PayloadError, RunStateError, UnknownTask, UnknownToken
from holdfast.handle import RunHandle
from holdfast.task import Task
from holdfast.wire.values import decode_value
from servers import NatsServer, free_port
from stage import Stage

pytestmark = pytest.mark.parametrize("stage", ["jetstream"], indirect=True)


def shop() -> Task[..., Any]:
    @task(id="ship", retry=Retry(max_attempts=1))
    async def ship(order_id: str) -> str:
        if order_id == "bad":
            raise ValueError("no such order")
        return f"shipped {order_id}"

    return ship


@asynccontextmanager
async def served(stage: Stage, nats: NatsServer, *tasks: Task[..., Any]) -> AsyncIterator[Callable[[], connect]]:
    """Workers, and how code elsewhere connects."""
    async with stage.conductor(), stage.worker(*tasks):
        yield lambda: connect(nats.url, project=stage.client.bus.subjects.project)


async def blocking(work: Callable[[], Any]) -> Any:
    """What comes of code that does not await, in a thread."""
    return await asyncio.wait_for(asyncio.to_thread(work), 30)


async def test_a_script_triggers_by_task_and_by_name_and_gets_results(stage: Stage, nats: NatsServer) -> None:
    ship = shop()

    def script() -> None:
        with connecting() as hf:
            one = hf.trigger(ship, {"order_id": "A1"}, tags=["eu"])
            two = hf.trigger("ship", {"order_id": "A2"}, priority=0)
            three = hf.trigger(ship.options(delay=0.1), {"order_id": "A3"})
            assert [handle.result(timeout=10) for handle in (one, two, three)] == [f"shipped A{n}" for n in (1, 2, 3)]
            assert (one.status().tags, two.status().priority, one.cached) == (("eu",), 0, False)
            assert hf.run(one.id).result() == "shipped A1"
            assert type(next(iter(one.events()))).__name__ == "RunCreated"
            assert [type(entry).__name__ for entry in one.events()][-1] == "RunCompleted"
            keyed = [hf.trigger(ship, {"order_id": "A4"}, idempotency_key="k") for _ in range(2)]
            assert ([one.cached for one in keyed], keyed[0].id) == ([False, True], keyed[1].id)
            batch = hf.batch_trigger(ship, [{"order_id": "B1"}, {"order": 1}, ({"order_id": "B2"}, {"tags": ["x"]})])
            assert isinstance(batch[1], PayloadError)
            assert [one.result(10) for one in batch if isinstance(one, BlockingHandle)] == ["shipped B1", "shipped B2"]
            assert hf.emit("orders.created", {"order_id": "A1"}) == 1
            assert [card.id for card in hf.cards()] == ["ship"]
            assert isinstance(one.replay(), BlockingHandle)

    async with served(stage, nats, ship) as connecting:
        await blocking(script)


async def test_errors_come_through_as_they_are(stage: Stage, nats: NatsServer) -> None:
    ship = shop()

    def script() -> None:
        with connecting() as hf:
            with pytest.raises(UnknownTask, match="did you mean 'ship'"):
                hf.trigger("shipp", {})
            with pytest.raises(PayloadError, match="order_id"):
                hf.trigger(ship, {"order": 1})
            with pytest.raises(UnknownToken):
                hf.complete("nothing")
            bad = hf.trigger(ship, {"order_id": "bad"})
            with pytest.raises(RunFailed, match="no such order") as failed:
                bad.result(10)
            assert failed.value.run == bad.id
            with pytest.raises(RunStateError):
                bad.cancel()
            with pytest.raises(TimeoutError):
                hf.trigger(ship, {"order_id": "late"}, delay=60).result(timeout=0.05)

    async with served(stage, nats, ship) as connecting:
        await blocking(script)


async def test_a_run_is_steered_from_blocking_code(stage: Stage, nats: NatsServer) -> None:
    @task
    async def order() -> list[Any]:
        run.expose("state", lambda: "open")
        token = wait.token()
        run.metadata["token"] = token.id
        decision = await token
        async for change in run.signals("change"):
            return [decision, change]
        return []

    def script() -> None:
        with connecting() as hf:
            handle = hf.trigger(order)
            while "token" not in handle.status().metadata:
                time.sleep(0.01)
            assert hf.query(handle.id, "state") == handle.query("state") == "open"
            hf.complete(decode_value(handle.status().metadata["token"]), "yes")
            handle.signal("change", {"size": 2})
            assert handle.result(10) == ["yes", {"size": 2}]
            other = hf.trigger(order)
            other.cancel("enough")
            with pytest.raises(RunFailed, match="cancelled"):
                other.result(10)

    async with served(stage, nats, order) as connecting:
        await blocking(script)


async def test_twenty_threads_share_one_connection(stage: Stage, nats: NatsServer) -> None:
    ship = shop()

    def script() -> None:
        hf = connecting().blocking()
        barrier = threading.Barrier(20)

        def request(number: int) -> tuple[str, list[Any]]:
            barrier.wait(10)
            shared = hf.trigger(ship, {"order_id": f"x{number}"}, idempotency_key="A1")
            own = [hf.trigger(ship, {"order_id": f"{number}-{n}"}) for n in range(5)]
            return shared.id, [handle.result(20) for handle in own]

        with ThreadPoolExecutor(20) as threads:
            found = list(threads.map(request, range(20)))
        assert len({id for id, _ in found}) == 1
        assert [results for _, results in found] == [[f"shipped {t}-{n}" for n in range(5)] for t in range(20)]
        assert sum(thread.name == "holdfast-client" for thread in threading.enumerate()) == 1
        hf.close()
        assert not any(thread.name == "holdfast-client" for thread in threading.enumerate())

    async with served(stage, nats, ship) as connecting:
        await blocking(script)


async def test_a_wsgi_app_triggers_from_its_threads(stage: Stage, nats: NatsServer) -> None:
    """Flask and Django are such apps: a module's variable, and a thread for each request."""
    ship = shop()

    def script() -> None:
        hf = connecting().blocking()

        def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            handle = hf.trigger(ship, {"order_id": environ["PATH_INFO"][1:]}, idempotency_key=environ["PATH_INFO"])
            start("202 Accepted", [("Content-Type", "application/json")])
            return [json.dumps({"run": handle.id, "cached": handle.cached}).encode()]

        class Server(ThreadingMixIn, WSGIServer):
            daemon_threads = True
            request_queue_size = 64

        class Quiet(WSGIRequestHandler):
            def log_message(self, *args: Any) -> None: ...

        def post(n: int) -> Any:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/A{n % 10}", b"", timeout=20) as answer:
                return json.load(answer)

        with make_server("127.0.0.1", free_port(), app, Server, Quiet) as server, ThreadPoolExecutor(20) as threads:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            answers = list(threads.map(post, range(40)))
            server.shutdown()
        assert len({answer["run"] for answer in answers}) == 10
        assert sum(not answer["cached"] for answer in answers) == 10
        assert {hf.run(answer["run"]).result(10) for answer in answers} == {f"shipped A{n}" for n in range(10)}
        hf.close()

    async with served(stage, nats, ship) as connecting:
        await blocking(script)


async def test_async_code_is_told_to_await(stage: Stage, nats: NatsServer) -> None:
    ship = shop()
    async with served(stage, nats, ship) as connecting:
        with pytest.raises(HoldfastError, match=r"async with holdfast\.connect"):
            connecting().__enter__()
        hf = connecting().blocking()
        with pytest.raises(HoldfastError, match=r"async with holdfast\.connect"):
            hf.trigger(ship, {"order_id": "A1"})
        hf.close()


async def test_a_closed_connection_says_so_and_closing_ends_what_is_under_way(stage: Stage, nats: NatsServer) -> None:
    ship = shop()

    def script() -> None:
        with connecting() as hf:
            handle = hf.trigger(ship, {"order_id": "A1"}, delay=60)
            with ThreadPoolExecutor(1) as other:
                waiting = other.submit(handle.result)
                events = handle.events()
                next(events)
                hf.close()
                with pytest.raises(ConnectError, match="closed during this call"):
                    waiting.result(10)
        hf.close()
        for call in (handle.status, lambda: hf.trigger(ship, {"order_id": "A1"}), lambda: next(events), hf.cards):
            with pytest.raises(ConnectError, match="the connection is closed: connect again"):
                call()

    async with served(stage, nats, ship) as connecting:
        await blocking(script)


async def test_a_server_that_is_not_there_is_an_error_and_leaves_no_thread(stage: Stage) -> None:
    def script() -> None:
        nowhere = connect(f"nats://127.0.0.1:{free_port()}", project="p")
        with pytest.raises(ConnectError):
            nowhere.__enter__()
        hf = nowhere.blocking()
        for _ in range(2):
            with pytest.raises(ConnectError):
                hf.cards()
        hf.close()

    await blocking(script)
    await asyncio.to_thread(_gone)


def _gone() -> None:
    until = time.monotonic() + 10
    while any(thread.name == "holdfast-client" for thread in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.01)


# --- processes ------------------------------------------------------------------------------------------------------

FORKS = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # that threads are left behind is what this is about
from holdfast import connect
url, project = sys.argv[1:]
before, lazy = connect(url, project=project).blocking(), connect(url, project=project).blocking()
before.trigger("ship", {"order_id": "parent"}, declared=False)
child = os.fork()
if not child:
    try:
        before.trigger("ship", {"order_id": "child"}, declared=False)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
    before.close()
    print("lazy:", lazy.trigger("ship", {"order_id": "child"}, declared=False).status().state, flush=True)
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
print("parent:", before.trigger("ship", {"order_id": "parent"}, declared=False).status().state, flush=True)
print("parent, lazy:", lazy.trigger("ship", {"order_id": "p"}, declared=False).status().state, flush=True)
"""


async def python(stage: Stage, nats: NatsServer, code: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", code, nats.url, stage.client.bus.subjects.project,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="there are no forks")
async def test_after_a_fork_what_was_opened_before_says_so_and_the_rest_connects(
    stage: Stage, nats: NatsServer
) -> None:
    process = await python(stage, nats, FORKS)
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, err.decode()
    said = out.decode().splitlines()
    assert said[0].startswith("HoldfastError expected a connection that process ")
    assert "before it was forked: connect after the fork" in said[0]
    assert said[1:] == ["lazy: queued", "parent: queued", "parent, lazy: queued"]


ENDS = """
import sys
from holdfast import connect
hf = connect(sys.argv[1], project=sys.argv[2]).blocking()
print(hf.trigger("ship", {"order_id": "A1"}, declared=False).id, flush=True)
"""

WAITS = """
import sys
from holdfast import connect
with connect(sys.argv[1], project=sys.argv[2]) as hf:
    handle = hf.trigger("ship", {"order_id": "A1"}, declared=False)
    print("waits", flush=True)
    handle.result()
"""


async def test_a_script_that_forgets_to_close_ends_quietly(stage: Stage, nats: NatsServer) -> None:
    process = await python(stage, nats, ENDS)
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, err) == (0, b"")
    assert (await stage.client.run(out.decode().strip()).status()).state == "queued"


async def test_ctrl_c_ends_a_script_that_waits(stage: Stage, nats: NatsServer) -> None:
    process = await python(stage, nats, WAITS)
    assert process.stdout is not None
    while (await process.stdout.readline()).strip() != b"waits":
        pass
    process.send_signal(signal.SIGINT)
    _, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode in (-signal.SIGINT, 130)
    assert err.decode().strip().endswith("KeyboardInterrupt")
    assert err.decode().count("Traceback") == 1


# --- nothing is left out --------------------------------------------------------------------------------------------

OWN = {"start", "start_many", "close"}
"""What a client does for others of the SDK, and what is not a call of it."""


@pytest.mark.parametrize(
    ("asynchronous", "front"), [(Client, BlockingClient), (RunHandle, BlockingHandle)], ids=["client", "handle"]
)
def test_whatever_can_be_awaited_is_there_for_blocking_code_too(stage: Stage, asynchronous: type, front: type) -> None:
    awaited = {
        name
        for name, member in vars(asynchronous).items()
        if not name.startswith("_") and (inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member))
    }
    assert awaited - OWN - vars(front).keys() == set()
    for name in awaited - OWN:
        assert getattr(front, name).__doc__ == getattr(asynchronous, name).__doc__
