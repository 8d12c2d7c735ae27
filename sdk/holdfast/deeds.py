"""What is done by whoever operates a project, as the audit names it, and the same from a shell.

A function for each method of the client that changes something, with that method's own parameters. What is not to be
kept (payloads, results, texts of errors) is a word in capitals in the command.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from holdfast.core.admission import QueueLimits
from holdfast.core.model import Rate, Seconds, seconds
from holdfast.core.pending import ACTIONS
from holdfast.core.schedule import CATCH_UP, Overlap
from holdfast.quantities import readable_rate
from holdfast.ticks import Cron, Every


class Deed(NamedTuple):
    """One change to one thing."""

    action: str
    kind: str
    """What the target is, as `AuditEntry.kind`."""
    target: str
    words: tuple[str, ...]
    """Of the command, before the target."""
    options: tuple[str, ...] = ()
    """Of the command, behind it."""
    reason: str = ""
    by_hand: bool = False
    """Whether it counts only where a person does it: programs do it all day."""


def shell(words: Iterable[str], targets: Iterable[str] = (), options: Iterable[str] = ()) -> str:
    """A command as it is typed."""
    return shlex.join(["holdfast", *words, *targets, *options])


# --- runs -----------------------------------------------------------------------------------------------------------


def cancel(run: str, reason: str = "") -> Deed:
    return Deed("cancel", "run", run, ("runs", "cancel"), _option("--reason", reason), reason)


def kill(run: str, reason: str = "") -> Deed:
    return Deed("kill", "run", run, ("runs", "cancel"), ("--kill", *_option("--reason", reason)), reason)


def retry(run: str, *, from_start: bool = False, payload: Mapping[str, Any] | None = None) -> Deed:
    options = (*_flag("--from-start", from_start), *(("--payload", "JSON") if payload is not None else ()))
    return Deed("retry" if payload is None else "edit", "run", run, ("runs", "retry"), options)


def replay(run: str) -> Deed:
    return Deed("replay", "run", run, ("runs", "replay"))


def fork(run: str, key: str, edits: Mapping[str, Any] | None = None, *, behind: bool = False) -> Deed:
    changed = [word for edited in edits or () for word in ("--set", f"{edited}=JSON")]
    return Deed("fork", "run", run, ("runs", "fork"), ("--behind" if behind else "--from", key, *changed))


def signal(run: str, name: str, value: Any = None) -> Deed:
    options = (name,) if value is None else (name, "JSON")
    return Deed("signal", "run", run, ("runs", "signal"), options, by_hand=True)


def resolve(run: str, key: str, action: str, value: Any = None) -> Deed:
    option = next((option for option, recorded in ACTIONS.items() if recorded == action), "")
    options = (key, option, *(("JSON",) if action == "done" else ()))
    return Deed("answer", "run", run, ("runs", "resolve"), tuple(word for word in options if word))


def complete(token_id: str, value: Any = None, *, error: str | BaseException | None = None) -> Deed:
    options = ("--error", "TEXT") if error is not None else () if value is None else ("JSON",)
    return Deed("complete", "token", token_id, ("runs", "complete"), options)


def drop_letter(run: str) -> Deed:
    return Deed("drop", "letter", run, ("dlq", "purge"))


# --- queues ---------------------------------------------------------------------------------------------------------


def pause(queue: str, *, paused: bool = True) -> Deed:
    action = "pause" if paused else "resume"
    return Deed(action, "queue", queue, ("queues", action))


def limit(queue: str, limits: QueueLimits | None) -> Deed:
    if limits is None:
        options: tuple[str, ...] = ("--reset",)
    else:
        rate = None if limits.rate is None else readable_rate(limits.rate)
        given = {"--concurrency": limits.concurrency, "--per-key": limits.key_concurrency, "--rate": rate}
        options = tuple(
            word for option, set_ in given.items() for word in (option, "none" if set_ is None else str(set_))
        )
    return Deed("limit", "queue", queue, ("queues", "limit"), options)


# --- schedules ------------------------------------------------------------------------------------------------------


def create_schedule(
    name: str,
    task: str,
    when: Cron | Every,
    payload: Mapping[str, Any] | None = None,
    *,
    queue: str | None = None,
    priority: int | None = None,
    replace: bool = False,
) -> Deed:
    options = (
        *("--task", task),
        *_times(when),
        *(("--payload", "JSON") if payload else ()),
        *_option("--queue", queue),
        *_option("--priority", priority),
        *_flag("--replace", replace),
    )
    return Deed("schedule-create", "schedule", name, ("schedules", "create"), options)


def _times(when: Cron | Every) -> tuple[str, ...]:
    catch_up, jitter = seconds(when.catch_up, "catch_up"), seconds(when.jitter, "jitter")
    return (
        *(("--cron", when.expression) if isinstance(when, Cron) else ("--every", _seconds(when.seconds))),
        *_option("--tz", when.tz if when.tz != "UTC" else None),
        *_option("--overlap", when.overlap if when.overlap != Overlap.SKIP else None),
        *_option("--catch-up", _seconds(catch_up) if catch_up != CATCH_UP else None),
        *_option("--jitter", _seconds(jitter) if jitter else None),
    )


def _seconds(value: Seconds | timedelta) -> str:
    return f"{seconds(value, 'seconds'):g}s"


def delete_schedule(name: str) -> Deed:
    return Deed("schedule-delete", "schedule", name, ("schedules", "delete"))


def pause_schedule(name: str) -> Deed:
    return Deed("schedule-pause", "schedule", name, ("schedules", "pause"))


def resume_schedule(name: str) -> Deed:
    return Deed("schedule-resume", "schedule", name, ("schedules", "resume"))


def run_schedule(name: str) -> Deed:
    return Deed("schedule-run", "schedule", name, ("schedules", "run"))


# --- access ---------------------------------------------------------------------------------------------------------


def create_token(name: str, scopes: Iterable[str], *, rate: Rate | None = None) -> Deed:
    wanted = [str(scope) for scope in scopes]
    options = (
        *(word for scope in wanted for word in ("--scope", scope)),
        *_option("--rate", None if rate is None else readable_rate(rate)),
    )
    return Deed("token-create", "token", name, ("tokens", "create", "--name"), options)


def revoke_token(id: str) -> Deed:
    return Deed("token-revoke", "token", id, ("tokens", "revoke"))


def set_secret(name: str, *, rotate: bool = False, latest_on_retry: bool | None = None) -> Deed:
    verb = "rotate" if rotate else "set"
    options = () if latest_on_retry is None else ("--latest-on-retry" if latest_on_retry else "--pinned-on-retry",)
    return Deed(f"secret-{verb}", "secret", name, ("secrets", verb), options)


def remove_secret(name: str, version: int | None = None) -> Deed:
    return Deed("secret-remove", "secret", name, ("secrets", "remove"), _option("--version", version))


# --- workers --------------------------------------------------------------------------------------------------------


def drain_worker(name: str) -> Deed:
    return Deed("worker-drain", "worker", name, ("workers", "drain"))


def resume_worker(name: str) -> Deed:
    return Deed("worker-resume", "worker", name, ("workers", "resume"))


def stop_worker(name: str) -> Deed:
    return Deed("worker-stop", "worker", name, ("workers", "stop"))


def _option(name: str, value: object) -> tuple[str, ...]:
    return () if value is None or value == "" else (name, str(value))


def _flag(name: str, given: bool) -> tuple[str, ...]:
    return (name,) if given else ()
