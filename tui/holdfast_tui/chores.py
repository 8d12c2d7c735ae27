"""How what is done to schedules, workers and events asks and is sent; the rows are in `verbs.DEEDS`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.ticks import Cron, Every
from holdfast_tui.format import clean, plural
from holdfast_tui.router import Question

if TYPE_CHECKING:
    from holdfast_tui.gateway import Gateway
    from holdfast_tui.plan import Plan


def asks(verb: str, plan: Plan, *, more: str = "") -> Question:
    """The plain question: the verb, how many, which."""
    return Question(text=f"{verb} {plural(plan.size, plan.what)}?{plan.which()}{more}")


# --- schedules --------------------------------------------------------------------------------------------------------


async def pause(gateway: Gateway, plan: Plan, target: str, *, paused: bool) -> None:
    await gateway.pause_schedule(target, paused=paused)


async def trigger(gateway: Gateway, plan: Plan, target: str) -> None:
    await gateway.run_schedule(target)


async def reschedule(gateway: Gateway, plan: Plan, target: str) -> None:
    await gateway.reschedule(target, plan.values[target])


def ask_times(plan: Plan) -> Question:
    (name,) = plan.targets
    return Question(text=f"Have {clean(name)} tick {clean(told_times(plan.values[name]))} from now on?")


def told_times(when: Cron | Every) -> str:
    """The times of a schedule, as they are typed."""
    return when.expression if isinstance(when, Cron) else f"every {when.seconds:g}s"


def reschedule_command(plan: Plan, name: str) -> str:
    when = plan.values[name]
    times = f'--cron "{clean(when.expression)}"' if isinstance(when, Cron) else f"--every {when.seconds:g}s"
    return f"holdfast schedules change {clean(name)} {times}"


# --- workers ----------------------------------------------------------------------------------------------------------


async def drain(gateway: Gateway, plan: Plan, target: str) -> None:
    await gateway.drain_worker(target)


async def resume(gateway: Gateway, plan: Plan, target: str) -> None:
    await gateway.resume_worker(target)


async def stop(gateway: Gateway, plan: Plan, target: str) -> None:
    await gateway.stop_worker(target)


def ask_stop(plan: Plan) -> Question:
    (name,) = plan.targets
    held = plan.before.get(name, 0)
    text = f"STOP worker {clean(name)}: it ends once its {plural(held, 'run')} ended or wait. Type its name"
    return Question(text=text, typed=name)


# --- events -----------------------------------------------------------------------------------------------------------


async def reroute(gateway: Gateway, plan: Plan, target: str) -> None:
    await gateway.reroute(int(target), again=plan.again)


def ask_reroute(plan: Plan) -> Question:
    """What a dry run said (`Plan.before`), and whether to do it; also for those that have a run, where some have."""
    would = plan.before
    parts = [f"{would['created']:,} new"] if would["created"] else []
    parts += [f"{would['existed']:,} there already"] if would["existed"] else []
    parts += [f"{would['unmapped']:,} dead at once"] if would["unmapped"] else []
    parts += [f"{would['unwanted']:,} wanted by no route"] if would["unwanted"] else []
    text = f"Route {plural(plan.size, plan.what)} again?  runs: {', '.join(parts) or 'none'}"
    options = (("y", "yes"), ("a", "another run also where there is one")) if would["existed"] else (("y", "yes"),)
    return Question(text=text, options=options)
