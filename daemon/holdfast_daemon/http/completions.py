"""Completing what runs wait for. A token's id is the permission: whoever has the link may follow it, once."""

from __future__ import annotations

from starlette.responses import Response

from holdfast.errors import UnknownToken
from holdfast_daemon.http.bodies import value_of
from holdfast_daemon.http.endpoint import (
    TEXT,
    Endpoint,
    Visit,
    answered,
    in_path,
    json_answer,
    json_body,
    object_schema,
)
from holdfast_daemon.http.problems import problem_of


async def complete(visit: Visit) -> Response:
    """Complete a token of whatever project, for a run is in one only; its run has been told when this is answered."""
    gate = visit.desk.gate
    gate.check_failures(visit.request)  # before the journal is asked: ids are not to be guessed here
    token, value = visit.name("id"), value_of(await visit.body())
    home, *others = visit.desk.projects.values()
    for project in (*others, home):
        try:
            run = await project.complete(token, value)
        except UnknownToken as error:
            unknown = error
        else:
            return answered({"run": run.id})
    gate.count_failure(visit.request)
    raise problem_of(unknown)


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/v1/tokens/{id}/complete",
        handle=complete,
        id="complete",
        summary="Complete a token that a run waits for, with any JSON or none; only the first time counts.",
        parameters=(in_path("id", "The token's id, as `wait.token` gives it.", "^[0-9A-Z]{26}-[0-9a-f]+$"),),
        body=json_body({}, required=False),
        answers={"200": json_answer("The run has been told.", object_schema(run=TEXT))},
    ),
)
