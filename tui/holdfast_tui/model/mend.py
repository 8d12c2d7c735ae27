"""A change to the payload of one dead letter, held against those of others: to whom it can be done."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from holdfast_tui.format import Cell, clean, plural, short
from holdfast_tui.model.changes import Payload, unsayable
from holdfast_tui.model.merge import Change, Unfit, merged

NAMED = 3
"""So many of those that a reason is about are named."""


class Mend(msgspec.Struct, frozen=True, kw_only=True):
    """What a change comes to."""

    fit: Mapping[str, Payload] = {}
    """By run: the payload that it gets."""
    unfit: Mapping[str, str] = {}
    """By run: why the change can't be done to it."""
    unchecked: tuple[str, ...] = ()
    """Tasks of which no worker says whether the payloads fit."""

    @property
    def told(self) -> list[Cell]:
        """How many fit, and which don't and why, for the pane."""
        cells: list[Cell] = [(f"{plural(len(self.fit), 'payload')} {'fits' if len(self.fit) == 1 else 'fit'}", "title")]
        cells += [
            (f"no worker of {clean(task)} answers: not checked against its signature", "warn")
            for task in self.unchecked
        ]
        if self.unfit:
            cells.append((f"{plural(len(self.unfit), 'payload')} left out:", "warn"))
        for why, count in Counter(self.unfit.values()).most_common():
            runs = [short(run) for run, reason in self.unfit.items() if reason == why][:NAMED]
            more = " ..." if count > NAMED else ""
            cells += [(clean(f"  {count:,}: {why}"), "fail"), (f"    {' '.join(runs)}{more}", "dim")]
        return cells


def mend(payloads: Mapping[str, Any], made: Sequence[Change]) -> Mend:
    """Do a change to payloads, by run.

    Args:
        payloads: as they are shown; a text in place of one says why it can't be read.
    """
    fit: dict[str, Payload] = {}
    unfit: dict[str, str] = {}
    for run, payload in payloads.items():
        try:
            fit[run] = Payload(arguments=_mended(payload, made), changed=())
        except Unfit as error:
            unfit[run] = str(error)
    return Mend(fit=fit, unfit=unfit)


def _mended(payload: Any, made: Sequence[Change]) -> dict[str, Any]:
    if isinstance(payload, str):
        raise Unfit(payload)
    if not isinstance(payload, dict):
        raise Unfit("expected an object of arguments by name")
    if where := unsayable(payload):
        raise Unfit(f"it has a value at {where} that JSON can't say: retry it from code")
    found: dict[str, Any] = merged(payload, made)
    if json.dumps(found, sort_keys=True) == json.dumps(payload, sort_keys=True):
        raise Unfit("it is like that already: R retries it")
    return found


def checked(found: Mend, tasks: Mapping[str, str], errors: Mapping[str, Sequence[str] | None]) -> Mend:
    """What is left once the tasks have said what fits their signatures.

    Args:
        tasks: by run.
        errors: by task, in the order of `found.fit`: why not, empty where it does; None: no worker answers.
    """
    fit, unfit = dict(found.fit), dict(found.unfit)
    for task, answers in errors.items():
        runs = [run for run in found.fit if tasks[run] == task]
        for run, why in zip(runs, answers or [], strict=False):
            if why:
                del fit[run]
                unfit[run] = why
    unchecked = tuple(task for task, answers in errors.items() if answers is None)
    return Mend(fit=fit, unfit=unfit, unchecked=unchecked)
