"""The undos of a run that ended badly: those of its completed steps, last first, each a durable step of its own."""

from __future__ import annotations

from holdfast.core.lifecycle import UNDO
from holdfast.errors import HoldfastError
from holdfast.step import STEPS
from holdfast.wire.undo import decode_undo
from holdfast.worker.execution import Execution
from holdfast.worker.stepping import undo


async def compensated(execution: Execution) -> bytes:
    """Run every undo that has not run; one that finally fails asks an operator, and nothing before it is undone."""
    for key in reversed(execution.writer.run.undos):
        failure = _failure(execution, key)
        while failure or (failure := await _tried(execution, key)):
            answer = await execution.ask(key + UNDO, f"the undo of {key} failed: {failure}")
            if answer.action != "run":
                await execution.completed(key + UNDO, execution.now(), None)
                break
            failure = ""
    return b""


def _failure(execution: Execution, key: str) -> str:
    """How the undo of a step failed before this worker took it up, or empty: then it is yet to be run."""
    failed = execution.recall.failed(key + UNDO)
    if failed is not None:
        return f"{failed.error.type}: {failed.error.message:.300}"
    return "and was asked about" if execution.recall.answer(key + UNDO) is not None else ""


async def _tried(execution: Execution, key: str) -> str:
    """Run an undo; how it failed for good, or empty."""
    try:
        await _undone(execution, key)
    except Exception as error:
        return f"{error!r:.300}"
    return ""


async def _undone(execution: Execution, key: str) -> None:
    outcome = execution.recall.completed(key)
    if outcome is None or outcome.undo is None:
        raise HoldfastError(f"the journal does not hold how to undo {key}")
    call = decode_undo(outcome.undo)
    step = STEPS.get(call.step)
    if step is None or step.policy.undo is None:
        raise HoldfastError(f"this worker's code has no step {call.step} with an undo: deploy it, then run it again")
    await undo(execution, key, call, step, outcome.value)
