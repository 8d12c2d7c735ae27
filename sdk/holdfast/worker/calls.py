"""A step, inline task or child run that was called inside a run and has not been awaited yet."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any


class Call(Coroutine[Any, Any, Any]):
    """Whoever awaits it gives it its key: the task's body, a branch of a fan-out, or it takes the next one itself."""

    def __init__(self, name: str, make: Callable[[str], Coroutine[Any, Any, Any]], default: Callable[[], str]) -> None:
        """
        Args:
            make: gives the coroutine that runs it as the checkpoint of a key.
            default: gives a key, for a call that is awaited where nothing was rewritten.
        """
        self.__name__ = name
        self._make = make
        self._default = default
        self._coroutine: Coroutine[Any, Any, Any] | None = None

    def under(self, key: str) -> Coroutine[Any, Any, Any]:
        """The coroutine that runs it as the checkpoint `key`."""
        return self._make(key)

    def _begun(self) -> Coroutine[Any, Any, Any]:
        if self._coroutine is None:
            self._coroutine = self._make(self._default())
        return self._coroutine

    def send(self, value: Any) -> Any:
        return self._begun().send(value)

    def throw(self, *error: Any) -> Any:
        return self._begun().throw(*error)

    def close(self) -> None:
        if self._coroutine is not None:
            self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._begun().__await__()
