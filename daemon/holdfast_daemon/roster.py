"""Knows, in memory, who may ask over HTTP and for what: access tokens, declared tasks, and the secrets of hooks.

All of it is followed, so that a token that is created or revoked, or a secret that is rotated, counts within moments
and no request has to ask the server. While the server is away, what was known before holds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import aclosing
from typing import TypeVar

import anyio
import msgspec
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from holdfast.bus.ports import Bus, Message
from holdfast.core.model import Seconds
from holdfast.errors import BusError, ConnectError
from holdfast.sealing import SecretKey
from holdfast.vault import Vault
from holdfast.wire import api
from holdfast.wire.subjects import Stream

log = logging.getLogger("holdfast.roster")

AGAIN: Seconds = 1.0
"""Between the loss of what is followed and the next try."""

GOOD_VERSIONS = 2
"""Versions of a secret that signatures may be made with: while it is rotated, both sides change one after the other."""

_T = TypeVar("_T", api.AccessToken, api.TaskCard)


class Roster:
    """One project's."""

    def __init__(self, bus: Bus, key: SecretKey | None = None) -> None:
        """
        Args:
            key: of the project's secrets; None: no hook needs them.
        """
        self.tokens: dict[str, api.AccessToken] = {}
        """By id, revoked ones too."""
        self.cards: dict[str, api.TaskCard] = {}
        """By the task's id."""
        self._bus = bus
        self._key = key
        self._vault = Vault()

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Follow until cancelled. Started once all that is stored is known."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._follow, "token", api.AccessToken, self.tokens)
            await tasks.start(self._follow, "task", api.TaskCard, self.cards)
            if self._key is not None:
                await self._vault.load(self._bus, self._key)
                tasks.start_soon(self._vault.follow)
            task_status.started()

    def secret(self, name: str) -> tuple[str, ...]:
        """The values of a secret's latest versions, newest first; none where it is not set or can't be read."""
        return self._vault.newest(name, GOOD_VERSIONS)

    async def _follow(
        self, what: str, type: type[_T], known: dict[str, _T], *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED
    ) -> None:
        begun = False
        while True:
            found: dict[str, _T] = {}
            news = self._bus.follow(Stream.CONTROL, self._bus.subjects.control(what, "*"), first=1)
            try:
                async with aclosing(news):
                    async for messages in news:
                        _take(messages, type, found)
                        if not messages and found is not known:  # all that is stored was read: it takes over at once
                            known.clear()
                            known.update(found)
                            found = known
                        if found is known and not begun:
                            begun = True
                            task_status.started()
            except (BusError, ConnectError) as error:
                log.warning("%s values are followed again: %s", what, error)
                await anyio.sleep(AGAIN)


def _take(messages: Iterable[Message], type: type[_T], known: dict[str, _T]) -> None:
    for message in messages:
        try:
            value = api.decode(message.data, type)
        except msgspec.DecodeError as error:
            log.warning("passed over an unreadable control value %s: %s", message.subject, error)
        else:
            known[value.id] = value
