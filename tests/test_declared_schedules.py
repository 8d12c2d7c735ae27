"""`@task(schedule=...)`: what a task may declare, and what is refused at import."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast import Cron, Every, task
from holdfast.errors import DefinitionError
from holdfast.task import TASKS
from holdfast.ticks import Scheduled


def test_one_schedule_has_the_name_of_its_task() -> None:
    @task(schedule=Cron("*/5 * * * *", tz="Europe/Paris", overlap="buffer_one", catch_up=60, jitter=3))
    async def sweep_all() -> None: ...

    (found,) = sweep_all.schedules
    assert (found.name, found.task, found.cron, found.tz) == ("sweep-all", "sweep-all", "*/5 * * * *", "Europe/Paris")
    assert (found.overlap, found.catch_up, found.jitter, found.every) == ("buffer_one", 60.0, 3.0, None)


def test_several_have_names_of_their_own_behind_the_tasks() -> None:
    @task(id="sweep", schedule=[Every(60, name="often"), Cron("@daily", name="daily")])
    async def anything() -> None: ...

    assert [one.name for one in anything.schedules] == ["sweep--often", "sweep--daily"]


def test_a_task_without_one_has_none() -> None:
    @task
    async def plain() -> None: ...

    assert plain.schedules == ()


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("* * * * *", r"expected a Cron, an Every, or a list of them, found '\* \* \* \* \*'"),
        (30, "expected a Cron, an Every, or a list of them, found 30"),
        (None, "expected a Cron, an Every, or a list of them, found None"),
        ([30], "expected a Cron, an Every, or a list of them, found 30"),
        ([Every(30), Every(60)], "of several schedules each has a name= of its own"),
        ([Every(30, name="a"), Every(60)], "of several schedules each has a name= of its own"),
        ([Every(30, name="a"), Every(60, name="a")], "of several schedules each has a name= of its own"),
        (Every(30, name="a b"), "schedule 'a b': expected letters, digits"),
        (Every(30, name="a.b"), r"schedule 'a\.b': expected letters, digits"),
    ],
)
def test_what_is_no_schedule_is_refused(schedule: Any, words: str) -> None:
    with pytest.raises(DefinitionError, match=f"task sweep: .*{words}"):

        @task(id="sweep", schedule=schedule)
        async def sweep() -> None: ...

    assert "sweep" not in TASKS


def test_a_task_that_needs_arguments_has_no_schedule() -> None:
    with pytest.raises(DefinitionError, match=r"or with `tick`, .* found charge\(order_id: str\) -> None: give"):

        @task(schedule=Every(60))
        async def charge(order_id: str) -> None: ...

    with pytest.raises(DefinitionError, match="give the other parameters a default"):

        @task(schedule=Every(60))
        async def refund(tick: Scheduled, order_id: str) -> None: ...

    assert not {"charge", "refund"} & TASKS.keys()


def test_what_has_a_default_needs_no_argument() -> None:
    @task(schedule=Every(60))
    async def one(limit: int = 3) -> None: ...

    @task(schedule=Every(60))
    async def two(tick: Scheduled, *, limit: int = 3) -> None: ...

    @task(schedule=Every(60))
    async def three(tick: Scheduled | None = None) -> None: ...

    assert all(made.schedules for made in (one, two, three))


def test_two_tasks_do_not_declare_schedules_of_one_name() -> None:
    @task(id="a", schedule=Every(60, name="b"))
    async def first() -> None: ...

    with pytest.raises(DefinitionError, match="task a--b: task a has a schedule a--b too: name= it otherwise"):

        @task(id="a--b", schedule=Every(60))
        async def second() -> None: ...


def test_the_same_module_may_be_imported_twice() -> None:
    def declare() -> None:
        @task(schedule=Every(60))
        async def sweep() -> None: ...

    declare()
    declare()
    assert len(TASKS["sweep"].schedules) == 1
