"""What happens in the demo, act by act, told while it happens; what is left behind is the evidence for `claims`."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

import anyio

from holdfast.cli import text
from holdfast.client import Client, RunHandle
from holdfast.core.entries import (
    AttemptFailed,
    AttemptInterrupted,
    AttemptResumed,
    ChildTriggered,
    Entry,
    RunCreated,
    RunDead,
    StepCompleted,
    StepRetried,
    Suspended,
)
from holdfast.core.lifecycle import fold
from holdfast.core.model import ErrorInfo, Seconds
from holdfast.core.tree import Tree
from holdfast.demo import outside
from holdfast.demo.claims import ORDERS, Act, Evidence, Kill, Witness
from holdfast.demo.tasks import process_order, restock
from holdfast.errors import HoldfastError, Refused
from holdfast.wire import codec
from holdfast.wire.api import Letter, LettersQuery, RunRow, decode
from holdfast.wire.subjects import Stream

PATIENCE: Seconds = 15.0
"""What an act may take before it counts as failed."""

KILL_AFTER = "/pack#2"
"""The checkpoint behind which the worker is killed."""

SNIPPET = """\
import asyncio, json, nats

async def main():
    me = json.load(open(".holdfast/credentials/default.json"))
    nc = await nats.connect(
        me["url"], user=me["user"], password=me["password"]
    )
    event = {"order": "D-1004", "items": ["mouse"]}
    subject = "hf.default.evt.orders.created"
    await nc.jetstream().publish(subject, json.dumps(event).encode())
    await nc.close()

asyncio.run(main())
"""
"""A producer that knows nothing of holdfast."""


class Audience(Protocol):
    """Whom the story is told."""

    def act(self, title: str) -> None:
        """Something new begins."""

    def note(self, text: str) -> None:
        """Something happened in it."""

    def show(self, code: str) -> None:
        """What is run now, as it is."""


class Trouble(Exception):
    """The story can't go on as it should."""


class Story:
    """The acts. Each fails for itself: the others go on, and the claims about it do not hold."""

    def __init__(
        self, client: Client, directory: Path, pids: Callable[[], Mapping[str, int]], audience: Audience
    ) -> None:
        """
        Args:
            directory: where the workers run, and write down their calls.
            pids: of the worker processes, by name.
        """
        self._client = client
        self._directory = directory
        self._pids = pids
        self._audience = audience
        self._runs: dict[Act, RunHandle] = {}
        self._troubles: dict[Act, str] = {}
        self._kill: Kill | None = None
        self._letter: Letter | None = None
        self._letter_listed = False
        self._letter_left = True

    async def perform(self) -> Evidence:
        """Play every act; what is there then."""
        await self._act(Act.ORDER, self._order)
        await self._act(Act.KILL, self._killed_worker)
        await self._act(Act.LETTER, self._dead_letter)
        await self._act(Act.EVENT, self._event)
        return await self._evidence()

    async def _act(self, act: Act, play: Callable[[], Awaitable[None]]) -> None:
        try:
            with anyio.fail_after(PATIENCE):
                await play()
        except TimeoutError:
            self._fail(act, f"it did not end within {PATIENCE:g} s")
        except (HoldfastError, Trouble, OSError) as error:
            self._fail(act, str(error) or type(error).__name__)

    def _fail(self, act: Act, why: str) -> None:
        self._troubles[act] = why
        self._audience.note(f"this went wrong: {why}")

    # --- the acts -----------------------------------------------------------------------------------------------------

    async def _order(self) -> None:
        order, items = ORDERS[Act.ORDER]
        self._audience.act(f"order {order}: parallel steps, a flaky step, a loop, a child run")
        handle = self._runs[Act.ORDER] = await process_order.trigger(order, list(items))
        await self._watch(handle)

    async def _killed_worker(self) -> None:
        order, items = ORDERS[Act.KILL]
        self._audience.act(f"order {order}: its worker is killed in mid-run")
        handle = self._runs[Act.KILL] = await process_order.trigger(order, list(items))
        async for entry in handle.events():
            self._tell(entry)
            if self._kill is None and isinstance(entry, StepCompleted) and entry.key == KILL_AFTER:
                self._kill = await self._kill_holder(handle)
        await handle.result()
        if self._kill is None:
            raise Trouble(f"the run ended without {KILL_AFTER}")

    async def _kill_holder(self, handle: RunHandle) -> Kill:
        """Kill the worker that holds the run, by the journal."""
        holder = (await handle.status()).holder
        pid = self._pids().get(holder.worker) if holder is not None else None
        if holder is None or pid is None:
            raise Trouble(f"expected one of our workers to hold the run, found {holder}")
        kill = Kill(holder.worker, pid, time.time())
        os.kill(pid, signal.SIGKILL)
        self._audience.note(f"kill -9 {pid}: {short(holder.worker)}, which holds the run behind {KILL_AFTER}")
        return kill

    async def _dead_letter(self) -> None:
        self._audience.act("restock lamps: the supplier is closed, the attempts run out")
        closed = self._directory / outside.CLOSED
        closed.touch()
        handle = self._runs[Act.LETTER] = await restock.trigger("lamp", 10)
        await self._watch(handle)
        self._letter = await self._letter_of(handle)
        self._letter_listed = await self._listed(handle)
        if self._letter is not None:
            self._audience.note(f"a dead letter of {text.count(self._letter.attempts, 'attempt')} lies in the queue")
        closed.unlink()
        self._audience.note("the supplier opens; the letter is retried, as by `holdfast dlq retry`")
        await handle.retry()
        self._audience.note(f"completed: {await handle.result()} lamps are bought")
        subject = self._client.bus.subjects.letter(restock.queue, handle.id)
        there = await self._client.bus.last(Stream.JOURNAL, subject) is not None
        self._letter_left = there or await self._listed(handle)

    async def _letter_of(self, handle: RunHandle) -> Letter | None:
        """The run's dead letter on its subject; it follows the run's death, so it is given a moment."""
        subject = self._client.bus.subjects.letter(restock.queue, handle.id)
        with anyio.move_on_after(2):
            async for messages in self._client.bus.follow(Stream.JOURNAL, subject, first=handle.first):
                if messages:
                    return decode(messages[-1].data, Letter)
        return None

    async def _listed(self, handle: RunHandle) -> bool:
        """Whether the daemon lists a dead letter of the run."""
        await self._caught_up()
        page = await self._client.letters(LettersQuery())
        return handle.id in {letter.run for letter in page.letters}

    async def _event(self) -> None:
        self._audience.act("an event from outside; its program knows NATS, and nothing of holdfast")
        self._audience.show(SNIPPET)
        last = await self._client.bus.last_seq(Stream.JOURNAL)
        done = await anyio.run_process(
            [sys.executable, "-c", SNIPPET], cwd=self._directory, check=False, start_new_session=True
        )
        if done.returncode != 0:
            raise Trouble(f"the program failed: {done.stderr.decode(errors='replace').strip()[-300:]}")
        async for created in self._created_after(last):
            if created.task == process_order.id and created.parent is None:
                break
        handle = self._runs[Act.EVENT] = self._client.run(created.run)
        self._audience.note(f"a run of {created.task} began, its source: {created.source}")
        await handle.result()

    async def _created_after(self, seq: int) -> AsyncIterator[RunCreated]:
        ready = self._client.bus.subjects.items("*", 5)
        async for messages in self._client.bus.follow(Stream.JOURNAL, ready, first=seq + 1):
            for message in messages:
                entry = codec.decode_entry(message.data)
                if isinstance(entry, RunCreated):
                    yield entry

    async def _watch(self, handle: RunHandle) -> None:
        async for entry in handle.events():
            self._tell(entry)

    def _tell(self, entry: Entry) -> None:
        if said := told(entry):
            self._audience.note(said)

    # --- what is there then -----------------------------------------------------------------------------------------

    async def _evidence(self) -> Evidence:
        calls = outside.counted(self._directory)
        await self._caught_up()
        runs = {act: await self._witness(handle.id, calls) for act, handle in self._runs.items()}
        begun = [entry for it in runs.values() for entry in it.entries if isinstance(entry, ChildTriggered)]
        children = {entry.child: await self._witness(entry.child, calls) for entry in begun}
        return Evidence(
            runs, children, self._kill, self._letter, self._letter_listed, self._letter_left, self._troubles
        )

    async def _witness(self, run_id: str, calls: Counter[tuple[str, str]]) -> Witness:
        records = [record for _, record in await self._client.journal.messages(run_id)]
        run = fold(records)
        assert run is not None
        entries = tuple(entry for record in records for entry in record.entries)
        tree = Tree.of(entries)
        own = Counter({key: number for (id, key), number in calls.items() if id == run_id})
        return Witness(run, entries, tree, own, await self._row(run_id))

    async def _row(self, run_id: str) -> RunRow | None:
        try:
            return (await self._client.get(run_id)).row
        except Refused:
            return None

    async def _caught_up(self) -> None:
        """Wait until the history holds what the journal holds now; not for ever."""
        last = await self._client.bus.last_seq(Stream.JOURNAL)
        with anyio.move_on_after(5):
            while (await self._client.health()).projected < last:  # noqa: ASYNC110 - it is another process's progress
                await anyio.sleep(0.02)


def told(entry: Entry) -> str:
    """What is worth telling while it happens; empty for what the tree shows as well."""
    match entry:
        case StepRetried():
            return f"{_name(entry.key)}, try {entry.number}: {error_line(entry.error)}"
        case ChildTriggered():
            return f"{_name(entry.key)} is a run of its own, {entry.child[-8:]}"
        case Suspended():
            return "the order waits for it, and holds no worker meanwhile"
        case AttemptInterrupted():
            return f"the daemon takes the run from it: {entry.reason.partition(': ')[2]}"
        case AttemptResumed():
            return f"{short(entry.worker)} goes on behind the last checkpoint"
        case AttemptFailed():
            return f"{error_line(entry.error)}; another attempt in {text.took(entry.due - entry.at)}"
        case RunDead():
            return f"{error_line(entry.error)}; {entry.reason}"
    return ""


def error_line(error: ErrorInfo) -> str:
    """An error on one line, its type without the module."""
    return f"{error.type.rpartition('.')[2]}: {error.message}"


def short(worker: str) -> str:
    """A worker of the pool by its number."""
    return f"worker {worker.rpartition('-')[2]}"


def _name(key: str) -> str:
    return key.rpartition("/")[2].removesuffix("#1")
