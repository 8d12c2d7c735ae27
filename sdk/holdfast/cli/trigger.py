"""`holdfast trigger` starts a run, `holdfast emit` publishes an event."""

from __future__ import annotations

from typing import Annotated, Any

import anyio
import msgspec
import typer

from holdfast.cli import given
from holdfast.cli.app import Usage
from holdfast.cli.output import Output, stored
from holdfast.cli.session import connected, group
from holdfast.cli.text import visible
from holdfast.client import Client
from holdfast.core.keys import Debounce
from holdfast.core.model import FIRST_PRIORITY, LAST_PRIORITY, Retry, Run, State, Timeouts
from holdfast.deeds import shell
from holdfast.errors import HoldfastError
from holdfast.handle import RunHandle, failure
from holdfast.wire.api import AuditEntry
from holdfast.wire.render import render_json

trigger_app = group()
emit_app = group()


@connected(trigger_app)
async def trigger(
    client: Client,
    out: Output,
    task: Annotated[str, typer.Argument(metavar="TASK", help="Its id.")],
    payload: Annotated[
        str, typer.Argument(metavar="JSON|@FILE|-", help="Arguments by name; @FILE reads a file, - stdin.")
    ] = "{}",
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for the end and print the result.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", parser=given.seconds, metavar="DURATION", help="With --wait: at most so long."),
    ] = None,
    queue: Annotated[str, typer.Option("--queue", "-q", help="Another queue than the task's own.")] = "",
    delay: Annotated[
        float | None, typer.Option("--delay", parser=given.seconds, metavar="DURATION", help="Start so much later.")
    ] = None,
    priority: Annotated[
        int | None, typer.Option("--priority", min=FIRST_PRIORITY, max=LAST_PRIORITY, help="0 first, 9 last.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="May be repeated.")] = None,
    metadata: Annotated[
        str | None, typer.Option("--metadata", metavar="JSON", help="Named values shown with the run; also @FILE, -.")
    ] = None,
    ttl: Annotated[
        float | None,
        typer.Option(
            "--ttl", parser=given.seconds, metavar="DURATION", help="It expires unless it starts within; 0: for ever."
        ),
    ] = None,
    schedule_to_close: Annotated[
        float | None,
        typer.Option(
            "--timeout-schedule-to-close", parser=given.seconds, metavar="DURATION", help="Of the run, over all tries."
        ),
    ] = None,
    start_to_close: Annotated[
        float | None,
        typer.Option("--timeout-start-to-close", parser=given.seconds, metavar="DURATION", help="Of each attempt."),
    ] = None,
    schedule_to_start: Annotated[
        float | None,
        typer.Option(
            "--timeout-schedule-to-start", parser=given.seconds, metavar="DURATION", help="Of each attempt, to start."
        ),
    ] = None,
    heartbeat: Annotated[
        float | None,
        typer.Option("--timeout-heartbeat", parser=given.seconds, metavar="DURATION", help="Between two heartbeats."),
    ] = None,
    retry: Annotated[
        str | None, typer.Option("--retry", metavar="JSON", help='Instead of the task\'s, e.g. {"max_attempts": 5}.')
    ] = None,
    concurrency_key: Annotated[
        str | None, typer.Option("--concurrency-key", metavar="KEY", help="Runs of one key are limited apart.")
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option("--idempotency-key", metavar="KEY", help="One run for all triggers of the task with this key."),
    ] = None,
    idempotency_ttl: Annotated[
        float | None,
        typer.Option(
            "--idempotency-ttl", parser=given.seconds, metavar="DURATION", help="How long it keeps the key; 30 days."
        ),
    ] = None,
    debounce: Annotated[
        str | None,
        typer.Option("--debounce", metavar="KEY:DELAY", help="Put the key's run off instead, e.g. user-7:30s."),
    ] = None,
    debounce_most: Annotated[
        float | None,
        typer.Option("--debounce-max-delay", parser=given.seconds, metavar="DURATION", help="But start it by then."),
    ] = None,
    debounce_leading: Annotated[
        bool, typer.Option("--debounce-leading", help="It keeps its first payload; else it gets the last one.")
    ] = False,
    undeclared: Annotated[
        bool, typer.Option("--undeclared", help="Also a task that no worker has declared: the run waits for one.")
    ] = False,
) -> None:
    """Start a run of a task and print its id; it is durable then."""
    arguments = given.payload_of(payload)
    options: dict[str, Any] = {
        "queue": queue or None,
        "delay": delay,
        "priority": priority,
        "tags": tag,
        "ttl": ttl,
        "metadata": None if metadata is None else given.object_of(metadata, "--metadata", "values by name"),
        "timeouts": _timeouts(
            schedule_to_start=schedule_to_start,
            start_to_close=start_to_close,
            schedule_to_close=schedule_to_close,
            heartbeat=heartbeat,
        ),
        "retry": None if retry is None else _retry(retry),
        "concurrency_key": concurrency_key,
        "idempotency_key": idempotency_key,
        "idempotency_ttl": idempotency_ttl,
        "debounce": _debounce(debounce, debounce_most, leading=debounce_leading),
    }
    handle = await client.trigger(task, arguments, declared=not undeclared, **options)
    if not handle.cached:
        await client.audited(_entry("trigger", "run", handle.id, task))
    found = ", which was there: it has the key" if handle.cached else ""
    if not wait:
        out.record({"run": handle.id, "cached": handle.cached}) if out.json else out.line(handle.id)
        if found:
            out.note(f"run {handle.id}{found}")
        return
    out.note(f"run {handle.id}{found}")
    run = await _ended(handle, timeout)
    if out.json:
        out.record({"run": run.id, "state": run.state, "result": stored(run.result or b""), "error": run.error})
    if run.state is not State.COMPLETED:
        raise failure(run)
    if not out.json:
        _result(run, out)


def _entry(action: str, kind: str, target: str, name: str) -> AuditEntry:
    """For the audit, without the payload."""
    return AuditEntry(
        action=action, kind=kind, targets=(target,), accepted=1, command=shell((action,), (name,), ("JSON",))
    )


def _timeouts(**given: float | None) -> Timeouts | None:
    """The timeouts that are given instead of the task's own; None: none are. Raises: Usage."""
    if all(value is None for value in given.values()):
        return None
    try:
        return Timeouts(**given)
    except ValueError as error:
        raise Usage(str(error)) from None


def _retry(source: str) -> Retry:
    """A policy as JSON. Raises: Usage."""
    fields = given.object_of(source, "--retry", "settings")
    allowed = [name for name in Retry.__struct_fields__ if name != "retry_if"]
    try:
        if unknown := fields.keys() - set(allowed):
            raise ValueError(f"expected {', '.join(allowed)}, found {', '.join(sorted(unknown))}")
        return msgspec.convert(fields, Retry)
    except ValueError as error:  # msgspec's too
        raise Usage(f"--retry: {error}") from None


def _debounce(text: str | None, most: float | None, *, leading: bool) -> Debounce | None:
    """A debounce as `KEY:DELAY`. Raises: Usage."""
    if text is None:
        if most is not None or leading:
            raise Usage("--debounce-max-delay and --debounce-leading: expected --debounce KEY:DELAY beside them")
        return None
    key, _, delay = text.rpartition(":")
    try:
        return Debounce(key, given.seconds(delay), most, "leading" if leading else "trailing")
    except (ValueError, typer.BadParameter) as error:
        raise Usage(f"--debounce: expected KEY:DELAY like user-7:30s, found {text!r:.80}: {error}") from None


async def _ended(handle: RunHandle, timeout: float | None) -> Run:
    try:
        with anyio.fail_after(timeout):
            async for _ in handle.events():
                pass
            return await handle.status()
    except TimeoutError:
        raise HoldfastError(
            f"run {handle.id} has not ended within {timeout:g} s; it goes on: see `holdfast runs watch {handle.id}`"
        ) from None


def _result(run: Run, out: Output) -> None:
    if run.result:
        out.lines(visible(line) for line in render_json(run.result).splitlines())


@connected(emit_app)
async def emit(
    client: Client,
    out: Output,
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="Its name, e.g. orders.created.")],
    data: Annotated[
        str, typer.Argument(metavar="JSON|@FILE|-", help="What it says; @FILE reads a file, - stdin.")
    ] = "null",
    id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Two events of one id, soon after another, are one.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", metavar="NAME=VALUE", help="Beside the data; may be repeated.")
    ] = None,
) -> None:
    """Publish an event; tasks that listen for its subject start."""
    headers = dict(_header(one) for one in header or ())
    seq = await client.emit(subject, given.json_of(data, "event"), id=id, headers=headers)
    await client.audited(_entry("emit", "event", subject, subject))
    out.record({"subject": subject, "seq": seq}) if out.json else out.line(str(seq))


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Usage(f"--header: expected NAME=VALUE, found {text!r}")
    return name, value
