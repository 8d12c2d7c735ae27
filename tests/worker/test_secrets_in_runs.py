"""Runs that use secrets and big values: what they see is real, and what any stream holds is not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from holdfast import Ended, Retry, run, secrets, step, task
from holdfast.core.entries import AttemptFailed, RunCreated, SecretPinned, StepCompleted, StepFailed, StepVolatile
from holdfast.errors import ChildFailed, RunFailed
from holdfast.safe import Safe
from holdfast.sealing import SecretKey
from holdfast.wire.references import is_kept
from holdfast.wire.subjects import Stream
from stage import Stage
from worlds import eventually

KEY = SecretKey.random()
VALUE, NEW = "sk_live_4eC39HqLyjW", "sk_live_rotated____"
ONCE = Retry(max_attempts=1)
QUICK = Retry(max_attempts=2, min_timeout=0.01, max_timeout=0.01, jitter=False)


UNDONE: list[str] = []


async def refund(key: str) -> None:
    UNDONE.append(key)


@step(undo=refund)
async def charge_with(key: str) -> None:
    assert key == VALUE


async def put(stage: Stage, value: str = VALUE, name: str = "STRIPE_KEY", **options: Any) -> int:
    return await Safe(stage.client.bus, KEY).put(name, value, **options)


async def dump(stage: Stage) -> bytes:
    """Every byte that any stream of the project holds, with the subjects."""
    found = [message for stream in Stream for message in await stage.client.bus.read(stream, ">")]
    return b"\n".join(message.subject.encode() + b" " + message.data for message in found)


@asynccontextmanager
async def heard(stage: Stage, *texts: str) -> AsyncIterator[list[bytes]]:
    """What runs wrote within the block, which ends when all these texts have come."""
    found: list[bytes] = []
    stop = await stage.client.bus.listen(stage.client.bus.subjects.output("*", "*"), lambda _, data: found.append(data))
    yield found
    await eventually(lambda: all(text.encode() in b"".join(found) for text in texts))
    await stop()


async def pins(stage: Stage, handle: Any) -> list[SecretPinned]:
    return [entry for entry in await stage.entries(handle) if isinstance(entry, SecretPinned)]


async def test_no_stream_holds_a_secret_after_a_run_that_prints_logs_and_returns_it(stage: Stage) -> None:
    seen: list[str] = []

    async def fetch() -> str:
        return secrets["STRIPE_KEY"]

    async def bearer() -> str:
        return f"Bearer {secrets['STRIPE_KEY']}"

    @task(retry=ONCE)
    async def leaky() -> dict[str, Any]:
        key = await fetch()
        seen.append(key)
        seen.append(await bearer())
        print(f"printed {key}!")
        logging.getLogger("shop").warning("logged %s?", key)
        run.log.info("told %r.", {"key": key})
        run.metadata["note"] = f"with {key}"
        await run.heartbeat({"at": key})
        await run.progress(1, text=f"used {key}")
        run.expose("state", lambda: {"key": key})
        return {"key": key, "header": f"Bearer {key}", "n": 1}

    await put(stage)
    said = ("printed [secret]!", "logged [secret]?", "told {'key': '[secret]'}.")
    async with stage.worker(leaky, key=KEY), heard(stage, *said) as lines:
        handle = await leaky.trigger()
        assert await handle.result(10) == {"key": "[secret STRIPE_KEY]", "header": "Bearer [secret]", "n": 1}
    assert VALUE.encode() not in b"".join(lines)
    assert seen == [VALUE, f"Bearer {VALUE}"]
    assert VALUE.encode() not in await dump(stage)
    assert KEY.text.encode() not in await dump(stage)
    kinds = [type(entry) for entry in await stage.entries(handle) if isinstance(entry, StepCompleted | StepVolatile)]
    assert kinds == [StepCompleted, StepVolatile]
    assert await pins(stage, handle) == [SecretPinned("STRIPE_KEY", 1)]


async def test_no_stream_holds_a_secret_after_a_run_that_raises_with_it(stage: Stage) -> None:
    class Declined(Exception):
        pass

    async def charge() -> None:
        raise Declined(f"key {secrets['STRIPE_KEY']} was declined")

    @task(retry=ONCE)
    async def failing() -> None:
        try:
            await charge()
        except Declined as error:
            error.add_note(f"by {secrets['STRIPE_KEY']}")
            raise ValueError(secrets["STRIPE_KEY"]) from error

    await put(stage)
    async with stage.worker(failing, key=KEY):
        handle = await failing.trigger()
        with pytest.raises(RunFailed, match=r"ValueError: \[secret\]"):
            await handle.result(10)
    assert VALUE.encode() not in await dump(stage)
    (failed,) = [entry for entry in await stage.entries(handle) if isinstance(entry, StepFailed)]
    assert failed.error.message == "key [secret] was declined"


async def test_a_resumed_run_sees_the_real_value_in_the_version_that_it_read(stage: Stage) -> None:
    seen: list[tuple[str, str]] = []
    began = asyncio.Event()
    go_on = asyncio.Event()

    async def fetch() -> dict[str, str]:
        return {"key": secrets["STRIPE_KEY"]}

    async def pause() -> None:
        began.set()
        await go_on.wait()

    @task
    async def patient() -> None:
        fetched = await fetch()
        await pause()
        seen.append((fetched["key"], secrets["STRIPE_KEY"]))

    await put(stage)
    async with stage.worker(patient, name="w1", key=KEY):
        handle = await patient.trigger()
        await began.wait()
    await put(stage, NEW)
    go_on.set()
    async with stage.worker(patient, name="w2", key=KEY):
        await handle.result(10)
        assert await (await patient.trigger()).result(10) is None
    assert seen == [(VALUE, VALUE), (NEW, NEW)]
    assert (await handle.status()).secrets == {"STRIPE_KEY": 1}
    stored = await dump(stage)
    assert VALUE.encode() not in stored
    assert NEW.encode() not in stored


@pytest.mark.parametrize(("latest", "expected"), [(False, [VALUE, VALUE]), (True, [VALUE, NEW])])
async def test_an_attempt_after_a_failed_one_reads_what_the_secret_says(
    stage: Stage, latest: bool, expected: list[str]
) -> None:
    seen: list[str] = []

    @task(retry=QUICK)
    async def again() -> None:
        seen.append(secrets["STRIPE_KEY"])
        if run.attempt == 1:
            await rotated()
            raise ValueError("401")

    @step
    async def rotated() -> None:
        await put(stage, NEW)

    await put(stage, latest_on_retry=latest)
    async with stage.worker(again, key=KEY):
        handle = await again.trigger()
        await handle.result(10)
    assert list(dict.fromkeys(seen)) == list(dict.fromkeys(expected))
    assert any(isinstance(entry, AttemptFailed) for entry in await stage.entries(handle))


async def test_a_child_gets_the_secret_and_its_payload_does_not_hold_it(stage: Stage) -> None:
    seen: list[str] = []

    @task(retry=ONCE)
    async def child(key: str) -> str:
        seen.append(key)
        return key

    @task(retry=ONCE)
    async def parent() -> bool:
        return await child.trigger_and_wait(secrets["STRIPE_KEY"]) == secrets["STRIPE_KEY"]

    @task(retry=ONCE)
    async def detached() -> None:
        await child.trigger(key=secrets["STRIPE_KEY"])

    await put(stage)
    async with stage.worker(child, parent, detached, key=KEY):
        assert await (await parent.trigger()).result(10) is True
        await (await detached.trigger()).result(10)
        await eventually(lambda: len(seen) == 2)
    assert seen == [VALUE, VALUE]
    assert VALUE.encode() not in await dump(stage)


async def test_an_undo_gets_the_secret_that_its_step_was_called_with(stage: Stage) -> None:
    UNDONE.clear()

    @task(retry=ONCE)
    async def order() -> None:
        await charge_with(secrets["STRIPE_KEY"])
        raise ValueError("no")

    await put(stage)
    async with stage.worker(order, key=KEY):
        handle = await order.trigger()
        with pytest.raises(RunFailed):
            await handle.result(10)
    assert UNDONE == [VALUE]
    assert VALUE.encode() not in await dump(stage)


async def test_signals_tokens_and_results_among_runs_carry_the_secret_without_holding_it(stage: Stage) -> None:
    seen: list[Any] = []

    @task(retry=ONCE)
    async def waiting() -> str:
        async for key in run.signals("key"):
            seen.append(key)
            return str(key)
        return ""

    @task(retry=ONCE)
    async def sending(target: str) -> bool:
        handle = await tell(target)
        return bool(await handle.result(10) == secrets["STRIPE_KEY"])

    @step
    async def tell(target: str) -> Any:
        await stage.client.signal(target, "key", secrets["STRIPE_KEY"])
        return stage.client.run(target)

    await put(stage)
    async with stage.worker(waiting, sending, key=KEY):
        first = await waiting.trigger()
        assert await (await sending.trigger(target=first.id)).result(10) is True
    assert seen == [VALUE]
    assert VALUE.encode() not in await dump(stage)


async def test_a_secret_that_is_not_set_fails_the_run_with_its_name(stage: Stage) -> None:
    @task(retry=ONCE)
    async def missing() -> str:
        return secrets["NOT_SET"]

    async with stage.worker(missing, key=KEY):
        with pytest.raises(RunFailed, match="secret NOT_SET: expected one of those that are set"):
            await (await missing.trigger()).result(10)


async def test_a_task_in_a_thread_reads_secrets_too(stage: Stage) -> None:
    seen: list[str] = []

    @task(retry=ONCE)
    def threaded() -> str:
        seen.append(secrets["STRIPE_KEY"])
        print("thread", secrets["STRIPE_KEY"])
        return secrets["STRIPE_KEY"]

    await put(stage)
    async with stage.worker(threaded, key=KEY), heard(stage, "thread [secret]"):
        handle = await threaded.trigger()
        assert await handle.result(10) == "[secret STRIPE_KEY]"
    assert seen == [VALUE]
    assert VALUE.encode() not in await dump(stage)
    assert (await handle.status()).secrets == {"STRIPE_KEY": 1}


# --- big values ----------------------------------------------------------------------------------------------------


async def test_a_big_payload_a_big_step_and_a_big_result_are_kept_apart_and_come_back(stage: Stage) -> None:
    big = bytes(range(256)) * 20_000  # 5 MB
    lengths: list[int] = []

    async def double(data: bytes) -> bytes:
        return data + data

    @task(retry=QUICK)
    async def heavy(data: bytes) -> bytes:
        doubled = await double(data)
        lengths.append(len(doubled))
        if run.attempt == 1:
            raise ValueError("once more, over the recorded step")
        return doubled + data

    async with stage.worker(heavy):
        handle = await heavy.trigger(data=big)
        assert await handle.result(30) == big * 3
    assert lengths == [len(big) * 2, len(big) * 2]
    entries = await stage.entries(handle)
    (created,) = [entry for entry in entries if isinstance(entry, RunCreated)]
    (completed,) = [entry for entry in entries if isinstance(entry, StepCompleted)]
    assert is_kept(created.payload)
    assert is_kept(completed.value)
    assert is_kept((await handle.status()).result or b"")


async def test_a_hook_is_told_a_big_payload_and_a_result_with_a_secret_in_it(stage: Stage) -> None:
    told: list[tuple[int, Any]] = []

    @task(retry=ONCE)
    async def hook(ended: Ended) -> None:
        told.append((len(ended.payload["data"]), ended.result))

    @task(retry=ONCE, on_success=hook)
    async def work(data: bytes) -> dict[str, str]:
        return {"key": secrets["STRIPE_KEY"]}

    await put(stage)
    async with stage.worker(work, hook, key=KEY):
        await (await work.trigger(data=b"x" * 400_000)).result(10)
        await eventually(lambda: bool(told))
    assert told == [(400_000, {"key": VALUE})]
    assert VALUE.encode() not in await dump(stage)


async def test_a_big_result_reaches_the_parent_and_a_failed_child_says_why(stage: Stage) -> None:
    @task(retry=ONCE)
    async def child(fails: bool) -> bytes:
        if fails:
            raise ValueError("no")
        return b"x" * 1_000_000

    @task(retry=ONCE)
    async def parent() -> int:
        with pytest.raises(ChildFailed, match="no"):
            await child.trigger_and_wait(True)
        return len(await child.trigger_and_wait(False))

    async with stage.worker(child, parent):
        assert await (await parent.trigger()).result(10) == 1_000_000
