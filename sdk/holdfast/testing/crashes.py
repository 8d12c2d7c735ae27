"""A task run once for each of its durable writes, with the worker killed there: does it come out the same?

The task is first run twice undisturbed, at different times: what differs between those two (a random value that a step
returned, a time) says nothing of crashes and is not compared by value. Then, for each write of the worker into the
journal, a world is made in which the worker dies just before it is stored, and one in which it dies just after. Another
worker goes on. A task that is right ends the same in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from holdfast.core.model import Seconds
from holdfast.task import Task
from holdfast.testing.judging import Judge
from holdfast.testing.line import Moment
from holdfast.testing.playing import Meanwhile, OneDeath, Play
from holdfast.testing.report import Boundary, CrashReport
from holdfast.testing.world import Settings, World

if TYPE_CHECKING:
    from holdfast.testing.harness import Harness

LATER: Seconds = 100_003.0
"""By which the second undisturbed run begins later: what depends on the time differs then."""

Progress: TypeAlias = Callable[[int, int, Boundary], None]
"""Told how many of how many crashes were made, and the last one."""


async def crash_everywhere(
    settings: Settings,
    task: Task[..., Any],
    payload: Mapping[str, Any],
    *,
    harness: Callable[[Settings, World], Harness],
    effects: Callable[[], Any] | None = None,
    reset: Callable[[], Any] | None = None,
    meanwhile: Meanwhile | None = None,
    progress: Progress | None = None,
) -> CrashReport:
    """As `Harness.crash_at_every_boundary`."""
    play = Play(settings, task, payload, harness, effects, reset, meanwhile)
    model = await play.undisturbed(settings.start)
    other = await play.undisturbed(settings.start + LATER)
    judge = Judge(model, other)
    total = 2 * len(model.writes)
    for number in range(1, len(model.writes) + 1):
        for moment in Moment:
            fate = OneDeath(number, moment)
            played = await play.world(settings.start, fate)
            at = Boundary(number, moment, fate.write or model.writes[number - 1])
            judge.hear(at, played, crashed=fate.write is not None)
            if progress is not None:
                progress(2 * number - (moment is Moment.BEFORE), total, at)
    return CrashReport(task.id, tuple(model.writes), tuple(judge.differences), tuple(judge.notes))
