"""`connect`: from the configuration to a client of a project."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from holdfast import context
from holdfast.client import Client

if TYPE_CHECKING:
    from holdfast.blocking import BlockingClient


class connect:
    """Connect to a project: `async with connect() as hf` gives a `Client`, which tasks triggered inside use.

    In code that does not await, `with connect() as hf` gives a `BlockingClient`, with which `hf.trigger(task, {...})`
    triggers: `task.trigger` is to be awaited.

    Args:
        url: of the server; default HOLDFAST_URL, then holdfast.toml, then the embedded server of its data directory.
        project: default HOLDFAST_PROJECT, then holdfast.toml, then `default`.
        config: path of a holdfast.toml.

    Raises:
        ConfigError: the configuration is wrong.
        ConnectError: no server is running there, or it refuses the credentials.
    """

    def __init__(
        self, url: str | None = None, *, project: str | None = None, config: Path | str | None = None, name: str = "sdk"
    ) -> None:
        self._url, self._project, self._config, self._name = url, project, config, name
        self._client: Client | None = None
        self._blocking: BlockingClient | None = None
        self._token: Any = None

    async def open(self) -> Client:
        """Connect; close the client when done."""
        from holdfast.config import load
        from holdfast.credentials import resolve
        from holdfast.dial import dial

        settings = load(Path(self._config) if self._config is not None else None, env=os.environ)
        bus = await dial(resolve(settings, self._project, url=self._url), name=f"holdfast-{self._name}")
        return Client(bus, name=self._name, ttl=settings.project(self._project).ttl)

    def blocking(self) -> BlockingClient:
        """A client for code that does not await, also as a module's variable: it connects when it is used first, in
        the process that uses it. Close it when done; the end of the process does so too."""
        from holdfast.blocking import BlockingClient  # async code does not pay for it
        from holdfast.portal import Portal

        return BlockingClient(Portal(self.open))

    def __enter__(self) -> BlockingClient:
        self._blocking = self.blocking()
        return self._blocking.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._blocking is not None
        self._blocking.close()

    async def __aenter__(self) -> Client:
        self._client = await self.open()
        self._token = context.enter(self._client)
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._client is not None
        context.leave(self._client, self._token)
        await self._client.close()

    def __await__(self) -> Any:
        return self.open().__await__()
