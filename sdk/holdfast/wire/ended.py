"""How a run ended, as its hooks (`on_success`, `on_failure`, `on_cancel`) are told: their payload."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.core.model import ErrorInfo, Run, State
from holdfast.wire.values import decode_value, encode_value


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """A run that has ended. `payload` and `result` decode what the run's own code stored."""

    run: str
    """Its id."""
    task: str
    state: State
    attempts: int
    reason: str = ""
    """Why it ended, in plain words, where it did not complete."""
    error_type: str = ""
    """Qualified name of the last error's class, or empty."""
    error: str = ""
    traceback: str = ""
    tags: tuple[str, ...] = ()
    encoded_payload: bytes = b""
    encoded_result: bytes | None = None

    @property
    def payload(self) -> dict[str, Any]:
        """The run's arguments by name."""
        decoded: dict[str, Any] = decode_value(self.encoded_payload)
        return decoded

    @property
    def result(self) -> Any:
        """What the task returned; None where it did not."""
        return None if self.encoded_result is None else decode_value(self.encoded_result)


def ended(run: Run) -> bytes:
    """The payload of the hook of a run that has ended."""
    error = run.error or ErrorInfo("", "")
    told = Ended(
        run=run.id,
        task=run.task,
        state=run.state,
        attempts=run.attempt,
        reason=run.reason,
        error_type=error.type,
        error=error.message,
        traceback=error.traceback,
        tags=run.tags,
        encoded_payload=run.payload,
        encoded_result=run.result,
    )
    return encode_value({"ended": told})
