"""The operator's desk in a terminal of 80x24: how soon it is there, and what a key costs in time and bytes.

Measured with a long history, first while nothing happens, then while entries come at about 5,000 a second.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import anyio
from anyio import to_thread

from holdfast.bench import memory, tasks
from holdfast.bench.deployment import HOLDFAST, Deploy, Deployed, environment
from holdfast.bench.figures import Measure, percentile, spread
from holdfast.bench.terminal import Painted, Terminal
from holdfast.handle import RunHandle

STARTS = 3
KEYS = 40
"""How often each key is pressed, with a history of at least as many runs."""
IDLE = 3.0
"""Seconds in which bytes that come by themselves are counted."""
RATED = 12.0
"""Seconds after which the daemon's rates are those of what is going on."""

WITHIN = 30.0
STREAMS, PAUSE = 60, 0.01
"""Runs that make steps at once, and the seconds each step takes: what they can't do at once bounds the rate."""

KINDS = {"j": "cursor down", "\x04": "half a page", "G": "to the end", "g": "to the start", "\r": "open a run"}
"""Keys with what is measured of them; each is followed by one that undoes it where that is needed."""


async def desk(deploy: Deploy, count: int) -> list[Measure]:
    """Start, keys, bytes and memory with `count` runs in the history."""
    async with deploy(history=count, workers=2) as deployed:
        await (await tasks.noop.trigger()).result(WITHIN)  # so that there is a queue to be seen
        measures = await to_thread.run_sync(_starts, deployed, min(STARTS, count))
        with _opened(deployed) as terminal:
            measures += await to_thread.run_sync(_at_rest, terminal, _often(count))
            streams = [await tasks.paced.trigger(count=100_000, pause=PAUSE) for _ in range(STREAMS)]
            try:
                await anyio.sleep(min(RATED, count / KEYS))
                measures += await _live(deployed, terminal, _often(count))
            finally:
                await _ended(streams)
            measures.append(Measure("memory", "MiB", memory.of(terminal.pid) / 2**20, 1))
    return measures


def _often(count: int) -> int:
    """How often a key is pressed."""
    return max(2, min(KEYS, count))


def _opened(deployed: Deployed) -> Terminal:
    home = deployed.data.parent
    env = environment(home) | {"XDG_CONFIG_HOME": str(home / "config"), "XDG_STATE_HOME": str(home / "state")}
    return Terminal([*HOLDFAST, "tui"], env=env, cwd=Path(home))


def _starts(deployed: Deployed, often: int) -> list[Measure]:
    painted, filled, sizes = [], [], []
    for _ in range(often):
        with _opened(deployed) as terminal:
            painted.append(terminal.until("Queues", WITHIN)[0])
            seconds, size = terminal.until("default", WITHIN)
            filled.append(seconds)
            sizes.append(size)
    return [
        *spread("start to first paint", painted, (50,)),
        *spread("start to first content", filled, (50,)),
        Measure("start to first content, sent", "B", percentile(sorted(sizes), 50), often),
    ]


def _at_rest(terminal: Terminal, often: int) -> list[Measure]:
    terminal.until("default", WITHIN)
    found = _spread("queues", "cursor down", [terminal.press("j")])
    terminal.send("2")
    terminal.until(tasks.noop.id, WITHIN)
    for key, kind in KINDS.items():
        pressed: list[Painted | None] = []
        for _ in range(often if key in "j\x04" else max(2, often // 4)):
            pressed.append(terminal.press(key))
            if key == "\r":
                terminal.press("q")
            elif key == "G":
                terminal.press("g")
            elif key == "g":
                terminal.press("G")
        found += _spread("runs", kind, pressed)
    return [*found, Measure("nothing happens, sent", "B/s", _by_itself(terminal, often), 1)]


async def _live(deployed: Deployed, terminal: Terminal, often: int) -> list[Measure]:
    rates = []
    measures: list[Measure] = []
    for screen, key in (("runs", "g"), ("queues", "1")):
        await to_thread.run_sync(terminal.press, key)
        pressed: list[Painted | None] = []
        for _ in range(often):
            pressed.append(await to_thread.run_sync(terminal.press, "j" if len(pressed) % 2 == 0 else "k"))
        measures += _spread(f"{screen}, live", "cursor", pressed)
        sent = await to_thread.run_sync(_by_itself, terminal, often)
        measures.append(Measure(f"{screen}, live, sent by itself", "B/s", sent, 1))
        rates.append((await deployed.client.queues()).events)
    return [Measure("entries, live", "/s", sum(rates) / len(rates), len(rates)), *measures]


def _by_itself(terminal: Terminal, often: int) -> float:
    """Bytes a second that come without a key."""
    seconds = IDLE * often / KEYS
    return terminal.listen(seconds) / seconds


def _spread(screen: str, kind: str, pressed: list[Painted | None]) -> list[Measure]:
    """Times and sizes of keys; those that painted nothing (the cursor was at the end) say nothing."""
    painted = [each for each in pressed if each is not None]
    if not painted:
        return []
    sizes = sorted(each.size for each in painted)
    return [
        *spread(f"{screen}: {kind}, to first byte", [each.first for each in painted], (50, 99)),
        Measure(f"{screen}: {kind}, sent p50", "B", percentile(sizes, 50), len(sizes)),
    ]


async def _ended(handles: list[RunHandle]) -> None:
    await asyncio.gather(*(handle.kill() for handle in handles))
