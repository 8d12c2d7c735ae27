"""Who asks, and whether he may: access tokens, their scopes and rates, and how often an address may prove nothing.

A right token is always let through, whatever was tried from its address before: behind a proxy all clients may have
one. Only what proves nothing is counted against the address, and from then on answered 429 instead of 401.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from ipaddress import ip_address
from math import ceil
from typing import NamedTuple

from starlette.requests import Request

from holdfast.access import claimed, proves
from holdfast.config import Auth, Http
from holdfast.core.model import Seconds
from holdfast.wire.api import AccessToken, Scope
from holdfast_daemon.http.limits import Bucket, Limits, client_key
from holdfast_daemon.http.options import PROJECT, bad_header, single
from holdfast_daemon.http.ports import Project, Projects
from holdfast_daemon.http.problems import Problem

ANONYMOUS = "anonymous"
"""Who shows no access token, as nobody has to, or a link is the permission."""

_LOCAL = ("localhost",)


class Caller(NamedTuple):
    """Somebody who may do what was asked."""

    project: Project
    scopes: tuple[Scope, ...]
    name: str
    """Of his access token; `ANONYMOUS` where none is asked for."""


class Gate:
    """Lets callers in."""

    def __init__(self, projects: Projects, settings: Http, clock: Callable[[], Seconds]) -> None:
        """
        Args:
            clock: any that only goes forward.
        """
        self._projects = projects
        self._settings = settings
        self._clock = clock
        self._rates = Limits()
        self._failures = Limits()

    def admit(self, request: Request, scope: Scope) -> Caller:
        """Who asks for something that needs a scope.

        Raises:
            Problem: nobody that is known (401), without the scope (403), or too often (429).
        """
        caller = self._caller(request)
        if caller is None:
            raise self.unproved(request, "expected `Authorization: Bearer hf_...`, found no token")
        if scope not in caller.scopes:
            detail = f"expected a token with the scope {scope}, found one with {', '.join(caller.scopes)}"
            challenge = f'Bearer realm="holdfast", error="insufficient_scope", scope="{scope}"'
            raise Problem(HTTPStatus.FORBIDDEN, detail, headers={"WWW-Authenticate": challenge})
        return caller

    def look(self, request: Request) -> Caller | None:
        """Who asks for something that is open to all; None: who does not say. Raises: Problem, as `admit`."""
        return self._caller(request)

    def check_failures(self, request: Request) -> None:
        """Raises: Problem: too much from this address has proved nothing."""
        self._refuse(self._failed(request).look(self._clock()))

    def unproved(self, request: Request, detail: str, challenge: str = 'Bearer realm="holdfast"') -> Problem:
        """The refusal of what proves nothing, which is counted."""
        self.count_failure(request)
        return Problem(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": challenge})

    def count_failure(self, request: Request) -> None:
        """Count against the address. Raises: Problem: it was one too many."""
        self._refuse(self._failed(request).take(self._clock()))

    def _caller(self, request: Request) -> Caller | None:
        if self._settings.auth is Auth.OFF:
            _check_host(request)
            return Caller(self._named(request), tuple(Scope), ANONYMOUS)
        given = request.headers.getlist("authorization")
        if not given:
            return None
        scheme, _, text = given[0].partition(" ")
        project, token = self._found(text.strip())
        proved = proves(text.strip(), token)
        if len(given) > 1 or scheme.lower() != "bearer" or not proved or project is None or token is None:
            detail = "expected `Authorization: Bearer hf_...` with a token in force, found another"
            raise self.unproved(request, detail, 'Bearer realm="holdfast", error="invalid_token"')
        rate = self._settings.rate if token.rate is None else token.rate
        now = self._clock()
        self._refuse(self._rates.of(f"{project.name} {token.id}", rate, now).take(now))
        return Caller(project, token.scopes, token.name)

    def _found(self, text: str) -> tuple[Project | None, AccessToken | None]:
        claim = claimed(text)
        project = None if claim is None else self._projects.get(claim.project)
        return project, None if claim is None or project is None else project.token(claim.id)

    def _named(self, request: Request) -> Project:
        name = single(request.headers.items(), PROJECT)
        if name is not None and name not in self._projects:
            raise bad_header(PROJECT, f"one of {', '.join(self._projects)}", repr(name))
        return self._projects[name] if name is not None else next(iter(self._projects.values()))

    def _failed(self, request: Request) -> Bucket:
        host = request.client.host if request.client is not None else ""
        return self._failures.of(client_key(host), self._settings.failures, self._clock())

    @staticmethod
    def _refuse(wait: Seconds) -> None:
        if wait > 0:
            detail = f"too many requests: try again in {ceil(wait)} s"
            raise Problem(HTTPStatus.TOO_MANY_REQUESTS, detail, headers={"Retry-After": str(ceil(wait))})


def refuse_browsers(request: Request) -> None:
    """A page in a browser on this machine could reach us; only browsers send `Origin`, and none is meant to write.

    Raises: Problem
    """
    if "origin" in request.headers:
        detail = "expected no Origin header: pages in a browser may not trigger tasks or complete tokens"
        raise Problem(HTTPStatus.FORBIDDEN, detail)


def _check_host(request: Request) -> None:
    """Without tokens, a name that anybody's DNS leads to this machine must not open it to pages of that name.

    Raises: Problem
    """
    host = request.url.hostname or ""
    try:
        ip_address(host)
    except ValueError:
        if host not in _LOCAL:
            raise Problem(
                HTTPStatus.MISDIRECTED_REQUEST, f"expected an address or localhost as Host, found {host!r:.100}"
            ) from None
