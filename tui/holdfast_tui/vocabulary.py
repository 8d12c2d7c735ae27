"""The names that the desk has seen in its lists: what a command line is completed with."""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.core.ids import LENGTH
from holdfast.wire import api
from holdfast_tui.command import Known
from holdfast_tui.format import STATES

RUNS = 200
"""How many runs are offered, those that were seen first in their lists."""


def known(rows: Iterable[object], *, views: Iterable[str] = (), themes: Iterable[str] = ()) -> Known:
    """What the rows name, each once; names in their order, runs in that of their lists."""
    queues: set[str] = set()
    tasks: set[str] = set()
    workers: set[str] = set()
    runs: dict[str, None] = {}
    for row in rows:
        match row:
            case api.QueueRow():
                queues.add(row.name)
            case api.RunRow():
                runs[row.id] = None
                queues.add(row.queue)
                tasks.add(row.task)
                workers |= {row.worker} - {""}
            case api.Letter():
                runs[row.run] = None
                queues.add(row.queue)
                tasks.add(row.task)
    fields = {
        "state": [word.lower() for word, _ in STATES.values()],
        "queue": sorted(queues),
        "task": sorted(tasks),
        "worker": sorted(workers),
        "is": ["paused"],
    }
    return Known(fields["queue"], list(runs)[:RUNS], sorted(views), list(themes), fields)


def run_named(text: str, runs: Iterable[str]) -> str:
    """The run that was seen and whose id ends so, or a whole id as it is. Raises: ValueError: neither, or several."""
    found = {run for run in runs if run.endswith(text)}
    if len(found) > 1:
        raise ValueError(f"expected more of the id: {len(found)} runs end with {text}")
    if not found and len(text) != LENGTH:
        raise ValueError(f"expected a run that a list has shown, or its whole id, found {text}")
    return found.pop() if found else text
