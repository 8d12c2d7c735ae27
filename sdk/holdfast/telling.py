"""What somebody outside tells a live run: that a token is completed, a signal, the answer to what it asks.

Each is one message in the run's inbox, stored once however often it is sent. What is told counts where it is stored
before the run ended, so afterwards the run is read again: whoever told it learns whether it counted. Then what follows
is done here, so that a run that waits goes on without the daemon.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import takewhile
from typing import TypeVar

from msgspec.structs import replace

from holdfast.bus.blobs import Blobs
from holdfast.bus.journal import Journal
from holdfast.core import ids
from holdfast.core.entries import Entry, Resolved, Signalled, TokenCompleted, WaitStarted
from holdfast.core.lifecycle import PAUSE, Record, fold, story
from holdfast.core.model import Instant, Run, State
from holdfast.core.pending import ACTIONS, OPTIONS, pending
from holdfast.core.tree import Tree
from holdfast.errors import RunStateError, TokenTaken, UnknownRun, UnknownToken
from holdfast.wire.subjects import TOKEN

T = TypeVar("T", TokenCompleted, Signalled, Resolved)

ANSWERS = {
    question: tuple(ACTIONS[option.split()[0]] for _, option in options) for question, options in OPTIONS.items()
}
"""By what is asked: the actions that answer it."""


async def complete(journal: Journal, blobs: Blobs, entry: TokenCompleted) -> Run:
    """Complete a token; the run as it then stood.

    Raises:
        UnknownToken: no run has asked for it; nothing was written.
        TokenTaken: it was completed before.
        RunStateError: the run has ended.
    """
    run_id = entry.token.rpartition("-")[0]
    if not TOKEN.match(run_id):
        raise _unknown_token(entry.token, "another text")
    run, records = await _read(journal, run_id, entry.token)
    if not any(isinstance(one, WaitStarted) and one.wait == entry.token for one in story(records)):
        raise _unknown_token(entry.token, f"a run {run_id} that has not asked for it")
    _check_first(entry, story(records))
    _refuse_ended(run, f"token {entry.token} can't be completed")
    entry = await _kept(blobs, entry)
    await journal.tell(run.id, entry, dedupe=f"token-{entry.token}")
    run, records = await _read(journal, run_id, entry.token)
    _check_first(entry, story(records))
    stood = fold(takewhile(lambda record: entry not in record.entries, records))  # it may have ended since, by this
    assert stood is not None
    _refuse_ended(stood, f"token {entry.token} was completed too late")
    return await _gone_on(journal, run)


async def _read(journal: Journal, run_id: str, token: str) -> tuple[Run, list[Record]]:
    records = [record for _, record in await journal.messages(run_id)]
    run = fold(records)
    if run is None:
        raise _unknown_token(token, f"no run {run_id} in project {journal.bus.subjects.project}")
    return run, records


def _unknown_token(token: str, found: str) -> UnknownToken:
    return UnknownToken(
        f"token {token!r:.100}: expected the id of a token that a run has asked for, <run>-<digits>, found {found}"
    )


def _check_first(entry: TokenCompleted, entries: Iterable[Entry]) -> None:
    """Raises: TokenTaken: another completion came first."""
    for one in entries:
        if isinstance(one, TokenCompleted) and one.token == entry.token and one != entry:
            raise TokenTaken(
                f"token {entry.token} was completed by {one.by or 'somebody'} at {_when(one.at)}; it is completed only "
                "once, so this changed nothing",
                by=one.by,
                at=one.at,
            )
        if one == entry:
            return


def _when(at: Instant) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


async def signal(journal: Journal, blobs: Blobs, run_id: str, entry: Signalled) -> Run:
    """Send a signal; the run as it then stood.

    Raises:
        UnknownRun: there is none of this id.
        RunStateError: it has ended.
    """
    run = await journal.load(run_id)
    _refuse_ended(run, f"signal {entry.name!r} was not sent")
    await journal.tell(run_id, await _kept(blobs, entry), dedupe=f"signal-{entry.id}")
    records = [record for _, record in await journal.messages(run_id, run.first)]
    if not any(isinstance(one, Signalled) and one.id == entry.id for one in story(records)):
        _refuse_ended(await journal.load(run_id, run.first), f"signal {entry.name!r} came too late")
    return await _gone_on(journal, run)


async def resolve(journal: Journal, blobs: Blobs, run_id: str, entry: Resolved) -> Run:
    """Answer what a paused run asks; the run as it then stood.

    Raises:
        UnknownRun: there is none of this id.
        RunStateError: it does not ask that, or the answer is none to its question.
    """
    run, question = await asked(journal, run_id, entry.key)
    check_answer(question, entry.action)
    mark = ids.digest(run_id, entry.key, str(entry.at))
    await journal.tell(run_id, await _kept(blobs, entry), dedupe=f"resolved-{mark}")
    return await _gone_on(journal, run)


async def asked(journal: Journal, run_id: str, key: str) -> tuple[Run, str]:
    """A paused run, and what it asks at a checkpoint: see `Wait.asks`.

    Raises:
        UnknownRun: there is none of this id.
        RunStateError: it asks nothing there.
    """
    records = [record for _, record in await journal.messages(run_id)]
    run = fold(records)
    if run is None:
        raise UnknownRun(f"no run {run_id} in project {journal.bus.subjects.project}")
    if PAUSE + key not in run.waits:
        raise RunStateError(f"run {run_id} is not paused at {key}: {questions_in_words(run)}")
    waits = pending(run, Tree.of(story(records)))
    return run, next(wait.asks for wait in waits if wait.kind == "pause" and wait.key == key)


def questions(run: Run) -> tuple[str, ...]:
    """The checkpoints at which a run waits for an operator's answer."""
    return tuple(sorted(wait.removeprefix(PAUSE) for wait in run.waits if wait.startswith(PAUSE)))


def questions_in_words(run: Run) -> str:
    """What a run asks, for a message."""
    if keys := questions(run):
        return f"it asks about {', '.join(keys)} ({run.paused})"
    return f"it is {run.state} and asks nothing"


def check_answer(question: str, action: str) -> None:
    """
    Args:
        question: what is asked: see `Wait.asks`.

    Raises:
        RunStateError: the action answers another question than this one.
    """
    if action not in ANSWERS[question]:
        raise no_answer(question, action)


def check_option(question: str, option: str) -> None:
    """The same of an option of `holdfast runs resolve`: several mean one action, but each answers its own question.

    Raises:
        RunStateError: it answers another question than this one.
    """
    if option not in [one.split()[0] for _, one in OPTIONS[question]]:
        raise no_answer(question, option)


def no_answer(question: str, found: str) -> RunStateError:
    """The error for what is found to answer another question; it names the answers that there are."""
    ways = "; ".join(f"{option} ({means})" for means, option in OPTIONS[question])
    return RunStateError(
        f"expected an answer to a question about {_ABOUT[question]}, found {found!r}: the answers are {ways}"
    )


_ABOUT = {
    "once": "a step whose outcome is not known",
    "undo": "an undo that failed",
    "divergence": "code that took another way than the journal",
    "compensation": "undos that took down their workers",
}


async def _kept(blobs: Blobs, entry: T) -> T:
    """The entry with its value as the journal takes it; only once the run is known to take it, for it is stored."""
    return entry if entry.value is None else replace(entry, value=await blobs.keep(entry.value))


async def _gone_on(journal: Journal, run: Run) -> Run:
    """The run once what follows from what it was told is done."""
    await journal.resume(run.id, run.first)
    return await journal.load(run.id, run.first)


def _refuse_ended(run: Run, what: str) -> None:
    """Raises: RunStateError: the run's code takes nothing any more."""
    if run.final:
        raise RunStateError(f"{what}: run {run.id} has ended {run.state}")
    if run.state is State.COMPENSATING:
        raise RunStateError(f"{what}: run {run.id} compensates, it will be {run.ending}")
