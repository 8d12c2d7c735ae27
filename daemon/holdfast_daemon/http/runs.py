"""Runs: look at them, and cancel, retry and signal them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.responses import Response

from holdfast.core import ids
from holdfast.core.model import Instant, Run, State
from holdfast.wire.api import RunRef, RunsQuery, RunView, Scope
from holdfast.wire.subjects import TOKEN
from holdfast_daemon.http.bodies import struct_of, value_of
from holdfast_daemon.http.endpoint import (
    RUN_ID,
    TEXT,
    WORD,
    Endpoint,
    Schema,
    Visit,
    answered,
    in_path,
    in_query,
    json_answer,
    json_body,
    object_schema,
)
from holdfast_daemon.http.options import TEXT_MOST
from holdfast_daemon.http.problems import Problem

LIMIT_MOST = 1000
"""Runs of a page."""

_CURSOR = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)~([0-9A-Z]{1,40})", re.ASCII)


class Cancelled(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be said with a cancellation."""

    reason: str = ""


class Retried(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be said with a retry."""

    from_start: bool = False
    """Forget what was recorded."""
    payload: dict[str, object] | None = None
    """Another one."""


async def page(visit: Visit) -> Response:
    """A page of runs, newest first."""
    found = await visit.project.page(query_of(visit.request.query_params.multi_items()))
    last = found.runs[-1] if found.runs and found.more else None
    cursor = None if last is None else f"{last.created_at:.6f}~{last.id}"
    return answered({"runs": found.runs, "total": found.total, "more": found.more, "next": cursor})


async def show(visit: Visit) -> Response:
    """A run, by its id or its unique beginning or end."""
    return answered(shown(await visit.project.view(RunRef(visit.name("id")))))


async def cancel(visit: Visit) -> Response:
    """Ask for a run to end."""
    given = struct_of(await visit.body(), Cancelled)
    return _moved(await visit.project.cancel(await _id(visit), given.reason))


async def retry(visit: Visit) -> Response:
    """Take an ended run up again."""
    given = struct_of(await visit.body(), Retried)
    return _moved(await visit.project.retry(await _id(visit), given.payload, from_start=given.from_start))


async def signal(visit: Visit) -> Response:
    """Send a run a signal."""
    name, value = visit.name("name"), value_of(await visit.body())
    return _moved(await visit.project.signal(await _id(visit), name, value))


async def _id(visit: Visit) -> str:
    """The id of the run that the path means. Raises: Refused: none, or several."""
    name = visit.name("id").upper()
    return name if ids.is_run_id(name) else (await visit.project.view(RunRef(name))).row.id


def _moved(run: Run) -> Response:
    return answered({"run": run.id, "state": run.state, "cancel_requested": run.cancel_requested})


# --- questions ------------------------------------------------------------------------------------------------------


def query_of(pairs: Iterable[tuple[str, str]]) -> RunsQuery:
    """What a query string asks for. Raises: Problem: it asks for something else; the detail names it."""
    states: list[State] = []
    tasks: list[str] = []
    single: dict[str, Any] = {}
    for name, value in pairs:
        match name:
            case "state" if value in set(State):
                states.append(State(value))
            case "task" if _word(value):
                tasks.append(value)
            case "queue" if _word(value) and name not in single:
                single[name] = value
            case "tag" if 0 < len(value) <= TEXT_MOST and value.isprintable() and name not in single:
                single[name] = value
            case "limit" if re.fullmatch("[0-9]{1,4}", value, re.ASCII) and 1 <= int(value) <= LIMIT_MOST:
                single[name] = int(value)
            case "before" if _CURSOR.fullmatch(value):
                single[name] = cursor_of(value)
            case _:
                expected = _EXPECTED.get(name, f"one of {', '.join(_EXPECTED)}")
                raise Problem(HTTPStatus.BAD_REQUEST, f"query {name!r:.100}: expected {expected}, found {value!r:.100}")
    return RunsQuery(states=tuple(states), tasks=tuple(tasks), **single)


_EXPECTED = {
    "state": f"one of {', '.join(State)}",
    "task": "a task's id",
    "queue": "one queue's name",
    "tag": "one tag",
    "limit": f"a number from 1 to {LIMIT_MOST}",
    "before": "what `next` of the page before said",
}


def cursor_of(text: str) -> tuple[Instant, str]:
    """Where the page before ended."""
    at, _, id = text.partition("~")
    return float(at), id


def _word(value: str) -> bool:
    return len(value) <= TEXT_MOST and TOKEN.match(value) is not None


# --- answers --------------------------------------------------------------------------------------------------------


def shown(view: RunView) -> dict[str, object]:
    """A run as JSON: payload and result as values where they are whole, else as the text there is."""
    found: dict[str, object] = msgspec.to_builtins(view.row)
    found["payload"], found["result"] = _value(view.payload), _value(view.result)
    found["error"] = None
    if view.error is not None:
        told = view.error
        found["error"] = {"type": told.type, "message": told.message, "traceback": told.traceback}
    found["children"] = [{"id": child.id, "task": child.task, "state": child.state} for child in view.children]
    return found


def _value(text: str) -> object:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


_STATE: Schema = {"type": "string", "enum": [state.value for state in State]}
_ERROR = object_schema(type=TEXT, message=TEXT, traceback=TEXT)
MOVED = object_schema(run=TEXT, state=_STATE, cancel_requested={"type": "boolean"})
SHOWN: Schema = {
    "type": "object",
    "properties": {
        "id": TEXT,
        "task": TEXT,
        "queue": TEXT,
        "state": _STATE,
        "payload": {},
        "result": {},
        "error": {"oneOf": [_ERROR, {"type": "null"}]},
        "children": {"type": "array", "items": object_schema(id=TEXT, task=TEXT, state=_STATE)},
    },
    "required": ["id", "task", "queue", "state", "payload", "result", "error", "children"],
}
PAGE = object_schema(
    runs={"type": "array", "items": {"$ref": "#/components/schemas/RunRow"}},
    total={"type": "integer"},
    more={"type": "boolean"},
    next={"type": ["string", "null"]},
)

_RUN = in_path("id", "A run's id, or its unique beginning or end.", RUN_ID)
_DONE = {"200": json_answer("The journal has it; the run as it then stood.", MOVED)}

ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/v1/runs",
        handle=page,
        id="runs",
        summary="Runs, newest first, a page at a time.",
        scope=Scope.READ,
        parameters=(
            in_query("state", "In one of these states; may be repeated.", {"type": "array", "items": _STATE}),
            in_query("task", "Of one of these tasks; may be repeated.", {"type": "array", "items": {"pattern": WORD}}),
            in_query("queue", "Of this queue.", {"type": "string", "pattern": WORD}),
            in_query("tag", "With this tag.", {"type": "string", "minLength": 1}),
            in_query("limit", "So many at most.", {"type": "integer", "minimum": 1, "maximum": LIMIT_MOST}),
            in_query("before", "Behind the page before: its `next`.", {"type": "string"}),
        ),
        answers={"200": json_answer("A page.", PAGE)},
    ),
    Endpoint(
        method="GET",
        path="/v1/runs/{id}",
        handle=show,
        id="run",
        summary="A run with payload, result, error and children.",
        scope=Scope.READ,
        parameters=(_RUN,),
        answers={"200": json_answer("The run.", SHOWN)},
    ),
    Endpoint(
        method="POST",
        path="/v1/runs/{id}/cancel",
        handle=cancel,
        id="cancel",
        summary="Ask for a run to end; one that is running ends at its next await.",
        scope=Scope.OPERATE,
        parameters=(_RUN,),
        body=json_body(
            {"type": "object", "properties": {"reason": TEXT}, "additionalProperties": False}, required=False
        ),
        answers=_DONE,
    ),
    Endpoint(
        method="POST",
        path="/v1/runs/{id}/retry",
        handle=retry,
        id="retry",
        summary="Take an ended run up again behind its last checkpoint, or from its start.",
        scope=Scope.OPERATE,
        parameters=(_RUN,),
        body=json_body(
            {
                "type": "object",
                "properties": {"from_start": {"type": "boolean"}, "payload": {"type": ["object", "null"]}},
                "additionalProperties": False,
            },
            required=False,
        ),
        answers=_DONE,
    ),
    Endpoint(
        method="POST",
        path="/v1/runs/{id}/signals/{name}",
        handle=signal,
        id="signal",
        summary="Send a run a signal with any JSON, or none, as its value.",
        scope=Scope.OPERATE,
        parameters=(_RUN, in_path("name", "The signal's name.", WORD)),
        body=json_body({}, required=False),
        answers=_DONE,
    ),
)
