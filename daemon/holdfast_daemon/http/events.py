"""Publishing events: any bytes under a subject, once for each `Idempotency-Key`."""

from __future__ import annotations

import hashlib
from http import HTTPStatus

from starlette.responses import Response

from holdfast.wire.api import Scope
from holdfast.wire.subjects import TOKEN
from holdfast_daemon.http.endpoint import (
    Endpoint,
    Visit,
    answered,
    in_header,
    in_path,
    json_answer,
    object_schema,
)
from holdfast_daemon.http.options import HEADERS, single
from holdfast_daemon.http.problems import Problem

KEY = HEADERS["idempotency_key"]

SEQ = object_schema(seq={"type": "integer", "minimum": 1})


async def publish(visit: Visit) -> Response:
    """Store an event; it is in the stream when this is answered."""
    subject = visit.name("subject")
    if not all(TOKEN.match(part) for part in subject.split(".")):
        detail = f"expected a subject of words of letters, digits, '-' and '_' with dots between, found {subject!r}"
        raise Problem(HTTPStatus.BAD_REQUEST, detail)
    given = single(visit.request.headers.items(), KEY.name)
    key = None if given is None else KEY.read(given)
    data = await visit.body()
    seq = await visit.project.publish(subject, data, dedupe=None if key is None else _id(subject, key))
    return answered({"seq": seq}, HTTPStatus.ACCEPTED)


def _id(subject: str, key: str) -> str:
    """What the stream knows a repetition by: a key belongs to its subject."""
    return f"http-{hashlib.sha256(f'{subject} {key}'.encode()).hexdigest()}"


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/v1/events/{subject}",
        handle=publish,
        id="publish",
        summary="Publish an event: any bytes, at most 1 MiB; tasks that listen for its subject start.",
        scope=Scope.TRIGGER,
        parameters=(
            in_path("subject", "Such as orders.created.", r"^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9][A-Za-z0-9_-]*)*$"),
            in_header(KEY.name, "A second event of the subject with it, within 12 minutes, is not stored.", KEY.schema),
        ),
        body={"required": False, "content": {"application/json": {"schema": {}}, "application/octet-stream": {}}},
        answers={"202": json_answer("The stream has it, under this sequence.", SEQ)},
    ),
)
