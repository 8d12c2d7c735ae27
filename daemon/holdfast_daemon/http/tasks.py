"""Triggering tasks: one endpoint for all, which the document shows once more for each task with its own arguments."""

from __future__ import annotations

from http import HTTPStatus

from starlette.responses import Response

from holdfast.wire.api import Scope
from holdfast.wire.subjects import TOKEN
from holdfast_daemon.http.bodies import object_of
from holdfast_daemon.http.endpoint import (
    TEXT,
    WORD,
    Endpoint,
    Visit,
    answered,
    in_header,
    in_path,
    json_answer,
    json_body,
    object_schema,
)
from holdfast_daemon.http.options import HEADERS, options_of
from holdfast_daemon.http.problems import Problem


async def trigger(visit: Visit) -> Response:
    """Create a run; it is in the journal when this is answered."""
    task = visit.name("id")
    if TOKEN.match(task) is None:
        detail = f"no worker has declared a task {task!r}: ids are of letters, digits, '-' and '_'"
        raise Problem(HTTPStatus.NOT_FOUND, detail)
    options = options_of(visit.request.headers.items())
    payload = object_of(await visit.body(), "the task's arguments by name")
    run, cached = await visit.project.trigger(task, payload, options)
    return answered({"run": run, "cached": cached}, HTTPStatus.ACCEPTED, {"Location": f"/v1/runs/{run}"})


TRIGGER = Endpoint(
    method="POST",
    path="/v1/tasks/{id}/trigger",
    handle=trigger,
    id="trigger",
    summary="Start a run of a task: a JSON object of its arguments by name, at most 1 MiB.",
    scope=Scope.TRIGGER,
    parameters=(
        in_path("id", "The task's id.", WORD),
        *(in_header(header.name, f"{header.expected}.", header.schema) for header in HEADERS.values()),
    ),
    body=json_body({"type": "object"}),
    answers={
        "202": json_answer(
            "The journal has the run; `cached` where the idempotency key led to one that was there before.",
            object_schema(run=TEXT, cached={"type": "boolean"}),
        )
    },
)

ENDPOINTS = (TRIGGER,)
