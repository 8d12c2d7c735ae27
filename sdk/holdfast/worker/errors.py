"""Exceptions of user code as the journal keeps them: the user's own frames, and the exception itself where it can."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path

import holdfast
from holdfast.bus.blobs import INLINE
from holdfast.core.model import ErrorInfo
from holdfast.errors import EncodeError
from holdfast.redaction import as_is, redacted
from holdfast.wire.values import encode_exception

_OURS = str(Path(holdfast.__file__).parent)
_USERS = str(Path(_OURS, "demo"))
"""Lies below ours, and is user code all the same."""
_ASYNCIO = str(Path(sysconfig.get_path("stdlib")) / "asyncio")

LONGEST = 20_000
"""Characters of a message or traceback that are kept."""


def error_info(error: BaseException, redact: Callable[[str], str] = as_is) -> ErrorInfo:
    """The exception for the journal.

    Args:
        redact: takes the secrets out of a text: of the message, the traceback, and all that the exception holds.
    """
    try:
        value: bytes | None = encode_exception(error)
    except EncodeError:
        value = None
    if value is not None and len(value) > INLINE:
        value = None  # an exception is not kept apart: it is raised again as a `RecordedError`
    if value is not None and redact is not as_is:
        value = redacted(value, redact)
    kind = type(error)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    message, shown = redact(_message(error)), redact(user_traceback(error))
    return ErrorInfo(f"{module}{kind.__qualname__}", _cut(message), _cut(shown), value)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # the user's __str__
        return f"<its message can't be made: {broken!r}>"


def user_traceback(error: BaseException) -> str:
    """The traceback as Python prints it, without holdfast's and asyncio's own frames."""
    shown = traceback.TracebackException.from_exception(error, limit=None)
    _strip(shown, set())
    return "".join(shown.format())


def _strip(shown: traceback.TracebackException, seen: set[int]) -> None:
    if id(shown) in seen:
        return
    seen.add(id(shown))
    kept = [frame for frame in shown.stack if not _is_machinery(frame.filename)]
    shown.stack = traceback.StackSummary.from_list(kept)
    for other in (shown.__cause__, shown.__context__, *(getattr(shown, "exceptions", None) or ())):
        if other is not None:
            _strip(other, seen)


def _is_machinery(file: str) -> bool:
    return file.startswith((_OURS, _ASYNCIO)) and not file.startswith(_USERS)


def _cut(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    return f"{text[:half]}\n... {len(text) - LONGEST:,} characters left out ...\n{text[-half:]}"
