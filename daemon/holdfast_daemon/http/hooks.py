"""Signed webhooks: what is posted under a configured name becomes an event, once, however often it is sent.

The signature is the admission. What was signed is also what a repetition is known by, for longer than a timestamp is
good: a captured request that is sent again stores nothing. (GitHub signs no time: there it is so for twelve minutes.)
"""

from __future__ import annotations

import logging
from http import HTTPStatus

from starlette.responses import Response

from holdfast.config import HookStyle
from holdfast_daemon.http.endpoint import TEXT, WORD, Endpoint, Visit, answered, in_header, in_path, json_answer
from holdfast_daemon.http.events import SEQ
from holdfast_daemon.http.problems import Problem
from holdfast_daemon.http.signatures import HEADERS, BadSignature, verify

log = logging.getLogger("holdfast.http")

CHALLENGE = "HMAC-SHA256"


async def take(visit: Visit) -> Response:
    """Publish the body of a signed request; the stream has it when this is answered."""
    hook = visit.desk.hooks.get(visit.name("name"))
    if hook is None:
        raise Problem(HTTPStatus.NOT_FOUND, f"no hook {visit.name('name')!r}: [[hooks]] in holdfast.toml names them")
    projects = visit.desk.projects
    project = projects[hook.project] if hook.project is not None else next(iter(projects.values()))
    secrets = [value.encode() for value in project.secret(hook.secret)]
    if not secrets:
        log.warning("hook %s: its secret %s is not set, or can't be read", hook.name, hook.secret)
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, f"hook {hook.name}: its secret is not set")
    body = await visit.body()
    headers = {name: visit.request.headers.get(name, "") for name in HEADERS[hook.style]}
    try:
        digest = verify(hook.style, headers, body, secrets, visit.desk.now(), hook.tolerance)
    except BadSignature as error:
        raise visit.desk.gate.unproved(visit.request, f"hook {hook.name}: {error}", CHALLENGE) from None
    seq = await project.publish(hook.subject, body, dedupe=f"hook-{hook.name}-{digest}")
    return answered({"seq": seq}, HTTPStatus.ACCEPTED)


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/v1/hooks/{name}",
        handle=take,
        id="hook",
        summary="Take a signed webhook: its body, at most 1 MiB, becomes an event.",
        parameters=(
            in_path("name", "As configured.", WORD),
            *(
                in_header(name.title(), f"Where the hook's style is {style}.", TEXT)
                for style in HookStyle
                for name in HEADERS[style]
            ),
        ),
        body={"required": False, "content": {"application/json": {"schema": {}}, "application/octet-stream": {}}},
        answers={"202": json_answer("The stream has it, now or from an earlier time, under this sequence.", SEQ)},
    ),
)
