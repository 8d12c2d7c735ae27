"""What an operator can do, to runs and all else: one row a verb says how it asks, how it is sent and how it is told.

A new verb is a member of `Verb`, a row of `DEEDS`, and what the row needs of the gateway: nothing else tells verbs
apart.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from functools import partial
from shlex import quote
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from holdfast.quantities import readable_rate
from holdfast_tui import chores
from holdfast_tui.format import clean, plural, short, took
from holdfast_tui.model.changes import Payload
from holdfast_tui.model.cut import Cut
from holdfast_tui.router import Question

if TYPE_CHECKING:
    from holdfast.core.admission import QueueLimits
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
    """Retry every dead letter that matches, at a rate."""
    DISCARD = "discard"
    """Drop every dead letter that matches."""
    FORK = "fork"
    """Begin a new run with another one's outcomes up to a checkpoint (`model.cut.Cut`)."""
    EDIT = "edit"
    """Retry from the start with another payload (`model.changes.Payload`)."""
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
    LIMIT = "limit"
    """Let so many runs of a queue run at once, or start in a time: `Plan.values` has its `QueueLimits`."""
    PURGE = "purge"
    """Cancel all runs of a queue that wait and have never started."""


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
    speed = plan.pace or RATE
    lasts = took(max(0, plan.total - 1) / speed)
    what = f"{plural(plan.total, 'dead letter')} {plan.matching()}"
    return Question(text=f"Drain {what} at {speed:g}/s ({lasts}) from the last checkpoint?", options=FROM_START)


def _ask_drop(plan: Plan) -> Question:
    text = f"DROP {plural(plan.size, plan.what)} for good.{plan.which()}  Type the number of letters"
    return Question(text=text, typed=str(plan.size))


def _ask_discard(plan: Plan) -> Question:
    text = f"PURGE: drop {plural(plan.total, 'dead letter')} {plan.matching()} for good.  Type their number"
    return Question(text=text, typed=str(plan.total))


def _ask_kill(plan: Plan) -> Question:
    end = short(plan.targets[0])
    return Question(text=f"KILL run {end}: it ends now, without cleanup, without undos. Type its id", typed=end)


def _ask_replay(plan: Plan) -> Question:
    run = short(plan.targets[0])
    return Question(text=f"Begin {run} again as a new run: its payload, from the start, today's code?")


def _ask_fork(plan: Plan) -> Question:
    run, cut = short(plan.targets[0]), cut_of(plan)
    if cut.behind:
        kept = plural(len(cut.kept), "result")
        return Question(text=f"Fork {run} behind {clean(cut.key)} with the other result, {kept} kept?")
    editing = (("e", "edit its result first"),) if cut.editable else ()
    text = f"Fork {run} before {clean(cut.key)}: a new run keeps {plural(len(cut.kept), 'result')}, the rest runs anew?"
    return Question(text=text, options=(("y", "yes"), *editing))


def _ask_edit(plan: Plan) -> Question:
    paced = f" at {plan.pace:g}/s ({took((plan.size - 1) / plan.pace)})" if plan.pace else ""
    return Question(text=f"Retry {plural(plan.size, plan.what)} from the start, edited{paced}?{plan.which()}")


async def _fork(gateway: Gateway, plan: Plan, target: str) -> str:
    cut = cut_of(plan)
    return await gateway.fork(target, cut.key, cut.edits, behind=cut.behind)


async def _edit(gateway: Gateway, plan: Plan, target: str) -> None:
    await gateway.retry(target, from_start=True, payload=payload_of(plan, target).arguments)


def _fork_shell(plan: Plan, run: str) -> str:
    cut = cut_of(plan)
    edits = "".join(f" --set {shlex.quote(f'{key}={_json(new)}')}" for key, new in cut.edits.items())
    return f"holdfast runs fork {run} {'--behind' if cut.behind else '--from'} {shlex.quote(cut.key)}{edits}"


def _edit_shell(plan: Plan, run: str) -> str:
    return f"holdfast runs retry {run} --from-start --payload {shlex.quote(_json(payload_of(plan, run).arguments))}"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def cut_of(plan: Plan) -> Cut:
    """Where a fork is cut."""
    found = plan.values[plan.targets[0]]
    assert isinstance(found, Cut)
    return found


def payload_of(plan: Plan, run: str) -> Payload:
    """What a run gets that is retried with another payload."""
    found = plan.values[run]
    assert isinstance(found, Payload)
    return found


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


def _ask_limit(plan: Plan) -> Question:
    limits = plan.values[plan.targets[0]]
    command = DEEDS[Verb.LIMIT].shell(plan, plan.targets[0])
    more = f" and {len(plan.targets) - 1:,} more" if len(plan.targets) > 1 else ""
    return Question(text=f"Limit {clean(plan.targets[0])}{more}: {told_limits(limits)}?  {command}")


def _ask_purge(plan: Plan) -> Question:
    name = plan.targets[0]
    text = f"PURGE {clean(name)}: cancel all {plan.total:,} that wait there and never started. Type its name"
    return Question(text=text, typed=name)


def told_limits(limits: QueueLimits) -> str:
    """Limits in words."""
    parts = [f"{limits.concurrency:,} at once"] if limits.concurrency is not None else []
    parts += [f"{limits.key_concurrency:,} of each key"] if limits.key_concurrency is not None else []
    parts += [readable_rate(limits.rate)] if limits.rate is not None else []
    return ", ".join(parts) or "none"


async def _limit(gateway: Gateway, plan: Plan, target: str) -> None:
    await gateway.limit(target, plan.values[target])


async def _purge(gateway: Gateway, plan: Plan, target: str) -> None:
    await gateway.purge(target)


def _limit_command(plan: Plan, target: str) -> str:
    limits = plan.values[target]
    bound = "none" if limits.concurrency is None else limits.concurrency
    rate = "none" if limits.rate is None else readable_rate(limits.rate)
    return f"holdfast queues limit {quote(clean(target))} -c {bound} --rate {rate}"


def _as_before(plan: Plan) -> Plan:
    """Gives the targets the limits that they had."""
    return msgspec.structs.replace(plan, values=plan.before, before=plan.values, hidden=0, passed=0)


def _letters(plan: Plan) -> str:
    """The options that choose the same dead letters."""
    return f" --filter {shlex.quote(clean(plan.whose))}" if plan.whose else ""


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
        Verb.FORK: Deed(done="forked", ask=_ask_fork, send=_fork, shell=_fork_shell),
        Verb.EDIT: Deed(done="retried with the new payload", ask=_ask_edit, send=_edit, shell=_edit_shell),
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
            shell=lambda plan, run: f"holdfast dlq drain{_letters(plan)} --rate {plan.pace or RATE:g}/s{_start(plan)}",
            rate=RATE,
        ),
        Verb.DISCARD: Deed(
            done="dropped",
            ask=_ask_discard,
            send=_drop,
            shell=lambda plan, run: f"holdfast dlq purge{_letters(plan) or ' --all'}",
        ),
        Verb.PAUSE: Deed(
            done="paused",
            ask=sure,
            send=_pause,
            shell=lambda plan, queue: f"holdfast queues pause {quote(clean(queue))}",
            undo=_opposite(Verb.RESUME),
        ),
        Verb.RESUME: Deed(
            done="resumed",
            ask=sure,
            send=_pause,
            shell=lambda plan, queue: f"holdfast queues resume {quote(clean(queue))}",
            undo=_opposite(Verb.PAUSE),
        ),
        Verb.HOLD: Deed(
            done="paused",
            ask=partial(chores.asks, "Pause"),
            send=partial(chores.pause, paused=True),
            shell=lambda plan, name: f"holdfast schedules pause {clean(name)}",
            undo=_opposite(Verb.UNHOLD),
        ),
        Verb.UNHOLD: Deed(
            done="resumed",
            ask=partial(chores.asks, "Resume", more="  from now on; nothing is made up for"),
            send=partial(chores.pause, paused=False),
            shell=lambda plan, name: f"holdfast schedules resume {clean(name)}",
            undo=_opposite(Verb.HOLD),
        ),
        Verb.TRIGGER: Deed(
            done="triggered",
            ask=partial(chores.asks, "Start a run now of"),
            send=chores.trigger,
            shell=lambda plan, name: f"holdfast schedules run {clean(name)}",
        ),
        Verb.RESCHEDULE: Deed(
            done="changed", ask=chores.ask_times, send=chores.reschedule, shell=chores.reschedule_command
        ),
        Verb.REST: Deed(
            done="told to drain",
            ask=partial(chores.asks, "Drain", more="  until resumed: what runs ends, nothing new begins"),
            send=chores.drain,
            shell=lambda plan, name: f"holdfast workers drain {clean(name)}",
            undo=_opposite(Verb.WORK),
        ),
        Verb.WORK: Deed(
            done="told to go on",
            ask=partial(chores.asks, "Resume"),
            send=chores.resume,
            shell=lambda plan, name: f"holdfast workers resume {clean(name)}",
            undo=_opposite(Verb.REST),
        ),
        Verb.STOP: Deed(
            done="told to stop",
            ask=chores.ask_stop,
            send=chores.stop,
            shell=lambda plan, name: f"holdfast workers stop {clean(name)}",
        ),
        Verb.REROUTE: Deed(
            done="routed again",
            ask=chores.ask_reroute,
            send=chores.reroute,
            shell=lambda plan, seq: f"holdfast events replay {seq}{' --again' if plan.again else ''}",
        ),
        Verb.LIMIT: Deed(
            done="limited",
            ask=_ask_limit,
            send=_limit,
            shell=_limit_command,
            undo=_as_before,
        ),
        Verb.PURGE: Deed(
            done="purged: what waited and had never started is cancelled",
            ask=_ask_purge,
            send=_purge,
            shell=lambda plan, queue: f"holdfast queues purge {quote(clean(queue))}",
        ),
    }
)
"""Every verb."""
