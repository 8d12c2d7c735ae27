"""How the daemon is: alive, ready, in numbers, and what it serves."""

from __future__ import annotations

from http import HTTPStatus

from starlette.responses import Response

from holdfast.wire.api import Scope
from holdfast_daemon.http.endpoint import TEXT, Endpoint, Visit, answered, json_answer, object_schema
from holdfast_daemon.http.metrics import exposed
from holdfast_daemon.http.problems import Problem


async def health(visit: Visit) -> Response:
    """The process is up."""
    return answered({"status": "up"})


async def ready(visit: Visit) -> Response:
    """The server answers and the history has caught up, of every project."""
    several = len(visit.desk.projects) > 1
    for name, project in visit.desk.projects.items():
        if missing := await project.readiness():
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, f"project {name}: {missing}" if several else missing)
    return answered({"status": "ready"})


async def metrics(visit: Visit) -> Response:
    """The caller's project in numbers."""
    project, desk = visit.project, visit.desk
    accept = visit.request.headers.get("accept", "")
    return exposed(project.name, await project.measures(), desk.requests, now=desk.now(), accept=accept)


_STATUS = object_schema(status=TEXT)

ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/healthz",
        handle=health,
        id="health",
        summary="Whether the process is up.",
        answers={"200": json_answer("It is.", _STATUS)},
    ),
    Endpoint(
        method="GET",
        path="/readyz",
        handle=ready,
        id="ready",
        summary="Whether the server answers and the history has caught up.",
        answers={"200": json_answer("Both.", _STATUS)},
    ),
    Endpoint(
        method="GET",
        path="/metrics",
        handle=metrics,
        id="metrics",
        summary="The project in numbers, for Prometheus.",
        scope=Scope.READ,
        answers={
            "200": {"description": "In a text format of Prometheus.", "content": {"text/plain": {"schema": TEXT}}}
        },
    ),
)
