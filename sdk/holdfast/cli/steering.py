"""`holdfast runs`: what is done to one run from outside: cancel, retry, signal, complete, resolve, query."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import typer

from holdfast.cli import given
from holdfast.cli.app import Usage
from holdfast.cli.output import Output, plain
from holdfast.cli.session import RunName, RunNames, connected, group, resolve
from holdfast.cli.text import visible
from holdfast.client import Client
from holdfast.core.model import Run, State
from holdfast.core.pending import ACTIONS
from holdfast.errors import RunStateError
from holdfast.telling import asked, check_option, questions, questions_in_words
from holdfast.wire.render import render_json
from holdfast.wire.values import encode_value

app = group()

Value = Annotated[str | None, typer.Argument(metavar="JSON|@FILE|-", help="Its value; @FILE reads a file, - stdin.")]


@connected(app)
async def cancel(
    client: Client,
    out: Output,
    run: RunNames,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the run's history.")] = "",
    kill: Annotated[
        bool, typer.Option("--kill", help="Now: what it still does comes to nothing, no undo runs.")
    ] = False,
) -> None:
    """End runs; one that is running ends at its next await."""
    for name in run:
        handle = client.run(await resolve(client, name))
        moved = await (handle.kill(reason) if kill else handle.cancel(reason))
        if out.json:
            out.record({"run": moved.id, "state": moved.state, "cancel_requested": moved.cancel_requested})
        elif moved.final or moved.state is State.COMPENSATING:
            out.line(f"{moved.id}  {moved.state.value}")
        else:
            out.line(f"{moved.id}  {moved.state.value}, asked to end")


@connected(app)
async def retry(
    client: Client,
    out: Output,
    run: RunNames,
    from_start: Annotated[bool, typer.Option("--from-start", help="Forget what was recorded.")] = False,
    payload: Annotated[str | None, typer.Option("--payload", metavar="JSON", help="Another payload.")] = None,
) -> None:
    """Take ended runs up again behind their last checkpoint."""
    changed = None if payload is None else given.payload_of(payload, "--payload")
    for name in run:
        _tell(await client.run(await resolve(client, name)).retry(from_start=from_start, payload=changed), out)


@connected(app, "complete")
async def complete(
    client: Client,
    out: Output,
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="Its id, as `runs show` names it.")],
    value: Value = None,
    error: Annotated[
        str | None, typer.Option("--error", metavar="TEXT", help="Fail it: raised where it is awaited.")
    ] = None,
) -> None:
    """Complete a token that a run waits for. Only the first time counts."""
    if error is not None and value is not None:
        raise Usage("expected a value or --error, found both: a token is completed with one of them")
    _tell(await client.complete(token, _json(value, "value"), error=error), out)


@connected(app)
async def signal(
    client: Client,
    out: Output,
    run: RunName,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal's name.")],
    value: Value = None,
) -> None:
    """Send a run a signal. Its code takes those of a name in order, each once."""
    _tell(await client.signal(await resolve(client, run), name, _json(value, "value")), out)


@connected(app)
async def query(
    client: Client,
    out: Output,
    run: RunName,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the run's code exposes.")],
    args: Annotated[
        str | None, typer.Argument(metavar="JSON|@FILE|-", help="A list of arguments; anything else is the only one.")
    ] = None,
) -> None:
    """Ask the code of a run that is in memory. Changes nothing."""
    found = None if args is None else given.json_of(args, "arguments")
    listed = [] if args is None else found if isinstance(found, list) else [found]
    id = await resolve(client, run)
    data = encode_value(await client.query(id, name, *listed))
    if out.json:
        out.record({"run": id, "query": name, "answer": plain(data)})
    else:
        out.lines(visible(line) for line in render_json(data).splitlines())


class Answer(NamedTuple):
    """What the options of `resolve` say."""

    option: str
    action: str
    value: Any = None


@connected(app, "resolve")
async def resolve_(
    client: Client,
    out: Output,
    run: RunName,
    key: Annotated[
        str | None, typer.Argument(metavar="KEY", help="The checkpoint; may be left out where there is one question.")
    ] = None,
    done: Annotated[
        str | None, typer.Option("--done", metavar="JSON", help="The step happened, and returned this; also @FILE, -.")
    ] = None,
    not_done: Annotated[bool, typer.Option("--not-done", help="The step did not happen: run it.")] = False,
    run_again: Annotated[bool, typer.Option("--run-again", help="Run the undo again.")] = False,
    skip: Annotated[bool, typer.Option("--skip", help="Count the undo as done.")] = False,
    accept: Annotated[bool, typer.Option("--accept", help="Go on the new way of changed code.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Look again, with the code of now.")] = False,
) -> None:
    """Answer what a paused run asks. `holdfast runs show RUN` prints the answers that it takes."""
    flags = {"--not-done": not_done, "--run-again": run_again, "--skip": skip, "--accept": accept, "--retry": retry}
    answer = _answer(done, [option for option, named in flags.items() if named])
    id = await resolve(client, run)
    where = key if key is not None else _only_question(await client.run(id).status())
    _, question = await asked(client.journal, id, where)
    check_option(question, answer.option)
    _tell(await client.resolve(id, where, answer.action, answer.value), out)


def _answer(done: str | None, options: list[str]) -> Answer:
    """The one answer that is given. Raises: Usage: none, or several."""
    found = [*(["--done"] if done is not None else []), *options]
    if len(found) != 1:
        known = ", ".join("--done JSON" if option == "--done" else option for option in ACTIONS)
        raise Usage(
            f"expected one answer of {known}, found {' and '.join(found) or 'none'}; "
            "`holdfast runs show RUN` prints those that the run takes"
        )
    value = None if done is None else given.json_of(done, "--done")
    return Answer(found[0], ACTIONS[found[0]], value)


def _only_question(run: Run) -> str:
    keys = questions(run)
    if not keys:
        raise RunStateError(f"run {run.id} is not paused: {questions_in_words(run)}")
    if len(keys) > 1:
        raise Usage(f"run {run.id} asks {len(keys)} questions: name one of {', '.join(keys)}")
    return keys[0]


def _json(value: str | None, what: str) -> Any:
    return None if value is None else given.json_of(value, what)


def _tell(run: Run, out: Output) -> None:
    """Say where the run stands now."""
    if out.json:
        out.record({"run": run.id, "state": run.state})
    else:
        out.line(f"{run.id}  {run.state.value}")
