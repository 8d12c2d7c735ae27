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
        while True:
            try:
                await _undone(execution, key)
                break
            except Exception as error:
                answer = await execution.ask(key + UNDO, f"the undo of {key} failed: {error!r:.300}")
                if answer.action != "run":
                    await execution.completed(key + UNDO, execution.now(), None)
                    break
    return b""


async def _undone(execution: Execution, key: str) -> None:
    outcome = execution.recall.completed(key)
    if outcome is None or outcome.undo is None:
        raise HoldfastError(f"the journal does not hold how to undo {key}")
    call = decode_undo(outcome.undo)
    step = STEPS.get(call.step)
    if step is None or step.policy.undo is None:
        raise HoldfastError(f"this worker's code has no step {call.step} with an undo: deploy it, then run it again")
    await undo(execution, key, call, step, outcome.value)
