"""What an operator can do, to runs and all else: one row a verb says how it asks, how it is sent and how it is told.

A new verb is a member of `Verb`, a row of `DEEDS`, and what the row needs of the gateway: nothing else tells verbs
apart.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from holdfast.ticks import Cron, Every
from holdfast_tui.format import clean, plural, short
from holdfast_tui.router import Question

if TYPE_CHECKING:
    from holdfast_tui.gateway import Gateway
    from holdfast_tui.plan import Plan

RATE = 10.0
"""Dead letters drained per second."""

FROM_START = (("y", "yes"), ("s", "from start instead"))
"""The answers to a question about a retry."""


class Verb(StrEnum):
    """What can be done."""

    RETRY = "retry"
    CANCEL = "cancel"
    KILL = "kill"
    REPLAY = "replay"
    DROP = "drop"
    DRAIN = "drain"
    """Retry every dead letter that matches, at `RATE`."""
    PAUSE = "pause"
    RESUME = "resume"
    HOLD = "hold"
    """Pause schedules."""
    UNHOLD = "unhold"
    """Resume schedules."""
    TRIGGER = "trigger"
    """Start a run of a schedule now."""
    RESCHEDULE = "reschedule"
    """Have a schedule tick at other times."""
    REST = "rest"
    """Drain workers: they take up nothing until they are resumed."""
    WORK = "work"
    """Have drained workers take up runs again."""
    STOP = "stop"
    """Drain a worker and end it."""
    REROUTE = "reroute"
    """Route events once more."""


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """A verb, carried out."""

    done: str
    """What was done to a target, as the answer says it."""
    ask: Callable[[Plan], Question]
    send: Callable[[Gateway, Plan, str], Awaitable[str | None]]
    """Do it to one target; the answer is the run that was made by it, if any. Raises: HoldfastError."""
    shell: Callable[[Plan, str], str]
    """The same from a shell, for one target."""
    undo: Callable[[Plan], Plan] | None = None
    """What takes it back; None: nothing does."""
    rate: float | None = None
    """How many are sent in a second at most; None: as many as are answered."""


def sure(plan: Plan) -> Question:
    """The plain question: the verb, how many, which."""
    return Question(text=f"{plan.verb.capitalize()} {plural(plan.size, plan.what)}?{plan.which()}")


def _ask_retry(plan: Plan) -> Question:
    text = f"Retry {plural(plan.size, plan.what)} from the last checkpoint?{plan.which()}"
    return Question(text=text, options=FROM_START)


def _ask_drain(plan: Plan) -> Question:
    what = plural(plan.total, "dead letter") + (" or more" if plan.more else "")
    text = f"Drain: retry {what} {plan.matching()}, {RATE:.0f} a second, from the last checkpoint?"
    return Question(text=text, options=FROM_START)


def _ask_drop(plan: Plan) -> Question:
    text = f"DROP {plural(plan.size, plan.what)} for good.{plan.which()}  Type the number of letters"
    return Question(text=text, typed=str(plan.size))


def _ask_kill(plan: Plan) -> Question:
    end = short(plan.targets[0])
    return Question(text=f"KILL run {end}: it ends now, without cleanup, without undos. Type its id", typed=end)


def _ask_replay(plan: Plan) -> Question:
    run = short(plan.targets[0])
    return Question(text=f"Begin {run} again as a new run: its payload, from the start, today's code?")


async def _retry(gateway: Gateway, plan: Plan, target: str) -> None:
    await gateway.retry(target, from_start=plan.from_start)


async def _cancel(gateway: Gateway, plan: Plan, target: str) -> None:
    await gateway.cancel(target)


async def _kill(gateway: Gateway, plan: Plan, target: str) -> None:
    await gateway.kill(target)


async def _replay(gateway: Gateway, plan: Plan, target: str) -> str:
    return await gateway.replay(target)


async def _drop(gateway: Gateway, plan: Plan, target: str) -> None:
    await gateway.drop(target)


async def _pause(gateway: Gateway, plan: Plan, target: str) -> None:
    await gateway.pause(target, paused=plan.verb is Verb.PAUSE)


async def _hold(gateway: Gateway, plan: Plan, target: str) -> None:
    await gateway.pause_schedule(target, paused=plan.verb is Verb.HOLD)


async def _trigger(gateway: Gateway, plan: Plan, target: str) -> None:
    await gateway.run_schedule(target)


async def _reschedule(gateway: Gateway, plan: Plan, target: str) -> None:
    await gateway.reschedule(target, plan.values[target])


async def _rest(gateway: Gateway, plan: Plan, target: str) -> None:
    await gateway.drain_worker(target)


async def _work(gateway: Gateway, plan: Plan, target: str) -> None:
    await gateway.resume_worker(target)


async def _stop(gateway: Gateway, plan: Plan, target: str) -> None:
    await gateway.stop_worker(target)


async def _reroute(gateway: Gateway, plan: Plan, target: str) -> None:
    await gateway.reroute(int(target), again=plan.again)


def _asks(verb: str, more: str = "") -> Callable[[Plan], Question]:
    """A plain question with another verb's name than its own."""
    return lambda plan: Question(text=f"{verb} {plural(plan.size, plan.what)}?{plan.which()}{more}")


def _ask_reschedule(plan: Plan) -> Question:
    (name,) = plan.targets
    return Question(text=f"Have {clean(name)} tick {clean(told_times(plan.values[name]))} from now on?")


def told_times(when: Cron | Every) -> str:
    """The times of a schedule, as they are typed."""
    return when.expression if isinstance(when, Cron) else f"every {when.seconds:g}s"


def _times(plan: Plan, name: str) -> str:
    when = plan.values[name]
    times = f'--cron "{clean(when.expression)}"' if isinstance(when, Cron) else f"--every {when.seconds:g}s"
    return f"holdfast schedules change {clean(name)} {times}"


def _ask_stop(plan: Plan) -> Question:
    (name,) = plan.targets
    held = plan.before.get(name, 0)
    text = f"STOP worker {clean(name)}: it ends once its {plural(held, 'run')} ended or wait. Type its name"
    return Question(text=text, typed=name)


def _ask_reroute(plan: Plan) -> Question:
    would = plan.before
    parts = [f"{would['created']:,} new"] if would["created"] else []
    parts += [f"{would['existed']:,} there already"] if would["existed"] else []
    parts += [f"{would['unmapped']:,} dead at once"] if would["unmapped"] else []
    parts += [f"{would['unwanted']:,} wanted by no route"] if would["unwanted"] else []
    text = f"Route {plural(plan.size, plan.what)} again?  runs: {', '.join(parts) or 'none'}"
    options = (("y", "yes"), ("a", "another run also where there is one")) if would["existed"] else (("y", "yes"),)
    return Question(text=text, options=options)


def _again(plan: Plan) -> str:
    return " --again" if plan.again else ""


def _start(plan: Plan) -> str:
    return " --from-start" if plan.from_start else ""


def _opposite(verb: Verb) -> Callable[[Plan], Plan]:
    """Takes back what was done to the same targets by another verb."""
    return lambda plan: msgspec.structs.replace(plan, verb=verb, hidden=0, passed=0)


DEEDS: Mapping[Verb, Deed] = MappingProxyType(
    {
        Verb.RETRY: Deed(
            done="retried",
            ask=_ask_retry,
            send=_retry,
            shell=lambda plan, run: f"holdfast runs retry {run}{_start(plan)}",
        ),
        Verb.CANCEL: Deed(
            done="asked to cancel",
            ask=sure,
            send=_cancel,
            shell=lambda plan, run: f"holdfast runs cancel {run}",
        ),
        Verb.KILL: Deed(
            done="killed",
            ask=_ask_kill,
            send=_kill,
            shell=lambda plan, run: f"holdfast runs cancel --kill {run}",
        ),
        Verb.REPLAY: Deed(
            done="replayed",
            ask=_ask_replay,
            send=_replay,
            shell=lambda plan, run: f"holdfast runs replay {run}",
        ),
        Verb.DROP: Deed(
            done="dropped",
            ask=_ask_drop,
            send=_drop,
            shell=lambda plan, run: f"holdfast dlq purge {run}",
        ),
        Verb.DRAIN: Deed(
            done="retried",
            ask=_ask_drain,
            send=_retry,
            shell=lambda plan, run: f"holdfast dlq drain{_start(plan)}",
            rate=RATE,
        ),
        Verb.PAUSE: Deed(
            done="paused",
            ask=sure,
            send=_pause,
            shell=lambda plan, queue: f"holdfast queues pause {clean(queue)}",
            undo=_opposite(Verb.RESUME),
        ),
        Verb.RESUME: Deed(
            done="resumed",
            ask=sure,
            send=_pause,
            shell=lambda plan, queue: f"holdfast queues resume {clean(queue)}",
            undo=_opposite(Verb.PAUSE),
        ),
        Verb.HOLD: Deed(
            done="paused",
            ask=_asks("Pause"),
            send=_hold,
            shell=lambda plan, name: f"holdfast schedules pause {clean(name)}",
            undo=_opposite(Verb.UNHOLD),
        ),
        Verb.UNHOLD: Deed(
            done="resumed",
            ask=_asks("Resume", "  from now on; nothing is made up for"),
            send=_hold,
            shell=lambda plan, name: f"holdfast schedules resume {clean(name)}",
            undo=_opposite(Verb.HOLD),
        ),
        Verb.TRIGGER: Deed(
            done="triggered",
            ask=_asks("Start a run now of"),
            send=_trigger,
            shell=lambda plan, name: f"holdfast schedules run {clean(name)}",
        ),
        Verb.RESCHEDULE: Deed(done="changed", ask=_ask_reschedule, send=_reschedule, shell=_times),
        Verb.REST: Deed(
            done="told to drain",
            ask=_asks("Drain", "  until resumed: what runs ends, nothing new begins"),
            send=_rest,
            shell=lambda plan, name: f"holdfast workers drain {clean(name)}",
            undo=_opposite(Verb.WORK),
        ),
        Verb.WORK: Deed(
            done="told to go on",
            ask=_asks("Resume"),
            send=_work,
            shell=lambda plan, name: f"holdfast workers resume {clean(name)}",
            undo=_opposite(Verb.REST),
        ),
        Verb.STOP: Deed(
            done="told to stop",
            ask=_ask_stop,
            send=_stop,
            shell=lambda plan, name: f"holdfast workers stop {clean(name)}",
        ),
        Verb.REROUTE: Deed(
            done="routed again",
            ask=_ask_reroute,
            send=_reroute,
            shell=lambda plan, seq: f"holdfast events replay {seq}{_again(plan)}",
        ),
    }
)
"""Every verb."""
